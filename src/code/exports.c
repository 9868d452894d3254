/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The symbols of the operations that are inline in the headers, or macros that add the place of the call. Other
 * languages have neither, and pointers to these functions need them.
 */
#include <pagelock/inline/macros.h>

/* Each inline operation of the headers is an ordinary definition here, and its own prototype. */
#undef PGL_INLINE
#define PGL_INLINE PGL_API
#pragma GCC diagnostic ignored "-Wmissing-prototypes"

#include <pagelock/pagelock.h>

#include "exports_internal.h"

/* The place that is reported for a call through one of these functions. */
#define NO_PLACE "an unknown place"

struct pgl_table *pgl_table_new(const struct pgl_table_config *config)
{
    return pgl_table_new_for(config, PGL_LAYOUT);
}

void pgl_page_lock(struct pgl_table *table, struct pgl_page *page)
{
    pgl_page_lock_at(table, page, NO_PLACE);
}

bool pgl_page_trylock(struct pgl_table *table, struct pgl_page *page)
{
    return pgl_page_trylock_at(table, page, NO_PLACE);
}

void pgl_page_unlock(struct pgl_table *table, struct pgl_page *page)
{
    pgl_page_unlock_at(table, page, NO_PLACE);
}

bool pgl_page_lock_pair(struct pgl_table *table, uint64_t index, uint64_t index2)
{
    return pgl_page_lock_pair_at(table, index, index2, NO_PLACE);
}

void pgl_page_unlock_pair(struct pgl_table *table, uint64_t index, uint64_t index2)
{
    pgl_page_unlock_pair_at(table, index, index2, NO_PLACE);
}

void pgl_page_assert_held(struct pgl_table *table, struct pgl_page *page)
{
    pgl_page_assert_held_at(table, page, NO_PLACE);
}

void pgl_assert_none_held(void)
{
    pgl_assert_none_held_at(NO_PLACE);
}

bool pgl_page_foreach_tb(struct pgl_table *table, struct pgl_page *page, bool (*visit)(struct pgl_tb *, void *),
                         void *opaque)
{
    return pgl_page_foreach_tb_at(table, page, visit, opaque, NO_PLACE);
}

bool pgl_collection_lock(struct pgl_collection *collection, struct pgl_table *table, uint64_t first_addr,
                         uint64_t last_addr)
{
    return pgl_collection_lock_at(collection, table, first_addr, last_addr, NO_PLACE);
}

void pgl_collection_unlock(struct pgl_collection *collection)
{
    pgl_collection_unlock_at(collection, NO_PLACE);
}

bool pgl_bracket_begin(struct pgl_bracket *bracket, struct pgl_table *table, uint64_t index)
{
    return pgl_bracket_begin_at(bracket, table, index, NO_PLACE);
}

enum pgl_bracket_result pgl_bracket_cross(struct pgl_bracket *bracket, uint64_t index)
{
    return pgl_bracket_cross_at(bracket, index, NO_PLACE);
}

enum pgl_bracket_result pgl_bracket_store(struct pgl_bracket *bracket, uint64_t addr, uint64_t len)
{
    return pgl_bracket_store_at(bracket, addr, len, NO_PLACE);
}

enum pgl_bracket_result pgl_bracket_commit(struct pgl_bracket *bracket, struct pgl_tb *tb, struct pgl_tb **equal)
{
    return pgl_bracket_commit_at(bracket, tb, equal, NO_PLACE);
}

void pgl_bracket_abort(struct pgl_bracket *bracket)
{
    pgl_bracket_abort_at(bracket, NO_PLACE);
}

void pgl_tb_link_unlisted(struct pgl_table *table, struct pgl_tb *tb)
{
    pgl_tb_link_unlisted_at(table, tb, NO_PLACE);
}

void pgl_tb_lock_pages(struct pgl_table *table, const struct pgl_tb *tb)
{
    pgl_tb_lock_pages_at(table, tb, NO_PLACE);
}

void pgl_tb_unlock_pages(struct pgl_table *table, const struct pgl_tb *tb)
{
    pgl_tb_unlock_pages_at(table, tb, NO_PLACE);
}

int pgl_invalidate_tb(struct pgl_table *table, struct pgl_tb *tb, const struct pgl_tb *running)
{
    return pgl_invalidate_tb_at(table, tb, running, NO_PLACE);
}

int pgl_invalidate_tbs(struct pgl_table *table, struct pgl_tb *const *tbs, size_t n, const struct pgl_tb *running)
{
    return pgl_invalidate_tbs_at(table, tbs, n, running, NO_PLACE);
}

int pgl_invalidate_range(struct pgl_table *table, uint64_t first_addr, uint64_t last_addr, const struct pgl_tb *running)
{
    return pgl_invalidate_range_at(table, first_addr, last_addr, running, NO_PLACE);
}

int pgl_invalidate_if(struct pgl_table *table, uint64_t first_addr, uint64_t last_addr,
                      bool (*predicate)(const struct pgl_tb *tb, void *arg), void *arg, const struct pgl_tb *running)
{
    return pgl_invalidate_if_at(table, first_addr, last_addr, predicate, arg, running, NO_PLACE);
}

int pgl_invalidate_page(struct pgl_table *table, uint64_t index, const struct pgl_tb *running)
{
    return pgl_invalidate_page_at(table, index, running, NO_PLACE);
}

int pgl_flush(struct pgl_table *table, const struct pgl_tb *running)
{
    return pgl_flush_at(table, running, NO_PLACE);
}

uint64_t pgl_table_trim(struct pgl_table *table)
{
    return pgl_table_trim_at(table, NO_PLACE);
}

void pgl_table_reset(struct pgl_table *table)
{
    pgl_table_reset_at(table, NO_PLACE);
}

int pgl_store_check(struct pgl_table *table, uint64_t addr, uint64_t len, const struct pgl_tb *running)
{
    return pgl_store_check_at(table, addr, len, running, NO_PLACE);
}

int pgl_store_u8(struct pgl_table *table, void *host, uint64_t addr, uint8_t value, const struct pgl_tb *running)
{
    return pgl_store_u8_at(table, host, addr, value, running, NO_PLACE);
}

int pgl_store_u16(struct pgl_table *table, void *host, uint64_t addr, uint16_t value, const struct pgl_tb *running)
{
    return pgl_store_u16_at(table, host, addr, value, running, NO_PLACE);
}

int pgl_store_u32(struct pgl_table *table, void *host, uint64_t addr, uint32_t value, const struct pgl_tb *running)
{
    return pgl_store_u32_at(table, host, addr, value, running, NO_PLACE);
}

int pgl_store_u64(struct pgl_table *table, void *host, uint64_t addr, uint64_t value, const struct pgl_tb *running)
{
    return pgl_store_u64_at(table, host, addr, value, running, NO_PLACE);
}

int pgl_store_begin(struct pgl_store *store, struct pgl_table *table, uint64_t addr, uint64_t len,
                    const struct pgl_tb *running)
{
    return pgl_store_begin_at(store, table, addr, len, running, NO_PLACE);
}

int pgl_store_begin_pair(struct pgl_store *store, struct pgl_table *table, uint64_t addr, uint64_t len, uint64_t addr2,
                         uint64_t len2, const struct pgl_tb *running)
{
    return pgl_store_begin_pair_at(store, table, addr, len, addr2, len2, running, NO_PLACE);
}

void pgl_store_end(struct pgl_store *store)
{
    pgl_store_end_at(store, NO_PLACE);
}
