/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A file in the memory of this process, for copies of several pages without a read; or memory of the caller's.
 *
 * MAPPING      Only the kernel reads the mapping, in UFFDIO_COPY. Therefore a page that cannot be read is an error of
 *              that call (EFAULT), after which the pages are read in the usual way. It is no SIGBUS.
 *              Y1: a page that is beyond the end that the file had when it was mapped, even in part, is read. So are
 *              all pages of a file that is shorter by now: its last page would be filled up with zeros in the mapping,
 *              where a read ends early.
 *              Y2: the mapping never locks pages. mlockall(MCL_FUTURE) would otherwise read the whole file in.
 *              Y3: the pages are in memory before they are copied. UFFDIO_COPY is called with the layout locked, and
 *              every handler needs it before it reads a message: none waits for another one's storage there.
 *              Y4: nothing waits for the storage to have the kernel read on. It reads ahead of a reader in sequence,
 *              and begins its next reading when the reader comes to a certain page of the last one. A copy takes as
 *              long as the storage; therefore each of the two would wait for the other in turn. While clusters continue
 *              a sequence, pages that follow are brought into the mapping as well, those that are in the cache: the
 *              kernel takes the reader to be there already. It tells the owner of a file which pages are in the cache,
 *              and others that all are; files of others are not read on.
 *              Y5: at most AHEAD bytes after a cluster are brought in early, four times as many pages as the cluster
 *              has at a time, and none twice. If the page FAR after a cluster is in the cache, all pages up to it are
 *              taken to be: a file that is in the cache costs a look once in a while.
 *              (test_uffd_mapping_*)
 * READERS      The handlers that bring pages of one source guess together where its sequence is. A lost guess costs a
 *              reading that begins later.
 * NOT PROMISED Y2, if mlockall(MCL_CURRENT) is called after the file was mapped: it reads the whole mapping in, and the
 *              region that shows it. With MCL_ONFAULT it reads neither.
 *              An error, if the file shrinks in the middle of a page between the look at its length and the copy. The
 *              rest of that page is zeros then.
 *              Y3, if the kernel takes pages away between the two calls: it reads them again during the copy. Y4 then.
 */
#include <sys/mman.h>
#include <sys/stat.h>

#include "uffd_internal.h"

#define LEAST_PAGES 4            /* that are worth a copy out of the mapping */
#define AHEAD ((size_t)8 << 20)  /* bytes */
#define FAR ((size_t)32 << 20)   /* bytes; more than the kernel reads ahead */
#define TIMES 4                  /* as many pages as a cluster has */
#define MOST_PAGES ((size_t)512) /* at a time */

void pgl_mapping_init(struct pgl_mapping *mapping, int fd, off_t offset, size_t length, bool tells)
{
    void *bytes = mmap(NULL, length, PROT_NONE, MAP_SHARED | MAP_NORESERVE, fd, offset);

    *mapping = (struct pgl_mapping){.length = length, .tells = tells};
    if (bytes == MAP_FAILED) {
        return;
    }
    if (munlock(bytes, length) != 0 || mprotect(bytes, length, PROT_READ) != 0) { /* Y2 */
        munmap(bytes, length);
        return;
    }
    mapping->bytes = bytes;
}

void pgl_mapping_fini(struct pgl_mapping *mapping)
{
    if (mapping->bytes) {
        munmap((void *)(uintptr_t)mapping->bytes, mapping->length);
    }
}

void pgl_mapping_init_memory(struct pgl_mapping *mapping, const unsigned char *bytes, size_t length)
{
    *mapping = (struct pgl_mapping){.bytes = bytes, .length = length};
}

/* Bring the pages into memory if that is possible. If it is not, the copy says what is wrong. */
static const unsigned char *find_memory(const struct pgl_source *source, uint64_t first, uint64_t npages,
                                        size_t page_size)
{
    const unsigned char *bytes = source->mapping.bytes + (first - source->range.first) * page_size;
    size_t ahead = (uintptr_t)bytes % page_size; /* of the address, on its page */

    madvise((void *)(uintptr_t)(bytes - ahead), (size_t)npages * page_size + ahead, MADV_POPULATE_READ); /* Y3 */
    return bytes;
}

/* Returns how many of these pages are in the kernel's cache, from the first one on; 0 if that is unknown. */
static size_t count_cached(const unsigned char *bytes, size_t npages, size_t page_size)
{
    unsigned char cached[MOST_PAGES];
    size_t n = 0;

    npages = pgl_least(npages, MOST_PAGES);
    if (mincore((void *)(uintptr_t)bytes, npages * page_size, cached) == 0) {
        while (n < npages && (cached[n] & 1) != 0) {
            n++;
        }
    }
    return n;
}

/* These bytes of the mapping are about to be copied. If they continue a sequence, have the kernel read on. */
static void read_on(struct pgl_mapping *mapping, size_t start, size_t length, size_t page_size)
{
    size_t next = start + length;
    size_t left = mapping->length - next;
    size_t end = next + pgl_least(left, AHEAD);
    size_t last = next + pgl_least(left, FAR) - page_size;
    size_t from = next;

    if (__atomic_exchange_n(&mapping->next, next, __ATOMIC_RELAXED) == start) {
        size_t before = __atomic_load_n(&mapping->read_on, __ATOMIC_RELAXED);

        from = before > next ? before : next;
        if (from < end && count_cached(mapping->bytes + last, 1, page_size) > 0) {
            from = last + page_size;
        } else if (from < end) {
            size_t npages = pgl_least(TIMES * length, end - from) / page_size;

            npages = count_cached(mapping->bytes + from, npages, page_size);
            madvise((void *)(uintptr_t)(mapping->bytes + from), npages * page_size, MADV_POPULATE_READ);
            from += npages * page_size;
        }
    }
    __atomic_store_n(&mapping->read_on, from, __ATOMIC_RELAXED);
}

const unsigned char *pgl_mapping_find(struct pgl_source *source, uint64_t first, uint64_t npages, size_t page_size)
{
    size_t start = (first - source->range.first) * page_size;
    size_t length = npages * page_size;
    const unsigned char *bytes;
    struct stat st;

    if (source->from.kind == PGL_UFFD_MEMORY) {
        return find_memory(source, first, npages, page_size);
    }
    if (!source->mapping.bytes || npages < LEAST_PAGES || (first + npages) * page_size > source->size ||
        fstat(source->file->fd, &st) != 0 || (uint64_t)st.st_size < source->size) { /* Y1 */
        return NULL;
    }
    bytes = source->mapping.bytes + start;
    if (madvise((void *)(uintptr_t)bytes, length, MADV_POPULATE_READ) != 0) {
        return NULL; /* Y3. Before Linux 5.14 it is EINVAL, and for pages behind the file's end EFAULT. */
    }
    if (source->mapping.tells) { /* Y4 */
        read_on(&source->mapping, start, length, page_size);
    }
    return bytes;
}
