/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The fault driver. A fault goes down a chain of objects step by step. A step locks its page in one object, and finds
 * the answer, or marks pages and waits, or goes one object down. Between two steps a fault holds references, the copy
 * of the entry, and its marks: a placeholder in the top object, and the pages of one request in the current object. A
 * fault that asks below the top object holds both. No lock is held between two steps, and therefore another thread may
 * continue the fault. fault_chain.c has the steps up and down the chain, fault_ask.c the request to a pager,
 * fault_end.c the end of a step.
 *
 * PLACEHOLDER  A fault that would ask a pager or wait below the top object, or make a page because nothing was found
 *              below, first marks a placeholder in the top object, so that every other fault on the same page queues
 *              behind it. A read fault first walks the chain without one. A page found that way is a valid answer,
 *              because the top object showed it at some moment of the walk. If nothing is found, the fault restarts at
 *              the top and marks a placeholder. A fault with PGL_FAULT_FLAG_RESIDENT never marks one. It asks for
 *              nothing and makes nothing, and waits only for pages that other faults have marked.
 * LOCK ORDER   As in object.c. Pages of two objects are locked together only to copy a page up, the upper one first.
 * OUT OF ORDER A reply may come before data_request() has returned, because the fault is queued before it asks. If an
 *              interruption and a reply come together, the thread that removes the fault from its queue, under the
 *              lock of the queue's room, decides on the outcome.
 * STALE        A pager's answer that there is no data holds until a page of the chunk is removed, because that page may
 *              have been made, written and paged out since. Then the fault asks again.
 * PROGRESS     A fault waits for a page that a pager was asked for, or that holds another fault's placeholder. That
 *              fault waits only further down the chain, and therefore no circle of waits is possible. A fault walks
 *              the chain without a placeholder once, and again only after it has waited. A fault that was handed a
 *              credit returns it if its next step does not ask.
 * NOT PROMISED Faults that wait for the same page, or for the pager to be ready, are not served in order: the first
 *              that wakes asks first.
 */
#include <errno.h>
#include <stdlib.h>

#include "../probe_internal.h"
#include "fault_internal.h"

bool pgl_fault_init(struct pgl_fault *fault)
{
    *fault = (struct pgl_fault){0};
    return pgl_waiter_init(&fault->waiter);
}

void pgl_fault_fini(struct pgl_fault *fault)
{
    pgl_waiter_fini(&fault->waiter);
}

struct pgl_fault *pgl_fault_new(void)
{
    struct pgl_fault *fault = calloc(1, sizeof(*fault));

    if (!fault || !pgl_fault_init(fault)) {
        free(fault);
        errno = ENOMEM;
        return NULL;
    }
    return fault;
}

void pgl_fault_free(struct pgl_fault *fault)
{
    if (fault) {
        pgl_fault_fini(fault);
        free(fault);
    }
}

void pgl_fault_interrupt(struct pgl_fault *fault)
{
    struct pgl_waiter *waiter = &fault->waiter;
    struct pgl_wake_list list = {NULL};
    struct pgl_object *object;
    struct pgl_wait_room *room;
    bool waits;

    pthread_mutex_lock(&waiter->lock);
    waiter->interrupted = true;
    room = waiter->room;
    object = room ? pgl_object_ref(room->object) : NULL;
    pthread_mutex_unlock(&waiter->lock);
    if (!room) {
        return;
    }

    /* If the fault was woken and came to another wait meanwhile, that wait has seen and cleared the flag. */
    pthread_mutex_lock(&room->lock);
    pthread_mutex_lock(&waiter->lock);
    waits = waiter->interrupted && waiter->room == room && !waiter->uninterruptible;
    waiter->interrupted = waiter->interrupted && !waits;
    pthread_mutex_unlock(&waiter->lock);
    if (waits) {
        pgl_waiter_settle(waiter, PGL_OUTCOME_INTERRUPTED, &list);
    }
    pthread_mutex_unlock(&room->lock);
    pgl_wake_all(&list);
    pgl_object_unref(object);
}

static void count_retry(struct pgl_fault *fault)
{
    pgl_fault_lock(fault, fault->index, fault->index);
    pgl_fault_counts(fault)->retries++;
    pgl_fault_unlock(fault);
}

static bool has_below(const struct pgl_fault *fault)
{
    const struct pgl_object_config *config = &fault->object->config;

    return config->backing && fault->index <= config->backing->config.last - config->backing_first;
}

