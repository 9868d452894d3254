/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The copy of an entry that a fault keeps after it has unlocked the map. Private. */
#ifndef PGL_FAULT_MAP_INTERNAL_H
#define PGL_FAULT_MAP_INTERNAL_H

#include <pagelock/map.h>

/* One page of an entry, in the object's pages, and the version of the map from which it was copied. */
struct pgl_place {
    struct pgl_object *object; /* referenced */
    uint64_t index;
    uint64_t first; /* the entry shows [first, last] of the object */
    uint64_t last;
    enum pgl_advice advice;
    uint64_t version;
};

/* The last page of its object that an entry shows. */
static inline uint64_t pgl_map_entry_object_last(const struct pgl_map_entry *entry)
{
    return entry->view.object_first + (entry->view.last - entry->view.first);
}

/* Whether anything is mapped at a page. */
bool pgl_map_shows(struct pgl_map *map, uint64_t map_index);

/* Copy the entry of a page, with a reference on place->object. Returns false when nothing is mapped there. */
bool pgl_map_copy_place(struct pgl_map *map, uint64_t map_index, struct pgl_place *place);

/* Whether the map still shows the same page of the same object. Reads the entries only if the version has changed. */
bool pgl_map_has_place(struct pgl_map *map, uint64_t map_index, const struct pgl_place *place);

#endif
