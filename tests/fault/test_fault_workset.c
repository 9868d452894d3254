/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The fault driver with a working set: which cluster a fault asks for; and the watcher of an object. */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>

#include "probe.h"

#include "../../src/fault/fault_internal.h"
#include "../cm.h"

/* Of an object whose pager's pages are 1000 less: pages 100 to 109 and 200 to 209. */
static struct pgl_workset *record(void)
{
    static const struct pgl_costs costs = {1, 1000};
    struct pgl_recording *recording = pgl_recording_new(2000);
    struct pgl_workset *set;

    for (uint64_t page = 0; page < 10; page++) {
        pgl_recording_touch(recording, 1100 + page);
        pgl_recording_touch(recording, 1200 + page);
    }
    set = pgl_workset_new(recording, NULL, &costs);
    assert_non_null(set);
    pgl_recording_free(recording);
    return set;
}

/* Make the object. Its page i is the pager's page 1000 + i, and a fault of its own advice asks for 2 + 4 pages. */
static void make_distant(struct fixture *f)
{
    struct pgl_object_config config = config_of(f);

    config.pager_range.first = 1000;
    config.pager_range.last = 1000 + NPAGES - 1;
    f->object = pgl_object_new(&config);
    assert_non_null(f->object);
}

static void test_fault_in_a_recorded_cluster_asks_for_the_cluster(void **state)
{
    struct fixture *f = *state;
    struct pgl_workset *set = record();

    make_distant(f);
    pgl_object_set_workset(f->object, set);
    assert_int_equal(read_page(&f->a, f->object, 107), PGL_FAULT_SUCCESS);
    assert_asked(&f->sim, 1100, 1109, 1107);
    assert_int_equal(stats_of(f->object).by_reason[PGL_REASON_RECORDED], 1);
    pgl_object_set_workset(f->object, NULL);
    pgl_workset_free(set);
}

static void test_fault_outside_recorded_clusters_follows_its_advice(void **state)
{
    struct fixture *f = *state;
    struct pgl_workset *set = record();

    make_distant(f);
    pgl_object_set_workset(f->object, set);
    assert_int_equal(read_page(&f->a, f->object, 50), PGL_FAULT_SUCCESS);
    assert_asked(&f->sim, 1048, 1054, 1050);
    assert_int_equal(read_page(&f->a, f->object, 110), PGL_FAULT_SUCCESS);
    assert_asked(&f->sim, 1108, 1114, 1110);
    assert_int_equal(stats_of(f->object).by_reason[PGL_REASON_RECORDED], 0);
    assert_int_equal(stats_of(f->object).by_reason[PGL_REASON_ROW], 2);
    pgl_object_set_workset(f->object, NULL);
    pgl_workset_free(set);
}

/* A thread that holds an advisor's lock until it is told. */
struct holder {
    struct pgl_object *object;
    pthread_t thread;
    sem_t holds, ends;
};

static void *hold_lock(void *arg)
{
    struct holder *holder = arg;

    pthread_mutex_lock(&holder->object->advisor_lock);
    sem_post(&holder->holds);
    sem_wait(&holder->ends);
    pthread_mutex_unlock(&holder->object->advisor_lock);
    return NULL;
}

/* Another thread holds the lock: a fault that took it would never end. */
static void test_fault_with_a_set_takes_the_advisors_lock_for_adaptive_advice_only(void **state)
{
    struct fixture *f = *state;
    struct pgl_workset *set = record();
    struct holder holder;

    make_distant(f);
    pgl_object_set_workset(f->object, set);
    holder.object = f->object;
    sem_init(&holder.holds, 0, 0);
    sem_init(&holder.ends, 0, 0);
    assert_int_equal(pthread_create(&holder.thread, NULL, hold_lock, &holder), 0);
    sem_wait(&holder.holds);
    assert_int_equal(read_page(&f->a, f->object, 50), PGL_FAULT_SUCCESS);
    assert_int_equal(read_page(&f->a, f->object, 107), PGL_FAULT_SUCCESS);
    sem_post(&holder.ends);
    pthread_join(holder.thread, NULL);
    assert_int_equal(stats_of(f->object).by_reason[PGL_REASON_RECORDED], 1);
    assert_int_equal(stats_of(f->object).by_reason[PGL_REASON_ROW], 1);
    sem_destroy(&holder.holds);
    sem_destroy(&holder.ends);
    pgl_object_set_workset(f->object, NULL);
    pgl_workset_free(set);
}

