/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Short runs of one thread or two, each on a CPU of its own. A run in which the kernel took a CPU away, or in which the
 * threads did not start together, is not counted: what is left is what the operations cost, however busy the machine.
 */
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include <glib.h>
#include <pagelock/tb.h>

#include "../src/spin.h"
#include "bench.h"
#include "clock.h"
#include "plain.h"
#include "scale.h"

enum { PAGE_BITS = 12, ADDR_BITS = 48, STORE_OFFSET = 4000, BLOCK_BYTES = 16, BLOCK_PLACES = 1000 };
enum { ENOUGH = 10, LATE_NS = 2000 };

/* What the threads of all runs share. */
struct stage {
    const struct scale_run *run;
    unsigned windows; /* that are tried */
    struct pgl_table *table;
    pthread_barrier_t barrier;
    unsigned ready;                                     /* threads that are about to start, over all windows */
    uint64_t words[4096] __attribute__((aligned(128))); /* for the operations that are not the library's */
};

struct actor {
    struct stage *stage;
    unsigned number;
    int cpu;
    uint64_t index; /* of its page */
    struct pgl_page *page;
    uint64_t *word;
    struct pgl_tb *tbs;
    uint64_t start_ns;
    uint64_t end_ns;
    long interruptions;
    pthread_t id;
} __attribute__((aligned(128)));

static void retired(struct pgl_tb *chain, void *opaque)
{
    (void)chain;
    (void)opaque;
}

static const struct pgl_tb_ops ops = {.retired = retired};

static void hold(void)
{
    uint64_t until = clock_ns() + SCALE_HOLD_NS;

    while (clock_ns() < until)
        cpu_relax();
}

static void link_block(struct pgl_table *table, uint64_t index, struct pgl_tb *tb)
{
    struct pgl_bracket bracket;

    if (pgl_bracket_begin(&bracket, table, index))
        pgl_bracket_commit(&bracket, tb, NULL);
}

/* Hands a word to the other thread when it is one's turn. */
static void pass(uint64_t *word, uint64_t turn)
{
    while (__atomic_load_n(word, __ATOMIC_ACQUIRE) != turn)
        ;
    __atomic_store_n(word, turn + 1, __ATOMIC_RELEASE);
}

