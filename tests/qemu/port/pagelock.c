/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QEMU's blocks on libpagelock, in system mode.
 *
 * OBJECTS. One table over RAM offsets. One bracket for each thread, because a fault while decoding jumps to the outer
 * loop, whose clean-up calls tb_unlock_pages(). Two short lists of stores for each thread: announced, not yet confirmed.
 *
 * STORES. A store into a page with code is announced before it is made (tb_invalidate_phys_range_fast()): if it kills
 * the running block, the vCPU leaves the block and runs the instruction again in a block of its own. It is confirmed
 * after it has been made, so that no block lives that another vCPU translated from the old bytes in between. The store
 * and atomic helpers confirm at their end, a page-table walk when it fills the TLB entry. A probe gives a host pointer
 * away, and nothing tells when its user has stored; these are confirmed when the block ends, which is asked to end soon.
 *
 * WALKS. While a bracket is open, a thread may check no store. A page-table walk of the decoder's is remembered, and
 * pagelock_translated() hands it to the bracket when the block has been decoded, before the block is committed. If the
 * store hit a block, or fell on a page of the bracket, the decoding begins again; the bracket holds its pages meanwhile.
 *
 * JUMP CACHES are not wiped when a block dies. Their entries are compared with the flags of the block that is wanted,
 * and a dead block has CF_INVALID for ever. The memory of a dead block stays until the whole buffer is flushed, and
 * the flush wipes the caches.
 *
 * FLUSH. pgl_table_reset() wants the table at rest. The exclusive section stops the vCPUs, and `flushing` the threads
 * of devices, which invalidate ranges at any time.
 */
#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qemu/rcu.h"
#include "exec/cputlb.h"
#include "exec/exec-all.h"
#include "exec/memory.h"
#include "exec/ram_addr.h"
#include "tcg/tcg.h"
#include "tb-context.h"
#include "tb-hash.h"
#include "tb-internal.h"
#include "internal-common.h"
#include "internal-target.h"
#include "pagelock.h"

#include <pagelock/tb.h>

#define ADDRESS_BITS 48u /* offsets in RAM; the table's look-up is fastest up to these */

static struct pgl_table *table;
static pthread_rwlock_t flushing = PTHREAD_RWLOCK_INITIALIZER; /* written by the flush, read by ranges of any thread */

static __thread struct pgl_bracket bracket;
static __thread uint64_t first_page; /* of the open bracket */
__thread struct pagelock_threads_stores pagelock_stores;

/* Figures of one thread, in the order of count_names. Each thread counts for itself; the report adds them up. */
enum count {
    CHECKS,
    CHECKS_WITHOUT_LOCK,
    ANNOUNCED,
    CONFIRMED,
    ANNOUNCED_HITS,
    CONFIRMED_HITS,
    LEFT,
    PROBES,
    WALK_STORES,
    RANGES,
    TRANSLATED,
    EQUAL,
    RESTARTED,
    CHAINS,
    NCOUNTS,
};
static const char *const count_names[NCOUNTS] = {
    "checks", "checks_without_lock", "announced", "confirmed",  "announced_hits", "confirmed_hits", "left",
    "probes", "walk_stores",         "ranges",    "translated", "equal",          "restarted",      "chains",
};

struct counts {
    uint64_t count[NCOUNTS];
    struct counts *next;
};
static struct counts *all_counts;
static __thread struct counts *counts;

/* Add a thread's figures to the list of all. They outlive the thread. */
static struct counts *counts_new(void)
{
    struct counts *new = g_new0(struct counts, 1);

    do {
        new->next = qatomic_read(&all_counts);
    } while (qatomic_cmpxchg(&all_counts, new->next, new) != new->next);
    return counts = new;
}

static inline void count(enum count which)
{
    struct counts *mine = counts ? counts : counts_new();

    qatomic_set(&mine->count[which], mine->count[which] + 1);
}

static inline TranslationBlock *block_of(const struct pgl_tb *tb)
{
    return container_of(tb, TranslationBlock, pagelock);
}

/* Callbacks */

static void first_code(uint64_t index, void *opaque)
{
    tlb_protect_code(index << TARGET_PAGE_BITS);
}

static void no_code(uint64_t index, void *opaque)
{
    tlb_unprotect_code(index << TARGET_PAGE_BITS);
}

