/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The decisions of a fault trace alone, without the driver, to time them. */
#ifndef PGL_BENCH_DECISIONS_H
#define PGL_BENCH_DECISIONS_H

#include "replay.h"

enum { DECISION_ROUNDS = 5 };

/*
 * Takes all decisions of a trace, a few times over, and gives the mean time of one for each time. Returns NULL, or what
 * is wrong: there are not @expected decisions, as the driver has taken, or no memory.
 */
const char *decisions_time(const struct trace *trace, const struct policy *policy, const struct pgl_advice_row *row,
                           const struct replay_options *options, uint64_t expected, double ns[DECISION_ROUNDS]);

#endif