/* A fault costs next to nothing by this set's costs; therefore a block beside its clusters is the page alone. */
static void test_fault_with_adaptive_advice_asks_the_set_first(void **state)
{
    struct fixture *f = *state;
    struct pgl_workset *set = record();
    struct pgl_object_config config = config_of(f);

    config.pager_range = (struct pgl_pager_range){1000, 1000 + NPAGES - 1};
    config.table = pgl_advice_shipped();
    config.advice = PGL_ADVICE_ADAPTIVE;
    f->object = pgl_object_new(&config);
    pgl_object_set_workset(f->object, set);
    for (uint64_t page = 0; page < 36; page++) {
        assert_int_equal(read_page(&f->a, f->object, 2 * page), PGL_FAULT_SUCCESS);
        assert_asked(&f->sim, 1000 + 2 * page, 1000 + 2 * page, 1000 + 2 * page);
    }
    assert_null(f->object->advisor);
    assert_int_equal(read_page(&f->a, f->object, 107), PGL_FAULT_SUCCESS);
    assert_asked(&f->sim, 1100, 1109, 1107);
    assert_int_equal(f->object->doubts, 35);
    assert_int_equal(stats_of(f->object).by_reason[PGL_REASON_START], 36);
    assert_int_equal(stats_of(f->object).by_reason[PGL_REASON_RECORDED], 1);
    assert_int_equal(read_page(&f->a, f->object, 81), PGL_FAULT_SUCCESS);
    assert_int_equal(read_page(&f->a, f->object, 85), PGL_FAULT_SUCCESS);
    assert_non_null(f->object->advisor);
    pgl_object_set_workset(f->object, set);
    assert_int_equal(f->object->doubts, 0);
    pgl_object_set_workset(f->object, NULL);
    pgl_workset_free(set);
}

static void test_fault_in_a_recorded_cluster_leaves_out_what_is_there(void **state)
{
    struct fixture *f = *state;
    struct pgl_workset *set = record();

    make_distant(f);
    pgl_object_advise(f->object, PGL_ADVICE_RANDOM);
    assert_int_equal(read_page(&f->a, f->object, 102), PGL_FAULT_SUCCESS);
    assert_int_equal(read_page(&f->a, f->object, 108), PGL_FAULT_SUCCESS);
    pgl_object_set_workset(f->object, set);
    assert_int_equal(read_page(&f->a, f->object, 105), PGL_FAULT_SUCCESS);
    assert_asked(&f->sim, 1103, 1107, 1105);
    pgl_object_set_workset(f->object, NULL);
    pgl_workset_free(set);
}

static void test_fault_in_a_recorded_cluster_stays_inside_its_entry(void **state)
{
    struct fixture *f = *state;
    struct pgl_map *map = pgl_map_new(NULL, NULL);
    struct pgl_fault_args args = {.map = map, .index = 5, .access = PGL_ACCESS_READ};
    struct pgl_workset *set = record();

    make_distant(f);
    pgl_object_set_workset(f->object, set);
    assert_true(pgl_map_enter(map, 0, 5, f->object, 103, PGL_ADVICE_DEFAULT));
    assert_int_equal(start(&f->a, &args), PGL_FAULT_SUCCESS);
    assert_asked(&f->sim, 1103, 1108, 1108);
    pgl_map_free(map);
    pgl_object_set_workset(f->object, NULL);
    pgl_workset_free(set);
}

