/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Blocks that are made, found and killed, and stores that have to kill them. */
#include "code.h"

#include <inttypes.h>
#include <stdlib.h>

#include "code_world.h"

/* A store, and the versions that it made: of two pages at most. */
struct write {
    uint64_t addr;
    unsigned len, n, page[5], granule[5], version[5];
};

/* Choose bytes, mostly of some key, mostly few, often across a page's end. raise_versions() stores. */
static struct write choose_write(struct worker *w)
{
    const struct key *key = &code.keys[below(w, N_KEYS)];
    unsigned which = (unsigned)below(w, key->n);
    struct write write = {.len = 1 + (unsigned)below(w, below(w, 4) ? 8 : 64)};
    const uint64_t top = (code_index[N_PAGES - 1] << PAGE_BITS) + (1 << PAGE_BITS) - 1;

    write.addr = below(w, 4) ? code_addr_of(key->page[which], key->first[which]) + below(w, key->len[which] * GRANULE)
                             : code_addr_of((unsigned)below(w, N_PAGES), GRANULES - 1) + GRANULE - 1 - below(w, 8);
    if (top - write.addr < write.len - 1) {
        write.addr = top - (write.len - 1);
    }
    for (uint64_t at = write.addr / GRANULE; at <= (write.addr + write.len - 1) / GRANULE; at++) {
        unsigned page = code_page_of(at / GRANULES); /* the next page may be none of ours */

        if (page == N_PAGES) {
            continue;
        }
        write.page[write.n] = page;
        write.granule[write.n++] = at % GRANULES;
    }
    return write;
}

static void raise_versions(struct write *write)
{
    for (unsigned i = 0; i < write->n; i++) {
        write->version[i] = __atomic_add_fetch(&code.version[write->page[i]][write->granule[i]], 1, __ATOMIC_RELAXED);
    }
}

static void check_write(struct worker *w, const struct write *write, const struct block *running, int answer)
{
    for (unsigned i = 0; i < write->n; i++) {
        code_check_fresh(write->page[i], write->granule[i], write->version[i]);
        if (running && !(answer & PGL_RUNNING_DEAD) &&
            code_version_in(running, write->page[i], write->granule[i]) < write->version[i]) {
            soak_broken("a vCPU was let run on in an old block");
        }
    }
    w->stores++;
    w->hits += (answer & PGL_HIT) != 0;
}

/* ---- blocks ---- */

/* The bracket holds the pages: read the versions. */
static void decode(struct worker *w, struct block *block)
{
    const struct key *key = &code.keys[block->key];
    unsigned pages[EXTENTS], npages = code_pages_of(key, pages);

    for (unsigned i = 0; i < npages; i++) {
        code_own(w, code_index[pages[i]]);
    }
    for (unsigned which = 0; which < key->n; which++) {
        for (unsigned i = 0; i < key->len[which]; i++) {
            block->version[which][i] =
                __atomic_load_n(&code.version[key->page[which]][key->first[which] + i], __ATOMIC_RELAXED);
        }
        if (!code.trapped[key->page[which]]) {
            soak_broken("page %#" PRIx64 " is read without a trap", code_index[key->page[which]]);
        }
    }
    code_give_way(w);
    for (unsigned i = 0; i < npages; i++) {
        code_disown(w, code_index[pages[i]]);
    }
}

/*
 * The number of a page that the bracket of a block crosses into besides the pages of the block, or N_PAGES for none: a
 * decoder may look at a page of which it uses no byte.
 */
static unsigned choose_second(struct worker *w, const struct key *key)
{
    switch (below(w, 4)) {
    case 0:
        return (unsigned)below(w, N_PAGES);
    case 1:
        return key->page[0];
    default:
        return N_PAGES;
    }
}

/* Cross into the pages of a block, or into another page besides. */
static enum pgl_bracket_result cross(struct pgl_bracket *bracket, const struct key *key, unsigned second)
{
    enum pgl_bracket_result result = PGL_BRACKET_OK;

    if (second < N_PAGES) {
        result = pgl_bracket_cross(bracket, code_index[second]);
    }
    for (unsigned which = 1; which < key->n && result == PGL_BRACKET_OK; which++) {
        result = pgl_bracket_cross(bracket, code_index[key->page[which]]);
    }
    return result;
}

