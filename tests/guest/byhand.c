/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Programs for what random ones meet too seldom. Each is deterministic. */
#include <stdlib.h>

#include "asm.h"

enum {
    PAGE_BITS = 10,
    PAGE = 1 << PAGE_BITS,
    ROUNDS = 200,
    FLAG = 0x7000, /* a page of data, and the page-table entries */
    PTES = 0x7100,
};

static struct program *new_program(const char *name, unsigned nharts)
{
    struct program *program = calloc(1, sizeof(*program));

    if (!program) {
        abort();
    }
    program->name = name;
    program->page_bits = PAGE_BITS;
    program->nharts = nharts;
    program->deterministic = true;
    for (unsigned page = 0; page < VA_SIZE >> PAGE_BITS; page++) {
        program->map[page] = (uint16_t)(page % (RAM_SIZE >> PAGE_BITS));
    }
    return program;
}

static struct program *finish(struct program *program)
{
    for (unsigned page = 0; page < VA_SIZE >> PAGE_BITS; page++) {
        program->pte_at[page] = PTES + PTE_SIZE * page;
        program->image[program->pte_at[page] + 1] = (uint8_t)program->map[page];
    }
    return program;
}

static struct place begin(struct program *program, unsigned hart, uint64_t va)
{
    program->entry[hart] = va;
    return (struct place){program, va};
}

/* Go back to @loop as often as R_COUNT says, and halt. */
static void loop_and_halt(struct place *at, uint64_t loop)
{
    asm_insn(at, OP_ADDI, R_COUNT, R_COUNT, (uint64_t)-1);
    asm_insn(at, OP_BNE, R_COUNT, R_ZERO, asm_distance(at, loop));
    asm_insn(at, OP_HALT, 0, 0, 0);
}

/* Wait until the flag has the value of @reg. */
static void wait_for(struct place *at, unsigned reg)
{
    uint64_t wait;

    asm_insn(at, OP_LI, R_ADDR, 0, FLAG);
    wait = at->va;
    asm_insn(at, OP_YIELD, 0, 0, 0);
    asm_insn(at, OP_LD1, R_SEEN, R_ADDR, 0);
    asm_insn(at, OP_BNE, R_SEEN, reg, asm_distance(at, wait));
    asm_insn(at, OP_SYNC, 0, 0, 0);
}

/* A store into the immediate of the very next instruction, which is in the same block, at @va; by way of @alias. */
static struct program *patch_next(const char *name, uint64_t va, uint64_t alias, unsigned map_second_to)
{
    struct program *program = new_program(name, 1);
    struct place at;
    uint64_t loop;

    if (map_second_to) {
        program->map[(va >> PAGE_BITS) + 1] = (uint16_t)map_second_to;
    }
    at = begin(program, 0, va);
    asm_insn(&at, OP_LI, R_COUNT, 0, ROUNDS);
    loop = at.va;
    asm_insn(&at, OP_ADDI, 1, 1, 3);
    asm_insn(&at, OP_LI, R_ADDR, 0, alias ? alias : loop + 4 + 6 + 4 + 2);
    asm_insn(&at, OP_ST4, 1, R_ADDR, 0);
    asm_insn(&at, OP_LI, 2, 0, 0x12345678);
    asm_insn(&at, OP_ADD, 3, 2, 0);
    asm_insn(&at, OP_MUL, 3, 2, 0);
    loop_and_halt(&at, loop);
    return finish(program);
}

static struct program *same_block(void)
{
    return patch_next("patch-own-block", 0x400, 0, 0);
}

/* The immediate lies over the page's end. */
static struct program *over_page_end(void)
{
    return patch_next("patch-over-page-end", 0x800 - 24, 0, 0);
}

static struct program *falling_pages(void)
{
    return patch_next("falling-pages", 0x1400 - 24, 0, 2);
}

/* Both virtual pages are one page of the RAM; the tail is written by way of a third. */
static struct program *same_page_twice(void)
{
    return patch_next("same-page-twice", 0x1400 - 20, RAM_SIZE + 0x1000 + 2, 4);
}

/* The opcode behind the store turns from ADD to XOR and back. */
static struct program *patch_opcode(void)
{
    struct program *program = new_program("patch-opcode", 1);
    struct place at = begin(program, 0, 0x7f0);
    uint64_t loop;

