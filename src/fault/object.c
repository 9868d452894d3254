/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory objects: the states of their pages, and a pager's replies.
 *
 * OBJECTS      An object's lock protects its chunks (every bit, id, frame and wire of its pages), the queues of faults
 *              that wait in it, its advice and table, and its counts. What it was made with never changes. A fault
 *              marks pages with an id of its own: whoever takes marks back names the id, so that nothing else can be
 *              hit, whatever happened to the pages meanwhile.
 * LOCK ORDER   map -> object -> the object it shadows -> ... -> waiter. A pager's functions and a fault's ready() are
 *              called with none of them held; memory and heap functions with an object's.
 * INVARIANTS   Checked by pgl_object_check():
 *              I1 a resident page is neither busy nor in error;
 *              I2 only resident and busy pages are asked for, and are speculative;
 *              I3 writable pages are readable, readable ones resident;
 *              I4 the pages asked for are the credits in use, and the other counts fit the bits as well;
 *              I5 a page has an id exactly while it is busy or asked for;
 *              I6 with memory, a resident page has a frame, and one that is neither resident nor busy has none;
 *              I7 only resident pages are wired;
 *              I8 whoever waits for a page waits for one that is busy or asked for: somebody will wake him;
 *              I9 whoever waits for a credit waits while there is none, unless the pager is not ready.
 * PROGRESS     Every mark that another thread can have seen goes through pgl_object_page_settle() when it ends, which
 *              wakes everybody who waits for the page, and everybody who waits for a credit: a single one might no
 *              longer want it, and the rest would sleep on. A fault that was interrupted before it could queue for its
 *              page removes its mark under the lock that it made it under, and nobody waits for that one.
 */
#include <errno.h>

#include "heap_internal.h"
#include "object_internal.h"

static void *object_alloc(const struct pgl_object *object, size_t size)
{
    return heap_alloc(object->config.heap_ops, object->config.heap, size);
}

static void object_release(const struct pgl_object *object, void *block)
{
    heap_free(object->config.heap_ops, object->config.heap, block);
}

/* Where a chunk is in the table, or would be put. The table has a free slot. */
static uint64_t chunk_slot(struct chunk *const *chunks, uint64_t nslots, uint64_t number)
{
    uint64_t slot = (number * UINT64_C(0x9e3779b97f4a7c15)) >> 32 & (nslots - 1);

    while (chunks[slot] != NULL && chunks[slot]->number != number) {
        slot = (slot + 1) & (nslots - 1);
    }
    return slot;
}

static struct chunk *chunk_find(const struct pgl_object *object, uint64_t number)
{
    return object->nslots > 0 ? object->chunks[chunk_slot(object->chunks, object->nslots, number)] : NULL;
}

static bool chunks_grow(struct pgl_object *object)
{
    uint64_t nslots = object->nslots > 0 ? 2 * object->nslots : 8;
    struct chunk **chunks = object_alloc(object, nslots * sizeof(struct chunk *));

    if (chunks == NULL) {
        return false;
    }
    for (uint64_t slot = 0; slot < object->nslots; slot++) {
        if (object->chunks[slot] != NULL) {
            chunks[chunk_slot(chunks, nslots, object->chunks[slot]->number)] = object->chunks[slot];
        }
    }
    object_release(object, object->chunks);
    object->chunks = chunks;
    object->nslots = nslots;
    return true;
}

struct page pgl_object_page_find(const struct pgl_object *object, uint64_t index)
{
    unsigned slot = index % CHUNK_PAGES;

    return (struct page){chunk_find(object, index / CHUNK_PAGES), slot, UINT64_C(1) << slot};
}

bool pgl_object_page_make(struct pgl_object *object, uint64_t index, struct page *page)
{
    uint64_t nframes = object->config.memory_ops != NULL ? CHUNK_PAGES : 0;
    struct chunk *chunk;

    *page = pgl_object_page_find(object, index);
    if (page->chunk != NULL) {
        return true;
    }
    if (2 * (object->nchunks + 1) > object->nslots && !chunks_grow(object)) {
        return false;
    }
    chunk = object_alloc(object, sizeof(*chunk) + nframes * sizeof(void *));
    if (chunk == NULL) {
        return false;
    }
    chunk->number = index / CHUNK_PAGES;
    object->chunks[chunk_slot(object->chunks, object->nslots, chunk->number)] = chunk;
    object->nchunks++;
    page->chunk = chunk;
    return true;
}

