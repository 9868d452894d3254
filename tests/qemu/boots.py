#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Used by tests/qemu/run when everything is built: boot, compare, and print the table."""
import argparse
import json
import pathlib
import shutil
import sys
import time

import boot
import output
import table


class Place:
    """The folder of one guest: a folder for each boot, named by its number and its kind."""

    def __init__(self, cache, smp, tb_size, user=False):
        self.cache = cache
        self.user = user
        self.folder = cache / "boots" / ("user" if user else f"smp{smp}-tb{tb_size}")
        self.folder.mkdir(parents=True, exist_ok=True)

    def made_of(self, kind):
        """The steps that made this QEMU and its guest: with another QEMU an old boot means nothing."""
        mode = "user-" if self.user else ""
        steps = [mode + "stock"] if kind == "stock" else [mode + "ported", "debug" if kind == "debug" else "library"]
        return [(self.cache / "done" / step).read_text(encoding="utf-8") for step in [*steps, "guest"]]

    def kept(self):
        """The boots that are left, in their order; those of another QEMU or guest are removed."""
        boots = []
        for folder in sorted(self.folder.iterdir()):
            try:
                entry = json.loads((folder / "boot.json").read_text(encoding="utf-8"))
            except (OSError, ValueError):
                entry = None
            if entry and entry["made_of"] == self.made_of(entry["kind"]):
                boots.append(entry)
            else:
                shutil.rmtree(folder)
        return boots

    def remove(self, kinds):
        for folder in self.folder.iterdir():
            if folder.name.rsplit("-", 1)[1] in kinds:
                shutil.rmtree(folder)

    def new(self, kind):
        number = max([int(folder.name.split("-")[0]) for folder in self.folder.iterdir()], default=0) + 1
        folder = self.folder / f"{number:04d}-{kind}"
        folder.mkdir()
        return folder


def boot_once(place, args, kind, pair):
    """Boot, and keep what came of it. Returns the entry; its "failed" says why there is no more of it."""
    folder = place.new(kind)
    report = place.cache / "root" / "build" / "report"
    report.unlink(missing_ok=True)
    entry = {"kind": kind, "pair": pair, "made_of": place.made_of(kind), "folder": str(folder), "failed": None,
             "phases": {}, "wrongs": {}, "report": {}, "violations": []}
    try:
        if place.user:
            arguments = boot.user_command(place.cache / "root", kind, "/build/report")
        else:
            arguments = boot.command(place.cache / "root", kind, args.smp, args.tb_size, "/build/report")
        entry["phases"] = boot.boot(arguments, args.deadline, folder)
        if kind != "stock" and not report.exists():
            entry["failed"] = "it has left no report"
    except boot.Failed as failure:
        entry["failed"] = str(failure)
    if report.exists():
        entry["report"], entry["violations"] = output.report(report.read_text(encoding="utf-8"))
        shutil.copyfile(report, folder / "report")
    entry["wrongs"] = output.wrongs((folder / "serial").read_text(encoding="utf-8"))
    if not entry["failed"]:
        (folder / "boot.json").write_text(json.dumps(entry), encoding="utf-8")
    return entry


def complaints(entry, expected):
    """All that is not as it should be in this boot, as lines; expected is the serial line of a stock boot, or None."""
    folder = pathlib.Path(entry["folder"])
    if entry["failed"]:
        return [entry["failed"], *(folder / "serial").read_text(encoding="utf-8").splitlines()[-3:],
                *(folder / "stderr").read_text(encoding="utf-8", errors="replace").splitlines()[-20:]]
    found = []
    if expected is not None:
        found += output.differences(expected, (folder / "serial").read_text(encoding="utf-8"))
    if entry["kind"] != "stock":
        found += [f"{name} was wrong {case['wrong']} times" for name, case in entry["wrongs"].items() if case["wrong"]]
        found += [f"pgl_table_check(): {line}" for line in entry["violations"]]
        if entry["report"].get("violations", 0) > len(entry["violations"]):
            found.append(f"pgl_table_check() found {entry['report']['violations']} violations")
    found += (folder / "stderr").read_text(encoding="utf-8", errors="replace").splitlines()
    return found


def one_line(entry, found):
    phases = entry["phases"].values()
    user, wall = (sum(phase[unit] for phase in phases) for unit in ("user", "wall"))
    said = "FAILED" if found else "as it should be"
    return f"{entry['kind']}: {user:.1f} s of user time, {wall:.1f} s: {said}"


def processor():
    for line in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "an unknown processor"


def parse(arguments):
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for option in ("--smp", "--tb-size", "--boots", "--deadline"):
        parser.add_argument(option, type=int, required=True)
    parser.add_argument("--only", choices=["both", "stock", "port"], required=True)
    parser.add_argument("--add", action="store_true")
    parser.add_argument("--debug", action="store_true")
    parser.add_argument("--user", action="store_true")
    parser.add_argument("cache", type=pathlib.Path)
    return parser.parse_args(arguments)


def main():
    args = parse(sys.argv[1:])
    place = Place(args.cache, args.smp, args.tb_size, args.user)
    ported = "debug" if args.debug else "port"
    kinds = {"both": ["stock", ported], "stock": ["stock"], "port": [ported]}[args.only]
    if not args.add:
        place.remove(kinds)
    boots = [entry for entry in place.kept() if entry["kind"] in ("stock", ported)]
    todo = [(kind, f"{time.time():.0f}-{i}") for i in range(args.boots) for kind in kinds]
    if args.only == "port" and not any(entry["kind"] == "stock" for entry in boots):
        todo.insert(0, ("stock", "alone"))
    failed = 0
    for number, (kind, pair) in enumerate(todo, 1):
        stock = next((entry for entry in boots if entry["kind"] == "stock"), None)
        entry = boot_once(place, args, kind, pair)
        expected = stock and (pathlib.Path(stock["folder"]) / "serial").read_text(encoding="utf-8")
        found = complaints(entry, expected)
        print(f"     boot {number} of {len(todo)}: {one_line(entry, found)}", flush=True)
        for line in found[:40]:
            print(f"          {line}", flush=True)
        failed += bool(found)
        if not entry["failed"]:
            boots.append(entry)
    if boots:
        show(args, boots)
    print(f"{len(todo)} boots, {failed} failed")
    return failed > 0


def show(args, boots):
    count = sum(entry["kind"] != "stock" for entry in boots)
    buffer = f"code buffer of {args.tb_size} MiB, " if args.tb_size else ""
    machine = "user mode, " if args.user else f"{args.smp} vCPUs, {buffer}"
    print(f"\n{processor()}: {machine}{len(boots) - count} stock boots and {count} ported ones"
          f"{' with a lock_debug library' if args.debug else ''}, {len(table.pairs(boots))} pairs\n")
    for lines in (table.phase_table(boots, table.targets(args.tb_size, args.user)), table.wrong_table(boots), table.report_lines(boots)):
        print("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(main())
