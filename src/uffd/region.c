/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The contents of a region: its source, and the policies that were chosen for it.
 *
 * OBJECTS      Each object of a space has one, and no other holder. Its source is shared with forked children. The
 *              policies do not change. A bit of `removed` is set with the layout locked for writing, and is never
 *              cleared.
 * INVARIANTS   S3: a page that was given back, and is to show zeros then, never shows the source again. Bytes that were
 *              read before the event are not installed after it, because a bit is looked at with the layout locked for
 *              reading from then until the page has been installed.
 *              (test_uffd_page_given_back_shows_zeros, test_uffd_late_bytes_do_not_enter_a_page_given_back)
 * READERS      A run is chosen without a lock, and may be stale. S3 does not depend on it, and zeros for a page whose
 *              bit is set are right for ever.
 */
#include <errno.h>

#include "bits_internal.h"
#include "limit_internal.h"
#include "uffd_internal.h"

static uint64_t *new_bits(const struct pgl_shown *shown)
{
    uint64_t npages = shown->range.last - shown->range.first + 1;

    return pgl_arena_alloc(shown->source->files->arena, pgl_bits_size(npages));
}

static struct pgl_shown *shown_alloc(struct pgl_source *source, struct pgl_pager_range range, bool keeps_zeros)
{
    struct pgl_arena *arena = source->files->arena;
    struct pgl_shown *shown = pgl_arena_alloc(arena, sizeof(*shown));

    if (!shown) {
        return NULL;
    }
    shown->source = source;
    shown->range = range;
    if (keeps_zeros) {
        shown->removed = new_bits(shown);
        if (!shown->removed) {
            pgl_arena_free(arena, shown);
            return NULL;
        }
    }
    return shown;
}

/* Give a region its record of written pages. Returns false when there is no memory. */
static bool add_record(struct pgl_shown *shown)
{
    shown->dirty = new_bits(shown);
    shown->poisoned = new_bits(shown);
    shown->leaving = new_bits(shown);
    return shown->dirty && shown->poisoned && shown->leaving;
}

static bool policies_exist(const struct pgl_uffd_region *region)
{
    return pgl_advice_valid((int)region->advice) && region->source.kind <= PGL_UFFD_CALLBACK &&
           region->removed <= PGL_UFFD_ZEROS && region->on_error <= PGL_UFFD_POISON;
}

/*
 * Whether the policies can be kept. Only the mapping through which shared memory is given back has an event: others
 * would not know of it, and bring the source into what is to be zeros for all of them (S3).
 */
static bool can_keep(const struct pgl_uffd *uffd, const struct pgl_uffd_region *region)
{
    return (region->on_error != PGL_UFFD_POISON || (uffd->features & UFFD_FEATURE_POISON) != 0) &&
           (region->removed != PGL_UFFD_ZEROS || region->memory != PGL_UFFD_SHARED);
}

/* Whether the memory of a source is in a region. Its pages would be brought while a handler waits for them. */
static bool is_paged(const struct pgl_uffd *uffd, const struct pgl_uffd_source *from)
{
    uint64_t first = (uintptr_t)from->memory / uffd->page_size;
    struct pgl_map_entry entry;

    return pgl_map_lookup(uffd->self->map, first, &entry) &&
           entry.view.first <= ((uintptr_t)from->memory + from->size - 1) / uffd->page_size;
}

static bool is_whole(const struct pgl_uffd *uffd, const struct pgl_uffd_source *from)
{
    if (from->kind == PGL_UFFD_CALLBACK) {
        return from->request != NULL;
    }
    return from->memory && from->size <= UINTPTR_MAX - (uintptr_t)from->memory && !is_paged(uffd, from);
}

static struct pgl_source *source_of(struct pgl_uffd *uffd, const struct pgl_uffd_region *region)
{
    const struct pgl_uffd_source *from = &region->source;

    if (from->kind == PGL_UFFD_FILE) {
        return pgl_source_new(&uffd->files, from->fd, region->offset, region->length, uffd->page_size);
    }
    if (!is_whole(uffd, from)) {
        errno = EINVAL;
        return NULL;
    }
    if (from->kind == PGL_UFFD_CALLBACK && /* a thread would wait in a signal's handler; answers come in small pages */
        (uffd->self_service || region->memory == PGL_UFFD_HUGE)) {
        errno = EOPNOTSUPP;
        return NULL;
    }
    return pgl_source_new_other(&uffd->files, from, region->offset, region->length, uffd->page_size);
}

struct pgl_shown *pgl_shown_new(struct pgl_uffd *uffd, const struct pgl_uffd_region *region)
{
    struct pgl_source *source;
    struct pgl_shown *shown;

