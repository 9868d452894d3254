# SPDX-License-Identifier: LGPL-2.1-or-later
"""Boots in a table. A boot is a dictionary: kind, pair, phases, wrongs, report (boots.py makes them)."""
from statistics import median

# The user time of the ported QEMU, divided by stock's, should be at most this. None: it is shown, and no more.
TARGETS = {"boot": 1.02, "self": 0.2, "own": 0.3, "luajit": 0.73, "node": 0.87, "shell": 1.02}
SMALL_BUFFER = {"boot": 0.95}  # of 8 MiB: other targets do not hold there


def targets(tb_size, user=False):
    if user:
        return {}
    if not tb_size:
        return TARGETS
    return SMALL_BUFFER if tb_size <= 8 else {}


def of_kind(boots, stock):
    return [boot for boot in boots if (boot["kind"] == "stock") == stock]


def pairs(boots):
    """Boots of one round, stock first. A boot without a partner is in no pair."""
    stock = {boot["pair"]: boot for boot in of_kind(boots, True)}
    return [(stock[boot["pair"]], boot) for boot in of_kind(boots, False) if boot["pair"] in stock]


def ratios(boots, phase, unit):
    """Ported divided by stock, of each pair. A phase too short to be measured has none."""
    return [ported["phases"][phase][unit] / stock["phases"][phase][unit] for stock, ported in pairs(boots)
            if stock["phases"][phase][unit] > 0]


def middle(boots, phase, unit):
    return f"{median(boot['phases'][phase][unit] for boot in boots):.2f}" if boots else "-"


def row(boots, phase, limit):
    stock, ported = of_kind(boots, True), of_kind(boots, False)
    user = ratios(boots, phase, "user")
    ratio = f"{median(user):.2f} ({min(user):.2f} to {max(user):.2f})" if user else "-"
    wanted = "" if limit is None else f"{limit}: " + ("-" if not user else "yes" if median(user) <= limit else "NO")
    cells = [phase, middle(stock, phase, "user"), middle(ported, phase, "user"), ratio, wanted,
             middle(stock, phase, "wall"), middle(ported, phase, "wall")]
    return "| " + " | ".join(cells) + " |"


def phase_table(boots, limits):
    return ["| phase | user s, stock | ported | ratio of pairs | at most | wall s, stock | ported |", "|---|---|---|---|---|---|---|",
            *(row(boots, phase, limits.get(phase)) for phase in boots[0]["phases"])]


def wrong_cell(boots, name):
    """All boots together: so many wrong of so many, and the median of the time."""
    cases = [boot["wrongs"][name] for boot in boots if name in boot["wrongs"]]
    if not cases:
        return ["-", "-"]
    return [f"{sum(case['wrong'] for case in cases):,} of {sum(case['of'] for case in cases):,}",
            f"{median(case['s'] for case in cases):.3f}"]


def wrong_table(boots):
    lines = ["| program | wrong, stock | s | wrong, ported | s |", "|---|---|---|---|---|"]
    for name in boots[0]["wrongs"]:
        lines.append("| " + " | ".join([name, *wrong_cell(of_kind(boots, True), name),
                                        *wrong_cell(of_kind(boots, False), name)]) + " |")
    return lines


def report_lines(boots):
    """The counts of the ported QEMU at its exit: medians of the boots."""
    reports = [boot["report"] for boot in boots if boot["report"]]
    if not reports:
        return []
    value = {name: median(report.get(name, 0) for report in reports) for name in reports[0]}
    checks = value.get("checks", 0)
    lines = [f"{int(checks):,} store checks"]
    if checks:
        lines[0] += f", {100 * value.get('checks_without_lock', 0) / checks:.1f} % of them answered without a lock"
    lines += [f"{name}: {int(number):,}" for name, number in value.items() if name not in ("checks", "checks_without_lock")]
    return lines
