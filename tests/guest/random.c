/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Random programs. Memory is strewn with pieces of code, half of them over the end of a page: *routines*, which harts
 * call, and *fragments*, of which each hart has a ring that it goes round and round. A fragment patches routines (and
 * other fragments, and itself) and calls them. Only bytes that may have any value of their role are patched (registers
 * and operations of plain instructions, immediates), so that every mixture of old and new bytes is a valid program.
 */
#include <stdlib.h>

#include "asm.h"

enum kind {
    KIND_PRIVATE, /* each hart has its own bytes, all harts have the same pages: deterministic */
    KIND_TOKEN,   /* all patch and run all, but only the hart that has the token: deterministic */
    KIND_OWNED,   /* all run all, each routine is patched by one hart */
    KIND_SHARED,  /* all patch and run all */
    KINDS,
};

static const char *const names[KINDS] = {"random-private", "random-token", "random-owned", "random-shared"};

enum {
    PIECE_MAX = 160, /* bytes that are free where a piece is begun */
    PIECES_MAX = 256,
    SLOTS_MAX = 12,
};

/* Bytes that may be patched. */
struct slot {
    uint64_t va;
    unsigned len;
    bool is_code; /* plain instructions of 2 bytes; else an immediate */
};

struct piece {
    uint64_t va;
    unsigned size;
    unsigned owner; /* the hart that patches it, where not all do */
    bool routine;
    bool has_pte;
    uint64_t image; /* where other bytes for all of it are, to be copied over it; VA_SIZE: nowhere */
    struct slot slot[SLOTS_MAX];
    unsigned nslots;
};

struct gen {
    struct program *program;
    enum kind kind;
    uint64_t random;
    unsigned next_pte; /* virtual pages below have got their page-table entry */
    uint64_t token;
    bool used[RAM_SIZE];
    struct piece piece[PIECES_MAX];
    unsigned npieces;
};

static uint64_t below(struct gen *gen, uint64_t n)
{
    gen->random ^= gen->random << 13;
    gen->random ^= gen->random >> 7;
    gen->random ^= gen->random << 17;
    return (gen->random >> 16) % n;
}

static unsigned vpages(const struct gen *gen)
{
    return VA_SIZE >> gen->program->page_bits;
}

/* ---- where things go ---- */

static bool is_free(const struct gen *gen, uint64_t va, unsigned size)
{
    for (unsigned i = 0; i < size; i++) {
        if (gen->used[program_ram_at(gen->program, va + i)]) {
            return false;
        }
    }
    return true;
}

static void use(struct gen *gen, uint64_t va, unsigned size)
{
    for (unsigned i = 0; i < size; i++) {
        gen->used[program_ram_at(gen->program, va + i)] = true;
    }
}

/* Of @odds places all but one are such that a page ends soon behind them. */
static uint64_t find_place(struct gen *gen, unsigned size, unsigned odds)
{
    uint64_t page = UINT64_C(1) << gen->program->page_bits, va;

    do {
        va = below(gen, VA_SIZE);
        if (below(gen, odds)) {
            va = (va | (page - 1)) - below(gen, 40);
        }
        va %= VA_SIZE;
    } while (!is_free(gen, va, size));
    return va;
}

/* The same byte by way of another virtual page, when @len bytes from @va on are on one. */
static uint64_t alias(struct gen *gen, uint64_t va, unsigned len)
{
    unsigned page_bits = gen->program->page_bits;
    uint64_t in_page = va % (UINT64_C(1) << page_bits), page;

    if (in_page + len > UINT64_C(1) << page_bits) {
        return va;
    }
    do {
        page = below(gen, vpages(gen));
    } while (gen->program->map[page] != gen->program->map[va % VA_SIZE >> page_bits]);
    return page << page_bits | in_page;
}

static void set_pte(struct gen *gen, uint64_t va)
{
    struct program *program = gen->program;
    struct place at = {program, va};
    unsigned page = gen->next_pte++;

    program->pte_at[page] = program_ram_at(program, va);
    asm_byte(&at, 0);
    asm_byte(&at, (uint8_t)program->map[page]);
    asm_byte(&at, (uint8_t)(program->map[page] >> 8));
}

