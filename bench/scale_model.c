/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A model of cores that share cache lines: discrete events, in order of time.
 *
 * A line is with some cores, to be read, or with one, to be written. A core that has it goes on at once. Another waits
 * for a transfer, or for the upgrade from reading to writing; a line does one of these at a time, in the order in which
 * they were asked for, and stays for `residency` with a core that got it to write.
 *
 * An operation is its own work, then an access to the line of its page's descriptor: a read (a store check), or a
 * read-modify-write, before which stands all that the operation costs alone: a processor does what it can in the
 * shadow of that instruction, and the stores that follow it leave right behind it, before the line does. A page that is
 * held for longer is released when that time is over. A core that finds the lock taken waits as src/spin.c does.
 *
 * Left out: cores at different distances from each other; preemption, and with it what yields and sleeps are good for;
 * several requests at once by one core; the lines of the tree and of the blocks, which nobody else writes; the
 * bandwidth between the cores; hyperthreads.
 */
#include <glib.h>

#include "../src/spin.h"
#include "scale.h"

/* Assumed: how long after the read-modify-write others see the store that releases the lock. */
enum { DRAIN_NS = 1 };

enum step {
    LOOK,    /* at a lock that is taken */
    TAKE,    /* the lock */
    RELEASE, /* it, after holding it */
    TOUCH,   /* the line; no lock is involved */
};

/* What the next event of a core ends. */
enum phase {
    WORKING,
    ASKING, /* for the line, which cannot go to another core yet */
    ACCESSING,
};

struct line {
    double free; /* when it can go to the next core */
    double read_until[SCALE_MAX_CORES];
    double write_until[SCALE_MAX_CORES];
};

struct page {
    struct line *line;
    bool locked;
};

struct core {
    double time;  /* of its next event */
    double asked; /* when it wanted the line */
    enum phase phase;
    enum step step;
    unsigned round; /* of waiting for the lock */
    struct page *page;
    unsigned ops; /* still to be done */
    uint32_t random;
};

struct world {
    const struct scale_costs *costs;
    enum scale_op op;
    unsigned ncores;
    unsigned contended;
    struct core cores[SCALE_MAX_CORES];
    struct page pages[SCALE_MAX_CORES];
    struct line lines[SCALE_MAX_CORES];
};

/* Up to a twentieth more or less: without it the cores would go in step, as they never do. */
static double jitter(struct core *core, double ns)
{
    core->random = core->random * 1664525u + 1013904223u;
    return ns * (0.95 + 0.1 * (core->random >> 8) / (1 << 24));
}

static void all_lose(const struct world *world, double *until, double when)
{
    for (unsigned i = 0; i < world->ncores; i++)
        until[i] = MIN(until[i], when);
}

/* Whether the operation has plain stores to the line beside its read-modify-write. */
static bool stores_plainly(enum scale_op op)
{
    return op != SCALE_ADD && op != SCALE_CHECK;
}

/*
 * Whether two cores that share a line fight for it, operation after operation. Only then does a core keep it against
 * the other's wish: what works on for longer than that has left the line.
 */
static bool fights(const struct world *world)
{
    return world->costs->alone[world->op] < world->costs->residency;
}

/* The end of an access that is wanted now, or a negative number where the line cannot go to this core yet. */
static double access_end(const struct world *world, struct core *core, bool write)
{
    const struct scale_costs *costs = world->costs;
    struct line *line = core->page->line;
    unsigned number = (unsigned)(core - world->cores);
    double now = core->time, end;

    if ((write ? line->write_until : line->read_until)[number] >= now)
        return now;
    if (line->free > now)
        return -1;
    if (write && line->read_until[number] > now)
        end = now + costs->upgrade;
    else
        end = now + costs->transfer + (write && stores_plainly(world->op) && fights(world) ? costs->detour : 0);
    all_lose(world, line->write_until, now);
    line->free = end;
    if (write) {
        all_lose(world, line->read_until, now);
        line->write_until[number] = G_MAXDOUBLE;
        if (fights(world))
            line->free += jitter(core, costs->residency);
        else if (core->step == TAKE && world->op != SCALE_HOLD)
            line->free += 2 * DRAIN_NS; /* the store right behind is not outrun */
    }
    line->read_until[number] = G_MAXDOUBLE;
    return end;
}

