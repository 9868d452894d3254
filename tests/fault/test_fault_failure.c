/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Faults that fail: one claim a test, and then every step of a fault, every way. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "probe.h"

#include "../cm.h"

/* Failure */

static void test_fault_error_reaches_every_waiter(void **state)
{
    struct fixture *f = *state;

    make_object(f);
    f->sim.script = sim_keep;
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_PENDING);
    assert_int_equal(write_page(&f->b, f->object, 100), PGL_FAULT_PENDING);
    assert_int_equal(pgl_pager_error(f->object, sim_last(&f->sim)->id, sim_last(&f->sim)->range), 7);
    assert_int_equal(go_on(&f->a), PGL_FAULT_MEMORY_ERROR);
    assert_int_equal(go_on(&f->b), PGL_FAULT_MEMORY_ERROR);
    assert_at_rest(f->object);
}

/* The demand page fails: a fault that waits for a neighbour asks for it itself, and gets no other page's error. */
static void test_fault_error_of_one_page_is_not_its_neighbours(void **state)
{
    struct fixture *f = *state;
    struct pgl_request first;

    make_object(f);
    f->sim.script = sim_keep;
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_PENDING);
    first = *sim_last(&f->sim);
    assert_int_equal(read_page(&f->b, f->object, 101), PGL_FAULT_PENDING);
    assert_int_equal(pgl_pager_error(f->object, first.id, (struct pgl_pager_range){100, 100}), 1);
    assert_int_equal(go_on(&f->a), PGL_FAULT_MEMORY_ERROR);
    assert_int_equal(go_on(&f->b), PGL_FAULT_PENDING);
    assert_asked(&f->sim, 101, 105, 101); /* page 100 is in error, and not asked for again */
    assert_int_equal(sim_supply(&f->sim, &first, 98, 104, PGL_ACCESS_READ), 0); /* rolled back: aliens */
    sim_supply(&f->sim, sim_last(&f->sim), 101, 105, PGL_ACCESS_READ);
    assert_int_equal(go_on(&f->b), PGL_FAULT_SUCCESS);
    assert_at_rest(f->object);
}

static void test_fault_on_a_page_in_error_asks_for_it_alone(void **state)
{
    struct fixture *f = *state;

    make_object(f);
    f->sim.script = sim_error;
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_MEMORY_ERROR);
    f->sim.script = sim_now;
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_SUCCESS);
    assert_asked(&f->sim, 100, 100, 100);
    assert_int_equal(read_page(&f->a, f->object, 96), PGL_FAULT_SUCCESS);
    assert_asked(&f->sim, 94, 97, 96);
    assert_at_rest(f->object);
}

/* A fault on page 96 asks for pages up to 100, or only as far as the page in error before it. */
static void assert_page_100_speculated(struct fixture *f, bool speculated)
{
    f->sim.script = sim_keep;
    assert_int_equal(read_page(&f->b, f->object, 96), PGL_FAULT_PENDING);
    assert_asked(&f->sim, 94, speculated ? 100 : 99, 96);
    pgl_fault_interrupt(f->b.fault);
    assert_int_equal(go_on(&f->b), PGL_FAULT_INTERRUPTED);
    assert_at_rest(f->object);
}

/* It alone is in error. */
static void fail_page_100(struct fixture *f)
{
    f->sim.script = sim_keep;
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_PENDING);
    assert_int_equal(pgl_pager_error(f->object, sim_last(&f->sim)->id, (struct pgl_pager_range){100, 100}), 1);
    assert_int_equal(go_on(&f->a), PGL_FAULT_MEMORY_ERROR);
    assert_page_100_speculated(f, false);
}

