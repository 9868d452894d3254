/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PGL_BENCH_MACHINE_H
#define PGL_BENCH_MACHINE_H

/* The processor's name in short, with the generation of an AMD processor; from the text of /proc/cpuinfo, or from it. */
char *machine_processor_of(const char *cpuinfo);
char *machine_processor(void);

/* Today, as 2026-11-29, in UTC. */
char *machine_date(void);

#endif
