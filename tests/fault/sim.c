/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sim.h"

#include <stdio.h>
#include <string.h>

void sim_say(const char *what, void *opaque)
{
    (void)opaque;
    fprintf(stderr, "pgl_object_check: %s\n", what);
}

static bool sim_inject(struct sim *sim, enum sim_hook hook)
{
    struct sim_injector *injector = sim->injector;

    if (!injector || ++injector->calls != injector->at) {
        return false;
    }
    injector->fired = hook;
    return true;
}

/* Before each block its size, and behind it bytes that must not be written. */
enum { HEAP_HEADER = 16, HEAP_GUARD = 64 };

static void *sim_heap_alloc(void *heap, size_t size)
{
    struct sim *sim = heap;
    char *block = sim_inject(sim, SIM_HEAP) ? NULL : calloc(1, HEAP_HEADER + size + HEAP_GUARD);

    if (!block) {
        return NULL;
    }
    memcpy(block, &size, sizeof(size));
    memset(block + HEAP_HEADER + size, 0xa5, HEAP_GUARD);
    __atomic_fetch_add(&sim->blocks_used, 1, __ATOMIC_RELAXED);
    return block + HEAP_HEADER;
}

static void sim_heap_free(void *heap, void *data)
{
    struct sim *sim = heap;
    char *block = (char *)data - HEAP_HEADER;
    size_t size;

    memcpy(&size, block, sizeof(size));
    for (size_t i = 0; i < HEAP_GUARD; i++) {
        if ((unsigned char)block[HEAP_HEADER + size + i] != 0xa5) {
            fprintf(stderr, "byte %zu behind a block of %zu was written\n", i, size);
            abort();
        }
    }
    __atomic_fetch_sub(&sim->blocks_used, 1, __ATOMIC_RELAXED);
    free(block);
}

const struct pgl_heap_ops sim_heap_ops = {sim_heap_alloc, sim_heap_free};

static void *sim_frame_alloc(void *memory)
{
    struct sim *sim = memory;
    void *frame;

    if (sim_inject(sim, SIM_FRAME)) {
        return NULL;
    }
    if (__atomic_add_fetch(&sim->frames_used, 1, __ATOMIC_RELAXED) > sim->nframes && sim->nframes > 0) {
        __atomic_fetch_sub(&sim->frames_used, 1, __ATOMIC_RELAXED);
        return NULL;
    }
    frame = malloc(SIM_PAGE_SIZE);
    memset(frame, 0xee, SIM_PAGE_SIZE);
    return frame;
}

static void sim_frame_free(void *memory, void *frame)
{
    struct sim *sim = memory;

    __atomic_fetch_sub(&sim->frames_used, 1, __ATOMIC_RELAXED);
    free(frame);
}

static uint64_t sim_spare(void *memory)
{
    struct sim *sim = memory;
    uint64_t taken = __atomic_load_n(&sim->frames_used, __ATOMIC_RELAXED) + sim->reserve;

    return sim->nframes == 0 ? UINT64_MAX : sim->nframes > taken ? sim->nframes - taken : 0;
}

static void sim_zero(void *memory, void *frame)
{
    (void)memory;
    memset(frame, 0, SIM_PAGE_SIZE);
}

static void sim_copy(void *memory, void *frame, const void *from)
{
    (void)memory;
    memcpy(frame, from, SIM_PAGE_SIZE);
}

const struct pgl_memory_ops sim_memory_ops = {sim_frame_alloc, sim_frame_free, sim_spare, sim_zero, sim_copy};

static int sim_ask(struct sim *sim, const struct pgl_request *request, bool data)
{
    sim->log[(sim->nrequests + sim->nunlocks) % SIM_LOG] = *request;
    sim->nunlocks += !data;
    __atomic_fetch_add(&sim->nrequests, data, __ATOMIC_RELEASE); /* pairs with a test's acquire: the log is written */
    if (sim->injector && sim->injector->before) {
        sim->injector->before(sim->injector->arg, request);
    }
    if (sim_inject(sim, SIM_REQUEST)) {
        return sim->injector->error != 0 ? sim->injector->error : sim->injector->fail(sim, request, data);
    }
    return sim->script(sim, request, data);
}

static int sim_data_request(void *pager, const struct pgl_request *request)
{
    return sim_ask(pager, request, true);
}

static int sim_access_request(void *pager, const struct pgl_request *request)
{
    return sim_ask(pager, request, false);
}

