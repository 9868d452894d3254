/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Written pages and limits of the userfaultfd pager: what it costs to take pages, to write a page that was taken, and
 * to read a page that a limit has given back. The cases are left out where userfaultfd cannot be used.
 */
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <pagelock/uffd.h>

#include "bench.h"
#include "micro_case.h"

enum { PAGE = 4096, REGION_PAGES = 1 << 18, WRITTEN = 1000, APART = REGION_PAGES / WRITTEN, LIMIT = 127, ROOM = 2000 };

/* Kinds: which record of writes there is, or whether the region has a limit, of few pages or of half of them. */
enum kind { PLAIN, RECORD, FAULTS, UNLIMITED, LIMITED, HALF };

/* Sizes: in which order pages are read. */
enum order { AT_RANDOM, IN_SEQUENCE };

struct world {
    struct pgl_uffd *pager; /* NULL: plain memory */
    unsigned char *memory;
    size_t length;
    int file;
};

static void take_all(const struct world *world)
{
    struct pgl_uffd_range rest = {world->memory, world->length}, written[ROOM];

    while (rest.length > 0) {
        if (pgl_uffd_dirty_take(world->pager, &rest, written, ROOM) < 0) {
            abort();
        }
    }
}

static bool start_pager(struct world *world, const struct variant *variant)
{
    enum kind kind = (enum kind)variant->kind;
    const struct pgl_uffd_config config = {
        .write_protect = kind == FAULTS || kind >= UNLIMITED,
        .track_dirty = kind == RECORD || kind == FAULTS,
    };
    const struct pgl_uffd_region region = {
        .addr = world->memory,
        .length = world->length,
        .source.fd = world->file,
        .advice = variant->size == IN_SEQUENCE ? PGL_ADVICE_SEQUENTIAL : PGL_ADVICE_RANDOM,
        .limit = kind == LIMITED ? LIMIT
                 : kind == HALF  ? variant->pages / 2
                                 : 0,
    };

    world->pager = pgl_uffd_new(&config);
    return world->pager && pgl_uffd_map_region(world->pager, &region);
}

