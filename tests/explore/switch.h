/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Stackful coroutines, as small as they can be: a context is where to go on, and a switch saves what a call preserves.
 * swapcontext() would do the same with two system calls a switch; it serves the machines without a switch of their own.
 */
#ifndef PGL_TESTS_EXPLORE_SWITCH_H
#define PGL_TESTS_EXPLORE_SWITCH_H

#include <stddef.h>

#if defined(__x86_64__) || defined(__aarch64__)
#define SWITCH_ASM 1
struct context {
    void *sp;
};
#else
#include <ucontext.h>
struct context {
    ucontext_t uc;
};
#endif

/* Prepare @to so that switching to it calls @entry on the given stack. @entry never returns. */
void context_make(struct context *to, void *stack, size_t size, void (*entry)(void));

/* Save the running context in @from and go on at @to. */
void context_switch(struct context *from, struct context *to);

#endif
