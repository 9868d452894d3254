/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The word that was meant by one that is not known. */
#ifndef PGL_BENCH_CLOSEST_H
#define PGL_BENCH_CLOSEST_H

#include <glib.h>

/* The word of an array of strings that @word differs from in a letter or two, or begins; NULL if there is none. */
const char *closest(const char *word, const GPtrArray *words);

#endif
