/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory between the threads.
 *
 * OBJECTS: a cell is one aligned 8-byte word that was accessed atomically. Real memory always holds its newest value;
 * stores are numbered from 1 in the order in which they reached it. Under TSO a store waits in its thread's buffer
 * first. Under MEMORY_WEAK the last few stores are kept, each with the view that it releases: for every cell the number
 * of the oldest store that who acquires it may still read. A thread's own view grows with all it reads, writes and
 * acquires; a sequentially consistent fence exchanges views with all other such fences. (That is the view semantics of
 * RC11: without loads that run ahead of earlier stores, and with stores to one word ordered as they are executed.)
 *
 * RACES: vector clocks. Each byte remembers when each thread last read and wrote it, plainly and atomically; two
 * accesses of which one is plain and one is a write are a race unless one happened before the other. So plain accesses
 * need not be scheduling points: without a race their order makes no difference, and a race is a failure.
 *
 * SIZES: each byte is accessed atomically with one width, or the schedule fails.
 *
 * NOT PROMISED: plain accesses are never stale and never buffered. The bytes of a word share its history, so reading
 * one of them brings the other seven up to date.
 */
#include "engine.h"

#include <string.h>

#define MAX_CELLS 256 /* a power of two */
#define HISTORY 8     /* a power of two */
#define BUFFER 12
#define SHADOW_SLOTS 16384 /* a power of two */
#define THREADS EXPLORE_THREADS

struct clock {
    uint32_t at[THREADS];
};

struct view {
    unsigned int n; /* cells after these: 0 */
    uint16_t oldest[MAX_CELLS];
};

struct message {
    uint64_t value; /* once overwritten */
    struct clock clock;
    struct view view;
};

struct cell {
    uintptr_t word;
    uint32_t generation;
    uint16_t id;
    uint16_t version; /* of the newest store */
    uint16_t base;    /* the oldest that may still be read */
    uint16_t seen[THREADS];
    uint8_t width[8]; /* of the accesses to each byte; 0 before the first */
    struct message history[HISTORY];
};

struct buffered {
    uintptr_t address;
    unsigned int size;
    uint64_t value;
    struct clock clock;
};

struct shadow {
    uintptr_t word;
    uint32_t generation;
    uint32_t at[4][THREADS][8];  /* by enum access */
    uint32_t newest[4][THREADS]; /* of the eight */
};
enum event { LOADED, OWN_LOADED, STORED, COMPARED, UPDATED, FENCED, FLUSHED };
enum access { PLAIN_READ, PLAIN_WRITE, ATOMIC_READ, ATOMIC_WRITE };

static struct {
    uint32_t generation;
    uint16_t ncells;
    struct cell cells[MAX_CELLS];
    uint16_t slots[4 * MAX_CELLS]; /* cell + 1, by word */
    uint32_t slot_generation[4 * MAX_CELLS];
    struct shadow shadows[SHADOW_SLOTS];
    unsigned int nshadows;
    uint64_t writes[THREADS + 1]; /* by each thread, and by all */
    uint32_t events[THREADS];
    bool stale[THREADS];                  /* it read an overwritten value since it yielded last */
    struct clock clocks[THREADS];         /* the events before the thread's next step */
    struct clock pending_clocks[THREADS]; /* read relaxed: an acquire fence makes it count */
    struct clock fence_clocks[THREADS];   /* at the last release fence */
    struct view views[THREADS], pending_views[THREADS], fence_views[THREADS], sc_view;
    struct buffered buffers[THREADS][BUFFER];
    unsigned int nbuffered[THREADS];
} memory;

static bool acquires(int order)
{
    return order == __ATOMIC_ACQUIRE || order == __ATOMIC_CONSUME || order == __ATOMIC_ACQ_REL ||
           order == __ATOMIC_SEQ_CST;
}

static bool releases(int order)
{
    return order == __ATOMIC_RELEASE || order == __ATOMIC_ACQ_REL || order == __ATOMIC_SEQ_CST;
}

