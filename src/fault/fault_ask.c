/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Asking a pager: lock the window, reserve a credit, queue the fault, mark the demand page, choose the cluster, mark it
 * outward, return the credits that are left, unlock, send one request.
 *
 * OUT OF ORDER The pager may reply before data_request() has returned, because the fault is queued before it asks.
 * REFUSAL      If the pager refuses the request, the marks that are left are removed. The fault fails only if its own
 *              page was not answered before: then it is still queued.
 */
#include <errno.h>

#include "../probe_internal.h"
#include "fault_internal.h"
#include "heap_internal.h"

/* The window of a prefetch. */
static struct pgl_advice_row prefetched_row(const struct pgl_fault *fault)
{
    uint64_t after = fault->prefetch - 1;

    return (struct pgl_advice_row){.after = after < UINT32_MAX ? (uint32_t)after : UINT32_MAX};
}

static uint32_t wider(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

/*
 * The pages of the current object that a choice looks at: the window of the advice, what the advisor watches, and the
 * cluster of the working set; or the pages of a prefetch.
 */
static void window_of(const struct pgl_fault *fault, uint64_t *first, uint64_t *last)
{
    const struct pgl_object *object = fault->object;
    enum pgl_advice advice = pgl_advice_effective(fault->place.advice, object->advice);
    struct pgl_advice_row row = object->table.row[advice];
    uint64_t end = fault->last < object->config.last ? fault->last : object->config.last;
    struct pgl_advice_row recorded;

    if (advice == PGL_ADVICE_ADAPTIVE && (row.before > 0 || row.after > 0)) {
        row.before = wider(row.before, PGL_ADVISOR_ROOM);
        row.after = wider(row.after, PGL_ADVISOR_ROOM);
    }
    if (fault->prefetch > 0) {
        row = prefetched_row(fault);
    } else if (pgl_object_recorded_row(object, fault->index, &recorded)) {
        row.before = wider(row.before, recorded.before);
        row.after = wider(row.after, recorded.after);
    }

    *first = fault->index - fault->first > row.before ? fault->index - row.before : fault->first;
    *last = end - fault->index > row.after ? fault->index + row.after : end;
}

/*
 * The number of pages that may be requested beside the demand page, as memory allows. None on a retry. Until they are
 * settled, no other fault counts on *promised of the spare frames.
 */
static uint64_t budget(const struct pgl_fault *fault, bool data, bool in_error, uint64_t *promised)
{
    const struct pgl_object *object = fault->object;
    uint64_t npages = UINT64_MAX;
    uint64_t first, last;

    *promised = 0;
    if (in_error || (fault->args.flags & (PGL_FAULT_FLAG_WIRE | PGL_FAULT_FLAG_RETRIED)) != 0) {
        return 0;
    }
    window_of(fault, &first, &last);
    if (object->config.credits != 0) { /* reserve no more than there is use for */
        npages = last - first;
    }
    if (object->frames && data) {
        uint64_t spare = pgl_frames_promise(object->frames, last - first, promised);

        npages = npages < spare ? npages : spare;
    }
    return npages;
}

/* Let the object's advisor choose, which is made when it is first needed. Without memory for it: the page alone. */
static enum pgl_reason adapt(struct pgl_object *object, const struct pgl_cluster_args *args,
                             struct pgl_cluster *cluster)
{
    enum pgl_reason reason = PGL_REASON_ALONE;

    pthread_mutex_lock(&object->advisor_lock);
    if (!object->advisor) {
        object->advisor = pgl_heap_alloc(object->config.heap_ops, object->config.heap, sizeof(*object->advisor));
        if (object->advisor) {
            pgl_advisor_init(object->advisor, &object->costs);
        }
    }
    if (object->advisor) {
        reason = pgl_advisor_decide(object->advisor, args, cluster);
    }
    pthread_mutex_unlock(&object->advisor_lock);
    return reason;
}

/*
 * Let the working set choose. Pages that it does not have are its business only if the advice is adaptive. Only then
 * it changes with the faults, and needs the lock.
 */
static enum pgl_reason follow(struct pgl_object *object, bool adapts, const struct pgl_cluster_args *args,
                              struct pgl_cluster *cluster)
{
    enum pgl_reason reason;

    if (!adapts) {
        return pgl_workset_decide(object->workset, NULL, args, cluster);
    }
    pthread_mutex_lock(&object->advisor_lock);
    reason = pgl_workset_decide(object->workset, &object->doubts, args, cluster);
    pthread_mutex_unlock(&object->advisor_lock);
    return reason;
}

/* The access that a request asks for to the neighbours of its page. */
static enum pgl_access neighbours_wanted(const struct pgl_fault *fault, bool data)
{
    bool unlocks = !data && fault->object->config.unlock_clusters;

    return unlocks && pgl_fault_wanted(fault) == PGL_ACCESS_WRITE ? PGL_ACCESS_WRITE : PGL_ACCESS_READ;
}

/* Widen a cluster, which has the demand page alone, by the arguments. Returns the reason. */
static enum pgl_reason choose_by(const struct pgl_fault *fault, bool data, enum pgl_advice advice,
                                 struct pgl_cluster_args *args, struct pgl_cluster *cluster)
{
    struct pgl_object *object = fault->object;
    bool adapts = advice == PGL_ADVICE_ADAPTIVE && data;
    bool grows = args->budget > 0;

    if (fault->prefetch > 0) {
        args->row = prefetched_row(fault);
        pgl_cluster_decide(args, cluster);
        return PGL_REASON_PREFETCH;
    }
    if (data && grows && object->workset) {
        enum pgl_reason reason = follow(object, adapts, args, cluster);

        if (reason != PGL_REASON_OUTSIDE) {
            return reason;
        }
    }
    if (adapts) {
        return grows ? adapt(object, args, cluster) : PGL_REASON_ALONE;
    }
    pgl_cluster_decide(args, cluster);
    return grows && (args->row.before > 0 || args->row.after > 0) ? PGL_REASON_ROW : PGL_REASON_ALONE;
}

/*
 * Choose the cluster around the demand page, which is marked already, and count the reason. Eligibility differs between
 * data and access.
 */
static struct pgl_cluster choose(const struct pgl_fault *fault, bool data, uint64_t npages)
{
    bool unlocks = neighbours_wanted(fault, data) == PGL_ACCESS_WRITE;
    struct pgl_object *object = fault->object;
    const struct pgl_pager_range *range = &object->config.pager_range;
    const struct pgl_view window = {fault->first, fault->last, fault->first};
    const struct pgl_view pager = {range->first, range->last, 0};
    enum pgl_advice advice = pgl_advice_effective(fault->place.advice, object->advice);
    struct pgl_cluster cluster = {.first = fault->index, .last = fault->index};
    struct pgl_cluster_args args = {
        .demand = fault->index,
        .object_last = object->config.last,
        .entry = &window,
        .pager = &pager,
        .row = object->table.row[advice],
        .budget = npages,
        .forward = advice == PGL_ADVICE_SEQUENTIAL,
        .eligible = {.word = data      ? pgl_object_absent_word
                             : unlocks ? pgl_object_unwritable_word
                                       : pgl_object_unreadable_word,
                     .arg = object},
    };
    enum pgl_reason reason = choose_by(fault, data, advice, &args, &cluster);

    pgl_object_shard(object, fault->index)->by_reason[reason] += data;
    return cluster;
}

static bool mark_neighbour(struct pgl_object *object, uint64_t index, uint64_t id)
{
    struct pgl_object_page page;

    if (!pgl_object_page_make(object, index, &page) ||
        (object->config.internal && !pgl_object_page_has_frame(object, page))) {
        return false;
    }
    pgl_object_page_mark(object, page, id, true);
    if (pgl_object_page_is(page, page.chunk->busy)) {
        pgl_object_page_speculate(page, true);
    }
    return true;
}

/* Mark a cluster from the demand page outward, and end it where memory runs short. */
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
    cluster->has_behind = cluster->has_behind && first == cluster->first; /* else a gap lies between the two */
    cluster->first = first;
    cluster->last = last;
}

