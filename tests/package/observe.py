# SPDX-License-Identifier: LGPL-2.1-or-later
"""Run by gdb, on the program observed, after src/gdb.py: what the commands print, and the probes that fire. PROBES is 1
if the library has probes; DOCUMENT is the document that lists them; DEBUG is 1 for a lock_debug library."""
import os
import re

import gdb

PROBES, DEBUG = (os.environ[name] == "1" for name in ("PROBES", "DEBUG"))
failed = False


def fail(message):
    global failed
    failed = True
    print("FAILED:", message)


def run_to(where):
    gdb.execute("continue" if gdb.selected_thread() else "run", to_string=True)
    stopped = gdb.parse_and_eval("where").string()
    if stopped != where:
        fail(f"stopped at {stopped} and not at {where}")


def says(command, *lines):
    """The output of a command is these regular expressions, one for each line."""
    text = gdb.execute(command, to_string=True)
    said = text.splitlines()
    if len(said) != len(lines) or not all(map(re.fullmatch, lines, said)):
        fail(f"{command} says\n{text}and not\n" + "\n".join(lines))


def refuses(command, message):
    try:
        gdb.execute(command, to_string=True)
        fail(f"{command} is accepted")
    except gdb.error as error:
        if not re.search(message, str(error)):
            fail(f"{command} says {error}")


def documented():
    """{name: number of arguments} of the table of probes."""
    with open(os.environ["DOCUMENT"], encoding="utf-8") as document:
        rows = re.findall(r"^\| `pagelock:(\w+)` \|[^|]*\|([^|]*)\|", document.read(), re.MULTILINE)
    return {name: len(re.findall(r"`", arguments)) // 2 for name, arguments in rows}


def value(expression):
    return int(gdb.parse_and_eval(expression).cast(gdb.lookup_type("unsigned long long")))


events = []


class Probe(gdb.Breakpoint):
    def __init__(self, name, arguments):
        super().__init__("-probe-stap pagelock:" + name, internal=True)
        self.silent, self.name, self.arguments = True, name, arguments

    def stop(self):
        if value("$_probe_argc") != self.arguments:
            fail(f"{self.name} has {value('$_probe_argc')} arguments, and the document {self.arguments}")
        events.append((self.name, [value(f"$_probe_arg{i}") for i in range(self.arguments)]))
        return False


gdb.execute("set pagination off")
gdb.execute("break stop", to_string=True)

run_to("locks")
first, second = (r" by thread 1 at \S*observed\.c:\d+", r" by thread 2 at \S*emu\.c:\d+") if DEBUG else ("", "")
crossing = f"    block {value('&crossing.tb'):#x} live \\[0x5ff0, 0x5fff\\] \\[0x8000, 0x8003\\]"
head = f"table {value('emu.table'):#x}: pages of 4096 bytes, addresses of 48 bits, 1 leaves, 0 hot pages"
counts = "2 blocks, 0 kills, 0 hits, 0 false alarms, 0 restarts, 0 retries, 0 waits, 0 slept"
page_9 = f"page 0x9, locked{first}; mask 0x0, 0 blocks"
says("pagelock table emu.table", head, counts,
     r"page 0x5, crossed, code; mask 0x8000000000000000, 1 blocks", crossing,
     rf"page 0x7, locked{second}, code; mask 0x3, 1 blocks",
     f"    block {value('&local.tb'):#x} live \\[0x7010, 0x7043\\]",
     r"page 0x8, crossed, code; mask 0x1, 1 blocks", crossing, page_9)
says("pagelock page emu.table 9", page_9)
says("pagelock page emu.table 0x99999", "page 0x99999 has no leaf")
refuses("pagelock", "pagelock table")
refuses("pagelock nonsense emu.table", "pagelock table")
refuses("pagelock table (struct pgl_table *)0", "is NULL")
# An address as the commands print it, and spaces in both expressions.
says(f"pagelock page {value('emu.table'):#x} 9", page_9)
says("pagelock page (struct pgl_table *) emu.table 0x9010 >> 12", page_9)
refuses("pagelock page emu.table", "pagelock page TABLE INDEX")
refuses("pagelock page emu.table nosuch >> 12", 'No symbol "nosuch"')
refuses("pagelock map emu.table", "no struct pgl_map")

run_to("faults")
line = f"object {value('object'):#x}: pages \\[0, 15\\], 0 resident, 1 busy, 1 asked for"
says("pagelock object object", line, r"    pages from 0: busy \[3, 3\], asked \[3, 3\], 1 faults wait")
says("pagelock map map", f"map {value('map'):#x}: 1 entries", rf"    \[100, 115\] shows page 0 of {line}; advice random")

run_to("events")
probes = documented()
if PROBES:
    for name, arguments in probes.items():
        Probe(name, arguments)
run_to("end")
if PROBES:
    table, obj = value("emu.table"), value("object")
    local, unlisted = value("&local.tb"), value("&unlisted.tb")
    names = [name for name, _ in events]
    wanted = ["contention", "retry", "contention", "restart", "contention", "kill", "kill", "fault", "request", "reply",
              "fault_end"]
    if names != wanted:
        fail(f"the probes fired as {names}, and not as {wanted}")
    else:
        for name, arguments in events[:7]:
            if arguments[0] != table:
                fail(f"{name} is of table {arguments[0]:#x}")
        waits = [arguments for name, arguments in events if name == "contention"]
        if waits[1][1] != value("waited_for") or waits[2][1] != value("waited_for") or waits[0][1] == waits[1][1]:
            fail(f"contention is of other pages: {waits}")
        if not all(rounds > 0 for _, _, rounds, _ in waits):
            fail(f"a wait has no rounds: {waits}")
        checks = {1: [table, 5], 3: [table, 5, 2], 5: [table, local, 1], 6: [table, unlisted, 0]}
        fault = events[7][1][0]
        request = events[8][1][1]
        checks |= {7: [fault, 0, obj, 4, 1], 8: [obj, request, 4, 4, 4, 1, 1], 9: [obj, request, 4, 4, 0, 1],
                   10: [fault, 0, 0]}
        for at, arguments in checks.items():
            if events[at][1] != arguments:
                fail(f"{events[at][0]} has the arguments {events[at][1]}, and not {arguments}")
elif "pagelock" in gdb.execute("info probes stap pagelock", to_string=True).replace("No probes", ""):
    fail("a library without probes has some")
if set(probes) != {"contention", "retry", "restart", "kill", "fault", "fault_end", "request", "reply"}:
    fail(f"the document lists {sorted(probes)}")
gdb.execute("delete", to_string=True)
gdb.execute("continue", to_string=True)
if int(gdb.parse_and_eval("$_exitcode")) != 0:
    fail("the program failed")
print("looked at with gdb: " + ("FAILED" if failed else "all as it should be"))
gdb.execute(f"quit {int(failed)}")
