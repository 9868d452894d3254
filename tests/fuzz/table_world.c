/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "table_world.h"

#include <errno.h>
#include <string.h>

#include "../../src/code/tblist_internal.h"
#include "../fences.h"

/* ---- functions that the linker wraps ---- */

static struct world *current;

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
int __real_posix_memalign(void **memory, size_t alignment, size_t size);
int __wrap_posix_memalign(void **memory, size_t alignment, size_t size);
bool __real_pgl_page_trylock_slow(struct pgl_table *table, struct pgl_page *page, const char *place);
bool __wrap_pgl_page_trylock_slow(struct pgl_table *table, struct pgl_page *page, const char *place);

static bool fails(void)
{
    if (!current || !current->fail_in || --current->fail_in) {
        return false;
    }
    errno = ENOMEM;
    current->failed = true;
    return true;
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

int __wrap_posix_memalign(void **memory, size_t alignment, size_t size)
{
    return fails() ? ENOMEM : __real_posix_memalign(memory, alignment, size);
}

/* For 8 tries each: refuse none, all, or some of them. An input that has ended refuses none. */
static bool is_refused(struct world *world)
{
    bool refused;

    if (!world->trylock_fails) {
        return false;
    }
    if (world->tries++ % 8 == 0) {
        unsigned choice = eat(&world->input);

        world->pattern = choice % 3 == 0 ? 0 : choice % 3 == 1 ? 0xff : eat(&world->input);
    }
    refused = world->pattern & 1;
    world->pattern >>= 1;
    world->nrefused += refused;
    return refused;
}

bool __wrap_pgl_page_trylock_slow(struct pgl_table *table, struct pgl_page *page, const char *place)
{
    return !(current && is_refused(current)) && __real_pgl_page_trylock_slow(table, page, place);
}

/* ---- callbacks ---- */

bool *world_trap_of(struct world *world, uint64_t index)
{
    for (unsigned i = 0; i < world->npages; i++) {
        if (world->page[i] == index) {
            return &world->trapped[i];
        }
    }
    CHECK(!"a callback for a page that has never had code");
    return NULL;
}

static void set_trap(struct world *world, uint64_t index, bool trapped)
{
    bool *trap = world_trap_of(world, index);

    *trap = trapped;
    world->left[trap - world->trapped] = false;
}

static void first_code(uint64_t index, void *opaque)
{
    set_trap(opaque, index, true);
}

static void no_code(uint64_t index, void *opaque)
{
    CHECK(*world_trap_of(opaque, index));
    set_trap(opaque, index, false);
}

static struct pgl_tb *publish(struct pgl_tb *tb, void *opaque)
{
    struct world *world = opaque;

    CHECK(pgl_tb_is_live(tb));
    return world->equal ? &world->equal->tb : NULL;
}

static void retired(struct pgl_tb *chain, void *opaque)
{
    struct world *world = opaque;

    world->nretired++;
    for (struct pgl_tb *tb = chain; tb; tb = pgl_tb_chain_next(tb)) {
        CHECK(!pgl_tb_is_live(tb));
        ((struct block *)tb)->retired++;
    }
}

static const struct pgl_tb_ops ops = {first_code, no_code, publish, retired};

/* ---- the oracle ---- */

void world_note_leaf(struct world *world, uint64_t index)
{
    for (unsigned i = 0; i < world->nleaves; i++) {
        if (world->leaf[i] == index / WORLD_LEAF) {
            return;
        }
    }
    CHECK(world->nleaves < WORLD_LEAVES);
    world->leaf[world->nleaves++] = index / WORLD_LEAF;
}

/* Note the leaf that a call allocated before it ran out of memory. */
void world_note_leaf_if_there(struct world *world, uint64_t index)
{
    CHECK(world->failed && errno == ENOMEM);
    if (pgl_page_find(world->table, index)) {
        world_note_leaf(world, index);
    }
}

bool world_leaf_exists(const struct world *world, uint64_t index)
{
    for (unsigned i = 0; i < world->nleaves; i++) {
        if (world->leaf[i] == index / WORLD_LEAF) {
            return true;
        }
    }
    return false;
}

static bool has(const struct block *block, unsigned which)
{
    return pgl_tb_first_addr(&block->tb, which) <= pgl_tb_last_addr(&block->tb, which);
}

bool world_meets(const struct block *block, uint64_t first, uint64_t last)
{
    if (block->fate != FATE_LIVE || !block->listed) {
        return false;
    }
    for (unsigned which = 0; which < pgl_tb_count_extents(&block->tb); which++) {
        if (pgl_tb_first_addr(&block->tb, which) <= last && pgl_tb_last_addr(&block->tb, which) >= first) {
            return true;
        }
    }
    return false;
}

static bool on_page(const struct world *world, const struct block *block, uint64_t index)
{
    return world_meets(block, index << world->page_bits, index << world->page_bits | world->in_page);
}

/* Return whether a page shares a live block with a page of a range. */
bool world_is_partner(const struct world *world, uint64_t index, uint64_t first, uint64_t last)
{
    for (unsigned i = 0; i < world->nblocks; i++) {
        if (on_page(world, &world->block[i], index) &&
            world_meets(&world->block[i], first << world->page_bits, last << world->page_bits | world->in_page)) {
            return true;
        }
    }
    return false;
}

/* Forget the leaves without a live block, and the dead blocks: no call may get one after a trim. */
void world_trim(struct world *world)
{
    unsigned n = 0;

    for (unsigned i = 0; i < world->nleaves; i++) {
        uint64_t first = world->leaf[i] * WORLD_LEAF, last = first + WORLD_LEAF - 1;
        bool used = false;

        last = last < world->last_index ? last : world->last_index;
        for (unsigned b = 0; b < world->nblocks; b++) {
            used |= world_meets(&world->block[b], first << world->page_bits, last << world->page_bits | world->in_page);
        }
        if (used) {
            world->leaf[n++] = world->leaf[i];
        }
    }
    world->nleaves = n;
    for (unsigned b = 0; b < world->nblocks; b++) {
        if (world->block[b].fate == FATE_DEAD) {
            world->block[b].fate = FATE_NONE;
        }
    }
}

bool world_kill(struct block *block)
{
    if (block->fate != FATE_LIVE) {
        return false;
    }
    block->fate = FATE_DEAD;
    block->deaths++;
    return true;
}

void world_reset(struct world *world)
{
    for (unsigned i = 0; i < world->nblocks; i++) {
        struct block *block = &world->block[i];

        if (block->fate == FATE_LIVE) {
            memset(&block->tb, 0x5a, sizeof(block->tb)); /* the memory is this program's again */
            pgl_tb_init(&block->tb);
        }
        block->fate = block->fate == FATE_LIVE ? FATE_NONE : block->fate;
    }
    memcpy(world->left, world->trapped, sizeof(world->left));
}

bool world_kill_range(struct world *world, uint64_t first, uint64_t last)
{
    bool any = false;

    for (unsigned i = 0; i < world->nblocks; i++) {
        if (world_meets(&world->block[i], first, last)) {
            any |= world_kill(&world->block[i]);
        }
    }
    return any;
}

/* Note a store that is checked, and whether it killed a block. */
void world_note_store(struct world *world, bool hit)
{
    world->least_hits += hit;
    world->most_hits += hit;
}

/* ---- comparing ---- */

void world_compare_blocks(struct world *world)
{
    struct pgl_table_stats stats;

    for (unsigned i = 0; i < world->nblocks; i++) {
        CHECK(pgl_tb_is_live(&world->block[i].tb) == (world->block[i].fate == FATE_LIVE));
        CHECK(world->block[i].retired == world->block[i].deaths);
    }
    pgl_table_get_stats(world->table, &stats);
    CHECK(stats.hits - world->hits >= world->least_hits && stats.hits - world->hits <= world->most_hits);
    world->hits = stats.hits;
    world->least_hits = world->most_hits = 0;
}

static bool count_tb(struct pgl_tb *tb, void *opaque)
{
    CHECK(pgl_tb_is_live(tb));
    ++*(unsigned *)opaque;
    return true;
}

static void say(const char *what, void *opaque)
{
    (void)opaque;
    fprintf(stderr, "%s\n", what);
}

static void compare_page(struct world *world, unsigned i)
{
    struct pgl_page *page = pgl_page_find(world->table, world->page[i]);
    unsigned wanted = 0, found = 0;

    for (unsigned n = 0; n < world->nblocks; n++) {
        wanted += on_page(world, &world->block[n], world->page[i]);
    }
    CHECK(!!page == world_leaf_exists(world, world->page[i]));
    if (page) {
        pgl_page_lock(world->table, page);
        CHECK(pgl_page_foreach_tb(world->table, page, count_tb, &found));
        pgl_page_unlock(world->table, page);
    }
    CHECK(found == wanted);
    CHECK(world->trapped[i] == (wanted > 0 || world->left[i]));
}

void world_compare_pages(struct world *world)
{
    struct pgl_table_stats stats;

    CHECK(pgl_table_check(world->table, say, NULL) == 0);
    pgl_table_get_stats(world->table, &stats);
    CHECK(stats.leaves == world->nleaves);
    CHECK(stats.retries == 0 || world->nrefused > 0);
    CHECK(stats.contended == 0);
    CHECK(!world->budget || stats.hot_bytes <= world->budget);
    for (unsigned i = 0; i < world->npages; i++) {
        compare_page(world, i);
    }
}

/* ---- choosing ---- */

struct block *world_any_block(struct world *world)
{
    return &world->block[eat(&world->input) % world->nblocks];
}

uint64_t world_any_page(struct world *world)
{
    return world->page[eat(&world->input) % world->npages];
}

/* Choose an address near an edge of some block's bytes, or on a page. */
uint64_t world_any_addr(struct world *world)
{
    unsigned choice = eat(&world->input);
    uint64_t addr;

    if (choice & 3) {
        const struct block *block = world_any_block(world);
        unsigned n = pgl_tb_count_extents(&block->tb), which = n > 2 ? eat(&world->input) % n : choice >> 2 & 1;

        addr = (choice & 8 ? pgl_tb_first_addr(&block->tb, which) : pgl_tb_last_addr(&block->tb, which)) - 2 +
               (choice >> 4) % 5;
    } else {
        addr = (world->page[(choice >> 2) % world->npages] << world->page_bits) +
               (eat_bytes(&world->input, 3) & world->in_page);
    }
    return addr & world->last_addr;
}

/* Choose the length of a store: short, over a few pages, or any. */
uint64_t world_any_len(struct world *world)
{
    unsigned choice = eat(&world->input);

    if (choice < 192) {
        return choice % 66;
    }
    if (choice < 250) {
        return eat_bytes(&world->input, 3) % (UINT64_C(4) << world->page_bits);
    }
    return eat_bytes(&world->input, 8);
}

bool world_is_in_table(const struct world *world, uint64_t addr, uint64_t len)
{
    return !len || world->last_addr - addr >= len - 1;
}

const struct pgl_tb *world_any_running(struct world *world, const struct block **running)
{
    *running = eat(&world->input) % 2 ? world_any_block(world) : NULL;
    return *running ? &(*running)->tb : NULL;
}

/* Choose bytes on a page: anywhere, from its start, up to its end, or all of it. */
static void choose_bytes(struct world *world, uint64_t index, uint64_t *first_addr, uint64_t *last_addr)
{
    unsigned choice = eat(&world->input);
    uint64_t first = 0, size = eat(&world->input), base = index << world->page_bits;

    if (size == 255) {
        size = world->in_page;
    }
    if (choice % 4 > 1) {
        first = eat_bytes(&world->input, 3) & world->in_page;
    } else if (choice % 4 == 1) {
        first = world->in_page - size;
    }
    *first_addr = base + first;
    *last_addr = base + (first + size > world->in_page ? world->in_page : first + size);
}

static void any_bytes(struct world *world, struct block *block, unsigned which, uint64_t index)
{
    uint64_t first_addr, last_addr;

    choose_bytes(world, index, &first_addr, &last_addr);
    pgl_tb_set_bytes(&block->tb, which, first_addr, last_addr);
}

/* Choose one to WORLD_EXTENTS extents for a block, each on any page. Return their number, and their pages. */
unsigned world_choose_extents(struct world *world, struct block *block, uint64_t *pages)
{
    unsigned n = eat(&world->input) % WORLD_EXTENTS + 1;

    for (unsigned i = 0; i < n; i++) {
        uint64_t first_addr, last_addr;

        pages[i] = world_any_page(world);
        choose_bytes(world, pages[i], &first_addr, &last_addr);
        pgl_extent_set(&block->extents[i], first_addr, last_addr);
    }
    pgl_tb_init(&block->tb);
    pgl_tb_set_extents(&block->tb, block->extents, n);
    block->second = WORLD_NO_PAGE;
    return n;
}

/*
 * Choose the page that the bracket of a block crosses into. When all bytes are on one page it may be any page, that one
 * again, or none, because a decoder may look at a page of which it uses no byte.
 */
static uint64_t any_second(struct world *world, const struct block *block, unsigned choice)
{
    uint64_t first = pgl_tb_first_addr(&block->tb, 0) >> world->page_bits;

    if (has(block, 1) && pgl_tb_first_addr(&block->tb, 1) >> world->page_bits != first) {
        return pgl_tb_first_addr(&block->tb, 1) >> world->page_bits;
    }
    switch (choice % 4) {
    case 0:
        return has(block, 1) ? first : WORLD_NO_PAGE;
    case 1:
        return has(block, 1) ? WORLD_NO_PAGE : first;
    default:
        return world_any_page(world);
    }
}

/* Choose bytes for a block that begins on page @index: on that page, on that page twice, or on it and another. */
void world_choose_bytes(struct world *world, struct block *block, unsigned choice, uint64_t index)
{
    unsigned kind = choice % 4;

    pgl_tb_init(&block->tb);
    any_bytes(world, block, 0, index);
    if (kind) {
        any_bytes(world, block, 1, kind == 1 ? index : world_any_page(world));
    }
    block->second = any_second(world, block, choice / 4);
}

/* Choose a block and its bytes. Return NULL when the chosen one is live. */
struct block *world_any_new(struct world *world)
{
    struct block *block = world_any_block(world);
    unsigned choice = eat(&world->input);
    uint64_t index = world_any_page(world);

    if (block->fate == FATE_LIVE) {
        return NULL;
    }
    block->fate = FATE_NONE;
    block->listed = true;
    world_choose_bytes(world, block, choice, index);
    return block;
}

/* ---- a world ---- */

static void add_page(struct world *world, uint64_t index)
{
    index &= world->last_index;
    for (unsigned i = 0; i < world->npages; i++) {
        if (world->page[i] == index) {
            return;
        }
    }
    world->page[world->npages++] = index;
}

/* Add pages near those that are there, at an edge of their leaves, anywhere in their leaves, and far away. */
static void add_more_pages(struct world *world)
{
    for (unsigned tries = 0; tries < 2 * WORLD_PAGES && world->npages < WORLD_PAGES; tries++) {
        uint64_t index = world_any_page(world), low = index - index % WORLD_LEAF;
        unsigned choice = eat(&world->input);

        switch (choice % 4) {
        case 0:
            add_page(world, choice & 4 ? index + 1 : index - 1);
            break;
        case 1:
            add_page(world, choice & 4 ? low + WORLD_LEAF - 1 : low + WORLD_LEAF);
            break;
        case 2:
            add_page(world, low + eat_bytes(&world->input, 2) % WORLD_LEAF);
            break;
        default:
            add_page(world, eat_bytes(&world->input, 8));
        }
    }
}

/* Choose neighbours, pages of one leaf and of others, the first and the last page of the table. */
static void choose_pages(struct world *world, bool large)
{
    static const uint64_t distances[] = {0, 1, 2, 300, 511, 512};
    unsigned choice = eat(&world->input);
    uint64_t base = choice & 8 ? eat_bytes(&world->input, 8) : 0;

    if (choice & 1) {
        base = world->last_index - eat(&world->input) % 8;
    }
    for (unsigned i = 0; i < sizeof(distances) / sizeof(distances[0]); i++) {
        add_page(world, base + distances[i]);
    }
    add_page(world, choice & 2 ? world->last_index : base + 3);
    add_page(world, choice & 4 ? 0 : base + 5 * WORLD_LEAF);
    if (large) {
        add_page(world, world->last_index);
        add_page(world, 0);
        add_more_pages(world);
    }
}

/* Some memory for hot pages: no limit, too little for the counts of a leaf, room for one hot page, or for some. */
static uint64_t choose_budget(unsigned choice, unsigned page_bits)
{
    const uint64_t counts = sizeof(struct pgl_hot),
                   page = sizeof(struct pgl_buckets) + (UINT64_C(1) << (page_bits - 3));
    const uint64_t budgets[] = {0, counts - 1, counts + page, 3 * counts + 5 * page - 1};

    return budgets[choice % 4];
}

void world_begin(struct world *world)
{
    unsigned page_bits = PGL_PAGE_BITS_MIN + eat(&world->input) % 12;
    unsigned addr_bits = page_bits + eat(&world->input) % (65 - page_bits), flags = eat(&world->input);
    struct pgl_table_config config = {
        .page_bits = page_bits,
        .addr_bits = addr_bits,
        .external_locking = flags & WORLD_EXTERNAL,
        .asymmetric_fences = flags & WORLD_ASYMMETRIC,
        .ops = &ops,
        .opaque = world,
        .hot_bytes_max = choose_budget(flags / WORLD_BUDGETS, page_bits),
    };

    world->table = new_table_with_fences(&config);
    CHECK(world->table);
    world->budget = config.hot_bytes_max;
    if (flags & WORLD_TRYLOCK_FAILS) {
        world->trylock_fails = true;
        world->table->special |= PGL_SPECIAL_WITNESS; /* no lock is inline */
    }
    world->page_bits = page_bits;
    world->last_addr = UINT64_MAX >> (64 - addr_bits);
    world->last_index = world->last_addr >> page_bits;
    world->in_page = (UINT64_C(1) << page_bits) - 1;
    world->nblocks = flags & WORLD_LARGE ? WORLD_BLOCKS : 24;
    choose_pages(world, flags & WORLD_LARGE);
    for (unsigned i = 0; i < world->nblocks; i++) {
        pgl_tb_init(&world->block[i].tb);
    }
    current = world;
}

void world_end(struct world *world)
{
    world->fail_in = 0;
    if (world->turn.page) {
        op_starve(world);
    }
    world_compare_pages(world);
    current = NULL;
    pgl_table_free(world->table);
}
