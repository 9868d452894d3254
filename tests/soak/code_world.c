/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "code_world.h"

#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../fences.h"
#include "code.h"

struct code code;

const uint64_t code_index[N_PAGES] = {5,      6,      7,        511,      512,         513,
                                      0x4003, 0x9000, 0x100000, 0x100001, 0xffffffffe, 0xfffffffff};

unsigned code_page_of(uint64_t index)
{
    unsigned page = 0;

    while (page < N_PAGES && code_index[page] != index) {
        page++;
    }
    return page;
}

void code_own(struct worker *w, uint64_t index)
{
    unsigned page = code_page_of(index);

    if (page == N_PAGES) {
        return;
    }
    if (code.owner[page]) {
        soak_broken("page %#" PRIx64 " is held twice", index);
    }
    code.owner[page] = w->id + 1;
}

void code_disown(struct worker *w, uint64_t index)
{
    unsigned page = code_page_of(index);

    if (page == N_PAGES) {
        return;
    }
    if (code.owner[page] != w->id + 1) {
        soak_broken("page %#" PRIx64 " was taken while it was held", index);
    }
    code.owner[page] = 0;
}

void code_give_way(struct worker *w)
{
    if (below(w, 16) == 0) {
        sched_yield();
    }
}

/* ---- blocks that die ---- */

/*
 * A block is retired in some epoch. An epoch ends when all threads have begun an operation in it. Three epochs later
 * each thread has begun one after the block could last be found or cached, and after the operation that retired it:
 * therefore no thread holds it.
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

        for (unsigned i = 0; i < soak_workers && block->key < N_KEYS; i++) {
            if (__atomic_load_n(&code.cache[i][block->key % CACHE], __ATOMIC_RELAXED) == block) {
                soak_broken("a dead block stayed in a cache");
            }
        }
        w->limbo = block->next;
        free(block);
    }
}

/* ---- moments in which all workers are stopped ---- */

/* Either this worker sees that it is to stop, or the one that stops the others sees it inside. */
static void wait_to_enter(struct worker *w)
{
    __atomic_store_n(&w->inside, true, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&code.stopped, __ATOMIC_SEQ_CST)) {
        __atomic_store_n(&w->inside, false, __ATOMIC_SEQ_CST);
        sched_yield();
        __atomic_store_n(&w->inside, true, __ATOMIC_SEQ_CST);
    }
}

static void leave(struct worker *w)
{
    __atomic_store_n(&w->inside, false, __ATOMIC_RELEASE);
}

