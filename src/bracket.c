/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bracket: from before guest bytes are read until the block made of them can be found.
 *
 * OBJECTS: a bracket belongs to one thread and holds one page or two. While it holds a page that has no blocks, that
 * page's code bit is set and `first_code` has been called since the page was taken.
 *
 * LOCK ORDER: the first page, then a higher second one. A lower second page is tried.
 *
 * OUT OF ORDER: where the try fails, the first page is let go and both are taken in order. Stores may have come in
 * between, so what was decoded is void: restart.
 *
 * WRITERS: take = lock, code bit, `first_code`. After every take, and before the page's bytes are read: full fence.
 * Commit = mark live, publish, list and filters, unlock. Publishing comes before listing, which nobody can tell, since
 * lists, filters and locked heads are read under the lock or not believed while it is held; a block that turns out to
 * have an equal is so never listed.
 *
 * A store inside the bracket waits for nothing. What it cannot answer at once is remembered, and invalidated with no
 * page held before the restart it causes is reported.
 *
 * INVARIANTS: B1: no guest byte is read between a take and its fence. B2: a page that is let go without blocks has had
 * its code bit cleared and `no_code` called, under the lock. B3: a restart is reported only when nothing is remembered
 * any more. B4: a bracket holds no page but index[0] and index[1]. (Tests: test_bracket_*, stress_bracket,
 * tests/explore.)
 */
#include <errno.h>

#include "table.h"
#include "tb.h"
#include "tblist.h"
#include "witness.h"

#define NO_PAGE UINT64_MAX

/*
 * A full fence between the read-modify-write that locked a page, or that set its code bit after that, and the reading
 * of the page's bytes. On x86 that instruction was one already (what `first_code` writes is fenced in
 * pgl_page_claim_code()). An externally locked table takes no lock and needs no fence: stores are checked under the
 * same big lock.
 *
 * Pairs with the fences in pgl_store_is_clean() and pgl_invalidate_range_at(), between their caller's store and their
 * look-up: they see what take() wrote, or the guest bytes that are read from here on are theirs.
 */
static inline void fence_after_take(void)
{
#if defined(PGL_EXPLORE)
    void pgl_explore_fence_after_update(void); /* nothing where memory is x86's */
    pgl_explore_fence_after_update();
#elif (defined(__x86_64__) || defined(__i386__)) && !defined(PGL_FENCE_BY_RMW)
    __asm__ volatile("" ::: "memory");
#else
    pgl_fence();
#endif
}

/* Make page @index, which is locked, the bracket's first or second. */
static void adopt(struct pgl_bracket *bracket, unsigned which, uint64_t index, struct pgl_leaf *leaf)
{
    bracket->index[which] = index;
    bracket->leaf[which] = leaf;
    if (!pgl_list_first(pgl_leaf_page(leaf, index)))
        pgl_page_claim_code(bracket->table, leaf, index);
}

static void take(struct pgl_bracket *bracket, unsigned which, uint64_t index, struct pgl_leaf *leaf,
                 const char *place)
{
    pgl_page_lock_at(bracket->table, pgl_leaf_page(leaf, index), place);
    adopt(bracket, which, index, leaf);
}

static void let_go(struct pgl_bracket *bracket, unsigned which, const char *place)
{
    uint64_t index = bracket->index[which];
    struct pgl_page *page;

    if (index == NO_PAGE)
        return;
    page = pgl_leaf_page(bracket->leaf[which], index);
    if (!pgl_list_first(page))
        pgl_page_drop_code(bracket->table, bracket->leaf[which], index);
    pgl_page_unlock_at(bracket->table, page, place);
    bracket->index[which] = NO_PAGE;
}

/* With no page held: answer the stores that were remembered. */
static void answer_stores(struct pgl_bracket *bracket, const char *place)
{
    for (unsigned i = 0; i < bracket->nstores; i++)
        pgl_kill_range(bracket->table, bracket->stores[i].first_addr, bracket->stores[i].last_addr, true, place);
    bracket->nstores = 0;
}

