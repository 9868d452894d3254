/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Faults through shadow chains, and through maps that change meanwhile. */
#include <string.h>

#include "probe.h"

#include "../cm.h"

/* Shadow chains */

struct chain {
    struct sim sims[3];
    struct pgl_object *objects[3]; /* top, middle, bottom; the first two have no pager */
};

/* The top object's page i is the middle one's 10 + i, and the bottom one's 110 + i, at its pager 1110 + i. */
static void make_chain(struct chain *chain, bool bottom_has_pager)
{
    memset(chain, 0, sizeof(*chain));
    for (int i = 2; i >= 0; i--) {
        struct pgl_object_config config = sim_config(&chain->sims[i], i == 2 ? 150 : i == 1 ? 60 : 40);

        chain->sims[i].tag = 0xc0 + (unsigned)i;
        chain->sims[i].script = sim_now;
        config.table = &probe_table;
        if (i < 2) {
            config.pager_ops = NULL;
            config.backing = chain->objects[i + 1];
            config.backing_first = i == 0 ? 10 : 100;
        } else {
            config.pager_ops = bottom_has_pager ? &sim_pager_ops : NULL;
            config.pager_range = (struct pgl_pager_range){1000, 1149};
        }
        chain->objects[i] = pgl_object_new(&config);
        assert_non_null(chain->objects[i]);
    }
}

static void free_chain(struct chain *chain)
{
    for (int i = 0; i < 3; i++) {
        assert_at_rest(chain->objects[i]);
        pgl_object_unref(chain->objects[i]);
    }
    for (int i = 0; i < 3; i++) {
        assert_int_equal(chain->sims[i].blocks_used, 0);
        assert_int_equal(chain->sims[i].frames_used, 0);
    }
}

static void test_fault_carries_offsets_down_the_chain(void **state)
{
    struct fixture *f = *state;
    struct chain chain;
    struct pgl_map *map = pgl_map_new(NULL, NULL);
    struct pgl_fault_args args = {.map = map, .index = 7001, .access = PGL_ACCESS_READ};

    make_chain(&chain, true);
    assert_true(pgl_map_enter(map, 7000, 7003, chain.objects[0], 5, PGL_ADVICE_NORMAL)); /* the bottom's 115..118 */
    assert_int_equal(start(&f->a, &args), PGL_FAULT_SUCCESS);
    assert_asked(&chain.sims[2], 1115, 1118, 1116);
    assert_ptr_equal(f->a.page.object, chain.objects[2]);
    assert_int_equal(f->a.page.index, 116);
    assert_true(sim_frame_is(f->a.page.frame, 0xc2, 1116));
    assert_int_equal(f->a.page.access, PGL_ACCESS_READ);
    assert_int_equal(stats_of(chain.objects[0]).resident, 0);
    pgl_map_free(map);
    free_chain(&chain);
}

/* The part of the lower object that the top object shows bounds the cluster there, with an entry or without. */
static void test_fault_in_a_lower_object_stays_inside_what_is_shown(void **state)
{
    struct fixture *f = *state;
    struct chain chain;

    make_chain(&chain, true);
    assert_int_equal(read_page(&f->a, chain.objects[0], 0), PGL_FAULT_SUCCESS);
    assert_asked(&chain.sims[2], 1110, 1114, 1110);
    assert_int_equal(read_page(&f->a, chain.objects[0], 39), PGL_FAULT_SUCCESS);
    assert_asked(&chain.sims[2], 1147, 1149, 1149);
    free_chain(&chain);
}

/* The top object is larger than what the middle one has to show of the bottom one. */
static void test_fault_below_an_object_that_ends_earlier_stays_inside_it(void **state)
{
    struct fixture *f = *state;
    struct sim sim = {.script = sim_now, .tag = 0xbb};
    struct pgl_object_config config = sim_config(&sim, 200);
    struct pgl_object *bottom, *middle;

    config.table = &probe_table;
    bottom = pgl_object_new(&config);
    config.last = 29;
    config.pager_ops = NULL;
    config.backing = bottom;
    config.backing_first = 100;
    middle = pgl_object_new(&config);
    config.last = 99;
    config.backing = middle;
    config.backing_first = 10;
    f->object = pgl_object_new(&config);
    assert_int_equal(read_page(&f->a, f->object, 18), PGL_FAULT_SUCCESS); /* the middle's 28, of 29 */
    assert_asked(&sim, 126, 129, 128);
    assert_int_equal(read_page(&f->a, f->object, 20), PGL_FAULT_SUCCESS); /* it has none to show */
    assert_ptr_equal(f->a.page.object, f->object);
    assert_int_equal(sim.nrequests, 1);
    pgl_object_unref(f->object);
    f->object = NULL;
    pgl_object_unref(middle);
    pgl_object_unref(bottom);
    assert_int_equal(sim.frames_used + sim.blocks_used, 0);
}