/* A page beyond the object, before its first and behind its last, is in the cluster, too. */
static void test_fault_in_a_recorded_cluster_stays_inside_its_object(void **state)
{
    struct fixture *f = *state;
    struct pgl_object_config config = config_of(f);
    struct pgl_workset *set = record();

    config.last = 4;
    config.pager_range = (struct pgl_pager_range){1103, 1107};
    f->object = pgl_object_new(&config);
    pgl_object_set_workset(f->object, set);
    assert_int_equal(read_page(&f->a, f->object, 2), PGL_FAULT_SUCCESS);
    assert_asked(&f->sim, 1103, 1107, 1105);
    pgl_object_set_workset(f->object, NULL);
    pgl_workset_free(set);
}

static void test_fault_in_a_recorded_cluster_keeps_to_its_budget(void **state)
{
    struct fixture *f = *state;
    struct pgl_workset *set = record();

    f->sim.nframes = 4;
    make_distant(f);
    pgl_object_set_workset(f->object, set);
    assert_int_equal(read_page(&f->a, f->object, 105), PGL_FAULT_SUCCESS);
    assert_true(sim_last(&f->sim)->range.last - sim_last(&f->sim)->range.first < 4);
    assert_true(sim_last(&f->sim)->range.last > sim_last(&f->sim)->range.first);
    pgl_object_set_workset(f->object, NULL);
    pgl_workset_free(set);
}

static void test_fault_that_wires_asks_for_no_recorded_cluster(void **state)
{
    struct fixture *f = *state;
    struct pgl_workset *set = record();

    make_distant(f);
    pgl_object_set_workset(f->object, set);
    assert_int_equal(fault_on(&f->a, f->object, 105, PGL_ACCESS_READ, PGL_FAULT_FLAG_WIRE), PGL_FAULT_SUCCESS);
    assert_asked(&f->sim, 1105, 1105, 1105);
    assert_true(pgl_object_unwire(f->object, 105));
    pgl_object_set_workset(f->object, NULL);
    pgl_workset_free(set);
}

/* An access request is for the pages that are there: it follows the advice. */
static void test_fault_for_access_asks_for_no_recorded_cluster(void **state)
{
    struct fixture *f = *state;
    struct pgl_workset *set = record();

    make_distant(f);
    pgl_object_set_workset(f->object, set);
    assert_int_equal(read_page(&f->a, f->object, 105), PGL_FAULT_SUCCESS);
    assert_int_equal(pgl_pager_withhold(f->object, (struct pgl_pager_range){1100, 1109}, PGL_ACCESS_NONE), 10);
    assert_int_equal(read_page(&f->a, f->object, 105), PGL_FAULT_SUCCESS);
    assert_asked(&f->sim, 1103, 1109, 1105);
    assert_int_equal(stats_of(f->object).by_reason[PGL_REASON_RECORDED], 1);
    pgl_object_set_workset(f->object, NULL);
    pgl_workset_free(set);
}

/* The cluster reaches into the next stripe, whose pages have a lock of their own. */
static void test_fault_in_a_recorded_cluster_crosses_stripes(void **state)
{
    struct fixture *f = *state;
    struct pgl_recording *recording = pgl_recording_new(4000);
    struct pgl_object_config config = config_of(f);
    struct pgl_workset *set;

    for (uint64_t page = 1000; page < 1050; page++) {
        pgl_recording_touch(recording, page);
    }
    set = pgl_workset_new(recording, NULL, NULL);
    config.last = 3999;
    config.pager_range.last = 3999;
    config.advice = PGL_ADVICE_RANDOM;
    f->object = pgl_object_new(&config);
    pgl_object_set_workset(f->object, set);
    assert_int_equal(read_page(&f->a, f->object, 1001), PGL_FAULT_SUCCESS);
    assert_asked(&f->sim, 1000, 1049, 1001);
    assert_at_rest(f->object);
    pgl_object_set_workset(f->object, NULL);
    pgl_workset_free(set);
    pgl_recording_free(recording);
}