/* A later fault on it marks it and takes its mark back, in whatever way: it is in error as before. */
static void test_fault_page_in_error_stays_so_until_it_is_brought(void **state)
{
    struct fixture *f = *state;
    static const int errors[] = {EAGAIN, EINTR, ENOMEM, EIO};

    make_object(f);
    assert_page_100_speculated(f, true);
    fail_page_100(f);
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        f->sim.script = sim_refuse;
        f->sim.refusal = errors[i];
        assert_int_not_equal(read_page(&f->a, f->object, 100), PGL_FAULT_SUCCESS);
        assert_page_100_speculated(f, false);
    }

    f->sim.script = sim_keep;
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_PENDING);
    assert_int_equal(pgl_object_check(f->object, sim_say, NULL), 0);
    pgl_fault_interrupt(f->a.fault);
    assert_int_equal(go_on(&f->a), PGL_FAULT_INTERRUPTED);
    assert_page_100_speculated(f, false);
    pgl_fault_interrupt(f->a.fault); /* before it waits */
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_INTERRUPTED);
    assert_page_100_speculated(f, false);

    f->sim.nframes = f->sim.frames_used + 1;
    f->sim.script = sim_keep;
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_PENDING);
    f->sim.frames_used++; /* another fault took the last one: the reply finds no frame */
    assert_int_equal(sim_supply(&f->sim, sim_last(&f->sim), 100, 100, PGL_ACCESS_READ), 0);
    f->sim.frames_used--;
    f->sim.nframes = 0;
    assert_int_equal(go_on(&f->a), PGL_FAULT_MEMORY_SHORTAGE);
    assert_page_100_speculated(f, false);
}

static void test_fault_page_in_error_is_none_when_it_is_brought_or_there_is_none(void **state)
{
    struct fixture *f = *state;

    make_object(f);
    for (unsigned supplied = 0; supplied < 2; supplied++) {
        fail_page_100(f);
        f->sim.script = supplied ? sim_now : sim_no_data;
        assert_int_equal(read_page(&f->a, f->object, 100), supplied ? PGL_FAULT_SUCCESS : PGL_FAULT_NO_DATA);
        assert_int_equal(pgl_object_remove(f->object, 100, 100), supplied);
        assert_page_100_speculated(f, true);
    }
}

/* "Retry" half way once left pages marked busy that no pager would ever fill. */
static void test_fault_retry_takes_back_every_mark(void **state)
{
    struct fixture *f = *state;
    static const struct {
        int error;
        enum pgl_fault_result result;
    } rows[] = {{EAGAIN, PGL_FAULT_RETRY},
                {EINTR, PGL_FAULT_INTERRUPTED},
                {ENOMEM, PGL_FAULT_MEMORY_SHORTAGE},
                {EIO, PGL_FAULT_MEMORY_ERROR}};

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct pgl_object_config config = config_of(f);

        config.internal = i % 2 == 1;
        f->object = pgl_object_new(&config);
        f->sim.script = sim_refuse;
        f->sim.refusal = rows[i].error;
        assert_int_equal(read_page(&f->a, f->object, 100), rows[i].result);
        assert_at_rest(f->object);
        assert_int_equal(f->sim.frames_used, 0);
        f->sim.script = sim_now;
        assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_SUCCESS);
        pgl_object_unref(f->object);
        f->object = NULL;
    }
}

static int supply_some_then_fail(struct sim *sim, const struct pgl_request *request, bool data)
{
    (void)data;
    sim_supply(sim, request, request->range.first, request->pager_demand, PGL_ACCESS_READ);
    return EIO;
}

static void test_fault_request_that_fails_half_way_keeps_what_was_supplied(void **state)
{
    struct fixture *f = *state;

    make_object(f);
    f->sim.script = supply_some_then_fail;
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_SUCCESS);
    assert_int_equal(stats_of(f->object).resident, 3);
    assert_at_rest(f->object);
}

static int supply_demand_then_fail(struct sim *sim, const struct pgl_request *request, bool data)
{
    (void)data;
    sim_supply(sim, request, request->pager_demand, request->pager_demand, PGL_ACCESS_READ);
    return EIO;
}

/* The fault has its page and succeeds: the pages requested before and behind it are rolled back all the same. */
static void test_fault_request_that_fails_behind_its_page_is_taken_back_on_both_sides(void **state)
{
    struct fixture *f = *state;

    make_object(f);
    f->sim.script = supply_demand_then_fail;
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_SUCCESS);
    assert_int_equal(stats_of(f->object).resident, 1);
    assert_at_rest(f->object);
}