static void test_fault_write_copies_a_lower_page_up(void **state)
{
    struct fixture *f = *state;
    struct chain chain;

    make_chain(&chain, true);
    assert_int_equal(write_page(&f->a, chain.objects[0], 6), PGL_FAULT_SUCCESS);
    assert_int_equal(sim_last(&chain.sims[2])->access, PGL_ACCESS_READ); /* the lower page is only read */
    assert_ptr_equal(f->a.page.object, chain.objects[0]);
    assert_int_equal(f->a.page.access, PGL_ACCESS_WRITE);
    assert_true(sim_frame_is(f->a.page.frame, 0xc2, 1116));
    memset(f->a.page.frame, 'w', SIM_PAGE_SIZE);
    assert_int_equal(read_page(&f->b, chain.objects[2], 116), PGL_FAULT_SUCCESS);
    assert_true(sim_frame_is(f->b.page.frame, 0xc2, 1116)); /* and stays as it was */
    assert_int_equal(read_page(&f->b, chain.objects[0], 6), PGL_FAULT_SUCCESS);
    assert_ptr_equal(f->b.page.frame, f->a.page.frame);
    assert_int_equal(stats_of(chain.objects[1]).resident, 0);
    free_chain(&chain);
}

static int give_for_writing(struct sim *sim, const struct pgl_request *request, bool data)
{
    (void)data;
    sim_supply(sim, request, request->range.first, request->range.last, PGL_ACCESS_WRITE);
    return 0;
}

/*
 * The pager lets the lower object's pages be written; but through the upper object they are only read, for a write
 * there goes to a copy. Looking finds it, waiting for it, and asking, and a fault that demands residency.
 */
static void test_fault_page_of_a_lower_object_is_only_to_be_read(void **state)
{
    struct fixture *f = *state;
    struct chain chain;

    make_chain(&chain, true);
    chain.sims[2].script = give_for_writing;
    assert_int_equal(read_page(&f->a, chain.objects[0], 6), PGL_FAULT_SUCCESS); /* asked for */
    assert_ptr_equal(f->a.page.object, chain.objects[2]);
    assert_int_equal(f->a.page.access, PGL_ACCESS_READ);
    for (unsigned level = 0; level < 3; level++) { /* found: through two shadows, one and none */
        static const uint64_t index[] = {7, 17, 117};

        for (unsigned resident = 0; resident < 2; resident++) {
            assert_int_equal(fault_on(&f->a, chain.objects[level], index[level], PGL_ACCESS_READ,
                                      resident ? PGL_FAULT_FLAG_RESIDENT : 0),
                             PGL_FAULT_SUCCESS);
            assert_ptr_equal(f->a.page.object, chain.objects[2]);
            assert_int_equal(f->a.page.index, 117);
            assert_int_equal(f->a.page.access, level < 2 ? PGL_ACCESS_READ : PGL_ACCESS_WRITE);
        }
    }
    chain.sims[2].script = sim_keep;
    assert_int_equal(read_page(&f->a, chain.objects[0], 20), PGL_FAULT_PENDING);
    assert_int_equal(read_page(&f->b, chain.objects[0], 21), PGL_FAULT_PENDING); /* it comes along */
    give_for_writing(&chain.sims[2], sim_last(&chain.sims[2]), true);
    assert_int_equal(go_on(&f->a), PGL_FAULT_SUCCESS);
    assert_int_equal(go_on(&f->b), PGL_FAULT_SUCCESS);
    assert_int_equal(f->a.page.access, PGL_ACCESS_READ);
    assert_int_equal(f->b.page.access, PGL_ACCESS_READ);
    free_chain(&chain);
}

