/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A histogram of times in nanoseconds. Values below 32 have a bucket each, and each power of two above has sixteen;
 * therefore a bucket is at most a sixteenth of its values wide. To add a value takes no allocation.
 */
#ifndef PGL_BENCH_HISTOGRAM_H
#define PGL_BENCH_HISTOGRAM_H

#include <stdint.h>

enum { HISTOGRAM_SUB_BITS = 4, HISTOGRAM_BUCKETS = (64 - HISTOGRAM_SUB_BITS + 1) << HISTOGRAM_SUB_BITS };

struct histogram {
    uint64_t n;
    uint64_t max;
    uint64_t counts[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *histogram, uint64_t value);

/*
 * The value that a @share of all values (0 to 1) does not exceed, rounded up to the end of its bucket, but not beyond
 * the largest value. 0 for an empty histogram.
 */
uint64_t histogram_quantile(const struct histogram *histogram, double share);

#endif
