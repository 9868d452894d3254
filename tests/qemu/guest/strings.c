/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Code that is written by other means than plain stores: FXSAVE, which writes up to 512 bytes at once, string
 * instructions in both directions, and stores across the end of a page.
 *
 * Usage: strings ROUNDS
 */
#include "code.h"

enum { LENGTH = 16, XMM_OFFSET = 160 }; /* of the first XMM register in what FXSAVE writes */

/* The register's 16 bytes become code. */
static void by_fxsave(uint8_t *area, const uint8_t *code)
{
    __asm__ volatile("movdqu (%1), %%xmm0\n\tfxsave64 (%0)" : : "r"(area), "r"(code) : "memory", "xmm0");
}

static void by_movsb(uint8_t *to, const uint8_t *from)
{
    size_t n = LENGTH;

    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
}

static void by_movsq(uint8_t *to, const uint8_t *from)
{
    size_t n = LENGTH / 8;

    __asm__ volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
}

static void by_movsb_down(uint8_t *to, const uint8_t *from)
{
    size_t n = LENGTH;

    to += LENGTH - 1;
    from += LENGTH - 1;
    __asm__ volatile("std\n\trep movsb\n\tcld" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
}

static void by_sse(uint8_t *to, const uint8_t *from)
{
    __asm__ volatile("movdqu (%1), %%xmm1\n\tmovdqu %%xmm1, (%0)" : : "r"(to), "r"(from) : "memory", "xmm1");
}

/* xchg of the two halves: each is a load and a store in one. */
static void by_xchg(uint8_t *to, const uint8_t *from)
{
    uint64_t half[2];

    memcpy(half, from, sizeof(half));
    __asm__ volatile("xchgq %0, (%2)\n\txchgq %1, 8(%2)" : "+r"(half[0]), "+r"(half[1]) : "r"(to) : "memory");
}

/*
 * A function that adds: mov %edi, %eax; then eight times "inc %eax", or "xchg %eax, %eax" and "nop"; ret. The string
 * instruction that stores a word sets the eight.
 */
static uint32_t by_stosw(uint8_t *code, int adds)
{
    static const uint8_t head[] = {0x89, 0xf8};
    uint8_t *to = code + sizeof(head);
    size_t n = 8;

    memcpy(code, head, sizeof(head));
    code[sizeof(head) + 16] = 0xc3;
    __asm__ volatile("rep stosw" : "+D"(to), "+c"(n) : "a"(adds ? 0xc0ff : 0x9090) : "memory");
    return code_call(code, 100);
}

int main(int argc, char **argv)
{
    static void (*const ways[])(uint8_t *, const uint8_t *) = {by_movsb, by_movsq, by_movsb_down, by_sse, by_xchg};
    enum { NWAYS = sizeof(ways) / sizeof(ways[0]) };
    unsigned long rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : 1;
    double start = code_seconds();
    uint8_t *pages = code_pages(4);
    unsigned long wrong = 0, calls = 0;

    for (unsigned long round = 0; round < rounds; round++) {
        for (unsigned way = 0; way < NWAYS; way++) {
            uint32_t value = (uint32_t)(round * NWAYS + way);
            uint8_t code[LENGTH];

            memset(code, 0x90, sizeof(code));
            code_returns(code + LENGTH - RETURNS_BYTES, value);
            /* On a page, and across the end of one. */
            ways[way](pages + 64 * way, code);
            ways[way](pages + 2 * PAGE - 3 - way, code);
            by_fxsave(pages + 2 * PAGE + 1024, code);
            by_fxsave(pages + 3 * PAGE - XMM_OFFSET - 16 - 64 * way, code);
            wrong += code_call(pages + 64 * way, 0) != value;
            wrong += code_call(pages + 2 * PAGE - 3 - way, 0) != value;
            wrong += code_call(pages + 2 * PAGE + 1024 + XMM_OFFSET, 0) != value;
            wrong += code_call(pages + 3 * PAGE - 16 - 64 * way, 0) != value;
            calls += 4;
        }
        wrong += by_stosw(pages + PAGE, round % 2 == 0) != (round % 2 == 0 ? 108 : 100);
        calls++;
    }
    return code_verdict("strings", wrong, calls, start);
}
