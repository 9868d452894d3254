/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Cancellation. A thread that is cancelled inside the library would leave locks taken, pages marked and descriptors
 * open. So no call of the library is a cancellation point by itself: where it sleeps, or does what POSIX lets be one, it
 * disables cancellation first. A request stays pending until the thread's next cancellation point after the call.
 */
#ifndef PGL_CANCEL_INTERNAL_H
#define PGL_CANCEL_INTERNAL_H

#include <pthread.h>

static inline int pgl_cancel_disable(void)
{
    int state;

    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    return state;
}

static inline void pgl_cancel_restore(const int *state)
{
    pthread_setcancelstate(*state, NULL);
}

/* A declaration: cancellation is disabled from here to the end of the block. */
#define PGL_UNCANCELLED                                                                                                \
    const int cancel_state_ __attribute__((cleanup(pgl_cancel_restore), unused)) = pgl_cancel_disable()

#endif
