/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The page lock beside other locks: alone, and with threads that contend. */
#include <pthread.h>

#ifdef HAVE_CK
#include <ck_spinlock.h>
#endif
#include <pagelock/page.h>

#include "clock.h"
#include "micro_case.h"
#include "plain.h"

enum { MAX_LOCKS = 16, PAGE_BITS = 12, ADDR_BITS = 48, UNCONTENDED_OPS = 2000000 };

/* Which lock a thread takes. */
enum layout {
    HOT,        /* all the same one */
    SPREAD,     /* any of 16, on cache lines of their own */
    IN_TURN,    /* one of these after the other */
    NEIGHBOURS, /* each its own, beside the next thread's */
};

union slot {
    pthread_mutex_t mutex;
    pthread_spinlock_t spin;
    uint32_t word;
#ifdef HAVE_CK
    ck_spinlock_fas_t fas;
    ck_spinlock_ticket_t ticket;
    ck_spinlock_mcs_t mcs;
#endif
};

struct locks {
    void *at[MAX_LOCKS];
    struct pgl_table *table;
    struct pages pages;
    union slot *slots;
};

static size_t place(const struct variant *variant, unsigned number)
{
    return variant->kind == NEIGHBOURS ? number : number * 16;
}

static void *pagelock_setup(const struct variant *variant)
{
    const struct pgl_table_config config = {.page_bits = PAGE_BITS, .addr_bits = ADDR_BITS};
    struct locks *locks = g_new0(struct locks, 1);

    locks->table = pgl_table_new(&config);
    for (unsigned i = 0; i < MAX_LOCKS; i++) {
        locks->at[i] = pgl_page_get(locks->table, place(variant, i));
    }
    return locks;
}

static void pagelock_teardown(void *state)
{
    pgl_table_free(((struct locks *)state)->table);
    g_free(state);
}

static void *plain_setup(const struct variant *variant)
{
    struct locks *locks = g_new0(struct locks, 1);

    pages_init(&locks->pages, PAGE_BITS, ADDR_BITS);
    for (unsigned i = 0; i < MAX_LOCKS; i++) {
        locks->at[i] = pages_make(&locks->pages, place(variant, i));
    }
    return locks;
}

static void plain_teardown(void *state)
{
    pages_fini(&((struct locks *)state)->pages);
    g_free(state);
}

/* The other locks are all made by zeroing, or by what their setup does then. */
static void *slots_setup(const struct variant *variant)
{
    struct locks *locks = g_new0(struct locks, 1);

    locks->slots = g_aligned_alloc0(MAX_LOCKS * 16, sizeof(*locks->slots), 64);
    for (unsigned i = 0; i < MAX_LOCKS; i++) {
        locks->at[i] = &locks->slots[place(variant, i)];
    }
    return locks;
}

static void *mutex_setup(const struct variant *variant)
{
    struct locks *locks = slots_setup(variant);

    for (unsigned i = 0; i < MAX_LOCKS; i++) {
        pthread_mutex_init(locks->at[i], NULL);
    }
    return locks;
}

static void *spin_setup(const struct variant *variant)
{
    struct locks *locks = slots_setup(variant);

    for (unsigned i = 0; i < MAX_LOCKS; i++) {
        pthread_spin_init(locks->at[i], PTHREAD_PROCESS_PRIVATE);
    }
    return locks;
}

static void slots_teardown(void *state)
{
    g_aligned_free(((struct locks *)state)->slots);
    g_free(state);
}

static unsigned pick(const struct variant *variant, unsigned thread)
{
    static _Thread_local uint32_t random, turn;

    switch ((enum layout)variant->kind) {
    case SPREAD:
        random = random * 1664525u + 1013904223u + thread;
        return random >> 28;
    case IN_TURN:
        return turn++ % MAX_LOCKS;
    case NEIGHBOURS:
        return thread;
    default:
        return 0;
    }
}

static void hold(unsigned ns)
{
    uint64_t until = ns ? clock_ns() + ns : 0;

    while (ns && clock_ns() < until) {
        cpu_relax();
    }
}

/* A subject whose loop has the lock inlined, as in a caller's code. */
#define LOCK_SUBJECT(id, subject_name, make, unmake, lock, unlock)                                                     \
    static void id##_run(void *state, const struct variant *variant, unsigned thread, uint64_t ops)                    \
    {                                                                                                                  \
        struct locks *locks = state;                                                                                   \
                                                                                                                       \
        for (uint64_t i = 0; i < ops; i++) {                                                                           \
            void *at = locks->at[pick(variant, thread)];                                                               \
                                                                                                                       \
            lock;                                                                                                      \
            hold(variant->size);                                                                                       \
            unlock;                                                                                                    \
        }                                                                                                              \
    }                                                                                                                  \
    static const struct subject id##_subject = {                                                                       \
        .name = subject_name, .setup = make, .teardown = unmake, .run = id##_run}

