/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "emu.h"

/* The collection's members are exactly @want, in ascending order, locked, and its max is the last of them. */
static void assert_members(const struct emu *emu, const struct pgl_collection *collection, const uint64_t *want,
                           size_t n)
{
    struct pgl_page *page;
    uint64_t index = 0;

    for (size_t i = 0; i < n; i++, index++) {
        page = pgl_collection_next(collection, &index);
        assert_non_null(page);
        assert_true(index == want[i]);
        assert_ptr_equal(page, pgl_page_find(emu->table, index));
        assert_true(emu_is_locked(emu, index));
    }
    assert_null(pgl_collection_next(collection, &index));
    assert_true(pgl_collection_max(collection) == (n ? want[n - 1] : UINT64_MAX));
}

#define ASSERT_MEMBERS(emu, collection, ...)                                                                           \
    do {                                                                                                               \
        const uint64_t want_[] = {__VA_ARGS__};                                                                        \
        assert_members(emu, collection, want_, sizeof(want_) / sizeof(*want_));                                        \
    } while (0)

static void test_collection_locks_the_pages_of_the_range_inclusively(void **state)
{
    struct emu *emu = *state;
    struct pgl_collection collection;

    pgl_page_get(emu->table, 5);
    assert_true(pgl_collection_lock(&collection, emu->table, 0x5fff, 0x6000));
    ASSERT_MEMBERS(emu, &collection, 5, 6);
    pgl_collection_unlock(&collection);
    assert_true(pgl_collection_lock(&collection, emu->table, 0x5000, 0x5fff));
    ASSERT_MEMBERS(emu, &collection, 5);
    pgl_collection_unlock(&collection);
    assert_true(pgl_collection_lock(&collection, emu->table, 0x5800, 0x5800));
    ASSERT_MEMBERS(emu, &collection, 5);
    pgl_collection_unlock(&collection);
    assert_false(emu_is_locked(emu, 5));
    assert_false(emu_is_locked(emu, 6));
    emu_fini(emu);
}

static void test_collection_leaves_absent_pages_out(void **state)
{
    struct emu *emu = *state;
    struct pgl_collection collection;
    struct pgl_page *page;
    uint64_t index = 0;

    assert_true(pgl_collection_lock(&collection, emu->table, 0, (UINT64_C(1) << 48) - 1));
    assert_members(emu, &collection, NULL, 0);
    /* A page that comes into being after the lock is no member. */
    page = pgl_page_get(emu->table, 77);
    assert_null(pgl_collection_next(&collection, &index));
    assert_true(pgl_page_trylock(emu->table, page));
    pgl_page_unlock(emu->table, page);
    pgl_collection_unlock(&collection);
    emu_fini(emu);
}

static void test_collection_refuses_bad_ranges(void **state)
{
    struct emu *emu = *state;
    static const uint64_t bad[][2] = {{5, 4}, {0, UINT64_C(1) << 48}, {UINT64_MAX, UINT64_MAX}, {0, UINT64_MAX}};
    struct pgl_collection collection;

    pgl_page_get(emu->table, 0);
    for (size_t i = 0; i < 4; i++) {
        uint64_t index = 0;

        memset(&collection, 0xa5, sizeof(collection)); /* it needs no initialisation */
        errno = 0;
        assert_false(pgl_collection_lock(&collection, emu->table, bad[i][0], bad[i][1]));
        assert_int_equal(errno, EINVAL);
        assert_false(emu_is_locked(emu, 0));
        assert_true(pgl_collection_max(&collection) == UINT64_MAX); /* it is empty, and may be used as such */
        assert_null(pgl_collection_next(&collection, &index));
        pgl_collection_unlock(&collection);
    }
    emu_fini(emu);
}

static void test_collection_takes_the_top_page_of_64_bits(void **state)
{
    struct pgl_collection collection;
    struct emu emu;
    uint64_t top = UINT64_MAX >> 12;

    (void)state;
    emu_init_bits(&emu, 12, 64);
    pgl_page_get(emu.table, top);
    assert_true(pgl_collection_lock(&collection, emu.table, UINT64_MAX - 0x1000, UINT64_MAX));
    ASSERT_MEMBERS(&emu, &collection, top - 1, top);
    pgl_collection_unlock(&collection);
    assert_true(pgl_collection_lock(&collection, emu.table, UINT64_MAX, UINT64_MAX));
    ASSERT_MEMBERS(&emu, &collection, top);
    pgl_collection_unlock(&collection);
    emu_fini(&emu);
}

