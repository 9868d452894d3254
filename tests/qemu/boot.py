# SPDX-License-Identifier: LGPL-2.1-or-later
"""One boot of one QEMU: its serial line, and how much time each phase of the guest took.

The guest says on the serial line when a phase begins. The processor time of QEMU up to there is read at that moment
from /proc/PID/stat; its last phase ends with the process.
"""
import os
import pathlib
import re
import selectors
import subprocess
import time

HERE = pathlib.Path(__file__).resolve().parent
MARKER = re.compile(r"^==== (\w+)$")
ESCAPE = re.compile(r"\x1b(\[[0-9;?]*[A-Za-z]|.)")
TICK = os.sysconf("SC_CLK_TCK")

# The guest's kernel must neither report nor refuse what a slow host does to its clocks.
APPEND = "console=ttyS0 panic=-1 quiet rcupdate.rcu_cpu_stall_suppress=1 nowatchdog no_timer_check"


class Failed(Exception):
    """The guest hung, or QEMU ended in another way than it should."""


def entered(root, tree, kind, report):
    """The beginning of a command in the chroot, with a tree as /src/qemu."""
    env = [f"PAGELOCK_REPORT={report}"]
    if kind == "debug":
        env.append("LD_LIBRARY_PATH=/opt/debug/lib")
    return ["unshare", "--mount", str(HERE / "enter"), str(root), tree, *env]


def user_command(root, kind, report):
    """The guest's programs one after the other, each in a QEMU of its own, which are children of this one process."""
    tree = "user-stock" if kind == "stock" else "user-ported"
    return [*entered(root, tree, kind, report), "/bin/sh", "/mnt/tests/qemu/guest/user"]


def command(root, kind, smp, tb_size, report):
    """QEMU in the chroot, without a process between it and this one."""
    accel = "tcg,thread=multi" + (f",tb-size={tb_size}" if tb_size else "")
    return [*entered(root, "stock" if kind == "stock" else "ported", kind, report), "/src/qemu/build/qemu-system-x86_64",
            "-machine", "q35", "-L", "/usr/share/qemu", "-L", "/usr/share/seabios",
            "-accel", accel, "-smp", str(smp), "-m", "1024", "-display", "none", "-nodefaults", "-serial", "stdio",
            "-no-reboot", "-kernel", "/build/guest/kernel", "-initrd", "/build/guest/initrd", "-append", APPEND]


def clean_line(raw):
    """A line of the serial line as text, without the terminal's commands."""
    return ESCAPE.sub("", raw.decode("utf-8", "replace")).replace("\r", "").rstrip()


def ticks_of(stat):
    """User and system time, in seconds, of a process and its children that have ended, from the text of /proc/PID/stat.

    The process's name may contain anything.
    """
    user, system, children_user, children_system = map(int, stat.rsplit(")", 1)[1].split()[11:15])
    return (user + children_user) / TICK, (system + children_system) / TICK


class Phases:
    """The times at which phases begin, and what they come to."""

    def __init__(self):
        self.begun = [("boot", time.monotonic(), 0.0, 0.0)]

    def begin(self, name, user, system):
        self.begun.append((name, time.monotonic(), user, system))

    def current(self):
        return self.begun[-1][0]

    def lasted(self):
        """After the end: name, and seconds of wall time, user and system time, of each."""
        return {name: {"wall": after[1] - wall, "user": after[2] - user, "system": after[3] - system}
                for (name, wall, user, system), after in zip(self.begun, self.begun[1:])}


def lines_of(process, deadline, phases):
    """Each line that the guest prints, as soon as it does."""
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            if not selector.select(deadline):
                raise Failed(f"hung in phase {phases.current()}: nothing printed for {deadline} s")
            data = os.read(process.stdout.fileno(), 65536)
            if not data:
                break
            *lines, rest = (rest + data).split(b"\n")
            yield from map(clean_line, lines)
    if rest:
        yield clean_line(rest)


def boot(arguments, deadline, folder):
    """Run QEMU to its end. Returns the phases; what the guest printed is in folder/serial, what QEMU did in stderr."""
    phases = Phases()
    with open(folder / "serial", "w", encoding="utf-8") as serial, open(folder / "stderr", "wb") as stderr:
        process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr)
        try:
            for line in lines_of(process, deadline, phases):
                marker = MARKER.match(line)
                if marker:
                    stat = pathlib.Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8")
                    phases.begin(marker.group(1), *ticks_of(stat))
                serial.write(line + "\n")
                serial.flush()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        finally:
            if process.returncode is None:
                process.kill()
                process.wait()
            process.stdout.close()
    last = phases.current()
    phases.begin("", usage.ru_utime, usage.ru_stime)
    if process.returncode:
        how = f"signal {-process.returncode}" if process.returncode < 0 else f"status {process.returncode}"
        raise Failed(f"QEMU ended with {how} in phase {last}")
    if last != "end":
        raise Failed(f"the guest ended in phase {last}")
    return phases.lasted()
