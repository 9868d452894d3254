/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The fault driver. One fault goes down a chain of objects a step at a time. A step locks one object, and either finds
 * its answer, or marks something and waits, or goes one object down. Nothing is held between two steps but references,
 * the copy of the entry, and what the fault itself has marked: a placeholder in the top object, and one request's pages
 * in the object where it is. A fault that asks below the top object holds both. So a step may as well be continued by
 * another thread.
 *
 * PLACEHOLDER  Whoever asks, waits or makes a page below the top object holds one there, so that all who want the page
 *              wait for him. Who only reads looks down the chain without it first: what he finds was the top object's
 *              page a moment ago, as it would be if he had held a placeholder and let it go before he answered. If he
 *              does not find it he begins again at the top, and lays one. With PGL_FAULT_FLAG_RESIDENT there is none ever:
 *              nothing is asked or made, and only what others have asked for is waited for.
 * LOCK ORDER   As in object.c. Two objects are locked at a time only to copy a page up, the upper one first.
 * OUT OF ORDER A reply may come before data_request() has returned: the fault is queued before it asks. Interruption
 *              and reply may come together: whoever takes the fault from its queue, under the object's lock, decides.
 * PROGRESS     A fault waits for pages that a pager was asked for, or that hold another fault's placeholder; and that
 *              one waits further down the chain only, so there is no circle. It looks below without a placeholder
 *              once, and again only after it has waited.
 * NOT PROMISED First come, first served: whoever wakes first asks first.
 */
#include <errno.h>
#include <stdlib.h>

#include "map_internal.h"
#include "object_internal.h"

struct pgl_fault {
    struct waiter waiter;
    struct pgl_fault_args args;
    bool waiting; /* an outcome is due */
    bool placed;  /* place holds */
    bool counted; /* as a touch: it had its first look */
    bool hit;     /* nothing was missing so far */
    enum pgl_fault_result result;
    struct pgl_fault_page found;

    struct place place;        /* the top object, and the entry's window on it */
    struct pgl_object *object; /* where the fault is: the top object, or one below it */
    uint64_t index;            /* the page there */
    uint64_t first;            /* the window there */
    uint64_t last;
    bool no_data; /* this object's pager has nothing for the page */

    bool looked;              /* down the chain without a placeholder, in vain */
    uint64_t placeholder;     /* the id of its mark in the top object; 0: none */
    uint64_t id;              /* of its last request; 0: none */
    struct pgl_object *asked; /* where that was made */
    uint64_t asked_first;
    uint64_t asked_last;
};

struct pgl_fault *pgl_fault_new(void)
{
    struct pgl_fault *fault = calloc(1, sizeof(*fault));

    if (fault == NULL || !pgl_waiter_init(&fault->waiter)) {
        free(fault);
        errno = ENOMEM;
        return NULL;
    }
    return fault;
}

void pgl_fault_free(struct pgl_fault *fault)
{
    if (fault != NULL) {
        pgl_waiter_fini(&fault->waiter);
        free(fault);
    }
}

void pgl_fault_interrupt(struct pgl_fault *fault)
{
    struct waiter *waiter = &fault->waiter;
    struct wake_list list = {NULL};
    struct pgl_object *object;
    bool waits;

    pthread_mutex_lock(&waiter->lock);
    waiter->interrupted = true;
    object = waiter->queued_on;
    if (object != NULL) {
        pgl_object_ref(object);
    }
    pthread_mutex_unlock(&waiter->lock);
    if (object == NULL) {
        return;
    }

    /* Woken since then, it has seen the flag if it came to another wait, and forgotten it there. */
    pthread_mutex_lock(&object->lock);
    pthread_mutex_lock(&waiter->lock);
    waits = waiter->interrupted && waiter->queued_on == object;
    waiter->interrupted = waiter->interrupted && !waits;
    pthread_mutex_unlock(&waiter->lock);
    if (waits) {
        pgl_object_settle(object, waiter, OUTCOME_INTERRUPTED, &list);
    }
    pthread_mutex_unlock(&object->lock);
    pgl_wake_all(&list);
    pgl_object_unref(object);
}

static bool at_top(const struct pgl_fault *fault)
{
    return fault->object == fault->place.object;
}

/* A lower object is only read from: what is written is a copy above it. */
static enum pgl_access wanted(const struct pgl_fault *fault)
{
    return at_top(fault) ? fault->args.access : PGL_ACCESS_READ;
}

