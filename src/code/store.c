/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Guest stores: the check after a store that the inline part does not answer, and the store bracket.
 *
 * READERS      As in filter.c; the check fences between the store and the look-up.
 *
 * A store across a page's end is checked as two stores, one for each page, because mostly one page at most has to be
 * locked. (test_store_across_a_pages_end_locks_only_the_page_it_hits)
 */
#include "store_internal.h"

#include <errno.h>

#include "collection_internal.h"
#include "kill_internal.h"
#include "table_internal.h"
#include "tally_internal.h"
#include "witness_internal.h"

bool pgl_store_is_valid(const struct pgl_table *table, uint64_t addr, unsigned len)
{
    uint64_t last_addr = pgl_table_last_addr(table);

    if (len - 1u < 64u && addr <= last_addr && last_addr - addr >= len - 1u) {
        return true;
    }
    errno = EINVAL;
    return false;
}

int pgl_store_check_slow(struct pgl_table *table, uint64_t addr, unsigned len, const struct pgl_tb *running,
                         const char *place)
{
    uint64_t last_addr = addr + len - 1u;
    uint64_t second_page = last_addr >> table->page_bits << table->page_bits;

    if (!pgl_witness_enters(table, place)) {
        return PGL_ERROR;
    }
    if (!pgl_store_is_valid(table, addr, len)) {
        return PGL_ERROR;
    }
    if (PGL_WITNESS && pgl_store_is_clean(table, addr, len)) { /* the inline part has not asked */
        return pgl_with_running(0, running);
    }
    if (second_page > addr) {
        /* Check each part by itself without a lock; each check fences. Mostly at most one page is left. */
        bool first_is_clean = pgl_store_is_clean(table, addr, (unsigned)(second_page - addr));
        bool second_is_clean = pgl_store_is_clean(table, second_page, (unsigned)(last_addr - second_page) + 1u);

        if (first_is_clean && second_is_clean) {
            return pgl_with_running(0, running);
        }
        addr = first_is_clean ? second_page : addr;
        last_addr = second_is_clean ? second_page - 1 : last_addr;
    } else {
        pgl_fence(); /* the inline check has fenced, but a caller that binds this function directly has not */
    }
    return pgl_with_running(pgl_kill_range(table, addr, last_addr, true), running);
}

int pgl_store_begin_at(struct pgl_store *store, struct pgl_table *table, uint64_t addr, unsigned len,
                       const struct pgl_tb *running, const char *place)
{
    uint64_t last_addr = addr + len - 1u;
    struct pgl_collection set;
    int result;

    if (!pgl_witness_enters(table, place)) {
        return PGL_ERROR;
    }
    if (!pgl_store_is_valid(table, addr, len)) {
        return PGL_ERROR;
    }
    *store = (struct pgl_store){
        .table = table,
        .index = {addr >> table->page_bits, last_addr >> table->page_bits},
    };
    if (!pgl_leaf_get(table, store->index[0]) || !pgl_leaf_get(table, store->index[1]) ||
        !pgl_set_lock(&set, table, addr, last_addr, false)) {
        return PGL_ERROR;
    }
    result = pgl_kill_in_set(&set) ? PGL_HIT : 0;
    pgl_tally_add(table, result ? PGL_TALLY_HITS : PGL_TALLY_FALSE_ALARMS, 1);
    pgl_set_keep(&set, store->index[0], store->index[1]);
    return pgl_with_running(result, running);
}

void pgl_store_end_at(struct pgl_store *store, const char *place)
{
    pgl_page_unlock_pair_at(store->table, store->index[0], store->index[1], place);
}
