/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Blocks that cross pages either way, aborts, equal blocks, and stores inside brackets. */
#include "stress.h"

int main(void)
{
    static const struct stress_mix mix = {
        .name = "bracket",
        .translate = 45,
        .abort = 10,
        .store_inside = 25,
        .find = 5,
        .store = 10,
        .kill = 5,
        .operations = 150000,
    };

    return stress_main(&mix);
}