/* Nothing locked. Handle a request that the pager refused in part or as a whole. */
static bool refused(struct pgl_fault *fault, int error)
{
    enum pgl_fault_result result = error == EAGAIN   ? PGL_FAULT_RETRY
                                   : error == EINTR  ? PGL_FAULT_INTERRUPTED
                                   : error == ENOMEM ? PGL_FAULT_MEMORY_SHORTAGE
                                                     : PGL_FAULT_MEMORY_ERROR;
    enum pgl_outcome outcome = result == PGL_FAULT_MEMORY_ERROR ? PGL_OUTCOME_ERROR : PGL_OUTCOME_AGAIN;
    struct pgl_object *object = fault->object;
    struct pgl_wake_list list = {NULL};
    bool unanswered;

    pgl_object_lock(object, fault->asked_first, fault->asked_last);
    unanswered = fault->waiter.room == &pgl_object_shard(object, fault->index)->room;
    if (unanswered) {
        pgl_waiter_dequeue(&fault->waiter);
    }
    pgl_object_roll_back(object, fault->id, fault->asked_first, fault->asked_last, outcome, &list);
    pgl_object_unlock(object, fault->asked_first, fault->asked_last);
    pgl_wake_all(&list);
    if (!unanswered) {
        return false; /* its page was answered, or it was interrupted: the outcome is there or about to be */
    }
    fault->waiting = false;
    return pgl_fault_fail(fault, result);
}

/* Nothing locked. Send the request. The demand page may be answered before this returns. */
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
        .neighbour_access = neighbours_wanted(fault, data),
        .cookie = fault->args.cookie,
    };

    PGL_PROBE(request, fault->object, request.id, request.range.first, request.range.last, request.pager_demand,
              request.access, data);
    int error = data ? config->pager_ops->data_request(config->pager, &request)
                     : config->pager_ops->access_request(config->pager, &request);

    if (error == 0 && data && cluster->has_behind && config->pager_ops->behind) {
        struct pgl_pager_range behind = {cluster->behind_first + pager_first, cluster->behind_last + pager_first};

        config->pager_ops->behind(config->pager, fault->object, behind);
    }
    return error != 0 && refused(fault, error);
}

