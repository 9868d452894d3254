/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cmocka with the headers that it wants before it. */
#ifndef PGL_TESTS_CM_H
#define PGL_TESTS_CM_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#endif
