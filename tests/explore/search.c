/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which schedules to try: all with up to a bound of deviations, depth first; random walks; and priority-based ones
 * (PCT: the thread with the highest priority runs, and a few random steps lower it), which find a bug of d ordered
 * steps among n with a probability of at least 1/(threads * n^(d-1)). A schedule that fails is shrunk, by leaving out
 * one deviation after the other for as long as it still fails, and described by those that remain.
 */
#include "search.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BATCH 250
#define MAX_DEPTH 20001

/* The set of the hashes seen. */

struct set {
    uint64_t *slots;
    size_t n, size;
};

static bool set_add(struct set *set, uint64_t hash)
{
    hash |= hash == 0;
    if (set->n * 2 >= set->size) {
        struct set larger = {calloc(set->size ? set->size * 2 : 1024, 8), 0, set->size ? set->size * 2 : 1024};
        for (size_t i = 0; i < set->size; i++) {
            if (set->slots[i] != 0) {
                set_add(&larger, set->slots[i]);
            }
        }
        free(set->slots);
        *set = larger;
    }
    size_t i = hash & (set->size - 1);
    for (; set->slots[i] != 0; i = (i + 1) & (set->size - 1)) {
        if (set->slots[i] == hash) {
            return false;
        }
    }
    set->slots[i] = hash;
    set->n++;
    return true;
}

struct node {
    uint8_t n, nfree, chosen;
};

struct depth_first {
    int bound;
    bool started;
    bool cut; /* some alternative was over the bound */
    unsigned int depth;
    struct node path[MAX_DEPTH];
};

struct search {
    struct tally tally;
    const struct explore_scenario *scenario;
    uint64_t seed;
    uint64_t iteration;
    unsigned int turn;
    unsigned int longest; /* in points */
    struct set distinct, behaviours;
    struct depth_first depth_first[MEMORY_MODES];
};

/* Picks have no argument of their own: this is theirs. */
static struct {
    uint64_t random;
    struct depth_first *depth_first;
    unsigned int position;
    unsigned int deviate;                         /* of 256: how often a random walk leaves the default */
    unsigned int priorities[2 * EXPLORE_THREADS]; /* threads, then their buffers */
    unsigned int changes[4];
    unsigned int lowest;
    const struct decision *decisions;
    unsigned int ndecisions;
} picking;

double search_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static unsigned int random_below(unsigned int n)
{
    picking.random += 0x9e3779b97f4a7c15u;
    return (unsigned int)((mix64(picking.random) >> 32) * n >> 32);
}

static unsigned int pick_depth_first(const struct choice *choices, unsigned int n, unsigned int nfree)
{
    struct depth_first *dfs = picking.depth_first;

    (void)choices;
    if (picking.position == dfs->depth) {
        if (dfs->depth == MAX_DEPTH) {
            explore_fail("more than %d choices", MAX_DEPTH);
        }
        dfs->path[dfs->depth++] = (struct node){(uint8_t)n, (uint8_t)nfree, 0};
    }
    return dfs->path[picking.position++].chosen;
}

/* Go back to the last choice with an alternative within the bound. */
static bool next_path(struct depth_first *dfs)
{
    int cost = 0;

    for (unsigned int i = 0; i < dfs->depth; i++) {
        cost += dfs->path[i].chosen >= dfs->path[i].nfree;
    }
    for (; dfs->depth > 0; dfs->depth--) {
        struct node *node = &dfs->path[dfs->depth - 1];
        cost -= node->chosen >= node->nfree;
        if (node->chosen + 1 < node->n) {
            if (cost + (node->chosen + 1 >= node->nfree) <= dfs->bound) {
                node->chosen++;
                return true;
            }
            dfs->cut = true;
        }
    }
    return false;
}

static unsigned int pick_random(const struct choice *choices, unsigned int n, unsigned int nfree)
{
    (void)choices;
    if (nfree > 1) {
        return random_below(n);
    }
    return random_below(256) < picking.deviate ? 1 + random_below(n - 1) : 0;
}

static unsigned int *priority_of(struct choice choice)
{
    return &picking.priorities[choice.kind == CHOICE_FLUSH ? EXPLORE_THREADS + choice.arg : choice.arg];
}

