/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The advisor: which window a fault gets whose order is unknown, derived from the earlier faults of its object.
 * Private.
 *
 * KINDS        A fault next to the cluster of one of the last eight streams continues that stream, upward or downward.
 *              Any other fault is a start.
 * DOUBLINGS    A window has 2^n pages, n = 0 ... 6. A stream's window opens to its side, and a start's is the aligned
 *              block of that size. The nth doubling adds the other half of the block, or the pages beyond the window.
 *              The seventh, beyond the widest window, is watched and never fetched.
 * CHANCE       One number per kind and doubling is learned, the chance that a page of those that the doubling adds is
 *              faulted on later if it does not add them. With windows of 2^(n-1) pages everywhere, a region has
 *              1 + chance times as many faults as with 2^n. Therefore a window's cost per region is in proportion to
 *              (fault_ns + pages * page_ns) / product of (1 + chance) over its doublings, and the cheapest is chosen.
 *              Chances count faults and no times; therefore other costs lead to other windows at once.
 * HORIZON      A decision is judged soon, when a part of the faults so far has passed, and again later. The first
 *              judgment teaches early in a run, and the second how many of the misses were none.
 * UNSEEN       A fault on a page that was fetched is never seen. Therefore a cluster teaches about the doublings beyond
 *              it only. Knowledge of a doubling ages with the decisions of its kind, and its chance then follows
 *              those of the next doublings, of which the seventh is always seen.
 * LATELY       A program that starts is over before chances are known. Therefore a start's window is at least the widest
 *              aligned block whose pages cost no more than WORTH faults for each of the last starts in that block. The
 *              first start of all counts for one before it.
 * CROWD        Faults in no order that come to every page in the end look random for a long time. Therefore a start's
 *              chance is at least what it is if somewhat more faults than there have been fall on the object's pages
 *              alike, in proportion to the pages that the doubling adds. Pages that are removed have faults again that
 *              tell nothing of that; therefore faults per page count up to the resident part of the pages around
 *              starts.
 *
 * INVARIANTS   between two calls; pgl_object_check() checks them.
 *   V1  forgotten <= judged <= nfaults, and nfaults - forgotten <= PGL_ADVISOR_PASTS
 *   V2  0 <= touched <= seen for each doubling of each kind, and each chance and crowd is in [0, 1]
 *   V3  nstreams <= PGL_ADVISOR_STREAMS, and each head is 0 or the number of a decision that was made
 *   V4  the bytes of after and before are those of the streams
 */
#ifndef PGL_FAULT_ADVISOR_INTERNAL_H
#define PGL_FAULT_ADVISOR_INTERNAL_H

#include <pagelock/advice.h>

#include "cluster_internal.h"

#define PGL_ADVISOR_STREAMS 8
#define PGL_ADVISOR_PASTS 128 /* a power of two */
#define PGL_ADVISOR_HEADS 256 /* a power of two */
#define PGL_ADVISOR_DOUBLINGS 6
#define PGL_ADVISOR_WATCHED (PGL_ADVISOR_DOUBLINGS + 1)
#define PGL_ADVISOR_ROOM 127 /* pages on each side that the watched doublings may reach */

enum pgl_fault_kind {
    PGL_FAULT_START,
    PGL_FAULT_UP,
    PGL_FAULT_DOWN,
};
#define PGL_FAULT_KINDS 3

/* The last cluster of a stream. */
struct pgl_stream {
    uint64_t first;
    uint64_t last;
};

/*
 * Of each doubling: how many decisions told about it, and in how many a page of it was faulted on. Element 0 is unused.
 */
struct pgl_tries {
    float seen[PGL_ADVISOR_WATCHED + 1];
    float touched[PGL_ADVISOR_WATCHED + 1];
};

/* The knowledge of a kind's doublings, and the chances that follow. */
struct pgl_known {
    struct pgl_tries recent;  /* at the first judgment; it ages */
    struct pgl_tries lasting; /* the same over a long time */
    struct pgl_tries later;   /* at the second judgment, of the misses of the first one */
    float chances[PGL_ADVISOR_WATCHED + 1];
    float crowds[PGL_ADVISOR_WATCHED + 1]; /* the least chance of a doubling, for each page that it adds */
    unsigned good_for;                     /* decisions, until the chances are reckoned again */
};