/* The hash of a block that is in the hash table, or was. */
static uint32_t block_hash(const TranslationBlock *block)
{
    uint32_t cflags = tb_cflags(block) & ~CF_INVALID;

    return tb_hash_func(tb_page_addr0(block), cflags & CF_PCREL ? 0 : block->pc, block->flags, block->cs_base, cflags);
}

static struct pgl_tb *publish(struct pgl_tb *tb, void *opaque)
{
    TranslationBlock *block = block_of(tb);
    void *equal = NULL;

    qht_insert(&tb_ctx.htable, block, block_hash(block), &equal);
    return equal ? &((TranslationBlock *)equal)->pagelock : NULL;
}

/* Prevent new jumps to a block, which a thread adds under the block's lock if it does not find the flag. */
static void block_refuse_jumps(TranslationBlock *block)
{
    qemu_spin_lock(&block->jmp_lock);
    qatomic_set(&block->cflags, block->cflags | CF_INVALID);
    qemu_spin_unlock(&block->jmp_lock);
}

static void retired(struct pgl_tb *chain, void *opaque)
{
    unsigned n = 0;

    qemu_thread_jit_write();
    for (struct pgl_tb *tb = chain; tb; tb = pgl_tb_chain_next(tb)) {
        TranslationBlock *block = block_of(tb);

        block_refuse_jumps(block);
        qht_remove(&tb_ctx.htable, block, block_hash(block));
        tb_remove_from_jmp_list(block, 0);
        tb_remove_from_jmp_list(block, 1);
        tb_jmp_unlink(block);
        n++;
    }
    qemu_thread_jit_execute();
    qatomic_set(&tb_ctx.tb_phys_invalidate_count, tb_ctx.tb_phys_invalidate_count + n);
    count(CHAINS);
}

/* The report */

static void say_violation(const char *what, void *opaque)
{
    fprintf(opaque, "# %s\n", what);
}

static void report(void)
{
    const char *path = getenv("PAGELOCK_REPORT");
    FILE *file = path ? fopen(path, "w") : NULL;
    struct pgl_table_stats stats;

    if (!file) {
        error_report("PAGELOCK_REPORT: %s: %s", path ? path : "unset meanwhile", strerror(errno));
        return;
    }
    fprintf(file, "violations %u\n", pgl_table_check(table, say_violation, file));
    for (unsigned i = 0; i < NCOUNTS; i++) {
        uint64_t sum = 0;

        for (struct counts *c = qatomic_read(&all_counts); c; c = c->next) {
            sum += qatomic_read(&c->count[i]);
        }
        fprintf(file, "%s %" PRIu64 "\n", count_names[i], sum);
    }
    fprintf(file, "flushes %u\n", qatomic_read(&tb_ctx.tb_flush_count));
    pgl_table_get_stats(table, &stats);
#define SAY(member) fprintf(file, #member " %" PRIu64 "\n", stats.member)
    SAY(blocks);
    SAY(kills);
    SAY(hits);
    SAY(false_alarms);
    SAY(restarts);
    SAY(retries);
    SAY(contended);
    SAY(slept);
    SAY(slept_ns_max);
    SAY(hot_pages);
    SAY(hot_bytes);
    SAY(leaves);
    SAY(bytes);
#undef SAY
    fclose(file);
}

void page_table_config_init(void)
{
    static const struct pgl_tb_ops ops = {
        .first_code = first_code,
        .no_code = no_code,
        .publish = publish,
        .retired = retired,
    };
    const struct pgl_table_config config = {
        .page_bits = TARGET_PAGE_BITS,
        .addr_bits = ADDRESS_BITS,
        .ops = &ops,
    };

    table = pgl_table_new(&config);
    if (!table) {
        error_report("pagelock: no table: %s", strerror(errno));
        exit(EXIT_FAILURE);
    }
    if (getenv("PAGELOCK_REPORT")) {
        atexit(report);
    }
}

/* Translation */

/* Give up after an error of a bracket: there is no memory, or an address is out of the table. */
static G_NORETURN void bracket_failed(uint64_t index)
{
    error_report("pagelock: page %" PRIx64 ": %s", index, strerror(errno));
    abort();
}

void tb_lock_page0(tb_page_addr_t paddr)
{
    first_page = paddr >> TARGET_PAGE_BITS;
    if (!pgl_bracket_begin(&bracket, table, first_page)) {
        bracket_failed(first_page);
    }
}

