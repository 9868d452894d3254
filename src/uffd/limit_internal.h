/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Regions that keep a limited number of pages in memory. Private. */
#ifndef PGL_UFFD_LIMIT_INTERNAL_H
#define PGL_UFFD_LIMIT_INTERNAL_H

#include "uffd_internal.h"

/* Returns 0, or an errno when the region cannot have its limit. */
int pgl_limit_check(const struct pgl_uffd *uffd, const struct pgl_uffd_region *region);

/* Make the limit of a region. Returns NULL when there is no memory. */
struct pgl_limit *pgl_limit_new(struct pgl_uffd *uffd, const struct pgl_uffd_region *region);
void pgl_limit_free(struct pgl_limit *limit, struct pgl_arena *arena);

/* Map the memory that pages are moved to. Returns 0 or an errno. */
int pgl_limit_open_scratch(struct pgl_uffd *uffd);

/* No handler is left. */
void pgl_limit_close_scratch(struct pgl_uffd *uffd);

/*
 * Pages of a region were installed with protection; one was there already; the page of a fault may be written from now
 * on. They do nothing without a limit. The layout is locked since before that happened.
 */
void pgl_limit_note_installed(const struct pgl_object *object, uint64_t index, uint64_t npages);
void pgl_limit_note_found(const struct pgl_object *object, uint64_t index);
void pgl_limit_note_opened(const struct pgl_delivery *delivery);

/* Pages [first, last] were given back by the program, or a part was moved. The layout is locked for writing. */
void pgl_limit_note_removed(struct pgl_limit *limit, uint64_t first, uint64_t last);
void pgl_limit_note_moved(const struct pgl_object *object);

/* A forward reader has left these pages of the source behind. */
void pgl_limit_note_behind(const struct pgl_shown *shown, const struct pgl_pager_range *range);

/* Give pages back until the region is within its limit, or the kernel refuses. No lock is held. */
void pgl_limit_keep(struct pgl_uffd *uffd, struct pgl_object *object);

#endif