bool pgl_object_page_has_frame(struct pgl_object *object, struct page page)
{
    const struct pgl_memory_ops *memory_ops = object->config.memory_ops;

    if (memory_ops != NULL && page.chunk->frame[page.slot] == NULL) {
        page.chunk->frame[page.slot] = memory_ops->alloc(object->config.memory);
        return page.chunk->frame[page.slot] != NULL;
    }
    return true;
}

static void page_drop_frame(struct pgl_object *object, struct page page)
{
    void *frame = page_frame(object, page);

    if (frame != NULL) {
        object->config.memory_ops->free(object->config.memory, frame);
        page.chunk->frame[page.slot] = NULL;
    }
}

/* No longer asked for: the credit is back. The id goes with whatever mark was the last. */
static void page_answered(struct pgl_object *object, struct page page)
{
    if (page_is(page, page.chunk->asked)) {
        page.chunk->asked &= ~page.bit;
        object->stats.outstanding--;
    }
    page.chunk->id[page.slot] = 0;
}

bool pgl_object_queue(struct pgl_object *object, struct waiter *waiter, struct waiter **queue, uint64_t index)
{
    bool queued = pgl_waiter_queue(waiter, queue, object, index);

    object->stats.waiting += queued;
    return queued;
}

bool pgl_object_dequeue(struct pgl_object *object, struct waiter *waiter)
{
    bool queued = waiter->queued_on == object;

    if (queued) {
        pgl_waiter_dequeue(waiter);
        object->stats.waiting--;
    }
    return queued;
}

void pgl_object_settle(struct pgl_object *object, struct waiter *waiter, enum outcome outcome, struct wake_list *list)
{
    pgl_waiter_settle(waiter, outcome, list);
    object->stats.waiting--;
}

static void wake_queue(struct pgl_object *object, struct wake_list *list)
{
    while (object->queue != NULL) {
        pgl_object_settle(object, object->queue, OUTCOME_AGAIN, list);
    }
}

void pgl_object_page_settle(struct pgl_object *object, struct page page, enum outcome outcome, struct wake_list *list)
{
    uint64_t index = page.chunk->number * CHUNK_PAGES + page.slot;
    struct waiter *next;

    for (struct waiter *waiter = page.chunk->queue; waiter != NULL; waiter = next) {
        next = waiter->next;
        if (waiter->index == index) {
            pgl_object_settle(object, waiter, outcome, list);
        }
    }
    wake_queue(object, list);
}

void pgl_object_page_mark(struct pgl_object *object, struct page page, uint64_t id, bool asked)
{
    if (!page_is(page, page.chunk->resident)) {
        page.chunk->busy |= page.bit;
        object->stats.busy++;
    }
    if (asked) {
        page.chunk->asked |= page.bit;
        object->stats.outstanding++;
    }
    page.chunk->id[page.slot] = id;
}

void pgl_object_page_unmark(struct pgl_object *object, struct page page)
{
    if (page_is(page, page.chunk->busy)) {
        page.chunk->busy &= ~page.bit;
        page.chunk->speculative &= ~page.bit;
        object->stats.busy--;
        page_drop_frame(object, page);
    }
    page_answered(object, page);
}

static void page_allow(struct page page, enum pgl_access access)
{
    page.chunk->readable &= ~page.bit;
    page.chunk->writable &= ~page.bit;
    page.chunk->readable |= access != PGL_ACCESS_NONE ? page.bit : 0;
    page.chunk->writable |= access == PGL_ACCESS_WRITE ? page.bit : 0;
}

/* Its frame is there, if the object has memory. */
void pgl_object_page_fill(struct pgl_object *object, struct page page, const void *data, enum pgl_access access)
{
    const struct pgl_memory_ops *memory_ops = object->config.memory_ops;

    if (memory_ops != NULL && data != NULL) {
        memory_ops->copy(object->config.memory, page.chunk->frame[page.slot], data);
    } else if (memory_ops != NULL) {
        memory_ops->zero(object->config.memory, page.chunk->frame[page.slot]);
    }
    if (page_is(page, page.chunk->busy)) {
        page.chunk->busy &= ~page.bit;
        object->stats.busy--;
    }
    page_answered(object, page);
    page.chunk->error &= ~page.bit;
    page.chunk->resident |= page.bit;
    object->stats.resident++;
    page_allow(page, access);
}

