/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How an emulator uses libpagelock.
 *
 * - Finding a block: chained jump, jump cache, hash table (block.c); none of them locks. Else translate().
 * - Translating: a bracket around the reading of guest bytes (translate(), fetch()).
 * - Storing: a page without code takes a plain store. The page's trap is a byte here, as the write protection of a host
 *   page or a flag in a software TLB elsewhere (store_untrapped(), first_code(), no_code()). A page with code: the
 *   store, then its check; or a store bracket (store_trapped()).
 * - Precise self-modification: every answer that says PGL_RUNNING_DEAD makes the hart leave its block before the next
 *   guest instruction (note_answer(), run_block()).
 * - Freeing blocks: epochs (block.c). A hart is without blocks every now and then in run_hart().
 *
 * What is here for the test only: versions of bytes, snapshots, jitter(), mistakes, counts.
 */
#include "emu.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "isa.h"

enum {
    BLOCKS_PER_EPOCH = 16, /* how many blocks a hart runs before it lets go of all of them */
    EPOCHS_PER_DROP = 8,
    LOCKED_ODDS = 32, /* for jitter() with pages held, where other harts run into them */
};

struct hart {
    struct emu *emu;
    struct cpu cpu;
    struct finder finder;
    bool storing; /* inside store_untrapped() */
    const struct pgl_tb *running;
    bool running_dead;
    struct emu_stats stats;
    pthread_t thread;
};

struct emu {
    const struct program *program;
    struct emu_config config;
    struct pgl_table *table;
    struct blocks blocks;
    struct ram ram;
    uint8_t trapped[RAM_SIZE >> PAGE_BITS_MIN];
    uint64_t linked, retired;
    pthread_barrier_t start;
    struct hart hart[HARTS_MAX];
};

static void fail(const char *what)
{
    fprintf(stderr, "guest: %s: %s\n", what, strerror(errno));
    abort();
}

/* ---- the trap: which pages take a plain store ---- */

static uint8_t *trap_of(struct emu *emu, uint64_t pa)
{
    return &emu->trapped[(pa - emu->ram.base) >> emu->program->page_bits];
}

/* Try a store without telling anybody. False when a page of it has code. */
static bool store_untrapped(struct hart *hart, struct write *write)
{
    struct emu *emu = hart->emu;
    bool trapped;

    __atomic_store_n(&hart->storing, true, __ATOMIC_RELAXED);
    pgl_fence(); /* pairs with the one in first_code() */
    trapped = __atomic_load_n(trap_of(emu, write->pa), __ATOMIC_ACQUIRE) ||
              __atomic_load_n(trap_of(emu, write->pa + write->len - 1), __ATOMIC_ACQUIRE);
    jitter(256);
    if (emu->config.mistake == MISTAKE_NO_TRAP) {
        sched_yield();
    }
    if (!trapped) {
        ram_write(&emu->ram, write);
    }
    __atomic_store_n(&hart->storing, false, __ATOMIC_RELEASE);
    return !trapped;
}

/* Every store from now on finds the trap, and those that did not are waited for: they want no page. */
static void first_code(uint64_t index, void *opaque)
{
    struct emu *emu = opaque;

    __atomic_store_n(trap_of(emu, index << emu->program->page_bits), 1, __ATOMIC_RELAXED);
    pgl_fence();
    for (unsigned i = 0; i < emu->program->nharts && emu->config.mistake != MISTAKE_NO_TRAP; i++) {
        while (__atomic_load_n(&emu->hart[i].storing, __ATOMIC_ACQUIRE)) {
            sched_yield();
        }
    }
}

static void no_code(uint64_t index, void *opaque)
{
    struct emu *emu = opaque;

    __atomic_store_n(trap_of(emu, index << emu->program->page_bits), 0, __ATOMIC_RELEASE);
}

/* ---- blocks come and go ---- */

static struct pgl_tb *publish(struct pgl_tb *tb, void *opaque)
{
    struct emu *emu = opaque;

    jitter(LOCKED_ODDS);
    return (struct pgl_tb *)blocks_publish(&emu->blocks, (struct block *)tb);
}

