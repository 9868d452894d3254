# SPDX-License-Identifier: LGPL-2.1-or-later
"""
RC11: what the C11 memory model promises (Lahav, Vafeiadis, Kang, Hur, Dreyer: Repairing Sequential Consistency in
C/C++11, PLDI 2017), for accesses that are relaxed, acquire or release, and fences. A release sequence goes on through
read-modify-writes only, as since C++20, which is weaker. Dependencies mean nothing here.
"""
from relation import Relation


def allows(x):
    fences = x.full_fences | x.light_fences
    same = Relation.identity(x.n)
    # A store that releases, or one that follows a fence; and likewise a load that acquires, or one before a fence.
    from_release = same.between(x.releases, x.releases) | x.po.between(fences, x.stores)
    to_acquire = same.between(x.acquires, x.acquires) | x.po.between(x.loads, fences)
    sequence = x.rf.then(x.rmw).any_steps().between(x.stores, x.stores)
    synchronizes = from_release.then(sequence, x.rf, to_acquire)
    before = (x.po | synchronizes).closure()
    communicates = (x.rf | x.co | x.fr).closure()
    if not before.is_irreflexive() or not before.then(communicates).is_irreflexive():
        return False
    if not (x.po | x.rf).is_acyclic():
        return False
    around = before | before.then(communicates, before)
    return around.between(x.full_fences, x.full_fences).is_acyclic()