static const char *order_name(int order)
{
    static const char *const names[] = {"relaxed", "consume", "acquire", "release", "acq_rel", "seq_cst"};
    return order >= 0 && order <= 5 ? names[order] : "?";
}

/* Clocks and views only grow. */

static void clock_join(struct clock *to, const struct clock *from)
{
    for (int t = 0; t < THREADS; t++) {
        to->at[t] = to->at[t] > from->at[t] ? to->at[t] : from->at[t];
    }
}

static void view_join(struct view *to, const struct view *from)
{
    for (; to->n < from->n; to->n++) {
        to->oldest[to->n] = 0;
    }
    for (unsigned int i = 0; i < from->n; i++) {
        to->oldest[i] = to->oldest[i] > from->oldest[i] ? to->oldest[i] : from->oldest[i];
    }
}

static void view_copy(struct view *to, const struct view *from)
{
    to->n = from->n;
    memcpy(to->oldest, from->oldest, from->n * sizeof *from->oldest);
}

static uint16_t view_get(const struct view *view, unsigned int id)
{
    return id < view->n ? view->oldest[id] : 0;
}

static void view_raise(struct view *view, unsigned int id, uint16_t version)
{
    for (; view->n <= id; view->n++) {
        view->oldest[view->n] = 0;
    }
    if (view->oldest[id] < version) {
        view->oldest[id] = version;
    }
}

void memory_reset(void)
{
    memory.generation++;
    memory.ncells = 0;
    memory.nshadows = 0;
    memory.sc_view.n = 0;
    memset(memory.writes, 0, sizeof memory.writes);
    memset(memory.events, 0, sizeof memory.events);
    memset(memory.stale, 0, sizeof memory.stale);
    memset(memory.clocks, 0, sizeof memory.clocks);
    memset(memory.pending_clocks, 0, sizeof memory.pending_clocks);
    memset(memory.fence_clocks, 0, sizeof memory.fence_clocks);
    for (int t = 0; t < THREADS; t++) {
        memory.clocks[t].at[t] = 1;
        memory.views[t].n = memory.pending_views[t].n = memory.fence_views[t].n = 0;
        memory.nbuffered[t] = 0;
    }
}

/* A flush is no event of its thread: its moment shows in which thread reads which version. */
static void event(int thread, uint64_t what, const struct cell *cell)
{
    uint64_t who = (uint64_t)thread << 32 | (what == FLUSHED ? UINT32_MAX : memory.events[thread]++);
    engine_event(who, what, cell ? cell->word : 0, cell ? cell->version : 0);
}

/* Cells. */

static struct cell *find_cell(uintptr_t word, bool make)
{
    unsigned int mask = 4 * MAX_CELLS - 1;
    unsigned int i = (unsigned int)mix64(word) & mask;

    for (; memory.slot_generation[i] == memory.generation; i = (i + 1) & mask) {
        if (memory.cells[memory.slots[i] - 1].word == word) {
            return &memory.cells[memory.slots[i] - 1];
        }
    }
    if (!make) {
        return NULL;
    }
    if (memory.ncells == MAX_CELLS) {
        explore_fail("more than %d words with atomic accesses", MAX_CELLS);
    }
    struct cell *cell = &memory.cells[memory.ncells];
    cell->word = word;
    cell->id = memory.ncells++;
    cell->version = cell->base = 0;
    memset(cell->seen, 0, sizeof cell->seen);
    memset(cell->width, 0, sizeof cell->width);
    cell->history[0].view.n = 0;
    cell->history[0].clock = (struct clock){{0}};
    memory.slots[i] = memory.ncells;
    memory.slot_generation[i] = memory.generation;
    return cell;
}

static uintptr_t word_of(uintptr_t address)
{
    return address & ~(uintptr_t)7;
}

/* The cell of an atomic access. The order of accesses of one width says nothing of accesses that overlap otherwise. */
static struct cell *access_cell(uintptr_t address, unsigned int size, const void *pc)
{
    struct cell *cell = find_cell(word_of(address), true);

