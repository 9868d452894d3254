/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Stores of a value with their check, cached blocks, and a table without callbacks. */
#include <errno.h>
#include <string.h>

#include "emu.h"

enum { PAGE = 0x1000 };

static uint8_t ram[16 * PAGE] __attribute__((aligned(16)));

/* Store a value of @size bytes to guest address @addr. */
static int store(struct emu *emu, uint64_t addr, unsigned size, const struct pgl_tb *running)
{
    uint64_t value = UINT64_C(0x8877665544332211);

    switch (size) {
    case 1:
        return pgl_store_u8(emu->table, &ram[addr], addr, (uint8_t)value, running);
    case 2:
        return pgl_store_u16(emu->table, &ram[addr], addr, (uint16_t)value, running);
    case 4:
        return pgl_store_u32(emu->table, &ram[addr], addr, (uint32_t)value, running);
    default:
        return pgl_store_u64(emu->table, &ram[addr], addr, value, running);
    }
}

static bool was_stored(uint64_t addr, unsigned size)
{
    uint8_t wanted[8];

    switch (size) {
    case 1:
        memcpy(wanted, &(uint8_t){0x11}, 1);
        break;
    case 2:
        memcpy(wanted, &(uint16_t){0x2211}, 2);
        break;
    case 4:
        memcpy(wanted, &(uint32_t){0x44332211}, 4);
        break;
    default:
        memcpy(wanted, &(uint64_t){UINT64_C(0x8877665544332211)}, 8);
    }
    return !memcmp(&ram[addr], wanted, size) && !ram[addr - 1] && !ram[addr + size];
}

/* At each place in a word, and across a page's end. */
static void test_store_value_stores_its_bytes_and_kills_by_them(void **state)
{
    (void)state;
    for (unsigned size = 1; size <= 8; size *= 2) {
        for (uint64_t addr = 0x5ff0; addr <= 0x6008; addr++) {
            struct emu_block before, first, last, after;
            struct emu emu;

            memset(ram, 0, sizeof(ram));
            emu_init(&emu);
            emu_link(&emu, &before, addr - 1, addr - 1);
            emu_link(&emu, &first, addr, addr);
            emu_link(&emu, &last, addr + size - 1, addr + size - 1);
            emu_link(&emu, &after, addr + size, addr + size);
            assert_int_equal(store(&emu, addr, size, &last.tb), PGL_HIT | PGL_RUNNING_DEAD);
            assert_true(was_stored(addr, size));
            assert_true(emu_is_live(&before));
            assert_false(emu_is_live(&first));
            assert_false(emu_is_live(&last));
            assert_true(emu_is_live(&after));
            assert_int_equal(store(&emu, addr, size, NULL), 0);
            assert_int_equal(store(&emu, addr, size, &first.tb), PGL_RUNNING_DEAD);
            emu_fini(&emu);
        }
    }
}

static void test_store_value_beyond_the_table_is_an_error(void **state)
{
    uint64_t word = 0;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    errno = 0;
    assert_int_equal(pgl_store_u8(emu.table, &word, UINT64_C(1) << 48, 1, NULL), PGL_ERROR);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(pgl_store_u64(emu.table, &word, (UINT64_C(1) << 48) - 7, 1, NULL), PGL_ERROR);
    assert_int_equal(pgl_store_u64(emu.table, &word, (UINT64_C(1) << 48) - 8, 1, NULL), 0);
    emu_fini(&emu);
}

/* ---- cached blocks ---- */

static void test_cache_keeps_a_living_block(void **state)
{
    struct pgl_tb *slot = NULL;
    struct emu_block block;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link(&emu, &block, 0x5000, 0x5003);
    assert_true(pgl_cache_tb(&slot, &block.tb));
    assert_ptr_equal(slot, &block.tb);
    emu_fini(&emu);
}

static void test_cache_clears_the_slot_of_a_dead_block(void **state)
{
    struct emu_block block, old;
    struct pgl_tb *slot;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link(&emu, &block, 0x5000, 0x5003);
    emu_link(&emu, &old, 0x6000, 0x6003);
    slot = &old.tb;
    assert_int_equal(pgl_invalidate_page(emu.table, 5, NULL), PGL_HIT);
    assert_false(pgl_cache_tb(&slot, &block.tb));
    assert_null(slot);
    emu_fini(&emu);
}

