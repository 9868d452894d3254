/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The trace readers: what they make of good lines, and what they say of bad ones. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <zlib.h>

#include "../cm.h"
#include "trace.h"

#define CODE "# pagelock-trace 1 kind=code page_bits=12 vcpus=4\n"
#define FAULT "# pagelock-trace 1 kind=fault page_bits=12\n# object 0 100 some file\n# entry 0 10 90\n"

static char path[] = "/tmp/pagelock-XXXXXX.trace.gz";

static int make_path(void **state)
{
    (void)state;
    return close(mkstemps(path, (int)strlen(".trace.gz")));
}

static int remove_path(void **state)
{
    (void)state;
    return unlink(path);
}

static void write_gzip(const char *text, size_t length)
{
    gzFile file = gzopen(path, "wb");

    assert_non_null(file);
    assert_int_equal(gzwrite(file, text, (unsigned)length), length);
    assert_int_equal(gzclose(file), Z_OK);
}

static void write_raw(const void *bytes, size_t length)
{
    FILE *file = fopen(path, "wb");

    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, length, file), length);
    assert_int_equal(fclose(file), 0);
}

static struct trace *read_good(const char *text)
{
    GError *error = NULL;
    struct trace *trace;

    write_gzip(text, strlen(text));
    trace = trace_read(path, &error);
    if (!trace) {
        fail_msg("%s", error->message);
    }
    return trace;
}

/* The file as it lies there is refused with "path:line: @what". */
static void expect_refused(unsigned line, const char *what)
{
    char *expected = g_strdup_printf("%s:%u: %s", path, line, what);
    GError *error = NULL;

    assert_null(trace_read(path, &error));
    assert_non_null(error);
    assert_string_equal(error->message, expected);
    g_error_free(error);
    g_free(expected);
}

static void expect_bad(const char *text, unsigned line, const char *what)
{
    write_gzip(text, strlen(text));
    expect_refused(line, what);
}

static void test_trace_reads_every_kind_of_code_line(void **state)
{
    struct trace *trace = read_good("# pagelock-trace 1 kind=code page_bits=10 vcpus=3\n# a note\nT 0 13f0 16 a\n"
                                    "T 2 13f0 17 a 800\nW 1 ffffffffffffffc0 64\nI - 0 ffffffffffffffff\nI 1 7 7\n");
    const struct trace_block *block = (const struct trace_block *)trace->blocks->data;
    const struct trace_event *event = (const struct trace_event *)trace->events->data;

    (void)state;
    assert_int_equal(trace->kind, TRACE_CODE);
    assert_int_equal(trace->page_bits, 10);
    assert_int_equal(trace->vcpus, 3);
    assert_int_equal(strncmp(trace->name, path + strlen("/tmp/"), strlen(path) - strlen("/tmp/.trace.gz")), 0);
    assert_int_equal(strlen(trace->name), strlen(path) - strlen("/tmp/.trace.gz"));
    assert_int_equal(trace->blocks->len, 2);
    assert_int_equal(block[0].size, 16);
    assert_true(block[0].addr1 == TRACE_NO_ADDR);
    assert_int_equal(block[1].addr, 0x13f0);
    assert_int_equal(block[1].addr1, 0x800);
    assert_int_equal(trace->events->len, 5);
    assert_int_equal(event[1].op, TRACE_LINK);
    assert_int_equal(event[1].vcpu, 2);
    assert_int_equal(event[1].arg, 1);
    assert_int_equal(event[2].op, TRACE_STORE);
    assert_true(event[2].addr == UINT64_MAX - 63);
    assert_int_equal(event[2].arg, 64);
    assert_int_equal(event[3].op, TRACE_RANGE);
    assert_int_equal(event[3].vcpu, TRACE_NO_VCPU);
    assert_true(g_array_index(trace->range_last, uint64_t, event[3].arg) == UINT64_MAX);
    assert_int_equal(event[4].vcpu, 1);
    trace_free(trace);
}

