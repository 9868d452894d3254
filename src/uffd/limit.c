/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Regions that keep a limited number of pages in memory. A handler gives clean pages back before it brings others, or
 * when it has answered the fault, until the region is within its limit: first those that a forward reader has left
 * behind, then the oldest. So does the thread that sets a lower limit. scratch.c has how a page is taken out.
 *
 * OBJECTS      A region with a limit has a list of its clean pages in the order of their age, and a bit for each page
 *              that was written. Both are protected by the lock of the limit, the last in the order of locks. They are
 *              changed with the layout held, so that the holder for writing finds them complete. A forked child has no
 *              limit. A region that was mapped without one has no list, and never has a limit.
 * INVARIANTS   O9: a page that was written is listed again when it is installed anew: it was absent, because the
 *              program has given it back. Its event may be older than the write, and the kernel drops the page after
 *              both.
 *              O10: the page at an address is the listed one, because the map shows the object there, and mremap() has
 *              never moved a part of it.
 *              O11: a listed page was installed protected, and no protection was removed since. A page that was there
 *              already counts as written.
 *              O12: pages are taken out with the layout held for writing. A handler removes a protection, and unlists
 *              the page, in one hold for reading. Therefore no page is written between the look at the list and the
 *              move.
 *              O13: the room for a cluster is made before its pages come if the pager's only handler serves one thread,
 *              and when the fault was answered otherwise. A handler that is busy after it has woken its thread drives
 *              it to another processor, and then the next fault costs more (follow.c). But a thread that runs meanwhile
 *              makes a move dearer, and waits for the handler if it faults.
 *              O14: the pages of the last faults stay, of DEMANDED at most, and of no more than pages are kept.
 *              (test_uffd_limit_*)
 * PROGRESS     The newest pages are kept, as many as the widest cluster has, with those that are coming. Because of O14
 *              a thread finds the page that it waited for, and so does an instruction that touches several: none of
 *              them goes while it faults on the others.
 *              A page that the kernel refuses (locked, pinned, shared with a child) becomes the newest, and is tried
 *              again when its turn comes. A round ends after some refusals, because it holds the layout. The thread
 *              that sets a limit has as many rounds as it takes to try each page once.
 */
#include <errno.h>

#include "bits_internal.h"
#include "delivery_internal.h"
#include "limit_internal.h"

#define REFUSALS 16 /* that end a round */
#define DEMANDED 32 /* faults whose pages stay; fewer if fewer pages are kept */
#define HEAD 0      /* of the list; the page with index i has the link i + 1 */

/* Neighbours in the list. The newer neighbour of the head is the oldest page. */
struct pgl_age {
    uint32_t older;
    uint32_t newer;
};

struct pgl_limit {
    pthread_mutex_t lock;
    uint64_t max;
    uint64_t enough; /* clean pages that are kept in any case; never changes, as the next one */
    uint64_t base;   /* the page number of the region's first page */
    bool moved;      /* mremap() has moved a part: nothing is given back any more */
    uint32_t behind; /* the last link of the pages left behind, which come before all others; HEAD: none */
    uint64_t nclean; /* listed */
    uint64_t nwritten;
    uint32_t demanded[DEMANDED]; /* the links of the pages of the last faults, in turn; HEAD: none yet */
    unsigned turn;
    uint64_t *written;   /* a bit for each page */
    struct pgl_age *age; /* a link for the head, and for each page; unlisted pages have zeros */
};

static struct pgl_limit *limit_of(const struct pgl_object *object)
{
    return pgl_shown_of(object)->limit;
}

static bool is_listed(const struct pgl_limit *limit, uint64_t index)
{
    return limit->age[index + 1].older != HEAD || limit->age[HEAD].newer == index + 1;
}

static void unlist(struct pgl_limit *limit, uint64_t index)
{
    struct pgl_age *link = &limit->age[index + 1];

    limit->behind = limit->behind == index + 1 ? link->older : limit->behind;
    limit->age[link->older].newer = link->newer;
    limit->age[link->newer].older = link->older;
    *link = (struct pgl_age){HEAD, HEAD};
    limit->nclean--;
}

