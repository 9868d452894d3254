# SPDX-License-Identifier: LGPL-2.1-or-later
"""The library's structs and functions, and what is true of every call."""
import ctypes
import ctypes.util
import operator
import os
import sys
import threading
from ctypes import CFUNCTYPE, POINTER, c_bool, c_char_p, c_int, c_size_t, c_uint, c_uint64, c_void_p

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
        ctypes.memmove(self.address + offset, operator.index(value).to_bytes(size, sys.byteorder), size)


# ---- functions ----

class _Thread(threading.local):
    """A thread's own: how many callbacks it is in, an exception of one, and the pages it holds."""

    def __init__(self):
        self.callbacks, self.exception, self.held = 0, None, []


this_thread = _Thread()


def callback(prototype, function):
    """A function for the library, which does not know exceptions: they wait for the end of the call."""
    def guarded(*arguments):
        this_thread.callbacks += 1
        try:
            return function(*arguments)
        except BaseException as exception:
            this_thread.exception = this_thread.exception or exception
        finally:
            this_thread.callbacks -= 1
        return 0 if prototype._restype_ else None

    return prototype(guarded)


def raise_from_callback(result=None, *_):
    """Raise the exception of a callback, if there was one, behind each function. ctypes calls this."""
    if this_thread.exception and not this_thread.callbacks:
        exception, this_thread.exception = this_thread.exception, None
        raise exception
    return result


class U64(c_uint64):
    """An argument of 64 bits. ctypes would cut a larger number, and a negative one, without a word."""

    @classmethod
    def from_param(cls, value):
        if not 0 <= operator.index(value) < 1 << 64:
            raise OverflowError(f"{value} is no number of 64 bits")
        return c_uint64(value)


def bind(result, name, *arguments, errcheck=raise_from_callback):
    function = getattr(lib, name)
    function.restype, function.argtypes, function.errcheck = result, arguments, errcheck


TABLE = PAGE = TB = BRACKET = COLLECTION = ADVISOR = c_void_p
bind(c_char_p, "pgl_version")
bind(TABLE, "pgl_table_new", c_void_p)
bind(None, "pgl_table_free", TABLE)
bind(c_uint, "pgl_table_check", TABLE, c_void_p, c_void_p)
bind(None, "pgl_table_get_stats", TABLE, c_void_p)
bind(PAGE, "pgl_page_find", TABLE, U64)
bind(PAGE, "pgl_page_get", TABLE, U64)
bind(None, "pgl_page_lock", TABLE, PAGE)
bind(c_bool, "pgl_page_trylock", TABLE, PAGE)
bind(None, "pgl_page_unlock", TABLE, PAGE)
bind(c_bool, "pgl_collection_lock", COLLECTION, TABLE, U64, U64)
bind(None, "pgl_collection_unlock", COLLECTION)
bind(PAGE, "pgl_collection_next", COLLECTION, POINTER(c_uint64))
bind(c_bool, "pgl_bracket_begin", BRACKET, TABLE, U64)
# An exception of a callback waits until the commit knows what it has done.
bind(c_bool, "pgl_bracket_is_open", BRACKET, errcheck=lambda result, *_: result)
bind(c_int, "pgl_bracket_cross", BRACKET, U64)
bind(c_int, "pgl_bracket_store", BRACKET, U64, U64)
bind(c_int, "pgl_bracket_commit", BRACKET, TB, POINTER(c_void_p), errcheck=lambda result, *_: result)
bind(None, "pgl_bracket_abort", BRACKET)
bind(None, "pgl_tb_init", TB)
bind(None, "pgl_extent_set", c_void_p, U64, U64)
bind(None, "pgl_tb_set_extents", TB, c_void_p, c_uint)
bind(c_bool, "pgl_tb_is_live", TB)
bind(TB, "pgl_tb_chain_next", TB)
bind(c_int, "pgl_invalidate_tb", TABLE, TB, TB)
bind(c_int, "pgl_invalidate_range", TABLE, U64, U64, TB)
bind(c_int, "pgl_invalidate_page", TABLE, U64, TB)
bind(c_int, "pgl_flush", TABLE, TB)
bind(c_bool, "pgl_store_is_clean", TABLE, U64, U64)
bind(c_int, "pgl_store_check", TABLE, U64, U64, TB)
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


def failed():
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))


class Owned:
    """An object of the library's, until close(). The library does not survive NULL in its place."""

    _free = None

    def __init__(self, address):
        if not address:
            raise failed()
        self._address, self._users, self._lock = address, 0, threading.Lock()

    def begin(self):
        """The address. The object is not closed before end()."""
        with self._lock:
            if not self._address:
                raise ValueError(f"the {type(self).__name__} is closed")
            self._users += 1
            return self._address

    def end(self):
        with self._lock:
            self._users -= 1

    def call(self, function, *arguments):
        address = self.begin()
        try:
            return function(address, *arguments)
        finally:
            self.end()

    def close(self):
        if this_thread.callbacks:
            raise RuntimeError("a callback cannot close what calls it")
        with self._lock:
            if self._users:
                raise RuntimeError(f"the {type(self).__name__} is in use: pages are held, or another thread calls it")
            address, self._address = self._address, None
        if address:
            self._free(address)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()
