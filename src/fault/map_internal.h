/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a fault takes along from a map when it lets the map go. Private. */
#ifndef PGL_FAULT_MAP_INTERNAL_H
#define PGL_FAULT_MAP_INTERNAL_H

#include <pagelock/fault.h>

/* A copy of what an entry said about one page, in the object's pages, and the version of the map it was copied from. */
struct pgl_place {
    struct pgl_object *object; /* referenced */
    uint64_t index;
    uint64_t first; /* the entry shows [first, last] of the object */
    uint64_t last;
    enum pgl_advice advice;
    uint64_t version;
};

/* Takes a reference on place->object. Returns false when nothing is mapped there. */
bool pgl_map_copy_place(struct pgl_map *map, uint64_t map_index, struct pgl_place *place);

/* Whether the page is still what the place says. Looks at the entries only when the map was changed at all. */
bool pgl_map_has_place(struct pgl_map *map, uint64_t map_index, const struct pgl_place *place);

#endif
