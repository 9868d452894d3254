/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The calls that kill blocks: one block, a page, a range, all of a table. They lock pages, or have portion.c do it;
 * kill.c and unlisted.c kill. The invariants are there and in portion.c.
 *
 * NOT PROMISED A range need not die at one instant.
 *
 * docs/locking.md says which calls may run at the same time.
 */
#include "kill_internal.h"

#include <errno.h>
#include <sched.h>

#include "collection_internal.h"
#include "filter_internal.h"
#include "page_internal.h"
#include "portion_internal.h"
#include "table_internal.h"
#include "tally_internal.h"
#include "tblist_internal.h"
#include "witness_internal.h"

/*
 * Note the pages of a block in an empty set, without a lock. If memory for more leaves runs out, wait until there is
 * some, because the block can die only with all its pages held. The leaves of most blocks fit into the set.
 */
static void note_pages(struct pgl_collection *set, struct pgl_table *table, const struct pgl_tb *tb)
{
    pgl_set_init(set, table);
    set->kills = true;
    for (unsigned which = 0; which < tb->nextents; which++) {
        while (!pgl_set_note(set, pgl_tb_page(table, tb, which))) {
            sched_yield();
        }
    }
}

/* Kill a block that is on a page. Returns whether this call killed it. */
static bool kill_listed(struct pgl_table *table, struct pgl_tb *tb)
{
    struct pgl_collection set;
    bool killed = false;

    note_pages(&set, table, tb);
    pgl_set_lock_noted(&set);
    pgl_witness_set_lists(&set);
    if (pgl_tb_is_live(tb)) { /* and not dead by now, nor new again because its commit found an equal */
        pgl_tb_mark_dead(table, tb);
        killed = pgl_kill_marked(&set, NULL, NULL);
    }
    pgl_collection_unlock_at(&set, pgl_witness_place());
    return killed;
}

/* Kill the blocks that meet a range of one page. Returns false when another page is needed. */
static bool kill_on_one_page(struct pgl_table *table, uint64_t first_addr, uint64_t last_addr, int *result)
{
    uint64_t index = first_addr >> table->page_bits;
    struct pgl_leaf *leaf = pgl_leaf_find(table, index);
    struct pgl_page *page;
    bool done = true, is_slow = false, wants_more = false;
    size_t killed = 0;

    *result = 0;
    if (!leaf || !pgl_page_has_code(leaf, index)) {
        return true;
    }
    page = pgl_leaf_page(leaf, index);
    if (!pgl_page_lock_unless_clean(table, leaf, index, first_addr, last_addr)) {
        return true;
    }
    /* The page may have been locked and no more. Ask the filters again while they cannot change. */
    if (!pgl_page_is_clean(table->page_bits, leaf, index, pgl_head(page), first_addr, last_addr)) {
        done = pgl_page_kill_local(table, leaf, index, first_addr, last_addr, &killed, &is_slow);
        if (killed) {
            wants_more = is_slow && pgl_filter_note_walk(leaf, index);
        } else {
            wants_more = done && pgl_list_first(page) && pgl_filter_note_miss(table, leaf, index);
        }
    }
    pgl_page_unlock_at(table, page, pgl_witness_place());
    if (wants_more) {
        pgl_filter_add_hot(table, leaf, index);
    }
    if (killed) {
        *result = PGL_HIT;
    }
    return done;
}

/* Kill the blocks that meet a range, which may be on other pages too: in one set if it has two pages at most. */
static int __attribute__((noinline))
kill_with_partners(struct pgl_table *table, const uint64_t index[2], uint64_t first_addr, uint64_t last_addr)
{
    bool wants_more[2] = {false, false};
    struct pgl_collection set;
    uint64_t slow;
    int result;

    if (index[1] - index[0] > 1 || !pgl_set_lock(&set, table, first_addr, last_addr, true)) {
        return pgl_kill_portions(table, &(struct pgl_choice){first_addr, last_addr, false, NULL, NULL});
    }
    result = pgl_kill_in_set(&set, &slow) ? PGL_HIT : 0;
    if (!result) {
        wants_more[0] = pgl_filter_note_miss_in_set(&set, index[0]);
        wants_more[1] = index[1] != index[0] && pgl_filter_note_miss_in_set(&set, index[1]);
    }
    pgl_collection_unlock_at(&set, pgl_witness_place());
    if (slow != UINT64_MAX) {
        pgl_filter_add_hot(table, pgl_leaf_find(table, slow), slow);
    }
    for (unsigned i = 0; i < 2; i++) {
        if (wants_more[i]) {
            pgl_filter_add_hot(table, pgl_leaf_find(table, index[i]), index[i]);
        }
    }
    return result;
}

int pgl_kill_store(struct pgl_table *table, uint64_t first_addr, uint64_t last_addr)
{
    const uint64_t index[2] = {first_addr >> table->page_bits, last_addr >> table->page_bits};
    int result = 0;

    if (index[0] != index[1] || !kill_on_one_page(table, first_addr, last_addr, &result)) {
        result = kill_with_partners(table, index, first_addr, last_addr);
    }
    return result;
}