static void test_collection_adds_the_other_pages_of_its_blocks(void **state)
{
    static const uint64_t second[] = {0x4ff, 0x501, 0x100, 0x1500, UINT64_C(0xfffffffff)};

    (void)state;
    for (size_t i = 0; i < sizeof(second) / sizeof(*second); i++) {
        struct pgl_collection collection;
        struct emu_block block;
        struct emu emu;

        emu_init(&emu);
        emu_link2(&emu, &block, 0x500ff0, 0x500fff, second[i] << 12, second[i] << 12);
        assert_true(pgl_collection_lock(&collection, emu.table, 0x500123, 0x500123));
        if (second[i] < 0x500) {
            ASSERT_MEMBERS(&emu, &collection, second[i], 0x500);
        } else {
            ASSERT_MEMBERS(&emu, &collection, 0x500, second[i]);
        }
        pgl_collection_unlock(&collection);
        /* and from the other side */
        assert_true(pgl_collection_lock(&collection, emu.table, second[i] << 12, second[i] << 12));
        if (second[i] < 0x500) {
            ASSERT_MEMBERS(&emu, &collection, second[i], 0x500);
        } else {
            ASSERT_MEMBERS(&emu, &collection, 0x500, second[i]);
        }
        pgl_collection_unlock(&collection);
        emu_fini(&emu);
    }
}

static void test_collection_locks_the_page_of_a_block_on_one_page_twice_once(void **state)
{
    struct emu *emu = *state;
    struct pgl_collection collection;
    struct emu_block block;

    emu_link2(emu, &block, 0x5ff0, 0x5fff, 0x5000, 0x5003);
    assert_true(pgl_collection_lock(&collection, emu->table, 0x5000, 0x5fff));
    ASSERT_MEMBERS(emu, &collection, 5);
    pgl_collection_unlock(&collection);
    emu_fini(emu);
}

static void test_collection_takes_partners_of_the_range_only(void **state)
{
    struct emu *emu = *state;
    struct emu_block a, b;
    struct pgl_collection collection;

    emu_link2(emu, &a, 0x5ff0, 0x5fff, 0x6000, 0x6003);
    emu_link2(emu, &b, 0x6ff0, 0x6fff, 0x7000, 0x7003); /* on 6, which is a partner: 7 is not needed */
    assert_true(pgl_collection_lock(&collection, emu->table, 0x5000, 0x5000));
    ASSERT_MEMBERS(emu, &collection, 5, 6);
    pgl_collection_unlock(&collection);
    emu_fini(emu);
}

static void test_collection_max_follows_partners(void **state)
{
    struct emu *emu = *state;
    struct pgl_collection collection;
    struct emu_block low, high;

    emu_link2(emu, &low, 0x600ff0, 0x600fff, 0x300000, 0x300003);
    emu_link2(emu, &high, 0x600fe0, 0x600fef, 0x900000, 0x900003);
    assert_true(pgl_collection_lock(&collection, emu->table, 0x600000, 0x600000));
    ASSERT_MEMBERS(emu, &collection, 0x300, 0x600, 0x900);
    pgl_collection_unlock(&collection);
    emu_fini(emu);
}

static void test_collection_keeps_order_beyond_two_leaves(void **state)
{
    struct emu *emu = *state;
    /* Leaves of partners in an order that has to be sorted in, before and behind. */
    static const uint64_t partners[] = {0x9000, 0x1000, 0x7000, 0x3000, 0xb000, 0x2000, 0xa000, 0x4000, 0x8000, 0x1001};
    struct emu_block blocks[10];
    struct pgl_collection collection;

    for (unsigned i = 0; i < 10; i++) {
        emu_link2(emu, &blocks[i], 0x5000ff0, 0x5000fff, partners[i] << 12, partners[i] << 12);
    }
    assert_true(pgl_collection_lock(&collection, emu->table, 0x5000000, 0x5000000));
    ASSERT_MEMBERS(emu, &collection, 0x1000, 0x1001, 0x2000, 0x3000, 0x4000, 0x5000, 0x7000, 0x8000, 0x9000, 0xa000,
                   0xb000);
    pgl_collection_unlock(&collection);
    for (unsigned i = 0; i < 10; i++) {
        assert_false(emu_is_locked(emu, partners[i]));
    }
    emu_fini(emu);
}

