#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Usage: workflow.py SOURCES: a host would accept .github/workflows, and its commands name what exists: keys, events
and expressions that hosts know, an image of a Debian that tests/fresh/run knows, packages that apt knows, files of the
source, and steps of .ci/run. Nothing is run, and no network is used."""
import functools
import pathlib
import re
import shutil
import subprocess
import sys

try:
    import yaml
except ImportError:
    print("SKIP: there is no yaml for python3")
    sys.exit(77)

TOP = {"name", "on", "permissions", "concurrency", "jobs"}
EVENTS = {"push", "pull_request", "workflow_dispatch", "schedule"}
JOB = {"name", "needs", "if", "runs-on", "timeout-minutes", "container", "env", "strategy", "steps"}
CONTAINER = {"image", "options", "env", "volumes"}
STEP = {"name", "id", "if", "env", "run", "uses", "with", "shell", "working-directory", "timeout-minutes"}
CHECKOUT = {"repository", "ref", "fetch-depth", "submodules", "path", "persist-credentials"}
PERMISSIONS = {"contents", "actions", "checks", "packages"}
EXPRESSIONS = {"github.ref", "github.sha", "github.event_name", "github.workflow"}


class Checker:
    def __init__(self, top):
        self.top, self.failures = top, []

    def demand(self, truth, what):
        if not truth:
            self.failures.append(what)
        return truth

    def keys(self, node, known, where):
        if self.demand(isinstance(node, dict), f"{where} is no mapping"):
            for key in node.keys() - known:
                self.failures.append(f"{where} has an unknown key: {key}")
            return node
        return {}

    def workflow(self, text):
        for expression in re.findall(r"\$\{\{(.*?)\}\}", text):
            self.demand(expression.strip() in EXPRESSIONS, f"unknown expression: {expression.strip()}")
        top = yaml.load(text, yaml.BaseLoader)  # by which `on` stays a word
        top = self.keys(top, TOP, "the workflow")
        self.demand(set(top.get("on") or ()) <= EVENTS and top.get("on"), f"unknown events: {top.get('on')}")
        for scope, access in self.keys(top.get("permissions", {}), PERMISSIONS, "permissions").items():
            self.demand(access in ("read", "write", "none"), f"unknown permission: {scope}: {access}")
        self.keys(top.get("concurrency", {}), {"group", "cancel-in-progress"}, "concurrency")
        jobs = top.get("jobs")
        for name, job in jobs.items() if self.demand(isinstance(jobs, dict) and jobs, "there is no job") else ():
            self.job(name, self.keys(job, JOB, f"job {name}"))

    def job(self, name, job):
        self.demand(re.fullmatch(r"ubuntu-(latest|\d\d\.04)", str(job.get("runs-on"))), f"{name}: unknown runs-on")
        self.demand(str(job.get("timeout-minutes", "360")).isdigit(), f"{name}: timeout-minutes is no number")
        container = self.keys(job.get("container", {}), CONTAINER, f"{name}: container")
        releases = re.search(r"^releases='(.*)'$", (self.top / "tests/fresh/run").read_text(), re.MULTILINE).group(1)
        self.demand(container.get("image") in ["debian:" + release for release in releases.split()],
                    f"{name}: unknown image: {container.get('image')}")
        steps = job.get("steps")
        for step in steps if self.demand(isinstance(steps, list) and steps, f"{name} has no steps") else ():
            step = self.keys(step, STEP, f"{name}: a step")
            self.demand(("run" in step) != ("uses" in step), f"{name}: a step has run or uses")
            if "uses" in step:
                action = step["uses"]
                self.demand(re.fullmatch(r"actions/checkout@v\d+", action), f"{name}: unknown action: {action}")
                self.keys(step.get("with", {}), CHECKOUT, f"{name}: with")
            else:
                self.demand("with" not in step, f"{name}: a step has run and with")
                self.commands(str(step.get("run")))

    def commands(self, script):
        parsed = subprocess.run(["sh", "-n"], input=script, text=True, capture_output=True, check=False)
        self.demand(parsed.returncode == 0, f"{script}: {parsed.stderr.strip()}")
        for command in re.split(r"&&|\|\||[;\n|]", script):
            words = command.split()
            if words and "/" in words[0]:
                path = self.top / words[0]
                self.demand(path.is_file() and path.stat().st_mode & 0o100, f"there is no program {words[0]}")
            if words[:1] == [".ci/run"]:
                steps = re.search(r"^steps='(.*)'$", (self.top / ".ci/run").read_text(), re.MULTILINE).group(1).split()
                for step in words[1:]:
                    self.demand(step in steps, f".ci/run has no step {step}")
            if words[:1] == ["apt-get"] and "install" in words:
                for package in [word for word in words[words.index("install") + 1:] if not word.startswith("-")]:
                    self.demand(known(package), f"there is no package {package}")


@functools.cache
def packages():
    """The names that apt knows; none where it has no lists, or is not there."""
    if not shutil.which("apt-cache") or not list(pathlib.Path("/var/lib/apt/lists").glob("*_Packages*")):
        return set()
    return set(subprocess.run(["apt-cache", "pkgnames"], capture_output=True, text=True, check=False).stdout.split())


def known(package):
    return not packages() or package in packages()


def failures_of(top, text):
    checker = Checker(top)
    checker.workflow(text)
    return checker.failures


def main(top):
    files = sorted((top / ".github/workflows").glob("*.yml"))
    failures = [f"{file.name}: {failure}" for file in files for failure in failures_of(top, file.read_text())]
    text = files[0].read_text()
    # The checker itself: each of these mistakes is found.
    for right, wrong in (("jobs:", "job:"), ("workflow_dispatch:", "workflow_despatch:"), ("runs-on:", "run-on:"),
                         ("debian:bookworm", "debian:bookwurm"), ("contents: read", "contents: reed"),
                         ("actions/checkout@v4", "actions/checkout"), ("fetch-depth", "fetch_depth"),
                         ("github.ref", "github.reff"), ("- run: .ci/run", "- run: .ci/runs"),
                         ("- run: .ci/run", "- run: .ci/run gcc clank"), ("- run: .ci/run", "- run: if .ci/run"),
                         ("- uses:", "- run: true\n        uses:"), ("timeout-minutes: 120", "timeout-minutes: two"),
                         *([("ca-certificates", "ca-certificate")] if not known("ca-certificate") else [])):
        if right not in text or not failures_of(top, text.replace(right, wrong)):
            failures.append(f"the checker does not find {wrong} in place of {right}")
    for failure in failures:
        print(f"FAILED: {failure}")
    return bool(failures)


sys.exit(main(pathlib.Path(sys.argv[1])))
