/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The macros that the other headers share.
 *
 * Additional permission for all headers of libpagelock, those in pagelock/ and in pagelock/inline/: the copyright
 * holders permit the distribution, under terms of your choice, of object code that contains material from these
 * headers, however long their inline functions and macros are, as section 5 of the LGPL 2.1 permits it for short ones.
 * The library itself, and changes to the headers, stay under the LGPL.
 */
#ifndef PGL_PAGELOCK_INLINE_MACROS_H
#define PGL_PAGELOCK_INLINE_MACROS_H

/* Marks what the shared library exports. For Windows GNU ld exports everything, unless something is marked. */
#if defined(_WIN32)
#define PGL_API
#else
#define PGL_API __attribute__((visibility("default")))
#endif

/* Marks an operation that is inline in C and C++. The library also exports it (src/code/exports.c). */
#define PGL_INLINE static inline

/*
 * Ends the type of each callback. The library calls callbacks with locks held and has no handlers for exceptions,
 * therefore an exception that escapes would leave pages locked. From C++17 on the compiler refuses a callback that is
 * not noexcept.
 */
#if defined(__cplusplus) && __cplusplus >= 201703L
#define PGL_NOEXCEPT noexcept
#else
#define PGL_NOEXCEPT
#endif

/*
 * The place of a call in the source, for the reports of a lock_debug library. An operation that the library reports is
 * a macro around a function with _at at the end of its name, which takes the place. The library exports both names.
 * The plain one serves other languages and pointers to functions, and reports an unknown place.
 */
#define PGL_STRING_(x) #x
#define PGL_STRING(x) PGL_STRING_(x)
#define PGL_HERE __FILE__ ":" PGL_STRING(__LINE__)

#define PGL_LIKELY(x) __builtin_expect(!!(x), 1)
#define PGL_UNLIKELY(x) __builtin_expect(!!(x), 0)

/*
 * clang's thread-safety analysis (-Wthread-safety) knows pages and collections. It warns of a path that unlocks twice,
 * or not at all. It cannot follow brackets, because the pages that a bracket holds depend on its results.
 */
#if defined(__clang__)
#define PGL_ANNOTATE(...) __attribute__((__VA_ARGS__))
#else
#define PGL_ANNOTATE(...)
#endif
#define PGL_UNCHECKED PGL_ANNOTATE(no_thread_safety_analysis)

/* Aligns a 64-bit atomic to its size. i386 by itself would align it to 4 bytes. */
#define PGL_ALIGN_ATOMIC __attribute__((aligned(8)))

#endif