/* The counts of the advice that the fault follows in its object. Object locked. */
static struct pgl_fault_counts *counts(const struct pgl_fault *fault)
{
    struct pgl_object *object = fault->object;

    return &object->stats.by_advice[pgl_advice_effective(fault->place.advice, object->advice)];
}

/*
 * The page was not to be found by looking: it is no hit from here on. Object locked, and the top one when the page was
 * absent: but for a fault that demands residency, which goes down without a placeholder and is not counted.
 */
static void count_miss(struct pgl_fault *fault, bool resident)
{
    counts(fault)->faults += fault->hit && !resident && (fault->args.flags & PGL_FAULT_FLAG_RESIDENT) == 0;
    fault->hit = false;
}

static void count_retry(struct pgl_fault *fault)
{
    pthread_mutex_lock(&fault->object->lock);
    counts(fault)->retries++;
    pthread_mutex_unlock(&fault->object->lock);
}

/* Unlocked. Takes the mark in the top object back. Whoever waits for it looks himself, or gets the pager's error. */
static void drop_placeholder(struct pgl_fault *fault, enum outcome outcome)
{
    struct pgl_object *top = fault->place.object;
    struct wake_list list = {NULL};

    if (fault->placeholder != 0) {
        pthread_mutex_lock(&top->lock);
        pgl_object_roll_back(top, fault->placeholder, fault->place.index, fault->place.index, outcome, &list);
        pthread_mutex_unlock(&top->lock);
        pgl_wake_all(&list);
        fault->placeholder = 0;
    }
}

/*
 * The steps: each is entered with fault->object locked and leaves nothing locked. Returns true when the fault is done,
 * with its result; false when it goes on, or waits if fault->waiting says so.
 */
static bool done(struct pgl_fault *fault, enum pgl_fault_result result)
{
    fault->result = result;
    return true;
}

/* Unlocked already. Takes back everything that the fault has marked. */
static bool fail(struct pgl_fault *fault, enum pgl_fault_result result)
{
    struct pgl_object *object = fault->asked;
    struct wake_list list = {NULL};

    if (fault->id != 0) {
        pthread_mutex_lock(&object->lock);
        pgl_object_roll_back(object, fault->id, fault->asked_first, fault->asked_last, OUTCOME_AGAIN, &list);
        pthread_mutex_unlock(&object->lock);
        pgl_wake_all(&list);
        fault->id = 0;
    }
    drop_placeholder(fault, result == PGL_FAULT_MEMORY_ERROR ? OUTCOME_ERROR : OUTCOME_AGAIN);
    return done(fault, result);
}

static bool unlock_and_fail(struct pgl_fault *fault, enum pgl_fault_result result)
{
    pthread_mutex_unlock(&fault->object->lock);
    return fail(fault, result);
}

static bool step_wait(struct pgl_fault *fault, struct waiter **queue)
{
    struct pgl_object *object = fault->object;

    if (!pgl_object_queue(object, &fault->waiter, queue, fault->index)) {
        return unlock_and_fail(fault, PGL_FAULT_INTERRUPTED);
    }
    fault->waiting = true;
    fault->looked = false; /* a look may do by then */
    pthread_mutex_unlock(&object->lock);
    return false;
}

/* How many pages may be speculated on: what credits and memory leave, and nothing where a first try went wrong. */
static uint64_t budget(const struct pgl_fault *fault, bool data, bool in_error)
{
    const struct pgl_object *object = fault->object;
    const struct pgl_object_config *config = &object->config;
    uint64_t outstanding = object->stats.outstanding;
    uint64_t npages = UINT64_MAX;

    if (in_error || (fault->args.flags & (PGL_FAULT_FLAG_WIRE | PGL_FAULT_FLAG_RETRIED)) != 0) {
        return 0;
    }
    if (config->credits != 0) {
        npages = config->credits - outstanding;
    }
    if (config->memory_ops != NULL && data) {
        uint64_t spare = config->memory_ops->spare(config->memory);
        uint64_t owed = config->internal ? 0 : outstanding; /* an external object's frames are taken at the reply */

        spare -= spare < owed ? spare : owed;
        npages = npages < spare ? npages : spare;
    }
    return npages;
}

