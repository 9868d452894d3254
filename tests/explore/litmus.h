/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The words and locks of the litmus tests, and the verdicts of the explorer on a scenario. */
#ifndef PGL_TESTS_EXPLORE_LITMUS_H
#define PGL_TESTS_EXPLORE_LITMUS_H

#include "../cm.h"
#include "search.h"

/* Zero before each schedule: reset() is the beginning of the scenarios. */
extern uint64_t x, y, lock_a, lock_b;
extern uint64_t plain;
extern uint64_t seen[EXPLORE_THREADS][2];
extern uint64_t *pointer;

uint64_t load(uint64_t *word, int order);
void store(uint64_t *word, uint64_t value, int order);
void fence(void);
void acquire(uint64_t *lock);
void release(uint64_t *lock);
void reset(void);

/* Assert in which of the three memory modes the scenario fails, and that each failure can be replayed. */
void assert_verdicts(const struct explore_scenario *scenario, bool sc, bool tso, bool weak);

#endif
