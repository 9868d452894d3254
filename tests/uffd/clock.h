/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The clock that calls.h stops, for programs that are linked with -Wl,--wrap=clock_gettime. */
#ifndef PGL_TESTS_UFFD_CLOCK_H
#define PGL_TESTS_UFFD_CLOCK_H

#include <time.h>

#include "calls.h"

int __real_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
    uint64_t ns = __atomic_load_n(&clock_now, __ATOMIC_RELAXED);

    if (!__atomic_load_n(&clock_stopped, __ATOMIC_ACQUIRE)) {
        return __real_clock_gettime(clock, now);
    }
    *now = (struct timespec){(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
    return 0;
}

#endif
