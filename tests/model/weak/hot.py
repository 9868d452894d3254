# SPDX-License-Identifier: LGPL-2.1-or-later
"""
The exact map of a hot page and the array that it is in: who is told of them sees them finished. docs/locking.md,
test 6. Head: 1 while locked, 2 unlocked and hot.
"""
from litmus import R, Test, W, U, acquire, release
from stores import HEAD, MAP, lock, unlock

TESTS = [
    Test("hot-pointer", "the hot flag brings the pointer to the map",
         [R("head", 2, acquire(HEAD)), R("pointer", 0)],
         [lock(0, 1), W("map", 7), W("pointer", 1), unlock(2)]),
    Test("hot-words", "and the words of the map",
         [R("head", 2, acquire(HEAD)), R("pointer", 1), R("map", 0, acquire(MAP))],
         [lock(0, 1), W("map", 7), W("pointer", 1), unlock(2)]),
] + [
    Test("hot-array/" + load.split(":")[0], "who finds the array of counts and maps sees it cleared",
         [R("hot", 1, acquire(load)), R("misses", 5)],
         [W("misses", 0), U("hot", 0, 1, release("pgl_filter_add_hot: swap"))], init={"misses": 5})
    for load in ["pgl_filter_note_walk: load", "pgl_filter_add_hot: load"]
]