/* Cleaning up once freed the page at offset 0, and resident dirty pages: data lost. */
static void test_fault_roll_back_spares_resident_pages(void **state)
{
    struct fixture *f = *state;
    void *dirty[2];

    make_object(f);
    pgl_object_advise(f->object, PGL_ADVICE_RANDOM);
    for (uint64_t i = 0; i < 2; i++) {
        assert_int_equal(write_page(&f->a, f->object, 4 * i), PGL_FAULT_SUCCESS);
        dirty[i] = f->a.page.frame;
        memset(dirty[i], 'd', SIM_PAGE_SIZE);
    }
    pgl_object_advise(f->object, PGL_ADVICE_DEFAULT);
    for (unsigned round = 0; round < 3; round++) {
        f->sim.script = sim_keep;
        assert_int_equal(read_page(&f->a, f->object, 2), PGL_FAULT_PENDING);
        if (round == 0) {
            pgl_fault_interrupt(f->a.fault);
            assert_int_equal(go_on(&f->a), PGL_FAULT_INTERRUPTED);
        } else if (round == 1) {
            pgl_pager_error(f->object, sim_last(&f->sim)->id, (struct pgl_pager_range){0, UINT64_MAX});
            assert_int_equal(go_on(&f->a), PGL_FAULT_MEMORY_ERROR);
        } else {
            pgl_object_terminate(f->object);
            assert_int_equal(go_on(&f->a), PGL_FAULT_MEMORY_ERROR);
        }
        assert_int_equal(stats_of(f->object).resident, 2); /* none lost, none invented */
        assert_at_rest(f->object);
        for (uint64_t i = 0; i < 2; i++) {
            assert_int_equal(read_page(&f->b, f->object, 4 * i), PGL_FAULT_SUCCESS);
            assert_ptr_equal(f->b.page.frame, dirty[i]);
            assert_int_equal(*(char *)dirty[i], 'd');
        }
    }
}

/* An interrupted fault's pages were marked again by another: neither its reply nor its roll-back may touch them. */
static void test_fault_roll_back_is_by_identity(void **state)
{
    struct fixture *f = *state;
    struct pgl_request old, new;

    make_object(f);
    f->sim.script = sim_keep;
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_PENDING);
    old = *sim_last(&f->sim);
    assert_int_equal(pgl_pager_no_data(f->object, old.id, (struct pgl_pager_range){101, 104}), 4);
    assert_int_equal(read_page(&f->b, f->object, 102), PGL_FAULT_PENDING); /* 101..106, inside the old range too */
    new = *sim_last(&f->sim);
    assert_int_equal(new.range.first, 101);
    pgl_fault_interrupt(f->a.fault);
    assert_int_equal(go_on(&f->a), PGL_FAULT_INTERRUPTED); /* rolls 98..104 back, as far as it is its own */
    assert_int_equal(stats_of(f->object).busy, 6);
    assert_int_equal(f->b.ready, 0);
    assert_int_equal(pgl_pager_error(f->object, old.id, old.range), 0);
    assert_int_equal(f->b.ready, 0);
    assert_int_equal(sim_supply(&f->sim, &new, 101, 106, PGL_ACCESS_READ), 6);
    assert_int_equal(go_on(&f->b), PGL_FAULT_SUCCESS);
    assert_at_rest(f->object);
}

static void test_fault_interrupted_leaves_its_waiters_to_try_themselves(void **state)
{
    struct fixture *f = *state;

    make_object(f);
    f->sim.script = sim_keep;
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_PENDING);
    assert_int_equal(read_page(&f->b, f->object, 100), PGL_FAULT_PENDING);
    pgl_fault_interrupt(f->a.fault);
    assert_int_equal(f->b.ready, 0);
    assert_int_equal(go_on(&f->a), PGL_FAULT_INTERRUPTED);
    f->sim.script = sim_now;
    assert_int_equal(go_on(&f->b), PGL_FAULT_SUCCESS);
    assert_int_equal(f->sim.nrequests, 2);
    assert_at_rest(f->object);
}

static void test_fault_interruption_ends_the_next_wait_only(void **state)
{
    struct fixture *f = *state;

    make_object(f);
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_SUCCESS);
    pgl_fault_interrupt(f->a.fault);
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_SUCCESS); /* needs no waiting */
    assert_int_equal(read_page(&f->a, f->object, 200), PGL_FAULT_INTERRUPTED);
    assert_int_equal(f->sim.nrequests, 1);
    assert_at_rest(f->object);
    assert_int_equal(read_page(&f->a, f->object, 200), PGL_FAULT_SUCCESS);
}

