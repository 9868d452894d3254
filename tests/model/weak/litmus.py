# SPDX-License-Identifier: LGPL-2.1-or-later
"""
Litmus tests, and the executions that could lead to their outcome.

A test is a few threads of a few steps: loads, stores, read-modify-writes and fences. Each load names the value that it
returns in the outcome, so that the outcome is part of the steps. An ordering carries the place in the code that gives
it, "function: what", or None where it stands for no single place; weakened() drops one place, and stripped() all.

A step may be a list of accesses: the bytes of one instruction, in no order among each other. A wide access is so a set
of bytes. That is weaker than any processor, which keeps an aligned access in one piece.
"""
import itertools

from relation import Relation

LOAD, STORE, FENCE = "load", "store", "fence"


def acquire(place=None):
    return (("acquire", place),)


def release(place=None):
    return (("release", place),)


class Access:
    """A load, a store, or both in one: a read-modify-write. Dependencies are numbers of earlier steps."""

    def __init__(self, loc, loads=None, stores=None, order=(), addr=(), data=(), ctrl=()):
        self.loc, self.loads, self.stores, self.order = loc, loads, stores, order
        self.addr, self.data, self.ctrl = addr, data, ctrl


class F:
    """Full; or, with light=True, one that orders everything but a store before a load (POWER's lwsync). One with
    x86=False is left out where it follows a locked instruction of x86."""

    def __init__(self, place=None, light=False, x86=True):
        self.order, self.light, self.x86 = (("fence", place),), light, x86


class M:
    """
    membarrier(2): every other thread executes a full fence at some moment between the call and its return, and the
    caller executes one at both ends. unfolded() makes ordinary steps of it, which say what an interrupt does.
    """

    def __init__(self, place=None):
        self.order = (("fence", place),)

    def caller(self, others):
        told = [W("interrupt%d" % t, 1) for t in others]
        return [F(), *told, *[R("answer%d" % t, 1) for t in others], F()]

    @staticmethod
    def interrupted(thread):
        return [R("interrupt%d" % thread, 1), F(), W("answer%d" % thread, 1)]


def R(loc, value, order=(), **depends):
    return Access(loc, loads=value, order=order, **depends)


def W(loc, value, order=(), **depends):
    return Access(loc, stores=value, order=order, **depends)


def U(loc, old, new, order=(), **depends):
    return Access(loc, loads=old, stores=new, order=order, **depends)


class Test:
    """
    @final: what memory holds in the end, as far as that belongs to the outcome. @allowed names the models that allow the
    outcome as the test stands; the others forbid it.
    """

    def __init__(self, name, claim, *threads, init=None, final=None, allowed=()):
        self.name, self.claim, self.init, self.final = name, claim, init or {}, final or {}
        self.allowed = frozenset(allowed)
        self.threads = [[step if isinstance(step, list) else [step] for step in thread] for thread in threads]

    def orderings(self):
        """Each place that is named, with what it gives: acquire, release or fence."""
        return dict.fromkeys((place, what) for thread in self.threads for step in thread for part in step
                             for what, place in part.order if place)

    def places(self):
        return dict.fromkeys(place for place, _ in self.orderings())


def unfolded(test, in_force):
    """The tests of which one must allow the outcome, so that @test does: the interrupts of its membarrier come anywhere."""
    found = [(t, step) for t, steps in enumerate(test.threads) for step, parts in enumerate(steps)
             if isinstance(parts[0], M)]
    if not found:
        return [test]
    (caller, step), = found # one in a test, and no dependencies, which count steps
    barrier, = test.threads[caller][step]
    others = [t for t in range(len(test.threads)) if t != caller]
    called = in_force(barrier.order[0][1])
    places = itertools.product(*[range(len(test.threads[t]) + 1) for t in others]) if called else [()]
    tests = []
    for places_of in places:
        threads = [list(steps) for steps in test.threads]
        threads[caller][step:step + 1] = barrier.caller(others) if called else []
        for t, place in zip(others, places_of):
            threads[t][place:place] = M.interrupted(t)
        tests.append(Test(test.name, test.claim, *threads, init=test.init, final=test.final))
    return tests


class Event:
    """One load, store or fence of a candidate. An initial store has the thread None."""

    def __init__(self, kind, thread, step, part=None, loc=None, value=None):
        self.kind, self.thread, self.step, self.part, self.loc, self.value = kind, thread, step, part, loc, value
        self.number = None


