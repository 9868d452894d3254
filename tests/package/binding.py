#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Usage: binding.py LIBRARY INCLUDE: drives the shared library from another language, with no compiler: functions under
their plain names, memory and members by the library's constants. The headers in INCLUDE say which there must be."""
import ctypes
import errno
import pathlib
import re
import sys
import threading
import unittest
from ctypes import CFUNCTYPE, POINTER, byref, c_bool, c_char_p, c_int, c_size_t, c_uint, c_uint64, c_void_p

LIBRARY, INCLUDE = sys.argv.pop(1), pathlib.Path(sys.argv.pop(1))

# ---- what the headers say ----

HEADERS = re.sub(r"/\*.*?\*/", "", "\n".join(path.read_text() for path in sorted(INCLUDE.glob("pagelock/*.h"))),
                 flags=re.DOTALL)
CONSTANTS = {name: int(value, 0)
             for name, value in re.findall(r"^#define (PGL_\w+) (\d\w*?)u? *$", HEADERS, re.MULTILINE)}
for body in re.findall(r"^enum pgl_\w+ \{(.*?)\}", HEADERS, re.MULTILINE | re.DOTALL):
    value = -1
    for item in filter(None, (item.strip() for item in body.split(","))):
        name, _, given = item.partition(" = ")
        value = int(given, 0) if given else value + 1
        CONSTANTS[name] = value


def declared_members():
    """{"table_config.ops", ...}: each member of each struct that a caller fills in or reads. The structs whose members
    are private stand in inline/*.h."""
    found = set()
    for struct, body in re.findall(r"^struct pgl_(\w+) \{\n(.*?)^\}", HEADERS, re.MULTILINE | re.DOTALL):
        if struct == "member":
            continue
        for declaration in filter(None, (part.strip() for part in body.split(";"))):
            pointer = re.search(r"\(\*(\w+)\)\(", declaration)
            names = [pointer.group(1)] if pointer else re.findall(r"(\w+)(?:\[\w+\])?(?:,|$)", declaration)
            found.update(f"{struct}.{name}" for name in names)
    return found


# ---- the binding ----

class Member(ctypes.Structure):
    _fields_ = [("name", c_char_p), ("offset", c_size_t), ("size", c_size_t)]


class Range(ctypes.Structure):  # struct pgl_pager_range, which is passed by value
    _fields_ = [("first", c_uint64), ("last", c_uint64)]


lib = ctypes.CDLL(LIBRARY, use_errno=True)


def members():
    """{"table_config.ops": (offset, size), ...}"""
    found = {}
    entry = ctypes.addressof(Member.in_dll(lib, "pgl_members"))
    while Member.from_address(entry).name:
        member = Member.from_address(entry)
        assert member.name.decode() not in found
        found[member.name.decode()] = (member.offset, member.size)
        entry += ctypes.sizeof(Member)
    return found


MEMBERS = members()


def size_of(struct):
    return c_size_t.in_dll(lib, "pgl_sizeof_" + struct).value