    asm_insn(&at, OP_LI, R_COUNT, 0, ROUNDS);
    asm_insn(&at, OP_LI, 4, 0, OP_ADD);
    asm_insn(&at, OP_LI, 5, 0, OP_ADD ^ OP_XOR);
    loop = at.va;
    asm_insn(&at, OP_XOR, 4, 5, 0);
    asm_insn(&at, OP_ADDI, 1, 1, 7);
    asm_insn(&at, OP_LI, R_ADDR, 0, at.va + 10);
    asm_insn(&at, OP_ST1, 4, R_ADDR, 0);
    asm_insn(&at, OP_ADD, 2, 1, 0);
    loop_and_halt(&at, loop);
    return finish(program);
}

/* A compiler: it writes a routine of varying length and content, calls it, and writes another one over it. */
static struct program *compiler(void)
{
    struct program *program = new_program("compiler", 1);
    const uint64_t routine = 0x1000 - 8;
    struct place at = begin(program, 0, 0x400);
    uint64_t loop;

    asm_insn(&at, OP_LI, R_COUNT, 0, ROUNDS);
    loop = at.va;
    for (unsigned length = 1; length <= 3; length++) {
        for (unsigned n = 0; n < length; n++) {
            uint64_t insns = 0;

            for (unsigned i = 0; i < 4; i++) {
                insns |= (uint64_t)(OP_MOV + (i + n) % 4 + (0x10 * (i + length) + n + 1) * 0x100) << 16 * i;
            }
            asm_insn(&at, OP_LIQ, R_VALUE, 0, insns);
            asm_store(&at, R_VALUE, routine + 8 * n, 8);
        }
        asm_insn(&at, OP_LI, R_VALUE, 0, OP_JR | R_LINK << 8);
        asm_store(&at, R_VALUE, routine + 8 * length, 2);
        asm_jump(&at, R_LINK, routine);
    }
    asm_insn(&at, OP_ADD, 3, R_COUNT, 0);
    loop_and_halt(&at, loop);
    return finish(program);
}

/* A device overwrites the block that started it, with another immediate behind the copy each time. */
static struct program *copy_over_itself(void)
{
    struct program *program = new_program("copy-over-itself", 1);
    struct place at = begin(program, 0, 0x800 - 20);
    uint64_t loop, data = FLAG + 0x20;

    asm_insn(&at, OP_LI, R_COUNT, 0, ROUNDS);
    loop = at.va;
    asm_insn(&at, OP_ADDI, 1, 1, 11);
    asm_store(&at, 1, data, 4);
    asm_insn(&at, OP_LI, R_VALUE, 0, data);
    asm_insn(&at, OP_LI, R_OWN, 0, at.va + 6 + 4 + 2);
    asm_insn(&at, OP_COPY, R_OWN, R_VALUE, 3);
    asm_insn(&at, OP_LI, 2, 0, 0);
    asm_insn(&at, OP_ADD, 3, 2, 0);
    loop_and_halt(&at, loop);
    return finish(program);
}

/* One hart runs round a chained loop that nothing leaves but another hart's store. */
static struct program *chained_loop(void)
{
    struct program *program = new_program("chained-loop", 2);
    struct place at = begin(program, 0, 0x800);
    uint64_t loop = at.va, exit;

    asm_insn(&at, OP_ADDI, 1, 1, 1);
    exit = at.va;
    asm_jump(&at, R_JUNK, loop);
    asm_insn(&at, OP_LI, 1, 0, 0);
    asm_insn(&at, OP_HALT, 0, 0, 0);

    at = begin(program, 1, 0x1000);
    asm_insn(&at, OP_LI, R_COUNT, 0, 2000);
    loop = at.va;
    asm_insn(&at, OP_ADDI, R_COUNT, R_COUNT, (uint64_t)-1);
    asm_insn(&at, OP_BNE, R_COUNT, R_ZERO, asm_distance(&at, loop));
    asm_insn(&at, OP_LI, R_VALUE, 0, OP_ADDI);
    asm_store(&at, R_VALUE, exit, 1);
    asm_insn(&at, OP_HALT, 0, 0, 0);
    return finish(program);
}

/* One hart writes a routine, the others run it, in turns. */
static struct program *hand_over(void)
{
    struct program *program = new_program("hand-over", 4);
    const uint64_t routine = 0x2400 - 5;
    struct place at = {program, routine};

