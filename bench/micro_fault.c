/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Faulting pages: one decision, beside the walk from page to page that pagers do. */
#include <pagelock/advice.h>

#include "micro.h"

enum { NPAGES = 1 << 16, WINDOW = 32 };

/* ---- the cluster calculator ---- */

struct decisions {
    uint64_t resident[NPAGES / 64];
    struct pgl_cluster sum; /* keeps the compiler from leaving the decisions out */
};

/* One page of eight is resident. */
static void *decide_setup(const struct variant *variant)
{
    struct decisions *decisions = g_new0(struct decisions, 1);
    uint32_t random = 1;

    (void)variant;
    for (unsigned i = 0; i < NPAGES / 8; i++) {
        random = random * 1664525u + 1013904223u;
        decisions->resident[(random >> 16) / 64] |= UINT64_C(1) << (random >> 16) % 64;
    }
    return decisions;
}

static bool is_absent(const struct decisions *decisions, uint64_t page)
{
    return !(decisions->resident[page / 64] >> page % 64 & 1);
}

static void add_cluster(struct decisions *decisions, uint64_t first, uint64_t last)
{
    decisions->sum.first += first;
    decisions->sum.last += last;
}

static void decide_run(void *state, const struct variant *variant, unsigned thread, uint64_t ops)
{
    struct decisions *decisions = state;
    struct pgl_cluster_args args = {
        .object_last = NPAGES - 1,
        .row = {.before = WINDOW / 2, .after = WINDOW / 2},
        .budget = UINT64_MAX,
        .eligible = {.word = pgl_absent_word, .arg = decisions->resident},
    };
    struct pgl_cluster cluster;

    (void)variant;
    (void)thread;
    for (uint64_t i = 0; i < ops; i++) {
        args.demand = i * 40503 % NPAGES;
        if (pgl_cluster_decide(&args, &cluster))
            add_cluster(decisions, cluster.first, cluster.last);
    }
}

/* Page by page outward from the demand page. */
static void walk_run(void *state, const struct variant *variant, unsigned thread, uint64_t ops)
{
    struct decisions *decisions = state;

    (void)variant;
    (void)thread;
    for (uint64_t i = 0; i < ops; i++) {
        uint64_t demand = i * 40503 % NPAGES, first = demand, last = demand;

        while (first > 0 && demand - first < WINDOW / 2 && is_absent(decisions, first - 1))
            first--;
        while (last < NPAGES - 1 && last - demand < WINDOW / 2 && is_absent(decisions, last + 1))
            last++;
        add_cluster(decisions, first, last);
    }
}

static const struct subject decide = {.name = "pagelock", .setup = decide_setup, .teardown = g_free, .run = decide_run};
static const struct subject walk = {.name = "page by page", .setup = decide_setup, .teardown = g_free, .run = walk_run};
void micro_fault_cases(GPtrArray *cases)
{
    micro_versus(
        micro_add(cases, "cluster", "one decision with a window of 32 pages, by residency bitmap", MICRO_NO_PLOT),
        &walk, &decide, &(struct variant){.threads = 1, .pages = NPAGES, .ops = 200000});
}
