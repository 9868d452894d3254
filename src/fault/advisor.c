/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The decisions of the advisor: see advisor_internal.h. */
#include <errno.h>
#include <stdlib.h>

#include "advisor_internal.h"
#include "cluster_internal.h"
#include "costs_internal.h"

/* The faults that are expected, for each that was; and how much one look at the pages around a start counts. */
#define AGAIN 1.2f
#define LOOK 0.1f
#define GOOD_FOR 4 /* decisions, until the chances are reckoned again */

#define WORTH 3             /* the faults that the pages of a block may cost for each of the last starts in it */
#define NEVER UINT64_C(127) /* as many starts there never are lately */
#define EACH_BYTE UINT64_C(0x0101010101010101)

static void set_costs(struct pgl_advisor *advisor, const struct pgl_costs *costs)
{
    uint64_t start_ns;

    advisor->costs = pgl_costs_known(costs);
    start_ns = WORTH * advisor->costs.fault_ns;
    advisor->needs = NEVER << 8 * PGL_ADVISOR_WATCHED;
    for (unsigned n = 1; n <= PGL_ADVISOR_DOUBLINGS; n++) {
        uint64_t needs = ((advisor->costs.page_ns << n) + start_ns - 1) / start_ns;

        advisor->needs |= (needs < NEVER ? needs : NEVER) << 8 * n;
    }
}

void pgl_advisor_init(struct pgl_advisor *advisor, const struct pgl_costs *costs)
{
    set_costs(advisor, costs);
}

struct pgl_advisor *pgl_advisor_new(const struct pgl_costs *costs)
{
    static const struct pgl_costs unknown;
    struct pgl_advisor *advisor;

    if (costs && pgl_costs_explain(costs)) {
        errno = EINVAL;
        return NULL;
    }
    advisor = calloc(1, sizeof(*advisor));
    if (advisor) {
        pgl_advisor_init(advisor, costs ? costs : &unknown);
    }
    return advisor;
}

void pgl_advisor_free(struct pgl_advisor *advisor)
{
    free(advisor);
}

bool pgl_advisor_set_costs(struct pgl_advisor *advisor, const struct pgl_costs *costs)
{
    if (pgl_costs_explain(costs)) {
        errno = EINVAL;
        return false;
    }
    set_costs(advisor, costs);
    return true;
}

/* Whether a page comes right after another one; page 0 comes after none. */
static inline bool is_next(uint64_t page, uint64_t after)
{
    return page != UINT64_MAX && page + 1 == after;
}

/* The nth stream, counted from the one that was used last. */
static inline struct pgl_stream *stream_of(struct pgl_advisor *advisor, unsigned n)
{
    return &advisor->streams[(advisor->newest + n) % PGL_ADVISOR_STREAMS];
}

/* Bit 7 of each byte that is zero is set, and perhaps of bytes above one. */
static inline uint64_t zeros(uint64_t bytes)
{
    return (bytes - EACH_BYTE) & ~bytes & EACH_BYTE * 0x80;
}

/*
 * Return the most recently used stream next to a page, or nstreams. Only streams with the right byte are looked at; one
 * that never was is {0, 0} with the bytes 0, and next to no page with such a byte.
 */
static inline unsigned find(struct pgl_advisor *advisor, uint64_t demand)
{
    uint64_t like = EACH_BYTE * (uint8_t)demand;

    for (uint64_t left = zeros(advisor->after ^ like) | zeros(advisor->before ^ like); left != 0; left &= left - 1) {
        unsigned n = (unsigned)__builtin_ctzll(left) / 8;
        const struct pgl_stream *stream = stream_of(advisor, n);

        if (is_next(stream->last, demand) || is_next(demand, stream->first)) {
            return n;
        }
    }
    return advisor->nstreams;
}

/* Make room for a byte below the first @n ones; the byte above them is lost. */
static inline uint64_t shift(uint64_t bytes, unsigned n)
{
    uint64_t above = UINT64_MAX << 8 * n << 8;

    return (bytes & above) | (bytes << 8 & ~above);
}

/*
 * Return the kind of a fault. The stream that it continues becomes the newest; if there is none, the least recently used
 * one makes room for a new one.
 */
static enum pgl_fault_kind follow(struct pgl_advisor *advisor, uint64_t demand)
{
    enum pgl_fault_kind kind = PGL_FAULT_START;
    unsigned n = find(advisor, demand);

    if (n < advisor->nstreams) {
        kind = stream_of(advisor, n)->last < demand ? PGL_FAULT_UP : PGL_FAULT_DOWN;
        for (unsigned i = n; i > 0; i--) {
            *stream_of(advisor, i) = *stream_of(advisor, i - 1);
        }
    } else {
        advisor->newest = (advisor->newest + PGL_ADVISOR_STREAMS - 1) % PGL_ADVISOR_STREAMS;
        if (n < PGL_ADVISOR_STREAMS) {
            advisor->nstreams++;
        } else {
            n--;
        }
    }
    advisor->after = shift(advisor->after, n);
    advisor->before = shift(advisor->before, n);
    return kind;
}

/* Enter the cluster of the newest stream. */
static void lead(struct pgl_advisor *advisor, const struct pgl_cluster *cluster)
{
    *stream_of(advisor, 0) = (struct pgl_stream){cluster->first, cluster->last};
    advisor->after = (advisor->after & ~UINT64_C(0xff)) | (uint8_t)(cluster->last + 1);
    advisor->before = (advisor->before & ~UINT64_C(0xff)) | (uint8_t)(cluster->first - 1);
}

