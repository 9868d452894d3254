/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Collections whose blocks cross pages in falling order, against translation and kills. */
#include "stress.h"

int main(void)
{
    static const struct stress_mix mix = {
        .name = "collection",
        .translate = 35,
        .abort = 5,
        .store_bracket = 5,
        .kill = 15,
        .range = 5,
        .collection = 35,
        .operations = 60000,
    };

    return stress_main(&mix);
}