uint64_t pgl_object_absent_word(const void *object, uint64_t number)
{
    const struct chunk *chunk = chunk_find((const struct pgl_object *)object, number);

    return chunk != NULL ? ~(chunk->resident | chunk->busy | chunk->error) : UINT64_MAX;
}

uint64_t pgl_object_unreadable_word(const void *object, uint64_t number)
{
    const struct chunk *chunk = chunk_find((const struct pgl_object *)object, number);

    return chunk != NULL ? chunk->resident & ~chunk->asked & ~chunk->readable : 0;
}

/* The bits of a chunk's pages that lie in [first, last]. */
static uint64_t chunk_mask(const struct chunk *chunk, uint64_t first, uint64_t last)
{
    uint64_t mask = UINT64_MAX;

    if (chunk->number < first / CHUNK_PAGES || chunk->number > last / CHUNK_PAGES) {
        return 0;
    }
    if (chunk->number == first / CHUNK_PAGES) {
        mask &= UINT64_MAX << first % CHUNK_PAGES;
    }
    if (chunk->number == last / CHUNK_PAGES) {
        mask &= UINT64_MAX >> (CHUNK_PAGES - 1 - last % CHUNK_PAGES);
    }
    return mask;
}

typedef void page_visitor(struct pgl_object *object, struct page page, void *arg);

static void chunk_visit(struct pgl_object *object, struct chunk *chunk, uint64_t mask, page_visitor *visit, void *arg)
{
    mask &= chunk->resident | chunk->busy;
    while (mask != 0) {
        unsigned slot = (unsigned)__builtin_ctzll(mask);

        mask &= mask - 1;
        visit(object, (struct page){chunk, slot, UINT64_C(1) << slot}, arg);
    }
}

/* Every resident or busy page of a range. Walks the chunks that exist where the range is wider than they are many. */
static void visit_pages(struct pgl_object *object, uint64_t first, uint64_t last, page_visitor *visit, void *arg)
{
    uint64_t span = last / CHUNK_PAGES - first / CHUNK_PAGES;

    if (span < object->nslots) {
        for (uint64_t i = 0; i <= span; i++) {
            struct chunk *chunk = chunk_find(object, first / CHUNK_PAGES + i);

            if (chunk != NULL) {
                chunk_visit(object, chunk, chunk_mask(chunk, first, last), visit, arg);
            }
        }
        return;
    }
    for (uint64_t slot = 0; slot < object->nslots; slot++) {
        struct chunk *chunk = object->chunks[slot];

        if (chunk != NULL) {
            chunk_visit(object, chunk, chunk_mask(chunk, first, last), visit, arg);
        }
    }
}

struct roll_back {
    uint64_t id;
    enum outcome outcome;
    struct wake_list *list;
};

static void roll_page_back(struct pgl_object *object, struct page page, void *arg)
{
    const struct roll_back *roll_back = arg;

    if (page.chunk->id[page.slot] == roll_back->id) {
        uint64_t wanted = page.chunk->busy & page.chunk->asked & page.bit;

        pgl_object_page_unmark(object, page);
        page.chunk->error |= roll_back->outcome == OUTCOME_ERROR ? wanted : 0;
        pgl_object_page_settle(object, page, roll_back->outcome, roll_back->list);
    }
}

void pgl_object_roll_back(struct pgl_object *object, uint64_t id, uint64_t first, uint64_t last, enum outcome outcome,
                          struct wake_list *list)
{
    struct roll_back roll_back = {id, outcome, list};

    visit_pages(object, first, last, roll_page_back, &roll_back);
}

void pgl_object_pages_free(struct pgl_object *object)
{
    for (uint64_t slot = 0; slot < object->nslots; slot++) {
        struct chunk *chunk = object->chunks[slot];

        if (chunk != NULL) {
            for (unsigned i = 0; i < CHUNK_PAGES; i++) {
                page_drop_frame(object, (struct page){chunk, i, UINT64_C(1) << i});
            }
            object_release(object, chunk);
        }
    }
    object_release(object, object->chunks);
}

