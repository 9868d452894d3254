/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Getting at the pages of a file: through userfaultfd, or as the kernel maps them. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <pagelock/uffd.h>

#include "clock.h"
#include "pager.h"
#include "trace.h"

const struct pager_way pager_ways[] = {
    {"uffd", "none", PGL_ADVICE_RANDOM, true, 0},
    {"uffd", "random", PGL_ADVICE_RANDOM, false, 0},
    {"uffd", "normal", PGL_ADVICE_NORMAL, false, 0},
    {"uffd", "sequential", PGL_ADVICE_SEQUENTIAL, false, 0},
    {"uffd", "adaptive", PGL_ADVICE_ADAPTIVE, false, 0},
    {"mmap", "random", PGL_ADVICE_DEFAULT, false, MADV_RANDOM},
    {"mmap", "normal", PGL_ADVICE_DEFAULT, false, MADV_NORMAL},
    {"mmap", "sequential", PGL_ADVICE_DEFAULT, false, MADV_SEQUENTIAL},
    {NULL, NULL, PGL_ADVICE_DEFAULT, false, 0},
};

/* Prints what a call said. */
static bool failed(const char *what)
{
    g_printerr("pagelock-bench: %s: %s\n", what, g_strerror(errno));
    return false;
}

/* Asks the kernel to forget the file's pages; returns whether it did. A file that lives in memory stays there. */
static bool drop_cache(const struct pager_file *file)
{
    size_t length = file->npages * file->page_size;
    unsigned char *cached = g_malloc0(file->npages);
    void *memory;
    bool dropped;

    fdatasync(file->fd);
    posix_fadvise(file->fd, 0, 0, POSIX_FADV_DONTNEED);
    memory = mmap(NULL, length, PROT_READ, MAP_SHARED, file->fd, 0);
    dropped = memory != MAP_FAILED && !mincore(memory, length, cached);
    for (size_t i = 0; i < file->npages && dropped; i++) {
        dropped = !(cached[i] & 1);
    }
    if (memory != MAP_FAILED) {
        munmap(memory, length);
    }
    g_free(cached);
    return dropped;
}

/* Touches the pages in order; false where one does not begin as in the file, or as it was written. */
static bool touch(const struct pager_file *file, const struct pager_order *order, void *memory,
                  struct pager_progress *progress, struct pager_run *run)
{
    volatile unsigned char *bytes = memory;
    uint64_t sum = 0, start = clock_ns();

    for (unsigned i = 0; i < order->touches->len; i++) {
        const struct trace_touch *one = &g_array_index(order->touches, struct trace_touch, i);

        if (one->write) {
            bytes[one->page * file->page_size] = PAGER_WRITES;
        } else {
            sum += bytes[one->page * file->page_size];
        }
        __atomic_store_n(&progress->touches, i + 1, __ATOMIC_RELAXED);
    }
    run->seconds = (double)(clock_ns() - start) / 1e9;
    if (sum != order->sum) {
        g_printerr("pagelock-bench: %s: the pages are not those of the file\n", order->name);
    }
    return sum == order->sum;
}

/* The same, with a line that shows how it goes. With mmap @uffd is NULL. */
static bool touch_live(const struct pager_file *file, const struct pager_order *order, const struct pager_way *way,
                       struct pgl_uffd *uffd, void *memory, struct pager_run *run)
{
    struct pager_progress progress = {.page_size = file->page_size};
    struct pager_live *live = pager_live_start(order->name, way, &progress, uffd);
    bool good = touch(file, order, memory, &progress, run);

    pager_live_end(live);
    return good;
}

static struct pgl_uffd *open_uffd(const struct pager_config *config, const struct pager_way *way)
{
    struct pgl_advice_table table = *pgl_advice_shipped();
    struct pgl_uffd_config uffd_config = {.threads = config->threads, .table = &table, .allow_user_mode = true};
    struct pgl_advice_row *row = &table.row[way->advice];
    struct pgl_uffd *uffd;

