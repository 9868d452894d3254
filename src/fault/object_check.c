/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The invariants of an object, as object.c numbers them, checked with the object locked. */
#include "object_internal.h"

/* One check: how violations are reported, and the sums of the walk over all chunks. */
struct check {
    const struct pgl_object *object;
    void (*say)(const char *what, void *opaque);
    void *opaque;
    unsigned violations;
    uint64_t resident;
    uint64_t busy;
    uint64_t asked;
    uint64_t waiting;
};

static void require(struct check *check, bool holds, const char *what)
{
    if (!holds) {
        check->violations++;
        if (check->say) {
            check->say(what, check->opaque);
        }
    }
}

static void check_page(struct check *check, const struct pgl_chunk *chunk, unsigned slot)
{
    uint64_t bit = UINT64_C(1) << slot;
    bool memory = check->object->config.memory_ops;
    bool marked = ((chunk->busy | chunk->asked) & bit) != 0;
    bool resident = (chunk->resident & bit) != 0;
    bool absent = ((chunk->resident | chunk->busy) & bit) == 0;

    require(check, (chunk->id[slot] != 0) == marked, "I5: an id without a mark, or a mark without an id");
    require(check, !memory || !resident || chunk->frame[slot], "I6: a resident page without a frame");
    require(check, !memory || !absent || !chunk->frame[slot], "I6: an absent page with a frame");
    require(check, resident || chunk->wires[slot] == 0, "I7: a wired page that is not resident");
}

static void check_chunk(struct check *check, const struct pgl_chunk *chunk)
{
    uint64_t marked = chunk->busy | chunk->asked;

    require(check, (chunk->resident & (chunk->busy | chunk->error)) == 0,
            "I1: a resident page that is busy, or in error");
    require(check, ((chunk->asked | chunk->speculative) & ~(chunk->resident | chunk->busy)) == 0,
            "I2: an absent page that is asked for, or speculative");
    require(check, (chunk->writable & ~chunk->readable) == 0 && (chunk->readable & ~chunk->resident) == 0,
            "I3: access to a page that cannot have it");
    for (unsigned slot = 0; slot < PGL_CHUNK_PAGES; slot++) {
        check_page(check, chunk, slot);
    }
    for (const struct pgl_waiter *waiter = chunk->queue; waiter; waiter = waiter->next) {
        check->waiting++;
        require(check, (marked >> waiter->index % PGL_CHUNK_PAGES & 1) != 0,
                "I8: a fault waits for a page that nobody will bring");
    }
    check->resident += (unsigned)__builtin_popcountll(chunk->resident);
    check->busy += (unsigned)__builtin_popcountll(chunk->busy);
    check->asked += (unsigned)__builtin_popcountll(chunk->asked);
}

static void check_counts(struct check *check)
{
    const struct pgl_object *object = check->object;
    uint64_t credits = object->config.credits;

    require(check,
            check->resident == object->stats.resident && check->busy == object->stats.busy &&
                check->asked == object->stats.outstanding && check->waiting == object->stats.waiting,
            "I4: the counts do not fit the pages");
    require(check, credits == 0 || object->stats.outstanding <= credits,
            "I4: more pages outstanding than there are credits");
    require(check,
            !object->queue || !object->ready ||
                (!object->terminated && credits != 0 && object->stats.outstanding >= credits),
            "I9: a fault waits for a credit that there is");
}

static bool tries_are_sound(const struct pgl_tries *tries, unsigned doubling)
{
    return tries->touched[doubling] >= 0 && tries->touched[doubling] <= tries->seen[doubling];
}

static void check_advisor(struct check *check, const struct pgl_advisor *advisor)
{
    require(check,
            advisor->forgotten <= advisor->judged && advisor->judged <= advisor->nfaults &&
                advisor->nfaults - advisor->forgotten <= PGL_ADVISOR_PASTS,
            "V1: a decision is forgotten before it is judged, or too late");
    for (unsigned kind = 0; kind < PGL_FAULT_KINDS; kind++) {
        const struct pgl_known *known = &advisor->known[kind];

        for (unsigned n = 1; n <= PGL_ADVISOR_WATCHED; n++) {
            require(check,
                    tries_are_sound(&known->recent, n) && tries_are_sound(&known->lasting, n) &&
                        tries_are_sound(&known->later, n) && known->chances[n] >= 0 && known->chances[n] <= 1,
                    "V2: a chance that is none");
        }
    }
    require(check, advisor->nstreams <= PGL_ADVISOR_STREAMS, "V3: more streams than there is room for");
    for (unsigned i = 0; i < PGL_ADVISOR_HEADS; i++) {
        require(check, advisor->heads[i] <= advisor->nfaults, "V3: a decision that was not made");
    }
}

unsigned pgl_object_check(struct pgl_object *object, void (*say)(const char *what, void *opaque), void *opaque)
{
    struct check check = {.object = object, .say = say, .opaque = opaque};

    pthread_mutex_lock(&object->lock);
    for (uint64_t slot = 0; slot < object->nslots; slot++) {
        if (object->chunks[slot]) {
            check_chunk(&check, object->chunks[slot]);
        }
    }
    for (const struct pgl_waiter *waiter = object->queue; waiter; waiter = waiter->next) {
        check.waiting++;
    }
    check_counts(&check);
    if (object->advisor) {
        check_advisor(&check, object->advisor);
    }
    pthread_mutex_unlock(&object->lock);
    return check.violations;
}
