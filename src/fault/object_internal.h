/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An object and its pages, and the operations that change the state of a page. object.c has the protocol. Private. */
#ifndef PGL_FAULT_OBJECT_INTERNAL_H
#define PGL_FAULT_OBJECT_INTERNAL_H

#include <errno.h>
#include <pthread.h>

#include <pagelock/fault.h>
#include <pagelock/workset.h>

#include "advisor_internal.h"
#include "frames_internal.h"
#include "waiter_internal.h"

#define PGL_CHUNK_PAGES 64
#define PGL_STRIPE_PAGES 1024 /* a multiple of PGL_CHUNK_PAGES */
#define PGL_SHARDS_MAX 32     /* a power of two; the thread sanitizer bears 64 locks in one thread */
#define PGL_HIT_SLOTS 8
#define PGL_CACHE_LINE 64

/*
 * The states of 64 neighbouring pages, one bit per page. A page is
 *   resident:    usable as far as readable and writable say; with asked, more access was requested;
 *   busy:        marked by a fault; with asked, its data was requested; without, it is a placeholder while the fault
 *                works further down the chain;
 *   in error:    its last request failed; it stays so while it is busy again, until the pager supplies it or answers
 *                that there is no data;
 *   absent:      none of these.
 */
struct pgl_chunk {
    uint64_t number; /* its first page is number * PGL_CHUNK_PAGES */
    uint64_t resident;
    uint64_t busy;
    uint64_t error;
    uint64_t asked;               /* outstanding at the pager: one credit per page */
    uint64_t readable;            /* resident pages only; atomic */
    uint64_t writable;            /* readable pages only; atomic */
    uint64_t speculative;         /* resident or busy, and not touched since it was requested as a neighbour; atomic */
    uint64_t drops;               /* how many frames were dropped; atomic */
    uint64_t removals;            /* how many of its resident pages were removed */
    uint64_t offered;             /* the moment of the last offer that made a page resident; 0: never */
    struct pgl_queue queue;       /* faults that wait for these pages */
    uint64_t id[PGL_CHUNK_PAGES]; /* of a busy or asked page: the id of its mark */
    uint32_t wires[PGL_CHUNK_PAGES];
    void *frame[]; /* PGL_CHUNK_PAGES entries, or none if the object has no memory; atomic */
};

/* A hash table of chunks with open addressing, at most half used. It is full-grown once a larger one exists. */
struct pgl_chunk_table {
    struct pgl_chunk_table *smaller; /* kept, because a reader may still be in it */
    uint64_t nslots;                 /* a power of two */
    struct pgl_chunk *chunk[];       /* atomic; NULL: free */
};

/*
 * The pages of some stripes of an object. The lock of the room protects the chunks, their queues, and the other
 * members. Without it, pgl_fault_hit() finds a chunk, and pgl_object_outstanding() reads outstanding. The members that
 * a look-up reads have a cache line that hardly ever changes. Those that every request changes lie in few lines, so
 * that few move from one core to the other. Two shards share no line.
 */
struct pgl_shard {
    _Alignas(PGL_CACHE_LINE) struct pgl_chunk_table *table; /* atomic; NULL: no page was ever marked */
    uint64_t nchunks;

    _Alignas(PGL_CACHE_LINE) struct pgl_wait_room room;
    uint64_t last_id; /* congruent to its number, modulo the number of shards */

    _Alignas(PGL_CACHE_LINE) uint64_t resident; /* these as in struct pgl_object_stats, of this shard's pages */
    uint64_t busy;
    uint64_t outstanding; /* atomic */
    uint64_t duplicates;
    uint64_t aliens;

    _Alignas(PGL_CACHE_LINE) uint64_t by_reason[PGL_REASON_COUNT];
    _Alignas(PGL_CACHE_LINE) struct pgl_fault_counts by_advice[PGL_ADVICE_COUNT];
};

/* The faults that were answered without a lock, by the advice that they followed. Atomic. */
struct pgl_hits {
    uint64_t by_advice[PGL_ADVICE_COUNT];
    char apart[128 - sizeof(uint64_t[PGL_ADVICE_COUNT])];
};

/* The credits of an object with a limit, and the faults that wait for one, or for the pager to be ready. */
struct pgl_credits {
    struct pgl_wait_room room; /* its lock protects the other members */
    struct pgl_queue queue;
    uint64_t used;     /* the pages asked for, and the reserved ones */
    uint64_t reserved; /* those that a fault owns, and has no page asked for with yet */
};

/*
 * The members above `refs` change only while all shards and the credits are locked; the holder of any of these locks
 * may read them.
 */
struct pgl_object {
    struct pgl_object_config config; /* never changes; its advice and table are only the initial ones */
    struct pgl_frames *frames;       /* of its memory, or NULL */
    struct pgl_shard *shards;
    uint64_t last_shard;    /* the number of shards, which is a power of two, less one */
    enum pgl_advice advice; /* atomic: pgl_fault_hit() reads it without a lock */
    struct pgl_advice_table table;
    bool ready;
    bool terminated;
    const struct pgl_workset *workset;                       /* or NULL */
    void (*touched)(void *arg, uint64_t index) PGL_NOEXCEPT; /* or NULL */
    void *touched_arg;
    char apart[128]; /* what every fault reads shares no cache line with what some faults write */

