/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The pages that each thread holds, and the reports.
 *
 * OBJECTS      Each thread has its own `held` and `here`, and no other thread touches them. `hook` is set while no
 * other thread is in the library.
 *
 * The list of held pages is the memory of the witness and not of the library. If the list cannot grow, the witness
 * aborts with a message. (test_witness_knows_each_of_many_pages)
 *
 * A thread that holds a page has a value for a key, whose destructor reports the page when the thread ends. Destructors
 * of the caller's keys may unlock pages. Therefore the report is made in the last round of destructors. A system that
 * has no such rounds, or no key left, has no report. (test_witness_reports_a_thread_that_ended_with_*)
 */
#include "witness_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "../message_internal.h"
#include "table_internal.h"

#ifdef PGL_LOCK_DEBUG

struct held_page {
    struct pgl_table *table;
    struct pgl_page *page;
    uint64_t index;
    const char *place;
};

static _Thread_local struct {
    struct held_page *memory; /* allocated, for `room` pages */
    size_t room;
    struct held_page *pages; /* the held ones, a part of `memory`: ascending by index */
    size_t n;
    unsigned rounds; /* of destructors that have found a page held */
} held;

/* The call that this thread is in or was in last, and the callback that it is in, or NULL. */
static _Thread_local struct {
    const char *call_place;
    const char *callback;
} here;

static const char *const words[] = {
    [PGL_BREACH_ORDER] = "blocks on a page lower than one it holds",
    [PGL_BREACH_RECURSION] = "locks a page it holds already",
    [PGL_BREACH_NOT_HELD] = "uses or unlocks a page it does not hold",
    [PGL_BREACH_NESTED] = "begins a pair, collection, bracket, store check or invalidation while it holds a page",
    [PGL_BREACH_CHECKPOINT] = "passes a check-point while it holds a page",
    [PGL_BREACH_TABLES] = "holds pages of two tables",
    [PGL_BREACH_TB_STATE] =
        ("links a block that is linked already, not new, or not aligned to 16 bytes, or whose array "
         "of extents is linked or not aligned, invalidates one that was never linked, or calls a "
         "dead one an equal"),
    [PGL_BREACH_TB_PAGE] = "links a block with bytes off the pages that its bracket holds",
    [PGL_BREACH_EXTERNAL] = "uses an externally locked table without the external lock",
    [PGL_BREACH_TB_TABLE] = "uses a block of another table",
    [PGL_BREACH_TB_CHANGED] =
        "meets a linked block whose bytes, state or links were changed, or whose memory was reused",
    [PGL_BREACH_CALLBACK] = "stands in a callback, which may not make it",
    [PGL_BREACH_FREE] = "frees, resets or trims a table of which a page is held",
    [PGL_BREACH_THREAD] = "is the last one of a thread that ended while it held a page",
};

static void print_and_abort(const struct pgl_breach *breach, void *opaque)
{
    struct pgl_message message;

    (void)opaque;
    pgl_message_begin(&message);
    pgl_message_add(&message, "the call at %s %s", breach->place, breach->what);
    if (breach->index != UINT64_MAX) {
        pgl_message_add(&message, " (page %#" PRIx64 ")", breach->index);
    }
    if (breach->held_place) {
        pgl_message_add(&message, "; page %#" PRIx64 " was locked at %s", breach->held_index, breach->held_place);
    }
    if (breach->linked_place) {
        pgl_message_add(&message, "; the block was linked at %s", breach->linked_place);
    }
    if (breach->callback) {
        pgl_message_add(&message, "; the callback `%s` was called by the call at %s", breach->callback,
                        breach->callback_place);
    }
    pgl_message_abort(&message);
}

static void (*hook)(const struct pgl_breach *, void *) = print_and_abort;
static void *hook_opaque;

void pgl_witness_set_hook(void (*new_hook)(const struct pgl_breach *breach, void *opaque), void *opaque)
{
    hook = new_hook ? new_hook : print_and_abort;
    hook_opaque = opaque;
}

