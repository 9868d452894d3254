/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A thread that is cancelled in a call of the library. Programs are linked with --wrap for nanosleep and
 * pthread_cond_wait, which tell that a thread has come to its sleep.
 */
#ifndef PGL_TESTS_VICTIM_H
#define PGL_TESTS_VICTIM_H

#include <pthread.h>

/* A thread that is cancelled. It has a request pending before its call, so that its first sleep would end it. */
struct victim {
    void (*call)(void *arg);
    void *arg;
    pthread_t thread;
    unsigned returned; /* from the call */
    unsigned ended;
};

void victim_start(struct victim *victim, void (*call)(void *arg), void *arg);

/* Wait until it has come to its @n-th sleep, which the sleeps before have not ended. */
void victim_await_sleep(struct victim *victim, unsigned n);

/* The call has returned, and the request ended the thread after it. */
void victim_assert_finished(struct victim *victim);

#endif