    if (!policies_exist(region) || region->offset > INT64_MAX || region->offset % uffd->page_size != 0) {
        errno = EINVAL;
        return NULL;
    }
    if (!can_keep(uffd, region)) {
        errno = EOPNOTSUPP;
        return NULL;
    }
    source = source_of(uffd, region);
    if (!source) {
        return NULL;
    }
    shown = shown_alloc(source, source->range, region->removed == PGL_UFFD_ZEROS);
    if (!shown) {
        pgl_source_unref(source);
        errno = ENOMEM;
        return NULL;
    }
    shown->mincore_tells = uffd->config.track_dirty && pgl_memory_is_told_by_mincore(region);
    shown->unit = region->memory == PGL_UFFD_HUGE ? PGL_UFFD_HUGE_SIZE / uffd->page_size : 1;
    shown->on_error = region->on_error != PGL_UFFD_DEFAULT ? region->on_error : PGL_UFFD_POISON;
    shown->limit = region->limit > 0 ? pgl_limit_new(uffd, region) : NULL;
    if ((region->limit > 0 && !shown->limit) || (uffd->config.track_dirty && !add_record(shown))) {
        pgl_shown_free(shown);
        errno = ENOMEM;
        return NULL;
    }
    return shown;
}

struct pgl_shown *pgl_shown_copy(const struct pgl_shown *shown, uint64_t first, uint64_t last, bool records)
{
    const struct pgl_pager_range range = {shown->range.first + first, shown->range.first + last};
    struct pgl_shown *copy = shown_alloc(shown->source, range, shown->removed);

    if (copy) {
        __atomic_fetch_add(&shown->source->refs, 1, __ATOMIC_RELAXED);
        copy->on_error = shown->on_error;
        copy->unit = shown->unit;
        copy->mincore_tells = shown->mincore_tells;
        if (shown->removed) {
            pgl_bits_copy(shown->removed, first, last + 1, copy->removed, 0);
        }
    }
    if (copy && records && !add_record(copy)) {
        pgl_shown_free(copy);
        copy = NULL;
    }
    return copy;
}

void pgl_shown_free(struct pgl_shown *shown)
{
    struct pgl_source *source = shown->source;
    struct pgl_arena *arena = source->files->arena;

    pgl_arena_free(arena, shown->removed);
    pgl_arena_free(arena, shown->dirty);
    pgl_arena_free(arena, shown->poisoned);
    pgl_arena_free(arena, shown->leaving);
    if (shown->limit) {
        pgl_limit_free(shown->limit, arena);
    }
    pgl_arena_free(arena, shown);
    pgl_source_unref(source);
}

void pgl_shown_note_unmapped(struct pgl_shown *shown, uint64_t first, uint64_t last)
{
    if (shown->limit) {
        pgl_limit_note_removed(shown->limit, first, last);
    }
}

void pgl_shown_give_back(struct pgl_shown *shown, uint64_t first, uint64_t last)
{
    pgl_shown_note_unmapped(shown, first, last); /* their memory is gone as well */
    if (shown->removed) {
        pgl_bits_set(shown->removed, first, last + 1);
    }
}

/* A page of the source. */
static bool is_given_back(const struct pgl_shown *shown, uint64_t page)
{
    return shown->removed && pgl_bits_have(shown->removed, page - shown->range.first);
}

bool pgl_shown_was_given_back(const struct pgl_shown *shown, uint64_t first, uint64_t npages)
{
    uint64_t index = first - shown->range.first;
    uint64_t end = index + npages;

    return shown->removed && pgl_bits_find(shown->removed, index, end, true) < end;
}

/* Returns the part of a range around a page that was given back as a whole, or of which no page was. */
static struct pgl_pager_range part_around(const struct pgl_shown *shown, struct pgl_pager_range range, uint64_t page,
                                          bool given_back)
{
    struct pgl_pager_range part = {page, page};

    while (part.first > range.first && is_given_back(shown, part.first - 1) == given_back) {
        part.first--;
    }
    while (part.last < range.last && is_given_back(shown, part.last + 1) == given_back) {
        part.last++;
    }
    return part;
}

struct pgl_pager_range pgl_shown_find_run(const struct pgl_shown *shown, struct pgl_pager_range range, uint64_t page,
                                          enum pgl_run *kind)
{
    bool given_back = is_given_back(shown, page);
    bool hole;

    if (shown->removed) {
        range = part_around(shown, range, page, given_back);
    }
    if (given_back) {
        *kind = PGL_RUN_REMOVED;
        return range;
    }
    range = pgl_source_find_run(shown->source, range, page, &hole);
    *kind = hole ? PGL_RUN_HOLE : PGL_RUN_DATA;
    return range;
}
