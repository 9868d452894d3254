/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory objects: their life, and the calls on a whole object. object_pages.c has the states of pages, object_reply.c
 * a pager's replies, object_check.c the invariants in code.
 *
 * OBJECTS      The pages of an object lie in shards (object_lock.c). The lock of a shard protects its chunks (every
 *              bit, id, frame and wire of their pages), the queues of the faults that wait for its pages, and its
 *              counts. The credits have a lock of their own (object_credit.c), and so have the calls of the caller's
 *              memory (frames.c), and the advisor. The advice, the table, and whether the pager is ready or gone change
 *              only while all shards and the credits are locked. The configuration never changes.
 * IDS          A fault marks pages with an id that the object never uses again. A roll-back names the id, and therefore
 *              removes no other mark, whatever happened to the pages meanwhile.
 * LOCK ORDER   map -> shards of an object, by number -> shards of the object it shadows -> ... -> credits, memory or
 *              advisor -> waiter. No lock is held while a pager's functions or a fault's ready() run, but release() may
 *              run with a map locked. Memory and heap functions are called with shards locked.
 * INVARIANTS   pgl_object_check() checks each of them, and test_object breaks each of them:
 *              I1  A resident page is neither busy nor in error.
 *              I2  Only resident and busy pages are asked for or speculative.
 *              I3  Writable pages are readable, and readable pages are resident.
 *              I4  With a limit, the credits in use are the pages asked for and the reserved ones, and at most the
 *                  limit. The other counts agree with the bits.
 *              I5  A page has an id exactly while it is busy or asked for.
 *              I6  With memory, a resident page has a frame, and a page that is neither resident nor busy has none.
 *              I7  Only resident pages are wired.
 *              I8  A fault waits for a page only while the page is busy or asked for, and is therefore woken.
 *              I9  A fault waits for a credit only while there is none, or while the pager is not ready.
 *              I10 A page is in the shard that its stripe belongs to, and therefore its lock is known from its number.
 * PROGRESS     A fault is queued for its page before it marks it. Each mark ends in pgl_object_page_settle(), which
 *              wakes every fault that waits for the page. The credit of the mark wakes one fault that waits for a
 *              credit, and is passed on by a fault that no longer needs it.
 */
#include <errno.h>

#include "heap_internal.h"
#include "object_internal.h"

static bool memory_is_whole(const struct pgl_memory_ops *ops)
{
    return ops->alloc && ops->free && ops->spare && ops->zero && ops->copy;
}

static bool config_is_valid(const struct pgl_object_config *config)
{
    const struct pgl_object *backing = config->backing;

    if (config->pager_ops &&
        (!config->pager_ops->data_request || config->pager_range.first > config->pager_range.last)) {
        return false;
    }
    if (config->memory_ops && (!memory_is_whole(config->memory_ops) || config->page_size == 0)) {
        return false;
    }
    if (backing &&
        (config->backing_first > backing->config.last || !!config->memory_ops != !!backing->config.memory_ops)) {
        return false;
    }
    return pgl_advice_valid((int)config->advice) && !pgl_costs_explain(&config->costs);
}

/* An object has a shard for each of its stripes, up to a limit. The number is a power of two. */
static uint64_t shards_for(uint64_t last)
{
    uint64_t nshards = 1;

    while (nshards < PGL_SHARDS_MAX && nshards <= last / PGL_STRIPE_PAGES) {
        nshards *= 2;
    }
    return nshards;
}

/* The shards follow their object in its block, at the next cache line. */
static size_t block_size(uint64_t nshards)
{
    return sizeof(struct pgl_object) + PGL_CACHE_LINE - 1 + (size_t)nshards * sizeof(struct pgl_shard);
}

static struct pgl_shard *shards_in_block(struct pgl_object *object)
{
    uintptr_t end = (uintptr_t)(object + 1);

    return (struct pgl_shard *)((end + PGL_CACHE_LINE - 1) / PGL_CACHE_LINE * PGL_CACHE_LINE);
}

struct pgl_object *pgl_object_new(const struct pgl_object_config *config)
{
    uint64_t nshards = shards_for(config->last);
    struct pgl_object *object;

