#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""tests/qemu/run without QEMU: made-up boots, whose comparison and whose table are known."""
import os
import pathlib
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import boot  # noqa: E402
import boots  # noqa: E402
import output  # noqa: E402
import table  # noqa: E402

SERIAL = """SeaBIOS
==== self
self: 10 done
# self: wrong 0 of 10, 0.100 s: right
[    3.100000] reboot: Power down
"""


def made_up(kind, pair, seconds, wrong=0, report=None):
    phases = {name: {"user": user, "wall": user / 2, "system": 0.0} for name, user in seconds.items()}
    return {"kind": kind, "pair": pair, "phases": phases, "report": report or {}, "folder": "", "failed": None,
            "violations": [], "wrongs": {"self": {"wrong": wrong, "of": 10, "s": seconds.get("self", 0.1)}}}


class Output(unittest.TestCase):
    def test_equal_output_has_no_differences(self):
        self.assertEqual(output.differences(SERIAL, SERIAL), [])

    def test_figures_and_kernel_times_are_not_compared(self):
        other = SERIAL.replace("wrong 0", "wrong 7").replace("3.100000", "9.999999")
        self.assertEqual(output.differences(SERIAL, other), [])

    def test_what_the_kernel_says_of_its_clocks_is_not_compared(self):
        other = SERIAL + "[    1.000000] clocksource: timekeeping watchdog\n"
        self.assertEqual(output.differences(SERIAL, other), [])

    def test_another_line_is_a_difference(self):
        self.assertIn("+self: 11 done", output.differences(SERIAL, SERIAL.replace("10 done", "11 done")))

    def test_a_lost_line_is_a_difference(self):
        self.assertIn("-self: 10 done", output.differences(SERIAL, SERIAL.replace("self: 10 done\n", "")))

    def test_a_complaint_of_the_kernel_is_a_difference(self):
        other = SERIAL + "[    1.000000] BUG: unable to handle page fault\n"
        self.assertIn("+BUG: unable to handle page fault", output.differences(SERIAL, other))

    def test_wrongs_are_read(self):
        found = output.wrongs("x\n# cross: wrong 3 of 20000, 1.250 s: WRONG\n# no such line\n")
        self.assertEqual(found, {"cross": {"wrong": 3, "of": 20000, "s": 1.25}})

    def test_reports_of_several_processes_are_added_up(self):
        self.assertEqual(output.report("checks 5\nkills 1\nchecks 7\n"), ({"checks": 12, "kills": 1}, []))

    def test_report_has_values_and_violations(self):
        self.assertEqual(output.report("violations 1\nchecks 5\n# page 3 is locked\n"),
                         ({"violations": 1, "checks": 5}, ["page 3 is locked"]))


class Table(unittest.TestCase):
    def test_ratio_is_the_median_of_pairs_and_not_the_ratio_of_medians(self):
        rounds = []
        for pair, (stock, ported) in enumerate([(1.0, 0.5), (2.0, 0.2), (4.0, 3.0)]):
            rounds += [made_up("stock", pair, {"self": stock}), made_up("port", pair, {"self": ported})]
        self.assertEqual(table.row(rounds, "self", 0.2),
                         "| self | 2.00 | 0.50 | 0.50 (0.10 to 0.75) | 0.2: NO | 1.00 | 0.25 |")

    def test_target_is_met_at_its_value(self):
        rounds = [made_up("stock", 1, {"self": 1.0}), made_up("port", 1, {"self": 0.2})]
        self.assertIn("| 0.2: yes |", table.row(rounds, "self", 0.2))

    def test_boots_without_partner_are_in_no_pair(self):
        rounds = [made_up("stock", 1, {"self": 1.0}), made_up("port", 2, {"self": 9.0})]
        self.assertEqual(table.pairs(rounds), [])
        self.assertEqual(table.row(rounds, "self", 0.2), "| self | 1.00 | 9.00 | - | 0.2: - | 0.50 | 4.50 |")

    def test_phase_without_measurable_time_has_no_ratio(self):
        rounds = [made_up("stock", 1, {"end": 0.0}), made_up("port", 1, {"end": 0.01})]
        self.assertEqual(table.ratios(rounds, "end", "user"), [])

    def test_one_kind_alone_makes_a_table(self):
        rounds = [made_up("port", 1, {"boot": 1.0})]
        self.assertEqual(table.phase_table(rounds, table.TARGETS)[2], "| boot | - | 1.00 | - | 1.02: - | - | 0.50 |")

    def test_small_code_buffer_has_a_target_of_its_own(self):
        self.assertEqual(table.targets(8), {"boot": 0.95})
        self.assertEqual(table.targets(0)["boot"], 1.02)
        self.assertEqual(table.targets(64), {})

    def test_user_mode_has_no_targets(self):
        self.assertEqual(table.targets(0, user=True), {})

    def test_wrongs_are_summed(self):
        rounds = [made_up("stock", 1, {}, wrong=2), made_up("stock", 2, {}, wrong=1), made_up("port", 1, {})]
        self.assertEqual(table.wrong_table(rounds)[2], "| self | 3 of 20 | 0.100 | 0 of 10 | 0.100 |")

    def test_share_without_a_lock_is_of_the_checks(self):
        rounds = [made_up("port", 1, {}, report={"checks": 4000, "checks_without_lock": 3000, "hits": 2})]
        self.assertEqual(table.report_lines(rounds),
                         ["4,000 store checks, 75.0 % of them answered without a lock", "hits: 2"])

    def test_report_without_checks_divides_by_nothing(self):
        self.assertEqual(table.report_lines([made_up("port", 1, {}, report={"checks": 0})]), ["0 store checks"])


