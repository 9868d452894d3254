# SPDX-License-Identifier: LGPL-2.1-or-later
"""libpagelock in Python, on ctypes: tables with their pages, blocks and store checks, and the advisor.

    import pagelock
    with pagelock.Table(retired=lambda blocks: print(len(blocks), "dead")) as table:
        with table.bracket(0x7010 >> 12) as bracket:
            block = bracket.commit(pagelock.Block((0x7010, 0x7043)))
        table.store_check(0x7040, 8)

The environment variable PAGELOCK_LIBRARY names the shared library; without it the dynamic linker looks for one. Nothing
is compiled: functions have their plain names, and the library says how large its structs are and where their members
lie. Whatever a header says of a function is true here. A call that fails raises OSError. Before it comes to the
library, a call raises
    ctypes.ArgumentError, OverflowError or TypeError
                  for a number that does not fit its parameter, and for an argument of another kind;
    ValueError    for a table or an advisor that was closed, and for blocks and brackets that would make the library
                  touch memory that is not its own;
    RuntimeError  where a thread would wait for itself: for most calls of one that holds pages, and in a callback; for
                  pages that another thread holds, and brackets that it has begun; and for the close() of a table with
                  held pages, or while another thread is in a call.
A callback may be called on any thread that is inside the library, with pages locked. If it raises, the library goes on
as if it had returned None, and the call that led to it raises the exception when it is done.
"""
from .binding import Struct, lib, place, read, size_of
from .code import Block, Bracket, Kill, Restart, Table
from .fault import Advisor

__all__ = ["Advisor", "Block", "Bracket", "Kill", "Restart", "Struct", "Table", "lib", "place", "read", "size_of"]
