/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The fault driver: faults against each other, late, partial and failing replies, interruption, and everything that may
 * happen to an object meanwhile.
 */
#include <errno.h>
#include <string.h>

#include "fault_world.h"
#include "scenarios.h"

static void init_now(void)
{
    struct pgl_object_config config = paged(3);
    init_with(&config, 0);
}

static void init_late(void)
{
    struct pgl_object_config config = paged(3);
    init_with(&config, 1);
}

static void init_late_twice(void)
{
    struct pgl_object_config config = paged(3);
    init_with(&config, 2);
}

/* The first request, of page 1, failed. */
static void init_bad(void)
{
    init_late();
    const struct pgl_fault_args args = {.object = sim.object, .index = 1, .access = PGL_ACCESS_READ};
    pgl_object_advise(sim.object, PGL_ADVICE_RANDOM);
    sim.refusal = EIO;
    explore_check(pgl_fault_run(sim.faults[0], &args, NULL) == PGL_FAULT_MEMORY_ERROR);
    pgl_object_advise(sim.object, PGL_ADVICE_NORMAL);
    sim.refusal = 0;
    memset(sim.mailbox, 0, sizeof sim.mailbox);
    sim.nrequests = 0;
    sim.page_1_is_bad = true;
}

static void init_refusing(void)
{
    init_late();
    sim.refusal = EAGAIN;
}

static void init_credits(void)
{
    struct pgl_object_config config = paged(3);
    config.credits = 1;
    init_with(&config, 1);
}

static void init_unready(void)
{
    struct pgl_object_config config = paged(3);
    config.pager_unready = true;
    init_with(&config, 0);
}

static void init_read_only(void)
{
    init_late();
    sim.access = PGL_ACCESS_READ;
    sim.kept = 0;
}

static void init_map(void)
{
    init_late();
    sim.map = pgl_map_new(NULL, NULL);
    explore_check(sim.map && pgl_map_enter(sim.map, 0, 3, sim.object, 0, PGL_ADVICE_NORMAL));
}

/* The object shadows one that has a pager. Both have frames. */
static void init_shadow(void)
{
    struct pgl_object_config config = paged(3);
    config.memory_ops = &memory_ops;
    config.page_size = FRAME;
    struct pgl_object *lower = pgl_object_new(&config);
    explore_check(lower);
    config = (struct pgl_object_config){.last = 3, .memory_ops = &memory_ops, .page_size = FRAME, .backing = lower};
    init_with(&config, 1);
    sim.lower = lower;
    sim.checks_bytes = true;
}

/* ... and page 1 is there. */
static void init_shadowed(void)
{
    init_shadow();
    const struct pgl_fault_args args = {.object = sim.lower, .index = 1, .access = PGL_ACCESS_READ};
    sim.kept = 0;
    explore_check(pgl_fault_run(sim.faults[0], &args, NULL) == PGL_FAULT_SUCCESS);
    sim.nrequests = 0;
}

/* ... but not for long: no thread looks at a page that is not wired. */
static void init_shadowed_briefly(void)
{
    init_shadowed();
    sim.checks_bytes = false;
}

/* The object shadows one that has no pager: the chain ends in zeros. */
static void init_zeros(void)
{
    struct pgl_object_config config = {.last = 3, .memory_ops = &memory_ops, .page_size = FRAME};
    struct pgl_object *lower = pgl_object_new(&config);
    explore_check(lower);
    config.backing = lower;
    init_with(&config, 0);
    sim.lower = lower;
}

/* ---- faulting threads ---- */

static enum pgl_fault_result fault_on(uint64_t index, enum pgl_access access, unsigned int flags)
{
    int me = explore_self();
    const struct pgl_fault_args args = {
        .map = sim.map, .object = sim.object, .index = index, .access = access, .flags = flags};
    struct pgl_fault_page page;
    bool copied = __atomic_load_n(&sim.copied, __ATOMIC_ACQUIRE);

