/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sources that answer when they can: at once, late, in part, or with more than was wanted. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../cm.h"
#include "late.h"
#include "pager.h"

static void test_uffd_late_source_may_answer_at_once(void **state)
{
    struct fixture *f = *state;
    struct pgl_uffd_region region = late_region_of(f);

    __atomic_store_n(&source.at_once, true, __ATOMIC_RELAXED);
    region.advice = PGL_ADVICE_SEQUENTIAL;
    map_region(f, &region);
    assert_pages(f->memory, NPAGES, 0);
    assert_count(f, requests, count_requests());
    assert_true(count_requests() < NPAGES / 4);
    assert_count(f, pages_fetched, NPAGES);
    assert_count(f, bytes_read, NPAGES * PAGE);
    assert_count(f, present, 0);
}

/* N4: the only handler serves the pages of a file, and other pages of the source, while answers are outstanding. */
static void test_uffd_late_answers_hold_up_no_other_fault(void **state)
{
    enum { NTHREADS = 70 }; /* more than a handler reads at a time */
    struct fixture *f = *state;
    struct pgl_uffd_region region = late_region_of(f);
    struct toucher touchers[NTHREADS];
    unsigned char *memory = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    map_region(f, &region);
    assert_true(pgl_uffd_map(f->uffd, memory, 8 * PAGE, f->file, 0, PGL_ADVICE_RANDOM));
    for (unsigned i = 0; i < NTHREADS; i++) {
        start_touch(&touchers[i], f, 2 * i);
    }
    wait_for_requests(NTHREADS);
    assert_pages(memory, 8, 0);
    for (unsigned i = NTHREADS; i-- > 0;) { /* the last first */
        unsigned page = (unsigned)(source.wanted[i].demand / PAGE);

        answer(i);
        join_touch(&touchers[page / 2]);
        assert_true(touchers[page / 2].right);
    }
    assert_count(f, pages_fetched, NTHREADS + 8);
    assert_count(f, errors, 0);
    munmap(memory, 8 * PAGE);
}

static void test_uffd_late_threads_that_want_a_page_ask_once(void **state)
{
    enum { NTHREADS = 8 };
    struct fixture *f = *state;
    struct toucher touchers[NTHREADS];

    f->config.threads = 2;
    map_late(f);
    for (unsigned i = 0; i < NTHREADS; i++) {
        start_touch(&touchers[i], f, 5);
    }
    while (stats_of(f).faults < NTHREADS) {
        usleep(100);
    }
    answer(0);
    for (unsigned i = 0; i < NTHREADS; i++) {
        join_touch(&touchers[i]);
        assert_true(touchers[i].right);
    }
    assert_int_equal(count_requests(), 1);
}

/* As far as the surplus goes, on each side of what was wanted; a page more than that, and a byte less. */
static void test_uffd_late_surplus_is_installed(void **state)
{
    struct fixture *f = *state;

    map_late_with_surplus(f, 11 * PAGE - 1);
    for (unsigned touched = 0; touched < 1; touched++) {
        struct toucher toucher;

        start_touch(&toucher, f, 100);
        wait_for_requests(1);
        assert_true(supply(0, 0, NPAGES * PAGE));
        end_request(0);
        join_touch(&toucher);
        assert_true(toucher.right);
    }
    assert_pages(f->memory + 90 * PAGE, 21, 90);
    assert_int_equal(count_requests(), 1);
    assert_count(f, faults, 1);
    assert_count(f, pages_fetched, 21);
    __atomic_store_n(&source.at_once, true, __ATOMIC_RELAXED);
    assert_true(is_page(f->memory + 89 * PAGE, 89));
    assert_true(is_page(f->memory + 111 * PAGE, 111));
    assert_int_equal(count_requests(), 3);
}

/* At both ends of the region, and with a surplus that has no end. */
static void test_uffd_late_surplus_ends_with_the_region(void **state)
{
    struct fixture *f = *state;
    struct pgl_uffd_region region = late_region_of(f);
    struct toucher toucher;

    region.source.surplus = UINT64_MAX;
    region.offset = 16 * PAGE;
    region.length = 32 * PAGE;
    map_region(f, &region);
    start_touch_of(&toucher, f, 8, 24);
    wait_for_requests(1);
    assert_true(supply(0, 0, NPAGES * PAGE));
    end_request(0);
    join_touch(&toucher);
    assert_pages(f->memory, 32, 16);
    assert_count(f, faults, 1);
    assert_true(is_zero(f->memory + 32 * PAGE));
}

