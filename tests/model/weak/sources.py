# SPDX-License-Identifier: LGPL-2.1-or-later
"""The functions of the library that order memory, and how, read from its source."""
import collections
import pathlib
import re

FUNCTION = re.compile(r"(\w+)\([^;]*$")
COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
# The builtin wants the order of a swap that succeeds to be no weaker than that of one that fails.
SWAP = re.compile(r"__ATOMIC_ACQ_REL,\s+__ATOMIC_ACQUIRE")
ORDERS = {
    r"__ATOMIC_(ACQUIRE|ACQ_REL)": "acquire",
    r"__ATOMIC_(RELEASE|ACQ_REL)": "release",
    r"__ATOMIC_SEQ_CST|\bpgl_fence(_after_lock)?\(\)|\bpgl_table_fence_(bracket|check)\(": "fence",
}
# Fences themselves: what they are made of depends on the compiler. What calls them is looked at.
FENCES = {"pgl_fence", "pgl_fence_after_lock", "pgl_table_fence_bracket", "pgl_table_fence_check"}
# The records of a lock_debug library, which has a lock for them.
WITNESS = re.compile("witness")


def bodies(text):
    """The text of each function, by its name: all from the line that begins a definition to the next one."""
    found = collections.defaultdict(str)
    name = None
    for line in COMMENT.sub(" ", text).splitlines():
        if re.match(r"[A-Za-z]", line) and FUNCTION.search(line):
            name = re.search(r"(\w+)\(", re.sub(r"__attribute__\(\(.*?\)\)", "", line))
            name = name and name.group(1)
        elif name:
            found[name] += line + "\n"
    return found


def orderings(top):
    """By function: its file, and how many acquires, releases and fences it has. Of src/ and include/."""
    found = {}
    paths = list(pathlib.Path(top).glob("src/**/*.[ch]")) + list(pathlib.Path(top).glob("include/**/*.h"))
    for path in sorted(path for path in paths if not WITNESS.match(path.name)):
        for name, body in bodies(path.read_text()).items():
            body = SWAP.sub("__ATOMIC_RELEASE, __ATOMIC_ACQUIRE", body)
            counts = {kind: len(re.findall(order, body)) for order, kind in ORDERS.items() if re.search(order, body)}
            if counts and name not in FENCES:
                found[name] = (path.relative_to(top), counts)
    return found
