/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A JIT that emits a guest's store and its check as machine code of x86-64, without a call.
 *
 *     cc -o inline-check inline-check.c $(pkg-config --cflags --libs pagelock)
 *     ./inline-check
 *
 * prints:
 *
 *     65536 stores, 0 answers other than pgl_store_is_clean()'s
 *     a store to 0x7044: 0
 *     a store to 0x7040: 3
 *     a store to 0x9000: 2
 *     1 block retired
 */
#include <err.h>
#include <pagelock/pagelock.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#ifdef __x86_64__
/* Store value, 8 bytes, at ram + addr, and check the store. Returns false when the library has to be asked. */
typedef bool store_function(uint8_t *ram, uint64_t addr, uint64_t value); /* in rdi, rsi and rdx */

static uint8_t *put(uint8_t *at, const void *bytes, size_t n)
{
    memcpy(at, bytes, n);
    return at + n;
}

/* Each of these adds to the code at `at`: bytes; bytes and a number; a conditional jump back to a place. */
#define EMIT(...) (at = put(at, (uint8_t[]){__VA_ARGS__}, sizeof((uint8_t[]){__VA_ARGS__})))
#define EMIT_WITH(type, number, ...) (EMIT(__VA_ARGS__), at = put(at, &(type){number}, sizeof(type)))
#define JUMP(condition, place) EMIT_WITH(int32_t, (int32_t)((place) - (at + 4)), 0x0f, condition)

/* Emit the steps of version 1 that struct pgl_check_layout lists, as part of a block. The code is called at the result. */
static uint8_t *emit_store(uint8_t *at, const struct pgl_check_layout *layout, const struct pgl_tb *block)
{
    const uint32_t level_mask = (1u << layout->level_bits) - 1;
    uint8_t *ask, *clean, *begin;

    ask = at;
    EMIT(0x31, 0xc0, 0xc3); /* xor eax, eax; ret */

    clean = at;                                                           /* step 6 */
    EMIT_WITH(uint64_t, (uintptr_t)block + layout->tb_state, 0x48, 0xb8); /* mov rax, &state */
    EMIT(0x66, 0x83, 0x38, layout->tb_live);                              /* cmp word [rax], live */
    JUMP(0x85, ask);                                                      /* jne ask */
    EMIT_WITH(uint32_t, 1, 0xb8);                                         /* mov eax, 1 */
    EMIT(0xc3);                                                           /* ret */

    begin = at;
    EMIT(0x48, 0x89, 0x14, 0x37);        /* mov [rdi + rsi], rdx */
    if (layout->fence) {                 /* step 1 */
        EMIT(0xf0, 0x83, 0x0c, 0x24, 0); /* lock or dword [rsp], 0 */
    }
    EMIT(0x48, 0x8d, 0x56, 7);                                   /* step 2: lea rdx, [rsi + 7] */
    EMIT(0x48, 0x89, 0xf1, 0x48, 0xc1, 0xe9, layout->page_bits); /* mov rcx, rsi; shr rcx, page_bits */
    EMIT(0x48, 0x89, 0xd0, 0x48, 0xc1, 0xe8, layout->page_bits); /* mov rax, rdx; shr rax, page_bits */
    EMIT(0x48, 0x39, 0xc1);                                      /* cmp rcx, rax */
    JUMP(0x85, ask);                                             /* jne ask */
    EMIT_WITH(uint64_t, layout->last_index, 0x48, 0xb8);         /* mov rax, last_index */
    EMIT(0x48, 0x39, 0xc1);                                      /* cmp rcx, rax */
    JUMP(0x87, ask);                                             /* ja ask */
    EMIT_WITH(uint64_t, (uintptr_t)layout->root, 0x48, 0xb8);    /* step 3: mov rax, root */
    for (unsigned shift = layout->root_shift; shift; shift -= layout->level_bits) {
        EMIT(0x49, 0x89, 0xc8, 0x49, 0xc1, 0xe8, shift); /* mov r8, rcx; shr r8, shift */
        if (shift < layout->root_shift) {
            EMIT_WITH(uint32_t, level_mask, 0x41, 0x81, 0xe0); /* and r8d, level_mask */
        }
        EMIT(0x4a, 0x8b, 0x04, 0xc0); /* mov rax, [rax + r8 * 8] */
        EMIT(0x48, 0x85, 0xc0);       /* test rax, rax */
        JUMP(0x84, clean);            /* jz clean */
    }
    EMIT_WITH(uint32_t, level_mask, 0x81, 0xe1);              /* step 4: and ecx, level_mask */
    EMIT_WITH(uint32_t, layout->descriptor_size, 0x69, 0xc9); /* imul ecx, ecx, descriptor_size */
    EMIT(0x48, 0x01, 0xc8);                                   /* add rax, rcx */
    EMIT(0xf6, 0x40, layout->head, layout->head_lock);        /* test byte [rax + head], head_lock */
    JUMP(0x85, ask);                                          /* jnz ask */
    EMIT(0x48, 0x8b, 0x40, layout->mask);                     /* step 5: mov rax, [rax + mask] */
    EMIT(0x48, 0xc1, 0xee, layout->page_bits - 6);            /* shr rsi, page_bits - 6 */
    EMIT(0x48, 0x0f, 0xa3, 0xf0);                             /* bt rax, rsi */
    JUMP(0x82, ask);                                          /* jc ask */
    EMIT(0x48, 0xc1, 0xea, layout->page_bits - 6);            /* shr rdx, page_bits - 6 */
    EMIT(0x48, 0x0f, 0xa3, 0xd0);                             /* bt rax, rdx */
    JUMP(0x83, clean);                                        /* jnc clean */
    EMIT(0x31, 0xc0, 0xc3);                                   /* xor eax, eax; ret */
    return begin;
}

