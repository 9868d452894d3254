/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sources that answer with an error or never, or when the page, the region, the process or the pager has gone. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../cm.h"
#include "late.h"
#include "pager.h"
#include "waits.h"

static int told_error; /* atomic */

static enum pgl_uffd_remedy on_failure(void *arg, const void *addr, int error)
{
    (void)arg;
    (void)addr;
    __atomic_store_n(&told_error, error, __ATOMIC_RELEASE);
    return PGL_UFFD_ZERO;
}

/* The page is wanted once more, alone, and then it is zeros as failed() says. Its neighbours are not concerned. */
static void test_uffd_late_error_is_told(void **state)
{
    struct fixture *f = *state;
    struct pgl_uffd_region region = late_region_of(f);
    struct toucher toucher;

    f->config.failed = on_failure;
    region.advice = PGL_ADVICE_NORMAL;
    map_region(f, &region);
    start_touch(&toucher, f, 100);
    wait_for_requests(1);
    assert_true(source.wanted[0].length > PAGE);
    pgl_uffd_request_fail(source.request[0], 100 * PAGE + 7, 1, EREMOTEIO);
    wait_for_requests(2);
    assert_int_equal(source.wanted[1].offset, 100 * PAGE);
    assert_int_equal(source.wanted[1].length, PAGE);
    pgl_uffd_request_fail(source.request[1], 0, UINT64_MAX, EHOSTDOWN);
    join_touch(&toucher);
    assert_true(toucher.zeros);
    assert_int_equal(__atomic_load_n(&told_error, __ATOMIC_ACQUIRE), EHOSTDOWN);
    assert_false(pgl_uffd_request_is_wanted(source.request[0])); /* its neighbours went with it, and may still come */
    answer(0);
    end_request(1);
    __atomic_store_n(&source.at_once, true, __ATOMIC_RELAXED);
    assert_pages(f->memory + 101 * PAGE, 3, 101);
    assert_int_equal(count_requests(), 2);
    assert_count(f, errors, 1);
}

static void fail_at_once(void *arg, struct pgl_uffd_request *request, const struct pgl_uffd_wanted *wanted)
{
    (void)arg;
    if (wanted->demand == 7 * PAGE) {
        pgl_uffd_request_fail(request, wanted->offset, wanted->length, EREMOTEIO);
    } else {
        pgl_uffd_request_supply(request, wanted->offset, NULL, wanted->length);
    }
    pgl_uffd_request_end(request);
}

/* The pages after the one that fails are brought all the same. */
static void test_uffd_late_prefetch_tells_the_error(void **state)
{
    struct fixture *f = *state;
    struct pgl_uffd_region region = late_region_of(f);

    region.source.request = fail_at_once;
    map_region(f, &region);
    errno = 0;
    assert_false(pgl_uffd_prefetch(f->uffd, f->memory + 7 * PAGE, 80 * PAGE));
    assert_int_equal(errno, EREMOTEIO);
    for (uint64_t page = 8; page < 87; page++) {
        assert_true(is_zero(f->memory + page * PAGE));
    }
    assert_count(f, faults, 0);
    assert_count(f, pages_zeroed, 79);
}

static void test_uffd_late_request_without_answer_is_an_error(void **state)
{
    struct fixture *f = *state;
    struct toucher toucher;

    SKIP_WITHOUT_POISON();
    map_late(f);
    start_touch(&toucher, f, 3);
    wait_for_requests(1);
    end_request(0);
    wait_for_requests(2);
    end_request(1);
    join_touch(&toucher);
    assert_true(toucher.killed);
    assert_count(f, poisoned, 1);
    __atomic_store_n(&source.at_once, true, __ATOMIC_RELAXED);
    assert_true(is_page(f->memory + 2 * PAGE, 2));
}

static void touch_another(const struct fixture *f, uint64_t page)
{
    struct toucher toucher;
    unsigned n = count_requests();

    start_touch(&toucher, f, page);
    wait_for_requests(n + 1);
    answer(n);
    join_touch(&toucher);
    assert_true(toucher.right);
}

