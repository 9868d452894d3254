/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Epochs of dirty pages while threads write: the pages that are reported are those whose bytes have changed, and the
 * bytes that are read after each report are, one over the other, the memory's.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../cm.h"
#include "calls.h"

#define WRITERS 4
#define EPOCHS 10
#define WRITES 2000 /* of each writer in an epoch */
#define PAGES 1500  /* so that an answer of few ranges is full again and again */
#define WORDS (PAGE / 8)

struct world {
    struct fixture *f;
    uint64_t *memory;
    uint64_t *before; /* what the memory showed when the epoch began */
    uint64_t *saved;  /* the bytes that were read after the reports */
    bool reported[PAGES];
    pthread_barrier_t epoch;
    unsigned writing; /* writers that are not done with the epoch. Atomic. */
};

struct writer {
    struct world *world;
    pthread_t thread;
    uint64_t number;
};

/* Each write changes its word: no value comes twice. The pages of an epoch are in a window that moves. */
static void *keep_writing(void *arg)
{
    struct writer *writer = arg;
    struct world *world = writer->world;
    uint64_t random = writer->number + 1, value = writer->number << 56;

    for (uint64_t epoch = 0; epoch < EPOCHS; epoch++) {
        pthread_barrier_wait(&world->epoch);
        for (unsigned i = 0; i < WRITES; i++) {
            random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
            uint64_t page = (epoch * 100 + (random >> 33) % (epoch % 2 == 0 ? PAGES : 200)) % PAGES;
            uint64_t word = (random >> 20) % (WORDS / WRITERS) * WRITERS + writer->number;

            value++;
            __atomic_store_n(&world->memory[page * WORDS + word], value, __ATOMIC_RELAXED);
        }
        __atomic_fetch_sub(&world->writing, 1, __ATOMIC_RELEASE);
        pthread_barrier_wait(&world->epoch);
    }
    return NULL;
}

static void read_pages(uint64_t *to, const uint64_t *from, uint64_t npages)
{
    for (uint64_t i = 0; i < npages * WORDS; i++) {
        to[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
    }
}

/* Take what was written, and save it. Returns the number of pages. */
static uint64_t save(struct world *world)
{
    struct pgl_uffd_range rest = {world->memory, PAGES * PAGE}, written[16];
    uint64_t npages = 0;

    while (rest.length > 0) {
        ssize_t n = pgl_uffd_dirty_take(world->f->uffd, &rest, written, 16);

        assert_true(n >= 0);
        for (ssize_t i = 0; i < n; i++) {
            uint64_t first = (uint64_t)((uint64_t *)written[i].addr - world->memory) / WORDS;
            uint64_t last = first + written[i].length / PAGE - 1;

            read_pages(&world->saved[first * WORDS], &world->memory[first * WORDS], last - first + 1);
            for (uint64_t page = first; page <= last; page++) {
                world->reported[page] = true;
            }
            npages += last - first + 1;
        }
    }
    return npages;
}

static void run_epoch(struct world *world)
{
    uint64_t npages = 0;

    memcpy(world->before, world->saved, PAGES * PAGE);
    memset(world->reported, 0, sizeof(world->reported));
    __atomic_store_n(&world->writing, WRITERS, __ATOMIC_RELAXED);
    pthread_barrier_wait(&world->epoch);
    while (__atomic_load_n(&world->writing, __ATOMIC_ACQUIRE) > 0) {
        npages += save(world);
    }
    pthread_barrier_wait(&world->epoch);
    npages += save(world);
    assert_true(npages > 0);
    for (uint64_t page = 0; page < PAGES; page++) {
        assert_true(world->reported[page] ==
                    (memcmp(&world->memory[page * WORDS], &world->before[page * WORDS], PAGE) != 0));
    }
    assert_memory_equal(world->saved, world->memory, PAGES * PAGE);
}

/* More ranges than the kernel tells at a time, in one answer. */
static void assert_many_ranges(const struct world *world)
{
    struct pgl_uffd_range rest = {world->memory, PAGES * PAGE}, written[PAGES];

    for (uint64_t page = 0; page < PAGES; page += 2) {
        world->memory[page * WORDS]++;
    }
    assert_int_equal(pgl_uffd_dirty_take(world->f->uffd, &rest, written, PAGES), PAGES / 2);
}

static void run_epochs(struct fixture *f, enum record at, bool fetched_before)
{
    struct writer writers[WRITERS];
    struct world *world = calloc(1, sizeof(*world));

    world->f = f;
    world->before = calloc(PAGES, PAGE);
    world->saved = calloc(PAGES, PAGE);
    world->memory = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(world->before && world->saved && world->memory != MAP_FAILED);
    madvise(world->memory, PAGES * PAGE, MADV_NOHUGEPAGE);
    assert_int_equal(pread(f->file, world->saved, PAGES * PAGE, 0), PAGES * PAGE);
    pthread_barrier_init(&world->epoch, NULL, WRITERS + 1);

    __atomic_store_n(&record, at, __ATOMIC_RELAXED);
    f->config = (struct pgl_uffd_config){.threads = 2, .track_dirty = true};
    assert_true(try_new(f));
    assert_true(pgl_uffd_map(f->uffd, world->memory, PAGES * PAGE, f->file, 0, PGL_ADVICE_NORMAL));
    if (fetched_before) {
        assert_memory_equal(world->memory, world->saved, PAGES * PAGE);
        assert_int_equal(save(world), 0);
    }
    for (uint64_t i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){.world = world, .number = i};
        assert_int_equal(pthread_create(&writers[i].thread, NULL, keep_writing, &writers[i]), 0);
    }
    for (unsigned epoch = 0; epoch < EPOCHS; epoch++) {
        run_epoch(world);
    }
    for (unsigned i = 0; i < WRITERS; i++) {
        pthread_join(writers[i].thread, NULL);
    }
    assert_many_ranges(world);
    pgl_uffd_free(f->uffd);
    f->uffd = NULL;
    pthread_barrier_destroy(&world->epoch);
    munmap(world->memory, PAGES * PAGE);
    free(world->before);
    free(world->saved);
    free(world);
}

static void test_uffd_epochs_by_the_kernels_record_are_what_four_writers_changed(void **state)
{
    struct fixture *f = *state;

    fill(f->file, 0, PAGES);
    run_epochs(f, RECORD, true);
    run_epochs(f, RECORD, false);
}

static void test_uffd_epochs_by_faults_are_what_four_writers_changed(void **state)
{
    struct fixture *f = *state;

    fill(f->file, 0, PAGES);
    run_epochs(f, NO_ASYNC, true);
    run_epochs(f, NO_ASYNC, false);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_uffd_epochs_by_the_kernels_record_are_what_four_writers_changed),
        TEST(test_uffd_epochs_by_faults_are_what_four_writers_changed),
    };
#undef TEST

    return permitted() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