static void test_fault_without_a_set_follows_its_advice_again(void **state)
{
    struct fixture *f = *state;
    struct pgl_workset *set = record();

    make_distant(f);
    pgl_object_set_workset(f->object, set);
    pgl_object_set_workset(f->object, NULL);
    pgl_workset_free(set);
    assert_int_equal(read_page(&f->a, f->object, 105), PGL_FAULT_SUCCESS);
    assert_asked(&f->sim, 1103, 1109, 1105);
}

/* ---- the watcher ---- */

struct seen {
    unsigned n;
    uint64_t pages[16];
};

static void see(void *arg, uint64_t index)
{
    struct seen *seen = arg;

    seen->pages[seen->n++] = index;
}

static void test_fault_reports_each_page_that_is_touched_first(void **state)
{
    struct fixture *f = *state;
    struct seen seen = {0};

    make_distant(f);
    pgl_object_watch(f->object, see, &seen);
    assert_int_equal(read_page(&f->a, f->object, 50), PGL_FAULT_SUCCESS); /* brings 48 to 54 */
    assert_int_equal(read_page(&f->a, f->object, 50), PGL_FAULT_SUCCESS);
    assert_int_equal(read_page(&f->a, f->object, 53), PGL_FAULT_SUCCESS);
    assert_int_equal(read_page(&f->a, f->object, 53), PGL_FAULT_SUCCESS);
    assert_int_equal(seen.n, 2);
    assert_int_equal(seen.pages[0], 1050);
    assert_int_equal(seen.pages[1], 1053);
}

static void test_fault_reports_a_page_again_that_was_removed(void **state)
{
    struct fixture *f = *state;
    struct seen seen = {0};

    make_distant(f);
    pgl_object_watch(f->object, see, &seen);
    assert_int_equal(read_page(&f->a, f->object, 50), PGL_FAULT_SUCCESS);
    assert_true(pgl_object_remove(f->object, 50, 50) == 1);
    assert_int_equal(read_page(&f->a, f->object, 50), PGL_FAULT_SUCCESS);
    assert_int_equal(seen.n, 2);
}

static void test_fault_for_access_is_not_reported(void **state)
{
    struct fixture *f = *state;
    struct seen seen = {0};

    make_distant(f);
    assert_int_equal(read_page(&f->a, f->object, 50), PGL_FAULT_SUCCESS);
    assert_int_equal(pgl_pager_withhold(f->object, (struct pgl_pager_range){1050, 1050}, PGL_ACCESS_NONE), 1);
    pgl_object_watch(f->object, see, &seen);
    assert_int_equal(read_page(&f->a, f->object, 50), PGL_FAULT_SUCCESS);
    assert_int_equal(f->sim.nunlocks, 1);
    assert_int_equal(seen.n, 0);
}

static void test_fault_reports_nothing_when_the_watch_has_ended(void **state)
{
    struct fixture *f = *state;
    struct seen seen = {0};

    make_distant(f);
    pgl_object_watch(f->object, see, &seen);
    pgl_object_watch(f->object, NULL, NULL);
    assert_int_equal(read_page(&f->a, f->object, 50), PGL_FAULT_SUCCESS);
    assert_int_equal(seen.n, 0);
}

