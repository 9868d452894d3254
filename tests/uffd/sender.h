/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Another process, which makes a userfaultfd for its memory and sends it. It does what it is told over a socket, and
 * keeps its own descriptor.
 */
#ifndef PGL_TESTS_UFFD_SENDER_H
#define PGL_TESTS_UFFD_SENDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct sender {
    pid_t pid; /* 0: it has ended */
    int socket;
    int fd; /* the userfaultfd that it has sent */
};

/* Orders that it obeys. Its answer is yes or no. */
enum order {
    ORDER_SHOWS_PAGE,    /* does a page of memory show the page of the file with its number? */
    ORDER_SHOWS_ZEROS,   /* zeros? */
    ORDER_IS_RESIDENT,   /* is a page there, without a touch? */
    ORDER_WRITE,         /* a 'w' to the first byte of a page */
    ORDER_GIVE_BACK,     /* MADV_DONTNEED */
    ORDER_DROP,          /* MADV_REMOVE, of shared memory */
    ORDER_UNMAP,         /* a page */
    ORDER_TOUCH,         /* by a thread that compares it with the file, and is not waited for */
    ORDER_JOIN,          /* what did that thread see? */
    ORDER_FORK,          /* does a forked child see the page of the file? */
    ORDER_FORK_TOUCH,    /* have a child touch it, which is not waited for */
    ORDER_KILL_CHILD,    /* that one, and wait until it is gone */
    ORDER_REGISTER_ALSO, /* map and register a page at an address */
};

/* Fork a process that registers memory from @memory on, with events (UFFD_FEATURE_...). */
void sender_start(struct sender *sender, unsigned char *memory, size_t length, uint64_t events);

/* The same with other modes than that for missing pages (UFFDIO_REGISTER_MODE_...). */
void sender_start_with(struct sender *sender, unsigned char *memory, size_t length, uint64_t events, uint64_t modes);

/* Give an order about a page of its memory, or about an address. */
bool sender_do(struct sender *sender, enum order order, uint64_t page);

/* The same of a process that may end meanwhile: -1 then. */
int sender_try(struct sender *sender, enum order order, uint64_t page);

/* Kill the process, and wait until it is gone. */
void sender_kill(struct sender *sender);

/* Kill it if it lives, and close both descriptors. */
void sender_end(struct sender *sender);

#endif
