/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Many faults on one object: the locks of its shards, credits that are handed on, and faults that take no lock.
 */
#include <string.h>

#include "fault_world.h"
#include "scenarios.h"

/* Pages LEFT to LEFT + 3 lie on both sides of where a stripe of 1,024 pages ends. */
#define LEFT 1022u

/* ---- frames that are never used twice, so that a thread may look at one when its page is gone ---- */

static unsigned char frames[16][FRAME];
static unsigned nframes;

static void *fresh_alloc(void *memory)
{
    (void)memory;
    explore_check(nframes < 16);
    return frames[nframes++];
}

static void fresh_free(void *memory, void *frame)
{
    (void)memory;
    (void)frame;
}

static uint64_t fresh_spare(void *memory)
{
    (void)memory;
    return 0;
}

static void fresh_zero(void *memory, void *frame)
{
    (void)memory;
    memset(frame, 0, FRAME);
}

static void fresh_copy(void *memory, void *frame, const void *from)
{
    (void)memory;
    memcpy(frame, from, FRAME);
}

static const struct pgl_memory_ops fresh_ops = {fresh_alloc, fresh_free, fresh_spare, fresh_zero, fresh_copy};

/* ---- beginnings ---- */

static void fetch(uint64_t index)
{
    const struct pgl_fault_args args = {.object = sim.object, .index = index, .access = PGL_ACCESS_READ};

    explore_check(pgl_fault_run(sim.faults[3], &args, NULL) == PGL_FAULT_SUCCESS);
}

/* An object of four pages with frames of its own, none of which is taken yet. */
static struct pgl_object_config with_frames(void)
{
    struct pgl_object_config config = paged(3);

    nframes = 0;
    memset(frames, 0, sizeof(frames));
    config.memory_ops = &fresh_ops;
    config.page_size = FRAME;
    return config;
}

/* Page 1 is there. */
static void init_hit(void)
{
    struct pgl_object_config config = with_frames();

    config.internal = true; /* its frame is in place while the page is on its way */
    init_with(&config, 0);
    sim.checks_bytes = true;
    fetch(1);
    sim.nrequests = 0;
}

/* One credit; the pager answers at once. */
static void init_one_credit(void)
{
    struct pgl_object_config config = paged(3);

    config.credits = 1;
    init_with(&config, 0);
}

/* Two stripes. */
static void init_stripes_with(uint64_t credits, unsigned kept)
{
    struct pgl_object_config config = paged(LEFT + 3);

    config.credits = credits;
    init_with(&config, kept);
}

static void init_stripes(void)
{
    init_stripes_with(0, 0);
}

/* The window is one page on each side; the advisor looks further. */
static void init_stripes_adaptive(void)
{
    static const struct pgl_advice_table table = {.row = {[PGL_ADVICE_ADAPTIVE] = {1, 1, 0}}};

    init_stripes();
    pgl_object_set_table(sim.object, &table);
    pgl_object_advise(sim.object, PGL_ADVICE_ADAPTIVE);
}

/* Pages at both ends; their neighbours are there already. Two credits, of which each fault reserves both at first. */
static void init_surplus(void)
{
    init_stripes_with(2, 1);
    sim.kept = 0;
    pgl_object_advise(sim.object, PGL_ADVICE_RANDOM);
    fetch(0);
    fetch(2);
    fetch(LEFT + 2);
    pgl_object_advise(sim.object, PGL_ADVICE_NORMAL);
    sim.nrequests = 0;
    sim.kept = 1;
}

/* ---- threads ---- */

static void read_page(uint64_t index)
{
    int me = explore_self();
    const struct pgl_fault_args args = {.object = sim.object, .index = index, .access = PGL_ACCESS_READ};
    struct pgl_fault_page page;

    sim.results[me] = pgl_fault_run(sim.faults[me], &args, &page);
    explore_check(sim.results[me] == PGL_FAULT_SUCCESS && page.index == index);
    if (sim.checks_bytes) {
        explore_check(page.frame && *(const unsigned char *)page.frame == index + 1);
    }
    __atomic_fetch_add(&sim.ended, 1, __ATOMIC_RELEASE);
    act();
}

static void read_1(void)
{
    read_page(1);
}

static void read_2(void)
{
    read_page(2);
}

static void read_3(void)
{
    read_page(3);
}

static void remove_and_read_1(void)
{
    explore_check(pgl_object_remove(sim.object, 1, 1) == 1);
    read_page(1);
}

static void remove_1_and_read_1(void)
{
    pgl_object_remove(sim.object, 1, 1);
    read_page(1);
}

static void read_far_left(void)
{
    read_page(LEFT);
}

static void read_left(void)
{
    read_page(LEFT + 1);
}

static void read_right(void)
{
    read_page(LEFT + 2);
}

static void read_far_right(void)
{
    read_page(LEFT + 3);
}

static void remove_stripes(void)
{
    pgl_object_remove(sim.object, LEFT, LEFT + 3);
}

/* Two requests are kept, of pages of which the window of each has no other. */
static void init_offer(void)
{
    struct pgl_object_config config = with_frames();

    config.credits = 2;
    init_with(&config, 2);
    sim.checks_bytes = true;
    pgl_object_advise(sim.object, PGL_ADVICE_RANDOM);
}

/* Everything comes at once, whether or not it was asked for; then the requests are answered. */
static void offer_all(void)
{
    offer(0, 3);
    for (unsigned i = 0; i < 2; i++) {
        const struct mail *mail = await_mail(i, 2);

        if (mail) {
            answer(&mail->request, mail->data);
        }
    }
}

/* The request that was kept is answered when the other fault has ended. */
static void reply_after_one(void)
{
    const struct mail *mail;

    for (;;) {
        uintptr_t activity = __atomic_load_n(&sim.activity, __ATOMIC_ACQUIRE);

        if (__atomic_load_n(&sim.ended, __ATOMIC_ACQUIRE) == 1) {
            break;
        }
        if (__atomic_load_n(&sim.activity, __ATOMIC_ACQUIRE) == activity) {
            pgl_explore_wait(&sim.activity);
        }
    }
    mail = await_mail(0, 2);
    explore_check(mail);
    answer(&mail->request, mail->data);
}

const struct explore_scenario object_scenarios[] = {
    {"object-hit", "without a lock, or gone, or fetched again", init_hit, {read_1, remove_and_read_1}, final},
    {"object-credit-three", "one credit serves three", init_one_credit, {read_1, read_2, read_3}, final},
    {"object-credit-unneeded", "a credit is handed on", init_one_credit, {read_1, read_1, read_3}, final},
    {"object-credit-surplus",
     "a credit reserved for a neighbour is handed on",
     init_surplus,
     {read_1, read_far_right, reply_after_one},
     final},
    {"object-offer", "pages come asked or not", init_offer, {read_1, read_3, offer_all}, final},
    {"object-offer-removed", "and go", init_offer, {read_1, remove_1_and_read_1, offer_all}, final},
    {"object-stripes", "clusters that reach into each other's stripe", init_stripes, {read_left, read_right}, final},
    {"object-stripes-remove",
     "pages of two stripes go meanwhile",
     init_stripes,
     {read_left, read_right, remove_stripes},
     final},
    {"object-stripes-adaptive",
     "the advisor looks into the next stripe",
     init_stripes_adaptive,
     {read_far_left, read_right},
     final},
    {.name = NULL},
};
