/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The ordered set of locked pages.
 *
 * OBJECTS      A collection belongs to one thread. It keeps its leaves in order (leaves.c), each with a bitmap of the
 * pages of that leaf which this thread holds. Memory is allocated for a leaf beyond the fourth, and for no page.
 *
 * LOCK ORDER   Ascending. Memory for the leaves of the range is found before the first page is locked. The pages of the
 * range are locked one after the other. Then their lists are read, and the other pages of each block are added.
 *
 * OUT OF ORDER A page above `max` is locked at once. Any other page is tried. When it is busy, the thread unlocks the
 * members above it, waits for it, and locks these members again in ascending order. Members below it stay held. The
 * thread waits for no page below one that it holds, so there is no cycle. It reads the lists of members again that were
 * unlocked.
 *
 * INVARIANTS
 *   C1  A member is held whenever no call on the set is running.
 *       (test_collection_locks_the_pages_of_the_range_inclusively)
 *   C2  A page stays in the set until the set is unlocked, so each page is waited for out of order once at most. There
 *       are at most as many retries as pages. (test_collection_keeps_a_page_that_is_no_longer_needed)
 *   C3  When pgl_set_lock() returns, the other pages of each block that is listed on a member in the range, and
 *       meets the range, are members. (test_collection_adds_the_other_pages_of_its_blocks,
 *       test_collection_reads_lists_again_after_retaking)
 *   C4  `max` is the highest member. (test_collection_max_follows_partners)
 *   C5  A list is read only while its page is held. (test_collection_reads_a_list_only_after_locking)
 *   C6  A page that is marked in the bitmap `killed` of its leaf is a member that is held, of a set whose thread kills
 *       and makes no block. (pgl_table_check(); test_killed_no_mark_outlives_the_lock, explorer: killed-*)
 * stress_collection, tests/explore and tests/model try them together.
 *
 * PROGRESS     By C2.
 */
#include "collection_internal.h"

#include <assert.h>
#include <errno.h>

#include "../probe_internal.h"
#include "leaves_internal.h"
#include "spin_internal.h"
#include "filter_internal.h"
#include "table_internal.h"
#include "tblist_internal.h"
#include "witness_internal.h"

void pgl_set_init(struct pgl_collection *set, struct pgl_table *table)
{
    set->table = table;
    set->max = 0;
    set->members = 0;
    set->kills = false;
    set->marked = false;
    set->nleaves = 0;
    set->tree = NULL;
}

/* Forget the members, which have been unlocked. */
static void empty(struct pgl_collection *set)
{
    if (PGL_UNLIKELY(set->tree)) {
        pgl_leaves_free(set);
    }
    set->members = 0;
    set->nleaves = 0;
    set->marked = false;
}

static bool is_member(const struct pgl_collection_leaf *member, uint64_t index)
{
    unsigned word = index % PGL_LEVEL_SIZE / 64;

    return (member->words >> word & 1) && (member->held[word] >> index % 64 & 1);
}

static void mark_member(struct pgl_collection *set, struct pgl_collection_leaf *member, uint64_t index)
{
    unsigned word = index % PGL_LEVEL_SIZE / 64;
    uint64_t bit = UINT64_C(1) << index % 64;

    member->held[word] = (member->words >> word & 1 ? member->held[word] : 0) | bit;
    member->words |= 1u << word;
    set->members = set->members ? 2 : 1;
    if (index > set->max) {
        set->max = index;
    }
}

struct pgl_page *pgl_collection_next(const struct pgl_collection *set, uint64_t *index)
{
    for (struct pgl_leaves_at at = pgl_leaves_from(set, *index); at.member; at = pgl_leaves_next(set, at)) {
        const struct pgl_collection_leaf *member = at.member;

        for (unsigned words = member->words; words; words &= words - 1) {
            unsigned word = (unsigned)__builtin_ctz(words);
            uint64_t bits = member->held[word] & pgl_leaf_bits(member->leaf, word, *index, UINT64_MAX);

            if (bits) {
                *index = member->leaf->first_index + 64u * word + (unsigned)__builtin_ctzll(bits);
                return pgl_leaf_page(member->leaf, *index);
            }
        }
    }
    return NULL;
}