/* The page is resident below; a write would need another one above. */
static void test_fault_that_demands_residency_makes_no_copy(void **state)
{
    struct fixture *f = *state;
    struct chain chain;

    make_chain(&chain, true);
    assert_int_equal(read_page(&f->a, chain.objects[0], 6), PGL_FAULT_SUCCESS);
    assert_int_equal(fault_on(&f->a, chain.objects[0], 6, PGL_ACCESS_READ, PGL_FAULT_FLAG_RESIDENT), PGL_FAULT_SUCCESS);
    assert_ptr_equal(f->a.page.object, chain.objects[2]);
    assert_int_equal(fault_on(&f->a, chain.objects[0], 6, PGL_ACCESS_WRITE, PGL_FAULT_FLAG_RESIDENT),
                     PGL_FAULT_NO_DATA);
    assert_int_equal(stats_of(chain.objects[0]).resident, 0);
    free_chain(&chain);
}

static void test_fault_chain_without_a_pager_ends_in_a_zero_page(void **state)
{
    struct fixture *f = *state;
    struct chain chain;

    make_chain(&chain, false);
    assert_int_equal(read_page(&f->a, chain.objects[0], 6), PGL_FAULT_SUCCESS);
    assert_ptr_equal(f->a.page.object, chain.objects[0]);
    assert_true(sim_frame_is_zero(f->a.page.frame));
    assert_int_equal(write_page(&f->a, chain.objects[2], 6), PGL_FAULT_SUCCESS);
    assert_true(sim_frame_is_zero(f->a.page.frame));
    free_chain(&chain);
}

/* The middle object covers the bottom's last 50 pages only. */
static void test_fault_beyond_the_lower_objects_end_gives_a_zero_page(void **state)
{
    struct fixture *f = *state;
    struct chain chain;

    make_chain(&chain, true);
    assert_int_equal(read_page(&f->a, chain.objects[1], 49), PGL_FAULT_SUCCESS);
    assert_true(sim_frame_is(f->a.page.frame, 0xc2, 1149));
    assert_int_equal(read_page(&f->a, chain.objects[1], 50), PGL_FAULT_SUCCESS);
    assert_true(sim_frame_is_zero(f->a.page.frame));
    free_chain(&chain);
}

static void test_fault_placeholder_holds_others_while_a_lower_object_is_asked(void **state)
{
    struct fixture *f = *state;
    struct chain chain;

    make_chain(&chain, true);
    chain.sims[2].script = sim_keep;
    assert_int_equal(write_page(&f->a, chain.objects[0], 6), PGL_FAULT_PENDING);
    assert_int_equal(stats_of(chain.objects[0]).busy, 1);
    assert_int_equal(stats_of(chain.objects[0]).outstanding, 0); /* a placeholder costs no credit */
    assert_int_equal(read_page(&f->b, chain.objects[0], 6), PGL_FAULT_PENDING);
    assert_int_equal(stats_of(chain.objects[0]).waiting, 1);
    sim_now(&chain.sims[2], sim_last(&chain.sims[2]), true);
    assert_int_equal(f->b.ready, 0);
    assert_int_equal(go_on(&f->a), PGL_FAULT_SUCCESS);
    assert_int_equal(go_on(&f->b), PGL_FAULT_SUCCESS);
    assert_ptr_equal(f->b.page.frame, f->a.page.frame); /* one copy */
    free_chain(&chain);
}

/* Reading a page that is resident below once marked the page above: its readers waited for each other. */
static void test_fault_read_found_below_leaves_the_top_object_alone(void **state)
{
    struct fixture *f = *state;
    struct chain chain;
    uint64_t blocks;

    make_chain(&chain, true);
    assert_int_equal(read_page(&f->a, chain.objects[2], 116), PGL_FAULT_SUCCESS);
    blocks = chain.sims[0].blocks_used;
    assert_int_equal(fault_on(&f->b, chain.objects[0], 6, PGL_ACCESS_READ, PGL_FAULT_FLAG_WIRE), PGL_FAULT_SUCCESS);
    assert_ptr_equal(f->b.page.object, chain.objects[2]);
    assert_ptr_equal(f->b.page.frame, f->a.page.frame);
    assert_int_equal(f->b.page.access, PGL_ACCESS_READ);
    assert_int_equal(chain.sims[0].blocks_used, blocks); /* no record of the page, let alone a mark */
    assert_int_equal(pgl_object_remove(chain.objects[2], 116, 116), 0);
    assert_true(pgl_object_unwire(chain.objects[2], 116));
    free_chain(&chain);
}

