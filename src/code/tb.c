/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Blocks, but for how they are made (bracket.c) and how they die (kill.c).
 *
 * OBJECTS: a page's lock protects its list and its crossing flag. A block's bytes do not change while it is linked.
 * Anybody reads its state. Its bracket writes it at the commit: live, and new again where an equal block is found. Its
 * killer writes dead. Both hold all of its pages. A block on no page is made live by its owner, without a lock.
 *
 * INVARIANTS: T1: a live block is on the list of each of its pages, once, whenever no bracket holds them; the bracket
 * that commits it makes it live and publishes it first, and lists it before it unlocks. (pgl_table_check() verifies it
 * at rest; tests: test_tb_*, test_bracket_*.) T2, T4 and T5 are in filter.c, T3, T6 and T7 in kill.c.
 */
#include <pagelock/tb.h>

#include "tblist_internal.h"
#include "witness_internal.h"

void pgl_tb_init(struct pgl_tb *tb)
{
    *tb = (struct pgl_tb){.first = {1, 1}};
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
        if (!visit(pgl_ref_tb(ref), opaque)) {
            return false;
        }
    }
    return true;
}

void pgl_tb_lock_pages_at(struct pgl_table *table, const struct pgl_tb *tb, const char *place)
{
    if (pgl_witness_knows(table, tb, false, place) && pgl_tb_has(tb, 0)) {
        pgl_page_lock_pair_at(table, pgl_tb_page(table, tb, 0), pgl_tb_page(table, tb, pgl_tb_has(tb, 1)), place);
    }
}

void pgl_tb_unlock_pages_at(struct pgl_table *table, const struct pgl_tb *tb, const char *place)
{
    if (pgl_witness_knows(table, tb, false, place) && pgl_tb_has(tb, 0)) {
        pgl_page_unlock_pair_at(table, pgl_tb_page(table, tb, 0), pgl_tb_page(table, tb, pgl_tb_has(tb, 1)), place);
    }
}
