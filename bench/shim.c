/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The recorder's shim, which is preloaded into a program: the program's read-only mappings of files become regions of
 * the library's userfaultfd pager. area.h has its orders and results.
 *
 * OBJECTS      The table has the regions of this process. Its lock is a leaf: nothing of the library is called with it,
 *              because handlers call munmap() too. A region keeps a descriptor of its file.
 *              A region is in it from before the program has its address until before its memory is given back, so
 *              that a child never maps a file over other memory.
 * FORK         A child has no pager. The shim maps its regions again there, as the program had asked for at first, and
 *              takes no part in what that child and its children do.
 * WRITES       A private region that may be written is brought and becomes plain memory, because a child inherits what
 *              was written. Touches of it are not recorded any more.
 * NOT PROMISED The pages of a program that closes descriptors which it has not opened. A mapping that shows what is
 *              written to the file later. The pages of a child that was made without the C library's fork().
 */
#undef _FILE_OFFSET_BITS /* it would have mmap() mean mmap64(), and both are defined here; built on 64-bit machines only */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <pagelock/uffd.h>

#include "area.h"

#define EXPORT __attribute__((visibility("default")))

enum { MAX_REGIONS = 4096, MAX_FILES = 256, MAX_SETS = 256, FIRST_FD = 200 };

/* Memory that shows a part of a file. */
struct region {
    uintptr_t start;
    size_t length; /* 0: the slot is free */
    off_t offset;
    int fd;
    int flags; /* of the program's mmap() */
};

/* A file of which this process has shown a part. */
struct file {
    dev_t dev;
    ino_t ino;
    uint32_t object; /* in the area, plus 1; 0: the area is full */
    const struct pgl_workset *workset;
};

static struct {
    struct area *area; /* NULL: nothing is to be recorded */
    pthread_once_t once;
    struct pgl_uffd *pager;
    size_t page_size;
    pthread_mutex_t lock; /* of the table and the files */
    struct region regions[MAX_REGIONS];
    unsigned nregions; /* slots in use, free ones among them */
    unsigned ncoming;  /* regions that threads are about to add */
    struct file files[MAX_FILES];
    unsigned nfiles;
    struct pgl_workset *sets[MAX_SETS];
    unsigned nsets;
} shim = {.once = PTHREAD_ONCE_INIT, .lock = PTHREAD_MUTEX_INITIALIZER};

static __thread bool inside; /* this thread is in the shim: what it calls is not the program's */

