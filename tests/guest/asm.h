/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Writing guest code into a program's image, at virtual addresses. */
#ifndef PGL_TESTS_GUEST_ASM_H
#define PGL_TESTS_GUEST_ASM_H

#include "program.h"

/* The use of the registers beyond r7. */
enum reg {
    R_SEEN = 8, /* the value that was read of a flag */
    R_ZERO = 9,
    R_VALUE = 10, /* the value that is about to be stored */
    R_JUNK = 11,  /* link of jumps from which no code returns */
    R_OWN = 12,   /* address for a routine's stores into itself */
    R_ADDR = 13,
    R_COUNT = 14,
    R_LINK = 15,
};

/* The place at which code goes next. */
struct place {
    struct program *program;
    uint64_t va;
};

static inline void asm_byte(struct place *at, uint8_t byte)
{
    at->program->image[program_ram_at(at->program, at->va++)] = byte;
}

static inline void asm_insn(struct place *at, enum op op, unsigned rd, unsigned rs, uint64_t imm)
{
    unsigned length = isa_length((uint8_t)op);

    asm_byte(at, (uint8_t)op);
    asm_byte(at, (uint8_t)(rd << 4 | rs));
    for (unsigned i = 2; i < length; i++, imm >>= 8) {
        asm_byte(at, (uint8_t)imm);
    }
}

/* The immediate of a jump from @at to @to. */
static inline uint64_t asm_distance(const struct place *at, uint64_t to)
{
    return to - at->va;
}

static inline void asm_jump(struct place *at, unsigned link, uint64_t to)
{
    asm_insn(at, OP_JAL, link, 0, asm_distance(at, to));
}

/* Store @len bytes of register @reg at @to. */
static inline void asm_store(struct place *at, unsigned reg, uint64_t to, unsigned len)
{
    asm_insn(at, OP_LI, R_ADDR, 0, to % VA_SIZE);
    asm_insn(at, (enum op)(OP_ST1 + __builtin_ctz(len)), reg, R_ADDR, 0);
}

#endif
