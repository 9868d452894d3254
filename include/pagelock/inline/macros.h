/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The marks and macros that the other headers share. */
#ifndef PGL_PAGELOCK_INLINE_MACROS_H
#define PGL_PAGELOCK_INLINE_MACROS_H

/* Marks what the shared library exports. */
#define PGL_API __attribute__((visibility("default")))

/* Marks an operation that is inline here, and exported by the library too (src/code/exports.c). */
#define PGL_INLINE static inline

/*
 * Ends the type of each callback. The library calls callbacks with locks held and knows no exceptions, so one that
 * escapes would leave pages locked. From C++17 on the compiler refuses a callback that is not noexcept.
 */
#if defined(__cplusplus) && __cplusplus >= 201703L
#define PGL_NOEXCEPT noexcept
#else
#define PGL_NOEXCEPT
#endif

/*
 * Where a call stands in the source, for the reports of a lock_debug library. An operation that is reported is a macro
 * around the function of its name with _at behind it, which takes this place. The library exports both: the one with
 * the plain name, for other languages and for pointers to it, reports that no place is known.
 */
#define PGL_STRING_(x) #x
#define PGL_STRING(x) PGL_STRING_(x)
#define PGL_HERE __FILE__ ":" PGL_STRING(__LINE__)

#define PGL_LIKELY(x) __builtin_expect(!!(x), 1)
#define PGL_UNLIKELY(x) __builtin_expect(!!(x), 0)

/*
 * clang's thread-safety analysis (-Wthread-safety) knows pages and collections: it warns of a path that unlocks twice,
 * or not at all. What a bracket holds depends on its answers, which the analysis cannot follow.
 */
#if defined(__clang__)
#define PGL_ANNOTATE(...) __attribute__((__VA_ARGS__))
#else
#define PGL_ANNOTATE(...)
#endif
#define PGL_UNCHECKED PGL_ANNOTATE(no_thread_safety_analysis)

/* What is read and written atomically is aligned to its size, which i386 by itself would not do. */
#define PGL_ALIGN_ATOMIC __attribute__((aligned(8)))

#endif