static void *setup(const struct variant *variant)
{
    struct world *world = g_new0(struct world, 1);

    world->length = variant->pages * PAGE;
    world->file = memfd_create("pages", MFD_CLOEXEC);
    world->memory = mmap(NULL, world->length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (world->file < 0 || ftruncate(world->file, (off_t)world->length) != 0 || world->memory == MAP_FAILED ||
        madvise(world->memory, world->length, MADV_NOHUGEPAGE) != 0 ||
        (variant->kind != PLAIN && !start_pager(world, variant))) {
        g_error("micro: no memory for a pager: %s", g_strerror(errno));
    }
    if (variant->kind == RECORD || variant->kind == FAULTS) {
        pgl_uffd_prefetch(world->pager, world->memory, world->length);
        take_all(world);
    }
    for (size_t at = 0; variant->kind == PLAIN && at < world->length; at += PAGE) {
        world->memory[at] = 1;
    }
    return world;
}

static void teardown(void *state)
{
    struct world *world = state;

    pgl_uffd_free(world->pager);
    munmap(world->memory, world->length);
    close(world->file);
    g_free(world);
}

/* As setup(), and some pages are written, none beside another one. */
static void *setup_written(const struct variant *variant)
{
    struct world *world = setup(variant);

    for (size_t page = 0; page < WRITTEN; page++) {
        world->memory[page * APART * PAGE] = 1;
    }
    return world;
}

/* As setup(), and the first half of the pages is in memory. */
static void *setup_half(const struct variant *variant)
{
    struct world *world = setup(variant);

    pgl_uffd_prefetch(world->pager, world->memory, world->length / 2);
    return world;
}

static void run_take(void *state, const struct variant *variant, unsigned thread, uint64_t ops)
{
    (void)variant;
    (void)thread;
    (void)ops;
    take_all(state);
}

static void run_write(void *state, const struct variant *variant, unsigned thread, uint64_t ops)
{
    const struct world *world = state;

    (void)variant;
    (void)thread;
    for (uint64_t page = 0; page < ops; page++) {
        *(volatile unsigned char *)(world->memory + page * PAGE) = 2;
    }
}

static void run_read(void *state, const struct variant *variant, unsigned thread, uint64_t ops)
{
    const struct world *world = state;

    (void)variant;
    (void)thread;
    for (uint64_t page = 0; page < ops; page++) {
        (void)*(volatile unsigned char *)(world->memory + page % variant->pages * PAGE);
    }
}

/* Read each page of the second half once. */
static void run_half(void *state, const struct variant *variant, unsigned thread, uint64_t ops)
{
    const struct world *world = state;

    (void)thread;
    for (uint64_t i = 0; i < ops; i++) {
        uint64_t page = ops + (variant->size == IN_SEQUENCE ? i : i * 2654435761u % ops);

        (void)*(volatile unsigned char *)(world->memory + page * PAGE);
    }
}

/* The cases are those of pages of PAGE bytes. */
static bool is_permitted(void)
{
    const struct pgl_uffd_config config = {.track_dirty = true};
    struct pgl_uffd *pager = pgl_uffd_new(&config);

    pgl_uffd_free(pager);
    return pager != NULL && sysconf(_SC_PAGESIZE) == PAGE;
}

void micro_pager_cases(GPtrArray *cases)
{
    static const struct subject take_record = {"record", NULL, setup_written, teardown, run_take};
    static const struct subject take_faults = {"faults", NULL, setup_written, teardown, run_take};
    static const struct subject plain = {"plain", NULL, setup, teardown, run_write};
    static const struct subject record = {"record", NULL, setup, teardown, run_write};
    static const struct subject faults = {"faults", NULL, setup, teardown, run_write};
    static const struct subject unlimited = {"unlimited", NULL, setup, teardown, run_read};
    static const struct subject limited = {"limited", NULL, setup, teardown, run_read};
    static const struct subject half_unlimited = {"unlimited", NULL, setup_half, teardown, run_half};
    static const struct subject half_limited = {"limited", NULL, setup_half, teardown, run_half};
    struct micro_case *one;
    unsigned a, b;

    if (!is_permitted()) {
        return;
    }
    one = micro_add(cases, "dirty-take", "take 1,000 written pages of 1 GiB, by either record", MICRO_NO_PLOT);
    b = micro_variant(one, &(struct variant){&take_faults, 1, REGION_PAGES, 1, 0, FAULTS});
    a = micro_variant(one, &(struct variant){&take_record, 1, REGION_PAGES, 1, 0, RECORD});
    micro_pair(one, a, b);
    one = micro_add(cases, "dirty-write", "the first write to a page that was taken, by either record", MICRO_NO_PLOT);
    b = micro_variant(one, &(struct variant){&plain, 1, 1 << 14, 1 << 14, 0, PLAIN});
    a = micro_variant(one, &(struct variant){&record, 1, 1 << 14, 1 << 14, 0, RECORD});
    micro_pair(one, a, b);
    a = micro_variant(one, &(struct variant){&faults, 1, 1 << 14, 1 << 14, 0, FAULTS});
    micro_pair(one, a, b);
    one = micro_add(cases, "limit-read", "the first read of a page; with a limit, another one is given back for it",
                    MICRO_NO_PLOT);
    b = micro_variant(one, &(struct variant){&unlimited, 1, 1 << 14, 1 << 14, 0, UNLIMITED});
    a = micro_variant(one, &(struct variant){&limited, 1, 1 << 14, 1 << 14, 0, LIMITED});
    micro_pair(one, a, b);
    one = micro_add(cases, "limit-random", "the same at random, of a region of twice as many pages as the limit",
                    MICRO_NO_PLOT);
    b = micro_variant(one, &(struct variant){&half_unlimited, 1, 1 << 15, 1 << 14, AT_RANDOM, UNLIMITED});
    a = micro_variant(one, &(struct variant){&half_limited, 1, 1 << 15, 1 << 14, AT_RANDOM, HALF});
    micro_pair(one, a, b);
    one = micro_add(cases, "limit-sequence", "the same in sequence", MICRO_NO_PLOT);
    b = micro_variant(one, &(struct variant){&half_unlimited, 1, 1 << 15, 1 << 14, IN_SEQUENCE, UNLIMITED});
    a = micro_variant(one, &(struct variant){&half_limited, 1, 1 << 15, 1 << 14, IN_SEQUENCE, HALF});
    micro_pair(one, a, b);
}
