/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One block killed by many at once; ranges, pages, everything. */
#include "stress.h"

int main(void)
{
    static const struct stress_mix mix = {
        .name = "invalidate",
        .translate = 50,
        .find = 5,
        .store = 10,
        .kill = 25,
        .range = 10,
        .operations = 100000,
    };

    return stress_main(&mix);
}