static void assert_counted(struct pgl_object *object, uint64_t touches, uint64_t faults)
{
    struct pgl_object_stats stats = stats_of(object);

    assert_int_equal(stats.by_advice[PGL_ADVICE_DEFAULT].touches, touches);
    assert_int_equal(stats.by_advice[PGL_ADVICE_DEFAULT].faults, faults);
}

/* Every touch through a shadow once counted as a fault. */
static void test_fault_counts_what_is_found_below_as_found(void **state)
{
    struct fixture *f = *state;
    struct chain chain;

    make_chain(&chain, true);
    assert_int_equal(read_page(&f->a, chain.objects[0], 6), PGL_FAULT_SUCCESS); /* fetched */
    assert_false(f->a.page.hit);
    assert_counted(chain.objects[0], 1, 1);
    assert_int_equal(read_page(&f->a, chain.objects[0], 6), PGL_FAULT_SUCCESS);
    assert_int_equal(fault_on(&f->b, chain.objects[0], 6, PGL_ACCESS_READ, PGL_FAULT_FLAG_RESIDENT), PGL_FAULT_SUCCESS);
    assert_true(f->a.page.hit && f->b.page.hit);
    assert_counted(chain.objects[0], 3, 1);
    assert_int_equal(fault_on(&f->b, chain.objects[0], 7, PGL_ACCESS_READ, PGL_FAULT_FLAG_RESIDENT), PGL_FAULT_SUCCESS);
    assert_int_equal(fault_on(&f->b, chain.objects[0], 39, PGL_ACCESS_READ, PGL_FAULT_FLAG_RESIDENT),
                     PGL_FAULT_NO_DATA);
    assert_counted(chain.objects[0], 5, 1);
    assert_int_equal(write_page(&f->a, chain.objects[0], 6), PGL_FAULT_SUCCESS); /* copied up */
    assert_false(f->a.page.hit);
    assert_counted(chain.objects[0], 6, 2);
    assert_int_equal(write_page(&f->a, chain.objects[0], 6), PGL_FAULT_SUCCESS);
    assert_true(f->a.page.hit);
    assert_counted(chain.objects[0], 7, 2);
    assert_int_equal(read_page(&f->a, chain.objects[1], 50), PGL_FAULT_SUCCESS); /* made: beyond the bottom's end */
    assert_false(f->a.page.hit);
    assert_counted(chain.objects[1], 1, 1);
    chain.sims[2].script = sim_keep;
    assert_int_equal(read_page(&f->a, chain.objects[0], 30), PGL_FAULT_PENDING);
    assert_int_equal(read_page(&f->b, chain.objects[0], 30), PGL_FAULT_PENDING); /* waits for the first */
    sim_now(&chain.sims[2], sim_last(&chain.sims[2]), true);
    assert_int_equal(go_on(&f->a), PGL_FAULT_SUCCESS);
    assert_int_equal(go_on(&f->b), PGL_FAULT_SUCCESS);
    assert_false(f->a.page.hit || f->b.page.hit);
    assert_counted(chain.objects[0], 9, 4);
    assert_counted(chain.objects[2], 0, 0); /* no thread faulted on it itself */
    pgl_pager_withhold(chain.objects[2], (struct pgl_pager_range){1000, 1149}, PGL_ACCESS_NONE);
    chain.sims[2].script = sim_now;
    assert_int_equal(read_page(&f->a, chain.objects[2], 116), PGL_FAULT_SUCCESS); /* resident, and asked for access */
    assert_false(f->a.page.hit);
    assert_counted(chain.objects[2], 1, 0);
    free_chain(&chain);
}

