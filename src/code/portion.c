/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Kills in portions: however many blocks a call kills, it holds pages for a few hundred of them at a time.
 *
 * OBJECTS      A portion belongs to one thread. It is a set of locked pages of one leaf, with the other pages of its
 * victims. A victim is a block that the call kills: any block of a range, or the chosen ones only. Any thread marks a
 * live block as `chosen`. It needs no lock, but an early mark is a hint: publish() in bracket.c unmarks a block that it
 * has made live. Once a page of the block is held, nothing unmarks it before pgl_tb_init(). Another call may kill the
 * block.
 *
 * LOCK ORDER   Pages of a range are locked in ascending order, as long as the victims on them are few enough. Then the
 * other pages of the victims are added, as in collection.c. The lists of pages unlocked meanwhile are read again.
 *
 * WRITERS      1. Lock pages, ask the predicate, count victims.
 *              2. Add the other pages of the victims. If memory runs out, later victims lack pages, and stay alive.
 *              3. Mark dead the victims whose pages are all held, up to the limit of the portion.
 *              4. Unlink, retire and narrow (kill.c), and unlock.
 *
 * INVARIANTS   (T3, T6 and T7 are in kill.c.)
 *   P1  A portion kills at most PORTION blocks, of chosen ones also half of those that it looks at, and calls `retired`
 *       once. All pages of all its victims are held before the first of them dies. (test_portion_of_a_page_is_bounded,
 *       test_portion_of_a_part_of_a_page_is_bounded, test_portion_holds_its_pages_before_a_block_dies)
 *   P2  A page that more victims may leave keeps its filters and its crossing flag wide. The call that left it so
 *       narrows the page before it returns, or another call has emptied the page and narrowed it.
 *       (test_portion_narrows_a_page_that_it_left, test_portion_narrows_the_partner_of_a_page_that_it_left,
 *       test_portion_leaves_the_narrowing_to_another_killer)
 *   P3  A call returns when no victim of its is alive that it could see: no page of its range lists one, and each block
 *       that it named is dead and retired. (test_portion_of_a_flush_is_bounded and its like,
 *       test_portion_leaves_the_rest_to_another_killer)
 *   P4  A partner, a page outside the range of a portion that lists victims, is noted while a call has more portions,
 *       and narrowed once after them; if it is on a fifth leaf, at once. (test_portion_narrows_a_partner_once)
 *   P5  A block that is listed is marked only if a call has seen it live since it was linked, and kills it.
 *       (test_portion_leaves_no_mark_on_a_block_that_had_an_equal)
 *
 * PROGRESS     A portion kills a victim, or finds none, or lacks memory. In the last case the next one is for a single
 * victim. It waits for memory only if its pages are in more leaves than a set has room for.
 */
#include "portion_internal.h"

#include <sched.h>

#include "collection_internal.h"
#include "filter_internal.h"
#include "kill_internal.h"
#include "table_internal.h"
#include "tblist_internal.h"
#include "witness_internal.h"

#define NO_PAGE UINT64_MAX

/* The number of blocks that a portion kills, at most, and the number that it looks at before it takes another page. */
#ifdef PGL_EXPLORE
#define PORTION 1u /* so that the few blocks of a scenario die in several portions */
#else
#define PORTION 512u
#endif

/* The work that a portion leaves to the next one on the pages of its leaf. */
struct rest {
    uint64_t page; /* it may list more victims, and its filters are wide; the next portion holds it. Or NO_PAGE */
    size_t limit;  /* of the next portion's victims */
};

struct portion {
    const struct pgl_choice *choice;
    struct pgl_leaf *leaf;
    struct pgl_collection set;
    struct pgl_refs dead;
    struct pgl_collection *wide; /* pages that the call narrows when its portions are over */
    uint64_t first, last;        /* victims are looked for on the members from here to here */
    size_t limit;                /* of victims */
    uint64_t unasked;            /* the page with blocks that the predicate was not asked about, or NO_PAGE */
    size_t seen;                 /* extents, victims' or not, while the pages were locked */
};