    if (!config_is_valid(config)) {
        errno = EINVAL;
        return NULL;
    }
    object = pgl_heap_alloc(config->heap_ops, config->heap, block_size(nshards));
    if (object) {
        object->shards = shards_in_block(object);
        object->last_shard = nshards - 1;
    }
    if (object && config->memory_ops) {
        object->frames = pgl_frames_get(config->memory_ops, config->memory);
    }
    if (!object || (config->memory_ops && !object->frames) || !pgl_object_locks_init(object)) {
        if (object && object->frames) {
            pgl_frames_put(object->frames);
        }
        pgl_heap_free(config->heap_ops, config->heap, object);
        errno = ENOMEM;
        return NULL;
    }
    object->config = *config;
    object->refs = 1;
    object->advice = config->advice;
    object->table = config->table ? *config->table : *pgl_advice_shipped();
    object->costs = config->costs;
    object->ready = !config->pager_unready;
    if (config->backing) {
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
    if (object->frames) {
        pgl_frames_put(object->frames);
    }
    pgl_heap_free(object->config.heap_ops, object->config.heap, object->advisor);
    pgl_object_locks_fini(object);
    pgl_heap_free(object->config.heap_ops, object->config.heap, object);
}

void pgl_object_unref(struct pgl_object *object)
{
    /* acquire and release: the last unref sees everything that the others did before theirs */
    while (object && __atomic_sub_fetch(&object->refs, 1, __ATOMIC_ACQ_REL) == 0) {
        const struct pgl_object_config config = object->config;

        object_free(object);
        if (config.pager_ops && config.pager_ops->release) {
            config.pager_ops->release(config.pager);
        }
        object = config.backing;
    }
}

/* Everything is locked. Wake all faults that wait for a credit or for the pager to be ready. */
static void wake_queue(struct pgl_object *object, struct pgl_wake_list *list)
{
    while (object->credits.queue.first) {
        pgl_waiter_settle(object->credits.queue.first, PGL_OUTCOME_AGAIN, list);
    }
}

void pgl_object_set_ready(struct pgl_object *object)
{
    struct pgl_wake_list list = {NULL};

    pgl_object_lock_all(object);
    object->ready = true;
    wake_queue(object, &list);
    pgl_object_unlock_all(object);
    pgl_wake_all(&list);
}

static void take_back_asked(struct pgl_object *object, struct pgl_object_page page, void *list)
{
    if (pgl_object_page_is(page, page.chunk->asked)) {
        pgl_object_page_unmark(object, page, list);
        pgl_object_page_settle(page, PGL_OUTCOME_ERROR, list);
    }
}

void pgl_object_terminate(struct pgl_object *object)
{
    struct pgl_wake_list list = {NULL};

    pgl_object_lock_all(object);
    object->terminated = true;
    wake_queue(object, &list);
    /* Credits are returned from here on, and no fault queues any more. */
    pthread_mutex_unlock(&object->credits.room.lock);
    pgl_object_visit(object, 0, object->config.last, take_back_asked, &list);
    pgl_object_unlock(object, 0, UINT64_MAX);
    pgl_wake_all(&list);
}

bool pgl_object_advise(struct pgl_object *object, enum pgl_advice advice)
{
    if (!pgl_advice_valid((int)advice)) {
        errno = EINVAL;
        return false;
    }
    pgl_object_lock_all(object);
    __atomic_store_n(&object->advice, advice, __ATOMIC_RELAXED);
    pgl_object_unlock_all(object);
    return true;
}

enum pgl_advice pgl_object_advice(struct pgl_object *object)
{
    enum pgl_advice advice;

