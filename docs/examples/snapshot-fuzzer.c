/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A fuzzer that begins each run from the same snapshot. The pages come from the snapshot's file when a run touches them
 * for the first time, and stay. After a run the pages that it has written get the snapshot's bytes back, and no others.
 * They are written through a second mapping of the same memory, in which writes cost no fault and are not reported.
 *
 *     cc -D_GNU_SOURCE -o snapshot-fuzzer snapshot-fuzzer.c $(pkg-config --cflags --libs pagelock)
 *     ./snapshot-fuzzer
 *
 * prints:
 *
 *     1000 runs, 0 of them began with other bytes than the snapshot's
 *     every page came from the file at most once
 */
#include <err.h>
#include <errno.h>
#include <pagelock/pagelock.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGES = 4096, RUNS = 1000, WRITES = 50, ROOM = 64 };

static size_t length;
static unsigned char *memory;         /* the guest's, filled by the pager */
static unsigned char *back;           /* the same pages, for the fuzzer */
static const unsigned char *snapshot; /* the file */

static size_t next(size_t *random)
{
    *random = *random * 1103515245 + 12345;
    return (*random >> 8) % length;
}

/* The guest: it reads and writes here and there, as its input says. */
static void run(unsigned input)
{
    size_t random = input;

    for (unsigned i = 0; i < WRITES; i++) {
        memory[next(&random)] ^= memory[next(&random)] | 1;
    }
}

/* Give the pages that were written since the last call their bytes back. No guest runs meanwhile. */
static void reset(struct pgl_uffd *pager)
{
    struct pgl_uffd_range rest = {memory, length}, written[ROOM];

    while (rest.length > 0) {
        ssize_t n = pgl_uffd_dirty_take(pager, &rest, written, ROOM);

        if (n < 0) {
            err(1, "pgl_uffd_dirty_take");
        }
        for (ssize_t i = 0; i < n; i++) {
            size_t offset = (size_t)((unsigned char *)written[i].addr - memory);

            memcpy(back + offset, snapshot + offset, written[i].length);
        }
    }
}

static void *map(int fd, int protection)
{
    void *address = mmap(NULL, length, protection, MAP_SHARED, fd, 0);

    if (address == MAP_FAILED) {
        err(1, "mmap");
    }
    return address;
}

int main(void)
{
    const size_t page_size = (size_t)sysconf(_SC_PAGESIZE);
    const struct pgl_uffd_config config = {.track_dirty = true};
    struct pgl_uffd_region region = {.advice = PGL_ADVICE_ADAPTIVE, .memory = PGL_UFFD_SHARED};
    struct pgl_uffd_stats stats;
    struct pgl_uffd *pager;
    FILE *file = tmpfile();
    int fd = memfd_create("guest", MFD_CLOEXEC);
    unsigned wrong = 0;

    length = PAGES * page_size;
    for (size_t byte = 0; file && byte < length; byte++) {
        putc((int)(byte / page_size % 251), file);
    }
    if (!file || fflush(file) || fd < 0 || ftruncate(fd, (off_t)length) != 0) {
        err(1, "snapshot");
    }
    snapshot = map(fileno(file), PROT_READ);
    memory = map(fd, PROT_READ | PROT_WRITE);
    back = map(fd, PROT_READ | PROT_WRITE);

    pager = pgl_uffd_new(&config);
    if (!pager) {
        errx(1, "%s", pgl_uffd_explain(errno));
    }
    region.addr = memory;
    region.length = length;
    region.source.fd = fileno(file);
    if (!pgl_uffd_map_region(pager, &region)) {
        errx(1, "userfaultfd: %s", pgl_uffd_explain(errno));
    }
    for (unsigned i = 0; i < RUNS; i++) {
        run(i);
        reset(pager);
        if (i % 100 == 99) { /* to look at every page takes longer than a run */
            wrong += memcmp(memory, snapshot, length) != 0;
        }
    }
    pgl_uffd_get_stats(pager, &stats);
    printf("%d runs, %u of them began with other bytes than the snapshot's\n", RUNS, wrong);
    printf("%s\n", stats.pages_fetched <= PAGES ? "every page came from the file at most once" : "pages came again");
    pgl_uffd_free(pager);
    munmap(memory, length);
    munmap(back, length);
    munmap((void *)snapshot, length);
    close(fd);
    fclose(file);
    return wrong > 0;
}