static void test_fault_of_a_terminated_object_never_waits(void **state)
{
    struct fixture *f = *state;

    make_object_with_credits(f, 4);
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_PENDING);
    assert_int_equal(read_page(&f->b, f->object, 200), PGL_FAULT_PENDING); /* for a credit */
    pgl_object_terminate(f->object);
    assert_int_equal(go_on(&f->a), PGL_FAULT_MEMORY_ERROR);
    assert_int_equal(go_on(&f->b), PGL_FAULT_MEMORY_ERROR);
    assert_int_equal(read_page(&f->a, f->object, 5), PGL_FAULT_MEMORY_ERROR);
    assert_int_equal(sim_supply(&f->sim, sim_last(&f->sim), 99, 102, PGL_ACCESS_READ), 0);
    assert_int_equal(stats_of(f->object).aliens, 4);
    assert_at_rest(f->object);
}

static void test_fault_no_data_is_a_result(void **state)
{
    struct fixture *f = *state;

    make_object(f);
    f->sim.script = sim_keep;
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_PENDING);
    assert_int_equal(read_page(&f->b, f->object, 100), PGL_FAULT_PENDING);
    assert_int_equal(pgl_pager_no_data(f->object, sim_last(&f->sim)->id, (struct pgl_pager_range){0, NPAGES}), 7);
    assert_int_equal(go_on(&f->a), PGL_FAULT_NO_DATA);
    assert_int_equal(go_on(&f->b), PGL_FAULT_NO_DATA);
    assert_at_rest(f->object);
}

/* The demand page is answered first, the others not yet: they are the fault's all the same. */
static void test_fault_that_ends_without_data_takes_its_neighbours_back(void **state)
{
    struct fixture *f = *state;
    struct pgl_request request;

    make_object_with_credits(f, 10);
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_PENDING);
    assert_int_equal(read_page(&f->b, f->object, 101), PGL_FAULT_PENDING);
    request = *sim_last(&f->sim);
    assert_int_equal(pgl_pager_no_data(f->object, request.id, (struct pgl_pager_range){100, 100}), 1);
    assert_int_equal(go_on(&f->a), PGL_FAULT_NO_DATA);
    assert_int_equal(go_on(&f->b), PGL_FAULT_PENDING); /* tries for itself */
    assert_int_equal(sim_supply(&f->sim, &request, 102, 104, PGL_ACCESS_READ), 0);
    assert_int_equal(pgl_pager_no_data(f->object, sim_last(&f->sim)->id, sim_last(&f->sim)->range), 7);
    assert_int_equal(go_on(&f->b), PGL_FAULT_NO_DATA);
    assert_at_rest(f->object);
}

static void test_fault_internal_object_has_zeros_where_its_pager_has_no_data(void **state)
{
    struct fixture *f = *state;
    struct pgl_object_config config = config_of(f);

    config.internal = true;
    f->object = pgl_object_new(&config);
    f->sim.script = sim_no_data;
    assert_int_equal(write_page(&f->a, f->object, 100), PGL_FAULT_SUCCESS);
    assert_true(sim_frame_is_zero(f->a.page.frame));
    assert_int_equal(f->a.page.access, PGL_ACCESS_WRITE);
    assert_int_equal(stats_of(f->object).resident, 1);
    assert_at_rest(f->object);
}

/* A failure at every step */

static int fail_with_partial_then_error(struct sim *sim, const struct pgl_request *request, bool data)
{
    sim_supply(sim, request, request->range.first, request->range.first, PGL_ACCESS_READ);
    return sim_error(sim, request, data);
}

static int fail_with_interruption(struct sim *sim, const struct pgl_request *request, bool data)
{
    (void)sim;
    (void)data;
    pgl_fault_interrupt(request->cookie);
    return 0; /* and no answer, ever */
}

static int fail_with_termination(struct sim *sim, const struct pgl_request *request, bool data)
{
    (void)sim;
    (void)data;
    pgl_object_terminate(request->object);
    return 0;
}

static const struct {
    const char *name;
    int error;
    sim_script *fail;
} ways[] = {
    {"EIO", EIO, NULL},
    {"EAGAIN", EAGAIN, NULL},
    {"EINTR", EINTR, NULL},
    {"ENOMEM", ENOMEM, NULL},
    {"an error reply", 0, sim_error},
    {"no data", 0, sim_no_data},
    {"a partial reply, then an error", 0, fail_with_partial_then_error},
    {"interruption", 0, fail_with_interruption},
    {"termination", 0, fail_with_termination},
};

