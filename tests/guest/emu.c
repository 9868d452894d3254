/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How an emulator uses libpagelock.
 *
 * - Finding a block: chained jump, jump cache, hash table (block.c); none of them locks. Else translate().
 * - Translating: a bracket around the reading of guest bytes (translate.c).
 * - Storing: a page without code takes a plain store. The page's trap is a byte here, as the write protection of a host
 *   page or a flag in a software TLB elsewhere (store_untrapped(), first_code(), no_code()). A page with code: the
 *   store, then its check; or a store bracket (store_trapped()); or announce and confirm (announce()).
 * - Precise self-modification: every answer that says PGL_RUNNING_DEAD makes the hart leave its block before the next
 *   guest instruction (note_answer(), run_block()). With announce and confirm, it makes the hart begin the instruction
 *   again, in a block of its own (run_one()).
 * - One big lock, in an emulator that has one: around every call and every bracket (emu_enter()).
 * - Freeing blocks: epochs (block.c). A hart is without blocks every now and then in run_hart().
 *
 * Only the test needs these: versions of bytes, snapshots, jitter(), mistakes, counts.
 */
#include "emu_internal.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../fences.h"
#include "isa.h"

enum {
    BLOCKS_PER_EPOCH = 16, /* how many blocks a hart runs before it holds none */
    EPOCHS_PER_DROP = 8,
    LARGE_PAGE_BITS = 16,
    LOCKED_ODDS = 32, /* for jitter() with pages held, where other harts run into them */
};

void emu_fail(const char *what)
{
    fprintf(stderr, "guest: %s: %s\n", what, strerror(errno));
    abort();
}

/* ---- the big lock ---- */

static __thread bool holds_big_lock;

static bool external_held(void *opaque)
{
    (void)opaque;
    return holds_big_lock;
}

void emu_enter(struct emu *emu)
{
    if (emu->config.table == TABLE_EXTERNAL) {
        pthread_mutex_lock(&emu->big_lock);
        holds_big_lock = true;
    }
}

void emu_leave(struct emu *emu)
{
    if (emu->config.table == TABLE_EXTERNAL) {
        holds_big_lock = false;
        pthread_mutex_unlock(&emu->big_lock);
    }
}

/* ---- the trap: which pages take a plain store ---- */

static uint8_t *trap_of_page(struct emu *emu, uint64_t index)
{
    return &emu->trapped[index - (emu->ram.base >> emu->page_bits)];
}

static uint8_t *trap_of(struct emu *emu, uint64_t pa)
{
    return trap_of_page(emu, pa >> emu->page_bits);
}

/* Try a store without a check. False when a page of it has code. */
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

    __atomic_store_n(trap_of_page(emu, index), 1, __ATOMIC_RELAXED);
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

    __atomic_store_n(trap_of_page(emu, index), 0, __ATOMIC_RELEASE);
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

/* Note the answer to a store or a range: the running block may be dead, and any thread may have killed it. */
static int note_answer(struct hart *hart, int answer)
{
    if (answer < 0) {
        emu_fail("an invalidation");
    }
    if (answer & PGL_RUNNING_DEAD) {
        hart->running_dead = true;
    }
    return answer;
}

/* Whether a block that is alive has bytes that a store writes. */
static bool is_met(const struct pgl_tb *tb, const struct write *write)
{
    for (unsigned which = 0; which < pgl_tb_count_extents(tb); which++) {
        if (pgl_tb_first_addr(tb, which) < write->pa + write->len && pgl_tb_last_addr(tb, which) >= write->pa) {
            return pgl_tb_is_live(tb);
        }
    }
    return false;
}

static int check_store(struct hart *hart, const struct write *write, const struct pgl_tb *running)
{
    struct emu *emu = hart->emu;
    int answer;

    emu_enter(emu);
    answer = pgl_store_check(emu->table, write->pa, write->len, running);
    emu_leave(emu);
    return answer;
}

/*
 * Announce the stores of an instruction: check them before they are made. False when the running block is dead; then
 * none of them is made, and the hart begins the instruction again. After true, no living block that this hart runs has
 * bytes that the stores write.
 */
