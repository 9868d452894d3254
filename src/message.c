/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Messages. `hook` is set while no other thread is in the library, and read by the thread that aborts.
 *
 * CANCELLATION A thread that was cancelled in write() would leave the library without abort(). PGL_UNCANCELLED keeps it
 * from being cancelled.
 */
#include "message_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <pagelock/message.h>

#include "cancel_internal.h"

static void write_line(const char *message, void *opaque)
{
    char line[PGL_MESSAGE_SIZE];
    size_t length = strlen(message);
    PGL_UNCANCELLED;

    (void)opaque;
    memcpy(line, message, length);
    line[length] = '\n'; /* in the place of the end: one call, so that the lines of two threads stay apart */
    if (write(STDERR_FILENO, line, length + 1) < 0) {
        return; /* there is no other place to say it */
    }
}

static void (*hook)(const char *, void *) = write_line;
static void *hook_opaque;

void pgl_message_set_hook(void (*new_hook)(const char *message, void *opaque), void *opaque)
{
    hook = new_hook ? new_hook : write_line;
    hook_opaque = opaque;
}

void pgl_message_begin(struct pgl_message *message)
{
    message->length = 0;
    pgl_message_add(message, "libpagelock: ");
}

void pgl_message_add(struct pgl_message *message, const char *format, ...)
{
    size_t room = sizeof(message->text) - message->length;
    va_list args;
    int length;

    va_start(args, format);
    length = vsnprintf(message->text + message->length, room, format, args);
    va_end(args);
    if (length > 0) {
        message->length += (size_t)length < room ? (size_t)length : room - 1;
    }
}

void pgl_message_abort(const struct pgl_message *message)
{
    hook(message->text, hook_opaque);
    abort();
}

void pgl_abort(const char *what)
{
    struct pgl_message message;

    pgl_message_begin(&message);
    pgl_message_add(&message, "%s", what);
    pgl_message_abort(&message);
}
