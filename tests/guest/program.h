/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A guest program: a memory image, the mapping of its virtual pages, and where each hart begins. */
#ifndef PGL_TESTS_GUEST_PROGRAM_H
#define PGL_TESTS_GUEST_PROGRAM_H

#include <stdbool.h>
#include <stdint.h>

#include "isa.h"

enum {
    RAM_SIZE = 0x8000,
    PAGE_BITS_MIN = 10,
    VPAGES_MAX = VA_SIZE >> PAGE_BITS_MIN,
    HARTS_MAX = 16,
};

/*
 * A page-table entry lies anywhere in memory, in 3 bytes of one page: flags, then the number of the physical page. The
 * mapping never changes; the accessed bit does. More virtual pages than physical ones: each of those has aliases.
 */
enum {
    PTE_SIZE = 3,
    PTE_ACCESSED = 1,
};

struct program {
    const char *name;
    unsigned page_bits; /* 10 to 12 */
    unsigned nharts;
    uint64_t base;      /* the physical address of the RAM's first byte */
    bool deterministic; /* every run ends in the same memory and registers, accessed bits apart */
    bool many_writers;  /* two harts may store to one byte at a time */
    uint8_t image[RAM_SIZE];
    uint16_t map[VPAGES_MAX];    /* virtual page to page of the RAM */
    uint32_t pte_at[VPAGES_MAX]; /* where its page-table entry is, in the RAM */
    uint64_t entry[HARTS_MAX];
};

/* The place of a virtual address in the RAM. */
static inline uint32_t program_ram_at(const struct program *program, uint64_t va)
{
    uint64_t in_page = (UINT64_C(1) << program->page_bits) - 1;

    va %= VA_SIZE;
    return (uint32_t)((uint64_t)program->map[va >> program->page_bits] << program->page_bits | (va & in_page));
}

/* The programs written by hand: NULL beyond the last. To be freed. */
struct program *program_by_hand(unsigned number);

/* A random one, the same for the same arguments; four neighbouring numbers are of four kinds. To be freed. */
struct program *program_random(uint64_t seed, uint64_t number, unsigned nharts);

/* Run a program on the interpreter: @image and @cpus are what it leaves. */
void program_interpret(const struct program *program, uint8_t *image, struct cpu *cpus);

#endif
