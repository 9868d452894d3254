/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The soak of code pages. Guest memory is versions: each granule has a number that a store to it raises; a block notes
 * the numbers it was made from. Once a store's check has returned, a block that is found with an older number is stale.
 * Blocks are freed when no thread can hold them any more, so that a use after that shows under a sanitizer.
 */
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pagelock/pagelock.h>

#include "soak.h"

enum {
    PAGE_BITS = 12,
    GRANULE = 64,
    GRANULES = (1 << PAGE_BITS) / GRANULE,
    N_PAGES = 12,
    N_KEYS = 480,
    MAX_COVER = 6, /* keys with bytes in one granule */
    SCRATCH_LEAVES = 64,
    SCRATCH_GETS = 256,
};

/* On six leaves: neighbours, both sides of a leaf's edge, far ones, the top one. */
static const uint64_t page_index[N_PAGES] = {5,      6,      7,        511,      512,         513,
                                             0x4003, 0x9000, 0x100000, 0x100001, 0xffffffffe, 0xfffffffff};

/* Where blocks are: the second page is none, the same, higher or lower, by the key's number. */
enum class { ONE, SAME, HIGHER, LOWER, N_CLASSES };

struct key {
    unsigned page[2], granule[2], n;
};

struct block {
    struct pgl_tb tb; /* first */
    unsigned key;     /* N_KEYS: on no page */
    unsigned version[2];
    uint64_t epoch; /* when it was retired */
    struct block *next;
};

struct cover {
    unsigned n, key[MAX_COVER];
};

/* A table that some threads fill at once, and the last to leave it checks. Its members belong to code.scratch_lock. */
struct scratch {
    struct pgl_table *table;
    unsigned refs, gets;
    uint64_t leaves;
};

static struct {
    struct pgl_table *table;
    struct key keys[N_KEYS];
    struct cover cover[N_PAGES][GRANULES];
    struct block *found[N_KEYS]; /* atomic; written with the key's pages held */
    unsigned version[N_PAGES][GRANULES];
    unsigned owner[N_PAGES]; /* who holds the page: 0, or a worker's number and one; under the page's lock */
    bool trapped[N_PAGES];   /* under the page's lock */
    uint64_t killed;         /* atomic */
    uint64_t epoch;          /* atomic */
    pthread_mutex_t scratch_lock;
    struct scratch *scratch;
} code = {.scratch_lock = PTHREAD_MUTEX_INITIALIZER};

static uint64_t below(struct worker *w, uint64_t n)
{
    return soak_below(&w->random, n);
}

/* Which of the pages has this index; N_PAGES for none. */
static unsigned number_of(uint64_t index)
{
    unsigned page = 0;

    while (page < N_PAGES && page_index[page] != index) {
        page++;
    }
    return page;
}

static uint64_t addr_of(unsigned page, unsigned granule)
{
    return (page_index[page] << PAGE_BITS) + granule * GRANULE;
}

static void own(struct worker *w, uint64_t index)
{
    unsigned page = number_of(index);

    if (page == N_PAGES) {
        return;
    }
    if (code.owner[page]) {
        soak_broken("page %#" PRIx64 " is held twice", index);
    }
    code.owner[page] = w->id + 1;
}

static void disown(struct worker *w, uint64_t index)
{
    unsigned page = number_of(index);

    if (page == N_PAGES) {
        return;
    }
    if (code.owner[page] != w->id + 1) {
        soak_broken("page %#" PRIx64 " was taken while it was held", index);
    }
    code.owner[page] = 0;
}

/* With pages held, let somebody else run into them now and then. */
static void give_way(struct worker *w)
{
    if (below(w, 16) == 0) {
        sched_yield();
    }
}

/* ---- blocks that die ---- */

/*
 * A block is retired in some epoch. An epoch ends when all threads have begun an operation in it. Three epochs later
 * each has begun one after the block was out of reach, and after the one that retired it: nobody holds it.
 */
static void bury(struct block *block)
{
    struct worker *w = soak_self;

    block->epoch = __atomic_load_n(&code.epoch, __ATOMIC_SEQ_CST);
    block->next = NULL;
    *(w->limbo ? &w->last->next : &w->limbo) = block;
    w->last = block;
}

static void free_limbo(struct worker *w, uint64_t epoch)
{
    while (w->limbo && w->limbo->epoch + 3 <= epoch) {
        struct block *block = w->limbo;

        w->limbo = block->next;
        free(block);
    }
}