void tb_lock_page1(tb_page_addr_t paddr0, tb_page_addr_t paddr1)
{
    switch (pgl_bracket_cross(&bracket, paddr1 >> TARGET_PAGE_BITS)) {
    case PGL_BRACKET_OK:
        return;
    case PGL_BRACKET_RESTART:
        count(RESTARTED);
        siglongjmp(tcg_ctx->jmp_trans, -3);
    default:
        bracket_failed(paddr1 >> TARGET_PAGE_BITS);
    }
}

/* The bracket keeps a page that the next decoding does not need until its end. */
void tb_unlock_page1(tb_page_addr_t paddr0, tb_page_addr_t paddr1)
{
}

void tb_unlock_pages(TranslationBlock *tb)
{
    if (pgl_bracket_is_open(&bracket)) {
        pgl_bracket_abort(&bracket);
    }
    pagelock_confirm();
}

int pagelock_translated(int size)
{
    struct pagelock_stores *soon = &pagelock_stores.soon;
    bool again = false;

    if (size < 0 || !soon->n) {
        return size;
    }
    if (!pgl_bracket_is_open(&bracket)) {
        pagelock_confirm_soon();
        return size;
    }
    for (unsigned i = 0; i < soon->n; i++) {
        count(WALK_STORES);
        again |= pgl_bracket_store(&bracket, soon->store[i].addr, soon->store[i].len) != PGL_BRACKET_OK;
    }
    soon->n = 0;
    if (!again) {
        return size;
    }
    /* The step that the bracket needs to unlock, invalidate and lock again, so that the commit has nothing to do. */
    switch (pgl_bracket_cross(&bracket, first_page)) {
    case PGL_BRACKET_OK:
        return size;
    case PGL_BRACKET_RESTART:
        count(RESTARTED);
        return -3;
    default:
        bracket_failed(first_page);
    }
}

/* Name the bytes of a block. A second page of which it has none is no page of it. */
static void block_set_bytes(TranslationBlock *block)
{
    tb_page_addr_t addr0 = tb_page_addr0(block), addr1 = tb_page_addr1(block);
    tb_page_addr_t last = addr0 + block->size - 1, page_last = addr0 | ~TARGET_PAGE_MASK;

    pgl_tb_set_bytes(&block->pagelock, 0, addr0, MIN(last, page_last));
    if (last > page_last) {
        pgl_tb_set_bytes(&block->pagelock, 1, addr1, addr1 + (last - page_last) - 1);
    } else {
        pgl_tb_set_bytes(&block->pagelock, 1, 1, 0);
    }
}

TranslationBlock *tb_link_page(TranslationBlock *tb)
{
    struct pgl_tb *equal;

    block_set_bytes(tb);
    switch (pgl_bracket_commit(&bracket, &tb->pagelock, &equal)) {
    case PGL_BRACKET_OK:
        count(TRANSLATED);
        return tb;
    case PGL_BRACKET_EXISTS:
        count(EQUAL);
        return block_of(equal);
    default:
        bracket_failed(first_page);
    }
}

/* Stores */

/* Check a store that this thread makes or has made. The filters mostly answer without a lock. */
static bool store_hits(ram_addr_t addr, ram_addr_t len)
{
    count(CHECKS);
    if (pgl_store_is_clean(table, addr, len)) {
        count(CHECKS_WITHOUT_LOCK);
        return false;
    }
    return (pgl_store_check(table, addr, len, NULL) & PGL_HIT) != 0;
}

/* Confirm the first @n stores of a list, and remove them. */
static void stores_confirm(struct pagelock_stores *stores, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        count(CONFIRMED);
        if (store_hits(stores->store[i].addr, stores->store[i].len)) {
            count(CONFIRMED_HITS);
        }
    }
    memmove(stores->store, stores->store + n, (stores->n - n) * sizeof(stores->store[0]));
    stores->n -= n;
}

void pagelock_confirm_soon(void)
{
    /* The stores of a bracket wait for its end. */
    if (!pgl_bracket_is_open(&bracket)) {
        stores_confirm(&pagelock_stores.soon, pagelock_stores.soon.n);
    }
}

void pagelock_confirm_at_exit(void)
{
    stores_confirm(&pagelock_stores.at_exit, pagelock_stores.at_exit.n);
}

/*
 * Remember a store. A full list has stores that were made long ago: at most two pages of one access, or the levels of
 * one page-table walk, are announced and not yet stored.
 */