class Memory:
    """A struct of the caller's, zeroed."""

    def __init__(self, struct, **values):
        self.struct, self.kept = struct, []
        align = c_size_t.in_dll(lib, "pgl_alignof_tb").value  # the largest there is
        self.buffer = ctypes.create_string_buffer(size_of(struct) + align)
        self._as_parameter_ = c_void_p(-(-ctypes.addressof(self.buffer) // align) * align)
        self.address = self._as_parameter_.value
        for member, value in values.items():
            self[member] = value

    def __getitem__(self, member):
        return read(self.address, self.struct, member)

    def __setitem__(self, member, value):
        offset, size = MEMBERS[f"{self.struct}.{member}"]
        self.kept.append(value)
        if isinstance(value, Memory):
            value = value.address
        elif isinstance(value, ctypes._CFuncPtr):
            value = ctypes.cast(value, c_void_p).value
        ctypes.memmove(self.address + offset, int(value).to_bytes(size, sys.byteorder), size)


def read(address, struct, member):
    """A member of a struct of the library's, as a number."""
    offset, size = MEMBERS[f"{struct}.{member}"]
    return int.from_bytes(ctypes.string_at(address + offset, size), sys.byteorder)


def bind(result, name, *arguments):
    function = getattr(lib, name)
    function.restype, function.argtypes = result, arguments


TABLE = PAGE = TB = BRACKET = STORE = COLLECTION = OBJECT = MAP = FAULT = c_void_p
bind(TABLE, "pgl_table_new", c_void_p)
bind(None, "pgl_table_free", TABLE)
bind(c_uint, "pgl_table_check", TABLE, c_void_p, c_void_p)
bind(None, "pgl_table_get_stats", TABLE, c_void_p)
bind(PAGE, "pgl_page_find", TABLE, c_uint64)
bind(PAGE, "pgl_page_get", TABLE, c_uint64)
bind(None, "pgl_page_lock", TABLE, PAGE)
bind(c_bool, "pgl_page_trylock", TABLE, PAGE)
bind(None, "pgl_page_unlock", TABLE, PAGE)
bind(c_bool, "pgl_bracket_begin", BRACKET, TABLE, c_uint64)
bind(c_bool, "pgl_bracket_is_open", BRACKET)
bind(c_int, "pgl_bracket_cross", BRACKET, c_uint64)
bind(c_int, "pgl_bracket_store", BRACKET, c_uint64, c_uint64)
bind(c_int, "pgl_bracket_commit", BRACKET, TB, POINTER(c_void_p))
bind(None, "pgl_bracket_abort", BRACKET)
bind(None, "pgl_tb_init", TB)
bind(None, "pgl_tb_set_bytes", TB, c_uint, c_uint64, c_uint64)
bind(c_bool, "pgl_tb_is_live", TB)
bind(c_bool, "pgl_cache_tb", POINTER(c_void_p), TB)
bind(TB, "pgl_tb_chain_next", TB)
bind(c_int, "pgl_invalidate_tb", TABLE, TB, TB)
bind(c_int, "pgl_flush", TABLE, TB)
bind(c_bool, "pgl_store_is_clean", TABLE, c_uint64, c_uint64)
bind(c_int, "pgl_store_check", TABLE, c_uint64, c_uint64, TB)
for bits, c_value in ((8, ctypes.c_uint8), (16, ctypes.c_uint16), (32, ctypes.c_uint32), (64, c_uint64)):
    bind(c_int, "pgl_store_u%d" % bits, TABLE, c_void_p, c_uint64, c_value, TB)
bind(c_int, "pgl_store_begin", STORE, TABLE, c_uint64, c_uint64, TB)
bind(c_int, "pgl_store_begin_pair", STORE, TABLE, c_uint64, c_uint64, c_uint64, c_uint64, TB)
bind(None, "pgl_store_end", STORE)
bind(c_bool, "pgl_collection_lock", COLLECTION, TABLE, c_uint64, c_uint64)
bind(None, "pgl_collection_unlock", COLLECTION)
bind(PAGE, "pgl_collection_next", COLLECTION, POINTER(c_uint64))
bind(c_uint64, "pgl_collection_max", COLLECTION)
bind(None, "pgl_fence")
bind(c_bool, "pgl_has_lock_debug")
bind(None, "pgl_witness_set_hook", c_void_p, c_void_p)
bind(OBJECT, "pgl_object_new", c_void_p)
bind(None, "pgl_object_unref", OBJECT)
bind(c_bool, "pgl_object_resident", OBJECT, c_uint64)
bind(c_uint64, "pgl_pager_supply", OBJECT, c_uint64, Range, c_void_p, c_int)
bind(FAULT, "pgl_fault_new")
bind(None, "pgl_fault_free", FAULT)
bind(c_int, "pgl_fault_run", FAULT, c_void_p, c_void_p)
bind(c_bool, "pgl_cluster_decide", c_void_p, c_void_p)

ON_CODE = CFUNCTYPE(None, c_uint64, c_void_p)
ON_PUBLISH = CFUNCTYPE(c_void_p, TB, c_void_p)
ON_RETIRED = CFUNCTYPE(None, TB, c_void_p)
ON_BREACH = CFUNCTYPE(None, c_void_p, c_void_p)
ON_REQUEST = CFUNCTYPE(c_int, c_void_p, c_void_p)

HIT, RUNNING_DEAD = CONSTANTS["PGL_HIT"], CONSTANTS["PGL_RUNNING_DEAD"]
OK, EXISTS, RESTART = (CONSTANTS["PGL_BRACKET_" + name] for name in ("OK", "EXISTS", "RESTART"))


class Emulator:
    """A table, and what its callbacks were called with."""

    def __init__(self):
        self.log, self.blocks, self.equal = [], [], None
        self.ops = Memory("tb_ops", first_code=ON_CODE(lambda index, _: self.log.append(("first_code", index))),
                          no_code=ON_CODE(lambda index, _: self.log.append(("no_code", index))),
                          publish=ON_PUBLISH(lambda tb, _: self.equal), retired=ON_RETIRED(self.retired))
        self.table = lib.pgl_table_new(Memory("table_config", page_bits=12, addr_bits=48, ops=self.ops))
        assert self.table

    def retired(self, tb, _):
        while tb:
            self.log.append(("retired", tb))
            tb = lib.pgl_tb_chain_next(tb)

    def page(self, index):
        return lib.pgl_page_get(self.table, index)

    def translate(self, *extents):
        """A block of these bytes, and the answer of the commit."""
        tb, bracket, equal = Memory("tb"), Memory("bracket"), c_void_p()
        assert lib.pgl_bracket_begin(bracket, self.table, extents[0][0] >> 12)
        lib.pgl_tb_init(tb)
        for which, (first, last) in enumerate(extents):
            if which:
                assert lib.pgl_bracket_cross(bracket, first >> 12) == OK
            lib.pgl_tb_set_bytes(tb, which, first, last)
        result = lib.pgl_bracket_commit(bracket, tb, byref(equal))
        assert equal.value == (self.equal or tb.address)
        self.blocks.append(tb)  # nothing may free it while it is linked
        return tb, result

    def events(self):
        log, self.log = self.log, []
        return log


class Layout(unittest.TestCase):
    def test_layout_names_each_member_of_the_headers(self):
        self.assertEqual(set(MEMBERS), declared_members())  # or src/layout.c lacks one

    def test_layout_has_a_place_for_each_member(self):
        ends = {}
        for name, (offset, size) in sorted(MEMBERS.items(), key=lambda item: (item[0].split(".")[0], item[1])):
            struct = name.split(".")[0]
            self.assertGreaterEqual(offset, ends.get(struct, 0), name)
            self.assertGreater(size, 0)
            ends[struct] = offset + size
        sizes = set(re.findall(r"pgl_sizeof_(\w+)", HEADERS))
        for struct in sizes:
            self.assertGreaterEqual(size_of(struct), ends.get(struct, 1), struct)
        # A struct without a size of its own is part of another, by value, or comes from the library.
        self.assertEqual(set(ends) - sizes,
                         {"advice_row", "breach", "eligible", "fault_counts", "pager_range", "request"})


class CodePages(unittest.TestCase):
    def setUp(self):
        self.emulator = Emulator()
        self.table = self.emulator.table

    def tearDown(self):
        self.assertEqual(lib.pgl_table_check(self.table, None, None), 0)
        lib.pgl_table_free(self.table)

    def test_table_of_bad_size_is_refused(self):
        ctypes.set_errno(0)
        self.assertIsNone(lib.pgl_table_new(Memory("table_config", page_bits=9, addr_bits=48)))
        self.assertEqual(ctypes.get_errno(), errno.EINVAL)

    def test_block_lives_until_its_bytes_are_stored_to(self):
        tb, result = self.emulator.translate((0x7010, 0x7043))
        self.assertEqual(result, OK)
        self.assertTrue(lib.pgl_tb_is_live(tb))
        self.assertEqual(self.emulator.events(), [("first_code", 7)])
        self.assertTrue(lib.pgl_store_is_clean(self.table, 0x7080, 8))
        self.assertEqual(lib.pgl_store_check(self.table, 0x7044, 8, tb), 0)
        self.assertEqual(self.emulator.events(), [])
        self.assertFalse(lib.pgl_store_is_clean(self.table, 0x7040, 8))
        self.assertEqual(lib.pgl_store_check(self.table, 0x7040, 8, tb), HIT | RUNNING_DEAD)
        self.assertFalse(lib.pgl_tb_is_live(tb))
        self.assertEqual(self.emulator.events(), [("retired", tb.address), ("no_code", 7)])
        self.assertEqual(lib.pgl_store_check(self.table, 0x7040, 8, None), 0)

    def test_block_is_killed_once(self):
        tb, _ = self.emulator.translate((0x7010, 0x7043))
        self.emulator.events()
        self.assertEqual(lib.pgl_invalidate_tb(self.table, tb, None), HIT)
        self.assertEqual(lib.pgl_invalidate_tb(self.table, tb, tb), RUNNING_DEAD)
        self.assertEqual(self.emulator.events(), [("retired", tb.address), ("no_code", 7)])

    def test_equal_block_is_found(self):
        tb, _ = self.emulator.translate((0x7010, 0x7043))
        self.emulator.equal = tb.address
        again, result = self.emulator.translate((0x7010, 0x7043))
        self.assertEqual(result, EXISTS)
        self.assertFalse(lib.pgl_tb_is_live(again))
        self.assertEqual(lib.pgl_flush(self.table, None), HIT)

    def test_store_in_a_bracket_restarts_it(self):
        bracket, tb = Memory("bracket"), Memory("tb")
        self.assertTrue(lib.pgl_bracket_begin(bracket, self.table, 7))
        lib.pgl_tb_init(tb)
        lib.pgl_tb_set_bytes(tb, 0, 0x7010, 0x7043)
        self.assertEqual(lib.pgl_bracket_store(bracket, 0x7010, 8), RESTART)
        self.assertEqual(lib.pgl_bracket_commit(bracket, tb, None), RESTART)
        lib.pgl_bracket_abort(bracket)
        self.assertEqual(self.emulator.events()[-1], ("no_code", 7))

    def test_store_bracket_keeps_its_page(self):
        store = Memory("store")
        tb, _ = self.emulator.translate((0x7010, 0x7043))
        self.assertEqual(lib.pgl_store_begin(store, self.table, 0x7040, 8, None), HIT)
        self.assertFalse(self.try_elsewhere(7))
        lib.pgl_store_end(store)
        self.assertTrue(self.try_elsewhere(7))
        self.assertFalse(lib.pgl_tb_is_live(tb))

    def test_store_bracket_over_two_places_keeps_both_pages(self):
        store = Memory("store")
        low, _ = self.emulator.translate((0x7010, 0x7043))
        high, _ = self.emulator.translate((0x9010, 0x9043))
        self.assertEqual(lib.pgl_store_begin_pair(store, self.table, 0x9040, 8, 0x7040, 8, None), HIT)
        self.assertFalse(self.try_elsewhere(7))
        self.assertFalse(self.try_elsewhere(9))
        lib.pgl_store_end(store)
        self.assertFalse(lib.pgl_tb_is_live(low))
        self.assertFalse(lib.pgl_tb_is_live(high))

    def test_store_of_a_value_kills_and_stores(self):
        for bits, c_value in ((8, ctypes.c_uint8), (16, ctypes.c_uint16), (32, ctypes.c_uint32), (64, c_uint64)):
            guest, value = c_value(0), (1 << bits) - 2
            tb, _ = self.emulator.translate((0x7010, 0x7043))
            store = getattr(lib, "pgl_store_u%d" % bits)
            self.assertEqual(store(self.table, byref(guest), 0x7040, value, tb), HIT | RUNNING_DEAD)
            self.assertEqual(guest.value, value)

    def test_dead_block_is_not_cached(self):
        slot = c_void_p(0)
        tb, _ = self.emulator.translate((0x7010, 0x7043))
        self.assertTrue(lib.pgl_cache_tb(byref(slot), tb))
        self.assertEqual(slot.value, tb.address)
        lib.pgl_flush(self.table, None)
        self.assertFalse(lib.pgl_cache_tb(byref(slot), tb))
        self.assertIsNone(slot.value)

    def test_collection_holds_the_pages_of_its_blocks(self):
        collection, index, seen = Memory("collection"), c_uint64(0), []
        self.emulator.translate((0x7ff0, 0x7fff), (0x9000, 0x9003))
        self.assertTrue(lib.pgl_collection_lock(collection, self.table, 0x7000, 0x7fff))
        self.assertEqual(lib.pgl_collection_max(collection), 9)
        while lib.pgl_collection_next(collection, byref(index)):
            seen.append(index.value)
            index.value += 1
        self.assertEqual(seen, [7, 9])
        self.assertFalse(self.try_elsewhere(9))
        lib.pgl_collection_unlock(collection)
        self.assertTrue(self.try_elsewhere(9))
        lib.pgl_flush(self.table, None)

    def test_bad_arguments_are_refused(self):
        for addr, length in ((1 << 48, 1), ((1 << 48) - 1, 2)):
            ctypes.set_errno(0)
            answer = lib.pgl_store_check(self.table, addr, length, None)
            self.assertTrue(answer and not answer & (HIT | RUNNING_DEAD))
            self.assertEqual(ctypes.get_errno(), errno.EINVAL)
        ctypes.set_errno(0)
        self.assertFalse(lib.pgl_bracket_begin(Memory("bracket"), self.table, 1 << 36))
        self.assertEqual(ctypes.get_errno(), errno.EINVAL)
        self.assertIsNone(lib.pgl_page_find(self.table, 1 << 36))

    def try_elsewhere(self, index):
        """Whether another thread can lock a page."""
        answers = []

        def attempt():
            answers.append(lib.pgl_page_trylock(self.table, self.emulator.page(index)))
            if answers[0]:
                lib.pgl_page_unlock(self.table, self.emulator.page(index))

        thread = threading.Thread(target=attempt)
        thread.start()
        thread.join()
        return answers[0]

    def test_page_lock_waits_for_another_thread(self):
        page, unlocking, seen = self.emulator.page(5), threading.Event(), []

        def wait():
            lib.pgl_page_lock(self.table, page)
            seen.append(unlocking.is_set())
            lib.pgl_page_unlock(self.table, page)

        lib.pgl_page_lock(self.table, page)
        self.assertFalse(self.try_elsewhere(5))
        thread = threading.Thread(target=wait)
        thread.start()
        unlocking.set()
        lib.pgl_page_unlock(self.table, page)
        thread.join()
        self.assertEqual(seen, [True])

    def test_two_threads_store_and_translate(self):
        """A block that is alive after a store check was made from the new bytes."""
        memory, stale, rounds = [0], [], 300
        gate = threading.Barrier(2)
        made = {}

        def translate():
            for _ in range(rounds):
                gate.wait()
                bracket, tb = Memory("bracket"), Memory("tb")
                lib.pgl_bracket_begin(bracket, self.table, 7)
                made["from"] = memory[0]
                lib.pgl_tb_init(tb)
                lib.pgl_tb_set_bytes(tb, 0, 0x7000, 0x7007)
                lib.pgl_bracket_commit(bracket, tb, None)
                made["tb"] = tb
                gate.wait()

        thread = threading.Thread(target=translate)
        thread.start()
        for number in range(1, rounds + 1):
            gate.wait()
            memory[0] = number
            lib.pgl_store_check(self.table, 0x7000, 8, None)
            gate.wait()
            if lib.pgl_tb_is_live(made["tb"]):
                if made["from"] != number:
                    stale.append(number)
                lib.pgl_invalidate_tb(self.table, made["tb"], None)
        thread.join()
        self.assertEqual(stale, [])

    def test_breach_is_reported_without_a_place(self):
        breaches = []

        def note(breach, _):
            place = read(breach, "breach", "place")
            breaches.append((read(breach, "breach", "kind"), read(breach, "breach", "index"), ctypes.string_at(place)))

        hook = ON_BREACH(note)
        lib.pgl_witness_set_hook(hook, None)
        lib.pgl_page_unlock(self.table, self.emulator.page(5))
        lib.pgl_witness_set_hook(None, None)
        expected = [(CONSTANTS["PGL_BREACH_NOT_HELD"], 5, b"an unknown place")]
        self.assertEqual(breaches, expected if lib.pgl_has_lock_debug() else [])


class FaultingPages(unittest.TestCase):
    def test_fault_asks_the_pager(self):
        asked = []

        def data_request(_, request):
            offset, size = MEMBERS["request.range"]
            self.assertEqual(size, ctypes.sizeof(Range))
            pages = Range.from_buffer_copy(ctypes.string_at(request + offset, size))
            asked.append((pages.first, pages.last, read(request, "request", "pager_demand")))
            lib.pgl_pager_supply(read(request, "request", "object"), read(request, "request", "id"), pages, None,
                                 CONSTANTS["PGL_ACCESS_WRITE"])
            return 0

        ops = Memory("pager_ops", data_request=ON_REQUEST(data_request))
        config = Memory("object_config", last=99, pager_ops=ops, advice=CONSTANTS["PGL_ADVICE_RANDOM"])
        offset, _ = MEMBERS["object_config.pager_range"]
        ctypes.memmove(config.address + offset, byref(Range(1000, 1099)), ctypes.sizeof(Range))
        target, fault, page = lib.pgl_object_new(config), lib.pgl_fault_new(), Memory("fault_page")
        args = Memory("fault_args", object=target, index=42, access=CONSTANTS["PGL_ACCESS_READ"])
        self.assertEqual(lib.pgl_fault_run(fault, args, page), CONSTANTS["PGL_FAULT_SUCCESS"])
        self.assertEqual((page["object"], page["index"], page["hit"]), (target, 42, 0))
        self.assertEqual(asked, [(1042, 1042, 1042)])
        self.assertTrue(lib.pgl_object_resident(target, 42))
        args["index"] = 100
        self.assertEqual(lib.pgl_fault_run(fault, args, page), CONSTANTS["PGL_FAULT_NO_ENTRY"])
        lib.pgl_fault_free(fault)
        lib.pgl_object_unref(target)

    def test_cluster_is_decided(self):
        args, cluster = Memory("cluster_args", demand=50, object_last=51, budget=10), Memory("cluster")
        row = MEMBERS["cluster_args.row"][0]
        for member, pages in (("before", 2), ("after", 8)):
            offset, size = MEMBERS["advice_row." + member]
            ctypes.memmove(args.address + row + offset, pages.to_bytes(size, sys.byteorder), size)
        self.assertTrue(lib.pgl_cluster_decide(args, cluster))
        self.assertEqual((cluster["first"], cluster["last"]), (48, 51))


if __name__ == "__main__":
    unittest.main()
