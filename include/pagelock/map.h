/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Address spaces. Each entry of a map shows a part of an object. */
#ifndef PGL_PAGELOCK_MAP_H
#define PGL_PAGELOCK_MAP_H

#include <stdbool.h>
#include <stdint.h>

#include <pagelock/object.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * struct pgl_map - an address space: entries, each of which shows a part of an object
 */
struct pgl_map;

/**
 * pgl_map_new() - create an empty address space
 * @heap_ops: the heap for its records; NULL: calloc() and free()
 * @heap: handed to @heap_ops
 *
 * Locks:    none.
 * Owns:     the caller; release with pgl_map_free().
 * Errors:   NULL with errno ENOMEM.
 */
PGL_API struct pgl_map *pgl_map_new(const struct pgl_heap_ops *heap_ops, void *heap);

/**
 * pgl_map_free() - free a map, and drop its references on the objects that it shows
 * @map: may be NULL; no fault is under way in it
 *
 * Locks:    entry: none.
 */
PGL_API void pgl_map_free(struct pgl_map *map);

/**
 * pgl_map_enter() - add an entry that shows a part of an object
 * @first, @last: the map's pages, inclusive
 * @object: borrowed; the map takes a reference
 * @object_first: the object's page that the map shows at @first
 * @advice: of the entry; PGL_ADVICE_DEFAULT: the object's
 *
 * Locks:    entry: none.
 * Errors:   false with errno EINVAL: @first above @last, an entry that would leave its object, an advice that does not
 *           exist; EEXIST: something is mapped in the range; ENOMEM. After an error the map is unchanged.
 */
PGL_API bool pgl_map_enter(struct pgl_map *map, uint64_t first, uint64_t last, struct pgl_object *object,
                           uint64_t object_first, enum pgl_advice advice);

/**
 * pgl_map_remove() - unmap a range
 * @first, @last: the map's pages, inclusive; entries that reach beyond it are cut, holes are allowed
 *
 * A fault that is under way in the range notices the change when it ends, and starts again with the new entry, if any.
 *
 * Locks:    entry: none.
 * Errors:   false with errno EINVAL: @first above @last; ENOMEM: parts of one entry are left on both sides of the
 *           range, and there is no memory for the second. Nothing else needs memory. After an error the map is
 *           unchanged.
 */
PGL_API bool pgl_map_remove(struct pgl_map *map, uint64_t first, uint64_t last);

/**
 * pgl_map_advise() - set the advice of a range
 * @first, @last: the map's pages, inclusive; if the range starts or ends inside an entry with another advice, the entry
 *      is split
 *
 * Locks:    entry: none.
 * Errors:   false with errno EINVAL: @first above @last, an advice that does not exist; ENOENT: a page of the range is
 *           not mapped; ENOMEM: an entry had to be split. Nothing else needs memory. After an error the map is
 *           unchanged.
 */
PGL_API bool pgl_map_advise(struct pgl_map *map, uint64_t first, uint64_t last, enum pgl_advice advice);

/**
 * struct pgl_map_entry - an entry of a map
 * @view: its pages; first and last are the map's pages
 * @object: the object that it shows
 * @advice: its advice
 */
struct pgl_map_entry {
    struct pgl_view view;
    struct pgl_object *object;
    enum pgl_advice advice;
};

/**
 * pgl_map_lookup() - copy the entry that shows a page, or the next entry above the page
 * @entry: receives the copy; the object in it carries no reference of its own
 *
 * Returns false when nothing is mapped at @map_index or above. If entry->view.first is above @map_index, the page
 * itself is not mapped. A walk over a map goes on at entry->view.last + 1. The copy may be stale when it arrives.
 *
 * Locks:    entry: none.
 */
PGL_API bool pgl_map_lookup(struct pgl_map *map, uint64_t map_index, struct pgl_map_entry *entry);

#ifdef __cplusplus
}
#endif
#endif
