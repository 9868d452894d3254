/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One translation block, one store beside it, and one store into it.
 *
 *     cc -o one-block one-block.c $(pkg-config --cflags --libs pagelock)
 *     ./one-block
 *
 * prints:
 *
 *     a store beside it: 0
 *     block 0x7010 is dead
 *     a store into it: 1
 */
#include <pagelock/pagelock.h>
#include <stdio.h>

/* A translation block of the emulator. The library's part comes first, and the emulator adds what it wants. */
struct block {
    struct pgl_tb tb;
    const char *name;
};

/* The library calls this with a chain of blocks that have just died. */
static void retired(struct pgl_tb *chain, void *opaque)
{
    FILE *log = opaque; /* from struct pgl_table_config */

    for (struct pgl_tb *tb = chain; tb; tb = pgl_tb_chain_next(tb)) {
        /* An emulator removes the block from its hash table and its jump caches here. */
        fprintf(log, "%s is dead\n", ((struct block *)tb)->name);
    }
}

int main(void)
{
    static struct block block = {.name = "block 0x7010"};
    struct pgl_tb_ops ops = {.retired = retired};
    struct pgl_table_config config = {.page_bits = 12, .addr_bits = 48, .ops = &ops, .opaque = stdout};
    struct pgl_table *table = pgl_table_new(&config);
    struct pgl_bracket bracket;

    if (!table || !pgl_bracket_begin(&bracket, table, 0x7010 >> 12)) {
        perror("one-block");
        return 1;
    }
    /* The page is locked from here to the commit. Read the guest's bytes here, and translate them. */
    pgl_tb_init(&block.tb);
    pgl_tb_set_bytes(&block.tb, 0, 0x7010, 0x7043); /* first and last byte, both inclusive */
    pgl_bracket_commit(&bracket, &block.tb, NULL);

    /* The guest stores eight bytes, and then asks whether they were code. */
    printf("a store beside it: %d\n", pgl_store_check(table, 0x7044, 8, NULL));
    printf("a store into it: %d\n", pgl_store_check(table, 0x7040, 8, NULL) == PGL_HIT);
    pgl_table_free(table);
    return 0;
}
