# SPDX-License-Identifier: LGPL-2.1-or-later
"""
A fault on a page that is there takes no lock: src/fault/fault_hit.c. Thread 0 faults, the other one fills or removes the
page under its lock.

Readable and writable: 1 while the page has that access. Frame: 1 the page's first frame, 2 its second one, 0 none.
"""
from litmus import R, Test, W, acquire, release

TABLE, GROW = "pgl_object_chunk: table", "table_grow: table"
CHUNK, MAKE = "chunk_slot: chunk", "pgl_object_page_make: chunk"
DROPS, FRAME = "pgl_fault_hit: drops", "pgl_fault_hit: frame"
READABLE, WRITABLE = "pgl_fault_hit: readable", "pgl_fault_hit: writable"
ALLOW_READ, ALLOW_WRITE = "pgl_object_page_allow: readable", "pgl_object_page_allow: writable"
COUNT, DROP = "pgl_object_page_drop_frame: drops", "pgl_object_page_drop_frame: frame"
HAS = "pgl_object_page_has_frame: frame"

TESTS = [
    Test("hit-table", "a fault that finds the larger table finds it finished",
         [R("table", 1, acquire(TABLE)), R("nslots", 0)],
         [W("nslots", 16), W("table", 1, release(GROW))]),
    Test("hit-chunk", "and a chunk in it with its number",
         [R("slot", 1, acquire(CHUNK)), R("number", 0)],
         [W("number", 7), W("slot", 1, release(MAKE))]),
    Test("hit-bytes", "K1: a page that may be read has its bytes",
         [R("readable", 1, acquire(READABLE)), R("bytes", 0)],
         [W("bytes", 1), W("readable", 1, release(ALLOW_READ))]),
    Test("hit-bytes-written", "K1: and so has a page that may be written",
         [R("writable", 1, acquire(WRITABLE)), R("bytes", 0)],
         [W("bytes", 1), W("readable", 1, release(ALLOW_READ)), W("writable", 1, release(ALLOW_WRITE))]),
    Test("hit-frame-gone", "K2: a fault that misses the frame sees that one was dropped",
         [R("drops", 0, acquire(DROPS)), R("readable", 1, acquire(READABLE)), R("frame", 0, acquire(FRAME)), R("drops", 0)],
         [W("readable", 0, release(ALLOW_READ)), W("drops", 1, release(COUNT)), W("frame", 0, release(DROP))],
         init={"readable": 1, "frame": 1}),
    Test("hit-frame-new", "K2: and so does one that finds the frame of the page's next life",
         [R("drops", 0, acquire(DROPS)), R("readable", 1, acquire(READABLE)), R("frame", 2, acquire(FRAME)), R("drops", 0)],
         [W("readable", 0, release(ALLOW_READ)), W("drops", 1, release(COUNT)), W("frame", 0, release(DROP)),
          W("frame", 2, release(HAS))], init={"readable": 1, "frame": 1}),
    Test("hit-access-gone", "K2: a fault that begins after the count sees that the access is gone",
         [R("drops", 1, acquire(DROPS)), R("readable", 1, acquire(READABLE)), R("frame", 0, acquire(FRAME)), R("drops", 1)],
         [W("readable", 0, release(ALLOW_READ)), W("drops", 1, release(COUNT)), W("frame", 0, release(DROP))],
         init={"readable": 1, "frame": 1}),
]
