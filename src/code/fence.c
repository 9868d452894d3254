/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The fence of a bracket in a table with asymmetric fences.
 *
 * A store check and a bracket meet in docs/locking.md, test 2: each writes something, fences, and reads what the other
 * wrote. In a table with asymmetric fences the check has no fence of its own. The bracket has the kernel execute one in
 * each thread of the process, at some moment between the bracket's writes and its reads of guest bytes. If that moment
 * comes after the other thread's store, the bracket reads the new bytes. Otherwise the other thread looks the page up
 * after that moment, and sees what the bracket wrote. Only the compiler has to keep the store before the look-up.
 *
 * INVARIANTS
 *   F1  Between a bracket's writes (lock, code bit, leaf) and its reads of guest bytes, every other thread of the
 *       process has executed a full fence. (test_fence_calls_the_kernel_once_a_bracket, tests/explore,
 *       tests/model/weak)
 *
 * NOT PROMISED The fence between `retired` and a vCPU that caches a block stays a full fence on both sides: see
 * docs/performance.md.
 */
#include "fence_internal.h"

#include <errno.h>
#include <stdlib.h>

#include "../message_internal.h"

#if defined(PGL_EXPLORE)
void pgl_explore_fence_all_threads(void);

bool pgl_fence_register(void)
{
    return true;
}

void pgl_fence_all_threads(void)
{
    pgl_explore_fence_all_threads();
}
#elif defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>

/* The kernel's numbers, because not every C library comes with the kernel's headers. */
enum { PRIVATE_EXPEDITED = 1 << 3, REGISTER_PRIVATE_EXPEDITED = 1 << 4 };

static bool membarrier(int command)
{
    return !syscall(SYS_membarrier, command, 0, 0);
}

bool pgl_fence_register(void)
{
    if (membarrier(REGISTER_PRIVATE_EXPEDITED)) {
        return true;
    }
    errno = ENOTSUP;
    return false;
}

void pgl_fence_all_threads(void)
{
    if (membarrier(PRIVATE_EXPEDITED)) {
        return;
    }
    /* The system may ask again for what it was told before, in the child of a fork for example. */
    if (!pgl_fence_register() || !membarrier(PRIVATE_EXPEDITED)) {
        pgl_abort("membarrier(2) is forbidden by now, and without its fence stale code would run");
    }
}
#else
bool pgl_fence_register(void)
{
    errno = ENOTSUP;
    return false;
}

void pgl_fence_all_threads(void)
{
    abort(); /* no table asks for it here */
}
#endif