/* Address, key and second page name a block together: a line that differs in one of them is another block's. */
static void test_trace_equal_line_repeats_the_last_block_of_its_name(void **state)
{
    struct trace *trace = read_good(CODE "T 0 1ff0 32 a 3000\nT 0 1ff0 32 b 3000\nT 0 1ff0 32 a 5000\n"
                                         "T 0 1ff0 8 a\nT 0 1ff0 32 a 3000\nE 1 1ff0 32 a 3000\nE 1 1ff0 8 a\n"
                                         "E 1 1ff0 32 a 5000\nE 1 1ff0 32 b 3000\n");
    const struct trace_block *block = (const struct trace_block *)trace->blocks->data;

    (void)state;
    assert_int_equal(block[0].equal, TRACE_NO_BLOCK);
    assert_int_equal(block[5].equal, 4);
    assert_int_equal(block[6].equal, 3);
    assert_int_equal(block[7].equal, 2);
    assert_int_equal(block[8].equal, 1);
    trace_free(trace);
}

static void test_trace_reads_every_kind_of_fault_line(void **state)
{
    struct trace *trace = read_good("# pagelock-trace 1 kind=fault page_bits=21\n# object id npages name\n"
                                    "# object 0 100 some file\n# entry object first npages   (window)\n"
                                    "# object 1 8 x\n# entry 1 7 1\n0 0 99 r\n18446744073709551615 1 7 w\n");
    const struct trace_object *object = (const struct trace_object *)trace->objects->data;
    const struct trace_entry *entry = (const struct trace_entry *)trace->entries->data;
    const struct trace_touch *touch = (const struct trace_touch *)trace->touches->data;

    (void)state;
    assert_int_equal(trace->kind, TRACE_FAULT);
    assert_int_equal(trace->page_bits, 21);
    assert_int_equal(trace->objects->len, 2);
    assert_int_equal(object[0].npages, 100);
    assert_string_equal(object[0].name, "some file");
    assert_int_equal(trace->entries->len, 1);
    assert_int_equal(entry[0].object, 1);
    assert_int_equal(entry[0].first, 7);
    assert_int_equal(entry[0].npages, 1);
    assert_int_equal(trace->touches->len, 2);
    assert_int_equal(touch[0].page, 99);
    assert_false(touch[0].write);
    assert_int_equal(touch[1].object, 1);
    assert_true(touch[1].write);
    trace_free(trace);
}

static void test_trace_bad_header_is_refused(void **state)
{
    static const struct {
        const char *header, *what;
    } bad[] = {
        {"T 0 0 1 a", "not a trace: its first line does not start with \"# pagelock-trace \""},
        {"# pagelock-trace 2 kind=code page_bits=12 vcpus=4", "2 in place of 1"},
        {"# pagelock-trace 1 kind=heap page_bits=12 vcpus=4", "kind=heap in place of kind=code or kind=fault"},
        {"# pagelock-trace 1 kind=code page_bits=9 vcpus=4", "page_bits is not in 10..21: 9"},
        {"# pagelock-trace 1 kind=code page_bits=22 vcpus=4", "page_bits is not in 10..21: 22"},
        {"# pagelock-trace 1 kind=fault page_bits=", "page_bits is empty"},
        {"# pagelock-trace 1 kind=code page_bits=12", "vcpus is missing"},
        {"# pagelock-trace 1 kind=code vcpus=4 page_bits=12", "vcpus=4 in place of page_bits="},
        {"# pagelock-trace 1 kind=code page_bits=12 vcpus=0", "vcpus is not in 1..1024: 0"},
        {"# pagelock-trace 1 kind=code page_bits=12 vcpus=4 x", "more fields than expected: x"},
    };

    (void)state;
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        char *text = g_strconcat(bad[i].header, "\nT 0 0 1 a\n", NULL);

        expect_bad(text, 1, bad[i].what);
        g_free(text);
    }
}