    asm_insn(&at, OP_LI, 2, 0, 0);
    asm_insn(&at, OP_ADD, 3, 2, 0);
    asm_insn(&at, OP_MUL, 3, 2, 0);
    asm_insn(&at, OP_JR, 0, R_LINK, 0);
    for (unsigned hart = 0; hart < 4; hart++) {
        uint64_t loop;

        at = begin(program, hart, 0x400 + 0x800 * hart);
        asm_insn(&at, OP_LI, R_COUNT, 0, ROUNDS);
        asm_insn(&at, OP_LI, 4, 0, hart);
        asm_insn(&at, OP_LI, 5, 0, (hart + 1) % 4);
        loop = at.va;
        wait_for(&at, 4);
        if (hart == 0) {
            asm_insn(&at, OP_ADDI, 1, 1, 0x101);
            asm_store(&at, 1, routine + 2, 4);
        }
        asm_jump(&at, R_LINK, routine);
        asm_store(&at, 5, FLAG, 1);
        loop_and_halt(&at, loop);
    }
    return finish(program);
}

/* A block that holds the page-table entry of its own second page: finding it translates it anew. */
static struct program *aged(void)
{
    struct program *program = new_program("aged", 2);
    uint64_t entry[2];

    finish(program);
    for (unsigned hart = 0; hart < 2; hart++) {
        unsigned page = 4 + 4 * hart;
        struct place at = begin(program, hart, (uint64_t)(page + 1) * PAGE - 34);
        uint64_t loop;

        asm_insn(&at, OP_LI, R_COUNT, 0, ROUNDS);
        loop = at.va;
        asm_insn(&at, OP_LI, R_ADDR, 0, (uint64_t)(page + 1) * PAGE);
        asm_insn(&at, OP_AGE, 0, R_ADDR, 0);
        asm_insn(&at, OP_SYNC, 0, 0, 0);
        entry[hart] = at.va + 2;
        asm_insn(&at, OP_HINT, 0, 0, (uint64_t)program->map[page + 1] << 8);
        asm_insn(&at, OP_ADDI, 1, 1, 5);
        asm_insn(&at, OP_LIQ, 2, 0, UINT64_C(0x123456789abcdef));
        asm_insn(&at, OP_ADD, 3, 2, 0);
        loop_and_halt(&at, loop);
    }
    for (unsigned hart = 0; hart < 2; hart++) {
        program->pte_at[5 + 4 * hart] = (uint32_t)entry[hart];
    }
    return program;
}

/*
 * The page-table entry is in one block, and it is another one on the same page whose translation, with the page held,
 * sets the accessed bit.
 */
static struct program *aged_elsewhere(void)
{
    struct program *program = finish(new_program("aged-elsewhere", 1));
    const uint64_t holder = 0x1000, crosser = 0x1400 - 8, second = 0x1400;
    struct place at = {program, holder};
    uint64_t loop;

    program->pte_at[second >> PAGE_BITS] = (uint32_t)holder + 2;
    asm_insn(&at, OP_HINT, 0, 0, (uint64_t)program->map[second >> PAGE_BITS] << 8);
    asm_insn(&at, OP_JR, 0, R_LINK, 0);
    at.va = crosser;
    asm_insn(&at, OP_LI, 2, 0, 0);
    asm_insn(&at, OP_LI, 3, 0, 0);
    asm_insn(&at, OP_JR, 0, R_LINK, 0);

    at = begin(program, 0, 0x400);
    asm_insn(&at, OP_LI, R_COUNT, 0, ROUNDS);
    loop = at.va;
    asm_insn(&at, OP_LI, R_ADDR, 0, second);
    asm_insn(&at, OP_AGE, 0, R_ADDR, 0);
    asm_jump(&at, R_LINK, holder);
    asm_insn(&at, OP_ADDI, 1, 1, 9);
    asm_store(&at, 1, crosser + 2, 4);
    asm_jump(&at, R_LINK, crosser);
    asm_jump(&at, R_LINK, holder);
    asm_insn(&at, OP_ADD, 4, 2, 0);
    loop_and_halt(&at, loop);
    return program;
}