static bool announce(struct hart *hart, const struct write *writes, unsigned n)
{
    struct emu *emu = hart->emu;

    for (unsigned i = 0; i < n; i++) {
        if (!__atomic_load_n(trap_of(emu, writes[i].pa), __ATOMIC_ACQUIRE)) {
            continue;
        }
        int answer = check_store(hart, &writes[i], hart->running);

        if (answer < 0) {
            emu_fail("an announcement");
        }
        hart->stats.announced++;
        hart->hit |= answer & PGL_HIT;
        hart->restarts |= !!(answer & PGL_RUNNING_DEAD);
    }
    for (unsigned i = 0; i < n && hart->running && !hart->restarts; i++) {
        hart->stats.wrong += is_met(hart->running, &writes[i]);
    }
    return !hart->restarts;
}

/* Check a store again that was announced, after it was made: a hart may have translated the old bytes meanwhile. */
static int confirm(struct hart *hart, const struct write *write)
{
    struct emu *emu = hart->emu;
    int answer = 0;

    if (emu->config.mistake != MISTAKE_NO_CONFIRM) {
        answer = note_answer(hart, check_store(hart, write, NULL));
    }
    /* Another hart may have killed the running block since the announcement. */
    hart->running_dead |= hart->running && !pgl_tb_is_live(hart->running);
    hart->stats.confirmed += answer & PGL_HIT;
    return answer;
}

static void store_trapped(struct hart *hart, struct write *write, enum emu_order order)
{
    struct emu *emu = hart->emu;
    struct pgl_store store;
    int answer = 0;

    if (emu->config.mistake == MISTAKE_NO_CHECK && hart->stats.stores % 100 == 99) {
        ram_write(&emu->ram, write);
    } else if (order == ORDER_BRACKET) {
        emu_enter(emu);
        answer = note_answer(hart, pgl_store_begin(&store, emu->table, write->pa, write->len, hart->running));
        ram_write(&emu->ram, write);
        pgl_store_end(&store);
        emu_leave(emu);
    } else if (order == ORDER_ANNOUNCE) {
        jitter(LOCKED_ODDS); /* another hart translates the old bytes again */
        ram_write(&emu->ram, write);
        answer = confirm(hart, write);
    } else {
        ram_write(&emu->ram, write);
        answer = note_answer(hart, check_store(hart, write, hart->running));
    }
    hart->stats.stores++;
    hart->stats.hits += answer & PGL_HIT || hart->hit;
    hart->hit = false;
}

static void store_physical(struct hart *hart, struct write *write, enum emu_order order)
{
    if (!store_untrapped(hart, write)) {
        store_trapped(hart, write, order);
    } else {
        hart->stats.untrapped++;
        /* Another hart may have killed the running block, the last one of the page: that took the trap away too. */
        if (hart->running && !pgl_tb_is_live(hart->running)) {
            hart->running_dead = true;
        }
    }
    ram_settle(&hart->emu->ram, write);
}

/* Set or clear the accessed bit of a page-table entry. The walk of an instruction does not begin the instruction again. */
static void store_flags(struct hart *hart, struct write *write)
{
    enum emu_order order = hart->emu->config.order;

    store_physical(hart, write, order == ORDER_ANNOUNCE ? ORDER_CHECK : order);
}

/* ---- virtual addresses ---- */

uint64_t emu_translate_va(const struct emu *emu, uint64_t va, uint64_t *flags_at)
{
    unsigned page_bits = emu->program->page_bits;
    uint64_t entry = emu->ram.base + emu->program->pte_at[va % VA_SIZE >> page_bits];
    uint64_t page = ram_byte(&emu->ram, entry + 1) | (uint64_t)ram_byte(&emu->ram, entry + 2) << 8;

    *flags_at = entry;
    return emu->ram.base + (page << page_bits | (va & ((UINT64_C(1) << page_bits) - 1)));
}

