/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The table.
 *
 * OBJECTS      A child pointer is NULL until a compare-and-swap puts a finished subtree there, and never changes again.
 * The `present` bits of a node are only ever set. Neither needs a lock. pgl_table_trim() undoes both, while no other
 * thread uses the table. The counters are relaxed.
 *
 * READERS      (i) A pointer that was read by acquire shows a finished subtree. (ii) A NULL says only that the child
 * was absent at some moment in the past. A thread that must not miss a page that is being allocated fences before it
 * looks (pgl_store_check(), pgl_invalidate_range()).
 *
 * WRITERS      A thread builds the whole missing part aside, down to the leaf, with its own pointers and bits in place.
 * Then it sets the bit in the parent, and then it swaps the pointer in. A thread that loses this race frees all of its
 * copy and descends into the copy of the winner.
 *
 * INVARIANTS
 *   D1  A node or leaf is finished before it can be reached. (tests/explore)
 *   D2  A child's bit is set before its pointer. A bracket reaches its leaf through pointers, so the bits above the
 *       leaf are set before the bracket's fence. If a walk fences and then finds a bit clear, then any bracket below
 *       that bit fences later than the walk, and reads the bytes that were stored before the walk's fence. The walk may
 *       skip the subtree. (pgl_table_check(); test_check_finds_a_child_that_its_parent_does_not_know)
 *   D3  A failed allocation leaves the table as it was. (tests/code/test_alloc.c)
 *
 * PROGRESS     A look-up is wait-free. An allocation is lock-free, and tries once per level at most.
 */
#include "table_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <pagelock/tb.h>

#include "../os_internal.h"
#include "fence_internal.h"
#include "tally_internal.h"
#include "tblist_internal.h"
#include "witness_internal.h"

_Static_assert(sizeof(struct pgl_page) == 16, "a page costs 16 bytes, and the witness's alignment is a power of two");
_Static_assert(sizeof(struct pgl_leaf) - sizeof(struct pgl_page[PGL_LEVEL_SIZE]) <=
                   sizeof(struct pgl_page[PGL_LEVEL_SIZE]) / 50,
               "a leaf's header costs at most 2 % of its pages");

/* Atomic words of 64 bits lie at multiples of 8, on machines with pointers of 32 bits too. */
_Static_assert(offsetof(struct pgl_leaf, code) % 8 == 0 && offsetof(struct pgl_leaf, killed) % 8 == 0, "in a leaf");
_Static_assert(sizeof(struct pgl_table) % 8 == 0 && 2 * sizeof(void *) % 8 == 0, "behind the slots of a node");
_Static_assert(offsetof(struct pgl_buckets, map) % 8 == 0, "in the memory of a hot page");

struct pgl_table *pgl_table_new_for(const struct pgl_table_config *config, unsigned layout)
{
    struct pgl_table *table;
    unsigned index_bits, top_shift, root_bits;
    size_t bytes;

    if (layout != PGL_LAYOUT) {
        errno = ENOEXEC;
        return NULL;
    }
    if (config->page_bits < PGL_PAGE_BITS_MIN || config->page_bits > PGL_PAGE_BITS_MAX ||
        config->addr_bits < config->page_bits || config->addr_bits > 64 || (config->ops && !config->ops->retired)) {
        errno = EINVAL;
        return NULL;
    }
    if (config->asymmetric_fences && !config->external_locking && !pgl_fence_register()) {
        return NULL;
    }
    index_bits = config->addr_bits - config->page_bits;
    top_shift = PGL_LEVEL_BITS;
    while (index_bits > top_shift + PGL_ROOT_BITS_MAX) {
        top_shift += PGL_LEVEL_BITS;
    }
    root_bits = index_bits > top_shift ? index_bits - top_shift : 1;
    bytes = sizeof(*table) + pgl_node_bytes((size_t)1 << root_bits);
    table = pgl_os_aligned_alloc(64, bytes);
    if (!table) {
        errno = ENOMEM;
        return NULL;
    }
    memset(table, 0, bytes);
    table->last_index = index_bits ? UINT64_MAX >> (64u - index_bits) : 0;
    table->page_bits = (uint8_t)config->page_bits;
    table->addr_bits = (uint8_t)config->addr_bits;
    table->top_shift = (uint8_t)top_shift;
    table->root_bits = (uint8_t)root_bits;
    table->bytes = bytes;
    table->hot_bytes_max = config->hot_bytes_max ? config->hot_bytes_max : UINT64_MAX;
    if (config->external_locking) {
        table->special |= PGL_SPECIAL_EXTERNAL;
        table->external_held = config->external_held;
    } else if (config->asymmetric_fences) {
        table->special |= PGL_SPECIAL_ASYMMETRIC;
    }
    if (PGL_WITNESS) {
        table->special |= PGL_SPECIAL_WITNESS;
    }
    if (!table->special) {
        table->ordinary = table->last_index + 1;
    }
    pgl_witness_forget(table);
    table->ops = config->ops;
    table->opaque = config->opaque;
    return table;
}

