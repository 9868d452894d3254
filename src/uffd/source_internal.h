/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The files that regions show, and what is read from them or copied out of a mapping of them. Private. */
#ifndef PGL_UFFD_SOURCE_INTERNAL_H
#define PGL_UFFD_SOURCE_INTERNAL_H

#include <pthread.h>
#include <sys/types.h>

#include <pagelock/fault.h>
#include <pagelock/uffd.h>

struct pgl_arena;
struct pgl_delivery;

/* An open file. All sources that read it share it. */
struct pgl_file {
    struct pgl_file *next;
    unsigned refs; /* protected by the lock of the list */
    int fd;
    bool own; /* an open file description of the pager's own: moving its offset disturbs nobody */
    dev_t dev;
    ino_t ino;
    int flags; /* the open() flags that distinguish it from other descriptions of the same inode */
};

/* The list of open files. */
struct pgl_files {
    pthread_mutex_t lock;
    struct pgl_arena *arena; /* the heap of files and sources */
    struct pgl_file *first;
};

/* A part of a file, or of the caller's memory, in the memory of this process. */
struct pgl_mapping {
    const unsigned char *bytes; /* NULL: it cannot be mapped, or was opened with O_DIRECT */
    size_t length;
    bool tells;     /* the kernel tells which of its pages are in the cache */
    size_t next;    /* behind the cluster that came last. Atomic: a guess, as is the next one */
    size_t read_on; /* before this place the kernel was to read on, or has read everything */
};

/* A part of a file, of memory, or of what a callback supplies, that some memory shows. A forked child shares it. */
struct pgl_source {
    struct pgl_uffd_source from; /* as the caller has said; its descriptor may be closed */
    struct pgl_files *files;
    struct pgl_file *file;         /* referenced; NULL: no file */
    unsigned refs;                 /* atomic */
    uint64_t size;                 /* bytes of the file when it was mapped; if it has fewer later, that is an error */
    struct pgl_pager_range range;  /* the source's pages */
    struct pgl_pager_range *holes; /* whole pages, as they were when the file was mapped: ascending */
    size_t nholes;
    struct pgl_mapping mapping; /* of the range */
};

/* source.c */

bool pgl_files_init(struct pgl_files *files, struct pgl_arena *arena);

/* The caller has freed all sources. */
void pgl_files_fini(struct pgl_files *files);

/* Returns one reference, or NULL with errno when these pages of the file cannot be shown. */
struct pgl_source *pgl_source_new(struct pgl_files *files, int fd, uint64_t offset, uint64_t length, size_t page_size);

/* The same for memory of this process, or for a callback. */
struct pgl_source *pgl_source_new_other(struct pgl_files *files, const struct pgl_uffd_source *from, uint64_t offset,
                                        uint64_t length, size_t page_size);
void pgl_source_unref(struct pgl_source *source);

/*
 * Read pages of the file into the delivery's buffer. Returns 0 or an errno; *whole is how many pages could be read.
 * O_DIRECT needs whole blocks. Therefore whole pages are read, of the file's end too, and a page that came in part is
 * read again.
 */
int pgl_source_read(struct pgl_delivery *delivery, const struct pgl_source *source, uint64_t first, uint64_t npages,
                    uint64_t *whole);

/* As pgl_source_read(), for a hole: read nothing, but notice when the file has shrunk. */
int pgl_source_measure_hole(const struct pgl_source *source, uint64_t first, uint64_t npages, size_t page_size,
                            uint64_t *whole);

/* Returns the part of a range around a page that lies in one hole or, with *hole false, that has to be read. */
struct pgl_pager_range pgl_source_find_run(const struct pgl_source *source, struct pgl_pager_range range, uint64_t page,
                                           bool *hole);

/* mapping.c */

/*
 * Map a part of a file if that is possible. No page of it is read meanwhile. @tells: the kernel tells which of its pages
 * are in the cache, as it does to the file's owner.
 */
void pgl_mapping_init(struct pgl_mapping *mapping, int fd, off_t offset, size_t length, bool tells);
void pgl_mapping_fini(struct pgl_mapping *mapping);

/* Show the caller's memory, which stays mapped. */
void pgl_mapping_init_memory(struct pgl_mapping *mapping, const unsigned char *bytes, size_t length);

/* Bring pages into memory, and return their address in the source's mapping, or NULL when they have to be read. */
const unsigned char *pgl_mapping_find(struct pgl_source *source, uint64_t first, uint64_t npages, size_t page_size);

#endif
