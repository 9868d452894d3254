/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The recorder's shim, which is preloaded into a program: the program's read-only mappings of files become regions of
 * the library's userfaultfd pager. area.h has its orders and results.
 *
 * OBJECTS      shim_table.c has the regions of this process. The lock of the files is held with no other one but that
 *              of the table at a fork, and nothing of the library is called with it.
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
#include "shim_table.h"

#define EXPORT __attribute__((visibility("default")))

enum { MAX_FILES = 256, FIRST_FD = 200 };

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
    pthread_mutex_t lock; /* of the files */
    struct file files[MAX_FILES];
    unsigned nfiles;
    struct pgl_workset *sets[AREA_NSETS];
    unsigned nsets;
} shim = {.once = PTHREAD_ONCE_INIT, .lock = PTHREAD_MUTEX_INITIALIZER};

static __thread bool inside; /* this thread is in the shim: what it calls is not the program's */

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

    while (at < area->set_size && shim.nsets < AREA_NSETS) {
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
    table_lock();
}

static void in_parent(void)
{
    table_unlock();
    pthread_mutex_unlock(&shim.lock);
}

static void in_child(void)
{
    shim.area = NULL;
    table_map_again();
    table_unlock();
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

/* Make plain memory of private regions in a range, with all their pages. Returns false if a page cannot be brought. */
static bool release(uintptr_t start, size_t length)
{
    struct table_region region;

    while (table_find(start, length, MAP_PRIVATE, &region)) {
        uintptr_t end = region.start + region.length;
        uintptr_t first = start > region.start ? start : region.start;
        uintptr_t last = start + length < end ? start + length : end;

        if (!pgl_uffd_prefetch(shim.pager, (void *)first, last - first) ||
            !pgl_uffd_unmap(shim.pager, (void *)first, last - first)) {
            return false;
        }
        if (!table_forget(first, last - first)) {
            return false;
        }
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
    object->npages = ((uint64_t)st->st_size + table_page_size() - 1) / table_page_size();
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
           (size_t)offset % table_page_size() == 0 && fstat(fd, st) == 0 && S_ISREG(st->st_mode) && st->st_size > 0 &&
           end >= length && (end - 1) / table_page_size() <= ((uint64_t)st->st_size - 1) / table_page_size();
}

/* Make memory, and have the pager show the file there. Returns MAP_FAILED if the file has to be mapped. */
static void *show(void *hint, struct table_region *region, const struct file *file)
{
    struct area *area = shim.area;
    int prot = PROT_READ, flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void *memory = table_real_mmap(hint, region->length, prot, flags, -1, 0);

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
    struct table_region region = {.length = table_whole_pages(length),
                                  .offset = offset,
                                  .flags = flags & (MAP_PRIVATE | MAP_SHARED | MAP_NORESERVE)};
    const struct file *file;
    void *memory;

    pthread_once(&shim.once, start_pager);
    if (!shim.pager) {
        return MAP_FAILED;
    }
    pthread_mutex_lock(&shim.lock);
    file = find_file(st, fd);
    pthread_mutex_unlock(&shim.lock);
    if (!file || !table_reserve()) {
        return MAP_FAILED;
    }
    region.fd = fcntl(fd, F_DUPFD_CLOEXEC, FIRST_FD);
    memory = region.fd >= 0 ? show(hint, &region, file) : MAP_FAILED;
    if (memory != MAP_FAILED) {
        claim_entry(file->object, (uint64_t)offset / table_page_size(), region.length / table_page_size());
    } else if (region.fd >= 0) {
        close(region.fd);
    }
    table_fill(memory != MAP_FAILED ? &region : NULL);
    return memory;
}

static void *map(void *addr, size_t length, int prot, int flags, int fd, off_t offset)
{
    int error = errno;
    void *memory = MAP_FAILED;
    bool forgotten = true;
    struct stat st;

    if (inside || !shim.area) {
        return table_real_mmap(addr, length, prot, flags, fd, offset);
    }
    inside = true;
    if (is_wanted(length, prot, flags, fd, offset, &st)) {
        memory = show_file(addr, length, flags, fd, offset, &st);
    } else if ((flags & MAP_FIXED) != 0) {
        forgotten = table_forget((uintptr_t)addr, length);
    }
    inside = false;
    if (!forgotten) {
        return MAP_FAILED;
    }
    errno = error;
    return memory != MAP_FAILED ? memory : table_real_mmap(addr, length, prot, flags, fd, offset);
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
    if (!inside && shim.area && !table_forget((uintptr_t)addr, length)) {
        return -1;
    }
    return (int)syscall(SYS_munmap, addr, length);
}

/* Whether the kernel unmaps what is at @to, whether or not the call succeeds then. */
static bool replaces(uintptr_t addr, size_t old_length, uintptr_t to, size_t new_length, int flags)
{
    size_t old_whole = table_whole_pages(old_length), new_whole = table_whole_pages(new_length);

    return (flags & MREMAP_FIXED) != 0 && (flags & MREMAP_MAYMOVE) != 0 && (addr | to) % table_page_size() == 0 &&
           new_whole > 0 && (to + new_whole <= addr || addr + old_whole <= to);
}

/* A region neither grows nor moves: the program has to map its file again. */
EXPORT void *mremap(void *addr, size_t old_length, size_t new_length, int flags, ...)
{
    bool ours = !inside && shim.area;
    struct table_region region;
    void *to = NULL;
    va_list rest;

    if ((flags & MREMAP_FIXED) != 0) {
        va_start(rest, flags);
        to = va_arg(rest, void *);
        va_end(rest);
    }
    if (ours && table_find((uintptr_t)addr, old_length > 0 ? old_length : 1, MAP_PRIVATE | MAP_SHARED, &region)) {
        size_t old_whole = table_whole_pages(old_length), new_whole = table_whole_pages(new_length);

        if (new_whole > old_whole || old_whole == 0 || (flags & ~MREMAP_MAYMOVE) != 0) {
            errno = ENOMEM;
            return MAP_FAILED;
        }
        if (new_whole > 0 && /* otherwise it is refused */
            !table_forget((uintptr_t)addr + new_whole, old_whole - new_whole)) {
            return MAP_FAILED;
        }
    }
    if (ours && replaces((uintptr_t)addr, old_length, (uintptr_t)to, new_length, flags) &&
        !table_forget((uintptr_t)to, new_length)) {
        return MAP_FAILED;
    }
    return (void *)syscall(SYS_mremap, addr, old_length, new_length, flags, to);
}

/* A shared mapping that is to be written would not reach the file. */
EXPORT int mprotect(void *addr, size_t length, int prot)
{
    struct table_region region;
    size_t whole;
    bool released;

    if (!inside && shim.area && (prot & PROT_WRITE) != 0 && (uintptr_t)addr % table_page_size() == 0 &&
        (whole = table_whole_pages(length)) > 0) {
        if (table_find((uintptr_t)addr, whole, MAP_SHARED, &region)) {
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
    area = table_real_mmap(NULL, sizeof(*area), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (area == MAP_FAILED || area->version != AREA_VERSION) {
        return;
    }
    shim.area = area;
}

__attribute__((destructor)) static void end(void)
{
    struct pgl_uffd_stats stats;

    if (!shim.area || !shim.pager) {
        return;
    }
    pgl_uffd_get_stats(shim.pager, &stats);
    add(&shim.area->faults, stats.faults);
    add(&shim.area->bytes_read, stats.bytes_read);
    add(&shim.area->ended, 1);
}
