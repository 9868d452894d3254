/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "histogram.h"

enum { SUBS = 1 << HISTOGRAM_SUB_BITS };

/* A value of @shift + HISTOGRAM_SUB_BITS + 1 bits is told apart by its first HISTOGRAM_SUB_BITS + 1 bits. */
static unsigned bucket_of(uint64_t value)
{
    unsigned shift = value < SUBS ? 0 : 63u - HISTOGRAM_SUB_BITS - (unsigned)__builtin_clzll(value);

    return (shift << HISTOGRAM_SUB_BITS) + (unsigned)(value >> shift);
}

static uint64_t last_of(unsigned bucket)
{
    unsigned shift = bucket < SUBS ? 0 : (bucket >> HISTOGRAM_SUB_BITS) - 1u;
    uint64_t leading = bucket - (shift << HISTOGRAM_SUB_BITS);

    return (leading << shift) + ((UINT64_C(1) << shift) - 1u);
}

void histogram_add(struct histogram *histogram, uint64_t value)
{
    histogram->n++;
    histogram->counts[bucket_of(value)]++;
    if (value > histogram->max) {
        histogram->max = value;
    }
}

uint64_t histogram_quantile(const struct histogram *histogram, double share)
{
    double wanted = share * (double)histogram->n;
    uint64_t seen = 0;

    for (unsigned bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) {
        seen += histogram->counts[bucket];
        if (histogram->counts[bucket] && (double)seen >= wanted) {
            uint64_t last = last_of(bucket);

            return last < histogram->max ? last : histogram->max;
        }
    }
    return histogram->max;
}
