/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QEMU's stores on libpagelock, in system mode, and the traps of its TLBs.
 *
 * OBJECTS. Two short lists of stores for each thread: announced, not yet confirmed. One array of lengths for all threads.
 *
 * STORES. A store into a page with code is announced before it is made (tb_invalidate_phys_range_fast()): if it kills
 * the running block, the vCPU leaves the block and runs the instruction again in a block of its own. It is confirmed
 * after it has been made, so that no block lives that another vCPU translated from the old bytes in between. The store
 * and atomic helpers confirm at their end, a page-table walk when it fills the TLB entry. A probe gives a host pointer
 * away, and nothing tells when its user has stored; these are confirmed when the block ends, which is asked to end soon.
 *
 * LENGTHS. A block that has killed itself will do so again: it is translated, leaves at its store, and runs the store a
 * second time, and the code behind the store is translated as a block of its own. Therefore the next block from the same
 * address ends with the storing instruction. It lives on, and only the code that has changed is translated again. The
 * lengths are hints. Threads read and write them without a lock, and a new one takes the place of an old one; a length
 * that is lost costs one leave, and one that is out of date makes a block shorter than it could be.
 *
 * WALKS. While a bracket is open, a thread may check no store. A page-table walk of the decoder's is remembered, and
 * pagelock_translated() hands it to the bracket when the block has been decoded, before the block is committed. If the
 * store hit a block, or fell on a page of the bracket, the decoding begins again; the bracket holds its pages meanwhile.
 */
#include "qemu/osdep.h"
#include "qemu/rcu.h"
#include "exec/cputlb.h"
#include "exec/exec-all.h"
#include "exec/memory.h"
#include "exec/ram_addr.h"
#include "tcg/insn-start-words.h"
#include "tcg/tcg.h"
#include "tb-internal.h"
#include "internal-common.h"
#include "internal-target.h"
#include "pagelock-internal.h"

__thread struct pagelock_threads_stores pagelock_stores;

/* Check a store that this thread makes or has made. The filters mostly answer without a lock. */
static bool store_hits(ram_addr_t addr, ram_addr_t len)
{
    pagelock_count(CHECKS);
    if (pgl_store_is_clean(pagelock_table, addr, len)) {
        pagelock_count(CHECKS_WITHOUT_LOCK);
        return false;
    }
    return (pgl_store_check(pagelock_table, addr, len, NULL) & PGL_HIT) != 0;
}

/* Confirm the first @n stores of a list, and remove them. */
static void stores_confirm(struct pagelock_stores *stores, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        pagelock_count(CONFIRMED);
        if (store_hits(stores->store[i].addr, stores->store[i].len)) {
            pagelock_count(CONFIRMED_HITS);
        }
    }
    memmove(stores->store, stores->store + n, (stores->n - n) * sizeof(stores->store[0]));
    stores->n -= n;
}

void pagelock_confirm_soon(void)
{
    /* The stores of a bracket wait for its end. */
    if (!pgl_bracket_is_open(&pagelock_bracket)) {
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

        if (!pgl_bracket_is_open(&pagelock_bracket)) {
            stores_confirm(stores, half);
        } else {
            for (unsigned i = 0; i < half; i++) {
                pagelock_count(WALK_STORES);
                pgl_bracket_store(&pagelock_bracket, stores->store[i].addr, stores->store[i].len);
            }
            memmove(stores->store, stores->store + half, half * sizeof(stores->store[0]));
            stores->n = half;
        }
    }
    stores->store[stores->n].addr = addr;
    stores->store[stores->n].len = len;
    stores->n++;
}

/* A block's first address, shifted, and below it the number of its instructions up to the one that kills it. */
#define LENGTH_BITS 9u
QEMU_BUILD_BUG_ON(CF_COUNT_MASK >> LENGTH_BITS);
static uint64_t lengths[4096];

