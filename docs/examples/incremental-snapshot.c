/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Incremental snapshots of a program that goes on writing. The memory begins as the first snapshot. In every epoch the
 * pages that were written since the last one are appended to a file, each range of them behind its offset and length.
 * The writer is stopped for the last epoch alone, which is short. Then the first snapshot with all increments is the
 * memory.
 *
 *     cc -o incremental-snapshot incremental-snapshot.c $(pkg-config --cflags --libs pagelock) -pthread
 *     ./incremental-snapshot
 *
 * prints:
 *
 *     10 epochs saved beside a running writer
 *     restored: the snapshot and its increments are the memory
 */
#include <err.h>
#include <errno.h>
#include <pagelock/pagelock.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGES = 4096, EPOCHS = 10, ROOM = 64, BETWEEN_US = 10000 };

struct range {
    uint64_t offset;
    uint64_t length;
};

static uint64_t *memory;
static size_t length;
static bool stopped; /* atomic */

static void *keep_writing(void *arg)
{
    uint64_t random = 1;

    while (!__atomic_load_n(&stopped, __ATOMIC_RELAXED)) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        __atomic_fetch_add(&memory[(random >> 20) % (length / sizeof(*memory))], 1, __ATOMIC_RELAXED);
        if (random >> 58 == 0) {
            usleep(100);
        }
    }
    return arg;
}

/* Append memory to which the writer may be writing. */
static void save(const uint64_t *words, size_t n, FILE *increments)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t word = __atomic_load_n(&words[i], __ATOMIC_RELAXED);

        if (fwrite(&word, sizeof(word), 1, increments) != 1) {
            err(1, "increments");
        }
    }
}

/* Append the pages that were written since the last epoch. They are protected again already, and then read. */
static void save_epoch(struct pgl_uffd *pager, FILE *increments)
{
    struct pgl_uffd_range rest = {memory, length}, written[ROOM];

    while (rest.length > 0) {
        ssize_t n = pgl_uffd_dirty_take(pager, &rest, written, ROOM);

        if (n < 0) {
            err(1, "pgl_uffd_dirty_take");
        }
        for (ssize_t i = 0; i < n; i++) {
            struct range range = {(uint64_t)((char *)written[i].addr - (char *)memory), written[i].length};

            save(&range.offset, sizeof(range) / sizeof(uint64_t), increments);
            save(written[i].addr, written[i].length / sizeof(uint64_t), increments);
        }
    }
}

/* Whether the first snapshot with all increments is the memory. */
static bool is_restored(FILE *snapshot, FILE *increments)
{
    char *copy = malloc(length);
    struct range range;
    bool same;

    rewind(snapshot);
    if (!copy || fflush(increments) || fseek(increments, 0, SEEK_SET) || fread(copy, length, 1, snapshot) != 1) {
        err(1, "snapshot");
    }
    while (fread(&range, sizeof(range), 1, increments) == 1) {
        if (range.offset > length || range.length > length - range.offset ||
            fread(copy + range.offset, range.length, 1, increments) != 1) {
            errx(1, "an increment is cut off, or damaged");
        }
    }
    same = memcmp(copy, memory, length) == 0;
    free(copy);
    return same;
}

int main(void)
{
    const size_t page_size = (size_t)sysconf(_SC_PAGESIZE);
    const struct pgl_uffd_config config = {.track_dirty = true};
    FILE *snapshot = tmpfile(), *increments = tmpfile();
    struct pgl_uffd *pager;
    pthread_t writer;
    bool same;

    length = PAGES * page_size;
    for (size_t byte = 0; snapshot && byte < length; byte++) {
        putc((int)(byte / page_size % 251), snapshot);
    }
    memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!snapshot || !increments || fflush(snapshot) || memory == MAP_FAILED) {
        err(1, "snapshot");
    }

    pager = pgl_uffd_new(&config);
    if (!pager) {
        errx(1, "%s", pgl_uffd_explain(errno));
    }
    if (!pgl_uffd_map(pager, memory, length, fileno(snapshot), 0, PGL_ADVICE_NORMAL)) {
        err(1, "pgl_uffd_map");
    }
    if (pthread_create(&writer, NULL, keep_writing, NULL) != 0) {
        errx(1, "no thread");
    }
    for (int epoch = 1; epoch < EPOCHS; epoch++) {
        usleep(BETWEEN_US);
        save_epoch(pager, increments);
    }
    __atomic_store_n(&stopped, true, __ATOMIC_RELAXED);
    pthread_join(writer, NULL);
    save_epoch(pager, increments);
    printf("%d epochs saved beside a running writer\n", EPOCHS);

    same = is_restored(snapshot, increments);
    printf("restored: the snapshot and its increments are %sthe memory\n", same ? "" : "not ");
    pgl_uffd_free(pager);
    munmap(memory, length);
    fclose(snapshot);
    fclose(increments);
    return same ? 0 : 1;
}
