/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The library's few messages. */
#ifndef PGL_PAGELOCK_MESSAGE_H
#define PGL_PAGELOCK_MESSAGE_H

#include <pagelock/version.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * pgl_message_set_hook() - set the function that receives the library's messages
 * @hook: called with a message, which is one line without its end and begins with "libpagelock: ". The text is borrowed
 *      for the call. NULL for the default, which writes the line to standard error by one write(2).
 * @opaque: passed to @hook
 *
 * The library says something only before it calls abort(). A lock_debug library says which contract was broken, unless
 * pgl_witness_set_hook() has replaced its report, and that it has no memory for its own records. A table with
 * asymmetric fences says that a sandbox forbids membarrier(2). Other errors are errno and results, without a message.
 *
 * The hook runs on the thread that made the call. That thread may hold pages, and locks of the library's; therefore the
 * hook calls nothing of this library, waits for no other thread, and does not longjmp. It may write the message to a
 * log, or to a place where a handler of SIGABRT finds it. The library allocates nothing for a message. The process
 * aborts when the hook returns. The hook is one for the whole process, and two threads may be in it at the same time.
 *
 * Locks:    entry: no other thread is in the library.
 * Owns:     @hook and @opaque are borrowed until the next call.
 */
PGL_API void pgl_message_set_hook(void (*hook)(const char *message, void *opaque) PGL_NOEXCEPT, void *opaque);

#ifdef __cplusplus
}
#endif
#endif
