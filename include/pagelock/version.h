/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The version of the headers, and that of the library that is running. */
#ifndef PGL_PAGELOCK_VERSION_H
#define PGL_PAGELOCK_VERSION_H

#include <stdbool.h>

#include <pagelock/inline/macros.h>

/*
 * The version of these headers, for the preprocessor. pgl_version() returns that of the library. Everything else that
 * names the version takes it from these three lines.
 */
#define PGL_VERSION_MAJOR 0
#define PGL_VERSION_MINOR 1
#define PGL_VERSION_MICRO 0

/*
 * The number of the layout: of the structs in these headers, the private ones of inline bodies too, and of the
 * constants and protocols by which inline functions use them. A program keeps the number that it was compiled with, and
 * pgl_table_new() refuses it if the library that it runs with has another one. docs/abi.md says which changes add one.
 */
#define PGL_LAYOUT 1u

#ifdef __cplusplus
extern "C" {
#endif

/**
 * pgl_version() - return the version of the library that is running
 *
 * Returns a static string such as "1.2.3". It is the shared library's own version, which may be newer than the headers
 * that the caller was compiled with.
 *
 * Locks:    none.
 * Owns:     the library; never freed.
 */
PGL_API const char *pgl_version(void);

/**
 * pgl_has_lock_debug() - tell whether the running library checks the locking contract
 *
 * Returns true for a library built with -Dlock_debug=true. Public structs are the same in both builds, therefore one
 * compiled program runs with either library.
 *
 * Locks:    none.
 */
PGL_API bool pgl_has_lock_debug(void);

#ifdef __cplusplus
}
#endif
#endif