/* A shadow over an object, both with a pager, memory and few credits; and two faults that wait for what others ask. */
struct scenario {
    struct sim_injector injector;
    struct sim top_sim, low_sim;
    struct pgl_object *top, *low;
    struct pgl_map *map;
    struct probe *waiters[2];
    bool wait[2];  /* the next request gets this waiter; */
    bool waits[2]; /* it has it */
    unsigned nwaits;
};

/* Another thread faults on the demand page, and on the last page of its cluster, while they are asked for. */
static void add_waiters(void *arg, const struct pgl_request *request)
{
    struct scenario *s = arg;
    uint64_t index[2] = {request->pager_demand, request->range.last};

    for (unsigned i = 0; i < 2; i++) {
        if (s->wait[i]) {
            s->wait[i] = false;
            s->waits[i] = read_page(s->waiters[i], request->object, index[i]) == PGL_FAULT_PENDING;
            s->nwaits += s->waits[i];
        }
    }
}

/* Each waiter was woken, once for each wait, and comes to an end. */
static void end_waiters(struct scenario *s)
{
    for (unsigned i = 0; i < 2; i++) {
        while (s->waits[i]) {
            s->waits[i] = go_on(s->waiters[i]) == PGL_FAULT_PENDING;
        }
    }
}

static void build(struct scenario *s, struct fixture *f, uint64_t at, size_t way, bool internal)
{
    struct pgl_object_config config;

    *s = (struct scenario){
        .injector = {0, at, ways[way].error, SIM_HOOKS, ways[way].fail, add_waiters, s},
        .top_sim = {.script = sim_no_data, .tag = 1},
        .low_sim = {.script = sim_now, .tag = 2},
        .waiters = {&f->a, &f->b},
    };
    config = sim_config(&s->low_sim, NPAGES);
    config.table = &probe_table;
    config.internal = internal;
    config.credits = 6;
    s->low = pgl_object_new(&config);
    config = sim_config(&s->top_sim, 128);
    config.table = &probe_table;
    config.internal = true;
    config.credits = 6;
    config.backing = s->low;
    config.backing_first = 60;
    s->top = pgl_object_new(&config);
    s->map = pgl_map_new(NULL, NULL);
    pgl_map_enter(s->map, 1000, 1127, s->top, 0, PGL_ADVICE_NORMAL);
    s->top_sim.injector = &s->injector;
    s->low_sim.injector = &s->injector;
}

static void demolish(struct scenario *s)
{
    pgl_map_free(s->map);
    pgl_object_unref(s->top);
    pgl_object_unref(s->low);
    assert_int_equal(s->top_sim.frames_used + s->low_sim.frames_used, 0);
    assert_int_equal(s->top_sim.blocks_used + s->low_sim.blocks_used, 0);
}

/* One fault, with others waiting; and nothing is left over whatever became of it. */
static enum pgl_fault_result fault_amid_waiters(struct scenario *s, struct pgl_fault *fault, uint64_t map_index,
                                                enum pgl_access access, struct pgl_fault_page *page)
{
    struct pgl_fault_args args = {.map = s->map, .index = map_index, .access = access, .cookie = fault};
    enum pgl_fault_result result;

    s->wait[0] = s->wait[1] = true;
    result = pgl_fault_run(fault, &args, page);
    s->wait[0] = s->wait[1] = false;
    end_waiters(s);
    assert_at_rest(s->top);
    assert_at_rest(s->low);
    assert_int_equal(stats_of(s->top).resident, s->top_sim.frames_used);
    assert_int_equal(stats_of(s->low).resident, s->low_sim.frames_used);
    return result;
}

/*
 * Three faults that together take every step: a write that asks above, finds nothing, asks below and copies up; a write
 * to the copy after access was withheld from it; a read at the end of the window, across a chunk's edge. Returns how
 * many succeeded.
 */