static void retired(struct pgl_tb *chain, void *nretired)
{
    for (; chain; chain = pgl_tb_chain_next(chain)) {
        ++*(unsigned *)nretired; /* a real emulator makes the block unfindable here */
    }
}

int main(void)
{
    enum { RAM_BYTES = 0x10000, CODE_BYTES = 4096 };
    static uint8_t ram[RAM_BYTES + 8];
    static struct pgl_tb block;
    unsigned nretired = 0, differ = 0;
    struct pgl_tb_ops ops = {.retired = retired};
    struct pgl_table_config config = {.page_bits = 12, .addr_bits = 48, .ops = &ops, .opaque = &nretired};
    struct pgl_table *table = pgl_table_new(&config);
    uint8_t *code = mmap(NULL, CODE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct pgl_check_layout layout;
    struct pgl_bracket bracket;
    store_function *store;

    if (!table || code == MAP_FAILED || !pgl_bracket_begin(&bracket, table, 0x7010 >> 12)) {
        err(1, "inline-check");
    }
    pgl_tb_init(&block);
    pgl_tb_set_bytes(&block, 0, 0x7010, 0x7043);
    pgl_bracket_commit(&bracket, &block, NULL);
    if (!pgl_table_get_check_layout(table, 1, &layout)) { /* 1 is the version of the steps that emit_store() emits */
        err(1, "this library has other steps");
    }
    store = (store_function *)emit_store(code, &layout, &block);
    if (mprotect(code, CODE_BYTES, PROT_READ | PROT_EXEC)) {
        err(1, "mprotect");
    }

    for (uint64_t addr = 0; addr < RAM_BYTES; addr++) {
        differ += store(ram, addr, 0) != pgl_store_is_clean(table, addr, 8);
    }
    printf("%d stores, %u answers other than pgl_store_is_clean()'s\n", RAM_BYTES, differ);
    for (unsigned i = 0; i < 3; i++) { /* beside the block, into it, and after it has died */
        const uint64_t addr = (const uint64_t[]){0x7044, 0x7040, 0x9000}[i];

        printf("a store to %#x: %d\n", (unsigned)addr,
               store(ram, addr, 1) ? 0 : pgl_store_check(table, addr, 8, &block));
    }
    printf("%u block retired\n", nretired);
    pgl_table_free(table);
    munmap(code, CODE_BYTES);
    return 0;
}
#else
int main(void)
{
    puts("SKIP: the machine code is for x86-64");
    return 77;
}
#endif
