/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The states of an object's pages: a hash table of chunks, the marks, and the queues of faults that wait for a page or
 * for a credit. Everything here is called with the object locked; object.c has the invariants.
 */
#include "heap_internal.h"
#include "object_internal.h"

static void *object_alloc(const struct pgl_object *object, size_t size)
{
    return pgl_heap_alloc(object->config.heap_ops, object->config.heap, size);
}

static void object_release(const struct pgl_object *object, void *block)
{
    pgl_heap_free(object->config.heap_ops, object->config.heap, block);
}

/* The slot of a chunk in the table, or the slot for it if it is not there. The table has a free slot. */
static uint64_t chunk_slot(struct pgl_chunk *const *chunks, uint64_t nslots, uint64_t number)
{
    uint64_t slot = (number * UINT64_C(0x9e3779b97f4a7c15)) >> 32 & (nslots - 1);

    while (chunks[slot] && chunks[slot]->number != number) {
        slot = (slot + 1) & (nslots - 1);
    }
    return slot;
}

static struct pgl_chunk *chunk_find(const struct pgl_object *object, uint64_t number)
{
    return object->nslots > 0 ? object->chunks[chunk_slot(object->chunks, object->nslots, number)] : NULL;
}

static bool chunks_grow(struct pgl_object *object)
{
    uint64_t nslots = object->nslots > 0 ? 2 * object->nslots : 8;
    struct pgl_chunk **chunks = object_alloc(object, nslots * sizeof(struct pgl_chunk *));

    if (!chunks) {
        return false;
    }
    for (uint64_t slot = 0; slot < object->nslots; slot++) {
        if (object->chunks[slot]) {
            chunks[chunk_slot(chunks, nslots, object->chunks[slot]->number)] = object->chunks[slot];
        }
    }
    object_release(object, object->chunks);
    object->chunks = chunks;
    object->nslots = nslots;
    return true;
}

struct pgl_object_page pgl_object_page_find(const struct pgl_object *object, uint64_t index)
{
    unsigned slot = index % PGL_CHUNK_PAGES;

    return (struct pgl_object_page){chunk_find(object, index / PGL_CHUNK_PAGES), slot, UINT64_C(1) << slot};
}

bool pgl_object_page_make(struct pgl_object *object, uint64_t index, struct pgl_object_page *page)
{
    uint64_t nframes = object->config.memory_ops ? PGL_CHUNK_PAGES : 0;
    struct pgl_chunk *chunk;

    *page = pgl_object_page_find(object, index);
    if (page->chunk) {
        return true;
    }
    if (2 * (object->nchunks + 1) > object->nslots && !chunks_grow(object)) {
        return false;
    }
    chunk = object_alloc(object, sizeof(*chunk) + nframes * sizeof(void *));
    if (!chunk) {
        return false;
    }
    chunk->number = index / PGL_CHUNK_PAGES;
    object->chunks[chunk_slot(object->chunks, object->nslots, chunk->number)] = chunk;
    object->nchunks++;
    page->chunk = chunk;
    return true;
}

bool pgl_object_page_has_frame(struct pgl_object *object, struct pgl_object_page page)
{
    const struct pgl_memory_ops *memory_ops = object->config.memory_ops;

    if (memory_ops && !page.chunk->frame[page.slot]) {
        page.chunk->frame[page.slot] = memory_ops->alloc(object->config.memory);
        return page.chunk->frame[page.slot];
    }
    return true;
}

void pgl_object_page_drop_frame(struct pgl_object *object, struct pgl_object_page page)
{
    void *frame = pgl_object_page_frame(object, page);

    if (frame) {
        object->config.memory_ops->free(object->config.memory, frame);
        page.chunk->frame[page.slot] = NULL;
    }
}

/* Clear the page's id; if it was asked for, return its credit. */
static void page_answered(struct pgl_object *object, struct pgl_object_page page)
{
    if (pgl_object_page_is(page, page.chunk->asked)) {
        page.chunk->asked &= ~page.bit;
        object->stats.outstanding--;
    }
    page.chunk->id[page.slot] = 0;
}

