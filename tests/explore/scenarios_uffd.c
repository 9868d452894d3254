/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The userfaultfd pager on the explorer's kernel: other processes that are adopted, disowned and killed, sources that
 * answer late, and the end of the pager. The handlers' code is the library's.
 */
#include <errno.h>
#include <linux/userfaultfd.h>
#include <stdlib.h>
#include <string.h>

#include <pagelock/uffd.h>

#include "../../src/uffd/arena_internal.h"
#include "../../src/uffd/uffd_internal.h"
#include "kernel.h"
#include "scenarios.h"

enum { PAGE_1 = 41, KEPT = 4 };

static struct {
    struct pgl_uffd *pager;
    int fd;           /* of the process */
    uint64_t process; /* its number, or 0 */
    uintptr_t ended;  /* threads that touch */
    uintptr_t over;   /* it was disowned, or the pager has ended: nothing more is asked */
    uintptr_t nrequests;
    uintptr_t answered; /* by the only thread that answers */
    uintptr_t unpacked; /* how often all the bytes were made, to answer a request that was wanted */
    bool at_once;       /* answer in the callback */
    struct pgl_uffd_request *requests[KEPT];
} pager;

/* The first byte of page i is 40 + i. */
static _Alignas(KERNEL_PAGE) unsigned char bytes[KERNEL_PAGES * KERNEL_PAGE];

/* In place of the library's own heap, whose blocks the explorer does not know. */
extern const struct pgl_heap_ops __wrap_pgl_arena_heap_ops;

static void *arena_alloc(void *heap, size_t size)
{
    (void)heap;
    return calloc(1, size);
}

static void arena_free(void *heap, void *block)
{
    (void)heap;
    free(block);
}

const struct pgl_heap_ops __wrap_pgl_arena_heap_ops = {arena_alloc, arena_free};

/* Answer with everything, unless the page has come meanwhile. */
static void answer(struct pgl_uffd_request *request)
{
    if (pgl_uffd_request_is_wanted(request)) {
        __atomic_fetch_add(&pager.unpacked, 1, __ATOMIC_RELAXED);
        explore_check(pgl_uffd_request_supply(request, 0, bytes, sizeof(bytes)) || errno == ECANCELED);
    }
    pgl_uffd_request_end(request);
}

static void on_request(void *arg, struct pgl_uffd_request *request, const struct pgl_uffd_wanted *wanted)
{
    (void)arg;
    if (pager.at_once) {
        answer(request);
        return;
    }
    explore_check(wanted->length == KERNEL_PAGE && pager.nrequests < KEPT); /* the only handler's, or one of its kind */
    pager.requests[pager.nrequests] = request;
    __atomic_store_n(&pager.nrequests, pager.nrequests + 1, __ATOMIC_RELEASE);
}

/* Wait until a word is so high. */
static void wait_for(const uintptr_t *word, uintptr_t least)
{
    while (__atomic_load_n(word, __ATOMIC_ACQUIRE) < least) {
        pgl_explore_wait(word);
    }
}

static struct pgl_uffd_region region_of(bool late)
{
    struct pgl_uffd_region region = {
        .addr = (void *)(uintptr_t)KERNEL_BASE,
        .length = sizeof(bytes),
        .advice = PGL_ADVICE_RANDOM,
        .removed = PGL_UFFD_ZEROS,
    };

    if (late) {
        region.source = (struct pgl_uffd_source){.kind = PGL_UFFD_CALLBACK, .request = on_request};
        region.source.surplus = sizeof(bytes);
    } else {
        region.source = (struct pgl_uffd_source){.kind = PGL_UFFD_MEMORY, .memory = bytes};
    }
    region.source.size = sizeof(bytes);
    return region;
}

static void adopt(bool late)
{
    const struct pgl_uffd_region region = region_of(late);

    pager.process = pgl_uffd_adopt(pager.pager, pager.fd, &region, 1);
    explore_check(pager.process != 0);
    kernel_close(pager.fd);
}

static void start(unsigned int nhandlers, bool keeps)
{
    const struct pgl_uffd_config config = {.threads = nhandlers};

    memset(&pager, 0, sizeof pager);
    for (int page = 0; page < KERNEL_PAGES; page++) {
        bytes[page * KERNEL_PAGE] = (unsigned char)(PAGE_1 - 1 + page);
    }
    pager.fd = kernel_process(keeps);
    pager.pager = pgl_uffd_new(&config);
    explore_check(pager.pager);
}

static void init_alone(void)
{
    start(1, true);
}

static void init_adopted(void)
{
    start(1, true);
    adopt(false);
}

static void init_adopted_whole(void) /* the process keeps no descriptor: its memory is plain when it is disowned */
{
    start(1, false);
    adopt(false);
}

