#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Usage: picture.py SOURCES LIBRARY: docs/pictures/layers.dot shows which file of src/ calls which.

The linker symbols of the objects have the calls. Each call follows from the arrows, and each arrow is a call.
"""
import collections
import pathlib
import re
import subprocess
import sys

SOURCES, LIBRARY = sys.argv[1:]
failed = False


def fail(message):
    global failed
    failed = True
    print("FAILED:", message)


def calls():
    """For each file, such as ("code", "kill"), the files that it needs a symbol of."""
    owners, wanted = {}, collections.defaultdict(set)
    said = subprocess.run(["nm", "-A", LIBRARY], check=True, capture_output=True, text=True).stdout
    for folder, file, kind, symbol in re.findall(r"\b(code|fault|uffd)_(\w+)\.c\.o:[0-9a-f ]*([A-Z]) (pgl_\w+)", said):
        if kind == "U":
            wanted[folder, file].add(symbol)
        else:
            owners[symbol] = (folder, file)
    return {file: {owners[symbol] for symbol in symbols if symbol in owners} - {file} for file, symbols in wanted.items()}


def reach(edges, start):
    """Everything that is below the start."""
    found, left = set(), [start]
    while left:
        for below in edges.get(left.pop(), ()):
            if below not in found:
                found.add(below)
                left.append(below)
    return found


def picture():
    """The arrows of the picture between files. A box may stand for several files."""
    text = (pathlib.Path(SOURCES) / "docs/pictures/layers.dot").read_text()
    boxes = {}
    for folder, body in re.findall(r'label="src/(\w+):.*?;(.*?)^    }', text, re.MULTILINE | re.DOTALL):
        for box, names in re.findall(r'(\w+) \[label="([^"\\]+)\\n', body):
            boxes[box] = [(folder, name) for name in names.split(", ")]
    arrows = [(boxes[upper], boxes[lower]) for upper, lower in re.findall(r"(\w+) -> (\w+)", text)]
    return [file for box in boxes.values() for file in box], arrows


CALLS = calls()
SHOWN, ARROWS = picture()
if len(CALLS) < 10:
    fail(f"{LIBRARY}: {len(CALLS)} files with calls are too few to be all of them")
drawn = collections.defaultdict(set)
for upper, lower in ARROWS:
    if not any(below in CALLS.get(file, ()) for file in upper for below in lower):
        fail(f"layers.dot: {upper[0]} does not call {lower[0]}")
    for file in upper:
        drawn[file].update(lower)
for box in {tuple(side) for arrow in ARROWS for side in arrow}:
    for file in box:
        drawn[file].update(set(box) - {file})
for file, below in sorted(CALLS.items()):
    if below and file not in SHOWN:
        fail(f"layers.dot: {file} is not shown")
    for other in sorted(below):
        if other not in reach(drawn, file):
            fail(f"layers.dot: no way leads from {file} to {other}")
sys.exit(failed)
