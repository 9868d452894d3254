/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Dirty pages and limits, on the kernel's own faults: pages are read, written, given back and moved, and taken in
 * answers of any size, by either record of writes, with a limit or without. After each report the bytes that were read
 * are the memory's, and no page is reported that nothing has happened to.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <pagelock/uffd.h>
#include <pagelock/workset.h>

#include "fuzz.h"

enum { NPAGES = 160, LIMIT = PGL_WORKSET_CLUSTER, PAGE = 4096, MAX_STEPS = 200, ROOM = 8 };

/* A page is at one of two places, and moves between them. */
static struct world {
    struct input input;
    struct pgl_uffd *uffd;
    unsigned char *places; /* two for each page */
    bool has_limit;        /* until memory was moved */
    int file;
    struct page {
        bool moved;
        bool touched; /* it may be reported: it was written, given back, or moved */
        uint8_t byte;
        uint8_t saved; /* what was read after the last report */
    } page[NPAGES];
} world;

static unsigned char *at(unsigned n)
{
    return world.places + (n + (world.page[n].moved ? NPAGES : 0)) * (size_t)PAGE;
}

static uint8_t read_byte(unsigned n)
{
    const volatile unsigned char *bytes = at(n);

    CHECK(bytes[0] == bytes[PAGE - 1]);
    return bytes[0];
}

/* Pages side by side at one place, at most so many as the input says. Returns the first one. */
static unsigned any_run(unsigned *last)
{
    unsigned first = eat(&world.input) % NPAGES;
    unsigned end = first + eat(&world.input) % NPAGES;

    *last = first;
    while (*last < end && *last + 1 < NPAGES && world.page[*last + 1].moved == world.page[first].moved) {
        ++*last;
    }
    return first;
}

static void step_read(void)
{
    unsigned n = eat(&world.input) % NPAGES;

    CHECK(read_byte(n) == world.page[n].byte);
}

static void step_read_all(void)
{
    for (unsigned n = 0; n < NPAGES; n++) {
        CHECK(read_byte(n) == world.page[n].byte);
    }
}

static void step_write(void)
{
    unsigned last, first = any_run(&last);

    for (unsigned n = first; n <= last; n += 3) {
        world.page[n].byte = eat(&world.input);
        memset(at(n), world.page[n].byte, PAGE);
        world.page[n].touched = true;
    }
}

static void step_give_back(void)
{
    unsigned last, first = any_run(&last);

    CHECK(madvise(at(first), (last - first + 1) * (size_t)PAGE, MADV_DONTNEED) == 0);
    for (unsigned n = first; n <= last; n++) {
        world.page[n].byte = (uint8_t)n;
        world.page[n].touched = true;
    }
}

/* The place that is left behind stays reserved for the way back. The kernel moves parts of one mapping only. */
static void step_move(void)
{
    unsigned n = eat(&world.input) % NPAGES;
    void *from = at(n);

    world.page[n].moved = !world.page[n].moved;
    world.page[n].touched = true;
    world.has_limit = false;
    CHECK(mremap(from, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, at(n)) == at(n));
    CHECK(mmap(from, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == from);
}

static void save(unsigned n)
{
    CHECK(world.page[n].touched);
    world.page[n].saved = read_byte(n);
}

static void take(unsigned first, unsigned last, size_t room)
{
    struct pgl_uffd_range rest = {at(first), (last - first + 1) * (size_t)PAGE}, written[ROOM];

    while (rest.length > 0) {
        ssize_t n = pgl_uffd_dirty_take(world.uffd, &rest, written, room);

        CHECK(n >= 0 && (size_t)n <= room);
        for (ssize_t i = 0; i < n; i++) {
            unsigned page = first + (unsigned)(((unsigned char *)written[i].addr - at(first)) / PAGE);

            for (size_t length = 0; length < written[i].length; length += PAGE) {
                CHECK(page <= last);
                save(page++);
            }
        }
    }
    for (unsigned n = first; n <= last; n++) {
        CHECK(world.page[n].saved == world.page[n].byte);
        world.page[n].touched = false;
    }
}

static void step_take(void)
{
    unsigned last, first = any_run(&last);

    take(first, last, 1 + eat(&world.input) % ROOM);
}

/* None, or from too low to more than there are pages. */
static void step_limit(void)
{
    uint64_t limit = eat(&world.input) % (NPAGES + 4);
    bool is_possible = limit == 0 || limit >= LIMIT;
    unsigned n = eat(&world.input) % NPAGES;

    errno = 0;
    CHECK(pgl_uffd_set_limit(world.uffd, at(n), PAGE, limit) == (is_possible && world.has_limit));
    CHECK(errno == (!is_possible ? EINVAL : !world.has_limit ? ENOTSUP : 0));
}

static void (*const steps[])(void) = {
    step_read, step_read_all, step_write, step_write, step_give_back, step_move, step_take, step_take, step_limit,
};

static void begin(const uint8_t *data, size_t size)
{
    static const struct pgl_advice_table narrow; /* so that a small limit is enough */
    struct pgl_uffd_config config = {.table = &narrow, .track_dirty = true, .allow_user_mode = true};
    struct pgl_uffd_region region = {.length = NPAGES * (size_t)PAGE};
    unsigned char bytes[PAGE];
    uint8_t kind;

    memset(&world, 0, sizeof(world));
    world.input = (struct input){data, data + size};
    world.file = memfd_create("pages", MFD_CLOEXEC);
    for (unsigned n = 0; n < NPAGES; n++) {
        memset(bytes, (int)n, sizeof(bytes));
        world.page[n].byte = world.page[n].saved = (uint8_t)n;
        CHECK(pwrite(world.file, bytes, sizeof(bytes), (off_t)n * PAGE) == PAGE);
    }
    world.places = mmap(NULL, 2 * NPAGES * (size_t)PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(world.file >= 0 && world.places != MAP_FAILED);
    CHECK(mprotect(world.places, NPAGES * (size_t)PAGE, PROT_READ | PROT_WRITE) == 0);

    kind = eat(&world.input);
    config.write_protect = kind % 2 != 0;
    region.addr = world.places;
    region.source.fd = world.file;
    region.advice = (enum pgl_advice)(kind / 4 % PGL_ADVICE_COUNT);
    region.limit = config.write_protect && kind / 2 % 2 != 0 ? LIMIT : 0;
    need_pages_of(PAGE);
    world.uffd = pgl_uffd_new(&config);
    if (!world.uffd && (errno == EPERM || errno == ENOSYS || errno == EOPNOTSUPP || errno == EINVAL)) {
        fprintf(stderr, "SKIP: %s\n", pgl_uffd_explain(errno));
        exit(77);
    }
    CHECK(world.uffd);
    if (!pgl_uffd_map_region(world.uffd, &region)) { /* the kernel cannot limit it */
        CHECK(errno == EOPNOTSUPP && region.limit > 0);
        region.limit = 0;
        CHECK(pgl_uffd_map_region(world.uffd, &region));
    }
    world.has_limit = region.limit > 0;
}

static void finish(void)
{
    unsigned last;

    for (unsigned first = 0; first < NPAGES; first = last + 1) {
        last = first;
        while (last + 1 < NPAGES && world.page[last + 1].moved == world.page[first].moved) {
            last++;
        }
        take(first, last, ROOM);
    }
    step_read_all();
    pgl_uffd_free(world.uffd);
    CHECK(munmap(world.places, 2 * NPAGES * (size_t)PAGE) == 0);
    close(world.file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    begin(data, size);
    do_steps(&world.input, steps, sizeof(steps) / sizeof(steps[0]), MAX_STEPS);
    finish();
    return 0;
}