static void init_late(void)
{
    start(1, true);
    adopt(true);
}

static void init_late_whole(void)
{
    start(1, false);
    adopt(true);
}

static void init_late_two(void)
{
    start(2, true);
    adopt(true);
}

static void init_late_at_once(void)
{
    init_late();
    pager.at_once = true;
}

static void init_late_at_once_two(void)
{
    init_late_two();
    pager.at_once = true;
}

/* The page is asked for already, for a thread that sleeps no more. Few steps are left for the schedules to reorder. */
static void init_late_asked(void)
{
    struct uffd_msg message = {.event = UFFD_EVENT_PAGEFAULT};

    init_late();
    message.arg.pagefault.address = KERNEL_BASE + KERNEL_PAGE;
    explore_check(pgl_handler_fault(pager.pager->handlers, pager.pager->spaces, &message, 1) == PGL_SERVED_LATER);
    explore_check(pager.nrequests == 1);
}

static void final_pager(void)
{
    kernel_check();
}

/* ---- threads ---- */

static void handler_0(void)
{
    kernel_run_thread(0);
}

static void handler_1(void)
{
    kernel_run_thread(1);
}

static void end_touch(void)
{
    __atomic_fetch_add(&pager.ended, 1, __ATOMIC_RELEASE);
}

static void touch_1(void)
{
    explore_check(kernel_touch(pager.fd, 1) == PAGE_1);
    end_touch();
}

/* The answer of the only page was counted, once, as that of a source, before its thread went on. */
static void check_counts(void)
{
    struct pgl_uffd_stats stats;
    uint64_t read = 0, other = 0;

    pgl_uffd_get_stats(pager.pager, &stats);
    for (unsigned int i = 0; i < PGL_UFFD_BUCKETS; i++) {
        read += stats.latency_read[i];
        other += stats.latency_zero[i] + stats.latency_unlock[i] + stats.latency_found[i];
    }
    explore_check(read == stats.faults && other == 0);
}

static void touch_1_counted(void)
{
    explore_check(kernel_touch(pager.fd, 1) == PAGE_1);
    check_counts();
    end_touch();
}

static void touch_2(void)
{
    explore_check(kernel_touch(pager.fd, 2) == PAGE_1 + 1);
    end_touch();
}

/* The process is disowned, or the pager ends: the memory becomes plain. */
static void touch_1_or_zero(void)
{
    int byte = kernel_touch(pager.fd, 1);

    explore_check(byte == PAGE_1 || byte == 0);
    end_touch();
}

static void touch_1_or_die(void)
{
    int byte = kernel_touch(pager.fd, 1);

    explore_check(byte == PAGE_1 || byte == KERNEL_KILLED);
    end_touch();
}

static void touch_1_to_die(void)
{
    explore_check(kernel_touch(pager.fd, 1) == KERNEL_SIGBUS);
    end_touch();
}

/* A page that was given back shows zeros for ever. */
static void give_back_and_touch_1(void)
{
    kernel_give_back(pager.fd, 1);
    explore_check(kernel_touch(pager.fd, 1) == 0);
    end_touch();
}

static void end_pager(void)
{
    pgl_uffd_free(pager.pager);
    __atomic_store_n(&pager.over, 1, __ATOMIC_RELEASE);
}

static void end_after_1(void)
{
    wait_for(&pager.ended, 1);
    end_pager();
}

static void end_after_2(void)
{
    wait_for(&pager.ended, 2);
    end_pager();
}

static void adopt_and_end(void)
{
    adopt(false);
    end_after_1();
}

static void disown(void)
{
    explore_check(pgl_uffd_disown(pager.pager, pager.process));
    explore_check(!pgl_uffd_disown(pager.pager, pager.process));
    __atomic_store_n(&pager.over, 1, __ATOMIC_RELEASE);
}

static void disown_and_end(void)
{
    disown();
    end_after_1();
}

static void kill_and_end(void)
{
    kernel_kill(pager.fd);
    disown();
    end_after_1();
}

static bool is_asked(void)
{
    return pager.answered < __atomic_load_n(&pager.nrequests, __ATOMIC_ACQUIRE);
}

static void answer_next(void)
{
    answer(pager.requests[pager.answered++]);
}

/* Answer each request until a word is so high. Then there may be one more. */
static void answer_until(const uintptr_t *word, uintptr_t least)
{
    while (__atomic_load_n(word, __ATOMIC_ACQUIRE) < least) {
        if (is_asked()) {
            answer_next();
        } else if (__atomic_load_n(word, __ATOMIC_ACQUIRE) < least) {
            explore_yield();
        }
    }
}