    for (unsigned int i = address & 7; i < (address & 7) + size && !engine_private(address); i++) {
        if (cell->width[i] != 0 && cell->width[i] != size) {
            engine_trace(pc, "access to %u bytes of [%zx]", size, (size_t)address);
            explore_fail("mixed sizes: an atomic access of %u bytes after one of %u", size, cell->width[i]);
        }
        cell->width[i] = (uint8_t)size;
    }
    return cell;
}

static uint64_t read_memory(uintptr_t address, unsigned int size)
{
    uint64_t value = 0;
    memcpy(&value, (const void *)address, size); /* the low bytes, on a little-endian machine */
    return value;
}

static void write_memory(uintptr_t address, unsigned int size, uint64_t value)
{
    memcpy((void *)address, &value, size);
}

static struct message *message_of(struct cell *cell, unsigned int version)
{
    return &cell->history[version % HISTORY];
}

/* A store reaches memory as the newest of its cell. */
static struct message *add_message(struct cell *cell, uintptr_t address, unsigned int size, uint64_t value, int thread)
{
    message_of(cell, cell->version)->value = read_memory(cell->word, 8);
    cell->version++;
    if (cell->version - cell->base >= HISTORY) {
        cell->base = (uint16_t)(cell->version - HISTORY + 1);
    }
    write_memory(address, size, value);
    memory.writes[thread]++;
    memory.writes[THREADS]++;
    return message_of(cell, cell->version);
}

bool memory_read_stale(int thread)
{
    bool stale = memory.stale[thread];
    memory.stale[thread] = false;
    return stale;
}

uint64_t memory_writes(int but_thread)
{
    return memory.writes[THREADS] - memory.writes[but_thread];
}

/* Races. */

static struct shadow *find_shadow(uintptr_t word, bool make)
{
    unsigned int i = (unsigned int)mix64(word) & (SHADOW_SLOTS - 1);

    for (; memory.shadows[i].generation == memory.generation; i = (i + 1) & (SHADOW_SLOTS - 1)) {
        if (memory.shadows[i].word == word) {
            return &memory.shadows[i];
        }
    }
    if (!make) {
        return NULL;
    }
    if (++memory.nshadows > SHADOW_SLOTS / 2) {
        explore_fail("more than %d words accessed", SHADOW_SLOTS / 2);
    }
    memory.shadows[i].word = word;
    memory.shadows[i].generation = memory.generation;
    memset(memory.shadows[i].at, 0, sizeof memory.shadows[i].at);
    memset(memory.shadows[i].newest, 0, sizeof memory.shadows[i].newest);
    return &memory.shadows[i];
}

static void check_against(const struct shadow *shadow, enum access earlier, int me, unsigned int first,
                          unsigned int end, enum access now, const void *pc)
{
    static const char *const names[] = {"plain read", "plain write", "atomic read", "atomic write"};

    for (int t = 0; t < THREADS; t++) {
        if (t == me || shadow->newest[earlier][t] <= memory.clocks[me].at[t]) {
            continue;
        }
        for (unsigned int i = first; i < end; i++) {
            if (shadow->at[earlier][t][i] > memory.clocks[me].at[t]) {
                engine_trace(pc, "%s of %zx", names[now], (size_t)shadow->word + i);
                explore_fail("data race: %s by thread %d after a %s by thread %d", names[now], me, names[earlier], t);
            }
        }
    }
}

static void check_race(uintptr_t address, unsigned int size, enum access access, const void *pc)
{
    int me = explore_self();

    heap_check(address, size, pc);
    while (size > 0) {
        struct shadow *shadow = find_shadow(word_of(address), true);
        unsigned int first = address & 7;
        unsigned int n = size < 8 - first ? size : 8 - first;

        check_against(shadow, PLAIN_WRITE, me, first, first + n, access, pc);
        if (access != PLAIN_READ && access != ATOMIC_READ) {
            check_against(shadow, PLAIN_READ, me, first, first + n, access, pc);
        }
        if (access == PLAIN_READ || access == PLAIN_WRITE) {
            check_against(shadow, ATOMIC_WRITE, me, first, first + n, access, pc);
        }
        if (access == PLAIN_WRITE) {
            check_against(shadow, ATOMIC_READ, me, first, first + n, access, pc);
        }
        for (unsigned int i = first; i < first + n; i++) {
            shadow->at[access][me][i] = memory.clocks[me].at[me];
        }
        shadow->newest[access][me] = memory.clocks[me].at[me];
        address += n;
        size -= n;
    }
}

