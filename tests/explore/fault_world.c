/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fault_world.h"

#include <stdlib.h>
#include <string.h>

struct fault_world sim;

/* Every byte of the pager's page i is i + 1. */
static unsigned char bytes[4][FRAME];

void act(void)
{
    __atomic_fetch_add(&sim.activity, 1, __ATOMIC_RELEASE);
}

void supply(const struct pgl_request *request, uint64_t first, uint64_t last)
{
    const void *data = last < 4 ? bytes[first] : NULL; /* a larger object has no memory */

    pgl_pager_supply(request->object, request->id, (struct pgl_pager_range){first, last}, data, sim.access);
}

void offer(uint64_t first, uint64_t last)
{
    pgl_pager_offer(sim.object, (struct pgl_pager_range){first, last}, bytes[first], sim.access);
}

/* The demand page first, then all: the demand page's second answer finds it answered. */
void answer(const struct pgl_request *request, bool data)
{
    if (data) {
        supply(request, request->pager_demand, request->pager_demand);
        supply(request, request->range.first, request->range.last);
    } else {
        pgl_pager_grant(request->object, request->id, request->range, PGL_ACCESS_WRITE);
    }
}

static int take_request(const struct pgl_request *request, bool data)
{
    uintptr_t n = __atomic_fetch_add(&sim.nrequests, 1, __ATOMIC_RELAXED);

    explore_check(n < MAILBOX && request->id != 0);
    explore_check(request->range.first <= request->pager_demand && request->pager_demand <= request->range.last);
    explore_check(!sim.page_1_is_bad || request->pager_demand == 1 || request->range.first > 1 ||
                  request->range.last < 1);
    if (n >= sim.kept) {
        answer(request, data);
        return 0;
    }
    int refusal = sim.refusal;
    sim.mailbox[n].request = *request;
    sim.mailbox[n].data = data;
    __atomic_store_n(&sim.mailbox[n].full, 1, __ATOMIC_RELEASE);
    act();
    return refusal;
}

static int data_request(void *pager, const struct pgl_request *request)
{
    (void)pager;
    return take_request(request, true);
}

static int access_request(void *pager, const struct pgl_request *request)
{
    (void)pager;
    return take_request(request, false);
}

static const struct pgl_pager_ops pager_ops = {.data_request = data_request, .access_request = access_request};

/* The mail number @n once it is there; NULL when @nfaults faults have ended without it. */
const struct mail *await_mail(unsigned int n, uintptr_t nfaults)
{
    for (;;) {
        uintptr_t activity = __atomic_load_n(&sim.activity, __ATOMIC_ACQUIRE);
        if (__atomic_load_n(&sim.mailbox[n].full, __ATOMIC_ACQUIRE)) {
            return &sim.mailbox[n];
        }
        if (__atomic_load_n(&sim.ended, __ATOMIC_ACQUIRE) == nfaults) {
            return NULL;
        }
        if (__atomic_load_n(&sim.activity, __ATOMIC_ACQUIRE) == activity) {
            pgl_explore_wait(&sim.activity);
        }
    }
}

static void *frame_alloc(void *memory)
{
    (void)memory;
    return calloc(1, FRAME);
}

static void frame_free(void *memory, void *frame)
{
    (void)memory;
    free(frame);
}

static uint64_t frame_spare(void *memory)
{
    (void)memory;
    return 64;
}

static void frame_zero(void *memory, void *frame)
{
    (void)memory;
    memset(frame, 0, FRAME);
}

static void frame_copy(void *memory, void *frame, const void *from)
{
    (void)memory;
    memcpy(frame, from, FRAME);
}

const struct pgl_memory_ops memory_ops = {frame_alloc, frame_free, frame_spare, frame_zero, frame_copy};

/* One page each side, so that neighbours meet. */
static const struct pgl_advice_table table = {
    .row = {[PGL_ADVICE_NORMAL] = {1, 1, 0}, [PGL_ADVICE_SEQUENTIAL] = {0, 2, 1}}};

struct pgl_object_config paged(uint64_t last)
{
    return (struct pgl_object_config){
        .last = last,
        .pager_ops = &pager_ops,
        .pager_range = {0, last},
        .advice = PGL_ADVICE_NORMAL,
        .table = &table,
    };
}

void init_with(const struct pgl_object_config *config, unsigned int kept)
{
    memset(&sim, 0, sizeof sim);
    for (int page = 0; page < 4; page++) {
        memset(bytes[page], page + 1, FRAME);
    }
    sim.kept = kept;
    sim.access = PGL_ACCESS_WRITE;
    sim.object = pgl_object_new(config);
    explore_check(sim.object);
    for (int t = 0; t < EXPLORE_THREADS; t++) {
        sim.faults[t] = pgl_fault_new();
        explore_check(sim.faults[t]);
    }
}

static void say(const char *what, void *opaque)
{
    (void)opaque;
    explore_fail("pgl_object_check: %s", what);
}

/* All marks are removed, no fault waits, all credits are back, and every invariant holds. */
static void check_object(struct pgl_object *object)
{
    struct pgl_object_stats stats;

    pgl_object_check(object, say, NULL);
    pgl_object_get_stats(object, &stats);
    explore_check(stats.busy == 0 && stats.outstanding == 0 && stats.waiting == 0);
}

void final(void)
{
    check_object(sim.object);
    if (sim.lower) {
        check_object(sim.lower);
        pgl_object_unref(sim.lower);
    }
    pgl_map_free(sim.map);
    pgl_object_unref(sim.object);
    for (int t = 0; t < EXPLORE_THREADS; t++) {
        pgl_fault_free(sim.faults[t]);
    }
}
