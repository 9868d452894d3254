/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Two objects that share the frames of one memory: copies between them, lists of kept pages, and the last frames. */
#include <stdlib.h>

#include "fault_world.h"
#include "scenarios.h"

#define STRIPE 1024u

/* ---- a memory of few frames; its functions are called by one thread at a time ---- */

static uint64_t limit, used;

static void *few_alloc(void *memory)
{
    (void)memory;
    explore_check(used < limit); /* no neighbour is asked for without a frame */
    used++;
    return calloc(1, FRAME);
}

static void few_free(void *memory, void *frame)
{
    (void)memory;
    used--;
    free(frame);
}

static uint64_t few_spare(void *memory)
{
    (void)memory;
    return limit - used;
}

/* Byte by byte: the explorer does not see what the C library accesses. */
static void few_zero(void *memory, void *frame)
{
    unsigned char *bytes = frame;

    (void)memory;
    for (unsigned i = 0; i < FRAME; i++) {
        bytes[i] = 0;
    }
}

static void few_copy(void *memory, void *frame, const void *from)
{
    const unsigned char *source = from;
    unsigned char *bytes = frame;

    (void)memory;
    for (unsigned i = 0; i < FRAME; i++) {
        bytes[i] = source[i];
    }
}

static const struct pgl_memory_ops few_ops = {few_alloc, few_free, few_spare, few_zero, few_copy};

/* ---- beginnings: sim.object, and sim.lower beside it ---- */

static void init_memory(uint64_t last, uint64_t nframes, unsigned kept)
{
    struct pgl_object_config config = paged(last);
    struct pgl_object *other;

    limit = nframes;
    used = 0;
    config.memory_ops = &few_ops;
    config.page_size = FRAME;
    other = pgl_object_new(&config);
    explore_check(other);
    init_with(&config, kept);
    sim.lower = other;
}

/* Four frames: two pages that are wanted have theirs, whichever neighbours are asked for. */
static void init_frames(void)
{
    init_memory(2 * STRIPE - 1, 4, 2);
}

static void init_pair(void)
{
    init_memory(3, 64, 0);
}

static void init_pair_late(void)
{
    init_memory(3, 64, 1);
}

/* A page at a time, so that each thread knows which pages it has asked for. */
static void init_pair_alone(void)
{
    init_pair();
    pgl_object_advise(sim.object, PGL_ADVICE_RANDOM);
    pgl_object_advise(sim.lower, PGL_ADVICE_RANDOM);
}

/* ---- threads ---- */

static void end(enum pgl_fault_result result)
{
    sim.results[explore_self()] = result;
    __atomic_fetch_add(&sim.ended, 1, __ATOMIC_RELEASE);
    act();
}

static void read_of(struct pgl_object *object, uint64_t index)
{
    const struct pgl_fault_args args = {.object = object, .index = index, .access = PGL_ACCESS_READ};

    end(pgl_fault_run(sim.faults[explore_self()], &args, NULL));
}

static void read_left(void)
{
    read_of(sim.object, 5);
}

static void read_right(void)
{
    read_of(sim.object, STRIPE + 5);
}

static void read_other(void)
{
    read_of(sim.lower, 5);
}

static void reply_to_two(void)
{
    for (unsigned n = 0; n < 2; n++) {
        const struct mail *mail = await_mail(n, 2);

        if (mail) {
            answer(&mail->request, mail->data);
        }
    }
}

/* Copy a page of one object to the same page of another. No page is read for one copy and written for another. */
static void copy_between(struct pgl_object *from, struct pgl_object *to, uint64_t index)
{
    const struct pgl_fault_args source = {.object = from, .index = index};
    const struct pgl_fault_args target = {.object = to, .index = index};
    enum pgl_fault_result result;
    uint64_t n = 1;

    result = pgl_fault_copy(sim.faults[explore_self()], &source, &target, &n);
    explore_check(n == (result == PGL_FAULT_SUCCESS));
    end(result);
}

static void copy(void)
{
    copy_between(sim.lower, sim.object, 1);
}

static void copy_back(void)
{
    copy_between(sim.object, sim.lower, 2);
}

/* Zeros over page 1. */
static void clear(void)
{
    const struct pgl_fault_args target = {.object = sim.object, .index = 1};
    uint64_t n = 1;

    explore_check(pgl_fault_copy(sim.faults[explore_self()], NULL, &target, &n) == PGL_FAULT_SUCCESS);
}

