# SPDX-License-Identifier: LGPL-2.1-or-later
"""libpagelock in Python, on ctypes: tables with their pages, blocks and store checks, and the advisor.

    import pagelock
    with pagelock.Table(retired=lambda blocks: print(len(blocks), "dead")) as table:
        with table.bracket(0x7010 >> 12) as bracket:
            block = bracket.commit(pagelock.Block((0x7010, 0x7043)))
        table.store_check(0x7040, 8)

The environment variable PAGELOCK_LIBRARY names the shared library; without it the dynamic linker looks for one. Nothing
is compiled: functions have their plain names, and the library says how large its structs are and where their members
lie. Whatever a header says of a function is true here; a call that fails raises OSError. ValueError is raised for a
table or an advisor that was closed, and for blocks and brackets that would make the library touch memory that is not
its own. A callback may be called on any thread that is inside the library, with pages locked; it must not raise.
"""
import contextlib
import ctypes
import ctypes.util
import enum
import os
import sys
from ctypes import CFUNCTYPE, POINTER, byref, c_bool, c_char_p, c_int, c_size_t, c_uint, c_uint64, c_void_p

lib = ctypes.CDLL(os.environ.get("PAGELOCK_LIBRARY") or ctypes.util.find_library("pagelock") or "libpagelock.so",
                  use_errno=True)


# ---- structs, by the library's own description of them ----

class _Member(ctypes.Structure):
    _fields_ = [("name", c_char_p), ("offset", c_size_t), ("size", c_size_t)]


def _members():
    found = {}
    entry = ctypes.addressof(_Member.in_dll(lib, "pgl_members"))
    while _Member.from_address(entry).name:
        member = _Member.from_address(entry)
        assert member.name.decode() not in found
        found[member.name.decode()] = (member.offset, member.size)
        entry += ctypes.sizeof(_Member)
    return found


MEMBERS = _members()  # {"table_config.ops": (offset, size), ...}
_PARTS = {"cluster_args.row": "advice_row", "cluster_args.eligible": "eligible",
          "object_config.pager_range": "pager_range", "object_config.costs": "costs",
          "request.range": "pager_range", "map_entry.view": "view"}  # structs that are members of others


def place(struct, member):
    """(offset, size) of a member, also of a part: place("cluster_args", "row.before")."""
    first, _, rest = member.partition(".")
    offset, size = MEMBERS[f"{struct}.{first}"]
    if rest:
        inner, size = place(_PARTS[f"{struct}.{first}"], rest)
        offset += inner
    return offset, size


def size_of(struct):
    return c_size_t.in_dll(lib, "pgl_sizeof_" + struct).value


def read(address, struct, member):
    """A member of a struct at an address, as a number."""
    offset, size = place(struct, member)
    return int.from_bytes(ctypes.string_at(address + offset, size), sys.byteorder)


