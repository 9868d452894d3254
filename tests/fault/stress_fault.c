/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Many threads fault on one object, directly and through a shadow of it, asleep and continued, while a pager replies at
 * random: late, in part, reversed, twice, for pages nobody asked for, with no data, with an error, or never; pages are
 * removed, access is withheld, mappings change, and faults are interrupted. Pages that were wired are compared byte by
 * byte. Ends when every kind of reply was given often enough, and then nothing may be left over.
 *
 * PGL_SEED repeats a run's choices (not its schedule), PGL_STRESS multiplies its length.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "sim.h"

#include "../cm.h"

#define NPAGES 320
#define NWORKERS 6
#define NPAGERS 2
#define NPENDING 8 /* continued faults a worker */

enum reply { WHOLE, LATE, PARTIAL, REVERSED, DUPLICATE, ALIEN, ABSENT, NO_DATA, FAILING, REFUSED, NREPLIES };

static const char *const reply_names[NREPLIES] = {"whole", "late",   "partial", "reversed", "duplicate",
                                                  "alien", "absent", "no data", "failing",  "refused"};

/* A request on its way to be answered. */
struct job {
    struct job *next;
    struct pgl_request request;
    bool data;
    unsigned delay; /* times it is put back */
};

struct stress {
    uint64_t seed;
    uint64_t each; /* how many replies of each kind end the run */
    struct sim sim;
    struct pgl_object *low, *top;
    struct pgl_map *map; /* 0..: low; 1000..: top */
    pthread_barrier_t barrier;

    pthread_mutex_t lock;
    pthread_cond_t more;
    struct job *jobs;
    bool closed;
    struct pgl_fault *done[NWORKERS * NPENDING]; /* not used any more, but pagers may still interrupt them */
    unsigned ndone;

    bool over; /* atomic, as all below */
    uint64_t replies[NREPLIES];
    uint64_t results[PGL_FAULT_PENDING + 1];
    uint64_t continued;
    uint64_t wrong_bytes;
    uint64_t violations; /* that pgl_object_check() reported */
    const char *wrong;
};

static struct stress stress;

static uint64_t next_random(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return *x;
}

static uint64_t below(uint64_t *x, uint64_t n)
{
    return (next_random(x) >> 11) % n;
}

static void count(uint64_t *counter)
{
    __atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
}

static bool over(void)
{
    return __atomic_load_n(&stress.over, __ATOMIC_RELAXED);
}

/* The pager */

static __thread uint64_t thread_seed;

static void put_job(struct job *job)
{
    pthread_mutex_lock(&stress.lock);
    job->next = stress.jobs;
    stress.jobs = job;
    pthread_cond_signal(&stress.more);
    pthread_mutex_unlock(&stress.lock);
}

/* Any one of the jobs, so that they are answered out of order. NULL when all are answered and no more will come. */
static struct job *take_job(uint64_t *x)
{
    struct job **link = &stress.jobs;
    struct job *job;

    pthread_mutex_lock(&stress.lock);
    while (!stress.jobs && !stress.closed) {
        pthread_cond_wait(&stress.more, &stress.lock);
    }
    for (uint64_t skip = below(x, 4); skip > 0 && *link && (*link)->next; skip--) {
        link = &(*link)->next;
    }
    job = *link;
    if (job) {
        *link = job->next;
    }
    pthread_mutex_unlock(&stress.lock);
    return job;
}

static int ask_stress(struct sim *sim, const struct pgl_request *request, bool data)
{
    static const int errors[] = {EAGAIN, EINTR, ENOMEM, EIO};
    struct job *job;

    (void)sim;
    if (below(&thread_seed, 12) == 0) {
        count(&stress.replies[REFUSED]);
        return errors[below(&thread_seed, 4)];
    }
    job = calloc(1, sizeof(*job));
    job->request = *request;
    job->data = data;
    pgl_object_ref(request->object); /* a pager that may reply late holds what it replies to */
    put_job(job);
    return 0;
}

static int data_request(void *pager, const struct pgl_request *request)
{
    return ask_stress(pager, request, true);
}

static int access_request(void *pager, const struct pgl_request *request)
{
    return ask_stress(pager, request, false);
}

