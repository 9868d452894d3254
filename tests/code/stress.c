/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "stress.h"

#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "emu.h"

enum {
    PAGE_BITS = 12,
    GRANULE = 16,
    GRANULES = (1 << PAGE_BITS) / GRANULE,
    N_PAGES = 8,
    N_KEYS = 160,
    MAX_COVER = 24, /* keys that cover one granule */
    MAX_GRANULES = 4,
    CACHE = 32,
    MAX_THREADS = 16,
};

/* Neighbours, both sides of a leaf's edge, one far away, the top one. */
static const uint64_t page_index[N_PAGES] = {5, 6, 7, 511, 512, 513, 0x9000, 0xfffffffff};

/* Where a block's bytes are: an extent or two. What can be found is looked up by key. */
struct key {
    unsigned page[2], first[2], n[2]; /* page number, first granule, number of granules; n[1] may be 0 */
};

struct block {
    struct pgl_tb tb; /* first */
    unsigned key;
    unsigned version[2][MAX_GRANULES];
    unsigned retired;
};

struct stress;

struct worker {
    struct stress *s;
    unsigned id;
    pthread_t thread;
    struct emu_random random;
    unsigned operations;
    struct block *blocks; /* as many as operations: none is used twice */
    unsigned n_blocks;
    struct block *running;
    struct block *cache[CACHE]; /* found without a lock by this thread, wiped by others */
    unsigned links, duplicates, restarts, stores, hits, broken;
};

struct stress {
    const struct stress_mix *mix;
    struct pgl_table *table;
    struct key keys[N_KEYS];
    pthread_mutex_t key_lock[N_KEYS];
    struct block *found[N_KEYS];
    unsigned version[N_PAGES][GRANULES];
    unsigned char covers[N_PAGES][GRANULES][MAX_COVER], n_covers[N_PAGES][GRANULES];
    unsigned trapped[N_PAGES]; /* under the page's lock */
    unsigned owner[N_PAGES];   /* who holds the page: 0, or a worker's number and one; under the page's lock */
    unsigned killed;
    pthread_barrier_t start;
    unsigned n_workers;
    struct worker workers[MAX_THREADS];
};

