/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Services that every system has under another name. os_posix.c and os_windows.c define the functions, and the build
 * takes one of the two files. The fence for all threads has a file of its own (code/fence.c), because only Linux has
 * one. All else comes from C11 and from the POSIX threads library, which mingw-w64 brings to Windows.
 */
#ifndef PGL_OS_INTERNAL_H
#define PGL_OS_INTERNAL_H

#include <stddef.h>
#include <stdio.h>

/* Has the compiler check the formats of a function like printf(): argument @at, for the arguments from @first on. */
#if defined(__MINGW_PRINTF_FORMAT)
#define PGL_FORMAT(at, first) __attribute__((format(__MINGW_PRINTF_FORMAT, at, first)))
#else
#define PGL_FORMAT(at, first) __attribute__((format(printf, at, first)))
#endif

/* Memory at a multiple of @alignment, a power of two, or NULL. Windows frees it by a function of its own. */
void *pgl_os_aligned_alloc(size_t alignment, size_t size);
void pgl_os_aligned_free(void *memory);

/* Zeroed memory that does not come from malloc(), or NULL. */
void *pgl_os_pages_alloc(size_t size);
void pgl_os_pages_free(void *memory, size_t size);

/* Call @before before each fork() of this process, and @after in the parent and in the child after it. */
void pgl_os_at_fork(void (*before)(void), void (*after)(void));

#endif
