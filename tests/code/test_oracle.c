/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The fuzz target of the table (tests/fuzz/fuzz_table.c) on long random inputs, with 20 pages and 150 blocks, for pages
 * and addresses of many sizes. PGL_SEED repeats a run, PGL_STEPS makes it longer.
 *
 * Compiled with ORACLE_TRYLOCK, trylock fails on free pages, in patterns.
 */
#include <stdio.h>
#include <stdlib.h>

#include "../fuzz/table_world.h"
#include "emu.h"

enum {
    STEPS = 10000,
    BYTES = 64, /* enough for a step */
};

#ifdef ORACLE_TRYLOCK
#define TRYLOCK_FAILS true
#else
#define TRYLOCK_FAILS false
#endif

struct config {
    unsigned page_bits, addr_bits;
    unsigned flags; /* of the table */
    const char *name;
};

static void test_oracle_agrees(void **state)
{
    const struct config *config = *state;
    struct emu_random random = {.state = emu_seed("oracle")};
    const char *text = getenv("PGL_STEPS");
    unsigned steps = text ? (unsigned)strtoul(text, NULL, 0) : STEPS, nrefused;
    size_t size = (size_t)steps * BYTES + 64;
    uint8_t *data = malloc(size);

    assert_non_null(data);
    for (size_t i = 0; i < size; i++) {
        data[i] = (uint8_t)emu_random(&random);
    }
    data[0] = (uint8_t)(config->page_bits - PGL_PAGE_BITS_MIN);
    data[1] = (uint8_t)(config->addr_bits - config->page_bits);
    data[2] = (uint8_t)(WORLD_LARGE | config->flags | (TRYLOCK_FAILS ? WORLD_TRYLOCK_FAILS : 0));
    nrefused = fuzz_table_run(data, size, steps);
    assert_int_equal(nrefused > 0, TRYLOCK_FAILS);
    free(data);
}

int main(void)
{
    static struct config configs[] = {
        {10, 32, 0, ""},
        {10, 48, 0, ""},
        {10, 64, 0, ""},
        {12, 32, 0, ""},
        {12, 48, 0, ""},
        {12, 64, 0, ""},
        {12, 48, WORLD_EXTERNAL, "_external"},
        {12, 48, WORLD_ASYMMETRIC, "_asymmetric"},
        {12, 48, 1 * WORLD_BUDGETS, "_budget_of_nothing"},
        {12, 48, 2 * WORLD_BUDGETS, "_budget_of_one_page"},
        {12, 48, 3 * WORLD_BUDGETS, "_budget_of_some_pages"},
        {16, 32, 0, ""},
        {16, 48, 0, ""},
        {16, 64, 0, ""},
        {16, 48, WORLD_EXTERNAL | 2 * WORLD_BUDGETS, "_external_budget_of_one_page"},
        {21, 32, 0, ""},
        {21, 48, 0, ""},
        {21, 64, 0, ""},
        {12, 19, 0, ""},
        {10, 20, 0, ""},
        {13, 22, 0, ""},
    };
    enum { N = sizeof(configs) / sizeof(*configs) };
    struct CMUnitTest tests[N];
    char names[N][60];

    for (unsigned i = 0; i < N; i++) {
        snprintf(names[i], sizeof(names[i]), "test_oracle_agrees_%u_%u%s", configs[i].page_bits, configs[i].addr_bits,
                 configs[i].name);
        tests[i] = (struct CMUnitTest){names[i], test_oracle_agrees, NULL, NULL, &configs[i]};
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