/* Not to be had by looking: then others wait for it above, whether it is asked for below or only waited for. */
static void test_fault_read_asks_and_waits_below_under_a_placeholder(void **state)
{
    struct fixture *f = *state;
    struct chain chain;

    for (unsigned asked = 0; asked < 2; asked++) {
        struct probe c = {.fault = pgl_fault_new()};

        make_chain(&chain, true);
        chain.sims[2].script = sim_keep;
        if (asked) {
            assert_int_equal(read_page(&c, chain.objects[2], 115), PGL_FAULT_PENDING); /* 116 comes along */
        }
        assert_int_equal(read_page(&f->a, chain.objects[0], 6), PGL_FAULT_PENDING);
        assert_int_equal(stats_of(chain.objects[0]).busy, 1);
        assert_int_equal(read_page(&f->b, chain.objects[0], 6), PGL_FAULT_PENDING);
        assert_int_equal(stats_of(chain.objects[0]).waiting, 1);
        sim_now(&chain.sims[2], sim_last(&chain.sims[2]), true);
        assert_int_equal(f->b.ready, 0);
        assert_int_equal(go_on(&f->a), PGL_FAULT_SUCCESS);
        assert_int_equal(go_on(&f->b), PGL_FAULT_SUCCESS);
        assert_ptr_equal(f->b.page.object, chain.objects[2]);
        assert_int_equal(chain.sims[2].nrequests, 1);
        if (asked) {
            assert_int_equal(go_on(&c), PGL_FAULT_SUCCESS);
        }
        pgl_fault_free(c.fault);
        free_chain(&chain);
    }
}

static void test_fault_failing_below_takes_its_placeholder_back(void **state)
{
    struct fixture *f = *state;
    struct chain chain;

    make_chain(&chain, true);
    chain.sims[2].script = sim_keep;
    assert_int_equal(write_page(&f->a, chain.objects[0], 6), PGL_FAULT_PENDING);
    assert_int_equal(read_page(&f->b, chain.objects[0], 6), PGL_FAULT_PENDING);
    pgl_pager_error(chain.objects[2], sim_last(&chain.sims[2])->id, sim_last(&chain.sims[2])->range);
    assert_int_equal(go_on(&f->a), PGL_FAULT_MEMORY_ERROR);
    assert_int_equal(go_on(&f->b), PGL_FAULT_MEMORY_ERROR);
    assert_at_rest(chain.objects[0]);
    assert_int_equal(write_page(&f->a, chain.objects[0], 6), PGL_FAULT_PENDING);
    assert_int_equal(read_page(&f->b, chain.objects[0], 6), PGL_FAULT_PENDING);
    pgl_fault_interrupt(f->a.fault);
    assert_int_equal(go_on(&f->a), PGL_FAULT_INTERRUPTED);
    chain.sims[2].script = sim_now;
    assert_int_equal(go_on(&f->b), PGL_FAULT_SUCCESS); /* tried itself */
    free_chain(&chain);
}

/* The pager has no data for one fault and an error for the next, before the first goes on to the lower object. */
static void test_fault_placeholder_leaves_a_page_in_error_so(void **state)
{
    struct fixture *f = *state;
    struct sim lower_sim = {.script = sim_keep, .tag = 0xbb};
    struct pgl_object_config lower_config = sim_config(&lower_sim, NPAGES);
    struct pgl_object *lower = pgl_object_new(&lower_config);
    struct pgl_object_config config = config_of(f);

    config.internal = true;
    config.backing = lower;
    f->object = pgl_object_new(&config);
    pgl_object_advise(f->object, PGL_ADVICE_RANDOM);
    f->sim.script = sim_keep;
    assert_int_equal(read_page(&f->a, f->object, 50), PGL_FAULT_PENDING);
    assert_int_equal(pgl_pager_no_data(f->object, sim_last(&f->sim)->id, (struct pgl_pager_range){50, 50}), 1);
    f->sim.script = sim_error;
    assert_int_equal(read_page(&f->b, f->object, 50), PGL_FAULT_MEMORY_ERROR);
    assert_int_equal(go_on(&f->a), PGL_FAULT_PENDING);
    assert_int_equal(stats_of(f->object).busy, 1);
    pgl_fault_interrupt(f->a.fault);
    assert_int_equal(go_on(&f->a), PGL_FAULT_INTERRUPTED);
    pgl_object_advise(f->object, PGL_ADVICE_DEFAULT);
    f->sim.script = sim_keep;
    assert_int_equal(read_page(&f->a, f->object, 48), PGL_FAULT_PENDING);
    assert_asked(&f->sim, 46, 49, 48);
    pgl_fault_interrupt(f->a.fault);
    assert_int_equal(go_on(&f->a), PGL_FAULT_INTERRUPTED);
    assert_at_rest(f->object);
    assert_at_rest(lower);
    pgl_object_unref(f->object);
    f->object = NULL;
    pgl_object_unref(lower);
}