static void tick(int thread)
{
    memory.clocks[thread].at[thread]++;
}

uint32_t memory_clock(void)
{
    return memory.clocks[explore_self()].at[explore_self()];
}

bool memory_clock_before(int thread, uint32_t clock)
{
    return clock <= memory.clocks[explore_self()].at[thread];
}

/* Store buffers. */

bool memory_buffered(int thread)
{
    return memory.nbuffered[thread] > 0;
}

bool memory_flush_one(int thread)
{
    struct buffered *buffer = memory.buffers[thread];

    if (memory.nbuffered[thread] == 0) {
        return false;
    }
    struct cell *cell = find_cell(word_of(buffer->address), true);
    add_message(cell, buffer->address, buffer->size, buffer->value, thread)->clock = buffer->clock;
    event(thread, FLUSHED, cell);
    memmove(buffer, buffer + 1, --memory.nbuffered[thread] * sizeof *buffer);
    return true;
}

static void drain(int thread)
{
    while (memory_flush_one(thread)) {
    }
}

void memory_flush_all(void)
{
    for (int t = 0; t < THREADS; t++) {
        drain(t);
    }
}

/* The newest value as the thread itself sees it, over its own buffer; *own: some of it is its own. */
static uint64_t read_through_buffer(int thread, uintptr_t address, unsigned int size, bool *own)
{
    uint64_t value = read_memory(address, size);
    unsigned char bytes[8];

    memcpy(bytes, &value, 8);
    *own = false;
    for (unsigned int i = 0; i < memory.nbuffered[thread]; i++) {
        const struct buffered *store = &memory.buffers[thread][i];
        for (unsigned int k = 0; k < store->size; k++) {
            if (store->address + k - address < size) {
                bytes[store->address + k - address] = (unsigned char)(store->value >> 8 * k);
                *own = true;
            }
        }
    }
    memcpy(&value, bytes, 8);
    return value;
}

/* Take over the clock that a message brings along. */
static void read_message(int thread, const struct message *message, int order)
{
    clock_join(&memory.pending_clocks[thread], &message->clock);
    if (acquires(order)) {
        clock_join(&memory.clocks[thread], &message->clock);
    }
    if (engine_memory() == MEMORY_WEAK) {
        view_join(&memory.pending_views[thread], &message->view);
        if (acquires(order)) {
            view_join(&memory.views[thread], &message->view);
        }
    }
}

/* The clock that a store of the running thread carries. */
static struct clock store_clock(int thread, int order)
{
    struct clock clock = releases(order) ? memory.clocks[thread] : memory.fence_clocks[thread];
    if (releases(order)) {
        tick(thread);
    }
    return clock;
}

static void store_view(int thread, struct cell *cell, struct message *message, int order)
{
    view_raise(&memory.views[thread], cell->id, cell->version);
    view_copy(&message->view, releases(order) ? &memory.views[thread] : &memory.fence_views[thread]);
    view_raise(&message->view, cell->id, cell->version);
    if (order == __ATOMIC_SEQ_CST) {
        view_raise(&memory.sc_view, cell->id, cell->version);
    }
}

/* Which of the stores that this thread may still see the load returns. */
static unsigned int choose_version(int thread, struct cell *cell, int order)
{
    unsigned int oldest = view_get(&memory.views[thread], cell->id);

    if (oldest < cell->base) {
        oldest = cell->base;
    }
    if (order == __ATOMIC_SEQ_CST && oldest < view_get(&memory.sc_view, cell->id)) {
        oldest = view_get(&memory.sc_view, cell->id);
    }
    if (oldest == cell->version) {
        return cell->version;
    }
    return cell->version - engine_choose_value(cell->version - oldest + 1);
}