static unsigned take_every_step(struct scenario *s, struct pgl_fault *fault, struct pgl_fault_page *page)
{
    unsigned succeeded = 0;

    succeeded += fault_amid_waiters(s, fault, 1066, PGL_ACCESS_WRITE, page) == PGL_FAULT_SUCCESS;
    pgl_pager_withhold(s->top, (struct pgl_pager_range){0, 127}, PGL_ACCESS_NONE);
    s->top_sim.script = sim_now;
    succeeded += fault_amid_waiters(s, fault, 1066, PGL_ACCESS_WRITE, page) == PGL_FAULT_SUCCESS;
    s->top_sim.script = sim_no_data;
    succeeded += fault_amid_waiters(s, fault, 1003, PGL_ACCESS_READ, page) == PGL_FAULT_SUCCESS;
    return succeeded;
}

static void test_fault_takes_every_step_with_waiters(void **state)
{
    struct fixture *f = *state;
    struct pgl_fault *fault = pgl_fault_new();
    struct pgl_fault_page page;
    struct scenario s;

    for (int internal = 0; internal < 2; internal++) {
        build(&s, f, 0, 0, internal);
        assert_int_equal(take_every_step(&s, fault, &page), 3);
        assert_int_equal(s.nwaits, 6);
        assert_ptr_equal(page.object, s.low);
        assert_true(sim_frame_is(page.frame, 2, 63));
        demolish(&s);
    }
    pgl_fault_free(fault);
}

/* Fails one step, and returns at which hook; SIM_HOOKS when there are not so many. */
static enum sim_hook fail_step(struct fixture *f, uint64_t at, size_t way, bool internal)
{
    struct pgl_fault *fault = pgl_fault_new();
    struct pgl_fault_page page;
    struct scenario s;
    enum sim_hook fired;

    build(&s, f, at, way, internal);
    take_every_step(&s, fault, &page);
    fired = s.injector.fired;
    s.injector.at = 0;
    s.top_sim.script = sim_now;
    if (fired != SIM_REQUEST || ways[way].fail != fail_with_termination) { /* which is for good */
        assert_int_equal(fault_amid_waiters(&s, fault, 1066, PGL_ACCESS_WRITE, &page), PGL_FAULT_SUCCESS);
        assert_true(sim_frame_is(page.frame, 2, 126) || sim_frame_is(page.frame, 1, 66) ||
                    (internal && sim_frame_is_zero(page.frame)));
    }
    demolish(&s);
    pgl_fault_free(fault);
    return fired;
}

static void test_fault_survives_a_failure_at_every_step(void **state)
{
    unsigned fired[SIM_HOOKS] = {0};

    for (int internal = 0; internal < 2; internal++) {
        for (size_t way = 0; way < sizeof(ways) / sizeof(ways[0]); way++) {
            enum sim_hook hook;

            for (uint64_t at = 1; (hook = fail_step(*state, at, way, internal)) != SIM_HOOKS; at++) {
                fired[hook]++;
            }
        }
    }
    printf("fault: failed at %u heap, %u frame and %u request steps\n", fired[SIM_HEAP], fired[SIM_FRAME],
           fired[SIM_REQUEST]);
    assert_true(fired[SIM_HEAP] > 50 && fired[SIM_FRAME] > 50 && fired[SIM_REQUEST] > 50);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_fault_error_reaches_every_waiter),
        TEST(test_fault_error_of_one_page_is_not_its_neighbours),
        TEST(test_fault_on_a_page_in_error_asks_for_it_alone),
        TEST(test_fault_page_in_error_stays_so_until_it_is_brought),
        TEST(test_fault_page_in_error_is_none_when_it_is_brought_or_there_is_none),
        TEST(test_fault_retry_takes_back_every_mark),
        TEST(test_fault_request_that_fails_half_way_keeps_what_was_supplied),
        TEST(test_fault_request_that_fails_behind_its_page_is_taken_back_on_both_sides),
        TEST(test_fault_roll_back_spares_resident_pages),
        TEST(test_fault_roll_back_is_by_identity),
        TEST(test_fault_interrupted_leaves_its_waiters_to_try_themselves),
        TEST(test_fault_interruption_ends_the_next_wait_only),
        TEST(test_fault_of_a_terminated_object_never_waits),
        TEST(test_fault_no_data_is_a_result),
        TEST(test_fault_that_ends_without_data_takes_its_neighbours_back),
        TEST(test_fault_internal_object_has_zeros_where_its_pager_has_no_data),
        TEST(test_fault_takes_every_step_with_waiters),
        TEST(test_fault_survives_a_failure_at_every_step),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
