/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Step 3: the library says when a block dies.
 *
 *     cc -o 3-library 3-library.c $(pkg-config --cflags --libs pagelock)
 *     ./3-library
 *
 * prints:
 *
 *     500500
 */
#include <err.h>
#include <pagelock/pagelock.h>
#include <stdio.h>

/* An instruction is a word, operation << 16 | n: add n to the sum; increment the word at n; begin the next round at n. */
enum { ADD, INC, LOOP };
enum { PAGE_BITS = 12, RAM_BITS = 16, START = 0x1000, ROUNDS = 1000, BLOCK_BYTES = 32, BLOCKS = 2000, SLOTS = 16 };

/* The instructions from pc to a LOOP or to a multiple of BLOCK_BYTES. A real emulator has host code in their place. */
struct block {
    struct pgl_tb tb;    /* the library's part comes first */
    struct block **slot; /* its place in the jump cache */
    unsigned pc, n;
    uint32_t insn[BLOCK_BYTES / 4];
};

struct vcpu {
    unsigned pc, rounds, sum, used; /* used: of the code buffer */
    uint32_t *ram;
    struct pgl_table *table;     /* the library's: which blocks are on each page of ram */
    struct block *cache[SLOTS];  /* the jump cache: blocks by pc */
    struct block blocks[BLOCKS]; /* the code buffer */
};

/* Execute one instruction of a block. Returns false when the vCPU has to leave the block. */
static bool execute(struct vcpu *vcpu, uint32_t insn, const struct block *block)
{
    unsigned n = insn & 0xffff;

    vcpu->pc += 4;
    switch (insn >> 16) {
    case ADD:
        vcpu->sum += n;
        return true;
    case INC:
        /* First the store, then the check: it kills the blocks that have this word among their instructions. */
        vcpu->ram[n / 4]++;
        return !(pgl_store_check(vcpu->table, n, 4, &block->tb) & PGL_RUNNING_DEAD);
    default: /* LOOP */
        vcpu->pc = n;
        vcpu->rounds--;
        return false;
    }
}

/* The library calls this with blocks that have just died. When it returns, no vCPU may find them. */
static void retired(struct pgl_tb *chain, void *opaque)
{
    (void)opaque;
    for (struct pgl_tb *tb = chain; tb; tb = pgl_tb_chain_next(tb)) {
        *((struct block *)tb)->slot = NULL;
    }
}

static struct block *translate(struct vcpu *vcpu)
{
    struct block *block = &vcpu->blocks[vcpu->used];
    unsigned end = vcpu->pc;
    struct pgl_bracket bracket;

    if (vcpu->used++ == BLOCKS || !pgl_bracket_begin(&bracket, vcpu->table, vcpu->pc >> PAGE_BITS)) {
        errx(1, "no memory for a block");
    }
    /* The page is locked from here to the commit. The guest's code is read only in between. */
    block->pc = vcpu->pc;
    do {
        block->insn[block->n++] = vcpu->ram[end / 4];
        end += 4;
    } while (block->insn[block->n - 1] >> 16 != LOOP && end % BLOCK_BYTES);
    block->slot = &vcpu->cache[block->pc / 4 % SLOTS];
    pgl_tb_init(&block->tb);
    pgl_tb_set_bytes(&block->tb, 0, block->pc, end - 1); /* first and last byte */
    pgl_bracket_commit(&bracket, &block->tb, NULL);
    return block;
}

static struct block *find(struct vcpu *vcpu)
{
    struct block **slot = &vcpu->cache[vcpu->pc / 4 % SLOTS];

    if (!*slot || (*slot)->pc != vcpu->pc) {
        *slot = translate(vcpu);
    }
    return *slot;
}

static void run(struct vcpu *vcpu)
{
    while (vcpu->rounds) {
        struct block *block = find(vcpu);

        for (unsigned i = 0; i < block->n && execute(vcpu, block->insn[i], block); i++) {
        }
    }
}

int main(void)
{
    static uint32_t ram[(1 << RAM_BITS) / 4];
    static struct vcpu vcpu = {.pc = START, .rounds = ROUNDS, .ram = ram};
    struct pgl_tb_ops ops = {.retired = retired};
    struct pgl_table_config config = {.page_bits = PAGE_BITS, .addr_bits = RAM_BITS, .ops = &ops};

    vcpu.table = pgl_table_new(&config);
    if (!vcpu.table) {
        err(1, "pgl_table_new");
    }
    ram[START / 4] = ADD << 16 | 1;         /* INC increments this 1 in each round, therefore */
    ram[START / 4 + 1] = INC << 16 | START; /* the sum is 1 + 2 + ... + ROUNDS */
    ram[START / 4 + 2] = LOOP << 16 | START;
    run(&vcpu);
    printf("%u\n", vcpu.sum);
    pgl_table_free(vcpu.table);
    return 0;
}
