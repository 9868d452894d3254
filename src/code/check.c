/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Check every invariant of a table at rest. The code prefers clarity to speed, and follows each list as often as it
 * likes.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "../os_internal.h"
#include "filter_internal.h"
#include "table_internal.h"
#include "tblist_internal.h"

struct check {
    const struct pgl_table *table;
    void (*say)(const char *what, void *opaque);
    void *opaque;
    unsigned violations;
    uint64_t leaves, bytes, hot_bytes, hot_pages, blocks;
};

static void PGL_FORMAT(2, 3) violation(struct check *check, const char *format, ...)
{
    char what[200];
    va_list args;

    check->violations++;
    if (!check->say) {
        return;
    }
    va_start(args, format);
    vsnprintf(what, sizeof(what), format, args);
    va_end(args);
    check->say(what, check->opaque);
}

/* Whether a list runs in a circle. The hare runs ahead of the tortoise in growing strides. */
static bool is_cyclic(const struct pgl_page *page)
{
    uintptr_t tortoise = pgl_list_first(page);
    size_t steps = 0, stride = 1;

    for (uintptr_t hare = tortoise; hare;) {
        hare = *pgl_ref_next(hare);
        if (hare == tortoise && hare) {
            return true;
        }
        if (++steps == stride) {
            tortoise = hare;
            steps = 0;
            stride *= 2;
        }
    }
    return false;
}

static size_t count_refs(const struct pgl_page *page, uintptr_t wanted)
{
    size_t n = 0;

    for (uintptr_t ref = pgl_list_first(page); ref; ref = *pgl_ref_next(ref)) {
        n += ref == wanted;
    }
    return n;
}

/* The number of the extent behind a reference, or the number of extents when it is none of its block's. */
static unsigned number_of(uintptr_t ref)
{
    const struct pgl_tb *tb = pgl_ref_tb(ref);
    unsigned which = 0;

    while (which < tb->nextents && pgl_ref(tb, which) != ref) {
        which++;
    }
    return which;
}

/* Check that extent @which of a block listed on page @index is once on its own page (T1). */
static void check_extent(struct check *check, uint64_t index, const struct pgl_tb *tb, unsigned which)
{
    const struct pgl_table *table = check->table;
    uint64_t other = pgl_tb_page(table, tb, which);
    const struct pgl_page *page = other <= table->last_index ? pgl_page_find(table, other) : NULL;

    if (!page) {
        violation(check, "page %#" PRIx64 ": a block's other page %#" PRIx64 " has no leaf", index, other);
    } else if (is_cyclic(page) || count_refs(page, pgl_ref(tb, which)) != 1) {
        violation(check, "page %#" PRIx64 ": an extent is not once on its page %#" PRIx64, index, other);
    }
}

/* Check one listed extent. Its block is alive, and each of its extents is on the list of its page (T1, T3). */
static void check_ref(struct check *check, uint64_t index, uintptr_t ref)
{
    const struct pgl_table *table = check->table;
    const struct pgl_span *span = pgl_ref_span(ref);
    const struct pgl_tb *tb = pgl_ref_tb(ref);

    if (!pgl_tb_is_live(tb)) {
        violation(check, "page %#" PRIx64 ": a listed block is not alive", index);
    }
    if (span->first > span->last || span->first >> table->page_bits != index) {
        violation(check, "page %#" PRIx64 ": a listed extent has no bytes here", index);
    }
    if (number_of(ref) == tb->nextents) {
        violation(check, "page %#" PRIx64 ": a listed extent is none of its block's", index);
    }
    for (unsigned which = 0; which < tb->nextents; which++) {
        /* This one is here, and once, because the list runs in no circle. */
        if (pgl_ref(tb, which) != ref || pgl_tb_page(table, tb, which) != index) {
            check_extent(check, index, tb, which);
        }
    }
}

