/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A JIT that moves code: functions of many lengths lie one behind the other. Each round frees some of them, moves the
 * others down over the gaps, makes new ones at the end, and calls all. The bytes that are left over become traps.
 *
 * Usage: move ROUNDS
 */
#include "code.h"

enum { NPAGES = 8, NFNS = 256, MAX_PAD = 100 };

struct function {
    uint32_t offset, size, value;
};

static uint32_t random_state = 1;

static uint32_t draw(uint32_t below)
{
    random_state = random_state * 1103515245u + 12345u;
    return (random_state >> 16) % below;
}

/* Some instructions that do nothing, and the value at the end. */
static struct function make(uint8_t *pages, uint32_t offset, uint32_t value)
{
    uint32_t pad = draw(MAX_PAD);

    memset(pages + offset, 0x90, pad);
    code_returns(pages + offset + pad, value);
    return (struct function){.offset = offset, .size = pad + RETURNS_BYTES, .value = value};
}

/* Free a fifth, and close the gaps. Returns how many are left; *end is the offset behind the last. */
static unsigned compact(uint8_t *pages, struct function *functions, unsigned nfns, uint32_t *end)
{
    unsigned left = 0;
    uint32_t to = 0;

    for (unsigned i = 0; i < nfns; i++) {
        struct function function = functions[i];

        if (draw(5) == 0) {
            continue;
        }
        if (function.offset != to) {
            memmove(pages + to, pages + function.offset, function.size);
        }
        function.offset = to;
        to += function.size;
        functions[left++] = function;
    }
    memset(pages + to, 0xcc, *end - to);
    *end = to;
    return left;
}

int main(int argc, char **argv)
{
    unsigned long rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : 1;
    double start = code_seconds();
    uint8_t *pages = code_pages(NPAGES);
    struct function functions[NFNS];
    unsigned long wrong = 0, calls = 0;
    unsigned nfns = 0;
    uint32_t end = 0, value = 0;

    for (unsigned long round = 0; round < rounds; round++) {
        nfns = compact(pages, functions, nfns, &end);
        while (nfns < NFNS && end + MAX_PAD + RETURNS_BYTES <= NPAGES * PAGE) {
            functions[nfns] = make(pages, end, ++value);
            end += functions[nfns++].size;
        }
        for (unsigned i = 0; i < nfns; i++, calls++) {
            wrong += code_call(pages + functions[i].offset, 0) != functions[i].value;
        }
    }
    printf("move: %u functions in %u bytes at the end\n", nfns, (unsigned)end);
    return code_verdict("move", wrong, calls, start);
}