static bool pte_fits(const struct gen *gen, uint64_t va)
{
    return gen->next_pte < vpages(gen) &&
           va % (UINT64_C(1) << gen->program->page_bits) + PTE_SIZE <= UINT64_C(1) << gen->program->page_bits;
}

/* ---- pieces ---- */

static struct piece *begin_piece(struct gen *gen, struct place *at, unsigned owner, unsigned odds)
{
    struct piece *piece = &gen->piece[gen->npieces++];

    if (gen->npieces > PIECES_MAX) {
        abort();
    }
    *at = (struct place){gen->program, find_place(gen, PIECE_MAX, odds)};
    *piece = (struct piece){.va = at->va, .owner = owner, .image = VA_SIZE};
    return piece;
}

static void end_piece(struct gen *gen, struct piece *piece, const struct place *at)
{
    piece->size = (unsigned)(at->va - piece->va);
    if (piece->size > PIECE_MAX) {
        abort();
    }
    use(gen, piece->va, piece->size);
}

static void add_slot(struct piece *piece, uint64_t va, unsigned len, bool is_code)
{
    if (piece->nslots < SLOTS_MAX) {
        piece->slot[piece->nslots++] = (struct slot){va, len, is_code};
    }
}

/* A plain instruction of 2 bytes; now and then one that ends a block. */
static uint16_t plain_insn(struct gen *gen)
{
    enum op op = below(gen, 24) ? (enum op)below(gen, OP_SYNC) : OP_SYNC;

    return (uint16_t)((below(gen, DATA_REGS) << 4 | below(gen, DATA_REGS)) << 8 | op);
}

static uint64_t plain_insns(struct gen *gen, unsigned len)
{
    uint64_t insns = 0;

    for (unsigned i = 0; i < len; i += 2) {
        insns |= (uint64_t)plain_insn(gen) << 8 * i;
    }
    return insns;
}

static void put_plain(struct gen *gen, struct piece *piece, struct place *at)
{
    uint64_t insns = plain_insns(gen, 8);

    add_slot(piece, at->va, 8, true);
    for (unsigned i = 0; i < 8; i++) {
        asm_byte(at, (uint8_t)(insns >> 8 * i));
    }
}

static void put_immediate(struct gen *gen, struct piece *piece, struct place *at)
{
    bool wide = below(gen, 4) == 0;

    add_slot(piece, at->va + 2, wide ? 8 : 4, false);
    asm_insn(at, wide ? OP_LIQ : OP_LI, (unsigned)below(gen, DATA_REGS), 0, below(gen, UINT64_MAX));
}

static void put_hint(struct gen *gen, struct piece *piece, struct place *at)
{
    bool holds_pte = pte_fits(gen, at->va + 2);
    uint64_t immediate = at->va + 2;

    asm_insn(at, OP_HINT, 0, 0, below(gen, UINT64_MAX));
    if (holds_pte) {
        set_pte(gen, immediate);
        piece->has_pte = true;
    } else {
        add_slot(piece, immediate, 4, false);
    }
}

/* A store into the instruction behind it. */
static void put_self_store(struct gen *gen, struct piece *piece, struct place *at)
{
    uint64_t target = at->va + isa_length(OP_LI) + isa_length(OP_ST4) + 2;

    asm_insn(at, OP_LI, R_OWN, 0, alias(gen, target, 4));
    asm_insn(at, OP_ST4, (unsigned)below(gen, DATA_REGS), R_OWN, 0);
    add_slot(piece, at->va + 2, 4, false);
    asm_insn(at, OP_LI, (unsigned)below(gen, DATA_REGS), 0, below(gen, UINT64_MAX));
}

/* Other bytes for a whole routine, somewhere else, as data. */
static void put_image(struct gen *gen, struct piece *piece)
{
    uint64_t image = find_place(gen, piece->size, 1);
    struct place at = {gen->program, image};

    for (unsigned i = 0; i < piece->size; i++) {
        asm_byte(&at, gen->program->image[program_ram_at(gen->program, piece->va + i)]);
    }
    for (unsigned i = 0; i < piece->nslots; i++) {
        const struct slot *slot = &piece->slot[i];
        uint64_t bytes = slot->is_code ? plain_insns(gen, slot->len) : below(gen, UINT64_MAX);

        at.va = image + (slot->va - piece->va);
        for (unsigned n = 0; n < slot->len; n++, bytes >>= 8) {
            asm_byte(&at, (uint8_t)bytes);
        }
    }
    use(gen, image, piece->size);
    piece->image = image;
}

