/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A handler stays with the thread that faults, if that is cheaper.
 *
 * FOLLOWING    A fault wakes a handler, and the handler wakes the thread. If the two sleep on different processors,
 *              each wake-up interrupts an idle processor, which costs several times what the page costs. On one
 *              processor each is a switch of threads. Therefore a handler that serves one thread moves to that thread's
 *              processor. The scheduler would move the thread away again, to an idle processor, if the handler had used
 *              up its share of the time there. Therefore handlers run at a higher priority, if that is permitted.
 *              It moves at the priority that it was started with: the scheduler takes along what it owes the thread, or
 *              the thread it, and scales that by the priority.
 *              Z1: a handler changes its own affinity and priority, and those of no other thread.
 *              Z2: it runs only on processors that it might use when it started or, if another party has changed its
 *              affinity since, on those that it might use then.
 *              Z3: it follows a thread that has caused the last faults alone. When another thread faults, it may run on
 *              all its processors again.
 *              Z4: it looks where the thread runs after it has woken it, and once in a while only. If the thread is on
 *              another processor, the handler moves there when it has woken it the next time, and looks at nothing
 *              before: it has to arrive before the thread has run, faulted, and gone to sleep. The scheduler wakes a
 *              thread elsewhere that sleeps where its handler runs, but leaves it there if it has been there together
 *              with its handler.
 *              Z5: a move does not always last, because the scheduler may owe the thread time from before. Therefore
 *              the handler moves again soon, but rests when many moves in a row were in vain.
 *              Z6: some schedulers keep the two on one processor themselves, and wake them sooner at equal priorities.
 *              Therefore the handler compares two ways: it follows, or it leaves its place to the scheduler and has the
 *              priority that it was started with. A way costs the median of 32 times from waking the thread to its
 *              next fault. The handler changes its way if the other one costs less, or if that is unknown. It forgets
 *              the cost of the other way once in a while, and finds out again. One of several handlers only follows,
 *              because it does not see all faults of the thread.
 *              (test_uffd_follow_*)
 *              Z7: a thread or a process that a callback starts has a nice value of 0 if its handler's is lower. It
 *              inherits the processors. (test_uffd_late_thread_of_a_callback_is_not_raised)
 *              Each handler has its own state, which no other thread reads.
 * NOT PROMISED A change of affinity by another party that leaves the handler exactly the processor to which it has
 *              moved is not noticed.
 */
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "uffd_internal.h"

#define PRIORITY (-20)       /* the nice value of a handler that follows */
#define ALONE 8              /* faults in a row of a thread that is followed */
#define SOON_NS 100000       /* between a move and the look whether the thread is there */
#define LATER_NS 500000      /* between two looks while it is */
#define VAIN 16              /* moves in a row after which it was not */
#define REST_NS 50000000     /* without a look, after these */
#define FORGET_NS 1000000000 /* after which the cost of the other way is unknown */
#define MAX_GAP_NS 200000    /* a thread that has faulted later did something else */
#define FIELD_PROCESSOR 39   /* of /proc/PID/stat, from 1; the name, which is in parentheses, is the second */

/* Returns the processor that a thread of this process runs on, or last ran on; -1 when that cannot be known. */
static int processor_of(uint32_t thread)
{
    char path[48], text[1024];
    const char *at;
    ssize_t n;
    int fd;

    snprintf(path, sizeof(path), "/proc/self/task/%u/stat", (unsigned)thread);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -1;
    }
    n = read(fd, text, sizeof(text) - 1);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    at = strrchr(text, ')');
    for (unsigned field = 2; at && field < FIELD_PROCESSOR; field++) {
        at = strchr(at + 1, ' ');
    }
    return at ? (int)strtol(at, NULL, 10) : -1;
}

static bool set_priority(int nice)
{
    return setpriority(PRIO_PROCESS, (id_t)gettid(), nice) == 0;
}

/* Keep the calling thread's priority from the threads and processes that it starts. musl has no such functions. */
static void keep_priority(void)
{
    const struct sched_param param = {0};
    long policy = syscall(SYS_sched_getscheduler, 0);

    if (policy == SCHED_OTHER || policy == SCHED_BATCH) { /* SCHED_FIFO, _RR and _IDLE ignore nice values */
        syscall(SYS_sched_setscheduler, 0, policy | SCHED_RESET_ON_FORK, &param);
    }
}

static bool set_affinity(const struct pgl_follow *follow, const cpu_set_t *set)
{
    bool good;

    if (follow->raised) {
        set_priority(follow->nice);
    }
    good = sched_setaffinity(0, sizeof(*set), set) == 0;
    if (follow->raised) {
        set_priority(PRIORITY);
    }
    return good;
}

