/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The smallest emulator with two vCPUs, jump caches, and a guest that modifies its own code: step 4 of the tutorial.
 *
 *     cc -o two-vcpus two-vcpus.c -pthread $(pkg-config --cflags --libs pagelock)
 *     ./two-vcpus
 *
 * prints:
 *
 *     vCPU 0: 500500
 *     vCPU 1: 500500
 */
#include <err.h>
#include <pagelock/pagelock.h>
#include <pthread.h>
#include <stdio.h>

/* An instruction is a word, operation << 16 | n: add n to the sum; increment the word at n; begin the next round at n. */
enum { ADD, INC, LOOP };
enum { PAGE_BITS = 12, RAM_BITS = 16, ROUNDS = 1000, BLOCK_BYTES = 32, BLOCKS = 2000, SLOTS = 16, VCPUS = 2 };

/* The instructions from pc to a LOOP or to a multiple of BLOCK_BYTES. A real emulator has host code in their place. */
struct block {
    struct pgl_tb tb;     /* the library's part comes first */
    struct pgl_tb **slot; /* its place in the jump cache */
    unsigned pc, n;
    uint32_t insn[BLOCK_BYTES / 4];
};

struct vcpu {
    unsigned pc, rounds, sum, used; /* used: of the code buffer */
    uint32_t *ram;
    struct pgl_table *table;     /* the library's: which blocks are on each page of ram */
    struct pgl_tb *cache[SLOTS]; /* the jump cache: blocks by pc */
    struct block blocks[BLOCKS]; /* the code buffer */
    pthread_t thread;
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
        __atomic_fetch_add(&vcpu->ram[n / 4], 1, __ATOMIC_RELAXED);
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
        __atomic_store_n(((struct block *)tb)->slot, NULL, __ATOMIC_RELAXED);
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
        block->insn[block->n++] = __atomic_load_n(&vcpu->ram[end / 4], __ATOMIC_RELAXED);
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
    struct pgl_tb **slot = &vcpu->cache[vcpu->pc / 4 % SLOTS];
    struct block *block = (struct block *)__atomic_load_n(slot, __ATOMIC_RELAXED);

    while (!block || block->pc != vcpu->pc) {
        block = translate(vcpu);
        block = pgl_cache_tb(slot, &block->tb) ? block : NULL; /* NULL: the other vCPU has already killed it */
    }
    return block;
}

static void *run(void *arg)
{
    struct vcpu *vcpu = arg;

    while (vcpu->rounds) {
        struct block *block = find(vcpu);

        for (unsigned i = 0; i < block->n && execute(vcpu, block->insn[i], block); i++) {
        }
    }
    return NULL;
}

int main(void)
{
    static uint32_t ram[(1 << RAM_BITS) / 4];
    static struct vcpu vcpus[VCPUS];
    struct pgl_tb_ops ops = {.retired = retired};
    struct pgl_table_config config = {.page_bits = PAGE_BITS, .addr_bits = RAM_BITS, .ops = &ops};
    struct pgl_table *table = pgl_table_new(&config);

    if (!table) {
        err(1, "pgl_table_new");
    }
    for (unsigned i = 0; i < VCPUS; i++) {
        unsigned start = 0x1000 + 0x100 * i; /* the vCPUs have their code on one page */

        ram[start / 4] = ADD << 16 | 1;         /* INC increments this 1 in each round, therefore */
        ram[start / 4 + 1] = INC << 16 | start; /* the sum is 1 + 2 + ... + ROUNDS */
        ram[start / 4 + 2] = LOOP << 16 | start;
        vcpus[i] = (struct vcpu){.pc = start, .rounds = ROUNDS, .ram = ram, .table = table};
    }
    for (unsigned i = 0; i < VCPUS; i++) {
        if (pthread_create(&vcpus[i].thread, NULL, run, &vcpus[i])) {
            errx(1, "no thread for a vCPU");
        }
    }
    for (unsigned i = 0; i < VCPUS; i++) {
        pthread_join(vcpus[i].thread, NULL);
        printf("vCPU %u: %u\n", i, vcpus[i].sum);
    }
    pgl_table_free(table);
    return 0;
}
