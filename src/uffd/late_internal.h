/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Faults that wait for a source's answer, and the requests that they wait for. Private. */
#ifndef PGL_UFFD_LATE_INTERNAL_H
#define PGL_UFFD_LATE_INTERNAL_H

#include "uffd_internal.h"

/* wait.c */

/* A fault that waits for a source, and holds no handler meanwhile. */
struct pgl_wait;

bool pgl_late_init(struct pgl_uffd *uffd);
void pgl_late_fini(struct pgl_uffd *uffd);

/* Make a fault that may wait. Returns NULL when there is no memory. It takes over the references of the delivery. */
struct pgl_wait *pgl_wait_new(const struct pgl_delivery *delivery, const struct pgl_fault_args *args);
void pgl_wait_free(struct pgl_wait *wait);

/* The parts of the fault. While it is pending they belong to another thread. */
struct pgl_delivery *pgl_wait_delivery(struct pgl_wait *wait);
struct pgl_fault_args *pgl_wait_args(struct pgl_wait *wait);

/* Start the fault, or go on with it. After PGL_FAULT_PENDING it belongs to the thread that pgl_wait_next() gives it. */
enum pgl_fault_result pgl_wait_run(struct pgl_wait *wait, struct pgl_fault_page *page);

/* Returns a fault that can go on, or NULL. */
struct pgl_wait *pgl_wait_next(struct pgl_uffd *uffd);

/* End all faults that wait. No handler is left, and no thread answers. Their threads sleep on. */
void pgl_wait_end_all(struct pgl_uffd *uffd);

/* request.c */

/* The pager of objects whose source is a callback. */
extern const struct pgl_pager_ops pgl_late_pager_ops;

/* Wait until no thread answers a request; none will from then on. */
void pgl_request_close(struct pgl_uffd *uffd);

/*
 * Release what requests hold of the pager. Returns false when the last pgl_uffd_request_end() is to free the pager.
 */
bool pgl_request_release_all(struct pgl_uffd *uffd);

/* Returns the errno because of which the page of a fault cannot be had. */
int pgl_delivery_error(const struct pgl_delivery *delivery);

/* Whether the page of a request was answered. */
bool pgl_request_was_answered(const struct pgl_uffd_request *request);
void pgl_request_unref(struct pgl_uffd_request *request);

#endif
