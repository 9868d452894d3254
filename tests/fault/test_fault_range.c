/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Ranges: unwired, brought as a list, copied; and faults that ask for no access, or cannot be interrupted. */
#include <errno.h>
#include <string.h>

#include "probe.h"

#include "../cm.h"

enum { RANGE = 20 };

/* Two objects with pagers of their own; the pager of the second puts other bytes into its pages. */
struct pair {
    struct sim sim;
    struct pgl_object *to;
};

static void make_pair(struct fixture *f, struct pair *pair)
{
    struct pgl_object_config config;

    memset(pair, 0, sizeof(*pair));
    pair->sim.script = sim_now;
    pair->sim.tag = 0xbb;
    config = sim_config(&pair->sim, NPAGES);
    pair->to = pgl_object_new(&config);
    make_object(f);
}

static void drop_pair(struct pair *pair)
{
    assert_at_rest(pair->to);
    pgl_object_unref(pair->to);
    assert_int_equal(pair->sim.frames_used, 0);
    assert_int_equal(pair->sim.blocks_used, 0);
}

static struct pgl_fault_args at(struct pgl_object *object, uint64_t index)
{
    return (struct pgl_fault_args){.object = object, .index = index, .access = PGL_ACCESS_READ};
}

static uint64_t nwired(struct pgl_object *object)
{
    uint64_t n = 0;

    for (uint64_t i = 0; i < NPAGES; i++) {
        while (pgl_object_unwire(object, i)) {
            n++;
        }
    }
    return n;
}

/* Unwiring */

static void wire(struct fixture *f, const struct pgl_fault_args *args, uint64_t npages)
{
    for (uint64_t i = 0; i < npages; i++) {
        struct pgl_fault_args one = *args;

        one.index += i;
        one.flags = PGL_FAULT_FLAG_WIRE;
        assert_int_equal(start(&f->a, &one), PGL_FAULT_SUCCESS);
    }
}

