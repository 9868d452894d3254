/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The sources of bytes: the files, the memory and the callbacks whose bytes regions show; the files' holes; and
 * reading files.
 *
 * OBJECTS      A file is an open file description of the pager's own or, if it cannot open one, a duplicate of the
 *              caller's descriptor. Regions share it if their files are one inode and were opened with the same flags.
 *              Each source holds its file, and the last one closes it.
 *              A source is the part of a file or of the caller's memory that one region shows. A forked child's object
 *              shares it.
 *              The list's lock protects the list and the counts of references of its files. That of a source is atomic.
 *              The other fields of files and sources do not change.
 * LOCK ORDER   The list's lock is a leaf. It is not held while a file is opened or closed.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "delivery_internal.h"

/* The open() flags that make a difference to reading a file. */
#define READ_FLAGS (O_DIRECT | O_NOATIME)

bool pgl_files_init(struct pgl_files *files, struct pgl_arena *arena)
{
    *files = (struct pgl_files){.arena = arena};
    return pthread_mutex_init(&files->lock, NULL) == 0;
}

void pgl_files_fini(struct pgl_files *files)
{
    pthread_mutex_destroy(&files->lock);
}

/* Fill in what distinguishes one file from another. Returns 0, or an errno when its pages cannot be read. */
static int examine(int fd, struct stat *st, int *flags)
{
    *flags = fcntl(fd, F_GETFL);
    if (*flags < 0 || fstat(fd, st) != 0) {
        return errno;
    }
    if ((*flags & O_PATH) != 0 || ((*flags & O_ACCMODE) != O_RDONLY && (*flags & O_ACCMODE) != O_RDWR)) {
        return EBADF;
    }
    if (!S_ISREG(st->st_mode)) {
        return S_ISDIR(st->st_mode) ? EISDIR : ENODEV;
    }
    *flags &= READ_FLAGS;
    return 0;
}

/* Open a file that is not on the list yet. Returns NULL with errno. */
static struct pgl_file *file_new(struct pgl_arena *arena, int fd, const struct stat *st, int flags)
{
    struct pgl_file *file = pgl_arena_alloc(arena, sizeof(*file));
    char path[32];

    if (!file) {
        errno = ENOMEM;
        return NULL;
    }
    *file = (struct pgl_file){.refs = 1, .dev = st->st_dev, .ino = st->st_ino, .flags = flags};
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    file->fd = open(path, O_RDONLY | O_CLOEXEC | flags);
    file->own = file->fd >= 0;
    if (!file->own) { /* there is no /proc, or this user may not open the file */
        file->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    }
    if (file->fd < 0) {
        int error = errno;

        pgl_arena_free(arena, file);
        errno = error;
        return NULL;
    }
    return file;
}

static void file_free(struct pgl_arena *arena, struct pgl_file *file)
{
    close(file->fd);
    pgl_arena_free(arena, file);
}

/* Returns a reference to the file, or NULL when the list has none. The list is locked. */
static struct pgl_file *find_file(struct pgl_files *files, const struct stat *st, int flags)
{
    struct pgl_file *file = files->first;

    while (file && (file->dev != st->st_dev || file->ino != st->st_ino || file->flags != flags)) {
        file = file->next;
    }
    if (file) {
        file->refs++;
    }
    return file;
}

/* Returns a reference, or NULL with errno. */
static struct pgl_file *file_get(struct pgl_files *files, int fd, const struct stat *st, int flags)
{
    struct pgl_file *file, *fresh;

    pthread_mutex_lock(&files->lock);
    file = find_file(files, st, flags);
    pthread_mutex_unlock(&files->lock);
    if (file) {
        return file;
    }
    fresh = file_new(files->arena, fd, st, flags);
    if (!fresh) {
        return NULL;
    }
    pthread_mutex_lock(&files->lock);
    file = find_file(files, st, flags); /* another thread may have been first */
    if (!file) {
        fresh->next = files->first;
        files->first = fresh;
    }
    pthread_mutex_unlock(&files->lock);
    if (file) {
        file_free(files->arena, fresh);
    }
    return file ? file : fresh;
}

