/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The file that pages come from, and the orders in which they are touched. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench.h"
#include "pager.h"
#include "trace.h"

enum { RANDOM_SHARE = 16 }; /* of so many pages one is touched at random */

int pager_file_open(struct pager_file *file, const char *path)
{
    struct stat status;

    *file = (struct pager_file){.path = path, .fd = -1, .page_size = (size_t)sysconf(_SC_PAGESIZE)};
    if (!path) {
        return STATUS_GOOD;
    }
    file->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (file->fd < 0 || fstat(file->fd, &status)) {
        return usage_error("cannot open %s: %s", path, g_strerror(errno));
    }
    file->npages = (size_t)status.st_size / file->page_size;
    if (!S_ISREG(status.st_mode) || !file->npages) {
        return usage_error("%s is not a file of a page or more", path);
    }
    return STATUS_GOOD;
}

void pager_file_close(struct pager_file *file)
{
    if (file->fd >= 0) {
        close(file->fd);
    }
}

/* A file without a name, on storage, whose pages differ. */
static int make_file(struct pager_file *file, size_t npages)
{
    char path[] = "/var/tmp/pagelock-bench-XXXXXX";
    unsigned char *page = g_malloc(file->page_size);
    bool good;

    pager_file_close(file);
    file->fd = mkstemp(path);
    good = file->fd >= 0 && !unlink(path);
    for (file->npages = 0; file->npages < npages && good; file->npages++) {
        memset(page, (int)(file->npages % 251) + 1, file->page_size);
        good = write(file->fd, page, file->page_size) == (ssize_t)file->page_size;
        if (file->npages % 4096 == 0) {
            progress_show("making a file", (unsigned)(file->npages / 4096), (unsigned)(npages / 4096) + 1);
        }
    }
    progress_clear();
    if (!good) {
        g_printerr("pagelock-bench: cannot make a file in /var/tmp: %s\n", g_strerror(errno));
    }
    g_free(page);
    return good ? STATUS_GOOD : STATUS_FAILED;
}

static int want_pages(struct pager_file *file, size_t npages)
{
    if (npages <= file->npages) {
        return STATUS_GOOD;
    }
    if (file->path) {
        return usage_error("%s is too short: the trace wants %zu pages", file->path, npages);
    }
    return make_file(file, npages);
}

static void add_touch(struct pager_order *order, uint64_t page, bool write)
{
    const struct trace_touch touch = {.page = page, .write = write};

    g_array_append_val(order->touches, touch);
}

/* One page of each 16, none twice; the same ones each time. */
static void fill_random(struct pager_order *order, size_t npages)
{
    GRand *random = g_rand_new_with_seed(1);
    uint32_t *pages = g_new(uint32_t, npages);

    for (size_t i = 0; i < npages; i++) {
        pages[i] = (uint32_t)i;
    }
    for (size_t i = 0; i < (npages + RANDOM_SHARE - 1) / RANDOM_SHARE; i++) {
        size_t other = (size_t)g_rand_int_range(random, (int)i, (int)npages);
        uint32_t page = pages[other];

        pages[other] = pages[i];
        add_touch(order, page, false);
    }
    g_free(pages);
    g_rand_free(random);
}

/* The touches of a fault trace, its objects one behind the other in the file. */
static int fill_trace(struct pager_order *order, const char *path, const struct trace *trace, struct pager_file *file)
{
    size_t *first, npages = 0;

    if (trace->kind != TRACE_FAULT) {
        return usage_error("%s is not a fault trace", path);
    }
    if (UINT64_C(1) << trace->page_bits != file->page_size) {
        return usage_error("%s has pages of another size than this machine", path);
    }
    first = g_new(size_t, trace->objects->len);
    for (unsigned i = 0; i < trace->objects->len; i++) {
        first[i] = npages;
        npages += g_array_index(trace->objects, struct trace_object, i).npages;
    }
    for (unsigned i = 0; i < trace->touches->len; i++) {
        const struct trace_touch *touch = &g_array_index(trace->touches, struct trace_touch, i);

        add_touch(order, first[touch->object] + touch->page, touch->write);
    }
    g_free(first);
    return want_pages(file, npages);
}

/* Counts the pages, and sums up what has to be found in memory, from the file itself and what was written before. */
static int sum_up(struct pager_order *order, const struct pager_file *file)
{
    enum { UNTOUCHED, READ, WRITTEN };
    unsigned char *pages = g_malloc0(file->npages), byte;
    bool good = true;

    for (unsigned i = 0; i < order->touches->len && good; i++) {
        const struct trace_touch *one = &g_array_index(order->touches, struct trace_touch, i);
        unsigned char *page = &pages[one->page];

        order->npages += *page == UNTOUCHED;
        *page = one->write || *page == WRITTEN ? WRITTEN : READ;
        byte = PAGER_WRITES;
        good = *page == WRITTEN || pread(file->fd, &byte, 1, (off_t)(one->page * file->page_size)) == 1;
        if (!one->write) {
            order->sum += byte;
        }
    }
    if (!good) {
        g_printerr("pagelock-bench: cannot read the file: %s\n", g_strerror(errno));
    }
    g_free(pages);
    return good ? STATUS_GOOD : STATUS_FAILED;
}

int pager_order_make(struct pager_order *order, const char *name, struct pager_file *file, size_t npages)
{
    bool sequential = !strcmp(name, "sequential"), random = !strcmp(name, "random");
    int status;

    *order = (struct pager_order){.touches = g_array_new(FALSE, FALSE, sizeof(struct trace_touch))};
    if (sequential || random) {
        status = want_pages(file, file->path ? 0 : npages);
        order->name = g_strdup(name);
        for (size_t page = 0; page < file->npages && sequential; page++) {
            add_touch(order, page, false);
        }
        if (random && status == STATUS_GOOD) {
            fill_random(order, file->npages);
        }
    } else {
        GError *error = NULL;
        struct trace *trace = trace_read(name, &error);

        if (!trace) {
            GPtrArray *words = g_ptr_array_new();
            char *hint;

            g_ptr_array_add(words, (gpointer) "sequential");
            g_ptr_array_add(words, (gpointer) "random");
            hint = access(name, F_OK) ? hint_of(name, words) : g_strdup("");
            g_printerr("%s%s\n", error->message, hint);
            g_free(hint);
            g_ptr_array_unref(words);
            g_error_free(error);
            return STATUS_USAGE;
        }
        status = fill_trace(order, name, trace, file);
        order->name = g_strdup(trace->name);
        trace_free(trace);
    }
    return status == STATUS_GOOD ? sum_up(order, file) : status;
}

void pager_order_clear(struct pager_order *order)
{
    g_array_unref(order->touches);
    g_free(order->name);
}
