/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sleeping and continued faults, against a pager that replies in every way, interruptions, and maps that change. */
#include "../soak/fault.h"
#include "../soak/stress.h"

int main(void)
{
    static const struct mix mix = {
        .name = "fault",
        .rounds = 60000,
        .kinds =
            {
                {"fault-run", 40, &fault_half, fault_run},
                {"fault-continued", 40, &fault_half, fault_continued},
                {"fault-interrupt", 2, &fault_half, fault_interrupt},
                {"fault-remove", 6, &fault_half, fault_remove},
                {"fault-withhold", 3, &fault_half, fault_withhold},
                {"fault-advise", 3, &fault_half, fault_advise},
                {"fault-remap", 3, &fault_half, fault_remap},
                {"fault-check", 3, &fault_half, fault_check},
            },
    };

    return stress_main(&mix, fault_met_everything);
}
