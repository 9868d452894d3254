# SPDX-License-Identifier: LGPL-2.1-or-later
"""
ARMv8, multi-copy atomic (Pulte, Flur, Deacon, French, Sarkar, Sewell: Simplifying ARM Concurrency, POPL 2018; Deacon's
axiomatic form). Acquire is LDAR (or LDAXR, CASA), release is STLR (STLXR, CASL), each fence is DMB ISH. The store of an
acquiring read-modify-write is not ordered before what follows.
"""


def allows(x):
    observed = x.rfe | x.coe | x.fre
    exclusive_stores = sum(1 << b for _, b in x.rmw.pairs())
    depends = (x.addr | x.data | x.ctrl.between(x.loads, x.stores) |
               x.addr.then(x.po).between(x.loads, x.stores) |
               (x.ctrl | x.data).then(x.coi) | (x.addr | x.data).then(x.rfi))
    atomic = x.rmw | x.rfi.between(exclusive_stores, x.acquires)
    barrier = (x.across(x.full_fences | x.light_fences) |
               x.po.between(x.releases, x.acquires) |
               x.po.between(x.acquires, x.accesses) |
               x.po.between(x.accesses, x.releases) |
               x.po.between(x.accesses, x.releases).then(x.coi))
    return (observed | depends | atomic | barrier).is_acyclic()