/* Whether a resident page has the access that the fault needs in its current object. */
static bool has_wanted_access(const struct pgl_fault *fault, struct pgl_object_page page)
{
    enum pgl_access wanted = pgl_fault_wanted(fault);

    return wanted == PGL_ACCESS_NONE ||
           pgl_object_page_is(page, wanted == PGL_ACCESS_WRITE ? page.chunk->writable : page.chunk->readable);
}

/* The page is locked. Take the step that its state demands. */
static bool look(struct pgl_fault *fault)
{
    struct pgl_object *object = fault->object;
    struct pgl_object_page page;
    bool resident, usable, taken, none_here;

    page = pgl_object_page_find(object, fault->index);
    resident = page.chunk && pgl_object_page_is(page, page.chunk->resident);
    usable = resident && has_wanted_access(fault, page);
    if (!fault->counted) {
        pgl_fault_counts(fault)->touches++;
        fault->counted = true;
    }
    if (usable && !pgl_fault_at_top(fault) && fault->args.access == PGL_ACCESS_WRITE) {
        return (fault->args.flags & PGL_FAULT_FLAG_RESIDENT) != 0 ? pgl_fault_unlock_and_fail(fault, PGL_FAULT_NO_DATA)
                                                                  : pgl_fault_copy_up(fault);
    }
    if (usable) {
        return pgl_fault_found(fault, page);
    }
    taken = page.chunk && pgl_object_page_is(page, page.chunk->busy | page.chunk->asked);
    fault->no_data = fault->no_data && page.chunk && page.chunk->removals == fault->waiter.removals;
    none_here = !resident && !taken && (fault->no_data || !pgl_object_has_pager_for(object, fault->index));
    if (none_here && has_below(fault)) {
        return pgl_fault_go_down(fault);
    }
    if (!pgl_fault_at_top(fault) && fault->placeholder == 0 && (fault->args.flags & PGL_FAULT_FLAG_RESIDENT) == 0) {
        return pgl_fault_back_to_top(fault);
    }
    pgl_fault_count_miss(fault, resident);
    if (taken) {
        return pgl_fault_wait(fault, page);
    }
    if (none_here) {
        return pgl_fault_end_of_chain(fault);
    }
    if ((fault->args.flags & PGL_FAULT_FLAG_RESIDENT) != 0) {
        return pgl_fault_unlock_and_fail(fault, PGL_FAULT_NO_DATA);
    }
    return pgl_fault_ask(fault, page);
}

static bool step(struct pgl_fault *fault)
{
    bool over = false;

    pgl_fault_lock(fault, fault->index, fault->index);
    do {
        fault->widened = false;
        over = look(fault);
    } while (fault->widened);
    pgl_fault_drop_credit(fault);
    return over;
}

/* Act on the outcome of a wait. Speculative pages stay requested unless the fault fails. */
static bool heed(struct pgl_fault *fault, enum pgl_outcome outcome)
{
    switch (outcome) {
    case PGL_OUTCOME_SUPPLIED:
        break;
    case PGL_OUTCOME_AGAIN:
        count_retry(fault);
        break;
    case PGL_OUTCOME_CREDIT:
        fault->credit = fault->object;
        count_retry(fault);
        break;
    case PGL_OUTCOME_NO_DATA:
        fault->no_data = true;
        break;
    case PGL_OUTCOME_ERROR:
        return pgl_fault_fail(fault, PGL_FAULT_MEMORY_ERROR);
    case PGL_OUTCOME_SHORTAGE:
        return pgl_fault_fail(fault, PGL_FAULT_MEMORY_SHORTAGE);
    case PGL_OUTCOME_INTERRUPTED:
        return pgl_fault_fail(fault, PGL_FAULT_INTERRUPTED);
    }
    return false;
}

/* Find the object and the page, through the entry if there is a map. */
static bool find_place(struct pgl_fault *fault)
{
    const struct pgl_fault_args *args = &fault->args;

    if (args->map) {
        if (!pgl_map_copy_place(args->map, args->index, &fault->place)) {
            return false;
        }
        fault->held = true;
    } else {
        if (args->index > args->object->config.last) {
            return false;
        }
        fault->place =
            (struct pgl_place){.object = args->object, .index = args->index, .last = args->object->config.last};
        fault->held = false; /* the caller's reference is enough until the fault is pending */
    }
    pgl_fault_go_to_top(fault);
    fault->looked = false;
    fault->id = 0;
    fault->placed = true;
    return true;
}