static bool memory_is_whole(const struct pgl_memory_ops *ops)
{
    return ops->alloc != NULL && ops->free != NULL && ops->spare != NULL && ops->zero != NULL && ops->copy != NULL;
}

static bool config_is_valid(const struct pgl_object_config *config)
{
    const struct pgl_object *backing = config->backing;

    if (config->pager_ops != NULL &&
        (config->pager_ops->data_request == NULL || config->pager_range.first > config->pager_range.last)) {
        return false;
    }
    if (config->memory_ops != NULL && (!memory_is_whole(config->memory_ops) || config->page_size == 0)) {
        return false;
    }
    if (backing != NULL && (config->backing_first > backing->config.last ||
                            (config->memory_ops != NULL) != (backing->config.memory_ops != NULL))) {
        return false;
    }
    return pgl_advice_valid((int)config->advice);
}

struct pgl_object *pgl_object_new(const struct pgl_object_config *config)
{
    struct pgl_object *object;

    if (!config_is_valid(config)) {
        errno = EINVAL;
        return NULL;
    }
    object = heap_alloc(config->heap_ops, config->heap, sizeof(*object));
    if (object == NULL || pthread_mutex_init(&object->lock, NULL) != 0) {
        heap_free(config->heap_ops, config->heap, object);
        errno = ENOMEM;
        return NULL;
    }
    object->config = *config;
    object->refs = 1;
    object->advice = config->advice;
    object->table = config->table != NULL ? *config->table : *pgl_advice_shipped();
    object->advisor.confidence = ADVISOR_SURE;
    object->ready = !config->pager_unready;
    if (config->backing != NULL) {
        pgl_object_ref(config->backing);
    }
    return object;
}

struct pgl_object *pgl_object_ref(struct pgl_object *object)
{
    __atomic_fetch_add(&object->refs, 1, __ATOMIC_RELAXED);
    return object;
}

static void object_free(struct pgl_object *object)
{
    pgl_object_pages_free(object);
    pthread_mutex_destroy(&object->lock);
    heap_free(object->config.heap_ops, object->config.heap, object);
}

void pgl_object_unref(struct pgl_object *object)
{
    /* acquire and release: the last holder sees what every other did before it let go */
    while (object != NULL && __atomic_sub_fetch(&object->refs, 1, __ATOMIC_ACQ_REL) == 0) {
        const struct pgl_object_config config = object->config;

        object_free(object);
        if (config.pager_ops != NULL && config.pager_ops->release != NULL) {
            config.pager_ops->release(config.pager);
        }
        object = config.backing;
    }
}

void pgl_object_set_ready(struct pgl_object *object)
{
    struct wake_list list = {NULL};

    pthread_mutex_lock(&object->lock);
    object->ready = true;
    wake_queue(object, &list);
    pthread_mutex_unlock(&object->lock);
    pgl_wake_all(&list);
}

static void take_back_asked(struct pgl_object *object, struct page page, void *list)
{
    if (page_is(page, page.chunk->asked)) {
        pgl_object_page_unmark(object, page);
        pgl_object_page_settle(object, page, OUTCOME_ERROR, list);
    }
}

void pgl_object_terminate(struct pgl_object *object)
{
    struct wake_list list = {NULL};

    pthread_mutex_lock(&object->lock);
    object->terminated = true;
    visit_pages(object, 0, object->config.last, take_back_asked, &list);
    wake_queue(object, &list);
    pthread_mutex_unlock(&object->lock);
    pgl_wake_all(&list);
}

bool pgl_object_advise(struct pgl_object *object, enum pgl_advice advice)
{
    if (!pgl_advice_valid((int)advice)) {
        errno = EINVAL;
        return false;
    }
    pthread_mutex_lock(&object->lock);
    object->advice = advice;
    pthread_mutex_unlock(&object->lock);
    return true;
}

enum pgl_advice pgl_object_advice(struct pgl_object *object)
{
    enum pgl_advice advice;

    pthread_mutex_lock(&object->lock);
    advice = object->advice;
    pthread_mutex_unlock(&object->lock);
    return advice;
}

