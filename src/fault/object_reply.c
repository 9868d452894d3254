/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A pager's replies: supply, no data, error, grant; and offer and withhold, which need no request.
 *
 * STALE        A reply changes a page only if the page is asked for under the reply's id. All other pages that it names
 *              are counted: resident ones as duplicates, the rest as aliens.
 * PROGRESS     The answer of a page wakes the faults that wait for it, after the object was unlocked.
 */
#include "../probe_internal.h"
#include "object_internal.h"

enum reply_kind { REPLY_SUPPLY, REPLY_NO_DATA, REPLY_ERROR, REPLY_GRANT };

struct reply {
    enum reply_kind kind;
    uint64_t id;
    enum pgl_access access;
    const char *data; /* the bytes of the object's page `first` */
    uint64_t first;
    uint64_t taken;
    uint64_t duplicates;
    uint64_t failed; /* pages that were supplied, but for which there was no frame */
    struct pgl_wake_list list;
};

/* Answer a busy page. */
static void answer_data(struct pgl_object *object, struct pgl_object_page page, struct reply *reply)
{
    enum pgl_outcome outcome = PGL_OUTCOME_SUPPLIED;

    if (reply->kind == REPLY_SUPPLY && pgl_object_page_has_frame(object, page)) {
        uint64_t distance = page.chunk->number * PGL_CHUNK_PAGES + page.slot - reply->first;
        const char *data = reply->data ? reply->data + distance * object->config.page_size : NULL;

        pgl_object_page_fill(object, page, data, reply->access, &reply->list);
    } else {
        pgl_object_page_unmark(object, page, &reply->list);
        page.chunk->error |= reply->kind == REPLY_ERROR ? page.bit : 0;
        page.chunk->error &= reply->kind == REPLY_NO_DATA ? ~page.bit : UINT64_MAX;
        outcome = reply->kind == REPLY_SUPPLY    ? PGL_OUTCOME_SHORTAGE
                  : reply->kind == REPLY_NO_DATA ? PGL_OUTCOME_NO_DATA
                                                 : PGL_OUTCOME_ERROR;
    }
    reply->failed += outcome == PGL_OUTCOME_SHORTAGE;
    reply->taken += outcome != PGL_OUTCOME_SHORTAGE;
    pgl_object_page_settle(page, outcome, &reply->list);
}

/* Answer an access request. A failure removes the request; the page stays resident. */
static void answer_access(struct pgl_object *object, struct pgl_object_page page, struct reply *reply)
{
    pgl_object_page_unmark(object, page, &reply->list);
    if (reply->kind == REPLY_GRANT) {
        pgl_object_page_allow(page, reply->access);
    }
    reply->taken++;
    pgl_object_page_settle(page, reply->kind == REPLY_GRANT ? PGL_OUTCOME_SUPPLIED : PGL_OUTCOME_ERROR, &reply->list);
}

static void answer_page(struct pgl_object *object, struct pgl_object_page page, void *arg)
{
    struct reply *reply = arg;
    bool ours = pgl_object_page_is(page, page.chunk->asked) && page.chunk->id[page.slot] == reply->id;

    if (ours && pgl_object_page_is(page, page.chunk->busy) && reply->kind != REPLY_GRANT) {
        answer_data(object, page, reply);
    } else if (ours && pgl_object_page_is(page, page.chunk->resident) && reply->kind != REPLY_SUPPLY) {
        answer_access(object, page, reply);
    } else if (pgl_object_page_is(page, page.chunk->resident)) {
        reply->duplicates++;
    }
}

/*
 * Limit a pager's range to the object, and translate it into the object's pages. Change nothing if it lies beside it.
 */
static bool to_object(const struct pgl_object *object, const struct pgl_pager_range *range, uint64_t *first,
                      uint64_t *last)
{
    const struct pgl_pager_range *own = &object->config.pager_range;
    uint64_t pager_first = range->first > own->first ? range->first : own->first;
    uint64_t pager_last = range->last < own->last ? range->last : own->last;

    if (!object->config.pager_ops || range->first > range->last || pager_first > pager_last) {
        return false;
    }
    pager_first -= own->first;
    pager_last -= own->first;
    if (pager_first > object->config.last) {
        return false;
    }
    *first = pager_first;
    *last = pager_last < object->config.last ? pager_last : object->config.last;
    return true;
}

static uint64_t answer(struct pgl_object *object, struct pgl_pager_range range, struct reply *reply)
{
    uint64_t last = 0;
    uint64_t npages = range.first <= range.last ? range.last - range.first : 0;
    bool meets = to_object(object, &range, &reply->first, &last);
    struct pgl_shard *shard = pgl_object_shard(object, reply->first); /* of page 0 for a range beside the object */

    npages += range.first <= range.last && npages < UINT64_MAX;
    pgl_object_lock(object, reply->first, last);
    if (meets) {
        if (reply->data) {
            reply->data += (reply->first + object->config.pager_range.first - range.first) * object->config.page_size;
        }
        pgl_object_visit(object, reply->first, last, answer_page, reply);
    }
    shard->duplicates += reply->duplicates;
    shard->aliens += npages - reply->taken - reply->failed - reply->duplicates;
    pgl_object_unlock(object, reply->first, last);
    PGL_PROBE(reply, object, reply->id, range.first, range.last, reply->kind, reply->taken);
    pgl_wake_all(&reply->list);
    return reply->taken;
}

