/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory objects: their life, and the calls on a whole object. object_pages.c has the states of pages, object_reply.c
 * a pager's replies, object_check.c the invariants in code.
 *
 * OBJECTS      An object's lock protects its chunks (every bit, id, frame and wire of its pages), the queues of the
 *              faults that wait in it, its advice and table, and its counts. Its configuration never changes.
 * IDS          A fault marks pages with an id that the object never uses again. A roll-back names the id, and therefore
 *              removes no other mark, whatever happened to the pages meanwhile.
 * LOCK ORDER   map -> object -> the object it shadows -> ... -> waiter. No lock is held while a pager's functions or a
 *              fault's ready() run, but release() may run with a map locked. Memory and heap functions are called with
 *              an object locked.
 * INVARIANTS   pgl_object_check() checks each of them, and test_object breaks each of them:
 *              I1 A resident page is neither busy nor in error.
 *              I2 Only resident and busy pages are asked for or speculative.
 *              I3 Writable pages are readable, and readable pages are resident.
 *              I4 The pages asked for are the credits in use, and the other counts agree with the bits.
 *              I5 A page has an id exactly while it is busy or asked for.
 *              I6 With memory, a resident page has a frame, and a page that is neither resident nor busy has none.
 *              I7 Only resident pages are wired.
 *              I8 A fault waits for a page only while the page is busy or asked for, and is therefore woken.
 *              I9 A fault waits for a credit only while there is none, or while the pager is not ready.
 * PROGRESS     Each mark that another thread may have seen ends in pgl_object_page_settle(). It wakes every fault that
 *              waits for the page, and every fault that waits for a credit, because a single one might no longer need
 *              it and the others would sleep on. A fault that was interrupted before it could queue for its page
 *              removes its mark before it unlocks the object, and therefore no fault waits for that mark.
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

struct pgl_object *pgl_object_new(const struct pgl_object_config *config)
{
    struct pgl_object *object;

    if (!config_is_valid(config)) {
        errno = EINVAL;
        return NULL;
    }
    object = pgl_heap_alloc(config->heap_ops, config->heap, sizeof(*object));
    if (!object || pthread_mutex_init(&object->lock, NULL) != 0) {
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
    pgl_heap_free(object->config.heap_ops, object->config.heap, object->advisor);
    pthread_mutex_destroy(&object->lock);
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

void pgl_object_set_ready(struct pgl_object *object)
{
    struct pgl_wake_list list = {NULL};

    pthread_mutex_lock(&object->lock);
    object->ready = true;
    pgl_object_wake_queue(object, &list);
    pthread_mutex_unlock(&object->lock);
    pgl_wake_all(&list);
}

static void take_back_asked(struct pgl_object *object, struct pgl_object_page page, void *list)
{
    if (pgl_object_page_is(page, page.chunk->asked)) {
        pgl_object_page_unmark(object, page);
        pgl_object_page_settle(object, page, PGL_OUTCOME_ERROR, list);
    }
}

void pgl_object_terminate(struct pgl_object *object)
{
    struct pgl_wake_list list = {NULL};

    pthread_mutex_lock(&object->lock);
    object->terminated = true;
    pgl_object_visit(object, 0, object->config.last, take_back_asked, &list);
    pgl_object_wake_queue(object, &list);
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
    object->table = table ? *table : *pgl_advice_shipped();
    pthread_mutex_unlock(&object->lock);
}

bool pgl_object_set_costs(struct pgl_object *object, const struct pgl_costs *costs)
{
    if (pgl_costs_explain(costs)) {
        errno = EINVAL;
        return false;
    }
    pthread_mutex_lock(&object->lock);
    object->costs = *costs;
    if (object->advisor) {
        pgl_advisor_set_costs(object->advisor, costs);
    }
    pthread_mutex_unlock(&object->lock);
    return true;
}

static void remove_page(struct pgl_object *object, struct pgl_object_page page, void *removed)
{
    if (pgl_object_page_is(page, page.chunk->resident & ~page.chunk->asked) && page.chunk->wires[page.slot] == 0) {
        page.chunk->resident &= ~page.bit;
        page.chunk->speculative &= ~page.bit;
        pgl_object_page_allow(page, PGL_ACCESS_NONE);
        pgl_object_page_drop_frame(object, page);
        object->stats.resident--;
        *(uint64_t *)removed += 1;
    }
}

uint64_t pgl_object_remove(struct pgl_object *object, uint64_t first, uint64_t last)
{
    uint64_t removed = 0;

    pthread_mutex_lock(&object->lock);
    if (first <= last) {
        pgl_object_visit(object, first, last, remove_page, &removed);
    }
    pthread_mutex_unlock(&object->lock);
    return removed;
}

bool pgl_object_unwire(struct pgl_object *object, uint64_t index)
{
    struct pgl_object_page page;
    bool wired;

    pthread_mutex_lock(&object->lock);
    page = pgl_object_page_find(object, index);
    wired = page.chunk && page.chunk->wires[page.slot] > 0;
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
    struct pgl_object_page page;
    bool resident;

    pthread_mutex_lock(&object->lock);
    page = pgl_object_page_find(object, index);
    resident = page.chunk && pgl_object_page_is(page, page.chunk->resident);
    pthread_mutex_unlock(&object->lock);
    return resident;
}

void pgl_object_get_stats(struct pgl_object *object, struct pgl_object_stats *stats)
{
    pthread_mutex_lock(&object->lock);
    *stats = object->stats;
    pthread_mutex_unlock(&object->lock);
}
