/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The readers of recorded traces. The input is the text of a trace, or, when its first byte says so, the gzip file
 * itself. A trace that is accepted is written out again as it was read, and has to be read as the same.
 */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <zlib.h>

#include "fuzz.h"
#include "trace.h"

struct file {
    int fd;
    char path[40];
};

static struct file new_file(void)
{
    struct file file = {.fd = memfd_create("x.trace.gz", 0)};

    CHECK(file.fd >= 0);
    snprintf(file.path, sizeof(file.path), "/proc/self/fd/%d", file.fd);
    return file;
}

static struct file write_file(const void *data, size_t size, bool compress)
{
    struct file file = new_file();

    if (compress) {
        gzFile gz = gzdopen(dup(file.fd), "wb1");

        CHECK(gz && gzwrite(gz, data, (unsigned)size) == (int)size && gzclose(gz) == Z_OK);
    } else {
        CHECK(write(file.fd, data, size) == (ssize_t)size);
    }
    CHECK(lseek(file.fd, 0, SEEK_SET) == 0);
    return file;
}

/* Each message begins with "file:line: ". */
static void check_message(const char *message, const char *path)
{
    const char *at = message + strlen(path);

    CHECK(strncmp(message, path, strlen(path)) == 0 && *at++ == ':');
    CHECK(g_ascii_isdigit(*at));
    while (g_ascii_isdigit(*at)) {
        at++;
    }
    CHECK(at[0] == ':' && at[1] == ' ' && at[2]);
}

static struct trace *read_trace(struct file file)
{
    GError *error = NULL;
    struct trace *trace = trace_read(file.path, &error);

    CHECK(!trace == !!error);
    if (error) {
        check_message(error->message, file.path);
        g_error_free(error);
    }
    close(file.fd);
    return trace;
}

/* ---- writing ---- */

static void put_block(GString *text, const struct trace *trace, const struct trace_event *event)
{
    const struct trace_block *block = &g_array_index(trace->blocks, struct trace_block, event->arg);
    unsigned key = event->op == TRACE_EQUAL ? block->equal : event->arg;

    CHECK(block->addr == event->addr && block->size);
    if (event->op == TRACE_EQUAL) {
        const struct trace_block *equal = &g_array_index(trace->blocks, struct trace_block, block->equal);

        CHECK(block->equal < event->arg && equal->addr == block->addr && equal->addr1 == block->addr1);
    }
    g_string_append_printf(text, "%c %u %" G_GINT64_MODIFIER "x %u %x", event->op == TRACE_EQUAL ? 'E' : 'T',
                           event->vcpu, block->addr, block->size, key);
    if (block->addr1 != TRACE_NO_ADDR) {
        g_string_append_printf(text, " %" G_GINT64_MODIFIER "x", block->addr1);
    }
    g_string_append_c(text, '\n');
}

static void put_event(GString *text, const struct trace *trace, const struct trace_event *event)
{
    switch (event->op) {
    case TRACE_STORE:
        g_string_append_printf(text, "W %u %" G_GINT64_MODIFIER "x %u\n", event->vcpu, event->addr, event->arg);
        break;
    case TRACE_RANGE:
        g_string_append(text, "I ");
        if (event->vcpu == TRACE_NO_VCPU) {
            g_string_append_c(text, '-');
        } else {
            g_string_append_printf(text, "%u", event->vcpu);
        }
        g_string_append_printf(text, " %" G_GINT64_MODIFIER "x %" G_GINT64_MODIFIER "x\n", event->addr,
                               g_array_index(trace->range_last, uint64_t, event->arg));
        break;
    default:
        put_block(text, trace, event);
    }
}

static void put_touches(GString *text, const struct trace *trace)
{
    for (unsigned i = 0; i < trace->objects->len; i++) {
        const struct trace_object *object = &g_array_index(trace->objects, struct trace_object, i);

        g_string_append_printf(text, "# object %u %" G_GUINT64_FORMAT " %s\n", i, object->npages, object->name);
    }
    for (unsigned i = 0; i < trace->entries->len; i++) {
        const struct trace_entry *entry = &g_array_index(trace->entries, struct trace_entry, i);

        g_string_append_printf(text, "# entry %u %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT "\n", entry->object,
                               entry->first, entry->npages);
    }
    for (unsigned i = 0; i < trace->touches->len; i++) {
        const struct trace_touch *touch = &g_array_index(trace->touches, struct trace_touch, i);

        g_string_append_printf(text, "0 %u %" G_GUINT64_FORMAT " %c\n", touch->object, touch->page,
                               touch->write ? 'w' : 'r');
    }
}

static GString *write_trace(const struct trace *trace)
{
    GString *text = g_string_new("# pagelock-trace 1 ");

    if (trace->kind == TRACE_FAULT) {
        g_string_append_printf(text, "kind=fault page_bits=%u\n", trace->page_bits);
        put_touches(text, trace);
        return text;
    }
    g_string_append_printf(text, "kind=code page_bits=%u vcpus=%u\n", trace->page_bits, trace->vcpus);
    for (unsigned i = 0; i < trace->events->len; i++) {
        put_event(text, trace, &g_array_index(trace->events, struct trace_event, i));
    }
    return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bool is_gzip = size && data[0] == 0x1f;
    struct trace *trace = read_trace(write_file(data, size, !is_gzip)), *again;
    GString *text, *text_again;

    if (!trace) {
        return 0;
    }
    text = write_trace(trace);
    again = read_trace(write_file(text->str, text->len, true));
    CHECK(again);
    text_again = write_trace(again);
    CHECK(g_string_equal(text, text_again));
    g_string_free(text, TRUE);
    g_string_free(text_again, TRUE);
    trace_free(trace);
    trace_free(again);
    return 0;
}