static bool is_chosen(const struct pgl_tb *tb)
{
    return __atomic_load_n(&tb->chosen, __ATOMIC_RELAXED);
}

/*
 * Mark a block as chosen, also if it is marked. Acquire: pairs with the release of publish(). A mark that comes after
 * the unmarking of a block is followed by a look that sees the block live; therefore the call kills it (P5).
 */
static void choose(struct pgl_tb *tb)
{
    __atomic_exchange_n(&tb->chosen, true, __ATOMIC_ACQUIRE);
}

/* Whether an extent has bytes in the range of a choice. */
static bool meets(const struct pgl_choice *choice, uintptr_t ref)
{
    return pgl_span_meets(pgl_ref_span(ref), choice->first_addr, choice->last_addr);
}

/* Whether an extent makes its block a victim. */
static bool is_victim(const struct pgl_choice *choice, uintptr_t ref)
{
    return meets(choice, ref) && (!choice->chosen || is_chosen(pgl_ref_tb(ref)));
}

/* Begin to walk the extents of a page that may be in the range of the choice. */
static uintptr_t begin_walk(const struct portion *portion, struct pgl_walk *walk, struct pgl_page *page, uint64_t index)
{
    return pgl_walk_begin(walk, portion->set.table, page, index, portion->choice->first_addr,
                          portion->choice->last_addr);
}

/*
 * The limit of a portion's victims. Of chosen blocks it is half of what the portion looked at: the next one looks at
 * the survivors again, and all walks together grow no faster than the list.
 */
static size_t limit_of(const struct portion *portion)
{
    size_t share = portion->seen / 2;

    return portion->limit == 1 || !portion->choice->chosen || share < portion->limit ? portion->limit : share;
}

/* Ask the predicate about the blocks of a page, until there are more victims than a portion may have. */
static void ask(struct portion *portion, struct pgl_page *page, uint64_t index)
{
    const struct pgl_choice *choice = portion->choice;
    struct pgl_walk walk;
    uintptr_t ref;
    size_t n = 0;

    pgl_witness_list(portion->set.table, page, index);
    for (ref = begin_walk(portion, &walk, page, index); ref && n <= limit_of(portion);
         ref = pgl_walk_next(&walk, ref)) {
        struct pgl_tb *tb = pgl_ref_tb(ref);

        portion->seen++;
        if (choice->predicate && meets(choice, ref) && !is_chosen(tb)) {
            pgl_witness_calls("predicate");
            if (choice->predicate(tb, choice->arg)) {
                choose(tb);
            }
            pgl_witness_returns();
        }
        n += is_victim(choice, ref);
    }
    if (ref && choice->predicate) {
        portion->unasked = index;
    }
}

/* Lock a page of the portion's leaf. */
static void add_page(struct portion *portion, uint64_t index)
{
    if (pgl_set_add(&portion->set, index) != PGL_SET_MEMBER) {
        ask(portion, pgl_leaf_page(portion->leaf, index), index);
    }
}

static bool has_room(const struct portion *portion)
{
    return portion->seen < portion->limit;
}

/* Begin a portion with the page that the one before has left. */
static void begin(struct portion *portion, struct pgl_collection *wide, const struct pgl_choice *choice,
                  struct pgl_leaf *leaf, const struct rest *rest)
{
    portion->choice = choice;
    portion->leaf = leaf;
    pgl_set_init(&portion->set, wide->table);
    portion->set.kills = true;
    portion->dead = (struct pgl_refs){.rest = NO_PAGE};
    portion->wide = wide;
    portion->limit = rest->limit;
    portion->unasked = NO_PAGE;
    portion->seen = 0;
    if (rest->page != NO_PAGE) {
        add_page(portion, rest->page);
    }
}