static void free_leaf(struct pgl_leaf *leaf)
{
    if (leaf->hot) {
        for (unsigned i = 0; i < PGL_LEVEL_SIZE; i++) {
            if (leaf->hot->map[i]) {
                free(pgl_buckets_of(leaf->hot->map[i]));
            }
        }
    }
    free(leaf->hot);
    pgl_os_aligned_free(leaf);
}

/* Free the subtrees below @node, whose slots are chosen by index bits from @shift on. */
static void free_children(struct pgl_table *table, void **node, unsigned shift)
{
    for (size_t i = 0; i < pgl_node_slots(table, shift); i++) {
        if (!node[i]) {
            continue;
        }
        if (shift == PGL_LEVEL_BITS) {
            free_leaf(node[i]);
        } else {
            free_children(table, node[i], shift - PGL_LEVEL_BITS);
            free(node[i]);
        }
    }
}

PGL_UNSEEN uint64_t pgl_table_first_locked(const struct pgl_table *table)
{
    struct pgl_leaf *leaf;

    for (uint64_t index = 0; (leaf = pgl_leaf_next(table, index, table->last_index)); index += PGL_LEVEL_SIZE) {
        index = leaf->first_index;
        for (unsigned slot = 0; slot < PGL_LEVEL_SIZE; slot++) {
            if (__atomic_load_n(&leaf->pages[slot].head, __ATOMIC_RELAXED) & PGL_HEAD_LOCK) {
                return index + slot;
            }
        }
    }
    return UINT64_MAX;
}

void pgl_table_free(struct pgl_table *table)
{
    if (!table) {
        return;
    }
    if (PGL_WITNESS) {
        pgl_witness_frees(table, pgl_table_first_locked(table));
    }
    pgl_witness_forget(table);
    free_children(table, pgl_table_root(table), table->top_shift);
    pgl_os_aligned_free(table);
}

void pgl_table_get_stats(const struct pgl_table *table, struct pgl_table_stats *stats)
{
    uint64_t links;

    stats->leaves = __atomic_load_n(&table->leaves, __ATOMIC_RELAXED);
    stats->bytes = __atomic_load_n(&table->bytes, __ATOMIC_RELAXED);
    stats->hot_bytes = __atomic_load_n(&table->hot_bytes, __ATOMIC_RELAXED);
    stats->hot_pages = __atomic_load_n(&table->hot_pages, __ATOMIC_RELAXED);
    stats->kills = pgl_tally_sum(table, PGL_TALLY_KILLS);
    links = pgl_tally_sum(table, PGL_TALLY_LINKS);
    /* While other threads are at work, a block's death may be seen and its link not. */
    stats->blocks = links > stats->kills ? links - stats->kills : 0;
    stats->hits = pgl_tally_sum(table, PGL_TALLY_HITS);
    stats->false_alarms = pgl_tally_sum(table, PGL_TALLY_FALSE_ALARMS);
    stats->restarts = pgl_tally_sum(table, PGL_TALLY_RESTARTS);
    stats->retries = __atomic_load_n(&table->retries, __ATOMIC_RELAXED);
    stats->contended = __atomic_load_n(&table->contended, __ATOMIC_RELAXED);
    stats->slept = __atomic_load_n(&table->slept, __ATOMIC_RELAXED);
    stats->slept_ns_max = __atomic_load_n(&table->slept_ns_max, __ATOMIC_RELAXED);
}

static struct pgl_leaf *new_leaf(uint64_t index)
{
    struct pgl_leaf *leaf = pgl_os_aligned_alloc(PGL_LEAF_ALIGN, sizeof(*leaf));

    if (!leaf) {
        return NULL;
    }
    memset(leaf, 0, sizeof(*leaf));
    leaf->first_index = index - index % PGL_LEVEL_SIZE;
    return leaf;
}

/* Free a chain of nodes with one child each, down to its leaf. */
static void free_chain(void *chain, uint64_t index, unsigned shift)
{
    for (; chain && shift >= PGL_LEVEL_BITS; shift -= PGL_LEVEL_BITS) {
        void **node = chain;

        chain = node[(index >> shift) % PGL_LEVEL_SIZE];
        free(node);
    }
    pgl_os_aligned_free(chain);
}

/*
 * Allocate the subtree for a slot: the nodes from @shift downwards on the way to the leaf of @index, and the leaf. NULL
 * when memory ran out.
 */
