# SPDX-License-Identifier: LGPL-2.1-or-later
"""
POWER (Alglave, Maranget, Tautschnig: Herding Cats, TOPLAS 2014), the only one here whose stores need not reach all
other threads at once. Acquire is a load, a branch on it and isync; release is lwsync and a store; a full fence is sync.
A read-modify-write is a reserving load, a branch, and a conditional store, which is the weakest that compilers make.
"""
from relation import Relation


def preserved_program_order(x):
    """The least solution of the paper's equations for init and commit of instructions."""
    po_loc = x.po & x.same_loc
    changed_by_others = po_loc & x.fre.then(x.rfe)
    detour = po_loc & x.coe.then(x.rfe)
    ii0 = x.addr | x.data | changed_by_others | x.rfi
    ci0 = (x.po.between(x.acquires, x.accesses) - x.rmw) | detour
    cc0 = x.addr | x.data | po_loc | x.ctrl | x.rmw | x.addr.then(x.po).between(x.loads, x.accesses)
    ii, ic, ci, cc = ii0, Relation([0] * x.n), ci0, cc0
    while True:
        grown = (ii0 | ci | ic.then(ci) | ii.then(ii),
                 ii | cc | ic.then(cc) | ii.then(ic),
                 ci0 | ci.then(ii) | cc.then(ci),
                 cc0 | ci | ci.then(ic) | cc.then(cc))
        if grown == (ii, ic, ci, cc):
            break
        ii, ic, ci, cc = grown
    return ii.between(x.loads, x.loads) | ic.between(x.loads, x.stores)


def allows(x):
    light = x.across(x.light_fences)
    # The lwsync in front of a store that releases stands before the load of its read-modify-write.
    parts = {b: a for a, b in x.rmw.pairs()}
    for store in (e.number for e in x.events if x.releases >> e.number & 1):
        first = parts.get(store, store)
        before = x.po.between(x.accesses, 1 << first)
        after = Relation.of(x.n, [(first, b) for b in range(x.n) if b in (first, store) or x.po.has(store, b)])
        light |= before.then(after).between(x.accesses, x.accesses)
    sync = x.across(x.full_fences)
    fences = sync | (light - light.between(x.stores, x.loads))
    happens = preserved_program_order(x) | fences | x.rfe
    if not happens.is_acyclic():
        return False
    happens = happens.any_steps()
    base = (fences | x.rfe.then(fences)).then(happens)
    communicates = (x.rf | x.co | x.fr).any_steps()
    propagates = base.between(x.stores, x.stores) | communicates.then(base.any_steps(), sync, happens)
    return x.fre.then(propagates, happens).is_irreflexive() and (x.co | propagates).is_acyclic()