/* Add all pages of a block to the set of a portion that holds its page @index. */
static enum pgl_set_change add_pages_of(struct portion *portion, const struct pgl_tb *tb, uint64_t index)
{
    for (unsigned which = 0; which < tb->nextents; which++) {
        uint64_t other = pgl_tb_page(portion->set.table, tb, which);
        enum pgl_set_change change = pgl_set_add(&portion->set, other);

        if (change == PGL_SET_NO_MEMORY || (change == PGL_SET_RELOCKED && other < index)) {
            return change;
        }
    }
    return PGL_SET_MEMBER;
}

/* Add the other pages of the victims on one page. PGL_SET_RELOCKED: that page was unlocked meanwhile. */
static enum pgl_set_change add_partners_of(struct portion *portion, struct pgl_page *page, uint64_t index)
{
    enum pgl_set_change change = PGL_SET_MEMBER;
    struct pgl_walk walk;
    size_t n = 0;

    pgl_witness_list(portion->set.table, page, index);
    for (uintptr_t ref = begin_walk(portion, &walk, page, index); ref && n < limit_of(portion);
         ref = pgl_walk_next(&walk, ref)) {
        if (!is_victim(portion->choice, ref)) {
            continue;
        }
        n++;
        change = add_pages_of(portion, pgl_ref_tb(ref), index);
        if (change != PGL_SET_MEMBER) {
            break;
        }
    }
    return change;
}

/* Add the other pages of all victims, as long as there is memory. */
static void add_partners(struct portion *portion)
{
    struct pgl_page *page;
    uint64_t index = portion->first;

    while ((page = pgl_collection_next(&portion->set, &index)) && index <= portion->last) {
        enum pgl_set_change change =
            pgl_head(page) & PGL_HEAD_CROSS ? add_partners_of(portion, page, index) : PGL_SET_MEMBER;

        if (change == PGL_SET_NO_MEMORY) {
            return;
        }
        index = change == PGL_SET_RELOCKED ? portion->first : index + 1;
    }
}

static bool has(const struct portion *portion, uint64_t index)
{
    uint64_t at = index;

    return pgl_collection_next(&portion->set, &at) && at == index;
}

/* Whether all pages of a block are members. One is. */
static bool is_held(const struct portion *portion, const struct pgl_tb *tb)
{
    for (unsigned which = 0; tb->nextents > 1 && which < tb->nextents; which++) {
        if (!has(portion, pgl_tb_page(portion->set.table, tb, which))) {
            return false;
        }
    }
    return true;
}

/* Mark a victim dead, and count its extents on each page. */
static void mark_victim(struct portion *portion, struct pgl_tb *tb)
{
    pgl_tb_mark_dead(portion->set.table, tb);
    for (unsigned which = 0; which < tb->nextents; which++) {
        portion->dead.on[pgl_tb_page(portion->set.table, tb, which) % PGL_LEVEL_SIZE]++;
    }
}

/* Mark the victims dead. Stop at the limit, or at a victim for whose pages there was no memory. */
static void mark(struct portion *portion)
{
    struct pgl_walk walk;
    struct pgl_page *page;
    size_t n = 0;

    portion->dead.first = portion->first;
    portion->dead.end = portion->last + 1;
    pgl_witness_set_lists(&portion->set);
    for (uint64_t index = portion->first; (page = pgl_collection_next(&portion->set, &index)) && index <= portion->last;
         index++) {
        for (uintptr_t ref = begin_walk(portion, &walk, page, index); ref; ref = pgl_walk_next(&walk, ref)) {
            struct pgl_tb *tb = pgl_ref_tb(ref);

            if (pgl_tb_is_dead(tb) || !is_victim(portion->choice, ref)) {
                continue;
            }
            if (n == limit_of(portion) || !is_held(portion, tb)) {
                portion->dead.rest = portion->dead.end = index;
                return;
            }
            mark_victim(portion, tb);
            n++;
        }
    }
    /* Several extents of one block were counted, or others have killed some of the victims. */
    portion->dead.rest = portion->unasked;
}