/*
 * Mark the members below @index, all of which are held, before the thread that kills waits with them or calls
 * `retired`. In a table with external locking nobody waits for them.
 */
static void mark_below(struct pgl_collection *set, uint64_t index)
{
    struct pgl_leaves_at at = {NULL, NULL};

    if (set->kills && index && !(pgl_table_special(set->table) & PGL_SPECIAL_EXTERNAL)) {
        at = pgl_leaves_from(set, 0);
    }
    for (; at.member; at = pgl_leaves_next(set, at)) {
        const struct pgl_collection_leaf *member = at.member;

        for (unsigned words = member->words; words; words &= words - 1) {
            unsigned word = (unsigned)__builtin_ctz(words);
            uint64_t bits = member->held[word] & pgl_leaf_bits(member->leaf, word, 0, index - 1);

            if (bits) {
                pgl_killed_mark(member->leaf, word, bits);
                set->marked = true;
            }
        }
    }
}

void pgl_set_mark(struct pgl_collection *set)
{
    mark_below(set, set->max + 1);
}

/* Lock a page above those members that are held. */
static void lock_page(struct pgl_collection *set, struct pgl_page *page, uint64_t index)
{
    uintptr_t head;

    if (PGL_UNLIKELY(pgl_table_special(set->table) || !pgl_page_lock_fast(page, &head))) {
        mark_below(set, index);
        pgl_page_lock_slow(set->table, page, pgl_witness_place());
    }
}

static inline __attribute__((always_inline)) void
unlock_bits(struct pgl_collection *set, const struct pgl_collection_leaf *member, unsigned word, uint64_t bits)
{
    struct pgl_page *page;
    const unsigned special = pgl_table_special(set->table);

    if (PGL_UNLIKELY(set->marked)) {
        pgl_killed_unmark(member->leaf, word, bits);
    }
    if (PGL_UNLIKELY(special)) {
        for (; bits; bits &= bits - 1) {
            pgl_page_unlock_slow(set->table, pgl_leaf_page(member->leaf, 64u * word + (unsigned)__builtin_ctzll(bits)),
                                 pgl_witness_place());
        }
        return;
    }
    if (!bits) {
        return;
    }
    page = pgl_leaf_page(member->leaf, 64u * word + (unsigned)__builtin_ctzll(bits));
    /* Bit by bit, because members are neighbours more often than not. */
    for (bits >>= __builtin_ctzll(bits); bits; bits >>= 1, page++) {
        if (bits & 1) {
            pgl_spin_unlock(&page->head, PGL_HEAD_LOCK);
        }
    }
}

/* Unlock the members from @index on. They stay members until the caller locks them again or forgets them. */
static inline __attribute__((always_inline)) void unlock_from(struct pgl_collection *set, uint64_t index)
{
    for (struct pgl_leaves_at at = pgl_leaves_from(set, index); at.member; at = pgl_leaves_next(set, at)) {
        const struct pgl_collection_leaf *member = at.member;

        for (unsigned words = member->words; words; words &= words - 1) {
            unsigned word = (unsigned)__builtin_ctz(words);

            unlock_bits(set, member, word, member->held[word] & pgl_leaf_bits(member->leaf, word, index, UINT64_MAX));
        }
    }
}

static void lock_again_from(struct pgl_collection *set, uint64_t index)
{
    struct pgl_page *page;

    for (; (page = pgl_collection_next(set, &index)); index++) {
        lock_page(set, page, index);
    }
}

/* The member leaf of @index, inserted if it is absent, or NULL when memory ran out. */
static struct pgl_collection_leaf *get(struct pgl_collection *set, uint64_t index)
{
    struct pgl_leaf *leaf = pgl_leaf_find(set->table, index);