static void test_trace_bad_code_line_is_refused_with_its_number(void **state)
{
    static const struct {
        const char *line, *what;
    } bad[] = {
        {"X 0 0 1", "unknown kind of event: X"},
        {"", "the kind of event is empty"},
        {"T 4 1000 1 a", "vcpu is not in 0..3: 4"},
        {"T - 1000 1 a", "vcpu is not a decimal number: -"},
        {"T 0", "paddr is missing"},
        {"T 0  1000 1 a", "paddr is empty"},
        {"T 0 0x1000 1 a", "paddr is not a hexadecimal number: 0x1000"},
        {"T 0 10000000000000000 1 a", "paddr does not fit in 64 bits: 10000000000000000"},
        {"T 0 1000 0 a", "size is not in 1..8192: 0"},
        {"T 0 1000 8193 a 2000", "size is not in 1..8192: 8193"},
        {"T 0 1000 18446744073709551616 a", "size does not fit in 64 bits: 18446744073709551616"},
        {"T 0 1000 99999999999999999999 a", "size does not fit in 64 bits: 99999999999999999999"},
        {"T 0 1000 -1 a", "size is not a decimal number: -1"},
        {"T 0 1000 1", "key is missing"},
        {"T 0 1000 1 a ", "trailing blank"},
        {"T 0 1000 1 ", "trailing blank"},
        {"T 0 1000  1 a", "size is empty"},
        {"W 0 1000 1 ", "trailing blank"},
        {"T 0 1000 1 a 2000", "paddr1 is given, but the block ends on its first page"},
        {"T 0 1001 4096 a", "the block runs beyond its page, and paddr1 is missing"},
        {"T 0 1001 4096 a 2001", "paddr1 is not the start of a page"},
        {"T 0 1fff 4098 a 2000", "the block runs beyond its second page"},
        {"T 0 1001 4096 a 2000 b", "more fields than expected: b"},
        {"T 0 1000 1 a\r", "key is not a hexadecimal number: a\\r"},
        {"\033[2J 0 1000 1 a", "unknown kind of event: \\033[2J"},
        {"E 0 1000 2 b", "no line before has linked an equal block"},
        {"W 0 1000 0", "len is not in 1..64: 0"},
        {"W 0 1000 65", "len is not in 1..64: 65"},
        {"W 0 ffffffffffffffff 2", "the store runs beyond the last address"},
        {"W - 1000 1", "vcpu is not a decimal number: -"},
        {"W 0 1000 1 1", "more fields than expected: 1"},
        {"I 0 1000 fff", "the range ends before it starts"},
        {"I 4 0 0", "vcpu is not in 0..3: 4"},
        {"I - 0", "last is missing"},
        {"I -", "vcpu is not a decimal number: -"},
    };

    (void)state;
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        char *text = g_strconcat(CODE "T 0 0 1 a\nE 0 0 1 a\n", bad[i].line, "\nW 0 0 1\n", NULL);

        expect_bad(text, 4, bad[i].what);
        g_free(text);
    }
}

static void test_trace_bad_fault_line_is_refused_with_its_number(void **state)
{
    static const struct {
        const char *line, *what;
    } bad[] = {
        {"# object 2 10 x", "object is not in 1..1: 2"},
        {"# object 1 0 x", "npages is not in 1..4294967296: 0"},
        {"# object 1 10", "name is missing"},
        {"# entry 1 0 10", "object is not in 0..0: 1"},
        {"# entry 0 100 1", "first is not in 0..99: 100"},
        {"# entry 0 99 2", "npages is not in 1..1: 2"},
        {"# entry 0 9 0", "npages is not in 1..91: 0"},
        {"x 0 0 r", "t_ns is not a decimal number: x"},
        {"1 1 0 r", "object is not in 0..0: 1"},
        {"1 0 100 r", "page is not in 0..99: 100"},
        {"1 0 0", "r or w is missing"},
        {"1 0 0 x", "x in place of r or w"},
        {"1 0 0 r ", "trailing blank"},
        {"1 0 0 r r", "more fields than expected: r"},
        {"", "t_ns is empty"},
    };

    (void)state;
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        char *text = g_strconcat(FAULT "0 0 0 r\n", bad[i].line, "\n0 0 1 r\n", NULL);

        expect_bad(text, 5, bad[i].what);
        g_free(text);
    }
    expect_bad("# pagelock-trace 1 kind=fault page_bits=12\n0 0 0 r\n", 2, "no object has been declared");
}

static void test_trace_file_that_is_no_whole_gzip_is_refused(void **state)
{
    static const char text[] = CODE "T 0 0 1 a\nT 0 1 1 a\nT 0 2 1 a\n";
    static const char zero_inside[] = CODE "T 0 0 1 a\nW 0 \0 0 1\n";
    char *packed, *long_line = g_strnfill(5000, 'x');
    size_t length;

    (void)state;
    write_raw("", 0);
    expect_refused(1, "the file is empty");
    expect_bad("", 1, "the file is empty");
    write_raw(text, strlen(text));
    expect_refused(1, "not a gzip file");
    expect_bad(CODE, 2, "the trace has no events");
    expect_bad(FAULT, 4, "the trace has no touches");
    expect_bad(CODE "T 0 0 1 a\nT 0 1 1", 3, "truncated: the last line has no end");
    expect_bad("# pagelock-trace", 1, "truncated: the last line has no end");
    write_gzip(zero_inside, sizeof(zero_inside) - 1);
    expect_refused(3, "longer than 4094 bytes, or not text");
    expect_bad(long_line, 1, "longer than 4094 bytes, or not text");
    g_free(long_line);

    write_gzip(text, strlen(text));
    assert_true(g_file_get_contents(path, &packed, &length, NULL));
    write_raw(packed, length - 1);
    expect_refused(5, "truncated: the gzip data ends too early");
    packed[length - 5] ^= 1;
    write_raw(packed, length);
    expect_refused(5, "damaged gzip data");
    g_free(packed);
}

