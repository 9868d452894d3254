/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Processes that are adopted, give pages back, and are killed, while a source answers from two threads: late, in part,
 * with more than was wanted, or with an error at first. Each page is right at every touch. With an argument it is the
 * soak of adoption and late answers: so many rounds.
 */
#include <errno.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../cm.h"
#include "pager.h"
#include "sender.h"

#define ROUNDS 3
#define PROCESSES 3
#define ANSWERERS 2
#define ORDERS 400 /* of each process in a round */
#define KEPT 4096  /* requests that wait for their answers */

static unsigned rounds = ROUNDS;

/* The source, and the requests that wait for an answer. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t asked;
    const unsigned char *bytes;
    bool over;
    unsigned n;
    struct pgl_uffd_request *requests[KEPT];
    struct pgl_uffd_wanted wanted[KEPT];
} source = {.lock = PTHREAD_MUTEX_INITIALIZER, .asked = PTHREAD_COND_INITIALIZER};

/* A process, and the thread that orders it to do things. */
static struct driver {
    struct sender sender;
    pthread_t thread;
    uint64_t process;
    uint64_t random;
    unsigned done; /* orders; atomic */
    bool killed;   /* it may end; atomic */
    bool wrong;
    bool zeros[NPAGES]; /* it has given the page back */
} drivers[PROCESSES];

struct answerer {
    pthread_t thread;
    uint64_t random;
};

static uint64_t next(uint64_t *random)
{
    *random = *random * UINT64_C(6364136223846793005) + 1442695040888963407;
    return *random >> 20;
}

static void on_request(void *arg, struct pgl_uffd_request *request, const struct pgl_uffd_wanted *wanted)
{
    bool kept;

    (void)arg;
    pthread_mutex_lock(&source.lock);
    kept = source.n < KEPT;
    if (kept) {
        source.requests[source.n] = request;
        source.wanted[source.n++] = *wanted;
    }
    pthread_cond_signal(&source.asked);
    pthread_mutex_unlock(&source.lock);
    if (!kept) {
        pgl_uffd_request_end(request); /* it is wanted again */
    }
}

/* Wait for a request, and take any. Returns false when the round is over. */
static bool take(uint64_t random, struct pgl_uffd_request **request, struct pgl_uffd_wanted *wanted)
{
    pthread_mutex_lock(&source.lock);
    while (source.n == 0 && !source.over) {
        pthread_cond_wait(&source.asked, &source.lock);
    }
    if (source.n == 0) {
        pthread_mutex_unlock(&source.lock);
        return false;
    }
    random %= source.n;
    *request = source.requests[random];
    *wanted = source.wanted[random];
    source.requests[random] = source.requests[--source.n];
    source.wanted[random] = source.wanted[source.n];
    pthread_mutex_unlock(&source.lock);
    return true;
}

static void supply(struct pgl_uffd_request *request, uint64_t first, uint64_t end)
{
    end = end < NPAGES * PAGE ? end : NPAGES * PAGE;
    pgl_uffd_request_supply(request, first, source.bytes + first, end - first);
}

static void *answer(void *arg)
{
    struct answerer *answerer = arg;
    struct pgl_uffd_request *request;
    struct pgl_uffd_wanted wanted;

    may_malloc = true;
    while (take(next(&answerer->random), &request, &wanted)) {
        uint64_t end = wanted.offset + wanted.length;

        switch (next(&answerer->random) % 8) {
        case 0: /* as if it could not be read: it is wanted once more */
            pgl_uffd_request_fail(request, wanted.offset, wanted.length, EIO);
            break;
        case 1: /* in parts, the last one first */
            supply(request, wanted.demand + PAGE, end);
            supply(request, wanted.offset, wanted.demand + PAGE);
            break;
        case 2:
            supply(request, 0, NPAGES * PAGE);
            break;
        case 3:
            if (pgl_uffd_request_is_wanted(request)) {
                supply(request, wanted.offset, end + 32 * PAGE);
            }
            break;
        case 4: /* half a page too few, and nothing more: the rest is wanted again */
            supply(request, wanted.offset, end - PAGE / 2);
            break;
        default:
            supply(request, wanted.offset, end);
        }
        pgl_uffd_request_end(request);
    }
    return NULL;
}