static const struct pgl_pager_ops pager_ops = {data_request, access_request, NULL, NULL};

static void give(const struct job *job, uint64_t first, uint64_t last)
{
    const struct pgl_request *request = &job->request;
    struct pgl_pager_range range = {first, last};

    if (job->data) {
        sim_supply(&stress.sim, request, first, last, request->access);
    } else {
        pgl_pager_grant(request->object, request->id, range, PGL_ACCESS_WRITE);
    }
}

/* Replies, or changes the job and returns false: it is to be put back. */
static bool reply(struct job *job, uint64_t *x)
{
    struct pgl_request *request = &job->request;
    struct pgl_request alien = *request;
    uint64_t first = request->range.first;
    uint64_t last = request->range.last;
    enum reply kind = job->delay > 0 ? WHOLE : (enum reply)below(x, REFUSED);

    if (job->delay > 0 && --job->delay > 0) {
        return false;
    }
    count(&stress.replies[kind]);
    switch (kind) {
    case WHOLE:
        give(job, first, last);
        break;
    case LATE:
        job->delay = 1 + (unsigned)below(x, 3);
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
    case ALIEN:
        give(job, last + 1, last + 5);
        alien.id += 1000;
        pgl_pager_error(request->object, alien.id, alien.range);
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
    case REFUSED:
    case NREPLIES:
        break;
    }
    return true;
}

static void *run_pager(void *arg)
{
    uint64_t x = stress.seed + (uintptr_t)arg;
    struct job *job;

    pthread_barrier_wait(&stress.barrier);
    while ((job = take_job(&x))) {
        if (reply(job, &x)) {
            pgl_object_unref(job->request.object);
            free(job);
        } else {
            put_job(job);
        }
        if (below(&x, 8) == 0) {
            sched_yield();
        }
    }
    return NULL;
}

/* The faults */

static struct pgl_fault_args any_fault(uint64_t *x, struct pgl_fault *fault)
{
    struct pgl_fault_args args = {
        .map = stress.map,
        .index = below(x, 2) * 1000 + below(x, NPAGES),
        .access = below(x, 3) == 0 ? PGL_ACCESS_WRITE : PGL_ACCESS_READ,
        .flags = PGL_FAULT_FLAG_WIRE,
        .cookie = fault,
    };

    if (below(x, 4) != 0) {
        args.flags =
            (unsigned)below(x, 16) & (PGL_FAULT_FLAG_RESIDENT | PGL_FAULT_FLAG_NO_WAIT | PGL_FAULT_FLAG_RETRIED);
    }
    return args;
}

/* A wired page cannot go: its bytes are compared, wherever in the chain it was found. */
static void note(const struct pgl_fault_args *args, const struct pgl_fault_page *page, enum pgl_fault_result result)
{
    count(&stress.results[result]);
    if (result == PGL_FAULT_SUCCESS && (args->flags & PGL_FAULT_FLAG_WIRE) != 0) {
        bool right = sim_frame_is(page->frame, stress.sim.tag, page->index) ||
                     (page->object == stress.top && sim_frame_is(page->frame, stress.sim.tag, page->index + 16));

        if (!right || !pgl_object_unwire(page->object, page->index)) {
            count(&stress.wrong_bytes);
        }
    }
}

static void put_fault(struct pgl_fault *fault)
{
    pthread_mutex_lock(&stress.lock);
    stress.done[stress.ndone++] = fault;
    pthread_mutex_unlock(&stress.lock);
}

static void *run_sleeper(void *arg)
{
    uint64_t x = stress.seed + (uintptr_t)arg;
    struct pgl_fault *fault = pgl_fault_new();

    thread_seed = x;
    pthread_barrier_wait(&stress.barrier);
    while (!over()) {
        struct pgl_fault_args args = any_fault(&x, fault);
        struct pgl_fault_page page;

        note(&args, &page, pgl_fault_run(fault, &args, &page));
        if (below(&x, 64) == 0) {
            pgl_fault_interrupt(fault);
        }
    }
    put_fault(fault);
    return NULL;
}

/* A fault that is continued, and who goes on with it. */
struct continued {
    struct pgl_fault *fault;
    struct pgl_fault_args args;
    bool pending;
    bool ready; /* atomic */
};

