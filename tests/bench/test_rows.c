/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Each figure of each line of pagelock-bench: measurements whose outcome is known go through the code that
 * adds them up and prints them. The clock is the test's. Linked with --wrap=clock_gettime, and with what is measured by
 * micro and pager left out: the test has cases and ways of its own.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <zlib.h>

#include "../cm.h"

#include "bench.h"
#include "engine.h"
#include "micro_case.h"
#include "pager.h"
#include "replay.h"

/* The clock stands still unless a test moves it; each look at it may, by less each time. All atomic. */
static struct {
    uint64_t ns;
    uint64_t per_look;
    uint64_t less;
} fake;

int __wrap_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
    uint64_t per_look = __atomic_fetch_sub(&fake.per_look, fake.less, __ATOMIC_SEQ_CST);
    uint64_t ns = __atomic_add_fetch(&fake.ns, per_look, __ATOMIC_SEQ_CST);

    (void)clock;
    *now = (struct timespec){(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
    return 0;
}

static void pass(uint64_t ns)
{
    __atomic_fetch_add(&fake.ns, ns, __ATOMIC_SEQ_CST);
}

/* Standard output goes to a file until what was printed is wanted. */
static struct {
    int saved;
    FILE *file;
    char text[4096];
} output;

static void output_begin(void)
{
    fflush(stdout);
    output.file = tmpfile();
    assert_non_null(output.file);
    output.saved = dup(STDOUT_FILENO);
    dup2(fileno(output.file), STDOUT_FILENO);
}

static const char *output_end(void)
{
    size_t length;

    fflush(stdout);
    dup2(output.saved, STDOUT_FILENO);
    close(output.saved);
    rewind(output.file);
    length = fread(output.text, 1, sizeof(output.text) - 1, output.file);
    output.text[length] = '\0';
    fclose(output.file);
    return output.text;
}

/* Run a subcommand, and return the lines that it prints. */
static const char *lines_of(int (*command)(int argc, char **argv), const char *line)
{
    char **words = g_strsplit(line, " ", -1);
    unsigned nwords = g_strv_length(words);
    char **argv = g_memdup2(words, (nwords + 1) * sizeof(*words)); /* options are taken out of it */
    const char *text;
    int status;

    output_begin();
    status = command((int)nwords, argv);
    text = output_end();
    g_free(argv);
    g_strfreev(words);
    assert_int_equal(status, STATUS_GOOD);
    return text;
}

/* ---- micro ---- */

/* How long a run takes each of its threads, by the round: one that is not timed, then three that are. */
static struct {
    unsigned round;
    uint64_t ns[4];
    uint64_t ops; /* that were done, atomic; open_ended forgets those of the round before */
} a = {.ns = {900, 2000, 6000, 4000}}, b = {.ns = {77, 500, 1000, 2000}}, open_ended;

static void *setup_a(const struct variant *variant)
{
    (void)variant;
    return &a.ns[a.round++];
}

static void *setup_b(const struct variant *variant)
{
    (void)variant;
    return &b.ns[b.round++];
}

static void *setup_open_ended(const struct variant *variant)
{
    (void)variant;
    open_ended.ops = 0;
    return &open_ended;
}

static void teardown(void *state)
{
    (void)state;
}

static void run_for(void *state, const struct variant *variant, unsigned thread, uint64_t ops)
{
    (void)variant;
    (void)thread;
    __atomic_fetch_add(thread ? &b.ops : &a.ops, ops, __ATOMIC_SEQ_CST); /* b has a second thread, a has none */
    pass(*(const uint64_t *)state);
}

static void run_open_ended(void *state, const struct variant *variant, unsigned thread, uint64_t ops)
{
    (void)state;
    (void)variant;
    (void)thread;
    __atomic_fetch_add(&open_ended.ops, ops, __ATOMIC_SEQ_CST);
    pass(3 * ops);
}

static const struct subject subject_a = {"a", NULL, setup_a, teardown, run_for};
static const struct subject subject_b = {"b", NULL, setup_b, teardown, run_for};
static const struct subject subject_open_ended = {"c", NULL, setup_open_ended, teardown, run_open_ended};

void micro_lock_cases(GPtrArray *cases)
{
    struct micro_case *known = micro_add(cases, "known", "a and b", MICRO_NO_PLOT);
    struct variant variant = {.subject = &subject_a, .threads = 1, .pages = 5, .ops = 10};
    unsigned number = micro_variant(known, &variant);

    variant = (struct variant){.subject = &subject_b, .threads = 2, .pages = 7, .ops = 10};
    micro_pair(known, number, micro_variant(known, &variant));
}

void micro_code_cases(GPtrArray *cases)
{
    const struct variant variant = {.subject = &subject_open_ended, .threads = 2, .pages = 9};

    micro_variant(micro_add(cases, "open", "as many as there is time for", MICRO_NO_PLOT), &variant);
}

void micro_fence_cases(GPtrArray *cases)
{
    (void)cases;
}

void micro_flood_cases(GPtrArray *cases)
{
    (void)cases;
}

void micro_handover_cases(GPtrArray *cases)
{
    (void)cases;
}

void micro_fault_cases(GPtrArray *cases)
{
    (void)cases;
}

/* The answer of a run that has measured by itself, whatever the clock says. */
static double say_seven(const void *state)
{
    (void)state;
    return 7;
}

void micro_hold_cases(GPtrArray *cases)
{
    struct micro_case *one = micro_add(cases, "measured", "seven", MICRO_NO_PLOT);

    one->result = say_seven;
    micro_variant(one, &(struct variant){.subject = &subject_open_ended, .threads = 1, .pages = 2, .ops = 4});
}

void micro_kill_cases(GPtrArray *cases)
{
    (void)cases;
}

void micro_memory_cases(GPtrArray *cases)
{
    (void)cases;
}

void micro_pager_cases(GPtrArray *cases)
{
    (void)cases;
}

void micro_store_cases(GPtrArray *cases)
{
    (void)cases;
}

void micro_super_cases(GPtrArray *cases)
{
    (void)cases;
}

void micro_wait_cases(GPtrArray *cases)
{
    (void)cases;
}

static void test_rows_of_micro_are_medians_over_the_operations_of_all_threads(void **state)
{
    (void)state;
    assert_string_equal(
        lines_of(micro_main, "micro --repeat=3 --format=json known"),
        "{\"bench\":\"micro\",\"case\":\"known\",\"impl\":\"a\",\"threads\":1,\"pages\":5,\"ops\":10,"
        "\"ns_per_op\":400,\"ns_min\":200,\"ns_max\":600}\n"
        "{\"bench\":\"micro\",\"case\":\"known\",\"impl\":\"b\",\"threads\":2,\"pages\":7,\"ops\":20,"
        "\"ns_per_op\":100,\"ns_min\":50,\"ns_max\":200}\n"
        "{\"bench\":\"ratio\",\"case\":\"known\",\"threads\":2,\"pages\":7,\"a\":\"a on 1 threads of 5 pages\","
        "\"b\":\"b on 2 threads of 7 pages\",\"ratio_median\":4,\"ratio_min\":2,\"ratio_max\":6}\n");
    assert_int_equal(a.ops, 4 * 10 + 4 * 10); /* of a, and of the first thread of b */
    assert_int_equal(b.ops, 4 * 10);
}

static void test_rows_of_micro_are_what_a_run_has_measured_itself(void **state)
{
    (void)state;
    assert_string_equal(lines_of(micro_main, "micro --repeat=3 --format=json measured"),
                        "{\"bench\":\"micro\",\"case\":\"measured\",\"impl\":\"c\",\"threads\":1,\"pages\":2,\"ops\":4,"
                        "\"ns_per_op\":7,\"ns_min\":7,\"ns_max\":7}\n");
}

static void test_rows_of_micro_count_the_operations_that_there_was_time_for(void **state)
{
    const char *text = lines_of(micro_main, "micro --repeat=1 --ms=1 --format=json open");
    char *expected;

    (void)state;
    expected = g_strdup_printf("{\"bench\":\"micro\",\"case\":\"open\",\"impl\":\"c\",\"threads\":2,\"pages\":9,"
                               "\"ops\":%" G_GUINT64_FORMAT ",",
                               open_ended.ops);
    assert_memory_equal(text, expected, strlen(expected));
    g_free(expected);
}

/* ---- replay ---- */

static struct trace *make_trace(const char *lines)
{
    GError *error = NULL;
    char *path = NULL;
    int fd = g_file_open_tmp("rows-XXXXXX.trace.gz", &path, NULL);
    struct trace *trace;
    gzFile file;

    assert_true(fd >= 0);
    file = gzdopen(fd, "wb");
    assert_int_equal(gzputs(file, lines), strlen(lines));
    assert_int_equal(gzclose(file), Z_OK);
    trace = trace_read(path, &error);
    if (!trace) {
        fail_msg("%s", error->message);
    }
    unlink(path);
    g_free(path);
    g_free(trace->name);
    trace->name = g_strdup("rows");
    return trace;
}

/* How long a replay takes, by the round. */
static struct {
    unsigned round;
    uint64_t ns[3];
} one = {.ns = {50, 2200, 3300}}, two = {.ns = {60, 4400, 2200}};

static void *new_one(unsigned page_bits, unsigned addr_bits)
{
    (void)page_bits;
    (void)addr_bits;
    return &one.ns[one.round++];
}

static void *new_two(unsigned page_bits, unsigned addr_bits)
{
    (void)page_bits;
    (void)addr_bits;
    return &two.ns[two.round++];
}

static void free_table(void *table)
{
    (void)table;
}

static void init_block(void *table, void *block, const struct trace_block *of)
{
    (void)table;
    (void)block;
    (void)of;
}

static void link_block(void *table, void *block, const void *equal, struct tally *tally)
{
    (void)block;
    if (equal) {
        tally->duplicates++;
        pass(*(const uint64_t *)table); /* there is one of them */
    } else {
        tally->links++;
    }
}

/* A store to page 1 kills a block; one to page 9 takes a lock in vain. */
static void store_to(void *table, uint64_t addr, unsigned len, struct tally *tally)
{
    (void)table;
    (void)len;
    tally->killed += addr >> 12 == 1;
    tally->stores_unlocked += addr >> 12 != 1 && addr >> 12 != 9;
}

static void kill_range(void *table, uint64_t first, uint64_t last, struct tally *tally)
{
    (void)table;
    tally->killed += first != last;
}

static void count_all(void *table, struct census *census)
{
    (void)table;
    *census = (struct census){.alive = 1, .retries = 7, .table_bytes = 11111, .hot_bytes = 222};
}

static const struct impl impl_one = {"one",      "",         8,        new_one,    free_table,
                                     init_block, link_block, store_to, kill_range, count_all};
static const struct impl impl_two = {"two",      "",         8,        new_two,    free_table,
                                     init_block, link_block, store_to, kill_range, count_all};

#define COUNTS                                                                                                         \
    "\"threads\":2,\"events\":11,\"links\":3,\"duplicates\":1,\"stores\":5,\"stores_hit\":1,\"stores_unlocked\":3,"    \
    "\"ranges\":2,\"killed\":2,\"alive\":1,\"retries\":7,"

/* The threads' counts are added up: each has some of every kind. */
static void test_rows_of_code_traces_have_the_counts_of_all_threads(void **state)
{
    struct trace *trace = make_trace("# pagelock-trace 1 kind=code page_bits=12 vcpus=2\n"
                                     "T 0 1000 4 1\nT 1 2000 4 1\nT 1 3000 4 1\nE 0 1000 4 1\n"
                                     "W 0 1000 1\nW 0 9000 1\nW 0 4000 1\nW 1 4000 1\nW 1 5000 1\n"
                                     "I - 2000 2fff\nI 1 3 3\n");
    struct replay_options options = {.json = true, .threads = 2, .repeat = 2, .impls = g_ptr_array_new()};

    (void)state;
    g_ptr_array_add(options.impls, (gpointer)&impl_one);
    g_ptr_array_add(options.impls, (gpointer)&impl_two);
    output_begin();
    assert_int_equal(replay_code(&options, trace), STATUS_GOOD);
    assert_string_equal(output_end(),
                        "{\"bench\":\"replay\",\"trace\":\"rows\",\"impl\":\"one\"," COUNTS
                        "\"ns_per_event\":250,\"ns_min\":200,\"ns_max\":300,\"table_bytes\":11111,\"hot_bytes\":222}\n"
                        "{\"bench\":\"replay\",\"trace\":\"rows\",\"impl\":\"two\"," COUNTS
                        "\"ns_per_event\":300,\"ns_min\":200,\"ns_max\":400,\"table_bytes\":11111,\"hot_bytes\":222}\n"
                        "{\"bench\":\"ratio\",\"trace\":\"rows\",\"threads\":2,\"a\":\"one\",\"b\":\"two\","
                        "\"ratio_median\":1,\"ratio_min\":0.5,\"ratio_max\":1.5}\n");
    g_ptr_array_unref(options.impls);
    trace_free(trace);
}

/*
 * Two objects, of which a part of one is mapped. Page by page each first touch costs 3,200 and 1,130 ns. The normal
 * window of three pages before and twelve after brings, of the first object, 17 to 32, 10 to 16 (the entry begins
 * there) and 57 to 72 (no entry shows it), and of the second 0 to 12 and 46 to 49 (it ends there): 16 + 7 + 16 + 13 + 4
 * pages, of which five were waited for and three more are touched. Page 22 had come for reading, so that the write to
 * it asks for more.
 */
static void test_rows_of_fault_traces_have_the_counts_of_all_objects(void **state)
{
    struct trace *trace = make_trace("# pagelock-trace 1 kind=fault page_bits=12\n"
                                     "# object 0 100 a\n# object 1 50 b\n# entry 0 10 40\n"
                                     "0 0 20 r\n1 0 21 r\n2 0 22 w\n3 0 22 w\n4 0 12 r\n"
                                     "5 1 0 r\n6 1 49 w\n7 1 48 r\n8 0 60 r\n");
    struct replay_options options = {.json = true,
                                     .before = -1,
                                     .after = -1,
                                     .costs = {.fault_ns = 3200, .page_ns = 1130},
                                     .policies = g_ptr_array_new(),
                                     .standings = g_array_new(FALSE, TRUE, sizeof(struct standing))};

    (void)state;
    for (const struct policy *policy = policies; policy->name; policy++) {
        if (!strcmp(policy->name, "none") || !strcmp(policy->name, "normal")) {
            g_ptr_array_add(options.policies, (gpointer)policy);
        }
    }
    g_array_set_size(options.standings, options.policies->len);
    /* With the decisions the loop takes two looks' difference longer than without: a microsecond for all of them. */
    __atomic_store_n(&fake.less, 500, __ATOMIC_SEQ_CST);
    __atomic_store_n(&fake.per_look, 1000000, __ATOMIC_SEQ_CST);
    output_begin();
    assert_int_equal(replay_fault(&options, trace), STATUS_GOOD);
    assert_string_equal(output_end(), "{\"bench\":\"replay\",\"trace\":\"rows\",\"policy\":\"none\",\"touches\":9,"
                                      "\"faults\":8,\"requests\":8,\"pages_fetched\":8,\"pages_used\":8,\"unlocks\":0,"
                                      "\"model_ns\":34640,\"to_best\":1,\"decide_ns\":125}\n"
                                      "{\"bench\":\"replay\",\"trace\":\"rows\",\"policy\":\"normal\",\"touches\":9,"
                                      "\"faults\":5,\"requests\":5,\"pages_fetched\":56,\"pages_used\":8,"
                                      "\"unlocks\":1,\"model_ns\":79280,\"to_best\":2.28868,\"decide_ns\":200}\n");
    __atomic_store_n(&fake.less, 0, __ATOMIC_SEQ_CST);
    __atomic_store_n(&fake.per_look, 0, __ATOMIC_SEQ_CST);
    for (unsigned i = 0; i < options.standings->len; i++) {
        g_free(g_array_index(options.standings, struct standing, i).worst_trace);
    }
    g_array_unref(options.standings);
    g_ptr_array_unref(options.policies);
    trace_free(trace);
}

/* ---- pager ---- */

const struct pager_way pager_ways[] = {
    {.via = "uffd", .name = "some"}, {.via = "mmap", .name = "other"}, {.via = NULL}};

int pager_file_open(struct pager_file *file, const char *path)
{
    (void)path;
    *file = (struct pager_file){.fd = -1, .npages = 100, .page_size = 4096};
    return STATUS_GOOD;
}

void pager_file_close(struct pager_file *file)
{
    (void)file;
}

int pager_order_make(struct pager_order *order, const char *name, struct pager_file *file, size_t npages)
{
    (void)file;
    *order = (struct pager_order){.name = g_strdup(name), .npages = npages / 64};
    return STATUS_GOOD;
}

void pager_order_clear(struct pager_order *order)
{
    g_free(order->name);
}

/* Of each way in turn, three times. */
bool pager_run_way(const struct pager_config *config, const struct pager_file *file, const struct pager_order *order,
                   const struct pager_way *way, struct pager_run *run)
{
    static const struct pager_run runs[] = {{0.002, 1, 1, 1, 1, false},      {0.1, 4, 4, 0, 0, true},
                                            {0.001, 2, 2, 2, 2, false},      {0.2, 5, 5, 0, 0, true},
                                            {0.004, 8192, 3, 40, 900, true}, {0.4, 16384, 6, 0, 0, false}};
    static unsigned n;

    (void)file;
    (void)order;
    assert_int_equal(config->threads, 2);
    assert_ptr_equal(way, &pager_ways[n % 2]);
    *run = runs[n++ % G_N_ELEMENTS(runs)];
    return true;
}

static void test_rows_of_the_pager_have_the_median_time_and_the_last_counts(void **state)
{
    (void)state;
    assert_string_equal(lines_of(pager_main, "pager --repeat=3 --size=1 --threads=2 --format=json random"),
                        "{\"bench\":\"pager\",\"order\":\"random\",\"via\":\"uffd\",\"advice\":\"some\",\"cold\":true,"
                        "\"bytes_needed\":16384,\"bytes_read\":8192,\"faults\":3,\"ns_p50\":40,"
                        "\"ns_p99\":900,\"mb_per_s\":8.192,\"seconds\":0.002}\n"
                        "{\"bench\":\"pager\",\"order\":\"random\",\"via\":\"mmap\",\"advice\":\"other\","
                        "\"cold\":false,\"bytes_needed\":16384,\"bytes_read\":16384,\"faults\":6,"
                        "\"ns_p50\":0,\"ns_p99\":0,\"mb_per_s\":0.08192,\"seconds\":0.2}\n");
}

/* 1,000 touches of 4 KiB in half a second, of which 32 were faults; at first none. */
static void test_rows_of_the_live_line_count_touches_that_did_not_fault(void **state)
{
    struct pager_progress progress = {.touches = 1000, .page_size = 4096};
    char *line = pager_live_line("random", &pager_ways[0], &progress, 32, 0.5);

    (void)state;
    assert_string_equal(line, "random via uffd some: 32 faults, 8.2 MB/s, 96.8 % hits");
    g_free(line);
    progress.touches = 0;
    line = pager_live_line("random", &pager_ways[1], &progress, 1, 0);
    assert_string_equal(line, "random via mmap other: 1 faults, 0.0 MB/s, 0.0 % hits");
    g_free(line);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_of_micro_are_medians_over_the_operations_of_all_threads),
        cmocka_unit_test(test_rows_of_micro_are_what_a_run_has_measured_itself),
        cmocka_unit_test(test_rows_of_micro_count_the_operations_that_there_was_time_for),
        cmocka_unit_test(test_rows_of_code_traces_have_the_counts_of_all_threads),
        cmocka_unit_test(test_rows_of_fault_traces_have_the_counts_of_all_objects),
        cmocka_unit_test(test_rows_of_the_pager_have_the_median_time_and_the_last_counts),
        cmocka_unit_test(test_rows_of_the_live_line_count_touches_that_did_not_fault),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