/* A run that is recorded page by page, and the same run again. */
static void test_fault_replays_what_was_recorded(void **state)
{
    static const uint64_t run[] = {70, 20, 71, 21, 22, 75, 200};
    struct fixture *f = *state;
    struct pgl_recording *recording = pgl_recording_new(2000);
    struct pgl_workset *set;

    make_distant(f);
    pgl_object_watch(f->object, pgl_recording_touch, recording);
    for (unsigned i = 0; i < sizeof(run) / sizeof(run[0]); i++) {
        read_page(&f->a, f->object, run[i]);
    }
    pgl_object_watch(f->object, NULL, NULL);
    set = pgl_workset_new(recording, NULL, NULL);
    pgl_recording_free(recording);
    pgl_object_remove(f->object, 0, NPAGES - 1);
    pgl_object_set_workset(f->object, set);
    f->sim.nrequests = 0;
    for (unsigned i = 0; i < sizeof(run) / sizeof(run[0]); i++) {
        assert_int_equal(read_page(&f->a, f->object, run[i]), PGL_FAULT_SUCCESS);
    }
    assert_int_equal(f->sim.nrequests, 4); /* 70 to 71, 20 to 22, 75, 200 */
    pgl_object_set_workset(f->object, NULL);
    pgl_workset_free(set);
}

/* ---- pages that are brought before they are touched ---- */

static void test_fault_prefetch_asks_for_its_pages_in_one_request(void **state)
{
    struct fixture *f = *state;
    struct pgl_fault_args args = {.index = 100, .access = PGL_ACCESS_READ};
    struct pgl_object_stats stats;
    struct seen seen = {0};

    make_distant(f);
    args.object = f->object;
    pgl_object_watch(f->object, see, &seen);
    assert_int_equal(pgl_fault_prefetch(f->a.fault, &args, 40), PGL_FAULT_SUCCESS);
    assert_asked(&f->sim, 1100, 1139, 1100);
    stats = stats_of(f->object);
    assert_int_equal(stats.by_reason[PGL_REASON_PREFETCH], 1);
    assert_int_equal(stats.by_advice[PGL_ADVICE_DEFAULT].touches, 0);
    assert_int_equal(stats.by_advice[PGL_ADVICE_DEFAULT].faults, 0);
    assert_int_equal(stats.by_advice[PGL_ADVICE_DEFAULT].demanded, 0);
    assert_int_equal(stats.by_advice[PGL_ADVICE_DEFAULT].speculative, 40);
    assert_int_equal(stats.by_advice[PGL_ADVICE_DEFAULT].used, 0);
    assert_int_equal(seen.n, 0);
    assert_at_rest(f->object);
}

static void test_fault_prefetch_passes_over_pages_that_are_there(void **state)
{
    struct fixture *f = *state;
    struct pgl_fault_args args = {.index = 60, .access = PGL_ACCESS_READ};

    make_distant(f);
    args.object = f->object;
    assert_int_equal(pgl_object_next_missing(f->object, 60, NPAGES - 1), 60);
    assert_int_equal(pgl_fault_prefetch(f->a.fault, &args, 70), PGL_FAULT_SUCCESS);
    assert_int_equal(pgl_object_next_missing(f->object, 60, NPAGES - 1), 130);
    assert_int_equal(pgl_object_next_missing(f->object, 59, NPAGES - 1), 59);
    assert_int_equal(pgl_object_next_missing(f->object, 61, 129), 130);
    assert_int_equal(pgl_object_next_missing(f->object, 61, 128), 129);
    assert_int_equal(pgl_object_next_missing(f->object, 61, 127), 128);
    assert_int_equal(pgl_object_next_missing(f->object, 130, 129), 130);
}

static void test_fault_prefetch_ends_before_a_page_that_is_there(void **state)
{
    struct fixture *f = *state;
    struct pgl_fault_args args = {.index = 100, .access = PGL_ACCESS_READ};

    make_distant(f);
    pgl_object_advise(f->object, PGL_ADVICE_RANDOM);
    assert_int_equal(read_page(&f->a, f->object, 110), PGL_FAULT_SUCCESS);
    args.object = f->object;
    assert_int_equal(pgl_fault_prefetch(f->a.fault, &args, 40), PGL_FAULT_SUCCESS);
    assert_asked(&f->sim, 1100, 1109, 1100);
    f->sim.nrequests = 0;
    assert_int_equal(pgl_fault_prefetch(f->a.fault, &args, 5), PGL_FAULT_SUCCESS);
    assert_int_equal(f->sim.nrequests, 0);
}