static void file_put(struct pgl_files *files, struct pgl_file *file)
{
    struct pgl_file **link = &files->first;
    bool last;

    pthread_mutex_lock(&files->lock);
    last = --file->refs == 0;
    if (last) {
        while (*link != file) {
            link = &(*link)->next;
        }
        *link = file->next;
    }
    pthread_mutex_unlock(&files->lock);
    if (last) {
        file_free(files->arena, file);
    }
}

/* Append a hole. Returns false with ENOMEM. */
static bool add_hole(struct pgl_source *source, struct pgl_pager_range hole, size_t *room)
{
    if (source->nholes == *room) {
        size_t more = *room > 0 ? 2 * *room : 16;
        struct pgl_pager_range *holes = pgl_arena_alloc(source->files->arena, more * sizeof(*holes));

        if (!holes) {
            errno = ENOMEM;
            return false;
        }
        if (source->holes) {
            memcpy(holes, source->holes, source->nholes * sizeof(*holes));
            pgl_arena_free(source->files->arena, source->holes);
        }
        source->holes = holes;
        *room = more;
    }
    source->holes[source->nholes++] = hole;
    return true;
}

/*
 * Find the holes once, when the file is mapped. lseek() during a fault would wait for a thread that writes to the file,
 * and that thread may wait for the page. If the file system cannot find a hole, the rest of the file counts as data.
 * Returns false with ENOMEM.
 */
static bool find_holes(struct pgl_source *source, size_t page_size)
{
    off_t size = (off_t)page_size;
    off_t at = (off_t)source->range.first * size;
    off_t end = source->range.last >= INT64_MAX / page_size ? INT64_MAX : (off_t)(source->range.last + 1) * size;
    size_t room = 0;

    while (at < end) {
        off_t data = lseek(source->file->fd, at, SEEK_DATA);
        struct pgl_pager_range hole = {(uint64_t)at / page_size, source->range.last};

        if (data < 0 && errno != ENXIO) {
            return true;
        }
        if (data >= 0 && data < end) {
            hole.last = (uint64_t)data / page_size - 1; /* wraps at page 0; the sum below wraps back */
        }
        if (hole.last + 1 > hole.first && !add_hole(source, hole, &room)) {
            return false;
        }
        at = data >= 0 && data < end ? lseek(source->file->fd, data, SEEK_HOLE) : end;
        if (at < 0 || at > INT64_MAX - size) {
            return true;
        }
        at += size - 1 - (at + size - 1) % size;
    }
    return true;
}

/* Free a source that has no holder any more, or never had one. */
static void source_free(struct pgl_source *source)
{
    if (source->from.kind == PGL_UFFD_FILE) {
        pgl_mapping_fini(&source->mapping);
    }
    if (source->file) {
        file_put(source->files, source->file);
    }
    pgl_arena_free(source->files->arena, source->holes);
    pgl_arena_free(source->files->arena, source);
}

/*
 * Open the file, find its holes, and map it. To find holes moves a file offset; therefore the caller's own description
 * is not used.
 */
static bool open_source(struct pgl_source *source, int fd, const struct stat *st, int flags, size_t page_size)
{
    bool sparse = (uint64_t)st->st_blocks * 512 < source->size;

    source->file = file_get(source->files, fd, st, flags);
    if (!source->file || (sparse && source->file->own && !find_holes(source, page_size))) {
        return false;
    }
    if ((source->file->flags & O_DIRECT) == 0) {
        pgl_mapping_init(&source->mapping, source->file->fd, (off_t)(source->range.first * page_size),
                         (size_t)(source->range.last - source->range.first + 1) * page_size, st->st_uid == geteuid());
    }
    return true;
}

/* Make a source without a file. Returns NULL with ENOMEM. */
static struct pgl_source *source_alloc(struct pgl_files *files, uint64_t size, uint64_t offset, uint64_t length,
                                       size_t page_size)
{
    struct pgl_source *source = pgl_arena_alloc(files->arena, sizeof(*source));

    if (!source) {
        errno = ENOMEM;
        return NULL;
    }
    source->files = files;
    source->refs = 1;
    source->size = size;
    source->range = (struct pgl_pager_range){offset / page_size, (offset + length) / page_size - 1};
    return source;
}

struct pgl_source *pgl_source_new(struct pgl_files *files, int fd, uint64_t offset, uint64_t length, size_t page_size)
{
    struct pgl_source *source;
    struct stat st = {0};
    int flags = 0;
    int error = examine(fd, &st, &flags);