    sim.results[me] = pgl_fault_run(sim.faults[me], &args, &page);
    if (sim.results[me] == PGL_FAULT_SUCCESS) {
        explore_check((page.access & access) == access);
        explore_check(!copied || page.object == sim.object);
        if (sim.checks_bytes) {
            explore_check(*(const unsigned char *)page.frame == index + 1);
        }
    }
    __atomic_fetch_add(&sim.ended, 1, __ATOMIC_RELEASE);
    act();
    return sim.results[me];
}

static void read_1(void)
{
    explore_check(fault_on(1, PGL_ACCESS_READ, 0) == PGL_FAULT_SUCCESS);
}

static void read_2(void)
{
    explore_check(fault_on(2, PGL_ACCESS_READ, 0) == PGL_FAULT_SUCCESS);
}

static void write_1(void)
{
    explore_check(fault_on(1, PGL_ACCESS_WRITE, 0) == PGL_FAULT_SUCCESS);
}

static void write_1_and_say(void)
{
    write_1();
    __atomic_store_n(&sim.copied, 1, __ATOMIC_RELEASE);
}

static void wire_1(void)
{
    explore_check(fault_on(1, PGL_ACCESS_READ, PGL_FAULT_FLAG_WIRE) == PGL_FAULT_SUCCESS);
    explore_check(pgl_object_resident(sim.object, 1));
    explore_check(pgl_object_unwire(sim.object, 1));
}

static void read_1_any(void)
{
    fault_on(1, PGL_ACCESS_READ, 0);
}

/* No thread touches a fault that is over. */
static void read_1_and_free(void)
{
    fault_on(1, PGL_ACCESS_READ, 0);
    pgl_fault_free(sim.faults[explore_self()]);
    sim.faults[explore_self()] = NULL;
}

static void ask_resident(void)
{
    pgl_object_resident(sim.object, 1);
}

static void read_2_any(void)
{
    fault_on(2, PGL_ACCESS_READ, 0);
}

static void read_3_any(void)
{
    fault_on(3, PGL_ACCESS_READ, 0);
}

static void read_1_no_wait(void)
{
    enum pgl_fault_result result = fault_on(1, PGL_ACCESS_READ, PGL_FAULT_FLAG_NO_WAIT);
    explore_check(result == PGL_FAULT_SUCCESS || result == PGL_FAULT_RETRY);
}

static void write_1_any(void)
{
    fault_on(1, PGL_ACCESS_WRITE, 0);
}

/* ---- threads that answer the first request ---- */

static void reply_all(void)
{
    const struct mail *mail = await_mail(0, 2);
    if (mail) {
        answer(&mail->request, mail->data);
    }
}

static void reply_all_once(void)
{
    const struct mail *mail = await_mail(0, 1);
    if (mail) {
        answer(&mail->request, mail->data);
    }
}

/* The neighbours first and one by one, then the demand page, then all of it again. */
static void reply_backwards(void)
{
    const struct mail *mail = await_mail(0, 2);
    if (mail) {
        const struct pgl_request *request = &mail->request;
        for (uint64_t page = request->range.last; page + 1 > request->range.first; page--) {
            if (page != request->pager_demand) {
                supply(request, page, page);
            }
            if (page == 0) {
                break;
            }
        }
        supply(request, request->pager_demand, request->pager_demand);
        supply(request, request->range.first, request->range.last);
    }
}

static void reply_error(void)
{
    const struct mail *mail = await_mail(0, 2);
    if (mail) {
        pgl_pager_error(mail->request.object, mail->request.id, mail->request.range);
    }
}

static void reply_no_data(void)
{
    const struct mail *mail = await_mail(0, 2);
    if (mail) {
        pgl_pager_no_data(mail->request.object, mail->request.id, mail->request.range);
    }
}

/* The demand page fails, the neighbours come. */
static void reply_part(void)
{
    const struct mail *mail = await_mail(0, 2);
    if (mail) {
        const struct pgl_request *request = &mail->request;
        struct pgl_pager_range demand = {request->pager_demand, request->pager_demand};
        pgl_pager_error(request->object, request->id, demand);
        supply(request, request->range.first, request->range.last);
    }
}

static void reply_demand(void)
{
    const struct mail *mail = await_mail(0, 1);
    if (mail) {
        supply(&mail->request, mail->request.pager_demand, mail->request.pager_demand);
    }
}