/* Other pages in leaves of their own, which turn up in falling, rising and mixed order. */
static void test_collection_orders_leaves_however_they_come(void **state)
{
    enum { N = 60 };
    struct emu_block blocks[N];

    (void)state;
    for (unsigned step = 1; step < N; step += 6) { /* 1, 7, 13 ...: each has no factor in common with 61 */
        struct pgl_collection collection;
        uint64_t want[N + 1] = {5};
        struct emu emu;

        emu_init(&emu);
        for (unsigned i = 0; i < N; i++) {
            uint64_t leaf = (uint64_t)(i + 1) * step % (N + 1), index = leaf * PGL_LEVEL_SIZE + leaf;

            want[leaf] = index;
            emu_link2(&emu, &blocks[i], 0x5000 + i, 0x5000 + i, index << 12, index << 12);
        }
        assert_true(pgl_collection_lock(&collection, emu.table, 0x5000, 0x5fff));
        assert_members(&emu, &collection, want, N + 1);
        pgl_collection_unlock(&collection);
        for (unsigned i = 0; i <= N; i++) {
            assert_false(emu_is_locked(&emu, want[i]));
        }
        assert_int_equal(pgl_invalidate_page(emu.table, 5, NULL), PGL_HIT);
        assert_int_equal(emu.n_retired, 1);
        assert_int_equal(emu.n_retired_blocks, N);
        emu_fini(&emu);
    }
}

static void test_collection_range_over_many_leaves(void **state)
{
    struct emu *emu = *state;
    struct pgl_collection collection;
    uint64_t index, n = 0;

    for (index = 0; index < 10; index++) {
        pgl_page_get(emu->table, index * 512);
    }
    assert_true(pgl_collection_lock(&collection, emu->table, 0x3000, (UINT64_C(10) * 512 << 12) - 1));
    for (index = 0; pgl_collection_next(&collection, &index); index++, n++) {
        assert_true(index == n + 3);
    }
    assert_int_equal(n, 10 * 512 - 3);
    pgl_collection_unlock(&collection);
    emu_fini(emu);
}

static void test_collection_is_empty_after_its_unlock(void **state)
{
    struct emu *emu = *state;
    static const uint64_t last[] = {0x5000, 0x7000, UINT64_C(10) * 512 << 12}; /* a page, a few, many leaves */
    struct pgl_collection collection;

    for (uint64_t index = 0; index < 10; index++) {
        pgl_page_get(emu->table, index * 512);
    }
    for (unsigned i = 0; i < 3; i++) {
        assert_true(pgl_collection_lock(&collection, emu->table, 0x5000, last[i]));
        assert_true(pgl_collection_max(&collection) != UINT64_MAX);
        pgl_collection_unlock(&collection);
        assert_members(emu, &collection, NULL, 0);
    }
    emu_fini(emu);
}

static void test_collection_next_begins_anywhere(void **state)
{
    struct emu *emu = *state;
    struct pgl_collection collection;
    struct emu_block block;
    uint64_t index;

    emu_link2(emu, &block, 0x500ff0, 0x500fff, 0x900000, 0x900003);
    assert_true(pgl_collection_lock(&collection, emu->table, 0x500000, 0x500000));
    index = 0x500;
    assert_non_null(pgl_collection_next(&collection, &index));
    assert_int_equal(index, 0x500);
    index = 0x501;
    assert_non_null(pgl_collection_next(&collection, &index));
    assert_int_equal(index, 0x900);
    index = 0x901;
    assert_null(pgl_collection_next(&collection, &index));
    pgl_collection_unlock(&collection);
    emu_fini(emu);
}

/* ---- busy pages ---- */

struct lock_call {
    struct emu_call call;
    struct pgl_collection collection;
    uint64_t first_addr, last_addr;
    unsigned locked; /* set once it is, and the thread then waits until it may go */
    sem_t go;
};

static void lock_and_wait(struct emu *emu, void *arg)
{
    struct lock_call *lock = arg;

    if (!pgl_collection_lock(&lock->collection, emu->table, lock->first_addr, lock->last_addr)) {
        return;
    }
    __atomic_store_n(&lock->locked, 1, __ATOMIC_RELEASE);
    while (sem_wait(&lock->go)) {
        ;
    }
    pgl_collection_unlock(&lock->collection);
}