static uint64_t *length_of(uint64_t addr)
{
    return &lengths[(addr ^ addr >> TARGET_PAGE_BITS) % ARRAY_SIZE(lengths)];
}

int pagelock_limit(const TranslationBlock *block, int max_insns)
{
    uint64_t addr = tb_page_addr0(block);
    uint64_t length = qatomic_read(length_of(addr));

    return length >> LENGTH_BITS == addr && length ? MIN(max_insns, (int)(length & CF_COUNT_MASK)) : max_insns;
}

/* A block has killed itself: let the next one from its address end with the instruction that has done it. */
static void limit_next(TranslationBlock *block, uintptr_t retaddr)
{
    uint64_t data[TARGET_INSN_START_WORDS];
    int left = cpu_unwind_data_from_tb(block, retaddr, data); /* with the storing one */
    uint64_t addr = tb_page_addr0(block);

    if (left > 1) {
        qatomic_set(length_of(addr), addr << LENGTH_BITS | (block->icount - left + 1));
    }
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
    pagelock_count(LEFT);
    limit_next(block, retaddr);
    cpu_restore_state_from_tb(current_cpu, block, retaddr);
    current_cpu->cflags_next_tb = 1 | CF_NOIRQ | curr_cflags(current_cpu);
    cpu_loop_exit_noexc(current_cpu);
#endif
}

/* Remember a store that a bracket will be asked about, or that is confirmed soon. */
void pagelock_remember(ram_addr_t addr, ram_addr_t len)
{
    stores_add(&pagelock_stores.soon, addr, len);
}

/* Announce a store. Without a return address it is a page-table walk's, which gives no length and runs in no block. */
void tb_invalidate_phys_range_fast(ram_addr_t ram_addr, unsigned size, uintptr_t retaddr)
{
    if (!retaddr) {
        ram_addr_t first = ROUND_DOWN(ram_addr, 8);

        stores_add(&pagelock_stores.soon, first, ROUND_UP(ram_addr + size, 8) - first);
        return;
    }
    pagelock_count(ANNOUNCED);
    if (store_hits(ram_addr, size)) {
        pagelock_count(ANNOUNCED_HITS);
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
    pagelock_count(PROBES);
    soon->n--;
    stores_add(&pagelock_stores.at_exit, soon->store[soon->n].addr, soon->store[soon->n].len);
    qatomic_set(&cpu->neg.icount_decr.u16.high, -1);
}

/* Translation */

int pagelock_translated(int size)
{
    struct pagelock_stores *soon = &pagelock_stores.soon;
    bool again = false;

    if (size < 0 || !soon->n) {
        return size;
    }
    if (!pgl_bracket_is_open(&pagelock_bracket)) {
        pagelock_confirm_soon();
        return size;
    }
    for (unsigned i = 0; i < soon->n; i++) {
        pagelock_count(WALK_STORES);
        again |= pgl_bracket_store(&pagelock_bracket, soon->store[i].addr, soon->store[i].len) != PGL_BRACKET_OK;
    }
    soon->n = 0;
    if (!again) {
        return size;
    }
    /* The step that the bracket needs to unlock, invalidate and lock again, so that the commit has nothing to do. */
    switch (pgl_bracket_cross(&pagelock_bracket, pagelock_first_page)) {
    case PGL_BRACKET_OK:
        return size;
    case PGL_BRACKET_RESTART:
        pagelock_count(RESTARTED);
        return -3;
    default:
        pagelock_bracket_failed(pagelock_first_page);
    }
}

/* Traps */

void pagelock_second_look(CPUState *cpu, ram_addr_t ram_addr)
{
    if (unlikely(!cpu_physical_memory_get_dirty_flag(ram_addr, DIRTY_MEMORY_CODE))) {
        RCU_READ_LOCK_GUARD();
        tlb_reset_dirty(cpu, (uintptr_t)qemu_map_ram_ptr(NULL, ram_addr & TARGET_PAGE_MASK), TARGET_PAGE_SIZE);
    }
}
