# SPDX-License-Identifier: LGPL-2.1-or-later
"""Manual pages from doxygen's XML: one for each function, struct and enum, and one for constants or data that share a
comment. Other names of what a page is about lead to it."""
import re
import xml.etree.ElementTree as tree

# The lines of a comment, in the order of the page.
TITLES = {"Locks": "LOCKS", "Ordering": "MEMORY ORDERING", "Blocks": "WAITING", "Owns": "OWNERSHIP", "Errors": "ERRORS",
          "Source": "SOURCE", "Bindings": "BINDINGS"}


def escape(text):
    """No letter of the text is a command of troff's."""
    return re.sub("^[.]", r"\\&.", text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq"))


def bold(text):
    return f"\\fB{escape(text)}\\fP"


def italic(text):
    return f"\\fI{escape(text)}\\fP"


def inline(node):
    """The text of an element, with the fonts of what is in it."""
    text = escape(node.text or "")
    for child in node:
        inner = "".join(child.itertext())
        text += {"emphasis": italic, "computeroutput": italic, "ref": bold}.get(child.tag, escape)(inner)
        text += escape(child.tail or "")
    return re.sub(r"\s+", " ", text).strip()


def paragraphs(node):
    """The plain paragraphs of a description."""
    return [text for text in map(inline_only, node.findall("para")) if text] if node is not None else []


def inline_only(para):
    """A paragraph without its lists of parameters and its sections."""
    copy = tree.fromstring(tree.tostring(para))
    for child in copy:
        if child.tag in ("parameterlist", "simplesect"):
            tail = child.tail # what follows it is of the paragraph
            child.clear()
            child.tail = tail
    return inline(copy)


def sentence(text):
    """With a capital, unless it begins with a name."""
    return text if re.match(r"\\|\w*[_(]", text) else text[:1].upper() + text[1:]


def sections(node, kind):
    """The sections of a description of a kind: (title, text)."""
    return [("".join(one.find("title").itertext()) if one.find("title") is not None else "",
             " ".join(inline(para) for para in one.findall("para"))) for one in node.iter("simplesect")
            if one.get("kind") == kind]


def described(node):
    return node.find("detaileddescription")


def brief(node):
    text = inline(node.find("briefdescription/para")) if node.find("briefdescription/para") is not None else ""
    return text or (paragraphs(described(node)) or [""])[0]


def typed(node, path):
    """The type of a declaration as it is written in C."""
    found = node.find(path)
    text = "".join(found.itertext()) if found is not None else ""
    return re.sub(r"(?<!\*)\( \*", " (*", re.sub(r" ?\* ?", " *", text)).replace("*( *", "*(*").strip()


def declaration(kind, name, rest=""):
    return f"{kind}{'' if kind.endswith('*') else ' '}{name}{rest}"


def prototype(member):
    parts = []
    for one in member.findall("param"):
        kind, name, array = typed(one, "type"), one.findtext("declname") or "", one.findtext("array") or ""
        pointer = "(*" in kind.replace(" ", "")
        parts.append(re.sub(r"\(\s*\*\s*\)", f"(*{name})", kind) if pointer and name else
                     declaration(kind, name, array) if name else kind)
    return declaration(typed(member, "type"), member.findtext("name")), parts or ["void"]


class Page:
    def __init__(self, names, about, header):
        self.names, self.header, self.lines = names, header, []
        # whatis(1) reads the line: no fonts in it
        self.about = re.sub(r"\\f[BIP]", "", about)
        self.also = []

    def section(self, title, texts):
        texts = [text for text in texts if text]
        if texts:
            self.lines += [f".SH {title}", "\n.PP\n".join(texts)]

    def synopsis(self, lines):
        self.lines += [".SH SYNOPSIS", ".nf", bold(f"#include <{self.header}>"), ".sp"] + lines + [".fi"]

    def tagged(self, title, entries):
        if entries:
            self.lines.append(f".SH {title}")
            for name, text in entries:
                self.lines += [".TP", name, text or "\\ "]

    def closing(self, node):
        """What follows the description, from the lines of the comment."""
        found = dict(sections(node, "par"))
        for tag, title in TITLES.items():
            if tag in found:
                self.section(title, [sentence(found[tag])])
        self.also = re.findall(r"(pgl_\w+)\(\)", found.get("Bindings", ""))
        refs = sorted({"".join(ref.itertext()) for ref in node.iter("ref")})
        refs = [name for name in (re.sub(r"\(\)$", "", ref) for ref in refs) if re.fullmatch(r"pgl_\w+", name)]
        also = [f"{bold(name)}(3)" for name in dict.fromkeys(refs) if name not in self.names] + [f"{bold('libpagelock')}(7)"]
        self.section("SEE ALSO", [", ".join(also)])

    def write(self, directory, version):
        name = self.names[0]
        text = [f'.TH {name} 3 "" "libpagelock {version}" "libpagelock"', ".SH NAME",
                f"{', '.join(self.names)} \\- {self.about}"] + self.lines
        (directory / f"{name}.3").write_text("\n".join(text) + "\n")
        for other in self.names[1:] + self.also:
            (directory / f"{other}.3").write_text(f".so man3/{name}.3\n")


def function_page(member, header):
    page = Page([member.findtext("name")], brief(member), header)
    head, parts = prototype(member)
    indent = "\n    "
    page.synopsis([bold(f"{head}({parts[0]}") + "".join("," + indent + bold(part) for part in parts[1:]) + bold(");")])
    node = described(member)
    page.section("DESCRIPTION", paragraphs(node) or [sentence(brief(member)) + "."])
    page.tagged("PARAMETERS", [(italic(item.findtext("parameternamelist/parametername")),
                                " ".join(map(inline, item.findall("parameterdescription/para"))))
                               for item in node.iter("parameteritem")])
    page.section("RETURN VALUE", [sentence(text) for _, text in sections(node, "return")])
    page.closing(member)
    return page


def members_page(node, name, header, synopsis, members):
    page = Page([name], brief(node), header)
    page.synopsis(synopsis)
    page.section("DESCRIPTION", paragraphs(described(node)))
    page.tagged("MEMBERS", members)
    page.closing(node)
    return page


def struct_page(compound, header):
    members, lines = [], []
    for member in compound.iter("memberdef"):
        name, args = member.findtext("name"), member.findtext("argsstring") or ""
        kind = typed(member, "type")
        lines.append("    " + escape((kind + name + args if "(" in kind else declaration(kind, name, args)) + ";"))
        members.append((italic(name), brief(member)))
    name = compound.findtext("compoundname")
    body = [bold(f"struct {name} {{")] + lines + [bold("};")] if members else [bold(f"struct {name};")]
    return members_page(compound, name, header, body, members)


def enum_page(member, header):
    values = member.findall("enumvalue")
    lines = ["    " + escape(f"{value.findtext('name')} {value.findtext('initializer') or ''}".strip() + ",")
             for value in values]
    name = member.findtext("name")
    return members_page(member, name, header, [bold(f"enum {name} {{")] + lines + [bold("};")],
                        [(bold(value.findtext("name")), brief(value)) for value in values])


def shared_pages(members, header):
    """Constants and data, those that share a comment on one page."""
    groups = {}
    for member in members:
        groups.setdefault("\n".join(paragraphs(described(member))) or brief(member), []).append(member)
    for text, group in groups.items():
        names = [member.findtext("name") for member in group]
        page = Page(names, re.split(r"\. |: ", text.split("\n")[0])[0].rstrip("."), header)
        page.synopsis([bold(f"#define {one.findtext('name')} {one.findtext('initializer') or ''}".strip())
                       if one.get("kind") == "define" else
                       bold(f"extern {declaration(typed(one, 'type').removeprefix('extern '), one.findtext('name'))}"
                            f"{one.findtext('argsstring') or ''};") for one in group])
        page.section("DESCRIPTION", paragraphs(described(group[0])) or [text])
        page.tagged("CONSTANTS", [(bold(one.findtext("name")), brief(one)) for one in group
                                  if paragraphs(one.find("briefdescription")) and paragraphs(described(one))])
        page.closing(described(group[0]))
        yield page


def write_pages(xml, directory, version):
    index = tree.parse(xml / "index.xml").getroot()
    compounds = [tree.parse(xml / f"{one.get('refid')}.xml").getroot().find("compounddef")
                 for one in index.findall("compound") if one.get("kind") in ("file", "struct")]
    for compound in compounds:
        path = compound.find("location").get("file")
        if not path.endswith(".h"):
            continue
        if compound.get("kind") == "struct":
            struct_page(compound, path).write(directory, version)
            continue
        members = {kind: [one for one in compound.iter("memberdef") if one.get("kind") == kind]
                   for kind in ("function", "enum", "define", "variable")}
        pages = [function_page(one, path) for one in members["function"]]
        pages += [enum_page(one, path) for one in members["enum"]]
        for kind in "define", "variable":
            pages += shared_pages(members[kind], path)
        for page in pages:
            page.write(directory, version)
