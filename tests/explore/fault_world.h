/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The world of the fault scenarios: an object, a pager and frames. The pager answers its first requests by way of a
 * mailbox that another thread serves, and later ones before data_request() returns.
 */
#ifndef PGL_TESTS_EXPLORE_FAULT_WORLD_H
#define PGL_TESTS_EXPLORE_FAULT_WORLD_H

#include <pagelock/fault.h>

#include "explore.h"

#define MAILBOX 4
#define FRAME 16

struct mail {
    struct pgl_request request;
    bool data;
    uintptr_t full;
};

extern struct fault_world {
    struct pgl_object *object; /* the one that is faulted on */
    struct pgl_object *lower;  /* below it, or NULL */
    struct pgl_map *map;
    struct pgl_fault *faults[EXPLORE_THREADS];
    enum pgl_fault_result results[EXPLORE_THREADS];
    unsigned int kept; /* so many requests are left in the mailbox */
    struct mail mailbox[MAILBOX];
    uintptr_t nrequests;
    uintptr_t activity; /* counts mails and ended faults, for those that wait for either */
    uintptr_t ended;
    uintptr_t copied; /* set once page 1 was written to */
    int refusal;      /* what a kept request's data_request() returns */
    bool checks_bytes;
    bool page_1_is_bad;     /* in error, until it is brought: it is asked for alone */
    enum pgl_access access; /* that replies bring */
} sim;

extern const struct pgl_memory_ops memory_ops;

void act(void);
void supply(const struct pgl_request *request, uint64_t first, uint64_t last);
void offer(uint64_t first, uint64_t last); /* to an object with memory */
void answer(const struct pgl_request *request, bool data);
const struct mail *await_mail(unsigned int n, uintptr_t nfaults);
struct pgl_object_config paged(uint64_t last);
void init_with(const struct pgl_object_config *config, unsigned int kept);
void final(void);

#endif
