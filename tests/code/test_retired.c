/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory of blocks for which `retired` has returned (T7). Each block of this emulator lies in memory of its own, which
 * `retired` takes away: an access by the library afterwards ends the program.
 */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "emu.h"

enum {
    BLOCKS = 600, /* more than one portion */
    EXTENTS = 3,
};

struct lonely {
    struct pgl_tb tb;
    struct pgl_extent extents[EXTENTS];
};

struct mortals {
    struct pgl_table *table;
    struct lonely *block[BLOCKS];
    unsigned n, dead;
};

/* The memory of one block. */
static size_t room(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

static void retired(struct pgl_tb *chain, void *opaque)
{
    struct mortals *mortals = opaque;

    for (struct pgl_tb *next; chain; chain = next) {
        next = pgl_tb_chain_next(chain);
        mortals->dead++;
        assert_int_equal(mprotect(chain, room(), PROT_NONE), 0);
    }
}

static const struct pgl_tb_ops ops = {.retired = retired};

static void begin(struct mortals *mortals)
{
    struct pgl_table_config config = {.page_bits = 12, .addr_bits = 48, .ops = &ops, .opaque = mortals};

    memset(mortals, 0, sizeof(*mortals));
    mortals->table = pgl_table_new(&config);
    assert_non_null(mortals->table);
}

/* All blocks have died, by as many calls as there were. The table is sound without them. */
static void end(struct mortals *mortals)
{
    assert_int_equal(mortals->dead, mortals->n);
    assert_int_equal(pgl_table_check(mortals->table, NULL, NULL), 0);
    assert_int_equal(pgl_flush(mortals->table, NULL), 0);
    pgl_table_trim(mortals->table);
    pgl_table_free(mortals->table);
    for (unsigned i = 0; i < mortals->n; i++) {
        munmap(mortals->block[i], room());
    }
}

/* Link a block with its extents at the same place of @n pages, @step apart. */
static void link_block(struct mortals *mortals, uint64_t addr, unsigned n, uint64_t step)
{
    struct lonely *block = mmap(NULL, room(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct pgl_bracket bracket;

    assert_ptr_not_equal(block, MAP_FAILED);
    mortals->block[mortals->n++] = block;
    assert_true(pgl_bracket_begin(&bracket, mortals->table, addr >> 12));
    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(pgl_bracket_cross(&bracket, (addr + i * step) >> 12), PGL_BRACKET_OK);
        pgl_extent_set(&block->extents[i], addr + i * step, addr + i * step + 3);
    }
    pgl_tb_init(&block->tb);
    pgl_tb_set_extents(&block->tb, block->extents, n);
    assert_int_equal(pgl_bracket_commit(&bracket, &block->tb, NULL), PGL_BRACKET_OK);
}

/* Make page 5 hot, or not, with a block at 0x5f00 that stays alive until the end. */
static void heat(struct mortals *mortals, bool hot)
{
    link_block(mortals, 0x5f00, 1, 0);
    for (unsigned i = 0; hot && i < 20; i++) {
        assert_int_equal(pgl_store_check(mortals->table, 0x5f04, 4, NULL), 0);
    }
}

static void check_store(struct mortals *mortals, uint64_t addr)
{
    assert_int_equal(pgl_store_check(mortals->table, addr, 8, NULL), PGL_HIT);
}

static void check_store_bracket(struct mortals *mortals, uint64_t addr)
{
    struct pgl_store store;

    assert_int_equal(pgl_store_begin(&store, mortals->table, addr, 8, NULL), PGL_HIT);
    pgl_store_end(&store);
}

static void check_bracket_store(struct mortals *mortals, uint64_t addr)
{
    struct pgl_bracket bracket;

    assert_true(pgl_bracket_begin(&bracket, mortals->table, 0x100));
    pgl_bracket_store(&bracket, addr, 8);
    pgl_bracket_abort(&bracket);
}

static void check_range(struct mortals *mortals, uint64_t addr)
{
    assert_int_equal(pgl_invalidate_range(mortals->table, addr, addr + 7, NULL), PGL_HIT);
}

static bool is_all(const struct pgl_tb *tb, void *arg)
{
    (void)tb, (void)arg;
    return true;
}

static void check_predicate(struct mortals *mortals, uint64_t addr)
{
    assert_int_equal(pgl_invalidate_if(mortals->table, addr, addr + 7, is_all, NULL, NULL), PGL_HIT);
}

/* Two blocks are hit, beside one that is not; on one page, on two, and on three in three leaves. */
static void check_hits(void (*kill)(struct mortals *mortals, uint64_t addr))
{
    for (unsigned hot = 0; hot < 2; hot++) {
        for (unsigned n = 1; n <= EXTENTS; n++) {
            for (uint64_t step = 64; step <= 0x400000; step *= 256) {
                struct mortals mortals;

                begin(&mortals);
                heat(&mortals, hot);
                link_block(&mortals, 0x5000, n, step);
                link_block(&mortals, 0x5004, n, step);
                kill(&mortals, 0x5000);
                assert_int_equal(mortals.dead, 2);
                assert_int_equal(pgl_store_check(mortals.table, 0x5f00, 1, NULL), PGL_HIT);
                end(&mortals);
            }
        }
    }
}

static void test_retired_blocks_are_not_touched_by_a_store(void **state)
{
    (void)state;
    check_hits(check_store);
    check_hits(check_store_bracket);
    check_hits(check_bracket_store);
}

static void test_retired_blocks_are_not_touched_by_a_range(void **state)
{
    (void)state;
    check_hits(check_range);
    check_hits(check_predicate);
}

/* Several portions on one page, whose blocks are on another one too, and in a leaf beyond. */
static void test_retired_blocks_are_not_touched_by_later_portions(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < 3; kind++) {
        struct mortals mortals;
        int answer;

        begin(&mortals);
        for (unsigned i = 0; i < BLOCKS; i++) {
            link_block(&mortals, 0x5000 + i % 200 * 16, 1 + i % EXTENTS, i % 2 ? 0x1000 : 0x200000);
        }
        answer = kind == 0   ? pgl_flush(mortals.table, NULL)
                 : kind == 1 ? pgl_invalidate_page(mortals.table, 5, NULL)
                             : pgl_invalidate_if(mortals.table, 0x5000, 0x5fff, is_all, NULL, NULL);
        assert_int_equal(answer, PGL_HIT);
        end(&mortals);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_retired_blocks_are_not_touched_by_a_store),
        cmocka_unit_test(test_retired_blocks_are_not_touched_by_a_range),
        cmocka_unit_test(test_retired_blocks_are_not_touched_by_later_portions),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
