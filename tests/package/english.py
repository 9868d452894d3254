#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Usage: english.py SOURCES: no sentence in a comment of the C source begins with What, Who, Whoever, Whose or
Where. The subject of a sentence is the actor, and stands first."""
import pathlib
import re
import sys

FOLDERS = ("bench", "docs", "include", "src", "tests")
# A string or a character may hold what looks like a comment.
TOKEN = re.compile(r"/\*.*?\*/|//[^\n]*(?:\n[ \t]*//[^\n]*)*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", re.DOTALL)
# Sentences begin at the start of a comment, of a paragraph, of what follows a label or a number, and after an end.
START = re.compile(r"(?:^|\n\s*\n|[.:!?][)\"'`]*\s+|\(|\n\s*(?:-|\(?[a-z0-9]+\)|[A-Z]\d+:?|[A-Z][A-Z ]+[A-Z])\s+)\s*"
                   r"(What|Who|Whoever|Whose|Where)\b(?!\()")


def sentences(comment):
    """The words that begin a sentence which they should not, with their offset in the comment."""
    marks = re.sub(r"^(/\*+|[ \t]*\*(?!/)|[ \t]*//)|\*/$", lambda match: " " * len(match.group()), comment, flags=re.MULTILINE)
    return [(match.start(1), match.group(1)) for match in START.finditer(marks)]


def check(top):
    found = files = 0
    for folder in FOLDERS:
        for path in sorted((top / folder).rglob("*.[ch]")):
            files += 1
            text = path.read_text()
            for token in TOKEN.finditer(text):
                for offset, word in sentences(token.group()) if token.group().startswith("/") else ():
                    found += 1
                    start = token.start() + offset
                    line = text.count("\n", 0, start) + 1
                    print(f"FAILED: {path.relative_to(top)}:{line}: a sentence begins with {word}: "
                          + " ".join(text[start:start + 60].split()))
    return files and not found


# The checker itself: sentences that it finds, and words that it leaves.
for text, words in (("/* What is new. */", ["What"]), ("/* One.\n * Who asks? Two */", ["Who"]), ("// A.\n// Whose it is.", ["Whose"]),
                    ("/*\n * I1: Where it is.\n *\n * Whoever.\n */", ["Where", "Whoever"]), ("// One. Where\n// two", ["Where"]),
                    ("/* the page, what it has\n * Locks: none where it is */", []), ("/* Whatever. Whole. Whether. */", []),
                    ("/** x\n * @a: b\n *\n *  - Where c */", ["Where"]), ("/* PROGRESS  Who\n */", [])):
    assert [word for _, word in sentences(text)] == words, (text, sentences(text))
sys.exit(not check(pathlib.Path(sys.argv[1])))
