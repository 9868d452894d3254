/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The names that the files of the port share. */
#ifndef ACCEL_TCG_PAGELOCK_INTERNAL_H
#define ACCEL_TCG_PAGELOCK_INTERNAL_H

#include "pagelock.h"

#include <pagelock/tb.h>

extern struct pgl_table *pagelock_table;
extern __thread struct pgl_bracket pagelock_bracket;
extern __thread uint64_t pagelock_first_page; /* of the open bracket */

/* Figures of one thread. Each thread counts for itself; the report adds them up. */
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

struct pagelock_counts {
    uint64_t count[NCOUNTS];
    struct pagelock_counts *next;
};
extern __thread struct pagelock_counts *pagelock_counts;

struct pagelock_counts *pagelock_counts_new(void);

static inline void pagelock_count(enum count which)
{
    struct pagelock_counts *mine = pagelock_counts ? pagelock_counts : pagelock_counts_new();

    qatomic_set(&mine->count[which], mine->count[which] + 1);
}

/* Give up after an error of a bracket: there is no memory, or an address is out of the table. */
G_NORETURN void pagelock_bracket_failed(uint64_t index);

#ifndef CONFIG_USER_ONLY
void pagelock_remember(ram_addr_t addr, ram_addr_t len);
#endif

#endif