/* A decision that has not been judged. In the sets bit n stands for doubling n. */
struct pgl_past {
    uint64_t demand;
    uint8_t since;  /* decisions since the one before it with the same head; PGL_ADVISOR_PASTS if that is gone */
    uint8_t before; /* the absent pages around it at that time, at most PGL_ADVISOR_ROOM on each side: */
    uint8_t beyond; /* how many before it, and how many in all */
    uint8_t kind;
    uint8_t tells;   /* doublings that it tells about: not fetched, and at least half of their pages were absent */
    uint8_t touched; /* doublings of which a page was faulted on since */
    uint8_t missed;  /* doublings of which none was by the first judgment */
};

/* The caller of the functions keeps other calls away; the driver does it by the object's advisor_lock. */
struct pgl_advisor {
    struct pgl_costs costs; /* both known */
    uint64_t needs;     /* byte n: the starts lately for which a block of 2^n pages is fetched; they follow the costs */
    uint64_t nfaults;   /* decisions made; the nth, counted from 1, has pasts[n % PGL_ADVISOR_PASTS] */
    uint64_t judged;    /* decisions judged once */
    uint64_t forgotten; /* decisions judged twice */
    float crowd;        /* the part of the pages that is resident in the blocks of 64 pages where starts were */
    unsigned nstreams;
    unsigned newest; /* the stream that was used last; less recently used ones follow it, round the array */
    struct pgl_stream streams[PGL_ADVISOR_STREAMS];
    uint64_t after;  /* byte n is the lowest one of the page after the nth stream, counted from the newest */
    uint64_t before; /* and of the page before it */
    struct pgl_known known[PGL_FAULT_KINDS];
    uint64_t heads[PGL_ADVISOR_HEADS]; /* by block of 128 pages, starts apart from streams: the last decision, or 0 */
    struct pgl_past pasts[PGL_ADVISOR_PASTS];
};

/* Initialize zeroed memory. The costs are accepted ones. */
void pgl_advisor_init(struct pgl_advisor *advisor, const struct pgl_costs *costs);

/*
 * The place of a page in its windows: bit n is set if doubling n + 1 adds pages before it, and the bits below are the
 * number of pages before it.
 */
static inline uint32_t pgl_place_of(enum pgl_fault_kind kind, uint64_t demand)
{
    return kind == PGL_FAULT_UP ? 0 : kind == PGL_FAULT_DOWN ? UINT32_MAX : (uint32_t)demand;
}

/* The part of a room that its windows may reach. */
static inline struct pgl_room pgl_room_of_kind(enum pgl_fault_kind kind, struct pgl_room room)
{
    return (struct pgl_room){
        .before = kind == PGL_FAULT_UP ? 0 : room.before,
        .after = kind == PGL_FAULT_DOWN ? 0 : room.after,
    };
}

/* The window of 2^doublings pages. */
static inline struct pgl_room pgl_window_of(uint32_t place, unsigned doublings)
{
    uint32_t beside = (UINT32_C(1) << doublings) - 1;

    return (struct pgl_room){place & beside, beside - (place & beside)};
}

/* The number of pages that a doubling adds, of those that the doublings before it have left of the room. */
static inline uint32_t pgl_doubling_adds(uint32_t place, unsigned doubling, struct pgl_room *left)
{
    uint32_t size = UINT32_C(1) << (doubling - 1);
    uint32_t is_before = 0 - (place >> (doubling - 1) & 1); /* all bits, or none: a branch would go either way */
    uint32_t side = (left->before & is_before) | (left->after & ~is_before);
    uint32_t added = side < size ? side : size;

    left->before -= added & is_before;
    left->after -= added & ~is_before;
    return added;
}

/* Cut a window, or a room, to what another one allows. */
static inline struct pgl_room pgl_room_within(struct pgl_room room, struct pgl_room limit)
{
    return (struct pgl_room){
        .before = room.before < limit.before ? room.before : limit.before,
        .after = room.after < limit.after ? room.after : limit.after,
    };
}

/*
 * Record in the pasts that a page with some room around it is faulted on, and judge those that are old enough. Byte n of
 * the result is the number of starts among the last decisions in the page's aligned block of 2^n pages. Starts in the
 * room do not count, because their pages were removed. The first start of all counts for one before it.
 */
uint64_t pgl_advisor_learn(struct pgl_advisor *advisor, uint64_t demand, struct pgl_room room);

/*
 * Reckon the chances of a kind's doublings again. The knowledge of them ages. @density is the number of faults per page
 * that are expected in no order.
 */
void pgl_advisor_reckon(struct pgl_known *known, enum pgl_fault_kind kind, float density);

/* Record the decision for a page with some room around it, and which doublings it tells about. */
void pgl_advisor_remember(struct pgl_advisor *advisor, enum pgl_fault_kind kind, uint64_t demand, struct pgl_room room,
                          unsigned tells);

#endif