static uint64_t walk(struct hart *hart, uint64_t va)
{
    uint64_t flags_at, pa = emu_translate_va(hart->emu, va, &flags_at);

    if (!(ram_byte(&hart->emu->ram, flags_at) & PTE_ACCESSED)) {
        store_flags(hart, &(struct write){.pa = flags_at, .len = 1, .how = WRITE_OR, .bytes = {PTE_ACCESSED}});
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
    struct write writes[2];
    unsigned n = 0;

    for (; len; n++) {
        struct write *write = &writes[n];

        *write = (struct write){.pa = walk(hart, va)};
        write->len = contiguous(hart, va, write->pa, len);
        for (unsigned i = 0; i < write->len; i++, value >>= 8) {
            write->bytes[i] = (uint8_t)value;
        }
        va += write->len;
        len -= write->len;
    }
    if (hart->emu->config.order == ORDER_ANNOUNCE && !announce(hart, writes, n)) {
        return;
    }
    for (unsigned i = 0; i < n; i++) {
        store_physical(hart, &writes[i], hart->emu->config.order);
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
        emu_enter(emu);
        note_answer(hart, pgl_invalidate_range(emu->table, write.pa, write.pa + write.len - 1, hart->running));
        emu_leave(emu);
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

    emu_translate_va(hart->emu, va, &flags_at);
    store_flags(hart, &(struct write){.pa = flags_at, .len = 1, .how = WRITE_AND, .bytes = {(uint8_t)~PTE_ACCESSED}});
}

static void bus_flush(void *machine)
{
    struct hart *hart = machine;

    emu_enter(hart->emu);
    note_answer(hart, pgl_flush(hart->emu->table, hart->running));
    emu_leave(hart->emu);
}

static void bus_yield(void *machine)
{
    (void)machine;
    sched_yield();
}

static const struct bus bus = {bus_load, bus_store, bus_copy, bus_age, bus_flush, bus_yield};

/* ---- what a block may be older than ---- */

/*
 * The bytes that a block at some address would have, as memory is now, and what had been settled of each before that
 * block was looked for. Another hart may change the way that a superblock takes; then it has other bytes from there on.
 */
struct snapshot {
    unsigned size;
    uint64_t pa[BLOCK_BYTES];
    uint64_t settled[BLOCK_BYTES];
};

static void take_snapshot(const struct emu *emu, uint64_t va, struct snapshot *snapshot)
{
    struct insn insn;
    unsigned n = 0;

    snapshot->size = 0;
    do {
        uint8_t bytes[INSN_MAX];
        unsigned length = 1;

        for (unsigned i = 0; i < length; i++, snapshot->size++) {
            uint64_t pa = emu->ram.base + program_ram_at(emu->program, va + i);

            snapshot->pa[snapshot->size] = pa;
            snapshot->settled[snapshot->size] = ram_settled(&emu->ram, pa);
            bytes[i] = ram_byte(&emu->ram, pa);
            length = isa_length(bytes[0]);
        }
        insn = isa_decode(bytes);
    } while (translate_goes_on(emu, &insn, n++, &va));
}

bool emu_mistake_was_found;

static void compare_with_snapshot(struct hart *hart, const struct block *block, const struct snapshot *snapshot)
{
    for (unsigned i = 0; i < block->size && i < snapshot->size && block->at[i] == snapshot->pa[i]; i++) {
        if (block->version[i] >= snapshot->settled[i]) {
            continue;
        }
        if (!hart->stats.stale && hart->emu->config.mistake == MISTAKE_NONE) {
            fprintf(stderr, "guest: %s: stale block at %#jx: byte %u of version %ju, settled is %ju\n",
                    hart->emu->program->name, (uintmax_t)block->va, i, (uintmax_t)block->version[i],
                    (uintmax_t)snapshot->settled[i]);
        }
        hart->stats.stale++;
        /* relaxed: it says only that this happened */
        __atomic_store_n(&emu_mistake_was_found, hart->emu->config.mistake != MISTAKE_NONE, __ATOMIC_RELAXED);
        return;
    }
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

/* Begin an instruction again, in a block that no store can kill: it may overwrite itself. */
static void run_one(struct hart *hart)
{
    struct snapshot snapshot;
    struct block *block;

    take_snapshot(hart->emu, hart->cpu.pc, &snapshot);
    block = translate_once(hart, hart->cpu.pc, walk(hart, hart->cpu.pc));
    compare_with_snapshot(hart, block, &snapshot);
    isa_execute(&hart->cpu, &block->insn[0], &bus, hart);
    hart->hit = false;
    block_free(block);
}

/* Returns the direct jump by which the block was left, or NULL. */
static struct jump *run_block(struct hart *hart, struct block *block)
{
    enum leave leave = LEAVE_NEXT;

    hart->running = &block->tb;
    hart->running_dead = false;
    for (unsigned i = 0; i < block->ninsns; i++) {
        struct cpu before = hart->cpu;

        leave = isa_execute(&hart->cpu, &block->insn[i], &bus, hart);
        if (hart->restarts) {
            hart->cpu = before;
            break;
        }
        if (hart->running_dead && hart->emu->config.mistake != MISTAKE_IGNORE_DEAD) {
            break;
        }
    }
    hart->running = NULL;
    if (hart->restarts) {
        hart->restarts = false;
        hart->stats.restarted++;
        run_one(hart);
        return NULL;
    }
    if (hart->running_dead) {
        hart->stats.left++;
        return NULL;
    }
    return leave == LEAVE_TAKEN ? &block->jump[1] : leave < LEAVE_TAKEN ? &block->jump[0] : NULL;
}

/* An emulator that wants a block no more. When the call returns no hart finds it, whichever hart killed it. */
static void drop_block(struct hart *hart, struct block *block)
{
    struct emu *emu = hart->emu;

    emu_enter(emu);
    note_answer(hart, pgl_invalidate_tb(emu->table, &block->tb, NULL));
    emu_leave(emu);
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
            struct snapshot snapshot;
            struct block *last = block;

            take_snapshot(emu, hart->cpu.pc, &snapshot);
            block = find_block(hart, from);
            compare_with_snapshot(hart, block, &snapshot);
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

static struct pgl_table *new_table(struct emu *emu)
{
    struct pgl_table_config config = {
        .page_bits = emu->page_bits,
        .addr_bits = 64,
        .external_locking = emu->config.table == TABLE_EXTERNAL,
        .external_held = external_held,
        .asymmetric_fences = emu->config.table == TABLE_ASYMMETRIC,
        .ops = &tb_ops,
        .opaque = emu,
        .hot_bytes_max = emu->config.table == TABLE_NO_MAPS,
    };

    return new_table_with_fences(&config);
}

struct emu *emu_new(const struct program *program, const struct emu_config *config)
{
    struct emu *emu = calloc(1, sizeof(*emu));

    if (!emu) {
        emu_fail("memory");
    }
    emu->program = program;
    emu->config = *config;
    emu->page_bits = config->table == TABLE_LARGE ? LARGE_PAGE_BITS : program->page_bits;
    pthread_mutex_init(&emu->big_lock, NULL);
    emu->ram.base = program->base;
    emu->ram.many_writers = program->many_writers;
    for (unsigned i = 0; i < RAM_SIZE; i++) {
        emu->ram.cell[i] = program->image[i];
    }
    emu->table = new_table(emu);
    if (!emu->table) {
        emu_fail("pgl_table_new");
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
    pthread_mutex_destroy(&emu->big_lock);
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
    uint64_t wrong;

    emu_enter(emu);
    wrong = pgl_table_check(emu->table, say, emu);
    pgl_flush(emu->table, NULL);
    wrong += pgl_table_check(emu->table, say, emu);
    emu_leave(emu);
    if (emu->linked != emu->retired) {
        say("blocks linked and blocks retired differ", emu);
        wrong++;
    }
    if (memchr(emu->trapped, 1, sizeof(emu->trapped))) {
        say("a page without blocks is trapped", emu);
        wrong++;
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
            emu_fail("pthread_create");
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