    assert(leaf); /* a page of a listed block has been locked once, so it has a leaf */
    return pgl_leaves_get(set, leaf);
}

bool pgl_set_note(struct pgl_collection *set, uint64_t index)
{
    struct pgl_collection_leaf *member = get(set, index);

    if (!member) {
        return false;
    }
    if (!is_member(member, index)) {
        mark_member(set, member, index);
    }
    return true;
}

bool pgl_set_note_in_place(struct pgl_collection *set, uint64_t index)
{
    const struct pgl_collection_leaf *member = pgl_leaves_from(set, index).member;
    bool has_leaf = member && index - member->first_index < PGL_LEVEL_SIZE;

    return (has_leaf || set->nleaves < PGL_COLLECTION_INLINE) && pgl_set_note(set, index);
}

void pgl_set_lock_noted(struct pgl_collection *set)
{
    lock_again_from(set, 0);
}

enum pgl_set_change pgl_set_add(struct pgl_collection *set, uint64_t index)
{
    enum pgl_set_change change = PGL_SET_ADDED;
    struct pgl_collection_leaf *member = get(set, index);
    struct pgl_page *page;

    if (!member) {
        return PGL_SET_NO_MEMORY;
    }
    if (is_member(member, index)) {
        return PGL_SET_MEMBER;
    }
    page = pgl_leaf_page(member->leaf, index);
    if (!set->members || index > set->max) {
        lock_page(set, page, index);
    } else if (!pgl_page_trylock_at(set->table, page, pgl_witness_place())) {
        PGL_PROBE(retry, set->table, index);
        pgl_count(&set->table->retries, 1);
        unlock_from(set, index + 1);
        lock_page(set, page, index);
        lock_again_from(set, index + 1);
        change = PGL_SET_RELOCKED;
    }
    mark_member(set, member, index);
    return change;
}

/* The first word of a leaf's bitmaps in which the pages [@first, @last] have bits, and the word behind the last one. */
static unsigned first_word(const struct pgl_leaf *leaf, uint64_t first)
{
    return first > leaf->first_index ? (unsigned)(first - leaf->first_index) / 64 : 0;
}

static unsigned end_word(const struct pgl_leaf *leaf, uint64_t last)
{
    return last < leaf->first_index + PGL_LEVEL_SIZE ? (unsigned)(last - leaf->first_index) / 64 + 1 : PGL_LEVEL_WORDS;
}

/* The pages of a word that are to be locked, as bits. */
static inline uint64_t wanted_bits(const struct pgl_leaf *leaf, unsigned word, uint64_t first, uint64_t last,
                                   bool code_only)
{
    uint64_t bits = pgl_leaf_bits(leaf, word, first, last);

    /* acquire: pairs with the release in pgl_page_drop_code(); `retired` has returned before a bit is cleared */
    return code_only ? bits & __atomic_load_n(&leaf->code[word], __ATOMIC_ACQUIRE) : bits;
}

/* Lock the pages of the range that lie in one listed leaf. Returns the bitwise or of their heads. */
static inline __attribute__((always_inline)) uintptr_t
lock_leaf(struct pgl_collection *set, struct pgl_collection_leaf *member, uint64_t first, uint64_t last, bool code_only)
{
    struct pgl_table *table = set->table;
    struct pgl_leaf *leaf = member->leaf;
    const unsigned end = end_word(leaf, last);
    uintptr_t head, heads = 0;

    for (unsigned word = first_word(leaf, first); word < end; word++) {
        uint64_t bits = wanted_bits(leaf, word, first, last, code_only);
        struct pgl_page *page;

        if (!bits) {
            continue;
        }
        page = pgl_leaf_page(leaf, 64u * word + (unsigned)__builtin_ctzll(bits));
        member->held[word] = bits;
        member->words |= 1u << word;
        set->max = leaf->first_index + 64u * word + 63u - (unsigned)__builtin_clzll(bits);
        set->members = 2; /* or one, which is then unlocked as several are */
        for (bits >>= __builtin_ctzll(bits); bits; bits >>= 1, page++) {
            if (!(bits & 1)) {
                continue;
            }
            if (PGL_UNLIKELY(pgl_table_special(table) || !pgl_page_lock_fast(page, &head))) {
                mark_below(set, leaf->first_index + (uint64_t)(page - leaf->pages));
                pgl_page_lock_slow(table, page, pgl_witness_place());
                head = pgl_head(page);
            }
            heads |= head;
        }
    }
    return heads;
}

