# SPDX-License-Identifier: LGPL-2.1-or-later
"""
The death of a block: a filter that no longer covers it means that `retired` has returned; no cache keeps it; its state
brings what its killer and its maker did. docs/locking.md, tests 5, 7 and 9. Thread 0 checks or looks, the others kill.

Hash: 1 while the block can be found; `retired` stores 0. State: 0 new, 1 live, 2 dead.
"""
from litmus import F, R, Test, U, W, acquire, release
from stores import CHECK, CODE_BITS, HEAD, MAP, MASK, RANGE, bracket_fence, lock, short, unlock

DEAD = "mark_dead: store"
LIVE = "pgl_tb_is_live: load"
RETIRE = "pgl_kill_retire: fence"
NARROW = "narrow: mask"
NARROW_MAP = "narrow_word: word"
DROP = "pgl_page_drop_code: bit"

TESTS = [
    Test("narrow-mask", "a check that reads the narrowed mask, and a head from before, does not find the block",
         [F(CHECK), R("head", 0, acquire(HEAD)), R("mask", 0, acquire(MASK)), R("hash", 1)],
         [lock(0, 1), W("state", 2, release(DEAD)), F(RETIRE), W("hash", 0), W("mask", 0, release(NARROW)), unlock(2)],
         init={"hash": 1, "mask": 1, "state": 1}),
    Test("narrow-mask-widened", "nor one that reads the mask as a third thread widened it since: its bracket fenced",
         [F(CHECK), R("head", 0, acquire(HEAD)), R("mask", 2, acquire(MASK)), R("hash", 1)],
         [lock(0, 1), F(RETIRE), W("hash", 0), W("mask", 0, release(NARROW)), unlock(2)],
         [lock(2, 3), bracket_fence(), W("mask", 2), unlock(4)], init={"hash": 1, "mask": 1}),
    Test("narrow-map", "the same for a word of the exact map, where the mask has other blocks' bits",
         [F(CHECK), R("head", 0, acquire(HEAD)), R("mask", 1, acquire(MASK)), R("map", 0, acquire(MAP)), R("hash", 1)],
         [lock(0, 1), W("state", 2, release(DEAD)), F(RETIRE), W("hash", 0), W("map", 0, release(NARROW_MAP)),
          W("mask", 1, release(NARROW)), unlock(2)], init={"hash": 1, "mask": 1, "map": 1, "state": 1}),
    Test("narrow-map-before-mask", "a check between the two stores: the map alone tells",
         [F(CHECK), R("mask", 1, acquire(MASK)), R("map", 0, acquire(MAP)), R("hash", 1)],
         [F(RETIRE), W("hash", 0), W("map", 0, release(NARROW_MAP)), W("mask", 0, release(NARROW))],
         init={"hash": 1, "mask": 1, "map": 1}),
    Test("narrow-map-widened", "a word of the map that a third thread widened since: its bracket fenced",
         [F(CHECK), R("head", 0, acquire(HEAD)), R("map", 2, acquire(MAP)), R("hash", 1)],
         [lock(0, 1), F(RETIRE), W("hash", 0), W("map", 0, release(NARROW_MAP)), unlock(2)],
         [lock(2, 3), bracket_fence(), W("map", 2), unlock(4)],
         init={"hash": 1, "map": 1}),
    Test("narrow-map-made", "a map that pgl_filter_add_hot() made after the death, without a fence: its head brings it",
         [F(CHECK), R("head", 4, acquire(HEAD)), R("map", 2, acquire(MAP)), R("hash", 1)],
         [lock(0, 1), W("hash", 0), unlock(2)],
         [lock(2, 3), W("map", 2), unlock(4)], init={"hash": 1}),
    Test("narrow-mask-made-hot", "a mask that pgl_filter_add_hot() narrowed after another thread's kill had left it wide",
         [F(CHECK), R("mask", 0, acquire(MASK)), R("hash", 1)],
         [lock(0, 1), F(RETIRE), W("hash", 0), unlock(2)],
         [lock(2, 3), W("mask", 0, release("pgl_filter_add_hot: mask")), unlock(4)], init={"hash": 1, "mask": 1}),
    Test("narrow-map-words", "a store over two words of the map: each is narrowed by a release of its own",
         [F(CHECK), R("map0", 0, acquire(MAP)), R("map1", 0, acquire(MAP)), R("hash", 1)],
         [F(RETIRE), W("hash", 0), W("map0", 0, release(NARROW_MAP)), W("map1", 0, release(NARROW_MAP))],
         init={"hash": 1, "map0": 1, "map1": 1}),
    Test("narrow-twice", "two stores that meet one block: who finds the filter narrowed by the other's kill is not late",
         [W("guest", 1), F(CHECK), R("mask", 0, acquire(MASK)), R("hash", 1)],
         [W("guest2", 1), F(CHECK), lock(0, 1), W("hash", 0), W("mask", 0, release(NARROW))],
         init={"mask": 1, "hash": 1}),
] + [
    Test("drop-code/" + short(bit), "a code bit that is gone, and which a neighbour's change of the word came after",
         [F(RANGE), R("code", 2, acquire(bit)), R("hash", 1)],
         [F(RETIRE), W("hash", 0), U("code", 1, 0, release(DROP))],
         [U("code", 0, 2)], init={"hash": 1, "code": 1})
    for bit in CODE_BITS
] + [
    Test("jump-cache", "cache, fence, ask again: the block is seen dead, or `retired` finds it in the cache",
         [W("cache", 1), F("pgl_cache_tb: fence"), R("state", 1, acquire(LIVE))],
         [W("state", 2, release(DEAD)), F(RETIRE), R("cache", 0)], init={"state": 1}),
    Test("running", "a check that finds the mask narrowed by another's kill sees the running block dead",
         [F(CHECK), R("mask", 0, acquire(MASK)), R("state", 1, acquire(LIVE))],
         [lock(0, 1), W("state", 2, release(DEAD)), F(RETIRE), W("mask", 0, release(NARROW)), unlock(2)],
         init={"mask": 1, "state": 1}),
    Test("running-waited", "so does one that waited for the page",
         [F(CHECK), lock(2, 3), R("state", 1, acquire(LIVE))],
         [lock(0, 1), W("state", 2, release(DEAD)), F(RETIRE), unlock(2)], init={"state": 1}),
    Test("running-code-bit", "and one that found the page without code",
         [F(RANGE), R("code", 0, acquire("pgl_page_has_code: load")),
          R("state", 1, acquire(LIVE))],
         [W("state", 2, release(DEAD)), F(RETIRE), U("code", 1, 0, release(DROP))], init={"code": 1, "state": 1}),
    Test("running-sees-killer", "who sees the block dead, without a lock, sees what the killer did before",
         [R("state", 2, acquire(LIVE)), R("data", 0)],
         [W("data", 1), W("state", 2, release(DEAD))], init={"state": 1}),
] + [
    Test("sees-maker/%s/%s" % (short(made), short(load)), "who sees the block alive sees what its maker wrote into it",
         [R("state", 1, acquire(load)), R("bytes", 0)],
         [W("bytes", 1), W("state", 1, release(made))])
    for made in ["publish: state", "pgl_tb_link_unlisted_at: state"] for load in [LIVE, "pgl_invalidate_tb_at: state", "state_of: load"]
] + [
    Test("chosen-unmarked", "choose(): who marks a block after its commit has unmarked it sees it live",
         [U("chosen", 2, 1, acquire("choose: mark")), R("state", 0)],
         [W("state", 1, release("publish: state")), W("chosen", 2, release("publish: mark"))]),
]
