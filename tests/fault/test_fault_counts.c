/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Every count of struct pgl_object_stats, after known faults: each test compares all of them, also those that stay. */
#include "probe.h"

#include "../cm.h"

/* The counts that an object is expected to have. */
struct ledger {
    struct pgl_object *object;
    struct pgl_object_stats stats;
};

static void assert_count(const char *name, uint64_t count, uint64_t expected)
{
    if (count != expected) {
        fail_msg("%s is %llu and not %llu", name, (unsigned long long)count, (unsigned long long)expected);
    }
}

static void assert_ledger(const struct ledger *ledger)
{
    struct pgl_object_stats stats = stats_of(ledger->object);

    for (int advice = 0; advice < PGL_ADVICE_COUNT; advice++) {
        const struct pgl_fault_counts *counts = &stats.by_advice[advice];
        const struct pgl_fault_counts *expected = &ledger->stats.by_advice[advice];

        assert_count("touches", counts->touches, expected->touches);
        assert_count("faults", counts->faults, expected->faults);
        assert_count("requests", counts->requests, expected->requests);
        assert_count("demanded", counts->demanded, expected->demanded);
        assert_count("speculative", counts->speculative, expected->speculative);
        assert_count("used", counts->used, expected->used);
        assert_count("unlocks", counts->unlocks, expected->unlocks);
        assert_count("retries", counts->retries, expected->retries);
    }
    for (int reason = 0; reason < PGL_REASON_COUNT; reason++) {
        assert_count(pgl_reason_name((enum pgl_reason)reason), stats.by_reason[reason],
                     ledger->stats.by_reason[reason]);
    }
    assert_count("resident", stats.resident, ledger->stats.resident);
    assert_count("busy", stats.busy, ledger->stats.busy);
    assert_count("outstanding", stats.outstanding, ledger->stats.outstanding);
    assert_count("waiting", stats.waiting, ledger->stats.waiting);
    assert_count("duplicates", stats.duplicates, ledger->stats.duplicates);
    assert_count("aliens", stats.aliens, ledger->stats.aliens);
    assert_memory_equal(&stats, &ledger->stats, sizeof(stats)); /* there is no count beside these */
}

static void test_counts_of_a_cluster_and_of_the_pages_of_it_that_are_used(void **state)
{
    struct fixture *f = *state;
    struct ledger ledger = {0};
    struct pgl_fault_counts *counts = &ledger.stats.by_advice[PGL_ADVICE_NORMAL];

    make_object(f);
    ledger.object = f->object;
    pgl_object_advise(f->object, PGL_ADVICE_NORMAL);
    assert_ledger(&ledger);

    f->sim.script = sim_keep;
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_PENDING); /* 97..103 */
    assert_int_equal(read_page(&f->b, f->object, 101), PGL_FAULT_PENDING);
    counts->touches = 2;
    counts->faults = 2;
    counts->requests = 1;
    counts->demanded = 1;
    counts->speculative = 6;
    ledger.stats.by_reason[PGL_REASON_ROW] = 1;
    ledger.stats.busy = 7;
    ledger.stats.outstanding = 7;
    ledger.stats.waiting = 2;
    assert_ledger(&ledger);

    sim_supply(&f->sim, sim_last(&f->sim), 100, 101, PGL_ACCESS_WRITE);
    assert_int_equal(go_on(&f->a), PGL_FAULT_SUCCESS);
    assert_int_equal(go_on(&f->b), PGL_FAULT_SUCCESS);
    counts->used = 1; /* 101 */
    ledger.stats.resident = 2;
    ledger.stats.busy = 5;
    ledger.stats.outstanding = 5;
    ledger.stats.waiting = 0;
    assert_ledger(&ledger);

    sim_supply(&f->sim, sim_last(&f->sim), 90, 103, PGL_ACCESS_WRITE);
    ledger.stats.resident = 7;
    ledger.stats.busy = 0;
    ledger.stats.outstanding = 0;
    ledger.stats.duplicates = 2;
    ledger.stats.aliens = 7;
    assert_ledger(&ledger);

    assert_int_equal(write_page(&f->a, f->object, 101), PGL_FAULT_SUCCESS); /* used already */
    assert_int_equal(read_page(&f->a, f->object, 97), PGL_FAULT_SUCCESS);
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_SUCCESS);
    counts->touches = 5;
    counts->used = 2;
    assert_ledger(&ledger);

    assert_int_equal(pgl_object_remove(f->object, 96, 98), 2); /* 98 was never used, and is none to be used any more */
    assert_int_equal(fault_on(&f->a, f->object, 98, PGL_ACCESS_READ, PGL_FAULT_FLAG_RESIDENT), PGL_FAULT_NO_DATA);
    counts->touches = 6;
    ledger.stats.resident = 5;
    assert_ledger(&ledger);
    assert_int_equal(read_page(&f->a, f->object, UINT64_MAX), PGL_FAULT_NO_ENTRY); /* no touch of this object */
    assert_ledger(&ledger);
}