static void reply_both(void)
{
    reply_all();
    const struct mail *mail = await_mail(1, 2);
    if (mail) {
        answer(&mail->request, mail->data);
    }
}

/* ---- everything else that may happen ---- */

static void interrupt_0(void)
{
    pgl_fault_interrupt(sim.faults[0]);
}

static void interrupt_0_and_reply(void)
{
    pgl_fault_interrupt(sim.faults[0]);
    reply_all();
}

static void interrupt_0_and_reply_once(void)
{
    pgl_fault_interrupt(sim.faults[0]);
    reply_all_once();
}

/* A page of the first request fails, and may be another's by the time that fault is interrupted. */
static void fail_2_interrupt_0_and_reply(void)
{
    const struct mail *mail = await_mail(0, 2);

    if (mail && mail->request.pager_demand == 1) {
        pgl_pager_error(mail->request.object, mail->request.id, (struct pgl_pager_range){2, 2});
        pgl_fault_interrupt(sim.faults[0]);
    } else if (mail) {
        answer(&mail->request, mail->data);
    }
    mail = await_mail(1, 2);
    if (mail) {
        answer(&mail->request, mail->data);
    }
}

static void terminate(void)
{
    pgl_object_terminate(sim.object);
}

static void terminate_and_reply(void)
{
    pgl_object_terminate(sim.object);
    reply_all();
}

static void set_ready(void)
{
    pgl_object_set_ready(sim.object);
}

static void advise(void)
{
    explore_check(pgl_object_advise(sim.object, PGL_ADVICE_RANDOM));
    explore_check(pgl_object_advise(sim.object, PGL_ADVICE_SEQUENTIAL));
}

static void advise_map(void)
{
    explore_check(pgl_map_advise(sim.map, 1, 1, PGL_ADVICE_RANDOM));
}

static void advise_map_and_reply(void)
{
    explore_check(pgl_map_advise(sim.map, 1, 1, PGL_ADVICE_RANDOM));
    reply_all();
}

static void unmap_and_reply(void)
{
    explore_check(pgl_map_remove(sim.map, 1, 2));
    reply_all_once();
}

static void remove_pages(void)
{
    pgl_object_remove(sim.object, 0, 3);
}

static void remove_lower_pages(void)
{
    pgl_object_remove(sim.lower, 0, 3);
}

static void withhold(void)
{
    pgl_pager_withhold(sim.object, (struct pgl_pager_range){0, 3}, PGL_ACCESS_READ);
}

static void read_1_and_unref(void)
{
    read_1();
    pgl_object_unref(sim.object);
}

static void read_2_and_unref(void)
{
    read_2();
    pgl_object_unref(sim.object);
}

static void init_referenced(void)
{
    init_now();
    pgl_object_ref(sim.object);
}

/* A fault without a stack: the thread that makes it ready continues it. */

static uintptr_t ready_word;

static void is_ready(void *arg)
{
    (void)arg;
    __atomic_fetch_add(&ready_word, 1, __ATOMIC_RELEASE);
}

static void init_continued(void)
{
    init_late();
    ready_word = 0;
}

static void start_and_continue(void)
{
    const struct pgl_fault_args args = {.object = sim.object, .index = 1, .access = PGL_ACCESS_READ};
    enum pgl_fault_result result = pgl_fault_start(sim.faults[0], &args, NULL, is_ready, NULL);

    for (uintptr_t seen = 0; result == PGL_FAULT_PENDING; seen++) {
        while (__atomic_load_n(&ready_word, __ATOMIC_ACQUIRE) == seen) {
            pgl_explore_wait(&ready_word);
        }
        result = pgl_fault_continue(sim.faults[0], NULL);
    }
    explore_check(result == PGL_FAULT_SUCCESS || result == PGL_FAULT_INTERRUPTED);
    __atomic_fetch_add(&sim.ended, 1, __ATOMIC_RELEASE);
    act();
}

/* ---- what must have come out ---- */

static void final_one_request(void)
{
    explore_check(sim.nrequests == 1);
    final();
}

