/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The yardsticks of fault traces: where windows lie, and a clairvoyant against every way to cover a few pages. */
#include <string.h>

#include "yardstick.h"

#include "../cm.h"

/* A trace of one object, of which entries may show parts. */
static struct trace *make_trace(uint64_t npages)
{
    struct trace *trace = g_new0(struct trace, 1);
    const struct trace_object object = {.npages = npages};

    trace->kind = TRACE_FAULT;
    trace->objects = g_array_new(FALSE, FALSE, sizeof(struct trace_object));
    trace->entries = g_array_new(FALSE, FALSE, sizeof(struct trace_entry));
    trace->touches = g_array_new(FALSE, FALSE, sizeof(struct trace_touch));
    g_array_append_val(trace->objects, object);
    return trace;
}

static void drop_trace(struct trace *trace)
{
    g_array_unref(trace->objects);
    g_array_unref(trace->entries);
    g_array_unref(trace->touches);
    g_free(trace);
}

static void add_entry(struct trace *trace, uint64_t first, uint64_t npages)
{
    const struct trace_entry entry = {.object = 0, .first = first, .npages = npages};

    g_array_append_val(trace->entries, entry);
}

static void add_touch(struct trace *trace, uint64_t page)
{
    const struct trace_touch touch = {.page = page, .object = 0};

    g_array_append_val(trace->touches, touch);
}

static struct fetches fixed(const struct trace *trace, const char *name)
{
    for (unsigned i = 0; i < YARDSTICK_WINDOWS; i++) {
        if (!strcmp(yardstick_windows[i].name, name)) {
            return yardstick_fixed(trace, &yardstick_windows[i]);
        }
    }
    fail_msg("there is no window %s", name);
    return (struct fetches){0, 0};
}

static void assert_fetches(struct fetches fetches, uint64_t requests, uint64_t pages)
{
    assert_int_equal(fetches.requests, requests);
    assert_int_equal(fetches.pages, pages);
}

/* After page 37 a second touch asks again where the first window ended before it. */
static void test_yardstick_windows_lie_where_their_names_say(void **state)
{
    static const struct {
        const char *name;
        uint64_t first, last;
    } cases[] = {{"none", 37, 37},       {"forward-2", 37, 38}, {"forward-64", 37, 100}, {"centred-2", 37, 38},
                 {"centred-4", 36, 39},  {"centred-8", 34, 41}, {"centred-64", 6, 69},   {"aligned-4", 36, 39},
                 {"aligned-16", 32, 47}, {"aligned-64", 0, 63}};

    (void)state;
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (int inside = 0; inside < 2; inside++) {
            struct trace *trace = make_trace(1000);
            uint64_t npages = cases[i].last - cases[i].first + 1;

            add_touch(trace, 37);
            add_touch(trace, cases[i].last + !inside);
            assert_int_equal(fixed(trace, cases[i].name).requests, inside ? 1 : 2);
            assert_true(!inside || fixed(trace, cases[i].name).pages == npages);
            drop_trace(trace);
        }
    }
}

static void test_yardstick_windows_end_with_the_entry_and_with_what_is_there(void **state)
{
    struct trace *trace = make_trace(1000);

    (void)state;
    add_entry(trace, 30, 20);
    add_touch(trace, 37);
    add_touch(trace, 37);
    assert_fetches(fixed(trace, "aligned-64"), 1, 20);
    add_touch(trace, 990); /* no entry shows it */
    assert_fetches(fixed(trace, "forward-32"), 2, 13 + 10);
    add_touch(trace, 36);
    add_touch(trace, 31);
    assert_fetches(fixed(trace, "forward-4"), 4, 4 + 4 + 1 + 4); /* 37 is there when 36 is touched */
    drop_trace(trace);
}

