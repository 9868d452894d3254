/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files of working sets, one after the other; the name of each is the path of the file whose pages it has. */
#ifndef PGL_BENCH_SETS_H
#define PGL_BENCH_SETS_H

#include <stdbool.h>

#include <glib.h>
#include <pagelock/workset.h>

#include "trace.h"

/* Appends the sets of a file. Returns false after it has said what is wrong with it. */
bool sets_read(const char *path, const struct pgl_costs *costs, GPtrArray *sets);

/* The sets of a file, with those of each name combined into one. Returns NULL after it has said what is wrong. */
GPtrArray *sets_read_combined(const char *path, const struct pgl_costs *costs);

/* Replaces a file as a whole, or says why not. */
bool sets_write(const char *path, const GPtrArray *sets);

/* Appends a set of the pages of each object of a fault trace. Objects with the same name share one. */
bool sets_of_trace(const struct trace *trace, const struct pgl_costs *costs, GPtrArray *sets);

/*
 * Combines the sets of each name into one: of pages that at least @least runs touched. Returns NULL after it has said
 * what is wrong.
 */
GPtrArray *sets_combine(const GPtrArray *sets, unsigned least, const struct pgl_costs *costs);

/* The first set of a name, or NULL. */
const struct pgl_workset *sets_find(const GPtrArray *sets, const char *name);

/* A list that frees its sets. */
GPtrArray *sets_new(void);

#endif
