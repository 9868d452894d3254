/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "plain.h"

static int compare_index(const void *a, const void *b, void *data)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    (void)data;
    return (x > y) - (x < y);
}

static void entry_free(void *p)
{
    struct plain_entry *entry = p;

    if (entry->locked) {
        plain_unlock(entry->page);
    }
    g_free(entry);
}

static gboolean entry_lock(void *index, void *p, void *data)
{
    struct plain_entry *entry = p;

    (void)index;
    (void)data;
    plain_lock(entry->page);
    entry->locked = true;
    return FALSE;
}

static gboolean entry_unlock(void *index, void *p, void *data)
{
    struct plain_entry *entry = p;

    (void)index;
    (void)data;
    if (entry->locked) {
        plain_unlock(entry->page);
    }
    entry->locked = false;
    return FALSE;
}

/* The entry of a page, added where it is new; NULL where the page is busy: it is in the set then, not locked. */
static struct plain_entry *set_add(struct plain *plain, struct plain_set *set, uint64_t index)
{
    struct plain_entry *entry = g_tree_lookup(set->tree, &index);

    if (entry) {
        return entry;
    }
    entry = g_new(struct plain_entry, 1);
    *entry = (struct plain_entry){.index = index, .page = pages_find(&plain->pages, index)};
    g_tree_insert(set->tree, &entry->index, entry);
    if (!set->max || index > set->max->index) {
        set->max = entry;
        plain_lock(entry->page);
        entry->locked = true;
    } else {
        entry->locked = plain_trylock(entry->page);
    }
    return entry->locked ? entry : NULL;
}

/* Adds a page, and the pages of every block on it; false where one of them is busy. */
static bool set_add_whole(struct plain *plain, struct plain_set *set, uint64_t index)
{
    struct plain_entry *entry = set_add(plain, set, index);

    if (!entry) {
        return false;
    }
    for (uintptr_t link = entry->page->list; link; link = block_of(link)->next[link & 1]) {
        const struct block *block = block_of(link);

        for (unsigned n = 0; n < block->npages; n++) {
            if (!set_add(plain, set, block->first[n] >> plain->pages.page_bits)) {
                return false;
            }
        }
    }
    entry->whole = true;
    return true;
}

void plain_set_lock(struct plain *plain, struct plain_set *set, uint64_t first, uint64_t last)
{
    uint64_t index = first >> plain->pages.page_bits,
             last_index = pages_clip(&plain->pages, last >> plain->pages.page_bits);

    set->tree = g_tree_new_full(compare_index, NULL, NULL, entry_free);
    set->max = NULL;
    while (index <= last_index) {
        if (!pages_find(&plain->pages, index) || set_add_whole(plain, set, index)) {
            index++;
            continue;
        }
        g_tree_foreach(set->tree, entry_unlock, NULL);
        __atomic_fetch_add(&plain->retries, 1, __ATOMIC_RELAXED);
        g_tree_foreach(set->tree, entry_lock, NULL);
        index = first >> plain->pages.page_bits;
    }
}

void plain_set_unlock(struct plain_set *set)
{
    g_tree_destroy(set->tree);
}

static void *plain_new(unsigned page_bits, unsigned addr_bits)
{
    struct plain *plain = g_new0(struct plain, 1);

    pages_init(&plain->pages, page_bits, addr_bits);
    return plain;
}

static void plain_free(void *table)
{
    struct plain *plain = table;

    pages_fini(&plain->pages);
    g_free(plain);
}

static void plain_block_init(void *table, void *block, const struct trace_block *of)
{
    block_init(&((struct plain *)table)->pages, block, of);
}

static void plain_link(void *table, void *linked, const void *equal, struct tally *tally)
{
    struct plain *plain = table;
    struct block *block = linked;
    bool two = block->npages == 2, low = two && block->first[1] < block->first[0];
    struct page *page[2] = {NULL, NULL};

    for (unsigned n = 0; n < block->npages; n++) {
        page[n] = pages_make(&plain->pages, block->first[n] >> plain->pages.page_bits);
    }
    plain_lock(page[low]);
    if (two) {
        plain_lock(page[!low]);
    }
    block_list(block, page);
    if (equal && ((const struct block *)equal)->alive) {
        block_unlist(block, page);
        tally->duplicates++;
    } else {
        tally->links++;
    }
    if (two) {
        plain_unlock(page[!low]);
    }
    plain_unlock(page[low]);
}

struct kill {
    struct plain *plain;
    uint64_t first;
    uint64_t last;
    struct tally *tally;
};

/* Of a page that is no whole member not every block's pages are locked: it lies outside the range, or was made since.
 */
static gboolean kill_entry(void *index, void *p, void *data)
{
    struct plain_entry *entry = p;
    struct kill *kill = data;

    (void)index;
    if (entry->whole) {
        kill->tally->killed += page_kill(&kill->plain->pages, entry->page, kill->first, kill->last);
    }
    return FALSE;
}

static void plain_range(void *table, uint64_t first, uint64_t last, struct tally *tally)
{
    struct kill kill = {table, first, last, tally};
    struct plain_set set;

    plain_set_lock(kill.plain, &set, first, last);
    g_tree_foreach(set.tree, kill_entry, &kill);
    plain_set_unlock(&set);
}

static void plain_store(void *table, uint64_t addr, unsigned len, struct tally *tally)
{
    plain_range(table, addr, addr + (len - 1), tally);
}

static void plain_census(void *table, struct census *census)
{
    struct plain *plain = table;

    pages_census(&plain->pages, census);
    census->retries = plain->retries;
}

const struct impl impl_plain = {
    .name = "plain",
    .what = "a lock a page, a GTree node a locked page, a collection for every store",
    .block_size = sizeof(struct block),
    .table_new = plain_new,
    .table_free = plain_free,
    .block_init = plain_block_init,
    .link = plain_link,
    .store = plain_store,
    .range = plain_range,
    .census = plain_census,
};