/* Compare the buckets of a hot page with its list (L1 to L5). */
static void check_buckets(struct check *check, struct pgl_page *page, uint64_t index, const struct pgl_buckets *buckets,
                          bool was_reset)
{
    const struct pgl_table *table = check->table;
    uint64_t used = 0, reach[PGL_REACHES] = {0};
    size_t ncross = 0;
    unsigned before = 0;

    for (uintptr_t ref = pgl_list_first(page), next; ref; ref = next) {
        unsigned bucket = pgl_bucket(table, pgl_ref_span(ref)->first);
        bool is_last;

        next = *pgl_ref_next(ref);
        is_last = !next || pgl_bucket(table, pgl_ref_span(next)->first) != bucket;
        if (bucket < before) {
            violation(check, "page %#" PRIx64 ": the list is not in order of buckets", index);
        }
        if (is_last && buckets->last[bucket] != ref) {
            violation(check, "page %#" PRIx64 ": the last extent of bucket %u is another", index, bucket);
        }
        before = bucket;
        used |= UINT64_C(1) << bucket;
        pgl_reach_mark(reach, bucket, pgl_bucket(table, pgl_ref_span(ref)->last) - bucket);
        ncross += pgl_tb_crosses(table, pgl_ref_tb(ref));
    }
    if (buckets->used != used) {
        violation(check, "page %#" PRIx64 ": buckets %#" PRIx64 " are used, by the list %#" PRIx64, index,
                  buckets->used, used);
    }
    for (unsigned class = 0; class < PGL_REACHES; class ++) {
        if ((reach[class] & ~buckets->reach[class]) || (buckets->reach[class] & ~used)) {
            violation(check, "page %#" PRIx64 ": the reach of the extents is not marked", index);
        }
    }
    if (buckets->ncross != ncross) {
        violation(check, "page %#" PRIx64 ": %zu crossing extents counted, %zu found", index, buckets->ncross, ncross);
    }
    if (buckets->dead || buckets->stale_end != (was_reset ? UINT32_C(1) << table->page_bits : 0)) {
        violation(check, "page %#" PRIx64 ": marks of a kill were left", index);
    }
}

/* Do as pgl_filter_set(). Return whether each bucket in which some bits were set before is marked as shared (L6). */
static bool set_and_find_shared(const struct check *check, uint64_t *words, uint64_t first_addr, uint64_t last_addr,
                                const struct pgl_span *span, uint64_t shared)
{
    const uint64_t in_bucket = (UINT64_C(1) << (check->table->page_bits - 6u)) - 1;
    bool marked = true;

    for (struct pgl_span part = {.first = span->first};; part.first = part.last + 1) {
        part.last = (part.first | in_bucket) < span->last ? part.first | in_bucket : span->last;
        if (pgl_filter_set(words, first_addr, last_addr, &part) &&
            !(shared >> pgl_bucket(check->table, part.first) & 1)) {
            marked = false;
        }
        if (part.last == span->last) {
            return marked;
        }
    }
}

/* Compare an exact map with the list, some words at a time, and find shared bytes (L6). */
static void check_map(struct check *check, struct pgl_page *page, uint64_t index, const uint64_t *map, bool was_reset)
{
    enum { AT_ONCE = 512 };
    uint64_t words[AT_ONCE], first_addr = index << check->table->page_bits;
    unsigned left = pgl_filter_words(check->table);
    const uint64_t shared = pgl_buckets_of((uint64_t *)map)->shared;

    for (; left; map += AT_ONCE, first_addr += 64 * AT_ONCE) {
        unsigned n = left < AT_ONCE ? left : AT_ONCE;

        memset(words, was_reset ? 0xff : 0, sizeof(words));
        for (uintptr_t ref = pgl_list_first(page); ref; ref = *pgl_ref_next(ref)) {
            if (!set_and_find_shared(check, words, first_addr, first_addr + 64 * n - 1, pgl_ref_span(ref), shared)) {
                violation(check, "page %#" PRIx64 ": extents share a byte, and its bucket does not say so", index);
            }
        }
        if (memcmp(map, words, n * sizeof(*words)) != 0) {
            violation(check, "page %#" PRIx64 ": the exact map is not what the list says", index);
            return;
        }
        left -= n;
    }
}

/* Compare mask, exact map and buckets with the list (T2). */
static void check_filters(struct check *check, const struct pgl_leaf *leaf, struct pgl_page *page, uint64_t index,
                          bool was_reset)
{
    uint64_t *map = leaf->hot ? leaf->hot->map[index % PGL_LEVEL_SIZE] : NULL, mask = 0;

    for (uintptr_t ref = pgl_list_first(page); ref; ref = *pgl_ref_next(ref)) {
        mask = pgl_filter_cover(check->table, pgl_ref_span(ref), mask);
    }
    mask = was_reset ? UINT64_MAX : mask;
    if (page->mask != mask) {
        violation(check, "page %#" PRIx64 ": the mask is %#" PRIx64 ", by the list %#" PRIx64, index, page->mask, mask);
    }
    if (!map != !(pgl_head(page) & PGL_HEAD_HOT)) {
        violation(check, "page %#" PRIx64 ": the hot flag and the map do not agree", index);
    }
    if (!map) {
        return;
    }
    check->hot_bytes += pgl_buckets_bytes(check->table);
    check->hot_pages++;
    check_map(check, page, index, map, was_reset);
    check_buckets(check, page, index, pgl_buckets_of(map), was_reset);
}

