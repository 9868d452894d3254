/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A snapshot that is paged in. The memory shows the file at once. A page is read when the program first touches it, and
 * the neighbours that are worth it are read with it.
 *
 *     cc -o snapshot snapshot.c $(pkg-config --cflags --libs pagelock)
 *     ./snapshot
 *
 * prints:
 *
 *     512 pages touched, 0 of them wrong
 *     512 pages read by 16 requests
 */
#include <err.h>
#include <errno.h>
#include <pagelock/pagelock.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGES = 4096, TOUCHED = 512 };

int main(void)
{
    const size_t page_size = (size_t)sysconf(_SC_PAGESIZE), length = PAGES * page_size;
    FILE *snapshot = tmpfile();
    /* The pager needs no privilege. Without one a system call fails on an absent page; this program makes no such call. */
    struct pgl_uffd_config config = {.allow_user_mode = true};
    struct pgl_uffd_stats stats;
    struct pgl_uffd *pager;
    unsigned char *memory;
    unsigned wrong = 0;

    /* Page i of the snapshot is full of bytes i. */
    for (unsigned i = 0; snapshot && i < PAGES; i++) {
        for (size_t byte = 0; byte < page_size; byte++) {
            putc((unsigned char)i, snapshot);
        }
    }
    memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!snapshot || fflush(snapshot) || memory == MAP_FAILED) {
        err(1, "snapshot");
    }

    pager = pgl_uffd_new(&config);
    if (!pager) {
        errx(1, "%s", pgl_uffd_explain(errno));
    }
    if (!pgl_uffd_map(pager, memory, length, fileno(snapshot), 0, PGL_ADVICE_SEQUENTIAL)) {
        err(1, "pgl_uffd_map");
    }

    /* The guest would run here. It touches one page after the other. */
    for (unsigned i = 0; i < TOUCHED; i++) {
        wrong += memory[i * page_size] != (unsigned char)i;
    }
    pgl_uffd_get_stats(pager, &stats);
    printf("%d pages touched, %u of them wrong\n", TOUCHED, wrong);
    printf("%u pages read by %u requests\n", (unsigned)stats.pages_fetched, (unsigned)stats.requests);
    pgl_uffd_free(pager);
    munmap(memory, length);
    fclose(snapshot);
    return 0;
}