    struct pgl_hits hits[PGL_HIT_SLOTS];
    unsigned hit_slots; /* atomic: how many slots of `hits` were given out */
    unsigned refs;      /* atomic */
    struct pgl_credits credits;
    pthread_mutex_t advisor_lock; /* protects the members below */
    struct pgl_costs costs;
    uint32_t doubts;             /* whether the faults agree with the working set, see pgl_workset_decide() */
    struct pgl_advisor *advisor; /* NULL until a fault with adaptive advice is to choose its window */
};

/* A page of an object, as found by a look-up. Valid until its shard is unlocked. */
struct pgl_object_page {
    struct pgl_shard *shard;
    struct pgl_chunk *chunk; /* NULL: no page of its chunk was ever marked */
    unsigned slot;           /* its position in the chunk */
    uint64_t bit;            /* 1 << slot */
};

/* Whether an access exists; false with EINVAL. */
static inline bool pgl_access_is_valid(enum pgl_access access)
{
    if (access == PGL_ACCESS_NONE || access == PGL_ACCESS_READ || access == PGL_ACCESS_WRITE) {
        return true;
    }
    errno = EINVAL;
    return false;
}

/* Make the locks of an object, and destroy them. pgl_object_locks_init() returns false if there is no memory. */
bool pgl_object_locks_init(struct pgl_object *object);
void pgl_object_locks_fini(struct pgl_object *object);

/* The shards that the pages [first, last] of an object are in. */
void pgl_object_lock(struct pgl_object *object, uint64_t first, uint64_t last);
void pgl_object_unlock(struct pgl_object *object, uint64_t first, uint64_t last);
uint64_t pgl_object_shards(const struct pgl_object *object, uint64_t first, uint64_t last); /* a bit for each */

/* All shards and the credits. */
void pgl_object_lock_all(struct pgl_object *object);
void pgl_object_unlock_all(struct pgl_object *object);

/*
 * The shard of a stripe. PGL_SHARDS_MAX neighbouring stripes that begin at a multiple of that have different shards, if
 * there are as many. The next ones begin at another shard, so that threads which go through halves of an object, or
 * other even parts, do not meet at each stripe.
 */
static inline uint64_t pgl_object_shard_of(const struct pgl_object *object, uint64_t stripe)
{
    uint64_t turn = stripe / PGL_SHARDS_MAX * UINT64_C(0x9e3779b97f4a7c15);

    turn = (turn ^ turn >> 29) * UINT64_C(0xbf58476d1ce4e5b9) >> 59;
    return (stripe + turn) & object->last_shard;
}

static inline struct pgl_shard *pgl_object_shard(const struct pgl_object *object, uint64_t index)
{
    return &object->shards[pgl_object_shard_of(object, index / PGL_STRIPE_PAGES)];
}

/* An id for marks that begin at a page, whose shard is locked. */
uint64_t pgl_object_new_id(const struct pgl_object *object, uint64_t index);

/* As pgl_object_unwire(), but leave errno alone. */
bool pgl_object_drop_wire(struct pgl_object *object, uint64_t index);

/* The pages that are asked for in all shards, whether they are locked or not. */
uint64_t pgl_object_outstanding(const struct pgl_object *object);

/* Whether replies to this object's requests for data take frames. */
static inline bool pgl_object_owes_frames(const struct pgl_object *object)
{
    return object->frames && !object->config.internal;
}

/*
 * Credits. A fault that was promised one asks with it, and hands it on if it does not. All are called without the lock
 * of the credits, and those with a list may put waiters onto it. pgl_credit_claim() reserves a credit, or queues the
 * waiter, or does neither if the waiter is NULL or was interrupted.
 */
enum pgl_claim { PGL_CLAIM_GRANTED, PGL_CLAIM_QUEUED, PGL_CLAIM_NONE };
enum pgl_claim pgl_credit_claim(struct pgl_object *object, struct pgl_waiter *waiter, uint64_t index);
/* Reserve up to @npages more. Returns the number. */
uint64_t pgl_credit_reserve(struct pgl_object *object, uint64_t npages);
/* Of @reserved credits @spent are those of pages that are asked for now; the others are returned. */
void pgl_credit_spend(struct pgl_object *object, uint64_t reserved, uint64_t spent, struct pgl_wake_list *list);
/* The credit of a page that was asked for is returned. */
void pgl_credit_return(struct pgl_object *object, struct pgl_wake_list *list);

/*
 * All functions below are called with the shards of the pages locked that they name. If a waiter is in a chunk's queue,
 * its index is that of a busy or asked page.
 */