void code_enter(struct worker *w)
{
    uint64_t epoch = __atomic_load_n(&code.epoch, __ATOMIC_SEQ_CST);

    __atomic_store_n(&w->quiet, epoch, __ATOMIC_SEQ_CST);
    if (below(w, 32)) {
        return;
    }
    for (unsigned i = 0; i < soak_workers; i++) {
        if (__atomic_load_n(&soak_worker[i].quiet, __ATOMIC_SEQ_CST) < epoch) {
            return;
        }
    }
    __atomic_compare_exchange_n(&code.epoch, &epoch, epoch + 1, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    free_limbo(w, epoch);
}

/* ---- the emulator ---- */

static void first_code(uint64_t index, void *opaque)
{
    (void)opaque;
    code.trapped[number_of(index)] = true;
}

static void no_code(uint64_t index, void *opaque)
{
    (void)opaque;
    code.trapped[number_of(index)] = false;
}

static struct pgl_tb *publish(struct pgl_tb *tb, void *opaque)
{
    struct block *block = (struct block *)tb, *other = NULL;

    (void)opaque;
    if (__atomic_compare_exchange_n(&code.found[block->key], &other, block, false, __ATOMIC_ACQ_REL,
                                    __ATOMIC_ACQUIRE)) {
        return NULL;
    }
    return &other->tb;
}

static void retired(struct pgl_tb *chain, void *opaque)
{
    struct pgl_tb *next;

    (void)opaque;
    for (struct pgl_tb *tb = chain; tb; tb = next) {
        struct block *block = (struct block *)tb, *found = block;

        next = pgl_tb_chain_next(tb);
        if (block->key < N_KEYS && !__atomic_compare_exchange_n(&code.found[block->key], &found, NULL, false,
                                                                __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
            soak_broken("a block was retired that could not be found");
        }
        __atomic_fetch_add(&code.killed, 1, __ATOMIC_RELAXED);
        bury(block);
    }
}

static const struct pgl_tb_ops ops = {
    .first_code = first_code,
    .no_code = no_code,
    .publish = publish,
    .retired = retired,
};

static struct block *find(unsigned key)
{
    return __atomic_load_n(&code.found[key], __ATOMIC_ACQUIRE);
}

/* The oldest version that a block has of a granule; UINT_MAX when it has none of its bytes. */
static unsigned version_in(const struct block *block, unsigned page, unsigned granule)
{
    const struct key *key = &code.keys[block->key];
    unsigned oldest = ~0u;

    for (unsigned which = 0; which < key->n; which++) {
        if (key->page[which] == page && key->granule[which] == granule && block->version[which] < oldest) {
            oldest = block->version[which];
        }
    }
    return oldest;
}

static void check_fresh(unsigned page, unsigned granule, unsigned version)
{
    const struct cover *cover = &code.cover[page][granule];

    for (unsigned i = 0; i < cover->n; i++) {
        struct block *block = find(cover->key[i]);

        if (block && version_in(block, page, granule) < version) {
            soak_broken("stale: page %#" PRIx64 " granule %u: version %u can be found, %u was stored", page_index[page],
                        granule, version_in(block, page, granule), version);
        }
    }
}

/* ---- locks ---- */

void code_lock(struct worker *w)
{
    uint64_t index = page_index[below(w, N_PAGES)];
    struct pgl_page *page = pgl_page_get(code.table, index);

    pgl_page_lock(code.table, page);
    own(w, index);
    give_way(w);
    disown(w, index);
    pgl_page_unlock(code.table, page);
}

void code_hang(struct worker *w)
{
    pgl_page_lock(code.table, pgl_page_get(code.table, page_index[0]));
    own(w, page_index[0]);
}

/* Three pages out of order: tried, never waited for. */
void code_trylock(struct worker *w)
{
    struct pgl_page *pages[3];
    uint64_t index[3];
    unsigned first = (unsigned)below(w, N_PAGES);
    bool held[3];

    for (unsigned i = 0; i < 3; i++) {
        index[i] = page_index[(first + i * 7) % N_PAGES];
        pages[i] = pgl_page_get(code.table, index[i]);
        held[i] = pgl_page_trylock(code.table, pages[i]);
        if (held[i]) {
            own(w, index[i]);
        }
    }
    for (unsigned i = 0; i < 3; i++) {
        if (held[i]) {
            disown(w, index[i]);
            pgl_page_unlock(code.table, pages[i]);
        }
    }
}

void code_pair(struct worker *w)
{
    uint64_t index = page_index[below(w, N_PAGES)], index2 = page_index[below(w, N_PAGES)];

    if (!pgl_page_lock_pair(code.table, index, index2)) {
        soak_broken("no pair");
        return;
    }
    own(w, index);
    if (index2 != index) {
        own(w, index2);
    }
    give_way(w);
    disown(w, index);
    if (index2 != index) {
        disown(w, index2);
    }
    pgl_page_unlock_pair(code.table, index, index2);
}

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
    if (find(block->key) != block || !pgl_tb_is_live(tb)) {
        soak_broken("a listed block is dead or cannot be found");
    }
    return true;
}

static void collect(struct worker *w, unsigned first, unsigned last)
{
    struct pgl_collection collection;
    uint64_t index, before = UINT64_MAX; /* which is no page's index: nothing of the range exists yet */
    struct pgl_page *page;

    if (!pgl_collection_lock(&collection, code.table, page_index[first] << PAGE_BITS, page_index[last] << PAGE_BITS)) {
        soak_broken("no collection");
        return;
    }
    for (index = 0; pgl_collection_next(&collection, &index); before = index++) {
        own(w, index);
        if (before != UINT64_MAX && before >= index) {
            soak_broken("a collection out of order");
        }
    }
    if (before != pgl_collection_max(&collection)) {
        soak_broken("the last member is not the highest");
    }
    give_way(w);
    for (index = page_index[first]; (page = pgl_collection_next(&collection, &index)) && index <= page_index[last];
         index++) {
        pgl_page_foreach_tb(code.table, page, partner_is_ours, w);
    }
    for (index = 0; pgl_collection_next(&collection, &index); index++) {
        disown(w, index);
    }
    pgl_collection_unlock(&collection);
}

void code_collection(struct worker *w)
{
    unsigned first = (unsigned)below(w, N_PAGES - 2);

    collect(w, first, first + (unsigned)below(w, 3));
}

/* Beyond two leaves: the set allocates. */
void code_collection_wide(struct worker *w)
{
    collect(w, (unsigned)below(w, 3), N_PAGES - 1 - (unsigned)below(w, 4));
}

/* ---- links ---- */

struct write {
    uint64_t addr;
    unsigned len, n, page[2], granule[2], version[2];
};

/* Mostly where some block may be, mostly short, often across a page's end. raise() stores. */
static struct write choose_write(struct worker *w)
{
    const struct key *key = &code.keys[below(w, N_KEYS)];
    unsigned which = (unsigned)below(w, key->n);
    struct write write = {.len = 1 + (unsigned)below(w, below(w, 4) ? 8 : 64)};
    const uint64_t top = (page_index[N_PAGES - 1] << PAGE_BITS) + (1 << PAGE_BITS) - 1;

    write.addr = below(w, 4) ? addr_of(key->page[which], key->granule[which]) + below(w, GRANULE)
                             : addr_of((unsigned)below(w, N_PAGES), GRANULES - 1) + GRANULE - 1 - below(w, 8);
    if (top - write.addr < write.len - 1) {
        write.addr = top - (write.len - 1);
    }
    for (uint64_t at = write.addr / GRANULE; at <= (write.addr + write.len - 1) / GRANULE; at++) {
        unsigned page = number_of(at / GRANULES); /* the next page may be none of ours */

        if (page == N_PAGES) {
            continue;
        }
        write.page[write.n] = page;
        write.granule[write.n++] = at % GRANULES;
    }
    return write;
}

static void raise(struct write *write)
{
    for (unsigned i = 0; i < write->n; i++) {
        write->version[i] = __atomic_add_fetch(&code.version[write->page[i]][write->granule[i]], 1, __ATOMIC_RELAXED);
    }
}

static void check_write(const struct write *write, const struct block *running, int answer)
{
    for (unsigned i = 0; i < write->n; i++) {
        check_fresh(write->page[i], write->granule[i], write->version[i]);
        if (running && !(answer & PGL_RUNNING_DEAD) &&
            version_in(running, write->page[i], write->granule[i]) < write->version[i]) {
            soak_broken("a vCPU was let run on in an old block");
        }
    }
}

/* The bracket holds the pages: read the versions. */
static void decode(struct worker *w, struct block *block)
{
    const struct key *key = &code.keys[block->key];
    bool two = key->n == 2 && key->page[1] != key->page[0];

    for (unsigned i = 0; i < 1u + two; i++) {
        own(w, page_index[key->page[i]]);
    }
    for (unsigned which = 0; which < key->n; which++) {
        block->version[which] = __atomic_load_n(&code.version[key->page[which]][key->granule[which]], __ATOMIC_RELAXED);
        if (!code.trapped[key->page[which]]) {
            soak_broken("page %#" PRIx64 " is read without a trap", page_index[key->page[which]]);
        }
    }
    give_way(w);
    for (unsigned i = 0; i < 1u + two; i++) {
        disown(w, page_index[key->page[i]]);
    }
}

static struct block *new_block(unsigned key_number)
{
    struct block *block = aligned_alloc(16, sizeof(*block));

    memset(block, 0, sizeof(*block));
    block->key = key_number;
    pgl_tb_init(&block->tb);
    for (unsigned which = 0; key_number < N_KEYS && which < code.keys[key_number].n; which++) {
        const struct key *key = &code.keys[key_number];
        uint64_t addr = addr_of(key->page[which], key->granule[which]);

        pgl_tb_set_bytes(&block->tb, which, addr, addr + GRANULE - 1);
    }
    return block;
}

/*
 * The number of the page that the bracket of a block crosses into, or N_PAGES for none. When all bytes are on one page
 * it may be any page, that one again, or none: a decoder may look at a page of which it uses no byte.
 */
static unsigned choose_second(struct worker *w, const struct key *key)
{
    if (key->n == 2 && key->page[1] != key->page[0]) {
        return key->page[1];
    }
    switch (below(w, 4)) {
    case 0:
        return (unsigned)below(w, N_PAGES);
    case 1:
        return key->page[0];
    default:
        return N_PAGES;
    }
}

/* Make a block; @write, unless NULL, is stored while its first decoding runs. */
static void make_block(struct worker *w, unsigned key_number, struct write *write)
{
    const struct key *key = &code.keys[key_number];
    unsigned second = choose_second(w, key);
    struct block *block = new_block(key_number);
    enum pgl_bracket_result result;
    struct pgl_bracket bracket;
    struct pgl_tb *equal = NULL;
    bool stored = !write;

    if (!pgl_bracket_begin(&bracket, code.table, page_index[key->page[0]])) {
        soak_broken("no bracket");
        free(block);
        return;
    }
    do {
        result = second < N_PAGES ? pgl_bracket_cross(&bracket, page_index[second]) : PGL_BRACKET_OK;
        if (result == PGL_BRACKET_OK) {
            decode(w, block);
            if (!stored) {
                raise(write);
                pgl_bracket_store(&bracket, write->addr, write->len);
                stored = true;
            }
            result = pgl_bracket_commit(&bracket, &block->tb, &equal);
        }
    } while (result == PGL_BRACKET_RESTART);
    if (result == PGL_BRACKET_ERROR || (result == PGL_BRACKET_OK) != (equal == &block->tb)) {
        soak_broken("commit answers %d and another block", (int)result);
    }
    if (write) {
        check_write(write, NULL, 0);
    }
    w->links += result == PGL_BRACKET_OK;
    if (result != PGL_BRACKET_OK) {
        free(block);
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

void code_link_storing(struct worker *w)
{
    struct write write = choose_write(w);

    make_block(w, (unsigned)below(w, N_KEYS), &write);
}

void code_abort(struct worker *w)
{
    struct write write = choose_write(w);
    struct pgl_bracket bracket;

    if (!pgl_bracket_begin(&bracket, code.table, page_index[below(w, N_PAGES)])) {
        soak_broken("no bracket");
        return;
    }
    if (pgl_bracket_cross(&bracket, page_index[below(w, N_PAGES)]) == PGL_BRACKET_ERROR) {
        soak_broken("no second page");
    }
    raise(&write);
    pgl_bracket_store(&bracket, write.addr, write.len);
    pgl_bracket_abort(&bracket);
    check_write(&write, NULL, 0);
}

/* A block that is on no page: nothing but its own invalidation kills it. */
void code_unlisted(struct worker *w)
{
    struct block *block = new_block(N_KEYS);

    (void)w;
    pgl_tb_link_unlisted(code.table, &block->tb);
    w->links++;
    if (!(pgl_invalidate_tb(code.table, &block->tb, NULL) & PGL_HIT) || pgl_tb_is_live(&block->tb)) {
        soak_broken("a block on no page was not killed");
    }
}

/* ---- looking ---- */

/* Without a lock: a block, and every leaf. */
void code_find(struct worker *w)
{
    struct block *block = find((unsigned)below(w, N_KEYS));
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

void code_lock_block(struct worker *w)
{
    struct block *block = find((unsigned)below(w, N_KEYS));
    const struct key *key = block ? &code.keys[block->key] : NULL;

    if (!block) {
        return;
    }
    pgl_tb_lock_pages(code.table, &block->tb);
    for (unsigned which = 0; which < key->n; which++) {
        if (which == 0 || key->page[1] != key->page[0]) {
            own(w, page_index[key->page[which]]);
        }
    }
    if (pgl_tb_is_live(&block->tb) && find(block->key) != block) {
        soak_broken("a live block cannot be found");
    }
    for (unsigned which = 0; which < key->n; which++) {
        if (which == 0 || key->page[1] != key->page[0]) {
            disown(w, page_index[key->page[which]]);
        }
    }
    pgl_tb_unlock_pages(code.table, &block->tb);
}

/* ---- stores and invalidations ---- */

void code_store(struct worker *w)
{
    struct write write = choose_write(w);
    struct block *running = find((unsigned)below(w, N_KEYS));
    int answer = 0;

    raise(&write);
    if (soak_mistake != MISTAKE_STALE || below(w, 16)) {
        answer = pgl_store_check(code.table, write.addr, write.len, running ? &running->tb : NULL);
    }
    check_write(&write, running, answer);
}

void code_store_bracket(struct worker *w)
{
    struct write write = choose_write(w);
    struct block *running = find((unsigned)below(w, N_KEYS));
    struct pgl_store store;
    int answer = pgl_store_begin(&store, code.table, write.addr, write.len, running ? &running->tb : NULL);

    if (answer < 0) {
        soak_broken("no store bracket");
        return;
    }
    give_way(w);
    raise(&write);
    pgl_store_end(&store);
    check_write(&write, running, answer);
}

void code_kill(struct worker *w)
{
    struct block *block = find((unsigned)below(w, N_KEYS));

    if (!block) {
        return;
    }
    pgl_invalidate_tb(code.table, &block->tb, NULL);
    if (pgl_tb_is_live(&block->tb) || find(block->key) == block) {
        soak_broken("an invalidated block lives on");
    }
}

/* Write all of some pages, then invalidate them at once. */
static void rewrite(struct worker *w, unsigned first, unsigned last, int (*invalidate)(uint64_t first, uint64_t last))
{
    unsigned probe[N_PAGES], version[N_PAGES]; /* one granule a page is looked at afterwards */

    for (unsigned page = first; page <= last; page++) {
        probe[page] = (unsigned)below(w, GRANULES);
        for (unsigned granule = 0; granule < GRANULES; granule++) {
            unsigned made = __atomic_add_fetch(&code.version[page][granule], 1, __ATOMIC_RELAXED);

            if (granule == probe[page]) {
                version[page] = made;
            }
        }
    }
    if (invalidate(page_index[first], page_index[last]) < 0) {
        soak_broken("an invalidation failed");
    }
    for (unsigned page = first; page <= last; page++) {
        check_fresh(page, probe[page], version[page]);
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

/* ---- leaves ---- */

static void leave_scratch(struct scratch *scratch)
{
    struct pgl_table_stats stats;
    bool last;

    pthread_mutex_lock(&code.scratch_lock);
    last = --scratch->refs == 0;
    pthread_mutex_unlock(&code.scratch_lock);
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

static struct scratch *enter_scratch(uint64_t leaves)
{
    const struct pgl_table_config config = {.page_bits = PAGE_BITS, .addr_bits = 48};
    struct scratch *scratch, *old = NULL;

    pthread_mutex_lock(&code.scratch_lock);
    scratch = code.scratch;
    if (!scratch || scratch->gets == SCRATCH_GETS) {
        old = scratch;
        scratch = calloc(1, sizeof(*scratch));
        scratch->table = pgl_table_new(&config);
        scratch->refs = 1;
        code.scratch = scratch;
    }
    scratch->gets++;
    scratch->refs++;
    scratch->leaves |= leaves;
    pthread_mutex_unlock(&code.scratch_lock);
    if (old) {
        leave_scratch(old);
    }
    return scratch;
}

/* The same leaf is asked for by several threads at once, in a table that is soon another. */
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

/* ---- a run ---- */

static void choose_extent(uint64_t *random, unsigned key, unsigned which, unsigned page)
{
    struct cover *cover;
    unsigned granule;

    do {
        granule = (unsigned)soak_below(random, GRANULES);
        cover = &code.cover[page][granule];
    } while (cover->n == MAX_COVER);
    cover->key[cover->n++] = key;
    code.keys[key].page[which] = page;
    code.keys[key].granule[which] = granule;
    code.keys[key].n = which + 1;
}

void code_begin(uint64_t seed)
{
    const struct pgl_table_config config = {.page_bits = PAGE_BITS, .addr_bits = 48, .ops = &ops};

    memset(code.cover, 0, sizeof(code.cover));
    code.killed = 0;
    code.epoch = 1;
    code.table = pgl_table_new(&config);
    for (unsigned i = 0; i < N_KEYS; i++) {
        unsigned low = (unsigned)soak_below(&seed, N_PAGES - 1);
        unsigned high = low + 1 + (unsigned)soak_below(&seed, N_PAGES - 1 - low);
        enum class class = i % N_CLASSES;

        choose_extent(&seed, i, 0, class == LOWER ? high : low);
        if (class != ONE) {
            choose_extent(&seed, i, 1, class == HIGHER ? high : low);
        }
    }
}

static void say(const char *what, void *opaque)
{
    (void)opaque;
    soak_broken("pgl_table_check: %s", what);
}

static bool count_first(struct pgl_tb *tb, void *opaque)
{
    unsigned *counts = opaque; /* the page's number, all on it, those that begin on it */

    counts[1]++;
    counts[2] += tb->first[0] >> PAGE_BITS == page_index[counts[0]];
    return true;
}

static uint64_t count_alive(void)
{
    uint64_t alive = 0;

    for (unsigned i = 0; i < N_PAGES; i++) {
        struct pgl_page *page = pgl_page_get(code.table, page_index[i]);
        unsigned counts[3] = {i, 0, 0};

        pgl_page_lock(code.table, page);
        pgl_page_foreach_tb(code.table, page, count_first, counts);
        pgl_page_unlock(code.table, page);
        alive += counts[2];
        if (code.trapped[i] != (counts[1] > 0)) {
            soak_broken("page %#" PRIx64 " has %u blocks and is %strapped", page_index[i], counts[1],
                        code.trapped[i] ? "" : "not ");
        }
    }
    return alive;
}

void code_end(void)
{
    uint64_t links = 0, alive, findable = 0;
    struct pgl_table_stats stats;

    soak_self = &soak_worker[0];
    pgl_table_check(code.table, say, NULL);
    alive = count_alive();
    for (unsigned key = 0; key < N_KEYS; key++) {
        findable += code.found[key] != NULL;
    }
    for (unsigned i = 0; i < soak_workers; i++) {
        links += soak_worker[i].links;
    }
    if (links != code.killed + alive || findable != alive) {
        soak_broken("%" PRIu64 " links, %" PRIu64 " killed, %" PRIu64 " alive, %" PRIu64 " findable", links,
                    code.killed, alive, findable);
    }
    pgl_table_get_stats(code.table, &stats);
    printf("code: links=%" PRIu64 " killed=%" PRIu64 " alive=%" PRIu64 " retries=%" PRIu64 " contended=%" PRIu64
           " hot_bytes=%" PRIu64 "\n",
           links, code.killed, alive, stats.retries, stats.contended, stats.hot_bytes);
    pgl_flush(code.table, NULL);
    pgl_table_check(code.table, say, NULL);
    if (count_alive() != 0) {
        soak_broken("blocks live after a flush");
    }
    for (unsigned i = 0; i < soak_workers; i++) {
        free_limbo(&soak_worker[i], UINT64_MAX);
    }
    pgl_table_free(code.table);
    if (code.scratch) {
        leave_scratch(code.scratch);
    }
    code.scratch = NULL;
}

void code_report(void)
{
    for (unsigned i = 0; i < N_PAGES; i++) {
        struct pgl_page *page = pgl_page_find(code.table, page_index[i]);

        if (page && (__atomic_load_n(&page->head, __ATOMIC_RELAXED) & PGL_HEAD_LOCK)) {
            fprintf(stderr, "  page %#" PRIx64 " is locked, by worker %d (-1: by one inside the library)\n",
                    page_index[i], (int)code.owner[i] - 1);
        }
    }
}
