/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Pages that are locked one by one, in pairs, and in collections; leaves that are made. */
#include <inttypes.h>
#include <sched.h>
#include <stdlib.h>

#include "../../src/code/spin_internal.h"
#include "../../src/code/turn_internal.h"
#include "code.h"
#include "code_world.h"

enum {
    SCRATCH_LEAVES = 64,
    SCRATCH_GETS = 256,
};

/* A table that some threads fill at once. The last thread that leaves it checks it. Its members are under the lock. */
struct scratch {
    struct pgl_table *table;
    unsigned refs, gets;
    uint64_t leaves;
};

static pthread_mutex_t scratch_lock = PTHREAD_MUTEX_INITIALIZER;
static struct scratch *current; /* under the lock */

void code_lock(struct worker *w)
{
    uint64_t index = code_index[below(w, N_PAGES)];
    struct pgl_page *page = pgl_page_get(code.table, index);

    pgl_page_lock(code.table, page);
    if (soak_mistake == MISTAKE_HANG && w->id == 0) {
        return;
    }
    code_own(w, index);
    code_give_way(w);
    code_disown(w, index);
    pgl_page_unlock(code.table, page);
}

/* From the turn on, other threads leave the page to this one. No witness knows this lock. */
void code_starve(struct worker *w)
{
    uint64_t index = code_index[below(w, N_PAGES)];
    struct pgl_page *page = pgl_page_get(code.table, index);
    struct pgl_turn turn = {.page = page};

    pgl_turn_queue(code.table, &turn);
    code_give_way(w);
    while (!pgl_turn_allows(code.table, &turn) || !pgl_spin_trylock(&page->head, PGL_HEAD_LOCK)) {
        sched_yield();
    }
    pgl_turn_leave(code.table, &turn);
    code_own(w, index);
    code_give_way(w);
    code_disown(w, index);
    pgl_spin_unlock(&page->head, PGL_HEAD_LOCK);
}

void code_trylock(struct worker *w)
{
    struct pgl_page *pages[3];
    uint64_t index[3];
    unsigned first = (unsigned)below(w, N_PAGES);
    bool held[3];

    for (unsigned i = 0; i < 3; i++) {
        index[i] = code_index[(first + i * 7) % N_PAGES];
        pages[i] = pgl_page_get(code.table, index[i]);
        held[i] = pgl_page_trylock(code.table, pages[i]);
        if (held[i]) {
            code_own(w, index[i]);
        }
    }
    for (unsigned i = 0; i < 3; i++) {
        if (held[i]) {
            code_disown(w, index[i]);
            pgl_page_unlock(code.table, pages[i]);
        }
    }
}

void code_pair(struct worker *w)
{
    uint64_t index = code_index[below(w, N_PAGES)], index2 = code_index[below(w, N_PAGES)];

    if (!pgl_page_lock_pair(code.table, index, index2)) {
        soak_broken("no pair");
        return;
    }
    code_own(w, index);
    if (index2 != index) {
        code_own(w, index2);
    }
    code_give_way(w);
    code_disown(w, index);
    if (index2 != index) {
        code_disown(w, index2);
    }
    pgl_page_unlock_pair(code.table, index, index2);
}

void code_lock_block(struct worker *w)
{
    struct block *block = code_find_block((unsigned)below(w, N_KEYS));
    const struct key *key = block ? &code.keys[block->key] : NULL;
    unsigned pages[EXTENTS], npages;

    if (!block) {
        return;
    }
    npages = code_pages_of(key, pages);
    pgl_tb_lock_pages(code.table, &block->tb);
    for (unsigned i = 0; i < npages; i++) {
        code_own(w, code_index[pages[i]]);
    }
    if (pgl_tb_is_live(&block->tb) && code_find_block(block->key) != block) {
        soak_broken("a live block cannot be found");
    }
    for (unsigned i = 0; i < npages; i++) {
        code_disown(w, code_index[pages[i]]);
    }
    pgl_tb_unlock_pages(code.table, &block->tb);
}

/* ---- collections ---- */

