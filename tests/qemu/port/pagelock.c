/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QEMU's blocks on libpagelock: translation, invalidation, flush, and the figures. Stores in system mode are in
 * pagelock-store.c.
 *
 * OBJECTS. One table, over RAM offsets in system mode, over guest addresses in user mode, where mmap_lock() is the big
 * lock. One bracket for each thread, because a fault while decoding jumps to the outer loop, whose clean-up aborts it.
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
#include "exec/cputlb.h"
#include "exec/exec-all.h"
#include "tcg/tcg.h"
#include "tb-context.h"
#include "tb-hash.h"
#include "tb-internal.h"
#include "internal-common.h"
#include "internal-target.h"
#include "pagelock-internal.h"

#ifdef CONFIG_USER_ONLY
#include "user/page-protection.h"
#define ADDRESS_BITS 64u /* guest addresses */
#else
#define ADDRESS_BITS 48u /* offsets in RAM; the table's look-up is fastest up to these */
#endif

struct pgl_table *pagelock_table;
static pthread_rwlock_t flushing = PTHREAD_RWLOCK_INITIALIZER; /* written by the flush, read by ranges of any thread */

__thread struct pgl_bracket pagelock_bracket;
__thread uint64_t pagelock_first_page;

/* In the order of enum count. */
static const char *const count_names[NCOUNTS] = {
    "checks", "checks_without_lock", "announced", "confirmed",  "announced_hits", "confirmed_hits", "left",
    "probes", "walk_stores",         "ranges",    "translated", "equal",          "restarted",      "chains",
};

static struct pagelock_counts *all_counts;
__thread struct pagelock_counts *pagelock_counts;

/* Add a thread's figures to the list of all. They outlive the thread. */
struct pagelock_counts *pagelock_counts_new(void)
{
    struct pagelock_counts *new = g_new0(struct pagelock_counts, 1);

    do {
        new->next = qatomic_read(&all_counts);
    } while (qatomic_cmpxchg(&all_counts, new->next, new) != new->next);
    return pagelock_counts = new;
}

static inline TranslationBlock *block_of(const struct pgl_tb *tb)
{
    return container_of(tb, TranslationBlock, pagelock);
}

/* Callbacks */

#ifdef CONFIG_USER_ONLY
static void first_code(uint64_t index, void *opaque)
{
    page_protect(index << TARGET_PAGE_BITS);
}

static bool have_big_lock(void *opaque)
{
    return have_mmap_lock();
}
#else
static void first_code(uint64_t index, void *opaque)
{
    tlb_protect_code(index << TARGET_PAGE_BITS);
}

static void no_code(uint64_t index, void *opaque)
{
    tlb_unprotect_code(index << TARGET_PAGE_BITS);
}
#endif

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
    pagelock_count(CHAINS);
}

/* The report */

static void say_violation(const char *what, void *opaque)
{
    fprintf(opaque, "# %s\n", what);
}

/* Write the report, if the environment names a file. The table is at rest: vCPUs are stopped, or mmap_lock() is held. */
static void report(void)
{
    const char *path = getenv("PAGELOCK_REPORT");
    FILE *file = path ? fopen(path, "a") : NULL;
    struct pgl_table_stats stats;

    if (!file) {
        if (path) {
            error_report("PAGELOCK_REPORT: %s: %s", path, strerror(errno));
        }
        return;
    }
    fprintf(file, "violations %u\n", pgl_table_check(pagelock_table, say_violation, file));
    for (unsigned i = 0; i < NCOUNTS; i++) {
        uint64_t sum = 0;

        for (struct pagelock_counts *c = qatomic_read(&all_counts); c; c = c->next) {
            sum += qatomic_read(&c->count[i]);
        }
        fprintf(file, "%s %" PRIu64 "\n", count_names[i], sum);
    }
    fprintf(file, "flushes %u\n", qatomic_read(&tb_ctx.tb_flush_count));
    pgl_table_get_stats(pagelock_table, &stats);
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
#ifndef CONFIG_USER_ONLY /* where a page is write-protected until it is stored to */
        .no_code = no_code,
#endif
        .publish = publish,
        .retired = retired,
    };
    const struct pgl_table_config config = {
        .page_bits = TARGET_PAGE_BITS,
        .addr_bits = ADDRESS_BITS,
#ifdef CONFIG_USER_ONLY
        .external_locking = true,
        .external_held = have_big_lock,
#endif
        .ops = &ops,
    };

    pagelock_table = pgl_table_new(&config);
    if (!pagelock_table) {
        error_report("pagelock: no table: %s", strerror(errno));
        exit(EXIT_FAILURE);
    }
