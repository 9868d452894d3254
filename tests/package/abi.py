#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Usage: abi.py compare|update [--same-layout] LIBRARY INCLUDE DESCRIPTION: compare the shared library with the
description of its binary interface, or write the description anew. update refuses if types changed and PGL_LAYOUT did
not, unless --same-layout says that this is right."""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

MISTAKES, INCOMPATIBLE = 1 | 2, 8  # bits of abidiff's status

arguments = sys.argv[1:]
same_layout = "--same-layout" in arguments
if same_layout:
    arguments.remove("--same-layout")
action, library, include, path = arguments
assert action in ("compare", "update")
path = pathlib.Path(path)
if not shutil.which("abidw"):
    print("SKIP: there is no abidw (Debian's package abigail-tools)")
    sys.exit(77)


def layout_of(text, pattern):
    found = re.search(pattern, text, re.MULTILINE)
    return found and int(found[1])


def describe(target):
    """What the headers define, and nothing of the place where it was compiled. Return the number of the layout."""
    subprocess.run(["abidw", "--headers-dir", include, "--drop-private-types", "--no-show-locs", "--no-corpus-path",
                    "--no-comp-dir-path", "--no-elf-needed", "--exported-interfaces-only", "--drop-undefined-syms",
                    "--no-parameter-names", "--type-id-style", "hash", "--out-file", target, library],
                   check=True)
    layout = layout_of(pathlib.Path(include, "pagelock/version.h").read_text(), r"^#define PGL_LAYOUT (\d+)u$")
    root, _, rest = target.read_text().partition("\n")  # abidiff knows a description by its first bytes
    target.write_text(f"{root}\n  <!-- SPDX-License-Identifier: LGPL-2.1-or-later -->\n"
                      f"  <!-- PGL_LAYOUT {layout} -->\n{rest}")
    return layout


def difference(old, new):
    """abidiff's status, and what it says."""
    run = subprocess.run(["abidiff", "--no-show-locs", old, new], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                         text=True)
    if run.returncode & MISTAKES:
        sys.exit(f"FAILED: abidiff:\n{run.stdout}")
    return run.returncode, run.stdout


with tempfile.TemporaryDirectory() as scratch:
    fresh = pathlib.Path(scratch, "pagelock.abi")
    layout = describe(fresh)
    status, said, described = 0, "", None
    if path.exists():
        status, said = difference(path, fresh)
        described = layout_of(path.read_text(), r"^ *<!-- PGL_LAYOUT (\d+) -->$")
    print(said, end="")
    changed = layout_of(said, r"^Functions changes summary: \d+ Removed, (\d+) Changed")
    if action == "update":
        if changed and layout == described and not same_layout:
            sys.exit(f"FAILED: types changed, and PGL_LAYOUT is still {layout}. Add one to it in "
                     "include/pagelock/version.h, build, and run this again. If compiled programs do not notice the "
                     "change (a new value of an enum), or if no release has had this number:\n"
                     f"  {sys.argv[0]} update --same-layout {library} {include} {path}")
        shutil.copyfile(fresh, path)
    elif status or layout != described:
        breaks = "Programs compiled before do not run with it." if status & INCOMPATIBLE or changed else \
            "Programs compiled before run with it."
        sys.exit(f"FAILED: the library, of layout {layout}, is not as {path.name} describes it, of layout {described}. "
                 f"{breaks} If the change is wanted: ninja -C BUILD abi-update. docs/abi.md says which changes a "
                 "version may make.")