static void retired(struct pgl_tb *chain, void *opaque)
{
    struct emu *emu = opaque;

    jitter(LOCKED_ODDS);
    __atomic_fetch_add(&emu->retired, blocks_bury(&emu->blocks, chain), __ATOMIC_RELAXED);
}

static const struct pgl_tb_ops tb_ops = {first_code, no_code, publish, retired};

/* ---- stores ---- */

/* What the library said of a store or a range: the running block may be dead, whoever killed it. */
static int note_answer(struct hart *hart, int answer)
{
    if (answer < 0) {
        fail("an invalidation");
    }
    if (answer & PGL_RUNNING_DEAD) {
        hart->running_dead = true;
    }
    return answer;
}

static void store_trapped(struct hart *hart, struct write *write)
{
    struct emu *emu = hart->emu;
    struct pgl_store store;
    int answer = 0;

    if (emu->config.mistake == MISTAKE_NO_CHECK && hart->stats.stores % 100 == 99) {
        ram_write(&emu->ram, write);
    } else if (emu->config.invalidate_first) {
        answer = note_answer(hart, pgl_store_begin(&store, emu->table, write->pa, write->len, hart->running));
        ram_write(&emu->ram, write);
        pgl_store_end(&store);
    } else {
        ram_write(&emu->ram, write);
        answer = note_answer(hart, pgl_store_check(emu->table, write->pa, write->len, hart->running));
    }
    hart->stats.stores++;
    hart->stats.hits += !!(answer & PGL_HIT);
}

static void store_physical(struct hart *hart, struct write *write)
{
    if (!store_untrapped(hart, write)) {
        store_trapped(hart, write);
    } else {
        hart->stats.untrapped++;
        /* Another hart may have killed the running block, the last one of the page: that took the trap away too. */
        if (hart->running && !pgl_tb_is_live(hart->running)) {
            hart->running_dead = true;
        }
    }
    ram_settle(&hart->emu->ram, write);
}

/* ---- virtual addresses ---- */

/* Where the page-table entry of a virtual address says that it lies. */
static uint64_t translate_va(const struct emu *emu, uint64_t va, uint64_t *flags_at)
{
    unsigned page_bits = emu->program->page_bits;
    uint64_t entry = emu->ram.base + emu->program->pte_at[va % VA_SIZE >> page_bits];
    uint64_t page = ram_byte(&emu->ram, entry + 1) | (uint64_t)ram_byte(&emu->ram, entry + 2) << 8;

    *flags_at = entry;
    return emu->ram.base + (page << page_bits | (va & ((UINT64_C(1) << page_bits) - 1)));
}

static uint64_t walk(struct hart *hart, uint64_t va)
{
    uint64_t flags_at, pa = translate_va(hart->emu, va, &flags_at);

    if (!(ram_byte(&hart->emu->ram, flags_at) & PTE_ACCESSED)) {
        store_physical(hart, &(struct write){.pa = flags_at, .len = 1, .how = WRITE_OR, .bytes = {PTE_ACCESSED}});
    }
    return pa;
}

/* How many of @len bytes from @va on are physically contiguous. They lie on two virtual pages at the most. */
static unsigned contiguous(struct hart *hart, uint64_t va, uint64_t pa, unsigned len)
{
    unsigned in_page = 1u << hart->emu->program->page_bits;
    unsigned rest = in_page - (unsigned)(va % in_page);

    return rest >= len || walk(hart, va + rest) == pa + rest ? len : rest;
}

static uint64_t bus_load(void *machine, uint64_t va, unsigned len)
{
    struct hart *hart = machine;
    uint64_t value = 0, pa = walk(hart, va);
    unsigned rest = contiguous(hart, va, pa, len);

    for (unsigned i = 0; i < len; i++) {
        if (i == rest) {
            pa = walk(hart, va + rest) - rest;
        }
        value |= (uint64_t)ram_byte(&hart->emu->ram, pa + i) << 8 * i;
    }
    return value;
}

