# SPDX-License-Identifier: LGPL-2.1-or-later
"""
A guest's store against a translation of the same bytes: the check finds the block, or the block is made of the new
bytes. docs/locking.md, tests 2, 3, 4 and 11. Thread 0 stores and checks, the others translate.

Guest: 0 the old byte, 1 the new one. Head: odd while locked. Code: the page's bit in its leaf's bitmap.
"""
from litmus import F, R, Test, U, W, acquire, release

CHECK = "pgl_store_passes: fence"
HEAD = "pgl_filter_passes: head"
MASK = "pgl_page_is_clean: mask"
MAP = "pgl_filter_map_is_clean: words"
LOCK = "pgl_page_lock_seen: swap"
UNLOCK = "pgl_page_unlock_at: store"
BEGIN = "pgl_bracket_begin_at: fence"
BRACKETS = [BEGIN, "pgl_bracket_begin_slow: fence", "cross_to: fence", "take_from: fence"]
RANGE = "kill_choice: fence"
RANGES = ["pgl_store_begins: fence", "answer_at_once: fence", RANGE]
CODE_BITS = ["pgl_page_has_code: load", "pgl_leaf_next_code: load", "wanted_bits: load",
             "lock_single: load"]
KILLED = "pgl_page_is_killed: load"
MARK = "pgl_killed_mark: or"
CHILD = "pgl_node_child: load"
PUT = "make_leaf: swap"


def short(place):
    return place.split(":")[0]


def bracket_fence(place=BEGIN):
    """pgl_fence_after_lock(): on x86 the instruction that took the page."""
    return F(place, x86=False)


def lock(before, after):
    return U("head", before, after, acquire(LOCK))


def unlock(value):
    return W("head", value, release(UNLOCK))


