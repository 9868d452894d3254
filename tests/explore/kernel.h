/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The kernel, as far as the userfaultfd pager of a scenario needs it: other processes with a few pages of registered
 * memory, whose threads touch them; and descriptors of events, timers and epoll.
 */
#ifndef PGL_TESTS_EXPLORE_KERNEL_H
#define PGL_TESTS_EXPLORE_KERNEL_H

#include <stdbool.h>
#include <stdint.h>

#define KERNEL_BASE 0x40000000 /* where the memory of each process begins */
#define KERNEL_PAGES 4
#define KERNEL_PAGE 4096

/* The end of a touch that shows no byte. */
enum { KERNEL_SIGBUS = -1, KERNEL_KILLED = -2 };

/*
 * Make a process with a userfaultfd, all of whose memory is registered. Returns the descriptor that it has sent. If it
 * keeps one itself, its memory stays registered when all that it has sent are closed.
 */
int kernel_process(bool keeps);

/* A thread of the process touches a page: the first byte that it sees, or one of the above. */
int kernel_touch(int fd, unsigned int page);

/* A thread of the process gives a page back, and returns when it is gone. Of the same thread as its touches. */
void kernel_give_back(int fd, unsigned int page);

/* The process is killed. Its threads end. */
void kernel_kill(int fd);

/* Close a descriptor, as close() does. */
void kernel_close(int fd);

/* Run a thread that pthread_create() was asked for, by its number from 0. */
void kernel_run_thread(unsigned int number);

/* For a scenario that has pages of its own: the calls for descriptors that are not of this kernel. */
struct kernel_calls {
    int (*ioctl)(unsigned long request, void *arg); /* returns what ioctl() does, with errno */
    bool (*is_resident)(uintptr_t addr);
};

/* Have them called until the end of the schedule. */
void kernel_use(const struct kernel_calls *calls);

/* Fail unless all descriptors are closed, but those that processes keep. */
void kernel_check(void);

#endif
