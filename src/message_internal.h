/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The last words of the library: what is said before abort(). */
#ifndef PGL_MESSAGE_INTERNAL_H
#define PGL_MESSAGE_INTERNAL_H

#include <stddef.h>

#include "os_internal.h"

/* The longest message, with its end. A longer one is cut. */
#define PGL_MESSAGE_SIZE 1024

/* A message that is being composed. It lives on the stack, because memory may be the matter. */
struct pgl_message {
    size_t length;
    char text[PGL_MESSAGE_SIZE];
};

/* Begin a message with the name of the library. */
void pgl_message_begin(struct pgl_message *message);

/* Add to a message, as printf() does. */
void pgl_message_add(struct pgl_message *message, const char *format, ...) PGL_FORMAT(2, 3);

/* Give a message to the hook, and abort. */
_Noreturn void pgl_message_abort(const struct pgl_message *message);

/* Abort with a message that needs no composing. */
_Noreturn void pgl_abort(const char *what);

#endif
