/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The replay's engine, through an implementation that only writes down what it is asked; and the arithmetic. */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../cm.h"

#include "bench.h"
#include "engine.h"

enum { MAX_LOG = 4096 };

static struct {
    pthread_mutex_t mutex; /* not of GLib, whose locks a sanitizer does not see */
    struct {
        const struct tally *by; /* one a thread */
        uint64_t addr;
    } calls[MAX_LOG];
    unsigned ncalls;
    unsigned wrong; /* calls with other arguments than the trace says */
    unsigned addr_bits;
    uint64_t alive; /* what the census finds */
} recorder = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static void record(const struct tally *by, uint64_t addr, bool right)
{
    pthread_mutex_lock(&recorder.mutex);
    recorder.wrong += !right;
    recorder.calls[recorder.ncalls].by = by;
    recorder.calls[recorder.ncalls].addr = addr;
    recorder.ncalls++;
    pthread_mutex_unlock(&recorder.mutex);
}

static void *fake_new(unsigned page_bits, unsigned addr_bits)
{
    assert_int_equal(page_bits, 12);
    recorder.ncalls = 0;
    recorder.wrong = 0;
    recorder.addr_bits = addr_bits;
    return &recorder;
}

static void fake_free(void *table)
{
    (void)table;
}

static void fake_block_init(void *table, void *block, const struct trace_block *of)
{
    (void)table;
    *(uint64_t *)block = of->addr;
}

static void fake_link(void *table, void *block, const void *equal, struct tally *tally)
{
    (void)table;
    record(tally, *(uint64_t *)block, !equal || *(uint64_t *)block == *(const uint64_t *)equal);
    if (equal) {
        tally->duplicates++;
    } else {
        tally->links++;
    }
}

/* Each store to an even address hits. */
static void fake_store(void *table, uint64_t addr, unsigned len, struct tally *tally)
{
    (void)table;
    record(tally, addr, len == 4);
    tally->killed += addr % 2 == 0;
}

static void fake_range(void *table, uint64_t first, uint64_t last, struct tally *tally)
{
    (void)table;
    record(tally, first, last == first + 9);
}

static void fake_census(void *table, struct census *census)
{
    (void)table;
    census->alive = recorder.alive;
}

static const struct impl fake = {
    .name = "fake",
    .block_size = sizeof(uint64_t),
    .table_new = fake_new,
    .table_free = fake_free,
    .block_init = fake_block_init,
    .link = fake_link,
    .store = fake_store,
    .range = fake_range,
    .census = fake_census,
};

static struct trace *make_trace(void)
{
    struct trace *trace = g_new0(struct trace, 1);

    trace->kind = TRACE_CODE;
    trace->page_bits = 12;
    trace->vcpus = 4;
    trace->blocks = g_array_new(FALSE, FALSE, sizeof(struct trace_block));
    trace->events = g_array_new(FALSE, FALSE, sizeof(struct trace_event));
    trace->range_last = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    trace->objects = g_array_new(FALSE, FALSE, sizeof(struct trace_object));
    trace->entries = g_array_new(FALSE, FALSE, sizeof(struct trace_entry));
    trace->touches = g_array_new(FALSE, FALSE, sizeof(struct trace_touch));
    return trace;
}

static void add_event(struct trace *trace, enum trace_op op, unsigned vcpu, uint64_t addr, uint32_t equal)
{
    struct trace_block block = {.addr = addr, .addr1 = TRACE_NO_ADDR, .size = 1, .equal = equal};
    struct trace_event event = {.addr = addr, .arg = 4, .vcpu = (uint16_t)vcpu, .op = op};
    uint64_t last = addr + 9;

    if (op == TRACE_LINK || op == TRACE_EQUAL) {
        event.arg = trace->blocks->len;
        g_array_append_val(trace->blocks, block);
    } else if (op == TRACE_RANGE) {
        event.arg = trace->range_last->len;
        g_array_append_val(trace->range_last, last);
    }
    g_array_append_val(trace->events, event);
}

/* The vCPU of an event is in the low byte of its address, but for ranges outside a vCPU. */
static struct trace *make_long_trace(void)
{
    struct trace *trace = make_trace();

    for (unsigned i = 0; i < 1000; i++) {
        add_event(trace, i % 3 ? TRACE_STORE : TRACE_LINK, i % 4, i << 8 | i % 4, TRACE_NO_BLOCK);
    }
    add_event(trace, TRACE_RANGE, TRACE_NO_VCPU, 2000 << 8, 0);
    return trace;
}

static void test_engine_divides_events_by_vcpu_in_order(void **state)
{
    struct trace *trace = make_long_trace();

    (void)state;
    for (unsigned threads = 1; threads <= 8; threads *= 2) {
        struct engine *engine = engine_new(trace, threads);
        const struct tally *by[4] = {NULL};
        uint64_t last[4] = {0};
        struct engine_run run;

        engine_replay(engine, &fake, &run);
        assert_int_equal(recorder.ncalls, trace->events->len);
        assert_int_equal(recorder.wrong, 0);
        for (unsigned i = 0; i < recorder.ncalls; i++) {
            unsigned thread = (recorder.calls[i].addr & 3) % threads;

            if (!by[thread]) {
                by[thread] = recorder.calls[i].by;
            }
            assert_ptr_equal(by[thread], recorder.calls[i].by);
            assert_true(!recorder.calls[i].addr || recorder.calls[i].addr > last[thread]);
            last[thread] = recorder.calls[i].addr;
        }
        for (unsigned i = 0; i < MIN(threads, 4); i++) {
            assert_non_null(by[i]);
            for (unsigned j = 0; j < i; j++) {
                assert_ptr_not_equal(by[i], by[j]);
            }
        }
        engine_free(engine);
    }
    trace_free(trace);
}