/* An access request is none for data, and makes no page speculative that was touched before. */
static void test_counts_of_access_requests(void **state)
{
    struct fixture *f = *state;
    struct ledger ledger = {0};
    struct pgl_fault_counts *counts = &ledger.stats.by_advice[PGL_ADVICE_DEFAULT];

    make_object(f);
    ledger.object = f->object;
    assert_int_equal(write_page(&f->a, f->object, 100), PGL_FAULT_SUCCESS); /* 98..104 */
    assert_int_equal(read_page(&f->a, f->object, 101), PGL_FAULT_SUCCESS);
    *counts = (struct pgl_fault_counts){2, 1, 1, 1, 6, 1, 0, 0};
    ledger.stats.by_reason[PGL_REASON_ROW] = 1;
    ledger.stats.resident = 7;
    assert_ledger(&ledger);

    assert_int_equal(pgl_pager_withhold(f->object, (struct pgl_pager_range){0, UINT64_MAX}, PGL_ACCESS_NONE), 7);
    f->sim.script = sim_keep;
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_PENDING); /* 98..104 */
    counts->touches = 3;
    counts->unlocks = 1;
    ledger.stats.outstanding = 7;
    ledger.stats.waiting = 1;
    assert_ledger(&ledger);

    sim_now(&f->sim, sim_last(&f->sim), false);
    assert_int_equal(go_on(&f->a), PGL_FAULT_SUCCESS);
    assert_int_equal(read_page(&f->a, f->object, 101), PGL_FAULT_SUCCESS);
    assert_int_equal(read_page(&f->a, f->object, 102), PGL_FAULT_SUCCESS); /* it alone is used only now */
    counts->touches = 5;
    counts->used = 2;
    ledger.stats.outstanding = 0;
    ledger.stats.waiting = 0;
    ledger.stats.duplicates = 1; /* sim_now() grants the demand page once more, with the others */
    assert_ledger(&ledger);
}