/* List pages 1 and 2, and look at them while others remove what they can. */
static void list(void)
{
    const struct pgl_fault_args args = {.object = sim.object, .index = 1, .access = PGL_ACCESS_READ};
    struct pgl_fault_page pages[2];
    enum pgl_fault_result result;
    uint64_t n = 2;

    result = pgl_fault_page_list(sim.faults[explore_self()], &args, pages, &n);
    if (result == PGL_FAULT_SUCCESS) {
        for (unsigned i = 0; i < 2; i++) {
            explore_check(pages[i].object == sim.object && pages[i].index == 1 + i);
            explore_check(pgl_object_resident(sim.object, 1 + i));
            explore_check(*(const unsigned char *)pages[i].frame == 2 + i);
        }
        pgl_fault_page_list_free(pages, n);
    }
    end(result);
}

static void list_and_succeed(void)
{
    list();
    explore_check(sim.results[explore_self()] == PGL_FAULT_SUCCESS);
}

static void remove_all(void)
{
    pgl_object_remove(sim.object, 0, 3);
    pgl_object_remove(sim.lower, 0, 3);
}

static void withhold_and_grant(void)
{
    pgl_pager_withhold(sim.object, (struct pgl_pager_range){0, 3}, PGL_ACCESS_READ);
}

static void interrupt(void)
{
    pgl_fault_interrupt(sim.faults[0]);
}

static void reply(void)
{
    const struct mail *mail = await_mail(0, 1);

    if (mail) {
        answer(&mail->request, mail->data);
    }
}

static void unref(void)
{
    pgl_object_unref(sim.object);
}

static void init_listed(void)
{
    init_pair_alone();
    pgl_object_ref(sim.object);
}

/* ---- what must have come out ---- */

static void final_kept_nothing(void)
{
    for (uint64_t index = 0; index < 4; index++) {
        explore_check(!pgl_object_unwire(sim.object, index));
        explore_check(!pgl_object_unwire(sim.lower, index));
    }
    final();
    explore_check(used == 0);
}

static void final_both_served(void)
{
    explore_check(sim.results[0] == PGL_FAULT_SUCCESS && sim.results[1] == PGL_FAULT_SUCCESS);
    explore_check(used <= limit);
    final();
    explore_check(used == 0);
}

/* Page 1 of both pagers is the same: each copy, and what it was copied over, has the byte 2. */
static void final_copied(void)
{
    const struct pgl_fault_args args = {.object = sim.object, .index = 1, .access = PGL_ACCESS_READ};
    struct pgl_fault_page page;

    sim.kept = 0;
    explore_check(sim.results[0] == PGL_FAULT_SUCCESS);
    explore_check(pgl_fault_run(sim.faults[0], &args, &page) == PGL_FAULT_SUCCESS);
    explore_check(*(const unsigned char *)page.frame == 2);
    final_kept_nothing();
}

static void final_interrupted(void)
{
    explore_check(sim.results[0] == PGL_FAULT_SUCCESS || sim.results[0] == PGL_FAULT_INTERRUPTED);
    final_kept_nothing();
}

const struct explore_scenario range_scenarios[] = {
    {"frames-two",
     "the last frames, of two stripes",
     init_frames,
     {read_left, read_right, reply_to_two},
     final_both_served},
    {"frames-shared",
     "the last frames, of two objects",
     init_frames,
     {read_left, read_other, reply_to_two},
     final_both_served},
    {"copy-remove", "the pages go meanwhile", init_pair, {copy, remove_all}, final_copied},
    {"copy-late", "the source comes late", init_pair_late, {copy, reply, remove_all}, final_copied},
    {"copy-withhold", "access goes meanwhile", init_pair_alone, {copy, withhold_and_grant}, final_copied},
    {"copy-both", "each to the other", init_pair, {copy, copy_back, remove_all}, final_copied},
    {"copy-clear", "a copy and zeros", init_pair_alone, {copy, clear}, final_kept_nothing},
    {"copy-interrupt", "interrupted", init_pair_late, {copy, interrupt, reply}, final_interrupted},
    {"list-remove", "kept pages stay", init_pair, {list_and_succeed, remove_all, remove_all}, final_kept_nothing},
    {"list-late", "they come late", init_pair_late, {list_and_succeed, reply, remove_all}, final_kept_nothing},
    {"list-two",
     "two keep the same pages",
     init_pair_alone,
     {list_and_succeed, list_and_succeed, remove_all},
     final_kept_nothing},
    {"list-unref", "they outlive a reference", init_listed, {list_and_succeed, unref}, final_kept_nothing},
    {"list-interrupt", "interrupted", init_pair_late, {list, interrupt, reply}, final_interrupted},
    {.name = NULL},
};