    if (error == 0 &&
        (st.st_size <= 0 || offset >= (uint64_t)st.st_size || length > (uint64_t)st.st_size - offset + page_size - 1)) {
        error = EINVAL;
    }
    if (error != 0) {
        errno = error;
        return NULL;
    }
    source = source_alloc(files, (uint64_t)st.st_size, offset, length, page_size);
    if (source && !open_source(source, fd, &st, flags, page_size)) {
        error = errno;
        source_free(source);
        errno = error;
        return NULL;
    }
    return source;
}

struct pgl_source *pgl_source_new_other(struct pgl_files *files, const struct pgl_uffd_source *from, uint64_t offset,
                                        uint64_t length, size_t page_size)
{
    struct pgl_source *source;

    if (offset > from->size || length > from->size - offset) {
        errno = EINVAL;
        return NULL;
    }
    source = source_alloc(files, from->size, offset, length, page_size);
    if (!source) {
        return NULL;
    }
    source->from = *from;
    if (from->kind == PGL_UFFD_MEMORY) {
        pgl_mapping_init_memory(&source->mapping, (const unsigned char *)from->memory + offset, length);
    }
    return source;
}

void pgl_source_unref(struct pgl_source *source)
{
    /* acquire and release: pairs with itself in the other holders, which have used the source before it is freed */
    if (__atomic_sub_fetch(&source->refs, 1, __ATOMIC_ACQ_REL) == 0) {
        source_free(source);
    }
}

int pgl_source_read(struct pgl_delivery *delivery, const struct pgl_source *source, uint64_t first, uint64_t npages,
                    uint64_t *whole)
{
    uint64_t block = (source->file->flags & O_DIRECT) != 0 ? delivery->pager->page_size : 1;
    uint64_t offset = first * delivery->pager->page_size;
    uint64_t length = npages * delivery->pager->page_size;
    uint64_t wanted = source->size - offset < length ? source->size - offset : length;
    uint64_t have = 0;
    int error = 0;

    while (have < wanted && error == 0) {
        uint64_t at = have - have % block;
        ssize_t n = pread(source->file->fd, delivery->buffer + at, length - at, (off_t)(offset + at));

        if (n > 0 && at + (uint64_t)n > have) {
            have = at + (uint64_t)n;
        } else if (n >= 0) {
            error = ENODATA;
        } else if (errno != EINTR) {
            error = errno;
        }
    }
    have = have < wanted ? have : wanted; /* the file may have grown since it was mapped */
    pgl_count(&delivery->pager->stats.bytes_read, have);
    pgl_count(&delivery->pager->stats.requests, 1);
    if (have < length) {
        memset(delivery->buffer + have, 0, length - have);
    }
    *whole = have == wanted ? npages : have / delivery->pager->page_size;
    return error;
}

int pgl_source_measure_hole(const struct pgl_source *source, uint64_t first, uint64_t npages, size_t page_size,
                            uint64_t *whole)
{
    struct stat st;

    *whole = 0;
    if (fstat(source->file->fd, &st) != 0) {
        return errno;
    }
    if ((uint64_t)st.st_size >= source->size) {
        *whole = npages;
    } else if ((uint64_t)st.st_size / page_size > first) {
        uint64_t left = (uint64_t)st.st_size / page_size - first;

        *whole = left < npages ? left : npages;
    }
    return *whole < npages ? ENODATA : 0;
}

struct pgl_pager_range pgl_source_find_run(const struct pgl_source *source, struct pgl_pager_range range, uint64_t page,
                                           bool *hole)
{
    const struct pgl_pager_range *holes = source->holes;
    size_t low = 0;
    size_t high = source->nholes;

    while (low < high) { /* find the first hole that ends at or above the page */
        size_t middle = low + (high - low) / 2;

        if (holes[middle].last < page) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *hole = low < source->nholes && holes[low].first <= page;
    if (*hole) {
        range.first = holes[low].first > range.first ? holes[low].first : range.first;
        range.last = holes[low].last < range.last ? holes[low].last : range.last;
        return range;
    }
    if (low > 0 && holes[low - 1].last >= range.first) {
        range.first = holes[low - 1].last + 1;
    }
    if (low < source->nholes && holes[low].first <= range.last) {
        range.last = holes[low].first - 1;
    }
    return range;
}