    pgl_object_lock(object, 0, 0);
    advice = object->advice;
    pgl_object_unlock(object, 0, 0);
    return advice;
}

void pgl_object_set_table(struct pgl_object *object, const struct pgl_advice_table *table)
{
    pgl_object_lock_all(object);
    object->table = table ? *table : *pgl_advice_shipped();
    pgl_object_unlock_all(object);
}

bool pgl_object_set_costs(struct pgl_object *object, const struct pgl_costs *costs)
{
    if (pgl_costs_explain(costs)) {
        errno = EINVAL;
        return false;
    }
    pthread_mutex_lock(&object->advisor_lock);
    object->costs = *costs;
    if (object->advisor) {
        pgl_advisor_set_costs(object->advisor, costs);
    }
    pthread_mutex_unlock(&object->advisor_lock);
    return true;
}

static void remove_page(struct pgl_object *object, struct pgl_object_page page, void *removed)
{
    if (pgl_object_page_is(page, page.chunk->resident & ~page.chunk->asked) && page.chunk->wires[page.slot] == 0) {
        page.chunk->resident &= ~page.bit;
        pgl_object_page_speculate(page, false);
        pgl_object_page_allow(page, PGL_ACCESS_NONE);
        pgl_object_page_drop_frame(object, page);
        page.shard->resident--;
        page.chunk->removals++;
        *(uint64_t *)removed += 1;
    }
}

uint64_t pgl_object_remove(struct pgl_object *object, uint64_t first, uint64_t last)
{
    uint64_t removed = 0;

    if (first <= last) {
        pgl_object_lock(object, first, last);
        pgl_object_visit(object, first, last, remove_page, &removed);
        pgl_object_unlock(object, first, last);
    }
    return removed;
}

bool pgl_object_remove_older(struct pgl_object *object, uint64_t index, uint64_t moment)
{
    struct pgl_object_page page;
    uint64_t removed = 0;
    bool older;

    pgl_object_lock(object, index, index);
    page = pgl_object_page_find(object, index);
    older = !page.chunk || page.chunk->offered <= moment;
    if (page.chunk && older) {
        remove_page(object, page, &removed);
    }
    pgl_object_unlock(object, index, index);
    return older;
}

bool pgl_object_drop_wire(struct pgl_object *object, uint64_t index)
{
    struct pgl_object_page page;
    bool wired;

    pgl_object_lock(object, index, index);
    page = pgl_object_page_find(object, index);
    wired = page.chunk && page.chunk->wires[page.slot] > 0;
    if (wired) {
        page.chunk->wires[page.slot]--;
    }
    pgl_object_unlock(object, index, index);
    return wired;
}

bool pgl_object_unwire(struct pgl_object *object, uint64_t index)
{
    bool wired = pgl_object_drop_wire(object, index);

    if (!wired) {
        errno = EINVAL;
    }
    return wired;
}

bool pgl_object_resident(struct pgl_object *object, uint64_t index)
{
    struct pgl_object_page page;
    bool resident;

    pgl_object_lock(object, index, index);
    page = pgl_object_page_find(object, index);
    resident = page.chunk && pgl_object_page_is(page, page.chunk->resident);
    pgl_object_unlock(object, index, index);
    return resident;
}

static void add_stats(struct pgl_object_stats *sum, const struct pgl_shard *shard)
{
    for (unsigned advice = 0; advice < PGL_ADVICE_COUNT; advice++) {
        struct pgl_fault_counts *to = &sum->by_advice[advice];
        const struct pgl_fault_counts *from = &shard->by_advice[advice];

        to->touches += from->touches;
        to->faults += from->faults;
        to->requests += from->requests;
        to->demanded += from->demanded;
        to->speculative += from->speculative;
        to->used += from->used;
        to->unlocks += from->unlocks;
        to->retries += from->retries;
    }
    for (unsigned reason = 0; reason < PGL_REASON_COUNT; reason++) {
        sum->by_reason[reason] += shard->by_reason[reason];
    }
    sum->resident += shard->resident;
    sum->busy += shard->busy;
    sum->outstanding += shard->outstanding;
    sum->waiting += shard->room.waiting;
    sum->duplicates += shard->duplicates;
    sum->aliens += shard->aliens;
}

static void add_hits(struct pgl_object_stats *sum, const struct pgl_object *object)
{
    for (unsigned slot = 0; slot < PGL_HIT_SLOTS; slot++) {
        for (unsigned advice = 0; advice < PGL_ADVICE_COUNT; advice++) {
            sum->by_advice[advice].touches += __atomic_load_n(&object->hits[slot].by_advice[advice], __ATOMIC_RELAXED);
        }
    }
}

void pgl_object_get_stats(struct pgl_object *object, struct pgl_object_stats *stats)
{
    *stats = (struct pgl_object_stats){0};
    pgl_object_lock_all(object);
    for (uint64_t i = 0; i <= object->last_shard; i++) {
        add_stats(stats, &object->shards[i]);
    }
    stats->waiting += object->credits.room.waiting;
    add_hits(stats, object);
    pgl_object_unlock_all(object);
}