static void start_lock(struct lock_call *lock, struct emu *emu, uint64_t first_addr, uint64_t last_addr)
{
    lock->first_addr = first_addr;
    lock->last_addr = last_addr;
    lock->locked = 0;
    sem_init(&lock->go, 0, 0);
    emu_call(&lock->call, emu, lock_and_wait, lock);
}

static void finish_lock(struct lock_call *lock)
{
    sem_post(&lock->go);
    emu_join(&lock->call);
    sem_destroy(&lock->go);
}

static bool is_locked(const struct lock_call *lock)
{
    return __atomic_load_n(&lock->locked, __ATOMIC_ACQUIRE);
}

static void test_collection_lets_go_above_a_busy_page_and_keeps_what_is_below(void **state)
{
    struct emu *emu = *state;
    struct emu_block lowest, busy;
    struct emu_holder holder;
    struct lock_call lock;

    emu_link2(emu, &busy, 0x5000, 0x5003, 0x3000, 0x3003);
    emu_link2(emu, &lowest, 0x5ff0, 0x5fff, 0x1000, 0x1003); /* listed last: met first */
    emu_hold(&holder, emu, 3);
    start_lock(&lock, emu, 0x5000, 0x6fff);
    EMU_WAIT_UNTIL(emu_stats(emu).retries == 1);
    assert_true(emu_is_stuck(&lock.call));
    assert_true(emu_is_locked(emu, 1));  /* below: kept */
    assert_false(emu_is_locked(emu, 5)); /* above: unlocked */
    assert_false(emu_is_locked(emu, 6));
    emu_release(&holder);
    EMU_WAIT_UNTIL(is_locked(&lock));
    ASSERT_MEMBERS(emu, &lock.collection, 1, 3, 5, 6);
    finish_lock(&lock);
    emu_fini(emu);
}

static void test_collection_counts_each_retry(void **state)
{
    struct emu *emu = *state;
    struct emu_holder holders[2];
    struct emu_block low, lower;
    struct lock_call lock;

    emu_link2(emu, &lower, 0x5000, 0x5003, 0x2000, 0x2003);
    emu_link2(emu, &low, 0x5ff0, 0x5fff, 0x3000, 0x3003); /* met first */
    emu_hold(&holders[0], emu, 3);
    emu_hold(&holders[1], emu, 2);
    start_lock(&lock, emu, 0x5000, 0x5fff);
    EMU_WAIT_UNTIL(emu_stats(emu).retries == 1);
    emu_release(&holders[0]);
    EMU_WAIT_UNTIL(emu_stats(emu).retries == 2);
    emu_release(&holders[1]);
    EMU_WAIT_UNTIL(is_locked(&lock));
    ASSERT_MEMBERS(emu, &lock.collection, 2, 3, 5);
    assert_int_equal(emu_stats(emu).retries, 2);
    finish_lock(&lock);
    emu_fini(emu);
}

static void test_collection_waits_for_a_page_above_with_all_held(void **state)
{
    struct emu *emu = *state;
    struct emu_holder holder;
    struct emu_block block;
    struct lock_call lock;

    emu_link2(emu, &block, 0x5000, 0x5003, 0x9000, 0x9003);
    emu_hold(&holder, emu, 9);
    start_lock(&lock, emu, 0x5000, 0x5fff);
    assert_true(emu_is_stuck(&lock.call));
    assert_true(emu_is_locked(emu, 5));
    assert_int_equal(emu_stats(emu).retries, 0);
    emu_release(&holder);
    EMU_WAIT_UNTIL(is_locked(&lock));
    ASSERT_MEMBERS(emu, &lock.collection, 5, 9);
    assert_int_equal(emu_stats(emu).retries, 0);
    finish_lock(&lock);
    emu_fini(emu);
}

static void test_collection_relocks_ascending_after_busy(void **state)
{
    struct emu *emu = *state;
    struct emu_holder low, middle;
    struct emu_block block;
    struct lock_call lock;

    emu_link2(emu, &block, 0x5000, 0x5003, 0x3000, 0x3003);
    emu_hold(&low, emu, 3);
    start_lock(&lock, emu, 0x5000, 0x6fff);
    EMU_WAIT_UNTIL(emu_stats(emu).retries == 1 && !emu_is_locked(emu, 5));
    assert_true(emu_is_stuck(&lock.call));
    emu_hold(&middle, emu, 5); /* so that its retaking stops there */
    emu_release(&low);
    assert_true(emu_is_stuck_again(&lock.call));
    assert_true(emu_is_locked(emu, 3));
    assert_false(emu_is_locked(emu, 6)); /* not before 5 */
    assert_false(is_locked(&lock));
    emu_release(&middle);
    EMU_WAIT_UNTIL(is_locked(&lock));
    ASSERT_MEMBERS(emu, &lock.collection, 3, 5, 6);
    finish_lock(&lock);
    emu_fini(emu);
}

