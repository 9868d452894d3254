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
 *              (test_uffd_mapping_*)
 * NOT PROMISED Y2, if mlockall(MCL_CURRENT) is called after the file was mapped: it reads the whole mapping in, and the
 *              region that shows it. With MCL_ONFAULT it reads neither.
 *              An error, if the file shrinks in the middle of a page between the look at its length and the copy. The
 *              rest of that page is zeros then.
 *              Y3, if the kernel takes pages away between the two calls: it reads them again during the copy.
 */
#include <sys/mman.h>
#include <sys/stat.h>

#include "uffd_internal.h"

#define LEAST_PAGES 4 /* that are worth a copy out of the mapping */

void pgl_mapping_init(struct pgl_mapping *mapping, int fd, off_t offset, size_t length)
{
    void *bytes = mmap(NULL, length, PROT_NONE, MAP_SHARED | MAP_NORESERVE, fd, offset);

    *mapping = (struct pgl_mapping){.length = length};
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
    *mapping = (struct pgl_mapping){bytes, length};
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

const unsigned char *pgl_mapping_find(const struct pgl_source *source, uint64_t first, uint64_t npages,
                                      size_t page_size)
{
    const unsigned char *bytes;
    struct stat st;

    if (source->from.kind == PGL_UFFD_MEMORY) {
        return find_memory(source, first, npages, page_size);
    }
    if (!source->mapping.bytes || npages < LEAST_PAGES || (first + npages) * page_size > source->size ||
        fstat(source->file->fd, &st) != 0 || (uint64_t)st.st_size < source->size) { /* Y1 */
        return NULL;
    }
    bytes = source->mapping.bytes + (first - source->range.first) * page_size;
    /* Y3. Before Linux 5.14 it is EINVAL, and for pages behind the file's end EFAULT. */
    return madvise((void *)(uintptr_t)bytes, npages * page_size, MADV_POPULATE_READ) == 0 ? bytes : NULL;
}