static void test_counts_of_a_shadow_are_kept_where_each_happened(void **state)
{
    struct fixture *f = *state;
    struct ledger lower = {0}, top = {0};
    struct pgl_fault_counts *lower_counts, *top_counts;

    top.object = make_shadow(f, 16);
    lower.object = f->object;
    pgl_object_advise(top.object, PGL_ADVICE_SEQUENTIAL);
    pgl_object_advise(lower.object, PGL_ADVICE_NORMAL); /* there is no entry: each follows its own */
    lower_counts = &lower.stats.by_advice[PGL_ADVICE_NORMAL];
    top_counts = &top.stats.by_advice[PGL_ADVICE_SEQUENTIAL];

    assert_int_equal(read_page(&f->a, top.object, 84), PGL_FAULT_SUCCESS); /* 97..103 below */
    *top_counts = (struct pgl_fault_counts){.touches = 1, .faults = 1};
    *lower_counts = (struct pgl_fault_counts){.requests = 1, .demanded = 1, .speculative = 6};
    lower.stats.by_reason[PGL_REASON_ROW] = 1;
    lower.stats.resident = 7;
    assert_ledger(&top);
    assert_ledger(&lower);

    assert_int_equal(read_page(&f->a, top.object, 85), PGL_FAULT_SUCCESS); /* found below */
    top_counts->touches = 2;
    lower_counts->used = 1;
    assert_ledger(&top);
    assert_ledger(&lower);

    assert_int_equal(write_page(&f->a, top.object, 86), PGL_FAULT_SUCCESS); /* copied up */
    assert_int_equal(write_page(&f->a, top.object, 85), PGL_FAULT_SUCCESS);
    *top_counts = (struct pgl_fault_counts){.touches = 4, .faults = 3};
    top.stats.resident = 2;
    lower_counts->used = 2; /* 102 now, and 101 before */
    assert_ledger(&top);
    assert_ledger(&lower);

    assert_int_equal(read_page(&f->a, lower.object, 102), PGL_FAULT_SUCCESS); /* used already */
    assert_int_equal(write_page(&f->a, top.object, 86), PGL_FAULT_SUCCESS);
    lower_counts->touches = 1;
    top_counts->touches = 5;
    assert_ledger(&top);
    assert_ledger(&lower);

    f->sim.script = sim_keep;
    assert_int_equal(write_page(&f->a, top.object, 184), PGL_FAULT_PENDING); /* a placeholder above, 197..203 below */
    *top_counts = (struct pgl_fault_counts){.touches = 6, .faults = 4};
    top.stats.busy = 1;
    lower_counts->requests = 2;
    lower_counts->demanded = 2;
    lower_counts->speculative = 12;
    lower.stats.by_reason[PGL_REASON_ROW] = 2;
    lower.stats.busy = 7;
    lower.stats.outstanding = 7;
    lower.stats.waiting = 1;
    assert_ledger(&top);
    assert_ledger(&lower);

    pgl_fault_interrupt(f->a.fault);
    assert_int_equal(go_on(&f->a), PGL_FAULT_INTERRUPTED);
    top.stats.busy = 0;
    lower.stats.busy = 0;
    lower.stats.outstanding = 0;
    lower.stats.waiting = 0;
    assert_ledger(&top);
    assert_ledger(&lower);
    pgl_object_unref(top.object);
}

/* An entry's advice wins, in every object of the chain. */
static void test_counts_are_by_the_advice_that_was_followed(void **state)
{
    struct fixture *f = *state;
    struct ledger lower = {0}, top = {0};
    struct pgl_map *map = pgl_map_new(NULL, NULL);
    struct pgl_fault_args args = {.map = map, .access = PGL_ACCESS_READ};

    top.object = make_shadow(f, 16);
    lower.object = f->object;
    for (int advice = PGL_ADVICE_DEFAULT; advice < PGL_ADVICE_COUNT; advice++) {
        uint64_t first = 1000 + 40 * (uint64_t)advice;

        assert_true(pgl_map_enter(map, first, first + 39, top.object, first - 1000, (enum pgl_advice)advice));
        args.index = first;
        assert_int_equal(start(&f->a, &args), PGL_FAULT_SUCCESS);
        top.stats.by_advice[advice] = (struct pgl_fault_counts){.touches = 1, .faults = 1};
        lower.stats.by_advice[advice] = (struct pgl_fault_counts){.requests = 1, .demanded = 1};
    }
    lower.stats.by_advice[PGL_ADVICE_DEFAULT].speculative = 4; /* the window behind ends where the view ends */
    lower.stats.by_advice[PGL_ADVICE_NORMAL].speculative = 3;
    lower.stats.by_advice[PGL_ADVICE_SEQUENTIAL].speculative = 7;
    lower.stats.by_reason[PGL_REASON_ROW] = 3;
    lower.stats.by_reason[PGL_REASON_ALONE] = 2; /* the other two have an empty row */
    lower.stats.resident = 5 + 14;
    assert_ledger(&top);
    assert_ledger(&lower);
    pgl_map_free(map);
    pgl_object_unref(top.object);
}

