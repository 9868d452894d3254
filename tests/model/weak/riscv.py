# SPDX-License-Identifier: LGPL-2.1-or-later
"""
RISC-V: RVWMO (The RISC-V Instruction Set Manual, volume I, chapter "RVWMO Memory Consistency Model"; the numbers are
those of its rules of preserved program order). Acquire is a load and "fence r,rw", release is "fence rw,w" and a store;
a read-modify-write is an LR and SC pair, which is weaker than an AMO. A full fence is "fence rw,rw", a light one
"fence.tso".
"""


def allows(x):
    # 1: before a store to the same address. (2, loads of one address that read different stores, follows from fr and
    # rfe.)
    preserved = (x.po & x.same_loc).between(x.accesses, x.stores)
    # 3: a load of what an SC of its own thread stored.
    preserved |= x.rfi.between(sum(1 << b for _, b in x.rmw.pairs()), x.loads)
    # 4: fences.
    light = x.across(x.light_fences)
    preserved |= x.across(x.full_fences) | (light - light.between(x.stores, x.loads))
    # 5, 6: acquire and release annotations. 8: an LR before its SC.
    preserved |= x.po.between(x.acquires, x.accesses) | x.po.between(x.accesses, x.releases) | x.rmw
    # 9 to 11: dependencies; 12, 13: pipelines.
    preserved |= x.addr | x.data | x.ctrl.between(x.loads, x.stores)
    preserved |= (x.addr | x.data).then(x.rfi) | x.addr.then(x.po).between(x.loads, x.stores)
    return (preserved | x.rfe | x.co | x.fr).is_acyclic()