static bool partner_is_ours(struct pgl_tb *tb, void *opaque)
{
    const struct worker *w = opaque;
    const struct block *block = (struct block *)tb;
    const struct key *key = &code.keys[block->key];

    for (unsigned which = 0; which < key->n; which++) {
        if (code.owner[key->page[which]] != w->id + 1) {
            soak_broken("a block's page is not in the collection");
        }
    }
    if (code_find_block(block->key) != block || !pgl_tb_is_live(tb)) {
        soak_broken("a listed block is dead or cannot be found");
    }
    return true;
}

static void collect(struct worker *w, unsigned first, unsigned last)
{
    struct pgl_collection collection;
    uint64_t index, before = UINT64_MAX; /* no page's index: nothing of the range exists yet */
    struct pgl_page *page;

    if (!pgl_collection_lock(&collection, code.table, code_index[first] << PAGE_BITS, code_index[last] << PAGE_BITS)) {
        soak_broken("no collection");
        return;
    }
    for (index = 0; pgl_collection_next(&collection, &index); before = index++) {
        code_own(w, index);
        if (before != UINT64_MAX && before >= index) {
            soak_broken("a collection out of order");
        }
    }
    if (before != pgl_collection_max(&collection)) {
        soak_broken("the last member is not the highest");
    }
    code_give_way(w);
    for (index = code_index[first]; (page = pgl_collection_next(&collection, &index)) && index <= code_index[last];
         index++) {
        pgl_page_foreach_tb(code.table, page, partner_is_ours, w);
    }
    for (index = 0; pgl_collection_next(&collection, &index); index++) {
        code_disown(w, index);
    }
    pgl_collection_unlock(&collection);
}

void code_collection(struct worker *w)
{
    unsigned first = (unsigned)below(w, N_PAGES - 2);

    collect(w, first, first + (unsigned)below(w, 3));
}

void code_collection_wide(struct worker *w)
{
    collect(w, (unsigned)below(w, 3), N_PAGES - 1 - (unsigned)below(w, 4));
}

/* ---- leaves ---- */

static void leave_scratch(struct scratch *scratch)
{
    struct pgl_table_stats stats;
    bool last;

    pthread_mutex_lock(&scratch_lock);
    last = --scratch->refs == 0;
    pthread_mutex_unlock(&scratch_lock);
    if (!last) {
        return;
    }
    pgl_table_get_stats(scratch->table, &stats);
    if (stats.leaves != (unsigned)__builtin_popcountll(scratch->leaves) ||
        pgl_table_check(scratch->table, NULL, NULL)) {
        soak_broken("a table of %" PRIu64 " leaves of which %u were asked for", stats.leaves,
                    (unsigned)__builtin_popcountll(scratch->leaves));
    }
    pgl_table_free(scratch->table);
    free(scratch);
}

void code_leave_last_scratch(void)
{
    if (current) {
        leave_scratch(current);
    }
    current = NULL;
}

static struct scratch *enter_scratch(uint64_t leaves)
{
    const struct pgl_table_config config = {.page_bits = PAGE_BITS, .addr_bits = 48};
    struct scratch *scratch, *old = NULL;

    pthread_mutex_lock(&scratch_lock);
    scratch = current;
    if (!scratch || scratch->gets == SCRATCH_GETS) {
        old = scratch;
        scratch = calloc(1, sizeof(*scratch));
        scratch->table = pgl_table_new(&config);
        scratch->refs = 1;
        current = scratch;
    }
    scratch->gets++;
    scratch->refs++;
    scratch->leaves |= leaves;
    pthread_mutex_unlock(&scratch_lock);
    if (old) {
        leave_scratch(old);
    }
    return scratch;
}

void code_leaf(struct worker *w)
{
    uint64_t number = below(w, SCRATCH_LEAVES);
    struct scratch *scratch = enter_scratch(UINT64_C(1) << number);
    /* Leaves beside each other, and under nodes of their own. */
    uint64_t index = (number % 8) << 9 | (number / 8) << 27;
    struct pgl_page *page = pgl_page_get(scratch->table, index | below(w, 512));
    uint64_t at = index;

    if (!page || !pgl_page_find(scratch->table, index) || !pgl_page_next(scratch->table, &at, index | 511) ||
        at != index) {
        soak_broken("a leaf is not where it was made");
    }
    leave_scratch(scratch);
}