/*
 * Lock the pages of a range of several leaves. They are listed before any page is locked. Returns bit PGL_HEAD_CROSS if
 * a head has it, or UINTPTR_MAX when memory ran out.
 */
static __attribute__((noinline)) uintptr_t lock_leaves(struct pgl_collection *set, uint64_t first, uint64_t last,
                                                       bool code_only)
{
    uintptr_t heads = 0;

    for (uint64_t index = first; index <= last;) {
        struct pgl_leaf *leaf = index <= set->table->last_index ? pgl_leaf_find(set->table, index) : NULL;
        bool any = !code_only;

        if (!leaf && !(leaf = pgl_leaf_next(set->table, index, last))) {
            break;
        }
        for (unsigned word = first_word(leaf, first); !any && word < end_word(leaf, last); word++) {
            any = wanted_bits(leaf, word, first, last, code_only);
        }
        if (any && !pgl_leaves_get(set, leaf)) {
            empty(set);
            return UINTPTR_MAX;
        }
        index = leaf->first_index + PGL_LEVEL_SIZE;
    }
    for (struct pgl_leaves_at at = pgl_leaves_from(set, first); at.member; at = pgl_leaves_next(set, at)) {
        heads |= lock_leaf(set, at.member, first, last, code_only);
    }
    return heads & PGL_HEAD_CROSS;
}

/*
 * Add the other pages of a block that is listed on member @index. Returns false when memory ran out. Lower *@again to
 * the first page of the range whose list is to be read again, or for the first time.
 */
static bool add_pages_of(struct pgl_collection *set, const struct pgl_tb *tb, uint64_t index, uint64_t first,
                         uint64_t *again)
{
    for (unsigned which = 0; which < tb->nextents; which++) {
        uint64_t other = pgl_tb_page(set->table, tb, which);
        enum pgl_set_change change = other == index ? PGL_SET_MEMBER : pgl_set_add(set, other);

        if (change == PGL_SET_NO_MEMORY) {
            return false;
        }
        if (other < index && (change == PGL_SET_RELOCKED || (change == PGL_SET_ADDED && other >= first))) {
            /*
             * Page @index was unlocked, with those between, and the block may be gone. Or a page of the range came to
             * exist after the leaves were listed.
             */
            *again = other > first ? other : first;
            return true;
        }
    }
    return true;
}

/*
 * Add the other pages of the blocks on one member that meet the set's range. Returns false when memory ran out. Lower
 * *@again as above.
 */
static bool add_partners(struct pgl_collection *set, struct pgl_page *page, uint64_t index, uint64_t first,
                         uint64_t *again)
{
    const uint64_t next = *again;
    struct pgl_walk walk;

    pgl_witness_list(set->table, page, index);
    for (uintptr_t ref = pgl_walk_begin(&walk, set->table, page, index, set->first_addr, set->last_addr);
         ref && *again == next; ref = pgl_walk_next(&walk, ref)) {
        if (pgl_span_meets(pgl_ref_span(ref), set->first_addr, set->last_addr) &&
            !add_pages_of(set, pgl_ref_tb(ref), index, first, again)) {
            return false;
        }
    }
    return true;
}