static void set_ready(void *arg)
{
    struct continued *continued = arg;

    /* release: pairs with the acquire in run_continuer() */
    __atomic_store_n(&continued->ready, true, __ATOMIC_RELEASE);
}

static void go_on(struct continued *continued, uint64_t *x)
{
    struct pgl_fault_page page;
    enum pgl_fault_result result;

    if (!continued->pending) {
        continued->args = any_fault(x, continued->fault);
        result = pgl_fault_start(continued->fault, &continued->args, &page, set_ready, continued);
    } else if (__atomic_exchange_n(&continued->ready, false, __ATOMIC_ACQUIRE)) {
        count(&stress.continued);
        result = pgl_fault_continue(continued->fault, &page);
    } else {
        if (below(x, 512) == 0) {
            pgl_fault_interrupt(continued->fault);
        }
        return;
    }
    continued->pending = result == PGL_FAULT_PENDING;
    note(&continued->args, &page, result);
}

static void *run_continuer(void *arg)
{
    uint64_t x = stress.seed + (uintptr_t)arg;
    struct continued faults[NPENDING] = {0};
    bool pending = true;

    thread_seed = x;
    for (unsigned i = 0; i < NPENDING; i++) {
        faults[i].fault = pgl_fault_new();
    }
    pthread_barrier_wait(&stress.barrier);
    while (pending) {
        pending = !over();
        for (unsigned i = 0; i < NPENDING; i++) {
            if (!over() || faults[i].pending) {
                go_on(&faults[i], &x);
            }
            pending |= faults[i].pending;
        }
        sched_yield();
    }
    for (unsigned i = 0; i < NPENDING; i++) {
        put_fault(faults[i].fault);
    }
    return NULL;
}

/* What else happens, and looks */

static void disturb(uint64_t *x)
{
    uint64_t first = below(x, NPAGES);
    uint64_t last = first + below(x, NPAGES - first);
    struct pgl_pager_range range = {first, last};

    switch (below(x, 6)) {
    case 0:
    case 1:
        pgl_object_remove(stress.low, first, last);
        break;
    case 2:
        pgl_object_remove(stress.top, first, last);
        break;
    case 3:
        pgl_pager_withhold(stress.low, range, below(x, 2) ? PGL_ACCESS_NONE : PGL_ACCESS_READ);
        break;
    case 4:
        pgl_map_advise(stress.map, first, last, (enum pgl_advice)below(x, PGL_ADVICE_COUNT));
        break;
    case 5:
        pgl_map_remove(stress.map, 1000 + first, 1000 + last);
        usleep(50);
        pgl_map_enter(stress.map, 1000 + first, 1000 + last, stress.top, first, PGL_ADVICE_DEFAULT);
        break;
    }
}

static void say(const char *what, void *opaque)
{
    (void)opaque;
    count(&stress.violations);
    __atomic_store_n(&stress.wrong, what, __ATOMIC_RELAXED);
}

static void look(struct pgl_object *object)
{
    pgl_object_check(object, say, NULL);
}

static bool enough(void)
{
    for (unsigned i = 0; i < NREPLIES; i++) {
        if (__atomic_load_n(&stress.replies[i], __ATOMIC_RELAXED) < stress.each) {
            return false;
        }
    }
    return true;
}

static void *run_disturber(void *arg)
{
    uint64_t x = stress.seed + (uintptr_t)arg;

    pthread_barrier_wait(&stress.barrier);
    while (!enough()) {
        disturb(&x);
        if (below(&x, 16) == 0) {
            look(stress.low);
            look(stress.top);
        }
        usleep(20);
    }
    __atomic_store_n(&stress.over, true, __ATOMIC_RELAXED);
    return NULL;
}