static unsigned int pick_priority(const struct choice *choices, unsigned int n, unsigned int nfree)
{
    if (n > 1 && choices[1].kind == CHOICE_STALE) {
        return pick_random(choices, n, nfree);
    }
    unsigned int best = 0;
    for (unsigned int i = 1; i < n; i++) {
        if (*priority_of(choices[i]) > *priority_of(choices[best])) {
            best = i;
        }
    }
    for (unsigned int i = 0; i < sizeof picking.changes / sizeof *picking.changes; i++) {
        if (picking.changes[i] == picking.position) {
            *priority_of(choices[best]) = picking.lowest--;
        }
    }
    picking.position++;
    return best;
}

static unsigned int pick_recorded(const struct choice *choices, unsigned int n, unsigned int nfree)
{
    (void)nfree;
    for (unsigned int d = 0; d < picking.ndecisions; d++) {
        const struct decision *decision = &picking.decisions[d];
        if (decision->thread != engine_chooser() || decision->step != engine_step()) {
            continue;
        }
        for (unsigned int i = 0; i < n; i++) {
            if (choices[i].kind == decision->kind && choices[i].arg == decision->arg) {
                return i;
            }
        }
    }
    return 0;
}

/* Decisions as text: 0.12>1 when thread 0 has made 12 choices, go on with 1; ! is a flush, ~ a stale load. */

static const char kind_letters[] = ">!~";

static void print_decisions(const struct decision *decisions, unsigned int n, char *out, size_t size)
{
    size_t used = 0;

    out[0] = '-';
    out[1] = '\0';
    for (unsigned int i = 0; i < n && used + 32 < size; i++) {
        used += (size_t)snprintf(out + used, size - used, "%s%u.%u%c%u", i > 0 ? "," : "", decisions[i].thread,
                                 decisions[i].step, kind_letters[decisions[i].kind], decisions[i].arg);
    }
}

static unsigned int parse_decisions(const char *text, struct decision *decisions)
{
    unsigned int n = 0, thread, step, arg;
    char letter;
    int used;

    while (n < MAX_DECISIONS && sscanf(text, "%u.%u%c%u%n", &thread, &step, &letter, &arg, &used) == 4) {
        const char *kind = strchr(kind_letters, letter);
        if (!kind || letter == '\0') {
            break;
        }
        decisions[n++] =
            (struct decision){(uint8_t)thread, (uint8_t)(kind - kind_letters), (uint8_t)arg, (uint16_t)step};
        text += used;
        text += *text == ',';
    }
    return n;
}

static void run_decisions(struct run *run, const struct decision *decisions, unsigned int n)
{
    picking.decisions = decisions;
    picking.ndecisions = n;
    run->pick = pick_recorded;
    engine_run(run);
}

bool search_replay(const struct explore_scenario *scenario, enum explore_memory memory, bool plain_points,
                   const char *decisions, FILE *trace, char *why)
{
    static struct run run;
    struct decision parsed[MAX_DECISIONS];

    run = (struct run){.scenario = scenario, .memory = memory, .plain_points = plain_points, .trace = trace};
    run_decisions(&run, parsed, parse_decisions(decisions, parsed));
    strcpy(why, run.failed ? run.why : "");
    return run.failed;
}

/* Run without the decisions [first, end). True when that fails too, and is shorter: then it takes the place of @run. */
static bool fails_without(struct run *run, unsigned int first, unsigned int end)
{
    static struct run shorter;
    struct decision without[MAX_DECISIONS];
    unsigned int n = 0;

    for (unsigned int i = 0; i < run->ndecisions; i++) {
        if (i < first || i >= end) {
            without[n++] = run->decisions[i];
        }
    }
    shorter = (struct run){.scenario = run->scenario, .memory = run->memory, .plain_points = run->plain_points};
    run_decisions(&shorter, without, n);
    if (!shorter.failed || shorter.ndecisions >= run->ndecisions) {
        return false;
    }
    *run = shorter;
    return true;
}

/* Leave out decisions for as long as the schedule still fails: halves, quarters, ... and at last one by one. */
static void shrink(struct run *run)
{
    unsigned int length = run->ndecisions;

    while (length > 0) {
        bool shrunk = false;
        for (unsigned int first = 0; first < run->ndecisions;) {
            unsigned int end = first + length < run->ndecisions ? first + length : run->ndecisions;
            if (fails_without(run, first, end)) {
                shrunk = true;
            } else {
                first = end;
            }
        }
        length = length > 1 ? length / 2 : shrunk ? 1 : 0;
    }
}

struct search *search_new(const struct explore_scenario *scenario, uint64_t seed)
{
    struct search *search = calloc(1, sizeof *search);