/* The limit of the next portion. One victim, if the last portion left some and killed none for want of memory. */
static size_t next_limit(const struct portion *portion, bool killed)
{
    if (killed || portion->dead.rest == NO_PAGE) {
        return PORTION;
    }
    if (portion->limit == 1) {
        sched_yield(); /* the victim is on so many leaves that its set needs memory */
    }
    return 1;
}

/*
 * Kill the victims of a portion and unlock its pages. *@rest was left by the portion before, and becomes what this one
 * leaves. @more: the call goes on behind the range of the portion. Returns whether any block died.
 */
static bool finish(struct portion *portion, struct rest *rest, bool more)
{
    const uint64_t owed = rest->page;
    bool killed;

    add_partners(portion);
    mark(portion);
    rest->page = portion->dead.rest;
    portion->dead.wide = more || rest->page != NO_PAGE ? portion->wide : NULL;
    killed = pgl_kill_marked(&portion->set, &portion->dead, NULL);
    if (owed != NO_PAGE && owed != rest->page) {
        pgl_page_narrow(portion->set.table, portion->leaf, owed);
    }
    pgl_collection_unlock_at(&portion->set, pgl_witness_place());
    rest->limit = next_limit(portion, killed);
    return killed;
}

/* Narrow the pages that portions have noted, and forget them. A page without code was narrowed by its last killer. */
static void narrow_noted(struct pgl_collection *wide)
{
    struct pgl_table *table = wide->table;
    struct pgl_page *page;

    for (uint64_t index = 0; (page = pgl_collection_next(wide, &index)); index++) {
        struct pgl_leaf *leaf = pgl_leaf_find(table, index);

        if (pgl_page_has_code(leaf, index)) {
            pgl_page_lock_at(table, page, pgl_witness_place());
            pgl_page_narrow(table, leaf, index);
            pgl_page_unlock_at(table, page, pgl_witness_place());
        }
    }
    pgl_set_init(wide, table);
}

/* Whether a page may list a block with bytes in the range, by its filters. Needs no lock; the caller has fenced. */
static bool may_meet(const struct pgl_table *table, const struct pgl_choice *choice, uint64_t index)
{
    uint64_t first = choice->first_addr, last = choice->last_addr;

    pgl_clip_to_page(table, index, &first, &last);
    return !pgl_filter_passes(table, table->page_bits, index, first, last);
}

/*
 * Lock the pages from @index to @last, which lie in the portion's leaf and may list victims, as long as the portion has
 * room. Returns the page behind the last one that was looked at.
 */
static uint64_t add_pages(struct portion *portion, uint64_t index, uint64_t last)
{
    while (has_room(portion) && (index = pgl_leaf_next_code(portion->leaf, index, last)) <= last) {
        if (may_meet(portion->set.table, portion->choice, index)) {
            add_page(portion, index);
        }
        index++;
    }
    return index;
}

/*
 * Kill the victims on the pages from @index to @last, which lie in one leaf. A portion that leaves a page is followed
 * by one that begins with this page.
 */
static bool kill_in_leaf(struct pgl_collection *wide, const struct pgl_choice *choice, struct pgl_leaf *leaf,
                         uint64_t index, uint64_t last)
{
    struct rest rest = {NO_PAGE, PORTION};
    bool any = false;

    do {
        struct portion portion;

        begin(&portion, wide, choice, leaf, &rest);
        portion.first = index;
        index = add_pages(&portion, rest.page == NO_PAGE ? index : rest.page + 1, last);
        if (!portion.set.members) {
            break;
        }
        portion.last = index - 1;
        any |= finish(&portion, &rest, portion.last < choice->last_addr >> wide->table->page_bits);
        if (rest.page != NO_PAGE) {
            index = rest.page;
        }
    } while (index <= last);
    return any;
}

