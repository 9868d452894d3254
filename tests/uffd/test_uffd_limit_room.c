/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * When room is made in a region with a limit: before the pages of a fault come, or when it was answered (O13); and which
 * pages never go for it (O14).
 */
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sys/ioctl.h>

#include "../cm.h"
#include "calls.h"
#include "limited.h"

#define IOCTL_MOVE 0xc028aa05ul /* of newer headers */

static unsigned moves, copies, copies_without_room; /* atomic */

/* Each copy beyond the limit has a move before it, even if the kernel refuses it. */
static void count_copies(unsigned long request)
{
    if (request == UFFDIO_COPY) {
        unsigned ncopies = __atomic_add_fetch(&copies, 1, __ATOMIC_RELAXED);
        unsigned nmoves = __atomic_load_n(&moves, __ATOMIC_RELAXED);

        __atomic_fetch_add(&copies_without_room, ncopies > ENOUGH + nmoves, __ATOMIC_RELAXED);
    }
    __atomic_fetch_add(&moves, request == IOCTL_MOVE, __ATOMIC_RELAXED);
}

/* Have the limit be what stays in any case, and count copies. */
static void begin_to_count(struct fixture *f, unsigned char *memory)
{
    assert_true(pgl_uffd_set_limit(f->uffd, memory, (size_t)PAGES * PAGE, ENOUGH));
    __atomic_store_n(&moves, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&copies, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&copies_without_room, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&before_ioctl, count_copies, __ATOMIC_RELAXED);
}

static void test_uffd_limit_makes_room_before_a_page_comes(void **state)
{
    struct fixture *f = *state;
    START(memory, f, PGL_ADVICE_RANDOM, 1)

    begin_to_count(f, memory);
    read_from(memory, 0);
    assert_true(__atomic_load_n(&copies, __ATOMIC_RELAXED) >= PAGES);
    assert_in_range(__atomic_load_n(&copies_without_room, __ATOMIC_RELAXED), 0, 8); /* O13 */
    finish(f, memory);
}

static void test_uffd_limit_makes_room_afterwards_where_handlers_share_the_faults(void **state)
{
    struct fixture *f = *state;
    START(memory, f, PGL_ADVICE_RANDOM, 2)

    begin_to_count(f, memory);
    read_from(memory, 0);
    assert_true(__atomic_load_n(&copies_without_room, __ATOMIC_RELAXED) > 0);
    finish(f, memory);
}

static void *read_first_page(void *memory)
{
    return (void *)(uintptr_t) * (volatile unsigned char *)memory;
}

/* Each page is read by another thread. */
static void test_uffd_limit_makes_room_afterwards_for_threads_that_take_turns(void **state)
{
    struct fixture *f = *state;
    pthread_t thread;
    START(memory, f, PGL_ADVICE_RANDOM, 1)

    begin_to_count(f, memory);
    for (uint64_t page = 0; page < ENOUGH + 16; page++) {
        assert_int_equal(pthread_create(&thread, NULL, read_first_page, memory + page * PAGE), 0);
        pthread_join(thread, NULL);
    }
    assert_true(__atomic_load_n(&copies_without_room, __ATOMIC_RELAXED) > 0);
    finish(f, memory);
}

/* Touch 32 pages, the last one first. Each fault brings the 16 pages up to the one that was touched before. */
static void touch_many_clusters(struct fixture *f, unsigned char *memory)
{
    assert_true(pgl_uffd_set_limit(f->uffd, memory, (size_t)PAGES * PAGE, ENOUGH));
    for (uint64_t page = PAGES; page > 0; page -= 16) {
        assert_true(is_page(memory + (page - 16) * PAGE, page - 16));
    }
    wait_until_resident(memory, ENOUGH);
}

/* Have a sequential reader ask for as many pages as the widest cluster has. */
static void widen(struct fixture *f, struct pgl_advice_table *table)
{
    *table = *pgl_advice_shipped();
    table->row[PGL_ADVICE_SEQUENTIAL] = (struct pgl_advice_row){.after = ENOUGH - 1};
    f->config.table = table;
}

/* Returns how many of the pages that it touched are in memory. */
static unsigned count_touched(const unsigned char *memory)
{
    unsigned n = 0;

    for (uint64_t page = 0; page < PAGES; page += 16) {
        n += count_resident(memory + page * PAGE, 1);
    }
    return n;
}

/* An instruction that touches many pages would otherwise fault on them in turn, for ever. */
static void test_uffd_limit_keeps_the_pages_of_the_last_faults(void **state)
{
    struct fixture *f = *state;
    struct pgl_advice_table table;

    widen(f, &table);
    START(memory, f, PGL_ADVICE_SEQUENTIAL, 1)
    touch_many_clusters(f, memory);
    assert_int_equal(count_touched(memory), PAGES / 16); /* O14 */
    finish(f, memory);
}

static void test_uffd_limit_keeps_no_page_of_an_earlier_fault(void **state)
{
    struct fixture *f = *state;
    struct pgl_advice_table table;

    widen(f, &table);
    START(memory, f, PGL_ADVICE_SEQUENTIAL, 1)
    touch_many_clusters(f, memory);
    assert_true(is_page(memory + (PAGES - 15) * PAGE, PAGES - 15)); /* one fault more */
    wait_until_resident(memory, ENOUGH);
    assert_int_equal(count_touched(memory), PAGES / 16 - 1);
    assert_int_equal(count_resident(memory + (PAGES - 16) * PAGE, 1), 0);
    finish(f, memory);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_uffd_limit_makes_room_before_a_page_comes),
        TEST(test_uffd_limit_makes_room_afterwards_where_handlers_share_the_faults),
        TEST(test_uffd_limit_makes_room_afterwards_for_threads_that_take_turns),
        TEST(test_uffd_limit_keeps_the_pages_of_the_last_faults),
        TEST(test_uffd_limit_keeps_no_page_of_an_earlier_fault),
    };
#undef TEST

    return permitted() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
