/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The soak of faulting pages. All workers fault on one object and on a shadow of it, through one map, while pagers of
 * its own reply late, in part, twice, with no data, with an error, or never; and while pages, access, advice and
 * mappings change. Now and then the pager is terminated under the faults, and others take over; the last to leave the
 * old ones looks whether anything was left over.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pagelock/pagelock.h>

#include "../fault/sim.h"
#include "soak.h"

#define NPAGES 192u
#define SHIFT 16u /* the shadow's page i is the lower object's i + SHIFT */
#define TOP 1000u /* where the map shows the shadow */

/* Two objects and a map, until they are torn down; then the pager of the objects, until they are gone. refs belongs to
 * fault.lock. */
struct world {
    struct sim sim; /* first: the pager */
    unsigned refs;
    struct pgl_object *low, *top;
    struct pgl_map *map;
    pthread_mutex_t remap;
};

/* A request on its way to be answered. */
struct job {
    struct job *next;
    struct world *world;
    struct pgl_request request;
    bool data;
    unsigned delay; /* times it is put back */
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t more;
    struct world *world;
    struct job *jobs;
    unsigned njobs;
    bool closed;
    uint64_t seed;
    pthread_t pagers[SOAK_PAGERS];
    uint64_t results[PGL_FAULT_PENDING + 1]; /* atomic */
    uint64_t replies, worlds;                /* atomic */
} fault = {.lock = PTHREAD_MUTEX_INITIALIZER, .more = PTHREAD_COND_INITIALIZER};

static void count(uint64_t *counter)
{
    __atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
}

/* ---- worlds ---- */

static struct world *enter_world(void)
{
    struct world *world;

    pthread_mutex_lock(&fault.lock);
    world = fault.world;
    world->refs++;
    pthread_mutex_unlock(&fault.lock);
    return world;
}

static void say(const char *what, void *opaque)
{
    (void)opaque;
    soak_broken("pgl_object_check: %s", what);
}

static void look(struct pgl_object *object)
{
    pgl_object_check(object, say, NULL);
}

static void check_rest(struct pgl_object *object)
{
    struct pgl_object_stats stats;

    look(object);
    pgl_object_get_stats(object, &stats);
    if (stats.busy || stats.outstanding || stats.waiting) {
        soak_broken("left over: %" PRIu64 " busy, %" PRIu64 " outstanding, %" PRIu64 " waiting", stats.busy,
                    stats.outstanding, stats.waiting);
    }
}

static void leave_world(struct world *world)
{
    bool last;

    pthread_mutex_lock(&fault.lock);
    last = --world->refs == 0;
    pthread_mutex_unlock(&fault.lock);
    if (!last) {
        return;
    }
    check_rest(world->low);
    check_rest(world->top);
    pgl_map_free(world->map);
    pgl_object_unref(world->top);
    pgl_object_unref(world->low);
}

/* Both objects are gone: the lower one is held by its shadow. An interruption under way may have held one until now. */
static void release(void *pager)
{
    struct world *world = pager;

    if (world->sim.frames_used || world->sim.blocks_used) {
        soak_broken("%" PRIu64 " frames and %" PRIu64 " records leaked", world->sim.frames_used,
                    world->sim.blocks_used);
    }
    pthread_mutex_destroy(&world->remap);
    free(world);
}

/* ---- pagers ---- */

static void put_job(struct job *job)
{
    pthread_mutex_lock(&fault.lock);
    job->next = fault.jobs;
    fault.jobs = job;
    fault.njobs++;
    pthread_cond_signal(&fault.more);
    pthread_mutex_unlock(&fault.lock);
}

/* Any one of the jobs, so that they are answered out of order. NULL when all are answered and no more will come. */
static struct job *take_job(uint64_t *random)
{
    struct job **link = &fault.jobs, *job;

