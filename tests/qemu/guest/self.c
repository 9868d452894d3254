/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Blocks that modify themselves: the first instruction of each function stores into the second. A processor notices at
 * once; an emulator has to leave the block between the two. Functions are aligned to 16 bytes, as usual.
 *
 * Usage: self ROUNDS
 */
#include "code.h"

enum { SIZE = 16, NFNS = PAGE / SIZE };

/* mov %edi, value(%rip); mov $value, %eax; ret */
static void make(uint8_t *code)
{
    static const uint8_t store[] = {0x89, 0x3d, 1, 0, 0, 0};

    memcpy(code, store, sizeof(store));
    code_returns(code + sizeof(store), 0);
}

int main(int argc, char **argv)
{
    unsigned long rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : 1;
    double start = code_seconds();
    uint8_t *page = code_pages(1);
    unsigned long wrong = 0;
    uint32_t value = 1;

    for (unsigned i = 0; i < NFNS; i++) {
        make(page + i * SIZE);
    }
    for (unsigned long round = 0; round < rounds; round++) {
        for (unsigned i = 0; i < NFNS; i++, value++) {
            wrong += code_call(page + i * SIZE, value) != value;
        }
    }
    return code_verdict("self", wrong, rounds * NFNS, start);
}