static void *real_mmap(void *addr, size_t length, int prot, int flags, int fd, off_t offset)
{
#ifdef SYS_mmap2
    return (void *)syscall(SYS_mmap2, addr, length, prot, flags, fd, (long)(offset / 4096));
#else
    return (void *)syscall(SYS_mmap, addr, length, prot, flags, fd, offset);
#endif
}

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static uint64_t add(uint64_t *counter, uint64_t n)
{
    return __atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

/* ---- touches ---- */

static void touched(void *arg, uint64_t page)
{
    const struct file *file = arg;
    struct area *area = shim.area;
    uint64_t n = add(&area->ntouches, 1);

    if (n < AREA_TOUCHES && page < UINT32_MAX) {
        area->touches[n] = (struct area_touch){now_ns() - area->start_ns, (uint32_t)page, file->object};
    }
}

/* ---- the pager ---- */

/* Read the working sets of the area. */
static void load_sets(void)
{
    const struct area *area = shim.area;
    size_t at = 0, used;

    while (at < area->set_size && shim.nsets < MAX_SETS) {
        struct pgl_workset *set = pgl_workset_load(area->sets + at, area->set_size - at, NULL, &used, NULL);

        if (!set) {
            return;
        }
        shim.sets[shim.nsets++] = set;
        at += used;
    }
}

static const struct pgl_workset *find_set(const char *path)
{
    struct pgl_workset_info info;

    for (unsigned i = 0; i < shim.nsets; i++) {
        pgl_workset_get_info(shim.sets[i], &info);
        if (strcmp(info.name, path) == 0) {
            return shim.sets[i];
        }
    }
    return NULL;
}

static void before_fork(void)
{
    pthread_mutex_lock(&shim.lock);
}

static void in_parent(void)
{
    pthread_mutex_unlock(&shim.lock);
}

static void in_child(void)
{
    shim.area = NULL;
    for (unsigned i = 0; i < shim.nregions; i++) {
        const struct region *region = &shim.regions[i];

        if (region->length > 0 && real_mmap((void *)region->start, region->length, PROT_READ, region->flags | MAP_FIXED,
                                            region->fd, region->offset) == MAP_FAILED) {
            abort();
        }
        if (region->length > 0) {
            close(region->fd);
        }
    }
    shim.nregions = 0; /* a child of the child maps nothing over its memory */
    pthread_mutex_unlock(&shim.lock);
}

static void start_pager(void)
{
    const struct pgl_uffd_config config = {.handover = shim.area->handover};

    load_sets();
    shim.pager = pgl_uffd_new(&config);
    if (shim.pager && (errno = pthread_atfork(before_fork, in_parent, in_child)) != 0) {
        shim.pager = NULL;
    }
    if (!shim.pager) {
        __atomic_store_n(&shim.area->error, (uint64_t)errno, __ATOMIC_RELAXED);
        return;
    }
    add(&shim.area->nprocesses, 1);
}

/* ---- the table ---- */

/* The lock is held. */
static void add_region(struct region region)
{
    unsigned i = 0;

    while (i < shim.nregions && shim.regions[i].length > 0) {
        i++;
    }
    shim.regions[i] = region;
    shim.nregions += i == shim.nregions;
}

/* The lock is held. Whether there is room for one more region, and for the halves of one that is cut in two. */
static bool has_room(void)
{
    return shim.nregions + shim.ncoming + 2 <= MAX_REGIONS;
}

/* Cut a range out of a region. The lock is held. */
static void cut(struct region *region, uintptr_t start, uintptr_t end)
{
    struct region whole = *region;
    struct region after = whole;
    uintptr_t whole_end = whole.start + whole.length;
    bool keeps_before = start > whole.start, keeps_after = end < whole_end;

    region->length = keeps_before ? start - whole.start : 0;
    if (keeps_after) {
        after.start = end;
        after.length = whole_end - end;
        after.offset += (off_t)(end - whole.start);
        after.fd = keeps_before ? fcntl(whole.fd, F_DUPFD_CLOEXEC, FIRST_FD) : whole.fd;
        if (after.fd >= 0 && shim.nregions < MAX_REGIONS) {
            add_region(after);
        }
    }
    if (!keeps_before && !keeps_after) {
        close(whole.fd);
    }
}

/* The bytes of the pages on which a range of this length ends, if it starts with a page; 0 if there are too many. */
static size_t whole_pages(size_t length)
{
    return (length + shim.page_size - 1) / shim.page_size * shim.page_size;
}

/* The program gives the pages of a range back. The kernel refuses what does not start with a page, and no pages. */
static void forget(uintptr_t start, size_t length)
{
    length = whole_pages(length);
    if (start % shim.page_size != 0 || length == 0 || start + length < start) {
        return;
    }
    pthread_mutex_lock(&shim.lock);
    for (unsigned i = 0; i < shim.nregions; i++) {
        struct region *region = &shim.regions[i];
        uintptr_t region_end = region->start + region->length;

        if (region->length > 0 && start < region_end && region->start < start + length) {
            cut(region, start > region->start ? start : region->start,
                start + length < region_end ? start + length : region_end);
        }
    }
    pthread_mutex_unlock(&shim.lock);
}

/* Whether a range has a page of a region with one of these flags; *region receives the first one in the table. */
static bool is_shown(uintptr_t start, size_t length, int flags, struct region *region)
{
    bool shown = false;

    pthread_mutex_lock(&shim.lock);
    for (unsigned i = 0; i < shim.nregions && !shown; i++) {
        *region = shim.regions[i];
        shown = region->length > 0 && (region->flags & flags) != 0 && start < region->start + region->length &&
                region->start < start + length;
    }
    pthread_mutex_unlock(&shim.lock);
    return shown;
}

/* Make plain memory of private regions in a range, with all their pages. Returns false if a page cannot be brought. */
static bool release(uintptr_t start, size_t length)
{
    struct region region;

    while (is_shown(start, length, MAP_PRIVATE, &region)) {
        uintptr_t end = region.start + region.length;
        uintptr_t first = start > region.start ? start : region.start;
        uintptr_t last = start + length < end ? start + length : end;

        if (!pgl_uffd_prefetch(shim.pager, (void *)first, last - first) ||
            !pgl_uffd_unmap(shim.pager, (void *)first, last - first)) {
            return false;
        }
        forget(first, last - first);
    }
    return true;
}

/* ---- files ---- */

/* Claim a slot of the area for a file. Returns its number plus 1, or 0. */
static uint32_t claim_object(const struct stat *st, const char *path)
{
    struct area *area = shim.area;
    uint64_t n = add(&area->nobjects, 1);
    struct area_object *object = &area->objects[n];

    if (n >= AREA_OBJECTS) {
        return 0;
    }
    object->dev = st->st_dev;
    object->ino = st->st_ino;
    object->process = getpid();
    memcpy(object->path, path, strlen(path) + 1); /* AREA_PATH at most */
    object->npages = ((uint64_t)st->st_size + shim.page_size - 1) / shim.page_size;
    return (uint32_t)n + 1;
}

/* Find a file, or add it. Returns NULL if there are too many. The lock is held. */
static struct file *find_file(const struct stat *st, int fd)
{
    char link[64], path[AREA_PATH];
    struct file *file;
    ssize_t n;

    for (unsigned i = 0; i < shim.nfiles; i++) {
        file = &shim.files[i];
        if (file->dev == st->st_dev && file->ino == st->st_ino) {
            return file;
        }
    }
    if (shim.nfiles == MAX_FILES) {
        return NULL;
    }
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    n = readlink(link, path, sizeof(path) - 1);
    path[n > 0 ? n : 0] = '\0';
    file = &shim.files[shim.nfiles++];
    *file = (struct file){st->st_dev, st->st_ino, claim_object(st, path), find_set(path)};
    return file;
}

static void claim_entry(uint32_t object, uint64_t first, uint64_t npages)
{
    uint64_t n = add(&shim.area->nentries, 1);

    if (n < AREA_ENTRIES && object > 0) {
        shim.area->entries[n] = (struct area_entry){first, npages, object - 1};
    }
}

/* ---- mmap() and its like ---- */

/* Whether the program maps a file as a region can show it. */
static bool is_wanted(size_t length, int prot, int flags, int fd, off_t offset, struct stat *st)
{
    const int hints = MAP_NORESERVE | MAP_POPULATE | MAP_NONBLOCK;
    int type = flags & ~hints;
    uint64_t end = (uint64_t)offset + length;

    return prot == PROT_READ && (type == MAP_PRIVATE || type == MAP_SHARED) && fd >= 0 && length > 0 && offset >= 0 &&
           (size_t)offset % shim.page_size == 0 && fstat(fd, st) == 0 && S_ISREG(st->st_mode) && st->st_size > 0 &&
           end >= length && (end - 1) / shim.page_size <= ((uint64_t)st->st_size - 1) / shim.page_size;
}

/* Make memory, and have the pager show the file there. Returns MAP_FAILED if the file has to be mapped. */
static void *show(void *hint, struct region *region, const struct file *file)
{
    struct area *area = shim.area;
    int prot = PROT_READ, flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void *memory = real_mmap(hint, region->length, prot, flags, -1, 0);

    if (memory == MAP_FAILED) {
        return MAP_FAILED;
    }
    if (!pgl_uffd_map(shim.pager, memory, region->length, region->fd, region->offset, area->advice)) {
        __atomic_store_n(&area->error, (uint64_t)errno, __ATOMIC_RELAXED);
        add(&area->refused, 1);
        syscall(SYS_munmap, memory, region->length);
        return MAP_FAILED;
    }
    if (area->records && file->object > 0) {
        pgl_uffd_watch(shim.pager, memory, region->length, touched, (void *)(uintptr_t)file);
    }
    if (file->workset) {
        pgl_uffd_set_workset(shim.pager, memory, region->length, file->workset);
    }
    region->start = (uintptr_t)memory;
    return memory;
}

/* Returns MAP_FAILED if the file has to be mapped. */
static void *show_file(void *hint, size_t length, int flags, int fd, off_t offset, const struct stat *st)
{
    struct region region = {
        .length = whole_pages(length), .offset = offset, .flags = flags & (MAP_PRIVATE | MAP_SHARED | MAP_NORESERVE)};
    const struct file *file;
    void *memory;

    pthread_once(&shim.once, start_pager);
    if (!shim.pager) {
        return MAP_FAILED;
    }
    pthread_mutex_lock(&shim.lock);
    file = has_room() ? find_file(st, fd) : NULL;
    shim.ncoming += file != NULL;
    pthread_mutex_unlock(&shim.lock);
    if (!file) {
        return MAP_FAILED;
    }
    region.fd = fcntl(fd, F_DUPFD_CLOEXEC, FIRST_FD);
    memory = region.fd >= 0 ? show(hint, &region, file) : MAP_FAILED;
    if (memory != MAP_FAILED) {
        claim_entry(file->object, (uint64_t)offset / shim.page_size, region.length / shim.page_size);
    } else if (region.fd >= 0) {
        close(region.fd);
    }
    pthread_mutex_lock(&shim.lock);
    shim.ncoming--;
    if (memory != MAP_FAILED) {
        add_region(region);
    }
    pthread_mutex_unlock(&shim.lock);
    return memory;
}

static void *map(void *addr, size_t length, int prot, int flags, int fd, off_t offset)
{
    int error = errno;
    void *memory = MAP_FAILED;
    struct stat st;

    if (inside || !shim.area) {
        return real_mmap(addr, length, prot, flags, fd, offset);
    }
    inside = true;
    if (is_wanted(length, prot, flags, fd, offset, &st)) {
        memory = show_file(addr, length, flags, fd, offset, &st);
    } else if ((flags & MAP_FIXED) != 0) {
        forget((uintptr_t)addr, length);
    }
    inside = false;
    errno = error;
    return memory != MAP_FAILED ? memory : real_mmap(addr, length, prot, flags, fd, offset);
}

EXPORT void *mmap(void *addr, size_t length, int prot, int flags, int fd, off_t offset)
{
    return map(addr, length, prot, flags, fd, offset);
}

EXPORT void *mmap64(void *addr, size_t length, int prot, int flags, int fd, off64_t offset)
{
    return map(addr, length, prot, flags, fd, (off_t)offset);
}

EXPORT int munmap(void *addr, size_t length)
{
    if (!inside && shim.area) {
        forget((uintptr_t)addr, length);
    }
    return (int)syscall(SYS_munmap, addr, length);
}

/* A region neither grows nor moves: the program has to map its file again. */
EXPORT void *mremap(void *addr, size_t old_length, size_t new_length, int flags, ...)
{
    bool ours = !inside && shim.area;
    struct region region;
    void *to = NULL;
    void *memory;
    va_list rest;

    if ((flags & MREMAP_FIXED) != 0) {
        va_start(rest, flags);
        to = va_arg(rest, void *);
        va_end(rest);
    }
    if (ours && is_shown((uintptr_t)addr, old_length > 0 ? old_length : 1, MAP_PRIVATE | MAP_SHARED, &region)) {
        size_t old_whole = whole_pages(old_length), new_whole = whole_pages(new_length);

        if (new_whole > old_whole || old_whole == 0 || (flags & ~MREMAP_MAYMOVE) != 0) {
            errno = ENOMEM;
            return MAP_FAILED;
        }
        if (new_whole > 0) { /* otherwise it is refused */
            forget((uintptr_t)addr + new_whole, old_whole - new_whole);
        }
    }
    memory = (void *)syscall(SYS_mremap, addr, old_length, new_length, flags, to);
    if (ours && to && memory != MAP_FAILED) { /* it has replaced what was there */
        forget((uintptr_t)to, new_length);
    }
    return memory;
}

/* A shared mapping that is to be written would not reach the file. */
EXPORT int mprotect(void *addr, size_t length, int prot)
{
    struct region region;
    size_t whole;
    bool released;

    if (!inside && shim.area && (prot & PROT_WRITE) != 0 && (uintptr_t)addr % shim.page_size == 0 &&
        (whole = whole_pages(length)) > 0) {
        if (is_shown((uintptr_t)addr, whole, MAP_SHARED, &region)) {
            errno = EACCES;
            return -1;
        }
        inside = true;
        released = release((uintptr_t)addr, whole);
        inside = false;
        if (!released) {
            errno = ENOMEM;
            return -1;
        }
    }
    return (int)syscall(SYS_mprotect, addr, length, prot);
}

/* ---- the beginning and the end ---- */

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv(AREA_VARIABLE);
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    struct area *area;

    if (fd < 0) {
        return;
    }
    area = real_mmap(NULL, sizeof(*area), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (area == MAP_FAILED || area->version != AREA_VERSION) {
        return;
    }
    shim.page_size = (size_t)sysconf(_SC_PAGESIZE);
    shim.area = area;
}

__attribute__((destructor)) static void end(void)
{
    struct pgl_uffd_stats stats;
    const uint64_t *from = (const uint64_t *)&stats;
    uint64_t *to;

    if (!shim.area || !shim.pager) {
        return;
    }
    pgl_uffd_get_stats(shim.pager, &stats);
    to = (uint64_t *)&shim.area->stats;
    for (size_t i = 0; i < sizeof(stats) / sizeof(uint64_t); i++) {
        add(&to[i], from[i]);
    }
    add(&shim.area->ended, 1);
}
