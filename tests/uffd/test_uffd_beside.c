/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Epochs of dirty pages beside changes of the memory: pages that move, go, are swapped out, are joined, or are shared
 * with a child, while four threads write. Each round ends with the bytes that were saved being the memory's.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../cm.h"
#include "calls.h"

#define WRITERS 4
#define ROUNDS 3
#define CHANGES 8   /* in a round */
#define PAGES 512   /* a huge page, if the kernel joins them */
#define BALLOON 384 /* from this page on, no thread but the first writes */
#define WORDS (PAGE / 8)
#define ROOM 16
#define PLACES 2
#define LIMIT 127 /* pages of the widest cluster */

/* Of newer headers. */
#define ADVICE_COLLAPSE 25

/* A place where the pages of the file are shown. */
struct view {
    uint64_t *memory;
    uint64_t *saved; /* the bytes that were read after the reports */
};

struct world {
    struct fixture *f;
    struct view views[PLACES];
    uint64_t apart;  /* one of so many pages is written to */
    unsigned nviews; /* that are written to. Atomic, as the next one */
    bool over;
    pthread_rwlock_t writing; /* held for reading by writers */
    uint64_t random;
};

struct writer {
    struct world *world;
    pthread_t thread;
    uint64_t number;
};

static unsigned rounds = ROUNDS;

static uint64_t next(uint64_t *random)
{
    *random = *random * UINT64_C(6364136223846793005) + 1442695040888963407;
    return *random >> 20;
}

static void *keep_writing(void *arg)
{
    struct writer *writer = arg;
    struct world *world = writer->world;
    uint64_t random = writer->number + 1, value = writer->number << 56;

    while (!__atomic_load_n(&world->over, __ATOMIC_RELAXED)) {
        uint64_t page = next(&random) % BALLOON / world->apart * world->apart;
        uint64_t word = next(&random) % (WORDS / WRITERS) * WRITERS + writer->number;
        unsigned nviews;

        value++;
        pthread_rwlock_rdlock(&world->writing);
        nviews = __atomic_load_n(&world->nviews, __ATOMIC_ACQUIRE);
        __atomic_store_n(&world->views[value % nviews].memory[page * WORDS + word], value, __ATOMIC_RELAXED);
        pthread_rwlock_unlock(&world->writing);
    }
    return NULL;
}

static void stop_writers(struct world *world)
{
    pthread_rwlock_wrlock(&world->writing);
}

static void start_writers(struct world *world)
{
    pthread_rwlock_unlock(&world->writing);
}

/* Take what was written at a place, and save it. */
static void save(struct world *world, const struct view *view)
{
    struct pgl_uffd_range rest = {view->memory, PAGES * PAGE}, written[ROOM];

    while (rest.length > 0) {
        ssize_t n = pgl_uffd_dirty_take(world->f->uffd, &rest, written, ROOM);

        assert_true(n >= 0);
        for (ssize_t i = 0; i < n; i++) {
            const uint64_t *from = written[i].addr;
            uint64_t *to = view->saved + (from - view->memory);

            for (size_t word = 0; word < written[i].length / sizeof(*from); word++) {
                to[word] = __atomic_load_n(&from[word], __ATOMIC_RELAXED);
            }
        }
    }
}

static void save_all(struct world *world)
{
    for (unsigned i = 0; i < world->nviews; i++) {
        save(world, &world->views[i]);
    }
}