/* Other pages are served until the source says that it cannot have the page, and afterwards. */
static void test_uffd_late_page_that_fails_holds_no_other_up(void **state)
{
    struct fixture *f = *state;
    struct toucher toucher;

    SKIP_WITHOUT_POISON();
    map_late(f);
    start_touch(&toucher, f, 3);
    wait_for_requests(1);
    touch_another(f, 10);
    end_request(0);
    wait_for_requests(3); /* once more, alone */
    touch_another(f, 11);
    pgl_uffd_request_fail(source.request[2], 3 * PAGE, PAGE, EIO);
    end_request(2);
    join_touch(&toucher);
    assert_true(toucher.killed);
    touch_another(f, 12);
    assert_count(f, poisoned, 1);
}

static void test_uffd_late_data_that_cannot_be_read_is_refused(void **state)
{
    struct fixture *f = *state;
    void *none = mmap(NULL, 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct toucher toucher;

    map_late(f);
    start_touch(&toucher, f, 3);
    wait_for_requests(1);
    errno = 0;
    assert_false(pgl_uffd_request_supply(source.request[0], 3 * PAGE, none, PAGE));
    assert_int_equal(errno, EFAULT);
    assert_true(pgl_uffd_request_is_wanted(source.request[0]));
    answer(0);
    join_touch(&toucher);
    assert_true(toucher.right);
    assert_int_equal(count_requests(), 1);
    munmap(none, 2 * PAGE);
}

/* The limit less one, the limit, and more faults than that. */
static void test_uffd_late_outstanding_pages_have_a_limit(void **state)
{
    enum { NTHREADS = 8, LIMIT = 3 };
    struct fixture *f = *state;
    struct pgl_uffd_region region = late_region_of(f);
    struct toucher touchers[NTHREADS];
    unsigned answered = 0;

    region.source.outstanding = LIMIT;
    map_region(f, &region);
    for (unsigned i = 0; i < NTHREADS; i++) {
        start_touch(&touchers[i], f, 10 * i);
        wait_for_requests(i < LIMIT ? i + 1 : LIMIT);
    }
    while (stats_of(f).faults < NTHREADS) {
        usleep(100);
    }
    for (; answered < NTHREADS; answered++) {
        wait_for_requests(answered + 1);
        answer(answered);
    }
    for (unsigned i = 0; i < NTHREADS; i++) {
        join_touch(&touchers[i]);
        assert_true(touchers[i].right);
    }
    assert_true(source.most <= LIMIT);
    assert_int_equal(count_requests(), NTHREADS);
}

/* S3, when the page is given back while it is wanted: its thread gets zeros, and the source is not asked again. */
static void test_uffd_late_bytes_of_a_page_given_back_are_dropped(void **state)
{
    struct fixture *f = *state;
    struct pgl_uffd_region region = late_region_of(f);
    struct toucher toucher;

    region.removed = PGL_UFFD_ZEROS;
    map_region(f, &region);
    start_touch(&toucher, f, 3);
    wait_for_requests(1);
    assert_int_equal(madvise(f->memory + 3 * PAGE, PAGE, MADV_DONTNEED), 0);
    assert_true(supply(0, 0, NPAGES * PAGE));
    join_touch(&toucher); /* before the request has ended */
    assert_true(toucher.zeros);
    assert_int_equal(count_requests(), 1);
    end_request(0);
}

/* The memory is unmapped, and shows a file by the time of the answer. */
static void test_uffd_late_answer_does_not_enter_another_region(void **state)
{
    const int fixed = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
    struct fixture *f = *state;
    struct toucher toucher;

    map_late_with_surplus(f, UINT64_MAX);
    start_touch(&toucher, f, 3);
    wait_for_requests(1);
    assert_ptr_equal(mmap(f->memory, NPAGES * PAGE, PROT_READ | PROT_WRITE, fixed, -1, 0), f->memory);
    assert_true(pgl_uffd_map(f->uffd, f->memory, (NPAGES - 8) * PAGE, f->file, 8 * PAGE, PGL_ADVICE_RANDOM));
    assert_true(supply(0, 0, NPAGES * PAGE));
    end_request(0);
    join_touch(&toucher);
    assert_pages(f->memory, NPAGES - 8, 8);
}

static void test_uffd_late_region_is_unmapped_while_pages_are_wanted(void **state)
{
    struct fixture *f = *state;
    struct toucher toucher;
    uint64_t ns_total;

    map_late(f);
    start_touch(&toucher, f, 3);
    wait_for_requests(1);
    ns_total = stats_of(f).ns_total;
    assert_true(pgl_uffd_unmap(f->uffd, f->memory, NPAGES * PAGE));
    join_touch(&toucher);
    assert_true(toucher.zeros); /* it is plain memory now */
    answer(0);
    while (stats_of(f).ns_total == ns_total) { /* until a handler is done with the fault */
        usleep(100);
    }
    assert_int_equal(count_requests(), 1);
}

/* A call of a source's function: all atomic. */
static struct call {
    bool begun, may_end, ended;
    bool ended_when_freed; /* as the thread saw it that freed the pager */
    pid_t freeing;         /* that thread */
} call;

static void request_slowly(void *arg, struct pgl_uffd_request *request, const struct pgl_uffd_wanted *wanted)
{
    struct call *this = arg;

    (void)wanted;
    __atomic_store_n(&this->begun, true, __ATOMIC_RELEASE);
    while (!__atomic_load_n(&this->may_end, __ATOMIC_ACQUIRE)) {
        usleep(100);
    }
    pgl_uffd_request_end(request);
    __atomic_store_n(&this->ended, true, __ATOMIC_RELEASE);
}

static void *free_pager(void *arg)
{
    struct fixture *f = arg;

    may_malloc = true;
    __atomic_store_n(&call.freeing, gettid(), __ATOMIC_RELEASE);
    pgl_uffd_free(f->uffd);
    f->uffd = NULL;
    __atomic_store_n(&call.ended_when_freed, __atomic_load_n(&call.ended, __ATOMIC_ACQUIRE), __ATOMIC_RELEASE);
    return NULL;
}

/* To unmap waits for no call, and to free for all. */
static void test_uffd_late_source_is_in_use_until_its_pager_is_freed(void **state)
{
    struct fixture *f = *state;
    struct pgl_uffd_region region = late_region_of(f);
    struct toucher toucher;
    pthread_t freeing;
    pid_t tid;

    call = (struct call){0};
    region.source.request = request_slowly;
    region.source.arg = &call;
    map_region(f, &region);
    start_touch(&toucher, f, 3);
    while (!__atomic_load_n(&call.begun, __ATOMIC_ACQUIRE)) {
        usleep(100);
    }
    assert_true(pgl_uffd_unmap(f->uffd, f->memory, NPAGES * PAGE));
    join_touch(&toucher);
    assert_true(toucher.zeros);
    assert_int_equal(pthread_create(&freeing, NULL, free_pager, f), 0);
    while ((tid = __atomic_load_n(&call.freeing, __ATOMIC_ACQUIRE)) == 0 || !uffd_sleeps(tid)) {
        usleep(100);
    }
    __atomic_store_n(&call.may_end, true, __ATOMIC_RELEASE);
    pthread_join(freeing, NULL);
    assert_true(__atomic_load_n(&call.ended_when_freed, __ATOMIC_ACQUIRE));
}

/* N5 and N6: the pager ends before its requests do, with one of them unanswered. */
static void test_uffd_late_requests_outlive_their_pager(void **state)
{
    struct fixture *f = *state;
    unsigned nfds = count_fds();
    struct toucher touchers[2];

    map_late_with_surplus(f, UINT64_MAX);
    start_touch(&touchers[0], f, 3);
    wait_for_requests(1);
    start_touch(&touchers[1], f, 300);
    wait_for_requests(2);
    assert_true(supply(1, 300 * PAGE, PAGE));
    join_touch(&touchers[1]);
    end_pager(f);
    join_touch(&touchers[0]);
    assert_true(touchers[0].zeros);
    assert_fds(nfds);
    for (unsigned i = 0; i < 2; i++) {
        assert_false(pgl_uffd_request_is_wanted(source.request[i]));
        errno = 0;
        assert_false(supply(i, source.wanted[i].offset, PAGE));
        assert_int_equal(errno, ECANCELED);
        pgl_uffd_request_fail(source.request[i], 0, UINT64_MAX, EIO);
        end_request(i);
    }
    assert_true(is_zero(f->memory + 3 * PAGE));
}

static bool stop; /* atomic */

/* Answer one request after the other with everything, until told to stop. */
static void *answer_all(void *arg)
{
    unsigned *next = arg;

    may_malloc = true; /* it may free the pager */
    for (;;) {
        unsigned i = __atomic_fetch_add(next, 1, __ATOMIC_RELAXED);

        while (count_requests() <= i) {
            if (__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
                return NULL;
            }
            usleep(20);
        }
        pgl_uffd_request_supply(source.request[i % KEPT], 0, source.bytes, NPAGES * PAGE);
        end_request(i % KEPT);
    }
}

/* Two threads answer everything at once, while pages are given back and touched, and the pager ends at any moment. */
static void test_uffd_late_answers_meet_changes_and_the_end(void **state)
{
    enum { NROUNDS = 20 };
    struct fixture *f = *state;

    f->config.threads = 2;
    for (unsigned round = 0; round < NROUNDS; round++) {
        struct toucher touchers[8];
        pthread_t answerers[2];
        unsigned next = 0;

        source.n = 0;
        __atomic_store_n(&stop, false, __ATOMIC_RELEASE);
        map_late_with_surplus(f, (uint64_t)(round % 4) * 16 * PAGE);
        for (unsigned i = 0; i < 2; i++) {
            assert_int_equal(pthread_create(&answerers[i], NULL, answer_all, &next), 0);
        }
        for (unsigned i = 0; i < 8; i++) {
            start_touch(&touchers[i], f, (round * 8 + i * 61) % NPAGES);
        }
        for (unsigned i = 0; i < 64; i++) {
            assert_int_equal(madvise(f->memory + i * 8 * PAGE, 4 * PAGE, MADV_DONTNEED), 0);
        }
        if (round % 2 == 0) {
            for (unsigned i = 0; i < 8; i++) {
                join_touch(&touchers[i]);
                assert_true(touchers[i].right);
            }
        }
        pgl_uffd_free(f->uffd);
        f->uffd = NULL;
        for (unsigned i = 0; i < 8 && round % 2 != 0; i++) {
            join_touch(&touchers[i]);
            assert_true(touchers[i].right || touchers[i].zeros);
        }
        __atomic_store_n(&stop, true, __ATOMIC_RELEASE);
        for (unsigned i = 0; i < 2; i++) {
            pthread_join(answerers[i], NULL);
        }
        assert_int_equal(madvise(f->memory, NPAGES * PAGE, MADV_DONTNEED), 0);
    }
}

static void test_uffd_late_pages_are_in_a_child(void **state)
{
    struct fixture *f = *state;
    int status, all_supplied[2];
    pid_t child;
    char byte = 0;

    FOLLOW_FORKS(f);
    map_late_with_surplus(f, UINT64_MAX);
    assert_int_equal(pipe(all_supplied), 0);
    child = fork();
    if (child == 0) {
        _exit(!is_page(f->memory + 11 * PAGE, 11) || read(all_supplied[0], &byte, 1) != 1 ||
              !is_page(f->memory + 12 * PAGE, 12));
    }
    wait_for_requests(1);
    assert_true(supply(0, 0, NPAGES * PAGE));
    end_request(0);
    assert_int_equal(write(all_supplied[1], &byte, 1), 1);
    close(all_supplied[0]);
    close(all_supplied[1]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    __atomic_store_n(&source.at_once, true, __ATOMIC_RELAXED);
    assert_true(is_page(f->memory + 12 * PAGE, 12)); /* not the child's */
    assert_int_equal(count_requests(), 2);
}

/* Fork a child that waits for page 3, of which the source has the request. */
static pid_t fork_wanting(struct fixture *f)
{
    pid_t child;

    map_late(f);
    child = fork();
    if (child == 0) {
        _exit(f->memory[3 * PAGE]);
    }
    wait_for_requests(1);
    return child;
}

static void end_child(pid_t child)
{
    int status;

    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
}

/* A child ends while its page is wanted. */
static void test_uffd_late_answer_for_a_child_that_has_ended(void **state)
{
    struct fixture *f = *state;

    FOLLOW_FORKS(f);
    end_child(fork_wanting(f));
    answer(0);
    __atomic_store_n(&source.at_once, true, __ATOMIC_RELAXED);
    assert_pages(f->memory, 8, 0);
    assert_true(count_requests() <= 10);
}

/* Nobody is told of its end: the question looks. Nothing more is asked for it. */
static void test_uffd_late_page_of_a_child_that_has_ended_is_not_wanted(void **state)
{
    struct fixture *f = *state;
    pid_t child;

    FOLLOW_FORKS(f);
    child = fork_wanting(f);
    assert_true(pgl_uffd_request_is_wanted(source.request[0]));
    end_child(child);
    assert_false(pgl_uffd_request_is_wanted(source.request[0]));
    end_request(0);
    end_pager(f); /* its handlers have done everything */
    assert_int_equal(count_requests(), 1);
}

/* It would come to the parent's memory (S4). */
static void test_uffd_late_answer_of_a_child_is_refused(void **state)
{
    struct fixture *f = *state;
    struct toucher toucher;
    int status;
    pid_t child;

    map_late(f);
    start_touch(&toucher, f, 3);
    wait_for_requests(1);
    child = fork();
    if (child == 0) {
        bool supplied;

        alarm(20);
        supplied = pgl_uffd_request_supply(source.request[0], 3 * PAGE, NULL, PAGE) || errno != ECANCELED;
        pgl_uffd_request_fail(source.request[0], 3 * PAGE, PAGE, EIO);
        supplied |= pgl_uffd_request_is_wanted(source.request[0]);
        pgl_uffd_request_end(source.request[0]);
        _exit(supplied);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(count_requests(), 1);
    answer(0);
    join_touch(&toucher);
    assert_true(toucher.right);
}

static void test_uffd_late_source_is_refused(void **state)
{
    enum { HUGE = 2 << 20 };
    struct fixture *f = *state;
    struct pgl_uffd_region region = late_region_of(f);
    void *huge;

    lock_huge_pages();
    huge = mmap(NULL, HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
    start_pager(f);
    region.source.request = NULL;
    assert_false(pgl_uffd_map_region(f->uffd, &region));
    assert_int_equal(errno, EINVAL);
    region = late_region_of(f);
    region.source.size = NPAGES * PAGE - 1;
    assert_false(pgl_uffd_map_region(f->uffd, &region));
    assert_int_equal(errno, EINVAL);
    region = late_region_of(f);
    region.addr = huge;
    region.length = region.source.size = HUGE;
    region.memory = PGL_UFFD_HUGE;
    if (huge != MAP_FAILED) {
        assert_false(pgl_uffd_map_region(f->uffd, &region));
        assert_int_equal(errno, EOPNOTSUPP);
        munmap(huge, HUGE);
    }
    unlock_huge_pages();
    pgl_uffd_free(f->uffd);
    f->config.handover = PGL_UFFD_SIGBUS;
    start_pager(f);
    region = late_region_of(f);
    assert_false(pgl_uffd_map_region(f->uffd, &region));
    assert_int_equal(errno, EOPNOTSUPP);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up_source, tear_down_source)
    const struct CMUnitTest tests[] = {
        TEST(test_uffd_late_error_is_told),
        TEST(test_uffd_late_prefetch_tells_the_error),
        TEST(test_uffd_late_request_without_answer_is_an_error),
        TEST(test_uffd_late_page_that_fails_holds_no_other_up),
        TEST(test_uffd_late_data_that_cannot_be_read_is_refused),
        TEST(test_uffd_late_outstanding_pages_have_a_limit),
        TEST(test_uffd_late_bytes_of_a_page_given_back_are_dropped),
        TEST(test_uffd_late_answer_does_not_enter_another_region),
        TEST(test_uffd_late_region_is_unmapped_while_pages_are_wanted),
        TEST(test_uffd_late_source_is_in_use_until_its_pager_is_freed),
        TEST(test_uffd_late_requests_outlive_their_pager),
        TEST(test_uffd_late_answers_meet_changes_and_the_end),
        TEST(test_uffd_late_pages_are_in_a_child),
        TEST(test_uffd_late_answer_for_a_child_that_has_ended),
        TEST(test_uffd_late_page_of_a_child_that_has_ended_is_not_wanted),
        TEST(test_uffd_late_answer_of_a_child_is_refused),
        TEST(test_uffd_late_source_is_refused),
    };
#undef TEST

    return pager_permitted() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