static void make_routine(struct gen *gen, unsigned owner)
{
    struct place at;
    struct piece *piece = begin_piece(gen, &at, owner, 8);
    /* a hart that runs such a routine stores into it */
    bool may_store = gen->kind != KIND_OWNED;

    piece->routine = true;
    put_plain(gen, piece, &at);
    for (unsigned n = 2 + (unsigned)below(gen, 4); n; n--) {
        switch (below(gen, may_store ? 7 : 6)) {
        case 0:
        case 1:
        case 2:
            put_plain(gen, piece, &at);
            break;
        case 3:
        case 4:
            put_immediate(gen, piece, &at);
            break;
        case 5:
            put_hint(gen, piece, &at);
            break;
        default:
            put_self_store(gen, piece, &at);
        }
    }
    asm_insn(&at, OP_JR, 0, R_LINK, 0);
    end_piece(gen, piece, &at);
    if (piece->size <= COPY_MAX && !piece->has_pte) {
        put_image(gen, piece);
    }
}

/* ---- what a fragment does ---- */

static bool may_use(const struct gen *gen, const struct piece *piece, unsigned hart, bool to_patch)
{
    if (gen->kind == KIND_PRIVATE || (to_patch && gen->kind == KIND_OWNED)) {
        return piece->owner == hart;
    }
    return true;
}

/* Some piece with a slot; a routine where @routine says so. There always is one. */
static struct piece *pick(struct gen *gen, unsigned hart, bool to_patch, bool routine)
{
    struct piece *piece;

    do {
        piece = &gen->piece[below(gen, gen->npieces)];
    } while (!piece->size || !piece->nslots || (routine && !piece->routine) || !may_use(gen, piece, hart, to_patch));
    return piece;
}

/* Half of the time all of it. */
static unsigned part_of(struct gen *gen, const struct slot *slot, unsigned step, uint64_t *va)
{
    unsigned len = step << below(gen, 8);

    if (len > slot->len) {
        len = slot->len;
    }
    *va = slot->va + step * below(gen, (slot->len - len) / step + 1);
    return len;
}

static void put_age(struct place *at, uint64_t va)
{
    asm_insn(at, OP_LI, R_ADDR, 0, va % VA_SIZE);
    asm_insn(at, OP_AGE, 0, R_ADDR, 0);
}

static void put_patch(struct gen *gen, struct place *at, const struct piece *piece)
{
    const struct slot *slot = &piece->slot[below(gen, piece->nslots)];
    uint64_t va;
    unsigned len = part_of(gen, slot, slot->is_code ? 2 : 1, &va);
    unsigned reg = (unsigned)below(gen, DATA_REGS);

    if (slot->is_code) {
        reg = R_VALUE;
        asm_insn(at, len == 8 ? OP_LIQ : OP_LI, reg, 0, plain_insns(gen, len));
    }
    asm_store(at, reg, alias(gen, va, len), len);
}

static void put_copy(struct gen *gen, struct place *at, const struct piece *piece)
{
    (void)gen;
    asm_insn(at, OP_LI, R_VALUE, 0, piece->image);
    asm_insn(at, OP_LI, R_ADDR, 0, piece->va);
    asm_insn(at, OP_COPY, R_ADDR, R_VALUE, piece->size - 1);
}

static void put_load(struct gen *gen, struct place *at, const struct piece *piece)
{
    const struct slot *slot = &piece->slot[below(gen, piece->nslots)];
    uint64_t va;
    unsigned len = part_of(gen, slot, 1, &va);

    asm_insn(at, OP_LI, R_ADDR, 0, alias(gen, va, len));
    asm_insn(at, (enum op)(OP_LD1 + __builtin_ctz(len)), (unsigned)below(gen, DATA_REGS), R_ADDR, 0);
}