void pgl_object_set_table(struct pgl_object *object, const struct pgl_advice_table *table)
{
    pthread_mutex_lock(&object->lock);
    object->table = table != NULL ? *table : *pgl_advice_shipped();
    pthread_mutex_unlock(&object->lock);
}

static void remove_page(struct pgl_object *object, struct page page, void *removed)
{
    if (page_is(page, page.chunk->resident & ~page.chunk->asked) && page.chunk->wires[page.slot] == 0) {
        page.chunk->resident &= ~page.bit;
        page.chunk->speculative &= ~page.bit;
        page_allow(page, PGL_ACCESS_NONE);
        page_drop_frame(object, page);
        object->stats.resident--;
        *(uint64_t *)removed += 1;
    }
}

uint64_t pgl_object_remove(struct pgl_object *object, uint64_t first, uint64_t last)
{
    uint64_t removed = 0;

    pthread_mutex_lock(&object->lock);
    if (first <= last) {
        visit_pages(object, first, last, remove_page, &removed);
    }
    pthread_mutex_unlock(&object->lock);
    return removed;
}

bool pgl_object_unwire(struct pgl_object *object, uint64_t index)
{
    struct page page;
    bool wired;

    pthread_mutex_lock(&object->lock);
    page = pgl_object_page_find(object, index);
    wired = page.chunk != NULL && page.chunk->wires[page.slot] > 0;
    if (wired) {
        page.chunk->wires[page.slot]--;
    }
    pthread_mutex_unlock(&object->lock);
    if (!wired) {
        errno = EINVAL;
    }
    return wired;
}

bool pgl_object_resident(struct pgl_object *object, uint64_t index)
{
    struct page page;
    bool resident;

    pthread_mutex_lock(&object->lock);
    page = pgl_object_page_find(object, index);
    resident = page.chunk != NULL && page_is(page, page.chunk->resident);
    pthread_mutex_unlock(&object->lock);
    return resident;
}

void pgl_object_get_stats(struct pgl_object *object, struct pgl_object_stats *stats)
{
    pthread_mutex_lock(&object->lock);
    *stats = object->stats;
    pthread_mutex_unlock(&object->lock);
}

enum reply_kind { REPLY_SUPPLY, REPLY_NO_DATA, REPLY_ERROR, REPLY_GRANT };

struct reply {
    enum reply_kind kind;
    uint64_t id;
    enum pgl_access access;
    const char *data; /* of the object's page first */
    uint64_t first;
    uint64_t taken;
    uint64_t duplicates;
    uint64_t failed; /* asked for, and supplied without a frame to put them */
    struct wake_list list;
};

/* A busy page's answer. */
static void answer_data(struct pgl_object *object, struct page page, struct reply *reply)
{
    enum outcome outcome = OUTCOME_SUPPLIED;

    if (reply->kind == REPLY_SUPPLY && pgl_object_page_has_frame(object, page)) {
        uint64_t distance = page.chunk->number * CHUNK_PAGES + page.slot - reply->first;
        const char *data = reply->data != NULL ? reply->data + distance * object->config.page_size : NULL;

        pgl_object_page_fill(object, page, data, reply->access);
    } else {
        pgl_object_page_unmark(object, page);
        page.chunk->error |= reply->kind == REPLY_ERROR ? page.bit : 0;
        page.chunk->error &= reply->kind == REPLY_NO_DATA ? ~page.bit : UINT64_MAX;
        outcome = reply->kind == REPLY_SUPPLY    ? OUTCOME_SHORTAGE
                  : reply->kind == REPLY_NO_DATA ? OUTCOME_NO_DATA
                                                 : OUTCOME_ERROR;
    }
    reply->failed += outcome == OUTCOME_SHORTAGE;
    reply->taken += outcome != OUTCOME_SHORTAGE;
    pgl_object_page_settle(object, page, outcome, &reply->list);
}

/* The answer for a resident page from which access was withheld. A failure takes the request back, never the page. */
static void answer_access(struct pgl_object *object, struct page page, struct reply *reply)
{
    pgl_object_page_unmark(object, page);
    if (reply->kind == REPLY_GRANT) {
        page_allow(page, reply->access);
    }
    reply->taken++;
    pgl_object_page_settle(object, page, reply->kind == REPLY_GRANT ? OUTCOME_SUPPLIED : OUTCOME_ERROR, &reply->list);
}