static void test_fault_unwire_undoes_each_wire_of_a_range_once(void **state)
{
    struct fixture *f = *state;
    struct pgl_fault_args args;

    make_object(f);
    args = at(f->object, 100);
    wire(f, &args, RANGE);
    wire(f, &args, 1);
    assert_int_equal(pgl_fault_unwire(&args, RANGE), RANGE);
    assert_int_equal(pgl_object_remove(f->object, 0, NPAGES - 1), RANGE - 1); /* page 100 is wired once more */
    errno = 0;
    assert_int_equal(pgl_fault_unwire(&args, RANGE), 1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(nwired(f->object), 0);
}

static void test_fault_unwire_ends_with_the_object_and_the_map(void **state)
{
    struct fixture *f = *state;
    struct pgl_map *map = pgl_map_new(NULL, NULL);
    struct pgl_fault_args args;

    make_object(f);
    args = at(f->object, NPAGES - 2);
    wire(f, &args, 2);
    assert_int_equal(pgl_fault_unwire(&args, 3), 2);
    args.index = UINT64_MAX;
    assert_int_equal(pgl_fault_unwire(&args, 3), 0);
    assert_int_equal(pgl_fault_unwire(&args, 0), 0);

    assert_true(pgl_map_enter(map, 10, 11, f->object, 50, PGL_ADVICE_DEFAULT));
    assert_true(pgl_map_enter(map, 12, 13, f->object, 90, PGL_ADVICE_DEFAULT));
    args = (struct pgl_fault_args){.map = map, .index = 10, .access = PGL_ACCESS_READ};
    wire(f, &args, 4);
    assert_int_equal(pgl_fault_unwire(&args, 5), 4);
    assert_int_equal(nwired(f->object), 0);
    pgl_map_free(map);
}

/* A page that was wired for reading below the top object is unwired there. */
static void test_fault_unwire_finds_the_object_of_the_chain_that_has_the_page_wired(void **state)
{
    struct fixture *f = *state;
    struct pgl_object *top = make_shadow(f, 7);
    struct pgl_fault_args args = at(top, 100);

    wire(f, &args, 2);
    args.index = 101;
    args.access = PGL_ACCESS_WRITE;
    wire(f, &args, 1); /* and a copy above it */
    args.index = 100;
    errno = 0;
    assert_int_equal(pgl_fault_unwire(&args, 2), 2);
    assert_int_equal(errno, 0);
    assert_int_equal(nwired(top), 0); /* the topmost first */
    assert_int_equal(nwired(f->object), 1);
    pgl_object_unref(top);
}

/* Lists */

static void test_fault_page_list_keeps_its_pages_until_it_is_freed(void **state)
{
    struct fixture *f = *state;
    struct pgl_fault_page pages[RANGE];
    struct pgl_object *object;
    uint64_t n = RANGE;
    struct pgl_fault_args args;

    make_object(f);
    object = f->object;
    args = at(object, 100);
    assert_int_equal(pgl_fault_page_list(f->a.fault, &args, pages, &n), PGL_FAULT_SUCCESS);
    assert_int_equal(n, RANGE);
    assert_int_equal(f->sim.nrequests, 4); /* clusters of 5 pages, but for the first, which has two more before */
    assert_int_equal(pgl_object_remove(object, 0, NPAGES - 1), 2); /* the two before */
    f->object = NULL;
    pgl_object_unref(object);
    assert_int_equal(f->sim.nreleased, 0);
    for (uint64_t i = 0; i < n; i++) {
        assert_true(pages[i].object == object && pages[i].index == 100 + i);
        assert_true(sim_frame_is(pages[i].frame, 0xaa, 100 + i));
    }
    pgl_fault_page_list_free(pages, 10);
    assert_int_equal(f->sim.nreleased, 0);
    pgl_fault_page_list_free(pages + 10, 10);
    assert_int_equal(f->sim.nreleased, 1);
}

/* Page 109 cannot be had. */
static int fail_109(struct sim *sim, const struct pgl_request *request, bool data)
{
    struct pgl_pager_range bad = {109, 109};

    pgl_pager_error(request->object, request->id, bad);
    return sim_now(sim, request, data);
}

static void test_fault_page_list_that_fails_keeps_nothing(void **state)
{
    struct fixture *f = *state;
    struct pgl_fault_page pages[RANGE];
    uint64_t n = RANGE;
    struct pgl_fault_args args;

    make_object(f);
    args = at(f->object, 100);
    f->sim.script = fail_109;
    assert_int_equal(pgl_fault_page_list(f->a.fault, &args, pages, &n), PGL_FAULT_MEMORY_ERROR);
    assert_int_equal(n, 9);
    assert_int_equal(nwired(f->object), 0);
    assert_at_rest(f->object);
    n = 3;
    args.index = NPAGES - 2;
    assert_int_equal(pgl_fault_page_list(f->a.fault, &args, pages, &n), PGL_FAULT_NO_ENTRY);
    assert_int_equal(n, 2);
    n = 2;
    args.index = UINT64_MAX;
    assert_int_equal(pgl_fault_page_list(f->a.fault, &args, pages, &n), PGL_FAULT_NO_ENTRY);
    assert_int_equal(n, 0);
    assert_int_equal(pgl_fault_page_list(f->a.fault, &args, pages, &n), PGL_FAULT_SUCCESS); /* of no pages */
    n = 2;
    args = at(f->object, 5);
    args.flags = PGL_FAULT_FLAG_WIRE;
    errno = 0;
    assert_int_equal(pgl_fault_page_list(f->a.fault, &args, pages, &n), PGL_FAULT_INVALID);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(nwired(f->object), 0);
}

/* The last page that there is: the range does not go on at page 0. */
static void test_fault_page_list_does_not_wrap(void **state)
{
    struct fixture *f = *state;
    struct pgl_object_config config = config_of(f);
    struct pgl_fault_page pages[2];
    struct pgl_fault_args args;
    uint64_t n = 2;

    config.last = UINT64_MAX;
    config.pager_range.last = UINT64_MAX;
    f->object = pgl_object_new(&config);
    args = at(f->object, UINT64_MAX);
    assert_int_equal(pgl_fault_page_list(f->a.fault, &args, pages, &n), PGL_FAULT_NO_ENTRY);
    assert_int_equal(n, 1);
    args.index = UINT64_MAX - 1;
    n = 2;
    assert_int_equal(pgl_fault_page_list(f->a.fault, &args, pages, &n), PGL_FAULT_SUCCESS);
    assert_int_equal(pgl_fault_unwire(&args, 3), 2);
    pgl_object_unref(f->object); /* what a list would drop besides */
    pgl_object_unref(f->object);
}

/* Copies */

static void assert_bytes(struct fixture *f, struct pgl_object *object, uint64_t index, uint64_t tag, uint64_t page)
{
    assert_int_equal(read_page(&f->a, object, index), PGL_FAULT_SUCCESS);
    assert_true(tag == 0 ? sim_frame_is_zero(f->a.page.frame) : sim_frame_is(f->a.page.frame, tag, page));
}

static void test_fault_copy_copies_the_bytes_and_keeps_nothing(void **state)
{
    struct fixture *f = *state;
    struct pair pair;
    struct pgl_fault_args from, to;
    uint64_t n = RANGE;

    make_pair(f, &pair);
    from = at(f->object, 100);
    to = at(pair.to, 30);
    assert_int_equal(pgl_fault_copy(f->a.fault, &from, &to, &n), PGL_FAULT_SUCCESS);
    assert_int_equal(n, RANGE);
    assert_bytes(f, pair.to, 29, 0xbb, 29);
    assert_bytes(f, pair.to, 30 + RANGE, 0xbb, 30 + RANGE);
    for (uint64_t i = 0; i < RANGE; i++) {
        assert_bytes(f, pair.to, 30 + i, 0xaa, 100 + i);
        assert_bytes(f, f->object, 100 + i, 0xaa, 100 + i);
    }
    assert_int_equal(nwired(f->object) + nwired(pair.to), 0);
    assert_int_equal(f->sim.nrequests, 4); /* with their neighbours */
    assert_at_rest(f->object);
    drop_pair(&pair);
}

static void test_fault_copy_of_nothing_makes_zeros(void **state)
{
    struct fixture *f = *state;
    struct pgl_fault_args to;
    uint64_t n = 3;

    make_object(f);
    to = at(f->object, 10);
    assert_int_equal(pgl_fault_copy(f->a.fault, NULL, &to, &n), PGL_FAULT_SUCCESS);
    assert_int_equal(n, 3);
    assert_bytes(f, f->object, 12, 0, 0);
    assert_bytes(f, f->object, 13, 0xaa, 13);
    assert_int_equal(nwired(f->object), 0);
}

/* From a map's entry over a shadow into another part of the same chain: the copy goes up, and nothing changes below. */
static void test_fault_copy_writes_to_the_top_of_a_chain(void **state)
{
    struct fixture *f = *state;
    struct pgl_map *map = pgl_map_new(NULL, NULL);
    struct pgl_fault_args from = {.map = map, .index = 0}, to = {.map = map, .index = 50};
    struct pgl_object *top = make_shadow(f, 0);
    uint64_t n = 5;

    assert_true(pgl_map_enter(map, 0, 99, top, 0, PGL_ADVICE_DEFAULT));
    assert_int_equal(pgl_fault_copy(f->a.fault, &from, &to, &n), PGL_FAULT_SUCCESS);
    for (uint64_t i = 0; i < 5; i++) {
        assert_bytes(f, top, 50 + i, 0xaa, i);
        assert_bytes(f, f->object, 50 + i, 0xaa, 50 + i);
    }
    assert_int_equal(nwired(f->object) + nwired(top), 0);
    pgl_map_free(map);
    pgl_object_unref(top);
}

static void test_fault_copy_refuses_what_has_no_bytes_or_pages_of_another_size(void **state)
{
    struct fixture *f = *state;
    struct pair pair;
    struct pgl_object *bare = pgl_object_new(&(struct pgl_object_config){.last = 9});
    struct pgl_object_config config;
    struct pgl_object *wide;
    struct pgl_fault_args from, to;
    uint64_t n;

    make_pair(f, &pair);
    config = config_of(f);
    config.page_size = SIM_PAGE_SIZE / 2;
    wide = pgl_object_new(&config);
    for (unsigned way = 0; way < 5; way++) {
        from = at(way == 0 ? bare : way == 1 ? wide : f->object, 1);
        to = at(way == 2 ? bare : pair.to, 1);
        from.flags = way == 3 ? PGL_FAULT_FLAG_WIRE : 0;
        to.flags = way == 4 ? PGL_FAULT_FLAG_WIRE : 0;
        errno = 0;
        n = 2;
        assert_int_equal(pgl_fault_copy(f->a.fault, &from, &to, &n), PGL_FAULT_INVALID);
        assert_int_equal(errno, EINVAL);
        assert_int_equal(n, 0);
        assert_int_equal(nwired(from.object) + nwired(to.object), 0);
    }
    pgl_object_unref(bare);
    pgl_object_unref(wide);
    drop_pair(&pair);
}

/* The pager of @to withholds write access while the page that is read is waited for. */
static int withhold_all(struct sim *sim, const struct pgl_request *request, bool data)
{
    (void)data;
    sim_now(sim, request, true);
    pgl_pager_withhold(request->object, request->range, PGL_ACCESS_READ);
    return 0;
}

static void test_fault_copy_asks_for_write_access(void **state)
{
    struct fixture *f = *state;
    struct pair pair;
    struct pgl_fault_args from, to;
    uint64_t n = 1;

    make_pair(f, &pair);
    from = at(f->object, 100);
    to = at(pair.to, 30);
    pair.sim.script = withhold_all;
    assert_int_equal(read_page(&f->b, pair.to, 30), PGL_FAULT_SUCCESS);
    pair.sim.script = sim_now;
    assert_int_equal(pgl_fault_copy(f->a.fault, &from, &to, &n), PGL_FAULT_SUCCESS);
    assert_int_equal(pair.sim.nunlocks, 1);
    drop_pair(&pair);
}

/* Every heap, frame and request step of a copy fails in turn, requests in each way: the first pages have been copied, the
 * others are as before, nothing is kept, and the rest can be copied then. */
static bool fail_copy_at(struct fixture *f, uint64_t step, int error)
{
    struct sim_injector injector = {.at = step, .error = error, .fired = SIM_HOOKS};
    struct pair pair;
    struct pgl_fault_args from, to;
    enum pgl_fault_result result;
    uint64_t n = RANGE, rest;

    make_pair(f, &pair);
    f->sim.injector = pair.sim.injector = &injector;
    from = at(f->object, 100);
    to = at(pair.to, 30);
    result = pgl_fault_copy(f->a.fault, &from, &to, &n);
    injector.at = 0;
    if (injector.fired == SIM_HOOKS) {
        assert_int_equal(result, PGL_FAULT_SUCCESS);
    }
    assert_int_equal(result == PGL_FAULT_SUCCESS, n == RANGE);
    assert_int_equal(nwired(f->object) + nwired(pair.to), 0);
    assert_at_rest(f->object);
    assert_at_rest(pair.to);
    rest = RANGE - n;
    from.index += n;
    to.index += n;
    assert_int_equal(pgl_fault_copy(f->a.fault, &from, &to, &rest), PGL_FAULT_SUCCESS);
    for (uint64_t i = 0; i < RANGE; i++) {
        assert_bytes(f, pair.to, 30 + i, 0xaa, 100 + i);
    }
    f->sim.injector = NULL;
    pgl_object_unref(f->object);
    f->object = NULL;
    assert_int_equal(f->sim.frames_used + f->sim.blocks_used, 0);
    pair.sim.injector = NULL;
    drop_pair(&pair);
    return injector.fired != SIM_HOOKS;
}

static void test_fault_copy_survives_a_failure_at_every_step(void **state)
{
    static const int errors[] = {EAGAIN, EINTR, ENOMEM, EIO};

    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        uint64_t step = 1;

        while (fail_copy_at(*state, step, errors[i])) {
            step++;
        }
        assert_true(step > 2 * RANGE);
    }
}