/* As pgl_spin_wait() in src/spin.c. */
static double wait_ns(const struct world *world, unsigned round)
{
    const double *alone = world->costs->alone;

    if (round < PGL_SPIN_PAUSE_ROUNDS)
        return alone[SCALE_PAUSE] * (1u << round);
    if (round < PGL_SPIN_PAUSE_ROUNDS + PGL_SPIN_YIELD_ROUNDS)
        return alone[SCALE_YIELD];
    return alone[SCALE_SLEEP] + (double)(pgl_spin_sleep_ns(round) - PGL_SPIN_SLEEP_NS);
}

/* The work that comes before an access. */
static double work_of(const struct world *world, enum step step)
{
    const double *alone = world->costs->alone;

    switch (step) {
    case TAKE:
        return alone[world->op == SCALE_HOLD ? SCALE_LOCK : world->op] - DRAIN_NS;
    case RELEASE:
        return DRAIN_NS + (world->op == SCALE_HOLD ? alone[SCALE_HOLD] - alone[SCALE_LOCK] : 0);
    case TOUCH:
        return alone[world->op];
    default:
        return 0;
    }
}

static void go_on(const struct world *world, struct core *core, enum step step)
{
    core->phase = WORKING;
    core->step = step;
    core->time += jitter(core, work_of(world, step));
    core->asked = core->time;
}

static void next_op(const struct world *world, struct core *core)
{
    bool locks = world->op == SCALE_LOCK || world->op == SCALE_HOLD || world->op == SCALE_LINK;

    core->round = 0;
    go_on(world, core, !locks ? TOUCH : core->page->locked ? LOOK : TAKE);
}

static void wait_for_lock(struct world *world, struct core *core)
{
    if (core->round == 0)
        world->contended++;
    core->time += jitter(core, wait_ns(world, core->round++));
    go_on(world, core, LOOK);
}

static void try_access(const struct world *world, struct core *core)
{
    bool write = core->step == TAKE || core->step == RELEASE || (core->step == TOUCH && world->op != SCALE_CHECK);
    double end = access_end(world, core, write);

    core->phase = end < 0 ? ASKING : ACCESSING;
    core->time = end < 0 ? core->page->line->free : end;
}

/* Whoever asks for the line of a core that goes away to wait may have it. */
static void leave_line(struct world *world, struct line *line, double now)
{
    line->free = MIN(line->free, now);
    for (unsigned i = 0; i < world->ncores; i++) {
        struct core *core = &world->cores[i];

        if (core->phase == ASKING && core->page->line == line)
            core->time = MIN(core->time, now);
    }
}

static void end_access(struct world *world, struct core *core)
{
    struct page *page = core->page;

    if (core->step == LOOK || core->step == TAKE) {
        if (page->locked) {
            leave_line(world, page->line, core->time);
            wait_for_lock(world, core);
        } else if (core->step == LOOK) {
            go_on(world, core, TAKE);
        } else {
            page->locked = true;
            go_on(world, core, RELEASE);
        }
        return;
    }
    if (core->step == RELEASE)
        page->locked = false;
    core->ops--;
    next_op(world, core);
}

/* The core that has something to do first; of several, the one that has asked for longest. NULL when all are done. */
static struct core *next_core(struct world *world)
{
    struct core *next = NULL;

    for (unsigned i = 0; i < world->ncores; i++) {
        struct core *core = &world->cores[i];

        if (core->ops && (!next || core->time < next->time || (core->time == next->time && core->asked < next->asked)))
            next = core;
    }
    return next;
}

struct scale_result scale_simulate(const struct scale_costs *costs, const struct scale_run *run, uint32_t seed)
{
    struct world *world = g_new0(struct world, 1);
    struct scale_result result = {0};
    struct core *core;

    world->costs = costs;
    world->op = run->op;
    world->ncores = run->cores;
    for (unsigned i = 0; i < run->cores; i++) {
        unsigned page = run->layout == SCALE_SHARED ? 0 : i;

        core = &world->cores[i];
        core->random = seed * 2654435761u + i * 40503u;
        core->page = &world->pages[page];
        core->page->line = &world->lines[run->layout == SCALE_NEIGHBOURS ? page / SCALE_PAGES_A_LINE : page];
        core->ops = run->ops;
        core->time = 1; /* after all lines were lost by nobody */
        next_op(world, core);
    }
    while ((core = next_core(world))) {
        result.ns = core->time;
        if (core->phase == ACCESSING)
            end_access(world, core);
        else
            try_access(world, core);
    }
    result.contended = world->contended;
    g_free(world);
    return result;
}
