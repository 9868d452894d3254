/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QEMU's blocks on libpagelock: the calls that `port` puts into QEMU's own files, and the functions of QEMU's that the
 * port calls. The interface that QEMU's files already know stays declared where it was.
 */
#ifndef ACCEL_TCG_PAGELOCK_H
#define ACCEL_TCG_PAGELOCK_H

#include "exec/translation-block.h"

/* QEMU's, static in tb-maint.c and translate-all.c without the port. */
void tb_remove_from_jmp_list(TranslationBlock *orig, int n_orig);
void tb_jmp_unlink(TranslationBlock *dest);
int cpu_unwind_data_from_tb(TranslationBlock *tb, uintptr_t host_pc, uint64_t *data);

/* Called by QEMU's do_tb_flush() in the exclusive section. */
void tb_remove_all(void);

/* Abort the bracket of this thread, if there is one: it has jumped to the outer loop. */
void pagelock_abandon(void);

#ifdef CONFIG_USER_ONLY

/* Write the report: QEMU ends here without calling the functions that atexit(3) knows. */
void pagelock_exit(void);

static inline void pagelock_confirm(void)
{
}

static inline void pagelock_leave(void)
{
}

static inline int pagelock_translated(int size)
{
    return size;
}

static inline int pagelock_limit(const TranslationBlock *block, int max_insns)
{
    return max_insns;
}

#else

/* Stores of this thread that were announced and will have been made at a known moment. */
#define PAGELOCK_STORES 8u
struct pagelock_stores {
    unsigned n;
    struct {
        ram_addr_t addr;
        ram_addr_t len;
    } store[PAGELOCK_STORES];
};

/*
 * A thread's stores until they are confirmed.
 * @soon: by a store helper, an atomic helper or a page-table walk; each of these confirms when it has stored
 * @at_exit: through a host pointer that a probe gave away; the end of the block confirms
 */
extern __thread struct pagelock_threads_stores {
    struct pagelock_stores soon;
    struct pagelock_stores at_exit;
} pagelock_stores;

void pagelock_confirm_soon(void);
void pagelock_confirm_at_exit(void);

/* Confirm what this thread has stored: a store helper, an atomic helper or a page-table walk is at its end. */
static inline void pagelock_confirm(void)
{
    if (unlikely(pagelock_stores.soon.n)) {
        pagelock_confirm_soon();
    }
}

/* Confirm all that this thread has stored: it has left a block. */
static inline void pagelock_leave(void)
{
    if (unlikely(pagelock_stores.soon.n | pagelock_stores.at_exit.n)) {
        pagelock_confirm_soon();
        pagelock_confirm_at_exit();
    }
}

/* A probe has announced a store and gives a host pointer away. With a return address, end the block soon. */
void pagelock_probed(CPUState *cpu, uintptr_t retaddr);

/*
 * A vCPU has made one of its TLB entries dirty by a dirty bit that it read before. If a bracket has set the page's trap
 * since, set the entry's again.
 */
void pagelock_second_look(CPUState *cpu, ram_addr_t ram_addr);

/*
 * The code of a block has been generated (@size bytes, or a negative reason to do it again). Return @size, or -3 if a
 * store of a page-table walk has made the decoded bytes void.
 */
int pagelock_translated(int size);

/* Return how many instructions a block should have at most: fewer, if its predecessor has killed itself. */
int pagelock_limit(const TranslationBlock *block, int max_insns);

#endif
#endif