/* gzip files may be put one behind another; what is no gzip data there was meant to be something. */
static void test_trace_what_follows_the_gzip_data_counts(void **state)
{
    static const char *const garbage[] = {"x", "T 0 2 1 a\n", "\037", "\037\213", "\037x"};
    static const char *const what[] = {"garbage behind the gzip data", "garbage behind the gzip data",
                                       "truncated: the gzip data ends too early",
                                       "truncated: the gzip data ends too early", "damaged gzip data"};
    char *first, *second, *both;
    size_t nfirst, nsecond;
    struct trace *trace;

    (void)state;
    write_gzip("W 0 1 1\nW 0 2 1\n", 16);
    assert_true(g_file_get_contents(path, &second, &nsecond, NULL));
    write_gzip(CODE "T 0 0 1 a\n", strlen(CODE "T 0 0 1 a\n"));
    assert_true(g_file_get_contents(path, &first, &nfirst, NULL));
    both = g_malloc(nfirst + nsecond);
    memcpy(both, first, nfirst);
    memcpy(both + nfirst, second, nsecond);
    write_raw(both, nfirst + nsecond);
    trace = trace_read(path, NULL);
    assert_non_null(trace);
    assert_int_equal(trace->events->len, 3);
    trace_free(trace);
    for (unsigned i = 0; i < G_N_ELEMENTS(garbage); i++) {
        memcpy(both + nfirst, garbage[i], strlen(garbage[i]));
        write_raw(both, nfirst + strlen(garbage[i]));
        expect_refused(3, what[i]);
    }
    memset(both + nfirst, 0, nsecond);
    write_raw(both, nfirst + nsecond);
    expect_refused(3, "garbage behind the gzip data");
    g_free(first);
    g_free(second);
    g_free(both);
}

/* The text comes in pieces; lines that lie across their ends are whole. */
static void test_trace_long_file_is_read_whole(void **state)
{
    GString *text = g_string_new(CODE);
    struct trace *trace;

    (void)state;
    for (unsigned i = 0; i < 100000; i++) {
        g_string_append_printf(text, "W %u %x %u\n", i % 4, i * 977, i % 64 + 1);
    }
    trace = read_good(text->str);
    assert_int_equal(trace->events->len, 100000);
    for (unsigned i = 0; i < 100000; i++) {
        const struct trace_event *event = &g_array_index(trace->events, struct trace_event, i);

        assert_true(event->vcpu == i % 4 && event->addr == i * 977 && event->arg == i % 64 + 1);
    }
    trace_free(trace);
    g_string_append(text, "W 0 0\n");
    expect_bad(text->str, 100002, "len is missing");
    g_string_free(text, TRUE);
}

static void test_trace_file_that_cannot_be_opened_is_refused(void **state)
{
    GError *error = NULL;

    (void)state;
    assert_null(trace_read("/nonexistent/x.trace.gz", &error));
    assert_string_equal(error->message, "/nonexistent/x.trace.gz: cannot open: No such file or directory");
    g_error_free(error);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trace_reads_every_kind_of_code_line),
        cmocka_unit_test(test_trace_equal_line_repeats_the_last_block_of_its_name),
        cmocka_unit_test(test_trace_reads_every_kind_of_fault_line),
        cmocka_unit_test(test_trace_bad_header_is_refused),
        cmocka_unit_test(test_trace_bad_code_line_is_refused_with_its_number),
        cmocka_unit_test(test_trace_bad_fault_line_is_refused_with_its_number),
        cmocka_unit_test(test_trace_file_that_is_no_whole_gzip_is_refused),
        cmocka_unit_test(test_trace_what_follows_the_gzip_data_counts),
        cmocka_unit_test(test_trace_long_file_is_read_whole),
        cmocka_unit_test(test_trace_file_that_cannot_be_opened_is_refused),
    };
    return cmocka_run_group_tests(tests, make_path, remove_path);
}
