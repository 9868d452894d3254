/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Many threads call the library at once, each one operation after the other, chosen at random from a mix. The
 * operations check all the time what the threads may assume of each other, and the end of a run counts what is left.
 * The soak runs a mix of everything for as long as it is asked to; a stress test runs a mix of its own, of a fixed
 * length.
 */
#ifndef PGL_TESTS_SOAK_SOAK_H
#define PGL_TESTS_SOAK_SOAK_H

#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdint.h>

#define SOAK_THREADS_MAX 64u
#define SOAK_KINDS_MAX 40u
#define SOAK_ENDED UINT32_MAX

struct block;
struct pgl_fault;

/* The operations of one kind that a thread has done. */
struct tally {
    uint64_t ops;
    uint64_t longest_ns;
};

/* A thread. All is its own, except for the members that are atomic: other threads read them. */
struct worker {
    unsigned id;
    pthread_t thread;
    uint64_t random;
    unsigned kind;  /* atomic: the number of the operation in its mix, or SOAK_ENDED */
    uint64_t since; /* atomic: the time in ns at which the operation began */
    struct tally tally[SOAK_KINDS_MAX];

    bool inside;                /* atomic: it is in an operation on code pages */
    uint64_t quiet;             /* atomic: the epoch in which its operation began; UINT64_MAX: it holds no block */
    struct block *limbo, *last; /* the dead blocks that it retired, oldest first: other threads may still hold them */
    uint64_t links, equals, restarts, stores, hits;

    struct pgl_fault *fault;
    sem_t ready; /* posted when the fault can be continued */
};

/* One half of the library, and the state that its operations share. */
struct half {
    void (*begin)(uint64_t seed);
    void (*enter)(struct worker *w); /* before each operation of this half */
    void (*leave)(struct worker *w); /* after it; NULL for nothing */
    void (*end)(void);               /* after all workers have ended: count, and free everything */
    void (*report)(void);            /* print which thread holds which page, to standard error */
};

/* An operation, and how often a worker chooses it, in shares. */
struct kind {
    const char *name;
    unsigned share;
    const struct half *half;
    void (*run)(struct worker *w);
};

struct mix {
    const char *name;
    uint64_t rounds;                       /* operations of all workers together; 0: until soak_stop() */
    struct kind kinds[SOAK_KINDS_MAX + 1]; /* the last has no name */
};

/* The workers of this run. */
extern struct worker soak_worker[SOAK_THREADS_MAX];
extern unsigned soak_workers;
extern __thread struct worker *soak_self;

/* Mistakes that the run makes on purpose, to show that its checks see them. */
enum mistake { MISTAKE_NONE, MISTAKE_HANG, MISTAKE_STALE };
extern enum mistake soak_mistake;

/* Start soak_workers threads; have those of a mix without rounds end; wait for all, and check the end state. */
void soak_start(const struct mix *mix, uint64_t seed);
void soak_stop(void);
void soak_join(void);

/* Print what each half knows of a run that hangs. */
void soak_report(void);

uint64_t soak_now(void);

/* Count a violation, and print the first few. */
void soak_broken(const char *format, ...) __attribute__((format(printf, 1, 2)));
uint64_t soak_violations(void);

/* A random number below n. */
uint64_t soak_below(uint64_t *random, uint64_t n);

static inline uint64_t below(struct worker *w, uint64_t n)
{
    return soak_below(&w->random, n);
}

#endif
