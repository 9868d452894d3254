/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* When room is made in a region with a limit: before the pages of a fault come, or when it was answered (O13). */
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

static const unsigned char *first_page; /* atomic, as is the next one */
static unsigned lost;

/* While later pages come, the first one stays. */
static void look_at_first_page(unsigned long request)
{
    const unsigned char *page = __atomic_load_n(&first_page, __ATOMIC_RELAXED);

    if (request == UFFDIO_COPY && page) {
        __atomic_fetch_add(&lost, count_resident(page, 1) == 0, __ATOMIC_RELAXED);
    }
}

/* An instruction that touches two pages would otherwise fault on them in turn, for ever. */
static void test_uffd_limit_keeps_a_cluster_while_room_is_made_for_the_next(void **state)
{
    struct fixture *f = *state;
    struct pgl_advice_table table = *pgl_advice_shipped();

    table.row[PGL_ADVICE_SEQUENTIAL] = (struct pgl_advice_row){.after = ENOUGH - 1};
    f->config.table = &table;
    START(memory, f, PGL_ADVICE_SEQUENTIAL, 1)

    assert_true(pgl_uffd_set_limit(f->uffd, memory, (size_t)PAGES * PAGE, ENOUGH));
    assert_true(is_page(memory, 0));
    __atomic_store_n(&first_page, memory, __ATOMIC_RELAXED);
    __atomic_store_n(&before_ioctl, look_at_first_page, __ATOMIC_RELAXED);
    assert_true(is_page(memory + PAGES / 2 * PAGE, PAGES / 2));
    wait_until_resident(memory, ENOUGH);
    assert_int_equal(__atomic_load_n(&lost, __ATOMIC_RELAXED), 0);
    finish(f, memory);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_uffd_limit_makes_room_before_a_page_comes),
        TEST(test_uffd_limit_makes_room_afterwards_where_handlers_share_the_faults),
        TEST(test_uffd_limit_makes_room_afterwards_for_threads_that_take_turns),
        TEST(test_uffd_limit_keeps_a_cluster_while_room_is_made_for_the_next),
    };
#undef TEST

    return permitted() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
