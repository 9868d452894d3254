/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A pager on the kernel's own faults, for the tests that inject nothing. Programs that link it are linked with --wrap
 * for malloc(), calloc() and free(): after each test no handler may have called one of them.
 */
#ifndef PGL_TESTS_UFFD_PAGER_H
#define PGL_TESTS_UFFD_PAGER_H

#include <pthread.h>
#include <stddef.h>

#include "pages.h"

#define NPAGES 512

/* Of each thread that is no handler. */
extern __thread bool may_malloc;
extern unsigned handlers_malloced; /* calls of malloc() by handlers. Atomic. */

/* For cmocka: a file of NPAGES pages and memory for it. The pager is not made yet. */
int set_up(void **state);
int tear_down(void **state);

/* Make the pager by the fixture's configuration. */
void start_pager(struct fixture *f);

/* End it. Its handlers have done everything then. */
void end_pager(struct fixture *f);

/* Make the pager, and have the memory show the file. */
void map_all(struct fixture *f, enum pgl_advice advice);

/* Assert a count of the pager's statistics, by its name. */
void assert_count_at(struct fixture *f, size_t at, uint64_t value);
#define assert_count(f, field, value) assert_count_at(f, offsetof(struct pgl_uffd_stats, field), value)

/* As permitted(), on the main thread, which may allocate. */
bool pager_permitted(void);

/* Handlers of on_failure_wait() that wait, and how many of them may answer. Both atomic. */
extern unsigned asked;
extern unsigned may_answer;

extern enum pgl_uffd_remedy answer_after_wait; /* PGL_UFFD_ZERO, until a test says otherwise */

/* For failed(): wait until let_answer() allows so many answers. */
enum pgl_uffd_remedy on_failure_wait(void *arg, const void *addr, int error);

/* Wait until so many handlers are in on_failure_wait(); allow so many of them to answer. */
void wait_until_asked(unsigned n);
void let_answer(unsigned n);

/* Start a thread that touches a page which cannot be read, and wait until that is known. */
pthread_t touch_bad_page(unsigned char *page);

/* Fork a child that ends at once. */
void run_idle_child(void);

/* Look at the memory in a child: 0 when all is right. It makes no call that could allocate, or touch the pager. */
int check_as_child(unsigned char *memory);

/* Fork a child that runs check_as_child(), and assert that all was right. */
void run_child(unsigned char *memory);

#endif