/* The cheapest of all ways to cut an ascending list of pages into clusters of at most 64. */
static uint64_t cheapest_ns(const uint64_t *pages, unsigned n, const struct pgl_costs *costs)
{
    uint64_t least = UINT64_MAX;

    for (unsigned cuts = 0; cuts < 1u << (n - 1); cuts++) {
        struct fetches fetches = {0, 0};
        bool fits = true;
        unsigned from = 0;

        for (unsigned i = 0; i < n; i++) {
            if (i == n - 1 || (cuts >> i & 1)) {
                fits = fits && pages[i] - pages[from] < 64;
                fetches.requests++;
                fetches.pages += pages[i] - pages[from] + 1;
                from = i + 1;
            }
        }
        if (fits && fetches_ns(&fetches, costs) < least) {
            least = fetches_ns(&fetches, costs);
        }
    }
    return least;
}

static void test_yardstick_clairvoyant_is_the_cheapest_cover(void **state)
{
    static const struct pgl_costs costs[] = {{3200, 1130}, {88000, 7600}, {1, 1000}, {1000000, 1}};
    uint64_t x = UINT64_C(88172645463325252);

    (void)state;
    for (unsigned round = 0; round < 200; round++) {
        struct trace *trace = make_trace(1000);
        uint64_t pages[10], page = 0;

        for (unsigned i = 0; i < 10; i++) {
            x = x * UINT64_C(6364136223846793005) + 1442695040888963407;
            page += 1 + (x >> 33) % (round % 2 ? 12 : 60);
            pages[i] = page;
        }
        for (unsigned i = 0; i < 30; i++) {
            add_touch(trace, pages[(7 * i + round) % 10]); /* in another order, and again */
        }
        for (unsigned i = 0; i < 4; i++) {
            struct fetches fetches = yardstick_clairvoyant(trace, &costs[i]);

            assert_int_equal(fetches_ns(&fetches, &costs[i]), cheapest_ns(pages, 10, &costs[i]));
        }
        drop_trace(trace);
    }
}

/* Faults that cost everything would make one cluster of two pages in different entries. */
static void test_yardstick_clairvoyant_stays_inside_entries_and_64_pages(void **state)
{
    static const struct pgl_costs costs = {1000000, 1};
    struct trace *trace = make_trace(1000);

    (void)state;
    add_entry(trace, 0, 40);
    add_entry(trace, 40, 200);
    add_touch(trace, 39);
    add_touch(trace, 40);
    assert_fetches(yardstick_clairvoyant(trace, &costs), 2, 2);
    add_touch(trace, 103);
    assert_fetches(yardstick_clairvoyant(trace, &costs), 2, 1 + 64);
    add_touch(trace, 104);
    assert_fetches(yardstick_clairvoyant(trace, &costs), 3, 1 + 1 + 2);
    drop_trace(trace);
}

static void test_yardstick_best_is_the_cheapest_at_the_costs(void **state)
{
    static const struct pgl_costs free_pages = {1000000, 1}, free_faults = {1, 1000000};
    struct fetches all[YARDSTICK_WINDOWS];
    struct trace *trace = make_trace(1000);

    (void)state;
    for (uint64_t page = 63; page > 40; page -= 2) {
        add_touch(trace, page);
    }
    for (unsigned i = 0; i < YARDSTICK_WINDOWS; i++) {
        all[i] = yardstick_fixed(trace, &yardstick_windows[i]);
    }
    assert_string_equal(yardstick_windows[yardstick_best(all, &free_pages)].name, "aligned-32");
    assert_string_equal(yardstick_windows[yardstick_best(all, &free_faults)].name, "none");
    drop_trace(trace);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_yardstick_windows_lie_where_their_names_say),
        cmocka_unit_test(test_yardstick_windows_end_with_the_entry_and_with_what_is_there),
        cmocka_unit_test(test_yardstick_clairvoyant_is_the_cheapest_cover),
        cmocka_unit_test(test_yardstick_clairvoyant_stays_inside_entries_and_64_pages),
        cmocka_unit_test(test_yardstick_best_is_the_cheapest_at_the_costs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
