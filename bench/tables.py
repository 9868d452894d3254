# SPDX-License-Identifier: LGPL-2.1-or-later
"""Write RESULTS/PROCESSOR.md, and PROCESSOR.json with the rows to draw, from the outputs of bench/figures in DIRECTORY. Usage: tables.py DIRECTORY RESULTS"""
import contextlib
import io
import json
import pathlib
import re
import sys

OUT = pathlib.Path(sys.argv[1])
RESULTS = pathlib.Path(sys.argv[2])
PAGE = 4096
COSTS = {"cheap": "3,200 and 1,130 ns", "dear": "88,000 and 7,600 ns", "dearest": "110,000 and 2,600 ns"}
# Runs, and the first of the recordings that their sets are made of.
SIMILAR = (("java-start-json", "java-start-hello"), ("java-service-md5", "java-service-sha"), ("javac-words", "javac-service"),
           ("javac-service", "javac-words"), ("clang-pch-map", "clang-pch-tree"))
OTHER = (("java-service-sha", "java-jdeps"), ("java-service-sha", "javac-words"), ("java-jdeps", "java-service-sha"),
         ("javac-words", "java-service-sha"), ("javac-words", "java-start-hello"), ("clang-pch-query", "clang-pch-map"))


def rows(name, **members):
    """The JSON lines of a file that have these members."""
    path = OUT / (name + ".json")
    lines = path.read_text().splitlines() if path.exists() else []
    return [row for row in map(json.loads, lines) if all(row.get(key) == value for key, value in members.items())]


def one(name, **members):
    found = rows(name, **members)
    return found[0] if found else None


def ratio(name, **members):
    row = one(name, bench="ratio", **members)
    return row and row["ratio_median"]


def inverse(value):
    return value and 1 / value