static void stores_add(struct pagelock_stores *stores, ram_addr_t addr, ram_addr_t len)
{
    if (stores->n == PAGELOCK_STORES) {
        unsigned half = PAGELOCK_STORES / 2;

        if (!pgl_bracket_is_open(&bracket)) {
            stores_confirm(stores, half);
        } else {
            for (unsigned i = 0; i < half; i++) {
                count(WALK_STORES);
                pgl_bracket_store(&bracket, stores->store[i].addr, stores->store[i].len);
            }
            memmove(stores->store, stores->store + half, half * sizeof(stores->store[0]));
            stores->n = half;
        }
    }
    stores->store[stores->n].addr = addr;
    stores->store[stores->n].len = len;
    stores->n++;
}

/*
 * A store has killed a block. If that is the running one, run the storing instruction again in a block of its own, which
 * is exempt: one that overwrites itself would be run for ever.
 */
static void leave_dead_block(uintptr_t retaddr)
{
#ifdef TARGET_HAS_PRECISE_SMC
    TranslationBlock *block = retaddr ? tcg_tb_lookup(retaddr) : NULL;

    if (!block || tb_page_addr0(block) == -1 || pgl_tb_is_live(&block->pagelock) ||
        (tb_cflags(block) & CF_COUNT_MASK) == 1) {
        return;
    }
    count(LEFT);
    cpu_restore_state_from_tb(current_cpu, block, retaddr);
    current_cpu->cflags_next_tb = 1 | CF_NOIRQ | curr_cflags(current_cpu);
    cpu_loop_exit_noexc(current_cpu);
#endif
}

/* Announce a store. Without a return address it is a page-table walk's, which gives no length and runs in no block. */
void tb_invalidate_phys_range_fast(ram_addr_t ram_addr, unsigned size, uintptr_t retaddr)
{
    if (!retaddr) {
        ram_addr_t first = ROUND_DOWN(ram_addr, 8);

        stores_add(&pagelock_stores.soon, first, ROUND_UP(ram_addr + size, 8) - first);
        return;
    }
    count(ANNOUNCED);
    if (store_hits(ram_addr, size)) {
        count(ANNOUNCED_HITS);
        leave_dead_block(retaddr);
    }
    stores_add(&pagelock_stores.soon, ram_addr, size);
}

void pagelock_probed(CPUState *cpu, uintptr_t retaddr)
{
    struct pagelock_stores *soon = &pagelock_stores.soon;

    if (!retaddr || !soon->n) {
        return;
    }
    count(PROBES);
    soon->n--;
    stores_add(&pagelock_stores.at_exit, soon->store[soon->n].addr, soon->store[soon->n].len);
    qatomic_set(&cpu->neg.icount_decr.u16.high, -1);
}

/* Invalidation by others, and the end */

void tb_invalidate_phys_range(tb_page_addr_t start, tb_page_addr_t last)
{
    if (pgl_bracket_is_open(&bracket)) {
        stores_add(&pagelock_stores.soon, start, last - start + 1);
        return;
    }
    count(RANGES);
    pthread_rwlock_rdlock(&flushing);
    pgl_invalidate_range(table, start, last, NULL);
    pthread_rwlock_unlock(&flushing);
}

void tb_phys_invalidate(TranslationBlock *tb, tb_page_addr_t page_addr)
{
    if (tb_page_addr0(tb) == -1) {
        block_refuse_jumps(tb); /* on no page, and never to be found */
    } else {
        pgl_invalidate_tb(table, &tb->pagelock, NULL);
    }
}

void tb_remove_all(void)
{
    pthread_rwlock_wrlock(&flushing);
    pgl_table_reset(table);
    pthread_rwlock_unlock(&flushing);
}

/* Traps */

void pagelock_second_look(CPUState *cpu, ram_addr_t ram_addr)
{
    if (unlikely(!cpu_physical_memory_get_dirty_flag(ram_addr, DIRTY_MEMORY_CODE))) {
        RCU_READ_LOCK_GUARD();
        tlb_reset_dirty(cpu, (uintptr_t)qemu_map_ram_ptr(NULL, ram_addr & TARGET_PAGE_MASK), TARGET_PAGE_SIZE);
    }
}

#ifdef CONFIG_DEBUG_TCG
void assert_no_pages_locked(void)
{
    g_assert(!pgl_bracket_is_open(&bracket));
}
#endif