int pgl_kill_portions(struct pgl_table *table, const struct pgl_choice *choice)
{
    uint64_t first = choice->first_addr >> table->page_bits, last = choice->last_addr >> table->page_bits;
    struct pgl_collection wide;
    struct pgl_leaf *leaf;
    bool any = false;

    pgl_set_init(&wide, table);
    for (uint64_t index = first; (leaf = pgl_leaf_next(table, index, last));) {
        uint64_t end = leaf->first_index + (PGL_LEVEL_SIZE - 1);

        any |= kill_in_leaf(&wide, choice, leaf, index > leaf->first_index ? index : leaf->first_index,
                            last < end ? last : end);
        if (wide.nleaves == PGL_COLLECTION_INLINE) {
            narrow_noted(&wide);
        }
        index = end + 1;
    }
    narrow_noted(&wide);
    return any ? PGL_HIT : 0;
}

/*
 * The state of a named block. Acquire: pairs with the releases that made it live and dead. A block that is seen dead
 * was marked by a killer that had locked its pages; a thread that then locks one of them waits until `retired` has
 * returned.
 */
static uint32_t state_of(const struct pgl_tb *tb)
{
    return __atomic_load_n(&tb->state, __ATOMIC_ACQUIRE);
}

/* Lock the pages of the first of @n named blocks, and of those behind it that are in the portion's leaf. */
static void add_named(struct portion *portion, struct pgl_tb *const *tbs, size_t n)
{
    for (size_t i = 0; i < n && has_room(portion) && (!i || is_chosen(tbs[i])) && pgl_tb_has(tbs[i], 0); i++) {
        uint64_t index = pgl_tb_page(portion->set.table, tbs[i], 0);

        if (index - portion->leaf->first_index >= PGL_LEVEL_SIZE) {
            break;
        }
        add_page(portion, index);
        if (state_of(tbs[i]) == PGL_TB_LIVE) {
            choose(tbs[i]); /* it was being linked, perhaps, when it was chosen before */
        }
    }
}

/* Kill the first of @n named blocks, and with it those that are chosen on its page, or come next and are near. */
static bool kill_near(struct pgl_collection *wide, struct pgl_tb *const *tbs, size_t n)
{
    const struct pgl_choice choice = {.last_addr = UINT64_MAX, .chosen = true};
    const uint64_t index = pgl_tb_page(wide->table, tbs[0], 0);
    struct pgl_leaf *leaf = pgl_leaf_find(wide->table, index);
    struct rest rest = {NO_PAGE, PORTION};
    bool met, any = false;

    do {
        struct portion portion;

        begin(&portion, wide, &choice, leaf, &rest);
        portion.first = leaf->first_index;
        portion.last = leaf->first_index + (PGL_LEVEL_SIZE - 1);
        add_named(&portion, tbs, n);
        met = has(&portion, index);
        any |= finish(&portion, &rest, n > 1);
    } while (rest.page != NO_PAGE || !met);
    return any;
}

/* Wait until the killer of a dead block has unlocked its pages. */
static void await_killer(struct pgl_table *table, const struct pgl_tb *tb)
{
    struct pgl_page *page = pgl_page_find(table, pgl_tb_page(table, tb, 0));

    pgl_page_lock_at(table, page, pgl_witness_place());
    pgl_page_unlock_at(table, page, pgl_witness_place());
}

int pgl_kill_named(struct pgl_table *table, struct pgl_tb *const *tbs, size_t n)
{
    struct pgl_collection wide;
    bool any = false;

    pgl_set_init(&wide, table);
    for (size_t i = 0; i < n; i++) {
        if (state_of(tbs[i]) == PGL_TB_LIVE) {
            choose(tbs[i]);
        }
    }
    for (size_t i = 0; i < n; i++) {
        uint32_t state = state_of(tbs[i]);

        if (state == PGL_TB_NEW) {
            continue;
        }
        if (!pgl_tb_has(tbs[i], 0)) {
            any |= pgl_kill_unlisted(table, tbs[i]);
        } else if (state == PGL_TB_DEAD) {
            await_killer(table, tbs[i]);
        } else {
            any |= kill_near(&wide, tbs + i, n - i);
        }
    }
    narrow_noted(&wide);
    return any ? PGL_HIT : 0;
}