#ifndef CONFIG_USER_ONLY
    atexit(report);
#endif
}

#ifdef CONFIG_USER_ONLY
void pagelock_exit(void)
{
    mmap_lock();
    report();
    mmap_unlock();
}
#endif

/* Translation */

/* Give up after an error of a bracket: there is no memory, or an address is out of the table. */
G_NORETURN void pagelock_bracket_failed(uint64_t index)
{
    error_report("pagelock: page %" PRIx64 ": %s", index, strerror(errno));
    abort();
}

void tb_lock_page0(tb_page_addr_t paddr)
{
    pagelock_first_page = paddr >> TARGET_PAGE_BITS;
    if (!pgl_bracket_begin(&pagelock_bracket, pagelock_table, pagelock_first_page)) {
        pagelock_bracket_failed(pagelock_first_page);
    }
}

void tb_lock_page1(tb_page_addr_t paddr0, tb_page_addr_t paddr1)
{
    switch (pgl_bracket_cross(&pagelock_bracket, paddr1 >> TARGET_PAGE_BITS)) {
    case PGL_BRACKET_OK:
        return;
    case PGL_BRACKET_RESTART:
        pagelock_count(RESTARTED);
        siglongjmp(tcg_ctx->jmp_trans, -3);
    default:
        pagelock_bracket_failed(paddr1 >> TARGET_PAGE_BITS);
    }
}

/* The bracket keeps a page that the next decoding does not need until its end. */
void tb_unlock_page1(tb_page_addr_t paddr0, tb_page_addr_t paddr1)
{
}

void tb_unlock_pages(TranslationBlock *tb)
{
    pagelock_abandon();
    pagelock_confirm();
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
    switch (pgl_bracket_commit(&pagelock_bracket, &tb->pagelock, &equal)) {
    case PGL_BRACKET_OK:
        pagelock_count(TRANSLATED);
        return tb;
    case PGL_BRACKET_EXISTS:
        pagelock_count(EQUAL);
        return block_of(equal);
    default:
        pagelock_bracket_failed(pagelock_first_page);
    }
}

/* Invalidation by others, and the end */

void tb_invalidate_phys_range(tb_page_addr_t start, tb_page_addr_t last)
{
#ifndef CONFIG_USER_ONLY
    if (pgl_bracket_is_open(&pagelock_bracket)) {
        pagelock_remember(start, last - start + 1);
        return;
    }
#endif
    pagelock_count(RANGES);
    pthread_rwlock_rdlock(&flushing);
    pgl_invalidate_range(pagelock_table, start, last, NULL);
    pthread_rwlock_unlock(&flushing);
}

void tb_phys_invalidate(TranslationBlock *tb, tb_page_addr_t page_addr)
{
    if (tb_page_addr0(tb) == -1) {
        block_refuse_jumps(tb); /* on no page, and never to be found */
    } else {
        pgl_invalidate_tb(pagelock_table, &tb->pagelock, NULL);
    }
}

void tb_remove_all(void)
{
    pthread_rwlock_wrlock(&flushing);
    pgl_table_reset(pagelock_table);
    pthread_rwlock_unlock(&flushing);
}

/* A thread of the guest has jumped out of the translator, or out of a block. */
void pagelock_abandon(void)
{
    if (pgl_bracket_is_open(&pagelock_bracket)) {
        pgl_bracket_abort(&pagelock_bracket);
    }
}

#ifdef CONFIG_USER_ONLY
bool tb_invalidate_phys_page_unwind(tb_page_addr_t addr, uintptr_t pc)
{
    const struct pgl_tb *running = NULL;
    TranslationBlock *block = NULL;

#ifdef TARGET_HAS_PRECISE_SMC
    block = pc ? tcg_tb_lookup(pc) : NULL;
    running = block ? &block->pagelock : NULL;
#endif
    /* A block of one instruction is exempt: one that overwrites itself would be run for ever. */
    if (!(pgl_invalidate_page(pagelock_table, addr >> TARGET_PAGE_BITS, running) & PGL_RUNNING_DEAD) ||
        (tb_cflags(block) & CF_COUNT_MASK) == 1) {
        return false;
    }
    pagelock_count(LEFT);
    cpu_restore_state_from_tb(current_cpu, block, pc);
    current_cpu->cflags_next_tb = 1 | CF_NOIRQ | curr_cflags(current_cpu);
    return true;
}
#endif

#if defined(CONFIG_SOFTMMU) && defined(CONFIG_DEBUG_TCG)
void assert_no_pages_locked(void)
{
    g_assert(!pgl_bracket_is_open(&pagelock_bracket));
}
#endif