/* No access */

static void test_fault_for_no_access_finds_a_page_that_has_none(void **state)
{
    struct fixture *f = *state;

    make_object(f);
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_SUCCESS);
    pgl_pager_withhold(f->object, (struct pgl_pager_range){0, NPAGES - 1}, PGL_ACCESS_NONE);
    assert_int_equal(fault_on(&f->a, f->object, 100, PGL_ACCESS_NONE, PGL_FAULT_FLAG_RESIDENT), PGL_FAULT_SUCCESS);
    assert_int_equal(f->a.page.access, PGL_ACCESS_NONE);
    assert_true(sim_frame_is(f->a.page.frame, 0xaa, 100));
    assert_int_equal(f->sim.nunlocks, 0);
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_SUCCESS);
    assert_int_equal(f->sim.nunlocks, 1);
    assert_int_equal(fault_on(&f->a, f->object, 100, PGL_ACCESS_NONE, 0), PGL_FAULT_SUCCESS);
    assert_int_equal(f->a.page.access, PGL_ACCESS_READ);
}

static void test_fault_for_no_access_brings_a_page(void **state)
{
    struct fixture *f = *state;

    make_object(f);
    assert_int_equal(fault_on(&f->a, f->object, 100, PGL_ACCESS_NONE, 0), PGL_FAULT_SUCCESS);
    assert_asked(&f->sim, 98, 104, 100);
    assert_int_equal(sim_last(&f->sim)->access, PGL_ACCESS_NONE);
    assert_int_equal(f->a.page.access, PGL_ACCESS_NONE);
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_SUCCESS);
    assert_int_equal(f->sim.nunlocks, 1);
    assert_at_rest(f->object);
}