static void put_action(struct gen *gen, struct piece *piece, struct place *at, unsigned hart)
{
    struct piece *target;

    switch (below(gen, 16)) {
    default:
        target = pick(gen, hart, true, true);
        put_patch(gen, at, target);
        asm_jump(at, R_LINK, target->va);
        break;
    case 6: /* a second store while others translate */
        target = pick(gen, hart, true, true);
        put_patch(gen, at, target);
        put_patch(gen, at, target);
        asm_jump(at, R_LINK, target->va);
        break;
    case 7: /* translated anew, it finds the page that it runs into not accessed */
        target = pick(gen, hart, true, true);
        put_age(at, target->va + target->size - 1);
        put_patch(gen, at, target);
        asm_jump(at, R_LINK, target->va);
        break;
    case 8:
        put_patch(gen, at, pick(gen, hart, true, false));
        break;
    case 9:
    case 10:
        put_self_store(gen, piece, at);
        break;
    case 11:
        target = pick(gen, hart, true, true);
        if (target->image < VA_SIZE) {
            put_copy(gen, at, target);
        }
        asm_jump(at, R_LINK, target->va);
        break;
    case 12:
        put_age(at, below(gen, VA_SIZE));
        break;
    case 13:
        put_load(gen, at, pick(gen, hart, gen->kind == KIND_PRIVATE, false));
        break;
    case 14:
        asm_jump(at, R_LINK, pick(gen, hart, false, true)->va);
        break;
    case 15:
        if (below(gen, 4) == 0) {
            asm_insn(at, OP_FLUSH, 0, 0, 0);
        }
    }
}

/* ---- a hart's ring ---- */

/* Go on at @va from the jump at *@link, which becomes the one at the end of what @at has written. */
static void link_to(struct gen *gen, uint64_t *link, uint64_t va)
{
    struct place at = {gen->program, *link};

    asm_jump(&at, R_JUNK, va);
}

static void end_linked(struct gen *gen, struct piece *piece, struct place *at, uint64_t *link)
{
    *link = at->va;
    asm_jump(at, R_JUNK, at->va);
    end_piece(gen, piece, at);
}

static uint64_t make_start(struct gen *gen, unsigned hart, unsigned rounds, uint64_t *link)
{
    struct place at;
    struct piece *piece = begin_piece(gen, &at, hart, 2);

    asm_insn(&at, OP_LI, R_COUNT, 0, rounds);
    for (unsigned reg = 0; reg < DATA_REGS; reg++) {
        asm_insn(&at, OP_LI, reg, 0, below(gen, UINT64_MAX));
    }
    end_linked(gen, piece, &at, link);
    return piece->va;
}

/* The head of the ring: in a token program it waits for its turn. */
static uint64_t make_head(struct gen *gen, unsigned hart, uint64_t *link)
{
    struct place at;
    struct piece *piece = begin_piece(gen, &at, hart, 2);

    link_to(gen, link, piece->va);
    if (gen->kind == KIND_TOKEN) {
        uint64_t wait;

        asm_insn(&at, OP_LI, R_ADDR, 0, gen->token);
        asm_insn(&at, OP_LI, R_VALUE, 0, hart);
        wait = at.va;
        asm_insn(&at, OP_YIELD, 0, 0, 0);
        asm_insn(&at, OP_LD1, R_SEEN, R_ADDR, 0);
        asm_insn(&at, OP_BNE, R_SEEN, R_VALUE, asm_distance(&at, wait));
        asm_insn(&at, OP_SYNC, 0, 0, 0);
    }
    end_linked(gen, piece, &at, link);
    return piece->va;
}

static void make_fragment(struct gen *gen, unsigned hart, uint64_t *link)
{
    struct place at;
    struct piece *piece = begin_piece(gen, &at, hart, 2);

    link_to(gen, link, piece->va);
    for (unsigned n = 1 + (unsigned)below(gen, 3); n; n--) {
        put_action(gen, piece, &at, hart);
    }
    end_linked(gen, piece, &at, link);
}