/* Pages are written meanwhile, given back, or there already: what a page has is kept. */
static void test_uffd_late_surplus_spares_what_is_there(void **state)
{
    struct fixture *f = *state;
    struct pgl_uffd_region region = late_region_of(f);
    struct toucher toucher;

    region.source.surplus = UINT64_MAX;
    region.removed = PGL_UFFD_ZEROS;
    map_region(f, &region);
    __atomic_store_n(&source.at_once, true, __ATOMIC_RELAXED);
    memset(f->memory + 4 * PAGE, 'w', PAGE);
    assert_int_equal(madvise(f->memory + 6 * PAGE, PAGE, MADV_DONTNEED), 0);
    __atomic_store_n(&source.at_once, false, __ATOMIC_RELAXED);
    start_touch(&toucher, f, 10);
    wait_for_requests(2);
    assert_true(supply(1, 0, NPAGES * PAGE));
    end_request(1);
    join_touch(&toucher);
    assert_true(toucher.right);
    assert_int_equal(f->memory[4 * PAGE], 'w');
    assert_true(is_zero(f->memory + 6 * PAGE));
    assert_pages(f->memory + 7 * PAGE, NPAGES - 7, 7);
    assert_int_equal(count_requests(), 2);
}

/* The faults whose answers were counted. */
static uint64_t count_answers(const struct fixture *f)
{
    struct pgl_uffd_stats stats = stats_of(f);
    uint64_t n = 0;

    for (unsigned i = 0; i < PGL_UFFD_BUCKETS; i++) {
        n += stats.latency_read[i] + stats.latency_zero[i] + stats.latency_unlock[i] + stats.latency_found[i];
    }
    return n;
}

/* N7: an answer to one request brings the page of another, and the other finds that it is not wanted any more. */
static void test_uffd_late_answer_serves_other_requests(void **state)
{
    struct fixture *f = *state;
    struct toucher touchers[2];

    map_late_with_surplus(f, UINT64_MAX);
    start_touch(&touchers[0], f, 3);
    wait_for_requests(1);
    start_touch(&touchers[1], f, 7);
    wait_for_requests(2);
    assert_true(pgl_uffd_request_is_wanted(source.request[1]));
    assert_true(supply(0, 0, 8 * PAGE));
    for (unsigned i = 0; i < 2; i++) {
        join_touch(&touchers[i]);
        assert_true(touchers[i].right);
        assert_false(pgl_uffd_request_is_wanted(source.request[i]));
    }
    while (count_answers(f) < 2) {
        usleep(100);
    }
    for (unsigned i = 0; i < 2; i++) { /* N8: what was counted is not counted again */
        answer(i);
    }
    assert_int_equal(count_answers(f), 2);
    assert_pages(f->memory, 8, 0);
    assert_count(f, pages_fetched, 8);
    assert_int_equal(count_requests(), 2);
}

/* Bytes that begin and end inside of pages; a page that comes in two halves is none. */
static void test_uffd_late_bytes_count_in_whole_pages(void **state)
{
    struct fixture *f = *state;
    struct toucher toucher;

    map_late_with_surplus(f, UINT64_MAX);
    start_touch(&toucher, f, 3);
    wait_for_requests(1);
    assert_true(supply(0, 3 * PAGE + 1, 2 * PAGE));
    assert_true(supply(0, 2 * PAGE, 2 * PAGE - 1));
    assert_true(supply(0, 0, PAGE - 1));
    assert_true(supply(0, 5, 0));
    assert_true(supply(0, 3 * PAGE, 0));
    assert_true(pgl_uffd_request_is_wanted(source.request[0]));
    assert_count(f, pages_fetched, 2); /* 4, and 2 */
    assert_true(supply(0, 3 * PAGE - 1, PAGE + 2));
    end_request(0);
    join_touch(&toucher);
    assert_true(toucher.right);
    assert_count(f, pages_fetched, 3);
    assert_pages(f->memory + 2 * PAGE, 3, 2);
    assert_count(f, faults, 1);
}

static void test_uffd_late_zeros_may_be_supplied(void **state)
{
    struct fixture *f = *state;

    for (int protects = 0; protects < 2; protects++) {
        struct toucher toucher;

        f->config.write_protect = protects;
        source.n = 0;
        map_late_with_surplus(f, UINT64_MAX);
        start_touch(&toucher, f, 3);
        wait_for_requests(1);
        assert_true(pgl_uffd_request_supply(source.request[0], 0, NULL, 200 * PAGE));
        end_request(0);
        join_touch(&toucher);
        assert_true(toucher.zeros);
        for (uint64_t page = 0; page < 200; page++) {
            assert_true(is_zero(f->memory + page * PAGE));
        }
        f->memory[7 * PAGE] = 'w';
        assert_int_equal(f->memory[7 * PAGE], 'w');
        assert_count(f, pages_zeroed, 200);
        assert_count(f, unlocks, protects);
        assert_true(pgl_uffd_unmap(f->uffd, f->memory, NPAGES * PAGE));
        pgl_uffd_free(f->uffd);
        f->uffd = NULL;
        madvise(f->memory, NPAGES * PAGE, MADV_DONTNEED);
    }
}