uint64_t pgl_witness_index(const struct pgl_page *page)
{
    const struct pgl_leaf *leaf = (const struct pgl_leaf *)((uintptr_t)page & ~(uintptr_t)(PGL_LEAF_ALIGN - 1));

    return leaf->first_index + (uint64_t)(page - leaf->pages);
}

static void report_with(enum pgl_breach_kind kind, uint64_t index, const char *place, const struct held_page *other,
                        const char *linked_place)
{
    struct pgl_breach breach = {
        .kind = kind,
        .what = words[kind],
        .index = index,
        .place = place,
        .held_index = other ? other->index : UINT64_MAX,
        .held_place = other ? other->place : NULL,
        .linked_place = linked_place,
        .callback = here.callback,
        .callback_place = here.callback ? here.call_place : NULL,
    };

    hook(&breach, hook_opaque);
}

static void report(enum pgl_breach_kind kind, uint64_t index, const char *place, const struct held_page *other)
{
    report_with(kind, index, place, other, NULL);
}

/* The position of the first held page with @index, or the position at which it would be inserted. */
static size_t position(uint64_t index)
{
    size_t low = 0, high = held.n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (held.pages[middle].index < index) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static struct held_page *find(const struct pgl_page *page)
{
    uint64_t index = pgl_witness_index(page);

    for (size_t i = position(index); i < held.n && held.pages[i].index == index; i++) {
        if (held.pages[i].page == page) {
            return &held.pages[i];
        }
    }
    return NULL;
}

void pgl_witness_external(const struct pgl_table *table, uint64_t index, const char *place)
{
    if (table->external_held && !table->external_held(table->opaque)) {
        report(PGL_BREACH_EXTERNAL, index, place, NULL);
    }
}

bool pgl_witness_may_call(const char *place)
{
    if (here.callback) {
        report(PGL_BREACH_CALLBACK, UINT64_MAX, place, held.n ? &held.pages[0] : NULL);
        return false;
    }
    here.call_place = place;
    return true;
}

const char *pgl_witness_place(void)
{
    return here.call_place;
}

void pgl_witness_calls(const char *name)
{
    here.callback = name;
}

void pgl_witness_returns(void)
{
    here.callback = NULL;
}

bool pgl_witness_may_lock(struct pgl_table *table, struct pgl_page *page, bool blocking, const char *place)
{
    uint64_t index = pgl_witness_index(page);
    const struct held_page *same = find(page);

    if (!pgl_witness_may_call(place)) {
        return false;
    }
    pgl_witness_external(table, index, place);
    if (same) {
        report(PGL_BREACH_RECURSION, index, place, same);
        return false;
    }
    if (held.n && held.pages[0].table != table) {
        report(PGL_BREACH_TABLES, index, place, &held.pages[0]);
    } else if (held.n && blocking && held.pages[held.n - 1].index > index) {
        report(PGL_BREACH_ORDER, index, place, &held.pages[held.n - 1]);
    }
    return true;
}

static void forget_all(void)
{
    free(held.memory);
    held.pages = held.memory = NULL;
    held.room = held.n = 0;
}

/* Windows has freed what is _Thread_local when it calls destructors. */
#if defined(PTHREAD_DESTRUCTOR_ITERATIONS) && !defined(_WIN32)

static pthread_key_t key;
static bool has_key;

/* The thread ends, and held a page at its end or in the round before. */
static void look_for_held(void *value)
{
    if (held.n && ++held.rounds < PTHREAD_DESTRUCTOR_ITERATIONS) {
        pthread_setspecific(key, value);
    } else if (held.n) {
        report(PGL_BREACH_THREAD, held.pages[0].index, here.call_place, &held.pages[0]);
        forget_all();
    }
}

static void make_key(void)
{
    has_key = pthread_key_create(&key, look_for_held) == 0;
}

/* Have the thread looked at when it ends, until it holds no page any more. */
static void look_at_end(bool look)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, make_key);
    if (has_key) {
        pthread_setspecific(key, look ? &held : NULL);
    }
}

#else

static void look_at_end(bool look)
{
    (void)look;
}

