/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Asking a pager: mark the demand page, queue the fault, choose the cluster, mark it outward, unlock, send one request.
 *
 * OUT OF ORDER The pager may reply before data_request() has returned, because the fault is queued before it asks.
 * REFUSAL      If the pager refuses the request, the marks that are left are removed. The fault fails only if its own
 *              page was not answered before: then it is still queued.
 */
#include <errno.h>

#include "fault_internal.h"
#include "heap_internal.h"

/* The number of pages that may be requested beside the demand page, as credits and memory allow. None on a retry. */
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
    if (config->memory_ops && data) {
        uint64_t spare = config->memory_ops->spare(config->memory);
        uint64_t owed = config->internal ? 0 : outstanding; /* an external object allocates its frames at the reply */

        spare -= spare < owed ? spare : owed;
        npages = npages < spare ? npages : spare;
    }
    return npages;
}

/* The advisor of an object, made when it is first needed; NULL if there is no memory for it. */
static struct pgl_advisor *advisor_of(struct pgl_object *object)
{
    if (!object->advisor) {
        object->advisor = pgl_heap_alloc(object->config.heap_ops, object->config.heap, sizeof(*object->advisor));
        if (object->advisor) {
            pgl_advisor_init(object->advisor, &object->costs);
        }
    }
    return object->advisor;
}

/*
 * Choose the cluster around the demand page, which is marked already, and count the reason. Eligibility differs between
 * data and access.
 */
static struct pgl_cluster choose(const struct pgl_fault *fault, bool data, uint64_t npages)
{
    struct pgl_object *object = fault->object;
    const struct pgl_pager_range *range = &object->config.pager_range;
    const struct pgl_view window = {fault->first, fault->last, fault->first};
    const struct pgl_view pager = {range->first, range->last, 0};
    enum pgl_advice advice = pgl_advice_effective(fault->place.advice, object->advice);
    struct pgl_advisor *advisor = advice == PGL_ADVICE_ADAPTIVE && data && npages > 0 ? advisor_of(object) : NULL;
    enum pgl_reason reason = PGL_REASON_ALONE;
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

    if (advisor) {
        reason = pgl_advisor_decide(advisor, &args, &cluster);
    } else if (advice != PGL_ADVICE_ADAPTIVE || !data) {
        pgl_cluster_decide(&args, &cluster);
        reason = npages > 0 && (args.row.before > 0 || args.row.after > 0) ? PGL_REASON_ROW : PGL_REASON_ALONE;
    }
    object->stats.by_reason[reason] += data;
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
    page.chunk->speculative |= page.chunk->busy & page.bit;
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

    pthread_mutex_lock(&object->lock);
    unanswered = pgl_object_dequeue(object, &fault->waiter);
    pgl_object_roll_back(object, fault->id, fault->asked_first, fault->asked_last, outcome, &list);
    pthread_mutex_unlock(&object->lock);
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
        .cookie = fault->args.cookie,
    };
    int error = data ? config->pager_ops->data_request(config->pager, &request)
                     : config->pager_ops->access_request(config->pager, &request);

    if (error == 0 && data && cluster->has_behind && config->pager_ops->behind) {
        struct pgl_pager_range behind = {cluster->behind_first + pager_first, cluster->behind_last + pager_first};

        config->pager_ops->behind(config->pager, fault->object, behind);
    }
    return error != 0 && refused(fault, error);
}

/* Ask for a page that is absent, in error, or resident with too little access, and that is not asked for yet. */
bool pgl_fault_ask(struct pgl_fault *fault, struct pgl_object_page page)
{
    struct pgl_object *object = fault->object;
    const struct pgl_object_config *config = &object->config;
    bool data = !page.chunk || !pgl_object_page_is(page, page.chunk->resident);
    bool in_error = page.chunk && pgl_object_page_is(page, page.chunk->error);
    enum pgl_access access = pgl_fault_wanted(fault);
    struct pgl_cluster cluster;

    if (object->terminated || !pgl_object_has_pager_for(object, fault->index) ||
        (!data && !config->pager_ops->access_request)) {
        return pgl_fault_unlock_and_fail(fault, PGL_FAULT_MEMORY_ERROR);
    }
    if (!object->ready || (config->credits != 0 && object->stats.outstanding >= config->credits)) {
        return (fault->args.flags & PGL_FAULT_FLAG_NO_WAIT) != 0 ? pgl_fault_unlock_and_fail(fault, PGL_FAULT_RETRY)
                                                                 : pgl_fault_wait(fault, &object->queue);
    }
    if (!pgl_object_page_make(object, fault->index, &page) ||
        (config->internal && !pgl_object_page_has_frame(object, page))) {
        return pgl_fault_unlock_and_fail(fault, PGL_FAULT_MEMORY_SHORTAGE);
    }

    fault->id = ++object->last_id;
    pgl_object_page_mark(object, page, fault->id, true);
    if (!pgl_object_queue(object, &fault->waiter, &page.chunk->queue, fault->index)) {
        pgl_object_page_unmark(object, page);
        fault->id = 0;
        return pgl_fault_unlock_and_fail(fault, PGL_FAULT_INTERRUPTED);
    }
    fault->waiting = true;
    fault->asked = object;
    cluster = choose(fault, data, budget(fault, data, in_error));
    mark_outward(fault, &cluster, fault->id);
    fault->asked_first = cluster.first;
    fault->asked_last = cluster.last;
    pgl_fault_counts(fault)->requests += data;
    pgl_fault_counts(fault)->demanded += data;
    pgl_fault_counts(fault)->speculative += data ? cluster.last - cluster.first : 0;
    pgl_fault_counts(fault)->unlocks += !data;
    pthread_mutex_unlock(&object->lock);
    return send_request(fault, &cluster, data, access);
}