uint64_t memory_load(uintptr_t address, unsigned int size, int order, const void *pc)
{
    int me = explore_self();
    if (me == ALONE) {
        return read_memory(address, size);
    }
    engine_point();
    check_race(address, size, ATOMIC_READ, pc);

    struct cell *cell = access_cell(address, size, pc);
    uint64_t value;
    unsigned int version = cell->version;
    bool own = false;
    if (engine_memory() == MEMORY_WEAK) {
        version = choose_version(me, cell, order);
        value = version == cell->version ? read_memory(address, size)
                                         : message_of(cell, version)->value >> 8 * (address & 7);
        view_raise(&memory.views[me], cell->id, (uint16_t)version);
    } else {
        value = read_through_buffer(me, address, size, &own);
    }
    cell->seen[me] = (uint16_t)version;
    memory.stale[me] |= version != cell->version;
    if (!own) {
        read_message(me, message_of(cell, version), order);
    }
    if (size < 8) {
        value &= ((uint64_t)1 << 8 * size) - 1;
    }
    engine_event((uint64_t)me << 32 | memory.events[me]++, own ? OWN_LOADED : LOADED, cell->word, version);
    engine_trace(pc, "load%u %s [%zx] = %llx%s", 8 * size, order_name(order), (size_t)address,
                 (unsigned long long)value,
                 version != cell->version ? " (overwritten)"
                 : own                    ? " (own buffer)"
                                          : "");
    return value;
}

void memory_store(uintptr_t address, unsigned int size, uint64_t value, int order, const void *pc)
{
    int me = explore_self();
    if (me == ALONE) {
        write_memory(address, size, value);
        return;
    }
    engine_point();
    check_race(address, size, ATOMIC_WRITE, pc);
    struct cell *cell = access_cell(address, size, pc);
    engine_trace(pc, "store%u %s [%zx] = %llx", 8 * size, order_name(order), (size_t)address,
                 (unsigned long long)value);
    if (engine_memory() == MEMORY_TSO) {
        if (memory.nbuffered[me] == BUFFER) {
            memory_flush_one(me);
        }
        struct buffered *store = &memory.buffers[me][memory.nbuffered[me]++];
        *store = (struct buffered){address, size, value, store_clock(me, order)};
        if (order == __ATOMIC_SEQ_CST) {
            drain(me);
        }
        return;
    }
    struct message *message = add_message(cell, address, size, value, me);
    message->clock = store_clock(me, order);
    if (engine_memory() == MEMORY_WEAK) {
        store_view(me, cell, message, order);
    }
    event(me, STORED, cell);
}

/* A read-modify-write reads the newest store, and continues the release sequence that it is in. */
uint64_t memory_update(uintptr_t address, unsigned int size, bool (*update)(uint64_t *value, uint64_t a, uint64_t b),
                       uint64_t a, uint64_t b, int order, int failure_order, bool *updated, const void *pc)
{
    int me = explore_self();
    uint64_t old, value;

    if (me == ALONE) {
        old = value = read_memory(address, size);
        *updated = update(&value, a, b);
        if (*updated) {
            write_memory(address, size, value);
        }
        return old;
    }
    engine_point();
    drain(me);
    old = value = read_memory(address, size);
    *updated = update(&value, a, b);
    check_race(address, size, *updated ? ATOMIC_WRITE : ATOMIC_READ, pc);

    struct cell *cell = access_cell(address, size, pc);
    struct message *read = message_of(cell, cell->version);
    order = *updated ? order : failure_order;
    read_message(me, read, order);
    engine_trace(pc, "update%u %s [%zx] = %llx %s %llx", 8 * size, order_name(order), (size_t)address,
                 (unsigned long long)old, *updated ? "becomes" : "is not changed to", (unsigned long long)value);
    if (*updated) {
        struct message *message = add_message(cell, address, size, value, me);
        message->clock = store_clock(me, order);
        clock_join(&message->clock, &read->clock);
        if (engine_memory() == MEMORY_WEAK) {
            store_view(me, cell, message, order);
            view_join(&message->view, &read->view);
        }
    } else {
        view_raise(&memory.views[me], cell->id, cell->version);
    }
    cell->seen[me] = cell->version;
    event(me, *updated ? UPDATED : COMPARED, cell);
    return old;
}

