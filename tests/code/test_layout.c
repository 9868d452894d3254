/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The layout of a table for emitted store checks: the steps of the header, done in C by the layout alone. */
#include <string.h>

#include <pagelock/layout.h>

#include "emu.h"
#include "../fences.h"

enum { VERSION = 1 };

static struct pgl_check_layout layout_of(const struct pgl_table *table)
{
    struct pgl_check_layout layout;

    assert_true(pgl_table_get_check_layout(table, VERSION, &layout));
    return layout;
}

/* The steps, but for the fence. False means to ask. */
static bool steps_pass(const struct pgl_check_layout *layout, uint64_t first, uint64_t last, const struct pgl_tb *tb)
{
    const uint64_t index = first >> layout->page_bits, level = (UINT64_C(1) << layout->level_bits) - 1;
    const unsigned bit_shift = layout->page_bits - 6;
    const char *node = layout->root, *descriptor;
    uintptr_t head;
    uint64_t mask;
    uint16_t state;

    if (last >> layout->page_bits != index || index > layout->last_index) {
        return false;
    }
    for (unsigned shift = layout->root_shift; node && shift; shift -= layout->level_bits) {
        uint64_t slot = index >> shift & (shift == layout->root_shift ? UINT64_MAX : level);

        memcpy(&node, node + slot * sizeof(node), sizeof(node));
    }
    if (node) {
        descriptor = node + (index & level) * layout->descriptor_size;
        memcpy(&head, descriptor + layout->head, sizeof(head));
        memcpy(&mask, descriptor + layout->mask, sizeof(mask));
        if (head & layout->head_lock) {
            return false;
        }
        for (uint64_t bit = first >> bit_shift; bit <= last >> bit_shift; bit++) {
            if (mask >> bit % 64 & 1) {
                return false;
            }
        }
    }
    if (tb) {
        memcpy(&state, (const char *)tb + layout->tb_state, sizeof(state));
        return state == layout->tb_live;
    }
    return true;
}

static void assert_steps_agree(const struct pgl_table *table, const struct pgl_check_layout *layout, uint64_t first,
                               uint64_t len)
{
    assert_int_equal(steps_pass(layout, first, first + len - 1, NULL), pgl_store_is_clean(table, first, len));
}

static void test_layout_steps_agree_with_the_inline_check(void **state)
{
    static const unsigned sizes[][2] = {{10, 10}, {10, 20}, {10, 64}, {12, 32}, {12, 33}, {12, 34}, {12, 42},
                                        {12, 43}, {12, 48}, {12, 64}, {16, 48}, {21, 21}, {21, 30}, {21, 64}};

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        const uint64_t last_addr = UINT64_MAX >> (64 - sizes[i][1]), page = UINT64_C(1) << sizes[i][0];
        const uint64_t starts[] = {0, last_addr / 2 & ~(page - 1), last_addr - (page - 1)};
        struct pgl_check_layout layout;
        struct emu_block blocks[3];
        struct emu emu;

        emu_init_bits(&emu, sizes[i][0], sizes[i][1]);
        layout = layout_of(emu.table);
        for (unsigned at = 0; at < 3; at++) {
            emu_link(&emu, &blocks[at], starts[at] + page / 4, starts[at] + page / 4 + 5);
        }
        for (unsigned at = 0; at < 3; at++) {
            for (uint64_t offset = 0; offset < page + 64; offset += page / 128) {
                assert_steps_agree(emu.table, &layout, starts[at] + offset, 1);
                assert_steps_agree(emu.table, &layout, starts[at] + offset, 8);
                assert_steps_agree(emu.table, &layout, starts[at] + offset, page / 4);
            }
        }
        assert_false(steps_pass(&layout, starts[2] + page / 4, starts[2] + page / 4, NULL));
        assert_true(steps_pass(&layout, starts[2], starts[2], NULL));
        emu_fini(&emu);
    }
}

static void test_layout_steps_ask_about_a_held_page(void **state)
{
    struct emu_holder holder;
    struct pgl_check_layout layout;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    layout = layout_of(emu.table);
    assert_true(steps_pass(&layout, 0x5000, 0x5007, NULL));
    emu_hold(&holder, &emu, 5);
    assert_false(steps_pass(&layout, 0x5000, 0x5007, NULL));
    assert_true(steps_pass(&layout, 0x6000, 0x6007, NULL));
    emu_release(&holder);
    assert_true(steps_pass(&layout, 0x5000, 0x5007, NULL));
    emu_fini(&emu);
}

static void test_layout_steps_ask_in_a_dead_block(void **state)
{
    struct pgl_check_layout layout;
    struct emu_block block;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    layout = layout_of(emu.table);
    emu_link(&emu, &block, 0x5000, 0x5007);
    assert_true(steps_pass(&layout, 0x9000, 0x9007, &block.tb));
    assert_int_equal(pgl_invalidate_tb(emu.table, &block.tb, NULL), PGL_HIT);
    assert_false(steps_pass(&layout, 0x9000, 0x9007, &block.tb));
    assert_false(steps_pass(&layout, 0x5000, 0x5007, &block.tb));
    assert_true(steps_pass(&layout, 0x5000, 0x5007, NULL));
    emu_fini(&emu);
}

/* Ask about more than the inline check, and never about less. */
static void test_layout_steps_leave_exact_maps_out(void **state)
{
    struct pgl_check_layout layout;
    struct emu_block block;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    layout = layout_of(emu.table);
    emu_link(&emu, &block, 0x5000, 0x5003);
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(pgl_store_check(emu.table, 0x5004, 1, NULL), 0);
    }
    assert_int_equal(emu_stats(&emu).hot_pages, 1);
    assert_true(pgl_store_is_clean(emu.table, 0x5004, 1));
    assert_false(steps_pass(&layout, 0x5004, 0x5004, NULL));
    emu_fini(&emu);
}

static void test_layout_has_a_fence_where_the_check_has_one(void **state)
{
    struct pgl_table_config config = {.page_bits = 12, .addr_bits = 48, .asymmetric_fences = true};
    struct pgl_table *table;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    assert_true(layout_of(emu.table).fence);
    emu_fini(&emu);
    emu_init_external(&emu, NULL);
    assert_false(layout_of(emu.table).fence);
    emu_fini(&emu);
    table = new_table_with_fences(&config);
    assert_int_equal(layout_of(table).fence, !config.asymmetric_fences);
    pgl_table_free(table);
}

static void test_layout_of_another_version_is_refused(void **state)
{
    static const unsigned others[] = {0, VERSION + 1, UINT32_MAX};
    struct pgl_check_layout layout, before;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    memset(&layout, 0x5a, sizeof(layout));
    before = layout;
    for (unsigned i = 0; i < sizeof(others) / sizeof(*others); i++) {
        errno = 0;
        assert_false(pgl_table_get_check_layout(emu.table, others[i], &layout));
        assert_int_equal(errno, ENOTSUP);
        assert_memory_equal(&layout, &before, sizeof(layout));
    }
    emu_fini(&emu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layout_steps_agree_with_the_inline_check),
        cmocka_unit_test(test_layout_steps_ask_about_a_held_page),
        cmocka_unit_test(test_layout_steps_ask_in_a_dead_block),
        cmocka_unit_test(test_layout_steps_leave_exact_maps_out),
        cmocka_unit_test(test_layout_has_a_fence_where_the_check_has_one),
        cmocka_unit_test(test_layout_of_another_version_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