static void check_page(struct check *check, struct pgl_leaf *leaf, uint64_t index)
{
    struct pgl_page *page = pgl_leaf_page(leaf, index);
    bool code = leaf->code[index % PGL_LEVEL_SIZE / 64] >> index % 64 & 1;
    /* A page that pgl_table_reset() left: its code bit and its filters say "look", and its list is empty. */
    bool was_reset = code && !pgl_list_first(page) && page->mask == UINT64_MAX;
    bool cross = false;

    if (pgl_head(page) & PGL_HEAD_LOCK) {
        violation(check, "page %#" PRIx64 " is locked", index);
    }
    if (code != (pgl_list_first(page) || was_reset)) {
        violation(check, "page %#" PRIx64 ": the code bit is %s, the list is %s", index, code ? "set" : "clear",
                  code ? "empty" : "not empty");
    }
    if (is_cyclic(page)) {
        violation(check, "page %#" PRIx64 ": the list runs in a circle", index);
        return;
    }
    for (uintptr_t ref = pgl_list_first(page); ref; ref = *pgl_ref_next(ref)) {
        check_ref(check, index, ref);
        cross |= pgl_tb_crosses(check->table, pgl_ref_tb(ref));
        check->blocks += !(ref & 1);
    }
    if (cross != !!(pgl_head(page) & PGL_HEAD_CROSS)) {
        violation(check, "page %#" PRIx64 ": the crossing flag is wrong", index);
    }
    check_filters(check, leaf, page, index, was_reset);
}

static void check_leaf(struct check *check, struct pgl_leaf *leaf, uint64_t first_index)
{
    check->leaves++;
    check->bytes += sizeof(*leaf);
    if (leaf->first_index != first_index) {
        violation(check, "the leaf of page %#" PRIx64 " says %#" PRIx64, first_index, leaf->first_index);
    }
    if (leaf->hot) {
        check->hot_bytes += sizeof(*leaf->hot);
    }
    for (unsigned word = 0; word < PGL_LEVEL_WORDS; word++) {
        if (leaf->killed[word]) {
            violation(check, "the leaf of page %#" PRIx64 ": a page is marked as held by a thread that kills",
                      first_index);
        }
    }
    for (unsigned slot = 0; slot < PGL_LEVEL_SIZE; slot++) {
        check_page(check, leaf, first_index + slot);
    }
}

static void check_node(struct check *check, void **node, unsigned shift, uint64_t first_index)
{
    size_t slots = pgl_node_slots(check->table, shift);
    const uint64_t *present = pgl_node_present(node, slots);

    check->bytes += pgl_node_bytes(slots);
    for (size_t slot = 0; slot < slots; slot++) {
        uint64_t index = first_index + ((uint64_t)slot << shift);
        bool bit = present[slot / 64] >> slot % 64 & 1;

        if (bit != !!node[slot]) {
            violation(check, "%s child at page %#" PRIx64 ", but its bit is %s", node[slot] ? "a" : "no", index,
                      bit ? "set" : "clear");
        }
        if (!node[slot]) {
            continue;
        }
        if (shift == PGL_LEVEL_BITS) {
            check_leaf(check, node[slot], index);
        } else {
            check_node(check, node[slot], shift - PGL_LEVEL_BITS, index);
        }
    }
}

unsigned pgl_table_check(const struct pgl_table *table, void (*say)(const char *what, void *opaque), void *opaque)
{
    struct check check = {.table = table, .say = say, .opaque = opaque, .bytes = sizeof(*table)};
    struct pgl_table_stats stats;

    check_node(&check, pgl_table_root((struct pgl_table *)table), table->top_shift, 0);
    pgl_table_get_stats(table, &stats);
    if (stats.leaves != check.leaves) {
        violation(&check, "%" PRIu64 " leaves counted, %" PRIu64 " found", stats.leaves, check.leaves);
    }
    if (stats.bytes != check.bytes) {
        violation(&check, "the count of bytes is wrong");
    }
    if (stats.hot_bytes != check.hot_bytes) {
        violation(&check, "the count of hot bytes is wrong");
    }
    if (stats.hot_pages != check.hot_pages) {
        violation(&check, "%" PRIu64 " hot pages counted, %" PRIu64 " found", stats.hot_pages, check.hot_pages);
    }
    if (stats.blocks != check.blocks) {
        violation(&check, "%" PRIu64 " living blocks counted, %" PRIu64 " found", stats.blocks, check.blocks);
    }
    if (table->unlisted) {
        violation(&check, "the list of dying blocks on no page is locked, or not empty");
    }
    return check.violations;
}