int pgl_invalidate_tb_at(struct pgl_table *table, struct pgl_tb *tb, const struct pgl_tb *running, const char *place)
{
    bool killed;

    /* acquire: pairs with the releases that make a block live, in publish() and pgl_tb_link_unlisted_at() */
    if (!pgl_witness_enters(table, place) || !pgl_witness_knows(table, tb, true, place) ||
        __atomic_load_n(&tb->state, __ATOMIC_ACQUIRE) == PGL_TB_NEW) {
        return 0;
    }
    killed = pgl_tb_has(tb, 0) ? kill_listed(table, tb) : pgl_kill_unlisted(table, tb);
    return pgl_with_running(killed ? PGL_HIT : 0, running);
}

int pgl_invalidate_tbs_at(struct pgl_table *table, struct pgl_tb *const *tbs, size_t n, const struct pgl_tb *running,
                          const char *place)
{
    if (!pgl_witness_enters(table, place)) {
        return PGL_ERROR;
    }
    for (size_t i = 0; PGL_WITNESS && i < n; i++) {
        if (!pgl_witness_knows(table, tbs[i], true, place)) {
            errno = EINVAL;
            return PGL_ERROR;
        }
    }
    return pgl_with_running(pgl_kill_named(table, tbs, n), running);
}

/* Kill the blocks of a choice whose range was given by the caller. */
static int kill_choice(struct pgl_table *table, const struct pgl_choice *choice, const struct pgl_tb *running,
                       const char *place)
{
    if (!pgl_witness_enters(table, place) || choice->first_addr > choice->last_addr ||
        choice->last_addr > pgl_table_last_addr(table)) {
        errno = EINVAL;
        return PGL_ERROR;
    }
    /* Pairs with pgl_table_fence_bracket(), as in pgl_store_is_clean(). */
    pgl_table_fence_check(table);
    return pgl_with_running(pgl_kill_portions(table, choice), running);
}

int pgl_invalidate_range_at(struct pgl_table *table, uint64_t first_addr, uint64_t last_addr,
                            const struct pgl_tb *running, const char *place)
{
    return kill_choice(table, &(struct pgl_choice){.first_addr = first_addr, .last_addr = last_addr}, running, place);
}

int pgl_invalidate_if_at(struct pgl_table *table, uint64_t first_addr, uint64_t last_addr,
                         bool (*predicate)(const struct pgl_tb *tb, void *arg), void *arg, const struct pgl_tb *running,
                         const char *place)
{
    const struct pgl_choice choice = {first_addr, last_addr, true, predicate, arg};

    if (!predicate) {
        errno = EINVAL;
        return PGL_ERROR;
    }
    return kill_choice(table, &choice, running, place);
}

int pgl_invalidate_page_at(struct pgl_table *table, uint64_t index, const struct pgl_tb *running, const char *place)
{
    uint64_t in_page = (UINT64_C(1) << table->page_bits) - 1;

    if (index > table->last_index) {
        errno = EINVAL;
        return PGL_ERROR;
    }
    return pgl_invalidate_range_at(table, index << table->page_bits, index << table->page_bits | in_page, running,
                                   place);
}

int pgl_flush_at(struct pgl_table *table, const struct pgl_tb *running, const char *place)
{
    return pgl_invalidate_range_at(table, 0, pgl_table_last_addr(table), running, place);
}

/* Empty the lists of a leaf's pages. A page that had code keeps its code bit, and its filters rule nothing out. */
static void reset_leaf(const struct pgl_table *table, struct pgl_leaf *leaf)
{
    for (unsigned word = 0; word < PGL_LEVEL_WORDS; word++) {
        for (uint64_t bits = leaf->code[word]; bits; bits &= bits - 1) {
            uint64_t index = leaf->first_index + 64 * word + (unsigned)__builtin_ctzll(bits);
            struct pgl_page *page = pgl_leaf_page(leaf, index);

            pgl_head_set(page, pgl_head(page) & PGL_HEAD_HOT);
            pgl_filter_fill(table, page, index, UINT64_MAX);
        }
    }
}

void pgl_table_reset_at(struct pgl_table *table, const char *place)
{
    struct pgl_leaf *leaf;

    if (!pgl_witness_may_call(place) ||
        (PGL_WITNESS && !pgl_witness_resets(table, pgl_table_first_locked(table), place))) {
        return;
    }
    pgl_witness_forget(table);
    /* The blocks that are forgotten are neither living nor killed. */
    pgl_tally_add(table, PGL_TALLY_LINKS,
                  pgl_tally_sum(table, PGL_TALLY_KILLS) - pgl_tally_sum(table, PGL_TALLY_LINKS));
    for (uint64_t index = 0; (leaf = pgl_leaf_next(table, index, table->last_index));) {
        reset_leaf(table, leaf);
        index = leaf->first_index + PGL_LEVEL_SIZE;
    }
}
