/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Faulting pages: one decision, and one fault, beside what pagers do that ask page by page. */
#include <pagelock/fault.h>

#include <sched.h>

#include "micro_case.h"

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
        if (pgl_cluster_decide(&args, &cluster)) {
            add_cluster(decisions, cluster.first, cluster.last);
        }
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

        while (first > 0 && demand - first < WINDOW / 2 && is_absent(decisions, first - 1)) {
            first--;
        }
        while (last < NPAGES - 1 && last - demand < WINDOW / 2 && is_absent(decisions, last + 1)) {
            last++;
        }
        add_cluster(decisions, first, last);
    }
}

/* ---- the driver ---- */

enum { MAX_THREADS = 2 };

struct memory {
    struct pgl_object *object;
    struct pgl_fault *fault[MAX_THREADS];
};

static int give_data(void *pager, const struct pgl_request *request)
{
    (void)pager;
    pgl_pager_supply(request->object, request->id, request->range, NULL, PGL_ACCESS_WRITE);
    return 0;
}

static const struct pgl_pager_ops pager_ops = {.data_request = give_data};

/* variant->size is how many pages a fault may fetch beside its own. */
static void *fault_setup(const struct variant *variant)
{
    struct pgl_advice_table table = {.row[PGL_ADVICE_SEQUENTIAL] = {.after = variant->size}};
    struct memory *memory = g_new(struct memory, 1);

    for (unsigned i = 0; i < MAX_THREADS; i++) {
        memory->fault[i] = pgl_fault_new();
        g_assert(memory->fault[i]);
    }
    memory->object = pgl_object_new(&(struct pgl_object_config){
        .last = NPAGES - 1,
        .pager_ops = &pager_ops,
        .pager_range = {0, NPAGES - 1},
        .advice = PGL_ADVICE_SEQUENTIAL,
        .table = &table,
    });
    g_assert(memory->object);
    return memory;
}

static void fault_teardown(void *state)
{
    struct memory *memory = state;

    for (unsigned i = 0; i < MAX_THREADS; i++) {
        pgl_fault_free(memory->fault[i]);
    }
    pgl_object_unref(memory->object);
    g_free(memory);
}

/* One touch after the other from the first page on; again and again where there are more touches than pages. */
static void fault_run(void *state, const struct variant *variant, unsigned thread, uint64_t ops)
{
    struct memory *memory = state;
    struct pgl_fault_args args = {.object = memory->object, .access = PGL_ACCESS_READ};

    for (uint64_t i = 0; i < ops; i++) {
        args.index = i % variant->pages;
        pgl_fault_run(memory->fault[thread], &args, NULL);
    }
}

/* As above, and every page is there. */
static void *resident_setup(const struct variant *variant)
{
    struct variant all = {.pages = NPAGES, .size = WINDOW - 1};
    struct memory *memory = fault_setup(&all);

    (void)variant;
    fault_run(memory, &all, 0, NPAGES);
    return memory;
}

/* Touches in no order: each page once, the threads by turns. */
static void scatter_run(void *state, const struct variant *variant, unsigned thread, uint64_t ops)
{
    struct memory *memory = state;
    struct pgl_fault_args args = {.object = memory->object, .access = PGL_ACCESS_READ};

    for (uint64_t i = 0; i < ops; i++) {
        args.index = (i * variant->threads + thread) * 40503 % NPAGES;
        pgl_fault_run(memory->fault[thread], &args, NULL);
    }
}

/* Each thread reads a part of the object from its beginning to its end. */
static void parts_run(void *state, const struct variant *variant, unsigned thread, uint64_t ops)
{
    struct memory *memory = state;
    struct pgl_fault_args args = {.object = memory->object, .access = PGL_ACCESS_READ};

    for (uint64_t i = 0; i < ops; i++) {
        args.index = (thread * (NPAGES / variant->threads) + i) % NPAGES;
        pgl_fault_run(memory->fault[thread], &args, NULL);
    }
}

/* ---- what two threads of this machine can do without the library ---- */

/* The loop touches no memory. Nothing that two threads share can slow it down. */
static void loop_run(void *state, const struct variant *variant, unsigned thread, uint64_t ops)
{
    uint64_t random = thread;

    (void)state;
    (void)variant;
    for (uint64_t i = 0; i < ops; i++) {
        random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        random ^= random >> 13;
        __asm__ volatile("" : "+r"(random));
    }
}

