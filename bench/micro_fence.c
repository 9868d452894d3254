/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The fence between a store and its check, and what it costs a bracket to spare the check that fence. */
#include <errno.h>
#include <stdlib.h>

#include <pagelock/tb.h>

#include "bench.h"
#include "micro_case.h"

enum { PAGES = 64, PAGE_BITS = 12, BLOCK_BYTES = 8, GUEST_BYTES = 1 << 16, STEP = 68, CODE_BYTES = 2048 };

struct fenced {
    struct pgl_table *table;
    struct pgl_tb *blocks;
    unsigned char *guest; /* where the stores go */
};

static void link_one(struct fenced *fenced, uint64_t i)
{
    uint64_t page = i % PAGES;
    uint64_t addr = (page << PAGE_BITS) + i / PAGES * BLOCK_BYTES % CODE_BYTES;
    struct pgl_tb *tb = &fenced->blocks[i];
    struct pgl_bracket bracket;

    pgl_tb_init(tb);
    pgl_tb_set_bytes(tb, 0, addr, addr + BLOCK_BYTES - 1);
    if (pgl_bracket_begin(&bracket, fenced->table, page)) {
        pgl_bracket_commit(&bracket, tb, NULL);
    }
}

/* A table with a block on each page, and room for as many more as the variant links. */
static struct fenced *new_fenced(const struct variant *variant, bool external, bool asymmetric)
{
    const struct pgl_table_config config = {.page_bits = PAGE_BITS,
                                            .addr_bits = 48,
                                            .external_locking = external,
                                            .asymmetric_fences = asymmetric,
                                            .ops = &micro_forget};
    struct fenced *fenced = g_new(struct fenced, 1);

    fenced->table = pgl_table_new(&config);
    if (!fenced->table) {
        g_printerr("pagelock-bench: pgl_table_new: %s\n", g_strerror(errno));
        exit(STATUS_FAILED);
    }
    fenced->blocks = g_aligned_alloc0(PAGES + variant->ops, sizeof(struct pgl_tb), 64);
    fenced->guest = g_malloc0(GUEST_BYTES);
    for (uint64_t i = 0; i < PAGES; i++) {
        link_one(fenced, i);
    }
    return fenced;
}

static void *ordinary_setup(const struct variant *variant)
{
    return new_fenced(variant, false, false);
}

static void *external_setup(const struct variant *variant)
{
    return new_fenced(variant, true, false);
}

static void *asymmetric_setup(const struct variant *variant)
{
    return new_fenced(variant, false, true);
}

static void teardown(void *state)
{
    struct fenced *fenced = state;

    pgl_table_free(fenced->table);
    g_aligned_free(fenced->blocks);
    g_free(fenced->guest);
    g_free(fenced);
}

/* As an emulator does it, with the store before. The mask answers the check. */
static void check_run(void *state, const struct variant *variant, unsigned thread, uint64_t count)
{
    struct fenced *fenced = state;

    (void)variant;
    (void)thread;
    for (uint64_t i = 0; i < count; i++) {
        __atomic_store_n(&fenced->guest[i * STEP % GUEST_BYTES], (unsigned char)i, __ATOMIC_RELAXED);
        pgl_store_check(fenced->table, (i % PAGES << PAGE_BITS) + CODE_BYTES + i % 1024, 4, NULL);
    }
}

static void link_run(void *state, const struct variant *variant, unsigned thread, uint64_t count)
{
    (void)variant;
    (void)thread;
    for (uint64_t i = 0; i < count; i++) {
        link_one(state, PAGES + i);
    }
}

static bool has_asymmetric_fences(void)
{
    const struct pgl_table_config config = {.page_bits = PAGE_BITS, .addr_bits = 48, .asymmetric_fences = true};
    struct pgl_table *table = pgl_table_new(&config);

    pgl_table_free(table);
    return table;
}

/* Each other kind of table is paired with the ordinary one. */
static void fence_case(GPtrArray *cases, const char *name, const char *what, const struct subject subjects[3],
                       uint64_t count)
{
    struct micro_case *one = micro_add(cases, name, what, MICRO_NO_PLOT);
    struct variant variant = {.threads = 1, .pages = PAGES, .ops = count};

    for (unsigned i = 0; i < (has_asymmetric_fences() ? 3 : 2); i++) {
        variant.subject = &subjects[i];
        micro_variant(one, &variant);
        if (i) {
            micro_pair(one, i, 0);
        }
    }
}

#define KINDS(run_)                                                                                                    \
    {                                                                                                                  \
        {.name = "pagelock", .setup = ordinary_setup, .teardown = teardown, .run = run_},                              \
            {.name = "external", .setup = external_setup, .teardown = teardown, .run = run_},                          \
            {.name = "asymmetric", .setup = asymmetric_setup, .teardown = teardown, .run = run_},                      \
    }

void micro_fence_cases(GPtrArray *cases)
{
    static const struct subject check[] = KINDS(check_run), link[] = KINDS(link_run);

    fence_case(cases, "fence-check", "a store, and its check that hits nothing, in three kinds of tables", check,
               1000000);
    fence_case(cases, "fence-link", "link a block in three kinds of tables", link, 8192);
}
