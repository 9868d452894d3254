#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Usage: binding.py LIBRARY INCLUDE: drives the shared library from another language, with no compiler: functions under
their plain names, memory and members by the library's constants. The headers in INCLUDE say which there must be."""
import ctypes
import errno
import os
import pathlib
import re
import sys
import threading
import unittest
from ctypes import CFUNCTYPE, POINTER, byref, c_bool, c_int, c_uint, c_uint64, c_void_p

os.environ["PAGELOCK_LIBRARY"], INCLUDE = sys.argv.pop(1), pathlib.Path(sys.argv.pop(1))
sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "docs/examples/python"))
from pagelock.binding import (  # noqa: E402
    MEMBERS, ON_CODE, ON_PUBLISH, ON_RETIRED, Struct, bind, lib, place, read, size_of)

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


# ---- the binding: the module has the structs and most of the prototypes ----

class Range(ctypes.Structure):  # struct pgl_pager_range, which is passed by value
    _fields_ = [("first", c_uint64), ("last", c_uint64)]


TB = STORE = OBJECT = FAULT = TABLE = c_void_p
bind(None, "pgl_tb_set_bytes", TB, c_uint, c_uint64, c_uint64)
bind(c_bool, "pgl_cache_tb", POINTER(c_void_p), TB)
for bits, c_value in ((8, ctypes.c_uint8), (16, ctypes.c_uint16), (32, ctypes.c_uint32), (64, c_uint64)):
    bind(c_int, "pgl_store_u%d" % bits, TABLE, c_void_p, c_uint64, c_value, TB)
bind(c_int, "pgl_store_begin", STORE, TABLE, c_uint64, c_uint64, TB)
bind(c_int, "pgl_store_begin_pair", STORE, TABLE, c_uint64, c_uint64, c_uint64, c_uint64, TB)
bind(None, "pgl_store_end", STORE)
bind(c_uint64, "pgl_collection_max", c_void_p)
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

ON_BREACH = CFUNCTYPE(None, c_void_p, c_void_p)
ON_REQUEST = CFUNCTYPE(c_int, c_void_p, c_void_p)

HIT, RUNNING_DEAD = CONSTANTS["PGL_HIT"], CONSTANTS["PGL_RUNNING_DEAD"]
OK, EXISTS, RESTART = (CONSTANTS["PGL_BRACKET_" + name] for name in ("OK", "EXISTS", "RESTART"))


class Emulator:
    """A table, and what its callbacks were called with."""

    def __init__(self):
        self.log, self.blocks, self.equal = [], [], None
        self.ops = Struct("tb_ops", first_code=ON_CODE(lambda index, _: self.log.append(("first_code", index))),
                          no_code=ON_CODE(lambda index, _: self.log.append(("no_code", index))),
                          publish=ON_PUBLISH(lambda tb, _: self.equal), retired=ON_RETIRED(self.retired))
        self.table = lib.pgl_table_new(Struct("table_config", page_bits=12, addr_bits=48, ops=self.ops))
        assert self.table

    def retired(self, tb, _):
        while tb:
            self.log.append(("retired", tb))
            tb = lib.pgl_tb_chain_next(tb)

    def page(self, index):
        return lib.pgl_page_get(self.table, index)

    def translate(self, *extents):
        """A block of these bytes, and the answer of the commit."""
        tb, bracket, equal = Struct("tb"), Struct("bracket"), c_void_p()
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
    def test_layout_number_is_that_of_the_headers(self):
        self.assertEqual(c_uint.in_dll(lib, "pgl_layout").value, CONSTANTS["PGL_LAYOUT"])

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
        self.assertIsNone(lib.pgl_table_new(Struct("table_config", page_bits=9, addr_bits=48)))
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
        bracket, tb = Struct("bracket"), Struct("tb")
        self.assertTrue(lib.pgl_bracket_begin(bracket, self.table, 7))
        lib.pgl_tb_init(tb)
        lib.pgl_tb_set_bytes(tb, 0, 0x7010, 0x7043)
        self.assertEqual(lib.pgl_bracket_store(bracket, 0x7010, 8), RESTART)
        self.assertEqual(lib.pgl_bracket_commit(bracket, tb, None), RESTART)
        lib.pgl_bracket_abort(bracket)
        self.assertEqual(self.emulator.events()[-1], ("no_code", 7))

    def test_store_bracket_keeps_its_page(self):
        store = Struct("store")
        tb, _ = self.emulator.translate((0x7010, 0x7043))
        self.assertEqual(lib.pgl_store_begin(store, self.table, 0x7040, 8, None), HIT)
        self.assertFalse(self.try_elsewhere(7))
        lib.pgl_store_end(store)
        self.assertTrue(self.try_elsewhere(7))
        self.assertFalse(lib.pgl_tb_is_live(tb))

    def test_store_bracket_over_two_places_keeps_both_pages(self):
        store = Struct("store")
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
        collection, index, seen = Struct("collection"), c_uint64(0), []
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
        self.assertFalse(lib.pgl_bracket_begin(Struct("bracket"), self.table, 1 << 36))
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
                bracket, tb = Struct("bracket"), Struct("tb")
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
            offset, size = place("request", "range")
            self.assertEqual(size, ctypes.sizeof(Range))
            pages = Range.from_buffer_copy(ctypes.string_at(request + offset, size))
            asked.append((pages.first, pages.last, read(request, "request", "pager_demand")))
            lib.pgl_pager_supply(read(request, "request", "object"), read(request, "request", "id"), pages, None,
                                 CONSTANTS["PGL_ACCESS_WRITE"])
            return 0

        ops = Struct("pager_ops", data_request=ON_REQUEST(data_request))
        config = Struct("object_config", last=99, pager_ops=ops, advice=CONSTANTS["PGL_ADVICE_RANDOM"],
                        parts={"pager_range.first": 1000, "pager_range.last": 1099})
        target, fault, page = lib.pgl_object_new(config), lib.pgl_fault_new(), Struct("fault_page")
        args = Struct("fault_args", object=target, index=42, access=CONSTANTS["PGL_ACCESS_READ"])
        self.assertEqual(lib.pgl_fault_run(fault, args, page), CONSTANTS["PGL_FAULT_SUCCESS"])
        self.assertEqual((page["object"], page["index"], page["hit"]), (target, 42, 0))
        self.assertEqual(asked, [(1042, 1042, 1042)])
        self.assertTrue(lib.pgl_object_resident(target, 42))
        args["index"] = 100
        self.assertEqual(lib.pgl_fault_run(fault, args, page), CONSTANTS["PGL_FAULT_NO_ENTRY"])
        lib.pgl_fault_free(fault)
        lib.pgl_object_unref(target)

    def test_cluster_is_decided(self):
        args = Struct("cluster_args", demand=50, object_last=51, budget=10, parts={"row.before": 2, "row.after": 8})
        cluster = Struct("cluster")
        self.assertTrue(lib.pgl_cluster_decide(args, cluster))
        self.assertEqual((cluster["first"], cluster["last"]), (48, 51))


if __name__ == "__main__":
    unittest.main()
