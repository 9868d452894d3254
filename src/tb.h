/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the bracket and the invalidating calls share. Everything needs the lock of the page it is about. */
#ifndef PGL_TB_PRIVATE_H
#define PGL_TB_PRIVATE_H

#include <pagelock/tb.h>

#define PGL_MAP_WORDS (PGL_MAP_BITS / 64u)

/**
 * pgl_map_from_list - the words [@low_word, @high_word] of a page's exact map, by its list
 * @map: filled in from its beginning
 *
 * Bit n of the page's mask says whether word n of this map has any bit set, whether or not the page keeps the map.
 */
void pgl_map_from_list(const struct pgl_table *table, const struct pgl_page *page, uint64_t index, uint64_t *map,
                       unsigned low_word, unsigned high_word);

/**
 * pgl_page_add_tb - put a block on the list of one of its pages, and its bytes into the page's mask and map
 * @which: the link
 */
void pgl_page_add_tb(const struct pgl_table *table, struct pgl_leaf *leaf, uint64_t index, struct pgl_tb *tb,
                     unsigned which);

/**
 * pgl_page_claim_code - set the page's bit in the code bitmap, calling `first_code` when it has no blocks
 *
 * To be followed by a full fence before the page's bytes are read.
 */
void pgl_page_claim_code(struct pgl_table *table, struct pgl_leaf *leaf, uint64_t index);

/* Clear the page's bit in the code bitmap and call `no_code`, when it is set and the page has no blocks. */
void pgl_page_drop_code(struct pgl_table *table, struct pgl_leaf *leaf, uint64_t index);

/**
 * pgl_page_kill_local - kill the blocks of one page that meet a range, if none of them is on another page
 *
 * Returns false, with nothing killed, when another page is needed. *@killed says how many died.
 */
bool pgl_page_kill_local(struct pgl_table *table, struct pgl_leaf *leaf, uint64_t index, uint64_t first_addr,
                         uint64_t last_addr, size_t *killed);

/**
 * pgl_kill_range - kill what meets a byte range; the caller has fenced since it stored
 * @is_store: count the page's misses, and give it an exact map when there are many
 *
 * Returns PGL_HIT or 0.
 *
 * Locks:    entry and exit: this thread holds no page.
 */
int pgl_kill_range(struct pgl_table *table, uint64_t first_addr, uint64_t last_addr, bool is_store, const char *place);

/* Whether a store of 1 to 64 bytes lies in the table; errno is EINVAL otherwise. */
bool pgl_store_is_valid(const struct pgl_table *table, uint64_t addr, unsigned len);

#endif
