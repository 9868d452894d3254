/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Stores into code, checked without and with a lock, against translation and caches. */
#include "stress.h"

int main(void)
{
    static const struct stress_mix mix = {
        .name = "store",
        .translate = 30,
        .find = 10,
        .store = 50,
        .store_bracket = 9,
        .kill = 1,
        .operations = 200000,
    };

    return stress_main(&mix);
}