static void make_tail(struct gen *gen, unsigned hart, uint64_t head, uint64_t *link)
{
    struct place at;
    struct piece *piece = begin_piece(gen, &at, hart, 2);

    link_to(gen, link, piece->va);
    if (gen->kind == KIND_TOKEN) {
        asm_insn(&at, OP_LI, R_VALUE, 0, (hart + 1) % gen->program->nharts);
        asm_store(&at, R_VALUE, gen->token, 1);
    }
    asm_insn(&at, OP_ADDI, R_COUNT, R_COUNT, (uint64_t)-1);
    asm_insn(&at, OP_BNE, R_COUNT, R_ZERO, asm_distance(&at, head));
    asm_insn(&at, OP_HALT, 0, 0, 0);
    end_piece(gen, piece, &at);
}

static void make_ring(struct gen *gen, unsigned hart, unsigned rounds)
{
    uint64_t link, head;
    unsigned fragments = 64 / gen->program->nharts;

    gen->program->entry[hart] = make_start(gen, hart, rounds, &link);
    head = make_head(gen, hart, &link);
    for (unsigned n = fragments > 16 ? 16 : fragments; n; n--) {
        make_fragment(gen, hart, &link);
    }
    make_tail(gen, hart, head, &link);
}

/* ---- the program ---- */

/* Fewer physical pages than virtual ones. Virtual neighbours are neighbours in the RAM, or any two pages. */
static void make_mapping(struct gen *gen)
{
    struct program *program = gen->program;
    unsigned most = RAM_SIZE >> program->page_bits, npages = most - (unsigned)below(gen, most / 2);
    unsigned swaps = below(gen, 2) ? vpages(gen) : vpages(gen) / 8;

    for (unsigned page = 0; page < vpages(gen); page++) {
        program->map[page] = (uint16_t)(page % npages);
    }
    while (swaps--) {
        unsigned page = (unsigned)below(gen, vpages(gen)), other = (unsigned)below(gen, vpages(gen));
        uint16_t swap = program->map[page];

        program->map[page] = program->map[other];
        program->map[other] = swap;
    }
}

static uint64_t pick_base(struct gen *gen)
{
    uint64_t leaf = UINT64_C(512) << gen->program->page_bits;

    switch (below(gen, 4)) {
    case 0:
        return 0;
    case 1:
        return UINT64_MAX - RAM_SIZE + 1;
    case 2:
        return 3 * leaf - RAM_SIZE / 2; /* over the end of a leaf */
    default:
        return leaf * leaf - RAM_SIZE / 2; /* over the end of a node */
    }
}

struct program *program_random(uint64_t seed, uint64_t number, unsigned nharts)
{
    struct gen *gen = calloc(1, sizeof(*gen));
    struct program *program = calloc(1, sizeof(*program));
    unsigned rounds;

    if (!gen || !program) {
        abort();
    }
    gen->program = program;
    gen->random = (seed ^ number * UINT64_C(0xd1342543de82ef95)) * UINT64_C(0x9e3779b97f4a7c15) | 1;
    gen->kind = (enum kind)(number % KINDS);
    program->name = names[gen->kind];
    program->nharts = nharts;
    program->deterministic = gen->kind == KIND_PRIVATE || gen->kind == KIND_TOKEN;
    program->many_writers = gen->kind == KIND_SHARED;
    program->page_bits = PAGE_BITS_MIN + (unsigned)(below(gen, 2) * below(gen, 3));
    program->base = pick_base(gen);
    make_mapping(gen);
    gen->token = find_place(gen, 1, 1);
    use(gen, gen->token, 1);
    for (unsigned hart = 0; hart < nharts; hart++) {
        for (unsigned n = 0; n < (nharts > 4 ? 2 : 5); n++) {
            make_routine(gen, hart);
        }
    }
    rounds = 20 + (unsigned)below(gen, 100);
    for (unsigned hart = 0; hart < nharts; hart++) {
        make_ring(gen, hart, rounds);
    }
    while (gen->next_pte < vpages(gen)) {
        uint64_t va = find_place(gen, PTE_SIZE, 1);

        if (pte_fits(gen, va)) {
            set_pte(gen, va);
            use(gen, va, PTE_SIZE);
        }
    }
    free(gen);
    return program;
}
