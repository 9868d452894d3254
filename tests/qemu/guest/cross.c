/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Threads that patch each other's code, as the processor's manual prescribes it. The patcher stores the new code and
 * then a flag. The other thread reads the flag, executes an instruction that serializes, and calls the code, which must
 * be the new one from then on. It calls the code while it waits, too, therefore an emulator may translate it between
 * any two steps of the patcher: old code that is translated there, and stays, is stale.
 *
 * The threads stand in a ring, and all functions are on one page. Thread i patches each function of thread i + 1, checks
 * its own ones until all of them are patched, and waits until its successor has done the same. Each function that is
 * patched and checked is a handshake.
 *
 * Usage: cross NAME THREADS FUNCTIONS HANDSHAKES [BUSY]: FUNCTIONS of each thread; HANDSHAKES of all threads together,
 * beside BUSY threads that only loop, when no other thread wants the processor
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "code.h"

enum { MAX_THREADS = 8, MAX_FNS = 16, SIZE = PAGE / MAX_THREADS / MAX_FNS, CALLS = 50 };

struct function {
    atomic_uint patched; /* its flag: the value that it has been given */
    unsigned counted;    /* the last flag for which it was older, and counted as stale */
    uint8_t *code;
};

struct member {
    _Alignas(64) struct function functions[MAX_FNS];
    atomic_uint answered; /* the last round whose flags it has all seen */
    pthread_t thread;
    struct member *next;
    unsigned rounds;
    unsigned long wrong;
};

static struct member members[MAX_THREADS];
static unsigned nfns;
static atomic_bool over;

static void serialize(void)
{
    uint32_t a = 0, b, c = 0, d;

    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d) : : "memory");
}

/* Read the flag, call the function, and compare. Returns the flag. */
static unsigned check(struct member *member, struct function *function)
{
    unsigned patched = atomic_load_explicit(&function->patched, memory_order_acquire);
    unsigned value;

    serialize();
    value = code_call(function->code, 0);
    if (value != patched && value != patched + 1 && patched != function->counted) {
        function->counted = patched;
        member->wrong++;
    }
    return patched;
}

/*
 * Check the functions until both neighbours are as far as round. The predecessor may be ahead by one, because it waits
 * for this thread's answer, and not for what this thread waits for.
 */
static void finish(struct member *member, unsigned round)
{
    for (unsigned n = 1;; n++) {
        bool all = true;

        for (unsigned i = 0; i < nfns; i++) {
            all &= check(member, &member->functions[i]) >= round;
        }
        if (all) {
            atomic_store_explicit(&member->answered, round, memory_order_release);
            if (atomic_load_explicit(&member->next->answered, memory_order_acquire) >= round) {
                return;
            }
        }
        if (n * nfns >= CALLS) {
            sched_yield();
            n = 0;
        }
    }
}

static void *patch_next(void *arg)
{
    struct member *member = arg;

    for (unsigned round = 1; round <= member->rounds; round++) {
        for (unsigned i = 0; i < nfns; i++) {
            struct function *function = &member->next->functions[i];

            code_patch(function->code, round);
            atomic_store_explicit(&function->patched, round, memory_order_release);
        }
        finish(member, round);
    }
    return NULL;
}

static void *loop(void *arg)
{
    struct sched_param param = {0};

    if (pthread_setschedparam(pthread_self(), SCHED_IDLE, &param)) {
        die("pthread_setschedparam");
    }
    while (!atomic_load_explicit(&over, memory_order_relaxed)) {
    }
    return arg;
}

static void start(pthread_t *thread, void *(*routine)(void *), void *arg)
{
    if (pthread_create(thread, NULL, routine, arg)) {
        die("pthread_create");
    }
}

static void set_up(uint8_t *page, unsigned nthreads, unsigned rounds)
{
    for (unsigned i = 0; i < nthreads; i++) {
        members[i].next = &members[(i + 1) % nthreads];
        members[i].rounds = rounds;
        for (unsigned n = 0; n < nfns; n++) {
            members[i].functions[n].code = page + (n * nthreads + i) * SIZE;
            code_returns(members[i].functions[n].code, 0);
        }
    }
}

int main(int argc, char **argv)
{
    unsigned nthreads = argc > 4 ? (unsigned)atoi(argv[2]) : 0;
    unsigned nbusy = argc > 5 ? (unsigned)atoi(argv[5]) : 0;
    pthread_t busy[MAX_THREADS];
    unsigned long wrong = 0;
    unsigned rounds;
    double since;

    nfns = argc > 4 ? (unsigned)atoi(argv[3]) : 0;
    if (nthreads < 2 || nthreads > MAX_THREADS || nfns < 1 || nfns > MAX_FNS || nbusy > MAX_THREADS) {
        fprintf(stderr, "Usage: cross NAME THREADS FUNCTIONS HANDSHAKES [BUSY]\n");
        return 2;
    }
    rounds = (unsigned)atoi(argv[4]) / nthreads / nfns;
    set_up(code_pages(1), nthreads, rounds);
    for (unsigned i = 0; i < nbusy; i++) {
        start(&busy[i], loop, NULL);
    }
    since = code_seconds();
    for (unsigned i = 0; i < nthreads; i++) {
        start(&members[i].thread, patch_next, &members[i]);
    }
    for (unsigned i = 0; i < nthreads; i++) {
        pthread_join(members[i].thread, NULL);
        wrong += members[i].wrong;
    }
    atomic_store_explicit(&over, true, memory_order_relaxed);
    for (unsigned i = 0; i < nbusy; i++) {
        pthread_join(busy[i], NULL);
    }
    return code_verdict(argv[1], wrong, (unsigned long)rounds * nthreads * nfns, since);
}
