/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Blocks on n pages, made in one bracket and killed: beside n blocks of one page each, which an emulator ties together. */
#include <pagelock/tb.h>

#include "micro_case.h"

enum { PAGE_BITS = 12, ADDR_BITS = 48, MAX_PAGES = 16, BLOCK_BYTES = 16 };

/* A table, a block that stays on each of the pages, and the blocks that come and die. */
struct place {
    struct pgl_table *table;
    uint64_t npages;
    struct pgl_tb stays[MAX_PAGES], parts[MAX_PAGES];
    struct pgl_tb super;
    struct pgl_extent extents[MAX_PAGES];
};

/* Every other page comes first, so that half of the pages lie below one that is held. */
static uint64_t addr_of_page(const struct place *place, uint64_t i)
{
    uint64_t half = (place->npages + 1) / 2;

    return (1 + (i < half ? 2 * i : 2 * (i - half) + 1)) << PAGE_BITS;
}

/* Make a block of the bytes at @offset of page @i alone. */
static void make_part(struct place *place, struct pgl_tb *tb, uint64_t i, uint64_t offset)
{
    uint64_t addr = addr_of_page(place, i) + offset;
    struct pgl_bracket bracket;

    pgl_tb_init(tb);
    pgl_tb_set_bytes(tb, 0, addr, addr + BLOCK_BYTES - 1);
    pgl_bracket_begin(&bracket, place->table, addr >> PAGE_BITS);
    pgl_bracket_commit(&bracket, tb, NULL);
}

static void *place_setup(const struct variant *variant)
{
    const struct pgl_table_config config = {.page_bits = PAGE_BITS, .addr_bits = ADDR_BITS, .ops = &micro_forget};
    struct place *place = g_aligned_alloc0(1, sizeof(*place), _Alignof(struct place));

    place->table = pgl_table_new(&config);
    place->npages = variant->pages;
    for (uint64_t i = 0; i < place->npages; i++) {
        make_part(place, &place->stays[i], i, 0);
    }
    return place;
}

static void place_teardown(void *state)
{
    struct place *place = state;

    pgl_table_free(place->table);
    g_aligned_free(place);
}

static void super_run(void *state, const struct variant *variant, unsigned thread, uint64_t n)
{
    struct place *place = state;
    struct pgl_bracket bracket;

    (void)variant;
    (void)thread;
    for (; n; n--) {
        pgl_bracket_begin(&bracket, place->table, addr_of_page(place, 0) >> PAGE_BITS);
        for (uint64_t i = 0; i < place->npages; i++) {
            uint64_t addr = addr_of_page(place, i) + BLOCK_BYTES;

            pgl_bracket_cross(&bracket, addr >> PAGE_BITS);
            pgl_extent_set(&place->extents[i], addr, addr + BLOCK_BYTES - 1);
        }
        pgl_tb_init(&place->super);
        pgl_tb_set_extents(&place->super, place->extents, (unsigned)place->npages);
        pgl_bracket_commit(&bracket, &place->super, NULL);
        pgl_invalidate_tb(place->table, &place->super, NULL);
    }
}

static void parts_run(void *state, const struct variant *variant, unsigned thread, uint64_t n)
{
    struct place *place = state;

    (void)variant;
    (void)thread;
    for (; n; n--) {
        for (uint64_t i = 0; i < place->npages; i++) {
            make_part(place, &place->parts[i], i, BLOCK_BYTES);
        }
        for (uint64_t i = 0; i < place->npages; i++) {
            pgl_invalidate_tb(place->table, &place->parts[i], NULL);
        }
    }
}

static const struct subject super = {"pagelock", &impl_pagelock, place_setup, place_teardown, super_run};
static const struct subject parts = {"parts", &impl_pagelock, place_setup, place_teardown, parts_run};

void micro_super_cases(GPtrArray *cases)
{
    static const unsigned sizes[] = {1, 2, 3, 4, 5, 8, MAX_PAGES};
    struct micro_case *one = micro_add(
        cases, "superblock", "a block on n pages made and killed; parts: n blocks of a page each", MICRO_OVER_PAGES);

    for (unsigned i = 0; i < G_N_ELEMENTS(sizes); i++) {
        micro_versus(one, &parts, &super, &(struct variant){.threads = 1, .pages = sizes[i], .ops = 65536 / sizes[i]});
    }
}