/* Memory that one huge page could be. */
static uint64_t *new_place(void)
{
    size_t size = PAGES * PAGE;
    uintptr_t memory = (uintptr_t)mmap(NULL, 2 * size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uintptr_t start = (memory + size - 1) & ~(size - 1);

    assert_int_not_equal(memory, (uintptr_t)MAP_FAILED);
    if (start > memory) {
        munmap((void *)memory, start - memory);
    }
    munmap((void *)(start + size), memory + size - start);
    return (uint64_t *)start;
}

static struct view new_view(const struct fixture *f, uint64_t *memory)
{
    struct view view = {memory, malloc(PAGES * PAGE)};

    assert_non_null(view.saved);
    assert_int_equal(pread(f->file, view.saved, PAGES * PAGE, 0), PAGES * PAGE);
    return view;
}

/* Each changes the memory once. The writers go on. */

static void change_nothing(struct world *world)
{
    (void)world;
}

/* The balloon gives some pages back, and writes to others. */
static void give_back(struct world *world)
{
    uint64_t *balloon = world->views[0].memory + BALLOON * WORDS;
    uint64_t first = next(&world->random) % (PAGES - BALLOON - 16), n = next(&world->random) % 16 + 1;

    balloon[next(&world->random) % ((PAGES - BALLOON) * WORDS)] = world->random;
    assert_int_equal(madvise(balloon + first * WORDS, n * PAGE, MADV_DONTNEED), 0);
    balloon[(first + n / 2) * WORDS]++;
}

static void join_pages(struct world *world)
{
    madvise(world->views[0].memory, PAGES * PAGE, ADVICE_COLLAPSE); /* the kernel may refuse */
}

static void swap_out(struct world *world)
{
    madvise(world->views[0].memory, PAGES * PAGE, MADV_PAGEOUT);
}

static void fork_a_child(struct world *world)
{
    pid_t child = fork();

    if (child == 0) {
        world->views[0].memory[BALLOON * WORDS]++;
        _exit(0);
    }
    assert_int_equal(waitpid(child, NULL, 0), child);
}

/* Nobody writes to memory that moves. */
static void move_all(struct world *world)
{
    struct view *view = &world->views[0];
    uint64_t *there = new_place();

    stop_writers(world);
    assert_ptr_equal(mremap(view->memory, PAGES * PAGE, PAGES * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, there), there);
    view->memory = there;
    start_writers(world);
}

/* The old place stays, and is written to all the time. */
static void move_and_stay(struct world *world)
{
    uint64_t *there;

    if (world->nviews == PLACES) {
        stop_writers(world);
        munmap(world->views[0].memory, PAGES * PAGE);
        free(world->views[0].saved);
        world->views[0] = world->views[1];
        __atomic_store_n(&world->nviews, 1, __ATOMIC_RELAXED);
        start_writers(world);
    }
    there = mremap(world->views[0].memory, PAGES * PAGE, PAGES * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
    assert_ptr_not_equal(there, MAP_FAILED);
    world->views[1] = new_view(world->f, there);
    __atomic_store_n(&world->nviews, PLACES, __ATOMIC_RELEASE);
}

static void change_anything(struct world *world)
{
    static void (*const changes[])(struct world * world) = {
        give_back, join_pages, swap_out, move_all, move_and_stay, fork_a_child,
    };
    unsigned n = sizeof(changes) / sizeof(changes[0]) - !world->f->config.follow_forks;

    changes[next(&world->random) % n](world);
}

/* With a limit other pages are given back for these. */
static void read_some(struct world *world)
{
    for (unsigned i = 0; i < LIMIT / 2; i++) {
        uint64_t word = next(&world->random) % (PAGES * WORDS);

        (void)__atomic_load_n(&world->views[0].memory[word], __ATOMIC_RELAXED);
    }
}

static void run_rounds(struct world *world, void (*change)(struct world *world))
{
    for (unsigned round = 0; round < rounds; round++) {
        for (unsigned i = 0; i < CHANGES; i++) {
            change(world);
            read_some(world);
            save_all(world);
        }
        stop_writers(world);
        save_all(world);
        for (unsigned i = 0; i < world->nviews; i++) {
            assert_memory_equal(world->views[i].saved, world->views[i].memory, PAGES * PAGE);
        }
        start_writers(world);
    }
}

static void run_beside(struct fixture *f, enum record at, uint64_t limit, void (*change)(struct world *world))
{
    struct world world = {.f = f, .nviews = 1, .random = 7, .apart = limit > 0 ? 8 : 1};
    struct pgl_uffd_region region = {.addr = new_place(), .length = PAGES * PAGE, .source.fd = f->file, .limit = limit};
    struct writer writers[WRITERS];
    pthread_rwlockattr_t kind;

    pthread_rwlockattr_init(&kind);
    pthread_rwlockattr_setkind_np(&kind, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&world.writing, &kind);
    pthread_rwlockattr_destroy(&kind);
    __atomic_store_n(&record, at, __ATOMIC_RELAXED);
    f->config.threads = 2;
    f->config.track_dirty = true;
    f->config.write_protect = limit > 0;
    assert_true(try_new(f));
    world.views[0] = new_view(f, region.addr);
    region.advice = PGL_ADVICE_NORMAL;
    if (!pgl_uffd_map_region(f->uffd, &region)) {
        assert_true(errno == EOPNOTSUPP && limit > 0); /* the kernel moves no pages */
        region.limit = 0;
        assert_true(pgl_uffd_map_region(f->uffd, &region));
    }
    for (uint64_t i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){.world = &world, .number = i};
        assert_int_equal(pthread_create(&writers[i].thread, NULL, keep_writing, &writers[i]), 0);
    }
    run_rounds(&world, change);
    __atomic_store_n(&world.over, true, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < WRITERS; i++) {
        pthread_join(writers[i].thread, NULL);
    }
    pthread_rwlock_destroy(&world.writing);
    pgl_uffd_free(f->uffd);
    f->uffd = NULL;
    for (unsigned i = 0; i < world.nviews; i++) {
        munmap(world.views[i].memory, PAGES * PAGE);
        free(world.views[i].saved);
    }
}

/* By either record, and with a limit. */
static void run_all(struct fixture *f, void (*change)(struct world *world))
{
    fill(f->file, 0, PAGES);
    run_beside(f, RECORD, 0, change);
    run_beside(f, NO_ASYNC, 0, change);
    run_beside(f, RECORD, LIMIT, change);
}

static void test_uffd_beside_nothing_no_write_is_lost(void **state)
{
    run_all(*state, change_nothing);
}

static void test_uffd_beside_a_balloon_no_change_is_lost(void **state)
{
    run_all(*state, give_back);
}

static void test_uffd_beside_a_kernel_that_joins_pages_no_write_is_lost(void **state)
{
    run_all(*state, join_pages);
}

/* If there is swap space; otherwise the pages stay. */
static void test_uffd_beside_a_kernel_that_swaps_no_write_is_lost(void **state)
{
    run_all(*state, swap_out);
}

static void test_uffd_beside_children_no_write_is_lost(void **state)
{
    struct fixture *f = *state;

    if (geteuid() != 0) {
        SKIP_BECAUSE("following forks needs CAP_SYS_PTRACE");
    }
    FOLLOW_FORKS(f);
    run_all(f, fork_a_child);
}

static void test_uffd_beside_mremap_no_write_is_lost(void **state)
{
    run_all(*state, move_all);
}

static void test_uffd_beside_mremap_that_leaves_the_old_place_no_write_is_lost(void **state)
{
    run_all(*state, move_and_stay);
}

static void test_uffd_beside_changes_of_all_kinds_no_write_is_lost(void **state)
{
    struct fixture *f = *state;

#ifndef THREAD_SANITIZED
    f->config.follow_forks = geteuid() == 0;
#endif
    run_all(f, change_anything);
}

/* The pages of the fixture's memory. */
static uint64_t take(struct fixture *f, unsigned char *memory)
{
    struct pgl_uffd_range rest = {memory, NPAGES * PAGE}, written[NPAGES];
    ssize_t n = pgl_uffd_dirty_take(f->uffd, &rest, written, NPAGES);
    uint64_t pages = 0;

    assert_true(n >= 0 && rest.length == 0);
    for (ssize_t i = 0; i < n; i++) {
        uint64_t first = (uint64_t)((unsigned char *)written[i].addr - memory) / PAGE;

        for (uint64_t page = first; page < first + written[i].length / PAGE; page++) {
            pages |= UINT64_C(1) << page;
        }
    }
    return pages;
}

static void start(struct fixture *f, enum record at)
{
    __atomic_store_n(&record, at, __ATOMIC_RELAXED);
    f->config.track_dirty = true;
    assert_true(try_new(f) && try_map(f));
}

static void end(struct fixture *f)
{
    pgl_uffd_free(f->uffd);
    f->uffd = NULL;
    renew_memory(f);
}

static void test_uffd_beside_a_place_that_stayed_each_place_has_its_own_record(void **state)
{
    struct fixture *f = *state;

    for (enum record at = RECORD; at < RECORDS; at++) {
        unsigned char *moved;

        start(f, at);
        f->memory[5 * PAGE] = 'w';
        assert_int_equal(take(f, f->memory), 0x20);
        moved = mremap(f->memory, NPAGES * PAGE, NPAGES * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
        assert_ptr_not_equal(moved, MAP_FAILED);
        assert_int_equal(take(f, moved), UINT64_MAX); /* both places show other bytes than before */
        assert_int_equal(take(f, f->memory), UINT64_MAX);
        f->memory[3 * PAGE] = moved[3 * PAGE] = 'w';
        assert_int_equal(take(f, f->memory), 8);
        assert_int_equal(take(f, moved), 8);
        f->memory[3 * PAGE] = moved[5 * PAGE] = 'x';
        assert_int_equal(take(f, moved), 0x20);
        assert_int_equal(take(f, f->memory), 8);
        assert_int_equal(take(f, moved) | take(f, f->memory), 0);
        munmap(moved, NPAGES * PAGE);
        end(f);
    }
}

/* As between the event of its madvise() and its end: after MADV_FREE the page is there until memory is short. */
static void test_uffd_beside_madvise_a_page_that_is_swapped_out_has_yet_to_go(void **state)
{
    struct fixture *f = *state;

    for (enum record at = RECORD; at < RECORDS; at++) {
        start(f, at);
        f->memory[3 * PAGE] = 'w';
        assert_int_equal(take(f, f->memory), 8);
        assert_int_equal(madvise(f->memory + 3 * PAGE, PAGE, MADV_FREE), 0);
        swapped = true;
        for (unsigned i = 0; i < 3; i++) {
            assert_int_equal(take(f, f->memory), 8);
        }
        swapped = false;
        end(f);
    }
}

/* Shared memory that shows the file, of which page 3 was written and taken. */
static unsigned char *start_shared(struct fixture *f, enum record at)
{
    struct pgl_uffd_region region = {
        .addr = mmap(NULL, NPAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0),
        .length = NPAGES * PAGE,
        .source.fd = f->file,
        .memory = PGL_UFFD_SHARED,
    };
    unsigned char *memory = region.addr;

    __atomic_store_n(&record, at, __ATOMIC_RELAXED);
    f->config.track_dirty = true;
    assert_true(try_new(f));
    assert_true(pgl_uffd_map_region(f->uffd, &region));
    memory[3 * PAGE] = 'w';
    assert_int_equal(take(f, memory), 8);
    return memory;
}

/* The page is reported once, although the kernel's table of pages has its place as if the page were swapped out. */
static void assert_goes_at_once(struct fixture *f, unsigned char *memory)
{
    assert_int_equal(madvise(memory + 3 * PAGE, PAGE, MADV_REMOVE), 0);
    assert_int_equal(take(f, memory), 8);
    assert_int_equal(take(f, memory), 0);
    assert_true(is_page(memory + 3 * PAGE, 3));
    assert_int_equal(take(f, memory), 0);
}

/* The file may have the page until the end of MADV_REMOVE; to map it once more is no sign that it is gone. */
static void test_uffd_beside_madvise_a_shared_page_that_is_shown_has_yet_to_go(void **state)
{
    struct fixture *f = *state;

    for (enum record at = RECORD; at < RECORDS; at++) {
        unsigned char *memory = start_shared(f, at);

        assert_int_equal(madvise(memory + 3 * PAGE, PAGE, MADV_DONTNEED), 0);
        for (unsigned i = 0; i < 3; i++) {
            assert_int_equal(take(f, memory), 8);
            assert_int_equal(memory[3 * PAGE], 'w');
        }
        assert_goes_at_once(f, memory);
        munmap(memory, NPAGES * PAGE);
        end(f);
    }
}

static void test_uffd_beside_mremap_a_shared_page_that_was_given_back_goes_at_once(void **state)
{
    struct fixture *f = *state;

    for (enum record at = RECORD; at < RECORDS; at++) {
        unsigned char *memory = start_shared(f, at);
        unsigned char *place = mmap(NULL, NPAGES * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        memory = mremap(memory, NPAGES * PAGE, NPAGES * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, place);
        assert_ptr_equal(memory, place);
        assert_int_equal(take(f, memory), UINT64_MAX); /* it shows other bytes than before */
        assert_goes_at_once(f, memory);
        munmap(memory, NPAGES * PAGE);
        end(f);
    }
}

/* Whether the kernel may merge pages of the mapping that begins at an address with equal ones. */
static bool is_mergeable(const void *addr)
{
    FILE *maps = fopen("/proc/self/smaps", "r");
    char line[512], start[32];
    bool here = false, mergeable = false;

    assert_non_null(maps);
    snprintf(start, sizeof(start), "%lx-", (unsigned long)(uintptr_t)addr);
    while (fgets(line, sizeof(line), maps) && !(here && strncmp(line, "VmFlags:", 8) == 0)) {
        here = here || strncmp(line, start, strlen(start)) == 0;
    }
    mergeable = here && strstr(line, " mg") != NULL;
    fclose(maps);
    return mergeable;
}

/* It drops their protection, and the next write is noticed by nobody. */
static void test_uffd_beside_a_kernel_that_merges_pages_protected_ones_stay_apart(void **state)
{
    struct fixture *f = *state;

    for (int way = PLAIN; way < WAYS; way++) {
        if (madvise(f->memory, NPAGES * PAGE, MADV_MERGEABLE) != 0) {
            SKIP_BECAUSE("the kernel merges no pages");
        }
        assert_true(is_mergeable(f->memory));
        set_way(f, way);
        assert_true(try_new(f) && try_map(f));
        assert_int_equal(is_mergeable(f->memory), way == PLAIN);
        end(f);
    }
}

/* With a number, so many rounds of changes of all kinds: a soak. */
int main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_uffd_beside_nothing_no_write_is_lost),
        TEST(test_uffd_beside_a_balloon_no_change_is_lost),
        TEST(test_uffd_beside_a_kernel_that_joins_pages_no_write_is_lost),
        TEST(test_uffd_beside_a_kernel_that_swaps_no_write_is_lost),
        TEST(test_uffd_beside_a_kernel_that_merges_pages_protected_ones_stay_apart),
        TEST(test_uffd_beside_children_no_write_is_lost),
        TEST(test_uffd_beside_mremap_no_write_is_lost),
        TEST(test_uffd_beside_mremap_that_leaves_the_old_place_no_write_is_lost),
        TEST(test_uffd_beside_changes_of_all_kinds_no_write_is_lost),
        TEST(test_uffd_beside_a_place_that_stayed_each_place_has_its_own_record),
        TEST(test_uffd_beside_madvise_a_page_that_is_swapped_out_has_yet_to_go),
        TEST(test_uffd_beside_madvise_a_shared_page_that_is_shown_has_yet_to_go),
        TEST(test_uffd_beside_mremap_a_shared_page_that_was_given_back_goes_at_once),
    };
#undef TEST

    if (argc > 1) {
        rounds = (unsigned)atoi(argv[1]);
        cmocka_set_test_filter("*all_kinds*");
    }
    return permitted() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