/* Report a store to a bracket. One that the bracket remembers is repeated until the bracket may have no room left. */
static void store_inside(struct worker *w, struct pgl_bracket *bracket, struct write *write)
{
    enum pgl_bracket_result result;

    raise_versions(write);
    result = pgl_bracket_store(bracket, write->addr, write->len);
    if (result == PGL_BRACKET_OK) {
        check_write(w, write, NULL, 0);
    } else if (below(w, 4) == 0) {
        for (uint64_t n = below(w, 2 * PGL_BRACKET_STORES); n > 0; n--) {
            pgl_bracket_store(bracket, write->addr, write->len);
        }
    }
}

/* Make a block; @write, unless NULL, is stored while its first decoding runs. */
static void make_block(struct worker *w, unsigned key_number, struct write *write)
{
    const struct key *key = &code.keys[key_number];
    unsigned second = choose_second(w, key);
    struct block *block = code_new_block(key_number);
    enum pgl_bracket_result result;
    struct pgl_bracket bracket;
    struct pgl_tb *equal = NULL;
    bool stored = !write;

    if (!pgl_bracket_begin(&bracket, code.table, code_index[key->page[0]])) {
        soak_broken("no bracket");
        free(block);
        return;
    }
    do {
        result = cross(&bracket, key, second);
        if (result == PGL_BRACKET_OK) {
            decode(w, block);
            if (!stored) {
                store_inside(w, &bracket, write);
                stored = true;
            }
            result = pgl_bracket_commit(&bracket, &block->tb, &equal);
        }
        w->restarts += result == PGL_BRACKET_RESTART;
    } while (result == PGL_BRACKET_RESTART);
    if (result == PGL_BRACKET_ERROR || (result == PGL_BRACKET_OK) != (equal == &block->tb)) {
        soak_broken("commit answers %d and another block", (int)result);
    }
    if (write) {
        check_write(w, write, NULL, 0);
    }
    if (result == PGL_BRACKET_OK) {
        w->links++;
    } else {
        w->equals++;
        free(block);
    }
}

void code_link(struct worker *w)
{
    unsigned key = (unsigned)below(w, N_KEYS);

    if (!code_find_block(key) || below(w, 4) == 0) {
        make_block(w, key, NULL);
    }
}

static void link_class(struct worker *w, enum class class)
{
    make_block(w, (unsigned)(below(w, N_KEYS / N_CLASSES) * N_CLASSES + class), NULL);
}

void code_link_one(struct worker *w)
{
    link_class(w, ONE);
}

void code_link_same(struct worker *w)
{
    link_class(w, SAME);
}

void code_link_higher(struct worker *w)
{
    link_class(w, HIGHER);
}

void code_link_lower(struct worker *w)
{
    link_class(w, LOWER);
}

void code_link_super(struct worker *w)
{
    link_class(w, SUPER);
}

void code_link_storing(struct worker *w)
{
    struct write write = choose_write(w);

    make_block(w, (unsigned)below(w, N_KEYS), &write);
}

void code_abort(struct worker *w)
{
    struct write write = choose_write(w);
    struct pgl_bracket bracket;

    if (!pgl_bracket_begin(&bracket, code.table, code_index[below(w, N_PAGES)])) {
        soak_broken("no bracket");
        return;
    }
    if (pgl_bracket_cross(&bracket, code_index[below(w, N_PAGES)]) == PGL_BRACKET_ERROR) {
        soak_broken("no second page");
    }
    raise_versions(&write);
    pgl_bracket_store(&bracket, write.addr, write.len);
    pgl_bracket_abort(&bracket);
    check_write(w, &write, NULL, 0);
}

void code_unlisted(struct worker *w)
{
    struct block *block = code_new_block(N_KEYS);

    pgl_tb_link_unlisted(code.table, &block->tb);
    w->links++;
    if (!(pgl_invalidate_tb(code.table, &block->tb, NULL) & PGL_HIT) || pgl_tb_is_live(&block->tb)) {
        soak_broken("a block on no page was not killed");
    }
}

/* ---- looking, without a lock ---- */

