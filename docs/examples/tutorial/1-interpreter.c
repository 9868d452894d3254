/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Step 1: an interpreter, and a guest that modifies its own code.
 *
 *     cc -o 1-interpreter 1-interpreter.c
 *     ./1-interpreter
 *
 * prints:
 *
 *     500500
 */
#include <stdint.h>
#include <stdio.h>

/* An instruction is a word, operation << 16 | n: add n to the sum; increment the word at n; begin the next round at n. */
enum { ADD, INC, LOOP };
enum { RAM_BITS = 16, START = 0x1000, ROUNDS = 1000 };

struct vcpu {
    unsigned pc, rounds, sum;
    uint32_t *ram;
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

static void run(struct vcpu *vcpu)
{
    while (vcpu->rounds) {
        execute(vcpu, vcpu->ram[vcpu->pc / 4]);
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
