/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Faults that never sleep, so that a single thread can stop one at any point and look at what is marked. */
#ifndef PGL_TESTS_FAULT_PROBE_H
#define PGL_TESTS_FAULT_PROBE_H

#include "sim.h"

#define NPAGES 256

/* One fault, and how often its ready() was called. */
struct probe {
    struct pgl_fault *fault;
    struct pgl_fault_page page;
    unsigned ready;
};

struct fixture {
    struct sim sim;
    struct pgl_object *object;
    struct probe a, b;
};

/* Narrow windows: 2 + 4 pages by default, 3 + 3 for normal, 0 + 7 and 8 behind for sequential; none for random. */
extern const struct pgl_advice_table probe_table;

/* For cmocka, with a struct fixture. The end finds memory that was not freed. */
int set_up(void **state);
int tear_down(void **state);

/* An external object of NPAGES pages with the table above and the fixture's pager, as most tests want it. */
struct pgl_object_config config_of(struct fixture *f);
void make_object(struct fixture *f);
void make_object_with_credits(struct fixture *f, uint64_t credits); /* its pager keeps requests */

/* Make the object, and one without a pager over it: its page i is the lower one's @first + i. Return the upper one. */
struct pgl_object *make_shadow(struct fixture *f, uint64_t first);

/* These two and go_on() see to it that ready() is called for a fault that is pending, and for no other. */
enum pgl_fault_result start(struct probe *probe, const struct pgl_fault_args *args);
enum pgl_fault_result fault_on(struct probe *probe, struct pgl_object *object, uint64_t index, enum pgl_access access,
                               unsigned flags);
enum pgl_fault_result read_page(struct probe *probe, struct pgl_object *object, uint64_t index);
enum pgl_fault_result write_page(struct probe *probe, struct pgl_object *object, uint64_t index);

/* The fault's ready() was called exactly once. */
enum pgl_fault_result go_on(struct probe *probe);

/* The counts of an object whose invariants hold. */
struct pgl_object_stats stats_of(struct pgl_object *object);

/* No page is marked, no credit is in use, and no fault waits. */
void assert_at_rest(struct pgl_object *object);

/* Assert the range of the last request, in the pager's pages. */
void assert_asked(const struct sim *sim, uint64_t first, uint64_t last, uint64_t demand);

#endif