/* Whether the result is valid. It is not if the map changed meanwhile and shows another page now. */
static bool conclude(struct pgl_fault *fault)
{
    bool stands = !fault->args.map || fault->result == PGL_FAULT_RETRY || fault->result == PGL_FAULT_INTERRUPTED ||
                  pgl_map_has_place(fault->args.map, fault->args.index, &fault->place);

    if (!stands) {
        if (fault->result == PGL_FAULT_SUCCESS && pgl_fault_wires(fault)) {
            pgl_object_unwire(fault->found.object, fault->found.index);
        }
        count_retry(fault);
        fault->hit = false;
    }
    if (stands && fault->keeps && fault->result == PGL_FAULT_SUCCESS) {
        pgl_object_ref(fault->found.object);
    }
    if (fault->held) {
        pgl_object_unref(fault->place.object);
    }
    fault->placed = false;
    return stands;
}

/* A fault that may be continued when its caller's reference is gone takes one of its own. */
static void hold(struct pgl_fault *fault)
{
    if (fault->waiter.ready && !fault->held) {
        pgl_object_ref(fault->place.object);
        fault->held = true;
    }
}

static enum pgl_fault_result drive(struct pgl_fault *fault, struct pgl_fault_page *page)
{
    for (;;) {
        enum pgl_outcome outcome;
        bool over;

        if (fault->waiting) {
            hold(fault);
            if (!pgl_waiter_await(&fault->waiter, &outcome)) {
                return PGL_FAULT_PENDING; /* from here on the fault belongs to the thread that continues it */
            }
            fault->waiting = false;
            over = heed(fault, outcome);
        } else if (fault->placed || find_place(fault)) {
            over = pgl_fault_hit(fault) || step(fault);
        } else {
            PGL_PROBE(fault_end, fault, PGL_FAULT_NO_ENTRY, false);
            return PGL_FAULT_NO_ENTRY;
        }
        if (over && conclude(fault)) {
            if (page && fault->result == PGL_FAULT_SUCCESS) {
                *page = fault->found;
            }
            PGL_PROBE(fault_end, fault, fault->result, fault->hit);
            return fault->result;
        }
    }
}

enum pgl_fault_result pgl_fault_run(struct pgl_fault *fault, const struct pgl_fault_args *args,
                                    struct pgl_fault_page *page)
{
    return pgl_fault_start(fault, args, page, NULL, NULL);
}

static bool args_are_valid(const struct pgl_fault_args *args)
{
    const unsigned flags = PGL_FAULT_FLAG_WIRE | PGL_FAULT_FLAG_RESIDENT | PGL_FAULT_FLAG_NO_WAIT |
                           PGL_FAULT_FLAG_RETRIED | PGL_FAULT_FLAG_UNINTERRUPTIBLE;

    return (args->map || args->object) && (args->flags & ~flags) == 0 && pgl_access_is_valid(args->access);
}

static bool begin(struct pgl_fault *fault, const struct pgl_fault_args *args, bool keeps)
{
    if (!args_are_valid(args)) {
        errno = EINVAL;
        return false;
    }
    PGL_PROBE(fault, fault, args->map, args->object, args->index, args->access);
    fault->args = *args;
    fault->keeps = keeps;
    fault->prefetch = 0;
    fault->counted = false;
    fault->hit = true;
    fault->waiter.uninterruptible = (args->flags & PGL_FAULT_FLAG_UNINTERRUPTIBLE) != 0;
    fault->waiter.ready = NULL;
    return true;
}

enum pgl_fault_result pgl_fault_keep(struct pgl_fault *fault, const struct pgl_fault_args *args,
                                     struct pgl_fault_page *page)
{
    return begin(fault, args, true) ? drive(fault, page) : PGL_FAULT_INVALID;
}

/*
 * Bring pages before they are touched: the page of @args, and up to @npages - 1 absent ones after it, in one request.
 * It counts neither as a touch nor as a fault, and all its pages are neighbours that may be touched later.
 */
enum pgl_fault_result pgl_fault_prefetch(struct pgl_fault *fault, const struct pgl_fault_args *args, uint64_t npages)
{
    if (!begin(fault, args, false)) {
        return PGL_FAULT_INVALID;
    }
    fault->prefetch = npages;
    fault->counted = true;
    fault->hit = false;
    return drive(fault, NULL);
}

enum pgl_fault_result pgl_fault_start(struct pgl_fault *fault, const struct pgl_fault_args *args,
                                      struct pgl_fault_page *page, void (*ready)(void *arg), void *arg)
{
    if (!begin(fault, args, false)) {
        return PGL_FAULT_INVALID;
    }
    fault->waiter.ready = ready;
    fault->waiter.arg = arg;
    return drive(fault, page);
}

enum pgl_fault_result pgl_fault_continue(struct pgl_fault *fault, struct pgl_fault_page *page)
{
    return drive(fault, page);
}