    uffd_config.handover = config->handover;
    if (config->before >= 0 && way->advice != PGL_ADVICE_RANDOM) {
        row->before = (uint32_t)config->before;
    }
    if (config->after >= 0 && way->advice != PGL_ADVICE_RANDOM) {
        row->after = (uint32_t)config->after;
    }
    if (way->single) {
        *row = (struct pgl_advice_row){0};
    }
    uffd = pgl_uffd_new(&uffd_config);
    if (!uffd) {
        g_printerr("pagelock-bench: %s\n", pgl_uffd_explain(errno));
    }
    return uffd;
}

/* The times of all faults, whatever their kind. */
static void set_quantiles(const struct pgl_uffd_stats *stats, struct pager_run *run)
{
    uint64_t all[PGL_UFFD_BUCKETS];

    for (unsigned i = 0; i < PGL_UFFD_BUCKETS; i++) {
        all[i] = stats->latency_read[i] + stats->latency_zero[i] + stats->latency_unlock[i] + stats->latency_found[i];
    }
    run->ns_p50 = pgl_uffd_quantile(all, 500);
    run->ns_p99 = pgl_uffd_quantile(all, 990);
}

static bool run_uffd(const struct pager_config *config, const struct pager_file *file, const struct pager_order *order,
                     const struct pager_way *way, struct pager_run *run)
{
    size_t length = file->npages * file->page_size;
    void *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct pgl_uffd_stats stats = {0};
    struct pgl_uffd *uffd;
    bool good = false;

    if (memory == MAP_FAILED) {
        return failed("mmap");
    }
    uffd = open_uffd(config, way);
    if (uffd) {
        good = pgl_uffd_map(uffd, memory, length, file->fd, 0, way->advice) || failed("pgl_uffd_map");
        good = good && touch_live(file, order, way, uffd, memory, run);
        pgl_uffd_get_stats(uffd, &stats);
        pgl_uffd_free(uffd);
    }
    munmap(memory, length);
    run->bytes_read = stats.bytes_read;
    run->faults = stats.faults;
    set_quantiles(&stats, run);
    if (stats.errors) {
        g_printerr("pagelock-bench: %s: %" G_GUINT64_FORMAT " pages could not be read\n", order->name, stats.errors);
    }
    return good && !stats.errors;
}

/* The bytes that were read from storage for this process. */
static uint64_t storage_bytes(void)
{
    static const char key[] = "\nread_bytes: ";
    uint64_t bytes = 0;
    char *text = NULL, *line = NULL;

    if (g_file_get_contents("/proc/self/io", &text, NULL, NULL)) {
        line = strstr(text, key);
    }
    if (line) {
        bytes = g_ascii_strtoull(line + strlen(key), NULL, 10);
    }
    g_free(text);
    return bytes;
}

static bool run_mmap(const struct pager_file *file, const struct pager_order *order, const struct pager_way *way,
                     struct pager_run *run)
{
    size_t length = file->npages * file->page_size;
    void *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE, file->fd, 0);
    uint64_t bytes = storage_bytes(), faults = pager_kernel_faults();
    bool good;

    if (memory == MAP_FAILED) {
        return failed("mmap");
    }
    good = !madvise(memory, length, way->madvise) || failed("madvise");
    good = good && touch_live(file, order, way, NULL, memory, run);
    run->faults = pager_kernel_faults() - faults;
    run->bytes_read = storage_bytes() - bytes;
    munmap(memory, length);
    return good;
}

bool pager_run_way(const struct pager_config *config, const struct pager_file *file, const struct pager_order *order,
                   const struct pager_way *way, struct pager_run *run)
{
    *run = (struct pager_run){.cold = drop_cache(file)};
    if (!strcmp(way->via, "uffd")) {
        return run_uffd(config, file, order, way, run);
    }
    return run_mmap(file, order, way, run);
}
