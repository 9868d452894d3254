/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Yardsticks for a policy on a fault trace: fixed windows, and a clairvoyant. Each is a number of requests and of pages
 * fetched; a cost is requests x fault cost + pages x page cost.
 */
#ifndef PGL_BENCH_YARDSTICK_H
#define PGL_BENCH_YARDSTICK_H

#include <pagelock/advice.h>

#include "trace.h"

enum window_shape {
    WINDOW_FORWARD, /* the demand page and those after it */
    WINDOW_CENTRED, /* the demand page in the middle; of an even number, the odd page after it */
    WINDOW_ALIGNED, /* the block of that size that has the demand page */
};

struct window {
    const char *name;
    enum window_shape shape;
    unsigned npages;
};

/* One page; forward 2, 4 ... 64; centred 2, 4 ... 64; aligned 4, 8 ... 64 pages. */
#define YARDSTICK_WINDOWS 18
extern const struct window yardstick_windows[YARDSTICK_WINDOWS];

/* The name of the windows of one shape together, in plots; of a window's name: that of its shape, or the name itself. */
const char *yardstick_shape(enum window_shape shape);
const char *yardstick_series(const char *window);

struct fetches {
    uint64_t requests;
    uint64_t pages;
};

uint64_t fetches_ns(const struct fetches *fetches, const struct pgl_costs *costs);

/* Every fault asks for the part of its window that is absent, contiguous, and inside its entry. */
struct fetches yardstick_fixed(const struct trace *trace, const struct window *window);

/* Knows every page that will be touched, and covers them with clusters of at most 64 pages at the least cost. */
struct fetches yardstick_clairvoyant(const struct trace *trace, const struct pgl_costs *costs);

/* The number of the window with the least cost. */
unsigned yardstick_best(const struct fetches fixed[YARDSTICK_WINDOWS], const struct pgl_costs *costs);

#endif
