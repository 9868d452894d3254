/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The states of an object's pages: a hash table of chunks for each shard, the marks, and the queues of faults that wait
 * for a page. Everything but pgl_object_cancel() and pgl_object_next_missing() is called with the pages' shards locked;
 * object.c has the invariants.
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

/* Find a chunk in the table. It has a free slot. Returns where the chunk is, or would be, and it or NULL in @chunk. */
static struct pgl_chunk **chunk_slot(struct pgl_chunk_table *table, uint64_t number, struct pgl_chunk **chunk)
{
    uint64_t slot = (number * UINT64_C(0x9e3779b97f4a7c15)) >> 32 & (table->nslots - 1);

    /* acquire: pairs with the release in pgl_object_page_make() */
    while ((*chunk = __atomic_load_n(&table->chunk[slot], __ATOMIC_ACQUIRE)) && (*chunk)->number != number) {
        slot = (slot + 1) & (table->nslots - 1);
    }
    return &table->chunk[slot];
}

struct pgl_chunk *pgl_object_chunk(const struct pgl_object *object, uint64_t number)
{
    const struct pgl_shard *shard = pgl_object_shard(object, number * PGL_CHUNK_PAGES);
    struct pgl_chunk_table *table = __atomic_load_n(&shard->table, __ATOMIC_ACQUIRE); /* pairs with table_grow() */
    struct pgl_chunk *chunk = NULL;

    if (table) {
        chunk_slot(table, number, &chunk);
    }
    return chunk;
}

static bool table_grow(const struct pgl_object *object, struct pgl_shard *shard)
{
    struct pgl_chunk_table *smaller = shard->table;
    uint64_t nslots = smaller ? 2 * smaller->nslots : 8;
    struct pgl_chunk_table *table = object_alloc(object, sizeof(*table) + nslots * sizeof(struct pgl_chunk *));

    if (!table) {
        return false;
    }
    table->smaller = smaller;
    table->nslots = nslots;
    for (uint64_t slot = 0; smaller && slot < smaller->nslots; slot++) {
        struct pgl_chunk *none;

        if (smaller->chunk[slot]) {
            *chunk_slot(table, smaller->chunk[slot]->number, &none) = smaller->chunk[slot];
        }
    }
    __atomic_store_n(&shard->table, table, __ATOMIC_RELEASE); /* pairs with pgl_object_chunk() */
    return true;
}

struct pgl_object_page pgl_object_page_find(const struct pgl_object *object, uint64_t index)
{
    struct pgl_shard *shard = pgl_object_shard(object, index);
    unsigned slot = index % PGL_CHUNK_PAGES;

    return (struct pgl_object_page){shard, pgl_object_chunk(object, index / PGL_CHUNK_PAGES), slot,
                                    UINT64_C(1) << slot};
}

bool pgl_object_page_make(struct pgl_object *object, uint64_t index, struct pgl_object_page *page)
{
    uint64_t nframes = object->config.memory_ops ? PGL_CHUNK_PAGES : 0;
    struct pgl_shard *shard = pgl_object_shard(object, index);
    struct pgl_chunk *chunk;

    *page = pgl_object_page_find(object, index);
    if (page->chunk) {
        return true;
    }
    if ((!shard->table || 2 * (shard->nchunks + 1) > shard->table->nslots) && !table_grow(object, shard)) {
        return false;
    }
    chunk = object_alloc(object, sizeof(*chunk) + nframes * sizeof(void *));
    if (!chunk) {
        return false;
    }
    chunk->number = index / PGL_CHUNK_PAGES;
    __atomic_store_n(chunk_slot(shard->table, chunk->number, &page->chunk), chunk,
                     __ATOMIC_RELEASE); /* pairs with chunk_slot() */
    shard->nchunks++;
    page->chunk = chunk;
    return true;
}

bool pgl_object_page_has_frame(struct pgl_object *object, struct pgl_object_page page)
{
    void *frame;

    if (!object->frames || page.chunk->frame[page.slot]) {
        return true;
    }
    frame = pgl_frames_alloc(object->frames);
    __atomic_store_n(&page.chunk->frame[page.slot], frame, __ATOMIC_RELEASE); /* pairs with pgl_fault_hit(), K2 */
    return frame;
}

void pgl_object_page_drop_frame(struct pgl_object *object, struct pgl_object_page page)
{
    void *frame = pgl_object_page_frame(object, page);

    if (frame) {
        __atomic_store_n(&page.chunk->drops, page.chunk->drops + 1, __ATOMIC_RELEASE); /* these two pair with */
        __atomic_store_n(&page.chunk->frame[page.slot], NULL, __ATOMIC_RELEASE);       /* pgl_fault_hit(), K2 */
        pgl_frames_free(object->frames, frame);
    }
}

