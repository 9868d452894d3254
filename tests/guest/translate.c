/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How an emulator translates with libpagelock. The bracket holds every page that bytes are read from, however many they
 * are: a superblock goes on behind direct jumps.
 */
#include <sched.h>

#include "emu_internal.h"

/* One translation: its bracket, and the accessed bits set inside it whose invalidation is still to come. */
struct translation {
    struct hart *hart;
    struct pgl_bracket bracket;
    struct block *block;
    uint64_t va_page; /* the virtual page that the bytes come from at present, */
    uint64_t pa_page; /* and the address of the page at which it lies */
    struct write pending[PGL_BRACKET_STORES];
    unsigned npending;
};

unsigned translate_limit(const struct emu *emu)
{
    return emu->config.superblocks ? SUPERBLOCK_INSNS : BLOCK_INSNS;
}

bool translate_goes_on(const struct emu *emu, const struct insn *insn, unsigned n, uint64_t *va)
{
    bool follows = emu->config.superblocks && insn->op == OP_JAL;

    *va += follows ? insn->imm : insn->length;
    return n + 1 < translate_limit(emu) && (follows || !isa_ends_block(insn));
}

static void settle_pending(struct translation *t)
{
    while (t->npending) {
        ram_settle(&t->hart->emu->ram, &t->pending[--t->npending]);
    }
}

/* Walk to a further page of the block. This thread holds a page; therefore a store of the walk names its bracket. */
static uint64_t walk_in_bracket(struct translation *t, uint64_t va)
{
    struct emu *emu = t->hart->emu;
    struct write write = {.len = 1, .how = WRITE_OR, .bytes = {PTE_ACCESSED}};
    uint64_t pa = emu_translate_va(emu, va, &write.pa);

    if (ram_byte(&emu->ram, write.pa) & PTE_ACCESSED) {
        return pa;
    }
    ram_write(&emu->ram, &write);
    t->hart->stats.walk_stores++;
    switch (pgl_bracket_store(&t->bracket, write.pa, write.len)) {
    case PGL_BRACKET_OK:
        ram_settle(&emu->ram, &write);
        break;
    case PGL_BRACKET_RESTART: /* comes with the next cross or commit */
        t->pending[t->npending++] = write;
        break;
    default:
        emu_fail("pgl_bracket_store");
    }
    return pa;
}

/* Get hold of the page that the virtual address lies on. */
static enum pgl_bracket_result enter_page(struct translation *t, uint64_t va)
{
    unsigned page_bits = t->hart->emu->program->page_bits;
    uint64_t pa = walk_in_bracket(t, va);
    enum pgl_bracket_result result = pgl_bracket_cross(&t->bracket, pa >> t->hart->emu->page_bits);

    if (result == PGL_BRACKET_ERROR) {
        emu_fail("pgl_bracket_cross");
    }
    t->va_page = va % VA_SIZE >> page_bits;
    t->pa_page = pa >> page_bits << page_bits;
    return result;
}

/* Read the bytes of the block's next instruction from @va on up to, not including, number @end of them. */
static bool fetch(struct translation *t, uint64_t va, uint8_t *bytes, unsigned from, unsigned end)
{
    const struct emu *emu = t->hart->emu;
    struct block *block = t->block;
    uint64_t in_page = (UINT64_C(1) << emu->program->page_bits) - 1;

    for (unsigned i = from; i < end; i++, block->size++) {
        uint64_t at = (va + i) % VA_SIZE, cell;

        if (at >> emu->program->page_bits != t->va_page && enter_page(t, at) != PGL_BRACKET_OK) {
            return false;
        }
        block->at[block->size] = t->pa_page | (at & in_page);
        cell = ram_cell(&emu->ram, block->at[block->size]);
        bytes[i] = (uint8_t)cell;
        block->version[block->size] = cell >> 8;
    }
    return true;
}

/* Decode up to @limit instructions. False: decode from the beginning. */
static bool decode(struct translation *t, unsigned limit)
{
    const struct emu *emu = t->hart->emu;
    struct block *block = t->block;
    uint8_t bytes[INSN_MAX];
    uint64_t va = block->va;
    struct insn *insn;

    block->ninsns = 0;
    block->size = 0;
    t->va_page = va % VA_SIZE >> emu->program->page_bits;
    t->pa_page = block->pa >> emu->program->page_bits << emu->program->page_bits;
    do {
        insn = &block->insn[block->ninsns++];
        if (!fetch(t, va, bytes, 0, 1) || !fetch(t, va, bytes, 1, isa_length(bytes[0]))) {
            return false;
        }
        *insn = isa_decode(bytes);
        jitter(256);
    } while (block->ninsns < limit && translate_goes_on(emu, insn, block->ninsns - 1, &va));
    return true;
}

