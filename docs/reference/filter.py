#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Usage: filter.py HEADER: the header, as doxygen wants to read it.

The comments of the headers have a form of their own: the names with what they do, the parameters or members,
paragraphs, and lines such as "Locks:". Here each documented declaration gets a comment in doxygen's form, and so does
each member of a struct and each constant of an enum. Constants and data that have no comment of their own share the
one above them. What is said of a parameter or a member that there is not becomes a command that doxygen does not know,
and a declaration without a comment stays without; doxygen reports both.
"""
import pathlib
import re
import sys

NAMED = re.compile(r"(?:(?:struct|enum|union) )?(\w+)(?:\([^)]*\))? - (.*)")
ABOUT = re.compile(r"((?:@\w+, )*@\w+): (.*)")
TAG = re.compile(r"(Locks|Ordering|Blocks|Owns|Errors|Source):\s+(.*)")
PIECE = re.compile(r"/\*.*?\*/|#(?:[^\n]*\\\n)*[^\n]*|(?:struct|enum|union) [^;{]*\{.*?^\};|extern \"C\" \{|^\}"
                   r"|[A-Za-z_][^;{#]*;[^\n]*", re.DOTALL | re.MULTILINE)
NOISE = re.compile(r"\b(?:PGL_API|PGL_INLINE) |\s*\bPGL_ANNOTATE\((?:[^()]|\([^()]*\))*\)|\s*\bPGL_NOEXCEPT\b")
DECLARED = re.compile(r"\b(pgl_\w+)(?:\(|\[\];|;)")
EXPORTED = re.compile(r"^PGL_(?:API|INLINE) .*?[ *](pgl_\w+)[(;\[]", re.MULTILINE)
DEFINE = re.compile(r"(#define (PGL_\w+).*?)(?:\s*/\* (.*) \*/)?", re.DOTALL)
MEMBER = re.compile(r"\s+(?:.*\(\*(\w+)\)\(.*|(\w+)(?: = .*)?,|.*[ *](\w+)(?:\[[^\]]*\])?;(?: */\*.*)?)")


def prose(text):
    """A text of the header, with doxygen's own letters escaped and the header's marks made doxygen's."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"([\\#%])", r"\\\1", text)
    text = re.sub(r"@(\w+)", r"<em>\1</em>", text)
    text = re.sub(r"`([^`]+)`", r"<tt>\1</tt>", text)
    return re.sub(r"\b(struct|enum) (pgl_\w+)", r'\1 @ref \2 "\2"', text)


def block(lines):
    return "/**\n" + "".join(f" * {line}".rstrip() + "\n" for line in lines) + " */\n"


def lines_of(comment):
    """The lines of a comment, without its stars."""
    return [re.sub(r"^\s*\* ?", "", line).rstrip() for line in comment.strip("/*").strip().split("\n")]


class Comment:
    """A comment of a declaration, or of several, taken apart."""

    def __init__(self, lines):
        self.names, self.about, self.paragraphs, self.tags = {}, [], [], []
        add = None # what the next line goes on with
        for line in lines:
            named, about, tag = NAMED.fullmatch(line), ABOUT.fullmatch(line), TAG.fullmatch(line)
            if not line:
                add = None
            elif about:
                add = self.begin(self.about, re.findall(r"\w+", about.group(1)), about.group(2))
            elif tag:
                add = self.begin(self.tags, tag.group(1), tag.group(2))
            elif named and not self.about and not self.paragraphs:
                add = self.names.setdefault(named.group(1), [named.group(2)])
            elif add is None:
                add = self.begin(self.paragraphs, None, line)
            else:
                add.append(line.strip())

    @staticmethod
    def begin(entries, key, text):
        words = [text]
        entries.append((key, words))
        return words

    def about_one(self, name):
        return [prose(" ".join(words)) for names, words in self.about if name in names]

    def strangers(self, known):
        """As commands that doxygen does not know: what is said of a name that is not known, or of three names at once."""
        return ([f"@{name} of the comment is not in the declaration" for names, _ in self.about for name in names
                 if name not in known] +
                [f"@{names[0]} shares its words with two others or more" for names, _ in self.about if len(names) > 2])

    def text(self, name, parameters, strangers, others):
        out = ["@brief " + prose(" ".join(self.names[name])), ""]
        if len(self.names) > 1:
            out += [" ".join(f"{one}(): {prose(' '.join(words))}." for one, words in self.names.items()), ""]
        for names, _ in self.about:
            for one in names:
                if one in parameters:
                    out += [f"@param {one} " + " ".join(self.about_one(one)), ""]
        for _, words in self.paragraphs:
            text = prose(" ".join(words))
            out += [re.sub("^Returns ", "@return ", text), ""]
        for tag, words in self.tags:
            out += [f"@par {tag}", prose(" ".join(words)), ""]
        if others:
            out += ["@par Bindings", "In C and C++ the macros and inline functions of the headers call " +
                    ", ".join(f"{other}()" for other in others) + ". Other languages need not.", ""]
        return block(out + strangers)


