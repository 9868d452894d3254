/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The cluster calculator: how far a cluster may grow on each side of the demand page, and how the sides share a budget
 * that is too short for both.
 *
 * OVERFLOW     Only distances from the demand page are added and compared, and each is first limited to the rest of the
 *              object. Therefore nothing wraps at either end of the 64-bit space.
 */
#include <stddef.h>

#include <pagelock/advice.h>

static inline uint64_t min64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t max64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Limit [*lo, *hi] to the object's pages that a view shows. */
static bool clip(const struct pgl_view *view, uint64_t *lo, uint64_t *hi)
{
    if (!view) {
        return true;
    }
    if (view->first > view->last) {
        return false;
    }
    *lo = max64(*lo, view->object_first);
    *hi = min64(*hi, view->object_first + min64(view->last - view->first, UINT64_MAX - view->object_first));
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

bool pgl_cluster_decide(const struct pgl_cluster_args *args, struct pgl_cluster *cluster)
{
    uint64_t lo = 0;
    uint64_t hi = args->object_last;

    if (!clip(args->entry, &lo, &hi) || !clip(args->pager, &lo, &hi) || args->demand < lo || args->demand > hi) {
        return false;
    }

    uint64_t budget = args->budget;
    uint64_t after_limit = min64(min64(args->row.after, budget), hi - args->demand);
    uint64_t before_limit = min64(min64(args->row.before, budget), args->demand - lo);
    uint64_t after = run_after(&args->eligible, args->demand, after_limit);
    uint64_t before = run_before(&args->eligible, args->demand, before_limit);

    if (after + before > budget) {
        if (!args->forward) {
            after = min64(after, max64(budget - budget / 2, budget - before));
        }
        before = budget - after;
    }

    cluster->first = args->demand - before;
    cluster->last = args->demand + after;
    cluster->has_behind = args->row.behind > 0 && cluster->first > lo;
    cluster->behind_first = cluster->has_behind ? cluster->first - min64(args->row.behind, cluster->first - lo) : 0;
    cluster->behind_last = cluster->has_behind ? cluster->first - 1 : 0;
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