TESTS = [
    Test("store-translate/" + short(fence), "a store is seen by the bracket, or the bracket's lock by the store's check",
         [W("guest", 1), F(CHECK), R("head", 0, acquire(HEAD))],
         [lock(0, 1), bracket_fence(fence), R("guest", 0)])
    for fence in BRACKETS
] + [
    Test("store-code-bit/%s/%s" % (short(fence), short(bit)), "the same for the walks that look for the page's code bit",
         [W("guest", 1), F(fence), R("code", 0, acquire(bit))],
         [lock(0, 1), U("code", 0, 1), bracket_fence("pgl_bracket_begin_slow: fence"), R("guest", 0)])
    for fence in RANGES for bit in CODE_BITS
] + [
    Test("store-bytes", "a store of two bytes, in no order: neither is old in the block",
         [[W("guest0", 1), W("guest1", 1)], F(CHECK), R("head", 0, acquire(HEAD))],
         [lock(0, 1), bracket_fence(), [R("guest0", 1), R("guest1", 0)]]),
    Test("store-wide-read", "a byte is stored to where a wider load decodes: no byte of it is old",
         [W("guest1", 1), F(CHECK), R("head", 0, acquire(HEAD))],
         [lock(0, 1), bracket_fence(), [R("guest0", 0), R("guest1", 0), R("guest2", 0)]]),
    Test("store-earlier-bit", "the code bit was set by an earlier bracket on the page",
         [W("guest", 1), F(RANGE), R("code", 0, acquire("wanted_bits: load"))],
         [lock(0, 1), U("code", 0, 1), bracket_fence(), unlock(2)],
         [lock(2, 3), bracket_fence(), R("guest", 0)]),
    Test("store-new-leaf", "the leaf is put in place by the bracket",
         [W("guest", 1), F(CHECK), R("leaf", 0, acquire(CHILD))],
         [U("leaf", 0, 1, release(PUT)), lock(0, 1), bracket_fence("pgl_bracket_begin_slow: fence"), R("guest", 0)]),
    Test("store-found-leaf", "the leaf is put in place by a third thread",
         [W("guest", 1), F(CHECK), R("leaf", 0, acquire(CHILD))],
         [U("leaf", 0, 1, release(PUT))],
         [R("leaf", 1, acquire(CHILD)), lock(0, 1), bracket_fence(), R("guest", 0)]),
    Test("store-present-bit", "a range skips a leaf whose bit is not set: who found the leaf has the bit before its fence",
         [W("guest", 1), F(RANGE), R("present", 0)],
         [U("present", 0, 1), U("leaf", 0, 1, release(PUT))],
         [R("leaf", 1, acquire(CHILD)), bracket_fence(), R("guest", 0)]),
] + [
    Test("leaf-contents/" + short(load.replace(" again", "")) + suffix, "who finds a leaf sees it finished",
         [W("first_index", 1), U("leaf", 0, 1, release(PUT))],
         [R("leaf", 1, acquire(load)), R("first_index", 0)])
    for load, suffix in [(CHILD, ""), ("pgl_leaf_next: child", ""), ("make_leaf: child", ""),
                         ("make_leaf: swap that fails", "/loser")]
] + [
    Test("leaf-contents/by-address", "an address that depends on the load is enough for each processor, and not in C11",
         [W("first_index", 1), U("leaf", 0, 1, release(PUT))],
         [R("leaf", 1), R("first_index", 0, addr=[0])], allowed=["rc11"]),
] + [
    Test("just-linked/" + short(publish), "an unlocked head brings the mask of its time",
         [W("guest", 1), F(CHECK), R("head", 2, acquire(HEAD)), R("mask", 0, acquire(MASK))],
         [lock(0, 1), bracket_fence(), R("guest", 0), W("mask", 1), W("head", 2, release(publish))])
    for publish in [UNLOCK, "pgl_bracket_commit_at: store"]
] + [
    Test("just-linked/later-head", "so does a head that another thread wrote since",
         [W("guest", 1), F(CHECK), R("head", 4, acquire(HEAD)), R("mask", 0, acquire(MASK))],
         [lock(0, 1), bracket_fence(), R("guest", 0), W("mask", 1), unlock(2)],
         [lock(2, 3), unlock(4)]),
    Test("just-linked/map", "and the words of an exact map",
         [W("guest", 1), F(CHECK), R("head", 2, acquire(HEAD)), R("map", 0, acquire(MAP))],
         [lock(0, 1), bracket_fence(), R("guest", 0), W("map", 1), unlock(2)]),
    Test("announced-alone", "a check before the store promises nothing about blocks that are made after it",
         [F(CHECK), R("head", 0, acquire(HEAD)), W("guest", 1)],
         [lock(0, 1), bracket_fence(), R("guest", 0), W("mask", 1), unlock(2)],
         allowed=["rc11", "power", "armv8", "riscv", "tso"]),
    Test("announced-and-confirmed", "the check after the store finds what was made since the check before it",
         [F(CHECK), R("head", 0, acquire(HEAD)), W("guest", 1), F(CHECK), R("head", 0, acquire(HEAD))],
         [lock(0, 1), bracket_fence(), R("guest", 0), W("mask", 1), unlock(2)]),
    Test("killed-after", "a page that a bracket locked after a killer is not taken for the killer's",
         [W("guest", 1), F(CHECK), R("head", 3, acquire("is_answered: head")),
          R("killed", 1, acquire(KILLED)), R("mask", 0, acquire(MASK))],
         [lock(0, 1), U("killed", 0, 1, release(MARK)), U("killed", 1, 0), unlock(2)],
         [lock(2, 3), bracket_fence(), R("guest", 0)]),
    Test("killed-before", "a killer's mark brings the filters as the bracket before it left them",
         [W("guest", 1), F(CHECK), R("head", 1, acquire("is_answered: head")),
          R("killed", 1, acquire(KILLED)), R("mask", 0, acquire(MASK))],
         [lock(0, 1), bracket_fence(), R("guest", 0), W("mask", 1), unlock(2)],
         [lock(2, 3), U("killed", 0, 1, release(MARK))]),
    Test("killed-hot", "a head that says hot brings the pointer to the map, though the mark was a former killer's",
         [R("head", 3, acquire("is_answered: head")), R("killed", 1, acquire(KILLED)), R("pointer", 0)],
         [U("killed", 0, 1, release(MARK)), U("killed", 1, 0), W("pointer", 1), unlock(2)],
         [lock(2, 3)], init={"head": 1}),
    Test("killed-hot-early", "so does the head that says hot first, while the thread that made the map holds the page",
         [R("head", 3, acquire("is_answered: head")), R("killed", 1, acquire(KILLED)), R("pointer", 0)],
         [U("killed", 0, 1, release(MARK)), U("killed", 1, 0), unlock(0)],
         [lock(0, 1), W("pointer", 1), W("head", 3, release("pgl_head_set: store"))], init={"head": 1}),
    Test("killed-narrowed", "the filters of a killer's page are narrowed after `retired`",
         [R("head", 1, acquire("is_answered: head")), R("killed", 1, acquire(KILLED)), R("mask", 0, acquire(MASK)),
          R("hash", 1)],
         [lock(0, 1), U("killed", 0, 1, release(MARK)), W("hash", 0), W("mask", 0, release("narrow: mask"))],
         init={"mask": 1, "hash": 1}),
    Test("trap", "a store that looks for a trap behind its own fence, against first_code()",
         [W("guest", 1), F("emulator: fence"), R("trap", 0, acquire("emulator: trap"))],
         [lock(0, 1), U("code", 0, 1), W("trap", 1), F("pgl_page_claim_code: fence"), R("guest", 0)]),
    Test("trap-gone", "a trap that no_code() took away: `retired` has returned",
         [W("guest", 1), F("emulator: fence"), R("trap", 0, acquire("emulator: trap")), R("hash", 1)],
         [W("hash", 0), W("trap", 0, release("emulator: no_code"))], init={"trap": 1, "hash": 1}),
    Test("trap-earlier", "a trap that an earlier bracket set on a page which has blocks since",
         [W("guest", 1), F("emulator: fence"), R("trap", 0, acquire("emulator: trap"))],
         [lock(0, 1), W("trap", 1), F("pgl_page_claim_code: fence"), unlock(2)],
         [lock(2, 3), bracket_fence(), R("guest", 0)]),
]
