#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Usage: reference.py VERSION MAP HEADER...: the reference of the headers is built without a warning, and everything
that the library exports has a manual page and is in the HTML. A declaration without a comment, a comment about a
parameter that there is not, and one that says the same of three parameters, stop the build; a name that is nowhere in the reference is found."""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

TOP = pathlib.Path(__file__).resolve().parents[2]
VERSION, MAP, *HEADERS = sys.argv[1:]
HEADERS = [pathlib.Path(header) for header in HEADERS]
failed = False


def fail(message):
    global failed
    failed = True
    print("FAILED:", message)


def build(headers, output):
    """What doxygen has to say; empty if the reference was built."""
    done = subprocess.run([sys.executable, TOP / "docs/reference/build.py", "--version", VERSION, "--output", output,
                           *headers], text=True, stderr=subprocess.STDOUT, stdout=subprocess.PIPE, check=False)
    return done.stdout + f"status {done.returncode}" if done.returncode else ""


def page_of(pages, name):
    """The text of the manual page that man(1) shows for a name, or None."""
    path = pages / f"{name}.3"
    text = path.read_text() if path.exists() else ""
    link = re.fullmatch(r"\.so man3/(\w+)\.3\n", text)
    return page_of(pages, link.group(1)) if link else text or None


def missing(names, output):
    """Names that the reference lacks, with where they are missing."""
    html = " ".join(path.read_text() for path in (output / "html").glob("*_8h.html"))
    words = set(re.findall(r"\w+", re.sub("<[^>]*>", " ", html)))
    for name in sorted(names):
        text = page_of(output / "man3", name)
        if not text or not re.search(rf"\b{name}\b", text) or ".SH SYNOPSIS" not in text:
            yield f"{name} has no manual page"
        if name not in words:
            yield f"{name} is not in the HTML"


def check_pages(output):
    """Each page names what it is about for whatis(1), has the version, and leads on to pages that there are."""
    for path in sorted((output / "man3").iterdir()):
        text = page_of(output / "man3", path.stem) or ""
        if not re.search(r"^\.SH NAME\n\w+(, \w+)* \\- \S.*\n\.SH", text, re.MULTILINE):
            fail(f"{path.name} has no line for whatis")
        if f'"libpagelock {VERSION}"' not in text:
            fail(f"{path.name} has another version")
        for other in re.findall(r"\\fB(pgl_\w+)\\fP\(3\)", text):
            if not (output / "man3" / f"{other}.3").exists():
                fail(f"{path.name} leads to {other}, which has no page")


def mistake(work, name, header, old, new, expected):
    """The build fails, and says what is expected, when the text of a header has been replaced."""
    top = work / name
    shutil.copytree(HEADERS[0].parent, top / "pagelock")
    path = top / "pagelock" / header
    text = path.read_text()
    if not re.search(old, text, re.DOTALL):
        fail(f"{name}: {header} has no such text any more")
    path.write_text(re.sub(old, new, text, count=1, flags=re.DOTALL))
    said = build([top / "pagelock" / one.name for one in HEADERS], top / "output")
    if not re.search(expected, said) or (top / "output/man3").exists():
        fail(f"{name} was not found: {said or 'the reference was built'}")


if not shutil.which("doxygen"):
    print("SKIP: there is no doxygen")
    sys.exit(77)
with tempfile.TemporaryDirectory() as directory:
    WORK = pathlib.Path(directory)
    NAMES = set(re.findall(r"^    (pgl_\w+);$", pathlib.Path(MAP).read_text(), re.MULTILINE))
    SAID = build(HEADERS, WORK / "whole")
    if SAID or len(NAMES) < 100:
        fail(f"{len(NAMES)} names; doxygen said: {SAID}")
        sys.exit(1)
    for complaint in missing(NAMES, WORK / "whole"):
        fail(complaint)
    if len(list(missing({"pgl_nosuch"}, WORK / "whole"))) != 2:
        fail("a name that is nowhere was not found")
    check_pages(WORK / "whole")
    mistake(WORK, "no-comment", "page.h", r"/\*\*\n \* pgl_page_trylock\(\) .*?\*/", "", "pgl_page_trylock.* not documented")
    mistake(WORK, "no-parameter", "page.h", r"@page: locked by this thread", "@nosuch: locked", "nosuch")
    mistake(WORK, "same-words", "page.h", r"@table: borrowed\n \* @index, @index2: page",
            "@table, @index, @index2: page", "unknown command .@table")
    mistake(WORK, "no-member", "table.h", r"@page_bits: log2", "@nosuch: log2", "nosuch")
    mistake(WORK, "no-constant", "block.h", r"@PGL_TB_DEAD: claimed", "@PGL_TB_NOSUCH: claimed", "PGL_TB_DEAD|NOSUCH")
sys.exit(failed)
