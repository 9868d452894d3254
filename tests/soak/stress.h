/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A stress test is a soak with a mix of its own and a fixed number of operations. */
#ifndef PGL_TESTS_SOAK_STRESS_H
#define PGL_TESTS_SOAK_STRESS_H

#include "soak.h"

/*
 * Run a mix with 2, 4, 8 and 16 threads. PGL_SEED repeats a run's choices (not its schedule), PGL_STRESS multiplies its
 * length, PGL_THREADS replaces the numbers of threads by one. @is_enough, unless NULL, says after each run whether it
 * met everything that it had to meet.
 *
 * Returns main()'s status.
 */
int stress_main(const struct mix *mix, bool (*is_enough)(void));

#endif