static void bus_store(void *machine, uint64_t va, unsigned len, uint64_t value)
{
    struct hart *hart = machine;

    while (len) {
        struct write write = {.pa = walk(hart, va)};

        write.len = contiguous(hart, va, write.pa, len);
        for (unsigned i = 0; i < write.len; i++, value >>= 8) {
            write.bytes[i] = (uint8_t)value;
        }
        store_physical(hart, &write);
        va += write.len;
        len -= write.len;
    }
}

/* A device: it knows nothing of traps, stores, and then invalidates the whole range. */
static void bus_copy(void *machine, uint64_t to, uint64_t from, unsigned len)
{
    struct hart *hart = machine;
    struct emu *emu = hart->emu;
    uint8_t bytes[COPY_MAX], *at = bytes;

    for (unsigned i = 0; i < len; i++) {
        bytes[i] = (uint8_t)bus_load(hart, from + i, 1);
    }
    while (len) {
        struct write write = {.pa = walk(hart, to)};

        write.len = contiguous(hart, to, write.pa, len);
        memcpy(write.bytes, at, write.len);
        ram_write(&emu->ram, &write);
        note_answer(hart, pgl_invalidate_range(emu->table, write.pa, write.pa + write.len - 1, hart->running));
        ram_settle(&emu->ram, &write);
        at += write.len;
        to += write.len;
        len -= write.len;
    }
}

static void bus_age(void *machine, uint64_t va)
{
    struct hart *hart = machine;
    uint64_t flags_at;

    translate_va(hart->emu, va, &flags_at);
    store_physical(hart,
                   &(struct write){.pa = flags_at, .len = 1, .how = WRITE_AND, .bytes = {(uint8_t)~PTE_ACCESSED}});
}

static void bus_flush(void *machine)
{
    struct hart *hart = machine;

    note_answer(hart, pgl_flush(hart->emu->table, hart->running));
}

static void bus_yield(void *machine)
{
    (void)machine;
    sched_yield();
}

static const struct bus bus = {bus_load, bus_store, bus_copy, bus_age, bus_flush, bus_yield};

/* ---- translating ---- */

/* One translation: its bracket, and the accessed bits set inside it whose invalidation is still to come. */
struct translation {
    struct hart *hart;
    struct pgl_bracket bracket;
    struct block *block;
    uint64_t page2; /* where the second virtual page of the block lies, when there are bytes of it */
    struct write pending[PGL_BRACKET_STORES];
    unsigned npending;
};

static void settle_pending(struct translation *t)
{
    while (t->npending) {
        ram_settle(&t->hart->emu->ram, &t->pending[--t->npending]);
    }
}

/* Walk to the block's second page. This thread holds a page, so a store of the walk names its bracket. */
static uint64_t walk_in_bracket(struct translation *t, uint64_t va)
{
    struct emu *emu = t->hart->emu;
    struct write write = {.len = 1, .how = WRITE_OR, .bytes = {PTE_ACCESSED}};
    uint64_t pa = translate_va(emu, va, &write.pa);

    if (ram_byte(&emu->ram, write.pa) & PTE_ACCESSED) {
        return pa;
    }
    ram_write(&emu->ram, &write);
    t->hart->stats.walk_stores++;
    switch (pgl_bracket_store(&t->bracket, write.pa, write.len)) {
    case PGL_BRACKET_OK:
        ram_settle(&emu->ram, &write);
        break;
    case PGL_BRACKET_RESTART: /* comes with the next cross or commit */
        t->pending[t->npending++] = write;
        break;
    default:
        fail("pgl_bracket_store");
    }
    return pa;
}

/* Get hold of the page that byte @at of the block, the first one on its second virtual page, lies on. */
static enum pgl_bracket_result enter_second_page(struct translation *t, unsigned at)
{
    enum pgl_bracket_result result;

    t->page2 = walk_in_bracket(t, t->block->va + at);
    result = pgl_bracket_cross(&t->bracket, t->page2 >> t->hart->emu->program->page_bits);
    if (result == PGL_BRACKET_ERROR) {
        fail("pgl_bracket_cross");
    }
    return result;
}

