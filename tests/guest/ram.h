/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Guest memory in which each byte knows how often it was written. By these numbers the test sees which bytes a block
 * was made from.
 *
 * A cell is a byte and its version, read and written as one. A store whose invalidation has returned *settles* its
 * versions. A block that is looked up later must have been made from settled versions or newer ones, byte by byte.
 */
#ifndef PGL_TESTS_GUEST_RAM_H
#define PGL_TESTS_GUEST_RAM_H

#include <stdbool.h>
#include <stdint.h>

#include "program.h"

struct ram {
    uint64_t base;           /* the physical address of the first byte */
    bool many_writers;       /* several harts may store to one byte at a time */
    uint64_t cell[RAM_SIZE]; /* version << 8 | byte */
    uint64_t settled[RAM_SIZE];
};

enum write_how {
    WRITE_SET, /* store the bytes */
    WRITE_OR,  /* set bits, in one step */
    WRITE_AND, /* keep bits, in one step */
};

/* A store to contiguous physical bytes, and the versions it made. */
struct write {
    uint64_t pa;
    unsigned len;
    enum write_how how;
    uint8_t bytes[COPY_MAX];
    uint64_t version[COPY_MAX];
};

static inline uint64_t ram_cell(const struct ram *ram, uint64_t pa)
{
    return __atomic_load_n(&ram->cell[pa - ram->base], __ATOMIC_ACQUIRE);
}

static inline uint8_t ram_byte(const struct ram *ram, uint64_t pa)
{
    return (uint8_t)ram_cell(ram, pa);
}

static inline uint64_t ram_next_cell(uint64_t cell, enum write_how how, uint8_t byte)
{
    uint64_t version = (cell >> 8) + 1;

    if (how == WRITE_OR) {
        byte |= (uint8_t)cell;
    } else if (how == WRITE_AND) {
        byte &= (uint8_t)cell;
    }
    return version << 8 | byte;
}

/*
 * Make a store, byte by byte. If each byte has one writer it is a plain store of the host, so that nothing but the
 * library's own fence orders it before the look-up of its check.
 */
static inline void ram_write(struct ram *ram, struct write *write)
{
    for (unsigned i = 0; i < write->len; i++) {
        uint64_t *at = &ram->cell[write->pa + i - ram->base];
        uint64_t old = __atomic_load_n(at, __ATOMIC_RELAXED), new = ram_next_cell(old, write->how, write->bytes[i]);

        if (write->how == WRITE_SET && !ram->many_writers) {
            __atomic_store_n(at, new, __ATOMIC_RELEASE);
        } else {
            while (!__atomic_compare_exchange_n(at, &old, new, true, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
                new = ram_next_cell(old, write->how, write->bytes[i]);
            }
        }
        write->version[i] = new >> 8;
    }
}

/* The invalidation for a store has returned. */
static inline void ram_settle(struct ram *ram, const struct write *write)
{
    for (unsigned i = 0; i < write->len; i++) {
        uint64_t *at = &ram->settled[write->pa + i - ram->base];
        uint64_t old = __atomic_load_n(at, __ATOMIC_RELAXED);

        while (old < write->version[i] &&
               !__atomic_compare_exchange_n(at, &old, write->version[i], true, __ATOMIC_RELEASE, __ATOMIC_RELAXED)) {
            ;
        }
    }
}

/* acquire: what happened before the store's check returned happened before what follows */
static inline uint64_t ram_settled(const struct ram *ram, uint64_t pa)
{
    return __atomic_load_n(&ram->settled[pa - ram->base], __ATOMIC_ACQUIRE);
}

#endif