/* The chunk with this number, or NULL. The shard need not be locked. */
struct pgl_chunk *pgl_object_chunk(const struct pgl_object *object, uint64_t number);
struct pgl_object_page pgl_object_page_find(const struct pgl_object *object, uint64_t index);
/* Find the page, and allocate its chunk if there is none. Returns false if there is no memory. */
bool pgl_object_page_make(struct pgl_object *object, uint64_t index, struct pgl_object_page *page);
/* Allocate the page's frame if it has none. Returns false if there is no memory. */
bool pgl_object_page_has_frame(struct pgl_object *object, struct pgl_object_page page);
void pgl_object_page_settle(struct pgl_object_page page, enum pgl_outcome outcome, struct pgl_wake_list *list);
void pgl_object_page_mark(const struct pgl_object *object, struct pgl_object_page page, uint64_t id, bool asked);
/* Remove the mark, and return its credit if the page was asked for. */
void pgl_object_page_unmark(struct pgl_object *object, struct pgl_object_page page, struct pgl_wake_list *list);
void pgl_object_page_drop_frame(struct pgl_object *object, struct pgl_object_page page);
void pgl_object_page_allow(struct pgl_object_page page, enum pgl_access access);
void pgl_object_page_fill(struct pgl_object *object, struct pgl_object_page page, const void *data,
                          enum pgl_access access, struct pgl_wake_list *list);
uint64_t pgl_object_absent_word(const void *object, uint64_t number);     /* eligibility for data requests */
uint64_t pgl_object_unreadable_word(const void *object, uint64_t number); /* eligibility for access requests */
uint64_t pgl_object_unwritable_word(const void *object, uint64_t number); /* and for those that unlock clusters */

/* The first page of [first, last] that is not resident, or last + 1. Nothing is locked. */
uint64_t pgl_object_next_missing(struct pgl_object *object, uint64_t first, uint64_t last);

typedef void pgl_object_page_visitor(struct pgl_object *object, struct pgl_object_page page, void *arg);

/* Visit every resident or busy page of a range. The cost is bounded both by the range and by the number of chunks. */
void pgl_object_visit(struct pgl_object *object, uint64_t first, uint64_t last, pgl_object_page_visitor *visit,
                      void *arg);

/* Remove the marks that have this id from the pages [first, last], and no others. */
void pgl_object_roll_back(struct pgl_object *object, uint64_t id, uint64_t first, uint64_t last,
                          enum pgl_outcome outcome, struct pgl_wake_list *list);

/* As pgl_object_roll_back(), with nothing locked. The faults that wait for the pages are woken. */
void pgl_object_cancel(struct pgl_object *object, uint64_t id, uint64_t first, uint64_t last, enum pgl_outcome outcome);

/*
 * As pgl_pager_offer(), at a moment of the pager's own count; the caller wakes the faults on the list. Nothing is
 * locked.
 */
uint64_t pgl_object_offer(struct pgl_object *object, struct pgl_pager_range range, const void *data,
                          enum pgl_access access, uint64_t moment, struct pgl_wake_list *list);

/*
 * Remove a page unless it, or another page of its chunk, was offered after a moment. Returns whether none was. Nothing
 * is locked.
 */
bool pgl_object_remove_older(struct pgl_object *object, uint64_t index, uint64_t moment);

/* Whether any of these pages is asked for under an id. Nothing is locked. */
bool pgl_object_is_asked(struct pgl_object *object, uint64_t id, uint64_t first, uint64_t last);

/* Free all chunks and frames. No fault is under way. */
void pgl_object_pages_free(struct pgl_object *object);

/* Find the window around a page that is its cluster in the working set. Returns false if there is none. */
bool pgl_object_recorded_row(const struct pgl_object *object, uint64_t index, struct pgl_advice_row *row);

/* Have an object the watcher and the working set of another one. Neither is locked. */
void pgl_object_record_as(struct pgl_object *object, struct pgl_object *other);

/* Tell the watcher that a fault needs a page which the pager has, or has brought. */
static inline void pgl_object_report_touch(const struct pgl_object *object, uint64_t index)
{
    if (object->touched && object->config.pager_ops) {
        object->touched(object->touched_arg, index + object->config.pager_range.first);
    }
}

static inline bool pgl_object_has_pager_for(const struct pgl_object *object, uint64_t index)
{
    const struct pgl_pager_range *range = &object->config.pager_range;

    return object->config.pager_ops && index <= range->last - range->first;
}

static inline void *pgl_object_page_frame(const struct pgl_object *object, struct pgl_object_page page)
{
    return object->config.memory_ops ? page.chunk->frame[page.slot] : NULL;
}

/* A page that was requested as a neighbour is one no more, or becomes one. */
static inline void pgl_object_page_speculate(struct pgl_object_page page, bool speculative)
{
    uint64_t others = page.chunk->speculative & ~page.bit;

    __atomic_store_n(&page.chunk->speculative, others | (speculative ? page.bit : 0), __ATOMIC_RELAXED);
}

static inline bool pgl_object_page_is(struct pgl_object_page page, uint64_t in_chunk)
{
    return (in_chunk & page.bit) != 0;
}

#endif
