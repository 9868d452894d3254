/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The cluster calculator: how far a cluster may grow on each side of the demand page, and how the sides share a budget
 * that is too short for both.
 *
 * OVERFLOW     Only distances from the demand page are added and compared, and each is first limited to the rest of the
 *              object. Therefore nothing wraps at either end of the 64-bit space.
 */
#include <stddef.h>

#include "cluster_internal.h"

static inline uint64_t min64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t max64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Limit the bounds to the object's pages that a view shows. */
static bool clip(const struct pgl_view *view, struct pgl_bounds *bounds)
{
    if (!view) {
        return true;
    }
    if (view->first > view->last) {
        return false;
    }
    bounds->first = max64(bounds->first, view->object_first);
    bounds->last =
        min64(bounds->last, view->object_first + min64(view->last - view->first, UINT64_MAX - view->object_first));
    return true;
}

/* The number of eligible pages right above the demand page, up to the first gap and at most @limit. */
static uint64_t run_after(const struct pgl_eligible *eligible, uint64_t demand, uint64_t limit)
{
    uint64_t run = 0;

    if (eligible->word) {
        while (run < limit) {
            uint64_t index = demand + 1 + run;
            unsigned bit = index & 63;
            uint64_t gaps = ~eligible->word(eligible->arg, index >> 6) >> bit;

            if (gaps != 0) {
                return min64(run + (unsigned)__builtin_ctzll(gaps), limit);
            }
            run += 64 - bit;
        }
        return limit;
    }
    if (!eligible->page) {
        return limit;
    }
    while (run < limit && eligible->page(eligible->arg, demand + 1 + run)) {
        run++;
    }
    return run;
}

/* The same for the pages right below it. */
static uint64_t run_before(const struct pgl_eligible *eligible, uint64_t demand, uint64_t limit)
{
    uint64_t run = 0;

    if (eligible->word) {
        while (run < limit) {
            uint64_t index = demand - 1 - run;
            unsigned bit = index & 63;
            uint64_t gaps = ~eligible->word(eligible->arg, index >> 6) << (63 - bit);

            if (gaps != 0) {
                return min64(run + (unsigned)__builtin_clzll(gaps), limit);
            }
            run += bit + 1;
        }
        return limit;
    }
    if (!eligible->page) {
        return limit;
    }
    while (run < limit && eligible->page(eligible->arg, demand - 1 - run)) {
        run++;
    }
    return run;
}

bool pgl_cluster_bounds(const struct pgl_cluster_args *args, struct pgl_bounds *bounds)
{
    *bounds = (struct pgl_bounds){0, args->object_last};
    return clip(args->entry, bounds) && clip(args->pager, bounds) && args->demand >= bounds->first &&
           args->demand <= bounds->last;
}

struct pgl_room pgl_cluster_room(const struct pgl_cluster_args *args, const struct pgl_bounds *bounds,
                                 struct pgl_room limit)
{
    uint64_t after = min64(limit.after, bounds->last - args->demand);
    uint64_t before = min64(limit.before, args->demand - bounds->first);

    return (struct pgl_room){
        .before = (uint32_t)run_before(&args->eligible, args->demand, before),
        .after = (uint32_t)run_after(&args->eligible, args->demand, after),
    };
}

uint32_t pgl_cluster_taken(const struct pgl_cluster_args *args, const struct pgl_bounds *bounds)
{
    const struct pgl_eligible *eligible = &args->eligible;
    uint64_t base = args->demand & ~UINT64_C(63);
    unsigned first = (unsigned)(max64(bounds->first, base) - base);
    unsigned last = (unsigned)(min64(bounds->last, base | 63) - base);
    uint64_t absent = UINT64_MAX;

    if (eligible->word) {
        absent = eligible->word(eligible->arg, args->demand >> 6);
    } else if (eligible->page) {
        for (unsigned bit = first; bit <= last; bit++) {
            absent &= ~((uint64_t)!eligible->page(eligible->arg, base + bit) << bit);
        }
    }
    absent |= UINT64_C(1) << (args->demand & 63);
    return (uint32_t)__builtin_popcountll(~absent & UINT64_MAX << first & UINT64_MAX >> (63 - last));
}

void pgl_cluster_fill(const struct pgl_cluster_args *args, const struct pgl_bounds *bounds, struct pgl_room room,
                      uint32_t behind, struct pgl_cluster *cluster)
{
    uint64_t budget = args->budget;
    uint64_t after = min64(room.after, budget);
    uint64_t before = min64(room.before, budget);

    if (after + before > budget) {
        if (!args->forward) {
            after = min64(after, max64(budget - budget / 2, budget - before));
        }
        before = budget - after;
    }

    cluster->first = args->demand - before;
    cluster->last = args->demand + after;
    cluster->has_behind = behind > 0 && cluster->first > bounds->first;
    cluster->behind_first = cluster->has_behind ? cluster->first - min64(behind, cluster->first - bounds->first) : 0;
    cluster->behind_last = cluster->has_behind ? cluster->first - 1 : 0;
}

bool pgl_cluster_decide(const struct pgl_cluster_args *args, struct pgl_cluster *cluster)
{
    struct pgl_bounds bounds;
    struct pgl_room limit;

    if (!pgl_cluster_bounds(args, &bounds)) {
        return false;
    }
    limit.before = (uint32_t)min64(args->row.before, args->budget);
    limit.after = (uint32_t)min64(args->row.after, args->budget);
    pgl_cluster_fill(args, &bounds, pgl_cluster_room(args, &bounds, limit), args->row.behind, cluster);
    return true;
}

uint64_t pgl_absent_word(const void *bitmap, uint64_t number)
{
    return ~((const uint64_t *)bitmap)[number];
}

uint64_t pgl_set_word(const void *bitmap, uint64_t number)
{
    return ((const uint64_t *)bitmap)[number];
}
