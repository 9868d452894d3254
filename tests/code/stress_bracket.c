/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Blocks that cross pages either way, aborts, equal blocks, and stores inside brackets. */
#include "../soak/code.h"
#include "../soak/stress.h"

int main(void)
{
    static const struct mix mix = {
        .name = "bracket",
        .rounds = 150000,
        .kinds =
            {
                {"link", 45, &code_half, code_link},
                {"abort", 10, &code_half, code_abort},
                {"link-storing", 25, &code_half, code_link_storing},
                {"cache", 5, &code_half, code_cache},
                {"store", 10, &code_half, code_store},
                {"kill", 5, &code_half, code_kill},
            },
    };

    return stress_main(&mix, NULL);
}
