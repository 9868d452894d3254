# SPDX-License-Identifier: GPL-2.0-or-later
"""Finds functions, calls, members and conditional arms of a C file by their names, and edits them in memory."""
import re


class Refused(Exception):
    """An edit did not find exactly what it expects. The text names file and function."""


def blank(text):
    """The same text with comments, strings and characters as spaces; every offset and line stays."""
    pattern = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)
    return pattern.sub(lambda found: re.sub(r'[^\n]', ' ', found.group()), text)


def closing(text, start):
    """The offset of the bracket that closes the one at start, or -1. The text is blanked."""
    pairs = {'(': ')', '{': '}', '[': ']'}
    expected = []
    for offset in range(start, len(text)):
        char = text[offset]
        if char in pairs:
            expected.append(pairs[char])
        elif char in ')}]':
            if char != expected.pop():
                return -1
            if not expected:
                return offset
    return -1


class Source:
    """One file of the tree. Each method is one edit, and raises Refused unless it finds exactly what it names."""

    def __init__(self, path, text):
        self.path = path
        self.text = text

    def refuse(self, where, why):
        raise Refused(f'{self.path}: {where}: {why}')

    def put(self, start, end, new):
        self.text = self.text[:start] + new + self.text[end:]

    def only(self, found, where, what):
        """The one thing that was found."""
        found = list(found)
        if len(found) != 1:
            self.refuse(where, f'{len(found)} {what}, expected 1')
        return found[0]

    # Finding

    def functions(self, name=None, start=0, end=None):
        """(begin, body, end) of each definition of a function, or of all as (name, begin, body, end)."""
        text = blank(self.text)
        found = []
        pattern = re.compile(r'(?<![\w.>])(%s)\s*\(' % (re.escape(name) if name else r'[A-Za-z_]\w*'))
        for call in pattern.finditer(text, start, len(text) if end is None else end):
            close = closing(text, call.end() - 1)
            if close < 0:
                continue
            brace = re.compile(r'\s*\{').match(text, close + 1)
            begin = self.statement_begin(text, call.start())
            # A definition begins in column 0; a control statement does not, and is no name after a type.
            if not brace or begin != text.rfind('\n', 0, begin) + 1 or not text[begin:call.start()].strip():
                continue
            if text[begin] in ' \t#':
                continue
            last = closing(text, brace.end() - 1)
            if last < 0:
                self.refuse(call.group(1) + '()', 'its braces do not match')
            found.append((begin, brace.end(), last) if name else (call.group(1), begin, brace.end(), last))
        return found

    def statement_begin(self, text, offset):
        """The offset of the first character of the statement or declaration that has the one at offset."""
        begin = max(text.rfind(char, 0, offset) for char in ';{}') + 1
        directive = None
        for directive in re.compile(r'^[ \t]*#(?:[^\n]*\\\n)*[^\n]*\n', re.M).finditer(text, begin, offset):
            pass
        if directive:
            begin = directive.end()
        return begin + len(text[begin:offset]) - len(text[begin:offset].lstrip())

    def function(self, name):
        return self.only(self.functions(name), name + '()', 'definitions')

    def calls(self, function, callee, times):
        """(begin, end) of each call, behind its parenthesis, from the last to the first."""
        _, body, last = self.function(function)
        text = blank(self.text)
        found = []
        for call in re.compile(r'(?<![\w.>])%s\s*\(' % re.escape(callee)).finditer(text, body, last):
            found.append((call.start(), closing(text, call.end() - 1) + 1))
        if len(found) != times:
            self.refuse(function + '()', f'{len(found)} calls of {callee}(), expected {times}')
        return found[::-1]

    def names(self, function, names):
        """Refuse unless the function uses each of the names, which a new call passes on."""
        begin, _, last = self.function(function)
        text = blank(self.text)[begin:last]
        for name in names:
            if not re.search(r'(?<![\w.>])%s\b' % re.escape(name), text):
                self.refuse(function + '()', f'no {name} in it, which the new call needs')

    def arms(self, mode, start=0, end=None):
        """The arms for a mode, system or user: (start, end) of the lines between the directives, of each group on user mode."""
        text = blank(self.text)
        stack, found = [], []
        for line in re.compile(r'^[ \t]*#[ \t]*(if|ifdef|ifndef|elif|else|endif)\b([^\n]*)\n', re.M).finditer(text):
            word, rest = line.group(1), line.group(2).strip()
            if word in ('if', 'ifdef', 'ifndef'):
                system = None
                if word == 'ifdef' and rest == 'CONFIG_USER_ONLY' or rest == 'defined(CONFIG_USER_ONLY)':
                    system = False
                elif word == 'ifndef' and rest == 'CONFIG_USER_ONLY' or rest == '!defined(CONFIG_USER_ONLY)':
                    system = True
                stack.append([system, line.end()])
                continue
            if not stack:
                self.refuse('#' + word, 'no condition before it')
            system, begin = stack[-1]
            if system == (mode == 'system') and (end is None or start <= begin <= end):
                found.append((begin, line.start()))
            if word == 'endif':
                stack.pop()
            else:
                stack[-1] = [not system if word == 'else' and system is not None else None, line.end()]
        return found

    def arm_of(self, function, mode):
        """The innermost arm for a mode that has the definition of a function."""
        found = []
        for begin, end in self.arms(mode):
            if self.functions(function, begin, end):
                found.append((begin, end))
        if len(found) != 1:
            self.refuse(function + '()', f'defined in {len(found)} arms for {mode} mode, expected 1')
        return found[0]

    def struct(self, name):
        text = blank(self.text)
        found = self.only(re.compile(r'^struct %s\s*\{' % re.escape(name), re.M).finditer(text),
                          'struct ' + name, 'definitions')
        return found.end(), closing(text, found.end() - 1)

    def member(self, struct, member):
        """(begin, end) of the declaration of a member, which stands on lines of its own."""
        begin, end = self.struct(struct)
        text = blank(self.text)
        pattern = re.compile(r'^[ \t]*[A-Za-z_][\w \t*]*[ \t*]%s\s*(?:\[[^;]*\])?;[ \t]*\n' % re.escape(member), re.M)
        return self.only(pattern.finditer(text, begin, end), 'struct ' + struct, f'members {member}').span()

    # Editing

    def include(self, after, text):
        found = list(re.compile(r'^#include "%s"\n' % re.escape(after), re.M).finditer(self.text))
        if not found:
            self.refuse(f'#include "{after}"', 'not found')
        self.put(found[0].end(), found[0].end(), text + '\n')

    def arm_out(self, functions, instead, mode):
        """Take a whole arm for a mode out. Its functions are exactly those named."""
        begin, end = self.arm_of(functions[0], mode)
        there = sorted({name for name, _, _, _ in self.functions(None, begin, end)})
        if there != sorted(functions):
            extra = sorted(set(there) ^ set(functions))
            self.refuse(functions[0] + '()', f'beside it, expected or found alone: {", ".join(extra)}')
        self.put(begin, end, instead + '\n')

    def arm_becomes(self, function, instead, mode):
        """Replace the arm for a mode inside a function."""
        _, body, last = self.function(function)
        found = self.only(self.arms(mode, body, last), function + '()', f'arms for {mode} mode')
        self.put(*found, instead + '\n')

    def function_out(self, function):
        begin, _, last = self.function(function)
        self.put(begin, last + 1, '/* pagelock.c */')

    def at_begin(self, function, text):
        _, body, _ = self.function(function)
        self.put(body, body, '\n    ' + text)

    def external(self, function):
        """Give a static function external linkage."""
        begin, body, _ = self.function(function)
        found = re.compile(r'static\s+(inline\s+)?').match(self.text, begin, body)
        if not found:
            self.refuse(function + '()', 'not static')
        self.put(begin, found.end(), '')

    def wrap(self, function, callee, wrapper):
        (begin, end), = self.calls(function, callee, 1)
        self.put(begin, end, f'{wrapper}({self.text[begin:end]})')

    def after(self, function, callee, text, times, names):
        """Put a statement behind each statement that calls a function."""
        self.names(function, names)
        for begin, end in self.calls(function, callee, times):
            clean = blank(self.text)
            start = self.statement_begin(clean, begin)
            semicolon = re.compile(r'\s*;').match(clean, end)
            if not semicolon or re.match(r'(if|else|for|while|do|return|case)\b', clean[start:begin + 1]):
                self.refuse(function + '()', f'the call of {callee}() is no statement in braces')
            line = self.text.rfind('\n', 0, start) + 1
            self.put(semicolon.end(), semicolon.end(), '\n' + ' ' * (start - line) + text)

    def at_end(self, function, text, names):
        self.names(function, names)
        _, _, last = self.function(function)
        self.put(last, last, '    ' + text + '\n')

    def at_exits(self, function, text):
        """Put a statement before each return of a function without a result, and at its end."""
        begin, body, last = self.function(function)
        clean = blank(self.text)
        if not re.match(r'(static\s+)?(inline\s+)?void\s', clean[begin:body]):
            self.refuse(function + '()', 'it has a result')
        self.put(last, last, '    ' + text + '\n')
        for found in reversed(list(re.compile(r'\breturn\b').finditer(clean, body, last))):
            if clean[:found.start()].rstrip()[-1] not in ';{}':
                self.refuse(function + '()', 'a return that is no statement in braces')
            line = self.text.rfind('\n', 0, found.start()) + 1
            self.put(found.start(), found.start(), text + '\n' + ' ' * (found.start() - line))

    def macro(self, name, body):
        """Give a macro without a body one."""
        found = self.only(re.compile(r'^#define %s[ \t]*\n' % re.escape(name), re.M).finditer(self.text),
                          name, 'definitions without a body')
        self.put(*found.span(), f'#define {name} {body}\n')

    def member_out(self, struct, member):
        self.put(*self.member(struct, member), '')

    def member_in(self, struct, after, text):
        _, end = self.member(struct, after)
        self.put(end, end, '    ' + text + '\n')

    def member_moved(self, struct, member, after, text):
        self.member_out(struct, member)
        self.member_in(struct, after, text)

    def member_becomes_call(self, function, member, index, call):
        """Replace each use pointer->member[index] in a function by call(pointer)."""
        _, body, last = self.function(function)
        text = blank(self.text)
        found = self.only(re.compile(r'\b(\w+)->%s\[%s\]' % (re.escape(member), index)).finditer(text, body, last),
                          function + '()', f'uses of {member}[{index}]')
        self.put(*found.span(), call.format(found.group(1)))

    def behind_statement(self, begin, text):
        """For a build file: put lines behind the only statement that begins so, in column 0."""
        found = self.only(re.compile(r'^' + re.escape(begin), re.M).finditer(self.text), begin, 'such statements')
        bracket = self.text.find('(', found.start())
        end = closing(re.sub(r"'[^'\n]*'|#[^\n]*", lambda quoted: ' ' * len(quoted.group()), self.text), bracket)
        line = self.text.index('\n', end) + 1
        self.put(line, line, text + '\n')
