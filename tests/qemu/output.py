# SPDX-License-Identifier: LGPL-2.1-or-later
"""The text that a boot leaves: the part that must be equal on every QEMU, and the figures in it."""
import difflib
import re

KERNEL = re.compile(r"^\[ *\d+\.\d+\] ")
# The kernel says these or not, as its clocks go.
CLOCKS = re.compile(r"clocksource|tsc:|hrtimer:|perf:|rcu:|workqueue:|random:|sched_clock", re.IGNORECASE)
WRONG = re.compile(r"^# (\w+): wrong (\d+) of (\d+), ([\d.]+) s: (?:right|WRONG)$")


def comparable(serial):
    """The lines that every QEMU must print: all but figures, and what the kernel says about its clocks."""
    lines = []
    for line in serial.splitlines():
        kernel = KERNEL.match(line)
        if kernel:
            line = line[kernel.end():]
            if CLOCKS.search(line):
                continue
        if line and not line.startswith("# "):
            lines.append(line)
    return lines


def differences(expected, serial):
    """How the second differs from the first, as lines of a diff: none if they agree."""
    diff = difflib.unified_diff(comparable(expected), comparable(serial), "stock", "this", n=1, lineterm="")
    return list(diff)


def wrongs(serial):
    """Of each guest program: how often it was wrong, of how many, and the seconds that it took."""
    found = {}
    for line in serial.splitlines():
        match = WRONG.match(line)
        if match:
            found[match.group(1)] = {"wrong": int(match.group(2)), "of": int(match.group(3)), "s": float(match.group(4))}
    return found


def report(text):
    """The reports of ported QEMUs: the sums of their values by name, and the violations that they found, as text."""
    values, violations = {}, []
    for line in text.splitlines():
        if line.startswith("#"):
            violations.append(line[1:].strip())
        elif line.strip():
            name, value = line.split()
            values[name] = values.get(name, 0) + int(value)
    return values, violations