static bool give_order(struct driver *driver)
{
    uint64_t page = next(&driver->random) % NPAGES;
    int answered;

    if (next(&driver->random) % 8 == 0) {
        answered = sender_try(&driver->sender, ORDER_GIVE_BACK, page);
        driver->zeros[page] = true;
    } else {
        answered = sender_try(&driver->sender, driver->zeros[page] ? ORDER_SHOWS_ZEROS : ORDER_SHOWS_PAGE, page);
    }
    driver->wrong =
        driver->wrong || answered == 0 || (answered < 0 && !__atomic_load_n(&driver->killed, __ATOMIC_ACQUIRE));
    __atomic_fetch_add(&driver->done, 1, __ATOMIC_RELEASE);
    return answered > 0;
}

static void *drive(void *arg)
{
    struct driver *driver = arg;

    may_malloc = true;
    while (driver->done < ORDERS && give_order(driver)) {
    }
    __atomic_store_n(&driver->done, ORDERS, __ATOMIC_RELEASE); /* nobody waits for more */
    return NULL;
}

static void start_drivers(struct fixture *f, unsigned round)
{
    for (unsigned i = 0; i < PROCESSES; i++) {
        drivers[i] = (struct driver){.random = round * PROCESSES + i};
        sender_start(&drivers[i].sender, f->memory, NPAGES * PAGE, UFFD_FEATURE_EVENT_REMOVE);
    }
    f->config.threads = 1 + round % 2;
    start_pager(f);
    for (unsigned i = 0; i < PROCESSES; i++) {
        const struct pgl_uffd_region region = {
            .addr = f->memory,
            .length = NPAGES * PAGE,
            .source = {.kind = PGL_UFFD_CALLBACK, .request = on_request, .size = NPAGES * PAGE, .surplus = 16 * PAGE},
            .advice = i % 2 != 0 ? PGL_ADVICE_NORMAL : PGL_ADVICE_RANDOM,
            .removed = PGL_UFFD_ZEROS,
            .on_error = PGL_UFFD_AGAIN,
        };

        drivers[i].process = pgl_uffd_adopt(f->uffd, drivers[i].sender.fd, &region, 1);
        assert_int_not_equal(drivers[i].process, 0);
        assert_int_equal(pthread_create(&drivers[i].thread, NULL, drive, &drivers[i]), 0);
    }
}

/* Kill a process when it has obeyed so many orders, and disown it at once. */
static void kill_one(struct fixture *f, struct driver *driver, unsigned orders)
{
    while (__atomic_load_n(&driver->done, __ATOMIC_ACQUIRE) < orders) {
        usleep(100);
    }
    __atomic_store_n(&driver->killed, true, __ATOMIC_RELEASE);
    kill(driver->sender.pid, SIGKILL);
    assert_true(pgl_uffd_disown(f->uffd, driver->process));
}

static void run_round(struct fixture *f, unsigned round)
{
    struct answerer answerers[ANSWERERS];
    unsigned nfds = count_fds();
    uint64_t random = round;

    source.over = false;
    start_drivers(f, round);
    for (unsigned i = 0; i < ANSWERERS; i++) {
        answerers[i].random = round * ANSWERERS + i;
        assert_int_equal(pthread_create(&answerers[i].thread, NULL, answer, &answerers[i]), 0);
    }
    kill_one(f, &drivers[round % PROCESSES], (unsigned)next(&random) % ORDERS);
    for (unsigned i = 0; i < PROCESSES; i++) {
        pthread_join(drivers[i].thread, NULL);
        assert_false(drivers[i].wrong);
        assert_true(drivers[i].killed || pgl_uffd_disown(f->uffd, drivers[i].process));
        sender_end(&drivers[i].sender);
    }
    pthread_mutex_lock(&source.lock);
    source.over = true;
    pthread_cond_broadcast(&source.asked);
    pthread_mutex_unlock(&source.lock);
    for (unsigned i = 0; i < ANSWERERS; i++) {
        pthread_join(answerers[i].thread, NULL);
    }
    end_pager(f);
    assert_int_equal(source.n, 0);
    assert_fds(nfds);
}

static void test_uffd_adopt_beside_answers_of_all_kinds_each_page_is_right(void **state)
{
    struct fixture *f = *state;

    source.bytes = mmap(NULL, NPAGES * PAGE, PROT_READ, MAP_SHARED, f->file, 0);
    assert_ptr_not_equal(source.bytes, MAP_FAILED);
    for (unsigned round = 0; round < rounds; round++) {
        run_round(f, round);
    }
    munmap((void *)(uintptr_t)source.bytes, NPAGES * PAGE);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_uffd_adopt_beside_answers_of_all_kinds_each_page_is_right, set_up,
                                        tear_down),
    };

    if (argc > 1) {
        rounds = (unsigned)atoi(argv[1]);
    }
    return pager_permitted() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