/*
 * Lock the shards of the whole window, because the cluster may reach into each of them. Returns false if they were not
 * locked before: then the page has to be looked at again.
 */
static bool lock_window(struct pgl_fault *fault)
{
    uint64_t first, last;

    window_of(fault, &first, &last);
    fault->widened = first / PGL_STRIPE_PAGES < fault->locked_first / PGL_STRIPE_PAGES ||
                     last / PGL_STRIPE_PAGES > fault->locked_last / PGL_STRIPE_PAGES;
    if (fault->widened) {
        pgl_fault_unlock(fault);
        pgl_fault_lock(fault, first, last);
    }
    return !fault->widened;
}

/* Reserve a credit for the demand page. Otherwise the fault waits for one, or fails, and *over is the step's result. */
static bool claim_credit(struct pgl_fault *fault, bool *over)
{
    bool waits = (fault->args.flags & PGL_FAULT_FLAG_NO_WAIT) == 0;
    enum pgl_claim claim = PGL_CLAIM_GRANTED;

    if (!fault->credit) {
        claim = pgl_credit_claim(fault->object, waits ? &fault->waiter : NULL, fault->index);
    }
    if (claim == PGL_CLAIM_GRANTED) {
        fault->credit = fault->object;
        return true;
    }
    if (claim == PGL_CLAIM_NONE) {
        *over = pgl_fault_unlock_and_fail(fault, waits ? PGL_FAULT_INTERRUPTED : PGL_FAULT_RETRY);
        return false;
    }
    pgl_fault_unlock_and_wait(fault);
    *over = false;
    return false;
}

void pgl_fault_drop_credit(struct pgl_fault *fault)
{
    struct pgl_wake_list list = {NULL};

    if (fault->credit) {
        pgl_credit_spend(fault->credit, 1, 0, &list);
        fault->credit = NULL;
        pgl_wake_all(&list);
    }
}

/* The demand page is marked and the fault is queued. Mark its neighbours, unlock, and send the request. */
static bool ask_with_neighbours(struct pgl_fault *fault, bool data, bool in_error)
{
    struct pgl_object *object = fault->object;
    uint64_t promised;
    uint64_t npages = pgl_credit_reserve(object, budget(fault, data, in_error, &promised));
    struct pgl_cluster cluster = choose(fault, data, npages);
    struct pgl_fault_counts *counts = pgl_fault_counts(fault);
    struct pgl_wake_list list = {NULL};

    mark_outward(fault, &cluster, fault->id);
    if (promised > 0) { /* the pages are marked, or have their frames */
        pgl_frames_settle(object->frames, promised);
    }
    pgl_credit_spend(object, 1 + npages, 1 + cluster.last - cluster.first, &list);
    fault->credit = NULL;
    fault->asked_first = cluster.first;
    fault->asked_last = cluster.last;
    counts->requests += data;
    counts->demanded += data && fault->prefetch == 0;
    counts->speculative += data ? cluster.last - cluster.first + (fault->prefetch > 0) : 0;
    counts->unlocks += !data;
    if (data && fault->prefetch == 0) {
        pgl_object_report_touch(object, fault->index);
    }
    pgl_fault_unlock(fault);
    pgl_wake_all(&list);
    return send_request(fault, &cluster, data, pgl_fault_wanted(fault));
}

/* Ask for a page that is absent, in error, or resident with too little access, and that is not asked for yet. */
bool pgl_fault_ask(struct pgl_fault *fault, struct pgl_object_page page)
{
    struct pgl_object *object = fault->object;
    const struct pgl_object_config *config = &object->config;
    bool data = !page.chunk || !pgl_object_page_is(page, page.chunk->resident);
    bool in_error = page.chunk && pgl_object_page_is(page, page.chunk->error);
    bool over;

    if (object->terminated || !pgl_object_has_pager_for(object, fault->index) ||
        (!data && !config->pager_ops->access_request)) {
        return pgl_fault_unlock_and_fail(fault, PGL_FAULT_MEMORY_ERROR);
    }
    if (!lock_window(fault)) {
        return false;
    }
    if (!claim_credit(fault, &over)) {
        return over;
    }
    if (!pgl_object_page_make(object, fault->index, &page) ||
        (config->internal && !pgl_object_page_has_frame(object, page))) {
        return pgl_fault_unlock_and_fail(fault, PGL_FAULT_MEMORY_SHORTAGE);
    }
    if (!pgl_waiter_queue(&fault->waiter, &page.chunk->queue, &page.shard->room, fault->index)) {
        if (data) {
            pgl_object_page_drop_frame(object, page);
        }
        return pgl_fault_unlock_and_fail(fault, PGL_FAULT_INTERRUPTED);
    }
    fault->waiting = true;
    fault->asked = object;
    fault->id = pgl_object_new_id(object, fault->index);
    pgl_object_page_mark(object, page, fault->id, true);
    if (fault->prefetch > 0) {
        pgl_object_page_speculate(page, true);
    }
    return ask_with_neighbours(fault, data, in_error);
}
