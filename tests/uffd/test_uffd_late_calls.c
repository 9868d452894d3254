/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Errors and interruptions of the system calls for a source that answers late: the page comes all the same. */
#include <errno.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "../cm.h"
#include "calls.h"

/* The source: the bytes of the file. */
static struct {
    uint64_t words[NPAGES * PAGE / sizeof(uint64_t)];
    bool zeros;                       /* it supplies zeros */
    bool at_once;                     /* atomic: it answers in the callback */
    struct pgl_uffd_request *request; /* atomic: the one that it has to answer */
} source;

/* Answer with everything. */
static void answer(struct pgl_uffd_request *request)
{
    pgl_uffd_request_supply(request, 0, source.zeros ? NULL : source.words, NPAGES * PAGE);
    pgl_uffd_request_end(request);
}

static void on_request(void *arg, struct pgl_uffd_request *request, const struct pgl_uffd_wanted *wanted)
{
    (void)arg;
    (void)wanted;
    if (__atomic_load_n(&source.at_once, __ATOMIC_ACQUIRE)) {
        answer(request);
    } else {
        __atomic_store_n(&source.request, request, __ATOMIC_RELEASE);
    }
}

struct touch {
    struct fixture *f;
    bool right;
    bool over; /* atomic */
};

static void *touch(void *arg)
{
    struct touch *touch = arg;

    touch->right = source.zeros ? shows_zeros(touch->f, 30) : shows_page(touch->f, 30);
    __atomic_store_n(&touch->over, true, __ATOMIC_RELEASE);
    return NULL;
}

/* A thread touches a page, and the test answers until it has it. The other pages come from the callback. */
static void touch_failing(struct fixture *f)
{
    struct touch touching = {.f = f};
    pthread_t thread;

    __atomic_store_n(&source.at_once, false, __ATOMIC_RELEASE);
    assert_int_equal(pthread_create(&thread, NULL, touch, &touching), 0);
    while (!__atomic_load_n(&touching.over, __ATOMIC_ACQUIRE)) {
        struct pgl_uffd_request *request = __atomic_exchange_n(&source.request, NULL, __ATOMIC_ACQUIRE);

        if (request) {
            answer(request);
        } else {
            usleep(100);
        }
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(touching.right);
    __atomic_store_n(&source.at_once, true, __ATOMIC_RELEASE);
    if (source.request) { /* it wanted the page once more */
        answer(__atomic_exchange_n(&source.request, NULL, __ATOMIC_ACQUIRE));
    }
    for (uint64_t page = 0; page < NPAGES; page++) {
        assert_true(source.zeros ? shows_zeros(f, page) : shows_page(f, page));
    }
}

static void try_failing(struct fixture *f, enum call call, unsigned long request, int error, unsigned times)
{
    const struct pgl_uffd_region region = {
        .addr = f->memory,
        .length = NPAGES * PAGE,
        .source = {.kind = PGL_UFFD_CALLBACK, .request = on_request, .size = NPAGES * PAGE, .surplus = NPAGES * PAGE},
        .advice = PGL_ADVICE_RANDOM,
    };

    source.zeros = request == UFFDIO_ZEROPAGE;
    assert_true(try_new(f));
    assert_true(pgl_uffd_map_region(f->uffd, &region));
    fail_theirs(call, request, error, times);
    touch_failing(f);
    assert_true(count_fired() > 0 || call == CALL_EPOLL_WAIT); /* which began before */
    assert_errors(f, 0);
    undo_new(f);
    renew_memory(f);
}

static void test_uffd_late_answers_outlive_each_error_of_their_calls(void **state)
{
    static const struct {
        enum call call;
        unsigned long request;
        int error;
    } all[] = {
        {CALL_EPOLL_WAIT, 0, EINTR},
        {CALL_READ, 0, EINTR},
        {CALL_READ, 0, EAGAIN},
        {CALL_READ, 0, EMFILE},
        {CALL_READ, 0, ENOMEM},
        {CALL_READ, 0, 0},                 /* it reads one message */
        {CALL_IOCTL, UFFDIO_COPY, 0},      /* it copies one page */
        {CALL_IOCTL, UFFDIO_COPY, EAGAIN}, /* an event is unread */
        {CALL_IOCTL, UFFDIO_COPY, EEXIST}, /* it was there, and has gone */
        {CALL_IOCTL, UFFDIO_COPY, ENOENT},
        {CALL_IOCTL, UFFDIO_COPY, EINTR},
        {CALL_IOCTL, UFFDIO_ZEROPAGE, EAGAIN},
        {CALL_IOCTL, UFFDIO_ZEROPAGE, EEXIST},
        {CALL_IOCTL, UFFDIO_ZEROPAGE, ENOENT},
        {CALL_IOCTL, UFFDIO_ZEROPAGE, EINTR},
    };
    struct fixture *f = *state;

    for (uint64_t i = 0; i < NPAGES * PAGE / sizeof(uint64_t); i++) {
        source.words[i] = word_at(i * sizeof(uint64_t));
    }
    for (unsigned i = 0; i < sizeof(all) / sizeof(*all); i++) {
        for (unsigned times = 1; times <= 3; times++) {
            print_message("call %u, request %#lx: errno %d, %u times\n", all[i].call, all[i].request, all[i].error,
                          times);
            try_failing(f, all[i].call, all[i].request, all[i].error, times);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_uffd_late_answers_outlive_each_error_of_their_calls, set_up, tear_down),
    };

    return permitted() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
