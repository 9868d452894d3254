# SPDX-License-Identifier: LGPL-2.1-or-later
"""
Tables with asymmetric fences: the bracket calls membarrier(2), and the check of a store has no fence. docs/locking.md,
tests 2 to 5 again. Thread 0 stores and checks.

A processor may run the two accesses of a check in either order, as long as no interrupt comes between them. M stands
for the interrupt at every place.
"""
from deaths import NARROW, RETIRE
from litmus import F, M, R, Test, U, W, acquire, release
from stores import BEGIN, BRACKETS, CHILD, CODE_BITS, HEAD, MASK, PUT, UNLOCK, lock, short, unlock

SLOW = "pgl_bracket_begin_slow: fence"

TESTS = [
    Test("asymmetric-store/" + short(fence), "a store is seen by the bracket, or the bracket's lock by the store's check",
         [W("guest", 1), R("head", 0, acquire(HEAD))],
         [lock(0, 1), M(fence), R("guest", 0)])
    for fence in BRACKETS if fence != BEGIN
] + [
    Test("asymmetric-code-bit/" + short(bit), "the same for the walks that look for the page's code bit",
         [W("guest", 1), R("code", 0, acquire(bit))],
         [lock(0, 1), U("code", 0, 1), M(SLOW), R("guest", 0)])
    for bit in CODE_BITS
] + [
    Test("asymmetric-new-leaf", "the leaf is put in place by the bracket",
         [W("guest", 1), R("leaf", 0, acquire(CHILD))],
         [U("leaf", 0, 1, release(PUT)), lock(0, 1), M(SLOW), R("guest", 0)]),
    Test("asymmetric-bytes", "a store of two bytes, in no order: neither is old in the block",
         [[W("guest0", 1), W("guest1", 1)], R("head", 0, acquire(HEAD))],
         [lock(0, 1), M(SLOW), [R("guest0", 1), R("guest1", 0)]]),
    Test("asymmetric-just-linked", "an unlocked head brings the mask of its time",
         [W("guest", 1), R("head", 2, acquire(HEAD)), R("mask", 0, acquire(MASK))],
         [lock(0, 1), M(SLOW), R("guest", 0), W("mask", 1), W("head", 2, release(UNLOCK))]),
    Test("asymmetric-narrowed", "a check that reads the mask as a third thread widened it since does not find the block",
         [R("head", 0, acquire(HEAD)), R("mask", 2, acquire(MASK)), R("hash", 1)],
         [lock(0, 1), F(RETIRE), W("hash", 0), W("mask", 0, release(NARROW)), unlock(2)],
         [lock(2, 3), M(SLOW), W("mask", 2), unlock(4)], init={"hash": 1, "mask": 1}),
]
