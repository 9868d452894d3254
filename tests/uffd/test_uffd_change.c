/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Mappings that change: pages removed, unmapped and moved, memory that grows, and addresses that are used again.
 */
#include <limits.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../cm.h"
#include "pager.h"
#include "waits.h"

/* Removed at once: a part with another advice, and the pages beside it. Each page is read once more, in its window. */
static void test_uffd_pages_of_several_entries_are_given_back(void **state)
{
    struct fixture *f = *state;

    map_all(f, PGL_ADVICE_SEQUENTIAL);
    assert_true(pgl_uffd_advise(f->uffd, f->memory + 64 * PAGE, 64 * PAGE, PGL_ADVICE_RANDOM));
    assert_pages(f->memory, 192, 0);
    assert_count(f, requests, 2 + 64 + 2);
    assert_int_equal(madvise(f->memory + 32 * PAGE, 128 * PAGE, MADV_DONTNEED), 0);
    assert_pages(f->memory, 192, 0);
    assert_count(f, requests, 2 + 64 + 2 + 1 + 64 + 1);
    assert_count(f, pages_fetched, 192 + 128);
    assert_count(f, present, 0);
}

static void test_uffd_page_given_back_is_fetched_again(void **state)
{
    struct fixture *f = *state;

    map_all(f, PGL_ADVICE_SEQUENTIAL);
    memset(f->memory, 'x', NPAGES * PAGE);
    assert_int_equal(madvise(f->memory + 10 * PAGE, 100 * PAGE, MADV_DONTNEED), 0);
    assert_pages(f->memory + 10 * PAGE, 100, 10);
    assert_int_equal(f->memory[9 * PAGE], 'x');
    assert_int_equal(f->memory[110 * PAGE], 'x');
    assert_count(f, removes, 1);
    assert_count(f, present, 0); /* the driver knew */
}

static void test_uffd_part_unmapped_is_left_alone(void **state)
{
    struct fixture *f = *state;

    map_all(f, PGL_ADVICE_NORMAL);
    assert_int_equal(munmap(f->memory + 100 * PAGE, 50 * PAGE), 0);
    assert_pages(f->memory, 100, 0);
    assert_pages(f->memory + 150 * PAGE, NPAGES - 150, 150);
    assert_count(f, unmaps, 1);
    assert_count(f, pages_fetched, NPAGES - 50);
    assert_count(f, gone, 0);
}

