/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The common part of emu.c and translate.c. */
#ifndef PGL_TESTS_GUEST_EMU_INTERNAL_H
#define PGL_TESTS_GUEST_EMU_INTERNAL_H

#include "emu.h"

struct hart {
    struct emu *emu;
    struct cpu cpu;
    struct finder finder;
    bool storing; /* inside store_untrapped() */
    const struct pgl_tb *running;
    bool running_dead;
    bool restarts; /* the store of this instruction was announced, and its block is dead: begin the instruction again */
    bool hit;      /* an announcement of this instruction has killed a block */
    struct emu_stats stats;
    pthread_t thread;
};

struct emu {
    const struct program *program;
    struct emu_config config;
    struct pgl_table *table;
    unsigned page_bits;       /* of the table */
    pthread_mutex_t big_lock; /* of TABLE_EXTERNAL */
    struct blocks blocks;
    struct ram ram;
    uint8_t trapped[(RAM_SIZE >> PAGE_BITS_MIN) + 1]; /* by pages of the table */
    uint64_t linked, retired;
    pthread_barrier_t start;
    struct hart hart[HARTS_MAX];
};

void emu_fail(const char *what);

/* Around each call of the library, and around each bracket: with TABLE_EXTERNAL the big lock, otherwise nothing. */
void emu_enter(struct emu *emu);
void emu_leave(struct emu *emu);

/* The address that the page-table entry of a virtual address names. */
uint64_t emu_translate_va(const struct emu *emu, uint64_t va, uint64_t *flags_at);

/* Make a block of the code at @va, which lies at @pa, or find the equal one that another hart has made. */
struct block *translate(struct hart *hart, uint64_t va, uint64_t pa);

/* Make a block of one instruction that no hart can find. The caller frees it. */
struct block *translate_once(struct hart *hart, uint64_t va, uint64_t pa);

/* How many instructions a block may have. */
unsigned translate_limit(const struct emu *emu);

/*
 * Whether a block that has @insn as its number @n, counted from 0, goes on, and if so at which address. @va is the
 * address of the instruction before the call.
 */
bool translate_goes_on(const struct emu *emu, const struct insn *insn, unsigned n, uint64_t *va);

#endif