#endif

/* Make room for one more page behind the last one: use the room of unlocked pages before the first one, or allocate. */
static void make_room(void)
{
    size_t before = (size_t)(held.pages - held.memory);

    if (before + held.n < held.room) {
        return;
    }
    if (before > held.n) {
        memmove(held.memory, held.pages, held.n * sizeof(*held.pages));
        before = 0;
    } else {
        held.room = held.room ? 2 * held.room : 64;
        held.memory = realloc(held.memory, held.room * sizeof(*held.memory));
        if (!held.memory) {
            pgl_abort("no memory for the list of held pages");
        }
    }
    held.pages = held.memory + before;
}

void pgl_witness_locked(struct pgl_table *table, struct pgl_page *page, const char *place)
{
    uint64_t index = pgl_witness_index(page);
    size_t at = position(index);

    if (!held.n) {
        look_at_end(true);
    }
    make_room();
    memmove(&held.pages[at + 1], &held.pages[at], (held.n - at) * sizeof(*held.pages));
    held.pages[at] = (struct held_page){table, page, index, place};
    held.n++;
}

static void forget(struct held_page *gone)
{
    held.n--;
    if (gone == held.pages) { /* the lowest page: sets are mostly unlocked in ascending order */
        held.pages++;
    } else {
        memmove(gone, gone + 1, (size_t)(&held.pages[held.n] - gone) * sizeof(*gone));
    }
    if (!held.n) {
        look_at_end(false);
        forget_all();
    }
}

bool pgl_witness_unlocking(struct pgl_table *table, struct pgl_page *page, const char *place)
{
    if (!pgl_witness_may_call(place) || !pgl_witness_holds(table, page, place)) {
        return false;
    }
    forget(find(page));
    return true;
}

bool pgl_witness_holds(struct pgl_table *table, struct pgl_page *page, const char *place)
{
    (void)table;
    if (find(page)) {
        return true;
    }
    report(PGL_BREACH_NOT_HELD, pgl_witness_index(page), place, NULL);
    return false;
}

void pgl_witness_holds_none(enum pgl_breach_kind kind, const char *place)
{
    if (held.n) {
        report(kind, UINT64_MAX, place, &held.pages[0]);
    }
}

bool pgl_witness_enters(const struct pgl_table *table, const char *place)
{
    if (!pgl_witness_may_call(place)) {
        errno = EINVAL;
        return false;
    }
    pgl_witness_holds_none(PGL_BREACH_NESTED, place);
    pgl_witness_external(table, UINT64_MAX, place);
    return true;
}

bool pgl_witness_resets(const struct pgl_table *table, uint64_t first_locked, const char *place)
{
    const struct held_page *page = NULL;

    for (size_t i = 0; i < held.n && !page; i++) {
        page = held.pages[i].table == table ? &held.pages[i] : NULL;
    }
    if (page || first_locked != UINT64_MAX) {
        report(PGL_BREACH_FREE, page ? page->index : first_locked, place, page);
        return false;
    }
    pgl_witness_external(table, UINT64_MAX, place);
    return true;
}

void pgl_witness_frees(struct pgl_table *table, uint64_t first_locked)
{
    static const char place[] = "pgl_table_free()";
    bool reported = false;

    for (size_t i = 0; i < held.n;) {
        struct held_page *page = &held.pages[i];

        if (page->table != table) {
            i++;
            continue;
        }
        if (!reported) {
            report(PGL_BREACH_FREE, page->index, place, page);
        }
        reported = true;
        forget(page);
    }
    if (!reported && first_locked != UINT64_MAX) {
        report(PGL_BREACH_FREE, first_locked, place, NULL);
    }
}

void pgl_witness_breach(enum pgl_breach_kind kind, uint64_t index, const char *place, const char *linked_place)
{
    report_with(kind, index, place, NULL, linked_place);
}

#else

void pgl_witness_set_hook(void (*new_hook)(const struct pgl_breach *breach, void *opaque), void *opaque)
{
    (void)new_hook, (void)opaque;
}

#endif