/* The pages to ask for beside the demand page, which is marked already. Data and access differ in who is eligible. */
static struct pgl_cluster choose(const struct pgl_fault *fault, bool data, uint64_t npages)
{
    struct pgl_object *object = fault->object;
    const struct pgl_pager_range *range = &object->config.pager_range;
    const struct pgl_view window = {fault->first, fault->last, fault->first};
    const struct pgl_view pager = {range->first, range->last, 0};
    enum pgl_advice advice = pgl_advice_effective(fault->place.advice, object->advice);
    bool adapts = advice == PGL_ADVICE_ADAPTIVE && data && npages > 0;
    struct pgl_cluster cluster = {.first = fault->index, .last = fault->index};
    struct pgl_cluster_args args = {
        .demand = fault->index,
        .object_last = object->config.last,
        .entry = &window,
        .pager = &pager,
        .row = object->table.row[advice],
        .budget = npages,
        .forward = advice == PGL_ADVICE_SEQUENTIAL,
        .eligible = {.word = data ? pgl_object_absent_word : pgl_object_unreadable_word, .arg = object},
    };

    if (adapts) {
        args.row = pgl_advisor_window(&object->advisor, fault->index, &object->table.row[advice]);
    }
    pgl_cluster_decide(&args, &cluster);
    if (adapts) {
        pgl_advisor_note(&object->advisor, &cluster);
    }
    return cluster;
}

static bool mark_neighbour(struct pgl_object *object, uint64_t index, uint64_t id)
{
    struct page page;

    if (!pgl_object_page_make(object, index, &page) ||
        (object->config.internal && !pgl_object_page_has_frame(object, page))) {
        return false;
    }
    pgl_object_page_mark(object, page, id, true);
    page.chunk->speculative |= page.chunk->busy & page.bit;
    return true;
}

/* Marks a cluster from the demand page outward, and cuts it where memory runs short. */
static void mark_outward(struct pgl_fault *fault, struct pgl_cluster *cluster, uint64_t id)
{
    uint64_t first = fault->index;
    uint64_t last = fault->index;
    bool more = true;

    while (more && (first > cluster->first || last < cluster->last)) {
        if (last < cluster->last) {
            more = mark_neighbour(fault->object, last + 1, id);
            last += more;
        }
        if (more && first > cluster->first) {
            more = mark_neighbour(fault->object, first - 1, id);
            first -= more;
        }
    }
    cluster->has_behind = cluster->has_behind && first == cluster->first; /* else it ends before something not asked */
    cluster->first = first;
    cluster->last = last;
}

/* The pager did not take the request, or not all of it. Unlocked. */
static bool refused(struct pgl_fault *fault, int error)
{
    enum pgl_fault_result result = error == EAGAIN   ? PGL_FAULT_RETRY
                                   : error == EINTR  ? PGL_FAULT_INTERRUPTED
                                   : error == ENOMEM ? PGL_FAULT_MEMORY_SHORTAGE
                                                     : PGL_FAULT_MEMORY_ERROR;
    enum outcome outcome = result == PGL_FAULT_MEMORY_ERROR ? OUTCOME_ERROR : OUTCOME_AGAIN;
    struct pgl_object *object = fault->object;
    struct wake_list list = {NULL};
    bool unanswered;

    pthread_mutex_lock(&object->lock);
    unanswered = pgl_object_dequeue(object, &fault->waiter);
    pgl_object_roll_back(object, fault->id, fault->asked_first, fault->asked_last, outcome, &list);
    pthread_mutex_unlock(&object->lock);
    pgl_wake_all(&list);
    if (!unanswered) {
        return false; /* its own page was answered, or it was interrupted: that is on its way */
    }
    fault->waiting = false;
    return fail(fault, result);
}

/* Tells the pager, with nothing locked. The answer for the demand page may have come before this returns. */
static bool send_request(struct pgl_fault *fault, const struct pgl_cluster *cluster, bool data, enum pgl_access access)
{
    const struct pgl_object_config *config = &fault->object->config;
    uint64_t pager_first = config->pager_range.first;
    const struct pgl_request request = {
        .id = fault->id,
        .object = fault->object,
        .range = {cluster->first + pager_first, cluster->last + pager_first},
        .pager_demand = fault->index + pager_first,
        .access = access,
        .cookie = fault->args.cookie,
    };
    int error = data ? config->pager_ops->data_request(config->pager, &request)
                     : config->pager_ops->access_request(config->pager, &request);

    if (error == 0 && data && cluster->has_behind && config->pager_ops->behind != NULL) {
        struct pgl_pager_range behind = {cluster->behind_first + pager_first, cluster->behind_last + pager_first};

        config->pager_ops->behind(config->pager, fault->object, behind);
    }
    return error != 0 && refused(fault, error);
}

