/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* `pagelock`: the library, used as an emulator uses it, with a bracket for each block and a check after each store. */
#include <errno.h>
#include <stdlib.h>

#include <glib.h>
#include <pagelock/tb.h>

#include "bench.h"
#include "impl.h"

/* The state for the callbacks of the call that this thread is in. */
static _Thread_local struct {
    struct tally *tally;
    struct pgl_tb *equal; /* what an emulator's hash table would find */
} call;

static struct pgl_tb *publish(struct pgl_tb *tb, void *opaque)
{
    (void)tb;
    (void)opaque;
    return call.equal && pgl_tb_is_live(call.equal) ? call.equal : NULL;
}

static void retired(struct pgl_tb *chain, void *opaque)
{
    (void)opaque;
    for (; chain; chain = pgl_tb_chain_next(chain)) {
        call.tally->killed++;
    }
}

static const struct pgl_tb_ops ops = {.publish = publish, .retired = retired};

static void __attribute__((noreturn)) give_up(const char *what)
{
    g_printerr("pagelock-bench: %s: %s\n", what, g_strerror(errno));
    exit(STATUS_FAILED);
}

static void *pagelock_new(unsigned page_bits, unsigned addr_bits)
{
    const struct pgl_table_config config = {.page_bits = page_bits, .addr_bits = addr_bits, .ops = &ops};
    struct pgl_table *table = pgl_table_new(&config);

    if (!table) {
        give_up("pgl_table_new");
    }
    return table;
}

static void pagelock_free(void *table)
{
    pgl_table_free(table);
}

static void pagelock_block_init(void *opaque, void *block, const struct trace_block *of)
{
    struct pgl_table *table = opaque;
    uint64_t page_last = of->addr | ((UINT64_C(1) << table->page_bits) - 1);
    uint64_t last = of->addr + (of->size - 1);

    pgl_tb_init(block);
    if (of->addr1 == TRACE_NO_ADDR) {
        pgl_tb_set_bytes(block, 0, of->addr, last);
    } else {
        pgl_tb_set_bytes(block, 0, of->addr, page_last);
        pgl_tb_set_bytes(block, 1, of->addr1, of->addr1 + (last - page_last - 1));
    }
}

/* By itself, so that the compiler saves no registers for it where there is one page. */
static void __attribute__((noinline)) cross(struct pgl_bracket *bracket, const struct pgl_tb *tb)
{
    enum pgl_bracket_result result;

    do { /* there is nothing to decode again */
        result = pgl_bracket_cross(bracket, pgl_tb_first_addr(tb, 1) >> bracket->table->page_bits);
    } while (result == PGL_BRACKET_RESTART);
    if (result == PGL_BRACKET_ERROR) {
        give_up("pgl_bracket_cross");
    }
}

static void pagelock_link(void *opaque, void *block, const void *equal, struct tally *tally)
{
    struct pgl_table *table = opaque;
    struct pgl_tb *tb = block;
    struct pgl_bracket bracket;

    call.equal = (struct pgl_tb *)equal;
    if (!pgl_bracket_begin(&bracket, table, pgl_tb_first_addr(tb, 0) >> table->page_bits)) {
        give_up("pgl_bracket_begin");
    }
    if (pgl_tb_first_addr(tb, 1) <= pgl_tb_last_addr(tb, 1)) {
        cross(&bracket, tb);
    }
    if (pgl_bracket_commit(&bracket, tb, NULL) == PGL_BRACKET_EXISTS) {
        tally->duplicates++;
    } else {
        tally->links++;
    }
}

/* pgl_store_check(), taken apart to count what it answers without a lock. */
static void pagelock_store(void *table, uint64_t addr, unsigned len, struct tally *tally)
{
    if (pgl_store_is_clean(table, addr, len)) {
        tally->stores_unlocked++;
        return;
    }
    call.tally = tally;
    pgl_store_check_fenced(table, addr, len, NULL, PGL_HERE);
}

static void pagelock_range(void *table, uint64_t first, uint64_t last, struct tally *tally)
{
    call.tally = tally;
    pgl_invalidate_range(table, first, last, NULL);
}

struct count {
    unsigned page_bits;
    uint64_t index;
    uint64_t alive;
};

/* A block on two pages counts on its first. */
static bool count_block(struct pgl_tb *tb, void *opaque)
{
    struct count *count = opaque;

    count->alive += pgl_tb_first_addr(tb, 0) >> count->page_bits == count->index;
    return true;
}

static void say(const char *what, void *opaque)
{
    g_printerr("pagelock-bench: pgl_table_check: %s\n", what);
    ((struct census *)opaque)->broken = "the table is not sound";
}

static void pagelock_census(void *opaque, struct census *census)
{
    struct pgl_table *table = opaque;
    struct count count = {.page_bits = table->page_bits};
    struct pgl_table_stats stats;
    struct pgl_page *page;

    pgl_table_check(table, say, census);
    while ((page = pgl_page_next(table, &count.index, table->last_index))) {
        pgl_page_lock(table, page);
        pgl_page_foreach_tb(table, page, count_block, &count);
        pgl_page_unlock(table, page);
        if (count.index++ == table->last_index) {
            break;
        }
    }
    pgl_table_get_stats(table, &stats);
    census->alive = count.alive;
    census->retries = stats.retries;
    census->table_bytes = stats.bytes;
    census->hot_bytes = stats.hot_bytes;
}

const struct impl impl_pagelock = {
    .name = "pagelock",
    .what = "this library",
    .block_size = sizeof(struct pgl_tb),
    .table_new = pagelock_new,
    .table_free = pagelock_free,
    .block_init = pagelock_block_init,
    .link = pagelock_link,
    .store = pagelock_store,
    .range = pagelock_range,
    .census = pagelock_census,
};