class Boot(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.path = pathlib.Path(self.folder.name)

    def boot(self, script, deadline=60):
        return boot.boot(["sh", "-c", script], deadline, self.path)

    def complaints(self, kind, serial, stderr="", **more):
        (self.path / "serial").write_text(serial, encoding="utf-8")
        (self.path / "stderr").write_text(stderr, encoding="utf-8")
        entry = {**made_up(kind, 1, {}), "folder": self.folder.name, **more}
        entry["wrongs"] = output.wrongs(serial)
        return boots.complaints(entry, SERIAL)

    def test_phases_are_those_of_the_markers(self):
        phases = self.boot("echo bios; echo '==== self'; printf 'x\\033[2J\\r\\n'; echo '==== end'; printf last")
        self.assertEqual(list(phases), ["boot", "self", "end"])
        self.assertEqual((self.path / "serial").read_text(encoding="utf-8"), "bios\n==== self\nx\n==== end\nlast\n")

    def test_hang_names_its_phase(self):
        with self.assertRaisesRegex(boot.Failed, "hung in phase self"):
            self.boot("echo '==== self'; exec sleep 1000", deadline=1)

    def test_death_names_its_phase_and_signal(self):
        with self.assertRaisesRegex(boot.Failed, "signal 6 in phase self"):
            self.boot("echo '==== self'; kill -ABRT $$")

    def test_guest_that_ends_early_has_failed(self):
        with self.assertRaisesRegex(boot.Failed, "the guest ended in phase self"):
            self.boot("echo '==== self'")

    def test_times_of_a_process_with_a_strange_name(self):
        stat = "7 (a) b (c) S 1 7 7 0 -1 0 1 0 0 0 250 50 0 0"
        self.assertEqual(boot.ticks_of(stat), (250 / os.sysconf("SC_CLK_TCK"), 50 / os.sysconf("SC_CLK_TCK")))

    def test_times_include_those_of_children_that_have_ended(self):
        stat = "7 (sh) S 1 7 7 0 -1 0 1 0 0 0 1 2 30 40"
        self.assertEqual(boot.ticks_of(stat), (31 / os.sysconf("SC_CLK_TCK"), 42 / os.sysconf("SC_CLK_TCK")))

    def test_good_boot_has_no_complaints(self):
        self.assertEqual(self.complaints("port", SERIAL), [])

    def test_ported_must_not_be_wrong_where_stock_may(self):
        wrong = SERIAL.replace("wrong 0", "wrong 1").replace(": right", ": WRONG")
        self.assertEqual(self.complaints("stock", wrong), [])
        self.assertEqual(self.complaints("port", wrong), ["self was wrong 1 times"])

    def test_violations_and_the_witness_are_complaints(self):
        self.assertEqual(self.complaints("debug", SERIAL, "pagelock: locked twice\n", violations=["page 3 is locked"]),
                         ["pgl_table_check(): page 3 is locked", "pagelock: locked twice"])

    def test_violations_without_text_are_complaints(self):
        self.assertEqual(self.complaints("port", SERIAL, report={"violations": 2}),
                         ["pgl_table_check() found 2 violations"])


class Kept(unittest.TestCase):
    def test_boots_of_another_build_are_removed(self):
        with tempfile.TemporaryDirectory() as folder:
            cache = pathlib.Path(folder)
            (cache / "done").mkdir()
            for step in ("stock", "guest", "ported", "library", "debug", "user-stock", "user-ported"):
                (cache / "done" / step).write_text("1", encoding="utf-8")
            place = boots.Place(cache, 4, 0)
            for kind in ("stock", "port"):
                entry = {"kind": kind, "made_of": place.made_of(kind)}
                (place.new(kind) / "boot.json").write_text(boots.json.dumps(entry), encoding="utf-8")
            place.new("stock")
            (cache / "done" / "library").write_text("2", encoding="utf-8")
            self.assertEqual([entry["kind"] for entry in place.kept()], ["stock"])
            self.assertEqual([path.name for path in place.folder.iterdir()], ["0001-stock"])
            self.assertEqual(place.new("port").name, "0002-port")
            self.assertEqual(boots.Place(cache, 4, 0, user=True).kept(), [])


if __name__ == "__main__":
    unittest.main()