/* The page is absent, in error, or resident with less access than wanted; nobody else has asked. */
static bool step_ask(struct pgl_fault *fault, struct page page)
{
    struct pgl_object *object = fault->object;
    const struct pgl_object_config *config = &object->config;
    bool data = page.chunk == NULL || !page_is(page, page.chunk->resident);
    bool in_error = page.chunk != NULL && page_is(page, page.chunk->error);
    enum pgl_access access = wanted(fault);
    struct pgl_cluster cluster;

    if (object->terminated || !object_has_pager_for(object, fault->index) ||
        (!data && config->pager_ops->access_request == NULL)) {
        return unlock_and_fail(fault, PGL_FAULT_MEMORY_ERROR);
    }
    if (!object->ready || (config->credits != 0 && object->stats.outstanding >= config->credits)) {
        return (fault->args.flags & PGL_FAULT_FLAG_NO_WAIT) != 0 ? unlock_and_fail(fault, PGL_FAULT_RETRY)
                                                                 : step_wait(fault, &object->queue);
    }
    if (!pgl_object_page_make(object, fault->index, &page) ||
        (config->internal && !pgl_object_page_has_frame(object, page))) {
        return unlock_and_fail(fault, PGL_FAULT_MEMORY_SHORTAGE);
    }

    fault->id = ++object->last_id;
    pgl_object_page_mark(object, page, fault->id, true);
    if (!pgl_object_queue(object, &fault->waiter, &page.chunk->queue, fault->index)) {
        pgl_object_page_unmark(object, page);
        fault->id = 0;
        return unlock_and_fail(fault, PGL_FAULT_INTERRUPTED);
    }
    fault->waiting = true;
    fault->asked = object;
    cluster = choose(fault, data, budget(fault, data, in_error));
    mark_outward(fault, &cluster, fault->id);
    fault->asked_first = cluster.first;
    fault->asked_last = cluster.last;
    counts(fault)->requests += data;
    counts(fault)->demanded += data;
    counts(fault)->speculative += data ? cluster.last - cluster.first : 0;
    counts(fault)->unlocks += !data;
    pthread_mutex_unlock(&object->lock);
    return send_request(fault, &cluster, data, access);
}

/* The page is resident and may be used. */
static bool step_found(struct pgl_fault *fault, struct page page)
{
    struct pgl_object *object = fault->object;
    bool writable = at_top(fault) && page_is(page, page.chunk->writable);

    counts(fault)->used += page_is(page, page.chunk->speculative);
    page.chunk->speculative &= ~page.bit;
    page.chunk->wires[page.slot] += (fault->args.flags & PGL_FAULT_FLAG_WIRE) != 0;
    fault->found = (struct pgl_fault_page){
        .object = object,
        .index = fault->index,
        .frame = page_frame(object, page),
        .access = writable ? PGL_ACCESS_WRITE : PGL_ACCESS_READ,
        .hit = fault->hit,
    };
    pthread_mutex_unlock(&object->lock);
    drop_placeholder(fault, OUTCOME_AGAIN);
    return done(fault, PGL_FAULT_SUCCESS);
}

/*
 * Makes the page in the top object, which is locked: a copy of a lower object's, locked too and let go of here, or
 * zeros. It is absent in the top object, but for a placeholder of ours.
 */
static bool make_in_top(struct pgl_fault *fault, struct pgl_object *lower, const void *frame)
{
    struct pgl_object *top = fault->place.object;
    struct wake_list list = {NULL};
    struct page page;
    bool made;

    fault->object = top;
    fault->index = fault->place.index;
    made = pgl_object_page_make(top, fault->index, &page) && pgl_object_page_has_frame(top, page);
    if (made) {
        pgl_object_page_fill(top, page, frame, PGL_ACCESS_WRITE);
        pgl_object_page_settle(top, page, OUTCOME_SUPPLIED, &list);
    }
    if (lower != NULL) {
        pthread_mutex_unlock(&lower->lock);
    }
    if (!made) {
        return unlock_and_fail(fault, PGL_FAULT_MEMORY_SHORTAGE);
    }
    fault->placeholder = 0;
    step_found(fault, page);
    pgl_wake_all(&list);
    return true;
}

