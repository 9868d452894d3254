/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Static probes: places at which perf, bpftrace, gdb or systemtap look at the running library. docs/observability.md
 * lists them with their arguments.
 *
 * A probe is one instruction that does nothing, and a note in the object file that says where it is and where its
 * arguments are. Therefore the arguments are values that the code has at hand anyway. They may not be computed for the
 * probe alone. Built with -Dprobes=disabled, the library has neither the instruction nor the note.
 */
#ifndef PGL_PROBE_INTERNAL_H
#define PGL_PROBE_INTERNAL_H

#if defined(PGL_PROBES) && !defined(PGL_EXPLORE)
#define SDT_USE_VARIADIC
#include <sys/sdt.h>

#if defined(__clang__) /* of the macros of that header */
#pragma clang diagnostic ignored "-Wgnu-zero-variadic-macro-arguments"
#endif

#define PGL_PROBE(name, ...) STAP_PROBEV(pagelock, name, __VA_ARGS__)
#else
void pgl_probe_none(int none, ...); /* exists nowhere, and is never called: it only counts as a use of its arguments */

#define PGL_PROBE(name, ...)                                                                                           \
    do {                                                                                                               \
        if (0) {                                                                                                       \
            pgl_probe_none(0, __VA_ARGS__);                                                                            \
        }                                                                                                              \
    } while (0)
#endif

#endif