static void build(void)
{
    const struct pgl_advice_table table = {{{3, 4, 0}, {0, 0, 0}, {6, 6, 0}, {0, 15, 8}}};
    struct pgl_object_config config;

    stress.sim.tag = 0x57;
    stress.sim.nframes = 2 * NPAGES; /* speculation runs short when much has been copied up */
    config = sim_config(&stress.sim, NPAGES + 16);
    config.pager_ops = &pager_ops;
    config.table = &table;
    config.credits = 40;
    stress.low = pgl_object_new(&config);
    config = sim_config(&stress.sim, NPAGES);
    config.pager_ops = NULL;
    config.table = &table;
    config.backing = stress.low;
    config.backing_first = 16;
    stress.top = pgl_object_new(&config);
    stress.map = pgl_map_new(NULL, NULL);
    assert_true(pgl_map_enter(stress.map, 0, NPAGES - 1, stress.low, 0, PGL_ADVICE_DEFAULT));
    assert_true(pgl_map_enter(stress.map, 1000, 1000 + NPAGES - 1, stress.top, 0, PGL_ADVICE_DEFAULT));
    pthread_barrier_init(&stress.barrier, NULL, NWORKERS + NPAGERS + 1);
    pthread_mutex_init(&stress.lock, NULL);
    pthread_cond_init(&stress.more, NULL);
}

static void print_counts(void)
{
    printf("stress_fault:");
    for (unsigned i = 0; i < NREPLIES; i++) {
        printf(" %" PRIu64 " %s,", stress.replies[i], reply_names[i]);
    }
    printf(" %" PRIu64 " continued;", stress.continued);
    for (unsigned i = 0; i <= PGL_FAULT_PENDING; i++) {
        printf(" %" PRIu64, stress.results[i]);
    }
    printf(" by result\n");
}

static void assert_nothing_left(struct pgl_object *object)
{
    struct pgl_object_stats stats;

    assert_int_equal(pgl_object_check(object, say, NULL), 0);
    pgl_object_get_stats(object, &stats);
    assert_int_equal(stats.busy, 0);
    assert_int_equal(stats.outstanding, 0);
    assert_int_equal(stats.waiting, 0);
}

static void test_stress_fault_leaves_nothing_over(void **state)
{
    pthread_t threads[NWORKERS + NPAGERS + 1];
    struct pgl_object_stats low, top;

    (void)state;
    build();
    for (uintptr_t i = 0; i < NWORKERS + NPAGERS + 1; i++) {
        void *(*run)(void *) = i < NWORKERS / 2         ? run_sleeper
                               : i < NWORKERS           ? run_continuer
                               : i < NWORKERS + NPAGERS ? run_pager
                                                        : run_disturber;

        assert_int_equal(pthread_create(&threads[i], NULL, run, (void *)(i * 7919 + 1)), 0);
    }
    pthread_join(threads[NWORKERS + NPAGERS], NULL);
    for (unsigned i = 0; i < NWORKERS; i++) {
        pthread_join(threads[i], NULL);
    }
    pthread_mutex_lock(&stress.lock);
    stress.closed = true;
    pthread_cond_broadcast(&stress.more);
    pthread_mutex_unlock(&stress.lock);
    for (unsigned i = NWORKERS; i < NWORKERS + NPAGERS; i++) {
        pthread_join(threads[i], NULL);
    }
    for (unsigned i = 0; i < stress.ndone; i++) {
        pgl_fault_free(stress.done[i]);
    }
    print_counts();

    if (stress.wrong) {
        fail_msg("%s", stress.wrong);
    }
    assert_int_equal(stress.wrong_bytes, 0);
    assert_int_equal(stress.violations, 0);
    assert_nothing_left(stress.low);
    assert_nothing_left(stress.top);
    pgl_object_get_stats(stress.low, &low);
    pgl_object_get_stats(stress.top, &top);
    assert_int_equal(low.resident + top.resident, stress.sim.frames_used);
    assert_true(low.aliens >= stress.each && low.duplicates >= stress.each);
    pgl_map_free(stress.map);
    pgl_object_unref(stress.top);
    pgl_object_unref(stress.low);
    assert_int_equal(stress.sim.frames_used, 0);
    assert_int_equal(stress.sim.blocks_used, 0);
}

int main(void)
{
    const char *seed = getenv("PGL_SEED");
    const char *length = getenv("PGL_STRESS");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stress_fault_leaves_nothing_over),
    };

    stress.seed = seed ? strtoull(seed, NULL, 0) | 1 : (uint64_t)getpid() * 2 + 1;
    stress.each = 4000 * (length ? strtoull(length, NULL, 0) : 1);
    printf("PGL_SEED=%#" PRIx64 "\n", stress.seed);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
