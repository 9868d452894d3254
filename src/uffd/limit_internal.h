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

/* A thread faults on this page. It does nothing without a limit. */
void pgl_limit_note_demanded(const struct pgl_object *object, uint64_t index);

/*
 * Pages of a region were installed with protection; one was there already; the page of a fault may be written from now
 * on. They do nothing without a limit. The layout is locked since before that happened.
 */
void pgl_limit_note_installed(const struct pgl_object *object, uint64_t index, uint64_t npages);
void pgl_limit_note_found(const struct pgl_object *object, uint64_t index);
void pgl_limit_note_opened(const struct pgl_delivery *delivery);

/* Pages [first, last] were given back, or are to be unmapped; a part was moved. The layout is locked for writing. */
void pgl_limit_note_removed(struct pgl_limit *limit, uint64_t first, uint64_t last);
void pgl_limit_note_moved(const struct pgl_object *object);

/* A forward reader has left these pages of the source behind. */
void pgl_limit_note_behind(const struct pgl_shown *shown, const struct pgl_pager_range *range);

/*
 * Give pages back until the region is within its limit also if @coming others come, or the kernel refuses. No lock is
 * held.
 */
void pgl_limit_make_room(struct pgl_uffd *uffd, struct pgl_object *object, uint64_t coming);

/* The same, however many pages the kernel refuses. */
void pgl_limit_enforce(struct pgl_uffd *uffd, struct pgl_object *object);

/* Whether a region has a limit that can be changed. The layout is locked. */
bool pgl_limit_is_settable(const struct pgl_object *object);

/* Have at most so many pages stay. The region has a limit. */
void pgl_limit_set(const struct pgl_object *object, uint64_t max);

/* scratch.c. But for the first and the last, the layout is held for writing. */

/* Map the scratch memory, once. Returns 0 or an errno. No lock is held. */
int pgl_scratch_open(struct pgl_uffd *uffd);

/* Returns how many pages it can take now. */
uint64_t pgl_scratch_room(const struct pgl_uffd *uffd);

/* Drop what is in it if it is full. Returns whether it has room. */
bool pgl_scratch_make_room(struct pgl_uffd *uffd);

/* Undo mlockall(): pages that are not locked move to memory that is not locked only. */
void pgl_scratch_unlock(const struct pgl_uffd *uffd);

/*
 * Move pages to it, for which it has room. Returns 0 or an errno; *taken is how many of the first ones it has taken
 * then. After EEXIST it has no room.
 */
int pgl_scratch_take(struct pgl_uffd *uffd, uint64_t addr, uint64_t npages, uint64_t *taken);

/* No handler is left. */
void pgl_scratch_close(struct pgl_uffd *uffd);

#endif
