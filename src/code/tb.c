/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Blocks, except for how they are made (bracket.c) and how they die (kill.c, unlisted.c).
 *
 * OBJECTS      The lock of a page protects its list and its crossing flag. The bytes of a block do not change while it
 * is linked. Any thread may read the state of a block. Its bracket writes the state at the commit, and its killer marks
 * it dead; both hold all pages of the block. A block on no page is made live by its owner, without a lock.
 *
 * INVARIANTS   (T2, T4 and T5 are in filter.c; T3, T6 and T7 are in kill.c.)
 *   T1  Whenever no bracket holds its pages, each extent of a live block is once on the list of its page.
 *       (pgl_table_check(); test_tb_is_on_both_of_its_pages, test_check_finds_an_extent_that_is_not_listed)
 */
#include <pagelock/tb.h>

#include "tblist_internal.h"
#include "witness_internal.h"

void pgl_tb_init(struct pgl_tb *tb)
{
    *tb = (struct pgl_tb){.span = {.first = 1}};
}

void pgl_tb_link_unlisted_at(struct pgl_table *table, struct pgl_tb *tb, const char *place)
{
    pgl_witness_external(table, UINT64_MAX, place);
    if (!pgl_witness_may_link(tb, UINT64_MAX, place)) {
        return;
    }
    if (PGL_WITNESS && pgl_tb_has(tb, 0)) {
        pgl_witness_breach(PGL_BREACH_TB_PAGE, UINT64_MAX, place, NULL);
        return;
    }
    pgl_witness_linked(table, tb, place);
    /* release: pairs with the acquire in pgl_tb_is_live() */
    __atomic_store_n(&tb->state, PGL_TB_LIVE, __ATOMIC_RELEASE);
}

/* Whether the extent behind a reference is the first of its block on its page. */
static bool is_first_on_page(const struct pgl_table *table, uintptr_t ref)
{
    const struct pgl_tb *tb = pgl_ref_tb(ref);
    unsigned which = 0;

    while (pgl_tb_page(table, tb, which) != pgl_ref_span(ref)->first >> table->page_bits) {
        which++;
    }
    return pgl_ref(tb, which) == ref;
}

bool pgl_page_foreach_tb_at(struct pgl_table *table, struct pgl_page *page, bool (*visit)(struct pgl_tb *, void *),
                            void *opaque, const char *place)
{
    if (!pgl_witness_may_call(place) || !pgl_witness_holds(table, page, place)) {
        return false;
    }
    if (PGL_WITNESS) {
        pgl_witness_list(table, page, pgl_witness_index(page));
    }
    for (uintptr_t ref = pgl_list_first(page); ref; ref = *pgl_ref_next(ref)) {
        if (is_first_on_page(table, ref) && !visit(pgl_ref_tb(ref), opaque)) {
            return false;
        }
    }
    return true;
}

void pgl_tb_lock_pages_at(struct pgl_table *table, const struct pgl_tb *tb, const char *place)
{
    if (!pgl_witness_knows(table, tb, false, place) || !pgl_witness_enters(table, place)) {
        return;
    }
    for (uint64_t index = 0; pgl_tb_next_page(table, tb, &index); index++) {
        pgl_page_lock_at(table, pgl_page_find(table, index), place);
    }
}

void pgl_tb_unlock_pages_at(struct pgl_table *table, const struct pgl_tb *tb, const char *place)
{
    if (!pgl_witness_knows(table, tb, false, place) || !pgl_witness_may_call(place)) {
        return;
    }
    for (uint64_t index = 0; pgl_tb_next_page(table, tb, &index); index++) {
        pgl_page_unlock_at(table, pgl_page_find(table, index), place);
    }
}