static void *line_setup(const struct variant *variant)
{
    (void)variant;
    return g_aligned_alloc0(1, 256, 128);
}

/* The threads add to a number by turns, and so the line that it is in goes to and fro. */
static void line_run(void *state, const struct variant *variant, unsigned thread, uint64_t ops)
{
    uint64_t *turn = state;

    for (uint64_t i = 0; i < ops; i++) {
        uint64_t mine = i * variant->threads + thread;

        for (unsigned spins = 0; __atomic_load_n(turn, __ATOMIC_ACQUIRE) != mine; spins++) {
            if (spins > 10000) { /* both threads may be on one processor */
                sched_yield();
            }
        }
        __atomic_store_n(turn, mine + 1, __ATOMIC_RELEASE);
    }
}

static const struct subject loop = {"a loop", NULL, line_setup, g_aligned_free, loop_run};
static const struct subject line = {"a cache line", NULL, line_setup, g_aligned_free, line_run};
static const struct subject decide = {.name = "pagelock", .setup = decide_setup, .teardown = g_free, .run = decide_run};
static const struct subject walk = {.name = "page by page", .setup = decide_setup, .teardown = g_free, .run = walk_run};
static const struct subject clusters = {"pagelock", NULL, fault_setup, fault_teardown, fault_run};
static const struct subject resident = {"pagelock", NULL, resident_setup, fault_teardown, scatter_run};
static const struct subject absent = {"pagelock", NULL, fault_setup, fault_teardown, scatter_run};
static const struct subject parts = {"pagelock", NULL, fault_setup, fault_teardown, parts_run};
static const struct subject singles = {"page by page", NULL, fault_setup, fault_teardown, fault_run};

/* One thread, and two that share its work: the ratio is what the second thread is worth. */
static void one_against_two(GPtrArray *cases, const char *name, const char *what, const struct subject *subject,
                            uint64_t ops, unsigned size)
{
    struct micro_case *one = micro_add(cases, name, what, MICRO_NO_PLOT);
    unsigned alone = micro_variant(one, &(struct variant){subject, 1, NPAGES, ops, size, 0});

    micro_pair(one, alone, micro_variant(one, &(struct variant){subject, 2, NPAGES, ops / 2, size, 0}));
}

static void two_threads(GPtrArray *cases)
{
    struct micro_case *one;

    one_against_two(cases, "fault-two-loop", "no fault, but a loop without memory", &loop, 64 * NPAGES, 0);
    one = micro_add(cases, "fault-two-line", "no fault, but a cache line that two threads hand to each other",
                    MICRO_NO_PLOT);
    micro_variant(one, &(struct variant){&line, 2, 1, NPAGES / 2, 0, 0});
    one_against_two(cases, "fault-two-resident", "faults on pages of one object that are there, in no order", &resident,
                    8 * NPAGES, 0);
    one_against_two(cases, "fault-two-absent", "faults on absent pages of one object, in no order, page by page",
                    &absent, NPAGES, 0);
    one_against_two(cases, "fault-two-single", "two parts of one object read in sequence, page by page", &parts, NPAGES,
                    0);
    one_against_two(cases, "fault-two-parts", "two parts of one object read in sequence; 32 pages a request", &parts,
                    NPAGES, WINDOW - 1);
}

void micro_fault_cases(GPtrArray *cases)
{
    struct micro_case *one =
        micro_add(cases, "cluster", "one decision with a window of 32 pages, by residency bitmap", MICRO_NO_PLOT);
    unsigned slow;

    micro_versus(one, &walk, &decide, &(struct variant){.threads = 1, .pages = NPAGES, .ops = 200000});
    one = micro_add(cases, "fault", "a touch in a sequence, the pager answers at once; 32 pages a request",
                    MICRO_NO_PLOT);
    slow = micro_variant(one, &(struct variant){&singles, 1, NPAGES, NPAGES, 0, 0});
    micro_pair(one, slow, micro_variant(one, &(struct variant){&clusters, 1, NPAGES, NPAGES, WINDOW - 1, 0}));
    one = micro_add(cases, "fault-resident", "a fault on a page that is there", MICRO_NO_PLOT);
    micro_variant(one, &(struct variant){&clusters, 1, 1, 200000, 0, 0});
    two_threads(cases);
}
