#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Usage: module.py LIBRARY: docs/examples/python/pagelock does what it says, on that shared library."""
import errno
import os
import pathlib
import sys
import threading
import unittest
from ctypes import ArgumentError

os.environ["PAGELOCK_LIBRARY"] = sys.argv.pop(1)
sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "docs/examples/python"))
import pagelock  # noqa: E402
from pagelock import Block, Kill  # noqa: E402


class CodePages(unittest.TestCase):
    def setUp(self):
        self.log = []
        self.found = None
        self.table = pagelock.Table(first_code=lambda index: self.log.append(("trap", index)),
                                    no_code=lambda index: self.log.append(("no trap", index)),
                                    publish=lambda block: self.found,
                                    retired=lambda blocks: self.log.append(("dead", *blocks)))

    def tearDown(self):
        self.assertEqual(self.table.check(), [])
        self.table.close()

    def translate(self, *ranges):
        with self.table.bracket(ranges[0][0] >> 12) as bracket:
            for first, _ in ranges[1:]:
                bracket.cross(first >> 12)
            return bracket.commit(Block(*ranges))

    def test_table_of_bad_size_raises(self):
        with self.assertRaises(OSError) as raised:
            pagelock.Table(page_bits=9)
        self.assertEqual(raised.exception.errno, errno.EINVAL)

    def test_page_exists_once_it_was_locked(self):
        self.assertFalse(self.table.exists(5))
        with self.table.locked(5):
            self.assertTrue(self.table.exists(5))
        self.assertEqual(self.table.stats()["leaves"], 1)

    def test_page_keeps_another_thread_out(self):
        order, begun = [], threading.Event()

        def lock():
            begun.set()
            with self.table.locked(5):
                order.append("thread")

        thread = threading.Thread(target=lock)
        with self.table.locked(5):
            thread.start()
            begun.wait()
            order.append("main")
        thread.join()
        self.assertEqual(order, ["main", "thread"])

    def test_range_holds_the_pages_of_its_blocks(self):
        self.translate((0x7ff0, 0x7fff), (0x9000, 0x9003))
        with self.table.locked_range(0x7000, 0x7fff) as indices:
            self.assertEqual(indices, [7, 9])

    def test_store_check_kills_the_blocks_that_it_meets(self):
        block = self.translate((0x7010, 0x7043))
        self.assertTrue(block.live)
        self.assertEqual(self.table.store_check(0x7044, 8, block), 0)
        self.assertTrue(self.table.is_clean(0x7080, 8))
        self.assertEqual(self.table.store_check(0x7040, 8, block), Kill.HIT | Kill.RUNNING_DEAD)
        self.assertFalse(block.live)
        self.assertEqual(self.log, [("trap", 7), ("dead", block), ("no trap", 7)])

    def test_store_check_beyond_the_table_raises(self):
        with self.assertRaises(OSError) as raised:
            self.table.store_check(1 << 48, 1)
        self.assertEqual(raised.exception.errno, errno.EINVAL)

    def test_invalidation_kills_by_block_page_range_and_all(self):
        for kill in (lambda block: self.table.invalidate(block), lambda _: self.table.invalidate_page(7),
                     lambda _: self.table.invalidate_range(0x7040, 0x7043), lambda _: self.table.flush()):
            block = self.translate((0x7010, 0x7043))
            self.assertEqual(kill(block), Kill.HIT)
            self.assertFalse(block.live)
        self.assertEqual(self.table.stats()["kills"], 4)

    def test_linked_blocks_are_kept_from_the_garbage_collector(self):
        address = self.translate((0x7010, 0x7043)).address
        self.assertEqual([block.address for block in self.table.blocks.values()], [address])
        self.table.flush()
        self.assertEqual(self.table.blocks, {})

    def test_block_may_have_any_number_of_ranges(self):
        block = self.translate((0x7000, 0x7003), (0x9000, 0x9003), (0x8000, 0x8003))
        self.assertEqual(self.table.store_check(0x8003, 1), Kill.HIT)
        self.assertFalse(block.live)

    def test_equal_block_is_returned_in_place_of_a_new_one(self):
        self.found = self.translate((0x7010, 0x7043))
        self.assertIs(self.translate((0x7010, 0x7043)), self.found)
        self.assertEqual(len(self.table.blocks), 1)

    def test_store_in_a_bracket_restarts_it(self):
        with self.table.bracket(7) as bracket:
            with self.assertRaises(pagelock.Restart):
                bracket.store(0x7010, 8)
                bracket.commit(Block((0x7010, 0x7043)))
        self.assertEqual(self.table.blocks, {})
        self.assertEqual(self.log[-1], ("no trap", 7))

    def test_blocks_that_are_killed_while_they_are_committed_are_told_of_once(self):
        dead, failures, over = [], [], threading.Event()
        table = pagelock.Table(retired=dead.extend)

        def kill():
            while not over.is_set():
                try:
                    table.flush()
                except Exception as exception:
                    failures.append(exception)

        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        thread = threading.Thread(target=kill)
        thread.start()
        for _ in range(2000):
            with table.bracket(7) as bracket:
                bracket.commit(Block((0x7010, 0x7043)))
        over.set()
        thread.join()
        sys.setswitchinterval(interval)
        table.flush()
        self.assertEqual(failures, [])
        self.assertEqual((len(dead), len({block.address for block in dead}), len(table.blocks)), (2000, 2000, 0))
        table.close()

    def test_bracket_ends_with_an_exception(self):
        with self.assertRaises(KeyError):
            with self.table.bracket(7):
                raise KeyError
        with self.table.locked(7):
            pass

    def test_bracket_may_begin_again(self):
        bracket = self.table.bracket(7)
        with bracket:
            bracket.cross(9)
        with bracket:
            with self.assertRaisesRegex(ValueError, "does not hold page 0x9"):
                bracket.commit(Block((0x7010, 0x7043), (0x9000, 0x9003)))
            self.assertTrue(bracket.commit(Block((0x7010, 0x7043))).live)

    def test_table_that_was_closed_raises(self):
        with pagelock.Table() as table:
            pass
        table.close()
        for call in (lambda: table.store_check(0x7010, 1), table.stats, table.flush, lambda: table.exists(7),
                     lambda: table.bracket(7).__enter__()):
            with self.assertRaises(ValueError):
                call()

    def test_bracket_that_has_ended_raises(self):
        with self.table.bracket(7) as bracket:
            bracket.commit(Block((0x7010, 0x7043)))
        for call in (lambda: bracket.cross(7), lambda: bracket.store(0x7010, 1),
                     lambda: bracket.commit(Block((0x7010, 0x7043)))):
            with self.assertRaises(ValueError):
                call()
        self.assertEqual(self.table.stats()["blocks"], 1)

    def test_block_that_cannot_be_committed_raises_and_says_why(self):
        for block, why in ((Block(), "no bytes"), (Block((0x9010, 0x9013)), "does not hold page 0x9"),
                           (Block((0x7ff0, 0x8003)), "0x7ff0, 0x8003. is on more than one page"),
                           (Block((0x7010, 0x7013), (0x7020, 0x7023), (0x9010, 0x9013)), "does not hold page 0x9"),
                           (self.translate((0x7010, 0x7043)), "the block is linked")):
            with self.assertRaisesRegex(ValueError, why):
                with self.table.bracket(7) as bracket:
                    bracket.commit(block)
        self.assertEqual(self.table.stats()["blocks"], 1)

    def on_another_thread(self, call):
        """What a call raises there."""
        raised = []

        def run():
            try:
                call()
            except Exception as exception:
                raised.append(exception)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        return raised

    def test_bracket_of_another_thread_raises_and_stays(self):
        block = Block((0x7010, 0x7043))
        held = self.table.bracket(7)
        with held as bracket:
            for call in (lambda: bracket.commit(block), lambda: bracket.cross(8), lambda: bracket.store(0x7010, 1),
                         lambda: held.__exit__(None, None, None), held.__enter__):
                exception, = self.on_another_thread(call)
                self.assertIsInstance(exception, RuntimeError)
                self.assertRegex(str(exception), "another thread")
            self.assertIs(bracket.commit(block), block)
        self.assertTrue(block.live)

    def test_pages_of_another_thread_stay_locked(self):
        for held in (self.table.locked(7), self.table.locked_range(0x7000, 0x7fff)):
            with held:
                for _ in range(2):
                    exception, = self.on_another_thread(lambda: held.__exit__(None, None, None))
                    self.assertIsInstance(exception, RuntimeError)
                    self.assertRegex(str(exception), "another thread")
                with self.assertRaisesRegex(RuntimeError, "pages are held"):
                    self.table.close()
            self.assertEqual(self.on_another_thread(lambda: self.table.invalidate_page(7)), [])

    def test_table_that_another_thread_calls_does_not_close(self):
        inside, over, exceptions = threading.Event(), threading.Event(), []

        def retired(_):
            inside.set()
            over.wait()

        table = pagelock.Table(retired=retired)
        with table.bracket(7) as bracket:
            bracket.commit(Block((0x7010, 0x7043)))
        thread = threading.Thread(target=lambda: exceptions.extend(self.on_another_thread(table.flush)))
        thread.start()
        inside.wait()
        with self.assertRaisesRegex(RuntimeError, "another thread calls it"):
            table.close()
        over.set()
        thread.join()
        table.close()
        self.assertEqual(exceptions, [])

    def test_block_that_is_being_linked_does_not_change(self):
        block, other, exceptions = Block((0x7010, 0x7043)), pagelock.Table(), []

        def commit():
            with other.bracket(7) as bracket:
                bracket.commit(block)

        def publish(_):
            for call in (commit, lambda: block.set_ranges((0x7010, 0x7013))):
                exceptions.extend(self.on_another_thread(call))

        with pagelock.Table(publish=publish) as table:
            with table.bracket(7) as bracket:
                bracket.commit(block)
            table.flush()
        other.close()
        self.assertEqual([str(exception) for exception in exceptions], ["the block is being linked"] * 2)

    def test_block_of_bad_bytes_raises(self):
        with self.assertRaisesRegex(ValueError, "0x7043, 0x7010. ends before it begins"):
            Block((0x7043, 0x7010))
        with self.assertRaisesRegex(ValueError, "the block is linked"):
            self.translate((0x7010, 0x7043)).set_ranges((0x9010, 0x9013))

    def test_block_may_get_fewer_ranges(self):
        block = Block((0x7000, 0x7003), (0x9000, 0x9003), (0x8000, 0x8003))
        for ranges in (((0x7000, 0x7003), (0x7010, 0x7013)), ((0x7020, 0x7023),)):
            block.set_ranges(*ranges)
            with self.table.bracket(7) as bracket:
                bracket.commit(block)
            self.assertEqual(self.table.check(), [])
            self.assertEqual(self.table.store_check(ranges[-1][0], 1), Kill.HIT)

    def test_number_that_does_not_fit_raises(self):
        calls = [lambda bad: self.table.store_check(bad, 1), lambda bad: self.table.store_check(0x7010, bad),
                 lambda bad: self.table.is_clean(bad, 1), lambda bad: self.table.exists(bad),
                 lambda bad: self.table.invalidate_page(bad), lambda bad: self.table.invalidate_range(0, bad),
                 lambda bad: Block((bad, bad)), lambda bad: self.table.bracket(bad).__enter__(),
                 lambda bad: self.table.locked(bad).__enter__(), lambda bad: pagelock.Table(page_bits=bad)]
        for call in calls:
            for bad in (1 << 64, (1 << 64) + 7, -(1 << 64), -1, "7", 7.5):
                with self.assertRaises((ArgumentError, OverflowError, TypeError)):
                    call(bad)

    def test_argument_that_is_no_block_raises(self):
        for bad in (7, "block", self.table, object()):
            for call in (lambda: self.table.store_check(0x7010, 1, bad), lambda: self.table.flush(bad),
                         lambda: self.table.invalidate(bad), lambda: self.table.invalidate_page(7, bad),
                         lambda: self.translate_object(bad)):
                with self.assertRaises(TypeError):
                    call()
        with self.assertRaises(TypeError):
            self.table.invalidate(None)

    def translate_object(self, block):
        with self.table.bracket(7) as bracket:
            bracket.commit(block)

    def test_block_of_another_table_raises(self):
        block = self.translate((0x7010, 0x7043))
        with pagelock.Table() as other:
            with self.assertRaises(ValueError):
                other.invalidate(block)
        self.assertTrue(block.live)


