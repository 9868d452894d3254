/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The list of a page: how an extent is put on it. tblist_internal.h says how it is laid out; kill.c takes extents off.
 */
#include "filter_internal.h"
#include "tblist_internal.h"

void pgl_list_add(struct pgl_table *table, struct pgl_leaf *leaf, uint64_t index, uintptr_t ref, bool crosses)
{
    struct pgl_page *page = pgl_leaf_page(leaf, index);
    uint64_t *map = pgl_filter_map(leaf, page, index);
    uint64_t mask = pgl_filter_cover(table, pgl_ref_span(ref), map, page->mask);

    pgl_head_set(page, pgl_list_put(page, pgl_head(page), ref, mask) | (crosses ? PGL_HEAD_CROSS : 0));
}