/* Let everything go, answer the stores, and take the first page and, unless there is none, the second, in order. */
static enum pgl_bracket_result restart(struct pgl_bracket *bracket, uint64_t second, struct pgl_leaf *second_leaf,
                                       const char *place)
{
    uint64_t first = bracket->index[0];
    struct pgl_leaf *first_leaf = bracket->leaf[0];

    let_go(bracket, 1, place);
    let_go(bracket, 0, place);
    answer_stores(bracket, place);
    if (second < first)
        take(bracket, 1, second, second_leaf, place);
    take(bracket, 0, first, first_leaf, place);
    if (second != NO_PAGE && second > first)
        take(bracket, 1, second, second_leaf, place);
    fence_after_take();
    return PGL_BRACKET_RESTART;
}

static void start(struct pgl_bracket *bracket, struct pgl_table *table, uint64_t index, struct pgl_leaf *leaf)
{
    bracket->table = table;
    bracket->index[0] = index;
    bracket->index[1] = NO_PAGE;
    bracket->leaf[0] = leaf;
    bracket->nstores = 0;
}

static bool __attribute__((noinline)) begin_slow(struct pgl_bracket *bracket, struct pgl_table *table, uint64_t index,
                                                 const char *place)
{
    struct pgl_leaf *leaf;

    pgl_witness_holds_none(PGL_BREACH_NESTED, place);
    leaf = pgl_leaf_get(table, index);
    if (!leaf)
        return false;
    start(bracket, table, index, leaf);
    take(bracket, 0, index, leaf, place);
    fence_after_take();
    return true;
}

bool pgl_bracket_begin_at(struct pgl_bracket *bracket, struct pgl_table *table, uint64_t index, const char *place)
{
    struct pgl_leaf *leaf = index <= table->last_index ? pgl_leaf_find(table, index) : NULL;
    struct pgl_page *page;

    /* The common case by itself, so that the compiler saves no registers for the others: a page with blocks, free. */
    if (PGL_UNLIKELY(!leaf || table->special))
        return begin_slow(bracket, table, index, place);
    page = pgl_leaf_page(leaf, index);
    if (PGL_UNLIKELY(!pgl_list_first(page) || !pgl_page_trylock_at(table, page, place)))
        return begin_slow(bracket, table, index, place);
    start(bracket, table, index, leaf);
    if (PGL_UNLIKELY(!pgl_list_first(page))) /* it lost its last block just before the lock */
        pgl_page_claim_code(table, leaf, index);
    fence_after_take();
    return true;
}

enum pgl_bracket_result pgl_bracket_cross_at(struct pgl_bracket *bracket, uint64_t index, const char *place)
{
    struct pgl_leaf *leaf = pgl_leaf_get(bracket->table, index);

    if (!leaf)
        return PGL_BRACKET_ERROR;
    if (bracket->nstores)
        return restart(bracket, index, leaf, place);
    if (index == bracket->index[1])
        return PGL_BRACKET_OK;
    let_go(bracket, 1, place);
    if (index == bracket->index[0])
        return PGL_BRACKET_OK;
    if (index > bracket->index[0])
        take(bracket, 1, index, leaf, place);
    else if (pgl_page_trylock_at(bracket->table, pgl_leaf_page(leaf, index), place))
        adopt(bracket, 1, index, leaf);
    else
        return restart(bracket, index, leaf, place);
    fence_after_take();
    return PGL_BRACKET_OK;
}