/* Establish C3 for the members in the range. */
static __attribute__((noinline)) bool add_all_partners(struct pgl_collection *set, uint64_t first, uint64_t last)
{
    struct pgl_page *page;
    uint64_t index = first;

    while ((page = pgl_collection_next(set, &index)) && index <= last) {
        uint64_t again = index + 1;

        if ((pgl_head(page) & PGL_HEAD_CROSS) && !add_partners(set, page, index, first, &again)) {
            return false;
        }
        index = again;
    }
    return true;
}

/*
 * Lock the set of one page, the most frequent one, like lock_leaf() without its loops. Returns its head.
 */
static uintptr_t lock_single(struct pgl_collection *set, uint64_t index, bool code_only)
{
    struct pgl_leaf *leaf = pgl_leaf_find(set->table, index);
    unsigned word = index % PGL_LEVEL_SIZE / 64;
    uint64_t bit = UINT64_C(1) << index % 64;
    struct pgl_page *page;

    /* acquire: as in wanted_bits() */
    if (!leaf || (code_only && !(__atomic_load_n(&leaf->code[word], __ATOMIC_ACQUIRE) & bit))) {
        return 0;
    }
    page = pgl_leaf_page(leaf, index);
    pgl_page_lock_at(set->table, page, pgl_witness_place());
    pgl_leaves_init(&set->in_place[0], leaf);
    set->in_place[0].words = 1u << word;
    set->in_place[0].held[word] = bit;
    set->nleaves = 1;
    set->members = 1;
    set->max = index;
    return pgl_head(page);
}

bool pgl_set_lock(struct pgl_collection *set, struct pgl_table *table, uint64_t first_addr, uint64_t last_addr,
                  bool code_only)
{
    uint64_t first = first_addr >> table->page_bits, last = last_addr >> table->page_bits;
    uintptr_t heads = 0;

    pgl_set_init(set, table);
    set->kills = code_only;
    set->first_addr = first_addr;
    set->last_addr = last_addr;
    if (first == last) {
        heads = lock_single(set, first, code_only);
    } else if (first / PGL_LEVEL_SIZE == last / PGL_LEVEL_SIZE) {
        struct pgl_leaf *leaf = pgl_leaf_find(table, first);

        if (leaf) {
            set->nleaves = 1;
            heads = lock_leaf(set, pgl_leaves_init(&set->in_place[0], leaf), first, last, code_only);
        }
    } else if ((heads = lock_leaves(set, first, last, code_only)) == UINTPTR_MAX) {
        return false;
    }
    if ((heads & PGL_HEAD_CROSS) && !add_all_partners(set, first, last)) {
        pgl_collection_unlock_at(set, pgl_witness_place());
        errno = ENOMEM;
        return false;
    }
    return true;
}

bool pgl_collection_lock_at(struct pgl_collection *set, struct pgl_table *table, uint64_t first_addr,
                            uint64_t last_addr, const char *place)
{
    uint64_t in_page = (UINT64_C(1) << table->page_bits) - 1;

    if (!pgl_witness_enters(table, place) || first_addr > last_addr || last_addr > pgl_table_last_addr(table)) {
        pgl_set_init(set, table);
        errno = EINVAL;
        return false;
    }
    return pgl_set_lock(set, table, first_addr & ~in_page, last_addr | in_page, false);
}

static void __attribute__((noinline)) unlock_many(struct pgl_collection *set)
{
    unlock_from(set, 0);
    empty(set);
}

void pgl_collection_unlock_at(struct pgl_collection *set, const char *place)
{
    if (set->members && !pgl_witness_may_call(place)) {
        return;
    }
    if (set->members == 1 && set->nleaves == 1 && !set->marked) {
        set->members = 0;
        set->nleaves = 0;
        pgl_page_unlock_at(set->table, pgl_leaf_page(set->in_place[0].leaf, set->max), place);
    } else {
        unlock_many(set);
    }
}
