/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Collections whose blocks cross pages in falling order, against translation, kills and waiters that starve. */
#include "../soak/code.h"
#include "../soak/stress.h"

int main(void)
{
    static const struct mix mix = {
        .name = "collection",
        .rounds = 60000,
        .kinds =
            {
                {"link", 25, &code_half, code_link},
                {"link-lower", 10, &code_half, code_link_lower},
                {"abort", 5, &code_half, code_abort},
                {"store-bracket", 5, &code_half, code_store_bracket},
                {"starve", 5, &code_half, code_starve},
                {"kill", 15, &code_half, code_kill},
                {"range", 4, &code_half, code_range},
                {"flush", 1, &code_half, code_flush},
                {"collection", 34, &code_half, code_collection},
                {"collection-wide", 1, &code_half, code_collection_wide},
            },
    };

    return stress_main(&mix, NULL);
}
