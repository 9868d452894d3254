/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A program of the user's that runs with the shim preloaded, and the area that is shared with it. */
#ifndef PGL_BENCH_PROGRAM_H
#define PGL_BENCH_PROGRAM_H

#include "area.h"

/* Makes an area for one run, with adaptive advice and nothing to record. Returns NULL after it has said what is wrong. */
struct area *area_new(void);
void area_free(struct area *area);

/*
 * Runs a program to its end, with standard input from /dev/null if @quiet, and its output there too. @argv ends with
 * NULL; @area is NULL for a run without the shim. Gives the wait status, and the time from start to end. Returns false
 * after it has said what is wrong: the program cannot be started, or the shim is not there.
 */
bool program_run(char *const *argv, const struct area *area, bool quiet, int *status, uint64_t *ns);

/* Says, if it is so, why the shim could do nothing in the program. */
bool program_explain(const struct area *area);

#endif