static void *new_chain(uint64_t index, unsigned shift)
{
    void *chain = new_leaf(index);

    for (unsigned at = PGL_LEVEL_BITS; chain && at <= shift; at += PGL_LEVEL_BITS) {
        void **node = calloc(1, pgl_node_bytes(PGL_LEVEL_SIZE));
        unsigned slot = (unsigned)(index >> at) % PGL_LEVEL_SIZE;

        if (!node) {
            free_chain(chain, index, at - PGL_LEVEL_BITS);
            return NULL;
        }
        node[slot] = chain;
        pgl_node_present(node, PGL_LEVEL_SIZE)[slot / 64] = UINT64_C(1) << slot % 64;
        chain = node;
    }
    return chain;
}

/* The leaf of @index; allocate the missing part of the path to it. NULL with ENOMEM when memory ran out. */
static struct pgl_leaf *make_leaf(struct pgl_table *table, uint64_t index)
{
    void **node = pgl_table_root(table);

    for (unsigned shift = table->top_shift;; shift -= PGL_LEVEL_BITS) {
        size_t slots = pgl_node_slots(table, shift), slot = (index >> shift) & (slots - 1);
        void *child = __atomic_load_n(&node[slot], __ATOMIC_ACQUIRE); /* pairs with the swap below */

        if (!child) {
            void *chain = new_chain(index, shift - PGL_LEVEL_BITS);

            if (!chain) {
                errno = ENOMEM;
                return NULL;
            }
            /* relaxed: the release of the swap orders it before the pointer (D2) */
            __atomic_fetch_or(&pgl_node_present(node, slots)[slot / 64], UINT64_C(1) << slot % 64, __ATOMIC_RELAXED);
            /* release: pairs with the acquires of all look-ups; acquire when another thread was first */
            if (__atomic_compare_exchange_n(&node[slot], &child, chain, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
                unsigned nodes = shift / PGL_LEVEL_BITS - 1;

                pgl_count(&table->leaves, 1);
                pgl_count(&table->bytes, sizeof(struct pgl_leaf) + nodes * pgl_node_bytes(PGL_LEVEL_SIZE));
                child = chain;
            } else {
                free_chain(chain, index, shift - PGL_LEVEL_BITS);
            }
        }
        if (shift == PGL_LEVEL_BITS) {
            return child;
        }
        node = child;
    }
}

struct pgl_leaf *pgl_leaf_get(struct pgl_table *table, uint64_t index)
{
    struct pgl_leaf *leaf;

    if (index > table->last_index) {
        errno = EINVAL;
        return NULL;
    }
    leaf = pgl_leaf_find(table, index);
    return leaf ? leaf : make_leaf(table, index);
}

struct pgl_page *pgl_page_get(struct pgl_table *table, uint64_t index)
{
    struct pgl_leaf *leaf = pgl_leaf_get(table, index);

    return leaf ? pgl_leaf_page(leaf, index) : NULL;
}

/* The first slot from @slot on whose bit is set, or @slots. */
static size_t next_present(void **node, size_t slots, size_t slot)
{
    const uint64_t *present = pgl_node_present(node, slots);
    uint64_t bits = __atomic_load_n(&present[slot / 64], __ATOMIC_RELAXED) & ~UINT64_C(0) << slot % 64;
    size_t word = slot / 64;

    while (!bits) {
        if (++word * 64 >= slots) {
            return slots;
        }
        bits = __atomic_load_n(&present[word], __ATOMIC_RELAXED);
    }
    return 64 * word + (unsigned)__builtin_ctzll(bits);
}

struct pgl_leaf *pgl_leaf_next(const struct pgl_table *table, uint64_t index, uint64_t last)
{
    void **root = pgl_table_root((struct pgl_table *)table), **node = root;
    unsigned shift = table->top_shift;

    if (last > table->last_index) {
        last = table->last_index;
    }
    while (index <= last) {
        size_t slots = pgl_node_slots(table, shift), slot = (index >> shift) & (slots - 1);
        size_t next = next_present(node, slots, slot);
        void *child;

        if (next > slot) {
            index = ((index >> shift) + next - slot) << shift; /* past the end of this node when no bit is set */
        }
        if (next == slots) {
            if (node == root) {
                return NULL;
            }
            node = root;
            shift = table->top_shift;
            continue;
        }
        if (index > last) {
            return NULL;
        }
        /* acquire: pairs with the swap in make_leaf() */
        child = __atomic_load_n(&node[next], __ATOMIC_ACQUIRE);
        if (!child) {
            /* the bit is set and the pointer is not there yet */
            index = ((index >> shift) + 1) << shift;
            node = root;
            shift = table->top_shift;
        } else if (shift == PGL_LEVEL_BITS) {
            return child;
        } else {
            node = child;
            shift -= PGL_LEVEL_BITS;
        }
    }
    return NULL;
}

struct pgl_page *pgl_page_next(const struct pgl_table *table, uint64_t *index, uint64_t last)
{
    struct pgl_leaf *leaf = pgl_leaf_next(table, *index, last);

    if (!leaf) {
        return NULL;
    }
    if (leaf->first_index > *index) {
        *index = leaf->first_index;
    }
    return pgl_leaf_page(leaf, *index);
}