static void *write_page(void *arg)
{
    *(unsigned char *)arg = 'w';
    return NULL;
}

/* A write waits for a page that comes protected. */
static void test_uffd_late_page_is_written_to(void **state)
{
    struct fixture *f = *state;
    pthread_t thread;

    f->config.write_protect = true;
    map_late(f);
    assert_int_equal(pthread_create(&thread, NULL, write_page, f->memory + 3 * PAGE), 0);
    wait_for_requests(1);
    answer(0);
    pthread_join(thread, NULL);
    assert_int_equal(f->memory[3 * PAGE], 'w');
    assert_int_equal(memcmp(f->memory + 3 * PAGE + 1, source.bytes + 3 * PAGE + 1, PAGE - 1), 0);
}

static void *ask_priority(void *arg)
{
    __atomic_store_n((int *)arg, getpriority(PRIO_PROCESS, (id_t)gettid()), __ATOMIC_RELEASE);
    return NULL;
}

/* Answer with zeros, and have a thread of this callback find out at which priority it runs. */
static void start_thread(void *arg, struct pgl_uffd_request *request, const struct pgl_uffd_wanted *wanted)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, ask_priority, arg) == 0) {
        pthread_join(thread, NULL);
    }
    pgl_uffd_request_supply(request, wanted->offset, NULL, wanted->length);
    pgl_uffd_request_end(request);
}

/* Z7. The handler's priority is raised, if that is permitted. Its policy is this thread's. */
static void assert_not_raised(struct fixture *f, int policy)
{
    const struct sched_param param = {.sched_priority = 0};
    struct pgl_uffd_region region = late_region_of(f);
    int nice = -100, own = getpriority(PRIO_PROCESS, (id_t)gettid());

    region.source.request = start_thread;
    region.source.arg = &nice;
    syscall(SYS_sched_setscheduler, 0, policy, &param);
    map_region(f, &region);
    syscall(SYS_sched_setscheduler, 0, SCHED_OTHER, &param);
    assert_true(is_zero(f->memory));
    assert_true(__atomic_load_n(&nice, __ATOMIC_ACQUIRE) >= (own < 0 ? own : 0));
}

static void test_uffd_late_thread_of_a_callback_is_not_raised(void **state)
{
    assert_not_raised(*state, SCHED_OTHER);
}

static void test_uffd_late_thread_of_a_callback_in_a_batch_is_not_raised(void **state)
{
    assert_not_raised(*state, SCHED_BATCH);
}

/* No thread waits for the page of its request, and no time of it is in the figures. */
static void test_uffd_late_prefetch_is_no_fault(void **state)
{
    struct fixture *f = *state;

    __atomic_store_n(&source.at_once, true, __ATOMIC_RELAXED);
    map_late(f);
    assert_true(pgl_uffd_prefetch(f->uffd, f->memory + 100 * PAGE, 100 * PAGE));
    assert_pages(f->memory + 100 * PAGE, 100, 100);
    assert_int_equal(count_requests(), 2);
    assert_count(f, prefetches, 2);
    assert_count(f, pages_prefetched, 100);
    assert_count(f, faults, 0);
    assert_count(f, ns_total, 0);
    assert_count(f, ns_max, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up_source, tear_down_source)
    const struct CMUnitTest tests[] = {
        TEST(test_uffd_late_source_may_answer_at_once),
        TEST(test_uffd_late_answers_hold_up_no_other_fault),
        TEST(test_uffd_late_threads_that_want_a_page_ask_once),
        TEST(test_uffd_late_surplus_is_installed),
        TEST(test_uffd_late_surplus_ends_with_the_region),
        TEST(test_uffd_late_surplus_spares_what_is_there),
        TEST(test_uffd_late_answer_serves_other_requests),
        TEST(test_uffd_late_bytes_count_in_whole_pages),
        TEST(test_uffd_late_zeros_may_be_supplied),
        TEST(test_uffd_late_page_is_written_to),
        TEST(test_uffd_late_prefetch_is_no_fault),
        TEST(test_uffd_late_thread_of_a_callback_is_not_raised),
        TEST(test_uffd_late_thread_of_a_callback_in_a_batch_is_not_raised),
    };
#undef TEST

    return pager_permitted() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