static void final_same_result(void)
{
    explore_check(sim.results[0] == PGL_FAULT_MEMORY_ERROR || sim.results[0] == PGL_FAULT_SUCCESS);
    explore_check(sim.results[1] == PGL_FAULT_MEMORY_ERROR || sim.results[1] == PGL_FAULT_SUCCESS);
    explore_check(sim.results[0] == PGL_FAULT_MEMORY_ERROR || sim.results[1] == PGL_FAULT_MEMORY_ERROR);
    final();
}

/* A fault that asks again after that is served. */
static void final_no_data(void)
{
    for (int t = 0; t < 2; t++) {
        explore_check(sim.results[t] == PGL_FAULT_NO_DATA || sim.results[t] == PGL_FAULT_SUCCESS);
    }
    final();
}

static void final_interrupted(void)
{
    explore_check(sim.results[0] == PGL_FAULT_INTERRUPTED || sim.results[0] == PGL_FAULT_SUCCESS);
    final();
}

static void final_waiter_served(void)
{
    explore_check(sim.results[1] == PGL_FAULT_SUCCESS);
    final_interrupted();
}

static void final_terminated(void)
{
    explore_check(sim.results[0] == PGL_FAULT_SUCCESS || sim.results[0] == PGL_FAULT_MEMORY_ERROR);
    explore_check(sim.results[1] == PGL_FAULT_SUCCESS || sim.results[1] == PGL_FAULT_MEMORY_ERROR);
    final();
}

/* Its data came after the entry had gone. */
static void final_unmapped(void)
{
    explore_check(sim.results[0] == PGL_FAULT_NO_ENTRY);
    final();
}

static void final_only_interrupted(void)
{
    explore_check(sim.results[0] == PGL_FAULT_INTERRUPTED);
    final();
}

/* No fault had to ask again. */
static void final_two_requests(void)
{
    explore_check(sim.nrequests <= 2);
    final();
}

/* The threads have let the object go. */
static void final_unreferenced(void)
{
    for (int t = 0; t < EXPLORE_THREADS; t++) {
        pgl_fault_free(sim.faults[t]);
    }
}

static void final_refused(void)
{
    for (int t = 0; t < 2; t++) {
        explore_check(sim.results[t] == PGL_FAULT_SUCCESS || sim.results[t] == PGL_FAULT_RETRY);
    }
    final();
}

/* One page was copied up or filled with zeros, whichever thread was first. */
static void final_one_copy(void)
{
    struct pgl_object_stats stats;

    pgl_object_get_stats(sim.object, &stats);
    explore_check(stats.resident == 1);
    final();
}

