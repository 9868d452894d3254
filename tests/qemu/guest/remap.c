/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Code on two pages whose second is remapped: an instruction begins on the first page and ends on the second, and the
 * address of the second shows another page of a file for each call. Now and then the file is changed as well, through
 * another mapping, while its page is not the one that is shown.
 *
 * Usage: remap ROUNDS
 */
#include <unistd.h>

#include "code.h"

enum { NPAGES = 8, BEFORE = 3 }; /* so many bytes of the function are on the first page */

static uint32_t value_of(unsigned page, uint32_t version)
{
    return 0x1122 | (uint32_t)page << 16 | version << 24;
}

/* The end of the function, at the beginning of a page. */
static void make_end(uint8_t *page, uint32_t value)
{
    uint8_t code[RETURNS_BYTES];

    code_returns(code, value);
    memcpy(page, code + BEFORE, sizeof(code) - BEFORE);
}

int main(int argc, char **argv)
{
    unsigned long rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : 1;
    double start = code_seconds();
    int file = memfd_create("code", 0);
    uint8_t *pages = code_pages(2), *alias;
    uint8_t *code = pages + PAGE - BEFORE;
    uint32_t version[NPAGES] = {0};
    unsigned long wrong = 0;

    if (file < 0 || ftruncate(file, NPAGES * PAGE)) {
        die("memfd_create");
    }
    alias = mmap(NULL, NPAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (alias == MAP_FAILED) {
        die("mmap");
    }
    for (unsigned i = 0; i < NPAGES; i++) {
        make_end(alias + i * PAGE, value_of(i, 0));
    }
    code_returns(code, value_of(0, 0)); /* the second page is replaced below */
    for (unsigned long round = 0; round < rounds; round++) {
        unsigned i = (unsigned)(round * 3 % NPAGES);
        unsigned other = (i + 1) % NPAGES;

        if (mmap(pages + PAGE, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED, file, i * PAGE) == MAP_FAILED) {
            die("mmap");
        }
        wrong += code_call(code, 0) != value_of(i, version[i]);
        if (round % 5 == 0) {
            version[other] = (version[other] + 1) & 0x7f;
            make_end(alias + other * PAGE, value_of(other, version[other]));
        }
    }
    return code_verdict("remap", wrong, rounds, start);
}
