#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""one-block.c in Python: one translation block, one store beside it, and one store into it."""
import pagelock


def retired(blocks):  # out of the hash table, out of the jump caches
    for block in blocks:
        print(f"block {block.ranges[0][0]:#x} is dead")


with pagelock.Table(page_bits=12, addr_bits=48, retired=retired) as table:
    with table.bracket(0x7010 >> 12) as bracket:
        # The page is locked from here to the commit. Read the guest's bytes here, and translate them.
        block = bracket.commit(pagelock.Block((0x7010, 0x7043)))

    print("a store beside it:", int(table.store_check(0x7044, 8)))
    print("a store into it:", int(table.store_check(0x7040, 8) == pagelock.Kill.HIT))