void code_cache(struct worker *w)
{
    unsigned key = (unsigned)below(w, N_KEYS);
    struct block *block = code_find_block(key), **slot = &code.cache[w->id][key % CACHE];

    if (!block) {
        return;
    }
    __atomic_store_n(slot, block, __ATOMIC_RELAXED);
    pgl_fence();
    if (!pgl_tb_is_live(&block->tb)) {
        __atomic_store_n(slot, NULL, __ATOMIC_RELAXED);
    }
}

void code_find(struct worker *w)
{
    struct block *block = code_find_block((unsigned)below(w, N_KEYS));
    struct pgl_table_stats stats;
    uint64_t index = 0, leaves = 0;

    if (block && __atomic_load_n(&block->tb.state, __ATOMIC_ACQUIRE) == PGL_TB_NEW) {
        soak_broken("a new block can be found");
    }
    for (; pgl_page_next(code.table, &index, UINT64_MAX); index = (index | 511) + 1) {
        leaves++;
    }
    pgl_table_get_stats(code.table, &stats);
    if (leaves > stats.leaves) {
        soak_broken("%" PRIu64 " leaves are walked, %" PRIu64 " counted", leaves, stats.leaves);
    }
}

/* The block that the worker runs: a cached one, any that can be found, or NULL. */
static struct block *choose_running(struct worker *w)
{
    unsigned key = (unsigned)below(w, N_KEYS);

    return below(w, 2) ? __atomic_load_n(&code.cache[w->id][key % CACHE], __ATOMIC_RELAXED) : code_find_block(key);
}

/* ---- stores and invalidations ---- */

void code_store(struct worker *w)
{
    struct write write = choose_write(w);
    struct block *running = choose_running(w);
    int answer = 0;

    raise_versions(&write);
    if (soak_mistake != MISTAKE_STALE || below(w, 16)) {
        answer = pgl_store_check(code.table, write.addr, write.len, running ? &running->tb : NULL);
    }
    check_write(w, &write, running, answer);
}

/* A store bracket over one place, or over two. */
void code_store_bracket(struct worker *w)
{
    struct write write = choose_write(w), other = choose_write(w);
    struct block *running = choose_running(w);
    const struct pgl_tb *tb = running ? &running->tb : NULL;
    bool pair = below(w, 2);
    struct pgl_store store;
    int answer = pair ? pgl_store_begin_pair(&store, code.table, write.addr, write.len, other.addr, other.len, tb)
                      : pgl_store_begin(&store, code.table, write.addr, write.len, tb);

    if (answer < 0) {
        soak_broken("no store bracket");
        return;
    }
    code_give_way(w);
    raise_versions(&write);
    if (pair) {
        raise_versions(&other);
    }
    pgl_store_end(&store);
    check_write(w, &write, running, answer);
    if (pair) {
        check_write(w, &other, running, answer);
    }
}

void code_kill(struct worker *w)
{
    struct block *block = code_find_block((unsigned)below(w, N_KEYS));

    if (!block) {
        return;
    }
    if ((pgl_invalidate_tb(code.table, &block->tb, NULL) & PGL_HIT) &&
        __atomic_fetch_add(&block->kills, 1, __ATOMIC_RELAXED)) {
        soak_broken("a block was killed twice");
    }
    if (pgl_tb_is_live(&block->tb) || code_find_block(block->key) == block) {
        soak_broken("an invalidated block lives on");
    }
}

/* Some blocks that can be found, perhaps one twice, perhaps dead by then. */
void code_evict(struct worker *w)
{
    struct pgl_tb *tbs[EVICTED];
    size_t n = 0;

    for (uint64_t choices = below(w, EVICTED) + 1; choices > 0; choices--) {
        struct block *block = code_find_block((unsigned)below(w, N_KEYS));

        if (block) {
            tbs[n++] = &block->tb;
        }
    }
    if (pgl_invalidate_tbs(code.table, tbs, n, NULL) < 0) {
        soak_broken("an invalidation failed");
    }
    for (size_t i = 0; i < n; i++) {
        if (pgl_tb_is_live(tbs[i]) || code_find_block(((struct block *)tbs[i])->key) == (struct block *)tbs[i]) {
            soak_broken("a block of an array lives on");
        }
    }
}

