/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The emulator: harts that run a guest program from translated blocks, one thread a hart. emu.c is where libpagelock is
 * used; read it as an example.
 */
#ifndef PGL_TESTS_GUEST_EMU_H
#define PGL_TESTS_GUEST_EMU_H

#include "block.h"
#include "ram.h"

/* When the library is asked about a store to a page with code. */
enum emu_order {
    ORDER_CHECK,    /* after the store */
    ORDER_BRACKET,  /* before the store, in a store bracket */
    ORDER_ANNOUNCE, /* before the store and again after it; a hart can only begin an instruction again */
    ORDERS,
};

/* The library's table that the emulator makes. */
enum emu_table {
    TABLE_PLAIN,
    TABLE_ASYMMETRIC, /* with asymmetric fences, where the system has them */
    TABLE_EXTERNAL,   /* one big lock of the emulator's around every call */
    TABLE_NO_MAPS,    /* with too little memory for any hot page */
    TABLE_LARGE,      /* its pages have 64 KiB, and each holds many pages of the guest */
    TABLES,
};

/* Mistakes on purpose, to see that the run finds them. */
enum emu_mistake {
    MISTAKE_NONE,
    MISTAKE_NO_CHECK,    /* a store in a hundred is not followed by its check */
    MISTAKE_EARLY_READ,  /* guest bytes are read before the bracket begins */
    MISTAKE_IGNORE_DEAD, /* a block goes on after it has overwritten itself */
    MISTAKE_KEEP_CACHES, /* `retired` leaves the jump caches alone */
    MISTAKE_NO_TRAP,     /* `first_code` does not wait for stores that found no trap, and these dawdle */
    MISTAKE_NO_CONFIRM,  /* a store that was announced is not checked again */
    MISTAKE_COUNT,
};

/* Whether a hart has found a stale block in a program of a mistaken emulator. Such a program may never end. */
extern bool emu_mistake_was_found;

struct emu_config {
    enum emu_order order;
    enum emu_table table;
    bool superblocks; /* blocks go on behind direct jumps */
    enum emu_mistake mistake;
};

struct emu_stats {
    uint64_t stores;      /* into pages with code, each with a check or in a store bracket */
    uint64_t hits;        /* of them, those that killed a block */
    uint64_t untrapped;   /* stores into pages without code */
    uint64_t translated;  /* blocks linked */
    uint64_t equal;       /* blocks thrown away because an equal one was there */
    uint64_t two_pages;   /* blocks with bytes on two pages, */
    uint64_t falling;     /* the second of them lower, */
    uint64_t twice;       /* blocks with two extents on one page, */
    uint64_t super;       /* and superblocks, with bytes on three pages and more */
    uint64_t super_pages; /* of these, together */
    uint64_t restarts;    /* of brackets */
    uint64_t walk_stores; /* accessed bits set inside brackets */
    uint64_t left;        /* blocks left because they were dead */
    uint64_t announced;   /* stores checked before they were made, */
    uint64_t restarted;   /* after which the instruction began again, */
    uint64_t confirmed;   /* and blocks killed by the check after them: another hart had made them meanwhile */
    uint64_t chained;     /* blocks found by a chained jump, */
    uint64_t cached;      /* in a jump cache, */
    uint64_t hashed;      /* in the hash table */
    uint64_t contended;   /* page locks waited for */
    uint64_t retries;     /* of collections */
    uint64_t stale;       /* found although a store to their bytes had been checked before */
    uint64_t wrong;       /* broken in another way: what a table at rest must be, links = deaths, traps */
};

struct emu;

struct emu *emu_new(const struct program *program, const struct emu_config *config);
void emu_free(struct emu *emu);

/* Run every hart until it halts, and check the end state. */
void emu_run(struct emu *emu, struct emu_stats *stats);

/* After a run. */
uint8_t emu_byte(const struct emu *emu, uint32_t ram_at);
const struct cpu *emu_cpu(const struct emu *emu, unsigned hart);

#endif
