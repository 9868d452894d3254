# SPDX-License-Identifier: LGPL-2.1-or-later
"""Code pages: tables, brackets and blocks."""
import contextlib
import ctypes
import enum
import threading
from ctypes import byref, c_uint64

from .binding import (MEMBERS, ON_CODE, ON_PUBLISH, ON_RETIRED, ON_VIOLATION, Owned, Struct, callback, failed, lib,
                      raise_from_callback, size_of, this_thread)


class Kill(enum.IntFlag):
    """The answer of a store check and of the calls that invalidate."""
    HIT = 1           # the call killed at least one block
    RUNNING_DEAD = 2  # the block that was passed as running is dead


_ERROR = -0x80000000  # PGL_ERROR
BRACKET_OK, BRACKET_RESTART, BRACKET_EXISTS, BRACKET_ERROR = range(4)


class Restart(Exception):
    """The bytes that were decoded are void. The bracket holds its pages: decode again from the beginning."""


class Block(Struct):
    """A translation block with bytes at these ranges, inclusive: Block((0x7010, 0x7043)). A subclass adds its code."""

    def __init__(self, *ranges):
        super().__init__("tb")
        lib.pgl_tb_init(self)
        self.table = self.equal = None
        self.lock = threading.Lock()  # of a thread that links the block or changes its ranges
        self.set_ranges(*ranges)

    def set_ranges(self, *ranges):
        """Only while the block is not linked."""
        for first, last in ranges:
            if first > last:
                raise ValueError(f"the range ({first:#x}, {last:#x}) ends before it begins")
        with self.changes():
            self._set_ranges(*ranges)

    @contextlib.contextmanager
    def changes(self):
        """The block is not linked, and no other thread is linking it."""
        if not self.lock.acquire(blocking=False):
            raise ValueError("the block is being linked")
        try:
            if self.live:
                raise ValueError("the block is linked")
            yield
        finally:
            self.lock.release()

    def _set_ranges(self, *ranges):
        size = size_of("extent")
        extents = ctypes.create_string_buffer(size * len(ranges) + 16)
        array = -(-ctypes.addressof(extents) // 16) * 16
        for which, (first, last) in enumerate(ranges):
            lib.pgl_extent_set(array + which * size, first, last)
        lib.pgl_tb_init(self)
        lib.pgl_tb_set_extents(self, array, len(ranges))
        self.ranges, self._extents = ranges, extents

    @property
    def live(self):
        return lib.pgl_tb_is_live(self)


class Held:
    """Pages of a table that a thread holds between enter and exit, and that no other thread may release. @index is that
    of the page, or None for a bracket or a range."""

    def __init__(self, table, index=None):
        self.table, self.index = table, index
        self._entered = threading.Lock()

    def __enter__(self):
        self.table.may_wait(self.index)
        if not self._entered.acquire(blocking=False):
            raise RuntimeError("another thread has entered this")
        try:
            self._address = self.table.begin()
            try:
                value = self._acquire(self._address)
            except BaseException:
                self.table.end()
                raise
        except BaseException:
            self._entered.release()
            raise
        this_thread.held.append(self)
        return value

    def __exit__(self, *exception):
        if self._entered.locked():
            self.check_thread()
            try:
                self._release()
            finally:
                self._forget()

    def check_thread(self):
        if self not in this_thread.held:
            raise RuntimeError("another thread holds these pages: the one that began the bracket, or took the lock")

    def _forget(self):
        this_thread.held.remove(self)
        self.table.end()
        self._entered.release()


class Page(Held):
    def _acquire(self, table):
        self._page = lib.pgl_page_get(table, self.index)
        if not self._page:
            raise failed()
        lib.pgl_page_lock(table, self._page)

    def _release(self):
        lib.pgl_page_unlock(self._address, self._page)


class Range(Held):
    def __init__(self, table, first_addr, last_addr):
        super().__init__(table)
        self._struct, self._range = Struct("collection"), (first_addr, last_addr)

    def _acquire(self, table):
        if not lib.pgl_collection_lock(self._struct, table, *self._range):
            raise failed()
        index, indices = c_uint64(0), []
        while lib.pgl_collection_next(self._struct, byref(index)):
            indices.append(index.value)
            index.value += 1
        return indices

    def _release(self):
        lib.pgl_collection_unlock(self._struct)


class Bracket(Held):
    """The span in which a block is translated. Table.bracket() makes one."""

    def __init__(self, table, index):
        super().__init__(table)
        self._struct, self._first = Struct("bracket"), index

    def _acquire(self, table):
        self._indices = {self._first}
        try:
            if not lib.pgl_bracket_begin(self._struct, table, self._first):
                raise failed()
        except BaseException:
            if lib.pgl_bracket_is_open(self._struct):  # a callback has raised
                lib.pgl_bracket_abort(self._struct)
            raise
        return self

    def _release(self):
        lib.pgl_bracket_abort(self._struct)

    def _begun(self):
        if not self._entered.locked():
            raise ValueError("the bracket has ended, or has not begun")
        self.check_thread()
        return self._struct

    def _step(self, result):
        if result == BRACKET_ERROR:
            raise failed()
        if result == BRACKET_RESTART:
            raise Restart
        return result

    def cross(self, index):
        """The block goes on on another page."""
        self._step(lib.pgl_bracket_cross(self._begun(), index))
        self._indices.add(index)

    def store(self, addr, length):
        """This thread stores to guest memory."""
        self._step(lib.pgl_bracket_store(self._begun(), addr, length))

    def commit(self, block):
        """Link the block, and return it; or the one that `publish` has found in its place."""
        bits, bracket = self.table.page_bits, self._begun()
        if not block_of(block).ranges:
            raise ValueError("the block has no bytes")
        for first, last in block.ranges:
            if first >> bits != last >> bits:
                raise ValueError(f"the range ({first:#x}, {last:#x}) is on more than one page")
            if first >> bits not in self._indices:
                raise ValueError(f"the bracket does not hold page {first >> bits:#x}, on which the block has bytes")
        with block.changes():
            result = self._commit(bracket, block)
        raise_from_callback()
        return block if self._step(result) == BRACKET_OK else block.equal

    def _commit(self, bracket, block):
        block.table = self.table
        self.table.blocks[block.address] = block  # before it is linked, because another thread may kill it at once
        result = lib.pgl_bracket_commit(bracket, block, None)
        if result != BRACKET_OK:
            del self.table.blocks[block.address]
        if not lib.pgl_bracket_is_open(bracket):
            self._forget()
        return result


def block_of(argument):
    if not isinstance(argument, Block):
        raise TypeError(f"{argument!r} is no block")
    return argument


class Table(Owned):
    """A table. `first_code(index)` and `no_code(index)` set and remove a page's trap, `publish(block)` returns a block
    to use in its place or None, `retired(blocks)` is told of deaths. Other arguments are members of table_config."""

    _free = lib.pgl_table_free

    def __init__(self, page_bits=12, addr_bits=48, first_code=None, no_code=None, publish=None, retired=None,
                 **members):
        self.page_bits = page_bits
        self.blocks = {}  # the linked blocks by their addresses: nothing may free one while it is linked
        self._publish_, self._retired_ = publish, retired
        ops = Struct("tb_ops", retired=callback(ON_RETIRED, self._retired))
        if first_code:
            ops["first_code"] = callback(ON_CODE, lambda index, _: first_code(index))
        if no_code:
            ops["no_code"] = callback(ON_CODE, lambda index, _: no_code(index))
        if publish:
            ops["publish"] = callback(ON_PUBLISH, self._publish)
        self._config = Struct("table_config", page_bits=page_bits, addr_bits=addr_bits, ops=ops, **members)
        super().__init__(lib.pgl_table_new(self._config))

    def close(self):
        super().close()
        self.blocks.clear()

    def _publish(self, tb, _):
        block = self.blocks[tb]
        equal = self._publish_(block)
        if equal is not None and (block_of(equal).table is not self or not equal.live):
            raise ValueError("`publish` returned a block that is not alive on this table")
        block.equal = equal
        return equal.address if equal else None

    def _retired(self, tb, _):
        dead = []
        while tb:
            following = lib.pgl_tb_chain_next(tb)
            dead.append(self.blocks.pop(tb))
            tb = following
        if self._retired_:
            self._retired_(dead)

    def may_wait(self, index=None):
        """Raise if this thread holds what it is about to wait for. It may wait for page @index above those it holds."""
        if this_thread.callbacks:
            raise RuntimeError("a callback runs with pages locked, and cannot wait for one")
        for held in this_thread.held:
            if held.table is not self or index is None or held.index is None or index <= held.index:
                raise RuntimeError("this thread holds pages, and cannot wait for others")

    def bracket(self, index):
        """The page is held, and its bytes may be read. A bracket that is not committed is aborted at its end."""
        return Bracket(self, index)

    def locked(self, index):
        """Hold one page."""
        return Page(self, index)

    def locked_range(self, first_addr, last_addr):
        """Hold every page of a range, and of the blocks on it: their indices."""
        return Range(self, first_addr, last_addr)

    def exists(self, index):
        """Whether the page has been allocated."""
        return bool(self.call(lib.pgl_page_find, index))

    def _kill(self, call, *arguments, running):
        self.may_wait()
        answer = self.call(call, *arguments, None if running is None else block_of(running))
        if answer == _ERROR:
            raise failed()
        return Kill(answer)

    def store_check(self, addr, length, running=None):
        """After a guest store: kill the blocks that it met."""
        return self._kill(lib.pgl_store_check, addr, length, running=running)

    def is_clean(self, addr, length):
        """Whether a store there would meet no code."""
        return self.call(lib.pgl_store_is_clean, addr, length)

    def invalidate(self, block, running=None):
        if block_of(block).table not in (None, self):
            raise ValueError("the block belongs to another table")
        return self._kill(lib.pgl_invalidate_tb, block.address, running=running)

    def invalidate_page(self, index, running=None):
        return self._kill(lib.pgl_invalidate_page, index, running=running)

    def invalidate_range(self, first_addr, last_addr, running=None):
        return self._kill(lib.pgl_invalidate_range, first_addr, last_addr, running=running)

    def flush(self, running=None):
        """Kill every block."""
        return self._kill(lib.pgl_flush, running=running)

    def stats(self):
        """{"blocks": 3, ...}"""
        stats = Struct("table_stats")
        self.call(lib.pgl_table_get_stats, stats)
        return {name.partition(".")[2]: stats[name.partition(".")[2]] for name in MEMBERS
                if name.startswith("table_stats.")}

    def check(self):
        """The violated invariants of a table at rest: an empty list."""
        said = []
        self.call(lib.pgl_table_check, callback(ON_VIOLATION, lambda what, _: said.append(what.decode())), None)
        return said