LOCK_SUBJECT(pagelock, "pagelock", pagelock_setup, pagelock_teardown, pgl_page_lock(locks->table, at),
             pgl_page_unlock(locks->table, at));
LOCK_SUBJECT(plain, "plain", plain_setup, plain_teardown, plain_lock(at), plain_unlock(at));
LOCK_SUBJECT(exchange, "exchange+store", slots_setup, slots_teardown,
             (void)__atomic_exchange_n((uint32_t *)at, 1, __ATOMIC_ACQUIRE),
             __atomic_store_n((uint32_t *)at, 0, __ATOMIC_RELEASE));
LOCK_SUBJECT(mutex, "pthread_mutex", mutex_setup, slots_teardown, pthread_mutex_lock(at), pthread_mutex_unlock(at));
LOCK_SUBJECT(spin, "pthread_spin", spin_setup, slots_teardown, pthread_spin_lock(at), pthread_spin_unlock(at));
#ifdef HAVE_CK
LOCK_SUBJECT(fas, "ck_fas", slots_setup, slots_teardown, ck_spinlock_fas_lock(at), ck_spinlock_fas_unlock(at));
LOCK_SUBJECT(ticket, "ck_ticket", slots_setup, slots_teardown, ck_spinlock_ticket_lock(at),
             ck_spinlock_ticket_unlock(at));
LOCK_SUBJECT(mcs, "ck_mcs", slots_setup, slots_teardown, struct ck_spinlock_mcs node;
             ck_spinlock_mcs_lock(at, &node), ck_spinlock_mcs_unlock(at, &node));
#endif

static const struct subject *const subjects[] = {
    &pagelock_subject, &plain_subject,  &mutex_subject, &spin_subject,
#ifdef HAVE_CK
    &fas_subject,      &ticket_subject, &mcs_subject,
#endif
};

/* Every lock at one number of threads, each paired with ours. Returns the number of ours. */
static unsigned add_all(struct micro_case *one, const struct variant *variant)
{
    struct variant copy = *variant;
    unsigned ours = 0;

    for (unsigned i = 0; i < G_N_ELEMENTS(subjects); i++) {
        unsigned number;

        copy.subject = subjects[i];
        number = micro_variant(one, &copy);
        if (i == 0) {
            ours = number;
        } else {
            micro_pair(one, number, ours);
        }
    }
    return ours;
}

static void contended_case(GPtrArray *cases, const char *name, const char *what, enum layout layout, unsigned hold_ns)
{
    struct micro_case *one = micro_add(cases, name, what, MICRO_OVER_THREADS);
    unsigned on_two = 0, ours = 0;

    for (unsigned threads = 1; threads <= MAX_LOCKS; threads *= 2) {
        const struct variant variant = {
            .threads = threads,
            .pages = layout == HOT      ? 1
                     : layout == SPREAD ? MAX_LOCKS
                                        : threads,
            .size = hold_ns,
            .kind = layout,
        };

        ours = add_all(one, &variant);
        if (threads == 2) {
            on_two = ours;
        }
    }
    micro_pair(one, on_two, ours);
}

static void alone_case(GPtrArray *cases, const char *name, const char *what, enum layout layout)
{
    struct micro_case *one = micro_add(cases, name, what, MICRO_NO_PLOT);
    struct variant alone = {
        .threads = 1, .pages = layout == HOT ? 1 : MAX_LOCKS, .ops = UNCONTENDED_OPS, .kind = layout};
    unsigned ours = add_all(one, &alone);

    alone.subject = &exchange_subject;
    micro_pair(one, micro_variant(one, &alone), ours);
}

void micro_lock_cases(GPtrArray *cases)
{
    alone_case(cases, "lock", "lock and unlock a page that nobody else wants, again and again", HOT);
    alone_case(cases, "lock-16", "lock and unlock 16 pages in turn", IN_TURN);
    contended_case(cases, "contended-hot", "one page wanted by all", HOT, 0);
    contended_case(cases, "contended-hot-400", "one page wanted by all, held for 400 ns", HOT, 400);
    contended_case(cases, "contended-16", "16 pages wanted by all", SPREAD, 0);
    contended_case(cases, "contended-16-400", "16 pages wanted by all, held for 400 ns", SPREAD, 400);
    contended_case(cases, "contended-neighbours", "a page a thread, side by side", NEIGHBOURS, 0);
    contended_case(cases, "contended-neighbours-400", "a page a thread, side by side, held for 400 ns", NEIGHBOURS,
                   400);
}
