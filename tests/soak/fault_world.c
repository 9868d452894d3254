/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fault_world.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fault.h"

#define NPAGERS 2u

enum reply { WHOLE, LATE, PARTIAL, REVERSED, DUPLICATE, ALIEN, ABSENT, NO_DATA, FAILING, REFUSED, NREPLIES };

static const char *const reply_names[NREPLIES] = {"whole", "late",   "partial", "reversed", "duplicate",
                                                  "alien", "absent", "no data", "failing",  "refused"};

/* A request on its way to be answered. */
struct job {
    struct job *next;
    struct world *world;
    struct pgl_request request;
    bool data;
    unsigned delay; /* times it is put back */
};

static struct {
    pthread_mutex_t lock; /* protects all but the figures */
    pthread_cond_t more;
    struct world *world;
    struct job *jobs;
    unsigned njobs;
    bool closed;
    uint64_t seed;
    pthread_t pagers[NPAGERS];

    uint64_t results[PGL_FAULT_PENDING + 1]; /* atomic */
    uint64_t replies[NREPLIES];              /* atomic */
    uint64_t worlds, aliens, duplicates;     /* atomic */
} fault = {.lock = PTHREAD_MUTEX_INITIALIZER, .more = PTHREAD_COND_INITIALIZER};

static void add(uint64_t *counter, uint64_t n)
{
    __atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

void fault_count_result(enum pgl_fault_result result)
{
    add(&fault.results[result], 1);
}

/* ---- worlds ---- */

struct world *fault_enter_world(void)
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

void fault_check_object(struct pgl_object *object)
{
    pgl_object_check(object, say, NULL);
}

/* Check an object that no thread uses. Returns how many pages are resident. */
static uint64_t check_rest(struct pgl_object *object)
{
    struct pgl_object_stats stats;

    fault_check_object(object);
    pgl_object_get_stats(object, &stats);
    if (stats.busy || stats.outstanding || stats.waiting) {
        soak_broken("left over: %" PRIu64 " busy, %" PRIu64 " outstanding, %" PRIu64 " waiting", stats.busy,
                    stats.outstanding, stats.waiting);
    }
    add(&fault.aliens, stats.aliens);
    add(&fault.duplicates, stats.duplicates);
    return stats.resident;
}

void fault_leave_world(struct world *world)
{
    uint64_t resident;
    bool last;

    pthread_mutex_lock(&fault.lock);
    last = --world->refs == 0;
    pthread_mutex_unlock(&fault.lock);
    if (!last) {
        return;
    }
    resident = check_rest(world->low) + check_rest(world->top);
    if (resident != world->sim.frames_used) {
        soak_broken("%" PRIu64 " pages in %" PRIu64 " frames", resident, world->sim.frames_used);
    }
    pgl_map_free(world->map);
    pgl_object_unref(world->top);
    pgl_object_unref(world->low);
}

/* Both objects are gone: the shadow held the lower one. An interruption under way may have held one until now. */
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

/* ---- requests ---- */

static void put_job(struct job *job)
{
    pthread_mutex_lock(&fault.lock);
    job->next = fault.jobs;
    fault.jobs = job;
    fault.njobs++;
    pthread_cond_signal(&fault.more);
    pthread_mutex_unlock(&fault.lock);
}

/* Take any of the jobs: they are answered out of order. NULL when all are answered and no more will come. */
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

    if (below(soak_self, 16) == 0) {
        add(&fault.replies[REFUSED], 1);
        return errors[below(soak_self, 4)];
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

/* ---- replies ---- */

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

/* Half of all replies are whole, the others each in one of the other ways. */
static enum reply choose_reply(const struct job *job, uint64_t *random)
{
    uint64_t choice = soak_below(random, 16);

    return job->delay || choice >= REFUSED ? WHOLE : (enum reply)choice;
}

/* Reply, or change the job and return false: it is to be put back. */
static bool reply(struct job *job, uint64_t *random)
{
    struct pgl_request *request = &job->request;
    uint64_t first = request->range.first, last = request->range.last;
    enum reply kind = choose_reply(job, random);

    if (job->delay && --job->delay) {
        return false;
    }
    add(&fault.replies[kind], 1);
    switch (kind) {
    case LATE:
        job->delay = 1 + (unsigned)soak_below(random, 3);
        return false;
    case PARTIAL:
        give(job, first + (last - first) / 2, last);
        request->range.last = first + (last - first) / 2;
        job->delay = 1;
        return false;
    case REVERSED:
        for (uint64_t page = last + 1; page-- > first;) {
            give(job, page, page);
        }
        break;
    case DUPLICATE:
        give(job, first, last);
        give(job, first, last);
        break;
    case ALIEN: /* pages that no fault asked for, and a request that does not exist */
        give(job, last + 1, last + 5);
        pgl_pager_error(request->object, request->id + 1000, request->range);
        give(job, first, last);
        break;
    case ABSENT:
        pgl_fault_interrupt(request->cookie);
        break;
    case NO_DATA:
        pgl_pager_no_data(request->object, request->id, request->range);
        break;
    case FAILING:
        pgl_pager_error(request->object, request->id, request->range);
        break;
    default:
        give(job, first, last);
        break;
    }
    return true;
}

static void *run_pager(void *arg)
{
    uint64_t random = fault.seed + (uintptr_t)arg;
    struct job *job;

    while ((job = take_job(&random))) {
        if (reply(job, &random)) {
            fault_leave_world(job->world);
            free(job);
        } else {
            put_job(job);
        }
    }
    return NULL;
}

/* ---- a run ---- */

static struct world *new_world(void)
{
    struct world *world = calloc(1, sizeof(*world));
    struct pgl_object_config config;

    world->refs = 1;
    world->sim.tag = 0x57;
    world->sim.nframes = 2 * NPAGES; /* speculation runs short when much has been copied up */
    config = sim_config(&world->sim, FIRST + NPAGES + SHIFT);
    config.pager_ops = &pager_ops;
    config.advice = PGL_ADVICE_NORMAL;
    config.credits = 40;
    world->low = pgl_object_new(&config);
    config = sim_config(&world->sim, FIRST + NPAGES);
    config.pager_ops = NULL;
    config.advice = PGL_ADVICE_NORMAL;
    config.backing = world->low;
    config.backing_first = SHIFT;
    world->top = pgl_object_new(&config);
    world->map = pgl_map_new(NULL, NULL);
    if (!pgl_map_enter(world->map, 0, NPAGES - 1, world->low, FIRST, PGL_ADVICE_DEFAULT) ||
        !pgl_map_enter(world->map, TOP, TOP + NPAGES - 1, world->top, FIRST, PGL_ADVICE_DEFAULT)) {
        soak_broken("no map");
    }
    pthread_mutex_init(&world->remap, NULL);
    add(&fault.worlds, 1);
    return world;
}

void fault_change_world(void)
{
    struct world *new = new_world(), *old;

    pthread_mutex_lock(&fault.lock);
    old = fault.world;
    fault.world = new;
    pthread_mutex_unlock(&fault.lock);
    pgl_object_terminate(old->low);
    fault_leave_world(old);
}

static void begin(uint64_t seed)
{
    fault.seed = seed;
    fault.closed = false;
    fault.worlds = fault.aliens = fault.duplicates = 0;
    memset(fault.results, 0, sizeof(fault.results));
    memset(fault.replies, 0, sizeof(fault.replies));
    fault.world = new_world();
    for (unsigned i = 0; i < soak_workers; i++) {
        soak_worker[i].fault = pgl_fault_new();
        sem_init(&soak_worker[i].ready, 0, 0);
    }
    for (uintptr_t i = 0; i < NPAGERS; i++) {
        pthread_create(&fault.pagers[i], NULL, run_pager, (void *)i);
    }
}

/* A worker that faults holds no block. */
static void enter(struct worker *w)
{
    __atomic_store_n(&w->quiet, UINT64_MAX, __ATOMIC_SEQ_CST);
}

static void end(void)
{
    pthread_mutex_lock(&fault.lock);
    fault.closed = true;
    pthread_cond_broadcast(&fault.more);
    pthread_mutex_unlock(&fault.lock);
    for (unsigned i = 0; i < NPAGERS; i++) {
        pthread_join(fault.pagers[i], NULL);
    }
    for (unsigned i = 0; i < soak_workers; i++) {
        pgl_fault_free(soak_worker[i].fault);
        sem_destroy(&soak_worker[i].ready);
    }
    fault_leave_world(fault.world);
    printf("faults: %" PRIu64 " pairs of objects;", fault.worlds);
    for (unsigned i = 0; i < NREPLIES; i++) {
        printf(" %" PRIu64 " %s,", fault.replies[i], reply_names[i]);
    }
    printf(" by result:");
    for (unsigned i = 0; i < PGL_FAULT_PENDING; i++) {
        printf(" %" PRIu64, fault.results[i]);
    }
    printf("\n");
}

static void report(void)
{
    fprintf(stderr, "  %u requests are unanswered\n", fault.njobs);
}

const struct half fault_half = {.begin = begin, .enter = enter, .end = end, .report = report};

bool fault_met_everything(void)
{
    bool met = fault.aliens >= fault.replies[ALIEN] && fault.duplicates > 0;

    for (unsigned i = 0; i < NREPLIES; i++) {
        if (!fault.replies[i]) {
            fprintf(stderr, "no reply was %s\n", reply_names[i]);
            met = false;
        }
    }
    return met;
}