static void test_counts_of_faults_that_begin_again(void **state)
{
    struct fixture *f = *state;
    struct ledger ledger = {0};
    struct pgl_fault_counts *counts = &ledger.stats.by_advice[PGL_ADVICE_DEFAULT];

    make_object_with_credits(f, 3);
    ledger.object = f->object;
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_PENDING); /* 99..101 */
    assert_int_equal(read_page(&f->b, f->object, 101), PGL_FAULT_PENDING);
    *counts = (struct pgl_fault_counts){.touches = 2, .faults = 2, .requests = 1, .demanded = 1, .speculative = 2};
    ledger.stats.by_reason[PGL_REASON_ROW] = 1;
    ledger.stats.busy = 3;
    ledger.stats.outstanding = 3;
    ledger.stats.waiting = 2;
    assert_ledger(&ledger);

    pgl_fault_interrupt(f->a.fault); /* the second one's page is rolled back with the first one's: it asks itself */
    assert_int_equal(go_on(&f->a), PGL_FAULT_INTERRUPTED);
    assert_int_equal(go_on(&f->b), PGL_FAULT_PENDING); /* 100..102 */
    counts->requests = 2;
    counts->demanded = 2;
    counts->speculative = 4;
    ledger.stats.by_reason[PGL_REASON_ROW] = 2;
    counts->retries = 1;
    ledger.stats.waiting = 1;
    assert_ledger(&ledger);

    assert_int_equal(read_page(&f->a, f->object, 200), PGL_FAULT_PENDING); /* for a credit */
    counts->touches = 3;
    counts->faults = 3;
    ledger.stats.waiting = 2;
    assert_ledger(&ledger);
    f->sim.script = sim_now;
    sim_now(&f->sim, sim_last(&f->sim), true);
    assert_int_equal(go_on(&f->b), PGL_FAULT_SUCCESS);
    assert_int_equal(go_on(&f->a), PGL_FAULT_SUCCESS); /* 199..201 */
    counts->requests = 3;
    counts->demanded = 3;
    counts->speculative = 6;
    ledger.stats.by_reason[PGL_REASON_ROW] = 3;
    counts->retries = 2;
    counts->used = 0; /* it was asked for once more, as a demand page */
    ledger.stats.resident = 6;
    ledger.stats.busy = 0;
    ledger.stats.outstanding = 0;
    ledger.stats.waiting = 0;
    assert_ledger(&ledger);
}

/* Pages of replies that were not asked for, in or out of the object; taken ones are neither. */
static void test_counts_of_replies(void **state)
{
    struct fixture *f = *state;
    struct ledger ledger = {0};
    uint64_t id;

    make_object(f);
    ledger.object = f->object;
    pgl_object_advise(f->object, PGL_ADVICE_RANDOM);
    ledger.stats.by_advice[PGL_ADVICE_RANDOM] =
        (struct pgl_fault_counts){.touches = 1, .faults = 1, .requests = 1, .demanded = 1};
    ledger.stats.by_reason[PGL_REASON_ALONE] = 1;
    f->sim.script = sim_keep;
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_PENDING);
    id = sim_last(&f->sim)->id;
    ledger.stats.busy = 1;
    ledger.stats.outstanding = 1;
    ledger.stats.waiting = 1;
    assert_ledger(&ledger);
    assert_int_equal(pgl_pager_grant(f->object, id, (struct pgl_pager_range){100, 101}, PGL_ACCESS_READ), 0);
    ledger.stats.aliens = 2;
    assert_ledger(&ledger);
    assert_int_equal(sim_supply(&f->sim, sim_last(&f->sim), 96, 103, PGL_ACCESS_READ), 1);
    ledger.stats.resident = 1;
    ledger.stats.busy = 0;
    ledger.stats.outstanding = 0;
    ledger.stats.waiting = 0;
    ledger.stats.aliens = 9;
    assert_int_equal(go_on(&f->a), PGL_FAULT_SUCCESS);
    assert_ledger(&ledger);
    assert_int_equal(pgl_pager_no_data(f->object, id, (struct pgl_pager_range){99, 101}), 0);
    ledger.stats.aliens = 11;
    ledger.stats.duplicates = 1;
    assert_ledger(&ledger);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_counts_of_a_cluster_and_of_the_pages_of_it_that_are_used),
        TEST(test_counts_of_access_requests),
        TEST(test_counts_of_a_shadow_are_kept_where_each_happened),
        TEST(test_counts_are_by_the_advice_that_was_followed),
        TEST(test_counts_of_faults_that_begin_again),
        TEST(test_counts_of_replies),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
