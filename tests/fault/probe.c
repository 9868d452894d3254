/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "probe.h"

#include "../cm.h"

/* before, after, behind */
const struct pgl_advice_table probe_table = {{
    [PGL_ADVICE_DEFAULT] = {2, 4, 0},
    [PGL_ADVICE_RANDOM] = {0, 0, 0},
    [PGL_ADVICE_NORMAL] = {3, 3, 0},
    [PGL_ADVICE_SEQUENTIAL] = {0, 7, 8},
}};

static void on_ready(void *arg)
{
    struct probe *probe = arg;

    probe->ready++;
}

int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    f->sim.script = sim_now;
    f->sim.tag = 0xaa;
    f->a.fault = pgl_fault_new();
    f->b.fault = pgl_fault_new();
    *state = f;
    return 0;
}

int tear_down(void **state)
{
    struct fixture *f = *state;
    bool leaked;

    pgl_fault_free(f->a.fault);
    pgl_fault_free(f->b.fault);
    pgl_object_unref(f->object);
    leaked = f->sim.blocks_used != 0 || f->sim.frames_used != 0;
    free(f);
    return leaked;
}

struct pgl_object_config config_of(struct fixture *f)
{
    struct pgl_object_config config = sim_config(&f->sim, NPAGES);

    config.table = &probe_table;
    return config;
}

void make_object(struct fixture *f)
{
    struct pgl_object_config config = config_of(f);

    f->object = pgl_object_new(&config);
    assert_non_null(f->object);
}

struct pgl_object *make_shadow(struct fixture *f, uint64_t first)
{
    struct pgl_object_config config = config_of(f);

    make_object(f);
    config.last -= first;
    config.pager_ops = NULL;
    config.backing = f->object;
    config.backing_first = first;
    return pgl_object_new(&config);
}

enum pgl_fault_result start(struct probe *probe, const struct pgl_fault_args *args)
{
    enum pgl_fault_result result;

    probe->ready = 0;
    result = pgl_fault_start(probe->fault, args, &probe->page, on_ready, probe);
    assert_true(probe->ready <= (result == PGL_FAULT_PENDING));
    return result;
}

enum pgl_fault_result fault_on(struct probe *probe, struct pgl_object *object, uint64_t index, enum pgl_access access,
                               unsigned flags)
{
    const struct pgl_fault_args args = {
        .object = object, .index = index, .access = access, .flags = flags, .cookie = probe->fault};

    return start(probe, &args);
}

enum pgl_fault_result read_page(struct probe *probe, struct pgl_object *object, uint64_t index)
{
    return fault_on(probe, object, index, PGL_ACCESS_READ, 0);
}

enum pgl_fault_result write_page(struct probe *probe, struct pgl_object *object, uint64_t index)
{
    return fault_on(probe, object, index, PGL_ACCESS_WRITE, 0);
}

enum pgl_fault_result go_on(struct probe *probe)
{
    enum pgl_fault_result result;

    assert_int_equal(probe->ready, 1);
    probe->ready = 0;
    result = pgl_fault_continue(probe->fault, &probe->page);
    assert_true(probe->ready <= (result == PGL_FAULT_PENDING));
    return result;
}

struct pgl_object_stats stats_of(struct pgl_object *object)
{
    struct pgl_object_stats stats;

    assert_int_equal(pgl_object_check(object, sim_say, NULL), 0);
    pgl_object_get_stats(object, &stats);
    return stats;
}

void assert_at_rest(struct pgl_object *object)
{
    struct pgl_object_stats stats = stats_of(object);

    assert_int_equal(stats.busy, 0);
    assert_int_equal(stats.outstanding, 0);
    assert_int_equal(stats.waiting, 0);
}

void assert_asked(const struct sim *sim, uint64_t first, uint64_t last, uint64_t demand)
{
    const struct pgl_request *request = sim_last(sim);

    assert_int_equal(request->range.first, first);
    assert_int_equal(request->range.last, last);
    assert_int_equal(request->pager_demand, demand);
}

void make_object_with_credits(struct fixture *f, uint64_t credits)
{
    struct pgl_object_config config = config_of(f);

    config.credits = credits;
    f->object = pgl_object_new(&config);
    f->sim.script = sim_keep;
}