def counts(case):
    """Instructions of each call that callgrind saw, the warm-up's left out."""
    path = OUT / (case + ".callgrind")
    calls = [int(line) for line in path.read_text().split()] if path.exists() else []
    return calls[len(calls) // 2:]


def say(figure, target, reached, met, form="{:.2f}"):
    shown = "not measured" if reached is None else form.format(reached)
    verdict = "" if reached is None else "yes" if met(reached) else "NO"
    print(f"| {figure} | {target} | {shown} | {verdict} |")


def at_least(figure, target, reached, form="{:.2f}"):
    say(figure, f"at least {target}", reached, lambda value: value >= target, form)


def at_most(figure, target, reached, form="{:.2f}"):
    say(figure, f"at most {target}", reached, lambda value: value <= target, form)


def exactly(figure, target, reached):
    say(figure, f"exactly {target}", reached, lambda value: value == target, "{}")


def replays():
    for threads, targets in (1, (15, 6)), (2, (10, 4)):
        for trace, target in zip(("code-luajit", "code-linux-boot"), targets):
            hits = [one(f"replay-{threads}", bench="replay", trace=trace, impl=impl) for impl in ("plain", "pagelock")]
            hits = " and ".join(str(row["stores_hit"]) for row in hits if row)
            at_least(f"replay `{trace}`, {threads} thread{'s' * (threads > 1)}, `plain` / `pagelock` "
                     f"(stores hit: {hits})", target,
                     ratio(f"replay-{threads}", trace=trace, a="plain", b="pagelock"))
    for trace in "code-luajit", "code-linux-boot":
        row = one("replay-1", bench="replay", trace=trace, impl="pagelock")
        share = row and 100 * row["stores_unlocked"] / (row["stores"] - row["stores_hit"])
        at_least(f"stores that hit nothing answered without a lock, `{trace}`, %", 98, share)


def locks():
    at_most("link into an unshared page, time against `plain`", 1.2, inverse(ratio("micro", case="link", a="plain")))
    for case in "store-far", "store-near":
        at_most(f"store check that hits nothing (`{case}`) against a bare fence", 2.2,
                inverse(ratio("micro", case=case, a="fence")))
        at_least(f"the same on disjoint pages (`{case}`), throughput of 2 threads over 1", 1.8,
                 ratio("micro", case=case, a="pagelock on 1 threads of 16 pages") or
                 ratio("micro", case=case, a="pagelock on 1 threads"))
    for case, what in ("lock", "one page again and again"), ("lock-16", "16 pages in turn"):
        at_most(f"lock and unlock against exchange and store, {what}", 1.2,
                inverse(ratio("micro", case=case, a="exchange+store", b="pagelock")))
    for case in "contended-hot", "contended-hot-400", "contended-16", "contended-16-400":
        at_least(f"`{case}`, throughput of 16 threads over 2", 0.8,
                 ratio("contended", case=case, a="pagelock on 2 threads", b="pagelock on 16 threads"))


def collections():
    for case, pages, target in (("collection-empty", 1, 4), ("collection-16", 64, 25), ("collection-next", 64, 8),
                                ("collection-far", 64, 4)):
        at_least(f"`{case}`, {pages} page{'s' * (pages > 1)}, `plain` / `pagelock`", target,
                 ratio("micro", case=case, pages=pages))
    for pages, count in list(zip((1, 2, 8, 64, 512), counts("collection-empty")))[2:]:
        at_most(f"`collection-empty`, instructions per page, {pages} pages", 60, count / 16384)
    wide = one("micro", bench="micro", case="range", impl="pagelock", pages=1 << 28)
    at_most("an empty range of 1 TiB invalidated, ns", 1000, wide and wide["ns_per_op"])
    # the calls are plain's and the library's in turn; both cases have 10,000 blocks
    few, many = counts("page-100"), counts("page-10000")
    at_most("instructions per block, page of 10,000 over page of 100", 1.1, many[1] / few[1] if few and many else None)
    page, leaf = map(int, (OUT / "sizes").read_text().split())
    at_most("bytes per page", 16, page, "{}")
    at_most("a leaf's header, % of its 512 pages", 2, 100 * (leaf / (512 * page) - 1))


def kills():
    fan = [row["ratio_median"] for row in rows("micro", bench="ratio", case="collection-fan", a="plain")]
    at_least("`collection-fan`, `plain` / `pagelock`, the least of all sizes", 1, min(fan, default=None))
    for case in "store-begin-empty", "store-begin-256":
        at_most(f"`{case}` against a lock and an unlock", 2, ratio("micro", case=case, a="pagelock", b="lock"))
    for way in "array", "predicate":
        at_most(f"`evict`, {way} against flush", 20, ratio("micro", case="evict", a=way, b="flush"))


def faults():
    for name, policy, numbers in (("faults", "none", (21482, 1572, 2698)),
                                  ("faults-0-7", "sequential", (2693, 388, 1086))):
        for trace, number in zip(("fault-sqlite-scan", "fault-git-log", "fault-vm-resume"), numbers):
            row = one(name, bench="replay", trace=trace, policy=policy)
            exactly(f"faults of `{trace}`, `{policy}`{', 0 before, 7 after' * ('0' in name)}", number,
                    row and row["faults"])
    for name, costs, mean, worst in (("faults", "3,200 and 1,130 ns", 1.02, 1.12),
                                     ("faults-dear", "88,000 and 7,600 ns", 1.10, 1.25),
                                     ("faults-dearest", "110,000 and 2,600 ns", 1.25, 1.4)):
        row = one(name, bench="standing", policy="adaptive")
        at_most(f"`adaptive` over the best fixed window, {costs}, geometric mean", mean, row and row["to_best_mean"])
        at_most("the same, the worst trace", worst, row and row["to_best_worst"])
        at_most("`adaptive` over page by page, the worst trace", 1.05, row and row["to_none_worst"])
    row = one("micro", bench="micro", case="cluster", impl="pagelock")
    at_most("a decision by residency bitmap, 32 pages, ns", 40, row and row["ns_per_op"])
    if row and counts("cluster"):
        print(f"| the same, instructions | | {counts('cluster')[-1] / row['ops']:.0f} | |")
    speed = {row["advice"]: row["mb_per_s"] for row in rows("pager-memory", order="sequential", via="uffd")}
    at_least("userfaultfd, a file in memory, in sequence, `sequential` over page by page, MB/s", 3,
             speed["sequential"] / speed["none"] if speed else None)
    for case, what, most, times in (("hand-over", "a page at random", 6.5, 10),
                                    ("hand-over-32", "a page in order, 32 a request", 2.1, 1.5)):
        ns = ns_of("micro", case=case, impl="pager")
        at_most(f"userfaultfd, {what}, us", most, ns and ns / 1000)
        at_least("the same, a handler that others would write (`queue`) over the pager", times,
                 inverse(ratio("micro", case=case, a="pager", b="queue")))
    row = one("program", advice="adaptive")
    at_most("`pager --program`, `adaptive` over mmap", 1.3, row and row["times_mmap"])
    for costs, text in COSTS.items():
        at_most(f"a run with the set of a similar one, over the best fixed window, {text}, the worst", 0.8,
                dearest(SIMILAR[:4], costs))
        at_most(f"with the set of another program, {text}, the worst", 1,
                dearest(OTHER, costs))
    row = one("pager", order="random", via="uffd", advice="random")
    at_most("userfaultfd, at random under `random`, bytes read over bytes needed", 1.1,
            row and row["bytes_read"] / row["bytes_needed"])


def table(title, heads, lines):
    print(f"\n{title}\n\n| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for line in lines:
        print(f"| {' | '.join(line)} |")


def number(value, digits=1):
    return "" if value is None else f"{value:,.{digits}f}"


def ns_of(name, **members):
    row = one(name, bench="micro", **members)
    return row and row["ns_per_op"]


def in_order(name, key, **members):
    """The values of a member, each once, as they come."""
    return list(dict.fromkeys(row[key] for row in rows(name, **members)))


def replayed():
    impls = ("plain", "global", "pagelock")
    lines = []
    for trace in "code-linux-boot", "code-luajit", "code-node":
        for threads in 1, 2, 4, 8:
            name = f"replay-{threads}"
            found = [one(name, bench="replay", trace=trace, impl=impl) for impl in impls]
            ratios = [ratio(name, trace=trace, a=impl, b="pagelock") for impl in impls[:2]]
            lines.append((f"`{trace}`", str(threads)) + tuple(number(row and row["ns_per_event"]) for row in found) +
                         tuple(number(value, 2) for value in ratios))
    table("Replays, ns per event of all threads",
          ("trace", "threads") + impls + ("plain / pagelock", "global / pagelock"), lines)


def uncontended():
    # Cases that have a table of their own are left out.
    cases = [case for case in in_order("micro", "case", bench="micro")
             if not re.match("collection|cluster|fault|hand-over|waiting", case)]
    lines = []
    for case in cases:
        for row in rows("micro", bench="micro", case=case):
            lines.append((f"`{case}`", row["impl"], str(row["threads"]), f"{row['pages']:,}", number(row["ns_per_op"])))
    table("Single operations, ns each, all threads taken together", ("case", "implementation", "threads", "pages", "ns"), lines)


def growing():
    sizes = (1, 2, 8, 64, 512)
    lines = []
    for case in "collection-empty", "collection-16", "collection-next", "collection-far":
        for impl in "plain", "pagelock":
            cells = [ns_of("micro", case=case, impl=impl, pages=pages) for pages in sizes]
            lines.append((f"`{case}`", impl) + tuple(number(ns and ns / pages) for ns, pages in zip(cells, sizes)))
    table("Collections, ns per page", ("case", "implementation") + tuple(map(str, sizes)), lines)

    sizes = in_order("micro", "pages", bench="micro", case="collection-fan")
    lines = []
    for impl in "plain", "pagelock":
        cells = [ns_of("micro", case="collection-fan", impl=impl, pages=pages) for pages in sizes]
        lines.append((impl,) + tuple(number(ns and ns / pages) for ns, pages in zip(cells, sizes)))
    table("`collection-fan`, ns per page", ("implementation",) + tuple(f"{n:,}" for n in sizes), lines)


def contended():
    threads = (1, 2, 4, 8, 16)
    for case in in_order("contended", "case", bench="micro"):
        lines = []
        for impl in in_order("contended", "impl", bench="micro", case=case):
            cells = [ns_of("contended", case=case, impl=impl, threads=n) for n in threads]
            lines.append((impl,) + tuple(number(ns and 1000 / ns, 2) for ns in cells))
        table(f"`{case}`, million operations per second, by threads", ("lock",) + tuple(map(str, threads)), lines)


def waiting():
    cases = [(case, threads) for case in ("waiting", "waiting-400") for threads in (2, 16)]
    lines = []
    for impl in in_order("micro", "impl", bench="micro", case="waiting"):
        lines.append((impl,) + tuple(number(ns_of("micro", case=case, impl=impl, threads=threads), 0)
                                     for case, threads in cases))
    table("Ways to wait, ns per operation", ("manner", "2 threads", "16 threads", "2, held 400 ns", "16, held 400 ns"), lines)


def delays():
    found = rows("latency", bench="latency")
    lines = [(f"`{row['op']}`", f"{row['calls']:,}") + tuple(f"{row['ns_' + key]:,}" for key in ("p50", "p99", "p999", "max"))
             for row in found]
    table("Single calls beside threads that translate, invalidate ranges and flush, ns each",
          ("call", "calls", "median", "99 %", "99.9 %", "longest"), lines)


def paged():
    for name, title in ("pager", "A file on disk paged in"), ("pager-memory", "A file in memory paged in"):
        lines = [(row["order"], row["via"], row["advice"], number(row["mb_per_s"], 0), f"{row['faults']:,}",
                  number(row["bytes_read"] / row["bytes_needed"], 2)) for row in rows(name)]
        table(title, ("order", "via", "advice", "MB/s", "faults", "bytes read over needed"), lines)


def handed_over():
    cases = [(name, case) for case in ("hand-over", "hand-over-32") for name in ("micro", "alone")]
    lines = []
    for impl in in_order("micro", "impl", bench="micro", case="hand-over"):
        cells = [ns_of(name, case=case, impl=impl) for name, case in cases]
        ratios = [ratio(name, case=case, a="pager-sigbus" if impl == "signal" else "pager", b=impl) for name, case in cases]
        lines.append((f"`{impl}`",) + tuple(number(ns and ns / 1000, 2) + (f" ({times:.2f})" if times else "")
                                            for ns, times in zip(cells, ratios)))
    table("The hand-over, a file in memory, us per page (and the pager's time over it; over `signal`, that of `pager-sigbus`)",
          ("", "at random", "at random, one processor", "in order, 32 at a time", "the same, one processor"), lines)


def program():
    lines = [(row["via"], row["advice"], number(1e3 * row["seconds"], 0), number(row["times_mmap"], 2), f"{row['faults']:,}",
              number(row["bytes_read"] / 2**20, 0)) for row in rows("program")]
    table("`pagelock-bench pager --program`: six queries of sqlite3, a database of 200 MB",
          ("via", "advice", "ms", "times mmap", "faults", "MiB read"), lines)


def with_set(held, of, costs):
    """What a run costs over the best fixed window: with the set, and the clairvoyant."""
    name = f"workset-{held}-of-{of}-{costs}"
    row, best = one(name, bench="replay", policy="adaptive"), one(name, bench="yardstick", window="clairvoyant")
    return row and row["to_best"], best and best["to_best"]


def dearest(pairs, costs):
    """The most that one of these runs costs, or None when one was not measured."""
    cells = [with_set(*pair, costs)[0] for pair in pairs]
    return None if None in cells else max(cells)


def worksets():
    lines = []
    for held, of in SIMILAR + OTHER:
        cells = [with_set(held, of, costs) for costs in COSTS]
        lines.append((held, of) + tuple(f"{number(cell, 2)} ({number(best, 2)})" for cell, best in cells))
    table("Working sets: a run with the set of another, over its best fixed window (the clairvoyant)",
          ("run", "set of",) + tuple(COSTS.values()), lines)


def processor():
    row = one("machine", bench="machine")
    return row["processor"] if row else "unknown processor"


def file_name(name):
    return re.sub(r"[^a-z0-9]+", "-", name.lower().replace("zen ", "zen")).strip("-")


def report(machine):
    print(f"# {processor()}\n")
    print("`bench/figures` wrote this file. [docs/performance.md](../../docs/performance.md) explains the figures.\n")
    print(f"```text\n{machine.strip()}\n```\n\nTargets\n\n| figure | target | reached | met |\n|---|---|---|---|")
    for part in (replays, locks, collections, kills, faults, replayed, uncontended, growing, contended, waiting, delays, paged,
                 handed_over, program, worksets):
        part()


MACHINE = (OUT / "machine").read_text()
with contextlib.redirect_stdout(io.StringIO()) as text:
    report(MACHINE)
RESULTS.mkdir(exist_ok=True)
TABLES = RESULTS / (file_name(processor()) + ".md")
TABLES.write_text(text.getvalue())
# What bench/draw draws.
ROWS = [row for name in ("machine", "replay-1", "replay-2", "contended", "faults") for row in rows(name)
        if row["bench"] in ("machine", "replay", "micro", "yardstick")]
TABLES.with_suffix(".json").write_text("".join(json.dumps(row, separators=(",", ":")) + "\n" for row in ROWS))
print(text.getvalue(), end="")
print(f"Written to {TABLES}, and the rows for bench/draw beside it", file=sys.stderr)
