/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A source that answers when a test says so, and threads that touch its pages. It shows the file of the fixture. */
#ifndef PGL_TESTS_UFFD_LATE_H
#define PGL_TESTS_UFFD_LATE_H

#include <pthread.h>

#include "pages.h"

#define KEPT 256 /* requests */

/* The requests that it had, in their order. */
struct late_source {
    pthread_mutex_t lock;
    unsigned char *bytes; /* of the whole source */
    bool at_once;         /* atomic: answer in the callback */
    unsigned n;           /* requests so far */
    uint64_t pages, most; /* wanted and not ended yet; at the most */
    struct pgl_uffd_request *request[KEPT];
    struct pgl_uffd_wanted wanted[KEPT];
};

extern struct late_source source;

/* A thread that touches a page. */
struct toucher {
    pthread_t thread;
    const unsigned char *page;
    uint64_t file_page;
    bool right; /* it showed the page */
    bool zeros;
    bool killed; /* SIGBUS */
};

/* For cmocka: set_up() and tear_down() of pager.h, with the source. */
int set_up_source(void **state);
int tear_down_source(void **state);

/* The whole memory, with advice RANDOM. */
struct pgl_uffd_region late_region_of(const struct fixture *f);

/* Start a pager, and map a region, or that one. */
void map_region(struct fixture *f, const struct pgl_uffd_region *region);
void map_late(struct fixture *f);
void map_late_with_surplus(struct fixture *f, uint64_t surplus);

/* Requests so far; wait until they are so many. */
unsigned count_requests(void);
void wait_for_requests(unsigned n);

/* Answer a request: with some bytes, with nothing more, and with all that it wants. */
bool supply(unsigned i, uint64_t offset, uint64_t length);
void end_request(unsigned i);
void answer(unsigned i);

/* Have a thread touch a page that is to show the page of the file with its number, or another one. */
void start_touch(struct toucher *toucher, const struct fixture *f, uint64_t page);
void start_touch_of(struct toucher *toucher, const struct fixture *f, uint64_t page, uint64_t file_page);
void join_touch(struct toucher *toucher);

#endif
