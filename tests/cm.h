/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cmocka with the headers that it wants before it. */
#ifndef PGL_TESTS_CM_H
#define PGL_TESTS_CM_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

/* Skip the test that calls it. tests/run prints the reason at its end, and fails for a skip without one. */
#define SKIP_BECAUSE(reason)                                                                                           \
    do {                                                                                                               \
        printf("SKIP: %s: %s\n", __func__, reason);                                                                    \
        skip();                                                                                                        \
    } while (0)

#endif
