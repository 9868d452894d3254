/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The guest's instruction set: instructions of 2, 4, 6 and 10 bytes at any address, 16 registers, a virtual address
 * space of 64 KiB that wraps. Any bytes decode to something.
 *
 * Byte 0 is the operation, byte 1 the registers (destination in the high nibble), the rest an immediate, little-endian.
 */
#ifndef PGL_TESTS_GUEST_ISA_H
#define PGL_TESTS_GUEST_ISA_H

#include <stdbool.h>
#include <stdint.h>

enum {
    VA_SIZE = 0x10000,
    INSN_MAX = 10,
    DATA_REGS = 8, /* r0 to r7: what the patchable instructions work on */
    COPY_MAX = 64,
};

enum op {
    /* 2 bytes */
    OP_NOP,
    OP_MOV,
    OP_ADD,
    OP_XOR,
    OP_MUL,
    OP_SYNC,  /* ends a block; what is fetched next is what is in memory */
    OP_JR,    /* to the address in the source register */
    OP_YIELD, /* lets another hart run */
    OP_HALT,
    OP_AGE,   /* clears the accessed bit of the page at the address in the source register */
    OP_FLUSH, /* forgets all translations */
    /* 4 bytes */
    OP_ADDI,
    OP_BNE,
    OP_JAL,
    OP_COPY, /* a device: as many bytes as the immediate says, from source to destination */
    OP_LD1,  /* LD1 to LD8 and ST1 to ST8: 1, 2, 4, 8 bytes at source register + immediate */
    OP_LD2,
    OP_LD4,
    OP_LD8,
    OP_ST1,
    OP_ST2,
    OP_ST4,
    OP_ST8,
    /* 6 bytes */
    OP_LI,
    OP_HINT, /* nothing; its immediate may be anything, a page-table entry too */
    /* 10 bytes */
    OP_LIQ,
    OP_COUNT,
};

struct insn {
    uint8_t op;
    uint8_t length;
    uint8_t rd, rs;
    uint64_t imm;
};

struct cpu {
    uint64_t reg[16];
    uint64_t pc;
    uint64_t insns; /* executed so far */
    bool halted;
};

/* How an instruction leaves: cpu.pc says where to. */
enum leave {
    LEAVE_NEXT,     /* to the one behind it */
    LEAVE_FALL,     /* a branch that was not taken */
    LEAVE_TAKEN,    /* a direct jump, or a branch that was taken */
    LEAVE_INDIRECT, /* where a register says */
    LEAVE_SYNC,     /* behind it, but nothing that was fetched before counts */
};

/* The machine around an instruction. Addresses are virtual. */
struct bus {
    uint64_t (*load)(void *machine, uint64_t va, unsigned len);
    void (*store)(void *machine, uint64_t va, unsigned len, uint64_t value);
    void (*copy)(void *machine, uint64_t to, uint64_t from, unsigned len);
    void (*age)(void *machine, uint64_t va);
    void (*flush)(void *machine);
    void (*yield)(void *machine);
};

/* Bytes of an instruction, by its first one. */
unsigned isa_length(uint8_t op);

/* Decode the isa_length(bytes[0]) bytes at @bytes. */
struct insn isa_decode(const uint8_t *bytes);

/* Whether a block ends behind the instruction. */
bool isa_ends_block(const struct insn *insn);

/* Execute the instruction at cpu->pc. */
enum leave isa_execute(struct cpu *cpu, const struct insn *insn, const struct bus *bus, void *machine);

#endif