class Candidates:
    """
    The events of a test, and all choices of which store each load reads (rf) and in which order the stores of a
    location reach memory (co) that are coherent and keep read-modify-writes in one piece. Every model demands these.
    """

    def __init__(self, test):
        self.test = test
        self.events = []
        self._make_events()
        self.n = n = len(self.events)
        self.po = Relation.of(n, self._program_order())
        self.same_loc = Relation.of(n, self._pairs(lambda a, b: a.loc is not None and a.loc == b.loc))
        self.external = Relation.of(n, self._pairs(lambda a, b: a.thread != b.thread))
        self.rmw = Relation.of(n, self._rmw)
        self.loads = self.set_of(lambda e: e.kind == LOAD)
        self.stores = self.set_of(lambda e: e.kind == STORE)
        self.addr, self.data, self.ctrl = (self._dependencies(kind) for kind in ("addr", "data", "ctrl"))
        self.choices = list(self._choose())

    def set_of(self, is_member):
        return sum(1 << e.number for e in self.events if is_member(e))

    def _add(self, event):
        event.number = len(self.events)
        self.events.append(event)
        return event

    def _make_events(self):
        self._rmw = []
        for loc in sorted({part.loc for thread in self.test.threads for step in thread for part in step
                           if isinstance(part, Access)}):
            self._add(Event(STORE, None, 0, loc=loc, value=self.test.init.get(loc, 0)))
        for thread, steps in enumerate(self.test.threads):
            for step, part in ((step, part) for step, parts in enumerate(steps) for part in parts):
                if isinstance(part, F):
                    self._add(Event(FENCE, thread, step, part))
                    continue
                made = []
                if part.loads is not None:
                    made.append(self._add(Event(LOAD, thread, step, part, part.loc, part.loads)))
                if part.stores is not None:
                    made.append(self._add(Event(STORE, thread, step, part, part.loc, part.stores)))
                if len(made) == 2:
                    self._rmw.append((made[0].number, made[1].number))

    def _pairs(self, related):
        return [(a.number, b.number) for a in self.events for b in self.events if a is not b and related(a, b)]

    def _program_order(self):
        return self._rmw + self._pairs(lambda a, b: a.thread is not None and a.thread == b.thread and a.step < b.step)

    def _dependencies(self, kind):
        """From the load of a step to what depends on it. What follows a branch depends on it, too."""
        pairs = []
        for e in self.events:
            for d in self.events:
                if e.thread is None or e.thread != d.thread or d.kind != LOAD or not isinstance(e.part, Access):
                    continue
                later = [p for p in self.events if p.thread == e.thread and p.step <= e.step and
                         isinstance(p.part, Access)] if kind == "ctrl" else [e]
                if any(d.step in getattr(p.part, kind) for p in later):
                    pairs.append((d.number, e.number))
        return Relation.of(self.n, pairs)

    def _choose(self):
        loads = [e for e in self.events if e.kind == LOAD]
        sources = [[w for w in self.events if w.kind == STORE and w.loc == r.loc and w.part is not r.part and
                    w.value == r.value] for r in loads]
        orders = []
        for first in (e for e in self.events if e.thread is None):
            others = [e for e in self.events if e.kind == STORE and e.loc == first.loc and e is not first]
            wanted = self.test.final.get(first.loc)
            orders.append([(first,) + order for order in itertools.permutations(others)
                           if wanted is None or ((first,) + order)[-1].value == wanted])
        for order in itertools.product(*orders):
            co = Relation.of(self.n, [(a.number, b.number) for stores in order for i, a in enumerate(stores)
                                      for b in stores[i + 1:]])
            for chosen in itertools.product(*sources):
                rf = Relation.of(self.n, [(w.number, r.number) for w, r in zip(chosen, loads)])
                fr = rf.inverse().then(co)
                torn = self.rmw & (fr & self.external).then(co & self.external)
                if torn.is_empty() and ((self.po & self.same_loc) | rf | co | fr).is_acyclic():
                    yield rf, co, fr


class Execution:
    """One candidate with the orderings that are in force: what a model judges."""

    def __init__(self, candidates, in_force, rf, co, fr):
        self.rf, self.co, self.fr = rf, co, fr
        for name in ("events", "n", "po", "same_loc", "external", "rmw", "loads", "stores", "addr", "data", "ctrl"):
            setattr(self, name, getattr(candidates, name))
        self.rfe, self.coe, self.fre = (r & self.external for r in (rf, co, fr))
        self.rfi, self.coi = rf - self.external, co - self.external

        def having(what, kind, also=lambda part: True):
            return candidates.set_of(lambda e: e.kind == kind and e.part is not None and also(e.part) and
                                     any(w == what and in_force(place) for w, place in e.part.order))

        self.acquires = having("acquire", LOAD)
        self.releases = having("release", STORE)
        self.full_fences = having("fence", FENCE, lambda part: not part.light)
        self.x86_fences = having("fence", FENCE, lambda part: not part.light and part.x86)
        self.light_fences = having("fence", FENCE, lambda part: part.light)
        self.accesses = self.loads | self.stores

    def across(self, fences):
        """From what comes before a fence of the set to what comes after it."""
        everything = (1 << self.n) - 1
        return self.po.between(self.accesses, fences).then(self.po.between(fences, everything & self.accesses))


def as_written(place):
    return True


def weakened(dropped):
    return lambda place: place != dropped


def stripped(place):
    return False


def is_allowed(candidates, model, in_force=as_written):
    """Whether the model allows the outcome of the test, with the orderings that are in force."""
    return any(model.allows(Execution(candidates, in_force, *choice)) for choice in candidates.choices)
