/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One block killed by many threads at once; ranges, pages, chosen blocks, everything; resets and trims in between. */
#include "../soak/code.h"
#include "../soak/stress.h"

int main(void)
{
    static const struct mix mix = {
        .name = "invalidate",
        .rounds = 100000,
        .kinds =
            {
                {"link", 50, &code_half, code_link},
                {"cache", 5, &code_half, code_cache},
                {"store", 10, &code_half, code_store},
                {"kill", 25, &code_half, code_kill},
                {"page", 4, &code_half, code_page},
                {"range", 5, &code_half, code_range},
                {"choose", 5, &code_half, code_choose},
                {"evict", 5, &code_half, code_evict},
                {"flush", 1, &code_half, code_flush},
                {"reset", 1, &code_half, code_reset},
                {"trim", 1, &code_half, code_trim},
            },
    };

    return stress_main(&mix, NULL);
}
