/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fork: the child has one thread, and the locks as they were. A collection over everything, held across fork(), makes
 * sure that they were ours: the child unlocks its copy of it and may use the table.
 */
#include "emu.h"

enum {
    N_THREADS = 3,
    N_FORKS = 30,
    N_PAGES = 8,
};

static unsigned stop;

/* Link and kill blocks on a few pages, for ever. */
static void churn(struct emu *emu, void *arg)
{
    struct emu_random random = {(uint64_t)(uintptr_t)arg};
    struct emu_block block = {0};

    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        uint64_t first = emu_below(&random, N_PAGES) << 12, second = emu_below(&random, N_PAGES) << 12;

        pgl_tb_init(&block.tb);
        pgl_tb_set_bytes(&block.tb, 0, first, first + 3);
        pgl_tb_set_bytes(&block.tb, 1, second, second + 3);
        emu_translate(emu, &block, NULL);
        pgl_invalidate_tb(emu->table, &block.tb, NULL);
    }
}

/* In the child: use the whole table. 0 when all went well. */
static int use_table(struct emu *emu)
{
    struct emu_block block = {0};

    if (pgl_table_check(emu->table, NULL, NULL)) {
        return 1;
    }
    if (pgl_flush(emu->table, NULL) < 0) {
        return 2;
    }
    pgl_tb_init(&block.tb);
    pgl_tb_set_bytes(&block.tb, 0, 0x3000, 0x3003);
    pgl_tb_set_bytes(&block.tb, 1, 0x2000, 0x2003);
    if (emu_translate(emu, &block, NULL) != PGL_BRACKET_OK) {
        return 3;
    }
    if (pgl_store_check(emu->table, 0x2000, 1, &block.tb) != (PGL_HIT | PGL_RUNNING_DEAD)) {
        return 4;
    }
    return pgl_table_check(emu->table, NULL, NULL) ? 5 : 0;
}

static void test_fork_under_a_collection_over_everything_leaves_the_child_a_table(void **state)
{
    struct emu_call calls[N_THREADS];
    struct emu emu;

    (void)state;
    stop = 0;
    emu_init(&emu);
    for (uint64_t index = 0; index < N_PAGES; index++) {
        pgl_page_get(emu.table, index);
    }
    for (uintptr_t i = 0; i < N_THREADS; i++) {
        emu_call(&calls[i], &emu, churn, (void *)(i + 1));
    }
    for (unsigned i = 0; i < N_FORKS; i++) {
        pid_t child = emu_fork_holding_everything(&emu, 20);

        if (!child) {
            _exit(use_table(&emu));
        }
        emu_assert_child_succeeds(child);
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < N_THREADS; i++) {
        emu_join(&calls[i]);
    }
    emu_fini(&emu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fork_under_a_collection_over_everything_leaves_the_child_a_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