uint64_t pgl_pager_supply(struct pgl_object *object, uint64_t id, struct pgl_pager_range range, const void *data,
                          enum pgl_access access)
{
    struct reply reply = {.kind = REPLY_SUPPLY, .id = id, .access = access, .data = data};

    return pgl_access_is_valid(access) ? answer(object, range, &reply) : 0;
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

    return pgl_access_is_valid(access) ? answer(object, range, &reply) : 0;
}

struct offer {
    uint64_t first;
    const char *data; /* of the page `first`, or NULL */
    enum pgl_access access;
    uint64_t moment;
    struct pgl_wake_list *list;
};

/* Fill a page that is absent or asked for. Returns whether it was, and there was memory. */
static bool take_offer(struct pgl_object *object, uint64_t index, const struct offer *offer)
{
    struct pgl_object_page page = pgl_object_page_find(object, index);
    bool busy = page.chunk && pgl_object_page_is(page, page.chunk->busy);
    const char *data;

    if (page.chunk &&
        (pgl_object_page_is(page, page.chunk->resident) || (busy && !pgl_object_page_is(page, page.chunk->asked)))) {
        return false;
    }
    if (!pgl_object_page_make(object, index, &page) || !pgl_object_page_has_frame(object, page)) {
        return false;
    }
    data = offer->data ? offer->data + (index - offer->first) * object->config.page_size : NULL;
    pgl_object_page_fill(object, page, data, offer->access, offer->list);
    pgl_object_page_settle(page, PGL_OUTCOME_SUPPLIED, offer->list);
    page.chunk->offered = offer->moment > page.chunk->offered ? offer->moment : page.chunk->offered;
    return true;
}

uint64_t pgl_object_offer(struct pgl_object *object, struct pgl_pager_range range, const void *data,
                          enum pgl_access access, uint64_t moment, struct pgl_wake_list *list)
{
    struct offer offer = {0, data, access, moment, list};
    uint64_t first, last;
    uint64_t taken = 0;

    if (!pgl_access_is_valid(access) || !to_object(object, &range, &first, &last)) {
        return 0;
    }
    offer.first = range.first - object->config.pager_range.first; /* wraps before the object */
    pgl_object_lock(object, first, last);
    for (uint64_t i = 0; i <= last - first && !object->terminated; i++) {
        taken += take_offer(object, first + i, &offer);
    }
    pgl_object_unlock(object, first, last);
    return taken;
}

uint64_t pgl_pager_offer(struct pgl_object *object, struct pgl_pager_range range, const void *data,
                         enum pgl_access access)
{
    struct pgl_wake_list list = {NULL};
    uint64_t taken = pgl_object_offer(object, range, data, access, 0, &list);

    pgl_wake_all(&list);
    return taken;
}

struct asked {
    uint64_t id;
    bool any;
};

static void look_whether_asked(struct pgl_object *object, struct pgl_object_page page, void *arg)
{
    struct asked *asked = arg;

    (void)object;
    asked->any = asked->any || (pgl_object_page_is(page, page.chunk->asked) && page.chunk->id[page.slot] == asked->id);
}

bool pgl_object_is_asked(struct pgl_object *object, uint64_t id, uint64_t first, uint64_t last)
{
    struct asked asked = {.id = id};

    pgl_object_lock(object, first, last);
    pgl_object_visit(object, first, last, look_whether_asked, &asked);
    pgl_object_unlock(object, first, last);
    return asked.any;
}

struct withhold {
    enum pgl_access access;
    uint64_t npages;
};

static void withhold_page(struct pgl_object *object, struct pgl_object_page page, void *arg)
{
    struct withhold *withhold = arg;

    (void)object;
    if (pgl_object_page_is(page, page.chunk->resident)) {
        bool readable = pgl_object_page_is(page, page.chunk->readable) && withhold->access != PGL_ACCESS_NONE;
        bool writable = pgl_object_page_is(page, page.chunk->writable) && withhold->access == PGL_ACCESS_WRITE;

        pgl_object_page_allow(page, writable ? PGL_ACCESS_WRITE : readable ? PGL_ACCESS_READ : PGL_ACCESS_NONE);
        withhold->npages++;
    }
}

uint64_t pgl_pager_withhold(struct pgl_object *object, struct pgl_pager_range range, enum pgl_access access)
{
    struct withhold withhold = {access, 0};
    uint64_t first, last;

    if (!pgl_access_is_valid(access)) {
        return 0;
    }
    if (to_object(object, &range, &first, &last)) {
        pgl_object_lock(object, first, last);
        pgl_object_visit(object, first, last, withhold_page, &withhold);
        pgl_object_unlock(object, first, last);
    }
    return withhold.npages;
}