/* Another fault makes the page, it is written, paged out and removed, all before the first fault goes on. */
static void test_fault_asks_again_after_no_data_if_a_page_was_removed_since(void **state)
{
    struct fixture *f = *state;
    struct pgl_object_config config = config_of(f);

    config.internal = true;
    config.advice = PGL_ADVICE_RANDOM;
    f->object = pgl_object_new(&config);
    f->sim.script = sim_keep;
    assert_int_equal(read_page(&f->a, f->object, 50), PGL_FAULT_PENDING);
    assert_int_equal(pgl_pager_no_data(f->object, sim_last(&f->sim)->id, (struct pgl_pager_range){50, 50}), 1);
    f->sim.script = sim_no_data;
    assert_int_equal(write_page(&f->b, f->object, 50), PGL_FAULT_SUCCESS);
    assert_int_equal(pgl_object_remove(f->object, 50, 50), 1);
    f->sim.script = sim_now;
    assert_int_equal(go_on(&f->a), PGL_FAULT_SUCCESS);
    assert_true(sim_frame_is(f->a.page.frame, 0xaa, 50));
    assert_int_equal(f->sim.nrequests, 3);
    assert_at_rest(f->object);
}

/* An internal top object whose pager has part of it, over an external one. */
static void test_fault_no_data_above_looks_below(void **state)
{
    struct fixture *f = *state;
    struct sim lower_sim = {.script = sim_now, .tag = 0xbb};
    struct pgl_object_config lower_config = sim_config(&lower_sim, NPAGES);
    struct pgl_object *lower = pgl_object_new(&lower_config);
    struct pgl_object_config config = config_of(f);

    config.internal = true;
    config.backing = lower;
    config.pager_range = (struct pgl_pager_range){0, 99};
    f->object = pgl_object_new(&config);
    f->sim.script = sim_no_data;
    assert_int_equal(read_page(&f->a, f->object, 50), PGL_FAULT_SUCCESS);
    assert_true(sim_frame_is(f->a.page.frame, 0xbb, 50));
    assert_int_equal(read_page(&f->a, f->object, 150), PGL_FAULT_SUCCESS); /* past the upper pager's range */
    assert_true(sim_frame_is(f->a.page.frame, 0xbb, 150));
    assert_int_equal(f->sim.nrequests, 1);
    f->sim.script = sim_now;
    assert_int_equal(read_page(&f->a, f->object, 50), PGL_FAULT_SUCCESS); /* now the upper pager has it, and hides */
    assert_true(sim_frame_is(f->a.page.frame, 0xaa, 50));
    assert_int_equal(fault_on(&f->a, f->object, 150, PGL_ACCESS_READ, PGL_FAULT_FLAG_RESIDENT), PGL_FAULT_SUCCESS);
    assert_int_equal(fault_on(&f->a, f->object, 250, PGL_ACCESS_READ, PGL_FAULT_FLAG_RESIDENT), PGL_FAULT_NO_DATA);
    assert_at_rest(f->object);
    assert_at_rest(lower);
    pgl_object_unref(f->object);
    f->object = NULL;
    pgl_object_unref(lower);
    assert_int_equal(lower_sim.frames_used + lower_sim.blocks_used, 0);
}

/* Continued faults and changing maps */

struct pending {
    struct fixture *f;
    struct pgl_map *map;
    struct pgl_object *other;
    struct sim other_sim;
};