/* Read the block's bytes up to, not including, number @end; @bytes has them all. False: decode from the beginning. */
static bool fetch(struct translation *t, uint8_t *bytes, unsigned end)
{
    struct block *block = t->block;
    const struct emu *emu = t->hart->emu;
    unsigned in_page = 1u << emu->program->page_bits;
    unsigned rest = in_page - (unsigned)(block->va % in_page);

    for (; block->size < end; block->size++) {
        unsigned at = block->size;
        uint64_t cell;

        if (at == rest && enter_second_page(t, at) != PGL_BRACKET_OK) {
            return false;
        }
        cell = ram_cell(&emu->ram, at < rest ? block->pa + at : t->page2 + at - rest);
        bytes[at] = (uint8_t)cell;
        block->version[at] = cell >> 8;
    }
    return true;
}

static bool decode(struct translation *t)
{
    struct block *block = t->block;
    uint8_t bytes[BLOCK_BYTES];
    struct insn *insn;

    block->ninsns = 0;
    block->size = 0;
    do {
        unsigned at = block->size;

        insn = &block->insn[block->ninsns++];
        if (!fetch(t, bytes, at + 1) || !fetch(t, bytes, at + isa_length(bytes[at]))) {
            return false;
        }
        *insn = isa_decode(&bytes[at]);
        jitter(256);
    } while (block->ninsns < BLOCK_INSNS && !isa_ends_block(insn));
    return true;
}

/* Tell the library which bytes the block was made from. */
static void set_bytes(struct translation *t)
{
    struct block *block = t->block;
    unsigned in_page = 1u << t->hart->emu->program->page_bits;
    unsigned rest = in_page - (unsigned)(block->va % in_page);

    if (block->size <= rest) {
        pgl_tb_set_bytes(&block->tb, 0, block->pa, block->pa + block->size - 1);
    } else {
        pgl_tb_set_bytes(&block->tb, 0, block->pa, block->pa + rest - 1);
        pgl_tb_set_bytes(&block->tb, 1, t->page2, t->page2 + block->size - rest - 1);
    }
}

static void count_block(struct emu_stats *stats, const struct block *block, unsigned page_bits)
{
    uint64_t page = pgl_tb_first_addr(&block->tb, 0) >> page_bits,
             page2 = pgl_tb_first_addr(&block->tb, 1) >> page_bits;

    stats->translated++;
    if (pgl_tb_first_addr(&block->tb, 1) > pgl_tb_last_addr(&block->tb, 1)) {
        return;
    }
    stats->two_pages += page2 != page;
    stats->falling += page2 < page;
    stats->twice += page2 == page;
}

/* The mistake of reading guest bytes outside the bracket in which the block is linked. */
static void reopen_bracket(struct translation *t)
{
    uint64_t index = t->block->pa >> t->hart->emu->program->page_bits;

    if (pgl_tb_first_addr(&t->block->tb, 1) <= pgl_tb_last_addr(&t->block->tb, 1)) {
        return;
    }
    pgl_bracket_abort(&t->bracket);
    sched_yield();
    if (!pgl_bracket_begin(&t->bracket, t->hart->emu->table, index)) {
        fail("pgl_bracket_begin");
    }
}

/* Decode and commit until what was decoded may be kept. Returns the block that can be found now. */
static struct block *decode_and_commit(struct translation *t)
{
    struct hart *hart = t->hart;
    enum pgl_bracket_result result;
    struct pgl_tb *found;

    for (;; hart->stats.restarts++, settle_pending(t)) {
        if (!decode(t)) {
            continue;
        }
        pgl_tb_init(&t->block->tb);
        set_bytes(t);
        if (hart->emu->config.mistake == MISTAKE_EARLY_READ) {
            reopen_bracket(t);
        }
        result = pgl_bracket_commit(&t->bracket, &t->block->tb, &found);
        if (result != PGL_BRACKET_RESTART) {
            break;
        }
    }
    if (result == PGL_BRACKET_ERROR) {
        fail("pgl_bracket_commit");
    }
    settle_pending(t); /* there are none: a restart was due for them */
    if (result == PGL_BRACKET_EXISTS) {
        hart->stats.equal++;
        block_free(t->block);
    } else {
        __atomic_fetch_add(&hart->emu->linked, 1, __ATOMIC_RELAXED);
        count_block(&hart->stats, t->block, hart->emu->program->page_bits);
    }
    return (struct block *)found;
}

