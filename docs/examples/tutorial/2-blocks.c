/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Step 2: translation blocks, which are kept in a jump cache. The result is wrong, because the old block runs on after
 * the guest has modified its code.
 *
 *     cc -o 2-blocks 2-blocks.c
 *     ./2-blocks
 *
 * prints:
 *
 *     1000
 */
#include <err.h>
#include <stdint.h>
#include <stdio.h>

/* An instruction is a word, operation << 16 | n: add n to the sum; increment the word at n; begin the next round at n. */
enum { ADD, INC, LOOP };
enum { RAM_BITS = 16, START = 0x1000, ROUNDS = 1000, BLOCK_BYTES = 32, BLOCKS = 100, SLOTS = 16 };

/* The instructions from pc to a LOOP or to a multiple of BLOCK_BYTES. A real emulator has host code in their place. */
struct block {
    unsigned pc, n;
    uint32_t insn[BLOCK_BYTES / 4];
};

struct vcpu {
    unsigned pc, rounds, sum, used; /* used: of the code buffer */
    uint32_t *ram;
    struct block *cache[SLOTS];  /* the jump cache: blocks by pc */
    struct block blocks[BLOCKS]; /* the code buffer */
};

static void execute(struct vcpu *vcpu, uint32_t insn)
{
    unsigned n = insn & 0xffff;

    vcpu->pc += 4;
    switch (insn >> 16) {
    case ADD:
        vcpu->sum += n;
        break;
    case INC:
        vcpu->ram[n / 4]++;
        break;
    default: /* LOOP */
        vcpu->pc = n;
        vcpu->rounds--;
    }
}

static struct block *translate(struct vcpu *vcpu)
{
    struct block *block = &vcpu->blocks[vcpu->used];
    unsigned end = vcpu->pc;

    if (vcpu->used++ == BLOCKS) {
        errx(1, "no memory for a block");
    }
    block->pc = vcpu->pc;
    do {
        block->insn[block->n++] = vcpu->ram[end / 4];
        end += 4;
    } while (block->insn[block->n - 1] >> 16 != LOOP && end % BLOCK_BYTES);
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

        for (unsigned i = 0; i < block->n; i++) {
            execute(vcpu, block->insn[i]);
        }
    }
}

int main(void)
{
    static uint32_t ram[(1 << RAM_BITS) / 4];
    static struct vcpu vcpu = {.pc = START, .rounds = ROUNDS, .ram = ram};

    ram[START / 4] = ADD << 16 | 1;         /* INC increments this 1 in each round, therefore */
    ram[START / 4 + 1] = INC << 16 | START; /* the sum is 1 + 2 + ... + ROUNDS */
    ram[START / 4 + 2] = LOOP << 16 | START;
    run(&vcpu);
    printf("%u\n", vcpu.sum);
    return 0;
}