static void answer_page(struct pgl_object *object, struct page page, void *arg)
{
    struct reply *reply = arg;
    bool ours = page_is(page, page.chunk->asked) && page.chunk->id[page.slot] == reply->id;

    if (ours && page_is(page, page.chunk->busy) && reply->kind != REPLY_GRANT) {
        answer_data(object, page, reply);
    } else if (ours && page_is(page, page.chunk->resident) && reply->kind != REPLY_SUPPLY) {
        answer_access(object, page, reply);
    } else if (page_is(page, page.chunk->resident)) {
        reply->duplicates++;
    }
}

/* Cuts a pager's range to the object, and turns it into the object's pages. */
static bool to_object(const struct pgl_object *object, const struct pgl_pager_range *range, uint64_t *first,
                      uint64_t *last)
{
    const struct pgl_pager_range *own = &object->config.pager_range;
    uint64_t pager_first = range->first > own->first ? range->first : own->first;
    uint64_t pager_last = range->last < own->last ? range->last : own->last;

    if (object->config.pager_ops == NULL || range->first > range->last || pager_first > pager_last) {
        return false;
    }
    *first = pager_first - own->first;
    *last = pager_last - own->first;
    if (*last > object->config.last) {
        *last = object->config.last;
    }
    return *first <= *last;
}

static bool access_is_valid(enum pgl_access access)
{
    if (access == PGL_ACCESS_NONE || access == PGL_ACCESS_READ || access == PGL_ACCESS_WRITE) {
        return true;
    }
    errno = EINVAL;
    return false;
}

static uint64_t answer(struct pgl_object *object, struct pgl_pager_range range, struct reply *reply)
{
    uint64_t last;
    uint64_t npages = range.first <= range.last ? range.last - range.first : 0;

    npages += range.first <= range.last && npages < UINT64_MAX;
    pthread_mutex_lock(&object->lock);
    if (to_object(object, &range, &reply->first, &last)) {
        if (reply->data != NULL) {
            reply->data += (reply->first + object->config.pager_range.first - range.first) * object->config.page_size;
        }
        visit_pages(object, reply->first, last, answer_page, reply);
    }
    object->stats.duplicates += reply->duplicates;
    object->stats.aliens += npages - reply->taken - reply->failed - reply->duplicates;
    pthread_mutex_unlock(&object->lock);
    pgl_wake_all(&reply->list);
    return reply->taken;
}

uint64_t pgl_pager_supply(struct pgl_object *object, uint64_t id, struct pgl_pager_range range, const void *data,
                          enum pgl_access access)
{
    struct reply reply = {.kind = REPLY_SUPPLY, .id = id, .access = access, .data = data};

    return access_is_valid(access) ? answer(object, range, &reply) : 0;
}

uint64_t pgl_pager_no_data(struct pgl_object *object, uint64_t id, struct pgl_pager_range range)
{
    struct reply reply = {.kind = REPLY_NO_DATA, .id = id};

    return answer(object, range, &reply);
}

uint64_t pgl_pager_error(struct pgl_object *object, uint64_t id, struct pgl_pager_range range)
{
    struct reply reply = {.kind = REPLY_ERROR, .id = id};

    return answer(object, range, &reply);
}

uint64_t pgl_pager_grant(struct pgl_object *object, uint64_t id, struct pgl_pager_range range, enum pgl_access access)
{
    struct reply reply = {.kind = REPLY_GRANT, .id = id, .access = access};

    return access_is_valid(access) ? answer(object, range, &reply) : 0;
}

struct withhold {
    enum pgl_access access;
    uint64_t npages;
};

static void withhold_page(struct pgl_object *object, struct page page, void *arg)
{
    struct withhold *withhold = arg;

    (void)object;
    if (page_is(page, page.chunk->resident)) {
        page.chunk->writable &= withhold->access == PGL_ACCESS_WRITE ? UINT64_MAX : ~page.bit;
        page.chunk->readable &= withhold->access != PGL_ACCESS_NONE ? UINT64_MAX : ~page.bit;
        withhold->npages++;
    }
}