static void test_uffd_memory_that_moved_goes_on(void **state)
{
    struct fixture *f = *state;
    unsigned char *room = mmap(NULL, NPAGES * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsigned char *moved;

    map_all(f, PGL_ADVICE_NORMAL);
    assert_true(pgl_uffd_advise(f->uffd, f->memory + 300 * PAGE, 20 * PAGE, PGL_ADVICE_RANDOM));
    assert_pages(f->memory + 250 * PAGE, 2, 250);
    moved = mremap(f->memory + 200 * PAGE, 200 * PAGE, 200 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, room);
    assert_ptr_equal(moved, room);
    assert_pages(moved, 200, 200);
    assert_pages(f->memory, 200, 0);
    assert_pages(f->memory + 400 * PAGE, NPAGES - 400, 400);
    assert_count(f, remaps, 1);
    assert_count(f, pages_fetched, NPAGES);
    munmap(room, NPAGES * PAGE);
}

/* Something that a thread does to memory, because it waits for a handler. */
struct change {
    struct fixture *f;
    unsigned char *from;
    unsigned char *to;
    int file;
    pid_t tid; /* atomic, as the next is */
    bool done;
};

static bool is_done(const struct change *c)
{
    return __atomic_load_n(&c->done, __ATOMIC_ACQUIRE);
}

static void *move_away(void *arg)
{
    struct change *c = arg;

    c->done = mremap(c->from, 64 * PAGE, 64 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, c->to) == c->to;
    return NULL;
}

static void *unmap(void *arg)
{
    struct change *c = arg;

    c->done = munmap(c->from, 64 * PAGE) == 0;
    return NULL;
}

static void *map_another(void *arg)
{
    struct change *c = arg;

    __atomic_store_n(&c->tid, gettid(), __ATOMIC_RELEASE);
    __atomic_store_n(&c->done, map_zeroing(c->f->uffd, c->from, 64 * PAGE, c->file, 100 * PAGE, PGL_ADVICE_RANDOM),
                     __ATOMIC_RELEASE);
    return NULL;
}

/*
 * Memory is moved or unmapped, and the address used again before the only handler, which failed() detains, has read the
 * event. The event that is still to come is the old memory's.
 */
static void use_address_again(struct fixture *f, void *(*let_go)(void *arg), bool moves)
{
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
    struct change old = {.f = f, .from = f->memory, .to = f->memory + 128 * PAGE};
    struct change new = {.f = f, .from = f->memory, .file = f->file};
    unsigned char *bad = f->memory + 256 * PAGE;
    pid_t tid;
    int empty = memfd_create("empty", MFD_CLOEXEC);
    pthread_t threads[4];

    f->config.failed = on_failure_wait;
    start_pager(f);
    fill(empty, 0, 8);
    assert_true(map_zeroing(f->uffd, f->memory, 64 * PAGE, f->file, 0, PGL_ADVICE_RANDOM));
    assert_true(map_zeroing(f->uffd, bad, 8 * PAGE, empty, 0, PGL_ADVICE_RANDOM));
    assert_int_equal(ftruncate(empty, 0), 0);
    threads[0] = touch_bad_page(bad);
    assert_int_equal(pthread_create(&threads[1], NULL, touch_zero_page, bad + PAGE), 0);
    uffd_wait_for_pending(1);
    assert_int_equal(pthread_create(&threads[2], NULL, let_go, &old), 0);
    uffd_wait_for_change();
    assert_ptr_equal(mmap(f->memory, 64 * PAGE, PROT_READ | PROT_WRITE, flags, -1, 0), f->memory);
    assert_int_equal(pthread_create(&threads[3], NULL, map_another, &new), 0);
    while ((tid = __atomic_load_n(&new.tid, __ATOMIC_ACQUIRE)) == 0 || !(uffd_sleeps(tid) || is_done(&new))) {
    }
    let_answer(UINT_MAX);
    for (unsigned i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_true(old.done && new.done);
    assert_pages(f->memory, 64, 100);
    if (moves) {
        assert_pages(old.to, 64, 0);
    }
    close(empty);
}

static void test_uffd_event_of_memory_that_moved_is_not_the_next_regions(void **state)
{
    use_address_again(*state, move_away, true);
}

static void test_uffd_event_of_memory_that_was_unmapped_is_not_the_next_regions(void **state)
{
    use_address_again(*state, unmap, false);
}

static void test_uffd_memory_that_grew_is_plain_beyond_its_file(void **state)
{
    struct fixture *f = *state;
    unsigned char *small = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsigned char *grown;

    start_pager(f);
    assert_true(map_zeroing(f->uffd, small, 8 * PAGE, f->file, 0, PGL_ADVICE_NORMAL));
    grown = mremap(small, 8 * PAGE, 64 * PAGE, MREMAP_MAYMOVE);
    assert_true(grown != MAP_FAILED);
    assert_pages(grown, 8, 0);
    assert_true(is_zero(grown + 8 * PAGE));
    assert_true(is_zero(grown + 63 * PAGE));
    munmap(grown, 64 * PAGE);
}

/*
 * A child holds the userfaultfd as its parent does. Memory that was added to a region, or left behind when it moved, is
 * unregistered with it all the same: neither a touch nor another fork() waits for a handler that has ended.
 */
static void test_uffd_nothing_of_a_region_waits_for_a_pager_that_ended(void **state)
{
    struct fixture *f = *state;
    unsigned char *small = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsigned char *grown, *moved;
    int status, held[2];
    pid_t child;

    FOLLOW_FORKS(f);
    start_pager(f);
    assert_true(map_zeroing(f->uffd, small, 8 * PAGE, f->file, 0, PGL_ADVICE_NORMAL));
    grown = mremap(small, 8 * PAGE, 64 * PAGE, MREMAP_MAYMOVE);
    assert_true(grown != MAP_FAILED);
    assert_true(map_zeroing(f->uffd, f->memory, 64 * PAGE, f->file, 0, PGL_ADVICE_NORMAL));
    moved = mremap(f->memory, 64 * PAGE, 64 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
    assert_true(moved != MAP_FAILED);
    assert_int_equal(pipe(held), 0);
    child = fork();
    if (child == 0) {
        close(held[1]);
        _exit(read(held[0], &status, 1) != 0); /* until the parent has closed the other end */
    }
    alarm(20);
    pgl_uffd_free(f->uffd);
    f->uffd = NULL;
    assert_true(is_zero(grown + 63 * PAGE));
    assert_true(is_zero(f->memory + 63 * PAGE));
    assert_true(is_zero(moved + 63 * PAGE));
    run_idle_child();
    alarm(0);
    close(held[1]);
    close(held[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    munmap(grown, 64 * PAGE);
    munmap(moved, 64 * PAGE);
}

/* With MREMAP_DONTUNMAP, or because the kernel had no memory to unmap it. */
static void test_uffd_memory_that_stayed_when_it_moved_shows_the_file(void **state)
{
    struct fixture *f = *state;
    unsigned char *moved;

    map_all(f, PGL_ADVICE_SEQUENTIAL);
    memset(f->memory + 5 * PAGE, 'w', PAGE);
    moved = mremap(f->memory, NPAGES * PAGE, NPAGES * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
    assert_true(moved != MAP_FAILED);
    assert_pages(f->memory, NPAGES, 0);
    assert_int_equal(moved[5 * PAGE], 'w');
    assert_pages(moved + 6 * PAGE, NPAGES - 6, 6);
    assert_true(pgl_uffd_unmap(f->uffd, f->memory, NPAGES * PAGE));
    munmap(moved, NPAGES * PAGE);
}

/* A change of protection makes several mappings of one: a cluster across them has to be copied in pieces. */
static void test_uffd_cluster_across_mappings_is_copied_in_pieces(void **state)
{
    struct fixture *f = *state;

    map_all(f, PGL_ADVICE_SEQUENTIAL);
    assert_int_equal(mprotect(f->memory + 8 * PAGE, PAGE, PROT_READ), 0);
    assert_int_equal(munmap(f->memory + 20 * PAGE, PAGE), 0);
    assert_pages(f->memory, 20, 0);
    assert_pages(f->memory + 21 * PAGE, NPAGES - 21, 21);
    assert_count(f, requests, 17); /* 0..19, then 32 at a time from 21 on */
}

/* A region of two or three pages is cut in two, at each place: each first touch brings all of it. */
static void test_uffd_region_cut_into_two_mappings_comes_whole(void **state)
{
    struct fixture *f = *state;
    uint64_t at = 0;

    f->config.threads = 1;
    start_pager(f);
    for (uint64_t npages = 2; npages <= 3; npages++) {
        for (uint64_t cut = 1; cut < npages; cut++) {
            for (uint64_t touched = 0; touched < npages; touched++, at += npages) {
                unsigned char *memory = f->memory + at * PAGE;
                struct pgl_uffd_stats before = stats_of(f);

                assert_true(
                    map_zeroing(f->uffd, memory, npages * PAGE, f->file, (off_t)(at * PAGE), PGL_ADVICE_NORMAL));
                assert_int_equal(mprotect(memory + cut * PAGE, (npages - cut) * PAGE, PROT_READ), 0);
                alarm(20); /* it would fault for ever */
                assert_true(is_page(memory + touched * PAGE, at + touched));
                alarm(0);
                assert_pages(memory, npages, at);
                assert_count(f, requests, before.requests + 1);
                assert_count(f, pages_fetched, before.pages_fetched + npages);
            }
        }
    }
    assert_count(f, gone, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_uffd_page_given_back_is_fetched_again),
        TEST(test_uffd_pages_of_several_entries_are_given_back),
        TEST(test_uffd_part_unmapped_is_left_alone),
        TEST(test_uffd_memory_that_moved_goes_on),
        TEST(test_uffd_event_of_memory_that_moved_is_not_the_next_regions),
        TEST(test_uffd_event_of_memory_that_was_unmapped_is_not_the_next_regions),
        TEST(test_uffd_memory_that_grew_is_plain_beyond_its_file),
        TEST(test_uffd_nothing_of_a_region_waits_for_a_pager_that_ended),
        TEST(test_uffd_memory_that_stayed_when_it_moved_shows_the_file),
        TEST(test_uffd_cluster_across_mappings_is_copied_in_pieces),
        TEST(test_uffd_region_cut_into_two_mappings_comes_whole),
    };
#undef TEST

    return pager_permitted() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