def parameters(declaration):
    """The names of a prototype's parameters."""
    inside = declaration[declaration.index("(") + 1:declaration.rindex(")")]
    while re.search(r"\([^()]*\)", re.sub(r"\(\*\w+\)", "", inside)): # the parameters of functions that are parameters
        inside = re.sub(r"(\(\*\w+\))\((?:[^()]|\([^()]*\))*\)", r"\1", inside)
    return [re.search(r"(\w+)\W*$", one).group(1) for one in inside.split(",")]


def others_of(header):
    """The names that only the inline headers declare as exported, by the documented names that they belong to."""
    top = header.parent
    public = {name for path in top.glob("*.h") for name in EXPORTED.findall(path.read_text())}
    inner = {name for path in top.glob("inline/*.h") for name in EXPORTED.findall(path.read_text())} - public
    found = {}
    for name in sorted(inner):
        found.setdefault(max((one for one in public if name.startswith(one + "_")), key=len, default=""), []).append(name)
    return found


class Filter:
    """Goes through a header piece by piece."""

    def __init__(self, header):
        self.pieces = PIECE.findall(header.read_text())
        self.others = others_of(header)
        self.prototypes = {DECLARED.search(piece).group(1): NOISE.sub("", piece) for piece in self.pieces
                           if piece.startswith("PGL_") and "(" in piece}
        self.comment = Comment([]) # of the next declarations
        self.shared = None         # lines for the next constants and data
        self.used = True           # whether the shared lines were for any
        self.above = None          # the struct or enum to which the next constants belong

    def about_file(self, lines):
        return block(["@file"] + [prose(line) for line in lines])

    def share(self, lines):
        """Lines that were shared by nothing are about the file."""
        said = "" if self.used else self.about_file(self.shared)
        self.shared, self.used = lines, not lines
        return said

    def piece(self, text):
        if text.startswith("/**"):
            said = self.share(None)
            self.comment = Comment(lines_of(text))
            return said
        if text.startswith("/*"):
            return "" if "SPDX" in text else self.share(lines_of(text))
        if text.startswith("#"):
            return self.directive(text)
        if re.match("struct|enum|union", text) and ("{" in text or re.fullmatch(r"\w+ \w+;.*", text)):
            return self.type(text)
        if text.startswith("PGL_") and "(" in text:
            return self.prototype(NOISE.sub("", text))
        return self.constant(NOISE.sub("", text), None) if text.startswith("PGL_") else ""

    def directive(self, text):
        define = DEFINE.fullmatch(text)
        if define and not define.group(2).endswith("_H"):
            return self.constant(define.group(1), define.group(3))
        return text + "\n" if text.startswith("#include") and "/inline/" not in text else ""

    def constant(self, declaration, own):
        lines = [f"@brief {prose(own[0].upper() + own[1:])}.", ""] if own else []
        if self.shared:
            self.used = True
            lines += [prose(line) for line in self.shared]
        elif not lines and self.above:
            lines = [f"@brief Belongs to {prose(self.above)}."]
        return (block(lines) if lines else "") + declaration + "\n"

    def type(self, text):
        self.above, name = re.match(r"\w+ (\w+)", text).group(0, 1)
        if "{" not in text and name not in self.comment.names:
            return "" # its comment is with another declaration
        body = NOISE.sub("", text) if "{" in text else f"{self.above} {{}};"
        known, out = set(), []
        for line in body.split("\n"):
            member = MEMBER.fullmatch(line)
            if member:
                one = member.group(member.lastindex)
                known.add(one)
                out += [f"    /** {text} */" for text in self.comment.about_one(one)]
            out.append(line)
        said = self.share(None)
        if name in self.comment.names:
            said += self.comment.text(name, (), self.comment.strangers(known), ())
        return said + "\n".join(out) + "\n"

    def prototype(self, text):
        name = DECLARED.search(text).group(1)
        said, self.above = self.share(None), None
        if name in self.comment.names:
            known = {one for each in self.comment.names for one in parameters(self.prototypes.get(each, "(x)"))}
            said += self.comment.text(name, parameters(text), self.comment.strangers(known), self.others.get(name))
        return said + text + "\n"

    def __str__(self):
        guard, first = self.pieces[:2], [piece for piece in self.pieces[:2] if "SPDX" not in piece]
        said = "".join(map(self.about_file, (lines_of(piece) for piece in first if piece.startswith("/*"))))
        return said + "".join(map(self.piece, self.pieces[len(guard):])) + self.share(None)


if __name__ == "__main__":
    print(Filter(pathlib.Path(sys.argv[1])), end="")