/* A page of a lower object is to be written: the top object gets a copy in place of the placeholder. */
static bool step_copy_up(struct pgl_fault *fault)
{
    struct pgl_object *lower = fault->object;
    struct page page;

    pthread_mutex_unlock(&lower->lock);
    pthread_mutex_lock(&fault->place.object->lock);
    pthread_mutex_lock(&lower->lock);
    page = pgl_object_page_find(lower, fault->index);
    if (!page_is(page, page.chunk->readable)) { /* it went while nothing was locked: look again */
        pthread_mutex_unlock(&fault->place.object->lock);
        pthread_mutex_unlock(&lower->lock);
        return false;
    }
    counts(fault)->used += page_is(page, page.chunk->speculative);
    page.chunk->speculative &= ~page.bit;
    return make_in_top(fault, lower, page_frame(lower, page));
}

/* The chain ends here without the page. */
static bool step_end_of_chain(struct pgl_fault *fault)
{
    const struct pgl_object_config *config = &fault->object->config;

    if ((config->pager_ops != NULL && !config->internal) || (fault->args.flags & PGL_FAULT_FLAG_RESIDENT) != 0) {
        return unlock_and_fail(fault, PGL_FAULT_NO_DATA);
    }
    if (!at_top(fault)) {
        pthread_mutex_unlock(&fault->object->lock);
        pthread_mutex_lock(&fault->place.object->lock);
    }
    return make_in_top(fault, NULL, NULL);
}

/* Where the fault begins, or begins again. */
static void go_to_top(struct pgl_fault *fault)
{
    fault->object = fault->place.object;
    fault->index = fault->place.index;
    fault->first = fault->place.first;
    fault->last = fault->place.last;
    fault->no_data = false;
}

static bool has_below(const struct pgl_fault *fault)
{
    const struct pgl_object_config *config = &fault->object->config;

    return config->backing != NULL && fault->index <= config->backing->config.last - config->backing_first;
}

/* Whether a fault in the top object may go down without a placeholder. One that has asked there may not ask again. */
static bool may_look(const struct pgl_fault *fault)
{
    return (fault->args.flags & PGL_FAULT_FLAG_RESIDENT) != 0 ||
           (fault->args.access == PGL_ACCESS_READ && !fault->looked && !fault->no_data);
}

/* Goes on in the object that this one shadows. */
static bool step_down(struct pgl_fault *fault)
{
    struct pgl_object *object = fault->object;
    struct pgl_object *backing = object->config.backing;
    uint64_t shift = object->config.backing_first;
    struct page page;

    if (at_top(fault) && !may_look(fault)) {
        count_miss(fault, false);
        if (!pgl_object_page_make(object, fault->index, &page)) {
            return unlock_and_fail(fault, PGL_FAULT_MEMORY_SHORTAGE);
        }
        fault->placeholder = ++object->last_id;
        pgl_object_page_mark(object, page, fault->placeholder, false);
    }
    pthread_mutex_unlock(&object->lock);

    if (fault->last > backing->config.last - shift) {
        fault->last = backing->config.last - shift;
    }
    fault->object = backing;
    fault->index += shift;
    fault->first += shift;
    fault->last += shift;
    fault->no_data = false;
    return false;
}

/* It was only looked for, and is not to be had for that. */
static bool step_back_to_top(struct pgl_fault *fault)
{
    pthread_mutex_unlock(&fault->object->lock);
    go_to_top(fault);
    fault->looked = true;
    return false;
}

static bool step(struct pgl_fault *fault)
{
    struct pgl_object *object = fault->object;
    struct page page;
    bool resident, usable, taken, none_here;

    pthread_mutex_lock(&object->lock);
    page = pgl_object_page_find(object, fault->index);
    resident = page.chunk != NULL && page_is(page, page.chunk->resident);
    usable = resident && page_is(page, wanted(fault) == PGL_ACCESS_WRITE ? page.chunk->writable : page.chunk->readable);
    if (!fault->counted) {
        counts(fault)->touches++;
        fault->counted = true;
    }
    if (usable && !at_top(fault) && fault->args.access == PGL_ACCESS_WRITE) {
        return (fault->args.flags & PGL_FAULT_FLAG_RESIDENT) != 0 ? unlock_and_fail(fault, PGL_FAULT_NO_DATA)
                                                                  : step_copy_up(fault);
    }
    if (usable) {
        return step_found(fault, page);
    }
    taken = page.chunk != NULL && page_is(page, page.chunk->busy | page.chunk->asked);
    none_here = !resident && !taken && (fault->no_data || !object_has_pager_for(object, fault->index));
    if (none_here && has_below(fault)) {
        return step_down(fault);
    }
    if (!at_top(fault) && fault->placeholder == 0 && (fault->args.flags & PGL_FAULT_FLAG_RESIDENT) == 0) {
        return step_back_to_top(fault);
    }
    count_miss(fault, resident);
    if (taken) {
        return step_wait(fault, &page.chunk->queue);
    }
    if (none_here) {
        return step_end_of_chain(fault);
    }
    if ((fault->args.flags & PGL_FAULT_FLAG_RESIDENT) != 0) {
        return unlock_and_fail(fault, PGL_FAULT_NO_DATA);
    }
    return step_ask(fault, page);
}

