/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The memory that pagelock-bench shares with the shim in each process of a program: orders in one direction, touches
 * and counts in the other. The shim finds it by the path in an environment variable. Nothing is lost when a process is
 * killed, because the touches lie in this memory as soon as they are recorded.
 *
 * READERS      pagelock-bench reads the results when the program has ended; processes that it leaves behind may go on.
 *              A slot whose npages, or whose object, is zero was claimed by a process that was killed before it filled
 *              the slot, or has yet to fill it.
 */
#ifndef PGL_BENCH_AREA_H
#define PGL_BENCH_AREA_H

#include <stdbool.h>
#include <stdint.h>

#include <pagelock/uffd.h>

#define AREA_VARIABLE "PAGELOCK_AREA"
#define AREA_VERSION UINT64_C(0x5047415245410002)

enum {
    AREA_PATH = 1024,
    AREA_OBJECTS = 1024,
    AREA_ENTRIES = 8192,
    AREA_TOUCHES = 1 << 22,
    AREA_SETS = 1 << 24, /* bytes */
    AREA_NSETS = 256,
};

/* A file that a process maps. */
struct area_object {
    uint64_t npages;
    uint64_t dev;
    uint64_t ino;
    int64_t process;
    char path[AREA_PATH];
};

/* A mapping of a part of it. */
struct area_entry {
    uint64_t first;
    uint64_t npages; /* 0: the slot was not filled */
    uint32_t object;
};

/* The first touch of a page. */
struct area_touch {
    uint64_t ns; /* since the area was made */
    uint32_t page;
    uint32_t object; /* its number, plus 1 */
};

struct area {
    uint64_t version;
    /* Orders. */
    uint64_t start_ns; /* of the monotonic clock */
    int fd;            /* that pagelock-bench has of this memory */
    enum pgl_advice advice;
    enum pgl_uffd_handover handover;
    bool records;      /* touches are wanted */
    uint64_t set_size; /* of `sets` */
    /* Results. Atomic. */
    uint64_t nprocesses; /* that mapped a file through the shim */
    uint64_t ended;      /* of them, those whose counts are in the two sums below */
    uint64_t faults;
    uint64_t bytes_read;
    uint64_t refused;  /* mappings that userfaultfd did not take; the last reason is below */
    uint64_t error;    /* an errno: no pager could be made, or no mapping */
    uint64_t nobjects; /* claimed; there may be fewer slots */
    uint64_t nentries;
    uint64_t ntouches;
    struct area_object objects[AREA_OBJECTS];
    struct area_entry entries[AREA_ENTRIES];
    struct area_touch touches[AREA_TOUCHES];
    unsigned char sets[AREA_SETS]; /* working sets, one after the other; the name of each is the path of its file */
};

#endif