/* Tell the library which bytes the block was made from, in one extent for each run of them on a page. */
static void set_bytes(struct translation *t)
{
    struct block *block = t->block;
    unsigned page_bits = t->hart->emu->page_bits, n = 0;

    for (unsigned i = 0, first = 0; i < block->size; i++) {
        uint64_t next = block->at[i] + 1;

        if (i + 1 == block->size || block->at[i + 1] != next || next >> page_bits != block->at[i] >> page_bits) {
            pgl_extent_set(&block->extents[n++], block->at[first], block->at[i]);
            first = i + 1;
        }
    }
    pgl_tb_init(&block->tb);
    pgl_tb_set_extents(&block->tb, block->extents, n);
}

static void count_block(struct emu_stats *stats, const struct block *block, unsigned page_bits)
{
    unsigned n = pgl_tb_count_extents(&block->tb), npages = 0;
    uint64_t pages[EXTENTS_MAX];

    stats->translated++;
    for (unsigned which = 0; which < n; which++) {
        unsigned i = 0;

        pages[npages] = pgl_tb_first_addr(&block->tb, which) >> page_bits;
        while (pages[i] != pages[npages]) {
            i++;
        }
        npages += i == npages;
    }
    stats->two_pages += npages == 2;
    stats->falling += npages == 2 && pages[1] < pages[0];
    stats->twice += npages < n;
    stats->super += npages > 2;
    stats->super_pages += npages > 2 ? npages : 0;
}

/* The mistake of reading guest bytes outside the bracket in which the block is linked. */
static void reopen_bracket(struct translation *t)
{
    uint64_t index = t->block->pa >> t->hart->emu->page_bits;

    if (pgl_tb_count_extents(&t->block->tb) > 1) {
        return;
    }
    pgl_bracket_abort(&t->bracket);
    sched_yield();
    if (!pgl_bracket_begin(&t->bracket, t->hart->emu->table, index)) {
        emu_fail("pgl_bracket_begin");
    }
}

/* Decode and commit until the decoded block may be kept. Returns the block that can be found now. */
static struct block *decode_and_commit(struct translation *t)
{
    struct hart *hart = t->hart;
    enum pgl_bracket_result result;
    struct pgl_tb *found;

    for (;; hart->stats.restarts++, settle_pending(t)) {
        if (!decode(t, translate_limit(hart->emu))) {
            continue;
        }
        set_bytes(t);
        if (hart->emu->config.mistake == MISTAKE_EARLY_READ) {
            reopen_bracket(t);
        }
        result = pgl_bracket_commit(&t->bracket, &t->block->tb, &found);
        if (result != PGL_BRACKET_RESTART) {
            break;
        }
    }
    if (result == PGL_BRACKET_ERROR) {
        emu_fail("pgl_bracket_commit");
    }
    settle_pending(t); /* there are none: a restart was due for them */
    if (result == PGL_BRACKET_EXISTS) {
        hart->stats.equal++;
        block_free(t->block);
    } else {
        __atomic_fetch_add(&hart->emu->linked, 1, __ATOMIC_RELAXED);
        count_block(&hart->stats, t->block, hart->emu->page_bits);
    }
    return (struct block *)found;
}

struct block *translate(struct hart *hart, uint64_t va, uint64_t pa)
{
    struct emu *emu = hart->emu;
    struct translation t = {.hart = hart, .block = block_new(va, pa)};
    struct block *block;

    emu_enter(emu);
    if (!pgl_bracket_begin(&t.bracket, emu->table, pa >> emu->page_bits)) {
        emu_fail("pgl_bracket_begin");
    }
    block = decode_and_commit(&t);
    emu_leave(emu);
    blocks_cache(&hart->finder, block);
    return block;
}

struct block *translate_once(struct hart *hart, uint64_t va, uint64_t pa)
{
    struct emu *emu = hart->emu;
    struct translation t = {.hart = hart, .block = block_new(va, pa)};

    emu_enter(emu);
    if (!pgl_bracket_begin(&t.bracket, emu->table, pa >> emu->page_bits)) {
        emu_fail("pgl_bracket_begin");
    }
    while (!decode(&t, 1)) {
        settle_pending(&t);
    }
    pgl_bracket_abort(&t.bracket);
    emu_leave(emu);
    settle_pending(&t);
    return t.block;
}