static struct block *translate(struct hart *hart, uint64_t va, uint64_t pa)
{
    struct emu *emu = hart->emu;
    struct translation t = {.hart = hart, .block = block_new(va, pa)};
    struct block *block;

    if (!pgl_bracket_begin(&t.bracket, emu->table, pa >> emu->program->page_bits)) {
        fail("pgl_bracket_begin");
    }
    block = decode_and_commit(&t);
    blocks_cache(&hart->finder, block);
    return block;
}

/* ---- running ---- */

static struct block *find_block(struct hart *hart, const struct jump *from)
{
    uint64_t va = hart->cpu.pc, pa;
    struct block *block = blocks_chained(from);

    if (block) {
        hart->stats.chained++;
        return block;
    }
    block = blocks_cached(&hart->finder, va);
    if (block) {
        hart->stats.cached++;
        return block;
    }
    pa = walk(hart, va);
    block = blocks_find(&hart->emu->blocks, &hart->finder, va, pa);
    if (block) {
        hart->stats.hashed++;
        return block;
    }
    return translate(hart, va, pa);
}

/* What had been settled of the bytes that a block at @va may have, before that block was looked for. */
static void take_snapshot(const struct emu *emu, uint64_t va, uint64_t *settled)
{
    for (unsigned i = 0; i < BLOCK_BYTES; i++) {
        settled[i] = ram_settled(&emu->ram, emu->ram.base + program_ram_at(emu->program, va + i));
    }
}

static void compare_with_snapshot(struct hart *hart, const struct block *block, const uint64_t *settled)
{
    for (unsigned i = 0; i < block->size; i++) {
        if (block->version[i] >= settled[i]) {
            continue;
        }
        if (!hart->stats.stale && hart->emu->config.mistake == MISTAKE_NONE) {
            fprintf(stderr, "guest: %s: stale block at %#jx: byte %u of version %ju, settled is %ju\n",
                    hart->emu->program->name, (uintmax_t)block->va, i, (uintmax_t)block->version[i],
                    (uintmax_t)settled[i]);
        }
        hart->stats.stale++;
        return;
    }
}

/* Returns the direct jump by which the block was left, or NULL. */
static struct jump *run_block(struct hart *hart, struct block *block)
{
    enum leave leave = LEAVE_NEXT;

    hart->running = &block->tb;
    hart->running_dead = false;
    for (unsigned i = 0; i < block->ninsns && leave == LEAVE_NEXT; i++) {
        leave = isa_execute(&hart->cpu, &block->insn[i], &bus, hart);
        if (hart->running_dead && hart->emu->config.mistake != MISTAKE_IGNORE_DEAD) {
            break;
        }
    }
    hart->running = NULL;
    if (hart->running_dead) {
        hart->stats.left++;
        return NULL;
    }
    return leave == LEAVE_TAKEN ? &block->jump[1] : leave < LEAVE_TAKEN ? &block->jump[0] : NULL;
}

/* An emulator that wants a block no more. When the call returns nobody finds it, whoever killed it. */
static void drop_block(struct hart *hart, struct block *block)
{
    struct emu *emu = hart->emu;

    note_answer(hart, pgl_invalidate_tb(emu->table, &block->tb, NULL));
    if (blocks_cached(&hart->finder, block->va) == block ||
        blocks_find(&emu->blocks, &hart->finder, block->va, block->pa) == block) {
        hart->stats.stale++;
    }
}

