/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The regions of the recorder's shim. */
#ifndef PGL_BENCH_SHIM_TABLE_H
#define PGL_BENCH_SHIM_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Memory that shows a part of a file. */
struct table_region {
    uintptr_t start;
    size_t length; /* 0: the slot is free */
    off_t offset;
    int fd;
    int flags; /* of the program's mmap() */
};

/* The kernel's mmap(). */
void *table_real_mmap(void *addr, size_t length, int prot, int flags, int fd, off_t offset);

size_t table_page_size(void);

/* The bytes of the pages on which a range of this length ends, if it starts with a page; 0 if there are too many. */
size_t table_whole_pages(size_t length);

/* Reserve a slot. Returns false when there is none. Fill it, or with NULL give it back. */
bool table_reserve(void);
void table_fill(const struct table_region *region);

/*
 * The program gives the pages of a range back. The kernel refuses what does not start with a page, and no pages.
 * Returns false with ENOMEM when one region would become two, and there is no room.
 */
bool table_forget(uintptr_t start, size_t length);

/* Whether a range has a page of a region with one of these flags; *region receives the first one in the table. */
bool table_find(uintptr_t start, size_t length, int flags, struct table_region *region);

/* Around a fork. */
void table_lock(void);
void table_unlock(void);

/*
 * In a child: map the files as the program had asked for at first, and forget the regions. A child of the child maps
 * nothing over its memory. The table is locked.
 */
void table_map_again(void);

#endif