static void add_outstanding(struct pgl_shard *shard, int64_t npages)
{
    __atomic_store_n(&shard->outstanding, shard->outstanding + (uint64_t)npages, __ATOMIC_RELAXED);
}

/* Clear the page's id; if it was asked for, return its credit, and settle what the answer to a data request takes. */
static void page_answered(struct pgl_object *object, struct pgl_object_page page, struct pgl_wake_list *list)
{
    if (pgl_object_page_is(page, page.chunk->asked)) {
        page.chunk->asked &= ~page.bit;
        if (pgl_object_owes_frames(object) && !pgl_object_page_is(page, page.chunk->resident)) { /* N9 */
            pgl_frames_settle(object->frames, 1);
        }
        add_outstanding(page.shard, -1);
        pgl_credit_return(object, list);
    }
    page.chunk->id[page.slot] = 0;
}

void pgl_object_page_settle(struct pgl_object_page page, enum pgl_outcome outcome, struct pgl_wake_list *list)
{
    uint64_t index = page.chunk->number * PGL_CHUNK_PAGES + page.slot;
    struct pgl_waiter *next;

    for (struct pgl_waiter *waiter = page.chunk->queue.first; waiter; waiter = next) {
        next = waiter->next;
        if (waiter->index == index) {
            waiter->removals = outcome == PGL_OUTCOME_NO_DATA ? page.chunk->removals : waiter->removals;
            pgl_waiter_settle(waiter, outcome, list);
        }
    }
}

void pgl_object_page_mark(const struct pgl_object *object, struct pgl_object_page page, uint64_t id, bool asked)
{
    bool data = !pgl_object_page_is(page, page.chunk->resident);

    if (data) {
        page.chunk->busy |= page.bit;
        page.shard->busy++;
    }
    if (asked) {
        page.chunk->asked |= page.bit;
        add_outstanding(page.shard, 1);
    }
    if (asked && data && pgl_object_owes_frames(object)) { /* N9 */
        pgl_frames_owe(object->frames, 1);
    }
    page.chunk->id[page.slot] = id;
}

void pgl_object_page_unmark(struct pgl_object *object, struct pgl_object_page page, struct pgl_wake_list *list)
{
    if (pgl_object_page_is(page, page.chunk->busy)) {
        page.chunk->busy &= ~page.bit;
        if (pgl_object_page_is(page, page.chunk->speculative)) {
            pgl_object_page_speculate(page, false);
        }
        page.shard->busy--;
        pgl_object_page_drop_frame(object, page);
    }
    page_answered(object, page, list);
}

void pgl_object_page_allow(struct pgl_object_page page, enum pgl_access access)
{
    uint64_t readable = page.chunk->readable & ~page.bit;
    uint64_t writable = page.chunk->writable & ~page.bit;

    readable |= access != PGL_ACCESS_NONE ? page.bit : 0;
    writable |= access == PGL_ACCESS_WRITE ? page.bit : 0;
    __atomic_store_n(&page.chunk->readable, readable, __ATOMIC_RELEASE); /* these two pair with pgl_fault_hit(), K1 */
    __atomic_store_n(&page.chunk->writable, writable, __ATOMIC_RELEASE);
}

/* Make an absent or busy page resident. It has its frame if the object has memory. */
void pgl_object_page_fill(struct pgl_object *object, struct pgl_object_page page, const void *data,
                          enum pgl_access access, struct pgl_wake_list *list)
{
    const struct pgl_memory_ops *memory_ops = object->config.memory_ops;

    if (memory_ops && data) {
        memory_ops->copy(object->config.memory, page.chunk->frame[page.slot], data);
    } else if (memory_ops) {
        memory_ops->zero(object->config.memory, page.chunk->frame[page.slot]);
    }
    if (pgl_object_page_is(page, page.chunk->busy)) {
        page.chunk->busy &= ~page.bit;
        page.shard->busy--;
    }
    page_answered(object, page, list);
    page.chunk->error &= ~page.bit;
    page.chunk->resident |= page.bit;
    page.shard->resident++;
    pgl_object_page_allow(page, access);
}

uint64_t pgl_object_absent_word(const void *object, uint64_t number)
{
    const struct pgl_chunk *chunk = pgl_object_chunk(object, number);

    return chunk ? ~(chunk->resident | chunk->busy | chunk->error) : UINT64_MAX;
}

uint64_t pgl_object_unreadable_word(const void *object, uint64_t number)
{
    const struct pgl_chunk *chunk = pgl_object_chunk(object, number);

    return chunk ? chunk->resident & ~chunk->asked & ~chunk->readable : 0;
}