static void *run_hart(void *opaque)
{
    struct hart *hart = opaque;
    struct emu *emu = hart->emu;
    unsigned epochs = 0;

    pthread_barrier_wait(&emu->start);
    while (!hart->cpu.halted) {
        struct block *block = NULL;
        struct jump *from = NULL;

        pgl_assert_none_held();
        blocks_quiesce(&emu->blocks, &hart->finder);
        for (unsigned i = 0; i < BLOCKS_PER_EPOCH && !hart->cpu.halted; i++) {
            uint64_t settled[BLOCK_BYTES];
            struct block *last = block;

            take_snapshot(emu, hart->cpu.pc, settled);
            block = find_block(hart, from);
            compare_with_snapshot(hart, block, settled);
            if (from && blocks_chained(from) != block) {
                blocks_chain(&emu->blocks, last, from, block);
            }
            from = run_block(hart, block);
        }
        if (++epochs % EPOCHS_PER_DROP == 0) {
            drop_block(hart, block);
        }
    }
    blocks_leave(&hart->finder);
    return NULL;
}

/* ---- the machine ---- */

struct emu *emu_new(const struct program *program, const struct emu_config *config)
{
    struct emu *emu = calloc(1, sizeof(*emu));
    struct pgl_table_config table_config = {
        .page_bits = program->page_bits, .addr_bits = 64, .ops = &tb_ops, .opaque = emu};

    if (!emu) {
        fail("memory");
    }
    emu->program = program;
    emu->config = *config;
    emu->ram.base = program->base;
    emu->ram.many_writers = program->many_writers;
    for (unsigned i = 0; i < RAM_SIZE; i++) {
        emu->ram.cell[i] = program->image[i];
    }
    emu->table = pgl_table_new(&table_config);
    if (!emu->table) {
        fail("pgl_table_new");
    }
    blocks_init(&emu->blocks);
    emu->blocks.keep_caches = config->mistake == MISTAKE_KEEP_CACHES;
    for (unsigned i = 0; i < program->nharts; i++) {
        emu->hart[i].emu = emu;
        emu->hart[i].cpu.pc = program->entry[i];
        blocks_add_finder(&emu->blocks, &emu->hart[i].finder);
    }
    return emu;
}

void emu_free(struct emu *emu)
{
    blocks_fini(&emu->blocks);
    pgl_table_free(emu->table);
    free(emu);
}

static void say(const char *what, void *opaque)
{
    const struct emu *emu = opaque;

    fprintf(stderr, "guest: %s: %s\n", emu->program->name, what);
}

/* With every hart at rest: a sound table; and after a flush no block, no trap, and as many deaths as links. */
static uint64_t check_at_rest(struct emu *emu)
{
    uint64_t wrong = pgl_table_check(emu->table, say, emu);

    pgl_flush(emu->table, NULL);
    wrong += pgl_table_check(emu->table, say, emu);
    if (emu->linked != emu->retired) {
        say("blocks linked and blocks retired differ", emu);
        wrong++;
    }
    for (unsigned i = 0; i < (unsigned)RAM_SIZE >> emu->program->page_bits; i++) {
        if (emu->trapped[i]) {
            say("a page without blocks is trapped", emu);
            wrong++;
        }
    }
    return wrong;
}

void emu_run(struct emu *emu, struct emu_stats *stats)
{
    struct pgl_table_stats table_stats;

    *stats = (struct emu_stats){0};
    pthread_barrier_init(&emu->start, NULL, emu->program->nharts);
    for (unsigned i = 0; i < emu->program->nharts; i++) {
        if (pthread_create(&emu->hart[i].thread, NULL, run_hart, &emu->hart[i])) {
            fail("pthread_create");
        }
    }
    for (unsigned i = 0; i < emu->program->nharts; i++) {
        const uint64_t *from = (const uint64_t *)&emu->hart[i].stats;
        uint64_t *to = (uint64_t *)stats;

        pthread_join(emu->hart[i].thread, NULL);
        for (unsigned n = 0; n < sizeof(*stats) / sizeof(*to); n++) {
            to[n] += from[n];
        }
    }
    pthread_barrier_destroy(&emu->start);
    stats->wrong = check_at_rest(emu);
    pgl_table_get_stats(emu->table, &table_stats);
    stats->contended = table_stats.contended;
    stats->retries = table_stats.retries;
}

uint8_t emu_byte(const struct emu *emu, uint32_t ram_at)
{
    return (uint8_t)emu->ram.cell[ram_at];
}

const struct cpu *emu_cpu(const struct emu *emu, unsigned hart)
{
    return &emu->hart[hart].cpu;
}