bool code_stop(struct worker *w)
{
    bool stopped = false;

    if (soak_mistake == MISTAKE_HANG) { /* a page stays locked */
        return false;
    }
    if (!__atomic_compare_exchange_n(&code.stopped, &stopped, true, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) {
        return false;
    }
    for (unsigned i = 0; i < soak_workers; i++) {
        while (&soak_worker[i] != w && __atomic_load_n(&soak_worker[i].inside, __ATOMIC_SEQ_CST)) {
            sched_yield();
        }
    }
    return true;
}

void code_go_on(void)
{
    __atomic_store_n(&code.stopped, false, __ATOMIC_SEQ_CST);
}

void code_forget_all(void)
{
    for (unsigned key = 0; key < N_KEYS; key++) {
        struct block *block = code.found[key];

        if (!block) {
            continue;
        }
        for (unsigned i = 0; i < soak_workers; i++) {
            struct block **slot = &code.cache[i][key % CACHE];

            *slot = *slot == block ? NULL : *slot;
        }
        code.found[key] = NULL;
        code.forgotten++;
        free(block);
    }
    memcpy(code.left, code.trapped, sizeof(code.left));
}

static void enter(struct worker *w)
{
    uint64_t epoch;

    wait_to_enter(w);
    epoch = __atomic_load_n(&code.epoch, __ATOMIC_SEQ_CST);
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

static void set_trap(unsigned page, bool trapped)
{
    code.trapped[page] = trapped;
    code.left[page] = false;
}

static void first_code(uint64_t index, void *opaque)
{
    (void)opaque;
    set_trap(code_page_of(index), true);
}

static void no_code(uint64_t index, void *opaque)
{
    (void)opaque;
    if (!code.trapped[code_page_of(index)]) {
        soak_broken("page %#" PRIx64 " loses the trap that it has not", index);
    }
    set_trap(code_page_of(index), false);
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

/* No thread finds the block any more, in a cache neither. */
static void forget(struct block *block)
{
    struct block *found = block;

    if (!__atomic_compare_exchange_n(&code.found[block->key], &found, NULL, false, __ATOMIC_ACQ_REL,
                                     __ATOMIC_ACQUIRE)) {
        soak_broken("a block was retired that could not be found");
    }
    for (unsigned i = 0; i < soak_workers; i++) {
        struct block **slot = &code.cache[i][block->key % CACHE], *cached = block;

        __atomic_compare_exchange_n(slot, &cached, NULL, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    }
}

static void retired(struct pgl_tb *chain, void *opaque)
{
    struct pgl_tb *next;

    (void)opaque;
    for (struct pgl_tb *tb = chain; tb; tb = next) {
        struct block *block = (struct block *)tb;

        next = pgl_tb_chain_next(tb);
        if (block->key < N_KEYS) {
            forget(block);
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

unsigned code_pages_of(const struct key *key, unsigned *pages)
{
    unsigned n = 0;

    for (unsigned which = 0; which < key->n; which++) {
        unsigned i = 0;

        while (i < n && pages[i] != key->page[which]) {
            i++;
        }
        if (i == n) {
            pages[n++] = key->page[which];
        }
    }
    return n;
}

struct block *code_new_block(unsigned key_number)
{
    struct block *block = aligned_alloc(16, (sizeof(*block) + 15) & ~(size_t)15);

    memset(block, 0, sizeof(*block));
    block->key = key_number;
    pgl_tb_init(&block->tb);
    if (key_number < N_KEYS) {
        const struct key *key = &code.keys[key_number];

        for (unsigned which = 0; which < key->n; which++) {
            uint64_t addr = code_addr_of(key->page[which], key->first[which]);

            pgl_extent_set(&block->extents[which], addr, addr + key->len[which] * GRANULE - 1);
        }
        pgl_tb_set_extents(&block->tb, block->extents, key->n);
    }
    return block;
}

unsigned code_version_in(const struct block *block, unsigned page, unsigned granule)
{
    const struct key *key = &code.keys[block->key];
    unsigned oldest = ~0u;

    for (unsigned which = 0; which < key->n; which++) {
        unsigned at = granule - key->first[which];

        if (key->page[which] == page && at < key->len[which] && block->version[which][at] < oldest) {
            oldest = block->version[which][at];
        }
    }
    return oldest;
}

void code_check_fresh(unsigned page, unsigned granule, unsigned version)
{
    const struct cover *cover = &code.cover[page][granule];

    for (unsigned i = 0; i < cover->n; i++) {
        struct block *block = code_find_block(cover->key[i]);

        if (block && code_version_in(block, page, granule) < version) {
            soak_broken("stale: page %#" PRIx64 " granule %u: version %u can be found, %u was stored", code_index[page],
                        granule, code_version_in(block, page, granule), version);
        }
    }
}

/* ---- a run ---- */

static bool has_room(unsigned page, unsigned first, unsigned len)
{
    for (unsigned granule = first; granule < first + len; granule++) {
        if (code.cover[page][granule].n == MAX_COVER) {
            return false;
        }
    }
    return true;
}

/* Give a key an extent on a page. Half of those that cross do so where code does: from a page's end to a page's start. */
static void choose_extent(uint64_t *random, unsigned key_number, unsigned which, unsigned page)
{
    struct key *key = &code.keys[key_number];
    bool at_edge = which < 2 && key_number % N_CLASSES >= HIGHER && key_number / N_CLASSES % 2 == 0;
    unsigned len = 1 + (unsigned)soak_below(random, EXTENT_MAX);
    unsigned first = which ? 0 : GRANULES - len;

    if (!at_edge) {
        first = (unsigned)soak_below(random, GRANULES - len + 1);
    }
    while (!has_room(page, first, len)) {
        first = (unsigned)soak_below(random, GRANULES - len + 1);
    }
    for (unsigned granule = first; granule < first + len; granule++) {
        struct cover *cover = &code.cover[page][granule];

        cover->key[cover->n++] = key_number;
    }
    key->page[which] = page;
    key->first[which] = first;
    key->len[which] = len;
    key->n = which + 1;
}

static unsigned extents_of_super(unsigned number)
{
    return number % 4 ? 3 + number % 3 : 6 + number / 4 % (EXTENTS - 5);
}

static void begin(uint64_t seed)
{
    struct pgl_table_config config = {.page_bits = PAGE_BITS, .addr_bits = 48, .ops = &ops};

    memset(&code, 0, sizeof(code));
    code.epoch = 1;
    config.asymmetric_fences = soak_below(&seed, 2);
    config.hot_bytes_max = soak_below(&seed, 2) ? 0 : HOT_BYTES;
    code.table = new_table_with_fences(&config);
    printf("code: asymmetric_fences=%d hot_bytes_max=%" PRIu64 "\n", config.asymmetric_fences, config.hot_bytes_max);
    for (unsigned i = 0; i < N_KEYS; i++) {
        unsigned low = (unsigned)soak_below(&seed, N_PAGES - 1);
        unsigned high = low + 1 + (unsigned)soak_below(&seed, N_PAGES - 1 - low);
        enum class class = i % N_CLASSES;

        if (i % 3 == 0) {
            high = low + 1;
        }
        choose_extent(&seed, i, 0, class == LOWER ? high : low);
        if (class != ONE) {
            choose_extent(&seed, i, 1, class == HIGHER ? high : low);
        }
        for (unsigned which = 2; class == SUPER && which < extents_of_super(i / N_CLASSES); which++) {
            choose_extent(&seed, i, which, (unsigned)soak_below(&seed, N_PAGES));
        }
    }
}

static void say(const char *what, void *opaque)
{
    (void)opaque;
    soak_broken("pgl_table_check: %s", what);
}

void code_check_table(void)
{
    pgl_table_check(code.table, say, NULL);
}

static bool count_first(struct pgl_tb *tb, void *opaque)
{
    unsigned *counts = opaque; /* the page's number, all blocks on it, those that begin on it */

    counts[1]++;
    counts[2] += pgl_tb_first_addr(tb, 0) >> PAGE_BITS == code_index[counts[0]];
    return true;
}

static uint64_t count_alive(void)
{
    uint64_t alive = 0;

    for (unsigned i = 0; i < N_PAGES; i++) {
        struct pgl_page *page = pgl_page_get(code.table, code_index[i]);
        unsigned counts[3] = {i, 0, 0};

        pgl_page_lock(code.table, page);
        pgl_page_foreach_tb(code.table, page, count_first, counts);
        pgl_page_unlock(code.table, page);
        alive += counts[2];
        if (code.trapped[i] != (counts[1] > 0 || code.left[i])) {
            soak_broken("page %#" PRIx64 " has %u blocks and is %strapped", code_index[i], counts[1],
                        code.trapped[i] ? "" : "not ");
        }
    }
    return alive;
}

static uint64_t count_findable(void)
{
    uint64_t findable = 0;

    for (unsigned key = 0; key < N_KEYS; key++) {
        if (code.found[key]) {
            findable++;
            if (!pgl_tb_is_live(&code.found[key]->tb)) {
                soak_broken("a dead block can be found");
            }
        }
    }
    return findable;
}

static void end(void)
{
    uint64_t alive, findable;
    struct pgl_table_stats stats;
    struct worker sum = {0};

    soak_self = &soak_worker[0];
    code_check_table();
    alive = count_alive();
    findable = count_findable();
    for (unsigned i = 0; i < soak_workers; i++) {
        sum.links += soak_worker[i].links;
        sum.equals += soak_worker[i].equals;
        sum.restarts += soak_worker[i].restarts;
        sum.stores += soak_worker[i].stores;
        sum.hits += soak_worker[i].hits;
    }
    if (sum.links != code.killed + code.forgotten + alive || findable != alive) {
        soak_broken("%" PRIu64 " links, %" PRIu64 " killed, %" PRIu64 " forgotten, %" PRIu64 " alive, %" PRIu64
                    " findable",
                    sum.links, code.killed, code.forgotten, alive, findable);
    }
    pgl_table_get_stats(code.table, &stats);
    printf("code: links=%" PRIu64 " equals=%" PRIu64 " killed=%" PRIu64 " forgotten=%" PRIu64 " alive=%" PRIu64
           " stores=%" PRIu64 " hits=%" PRIu64 " restarts=%" PRIu64 " retries=%" PRIu64 " contended=%" PRIu64
           " hot_bytes=%" PRIu64 "\n",
           sum.links, sum.equals, code.killed, code.forgotten, alive, sum.stores, sum.hits, sum.restarts, stats.retries,
           stats.contended, stats.hot_bytes);
    pgl_flush(code.table, NULL);
    code_check_table();
    if (count_alive() != 0 || memchr(code.left, true, sizeof(code.left))) {
        soak_broken("blocks or traps are there after a flush");
    }
    for (unsigned i = 0; i < soak_workers; i++) {
        free_limbo(&soak_worker[i], UINT64_MAX);
    }
    pgl_table_free(code.table);
    code_leave_last_scratch();
}

static void report(void)
{
    for (unsigned i = 0; i < N_PAGES; i++) {
        struct pgl_page *page = pgl_page_find(code.table, code_index[i]);

        if (page && (__atomic_load_n(&page->head, __ATOMIC_RELAXED) & PGL_HEAD_LOCK)) {
            fprintf(stderr, "  page %#" PRIx64 " is locked, by worker %d (-1: by one inside the library)\n",
                    code_index[i], (int)code.owner[i] - 1);
        }
    }
}

const struct half code_half = {.begin = begin, .enter = enter, .leave = leave, .end = end, .report = report};