/* Write all of some pages, then invalidate them at once. */
static void rewrite(struct worker *w, unsigned first, unsigned last, int (*invalidate)(uint64_t first, uint64_t last))
{
    unsigned probe[N_PAGES], version[N_PAGES]; /* of each page one granule is looked at afterwards */

    for (unsigned page = first; page <= last; page++) {
        probe[page] = (unsigned)below(w, GRANULES);
        for (unsigned granule = 0; granule < GRANULES; granule++) {
            unsigned made = __atomic_add_fetch(&code.version[page][granule], 1, __ATOMIC_RELAXED);

            if (granule == probe[page]) {
                version[page] = made;
            }
        }
    }
    if (invalidate(code_index[first], code_index[last]) < 0) {
        soak_broken("an invalidation failed");
    }
    for (unsigned page = first; page <= last; page++) {
        code_check_fresh(page, probe[page], version[page]);
    }
}

static int invalidate_range(uint64_t first, uint64_t last)
{
    return pgl_invalidate_range(code.table, first << PAGE_BITS, last << PAGE_BITS | ((1 << PAGE_BITS) - 1), NULL);
}

static int invalidate_page(uint64_t first, uint64_t last)
{
    (void)last;
    return pgl_invalidate_page(code.table, first, NULL);
}

static int invalidate_all(uint64_t first, uint64_t last)
{
    (void)first;
    (void)last;
    return pgl_flush(code.table, NULL);
}

/* Whether a store has come since the block was made. */
static bool is_old(const struct pgl_tb *tb, void *arg)
{
    const struct block *block = (const struct block *)tb;
    const struct key *key = &code.keys[block->key];

    (void)arg;
    for (unsigned which = 0; which < key->n; which++) {
        for (unsigned i = 0; i < key->len[which]; i++) {
            if (block->version[which][i] !=
                __atomic_load_n(&code.version[key->page[which]][key->first[which] + i], __ATOMIC_RELAXED)) {
                return true;
            }
        }
    }
    return false;
}

static int invalidate_old(uint64_t first, uint64_t last)
{
    return pgl_invalidate_if(code.table, first << PAGE_BITS, last << PAGE_BITS | ((1 << PAGE_BITS) - 1), is_old, NULL,
                             NULL);
}

void code_choose(struct worker *w)
{
    unsigned first = (unsigned)below(w, N_PAGES - 2);

    rewrite(w, first, first + (unsigned)below(w, 3), invalidate_old);
}

void code_range(struct worker *w)
{
    unsigned first = (unsigned)below(w, N_PAGES - 2);

    rewrite(w, first, first + 1 + (unsigned)below(w, 2), invalidate_range);
}

void code_page(struct worker *w)
{
    unsigned page = (unsigned)below(w, N_PAGES);

    rewrite(w, page, page, invalidate_page);
}

void code_flush(struct worker *w)
{
    rewrite(w, 0, N_PAGES - 1, invalidate_all);
}

/* ---- while no other worker is in an operation ---- */

void code_reset(struct worker *w)
{
    if (!code_stop(w)) {
        return;
    }
    pgl_table_reset(code.table);
    code_forget_all();
    code_check_table();
    code_go_on();
}

/* No hot page is without blocks afterwards, and no leaf that a page of ours has no block on. */
void code_trim(struct worker *w)
{
    struct pgl_table_stats before, after;
    uint64_t freed;

    if (!code_stop(w)) {
        return;
    }
    if (below(w, 2)) {
        pgl_flush(code.table, NULL);
    }
    pgl_table_get_stats(code.table, &before);
    freed = pgl_table_trim(code.table);
    pgl_table_get_stats(code.table, &after);
    if (before.bytes + before.hot_bytes != after.bytes + after.hot_bytes + freed || after.blocks != before.blocks ||
        (!after.blocks && (after.leaves || after.hot_bytes))) {
        soak_broken("a trim freed %" PRIu64 " bytes and left %" PRIu64 " leaves, %" PRIu64 " bytes of hot pages", freed,
                    after.leaves, after.hot_bytes);
    }
    code_check_table();
    code_go_on();
}