static void sim_behind(void *pager, struct pgl_object *object, struct pgl_pager_range range)
{
    struct sim *sim = pager;

    (void)object;
    sim->nbehind++;
    sim->behind = range;
}

static void sim_release(void *pager)
{
    struct sim *sim = pager;

    sim->nreleased++;
}

const struct pgl_pager_ops sim_pager_ops = {sim_data_request, sim_access_request, sim_behind, sim_release};

struct pgl_object_config sim_config(struct sim *sim, uint64_t npages)
{
    return (struct pgl_object_config){
        .last = npages - 1,
        .pager_ops = &sim_pager_ops,
        .pager = sim,
        .pager_range = {0, npages - 1},
        .memory_ops = &sim_memory_ops,
        .memory = sim,
        .page_size = SIM_PAGE_SIZE,
        .heap_ops = &sim_heap_ops,
        .heap = sim,
    };
}

const struct pgl_request *sim_last(const struct sim *sim)
{
    return &sim->log[(sim->nrequests + sim->nunlocks - 1) % SIM_LOG];
}

static void write_page(unsigned char *page, uint64_t tag, uint64_t pager_index)
{
    memcpy(page, &tag, 8);
    memcpy(page + 8, &pager_index, 8);
}

/* The bytes of some pages, to be freed. */
static unsigned char *pages_of(const struct sim *sim, uint64_t first, uint64_t last)
{
    unsigned char *pages = malloc((last - first + 1) * SIM_PAGE_SIZE);

    for (uint64_t i = 0; i <= last - first; i++) {
        write_page(pages + i * SIM_PAGE_SIZE, sim->tag, first + i);
    }
    return pages;
}

uint64_t sim_supply(struct sim *sim, const struct pgl_request *request, uint64_t first, uint64_t last,
                    enum pgl_access access)
{
    struct pgl_pager_range range = {first, last};
    unsigned char *pages = pages_of(sim, first, last);
    uint64_t taken = pgl_pager_supply(request->object, request->id, range, pages, access);

    free(pages);
    return taken;
}

uint64_t sim_offer(struct sim *sim, struct pgl_object *object, uint64_t first, uint64_t last, enum pgl_access access)
{
    unsigned char *pages = pages_of(sim, first, last);
    uint64_t taken = pgl_pager_offer(object, (struct pgl_pager_range){first, last}, pages, access);

    free(pages);
    return taken;
}

int sim_now(struct sim *sim, const struct pgl_request *request, bool data)
{
    uint64_t demand = request->pager_demand;
    struct pgl_pager_range page = {demand, demand};

    if (!data) {
        pgl_pager_grant(request->object, request->id, page, request->access);
        pgl_pager_grant(request->object, request->id, request->range, request->neighbour_access);
        return 0;
    }
    sim_supply(sim, request, demand, demand, request->access);
    if (request->range.first < demand) {
        sim_supply(sim, request, request->range.first, demand - 1, PGL_ACCESS_READ);
    }
    if (request->range.last > demand) {
        sim_supply(sim, request, demand + 1, request->range.last, PGL_ACCESS_READ);
    }
    return 0;
}

int sim_keep(struct sim *sim, const struct pgl_request *request, bool data)
{
    (void)sim;
    (void)request;
    (void)data;
    return 0;
}

int sim_refuse(struct sim *sim, const struct pgl_request *request, bool data)
{
    (void)request;
    (void)data;
    return sim->refusal;
}

int sim_no_data(struct sim *sim, const struct pgl_request *request, bool data)
{
    (void)sim;
    (void)data;
    pgl_pager_no_data(request->object, request->id, request->range);
    return 0;
}

int sim_error(struct sim *sim, const struct pgl_request *request, bool data)
{
    (void)sim;
    (void)data;
    pgl_pager_error(request->object, request->id, request->range);
    return 0;
}

bool sim_frame_is(const void *frame, uint64_t tag, uint64_t pager_index)
{
    unsigned char page[SIM_PAGE_SIZE];

    write_page(page, tag, pager_index);
    return memcmp(frame, page, SIM_PAGE_SIZE) == 0;
}

bool sim_frame_is_zero(const void *frame)
{
    static const unsigned char zeros[SIM_PAGE_SIZE];

    return memcmp(frame, zeros, SIM_PAGE_SIZE) == 0;
}