uint64_t pgl_pager_withhold(struct pgl_object *object, struct pgl_pager_range range, enum pgl_access access)
{
    struct withhold withhold = {access, 0};
    uint64_t first, last;

    if (!access_is_valid(access)) {
        return 0;
    }
    pthread_mutex_lock(&object->lock);
    if (to_object(object, &range, &first, &last)) {
        visit_pages(object, first, last, withhold_page, &withhold);
    }
    pthread_mutex_unlock(&object->lock);
    return withhold.npages;
}

/* One check: where violations are reported, and what the walk over all chunks adds up. */
struct check {
    const struct pgl_object *object;
    void (*say)(const char *what, void *opaque);
    void *opaque;
    unsigned violations;
    uint64_t resident;
    uint64_t busy;
    uint64_t asked;
    uint64_t waiting;
};

static void require(struct check *check, bool holds, const char *what)
{
    if (!holds) {
        check->violations++;
        if (check->say != NULL) {
            check->say(what, check->opaque);
        }
    }
}

static void check_page(struct check *check, const struct chunk *chunk, unsigned slot)
{
    uint64_t bit = UINT64_C(1) << slot;
    bool memory = check->object->config.memory_ops != NULL;
    bool marked = ((chunk->busy | chunk->asked) & bit) != 0;
    bool resident = (chunk->resident & bit) != 0;
    bool absent = ((chunk->resident | chunk->busy) & bit) == 0;

    require(check, (chunk->id[slot] != 0) == marked, "I5: an id without a mark, or a mark without an id");
    require(check, !memory || !resident || chunk->frame[slot] != NULL, "I6: a resident page without a frame");
    require(check, !memory || !absent || chunk->frame[slot] == NULL, "I6: an absent page with a frame");
    require(check, resident || chunk->wires[slot] == 0, "I7: a wired page that is not resident");
}

static void check_chunk(struct check *check, const struct chunk *chunk)
{
    uint64_t marked = chunk->busy | chunk->asked;

    require(check, (chunk->resident & (chunk->busy | chunk->error)) == 0,
            "I1: a resident page that is busy, or in error");
    require(check, ((chunk->asked | chunk->speculative) & ~(chunk->resident | chunk->busy)) == 0,
            "I2: an absent page that is asked for, or speculative");
    require(check, (chunk->writable & ~chunk->readable) == 0 && (chunk->readable & ~chunk->resident) == 0,
            "I3: access to a page that cannot have it");
    for (unsigned slot = 0; slot < CHUNK_PAGES; slot++) {
        check_page(check, chunk, slot);
    }
    for (const struct waiter *waiter = chunk->queue; waiter != NULL; waiter = waiter->next) {
        check->waiting++;
        require(check, (marked >> waiter->index % CHUNK_PAGES & 1) != 0,
                "I8: a fault waits for a page that nobody will bring");
    }
    check->resident += (unsigned)__builtin_popcountll(chunk->resident);
    check->busy += (unsigned)__builtin_popcountll(chunk->busy);
    check->asked += (unsigned)__builtin_popcountll(chunk->asked);
}

static void check_counts(struct check *check)
{
    const struct pgl_object *object = check->object;
    uint64_t credits = object->config.credits;

    require(check,
            check->resident == object->stats.resident && check->busy == object->stats.busy &&
                check->asked == object->stats.outstanding && check->waiting == object->stats.waiting,
            "I4: the counts do not fit the pages");
    require(check, credits == 0 || object->stats.outstanding <= credits,
            "I4: more pages outstanding than there are credits");
    require(check,
            object->queue == NULL || !object->ready ||
                (!object->terminated && credits != 0 && object->stats.outstanding >= credits),
            "I9: a fault waits for a credit that there is");
}

unsigned pgl_object_check(struct pgl_object *object, void (*say)(const char *what, void *opaque), void *opaque)
{
    struct check check = {.object = object, .say = say, .opaque = opaque};

    pthread_mutex_lock(&object->lock);
    for (uint64_t slot = 0; slot < object->nslots; slot++) {
        if (object->chunks[slot] != NULL) {
            check_chunk(&check, object->chunks[slot]);
        }
    }
    for (const struct waiter *waiter = object->queue; waiter != NULL; waiter = waiter->next) {
        check.waiting++;
    }
    check_counts(&check);
    pthread_mutex_unlock(&object->lock);
    return check.violations;
}