static void test_collection_reads_lists_again_after_retaking(void **state)
{
    struct emu *emu = *state;
    struct emu_block block, late;
    struct emu_holder holder;
    struct lock_call lock;

    emu_link2(emu, &block, 0x5000, 0x5003, 0x3000, 0x3003);
    emu_hold(&holder, emu, 3);
    start_lock(&lock, emu, 0x5000, 0x5fff);
    EMU_WAIT_UNTIL(emu_stats(emu).retries == 1 && !emu_is_locked(emu, 5));
    /* While it waits for 3, page 5 gets a block with another partner. */
    emu_link2(emu, &late, 0x5ff0, 0x5fff, 0x9000, 0x9003);
    emu_release(&holder);
    EMU_WAIT_UNTIL(is_locked(&lock));
    ASSERT_MEMBERS(emu, &lock.collection, 3, 5, 9);
    finish_lock(&lock);
    emu_fini(emu);
}

static void test_collection_sees_a_block_listed_while_it_waited(void **state)
{
    struct emu *emu = *state;
    struct pgl_bracket bracket;
    struct emu_block block = {0};
    struct lock_call lock;

    pgl_tb_init(&block.tb);
    pgl_tb_set_bytes(&block.tb, 0, 0x5ff0, 0x5fff);
    pgl_tb_set_bytes(&block.tb, 1, 0x9000, 0x9003);
    for (unsigned pages = 1; pages <= 2; pages++) { /* a set of one page has a way of its own */
        assert_true(pgl_bracket_begin(&bracket, emu->table, 5));
        assert_int_equal(pgl_bracket_cross(&bracket, 9), PGL_BRACKET_OK);
        start_lock(&lock, emu, 0x5000, pages == 1 ? 0x5fff : 0x6fff);
        assert_true(emu_is_stuck(&lock.call));
        assert_int_equal(pgl_bracket_commit(&bracket, &block.tb, NULL), PGL_BRACKET_OK);
        EMU_WAIT_UNTIL(is_locked(&lock));
        if (pages == 1) {
            ASSERT_MEMBERS(emu, &lock.collection, 5, 9);
        } else {
            ASSERT_MEMBERS(emu, &lock.collection, 5, 6, 9);
        }
        finish_lock(&lock);
        assert_int_equal(pgl_invalidate_tb(emu->table, &block.tb, NULL), PGL_HIT);
        pgl_tb_init(&block.tb);
        pgl_tb_set_bytes(&block.tb, 0, 0x5ff0, 0x5fff);
        pgl_tb_set_bytes(&block.tb, 1, 0x9000, 0x9003);
    }
    emu_fini(emu);
}

static void test_collection_keeps_a_page_that_is_no_longer_needed(void **state)
{
    struct emu *emu = *state;
    struct emu_block busy, gone;
    struct emu_holder holder;
    struct lock_call lock;

    emu_link2(emu, &busy, 0x5000, 0x5003, 0x3000, 0x3003);
    emu_link2(emu, &gone, 0x5ff0, 0x5fff, 0x7000, 0x7003); /* listed last: met first */
    emu_hold(&holder, emu, 3);
    start_lock(&lock, emu, 0x5000, 0x5fff);
    EMU_WAIT_UNTIL(emu_stats(emu).retries == 1 && !emu_is_locked(emu, 7));
    assert_int_equal(pgl_invalidate_tb(emu->table, &gone.tb, NULL), PGL_HIT);
    emu_release(&holder);
    EMU_WAIT_UNTIL(is_locked(&lock));
    ASSERT_MEMBERS(emu, &lock.collection, 3, 5, 7);
    finish_lock(&lock);
    emu_fini(emu);
}

