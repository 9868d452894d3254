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

sys.dont_write_bytecode = True # the source stays as it is
import filter as headers
import man

HERE = pathlib.Path(__file__).resolve().parent


def quoted(paths):
    return " ".join(f'"{path}"' for path in paths)


def main_page(options):
    """The text of the main page, with each header and the first sentence of its comment."""
    lines = []
    for header in options.headers:
        comment = next(piece for piece in headers.PIECE.findall(header.read_text()) if "SPDX" not in piece)
        about = headers.prose(" ".join(headers.lines_of(comment)).split(". ")[0].rstrip("."))
        lines.append(f'- @ref {header.name} "pagelock/{header.name}": {about}')
    return (HERE / "main.dox").read_text().replace("@HEADERS@", "\n * ".join(lines))


def doxygen(options, work):
    """HTML and XML in the directory; false if there was a warning."""
    top = options.headers[0].resolve().parent.parent
    (work / "main.dox").write_text(main_page(options))
    settings = (HERE / "Doxyfile").read_text() + f"""
PROJECT_NUMBER = {options.version}
OUTPUT_DIRECTORY = "{work}"
INPUT = {quoted([work / "main.dox"] + [header.resolve() for header in options.headers])}
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