class Callbacks(unittest.TestCase):
    """A table each of whose callbacks does what the test says."""

    def setUp(self):
        self.do = {}
        self.table = pagelock.Table(**{name: self.callback(name)
                                       for name in ("first_code", "no_code", "publish", "retired")})

    def tearDown(self):
        self.do = {}
        self.table.flush()
        self.assertEqual(self.table.check(), [])
        self.table.close()

    def callback(self, name):
        return lambda argument: self.do.pop(name, lambda _: None)(argument)

    def fail_in(self, name):
        def fail(_):
            raise KeyError(name)

        self.do[name] = fail

    def translate(self, first=0x7010, block=None):
        with self.table.bracket(first >> 12) as bracket:
            return bracket.commit(block or Block((first, first + 3)))

    def test_exception_of_a_callback_comes_out_of_the_call(self):
        for name in ("first_code", "publish", "retired", "no_code"):
            self.fail_in(name)
            with self.assertRaisesRegex(KeyError, name):
                self.translate()
                self.table.flush()
            self.assertEqual(self.table.check(), [])  # no page is held
        self.table.flush()
        self.assertEqual(self.table.blocks, {})

    def test_commit_whose_publish_raises_has_linked_the_block(self):
        block = Block((0x7010, 0x7013))
        self.fail_in("publish")
        with self.assertRaises(KeyError):
            self.translate(block=block)
        self.assertTrue(block.live)
        self.assertEqual(self.table.flush(), Kill.HIT)

    def test_first_of_two_exceptions_is_raised(self):
        self.translate()
        self.fail_in("retired")
        self.fail_in("no_code")
        with self.assertRaisesRegex(KeyError, "retired"):
            self.table.flush()
        self.table.flush()

    def test_publish_of_a_block_that_is_not_there_raises(self):
        for bad, exception in ((7, TypeError), (Block((0x7010, 0x7013)), ValueError)):
            self.do["publish"] = lambda _: bad
            with self.assertRaises(exception):
                self.translate()
            self.table.flush()

    def test_callback_that_would_wait_raises(self):
        for call in (self.table.flush, lambda: self.table.store_check(0x7010, 1), self.translate, self.table.close,
                     lambda: self.table.locked(9).__enter__(), lambda: self.table.locked_range(0, 1).__enter__()):
            self.do["publish"] = lambda _: call()
            with self.assertRaises(RuntimeError):
                self.translate()
            self.table.flush()

    def test_table_with_held_pages_does_not_close(self):
        for hold in (lambda: self.table.bracket(7), lambda: self.table.locked(7),
                     lambda: self.table.locked_range(0x7000, 0x7fff)):
            with hold():
                with self.assertRaises(RuntimeError):
                    self.table.close()
        self.assertEqual(self.table.stats()["leaves"], 1)

    def test_table_closes_behind_a_commit(self):
        with pagelock.Table() as table:
            with table.bracket(7) as bracket:
                bracket.commit(Block((0x7010, 0x7013)))
                self.assertEqual(table.store_check(0x7010, 1), Kill.HIT)
                table.close()

    def test_thread_that_would_wait_for_itself_raises(self):
        for hold in (lambda: self.table.bracket(7), lambda: self.table.locked(7),
                     lambda: self.table.locked_range(0x7000, 0x7fff)):
            for wait in (lambda: self.table.locked(7).__enter__(), lambda: self.table.bracket(8).__enter__(),
                         lambda: self.table.locked_range(0x8000, 0x8fff).__enter__(), self.table.flush,
                         lambda: self.table.store_check(0x7010, 1), lambda: self.table.invalidate_page(7)):
                with hold():
                    with self.assertRaises(RuntimeError):
                        wait()

    def test_pages_are_locked_in_ascending_order(self):
        with self.table.locked(7), self.table.locked(8):
            with self.assertRaises(RuntimeError):
                self.table.locked(8).__enter__()
            with pagelock.Table() as other, self.assertRaises(RuntimeError):
                other.locked(9).__enter__()
        with self.table.locked(7):
            pass


