#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Usage: layers.py ARCHIVE [DIRECTORY...]: calls between files only go down. The linker symbols of the library's objects
(in ARCHIVE) and of pagelock-bench's (in each DIRECTORY) show no circle of files; in the library none of code/ uses
fault/ or uffd/, or the other way round; and none of fault/ uses uffd/."""
import collections
import pathlib
import re
import subprocess
import sys

FOLDERS = ("code", "fault", "uffd")
FORBIDDEN = {("code", "fault"), ("code", "uffd"), ("fault", "code"), ("uffd", "code"), ("fault", "uffd")}


def unit(name):
    """code_page.c.o, of libpagelock.a, is code/page; micro.c.o, of pagelock-bench, is micro."""
    stem = re.sub(r"\.c\.o$", "", pathlib.PurePath(name).name)
    folder, _, rest = stem.partition("_")
    return f"{folder}/{rest}" if folder in FOLDERS else stem


def edges(paths):
    """{user: {used: symbol}}: one symbol for each pair of files, and every file as a key."""
    defined, undefined = {}, collections.defaultdict(set)
    for line in subprocess.run(["nm", "-A", "-g", *paths], check=True, capture_output=True, text=True).stdout.splitlines():
        where, kind, symbol = re.fullmatch(r"(.*):[0-9a-f ]* ([A-Za-z]) (\S+)", line).groups()
        name = unit(where.rpartition(":")[2])
        if kind == "U":
            undefined[name].add(symbol)
        else:
            undefined[name]
            defined[symbol] = name
    return {name: {defined[symbol]: symbol for symbol in sorted(symbols) if defined.get(symbol, name) != name}
            for name, symbols in undefined.items()}


def circle(graph):
    """A list of files, each of which uses the next, and the last the first; or an empty one."""
    done = set()

    def visit(name, path):
        if name in path:
            return path[path.index(name):]
        if name in done:
            return []
        found = next(filter(None, (visit(used, path + [name]) for used in sorted(graph[name]))), [])
        done.add(name)
        return found

    return next(filter(None, (visit(name, []) for name in sorted(graph))), [])


def check(title, graph):
    failures = [f"{name} uses {used} ({symbol})" for name, uses in sorted(graph.items())
                for used, symbol in sorted(uses.items())
                if (name.partition("/")[0], used.partition("/")[0]) in FORBIDDEN and "/" in name and "/" in used]
    around = circle(graph)
    if around:
        steps = zip(around, around[1:] + around[:1])
        failures.append("a circle: " + "; ".join(f"{name} uses {used} ({graph[name][used]})" for name, used in steps))
    for failure in failures:
        print(f"FAILED: {title}: {failure}")
    print(f"{title}: {len(graph)} files, {sum(map(len, graph.values()))} pairs of which one uses the other")
    return not failures and len(graph) > 1


archive, *directories = sys.argv[1:]
sound = check("library", edges([archive]))
if directories:
    objects = [path for directory in directories for path in sorted(pathlib.Path(directory).glob("*.o"))]
    sound &= check("pagelock-bench", edges(objects))
sys.exit(not sound)