/* Run on one processor or, if it is -1 or none of the handler's, on all of the handler's. */
static void run_on(struct pgl_follow *follow, int processor)
{
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof(set), &set) != 0) {
        return;
    }
    if (!CPU_EQUAL(&set, &follow->set)) { /* Z2 */
        follow->allowed = follow->set = set;
    }
    set = follow->allowed;
    if (processor >= 0 && CPU_ISSET((size_t)processor, &set)) {
        CPU_ZERO(&set);
        CPU_SET((size_t)processor, &set);
    } else {
        processor = -1;
    }
    follow->processor = -1;
    if (CPU_EQUAL(&set, &follow->set) || set_affinity(follow, &set)) {
        follow->set = set;
        follow->processor = processor;
    }
}

/* Look whether the thread is on this processor. If not, the next move is to its own, unless many were in vain. */
static void look(struct pgl_follow *follow, uint64_t now_ns)
{
    int processor = processor_of(follow->thread);

    if (processor >= 0 && processor == follow->processor) {
        follow->vain = 0;
        follow->next_look_ns = now_ns + LATER_NS;
    } else if (processor >= 0 && follow->vain < VAIN) {
        follow->vain++;
        follow->target = processor;
    } else { /* Z5 */
        follow->vain = 0;
        follow->next_look_ns = now_ns + REST_NS;
        run_on(follow, -1);
    }
}

/* Go the other way. The next fault looks where the thread is, if the handler follows then. */
static void change_way(struct pgl_follow *follow)
{
    follow->leaves = !follow->leaves;
    follow->next_look_ns = 0;
    follow->target = -1;
    follow->vain = 0;
    run_on(follow, -1);
    if (follow->raised) {
        set_priority(follow->leaves ? follow->nice : PRIORITY);
    }
}

/* Whether the other way is to be tried, or costs less by a sixteenth. */
static bool is_other_better(const struct pgl_follow *follow)
{
    uint64_t other_ns = follow->cost_ns[!follow->leaves];

    return other_ns == 0 || follow->cost_ns[follow->leaves] > other_ns + other_ns / 16;
}

/* The thread has faulted so long after it was woken. */
static void note_gap(struct pgl_follow *follow, uint64_t gap_ns, uint64_t now_ns)
{
    unsigned at;

    if (gap_ns > MAX_GAP_NS && !follow->leaves) { /* it says nothing; otherwise its handler may be the cause */
        return;
    }
    for (at = follow->ngaps; at > 0 && follow->gap_ns[at - 1] > gap_ns; at--) {
        follow->gap_ns[at] = follow->gap_ns[at - 1];
    }
    follow->gap_ns[at] = gap_ns;
    follow->ngaps++;
    if (follow->ngaps < PGL_FOLLOW_GAPS) {
        return;
    }

    follow->ngaps = 0;
    follow->cost_ns[follow->leaves] = follow->gap_ns[PGL_FOLLOW_GAPS / 2] + 1;
    if (now_ns >= follow->forget_ns) {
        follow->forget_ns = now_ns + FORGET_NS;
        follow->cost_ns[!follow->leaves] = 0;
    }
    if (is_other_better(follow)) {
        change_way(follow);
    }
}

void pgl_follow_start(struct pgl_follow *follow, bool only)
{
    *follow = (struct pgl_follow){.processor = -1, .target = -1, .only = only};
    if (sched_getaffinity(0, sizeof(follow->set), &follow->set) != 0 || CPU_COUNT(&follow->set) < 2) {
        return;
    }
    follow->allowed = follow->set;
    follow->able = true;
    follow->nice = getpriority(PRIO_PROCESS, (id_t)gettid()); /* -1 is an answer, and a fair guess after an error */
    follow->raised = set_priority(PRIORITY);
    if (follow->raised) { /* Z7 */
        keep_priority();
    }
}

void pgl_follow_fault(struct pgl_follow *follow, uint32_t thread, uint64_t read_ns, uint64_t answered_ns)
{
    if (!follow->able) {
        return;
    }
    if (thread != follow->thread) { /* Z3 */
        follow->thread = thread;
        follow->target = -1;
        follow->faults = 0;
        follow->ngaps = 0;
        follow->answered_ns = 0;
        if (follow->processor >= 0) {
            run_on(follow, -1);
        }
    }
    follow->faults++;
    if (follow->only && thread != 0 && follow->answered_ns != 0) { /* Z6 */
        note_gap(follow, read_ns - follow->answered_ns, read_ns);
    }
    follow->answered_ns = answered_ns;
    if (follow->leaves || thread == 0 || follow->faults < ALONE) {
        return;
    }
    if (follow->target >= 0) { /* Z4 */
        run_on(follow, follow->target);
        follow->target = -1;
        follow->next_look_ns = read_ns + SOON_NS;
    } else if (read_ns >= follow->next_look_ns) {
        look(follow, read_ns);
    }
}
