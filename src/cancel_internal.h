/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Cancellation. A thread that was cancelled inside the library would leave locks held, pages marked and descriptors
 * open. Therefore no call of the library is a cancellation point by itself: it disables cancellation before it sleeps,
 * and before it calls a function that POSIX allows to be a cancellation point. A request stays pending until the
 * thread's next cancellation point after the call.
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

/* Disable cancellation from here to the end of the block. This is a declaration. */
#define PGL_UNCANCELLED                                                                                                \
    const int cancel_state_ __attribute__((cleanup(pgl_cancel_restore), unused)) = pgl_cancel_disable()

#endif
