# SPDX-License-Identifier: LGPL-2.1-or-later
"""Usage: summary.py LEFT-OUT LOG...: the last lines of tests/run, from meson's logs.

Each test that did not run is named with its reason: those that this build does not have (a line each in the file
LEFT-OUT), and those that skipped themselves. A test that skips itself, whole or one function of it, prints a line that
begins with "SKIP: ". A skip without such a line is a failure. Each test that failed is named with its result.
"""
import json
import re
import sys

PASSED = {"OK", "EXPECTEDFAIL"}


def reasons(test):
    """The reasons that a test's output gives, and the functions of it that skipped without one."""
    lines = (test.get("stdout", "") + "\n" + test.get("stderr", "")).splitlines()
    given = [line[len("SKIP: "):] for line in lines if line.startswith("SKIP: ")]
    functions = re.findall(r"^\[  SKIPPED \] (\w+)$", "\n".join(lines), re.MULTILINE)
    silent = [name for name in dict.fromkeys(functions) if not any(reason.startswith(name + ": ") for reason in given)]
    if test["result"] == "SKIP" and not given:
        silent.append("the test")
    return given, silent


def main():
    with open(sys.argv[1], encoding="utf-8") as left_out:
        for line in left_out.read().splitlines():
            if line:
                print("not in this build:", line)
    tests = []
    for path in sys.argv[2:]:
        with open(path, encoding="utf-8") as log:
            tests += [json.loads(line) for line in log]
    unexplained = 0
    for test in tests:
        name = test["name"].rsplit(" / ", 1)[-1]
        given, silent = reasons(test)
        for reason in given:
            print(f"skipped: {name}: {reason}")
        for what in silent:
            print(f"skipped: {name}: FAILED: {what} gives no reason")
        unexplained += len(silent)
        if test["result"] not in PASSED | {"SKIP"}:
            print(f"failed: {name}: {test['result']}")
    passed = sum(test["result"] in PASSED for test in tests)
    skipped = sum(test["result"] == "SKIP" for test in tests)
    print(f"{passed} passed, {len(tests) - passed - skipped} failed, {skipped} skipped")
    return unexplained > 0


sys.exit(main())
