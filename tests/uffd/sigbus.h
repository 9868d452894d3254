/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Touches that may end in SIGBUS. */
#ifndef PGL_TESTS_UFFD_SIGBUS_H
#define PGL_TESTS_UFFD_SIGBUS_H

#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>

static __thread sigjmp_buf sigbus_back;
static __thread volatile siginfo_t sigbus_info; /* of the last one */

static void sigbus_handle(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    (void)context;
    sigbus_info = *info;
    siglongjmp(sigbus_back, 1);
}

/* Have SIGBUS end touches. */
static inline void sigbus_install(void)
{
    const struct sigaction action = {.sa_sigaction = sigbus_handle, .sa_flags = SA_SIGINFO};

    sigaction(SIGBUS, &action, NULL);
}

/* Whether a touch of a byte ends in SIGBUS, with the address of its page. */
static inline bool sigbus_at(const volatile unsigned char *byte, size_t page_size)
{
    if (sigsetjmp(sigbus_back, 1) != 0) {
        return (uintptr_t)sigbus_info.si_addr / page_size == (uintptr_t)byte / page_size;
    }
    (void)*byte;
    return false;
}

#endif
