/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The soak: many threads do everything the library offers, for as long as they are told to, on few pages. What they may
 * assume of each other is checked all the time; a watchdog notices who makes no progress; the end state is counted.
 */
#ifndef PGL_TESTS_SOAK_H
#define PGL_TESTS_SOAK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define SOAK_THREADS_MAX 64u
#define SOAK_KINDS_MAX 40u

struct block;
struct pgl_fault;

/* What a thread has done of one kind. */
struct tally {
    uint64_t ops;
    uint64_t longest_ns;
};

/* A thread. Its counters are its own, but for those that the watchdog reads: these are atomic. */
struct worker {
    unsigned id;
    pthread_t thread;
    uint64_t random;
    unsigned kind;  /* atomic: what it does now, or soak_kinds: nothing */
    uint64_t since; /* atomic: when it began that, in ns */
    struct tally tally[SOAK_KINDS_MAX];

    uint64_t quiet;             /* atomic: the epoch in which its operation began; UINT64_MAX: it holds no block */
    struct block *limbo, *last; /* the dead that it retired, oldest first: others may still hold them */
    uint64_t links;

    struct pgl_fault *fault;
};

/* Something a thread may do, and how often, in shares. */
struct kind {
    const char *name;
    unsigned share;
    bool faults; /* it holds no block, and may wait for a pager */
    void (*run)(struct worker *w);
};

extern const struct kind soak_kind[];
extern const unsigned soak_kinds;

/* The workers of this run. */
extern struct worker soak_worker[SOAK_THREADS_MAX];
extern unsigned soak_workers;
extern __thread struct worker *soak_self;

/* Mistakes that the run makes on purpose, so that its checks can be seen to work. */
enum mistake { MISTAKE_NONE, MISTAKE_HANG, MISTAKE_STALE };
extern enum mistake soak_mistake;

uint64_t soak_now(void);

/* Something is as it must not be: counted, the first few are told. */
void soak_broken(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A random number below n. */
uint64_t soak_below(uint64_t *random, uint64_t n);

/* Code pages. */
void code_begin(uint64_t seed);
void code_end(void);               /* after all workers have ended: counts, and lets everything go */
void code_enter(struct worker *w); /* before an operation: others' blocks may be looked at until the next one */
void code_report(void);            /* who holds what, to standard error */

void code_abort(struct worker *w);
void code_collection(struct worker *w);
void code_collection_wide(struct worker *w);
void code_find(struct worker *w);
void code_flush(struct worker *w);
void code_hang(struct worker *w); /* the mistake: it keeps a page for ever */
void code_kill(struct worker *w);
void code_leaf(struct worker *w);
void code_link_higher(struct worker *w);
void code_link_lower(struct worker *w);
void code_link_one(struct worker *w);
void code_link_same(struct worker *w);
void code_link_storing(struct worker *w);
void code_lock(struct worker *w);
void code_lock_block(struct worker *w);
void code_page(struct worker *w);
void code_pair(struct worker *w);
void code_range(struct worker *w);
void code_store(struct worker *w);
void code_store_bracket(struct worker *w);
void code_trylock(struct worker *w);
void code_unlisted(struct worker *w);

/* Faulting pages: SOAK_PAGERS threads more answer what the workers' faults ask for. */
#define SOAK_PAGERS 2u
void fault_begin(uint64_t seed);
void fault_end(void);
void fault_report(void);

void fault_advise(struct worker *w);
void fault_check(struct worker *w);
void fault_continued(struct worker *w);
void fault_interrupt(struct worker *w);
void fault_remap(struct worker *w);
void fault_remove(struct worker *w);
void fault_run(struct worker *w);
void fault_teardown(struct worker *w);
void fault_withhold(struct worker *w);

#endif
