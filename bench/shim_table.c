/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The regions that the shim shows in this process.
 *
 * OBJECTS      The lock is a leaf: nothing of the library is called with it, because handlers call munmap() too. A
 *              region is in the table from before the program has its address until before its memory is given back, so
 *              that a child never maps a file over other memory. It keeps a descriptor of its file, which the parts of
 *              one that was cut share. There are as many slots as the kernel grants a process mappings, unless it was
 *              told otherwise. A cut for which there is none fails as the kernel's does (ENOMEM), and changes nothing.
 */
#undef _FILE_OFFSET_BITS /* as in shim.c */
#include "shim_table.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MAX_REGIONS = 1 << 16 };

static struct {
    pthread_mutex_t lock;
    struct table_region regions[MAX_REGIONS];
    unsigned nregions; /* slots that were ever in use */
    unsigned nused;    /* of them, those that are */
    unsigned ncoming;  /* that are reserved */
} table = {.lock = PTHREAD_MUTEX_INITIALIZER};

void *table_real_mmap(void *addr, size_t length, int prot, int flags, int fd, off_t offset)
{
#ifdef SYS_mmap2
    return (void *)syscall(SYS_mmap2, addr, length, prot, flags, fd, (long)(offset / 4096));
#else
    return (void *)syscall(SYS_mmap, addr, length, prot, flags, fd, offset);
#endif
}

size_t table_page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

void table_lock(void)
{
    pthread_mutex_lock(&table.lock);
}

void table_unlock(void)
{
    pthread_mutex_unlock(&table.lock);
}

/* The lock is held. */
static void add_region(struct table_region region)
{
    unsigned i = table.nused == table.nregions ? table.nregions : 0;

    while (i < table.nregions && table.regions[i].length > 0) {
        i++;
    }
    table.regions[i] = region;
    table.nregions += i == table.nregions;
    table.nused++;
}

/* The lock is held. Whether there is room for one more region. */
static bool has_room(void)
{
    return table.nused + table.ncoming < MAX_REGIONS;
}

/* The lock is held. */
static bool has_region_of(int fd)
{
    for (unsigned i = 0; i < table.nregions; i++) {
        if (table.regions[i].length > 0 && table.regions[i].fd == fd) {
            return true;
        }
    }
    return false;
}

/* Cut a range out of a region. There is room for a part that remains behind it. The lock is held. */
static void cut(struct table_region *region, uintptr_t start, uintptr_t end)
{
    const struct table_region whole = *region;
    uintptr_t whole_end = whole.start + whole.length;

    region->length = start - whole.start; /* 0: the slot is free */
    table.nused -= region->length == 0;
    if (end < whole_end) {
        add_region((struct table_region){end, whole_end - end, whole.offset + (off_t)(end - whole.start), whole.fd,
                                         whole.flags});
    }
    if (!has_region_of(whole.fd)) {
        close(whole.fd);
    }
}

size_t table_whole_pages(size_t length)
{
    return (length + table_page_size() - 1) / table_page_size() * table_page_size();
}

bool table_forget(uintptr_t start, size_t length)
{
    bool splits = false, room;

    length = table_whole_pages(length);
    if (start % table_page_size() != 0 || length == 0 || start + length < start) {
        return true;
    }
    pthread_mutex_lock(&table.lock);
    for (unsigned i = 0; i < table.nregions; i++) {
        const struct table_region *region = &table.regions[i];

        splits |= region->start < start && start + length < region->start + region->length;
    }
    room = !splits || has_room();
    for (unsigned i = 0; i < table.nregions && room; i++) {
        struct table_region *region = &table.regions[i];
        uintptr_t region_end = region->start + region->length;

        if (region->length > 0 && start < region_end && region->start < start + length) {
            cut(region, start > region->start ? start : region->start,
                start + length < region_end ? start + length : region_end);
        }
    }
    pthread_mutex_unlock(&table.lock);
    if (!room) {
        errno = ENOMEM;
    }
    return room;
}

bool table_find(uintptr_t start, size_t length, int flags, struct table_region *region)
{
    bool shown = false;

    pthread_mutex_lock(&table.lock);
    for (unsigned i = 0; i < table.nregions && !shown; i++) {
        *region = table.regions[i];
        shown = region->length > 0 && (region->flags & flags) != 0 && start < region->start + region->length &&
                region->start < start + length;
    }
    pthread_mutex_unlock(&table.lock);
    return shown;
}

bool table_reserve(void)
{
    bool room;

    table_lock();
    room = has_room();
    table.ncoming += room;
    table_unlock();
    return room;
}

void table_fill(const struct table_region *region)
{
    table_lock();
    table.ncoming--;
    if (region) {
        add_region(*region);
    }
    table_unlock();
}

void table_map_again(void)
{
    for (unsigned i = 0; i < table.nregions; i++) {
        const struct table_region *region = &table.regions[i];

        if (region->length > 0 &&
            table_real_mmap((void *)region->start, region->length, PROT_READ, region->flags | MAP_FIXED, region->fd,
                            region->offset) == MAP_FAILED) {
            abort();
        }
    }
    for (unsigned i = 0; i < table.nregions; i++) {
        if (table.regions[i].length > 0) {
            close(table.regions[i].fd); /* parts that share it close it once in effect: there is no other thread */
        }
    }
    table.nregions = table.nused = 0;
}
