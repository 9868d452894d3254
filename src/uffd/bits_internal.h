/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A bit for each page of a region. Threads may change and read bits at the same time: each word is atomic, and relaxed.
 * The users of a bit order it with the page that it is about, by their locks. Ranges are [index, end). Private.
 */
#ifndef PGL_UFFD_BITS_INTERNAL_H
#define PGL_UFFD_BITS_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Returns the bytes of so many bits. */
static inline size_t pgl_bits_size(uint64_t nbits)
{
    return (size_t)((nbits + 63) / 64) * sizeof(uint64_t);
}

/* Returns the bits of a range that are in the word of its first one. */
static inline uint64_t pgl_bits_in_word(uint64_t index, uint64_t end)
{
    uint64_t bits = UINT64_MAX << index % 64;
    uint64_t next = index - index % 64 + 64;

    return end < next ? bits & UINT64_MAX >> (next - end) : bits;
}

static inline void pgl_bits_set(uint64_t *bits, uint64_t index, uint64_t end)
{
    for (; index < end; index += 64 - index % 64) {
        __atomic_fetch_or(&bits[index / 64], pgl_bits_in_word(index, end), __ATOMIC_RELAXED);
    }
}

static inline void pgl_bits_clear(uint64_t *bits, uint64_t index, uint64_t end)
{
    for (; index < end; index += 64 - index % 64) {
        __atomic_fetch_and(&bits[index / 64], ~pgl_bits_in_word(index, end), __ATOMIC_RELAXED);
    }
}

static inline bool pgl_bits_have(const uint64_t *bits, uint64_t index)
{
    return (__atomic_load_n(&bits[index / 64], __ATOMIC_RELAXED) >> index % 64 & 1) != 0;
}

/* Returns the first bit of a range that is as wanted, or end. */
static inline uint64_t pgl_bits_find(const uint64_t *bits, uint64_t index, uint64_t end, bool wanted)
{
    while (index < end) {
        uint64_t word = __atomic_load_n(&bits[index / 64], __ATOMIC_RELAXED);

        word = (wanted ? word : ~word) >> index % 64;
        if (word != 0) {
            index += (uint64_t)__builtin_ctzll(word);
            break;
        }
        index += 64 - index % 64;
    }
    return index < end ? index : end;
}

/* Set the bits of another set, from @to_index on, that are set in a range of this one. */
static inline void pgl_bits_copy(const uint64_t *bits, uint64_t index, uint64_t end, uint64_t *to, uint64_t to_index)
{
    for (uint64_t at = index; (at = pgl_bits_find(bits, at, end, true)) < end; at++) {
        pgl_bits_set(to, to_index + (at - index), to_index + (at - index) + 1);
    }
}

#endif