/* List a page right after another one, or as the first after the head. */
static void list_after(struct pgl_limit *limit, uint64_t index, uint32_t older)
{
    uint32_t newer = limit->age[older].newer;

    limit->age[index + 1] = (struct pgl_age){older, newer};
    limit->age[older].newer = (uint32_t)(index + 1);
    limit->age[newer].older = (uint32_t)(index + 1);
    limit->nclean++;
}

static void list_as_newest(struct pgl_limit *limit, uint64_t index)
{
    list_after(limit, index, limit->age[HEAD].older);
}

static void set_written(struct pgl_limit *limit, uint64_t index)
{
    if (is_listed(limit, index)) {
        unlist(limit, index);
    }
    limit->nwritten += !pgl_bits_have(limit->written, index);
    pgl_bits_set(limit->written, index, index + 1);
}

static void set_unwritten(struct pgl_limit *limit, uint64_t index, uint64_t end)
{
    for (uint64_t at = index; (at = pgl_bits_find(limit->written, at, end, true)) < end; at++) {
        limit->nwritten--;
        pgl_bits_clear(limit->written, at, at + 1);
    }
}

/* Unlist the pages of [first, last]. The cost is bounded both by the range and by the number of listed pages. */
static void unlist_range(struct pgl_limit *limit, uint64_t first, uint64_t last)
{
    uint32_t newer;

    if (last - first < limit->nclean) {
        for (uint64_t index = first; index <= last; index++) {
            if (is_listed(limit, index)) {
                unlist(limit, index);
            }
        }
        return;
    }
    for (uint32_t link = limit->age[HEAD].newer; link != HEAD; link = newer) {
        newer = limit->age[link].newer;
        if (link - 1 >= first && link - 1 <= last) {
            unlist(limit, link - 1);
        }
    }
}

int pgl_limit_check(const struct pgl_uffd *uffd, const struct pgl_uffd_region *region)
{
    if (region->limit == 0) {
        return 0;
    }
    if (!uffd->config.write_protect || region->limit < uffd->widest || region->length / uffd->page_size >= UINT32_MAX) {
        return EINVAL;
    }
    return region->memory != PGL_UFFD_PRIVATE || region->source.kind == PGL_UFFD_CALLBACK ||
                   (uffd->features & UFFD_FEATURE_MOVE) == 0
               ? EOPNOTSUPP
               : 0;
}

struct pgl_limit *pgl_limit_new(struct pgl_uffd *uffd, const struct pgl_uffd_region *region)
{
    uint64_t npages = region->length / uffd->page_size;
    struct pgl_limit *limit = pgl_arena_alloc(&uffd->arena, sizeof(*limit));

    if (!limit) {
        return NULL;
    }
    limit->written = pgl_arena_alloc(&uffd->arena, pgl_bits_size(npages));
    limit->age = pgl_arena_alloc(&uffd->arena, (size_t)(npages + 1) * sizeof(*limit->age));
    if (!limit->written || !limit->age || pthread_mutex_init(&limit->lock, NULL) != 0) {
        pgl_arena_free(&uffd->arena, limit->written);
        pgl_arena_free(&uffd->arena, limit->age);
        pgl_arena_free(&uffd->arena, limit);
        return NULL;
    }
    limit->max = region->limit;
    limit->enough = uffd->widest;
    limit->base = (uintptr_t)region->addr / uffd->page_size;
    return limit;
}

void pgl_limit_free(struct pgl_limit *limit, struct pgl_arena *arena)
{
    pthread_mutex_destroy(&limit->lock);
    pgl_arena_free(arena, limit->written);
    pgl_arena_free(arena, limit->age);
    pgl_arena_free(arena, limit);
}

void pgl_limit_note_demanded(const struct pgl_object *object, uint64_t index)
{
    struct pgl_limit *limit = limit_of(object);

    if (limit) {
        pthread_mutex_lock(&limit->lock);
        limit->demanded[limit->turn++ % pgl_least(DEMANDED, limit->enough)] = (uint32_t)(index + 1);
        pthread_mutex_unlock(&limit->lock);
    }
}

