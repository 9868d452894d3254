/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* `global`: one mutex around everything, over the simplest lists. */
#include <pthread.h>

#include <glib.h>

#include "impl.h"
#include "pages.h"

struct global {
    pthread_mutex_t mutex;
    struct pages pages;
};

static void *global_new(unsigned page_bits, unsigned addr_bits)
{
    struct global *global = g_new(struct global, 1);

    pthread_mutex_init(&global->mutex, NULL);
    pages_init(&global->pages, page_bits, addr_bits);
    return global;
}

static void global_free(void *table)
{
    struct global *global = table;

    pages_fini(&global->pages);
    pthread_mutex_destroy(&global->mutex);
    g_free(global);
}

static void global_block_init(void *table, void *block, const struct trace_block *of)
{
    block_init(&((struct global *)table)->pages, block, of);
}

static void global_link(void *table, void *linked, const void *equal, struct tally *tally)
{
    struct global *global = table;
    struct block *block = linked;
    struct page *page[2] = {NULL, NULL};

    pthread_mutex_lock(&global->mutex);
    if (equal && ((const struct block *)equal)->alive) {
        tally->duplicates++;
    } else {
        for (unsigned n = 0; n < block->npages; n++) {
            page[n] = pages_make(&global->pages, block->first[n] >> global->pages.page_bits);
        }
        block_list(block, page);
        tally->links++;
    }
    pthread_mutex_unlock(&global->mutex);
}

static void global_range(void *table, uint64_t first, uint64_t last, struct tally *tally)
{
    struct global *global = table;
    uint64_t index = first >> global->pages.page_bits, last_index;

    pthread_mutex_lock(&global->mutex);
    last_index = pages_clip(&global->pages, last >> global->pages.page_bits);
    for (; index <= last_index; index++) {
        struct page *page = pages_find(&global->pages, index);

        if (page) {
            tally->killed += page_kill(&global->pages, page, first, last);
        }
    }
    pthread_mutex_unlock(&global->mutex);
}

static void global_store(void *table, uint64_t addr, unsigned len, struct tally *tally)
{
    global_range(table, addr, addr + (len - 1), tally);
}

static void global_census(void *table, struct census *census)
{
    pages_census(&((struct global *)table)->pages, census);
}

const struct impl impl_global = {
    .name = "global",
    .what = "one mutex around everything",
    .block_size = sizeof(struct block),
    .table_new = global_new,
    .table_free = global_free,
    .block_init = global_block_init,
    .link = global_link,
    .store = global_store,
    .range = global_range,
    .census = global_census,
};