/* ---- a table without callbacks ---- */

/* A table without callbacks, and a bracket on page 5 of it for a new block. */
static struct pgl_table *begin_without_callbacks(struct pgl_bracket *bracket, struct pgl_tb *tb)
{
    struct pgl_table_config config = {.page_bits = 12, .addr_bits = 48};
    struct pgl_table *table = pgl_table_new(&config);

    assert_non_null(table);
    pgl_tb_init(tb);
    pgl_tb_set_bytes(tb, 0, 0x5000, 0x5003);
    assert_true(pgl_bracket_begin(bracket, table, 5));
    return table;
}

static void test_table_without_callbacks_refuses_a_commit(void **state)
{
    struct pgl_tb *found = NULL;
    struct pgl_bracket bracket;
    struct pgl_tb tb;
    struct pgl_table *table = begin_without_callbacks(&bracket, &tb);

    (void)state;
    errno = 0;
    assert_int_equal(pgl_bracket_commit(&bracket, &tb, &found), PGL_BRACKET_ERROR);
    assert_int_equal(errno, EINVAL);
    assert_null(found);
    assert_false(pgl_tb_is_live(&tb));
    assert_false(pgl_page_find(table, 5)->head & PGL_HEAD_LOCK); /* the bracket has ended */
    assert_int_equal(pgl_store_check(table, 0x5000, 4, NULL), 0);
    assert_int_equal(pgl_table_check(table, NULL, NULL), 0);
    pgl_table_free(table);
}

/* Aborting once more is harmless: the memory for many pages is freed once. */
static void test_table_without_callbacks_bears_an_abort_after_the_commit(void **state)
{
    struct pgl_bracket bracket;
    struct pgl_tb tb;
    struct pgl_table *table = begin_without_callbacks(&bracket, &tb);

    (void)state;
    for (uint64_t index = 6; index < 12; index++) {
        assert_int_equal(pgl_bracket_cross(&bracket, index), PGL_BRACKET_OK);
    }
    assert_int_equal(pgl_bracket_commit(&bracket, &tb, NULL), PGL_BRACKET_ERROR);
    if (!pgl_has_lock_debug()) { /* which reports it */
        pgl_bracket_abort(&bracket);
    }
    assert_int_equal(pgl_table_check(table, NULL, NULL), 0);
    pgl_table_free(table);
}

static void test_table_without_callbacks_kills_a_block_on_no_page(void **state)
{
    struct pgl_table_config config = {.page_bits = 12, .addr_bits = 48};
    struct pgl_table *table = pgl_table_new(&config);
    struct pgl_tb tb;

    (void)state;
    assert_non_null(table);
    pgl_tb_init(&tb);
    pgl_tb_link_unlisted(table, &tb);
    assert_int_equal(pgl_invalidate_tb(table, &tb, &tb), PGL_HIT | PGL_RUNNING_DEAD);
    pgl_table_free(table);
}

/* ---- announced and confirmed ---- */

/* A thread translates the old bytes between the announcement and the store: only a check after the store kills it. */
static void test_store_announced_is_stale_until_it_is_confirmed(void **state)
{
    struct emu_block old, between;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link(&emu, &old, 0x5000, 0x5003);
    assert_int_equal(pgl_store_check(emu.table, 0x5000, 4, &old.tb), PGL_HIT | PGL_RUNNING_DEAD);
    emu_link(&emu, &between, 0x5000, 0x5003);
    assert_int_equal(store(&emu, 0x5000, 4, NULL), PGL_HIT); /* stores and confirms */
    assert_false(emu_is_live(&between));
    emu_fini(&emu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_store_value_stores_its_bytes_and_kills_by_them),
        cmocka_unit_test(test_store_value_beyond_the_table_is_an_error),
        cmocka_unit_test(test_cache_keeps_a_living_block),
        cmocka_unit_test(test_cache_clears_the_slot_of_a_dead_block),
        cmocka_unit_test(test_table_without_callbacks_refuses_a_commit),
        cmocka_unit_test(test_table_without_callbacks_bears_an_abort_after_the_commit),
        cmocka_unit_test(test_table_without_callbacks_kills_a_block_on_no_page),
        cmocka_unit_test(test_store_announced_is_stale_until_it_is_confirmed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
