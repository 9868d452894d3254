# SPDX-License-Identifier: LGPL-2.1-or-later
"""
Locks and counts: what a thread did before it unlocked, the next one to lock sees. docs/locking.md, tests 1, 8 and 10.

Head: 1 while locked, other values unlocked.
"""
from litmus import R, Test, U, W, acquire, release

LOCKS = ["pgl_page_lock_seen: swap", "pgl_page_trylock_at: swap", "pgl_spin_trylock: swap"]
UNLOCKS = ["pgl_page_unlock_at: store", "pgl_spin_unlock: store", "pgl_bracket_commit_at: store"]


def lock_test(lock, unlock):
    name = "lock/%s/%s" % (unlock.split(":")[0], lock.split(":")[0])
    return Test(name, "who locks the page sees the list of who unlocked it",
                [W("list", 1), W("head", 0, release(unlock))],
                [U("head", 0, 1, acquire(lock)), R("list", 0)], init={"head": 1})


TESTS = [lock_test(lock, unlock) for lock in LOCKS for unlock in UNLOCKS] + [
    Test("lock/handed-on", "the same through a third holder in between",
         [W("list", 1), W("head", 0, release("pgl_page_unlock_at: store"))],
         [U("head", 0, 1, acquire("pgl_page_lock_seen: swap")), W("head", 2, release("pgl_page_unlock_at: store"))],
         [U("head", 2, 3, acquire("pgl_page_lock_seen: swap")), R("list", 0)], init={"head": 1}),
    Test("store-bracket", "pgl_store_end() and then pgl_bracket_begin(): the guest's store is among the bytes read",
         [W("guest", 1), W("head", 0, release("pgl_page_unlock_at: store"))],
         [U("head", 0, 1, acquire("pgl_page_lock_seen: swap")), R("guest", 0)], init={"head": 1}),
    Test("remembered-store", "answer_stores() needs no fence: a bracket that finds no block yet reads the new bytes",
         [W("guest", 1), W("head", 0, release("pgl_page_unlock_at: store")), R("code", 0)],
         [U("head", 0, 1, acquire("pgl_page_lock_seen: swap")), U("code", 0, 1), R("guest", 0)], init={"head": 1}),
    Test("two-killers", "kill_listed(): who finds a block dead under its page's lock knows that `retired` has returned",
         [W("state", 2), W("hash", 0), W("head", 0, release("pgl_page_unlock_at: store"))],
         [U("head", 0, 1, acquire("pgl_page_lock_seen: swap")), R("state", 2), R("hash", 1)],
         init={"head": 1, "hash": 1, "state": 1}),
    Test("two-killers-unlisted", "kill_unlisted(): and so who finds no record of a dying block on no page",
         [W("hash", 0), U("unlisted", 2, 3, acquire("pgl_spin_trylock: swap")),
          W("unlisted", 0, release("pgl_spin_unlock: store"))],
         [U("unlisted", 0, 1, acquire("pgl_spin_trylock: swap")), R("hash", 1)], init={"unlisted": 2, "hash": 1}),
    Test("lock/turns", "who locks the list of the waiters that starve sees it as it was left",
         [W("list", 1), W("turns", 0, release("unlock_turns: store"))],
         [U("turns", 0, 1, acquire("lock_turns: swap")), R("list", 0)], init={"turns": 1}),
    Test("object-unref", "pgl_object_unref(): the last holder sees what every other did before",
         [W("object", 1), U("refs", 2, 1, release("pgl_object_unref: release"))],
         [U("refs", 1, 0, acquire("pgl_object_unref: acquire")), R("object", 0)], init={"refs": 2}),
    Test("object-unref-three", "the same with a third in between, who may have used it last or not",
         [W("object", 1), U("refs", 3, 2, release("pgl_object_unref: release"))],
         [U("refs", 2, 1, release("pgl_object_unref: release"))],
         [U("refs", 1, 0, acquire("pgl_object_unref: acquire")), R("object", 0)], init={"refs": 3}),
    Test("source-unref", "pgl_source_unref(): a region's file is closed when all that read from it have",
         [R("file", 1), U("refs", 2, 1, release("pgl_source_unref: release"))],
         [U("refs", 1, 0, acquire("pgl_source_unref: acquire")), W("file", 1)], init={"refs": 2}),
    Test("request-unref", "pgl_request_unref(): a request is freed when its source and its fault have used it last",
         [R("request", 1), U("refs", 2, 1, release("pgl_request_unref: release"))],
         [U("refs", 1, 0, acquire("pgl_request_unref: acquire")), W("request", 1)], init={"refs": 2}),
]