/* Keep a store for later. When there is no room the last one is widened: more may die than has to, never less. */
static void remember(struct pgl_bracket *bracket, uint64_t first_addr, uint64_t last_addr)
{
    if (bracket->nstores < PGL_BRACKET_STORES) {
        bracket->stores[bracket->nstores].first_addr = first_addr;
        bracket->stores[bracket->nstores].last_addr = last_addr;
        bracket->nstores++;
    } else {
        unsigned last = PGL_BRACKET_STORES - 1;

        if (first_addr < bracket->stores[last].first_addr)
            bracket->stores[last].first_addr = first_addr;
        if (last_addr > bracket->stores[last].last_addr)
            bracket->stores[last].last_addr = last_addr;
    }
}

/* The part of a bracket's store that lies on one page. False when it could not be answered at once. */
static bool store_on_page(struct pgl_bracket *bracket, uint64_t first_addr, uint64_t last_addr, const char *place)
{
    struct pgl_table *table = bracket->table;
    uint64_t index = first_addr >> table->page_bits;
    struct pgl_leaf *leaf;
    struct pgl_page *page;
    size_t killed;
    bool done;

    if (index == bracket->index[0] || index == bracket->index[1])
        return false;
    if (pgl_store_is_clean(table, first_addr, (unsigned)(last_addr - first_addr) + 1u))
        return true;
    leaf = pgl_leaf_find(table, index);
    page = pgl_leaf_page(leaf, index);
    if (!pgl_page_trylock_at(table, page, place))
        return false;
    done = pgl_page_kill_local(table, leaf, index, first_addr, last_addr, &killed);
    pgl_page_unlock_at(table, page, place);
    return done;
}

enum pgl_bracket_result pgl_bracket_store_at(struct pgl_bracket *bracket, uint64_t addr, unsigned len,
                                             const char *place)
{
    struct pgl_table *table = bracket->table;
    uint64_t last_addr = addr + len - 1u;
    uint64_t second_page = last_addr >> table->page_bits << table->page_bits;

    if (!pgl_store_is_valid(table, addr, len))
        return PGL_BRACKET_ERROR;
    if (second_page > addr) {
        if (!store_on_page(bracket, addr, second_page - 1, place))
            remember(bracket, addr, second_page - 1);
        addr = second_page;
    }
    if (!store_on_page(bracket, addr, last_addr, place))
        remember(bracket, addr, last_addr);
    return bracket->nstores ? PGL_BRACKET_RESTART : PGL_BRACKET_OK;
}

static void __attribute__((noinline)) cover_in_map(uint64_t *map, unsigned low, unsigned high)
{
    /* relaxed: the unlock's release publishes what is added */
    for (unsigned word = low / 64; word <= high / 64; word++)
        __atomic_store_n(&map[word], map[word] | pgl_map_bits(word, low, high), __ATOMIC_RELAXED);
}

/* Add the bytes that a block has on a page by way of @which to the page's map, if it keeps one, and to @mask. */
static inline uint64_t cover(const struct pgl_table *table, uint64_t index, const struct pgl_tb *tb, unsigned which,
                             uint64_t *map, uint64_t mask)
{
    unsigned low, high;

    if (!pgl_bits_on_page(table, index << table->page_bits, tb, which, &low, &high))
        return mask;
    if (map)
        cover_in_map(map, low, high);
    return mask | pgl_mask_of(low, high);
}

/* Put a block on the list of one of its pages by way of link @which, and its bytes into the page's mask and map. */
static inline __attribute__((always_inline)) void list_on_page(struct pgl_table *table, struct pgl_leaf *leaf,
                                                               uint64_t index, struct pgl_tb *tb, unsigned which,
                                                               uintptr_t flags)
{
    struct pgl_page *page = pgl_leaf_page(leaf, index);
    uintptr_t head = pgl_head(page);
    uint64_t *map = pgl_map_of(leaf, page, index);
    uint64_t mask = cover(table, index, tb, 0, map, page->mask);

    if (pgl_tb_has(tb, 1))
        mask = cover(table, index, tb, 1, map, mask);
    /* Relaxed, all of them: the unlock's release publishes what is added. That bits were taken away before is told by
     * the bracket's fence, a release too, to who reads this value by acquire in place of narrow()'s. */
    __atomic_store_n(&page->mask, mask, __ATOMIC_RELAXED);
    tb->next[which] = head & ~PGL_HEAD_FLAGS;
    pgl_head_set(page, (head & PGL_HEAD_FLAGS) | flags | pgl_ref(tb, which));
}

