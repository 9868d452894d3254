#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Usage: ranges.py SOURCES: the README gives the ratios of the recorded guests as ranges over all processors, and these
are the least and the greatest figures of the table in docs/performance.md."""
import pathlib
import re
import sys

HEADS = ["plain, 1 thread", "plain, 2 threads", "global, 1 thread", "global, 2 threads"]


def rows(text, first):
    """The cells of each row of the table with these heads."""
    head = "| " + " | ".join([first] + HEADS) + " |\n"
    assert text.count(head) == 1, f"there is no table, or more than one, with the heads {head}"
    lines = text.partition(head)[2].split("\n\n")[0].splitlines()[1:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def figures(cell):
    return [float(figure) for figure in re.findall(r"[\d.]+", cell)]


def ranges(text):
    """For each guest, [(least, greatest), ...] by head. A cell has the figures of the Linux boot; and of LuaJIT."""
    found = {"Linux boot": [], "LuaJIT": []}
    for column in range(1, 1 + len(HEADS)):
        cells = [row[column].split(";") for row in rows(text, "processor") if row[column]]
        for number, guest in enumerate(found):
            all_figures = [figure for cell in cells for figure in figures(cell[number])]
            found[guest].append((min(all_figures), max(all_figures)))
    return found


def compare(readme, performance):
    """What is wrong, in words."""
    said = {row[0]: [tuple(figures(cell)) for cell in row[1:]] for row in rows(readme, "recorded guest")}
    return [f"README.md says {said.get(guest)} of {guest}, and docs/performance.md {measured}"
            for guest, measured in ranges(performance).items() if said.get(guest) != measured]


TOP = pathlib.Path(sys.argv[1])
README, PERFORMANCE = (TOP / "README.md").read_text(), (TOP / "docs/performance.md").read_text()
failures = compare(README, PERFORMANCE)
for failure in failures:
    print("FAILED:", failure)
# The checker itself: a figure that is one hundredth off is found.
if not failures and not compare(re.sub(r"(\| LuaJIT \| [\d.]+)( to)", r"\g<1>1\2", README), PERFORMANCE):
    failures = ["a wrong figure"]
    print("FAILED: a wrong figure in the README was not found")
sys.exit(bool(failures))