    pthread_mutex_lock(&fault.lock);
    while (!fault.jobs && !fault.closed) {
        pthread_cond_wait(&fault.more, &fault.lock);
    }
    for (uint64_t skip = soak_below(random, 4); skip && *link && (*link)->next; skip--) {
        link = &(*link)->next;
    }
    job = *link;
    if (job) {
        *link = job->next;
        fault.njobs--;
    }
    pthread_mutex_unlock(&fault.lock);
    return job;
}

static int ask(void *pager, const struct pgl_request *request, bool data)
{
    static const int errors[] = {EAGAIN, EINTR, ENOMEM, EIO};
    struct job *job;

    if (soak_below(&soak_self->random, 16) == 0) {
        return errors[soak_below(&soak_self->random, 4)];
    }
    job = calloc(1, sizeof(*job));
    job->world = pager;
    job->request = *request;
    job->data = data;
    pthread_mutex_lock(&fault.lock);
    job->world->refs++;
    pthread_mutex_unlock(&fault.lock);
    put_job(job);
    return 0;
}

static int data_request(void *pager, const struct pgl_request *request)
{
    return ask(pager, request, true);
}

static int access_request(void *pager, const struct pgl_request *request)
{
    return ask(pager, request, false);
}

static const struct pgl_pager_ops pager_ops = {
    .data_request = data_request,
    .access_request = access_request,
    .release = release,
};

static void give(const struct job *job, uint64_t first, uint64_t last)
{
    const struct pgl_request *request = &job->request;
    struct pgl_pager_range range = {first, last};

    if (job->data) {
        sim_supply(&job->world->sim, request, first, last, request->access);
    } else {
        pgl_pager_grant(request->object, request->id, range, PGL_ACCESS_WRITE);
    }
}

/* Replies, or changes the job and returns false: it is to be put back. */
static bool reply(struct job *job, uint64_t *random)
{
    struct pgl_request *request = &job->request;
    uint64_t first = request->range.first, last = request->range.last;

    count(&fault.replies);
    if (job->delay > 1) {
        job->delay--;
        return false;
    }
    switch (job->delay ? 15 : soak_below(random, 16)) {
    case 0: /* late */
        job->delay = 1 + (unsigned)soak_below(random, 3);
        return false;
    case 1: /* in part */
        give(job, first + (last - first) / 2, last);
        request->range.last = first + (last - first) / 2;
        job->delay = 1;
        return false;
    case 2: /* page by page, from the end */
        for (uint64_t page = last + 1; page-- > first;) {
            give(job, page, page);
        }
        return true;
    case 3: /* twice, and for pages that nobody asked for */
        give(job, first, last);
        give(job, first, last + 5);
        return true;
    case 4: /* never */
        pgl_fault_interrupt(request->cookie);
        return true;
    case 5:
        pgl_pager_no_data(request->object, request->id, request->range);
        return true;
    case 6:
        pgl_pager_error(request->object, request->id, request->range);
        return true;
    default:
        give(job, first, last);
        return true;
    }
}

static void *run_pager(void *arg)
{
    uint64_t random = fault.seed + (uintptr_t)arg;
    struct job *job;

    while ((job = take_job(&random))) {
        if (reply(job, &random)) {
            leave_world(job->world);
            free(job);
        } else {
            put_job(job);
        }
    }
    return NULL;
}

/* ---- faults ---- */

static struct pgl_fault_args any_fault(struct worker *w, const struct world *world)
{
    struct pgl_fault_args args = {
        .map = world->map,
        .index = soak_below(&w->random, 2) * TOP + soak_below(&w->random, NPAGES),
        .access = soak_below(&w->random, 3) ? PGL_ACCESS_READ : PGL_ACCESS_WRITE,
        .flags = PGL_FAULT_FLAG_WIRE,
        .cookie = w->fault,
    };

    if (soak_below(&w->random, 4) == 0) {
        args.flags = (unsigned)soak_below(&w->random, 16) &
                     (PGL_FAULT_FLAG_RESIDENT | PGL_FAULT_FLAG_NO_WAIT | PGL_FAULT_FLAG_RETRIED);
    }
    if (soak_below(&w->random, 8) == 0) {
        args.map = NULL;
        args.object = args.index < TOP ? world->low : world->top;
        args.index %= TOP;
    }
    return args;
}

