/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "world.h"

struct world world;

unsigned int world_page_of(uint64_t index)
{
    unsigned int page = 0;

    while (page < PAGES && INDEX(page) != index) {
        page++;
    }
    return page;
}

/* A waiter that wrote would wake the other waiters, for ever. */
static void lock_traps(void)
{
    uintptr_t unlocked = 0;

    while (!__atomic_compare_exchange_n(&world.trap_lock, &unlocked, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
        pgl_explore_wait(&world.trap_lock);
        unlocked = 0;
    }
}

static void unlock_traps(void)
{
    __atomic_store_n(&world.trap_lock, 0, __ATOMIC_RELEASE);
}

static void set_trap(uint64_t index, bool on)
{
    if (world.fences_traps) {
        __atomic_store_n(&world.trapped[world_page_of(index)], on, __ATOMIC_RELEASE);
        return;
    }
    if (world.uses_traps) {
        lock_traps();
    }
    world.trapped[world_page_of(index)] = on;
    if (world.uses_traps) {
        unlock_traps();
    }
}

static void first_code(uint64_t index, void *opaque)
{
    (void)opaque;
    set_trap(index, true);
}

static void no_code(uint64_t index, void *opaque)
{
    (void)opaque;
    explore_check(world.trapped[world_page_of(index)]);
    set_trap(index, false);
}

/* Equal keys mean equal pages; therefore entries of one key are written under the same page locks. */
static struct pgl_tb *publish(struct pgl_tb *tb, void *opaque)
{
    struct block *block = (struct block *)tb;
    struct block *other = __atomic_load_n(&world.found[block->key], __ATOMIC_RELAXED);

    (void)opaque;
    if (other) {
        explore_check(pgl_tb_is_live(&other->tb));
        return &other->tb;
    }
    __atomic_store_n(&world.found[block->key], block, __ATOMIC_RELEASE);
    return NULL;
}

static void retired(struct pgl_tb *chain, void *opaque)
{
    (void)opaque;
    explore_check(chain);
    for (struct pgl_tb *next; chain; chain = next) {
        struct block *block = (struct block *)chain;

        next = pgl_tb_chain_next(chain);
        explore_check(!pgl_tb_is_live(chain));
        explore_check(block->retired++ == 0);
        if (block->nparts > 0 && __atomic_load_n(&world.found[block->key], __ATOMIC_RELAXED) == block) {
            __atomic_store_n(&world.found[block->key], NULL, __ATOMIC_RELEASE);
        }
        for (int t = 0; t < EXPLORE_THREADS; t++) {
            if (__atomic_load_n(&world.cached[t], __ATOMIC_RELAXED) == &block->tb) {
                __atomic_store_n(&world.cached[t], NULL, __ATOMIC_RELAXED);
            }
        }
    }
}

static const struct pgl_tb_ops ops = {first_code, no_code, publish, retired};

static void init_table(unsigned int addr_bits, bool asymmetric_fences)
{
    const struct pgl_table_config config = {
        .page_bits = PAGE_BITS, .addr_bits = addr_bits, .asymmetric_fences = asymmetric_fences, .ops = &ops};

    world = (struct world){.used_keys = 2};
    world.table = pgl_table_new(&config);
    explore_check(world.table);
    for (unsigned int i = 0; i < BLOCKS; i++) {
        pgl_tb_init(&world.blocks[i].tb);
    }
}

void world_init_empty(void)
{
    init_table(24, false); /* a root of eight leaves */
}

void world_init_deep(void)
{
    init_table(34, false); /* a root of nodes */
}

void world_init_asymmetric(void)
{
    init_table(24, true);
}

void world_init(void)
{
    world_init_empty();
    explore_check(pgl_page_get(world.table, 0));
}

void world_reset(void)
{
    pgl_table_reset(world.table);
    for (unsigned int i = 0; i < BLOCKS; i++) {
        world.blocks[i] = (struct block){0};
        pgl_tb_init(&world.blocks[i].tb);
    }
    for (unsigned int key = 0; key < KEYS; key++) {
        world.found[key] = NULL;
    }
}

static void say(const char *what, void *opaque)
{
    (void)opaque;
    explore_fail("pgl_table_check: %s", what);
}

static void check_block(const struct block *block)
{
    bool live = pgl_tb_is_live(&block->tb);

    if (!block->linked) {
        explore_check(!live && block->retired == 0);
        return;
    }
    explore_check(live == (block->retired == 0));
    if (block->nparts > 0) {
        explore_check(live == (world.found[block->key] == block));
    }
    for (unsigned int i = 0; i < block->nparts && live; i++) {
        const struct part *part = &block->parts[i];
        explore_check(part->seen == world.memory[part->page][part->slot]);
        explore_check(world.trapped[part->page]);
    }
}

void world_final(void)
{
    for (unsigned int i = 0; i < BLOCKS; i++) {
        check_block(&world.blocks[i]);
    }
    for (int t = 0; t < EXPLORE_THREADS; t++) {
        explore_check(!world.cached[t] || pgl_tb_is_live(world.cached[t]));
    }
    if (explore_sample(32)) {
        pgl_table_check(world.table, say, NULL);
    }
    explore_check(pgl_flush(world.table, NULL) >= 0);
    for (unsigned int i = 0; i < BLOCKS; i++) {
        const struct block *block = &world.blocks[i];
        explore_check(block->nparts == 0 || block->retired == (block->linked ? 1 : 0));
    }
    for (unsigned int page = 0; page < PAGES; page++) {
        explore_check(!world.trapped[page]);
    }
    if (explore_sample(32)) {
        uint64_t index = 0;

        pgl_table_trim(world.table);
        explore_check(!pgl_page_next(world.table, &index, UINT64_MAX));
    }
    pgl_table_free(world.table);
}

uint64_t guest_load(unsigned int page, unsigned int slot)
{
    return __atomic_load_n(&world.memory[page][slot], __ATOMIC_RELAXED);
}

void guest_store(unsigned int page, unsigned int slot, uint64_t value)
{
    __atomic_store_n(&world.memory[page][slot], value, __ATOMIC_RELAXED);
}

static void decode(struct block *block, unsigned int which, unsigned int page, unsigned int slot)
{
    block->parts[which] = (struct part){page, slot, guest_load(page, slot)};
    block->nparts = which + 1;
    pgl_tb_set_bytes(&block->tb, which, ADDR(page, slot), LAST_ADDR(page, slot));
}

/* The first part is read as soon as it can be, so that a crossing that takes the pages anew makes it void. */
bool translate_shape(unsigned int number, unsigned int key, const struct shape *shape)
{
    struct block *block = &world.blocks[number];
    bool begins = shape->parts[0].page == shape->begin;
    struct pgl_bracket bracket;
    enum pgl_bracket_result result;
    struct pgl_tb *equal;

    block->key = key;
    explore_check(pgl_bracket_begin(&bracket, world.table, INDEX(shape->begin)));
    do {
        pgl_tb_init(&block->tb);
        if (begins) {
            decode(block, 0, shape->parts[0].page, shape->parts[0].slot);
        }
        result = PGL_BRACKET_OK;
        if (shape->cross != NO_CROSSING) {
            result = pgl_bracket_cross(&bracket, INDEX(shape->cross));
            explore_check(result == PGL_BRACKET_OK || result == PGL_BRACKET_RESTART);
        }
        if (result == PGL_BRACKET_OK) {
            for (unsigned int i = begins; i < shape->nparts; i++) {
                decode(block, i, shape->parts[i].page, shape->parts[i].slot);
            }
            result = pgl_bracket_commit(&bracket, &block->tb, &equal);
        }
    } while (result == PGL_BRACKET_RESTART);
    block->linked = result == PGL_BRACKET_OK;
    explore_check(block->linked == (equal == &block->tb));
    return block->linked;
}

bool translate_many(unsigned int number, unsigned int key, const struct part *parts, unsigned int n)
{
    struct block *block = &world.blocks[number];
    struct pgl_bracket bracket;
    enum pgl_bracket_result result;

    block->key = key;
    explore_check(pgl_bracket_begin(&bracket, world.table, INDEX(parts[0].page)));
    do {
        result = PGL_BRACKET_OK;
        pgl_tb_init(&block->tb);
        for (unsigned int i = 0; i < n && result == PGL_BRACKET_OK; i++) {
            result = pgl_bracket_cross(&bracket, INDEX(parts[i].page));
            explore_check(result == PGL_BRACKET_OK || result == PGL_BRACKET_RESTART);
            block->parts[i] = parts[i];
            block->parts[i].seen = guest_load(parts[i].page, parts[i].slot);
            pgl_extent_set(&block->extents[i], ADDR(parts[i].page, parts[i].slot),
                           LAST_ADDR(parts[i].page, parts[i].slot));
        }
        if (result == PGL_BRACKET_OK) {
            block->nparts = n;
            pgl_tb_set_extents(&block->tb, block->extents, n);
            result = pgl_bracket_commit(&bracket, &block->tb, NULL);
        }
    } while (result == PGL_BRACKET_RESTART);
    block->linked = result == PGL_BRACKET_OK;
    return block->linked;
}

bool translate(unsigned int block, unsigned int key, unsigned int page, unsigned int slot)
{
    return translate_shape(block, key, &(struct shape){page, NO_CROSSING, 1, {{page, slot, 0}}});
}

bool translate_two(unsigned int block, unsigned int key, unsigned int page, unsigned int slot, unsigned int page2,
                   unsigned int slot2)
{
    return translate_shape(block, key, &(struct shape){page, page2, 2, {{page, slot, 0}, {page2, slot2, 0}}});
}

struct block *find_block(unsigned int key)
{
    return __atomic_load_n(&world.found[key], __ATOMIC_ACQUIRE);
}

void expect_fresh(unsigned int page, unsigned int slot, uint64_t value)
{
    for (unsigned int key = 0; key < world.used_keys; key++) {
        const struct block *block = find_block(key);

        for (unsigned int i = 0; block && i < block->nparts; i++) {
            const struct part *part = &block->parts[i];
            explore_check(part->page != page || part->slot != slot || part->seen >= value);
        }
    }
}

int checked_store(unsigned int page, unsigned int slot, uint64_t value)
{
    guest_store(page, slot, value);
    int result = pgl_store_check(world.table, ADDR(page, slot), SLOT_BYTES, NULL);
    explore_check(result >= 0);
    expect_fresh(page, slot, value);
    return result;
}

void trapping_store(unsigned int page, unsigned int slot, uint64_t value)
{
    lock_traps();
    bool trapped = world.trapped[page];
    if (!trapped) {
        guest_store(page, slot, value);
    }
    unlock_traps();
    if (trapped) {
        checked_store(page, slot, value);
    } else {
        expect_fresh(page, slot, value);
    }
}

void fenced_store(unsigned int page, unsigned int slot, uint64_t value)
{
    guest_store(page, slot, value);
    pgl_fence();
    if (__atomic_load_n(&world.trapped[page], __ATOMIC_ACQUIRE)) {
        explore_check(pgl_store_check(world.table, ADDR(page, slot), SLOT_BYTES, NULL) >= 0);
    }
    expect_fresh(page, slot, value);
}

int kill_block(unsigned int block)
{
    int result = pgl_invalidate_tb(world.table, &world.blocks[block].tb, NULL);
    explore_check(world.blocks[block].retired == 1);
    return result;
}

int kill_words(unsigned int page, unsigned int slot, unsigned int page2, unsigned int slot2)
{
    int result = pgl_invalidate_range(world.table, ADDR(page, slot), LAST_ADDR(page2, slot2), NULL);
    explore_check(result >= 0);
    return result;
}