static void test_collection_reads_a_list_only_after_locking(void **state)
{
    struct emu *emu = *state;
    struct emu_holder holder;
    struct emu_block block;
    struct lock_call lock;

    pgl_page_get(emu->table, 5);
    emu_link2(emu, &block, 0x6ff0, 0x6fff, 0x9000, 0x9003);
    emu_hold(&holder, emu, 5);
    start_lock(&lock, emu, 0x5000, 0x6fff);
    assert_true(emu_is_stuck(&lock.call));
    /* The block that is on page 6 by now dies, another comes: what counts is the list of when 6 is held. */
    assert_int_equal(pgl_invalidate_tb(emu->table, &block.tb, NULL), PGL_HIT);
    emu_link2(emu, &block, 0x6ff0, 0x6fff, 0xa000, 0xa003);
    emu_release(&holder);
    EMU_WAIT_UNTIL(is_locked(&lock));
    ASSERT_MEMBERS(emu, &lock.collection, 5, 6, 10);
    finish_lock(&lock);
    emu_fini(emu);
}

/* A leaf of the range comes to exist while the first page is waited for. None of its pages is walked or unlocked. */
static void test_collection_leaves_a_leaf_alone_that_was_made_while_it_waited(void **state)
{
    struct emu *emu = *state;
    struct emu_holder holder, other;
    struct emu_block block;
    struct lock_call lock;
    uint64_t index = PGL_LEVEL_SIZE;

    pgl_page_get(emu->table, 5);
    emu_hold(&holder, emu, 5);
    start_lock(&lock, emu, 0x5000, (UINT64_C(3) * PGL_LEVEL_SIZE << 12) - 1);
    assert_true(emu_is_stuck(&lock.call));
    emu_link(emu, &block, (PGL_LEVEL_SIZE + 7) << 12, ((PGL_LEVEL_SIZE + 7) << 12) + 3);
    emu_hold(&other, emu, PGL_LEVEL_SIZE + 7);
    emu_release(&holder);
    EMU_WAIT_UNTIL(is_locked(&lock));
    assert_null(pgl_collection_next(&lock.collection, &index));
    assert_int_equal(pgl_collection_max(&lock.collection), PGL_LEVEL_SIZE - 1);
    assert_false(emu_is_locked(emu, PGL_LEVEL_SIZE + 8));
    finish_lock(&lock);
    assert_true(emu_is_locked(emu, PGL_LEVEL_SIZE + 7));
    emu_release(&other);
    emu_fini(emu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_collection_locks_the_pages_of_the_range_inclusively, emu_set_up),
        cmocka_unit_test_setup(test_collection_leaves_absent_pages_out, emu_set_up),
        cmocka_unit_test_setup(test_collection_refuses_bad_ranges, emu_set_up),
        cmocka_unit_test(test_collection_takes_the_top_page_of_64_bits),
        cmocka_unit_test(test_collection_adds_the_other_pages_of_its_blocks),
        cmocka_unit_test_setup(test_collection_locks_the_page_of_a_block_on_one_page_twice_once, emu_set_up),
        cmocka_unit_test_setup(test_collection_takes_partners_of_the_range_only, emu_set_up),
        cmocka_unit_test_setup(test_collection_max_follows_partners, emu_set_up),
        cmocka_unit_test_setup(test_collection_keeps_order_beyond_two_leaves, emu_set_up),
        cmocka_unit_test(test_collection_orders_leaves_however_they_come),
        cmocka_unit_test_setup(test_collection_range_over_many_leaves, emu_set_up),
        cmocka_unit_test_setup(test_collection_is_empty_after_its_unlock, emu_set_up),
        cmocka_unit_test_setup(test_collection_next_begins_anywhere, emu_set_up),
        cmocka_unit_test_setup(test_collection_lets_go_above_a_busy_page_and_keeps_what_is_below, emu_set_up),
        cmocka_unit_test_setup(test_collection_counts_each_retry, emu_set_up),
        cmocka_unit_test_setup(test_collection_waits_for_a_page_above_with_all_held, emu_set_up),
        cmocka_unit_test_setup(test_collection_relocks_ascending_after_busy, emu_set_up),
        cmocka_unit_test_setup(test_collection_reads_lists_again_after_retaking, emu_set_up),
        cmocka_unit_test_setup(test_collection_sees_a_block_listed_while_it_waited, emu_set_up),
        cmocka_unit_test_setup(test_collection_keeps_a_page_that_is_no_longer_needed, emu_set_up),
        cmocka_unit_test_setup(test_collection_reads_a_list_only_after_locking, emu_set_up),
        cmocka_unit_test_setup(test_collection_leaves_a_leaf_alone_that_was_made_while_it_waited, emu_set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