/* A wired page cannot go: its bytes are compared, wherever in the chain it was found. */
static void note(const struct world *world, const struct pgl_fault_args *args, const struct pgl_fault_page *page,
                 enum pgl_fault_result result)
{
    count(&fault.results[result]);
    if (result == PGL_FAULT_PENDING) {
        soak_broken("a fault that ended is pending");
    }
    if (result != PGL_FAULT_SUCCESS || !(args->flags & PGL_FAULT_FLAG_WIRE)) {
        return;
    }
    if (!sim_frame_is(page->frame, world->sim.tag, page->index) &&
        !(page->object == world->top && sim_frame_is(page->frame, world->sim.tag, page->index + SHIFT))) {
        soak_broken("page %" PRIu64 " holds other bytes", page->index);
    }
    if (!pgl_object_unwire(page->object, page->index)) {
        soak_broken("page %" PRIu64 " was not wired", page->index);
    }
}

void fault_run(struct worker *w)
{
    struct world *world = enter_world();
    struct pgl_fault_args args = any_fault(w, world);
    struct pgl_fault_page page;

    note(world, &args, &page, pgl_fault_run(w->fault, &args, &page));
    leave_world(world);
}

static void post(void *arg)
{
    sem_post(arg);
}

/* Without the driver's own sleep. */
void fault_continued(struct worker *w)
{
    struct world *world = enter_world();
    struct pgl_fault_args args = any_fault(w, world);
    struct pgl_fault_page page;
    enum pgl_fault_result result;
    sem_t ready;

    sem_init(&ready, 0, 0);
    result = pgl_fault_start(w->fault, &args, &page, post, &ready);
    while (result == PGL_FAULT_PENDING) {
        while (sem_wait(&ready) != 0) {
            ;
        }
        result = pgl_fault_continue(w->fault, &page);
    }
    sem_destroy(&ready);
    note(world, &args, &page, result);
    leave_world(world);
}

void fault_interrupt(struct worker *w)
{
    pgl_fault_interrupt(soak_worker[soak_below(&w->random, soak_workers)].fault);
}

static struct pgl_object *either(struct worker *w, const struct world *world)
{
    return soak_below(&w->random, 2) ? world->low : world->top;
}

void fault_remove(struct worker *w)
{
    struct world *world = enter_world();
    uint64_t first = soak_below(&w->random, NPAGES);

    pgl_object_remove(either(w, world), first, first + soak_below(&w->random, NPAGES - first));
    leave_world(world);
}

void fault_withhold(struct worker *w)
{
    struct world *world = enter_world();
    uint64_t first = soak_below(&w->random, NPAGES);
    struct pgl_pager_range range = {first, first + soak_below(&w->random, NPAGES - first)};

    pgl_pager_withhold(world->low, range, soak_below(&w->random, 2) ? PGL_ACCESS_NONE : PGL_ACCESS_READ);
    leave_world(world);
}

void fault_advise(struct worker *w)
{
    static const struct pgl_advice_table narrow = {{{3, 4, 0}, {0, 0, 0}, {6, 6, 0}, {0, 15, 8}}};
    struct world *world = enter_world();
    uint64_t first = soak_below(&w->random, NPAGES);
    enum pgl_advice advice = (enum pgl_advice)soak_below(&w->random, PGL_ADVICE_COUNT);

    pgl_map_advise(world->map, first, first + soak_below(&w->random, NPAGES - first), advice);
    pgl_object_advise(either(w, world), (enum pgl_advice)soak_below(&w->random, PGL_ADVICE_COUNT));
    pgl_object_set_table(either(w, world), soak_below(&w->random, 2) ? &narrow : NULL);
    leave_world(world);
}