static void pass_by_swap(uint64_t *word, uint64_t turn)
{
    uint64_t expected = turn;

    while (!__atomic_compare_exchange_n(word, &expected, turn + 1, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
        expected = turn;
}

static void nap(void)
{
    const struct timespec time = {.tv_nsec = PGL_SPIN_SLEEP_NS};

    nanosleep(&time, NULL);
}

/* One loop an operation, so that each is inlined into its own. */
static void work(struct actor *actor)
{
    struct pgl_table *table = actor->stage->table;
    struct pgl_page *page = actor->page;
    uint64_t addr = (actor->index << PAGE_BITS) + STORE_OFFSET;
    uint64_t *word = actor->word;
    unsigned n = actor->stage->run->ops;

#define LOOP(op, what)                                                                                                 \
    case op:                                                                                                           \
        for (unsigned i = 0; i < n; i++) {                                                                             \
            what;                                                                                                      \
        }                                                                                                              \
        break

    switch (actor->stage->run->op) {
        LOOP(SCALE_LOCK, pgl_page_lock(table, page); pgl_page_unlock(table, page));
        LOOP(SCALE_HOLD, pgl_page_lock(table, page); hold(); pgl_page_unlock(table, page));
        LOOP(SCALE_CHECK, pgl_store_check(table, addr, 4, NULL));
        LOOP(SCALE_LINK, link_block(table, actor->index, &actor->tbs[i]));
        LOOP(SCALE_ADD, __atomic_fetch_add(word, 1, __ATOMIC_RELAXED));
        LOOP(SCALE_EXCHANGE, __atomic_exchange_n(word, 1, __ATOMIC_ACQUIRE);
             __atomic_store_n(word, 0, __ATOMIC_RELEASE));
        LOOP(SCALE_PASS, pass(word, 2 * i + actor->number));
        LOOP(SCALE_PASS_SWAP, pass_by_swap(word, 2 * i + actor->number));
        LOOP(SCALE_PAUSE, cpu_relax());
        LOOP(SCALE_YIELD, sched_yield());
        LOOP(SCALE_SLEEP, nap());
    default:
        break;
    }
#undef LOOP
}

static void make_blocks(struct actor *actor)
{
    uint64_t addr = actor->index << PAGE_BITS;

    for (unsigned i = 0; i < actor->stage->run->ops; i++) {
        pgl_tb_init(&actor->tbs[i]);
        pgl_tb_set_bytes(&actor->tbs[i], 0, addr + i % BLOCK_PLACES, addr + i % BLOCK_PLACES + BLOCK_BYTES - 1);
    }
}

static long interruptions(void)
{
    struct rusage usage;

    getrusage(RUSAGE_THREAD, &usage);
    return usage.ru_nivcsw;
}

static void *act(void *data)
{
    struct actor *actor = data;
    struct stage *stage = actor->stage;
    cpu_set_t cpus;

    CPU_ZERO(&cpus);
    CPU_SET(actor->cpu, &cpus);
    pthread_setaffinity_np(pthread_self(), sizeof(cpus), &cpus);
    for (unsigned window = 1; window <= stage->windows; window++) {
        pthread_barrier_wait(&stage->barrier);
        if (stage->run->op == SCALE_LINK)
            make_blocks(actor);
        actor->interruptions = -interruptions();
        __atomic_add_fetch(&stage->ready, 1, __ATOMIC_ACQ_REL);
        while (__atomic_load_n(&stage->ready, __ATOMIC_ACQUIRE) < window * stage->run->cores)
            ;
        actor->start_ns = clock_ns();
        work(actor);
        actor->end_ns = clock_ns();
        actor->interruptions += interruptions();
        pthread_barrier_wait(&stage->barrier);
    }
    return NULL;
}

/* Pages that exist and hold code: so far from each other, or so near, as the layout says. */
static void set_up(struct stage *stage, struct actor *actors, struct pgl_tb *first_blocks)
{
    static const unsigned steps[SCALE_LAYOUTS] = {
        [SCALE_OWN] = 64, [SCALE_ADJACENT] = SCALE_PAGES_A_LINE, [SCALE_NEIGHBOURS] = 1, [SCALE_SHARED] = 0};
    const struct pgl_table_config config = {.page_bits = PAGE_BITS, .addr_bits = ADDR_BITS, .ops = &ops};

    stage->table = pgl_table_new(&config);
    for (unsigned i = 0; i < stage->run->cores; i++) {
        struct actor *actor = &actors[i];

        actor->index = i * steps[stage->run->layout];
        actor->page = pgl_page_get(stage->table, actor->index);
        actor->word = &stage->words[actor->index * sizeof(struct pgl_page) / sizeof(uint64_t)];
        pgl_tb_init(&first_blocks[i]);
        pgl_tb_set_bytes(&first_blocks[i], 0, actor->index << PAGE_BITS, (actor->index << PAGE_BITS) + BLOCK_BYTES - 1);
        link_block(stage->table, actor->index, &first_blocks[i]);
    }
}

/* The time of the last window, or a negative number where something interrupted it. */
static double window_ns(const struct stage *stage, const struct actor *actors)
{
    uint64_t first = UINT64_MAX, late = 0, end = 0;

    for (unsigned i = 0; i < stage->run->cores; i++) {
        if (actors[i].interruptions)
            return -1;
        first = MIN(first, actors[i].start_ns);
        late = MAX(late, actors[i].start_ns);
        end = MAX(end, actors[i].end_ns);
    }
    return late - first > LATE_NS ? -1 : (double)(end - first);
}

/* Returns how many windows were good. */
static unsigned run_windows(struct stage *stage, struct actor *actors, double *times)
{
    unsigned ncores = stage->run->cores, good = 0;

    pthread_barrier_init(&stage->barrier, NULL, ncores + 1);
    for (unsigned i = 0; i < ncores; i++)
        pthread_create(&actors[i].id, NULL, act, &actors[i]);
    for (unsigned window = 0; window < stage->windows; window++) {
        double ns;

        memset(stage->words, 0, sizeof(stage->words));
        if (stage->run->op == SCALE_LINK)
            pgl_flush(stage->table, NULL);
        pthread_barrier_wait(&stage->barrier);
        pthread_barrier_wait(&stage->barrier);
        ns = window_ns(stage, actors);
        if (ns >= 0)
            times[good++] = ns;
    }
    for (unsigned i = 0; i < ncores; i++)
        pthread_join(actors[i].id, NULL);
    pthread_barrier_destroy(&stage->barrier);
    return good;
}

static bool choose_cpus(struct actor *actors, unsigned n)
{
    cpu_set_t cpus;

    if (sched_getaffinity(0, sizeof(cpus), &cpus))
        return false;
    for (int cpu = 0; n && cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &cpus))
            actors[--n].cpu = cpu;
    }
    return !n;
}

struct scale_result scale_measure(const struct scale_run *run, unsigned windows)
{
    struct stage *stage = g_aligned_alloc0(1, sizeof(*stage), _Alignof(struct stage));
    struct actor *actors = g_aligned_alloc0(run->cores, sizeof(*actors), _Alignof(struct actor));
    struct pgl_tb *tbs = g_aligned_alloc0((size_t)run->cores * (run->ops + 1), sizeof(*tbs), 64);
    double *times = g_new(double, windows);
    struct scale_result result = {.ns = -1};
    struct pgl_table_stats stats;
    unsigned good = 0;

    stage->run = run;
    stage->windows = windows;
    for (unsigned i = 0; i < run->cores; i++) {
        actors[i].stage = stage;
        actors[i].number = i;
        actors[i].tbs = tbs + run->cores + (size_t)i * run->ops;
    }
    if (!choose_cpus(actors, run->cores)) {
        g_printerr("pagelock-bench: scale needs two CPUs to measure on\n");
    } else {
        set_up(stage, actors, tbs);
        good = run_windows(stage, actors, times);
        pgl_table_get_stats(stage->table, &stats);
        pgl_table_free(stage->table);
        result.contended = (double)stats.contended / windows;
        if (good < ENOUGH)
            g_printerr("pagelock-bench: the machine is too busy: %u of %u runs went through\n", good, windows);
        else
            result.ns = spread_of(times, good).median;
    }
    g_free(times);
    g_aligned_free(tbs);
    g_aligned_free(actors);
    g_aligned_free(stage);
    return result;
}