/* Something is as it must not be. The first few are told. */
static void __attribute__((format(printf, 2, 3))) broken(struct worker *w, const char *format, ...)
{
    va_list args;

    if (w->broken++ >= 3) {
        return;
    }
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
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

/* ---- the guest's side ---- */

static void first_code(uint64_t index, void *opaque)
{
    ((struct stress *)opaque)->trapped[number_of(index)] = 1;
}

static void no_code(uint64_t index, void *opaque)
{
    ((struct stress *)opaque)->trapped[number_of(index)] = 0;
}

static struct pgl_tb *publish(struct pgl_tb *tb, void *opaque)
{
    struct block *block = (struct block *)tb, *other;
    struct stress *s = opaque;

    pthread_mutex_lock(&s->key_lock[block->key]);
    other = s->found[block->key];
    if (!other) {
        s->found[block->key] = block;
    }
    pthread_mutex_unlock(&s->key_lock[block->key]);
    return other ? &other->tb : NULL;
}

static void retired(struct pgl_tb *chain, void *opaque)
{
    struct stress *s = opaque;

    for (struct pgl_tb *tb = chain; tb; tb = pgl_tb_chain_next(tb)) {
        struct block *block = (struct block *)tb;

        pthread_mutex_lock(&s->key_lock[block->key]);
        if (s->found[block->key] == block) {
            s->found[block->key] = NULL;
        }
        pthread_mutex_unlock(&s->key_lock[block->key]);
        for (unsigned i = 0; i < s->n_workers; i++) {
            struct block *cached = block;

            __atomic_compare_exchange_n(&s->workers[i].cache[block->key % CACHE], &cached, NULL, false,
                                        __ATOMIC_RELAXED, __ATOMIC_RELAXED);
        }
        __atomic_fetch_add(&block->retired, 1, __ATOMIC_RELEASE);
        __atomic_fetch_add(&s->killed, 1, __ATOMIC_RELAXED);
    }
}

static const struct pgl_tb_ops ops = {
    .first_code = first_code,
    .no_code = no_code,
    .publish = publish,
    .retired = retired,
};

static struct block *find(struct stress *s, unsigned key)
{
    struct block *block;

    pthread_mutex_lock(&s->key_lock[key]);
    block = s->found[key];
    pthread_mutex_unlock(&s->key_lock[key]);
    return block;
}

/* The version that a block has of a granule; UINT_MAX when it has no bytes there. */
static unsigned version_in(const struct stress *s, const struct block *block, unsigned page, unsigned granule)
{
    const struct key *key = &s->keys[block->key];
    unsigned oldest = ~0u;

    for (unsigned which = 0; which < 2; which++) {
        if (key->page[which] == page && granule - key->first[which] < key->n[which] &&
            block->version[which][granule - key->first[which]] < oldest) {
            oldest = block->version[which][granule - key->first[which]];
        }
    }
    return oldest;
}

/* A check has returned for a store that made this version: no block that can be found has an older one. */
static void check_fresh(struct worker *w, unsigned page, unsigned granule, unsigned version)
{
    struct stress *s = w->s;

    for (unsigned i = 0; i < s->n_covers[page][granule]; i++) {
        struct block *block = find(s, s->covers[page][granule][i]);

        if (block && version_in(s, block, page, granule) < version) {
            broken(w, "stale: page %#" PRIx64 " granule %u: version %u can be found, %u was stored", page_index[page],
                   granule, version_in(s, block, page, granule), version);
        }
    }
}

/* A store and the versions it made. */
struct write {
    uint64_t addr;
    unsigned len, n;
    unsigned page[5 + 1], granule[5 + 1], version[5 + 1];
};

/* Choose bytes, mostly short, often across a page's end. They are stored by raise(). */
static struct write choose_write(struct worker *w)
{
    unsigned page = (unsigned)emu_below(&w->random, N_PAGES);
    struct write write = {.len = 1 + (unsigned)emu_below(&w->random, emu_below(&w->random, 4) ? 8 : 64)};
    uint64_t offset = emu_below(&w->random, 1 << PAGE_BITS);

    if (emu_below(&w->random, 4) == 0) {
        offset = (1 << PAGE_BITS) - 1 - emu_below(&w->random, 8);
    }
    write.addr = (page_index[page] << PAGE_BITS) + offset;
    if (write.addr + write.len - 1 > UINT64_C(0xffffffffffff)) {
        write.addr -= 64;
    }
    for (uint64_t at = write.addr / GRANULE; at <= (write.addr + write.len - 1) / GRANULE; at++) {
        page = number_of(at / GRANULES); /* the next page may be none of ours */
        if (page == N_PAGES) {
            continue;
        }
        write.page[write.n] = page;
        write.granule[write.n++] = at % GRANULES;
    }
    return write;
}

static void raise(struct stress *s, struct write *write)
{
    for (unsigned i = 0; i < write->n; i++) {
        write->version[i] = __atomic_add_fetch(&s->version[write->page[i]][write->granule[i]], 1, __ATOMIC_RELAXED);
    }
}

static void check_write(struct worker *w, const struct write *write, const struct block *running, int answer)
{
    for (unsigned i = 0; i < write->n; i++) {
        check_fresh(w, write->page[i], write->granule[i], write->version[i]);
        if (running && !(answer & PGL_RUNNING_DEAD) &&
            version_in(w->s, running, write->page[i], write->granule[i]) < write->version[i]) {
            broken(w, "a vCPU was let run on in an old block");
        }
    }
    w->hits += answer & PGL_HIT;
    w->stores++;
}

/* ---- the workers ---- */

static void own(struct worker *w, uint64_t index)
{
    unsigned page = number_of(index);

    if (page == N_PAGES) {
        return;
    }
    if (w->s->owner[page]) {
        broken(w, "page %#" PRIx64 " is held twice", index);
    }
    w->s->owner[page] = w->id + 1;
}

static void disown(struct worker *w, uint64_t index)
{
    unsigned page = number_of(index);

    if (page != N_PAGES) {
        w->s->owner[page] = 0;
    }
}

/* Now and then, with pages held, let somebody else run into them. */
static void give_way(struct worker *w)
{
    if (emu_below(&w->random, 8) == 0) {
        sched_yield();
    }
}

/* The bracket holds the pages: own them, and read the versions. */
static void decode(struct worker *w, struct block *block, const struct key *key)
{
    struct stress *s = w->s;
    unsigned npages = key->n[1] && key->page[1] != key->page[0] ? 2 : 1;

    for (unsigned i = 0; i < npages; i++) {
        own(w, page_index[key->page[i]]);
    }
    for (unsigned which = 0; which < 2; which++) {
        for (unsigned i = 0; i < key->n[which]; i++) {
            block->version[which][i] =
                __atomic_load_n(&s->version[key->page[which]][key->first[which] + i], __ATOMIC_RELAXED);
        }
        if (key->n[which] && !s->trapped[key->page[which]]) {
            broken(w, "page %#" PRIx64 " is read without a trap", page_index[key->page[which]]);
        }
    }
    give_way(w);
    for (unsigned i = 0; i < npages; i++) {
        disown(w, page_index[key->page[i]]);
    }
}

static struct block *new_block(struct worker *w, unsigned key_number)
{
    struct block *block = &w->blocks[w->n_blocks++];
    const struct key *key = &w->s->keys[key_number];

    block->key = key_number;
    pgl_tb_init(&block->tb);
    for (unsigned which = 0; which < 2; which++) {
        if (key->n[which]) {
            pgl_tb_set_bytes(&block->tb, which, addr_of(key->page[which], key->first[which]),
                             addr_of(key->page[which], key->first[which] + key->n[which]) - 1);
        }
    }
    return block;
}

/*
 * The number of the page that the bracket of a block crosses into, or N_PAGES for none. When all bytes are on one page
 * it may be any page, that one again, or none: a decoder may look at a page of which it uses no byte.
 */
static unsigned choose_second(struct worker *w, const struct key *key)
{
    if (key->n[1] && key->page[1] != key->page[0]) {
        return key->page[1];
    }
    switch (emu_below(&w->random, 4)) {
    case 0:
        return (unsigned)emu_below(&w->random, N_PAGES);
    case 1:
        return key->page[0];
    default:
        return N_PAGES;
    }
}

/* Tell a bracket of a store; of one that it remembers so often that it may have no room left. */
static enum pgl_bracket_result tell_bracket(struct worker *w, struct pgl_bracket *bracket, const struct write *write)
{
    enum pgl_bracket_result result = pgl_bracket_store(bracket, write->addr, write->len);

    if (result == PGL_BRACKET_RESTART && emu_below(&w->random, 4) == 0) {
        for (unsigned n = (unsigned)emu_below(&w->random, 2 * PGL_BRACKET_STORES); n > 0; n--) {
            pgl_bracket_store(bracket, write->addr, write->len);
        }
    }
    return result;
}

/* Make a block; @write, unless NULL, is stored while its first decoding runs. */
static void make_block(struct worker *w, unsigned key_number, struct write *write)
{
    const struct key *key = &w->s->keys[key_number];
    unsigned second = choose_second(w, key);
    struct block *block = new_block(w, key_number);
    enum pgl_bracket_result result;
    struct pgl_bracket bracket;
    struct write *pending = write;
    struct pgl_tb *equal;

    if (!pgl_bracket_begin(&bracket, w->s->table, page_index[key->page[0]])) {
        broken(w, "no bracket");
        return;
    }
    do {
        result = second < N_PAGES ? pgl_bracket_cross(&bracket, page_index[second]) : PGL_BRACKET_OK;
        if (result == PGL_BRACKET_OK) {
            decode(w, block, key);
            if (pending) {
                raise(w->s, pending);
                if (tell_bracket(w, &bracket, pending) == PGL_BRACKET_OK) {
                    check_write(w, pending, NULL, 0);
                }
                pending = NULL;
            }
            result = pgl_bracket_commit(&bracket, &block->tb, &equal);
        }
        w->restarts += result == PGL_BRACKET_RESTART;
    } while (result == PGL_BRACKET_RESTART);
    if (write) {
        check_write(w, write, NULL, 0);
    }
    if (result == PGL_BRACKET_OK) {
        w->links++;
    } else {
        w->duplicates++;
    }
    if (result == PGL_BRACKET_ERROR || (result == PGL_BRACKET_OK) != (equal == &block->tb)) {
        broken(w, "commit answers %d and another block", (int)result);
    }
}

static void do_translate(struct worker *w)
{
    unsigned key = (unsigned)emu_below(&w->random, N_KEYS);

    if (!find(w->s, key) || emu_below(&w->random, 4) == 0) {
        make_block(w, key, NULL);
    }
}

static void do_store_inside(struct worker *w)
{
    struct write write = choose_write(w);

    make_block(w, (unsigned)emu_below(&w->random, N_KEYS), &write);
}

static void do_abort(struct worker *w)
{
    struct pgl_bracket bracket;
    uint64_t second = page_index[emu_below(&w->random, N_PAGES)];

    if (!pgl_bracket_begin(&bracket, w->s->table, page_index[emu_below(&w->random, N_PAGES)])) {
        return;
    }
    w->restarts += pgl_bracket_cross(&bracket, second) == PGL_BRACKET_RESTART;
    pgl_bracket_abort(&bracket);
}

static void do_find(struct worker *w)
{
    unsigned key = (unsigned)emu_below(&w->random, N_KEYS);
    struct block *block = find(w->s, key);

    if (!block) {
        return;
    }
    __atomic_store_n(&w->cache[key % CACHE], block, __ATOMIC_RELAXED);
    pgl_fence();
    if (!pgl_tb_is_live(&block->tb)) {
        __atomic_store_n(&w->cache[key % CACHE], NULL, __ATOMIC_RELAXED);
    }
    w->running = block;
}

static void do_store(struct worker *w)
{
    struct write write = choose_write(w);
    struct block *running = w->running;
    int answer;

    raise(w->s, &write);
    answer = pgl_store_check(w->s->table, write.addr, write.len, running ? &running->tb : NULL);
    check_write(w, &write, running, answer);
    if (answer & PGL_RUNNING_DEAD) {
        w->running = NULL;
    }
}

static void do_store_bracket(struct worker *w)
{
    struct write write = choose_write(w);
    struct block *running = w->running;
    struct pgl_store store;
    int answer = pgl_store_begin(&store, w->s->table, write.addr, write.len, running ? &running->tb : NULL);

    if (answer < 0) {
        broken(w, "no store bracket");
        return;
    }
    give_way(w);
    raise(w->s, &write);
    pgl_store_end(&store);
    check_write(w, &write, running, answer);
    if (answer & PGL_RUNNING_DEAD) {
        w->running = NULL;
    }
}

static void do_kill(struct worker *w)
{
    struct block *block = find(w->s, (unsigned)emu_below(&w->random, N_KEYS));

    if (!block) {
        return;
    }
    pgl_invalidate_tb(w->s->table, &block->tb, NULL);
    if (pgl_tb_is_live(&block->tb) || __atomic_load_n(&block->retired, __ATOMIC_ACQUIRE) != 1) {
        broken(w, "an invalidated block was retired %u times when the call returned", block->retired);
    }
}

/* Write all of some pages and invalidate them at once. */
static void do_range(struct worker *w)
{
    unsigned first = (unsigned)emu_below(&w->random, N_PAGES), last = first + (unsigned)emu_below(&w->random, 3);
    unsigned probe[N_PAGES], version[N_PAGES]; /* one granule a page is looked at afterwards */
    struct stress *s = w->s;

    if (last >= N_PAGES) {
        last = N_PAGES - 1;
    }
    if (emu_below(&w->random, 8) == 0) {
        first = 0;
        last = N_PAGES - 1;
    }
    for (unsigned page = first; page <= last; page++) {
        probe[page] = (unsigned)emu_below(&w->random, GRANULES);
        for (unsigned granule = 0; granule < GRANULES; granule++) {
            unsigned made = __atomic_add_fetch(&s->version[page][granule], 1, __ATOMIC_RELAXED);

            if (granule == probe[page]) {
                version[page] = made;
            }
        }
    }
    if (first == 0 && last == N_PAGES - 1) {
        pgl_flush(s->table, NULL);
    } else if (first == last) {
        pgl_invalidate_page(s->table, page_index[first], NULL);
    } else {
        pgl_invalidate_range(s->table, page_index[first] << PAGE_BITS,
                             page_index[last] << PAGE_BITS | ((1 << PAGE_BITS) - 1), NULL);
    }
    for (unsigned page = first; page <= last; page++) {
        check_fresh(w, page, probe[page], version[page]);
    }
}

static bool partner_is_ours(struct pgl_tb *tb, void *opaque)
{
    struct worker *w = opaque;

    for (unsigned which = 0; which < 2; which++) {
        if (tb->first[which] <= tb->last[which] && w->s->owner[number_of(tb->first[which] >> PAGE_BITS)] != w->id + 1) {
            broken(w, "a block's page is not in the collection");
        }
    }
    return true;
}

static void do_collection(struct worker *w)
{
    unsigned first = (unsigned)emu_below(&w->random, N_PAGES), last = first + (unsigned)emu_below(&w->random, 3);
    struct pgl_collection collection;
    struct pgl_page *page;
    uint64_t index, before = 0;

    last = last < N_PAGES ? last : N_PAGES - 1;
    if (!pgl_collection_lock(&collection, w->s->table, page_index[first] << PAGE_BITS, page_index[last] << PAGE_BITS)) {
        broken(w, "no collection");
        return;
    }
    for (index = 0; pgl_collection_next(&collection, &index); before = index++) {
        own(w, index);
        if (before > index) {
            broken(w, "a collection out of order");
        }
    }
    if (before != pgl_collection_max(&collection) && pgl_collection_max(&collection) != UINT64_MAX) {
        broken(w, "the last member is not the highest");
    }
    give_way(w);
    index = page_index[first];
    for (; (page = pgl_collection_next(&collection, &index)) && index <= page_index[last]; index++) {
        pgl_page_foreach_tb(w->s->table, page, partner_is_ours, w);
    }
    for (index = 0; pgl_collection_next(&collection, &index); index++) {
        disown(w, index);
    }
    pgl_collection_unlock(&collection);
}

static void do_one(struct worker *w)
{
    const struct stress_mix *mix = w->s->mix;
    const struct {
        unsigned share;
        void (*run)(struct worker *w);
    } all[] = {
        {mix->translate, do_translate}, {mix->abort, do_abort}, {mix->store_inside, do_store_inside},
        {mix->find, do_find},           {mix->store, do_store}, {mix->store_bracket, do_store_bracket},
        {mix->kill, do_kill},           {mix->range, do_range}, {mix->collection, do_collection},
    };
    unsigned sum = 0, at = 0, choice;

    for (unsigned i = 0; i < sizeof(all) / sizeof(*all); i++) {
        sum += all[i].share;
    }
    for (choice = (unsigned)emu_below(&w->random, sum); choice >= all[at].share; at++) {
        choice -= all[at].share;
    }
    all[at].run(w);
    pgl_assert_none_held();
}

static void *work(void *opaque)
{
    struct worker *w = opaque;

    pthread_barrier_wait(&w->s->start);
    for (unsigned i = 0; i < w->operations; i++) {
        do_one(w);
    }
    return NULL;
}

/* ---- a run ---- */

static void cover(struct stress *s, unsigned key, unsigned which)
{
    const struct key *k = &s->keys[key];

    for (unsigned granule = k->first[which]; granule < k->first[which] + k->n[which]; granule++) {
        unsigned page = k->page[which];

        /* No more than can be remembered: the key is then one page's only. */
        if (s->n_covers[page][granule] < MAX_COVER) {
            s->covers[page][granule][s->n_covers[page][granule]++] = (unsigned char)key;
        }
    }
}

/* A third of the keys on one page, a third falling from a page to the one before, the rest anyhow. */
static void choose_keys(struct stress *s, struct emu_random *random)
{
    for (unsigned i = 0; i < N_KEYS; i++) {
        struct key *key = &s->keys[i];

        key->page[0] = (unsigned)emu_below(random, N_PAGES);
        key->n[0] = 1 + (unsigned)emu_below(random, MAX_GRANULES);
        key->first[0] = (unsigned)emu_below(random, GRANULES - key->n[0] + 1);
        if (i % 3) {
            key->page[1] = (unsigned)emu_below(random, N_PAGES);
            key->n[1] = 1 + (unsigned)emu_below(random, MAX_GRANULES);
            key->first[1] = (unsigned)emu_below(random, GRANULES - key->n[1] + 1);
            if (i % 3 == 1) {
                key->page[1] = key->page[0] ? key->page[0] - 1 : 0;
                key->first[0] = GRANULES - key->n[0];
                key->first[1] = 0;
            }
        }
        cover(s, i, 0);
        cover(s, i, 1);
    }
}

static bool count_first(struct pgl_tb *tb, void *opaque)
{
    unsigned *counts = opaque; /* the page's number, all on it, those that begin on it */

    counts[1]++;
    counts[2] += tb->first[0] >> PAGE_BITS == page_index[counts[0]];
    return true;
}

static void say(const char *what, void *opaque)
{
    (void)opaque;
    fprintf(stderr, "pgl_table_check: %s\n", what);
}

/* After all threads have ended: how many blocks live. Adds what is wrong to the first worker. */
static unsigned check_end(struct stress *s)
{
    struct worker *w = &s->workers[0];
    unsigned alive = 0, findable = 0;

    if (pgl_table_check(s->table, say, NULL)) {
        broken(w, "the table is not sound");
    }
    for (unsigned page = 0; page < N_PAGES; page++) {
        struct pgl_page *descriptor = pgl_page_get(s->table, page_index[page]);
        unsigned counts[3] = {page, 0, 0};

        pgl_page_lock(s->table, descriptor);
        pgl_page_foreach_tb(s->table, descriptor, count_first, counts);
        pgl_page_unlock(s->table, descriptor);
        alive += counts[2];
        if (s->trapped[page] != (counts[1] > 0)) {
            broken(w, "page %#" PRIx64 " has %u blocks and is %strapped", page_index[page], counts[1],
                   s->trapped[page] ? "" : "not ");
        }
    }
    for (unsigned key = 0; key < N_KEYS; key++) {
        if (!s->found[key]) {
            continue;
        }
        findable++;
        if (!pgl_tb_is_live(&s->found[key]->tb)) {
            broken(w, "a dead block can be found");
        }
    }
    if (findable != alive) {
        broken(w, "%u blocks can be found, %u live", findable, alive);
    }
    for (unsigned i = 0; i < s->n_workers; i++) {
        for (unsigned at = 0; at < CACHE; at++) {
            if (s->workers[i].cache[at] && !pgl_tb_is_live(&s->workers[i].cache[at]->tb)) {
                broken(w, "a dead block stayed in a cache");
            }
        }
        for (unsigned at = 0; at < s->workers[i].n_blocks; at++) {
            const struct block *block = &s->workers[i].blocks[at];

            if (block->retired != (block->tb.state == PGL_TB_DEAD)) {
                broken(w, "a block in state %u was retired %u times", block->tb.state, block->retired);
            }
        }
    }
    return alive;
}

/* Run with so many threads; the number of things that were wrong. */
static unsigned run(const struct stress_mix *mix, unsigned n_workers, unsigned operations, uint64_t seed)
{
    struct pgl_table_config config = {.page_bits = PAGE_BITS, .addr_bits = 48, .ops = &ops};
    struct stress *s = calloc(1, sizeof(*s));
    struct emu_random random = {seed};
    struct pgl_table_stats stats;
    unsigned links = 0, duplicates = 0, restarts = 0, stores = 0, hits = 0, wrong, alive;

    s->mix = mix;
    s->n_workers = n_workers;
    config.opaque = s;
    s->table = pgl_table_new(&config);
    choose_keys(s, &random);
    for (unsigned i = 0; i < N_KEYS; i++) {
        pthread_mutex_init(&s->key_lock[i], NULL);
    }
    pthread_barrier_init(&s->start, NULL, n_workers);
    for (unsigned i = 0; i < n_workers; i++) {
        struct worker *w = &s->workers[i];

        w->s = s;
        w->id = i;
        w->random.state = emu_random(&random);
        w->operations = operations / n_workers;
        w->blocks = aligned_alloc(16, w->operations * sizeof(*w->blocks));
        memset(w->blocks, 0, w->operations * sizeof(*w->blocks));
    }
    for (unsigned i = 0; i < n_workers; i++) {
        pthread_create(&s->workers[i].thread, NULL, work, &s->workers[i]);
    }
    for (unsigned i = 0; i < n_workers; i++) {
        pthread_join(s->workers[i].thread, NULL);
    }

    alive = check_end(s);
    wrong = 0;
    for (unsigned i = 0; i < n_workers; i++) {
        struct worker *w = &s->workers[i];

        links += w->links;
        duplicates += w->duplicates;
        restarts += w->restarts;
        stores += w->stores;
        hits += w->hits;
        wrong += w->broken;
    }
    if (links != s->killed + alive) {
        fprintf(stderr, "links are not killed and alive\n");
        wrong++;
    }
    pgl_table_get_stats(s->table, &stats);
    printf("%s: threads=%u links=%u duplicates=%u killed=%u alive=%u stores=%u hits=%u restarts=%u retries=%" PRIu64
           " contended=%" PRIu64 " hot_bytes=%" PRIu64 " wrong=%u\n",
           mix->name, n_workers, links, duplicates, s->killed, alive, stores, hits, restarts, stats.retries,
           stats.contended, stats.hot_bytes, wrong);
    for (unsigned i = 0; i < n_workers; i++) {
        free(s->workers[i].blocks);
    }
    for (unsigned i = 0; i < N_KEYS; i++) {
        pthread_mutex_destroy(&s->key_lock[i]);
    }
    pthread_barrier_destroy(&s->start);
    pgl_table_free(s->table);
    free(s);
    return wrong;
}

int stress_main(const struct stress_mix *mix)
{
    const char *times = getenv("PGL_STRESS"), *threads = getenv("PGL_THREADS");
    unsigned operations = mix->operations * (times ? (unsigned)strtoul(times, NULL, 0) : 1), wrong = 0;
    uint64_t seed = emu_seed(mix->name);

    for (unsigned n = 2; n <= MAX_THREADS; n *= 2) {
        if (threads && strtoul(threads, NULL, 0) != n) {
            continue;
        }
        wrong += run(mix, n, operations, seed + n);
    }
    return wrong ? 1 : 0;
}