/* The faults per page that are expected of starts in no order. */
static float density_of(struct pgl_advisor *advisor, const struct pgl_cluster_args *args,
                        const struct pgl_bounds *bounds)
{
    float density = (float)advisor->nfaults / ((float)args->object_last + 1);

    advisor->crowd += LOOK * ((float)pgl_cluster_taken(args, bounds) / 64 - advisor->crowd);
    return AGAIN * (density < advisor->crowd ? density : advisor->crowd);
}

/* Return what is known of a kind, with its chances for a fault. */
static const struct pgl_known *recall(struct pgl_advisor *advisor, enum pgl_fault_kind kind,
                                      const struct pgl_cluster_args *args, const struct pgl_bounds *bounds)
{
    struct pgl_known *known = &advisor->known[kind];

    if (known->good_for == 0) {
        pgl_advisor_reckon(known, kind, kind == PGL_FAULT_START ? density_of(advisor, args, bounds) : 0);
        known->good_for = GOOD_FOR;
    }
    known->good_for--;
    return known;
}

/*
 * Choose the window that costs least per region that it covers, of those that the room allows. Returns the number of
 * its doublings. @tells receives the doublings of which at least half the pages are in the room.
 */
static unsigned cheapest(const struct pgl_advisor *advisor, uint32_t place, struct pgl_room room,
                         const struct pgl_known *known, unsigned *tells)
{
    float page_ns = (float)advisor->costs.page_ns;
    float cost = (float)advisor->costs.fault_ns + page_ns;
    float least = cost;
    float least_replaces = 1;
    float replaces = 1;
    unsigned doublings = 0;
    unsigned halves = 0;

    for (unsigned n = 1; n <= PGL_ADVISOR_WATCHED && (room.before | room.after) != 0; n++) {
        uint32_t added = pgl_doubling_adds(place, n, &room);
        float npages = (float)(int32_t)added;
        float crowd = known->crowds[n] * npages;
        float chance = known->chances[n] > crowd ? known->chances[n] : crowd;
        bool is_less;

        halves |= (unsigned)(2 * added >= UINT32_C(1) << (n - 1)) << n;
        cost += npages * page_ns;
        replaces *= 1 + (float)(added > 0) * chance;
        is_less = n <= PGL_ADVISOR_DOUBLINGS && cost * least_replaces < least * replaces;
        least = is_less ? cost : least;
        least_replaces = is_less ? replaces : least_replaces;
        doublings = is_less ? n : doublings;
    }
    *tells = halves;
    return doublings;
}

/* The doublings of the widest block of pages that the last starts in it are worth. */
static inline unsigned worth(const struct pgl_advisor *advisor, uint64_t lately)
{
    /* The highest bit of a byte stays, if it has as many as it needs. */
    uint64_t enough = (lately | EACH_BYTE * 0x80) - advisor->needs;

    return (63 - (unsigned)__builtin_clzll((enough & EACH_BYTE * 0x80) | 0x80)) / 8;
}

static enum pgl_reason reason_of(enum pgl_fault_kind kind)
{
    return kind == PGL_FAULT_UP ? PGL_REASON_UP : kind == PGL_FAULT_DOWN ? PGL_REASON_DOWN : PGL_REASON_START;
}

enum pgl_reason pgl_advisor_decide(struct pgl_advisor *advisor, const struct pgl_cluster_args *args,
                                   struct pgl_cluster *cluster)
{
    const struct pgl_known *known;
    unsigned doublings, least, tells;
    enum pgl_fault_kind kind;
    struct pgl_bounds bounds;
    struct pgl_room room, window;
    uint64_t lately;
    uint32_t place;

    if (!pgl_cluster_bounds(args, &bounds)) {
        return PGL_REASON_OUTSIDE;
    }
    if (args->budget == 0 || (args->row.before == 0 && args->row.after == 0)) {
        *cluster = (struct pgl_cluster){.first = args->demand, .last = args->demand};
        return PGL_REASON_ALONE;
    }
    room = pgl_cluster_room(args, &bounds, (struct pgl_room){PGL_ADVISOR_ROOM, PGL_ADVISOR_ROOM});
    lately = pgl_advisor_learn(advisor, args->demand, room);
    kind = follow(advisor, args->demand);
    place = pgl_place_of(kind, args->demand);
    known = recall(advisor, kind, args, &bounds);
    doublings = cheapest(advisor, place, pgl_room_of_kind(kind, room), known, &tells);
    least = kind == PGL_FAULT_START ? worth(advisor, lately) : 0;
    doublings = doublings > least ? doublings : least;
    pgl_advisor_remember(advisor, kind, args->demand, room, tells & (UINT32_MAX << doublings << 1));
    window = pgl_room_within(pgl_window_of(place, doublings), room);
    window = pgl_room_within(window, (struct pgl_room){args->row.before, args->row.after});
    /* A reader that goes down comes to the pages below, and nothing is known of those below a start. */
    pgl_cluster_fill(args, &bounds, window, kind == PGL_FAULT_UP ? args->row.behind : 0, cluster);
    lead(advisor, cluster);
    return reason_of(kind);
}