/* Below the top object too, and it copies nothing up. */
static void test_fault_for_no_access_finds_a_page_below(void **state)
{
    struct fixture *f = *state;
    struct pgl_object *top = make_shadow(f, 0);

    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_SUCCESS);
    pgl_pager_withhold(f->object, (struct pgl_pager_range){100, 100}, PGL_ACCESS_NONE);
    assert_int_equal(fault_on(&f->a, top, 100, PGL_ACCESS_NONE, 0), PGL_FAULT_SUCCESS);
    assert_true(f->a.page.object == f->object);
    assert_int_equal(f->a.page.access, PGL_ACCESS_NONE);
    assert_int_equal(stats_of(top).resident, 0);
    pgl_object_unref(top);
}

/* No interruption */

static void test_fault_uninterruptible_waits_on_and_leaves_the_interruption_to_the_next(void **state)
{
    struct fixture *f = *state;

    make_object(f);
    f->sim.script = sim_keep;
    pgl_fault_interrupt(f->a.fault); /* before its wait */
    assert_int_equal(fault_on(&f->a, f->object, 100, PGL_ACCESS_READ, PGL_FAULT_FLAG_UNINTERRUPTIBLE),
                     PGL_FAULT_PENDING);
    pgl_fault_interrupt(f->a.fault); /* during its wait */
    assert_int_equal(f->a.ready, 0);
    sim_now(&f->sim, sim_last(&f->sim), true);
    assert_int_equal(go_on(&f->a), PGL_FAULT_SUCCESS);
    assert_int_equal(read_page(&f->a, f->object, 200), PGL_FAULT_INTERRUPTED); /* both, as one */
    pgl_fault_interrupt(f->a.fault);                                           /* before a wait only */
    assert_int_equal(fault_on(&f->a, f->object, 200, PGL_ACCESS_READ, PGL_FAULT_FLAG_UNINTERRUPTIBLE),
                     PGL_FAULT_PENDING);
    sim_now(&f->sim, sim_last(&f->sim), true);
    assert_int_equal(go_on(&f->a), PGL_FAULT_SUCCESS);
    assert_int_equal(pgl_object_remove(f->object, 0, NPAGES - 1), 14);
    assert_int_equal(read_page(&f->a, f->object, 200), PGL_FAULT_INTERRUPTED);
    assert_int_equal(read_page(&f->a, f->object, 200), PGL_FAULT_PENDING);
    sim_now(&f->sim, sim_last(&f->sim), true);
    assert_int_equal(go_on(&f->a), PGL_FAULT_SUCCESS);
    assert_at_rest(f->object);
}

