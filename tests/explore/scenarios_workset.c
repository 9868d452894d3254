/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Working sets: faults that follow one while it is replaced, clusters over two stripes, and recordings. */
#include <pagelock/workset.h>

#include "fault_world.h"
#include "scenarios.h"

/* Pages LEFT to LEFT + 3 lie on both sides of where a stripe of 1,024 pages ends. */
#define LEFT 1022u

static struct pgl_recording *recording;
static struct pgl_workset *set;

/* An object whose faults bring their page alone, and a set of pages [first, last]. */
static void init_set(uint64_t object_last, uint64_t first, uint64_t last)
{
    struct pgl_object_config config = paged(object_last);
    struct pgl_recording *pages = pgl_recording_new(object_last + 1);

    for (uint64_t page = first; page <= last; page++) {
        pgl_recording_touch(pages, page);
    }
    set = pgl_workset_new(pages, NULL, NULL);
    pgl_recording_free(pages);
    init_with(&config, 0);
    pgl_object_advise(sim.object, PGL_ADVICE_RANDOM);
    pgl_object_set_workset(sim.object, set);
}

static void init_near(void)
{
    init_set(3, 0, 2);
}

static void init_stripes(void)
{
    init_set(LEFT + 3, LEFT, LEFT + 3);
}

static void final_set(void)
{
    pgl_object_set_workset(sim.object, NULL);
    pgl_workset_free(set);
    set = NULL;
    final();
}

static void read_page(uint64_t index)
{
    int me = explore_self();
    const struct pgl_fault_args args = {.object = sim.object, .index = index, .access = PGL_ACCESS_READ};

    explore_check(pgl_fault_run(sim.faults[me], &args, NULL) == PGL_FAULT_SUCCESS);
    sim.results[me] = PGL_FAULT_SUCCESS;
}

static void read_1(void)
{
    read_page(1);
}

static void read_far_left(void)
{
    read_page(LEFT);
}

static void read_right(void)
{
    read_page(LEFT + 2);
}

static void remove_stripes(void)
{
    pgl_object_remove(sim.object, LEFT, LEFT + 3);
}

/* From here on no fault reads it. */
static void drop_set(void)
{
    pgl_object_set_workset(sim.object, NULL);
    pgl_workset_free(set);
    set = NULL;
}

/* The watcher is not called any more once it was replaced. */
static bool watched;

static void note_touch(void *arg, uint64_t index)
{
    (void)arg;
    (void)index;
    explore_check(watched);
}

static void init_watched(void)
{
    init_near();
    watched = true;
    pgl_object_watch(sim.object, note_touch, NULL);
}

static void end_watch(void)
{
    pgl_object_watch(sim.object, NULL, NULL);
    watched = false;
}

static void init_recording(void)
{
    recording = pgl_recording_new(64);
    explore_check(recording);
}

static void touch_1(void)
{
    pgl_recording_touch(recording, 1);
}

static void touch_2(void)
{
    pgl_recording_touch(recording, 2);
}

static void final_recording(void)
{
    explore_check(pgl_recording_count(recording) == 2);
    pgl_recording_free(recording);
}

const struct explore_scenario workset_scenarios[] = {
    {"workset-dropped", "a set is freed while faults follow it", init_near, {read_1, drop_set, read_1}, final_set},
    {"workset-stripes", "a cluster reaches into the next stripe", init_stripes, {read_far_left, read_right}, final_set},
    {"workset-stripes-remove",
     "its pages go meanwhile",
     init_stripes,
     {read_far_left, read_right, remove_stripes},
     final_set},
    {"workset-watch", "a watcher that was replaced is not called", init_watched, {read_1, end_watch}, final_set},
    {"workset-recording", "two touches in one word", init_recording, {touch_1, touch_2, touch_1}, final_recording},
    {.name = NULL},
};
