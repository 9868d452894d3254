/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "closest.h"

#include <string.h>

enum { LONGEST = 40 }; /* longer words are not compared */

/*
 * The number of letters to put in, take out, change, or swap with their neighbour, to make one word of the other. Three
 * rows of the table are enough: row i is about the first i letters of @a.
 */
static unsigned distance(const char *a, const char *b)
{
    unsigned rows[3][LONGEST + 1], na = (unsigned)strlen(a), nb = (unsigned)strlen(b);

    for (unsigned j = 0; j <= nb; j++) {
        rows[0][j] = j;
    }
    for (unsigned i = 1; i <= na; i++) {
        unsigned *row = rows[i % 3], *above = rows[(i + 2) % 3], *above_that = rows[(i + 1) % 3];

        row[0] = i;
        for (unsigned j = 1; j <= nb; j++) {
            row[j] = MIN(MIN(above[j], row[j - 1]) + 1, above[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
                row[j] = MIN(row[j], above_that[j - 2] + 1);
            }
        }
    }
    return rows[na % 3][nb];
}

const char *closest(const char *word, const GPtrArray *words)
{
    const unsigned length = (unsigned)strlen(word);
    unsigned least = 2 + length / 4; /* what is farther away is another word */
    const char *best = NULL;

    for (unsigned i = 0; i < words->len && length > 0 && length <= LONGEST; i++) {
        const char *one = g_ptr_array_index(words, i);
        unsigned far;

        if (strlen(one) > LONGEST) {
            continue;
        }
        far = g_str_has_prefix(one, word) ? 1 : distance(word, one);
        if (far < least && far < length) {
            best = one;
            least = far;
        }
    }
    return best;
}