/* A fault is pending on map page 100, the object's page 100. */
static void make_pending(struct pending *p, struct fixture *f, unsigned flags)
{
    struct pgl_object_config config;
    struct pgl_fault_args args = {.index = 100, .access = PGL_ACCESS_READ, .flags = flags};

    *p = (struct pending){.f = f, .map = pgl_map_new(NULL, NULL), .other_sim = {.script = sim_now, .tag = 0xbb}};
    make_object(f);
    config = sim_config(&p->other_sim, NPAGES);
    p->other = pgl_object_new(&config);
    assert_true(pgl_map_enter(p->map, 0, NPAGES - 1, f->object, 0, PGL_ADVICE_DEFAULT));
    f->sim.script = sim_keep;
    args.map = p->map;
    assert_int_equal(start(&f->a, &args), PGL_FAULT_PENDING);
}

static enum pgl_fault_result end_pending(struct pending *p)
{
    enum pgl_fault_result result;

    sim_now(&p->f->sim, sim_last(&p->f->sim), true);
    result = go_on(&p->f->a);
    assert_at_rest(p->f->object);
    assert_at_rest(p->other);
    pgl_map_free(p->map);
    return result;
}

static void free_pending(struct pending *p)
{
    pgl_object_unref(p->other);
    assert_int_equal(p->other_sim.frames_used + p->other_sim.blocks_used, 0);
}

static void test_fault_pending_finds_its_entry_changed(void **state)
{
    struct fixture *f = *state;
    struct pending p;

    make_pending(&p, f, PGL_FAULT_FLAG_WIRE);
    assert_true(pgl_map_remove(p.map, 50, 150));
    assert_true(pgl_map_enter(p.map, 50, 150, p.other, 7, PGL_ADVICE_DEFAULT));
    assert_int_equal(end_pending(&p), PGL_FAULT_SUCCESS);
    assert_ptr_equal(f->a.page.object, p.other);
    assert_int_equal(f->a.page.index, 57);
    assert_true(sim_frame_is(f->a.page.frame, 0xbb, 57));
    assert_int_equal(stats_of(f->object).by_advice[PGL_ADVICE_DEFAULT].retries, 1);
    assert_false(pgl_object_unwire(f->object, 100)); /* the first page was not left wired */
    assert_true(pgl_object_unwire(p.other, 57));
    free_pending(&p);
}

/* Found in a lower object, which has its wire: it is taken from there. */
static void test_fault_pending_in_a_shadow_leaves_no_wire_below(void **state)
{
    struct fixture *f = *state;
    struct chain chain;
    struct pgl_map *map = pgl_map_new(NULL, NULL);
    struct pgl_fault_args args = {.map = map, .index = 6, .access = PGL_ACCESS_READ, .flags = PGL_FAULT_FLAG_WIRE};

    make_chain(&chain, true);
    make_object(f);
    chain.sims[2].script = sim_keep;
    assert_true(pgl_map_enter(map, 0, 39, chain.objects[0], 0, PGL_ADVICE_DEFAULT));
    assert_int_equal(start(&f->a, &args), PGL_FAULT_PENDING);
    assert_true(pgl_map_remove(map, 0, 39));
    assert_true(pgl_map_enter(map, 0, 39, f->object, 0, PGL_ADVICE_DEFAULT));
    sim_now(&chain.sims[2], sim_last(&chain.sims[2]), true);
    assert_int_equal(go_on(&f->a), PGL_FAULT_SUCCESS);
    assert_ptr_equal(f->a.page.object, f->object);
    assert_true(pgl_object_unwire(f->object, 6));
    for (unsigned i = 0; i < 3; i++) {
        assert_false(pgl_object_unwire(chain.objects[i], i == 0 ? 6 : i == 1 ? 16 : 116));
    }
    assert_int_equal(pgl_object_remove(chain.objects[2], 116, 116), 1);
    pgl_map_free(map);
    free_chain(&chain);
}

/* The same page, of another object. */
static void test_fault_pending_finds_another_object(void **state)
{
    struct fixture *f = *state;
    struct pending p;

    make_pending(&p, f, 0);
    assert_true(pgl_map_remove(p.map, 0, NPAGES - 1));
    assert_true(pgl_map_enter(p.map, 0, NPAGES - 1, p.other, 0, PGL_ADVICE_DEFAULT));
    assert_int_equal(end_pending(&p), PGL_FAULT_SUCCESS);
    assert_ptr_equal(f->a.page.object, p.other);
    assert_true(sim_frame_is(f->a.page.frame, 0xbb, 100));
    free_pending(&p);
}

