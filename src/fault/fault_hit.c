/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A fault on a page that is there, answered without a lock.
 *
 * READERS      The table of chunks and a chunk's number are written before they are published, and freed with the
 *              object. Tables that were replaced are kept until then. Therefore a reader needs no lock to find a page.
 * WRITERS      fill a page before they give access to it, and take the access away before they drop the frame.
 * INVARIANTS   The answer is one that a fault with the lock could have had at some moment of the call:
 *              K1 The access was there, and the page's bytes were complete.
 *              K2 The frame is the one that the page had when it had that access. The count of dropped frames is the
 *                 same before and after, and therefore the page was not removed and filled again in between.
 *              K3 A page that was requested as a neighbour is touched for the first time under the lock, which counts
 *                 it as used. So is a page that is wired.
 * PROGRESS     Every other fault takes the lock, and so does one that meets a change of its chunk.
 */
#include "fault_internal.h"

/* Count a touch. The faults of an object have slots of their own, as far as there are enough, and meet in no line. */
static void count_touch(struct pgl_fault *fault)
{
    struct pgl_object *object = fault->object;
    enum pgl_advice advice = __atomic_load_n(&object->advice, __ATOMIC_RELAXED);

    if (fault->hits_of != object) {
        fault->hits_of = object;
        fault->hit_slot = __atomic_fetch_add(&object->hit_slots, 1, __ATOMIC_RELAXED) % PGL_HIT_SLOTS;
    }
    advice = pgl_advice_effective(fault->place.advice, advice);
    __atomic_fetch_add(&object->hits[fault->hit_slot].by_advice[advice], 1, __ATOMIC_RELAXED);
    fault->counted = true;
}

bool pgl_fault_hit(struct pgl_fault *fault)
{
    struct pgl_object *object = fault->object;
    const struct pgl_chunk *chunk = pgl_object_chunk(object, fault->index / PGL_CHUNK_PAGES);
    unsigned slot = fault->index % PGL_CHUNK_PAGES;
    uint64_t drops, readable, writable, usable;
    void *frame = NULL;

    if (!chunk || fault->counted || pgl_fault_wires(fault)) {
        return false;
    }
    drops = __atomic_load_n(&chunk->drops, __ATOMIC_ACQUIRE);       /* pairs with pgl_object_page_drop_frame() */
    readable = __atomic_load_n(&chunk->readable, __ATOMIC_ACQUIRE); /* these two pair with pgl_object_page_allow() */
    writable = __atomic_load_n(&chunk->writable, __ATOMIC_ACQUIRE);
    usable = fault->args.access == PGL_ACCESS_WRITE ? writable : readable;
    if ((usable >> slot & 1) == 0 || (__atomic_load_n(&chunk->speculative, __ATOMIC_RELAXED) >> slot & 1) != 0) {
        return false;
    }
    if (object->config.memory_ops) {
        frame = __atomic_load_n(&chunk->frame[slot], __ATOMIC_ACQUIRE); /* pairs with both functions that store it */
        if (__atomic_load_n(&chunk->drops, __ATOMIC_RELAXED) != drops) {
            return false;
        }
    }
    count_touch(fault);
    fault->found = (struct pgl_fault_page){
        .object = object,
        .index = fault->index,
        .frame = frame,
        .access = (writable >> slot & 1) != 0 ? PGL_ACCESS_WRITE : PGL_ACCESS_READ,
        .hit = true,
    };
    fault->result = PGL_FAULT_SUCCESS;
    return true;
}
