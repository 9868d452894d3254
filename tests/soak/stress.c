/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "stress.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    MAX_THREADS = 16,
};

int stress_main(const struct mix *mix, bool (*is_enough)(void))
{
    const char *seed_text = getenv("PGL_SEED"), *times = getenv("PGL_STRESS"), *threads = getenv("PGL_THREADS");
    uint64_t seed = seed_text ? strtoull(seed_text, NULL, 0) : soak_now() * 1000003;
    struct mix longer = *mix;
    bool missed = false;

    longer.rounds *= times ? strtoull(times, NULL, 0) : 1;
    printf("%s: PGL_SEED=%" PRIu64 "\n", mix->name, seed);
    fflush(stdout);
    for (unsigned n = 2; n <= MAX_THREADS; n *= 2) {
        if (threads && strtoul(threads, NULL, 0) != n) {
            continue;
        }
        soak_workers = n;
        printf("threads=%u ", n);
        soak_start(&longer, seed + n);
        soak_join();
        missed |= is_enough && !is_enough();
    }
    printf("%s: violations=%" PRIu64 "\n", mix->name, soak_violations());
    return soak_violations() || missed ? 1 : 0;
}