static void answer_rest(void)
{
    while (is_asked()) {
        answer_next();
    }
}

static void answer_until_over(void)
{
    answer_until(&pager.over, 1);
    answer_rest();
}

static void answer_1_and_end(void)
{
    answer_until(&pager.ended, 1);
    check_counts();
    end_pager();
    answer_rest();
}

static void answer_2_and_end(void)
{
    answer_until(&pager.ended, 2);
    end_pager();
    answer_rest();
}

/* Each answer brings all pages, and none is given back: one is enough (R7). */
static void check_unpacked_once(void)
{
    explore_check(__atomic_load_n(&pager.unpacked, __ATOMIC_RELAXED) == 1);
}

static void answer_2_once_and_end(void)
{
    answer_2_and_end();
    check_unpacked_once();
}

static void end_after_2_once(void)
{
    end_after_2();
    check_unpacked_once();
}

static void touch_1_and_end_once(void)
{
    touch_1();
    end_after_2_once();
}

/*
 * Answer with the wanted page alone. A message about it that a handler reads before its thread is woken is older than
 * the offer (R7).
 */
static void answer_page_once_and_end(void)
{
    explore_check(pgl_uffd_request_supply(pager.requests[0], KERNEL_PAGE, bytes + KERNEL_PAGE, KERNEL_PAGE));
    pgl_uffd_request_end(pager.requests[0]);
    end_after_1();
    explore_check(pager.nrequests == 1);
}

/* It does not answer: the page is wanted once more, alone, and then it is poison. */
static void fail_and_end(void)
{
    wait_for(&pager.nrequests, 1);
    pgl_uffd_request_fail(pager.requests[0], KERNEL_PAGE, 1, EIO);
    pgl_uffd_request_end(pager.requests[0]);
    wait_for(&pager.nrequests, 2);
    pgl_uffd_request_end(pager.requests[1]);
    end_after_1();
}

const struct explore_scenario uffd_scenarios[] = {
    {"uffd-adopt",
     "a fault that waits already is served",
     init_alone,
     {handler_0, touch_1, adopt_and_end},
     final_pager},
    {"uffd-adopt-pages",
     "two pages of a process",
     init_adopted,
     {handler_0, touch_1, touch_2, end_after_2},
     final_pager},
    {"uffd-disown", "it is disowned", init_adopted_whole, {handler_0, touch_1_or_zero, disown_and_end}, final_pager},
    {"uffd-kill", "it is killed", init_adopted, {handler_0, touch_1_or_die, kill_and_end}, final_pager},
    {"uffd-late", "another thread answers", init_late, {handler_0, touch_1_counted, answer_1_and_end}, final_pager},
    {"uffd-late-handlers",
     "two handlers, and one answer",
     init_late_two,
     {handler_0, handler_1, touch_1, answer_1_and_end},
     final_pager},
    {"uffd-late-pages",
     "an answer brings the page of another request",
     init_late,
     {handler_0, touch_1, touch_2, answer_2_and_end},
     final_pager},
    {"uffd-late-once",
     "an answer that brings all pages is enough",
     init_late,
     {handler_0, touch_1, touch_2, answer_2_once_and_end},
     final_pager},
    {"uffd-late-once-batch",
     "an answer that comes at once, for two faults of one batch",
     init_late_at_once,
     {handler_0, touch_1, touch_2, end_after_2_once},
     final_pager},
    {"uffd-late-once-handlers",
     "two handlers read that a page is missing, and one answer is enough",
     init_late_at_once_two,
     {handler_0, handler_1, touch_1, touch_1_and_end_once},
     final_pager},
    {"uffd-late-once-order",
     "a message that is read while its page is being offered asks for nothing",
     init_late_asked,
     {touch_1, answer_page_once_and_end, handler_0},
     final_pager},
    {"uffd-late-fails",
     "a page without answer is poison",
     init_late,
     {handler_0, touch_1_to_die, fail_and_end},
     final_pager},
    {"uffd-late-disown",
     "a process is disowned while its page is wanted",
     init_late_whole,
     {handler_0, touch_1_or_zero, disown_and_end, answer_until_over},
     final_pager},
    {"uffd-late-kill",
     "it is killed then",
     init_late,
     {handler_0, touch_1_or_die, kill_and_end, answer_until_over},
     final_pager},
    {"uffd-late-end",
     "the pager ends then",
     init_late_whole,
     {handler_0, touch_1_or_zero, end_pager, answer_until_over},
     final_pager},
    {"uffd-late-given-back",
     "a page is given back while it is answered",
     init_late,
     {handler_0, touch_1_or_zero, give_back_and_touch_1, answer_2_and_end},
     final_pager},
    {.name = NULL},
};
