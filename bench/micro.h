/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The small measurements: every case of every file. */
#ifndef PGL_BENCH_MICRO_H
#define PGL_BENCH_MICRO_H

#include "micro_case.h"

/* Every case there is, to be freed by g_ptr_array_unref(). */
GPtrArray *micro_all(void);

#endif
