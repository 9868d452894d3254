/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The common part of the subcommand pager: a file, orders to touch its pages in, and ways to get them. */
#ifndef PGL_BENCH_PAGER_H
#define PGL_BENCH_PAGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <glib.h>
#include <pagelock/advice.h>
#include <pagelock/uffd.h>

/* The file that is measured: the one named, or one that is made as large as an order wants it. */
struct pager_file {
    const char *path; /* NULL: made */
    int fd;           /* or -1 */
    size_t npages;
    size_t page_size;
};

/* Which pages are touched, one after the other. */
struct pager_order {
    char *name;
    GArray *touches; /* of struct trace_touch */
    size_t npages;   /* of them, each counted once */
    uint64_t sum;    /* of the first bytes of those that are read */
};

enum { PAGER_WRITES = 1 }; /* what a touch that writes makes of a page's first byte */

/* Each returns an exit status, and has printed what is wrong. */
int pager_file_open(struct pager_file *file, const char *path);
void pager_file_close(struct pager_file *file);

/* @name: sequential, random, or the path of a fault trace. A file that is made has @npages or more. */
int pager_order_make(struct pager_order *order, const char *name, struct pager_file *file, size_t npages);
void pager_order_clear(struct pager_order *order);

/* One way to get the pages. */
struct pager_way {
    const char *via; /* "uffd" or "mmap" */
    const char *name;
    enum pgl_advice advice; /* with uffd */
    bool single;            /* page by page, whatever the advice */
    int madvise;            /* with mmap */
};

/* The configuration that the ways share. */
struct pager_config {
    unsigned threads; /* of userfaultfd */
    int before;       /* its window in pages but for random, or negative: as shipped */
    int after;
    enum pgl_uffd_handover handover;
};

struct pager_run {
    double seconds;
    uint64_t bytes_read; /* by the pager; with mmap by the kernel, from storage */
    uint64_t faults;
    uint64_t ns_p50; /* of the times that handlers took for a fault; 0 with mmap */
    uint64_t ns_p99;
    bool cold; /* no page of the file was cached when it began */
};

extern const struct pager_way pager_ways[]; /* ends with a name that is NULL */

/* How far the thread that touches pages has come. */
struct pager_progress {
    uint64_t touches; /* atomic */
    uint64_t page_size;
};

struct pager_live;

/*
 * While pages are touched, show faults, bytes per second and the share of touches that were no fault. On a terminal
 * only. With mmap @uffd is NULL.
 */
struct pager_live *pager_live_start(const char *order, const struct pager_way *way,
                                    const struct pager_progress *progress, struct pgl_uffd *uffd);
void pager_live_end(struct pager_live *live);

/* One such line, which the caller frees. */
char *pager_live_line(const char *order, const struct pager_way *way, const struct pager_progress *progress,
                      uint64_t faults, double seconds);

/* The page faults of this process so far. */
uint64_t pager_kernel_faults(void);

/* Times sqlite3 on a database of @mib under each advice, and on the kernel's mapping. Returns an exit status. */
int pager_program(const struct pager_config *config, size_t mib, unsigned repeat, bool json);

/* Touches the pages of @order in one way; false and a message where that fails, or where they are not the file's. */
bool pager_run_way(const struct pager_config *config, const struct pager_file *file, const struct pager_order *order,
                   const struct pager_way *way, struct pager_run *run);

#endif
