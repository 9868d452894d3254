/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Histograms of times: each bucket holds times up to twice as long as the one before. */
#include "uffd_internal.h"

unsigned pgl_latency_bucket(uint64_t ns)
{
    unsigned bucket = 63 - (unsigned)__builtin_clzll(ns | 1);

    return bucket < PGL_UFFD_BUCKETS ? bucket : PGL_UFFD_BUCKETS - 1;
}

uint64_t pgl_uffd_quantile(const uint64_t *latency, unsigned permille)
{
    uint64_t all = 0, wanted, below = 0;
    unsigned bucket = 0;

    for (unsigned i = 0; i < PGL_UFFD_BUCKETS; i++) {
        all += latency[i];
    }
    if (all == 0) {
        return 0;
    }
    permille = permille < 1000 ? permille : 1000;
    wanted = all / 1000 * permille + (all % 1000 * permille + 999) / 1000;
    wanted = wanted > 0 ? wanted : 1;
    while (below + latency[bucket] < wanted) {
        below += latency[bucket++];
    }
    return (UINT64_C(1) << bucket) +
           (uint64_t)((double)(UINT64_C(1) << bucket) * (double)(wanted - below) / (double)latency[bucket]);
}
