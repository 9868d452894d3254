/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The pages of a block, which are those of the first bytes of its extents. Common code includes this. */
#ifndef EXEC_PAGELOCK_BLOCK_H
#define EXEC_PAGELOCK_BLOCK_H

#include <pagelock/block.h>

/* Return the address of the block's first byte on its first page (@which 0) or second (1), or -1. */
static inline uint64_t pagelock_page_addr(const struct pgl_tb *tb, unsigned which)
{
    return which < pgl_tb_count_extents(tb) ? pgl_tb_first_addr(tb, which) : UINT64_MAX;
}

/* Set it, to be corrected when the length of the block is known. The first page comes first, and makes the block new. */
static inline void pagelock_set_page_addr(struct pgl_tb *tb, unsigned which, uint64_t addr)
{
    if (which == 0) {
        pgl_tb_init(tb);
    }
    if (addr == UINT64_MAX) {
        pgl_tb_set_bytes(tb, which, 1, 0);
    } else {
        pgl_tb_set_bytes(tb, which, addr, addr);
    }
}

#endif
