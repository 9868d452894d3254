/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How a block that is on no page dies.
 *
 * OBJECTS      The killer of the block marks it dead, with the lock in the table's `unlisted` held. It does not hold
 * the lock while `retired` runs; its record in `unlisted` says meanwhile that the block is dying.
 *
 * INVARIANTS
 *   U1  The record of a dead block is in `unlisted` until `retired` has returned for it. A thread that finds the block
 *       dead waits until the record is gone. (test_invalidate_tb_returns_only_after_anothers_retired)
 */
#include "kill_internal.h"
#include "spin_internal.h"
#include "table_internal.h"
#include "witness_internal.h"

/*
 * Record of an unlisted block that is being retired. It lives on the stack of the killing thread, and is linked into
 * table->unlisted until `retired` has returned. Bit PGL_HEAD_LOCK of that word is the list's spin lock; it is not held
 * while `retired` runs.
 */
struct dying {
    const struct pgl_tb *tb;
    uintptr_t next;
} __attribute__((aligned(16)));

/* The record that a link refers to. Atomic, because threads that want the lock read and swap the first link. */
static struct dying *dying_at(const uintptr_t *link)
{
    return (struct dying *)(__atomic_load_n(link, __ATOMIC_RELAXED) & ~(uintptr_t)PGL_HEAD_LOCK);
}

/* The link that refers to the record of a block, or NULL. The caller holds the lock of the list. */
static uintptr_t *find_dying(struct pgl_table *table, const struct pgl_tb *tb)
{
    uintptr_t *link = &table->unlisted;

    for (struct dying *dying; (dying = dying_at(link)); link = &dying->next) {
        if (dying->tb == tb) {
            return link;
        }
    }
    return NULL;
}

bool pgl_kill_unlisted(struct pgl_table *table, struct pgl_tb *tb)
{
    struct dying self = {.tb = tb};
    uintptr_t *link;

    pgl_spin_lock(&table->unlisted, PGL_HEAD_LOCK);
    if (pgl_tb_is_dead(tb)) {
        for (unsigned round = 0; find_dying(table, tb); round++) { /* until `retired` has returned */
            const struct dying *first = dying_at(&table->unlisted);

            pgl_spin_unlock(&table->unlisted, PGL_HEAD_LOCK);
            if (dying_at(&table->unlisted) == first) {
                pgl_spin_wait(&table->unlisted, round);
            }
            pgl_spin_lock(&table->unlisted, PGL_HEAD_LOCK);
        }
        pgl_spin_unlock(&table->unlisted, PGL_HEAD_LOCK);
        return false;
    }
    pgl_tb_mark_dead(table, tb);
    pgl_witness_unlinked(tb);
    self.next = (uintptr_t)dying_at(&table->unlisted);
    __atomic_store_n(&table->unlisted, (uintptr_t)&self | PGL_HEAD_LOCK, __ATOMIC_RELAXED);
    pgl_spin_unlock(&table->unlisted, PGL_HEAD_LOCK);

    tb->span.next = 0;
    pgl_kill_retire(table, (struct pgl_chain){.first = tb});

    pgl_spin_lock(&table->unlisted, PGL_HEAD_LOCK);
    link = find_dying(table, tb);
    __atomic_store_n(link, self.next | (link == &table->unlisted ? PGL_HEAD_LOCK : 0), __ATOMIC_RELAXED);
    pgl_spin_unlock(&table->unlisted, PGL_HEAD_LOCK);
    return true;
}