void fault_remap(struct worker *w)
{
    struct world *world = enter_world();
    uint64_t first = soak_below(&w->random, NPAGES), last = first + soak_below(&w->random, NPAGES - first);

    if (pthread_mutex_trylock(&world->remap) == 0) {
        if (!pgl_map_remove(world->map, TOP + first, TOP + last)) {
            soak_broken("no removing from a map: errno %d", errno);
        }
        sched_yield();
        if (!pgl_map_enter(world->map, TOP + first, TOP + last, world->top, first, PGL_ADVICE_DEFAULT)) {
            soak_broken("no entering into a map: errno %d", errno);
        }
        pthread_mutex_unlock(&world->remap);
    }
    leave_world(world);
}

void fault_check(struct worker *w)
{
    struct world *world = enter_world();
    struct pgl_object *object = either(w, world);
    struct pgl_object_stats stats;

    look(object);
    pgl_object_get_stats(object, &stats);
    if (stats.outstanding > stats.busy + stats.resident) {
        soak_broken("more credits in use than pages");
    }
    leave_world(world);
}

static struct world *new_world(void)
{
    struct world *world = calloc(1, sizeof(*world));
    struct pgl_object_config config;

    world->refs = 1;
    world->sim.tag = 0x57;
    world->sim.nframes = 2 * NPAGES; /* speculation runs short when much has been copied up */
    config = sim_config(&world->sim, NPAGES + SHIFT);
    config.pager_ops = &pager_ops;
    config.advice = PGL_ADVICE_NORMAL;
    config.credits = 40;
    world->low = pgl_object_new(&config);
    config = sim_config(&world->sim, NPAGES);
    config.pager_ops = NULL;
    config.advice = PGL_ADVICE_NORMAL;
    config.backing = world->low;
    config.backing_first = SHIFT;
    world->top = pgl_object_new(&config);
    world->map = pgl_map_new(NULL, NULL);
    if (!pgl_map_enter(world->map, 0, NPAGES - 1, world->low, 0, PGL_ADVICE_DEFAULT) ||
        !pgl_map_enter(world->map, TOP, TOP + NPAGES - 1, world->top, 0, PGL_ADVICE_DEFAULT)) {
        soak_broken("no map");
    }
    pthread_mutex_init(&world->remap, NULL);
    count(&fault.worlds);
    return world;
}

/* The pager goes, with faults and requests under way; whoever comes next finds another. */
void fault_teardown(struct worker *w)
{
    struct world *new = new_world(), *old;

    (void)w;
    pthread_mutex_lock(&fault.lock);
    old = fault.world;
    fault.world = new;
    pthread_mutex_unlock(&fault.lock);
    pgl_object_terminate(old->low);
    leave_world(old);
}

/* ---- a run ---- */

void fault_begin(uint64_t seed)
{
    fault.seed = seed;
    fault.closed = false;
    fault.replies = fault.worlds = 0;
    memset(fault.results, 0, sizeof(fault.results));
    fault.world = new_world();
    for (unsigned i = 0; i < soak_workers; i++) {
        soak_worker[i].fault = pgl_fault_new();
    }
    for (uintptr_t i = 0; i < SOAK_PAGERS; i++) {
        pthread_create(&fault.pagers[i], NULL, run_pager, (void *)i);
    }
}

void fault_end(void)
{
    pthread_mutex_lock(&fault.lock);
    fault.closed = true;
    pthread_cond_broadcast(&fault.more);
    pthread_mutex_unlock(&fault.lock);
    for (unsigned i = 0; i < SOAK_PAGERS; i++) {
        pthread_join(fault.pagers[i], NULL);
    }
    for (unsigned i = 0; i < soak_workers; i++) {
        pgl_fault_free(soak_worker[i].fault);
    }
    leave_world(fault.world);
    printf("faults: %" PRIu64 " replies, %" PRIu64 " pairs of objects; by result:", fault.replies, fault.worlds);
    for (unsigned i = 0; i < PGL_FAULT_PENDING; i++) {
        printf(" %" PRIu64, fault.results[i]);
    }
    printf("\n");
}

void fault_report(void)
{
    fprintf(stderr, "  %u requests are unanswered\n", fault.njobs);
}
