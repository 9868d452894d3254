# SPDX-License-Identifier: LGPL-2.1-or-later
"""
x86: total store order (Owens, Sarkar, Sewell: A Better x86 Memory Model, TPHOLs 2009; in the axiomatic form of Alglave,
Maranget, Tautschnig: Herding Cats, TOPLAS 2014). Only a store may be overtaken, by later loads; an mfence and a locked
instruction prevent that. The fence after a lock is left out, as in the library that is built for x86.
"""


def allows(x):
    kept = x.po.between(x.stores, x.stores) | x.po.between(x.loads, x.accesses)
    reads = sum(1 << a for a, _ in x.rmw.pairs())
    writes = sum(1 << b for _, b in x.rmw.pairs())
    locked = x.po.between(x.accesses, reads) | x.po.between(writes, x.accesses)
    return (kept | locked | x.across(x.x86_fences) | x.rfe | x.co | x.fr).is_acyclic()