static void fence(int me, int order)
{
    if (acquires(order)) {
        clock_join(&memory.clocks[me], &memory.pending_clocks[me]);
        view_join(&memory.views[me], &memory.pending_views[me]);
    }
    if (order == __ATOMIC_SEQ_CST) {
        drain(me);
        view_join(&memory.views[me], &memory.sc_view);
        view_copy(&memory.sc_view, &memory.views[me]);
        event(me, FENCED, NULL);
    }
    if (releases(order)) {
        memory.fence_clocks[me] = memory.clocks[me];
        view_copy(&memory.fence_views[me], &memory.views[me]);
        tick(me);
    }
}

void memory_fence(int order, const void *pc)
{
    int me = explore_self();
    if (me == ALONE) {
        return;
    }
    engine_point();
    engine_trace(pc, "fence %s", order_name(order));
    fence(me, order);
}

/* The caller comes first and last, because the kernel fences there at the beginning and at the end of the call. */
void memory_fence_all(const void *pc)
{
    int me = explore_self();
    if (me == ALONE) {
        return;
    }
    engine_point();
    engine_trace(pc, "fence in all threads");
    fence(me, __ATOMIC_SEQ_CST);
    for (int t = 0; t < THREADS; t++) {
        if (t != me) {
            fence(t, __ATOMIC_SEQ_CST);
        }
    }
    fence(me, __ATOMIC_SEQ_CST);
}

void memory_touch(uintptr_t address, const void *pc)
{
    if (explore_self() != ALONE) {
        engine_point();
        check_race(address, 1, ATOMIC_READ, pc);
    }
}

void memory_freed(uintptr_t address, size_t size, const void *pc)
{
    int me = explore_self();

    for (uintptr_t word = word_of(address); word < address + size; word += 8) {
        const struct shadow *shadow = find_shadow(word, false);
        for (enum access earlier = PLAIN_READ; shadow && earlier <= ATOMIC_WRITE; earlier++) {
            check_against(shadow, earlier, me, 0, 8, PLAIN_WRITE, pc);
        }
    }
}

extern char __data_start[], _end[];

void memory_plain(uintptr_t address, size_t size, bool write, const void *pc)
{
    int me = explore_self();
    bool shared = heap_owns(address) || address - (uintptr_t)__data_start < (uintptr_t)(_end - __data_start);

    if (!shared) {
        return;
    }
    if (engine_plain_points()) {
        engine_point();
    }
    check_race(address, (unsigned int)size, write ? PLAIN_WRITE : PLAIN_READ, pc);
    if (engine_plain_points()) {
        engine_trace(pc, "%s%zu [%zx]", write ? "plain write" : "plain read", 8 * size, (size_t)address);
    }
    for (unsigned int i = 0; i < memory.nbuffered[me]; i++) {
        const struct buffered *store = &memory.buffers[me][i];
        if (store->address < address + size && address < store->address + store->size) {
            drain(me); /* the access itself goes to memory, past the buffer */
        }
    }
    struct cell *cell = write ? find_cell(word_of(address), false) : NULL;
    if (cell) {
        add_message(cell, cell->word, 0, 0, me)->clock = memory.clocks[me];
        message_of(cell, cell->version)->view.n = 0;
        cell->base = cell->version;
    }
}

static bool rewritten(uintptr_t cell, uintptr_t thread)
{
    return ((struct cell *)cell)->seen[thread] != ((struct cell *)cell)->version;
}

void pgl_explore_wait(const uintptr_t *word)
{
    int me = explore_self();
    if (me == ALONE) {
        explore_fail("deadlock: code that runs alone waits");
    }
    engine_trace(__builtin_return_address(0), "waits for a write to [%zx]", (size_t)(uintptr_t)word);
    engine_block(rewritten, (uintptr_t)find_cell(word_of((uintptr_t)word), true), (uintptr_t)me);
}