class Advice(unittest.TestCase):
    def test_advisor_follows_a_stream(self):
        with pagelock.Advisor(fault_ns=100000, page_ns=1000) as advisor:
            resident, faults, reasons = set(), 0, set()
            for page in range(1000):
                if page not in resident:
                    reason, first, last = advisor.decide(page, 999, absent=lambda index: index not in resident)
                    self.assertTrue(first <= page <= last)
                    resident.update(range(first, last + 1))
                    faults += 1
                    reasons.add(reason)
        self.assertEqual(reasons, {"start", "up"})
        self.assertLess(faults, 100)

    def test_advisor_stays_in_the_object_and_the_budget(self):
        with pagelock.Advisor() as advisor:
            self.assertEqual(advisor.decide(9, 9, budget=0), ("alone", 9, 9))
            with self.assertRaises(IndexError):
                advisor.decide(10, 9)

    def test_advisor_that_was_closed_raises(self):
        with pagelock.Advisor() as advisor:
            pass
        for call in (lambda: advisor.decide(1, 9), lambda: advisor.set_costs(3200, 1130)):
            with self.assertRaises(ValueError):
                call()

    def test_exception_of_absent_comes_out_of_the_decision(self):
        def fail(_):
            raise KeyError

        def close(_):
            advisor.close()

        def decide(_):
            advisor.decide(1, 999)

        with pagelock.Advisor() as advisor:
            for page, (absent, exception) in enumerate(((fail, KeyError), (close, RuntimeError), (decide, RuntimeError))):
                with self.assertRaises(exception):
                    for index in range(100):
                        advisor.decide(200 * page + index, 999, absent=absent)

    def test_costs_that_are_refused_say_why(self):
        with self.assertRaisesRegex(ValueError, "page_ns is more than ten seconds"):
            pagelock.Advisor(page_ns=10 ** 11)
        with pagelock.Advisor() as advisor:
            advisor.set_costs(3200, 1130)
            with self.assertRaises(ValueError):
                advisor.set_costs(10 ** 10, 1)


if __name__ == "__main__":
    unittest.main()