static void list(struct pgl_bracket *bracket, struct pgl_tb *tb)
{
    bool crosses = pgl_tb_crosses(bracket->table, tb);

    for (unsigned which = 0; which <= crosses; which++) {
        uint64_t index = pgl_tb_page(bracket->table, tb, which);

        list_on_page(bracket->table, bracket->leaf[index == bracket->index[1]], index, tb, which,
                     crosses ? PGL_HEAD_CROSS : 0);
    }
}

/* In a lock_debug build: whether the block may be linked. A release build takes the caller's word. */
static bool may_link(const struct pgl_bracket *bracket, const struct pgl_tb *tb, const char *place)
{
    if (!PGL_WITNESS)
        return true;
    if (tb->state != PGL_TB_NEW || (uintptr_t)tb % 16) {
        pgl_witness_breach(PGL_BREACH_TB_STATE, bracket->index[0], place);
        return false;
    }
    for (unsigned which = 0; which < 2; which++) {
        uint64_t index = pgl_tb_page(bracket->table, tb, which);
        bool on_one_page = tb->last[which] >> bracket->table->page_bits == index;
        bool held = index == bracket->index[0] || index == bracket->index[1];

        if (pgl_tb_has(tb, which) ? !on_one_page || !held : which == 0) {
            pgl_witness_breach(PGL_BREACH_TB_PAGE, index, place);
            return false;
        }
    }
    return true;
}

/* The end of a commit: list @tb unless it has an equal, and unlock. */
static void __attribute__((noinline)) finish(struct pgl_bracket *bracket, struct pgl_tb *tb, bool has_equal,
                                             const char *place)
{
    if (has_equal)
        __atomic_store_n(&tb->state, PGL_TB_NEW, __ATOMIC_RELAXED);
    else
        list(bracket, tb);
    let_go(bracket, 1, place);
    let_go(bracket, 0, place);
}

enum pgl_bracket_result pgl_bracket_commit_at(struct pgl_bracket *bracket, struct pgl_tb *tb, struct pgl_tb **equal,
                                              const char *place)
{
    struct pgl_table *table = bracket->table;
    struct pgl_tb *other = NULL;

    if (PGL_UNLIKELY(bracket->nstores))
        return restart(bracket, bracket->index[1], bracket->index[1] == NO_PAGE ? NULL : bracket->leaf[1], place);
    if (PGL_UNLIKELY(!may_link(bracket, tb, place))) {
        pgl_bracket_abort_at(bracket, place);
        errno = EINVAL;
        return PGL_BRACKET_ERROR;
    }
    /* release: pairs with the acquire in pgl_tb_is_live() */
    __atomic_store_n(&tb->state, PGL_TB_LIVE, __ATOMIC_RELEASE);
    if (table->ops->publish)
        other = table->ops->publish(tb, table->opaque);
    if (PGL_LIKELY(!other && bracket->index[1] == NO_PAGE && !pgl_tb_has(tb, 1))) {
        uint64_t index = bracket->index[0];

        list_on_page(table, bracket->leaf[0], index, tb, 0, 0);
        pgl_page_unlock_at(table, pgl_leaf_page(bracket->leaf[0], index), place);
    } else {
        finish(bracket, tb, other, place);
    }
    if (equal)
        *equal = other ? other : tb;
    return other ? PGL_BRACKET_EXISTS : PGL_BRACKET_OK;
}

void pgl_bracket_abort_at(struct pgl_bracket *bracket, const char *place)
{
    let_go(bracket, 1, place);
    let_go(bracket, 0, place);
    answer_stores(bracket, place);
}