/* Stores over a page's end that meet code on the second page only, where they change an instruction's register. */
static struct program *tail_of_store(void)
{
    struct program *program = new_program("tail-of-store", 1);
    const uint64_t routine = 0x1400;
    struct place at = {program, routine};
    uint64_t loop;

    asm_insn(&at, OP_LI, 2, 0, 17);
    asm_insn(&at, OP_ADD, 3, 2, 0);
    asm_insn(&at, OP_MUL, 4, 3, 0);
    asm_insn(&at, OP_JR, 0, R_LINK, 0);
    at = begin(program, 0, 0x400);
    asm_insn(&at, OP_LI, R_COUNT, 0, ROUNDS);
    loop = at.va;
    for (unsigned reg = 2; reg < 4; reg++) {
        asm_insn(&at, OP_LIQ, R_VALUE, 0, (uint64_t)(OP_LI | reg << 12) << 48);
        asm_store(&at, R_VALUE, routine - 6, 8);
        asm_jump(&at, R_LINK, routine);
    }
    loop_and_halt(&at, loop);
    return finish(program);
}

enum {
    STOPS = 5,
    STOP_BYTES = 16,
};

/* Addresses on pages of no order. From the third on, the stops lie over the ends of their pages. */
static const uint64_t stops[STOPS] = {0x2000, 0x1810, 0x3400 - 6, 0x2c00 - 9, 0x4400 - 3};

/* A routine that goes by direct jumps over the pages of its stops, each of which adds an immediate of its own. */
static void write_way(struct program *program, uint64_t offset)
{
    for (unsigned i = 0; i < STOPS; i++) {
        struct place at = {program, stops[i] + offset};

        asm_insn(&at, OP_LI, 2, 0, i);
        asm_insn(&at, OP_MUL, 3, 2, 0);
        asm_insn(&at, OP_ADD, 4, 3, 0);
        if (i + 1 < STOPS) {
            asm_jump(&at, R_JUNK, stops[i + 1] + offset);
        } else {
            asm_insn(&at, OP_JR, 0, R_LINK, 0);
        }
    }
}

/* Stores into each stop of a way that the storing block goes on to. */
static struct program *long_way(void)
{
    struct program *program = new_program("long-way", 1);
    struct place at = begin(program, 0, 0x400);
    uint64_t loop;

    write_way(program, 0);
    asm_insn(&at, OP_LI, R_COUNT, 0, ROUNDS);
    loop = at.va;
    for (unsigned i = 0; i < STOPS; i++) {
        asm_insn(&at, OP_ADDI, 1, 1, 0x107);
        asm_store(&at, 1, stops[i] + 2, 4);
        asm_jump(&at, R_LINK, stops[0]);
    }
    loop_and_halt(&at, loop);
    return finish(program);
}

/* Each hart has a way of its own. In turns, each patches a stop of every way, runs its own, and hands on. */
static struct program *ways_of_others(void)
{
    struct program *program = new_program("ways-of-others", 4);

    for (unsigned hart = 0; hart < 4; hart++) {
        struct place at;
        uint64_t loop;

        write_way(program, STOP_BYTES * 2 * hart);
        at = begin(program, hart, 0x400 + 0x200 * hart);
        asm_insn(&at, OP_LI, R_COUNT, 0, ROUNDS);
        asm_insn(&at, OP_LI, 6, 0, hart);
        asm_insn(&at, OP_LI, 7, 0, (hart + 1) % 4);
        loop = at.va;
        wait_for(&at, 6);
        for (unsigned other = 0; other < 4; other++) {
            asm_insn(&at, OP_ADDI, 1, 1, 0x109);
            asm_store(&at, 1, stops[(hart + other) % STOPS] + STOP_BYTES * 2 * other + 2, 4);
        }
        asm_jump(&at, R_LINK, stops[0] + STOP_BYTES * 2 * hart);
        asm_store(&at, 7, FLAG, 1);
        loop_and_halt(&at, loop);
    }
    return finish(program);
}

static struct program *(*const programs[])(void) = {
    same_block, over_page_end,    falling_pages, same_page_twice, patch_opcode,  compiler, chained_loop,
    hand_over,  copy_over_itself, aged,          aged_elsewhere,  tail_of_store, long_way, ways_of_others,
};

struct program *program_by_hand(unsigned number)
{
    return number < sizeof(programs) / sizeof(programs[0]) ? programs[number]() : NULL;
}