const struct explore_scenario fault_scenarios[] = {
    {"fault-two", "two faults on one page", init_now, {read_1, read_1}, final_one_request},
    {"fault-two-late", "one request serves both", init_late, {read_1, read_1, reply_all}, final_one_request},
    {"fault-neighbours", "each other's speculation", init_late, {read_1, read_2, reply_all}, final},
    {"fault-neighbours-late", "overlapping clusters, late", init_late_twice, {read_1, read_2, reply_both}, final},
    {"fault-backwards", "the demand page last, then twice", init_late, {read_1, read_2, reply_backwards}, final},
    {"fault-error",
     "everybody who waits gets the error",
     init_late,
     {read_1_any, read_1_any, reply_error},
     final_same_result},
    {"fault-error-interrupt",
     "a page in error stays so",
     init_bad,
     {read_1_any, read_2_any, interrupt_0_and_reply},
     final},
    {"fault-part", "the demand page fails, neighbours come", init_late, {read_1_any, read_2_any, reply_part}, final},
    {"fault-no-data", "nothing there is an answer", init_late, {read_1_any, read_1_any, reply_no_data}, final_no_data},
    {"fault-interrupt",
     "interruption against reply",
     init_late,
     {read_1_any, interrupt_0, reply_all_once},
     final_interrupted},
    {"fault-interrupt-only", "nobody replies", init_late, {read_1_any, interrupt_0}, final_only_interrupted},
    {"fault-interrupt-reply",
     "a reply to what was taken back",
     init_late,
     {read_1_any, interrupt_0_and_reply_once},
     final_interrupted},
    {"fault-interrupt-foreign",
     "what is taken back is one's own",
     init_late_twice,
     {read_1_any, read_2_any, fail_2_interrupt_0_and_reply},
     final_two_requests},
    {"fault-interrupt-waiter",
     "who waited for the interrupted one",
     init_late,
     {read_1_any, read_1_any, interrupt_0_and_reply},
     final_waiter_served},
    {"fault-terminate",
     "teardown against fault and reply",
     init_late,
     {read_1_any, terminate, reply_all_once},
     final_terminated},
    {"fault-terminate-two",
     "nobody sleeps on",
     init_late,
     {read_1_any, read_2_any, terminate_and_reply},
     final_terminated},
    {"fault-credits", "a credit for two", init_credits, {read_1_any, read_3_any, reply_all}, final},
    {"fault-credits-no-wait", "no credit, no wait", init_credits, {read_2, read_1_no_wait, reply_all}, final},
    {"fault-credits-interrupt",
     "a waiter for a credit is interrupted",
     init_credits,
     {read_1_any, read_3_any, interrupt_0_and_reply},
     final},
    {"fault-ready", "the pager becomes ready", init_unready, {read_1, read_2, set_ready}, final},
    {"fault-ready-interrupt",
     "interrupted before it is",
     init_unready,
     {read_1_any, interrupt_0, set_ready},
     final_interrupted},
    {"fault-advise", "advice changes meanwhile", init_late, {read_1, advise, reply_all_once}, final},
    {"fault-map-advise", "the entry is split meanwhile", init_map, {read_1, read_2, advise_map_and_reply}, final},
    {"fault-map-advise-late",
     "the entry is split against the reply",
     init_map,
     {read_1, advise_map, reply_all_once},
     final},
    {"fault-unmap", "the entry goes meanwhile", init_map, {read_1_any, unmap_and_reply}, final_unmapped},
    {"fault-refused",
     "the pager refuses what it answers as well",
     init_refusing,
     {read_1_and_free, read_1_and_free, reply_all},
     final_refused},
    {"fault-refused-part",
     "the pager refuses what it answers in part",
     init_refusing,
     {read_1_any, reply_demand},
     final_refused},
    {"fault-resident", "asking is no race", init_now, {read_1, ask_resident}, final},
    {"fault-unlock", "two ask for more access", init_read_only, {write_1, write_1}, final},
    {"fault-withhold", "access goes meanwhile", init_now, {write_1, withhold, read_2}, final},
    {"fault-remove", "pages go meanwhile", init_now, {read_1, remove_pages, read_2}, final},
    {"fault-unref", "the last one frees it", init_referenced, {read_1_and_unref, read_2_and_unref}, final_unreferenced},
    {"fault-wire", "a wired page stays", init_now, {wire_1, remove_pages}, final},
    {"fault-copy-up", "two writes, one copy", init_shadow, {write_1, write_1, reply_all}, final_one_copy},
    {"fault-copy-up-read", "a write and a read", init_shadow, {write_1, read_1, reply_all}, final_one_copy},
    {"fault-copy-up-remove",
     "the lower page goes meanwhile",
     init_shadow,
     {write_1, remove_lower_pages, reply_all_once},
     final_one_copy},
    {"fault-copy-up-interrupt",
     "interrupted below",
     init_shadow,
     {write_1_any, interrupt_0_and_reply_once},
     final_interrupted},
    {"fault-shadow-two", "two look in vain, one asks", init_shadow, {read_1, read_1, reply_all}, final_one_request},
    {"fault-shadow-read",
     "found below, copied up meanwhile",
     init_shadowed,
     {write_1_and_say, read_1, read_1},
     final_one_copy},
    {"fault-shadow-remove",
     "found below, or gone meanwhile",
     init_shadowed_briefly,
     {read_1, remove_lower_pages, write_1},
     final_one_copy},
    {"fault-zeros", "zeros are made once", init_zeros, {read_1, write_1}, final_one_copy},
    {"fault-continue", "a fault without a stack", init_continued, {start_and_continue, read_1, reply_all}, final},
    {"fault-continue-interrupt",
     "... is interrupted",
     init_continued,
     {start_and_continue, interrupt_0_and_reply_once},
     final},
    {.name = NULL},
};