bool pgl_object_queue(struct pgl_object *object, struct pgl_waiter *waiter, struct pgl_waiter **queue, uint64_t index)
{
    bool queued = pgl_waiter_queue(waiter, queue, object, index);

    object->stats.waiting += queued;
    return queued;
}

bool pgl_object_dequeue(struct pgl_object *object, struct pgl_waiter *waiter)
{
    bool queued = waiter->queued_on == object;

    if (queued) {
        pgl_waiter_dequeue(waiter);
        object->stats.waiting--;
    }
    return queued;
}

void pgl_object_settle(struct pgl_object *object, struct pgl_waiter *waiter, enum pgl_outcome outcome,
                       struct pgl_wake_list *list)
{
    pgl_waiter_settle(waiter, outcome, list);
    object->stats.waiting--;
}

void pgl_object_wake_queue(struct pgl_object *object, struct pgl_wake_list *list)
{
    while (object->queue) {
        pgl_object_settle(object, object->queue, PGL_OUTCOME_AGAIN, list);
    }
}

void pgl_object_page_settle(struct pgl_object *object, struct pgl_object_page page, enum pgl_outcome outcome,
                            struct pgl_wake_list *list)
{
    uint64_t index = page.chunk->number * PGL_CHUNK_PAGES + page.slot;
    struct pgl_waiter *next;

    for (struct pgl_waiter *waiter = page.chunk->queue; waiter; waiter = next) {
        next = waiter->next;
        if (waiter->index == index) {
            pgl_object_settle(object, waiter, outcome, list);
        }
    }
    pgl_object_wake_queue(object, list);
}

void pgl_object_page_mark(struct pgl_object *object, struct pgl_object_page page, uint64_t id, bool asked)
{
    if (!pgl_object_page_is(page, page.chunk->resident)) {
        page.chunk->busy |= page.bit;
        object->stats.busy++;
    }
    if (asked) {
        page.chunk->asked |= page.bit;
        object->stats.outstanding++;
    }
    page.chunk->id[page.slot] = id;
}

void pgl_object_page_unmark(struct pgl_object *object, struct pgl_object_page page)
{
    if (pgl_object_page_is(page, page.chunk->busy)) {
        page.chunk->busy &= ~page.bit;
        page.chunk->speculative &= ~page.bit;
        object->stats.busy--;
        pgl_object_page_drop_frame(object, page);
    }
    page_answered(object, page);
}

void pgl_object_page_allow(struct pgl_object_page page, enum pgl_access access)
{
    page.chunk->readable &= ~page.bit;
    page.chunk->writable &= ~page.bit;
    page.chunk->readable |= access != PGL_ACCESS_NONE ? page.bit : 0;
    page.chunk->writable |= access == PGL_ACCESS_WRITE ? page.bit : 0;
}

/* Make an absent or busy page resident. It has its frame if the object has memory. */
void pgl_object_page_fill(struct pgl_object *object, struct pgl_object_page page, const void *data,
                          enum pgl_access access)
{
    const struct pgl_memory_ops *memory_ops = object->config.memory_ops;

    if (memory_ops && data) {
        memory_ops->copy(object->config.memory, page.chunk->frame[page.slot], data);
    } else if (memory_ops) {
        memory_ops->zero(object->config.memory, page.chunk->frame[page.slot]);
    }
    if (pgl_object_page_is(page, page.chunk->busy)) {
        page.chunk->busy &= ~page.bit;
        object->stats.busy--;
    }
    page_answered(object, page);
    page.chunk->error &= ~page.bit;
    page.chunk->resident |= page.bit;
    object->stats.resident++;
    pgl_object_page_allow(page, access);
}

uint64_t pgl_object_absent_word(const void *object, uint64_t number)
{
    const struct pgl_chunk *chunk = chunk_find((const struct pgl_object *)object, number);

    return chunk ? ~(chunk->resident | chunk->busy | chunk->error) : UINT64_MAX;
}