/* One that waits for a credit waits on as well. */
static void test_fault_uninterruptible_waits_for_a_credit(void **state)
{
    struct fixture *f = *state;

    make_object_with_credits(f, 1);
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_PENDING);
    assert_int_equal(fault_on(&f->b, f->object, 200, PGL_ACCESS_READ, PGL_FAULT_FLAG_UNINTERRUPTIBLE),
                     PGL_FAULT_PENDING);
    pgl_fault_interrupt(f->b.fault);
    assert_int_equal(f->b.ready, 0);
    assert_int_equal(stats_of(f->object).waiting, 2);
    sim_now(&f->sim, sim_last(&f->sim), true);
    f->sim.script = sim_now;
    assert_int_equal(go_on(&f->a), PGL_FAULT_SUCCESS);
    assert_int_equal(go_on(&f->b), PGL_FAULT_SUCCESS);
    assert_at_rest(f->object);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_fault_unwire_undoes_each_wire_of_a_range_once),
        TEST(test_fault_unwire_ends_with_the_object_and_the_map),
        TEST(test_fault_unwire_finds_the_object_of_the_chain_that_has_the_page_wired),
        TEST(test_fault_page_list_keeps_its_pages_until_it_is_freed),
        TEST(test_fault_page_list_that_fails_keeps_nothing),
        TEST(test_fault_page_list_does_not_wrap),
        TEST(test_fault_copy_copies_the_bytes_and_keeps_nothing),
        TEST(test_fault_copy_of_nothing_makes_zeros),
        TEST(test_fault_copy_writes_to_the_top_of_a_chain),
        TEST(test_fault_copy_refuses_what_has_no_bytes_or_pages_of_another_size),
        TEST(test_fault_copy_asks_for_write_access),
        TEST(test_fault_copy_survives_a_failure_at_every_step),
        TEST(test_fault_for_no_access_finds_a_page_that_has_none),
        TEST(test_fault_for_no_access_brings_a_page),
        TEST(test_fault_for_no_access_finds_a_page_below),
        TEST(test_fault_uninterruptible_waits_on_and_leaves_the_interruption_to_the_next),
        TEST(test_fault_uninterruptible_waits_for_a_credit),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
