/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The line that the subcommand pager shows while pages are touched. */
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include <pagelock/uffd.h>

#include "bench.h"
#include "clock.h"
#include "pager.h"

enum { PERIOD_MS = 100 };

struct pager_live {
    const char *order;
    const struct pager_way *way;
    const struct pager_progress *progress;
    struct pgl_uffd *uffd;
    uint64_t start_ns, faults_before;
    GThread *thread;
    GMutex lock;
    GCond end;
    bool ends; /* under the lock */
};

uint64_t pager_kernel_faults(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (uint64_t)(usage.ru_minflt + usage.ru_majflt);
}

char *pager_live_line(const char *order, const struct pager_way *way, const struct pager_progress *progress,
                      uint64_t faults, double seconds)
{
    uint64_t touches = __atomic_load_n(&progress->touches, __ATOMIC_RELAXED);
    uint64_t hits = touches > faults ? touches - faults : 0; /* a fault is counted before its touch is */
    double mb_per_s = seconds > 0 ? (double)(touches * progress->page_size) / seconds / 1e6 : 0;
    double hit_rate = touches > 0 ? 100.0 * (double)hits / (double)touches : 0;

    return g_strdup_printf("%s via %s %s: %" G_GUINT64_FORMAT " faults, %.1f MB/s, %.1f %% hits", order, way->via,
                           way->name, faults, mb_per_s, hit_rate);
}

static uint64_t count_faults(struct pgl_uffd *uffd)
{
    struct pgl_uffd_stats stats;

    if (!uffd) {
        return pager_kernel_faults();
    }
    pgl_uffd_get_stats(uffd, &stats);
    return stats.faults;
}

static void *show(void *arg)
{
    struct pager_live *live = arg;

    g_mutex_lock(&live->lock);
    while (!live->ends) {
        gint64 until = g_get_monotonic_time() + PERIOD_MS * G_TIME_SPAN_MILLISECOND;

        if (!g_cond_wait_until(&live->end, &live->lock, until)) {
            const int columns = (int)terminal_columns() - 1;
            char *line =
                pager_live_line(live->order, live->way, live->progress, count_faults(live->uffd) - live->faults_before,
                                (double)(clock_ns() - live->start_ns) / 1e9);

            fprintf(stderr, "\r%-*.*s", columns, columns, line);
            fflush(stderr);
            g_free(line);
        }
    }
    g_mutex_unlock(&live->lock);
    fprintf(stderr, "\r%*s\r", (int)terminal_columns() - 1, "");
    return NULL;
}

struct pager_live *pager_live_start(const char *order, const struct pager_way *way,
                                    const struct pager_progress *progress, struct pgl_uffd *uffd)
{
    struct pager_live *live;

    if (!isatty(STDERR_FILENO)) {
        return NULL;
    }
    live = g_new0(struct pager_live, 1);
    live->order = order;
    live->way = way;
    live->progress = progress;
    live->uffd = uffd;
    live->start_ns = clock_ns();
    live->faults_before = count_faults(uffd);
    g_mutex_init(&live->lock);
    g_cond_init(&live->end);
    live->thread = g_thread_new("live", show, live);
    return live;
}

void pager_live_end(struct pager_live *live)
{
    if (!live) {
        return;
    }
    g_mutex_lock(&live->lock);
    live->ends = true;
    g_cond_signal(&live->end);
    g_mutex_unlock(&live->lock);
    g_thread_join(live->thread);
    g_cond_clear(&live->end);
    g_mutex_clear(&live->lock);
    g_free(live);
}
