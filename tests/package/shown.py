#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Usage: shown.py [--update] SOURCES: the documents show the examples as they are. A comment above a block of a document
names what the block shows:

    <!-- docs/examples/x.c -->              the file
    <!-- docs/examples/x.c prints -->       what the file's first comment says that it prints
    <!-- docs/examples/x.c docs/examples/y.c 1-2 -->
                                            the first two differences from the one to the other, first comments aside

A document that shows a difference shows all of the two files, in their order. The README and the tutorial have no block
of C without such a comment, and each example is shown or named by some document. An example, and a step of the tutorial,
has fewer than 150 lines.
--update writes the blocks anew."""
import difflib
import pathlib
import re
import sys

BLOCK = re.compile(r"^<!-- (docs/examples/\S+)(?: (prints)| (docs/examples/\S+) (\d+)(?:-(\d+))?)? -->\n```(\w+)\n(.*?)^```$",
                   re.MULTILINE | re.DOTALL)
CONTEXT = 2
LINES_MAX = 149  # of an example, which the module of Python is not


def code(path):
    """The lines behind the first comment."""
    return re.sub(r"\A.*?^ \*/\n", "", path.read_text(), flags=re.DOTALL | re.MULTILINE).splitlines()


def hunks(before, after):
    """The differences of two files, each a text that begins with a line @@."""
    lines = list(difflib.unified_diff(code(before), code(after), lineterm="", n=CONTEXT))[2:]
    text = "\n".join("@@" if line.startswith("@@") else line for line in lines) + "\n"
    return re.split(r"^(?=@@$)", text, flags=re.MULTILINE)[1:]


def prints(path):
    comment = re.search(r"^ \* prints:\n(.*?)^ \*/$", path.read_text(), re.MULTILINE | re.DOTALL).group(1)
    return "".join(line[len(" *     "):] + "\n" for line in comment.splitlines() if line.startswith(" *     "))


class Document:
    def __init__(self, top, path, update):
        self.top, self.path, self.update, self.text, self.failures = top, path, update, path.read_text(), []
        self.seen = {}  # the hunks that are shown of each pair of files

    def shown(self, match):
        """The language and the lines of a block, as they should be."""
        name, output, other, first, last, _, _ = match.groups()
        if output:
            return "text", prints(self.top / name)
        if not other:
            return "cpp" if name.endswith(".cpp") else "c", (self.top / name).read_text()
        all_hunks = hunks(self.top / name, self.top / other)
        seen = self.seen.setdefault((name, other), [])
        numbers = range(int(first), int(last or first) + 1)
        if list(numbers) != list(range(len(seen) + 1, len(seen) + 1 + len(numbers))) or numbers[-1] > len(all_hunks):
            self.failures.append(f"difference {numbers[0]} of {name} to {other} is out of order, or does not exist")
            return match.group(6), match.group(7)
        seen += numbers
        return "diff", "".join(all_hunks[number - 1] for number in numbers)

    def corrected(self):
        def block(match):
            language, lines = self.shown(match)
            if (language, lines) != match.group(6, 7) and not self.update:
                self.failures.append(f"this block is not as it should be: {match.group().splitlines()[0]}")
            return f"{match.group().splitlines()[0]}\n```{language}\n{lines}```"

        text = BLOCK.sub(block, self.text)
        for (name, other), seen in self.seen.items():
            if len(seen) != len(hunks(self.top / name, self.top / other)):
                self.failures.append(f"{len(seen)} of the {len(hunks(self.top / name, self.top / other))} differences "
                                     f"of {name} to {other} are shown")
        if self.path.name in ("README.md", "tutorial.md"):
            unnamed = len(re.findall(r"^```(?:c|diff|text)$", self.text, re.MULTILINE)) - len(BLOCK.findall(self.text))
            if unnamed:
                self.failures.append(f"{unnamed} blocks do not say what they show")
        return text


def main():
    arguments = sys.argv[1:]
    update = "--update" in arguments
    top = pathlib.Path([argument for argument in arguments if argument != "--update"][0])
    failed, texts = False, ""
    for path in sorted([top / "README.md", *top.glob("docs/*.md")]):
        document = Document(top, path, update)
        text = document.corrected()
        texts += text
        if update and text != document.text:
            path.write_text(text)
        for failure in document.failures:
            print(f"FAILED: {path.relative_to(top)}: {failure}")
            failed = True
    for path in sorted(top.glob("docs/examples/**/*.c*")):
        if str(path.relative_to(top / "docs")) not in texts:
            print(f"FAILED: no document names {path.relative_to(top)}")
            failed = True
    for path in sorted(path for path in top.glob("docs/examples/**/*.*") if path.suffix in (".c", ".cpp", ".py", ".rs")):
        if path.parent.name != "pagelock" and len(path.read_text().splitlines()) > LINES_MAX:
            print(f"FAILED: {path.relative_to(top)} has more than {LINES_MAX} lines")
            failed = True
    return failed


sys.exit(main())