static void test_engine_counts_hits_and_duplicates(void **state)
{
    struct trace *trace = make_trace();
    struct engine *engine;
    struct engine_run run;

    (void)state;
    add_event(trace, TRACE_LINK, 0, 16, TRACE_NO_BLOCK);
    add_event(trace, TRACE_LINK, 1, 17, TRACE_NO_BLOCK);
    add_event(trace, TRACE_EQUAL, 2, 17, 1);
    add_event(trace, TRACE_STORE, 3, 20, 0);
    add_event(trace, TRACE_STORE, 3, 21, 0);
    add_event(trace, TRACE_STORE, 3, 23, 0);
    engine = engine_new(trace, 2);
    engine_replay(engine, &fake, &run);
    assert_int_equal(recorder.wrong, 0);
    assert_int_equal(run.tally.links, 2);
    assert_int_equal(run.tally.duplicates, 1);
    assert_int_equal(run.tally.stores_hit, 1);
    assert_int_equal(run.tally.killed, 1);
    assert_int_equal(recorder.addr_bits, 48);
    engine_free(engine);
    trace_free(trace);
}

static void test_engine_finds_lost_blocks(void **state)
{
    struct trace *trace = make_trace();
    struct engine *engine;
    struct engine_run run;

    (void)state;
    add_event(trace, TRACE_LINK, 0, 16, TRACE_NO_BLOCK);
    add_event(trace, TRACE_LINK, 0, 17, TRACE_NO_BLOCK);
    add_event(trace, TRACE_STORE, 0, 20, 0);
    engine = engine_new(trace, 1);
    recorder.alive = 1;
    engine_replay(engine, &fake, &run);
    assert_null(run.census.broken);
    recorder.alive = 2;
    engine_replay(engine, &fake, &run);
    assert_string_equal(run.census.broken, "links are not killed and alive together");
    engine_free(engine);
    trace_free(trace);
}

static void test_engine_takes_64_bits_where_the_trace_needs_them(void **state)
{
    const struct {
        enum trace_op op;
        uint64_t addr;
    } wide[] = {
        {TRACE_LINK, UINT64_C(1) << 48},
        {TRACE_STORE, (UINT64_C(1) << 48) - 3},
        {TRACE_RANGE, (UINT64_C(1) << 48) - 9},
    };

    (void)state;
    for (unsigned i = 0; i < G_N_ELEMENTS(wide); i++) {
        for (unsigned less = 0; less < 2; less++) {
            struct trace *trace = make_trace();
            struct engine *engine;
            struct engine_run run;

            add_event(trace, wide[i].op, 0, wide[i].addr - less, TRACE_NO_BLOCK);
            engine = engine_new(trace, 1);
            engine_replay(engine, &fake, &run);
            assert_int_equal(recorder.addr_bits, less ? 48 : 64);
            engine_free(engine);
            trace_free(trace);
        }
    }
}

static void test_spread_is_median_min_and_max(void **state)
{
    const double odd[] = {5, 1, 9}, even[] = {4, 8, 1, 2}, a[] = {10, 30, 90}, b[] = {5, 10, 100};
    struct spread spread = spread_of(odd, 3);

    (void)state;
    assert_true(spread.median == 5 && spread.min == 1 && spread.max == 9);
    spread = spread_of(even, 4);
    assert_true(spread.median == 3 && spread.min == 1 && spread.max == 8);
    spread = spread_of_ratios(a, b, 3);
    assert_true(spread.median == 2 && spread.min == 0.9 && spread.max == 3);
}

/* The line of a row on standard output. */
static char *print_row(void)
{
    JsonBuilder *row = row_begin("test");
    static char text[400];
    int saved = dup(STDOUT_FILENO);
    FILE *file = tmpfile();
    size_t length;

    assert_non_null(file);
    fflush(stdout);
    dup2(fileno(file), STDOUT_FILENO);
    row_text(row, "text", "a \"b\"\n");
    row_count(row, "count", 123456789012);
    row_flag(row, "flag", true);
    row_real(row, "third", 1.0 / 3);
    row_real(row, "whole", 34);
    row_real(row, "noise", 34.5509);
    row_real(row, "large", 123456789);
    row_real(row, "none", NAN);
    row_real(row, "endless", INFINITY);
    row_end(row);
    dup2(saved, STDOUT_FILENO);
    close(saved);
    rewind(file);
    length = fread(text, 1, sizeof(text) - 1, file);
    text[length] = '\0';
    fclose(file);
    return text;
}

static void test_row_has_its_members_in_order_and_reals_to_six_digits(void **state)
{
    (void)state;
    assert_string_equal(print_row(), "{\"bench\":\"test\",\"text\":\"a \\\"b\\\"\\n\",\"count\":123456789012,"
                                     "\"flag\":true,\"third\":0.333333,\"whole\":34,\"noise\":34.5509,"
                                     "\"large\":1.23457e+08,\"none\":null,\"endless\":null}\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_engine_divides_events_by_vcpu_in_order),
        cmocka_unit_test(test_engine_counts_hits_and_duplicates),
        cmocka_unit_test(test_engine_finds_lost_blocks),
        cmocka_unit_test(test_engine_takes_64_bits_where_the_trace_needs_them),
        cmocka_unit_test(test_spread_is_median_min_and_max),
        cmocka_unit_test(test_row_has_its_members_in_order_and_reals_to_six_digits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
