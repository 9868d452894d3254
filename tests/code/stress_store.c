/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Stores into code, checked without and with a lock, against translation, caches and kills of chosen blocks. */
#include "../soak/code.h"
#include "../soak/stress.h"

int main(void)
{
    static const struct mix mix = {
        .name = "store",
        .rounds = 200000,
        .kinds =
            {
                {"link", 30, &code_half, code_link},
                {"cache", 10, &code_half, code_cache},
                {"store", 50, &code_half, code_store},
                {"store-bracket", 9, &code_half, code_store_bracket},
                {"kill", 1, &code_half, code_kill},
                {"choose", 1, &code_half, code_choose},
                {"evict", 1, &code_half, code_evict},
            },
    };

    return stress_main(&mix, NULL);
}