uint64_t pgl_object_unwritable_word(const void *object, uint64_t number)
{
    const struct pgl_chunk *chunk = pgl_object_chunk(object, number);

    return chunk ? chunk->resident & ~chunk->asked & ~chunk->writable : 0;
}

uint64_t pgl_object_next_missing(struct pgl_object *object, uint64_t first, uint64_t last)
{
    while (first <= last) {
        const struct pgl_chunk *chunk;
        uint64_t missing;

        pgl_object_lock(object, first, first);
        chunk = pgl_object_chunk(object, first / PGL_CHUNK_PAGES);
        missing = ~(chunk ? chunk->resident : 0) >> first % PGL_CHUNK_PAGES;
        pgl_object_unlock(object, first, first);
        if (missing != 0) {
            first += (unsigned)__builtin_ctzll(missing);
            break;
        }
        first += PGL_CHUNK_PAGES - first % PGL_CHUNK_PAGES;
    }
    return first <= last ? first : last + 1;
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
    struct pgl_shard *shard = pgl_object_shard(object, chunk->number * PGL_CHUNK_PAGES);

    mask &= chunk->resident | chunk->busy;
    while (mask != 0) {
        unsigned slot = (unsigned)__builtin_ctzll(mask);

        mask &= mask - 1;
        visit(object, (struct pgl_object_page){shard, chunk, slot, UINT64_C(1) << slot}, arg);
    }
}

void pgl_object_visit(struct pgl_object *object, uint64_t first, uint64_t last, pgl_object_page_visitor *visit,
                      void *arg)
{
    uint64_t span = last / PGL_CHUNK_PAGES - first / PGL_CHUNK_PAGES;
    uint64_t shards = pgl_object_shards(object, first, last);
    uint64_t nslots = 0;

    for (uint64_t left = shards; left != 0; left &= left - 1) {
        const struct pgl_chunk_table *table = object->shards[__builtin_ctzll(left)].table;

        nslots += table ? table->nslots : 0;
    }
    if (span < nslots) {
        for (uint64_t i = 0; i <= span; i++) {
            struct pgl_chunk *chunk = pgl_object_chunk(object, first / PGL_CHUNK_PAGES + i);

            if (chunk) {
                chunk_visit(object, chunk, chunk_mask(chunk, first, last), visit, arg);
            }
        }
        return;
    }
    for (uint64_t left = shards; left != 0; left &= left - 1) {
        const struct pgl_chunk_table *table = object->shards[__builtin_ctzll(left)].table;

        for (uint64_t slot = 0; table && slot < table->nslots; slot++) {
            if (table->chunk[slot]) {
                chunk_visit(object, table->chunk[slot], chunk_mask(table->chunk[slot], first, last), visit, arg);
            }
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

        pgl_object_page_unmark(object, page, roll_back->list);
        page.chunk->error |= roll_back->outcome == PGL_OUTCOME_ERROR ? wanted : 0;
        pgl_object_page_settle(page, roll_back->outcome, roll_back->list);
    }
}

void pgl_object_roll_back(struct pgl_object *object, uint64_t id, uint64_t first, uint64_t last,
                          enum pgl_outcome outcome, struct pgl_wake_list *list)
{
    struct roll_back roll_back = {id, outcome, list};

    pgl_object_visit(object, first, last, roll_page_back, &roll_back);
}

void pgl_object_cancel(struct pgl_object *object, uint64_t id, uint64_t first, uint64_t last, enum pgl_outcome outcome)
{
    struct pgl_wake_list list = {NULL};

    pgl_object_lock(object, first, last);
    pgl_object_roll_back(object, id, first, last, outcome, &list);
    pgl_object_unlock(object, first, last);
    pgl_wake_all(&list);
}

static void shard_free(struct pgl_object *object, struct pgl_shard *shard)
{
    struct pgl_chunk_table *table = shard->table;

    for (uint64_t slot = 0; table && slot < table->nslots; slot++) {
        struct pgl_chunk *chunk = table->chunk[slot];

        if (chunk) {
            if (pgl_object_owes_frames(object)) { /* of pages that no reply will bring any more */
                pgl_frames_settle(object->frames, (unsigned)__builtin_popcountll(chunk->asked & chunk->busy));
            }
            for (unsigned i = 0; i < PGL_CHUNK_PAGES; i++) {
                pgl_object_page_drop_frame(object, (struct pgl_object_page){shard, chunk, i, UINT64_C(1) << i});
            }
            object_release(object, chunk);
        }
    }
    while (table) {
        struct pgl_chunk_table *smaller = table->smaller;

        object_release(object, table);
        table = smaller;
    }
}

void pgl_object_pages_free(struct pgl_object *object)
{
    for (uint64_t i = 0; i <= object->last_shard; i++) {
        shard_free(object, &object->shards[i]);
    }
}