static void test_fault_pending_finds_its_entry_shifted(void **state)
{
    struct fixture *f = *state;
    struct pending p;

    make_pending(&p, f, 0);
    assert_true(pgl_map_remove(p.map, 0, NPAGES - 1));
    assert_true(pgl_map_enter(p.map, 90, 110, f->object, 93, PGL_ADVICE_DEFAULT));
    assert_int_equal(end_pending(&p), PGL_FAULT_SUCCESS);
    assert_int_equal(f->a.page.index, 103);
    free_pending(&p);
}

static void test_fault_pending_finds_its_entry_gone(void **state)
{
    struct fixture *f = *state;
    struct pending p;

    make_pending(&p, f, 0);
    assert_true(pgl_map_remove(p.map, 100, 100));
    assert_int_equal(end_pending(&p), PGL_FAULT_NO_ENTRY);
    assert_true(pgl_object_resident(f->object, 100)); /* the data is good, but no map shows it */
    free_pending(&p);
}

static void test_fault_pending_does_not_mind_other_changes_of_the_map(void **state)
{
    struct fixture *f = *state;
    struct pending p;

    make_pending(&p, f, 0);
    assert_true(pgl_map_advise(p.map, 95, 105, PGL_ADVICE_RANDOM));
    assert_true(pgl_map_remove(p.map, 0, 50));
    assert_int_equal(end_pending(&p), PGL_FAULT_SUCCESS);
    assert_int_equal(f->a.page.index, 100);
    assert_int_equal(stats_of(f->object).by_advice[PGL_ADVICE_DEFAULT].retries, 0);
    free_pending(&p);
}

/* The map may forget the object altogether while a fault on it is pending. */
static void test_fault_pending_keeps_its_object_alive(void **state)
{
    struct fixture *f = *state;
    struct pending p;
    struct pgl_object *object;

    make_pending(&p, f, 0);
    object = f->object;
    f->object = NULL;
    assert_true(pgl_map_remove(p.map, 0, NPAGES - 1));
    pgl_object_unref(object); /* the fault's reference is the last */
    pgl_object_ref(object);   /* as a pager has to for its replies */
    sim_now(&f->sim, sim_last(&f->sim), true);
    assert_int_equal(go_on(&f->a), PGL_FAULT_NO_ENTRY);
    assert_at_rest(object);
    assert_int_equal(f->sim.nreleased, 0);
    pgl_object_unref(object);
    assert_int_equal(f->sim.nreleased, 1); /* the pager may go too */
    assert_int_equal(f->sim.frames_used, 0);
    pgl_map_free(p.map);
    free_pending(&p);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_fault_carries_offsets_down_the_chain),
        TEST(test_fault_in_a_lower_object_stays_inside_what_is_shown),
        TEST(test_fault_below_an_object_that_ends_earlier_stays_inside_it),
        TEST(test_fault_write_copies_a_lower_page_up),
        TEST(test_fault_page_of_a_lower_object_is_only_to_be_read),
        TEST(test_fault_that_demands_residency_makes_no_copy),
        TEST(test_fault_chain_without_a_pager_ends_in_a_zero_page),
        TEST(test_fault_beyond_the_lower_objects_end_gives_a_zero_page),
        TEST(test_fault_placeholder_holds_others_while_a_lower_object_is_asked),
        TEST(test_fault_read_found_below_leaves_the_top_object_alone),
        TEST(test_fault_counts_what_is_found_below_as_found),
        TEST(test_fault_read_asks_and_waits_below_under_a_placeholder),
        TEST(test_fault_failing_below_takes_its_placeholder_back),
        TEST(test_fault_placeholder_leaves_a_page_in_error_so),
        TEST(test_fault_asks_again_after_no_data_if_a_page_was_removed_since),
        TEST(test_fault_no_data_above_looks_below),
        TEST(test_fault_pending_finds_its_entry_changed),
        TEST(test_fault_pending_in_a_shadow_leaves_no_wire_below),
        TEST(test_fault_pending_finds_another_object),
        TEST(test_fault_pending_finds_its_entry_shifted),
        TEST(test_fault_pending_finds_its_entry_gone),
        TEST(test_fault_pending_does_not_mind_other_changes_of_the_map),
        TEST(test_fault_pending_keeps_its_object_alive),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
