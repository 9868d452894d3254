/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Faults, and everything that may happen to the objects and the map meanwhile. */
#include "fault.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>

#include "fault_world.h"

static struct pgl_fault_args any_fault(struct worker *w, const struct world *world)
{
    struct pgl_fault_args args = {
        .map = world->map,
        .index = below(w, 2) * TOP + below(w, NPAGES),
        .access = below(w, 3) ? PGL_ACCESS_READ : PGL_ACCESS_WRITE,
        .flags = PGL_FAULT_FLAG_WIRE,
        .cookie = w->fault,
    };

    if (below(w, 4)) {
        args.flags =
            (unsigned)below(w, 16) & (PGL_FAULT_FLAG_RESIDENT | PGL_FAULT_FLAG_NO_WAIT | PGL_FAULT_FLAG_RETRIED);
    }
    if (below(w, 8) == 0) {
        args.map = NULL;
        args.object = args.index < TOP ? world->low : world->top;
        args.index = FIRST + args.index % TOP;
    }
    return args;
}

/* A wired page stays: compare its bytes, wherever in the chain it was found. */
static void note(const struct world *world, const struct pgl_fault_args *args, const struct pgl_fault_page *page,
                 enum pgl_fault_result result)
{
    fault_count_result(result);
    if (result == PGL_FAULT_PENDING) {
        soak_broken("a fault that ended is pending");
    }
    if (result != PGL_FAULT_SUCCESS || !(args->flags & PGL_FAULT_FLAG_WIRE)) {
        return;
    }
    if (!sim_frame_is(page->frame, world->sim.tag, page->index) &&
        !(page->object == world->top && sim_frame_is(page->frame, world->sim.tag, page->index + SHIFT))) {
        soak_broken("page %" PRIu64 " holds other bytes", page->index);
    }
    if (!pgl_object_unwire(page->object, page->index)) {
        soak_broken("page %" PRIu64 " was not wired", page->index);
    }
}

void fault_run(struct worker *w)
{
    struct world *world = fault_enter_world();
    struct pgl_fault_args args = any_fault(w, world);
    struct pgl_fault_page page;

    note(world, &args, &page, pgl_fault_run(w->fault, &args, &page));
    fault_leave_world(world);
}

static void post(void *arg)
{
    sem_post(arg);
}

void fault_continued(struct worker *w)
{
    struct world *world = fault_enter_world();
    struct pgl_fault_args args = any_fault(w, world);
    struct pgl_fault_page page;
    enum pgl_fault_result result = pgl_fault_start(w->fault, &args, &page, post, &w->ready);

    while (result == PGL_FAULT_PENDING) {
        while (sem_wait(&w->ready) != 0) {
        }
        result = pgl_fault_continue(w->fault, &page);
    }
    note(world, &args, &page, result);
    fault_leave_world(world);
}

void fault_interrupt(struct worker *w)
{
    pgl_fault_interrupt(soak_worker[below(w, soak_workers)].fault);
}

static struct pgl_object *either(struct worker *w, const struct world *world)
{
    return below(w, 2) ? world->low : world->top;
}

void fault_remove(struct worker *w)
{
    struct world *world = fault_enter_world();
    uint64_t first = below(w, NPAGES);

    pgl_object_remove(either(w, world), FIRST + first, FIRST + first + below(w, NPAGES - first));
    fault_leave_world(world);
}

void fault_withhold(struct worker *w)
{
    struct world *world = fault_enter_world();
    uint64_t first = below(w, NPAGES);
    struct pgl_pager_range range = {FIRST + first, FIRST + first + below(w, NPAGES - first)};

    pgl_pager_withhold(world->low, range, below(w, 2) ? PGL_ACCESS_NONE : PGL_ACCESS_READ);
    fault_leave_world(world);
}

void fault_advise(struct worker *w)
{
    static const struct pgl_advice_table narrow = {{{3, 4, 0}, {0, 0, 0}, {6, 6, 0}, {0, 15, 8}}};
    struct world *world = fault_enter_world();
    uint64_t first = below(w, NPAGES);
    enum pgl_advice advice = (enum pgl_advice)below(w, PGL_ADVICE_COUNT);

    pgl_map_advise(world->map, first, first + below(w, NPAGES - first), advice);
    pgl_object_advise(either(w, world), (enum pgl_advice)below(w, PGL_ADVICE_COUNT));
    pgl_object_set_table(either(w, world), below(w, 2) ? &narrow : NULL);
    fault_leave_world(world);
}

void fault_remap(struct worker *w)
{
    struct world *world = fault_enter_world();
    uint64_t first = below(w, NPAGES), last = first + below(w, NPAGES - first);

    if (pthread_mutex_trylock(&world->remap) == 0) {
        if (!pgl_map_remove(world->map, TOP + first, TOP + last)) {
            soak_broken("no removing from a map: errno %d", errno);
        }
        sched_yield();
        if (!pgl_map_enter(world->map, TOP + first, TOP + last, world->top, FIRST + first, PGL_ADVICE_DEFAULT)) {
            soak_broken("no entering into a map: errno %d", errno);
        }
        pthread_mutex_unlock(&world->remap);
    }
    fault_leave_world(world);
}

void fault_check(struct worker *w)
{
    struct world *world = fault_enter_world();
    struct pgl_object *object = either(w, world);
    struct pgl_object_stats stats;

    fault_check_object(object);
    pgl_object_get_stats(object, &stats);
    if (stats.outstanding > stats.busy + stats.resident) {
        soak_broken("more credits in use than pages");
    }
    fault_leave_world(world);
}

void fault_teardown(struct worker *w)
{
    (void)w;
    fault_change_world();
}