class Struct:
    """A struct of the caller's, zeroed: Struct("costs", fault_ns=3200). Members of parts: {"row.before": 8}."""

    def __init__(self, struct, parts=(), **values):
        self.struct, self._kept = struct, {}
        align = c_size_t.in_dll(lib, "pgl_alignof_tb").value  # the largest there is
        self._buffer = ctypes.create_string_buffer(size_of(struct) + align)
        self._as_parameter_ = c_void_p(-(-ctypes.addressof(self._buffer) // align) * align)
        self.address = self._as_parameter_.value
        for member, value in {**values, **dict(parts)}.items():
            self[member] = value

    def __getitem__(self, member):
        return read(self.address, self.struct, member)

    def __setitem__(self, member, value):
        offset, size = place(self.struct, member)
        self._kept[member] = value  # the library keeps pointers; nothing may free what they point to
        if isinstance(value, Struct):
            value = value.address
        elif isinstance(value, ctypes._CFuncPtr):
            value = ctypes.cast(value, c_void_p).value
        ctypes.memmove(self.address + offset, int(value).to_bytes(size, sys.byteorder), size)


# ---- functions ----

def bind(result, name, *arguments):
    function = getattr(lib, name)
    function.restype, function.argtypes = result, arguments


TABLE = PAGE = TB = BRACKET = COLLECTION = ADVISOR = c_void_p
bind(c_char_p, "pgl_version")
bind(TABLE, "pgl_table_new", c_void_p)
bind(None, "pgl_table_free", TABLE)
bind(c_uint, "pgl_table_check", TABLE, c_void_p, c_void_p)
bind(None, "pgl_table_get_stats", TABLE, c_void_p)
bind(PAGE, "pgl_page_find", TABLE, c_uint64)
bind(PAGE, "pgl_page_get", TABLE, c_uint64)
bind(None, "pgl_page_lock", TABLE, PAGE)
bind(c_bool, "pgl_page_trylock", TABLE, PAGE)
bind(None, "pgl_page_unlock", TABLE, PAGE)
bind(c_bool, "pgl_collection_lock", COLLECTION, TABLE, c_uint64, c_uint64)
bind(None, "pgl_collection_unlock", COLLECTION)
bind(PAGE, "pgl_collection_next", COLLECTION, POINTER(c_uint64))
bind(c_bool, "pgl_bracket_begin", BRACKET, TABLE, c_uint64)
bind(c_bool, "pgl_bracket_is_open", BRACKET)
bind(c_int, "pgl_bracket_cross", BRACKET, c_uint64)
bind(c_int, "pgl_bracket_store", BRACKET, c_uint64, c_uint64)
bind(c_int, "pgl_bracket_commit", BRACKET, TB, POINTER(c_void_p))
bind(None, "pgl_bracket_abort", BRACKET)
bind(None, "pgl_tb_init", TB)
bind(None, "pgl_tb_set_bytes", TB, c_uint, c_uint64, c_uint64)
bind(None, "pgl_extent_set", c_void_p, c_uint64, c_uint64)
bind(None, "pgl_tb_set_extents", TB, c_void_p, c_uint)
bind(c_bool, "pgl_tb_is_live", TB)
bind(TB, "pgl_tb_chain_next", TB)
bind(c_int, "pgl_invalidate_tb", TABLE, TB, TB)
bind(c_int, "pgl_invalidate_range", TABLE, c_uint64, c_uint64, TB)
bind(c_int, "pgl_invalidate_page", TABLE, c_uint64, TB)
bind(c_int, "pgl_flush", TABLE, TB)
bind(c_bool, "pgl_store_is_clean", TABLE, c_uint64, c_uint64)
bind(c_int, "pgl_store_check", TABLE, c_uint64, c_uint64, TB)
bind(ADVISOR, "pgl_advisor_new", c_void_p)
bind(None, "pgl_advisor_free", ADVISOR)
bind(c_bool, "pgl_advisor_set_costs", ADVISOR, c_void_p)
bind(c_int, "pgl_advisor_decide", ADVISOR, c_void_p, c_void_p)
bind(c_char_p, "pgl_reason_name", c_int)
bind(c_char_p, "pgl_costs_explain", c_void_p)

ON_CODE = CFUNCTYPE(None, c_uint64, c_void_p)
ON_PUBLISH = CFUNCTYPE(TB, TB, c_void_p)
ON_RETIRED = CFUNCTYPE(None, TB, c_void_p)
ON_VIOLATION = CFUNCTYPE(None, c_char_p, c_void_p)
ON_PAGE = CFUNCTYPE(c_bool, c_void_p, c_uint64)


def _failed():
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))


class Owned:
    """An object of the library's, until close(). The library does not survive NULL in its place."""

    _address, _free = None, None

    @property
    def address(self):
        if not self._address:
            raise ValueError(f"the {type(self).__name__} is closed")
        return self._address

    def close(self):
        if self._address:
            self._free(self._address)
            self._address = None

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()