void pgl_limit_note_installed(const struct pgl_object *object, uint64_t index, uint64_t npages)
{
    struct pgl_limit *limit = limit_of(object);

    if (limit) {
        pthread_mutex_lock(&limit->lock);
        for (uint64_t end = index + npages; index < end; index++) {
            set_unwritten(limit, index, index + 1); /* O9 */
            if (!is_listed(limit, index)) {
                list_as_newest(limit, index);
            }
        }
        pthread_mutex_unlock(&limit->lock);
    }
}

void pgl_limit_note_found(const struct pgl_object *object, uint64_t index)
{
    struct pgl_limit *limit = limit_of(object);

    if (limit) {
        pthread_mutex_lock(&limit->lock);
        if (!is_listed(limit, index)) { /* O11 */
            set_written(limit, index);
        }
        pthread_mutex_unlock(&limit->lock);
    }
}

void pgl_limit_note_opened(const struct pgl_delivery *delivery)
{
    struct pgl_limit *limit = delivery->placed ? limit_of(delivery->place.object) : NULL;

    if (limit) {
        pthread_mutex_lock(&limit->lock);
        set_written(limit, delivery->place.index);
        pthread_mutex_unlock(&limit->lock);
    }
}

void pgl_limit_note_removed(struct pgl_limit *limit, uint64_t first, uint64_t last)
{
    pthread_mutex_lock(&limit->lock);
    unlist_range(limit, first, last);
    set_unwritten(limit, first, last + 1);
    pthread_mutex_unlock(&limit->lock);
}

void pgl_limit_note_moved(const struct pgl_object *object)
{
    struct pgl_limit *limit = limit_of(object);

    if (limit) {
        pthread_mutex_lock(&limit->lock);
        limit->moved = true; /* O10 */
        pthread_mutex_unlock(&limit->lock);
    }
}

void pgl_limit_note_behind(const struct pgl_shown *shown, const struct pgl_pager_range *range)
{
    struct pgl_limit *limit = shown->limit;

    if (limit) {
        uint64_t first = range->first - shown->range.first;

        pthread_mutex_lock(&limit->lock);
        for (uint64_t index = first; index <= first + (range->last - range->first); index++) {
            if (is_listed(limit, index)) {
                unlist(limit, index);
                list_after(limit, index, limit->behind);
                limit->behind = (uint32_t)(index + 1);
            }
        }
        pthread_mutex_unlock(&limit->lock);
    }
}

/* Whether the page of a link may go (O14). */
static bool may_go(const struct pgl_limit *limit, uint32_t link)
{
    bool demanded = false;

    for (unsigned i = 0; i < DEMANDED; i++) {
        demanded |= limit->demanded[i] == link;
    }
    return !demanded;
}

/*
 * Find the pages that are to go next if @coming others come: side by side, and at most so many. Returns how many there
 * are, and the first one in *index.
 */
static uint64_t find_surplus(struct pgl_limit *limit, uint64_t coming, uint64_t most, uint64_t *index)
{
    uint64_t surplus = 0, npages = 0, there, kept;

    pthread_mutex_lock(&limit->lock);
    there = limit->nclean + limit->nwritten;
    kept = limit->enough - pgl_least(limit->enough, coming);
    if (!limit->moved && limit->nclean > kept && there + coming > limit->max) {
        surplus = pgl_least(limit->nclean - kept, there + coming - limit->max);
        surplus = pgl_least(surplus, most);
    }
    if (surplus > 0) {
        uint32_t link = limit->age[HEAD].newer;

        while (link != HEAD && !may_go(limit, link)) {
            link = limit->age[link].newer;
        }
        *index = link - 1;
        for (; npages < surplus && link == *index + npages + 1 && may_go(limit, link); npages++) {
            link = limit->age[link].newer;
        }
    }
    pthread_mutex_unlock(&limit->lock);
    return npages;
}