uint64_t pgl_object_unreadable_word(const void *object, uint64_t number)
{
    const struct pgl_chunk *chunk = chunk_find((const struct pgl_object *)object, number);

    return chunk ? chunk->resident & ~chunk->asked & ~chunk->readable : 0;
}

/* The bits of the chunk's pages that lie in [first, last]. */
static uint64_t chunk_mask(const struct pgl_chunk *chunk, uint64_t first, uint64_t last)
{
    uint64_t mask = UINT64_MAX;

    if (chunk->number < first / PGL_CHUNK_PAGES || chunk->number > last / PGL_CHUNK_PAGES) {
        return 0;
    }
    if (chunk->number == first / PGL_CHUNK_PAGES) {
        mask &= UINT64_MAX << first % PGL_CHUNK_PAGES;
    }
    if (chunk->number == last / PGL_CHUNK_PAGES) {
        mask &= UINT64_MAX >> (PGL_CHUNK_PAGES - 1 - last % PGL_CHUNK_PAGES);
    }
    return mask;
}

static void chunk_visit(struct pgl_object *object, struct pgl_chunk *chunk, uint64_t mask,
                        pgl_object_page_visitor *visit, void *arg)
{
    mask &= chunk->resident | chunk->busy;
    while (mask != 0) {
        unsigned slot = (unsigned)__builtin_ctzll(mask);

        mask &= mask - 1;
        visit(object, (struct pgl_object_page){chunk, slot, UINT64_C(1) << slot}, arg);
    }
}

void pgl_object_visit(struct pgl_object *object, uint64_t first, uint64_t last, pgl_object_page_visitor *visit,
                      void *arg)
{
    uint64_t span = last / PGL_CHUNK_PAGES - first / PGL_CHUNK_PAGES;

    if (span < object->nslots) {
        for (uint64_t i = 0; i <= span; i++) {
            struct pgl_chunk *chunk = chunk_find(object, first / PGL_CHUNK_PAGES + i);

            if (chunk) {
                chunk_visit(object, chunk, chunk_mask(chunk, first, last), visit, arg);
            }
        }
        return;
    }
    for (uint64_t slot = 0; slot < object->nslots; slot++) {
        struct pgl_chunk *chunk = object->chunks[slot];

        if (chunk) {
            chunk_visit(object, chunk, chunk_mask(chunk, first, last), visit, arg);
        }
    }
}

struct roll_back {
    uint64_t id;
    enum pgl_outcome outcome;
    struct pgl_wake_list *list;
};

static void roll_page_back(struct pgl_object *object, struct pgl_object_page page, void *arg)
{
    const struct roll_back *roll_back = arg;

    if (page.chunk->id[page.slot] == roll_back->id) {
        uint64_t wanted = page.chunk->busy & page.chunk->asked & page.bit;

        pgl_object_page_unmark(object, page);
        page.chunk->error |= roll_back->outcome == PGL_OUTCOME_ERROR ? wanted : 0;
        pgl_object_page_settle(object, page, roll_back->outcome, roll_back->list);
    }
}

void pgl_object_roll_back(struct pgl_object *object, uint64_t id, uint64_t first, uint64_t last,
                          enum pgl_outcome outcome, struct pgl_wake_list *list)
{
    struct roll_back roll_back = {id, outcome, list};

    pgl_object_visit(object, first, last, roll_page_back, &roll_back);
}

void pgl_object_pages_free(struct pgl_object *object)
{
    for (uint64_t slot = 0; slot < object->nslots; slot++) {
        struct pgl_chunk *chunk = object->chunks[slot];

        if (chunk) {
            for (unsigned i = 0; i < PGL_CHUNK_PAGES; i++) {
                pgl_object_page_drop_frame(object, (struct pgl_object_page){chunk, i, UINT64_C(1) << i});
            }
            object_release(object, chunk);
        }
    }
    object_release(object, object->chunks);
}