# ---- code pages ----

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
        self.set_ranges(*ranges)

    def set_ranges(self, *ranges):
        """Only while the block is not linked."""
        if self.live or not all(first <= last for first, last in ranges):
            raise ValueError("a range that ends before it begins, or a block that is linked")
        self.ranges = ranges
        if len(ranges) <= 2:
            for which, (first, last) in enumerate(ranges):
                lib.pgl_tb_set_bytes(self, which, first, last)
            return
        size = size_of("extent")
        self._extents = ctypes.create_string_buffer(size * len(ranges) + 16)
        array = -(-ctypes.addressof(self._extents) // 16) * 16
        for which, (first, last) in enumerate(ranges):
            lib.pgl_extent_set(array + which * size, first, last)
        lib.pgl_tb_set_extents(self, array, len(ranges))

    @property
    def live(self):
        return lib.pgl_tb_is_live(self)


class Bracket:
    """The span in which a block is translated. Table.bracket() makes one."""

    def __init__(self, table, index):
        self._table, self._struct, self._indices = table, Struct("bracket"), {index}
        if not lib.pgl_bracket_begin(self._struct, table.address, index):
            raise _failed()

    def _begun(self):
        if not lib.pgl_bracket_is_open(self._struct):
            raise ValueError("the bracket has ended")
        return self._struct

    def _step(self, result):
        if result == BRACKET_ERROR:
            raise _failed()
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
        blocks, bits = self._table.blocks, self._table.page_bits
        if block.live or not block.ranges or any(
                first >> bits != last >> bits or first >> bits not in self._indices for first, last in block.ranges):
            raise ValueError("the block is linked, has no bytes, or has some on a page that the bracket does not hold")
        bracket = self._begun()
        blocks[block.address] = block  # before it is linked, because another thread may kill it at once
        result = lib.pgl_bracket_commit(bracket, block, None)
        if result != BRACKET_OK:
            del blocks[block.address]
        return block if self._step(result) == BRACKET_OK else block.equal

    def end(self):
        if lib.pgl_bracket_is_open(self._struct):
            lib.pgl_bracket_abort(self._struct)


class Table(Owned):
    """A table. `first_code(index)` and `no_code(index)` set and remove a page's trap, `publish(block)` returns a block
    to use in its place or None, `retired(blocks)` is told of deaths. Other arguments are members of table_config."""

    _free = lib.pgl_table_free

    def __init__(self, page_bits=12, addr_bits=48, first_code=None, no_code=None, publish=None, retired=None,
                 **members):
        self.page_bits = page_bits
        self.blocks = {}  # the linked blocks by their addresses: nothing may free one while it is linked
        self._publish_, self._retired_ = publish, retired
        ops = Struct("tb_ops", retired=ON_RETIRED(self._retired))
        if first_code:
            ops["first_code"] = ON_CODE(lambda index, _: first_code(index))
        if no_code:
            ops["no_code"] = ON_CODE(lambda index, _: no_code(index))
        if publish:
            ops["publish"] = ON_PUBLISH(self._publish)
        self._config = Struct("table_config", page_bits=page_bits, addr_bits=addr_bits, ops=ops, **members)
        self._address = lib.pgl_table_new(self._config)
        if not self._address:
            raise _failed()

    def close(self):
        super().close()
        self.blocks.clear()

    def _publish(self, tb, _):
        block = self.blocks[tb]
        block.equal = self._publish_(block)
        return block.equal.address if block.equal else None

    def _retired(self, tb, _):
        dead = []
        while tb:
            following = lib.pgl_tb_chain_next(tb)
            dead.append(self.blocks.pop(tb))
            tb = following
        if self._retired_:
            self._retired_(dead)

    @contextlib.contextmanager
    def bracket(self, index):
        """The page is held, and its bytes may be read. A bracket that is not committed is aborted at its end."""
        bracket = Bracket(self, index)
        try:
            yield bracket
        finally:
            bracket.end()

    @contextlib.contextmanager
    def locked(self, index):
        """Hold one page."""
        page = lib.pgl_page_get(self.address, index)
        if not page:
            raise _failed()
        lib.pgl_page_lock(self.address, page)
        try:
            yield
        finally:
            lib.pgl_page_unlock(self.address, page)

    def exists(self, index):
        """Whether the page has been allocated."""
        return bool(lib.pgl_page_find(self.address, index))

    @contextlib.contextmanager
    def locked_range(self, first_addr, last_addr):
        """Hold every page of a range, and of the blocks on it: their indices."""
        collection, index, indices = Struct("collection"), c_uint64(0), []
        if not lib.pgl_collection_lock(collection, self.address, first_addr, last_addr):
            raise _failed()
        try:
            while lib.pgl_collection_next(collection, byref(index)):
                indices.append(index.value)
                index.value += 1
            yield indices
        finally:
            lib.pgl_collection_unlock(collection)

    @staticmethod
    def _kill(answer):
        if answer == _ERROR:
            raise _failed()
        return Kill(answer)

    def store_check(self, addr, length, running=None):
        """After a guest store: kill the blocks that it met."""
        return self._kill(lib.pgl_store_check(self.address, addr, length, running))

    def is_clean(self, addr, length):
        """Whether a store there would meet no code."""
        return lib.pgl_store_is_clean(self.address, addr, length)

    def invalidate(self, block, running=None):
        return self._kill(lib.pgl_invalidate_tb(self.address, block.address, running))

    def invalidate_page(self, index, running=None):
        return self._kill(lib.pgl_invalidate_page(self.address, index, running))

    def invalidate_range(self, first_addr, last_addr, running=None):
        return self._kill(lib.pgl_invalidate_range(self.address, first_addr, last_addr, running))

    def flush(self, running=None):
        """Kill every block."""
        return self._kill(lib.pgl_flush(self.address, running))

    def stats(self):
        """{"blocks": 3, ...}"""
        stats = Struct("table_stats")
        lib.pgl_table_get_stats(self.address, stats)
        return {name.partition(".")[2]: stats[name.partition(".")[2]] for name in MEMBERS
                if name.startswith("table_stats.")}

    def check(self):
        """The violated invariants of a table at rest: an empty list."""
        said = []
        lib.pgl_table_check(self.address, ON_VIOLATION(lambda what, _: said.append(what.decode())), None)
        return said


# ---- faulting pages ----

class Advisor(Owned):
    """Chooses which absent neighbours to fetch with a page, and learns from the order of the faults. The costs, in
    nanoseconds, are those of a request and of each page that it fetches; 0: not known."""

    _free = lib.pgl_advisor_free

    def __init__(self, fault_ns=0, page_ns=0):
        self._address = lib.pgl_advisor_new(self._costs(fault_ns, page_ns))
        if not self._address:
            raise _failed()

    @staticmethod
    def _costs(fault_ns, page_ns):
        costs = Struct("costs", fault_ns=fault_ns, page_ns=page_ns)
        why = lib.pgl_costs_explain(costs)
        if why:
            raise ValueError(why.decode())
        return costs

    def set_costs(self, fault_ns, page_ns):
        if not lib.pgl_advisor_set_costs(self.address, self._costs(fault_ns, page_ns)):
            raise _failed()

    def decide(self, demand, last, absent=None, before=63, after=63, budget=63):
        """(reason, first page, last page) for a fault on page @demand of [0, @last]: "start", "up", ... The function
        absent(page) says which pages may be fetched with it; without one, all."""
        args, cluster = Struct("cluster_args", demand=demand, object_last=last, budget=budget), Struct("cluster")
        args["row.before"], args["row.after"] = before, after
        if absent:
            args["eligible.page"] = ON_PAGE(lambda _, page: absent(page))
        reason = lib.pgl_reason_name(lib.pgl_advisor_decide(self.address, args, cluster)).decode()
        if reason == "outside":
            raise IndexError(demand)
        return reason, cluster["first"], cluster["last"]