/* All of its pages are neighbours, the first one too: the touch of each is counted and reported, once. */
static void test_fault_on_a_prefetched_page_is_its_first_touch(void **state)
{
    struct fixture *f = *state;
    struct pgl_fault_args args = {.index = 100, .access = PGL_ACCESS_READ};
    struct seen seen = {0};

    make_distant(f);
    args.object = f->object;
    pgl_object_watch(f->object, see, &seen);
    assert_int_equal(pgl_fault_prefetch(f->a.fault, &args, 4), PGL_FAULT_SUCCESS);
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_SUCCESS);
    assert_true(f->a.page.hit);
    assert_int_equal(read_page(&f->a, f->object, 103), PGL_FAULT_SUCCESS);
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_SUCCESS);
    assert_int_equal(stats_of(f->object).by_advice[PGL_ADVICE_DEFAULT].used, 2);
    assert_int_equal(stats_of(f->object).by_advice[PGL_ADVICE_DEFAULT].faults, 0);
    assert_int_equal(seen.n, 2);
    assert_int_equal(seen.pages[0], 1100);
    assert_int_equal(seen.pages[1], 1103);
}

static void test_fault_prefetch_that_is_refused_takes_its_marks_back(void **state)
{
    struct fixture *f = *state;
    struct pgl_fault_args args = {.index = 100, .access = PGL_ACCESS_READ};

    make_distant(f);
    args.object = f->object;
    f->sim.script = sim_refuse;
    f->sim.refusal = EAGAIN;
    assert_int_equal(pgl_fault_prefetch(f->b.fault, &args, 4), PGL_FAULT_RETRY);
    assert_at_rest(f->object);
    f->sim.script = sim_now;
    assert_int_equal(read_page(&f->a, f->object, 102), PGL_FAULT_SUCCESS);
    assert_int_equal(stats_of(f->object).by_advice[PGL_ADVICE_DEFAULT].faults, 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_fault_in_a_recorded_cluster_asks_for_the_cluster),
        TEST(test_fault_outside_recorded_clusters_follows_its_advice),
        TEST(test_fault_with_a_set_takes_the_advisors_lock_for_adaptive_advice_only),
        TEST(test_fault_with_adaptive_advice_asks_the_set_first),
        TEST(test_fault_in_a_recorded_cluster_leaves_out_what_is_there),
        TEST(test_fault_in_a_recorded_cluster_stays_inside_its_entry),
        TEST(test_fault_in_a_recorded_cluster_stays_inside_its_object),
        TEST(test_fault_in_a_recorded_cluster_keeps_to_its_budget),
        TEST(test_fault_that_wires_asks_for_no_recorded_cluster),
        TEST(test_fault_for_access_asks_for_no_recorded_cluster),
        TEST(test_fault_in_a_recorded_cluster_crosses_stripes),
        TEST(test_fault_without_a_set_follows_its_advice_again),
        TEST(test_fault_reports_each_page_that_is_touched_first),
        TEST(test_fault_reports_a_page_again_that_was_removed),
        TEST(test_fault_for_access_is_not_reported),
        TEST(test_fault_reports_nothing_when_the_watch_has_ended),
        TEST(test_fault_replays_what_was_recorded),
        TEST(test_fault_prefetch_asks_for_its_pages_in_one_request),
        TEST(test_fault_prefetch_passes_over_pages_that_are_there),
        TEST(test_fault_prefetch_ends_before_a_page_that_is_there),
        TEST(test_fault_on_a_prefetched_page_is_its_first_touch),
        TEST(test_fault_prefetch_that_is_refused_takes_its_marks_back),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
