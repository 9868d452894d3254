#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Usage: build.py --doxygen DOXYGEN [--dot DOT] --version VERSION --output DIRECTORY HEADER...: the reference of the
headers, as HTML in DIRECTORY/html and as manual pages in DIRECTORY/man3. Fails, and writes neither, if doxygen has a
warning."""
import argparse
import pathlib
import shutil
import subprocess
import sys
import tempfile

import man

HERE = pathlib.Path(__file__).resolve().parent


def quoted(paths):
    return " ".join(f'"{path}"' for path in paths)


def doxygen(options, work):
    """HTML and XML in the directory; false if there was a warning."""
    top = options.headers[0].resolve().parent.parent
    settings = (HERE / "Doxyfile").read_text() + f"""
PROJECT_NUMBER = {options.version}
OUTPUT_DIRECTORY = "{work}"
INPUT = {quoted([HERE / "main.dox"] + [header.resolve() for header in options.headers])}
FILTER_PATTERNS = "*.h=\\"{sys.executable}\\" \\"{HERE / "filter.py"}\\""
STRIP_FROM_PATH = "{top}"
STRIP_FROM_INC_PATH = "{top}"
HAVE_DOT = {"YES" if options.dot else "NO"}
DOT_PATH = "{options.dot or ''}"
"""
    return not subprocess.run([options.doxygen, "-"], input=settings, text=True, check=False).returncode


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--doxygen", default="doxygen")
    parser.add_argument("--dot")
    parser.add_argument("--version", required=True)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("headers", type=pathlib.Path, nargs="+")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.output) as name:
        work = pathlib.Path(name)
        if not doxygen(options, work):
            return 1
        (work / "man3").mkdir()
        man.write_pages(work / "xml", work / "man3", options.version)
        for kind in "html", "man3":
            shutil.rmtree(options.output / kind, ignore_errors=True)
            (work / kind).rename(options.output / kind)
    return 0


sys.exit(main())
