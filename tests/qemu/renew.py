#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Usage: renew.py NEW OLD: copy the files of the tree NEW to the tree OLD, those that are not the same there.

The others keep their time, therefore ninja compiles again only what has changed.
"""
import pathlib
import shutil
import sys

new, old = (pathlib.Path(arg) for arg in sys.argv[1:])
for path in sorted(new.rglob("*")):
    twin = old / path.relative_to(new)
    if path.is_symlink() or not path.is_file():
        continue
    if not twin.exists() or path.read_bytes() != twin.read_bytes():
        twin.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, twin)
        twin.chmod(path.stat().st_mode)
        print("changed:", twin)