/* Take pages out of the memory. Returns 0 or an errno; *taken is how many of the first ones are gone then. */
static int take_out(struct pgl_uffd *uffd, const struct pgl_object *object, uint64_t index, uint64_t npages,
                    uint64_t *taken)
{
    uint64_t at = limit_of(object)->base + index;
    struct pgl_map_entry entry;

    *taken = 0;
    if (!pgl_map_lookup(uffd->self->map, at, &entry) || entry.view.first > at || entry.object != object) { /* O10 */
        return ENOENT;
    }
    npages = pgl_least(npages, entry.view.last - at + 1);
    return pgl_scratch_take(uffd, at * uffd->page_size, npages, taken);
}

/* Pages have gone, or one stays that was to go. Returns whether it stays. The layout is held for writing. */
static bool note_taken(struct pgl_uffd *uffd, struct pgl_object *object, uint64_t index, uint64_t taken, int error)
{
    struct pgl_limit *limit = limit_of(object);
    bool stays = taken == 0 && error != ENOENT;

    pthread_mutex_lock(&limit->lock);
    unlist(limit, index);
    for (uint64_t i = 1; i < taken; i++) {
        unlist(limit, index + i);
    }
    if (stays) {
        list_as_newest(limit, index);
    }
    pthread_mutex_unlock(&limit->lock);
    if (taken > 0) {
        pgl_object_remove(object, index, index + taken - 1);
        pgl_count(&uffd->stats.pages_given_back, taken);
    }
    return stays;
}

/*
 * Give pages back until there is room for @coming others, or enough stay, or the scratch memory is full. Returns
 * whether it is. Pages that the kernel does not move together, because they are not one mapping, or some are locked,
 * are moved one by one. The layout is held for writing.
 */
static bool give_some_back(struct pgl_uffd *uffd, struct pgl_object *object, uint64_t coming)
{
    uint64_t most = UINT64_MAX, index, npages, taken;
    unsigned refusals = 0;
    bool unlocked = false;

    while (refusals < REFUSALS &&
           (npages = find_surplus(limit_of(object), coming, pgl_least(most, pgl_scratch_room(uffd)), &index)) > 0) {
        int error = take_out(uffd, object, index, npages, &taken);

        if (taken == 0 && (error == EAGAIN || error == ESRCH || error == EEXIST)) {
            return false;
        }
        if (taken == 0 && error == EINVAL && !unlocked) {
            unlocked = true;
            pgl_scratch_unlock(uffd);
        } else if (taken == 0 && npages > 1) {
            most = 1;
        } else {
            refusals += note_taken(uffd, object, index, taken, error);
        }
    }
    return pgl_scratch_room(uffd) == 0;
}

void pgl_limit_make_room(struct pgl_uffd *uffd, struct pgl_object *object, uint64_t coming)
{
    struct pgl_limit *limit = limit_of(object);
    bool more = limit != NULL;
    uint64_t index;

    while (more && find_surplus(limit, coming, 1, &index) > 0) {
        pthread_rwlock_wrlock(&uffd->layout); /* O12 */
        more = pgl_scratch_make_room(uffd) && give_some_back(uffd, object, coming);
        pthread_rwlock_unlock(&uffd->layout);
    }
}

void pgl_limit_enforce(struct pgl_uffd *uffd, struct pgl_object *object)
{
    struct pgl_limit *limit = limit_of(object);
    uint64_t rounds = 0, index;

    if (limit) {
        pthread_mutex_lock(&limit->lock);
        rounds = limit->nclean / REFUSALS + 1; /* a page that is refused is not tried again before all others */
        pthread_mutex_unlock(&limit->lock);
    }
    for (; rounds > 0 && find_surplus(limit, 0, 1, &index) > 0; rounds--) {
        pgl_limit_make_room(uffd, object, 0);
    }
}

bool pgl_limit_is_settable(const struct pgl_object *object)
{
    const struct pgl_limit *limit = limit_of(object);

    return limit && !limit->moved;
}

void pgl_limit_set(const struct pgl_object *object, uint64_t max)
{
    struct pgl_limit *limit = limit_of(object);

    pthread_mutex_lock(&limit->lock);
    limit->max = max;
    pthread_mutex_unlock(&limit->lock);
}