    search->scenario = scenario;
    search->seed = seed;
    for (int m = 0; m < MEMORY_MODES; m++) {
        search->tally.complete[m] = -1;
    }
    return search;
}

void search_free(struct search *search)
{
    free(search->distinct.slots);
    free(search->behaviours.slots);
    free(search);
}

const struct tally *search_tally(const struct search *search)
{
    return &search->tally;
}

static void count(struct search *search, struct run *run)
{
    struct tally *tally = &search->tally;

    tally->schedules++;
    if (set_add(&search->distinct, run->signature ^ mix64(run->memory + 1u))) {
        if (run->memory == MEMORY_SC && !run->plain_points && run->deviations < 3) {
            tally->with[run->deviations]++;
        }
    }
    set_add(&search->behaviours, run->behaviour);
    tally->distinct = search->distinct.n;
    tally->behaviours = search->behaviours.n;
    search->longest = search->longest > run->points ? search->longest : run->points;
    if (run->failed) {
        shrink(run);
        tally->failed = true;
        tally->memory = run->memory;
        tally->plain_points = run->plain_points;
        strcpy(tally->why, run->why);
        print_decisions(run->decisions, run->ndecisions, tally->replay, sizeof tally->replay);
    }
}

/* Go on with the search in depth; one deviation more each time that a bound is done. False: nothing is left. */
static bool search_deeper(struct search *search, enum explore_memory memory, int bound, unsigned int schedules,
                          double deadline)
{
    static struct run run;
    struct depth_first *dfs = &search->depth_first[memory];
    struct tally *tally = &search->tally;

    for (unsigned int i = 0; i < schedules; i++) {
        if (tally->exhausted[memory] || dfs->bound > bound || tally->failed) {
            return false;
        }
        if (i % 64 == 63 && search_now() > deadline) {
            return true;
        }
        if (dfs->started && !next_path(dfs)) {
            tally->complete[memory] = dfs->bound++;
            tally->exhausted[memory] = !dfs->cut;
            dfs->started = dfs->cut = false;
            continue;
        }
        dfs->started = true;
        picking.depth_first = dfs;
        picking.position = 0;
        run = (struct run){.scenario = search->scenario, .memory = memory, .pick = pick_depth_first};
        engine_run(&run);
        count(search, &run);
    }
    return true;
}

void search_exhaust(struct search *search, enum explore_memory memory, int bound, double deadline)
{
    while (search_deeper(search, memory, bound, BATCH, deadline) && search_now() < deadline) {
    }
}

static void run_random(struct search *search, enum explore_memory memory, bool priorities)
{
    static struct run run;

    picking.random = mix64(search->seed) + mix64(++search->iteration);
    picking.position = 0;
    /* 1 to 16 deviations in a schedule of the usual length */
    picking.deviate = 256 * (1 + random_below(16)) / (search->longest + 1);
    picking.deviate = picking.deviate < 2 ? 2 : picking.deviate > 128 ? 128 : picking.deviate;
    for (unsigned int i = 0; i < 2 * EXPLORE_THREADS; i++) {
        picking.priorities[i] = 1000 + random_below(1u << 20);
    }
    picking.lowest = 999;
    for (unsigned int i = 0; i < sizeof picking.changes / sizeof *picking.changes; i++) {
        picking.changes[i] = random_below(search->longest + 1);
    }
    run = (struct run){.scenario = search->scenario,
                       .memory = memory,
                       .plain_points = random_below(4) == 0,
                       .pick = priorities ? pick_priority : pick_random};
    engine_run(&run);
    count(search, &run);
}

bool search_is_exhausted(const struct search *search, enum explore_memory memory)
{
    bool exhausted = true;

    for (int m = 0; m < MEMORY_MODES; m++) {
        exhausted &= search->tally.exhausted[m] || (memory != MEMORY_MODES && memory != (enum explore_memory)m);
    }
    return exhausted;
}

void search_mixed(struct search *search, enum explore_memory memory, double deadline)
{
    while (search_now() < deadline && !search->tally.failed && !search_is_exhausted(search, memory)) {
        unsigned int turn = search->turn++;
        enum explore_memory m = memory == MEMORY_MODES ? turn / 3 % MEMORY_MODES : memory;
        if (search->tally.exhausted[m]) {
            continue;
        }
        if (turn % 3 == 0) {
            search_deeper(search, m, INT32_MAX, BATCH, deadline);
            continue;
        }
        for (unsigned int i = 0; i < BATCH && !search->tally.failed; i++) {
            run_random(search, m, turn % 3 == 1);
        }
    }
}
