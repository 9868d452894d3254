/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The invariants of an object, as object.c numbers them, checked with all of it locked. */
#include "object_internal.h"

/* One check: how violations are reported, and the sums of the walk over the chunks of a shard. */
struct check {
    const struct pgl_object *object;
    void (*say)(const char *what, void *opaque);
    void *opaque;
    unsigned violations;
    uint64_t resident;
    uint64_t busy;
    uint64_t asked;
    uint64_t waiting;
    uint64_t awaited; /* pages whose data is asked for, of all shards */
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

static void check_chunk(struct check *check, const struct pgl_shard *shard, const struct pgl_chunk *chunk)
{
    uint64_t marked = chunk->busy | chunk->asked;

    require(check, pgl_object_shard(check->object, chunk->number * PGL_CHUNK_PAGES) == shard,
            "I10: a page in another stripe's shard");
    require(check, (chunk->resident & (chunk->busy | chunk->error)) == 0,
            "I1: a resident page that is busy, or in error");
    require(check, ((chunk->asked | chunk->speculative) & ~(chunk->resident | chunk->busy)) == 0,
            "I2: an absent page that is asked for, or speculative");
    require(check, (chunk->writable & ~chunk->readable) == 0 && (chunk->readable & ~chunk->resident) == 0,
            "I3: access to a page that cannot have it");
    for (unsigned slot = 0; slot < PGL_CHUNK_PAGES; slot++) {
        check_page(check, chunk, slot);
    }
    for (const struct pgl_waiter *waiter = chunk->queue.first; waiter; waiter = waiter->next) {
        check->waiting++;
        require(check, (marked >> waiter->index % PGL_CHUNK_PAGES & 1) != 0,
                "I8: a fault waits for a page that nobody will bring");
    }
    check->resident += (unsigned)__builtin_popcountll(chunk->resident);
    check->busy += (unsigned)__builtin_popcountll(chunk->busy);
    check->asked += (unsigned)__builtin_popcountll(chunk->asked);
    check->awaited += (unsigned)__builtin_popcountll(chunk->asked & chunk->busy);
}

/* Check the chunks of a shard, and its counts. */
static void check_shard(struct check *check, const struct pgl_shard *shard)
{
    check->resident = check->busy = check->asked = check->waiting = 0;
    for (uint64_t slot = 0; shard->table && slot < shard->table->nslots; slot++) {
        if (shard->table->chunk[slot]) {
            check_chunk(check, shard, shard->table->chunk[slot]);
        }
    }
    require(check,
            check->resident == shard->resident && check->busy == shard->busy && check->asked == shard->outstanding &&
                check->waiting == shard->room.waiting,
            "I4: the counts do not fit the pages");
}

static void check_credits(struct check *check)
{
    const struct pgl_object *object = check->object;
    const struct pgl_credits *credits = &object->credits;
    uint64_t limit = object->config.credits;
    uint64_t waiting = 0;

    for (const struct pgl_waiter *waiter = credits->queue.first; waiter; waiter = waiter->next) {
        waiting++;
    }
    require(check, waiting == credits->room.waiting, "I4: the count of waiting faults does not fit the queue");
    require(check, limit == 0 || credits->used == pgl_object_outstanding(object) + credits->reserved,
            "I4: a credit was lost, or made");
    require(check, limit == 0 || credits->used <= limit, "I4: more pages outstanding than there are credits");
    require(check,
            !credits->queue.first || !object->ready || (!object->terminated && limit != 0 && credits->used >= limit),
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
                        tries_are_sound(&known->later, n) && known->chances[n] >= 0 && known->chances[n] <= 1 &&
                        known->crowds[n] >= 0 && known->crowds[n] <= 1,
                    "V2: a chance that is none");
        }
    }
    require(check, advisor->crowd >= 0 && advisor->crowd <= 1, "V2: a part that is more than all, or less than none");
    require(check, advisor->nstreams <= PGL_ADVISOR_STREAMS, "V3: more streams than there is room for");
    for (unsigned n = 0; n < advisor->nstreams && n < PGL_ADVISOR_STREAMS; n++) {
        const struct pgl_stream *stream = &advisor->streams[(advisor->newest + n) % PGL_ADVISOR_STREAMS];

        require(check,
                (uint8_t)(advisor->after >> 8 * n) == (uint8_t)(stream->last + 1) &&
                    (uint8_t)(advisor->before >> 8 * n) == (uint8_t)(stream->first - 1),
                "V4: a stream that no fault continues");
    }
    for (unsigned i = 0; i < PGL_ADVISOR_HEADS; i++) {
        require(check, advisor->heads[i] <= advisor->nfaults, "V3: a decision that was not made");
    }
}

unsigned pgl_object_check(struct pgl_object *object, void (*say)(const char *what, void *opaque), void *opaque)
{
    struct check check = {.object = object, .say = say, .opaque = opaque};

    pgl_object_lock_all(object);
    for (uint64_t i = 0; i <= object->last_shard; i++) {
        check_shard(&check, &object->shards[i]);
    }
    check_credits(&check);
    require(&check,
            !pgl_object_owes_frames(object) ||
                check.awaited <= __atomic_load_n(&object->frames->promised, __ATOMIC_RELAXED),
            "N9: a frame that a reply will take is not promised");
    pthread_mutex_lock(&object->advisor_lock);
    if (object->advisor) {
        check_advisor(&check, object->advisor);
    }
    pthread_mutex_unlock(&object->advisor_lock);
    pgl_object_unlock_all(object);
    return check.violations;
}