/* The wait is over. What was asked for beside the demand page stays with the pager unless this fault fails. */
static bool heed(struct pgl_fault *fault, enum outcome outcome)
{
    switch (outcome) {
    case OUTCOME_SUPPLIED:
        break;
    case OUTCOME_AGAIN:
        count_retry(fault);
        break;
    case OUTCOME_NO_DATA:
        fault->no_data = true;
        break;
    case OUTCOME_ERROR:
        return fail(fault, PGL_FAULT_MEMORY_ERROR);
    case OUTCOME_SHORTAGE:
        return fail(fault, PGL_FAULT_MEMORY_SHORTAGE);
    case OUTCOME_INTERRUPTED:
        return fail(fault, PGL_FAULT_INTERRUPTED);
    }
    return false;
}

/* Finds the object, through the entry if there is a map. */
static bool find_place(struct pgl_fault *fault)
{
    const struct pgl_fault_args *args = &fault->args;

    if (args->map != NULL) {
        if (!pgl_map_copy_place(args->map, args->index, &fault->place)) {
            return false;
        }
    } else {
        if (args->index > args->object->config.last) {
            return false;
        }
        fault->place = (struct place){
            .object = pgl_object_ref(args->object), .index = args->index, .last = args->object->config.last};
    }
    go_to_top(fault);
    fault->looked = false;
    fault->id = 0;
    fault->placed = true;
    return true;
}

/* Whether the result stands: not where the entry was changed meanwhile and the page is another one now. */
static bool conclude(struct pgl_fault *fault)
{
    bool stands = fault->args.map == NULL || fault->result == PGL_FAULT_RETRY ||
                  fault->result == PGL_FAULT_INTERRUPTED ||
                  pgl_map_has_place(fault->args.map, fault->args.index, &fault->place);

    if (!stands) {
        if (fault->result == PGL_FAULT_SUCCESS && (fault->args.flags & PGL_FAULT_FLAG_WIRE) != 0) {
            pgl_object_unwire(fault->found.object, fault->found.index);
        }
        count_retry(fault);
        fault->hit = false;
    }
    pgl_object_unref(fault->place.object);
    fault->placed = false;
    return stands;
}

static enum pgl_fault_result drive(struct pgl_fault *fault, struct pgl_fault_page *page)
{
    for (;;) {
        enum outcome outcome;
        bool over;

        if (fault->waiting) {
            if (!pgl_waiter_await(&fault->waiter, &outcome)) {
                return PGL_FAULT_PENDING; /* from here on the fault belongs to whoever continues it */
            }
            fault->waiting = false;
            over = heed(fault, outcome);
        } else if (fault->placed || find_place(fault)) {
            over = step(fault);
        } else {
            return PGL_FAULT_NO_ENTRY;
        }
        if (over && conclude(fault)) {
            if (page != NULL && fault->result == PGL_FAULT_SUCCESS) {
                *page = fault->found;
            }
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
    const unsigned flags =
        PGL_FAULT_FLAG_WIRE | PGL_FAULT_FLAG_RESIDENT | PGL_FAULT_FLAG_NO_WAIT | PGL_FAULT_FLAG_RETRIED;

    return (args->map != NULL || args->object != NULL) && (args->flags & ~flags) == 0 &&
           (args->access == PGL_ACCESS_READ || args->access == PGL_ACCESS_WRITE);
}

enum pgl_fault_result pgl_fault_start(struct pgl_fault *fault, const struct pgl_fault_args *args,
                                      struct pgl_fault_page *page, void (*ready)(void *arg), void *arg)
{
    if (!args_are_valid(args)) {
        errno = EINVAL;
        return PGL_FAULT_INVALID;
    }
    fault->args = *args;
    fault->counted = false;
    fault->hit = true;
    fault->waiter.ready = ready;
    fault->waiter.arg = arg;
    return drive(fault, page);
}

enum pgl_fault_result pgl_fault_continue(struct pgl_fault *fault, struct pgl_fault_page *page)
{
    return drive(fault, page);
}
