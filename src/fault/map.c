/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Maps: entries in a sorted array, found by bisection.
 *
 * VERSION      Every change raises the version. A fault copies an entry with the version and unlocks the map. Before it
 *              answers, it compares versions to learn whether its copy is still valid.
 * ALL OR NONE  A change needs memory only for the entries that it adds, and makes room for them before it changes
 *              anything. Therefore it happens as a whole or not at all.
 * LOCK ORDER   map -> object, as in object.c.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "heap_internal.h"
#include "map_internal.h"
#include "object_internal.h"

/* The lock protects everything but the heap. */
struct pgl_map {
    const struct pgl_heap_ops *heap_ops;
    void *heap;

    pthread_rwlock_t lock;
    struct pgl_map_entry *entries; /* ascending, not overlapping; each holds a reference on its object */
    size_t nentries;
    size_t room;
    uint64_t version;
};

struct pgl_map *pgl_map_new(const struct pgl_heap_ops *heap_ops, void *heap)
{
    struct pgl_map *map = pgl_heap_alloc(heap_ops, heap, sizeof(*map));

    if (!map || pthread_rwlock_init(&map->lock, NULL) != 0) {
        pgl_heap_free(heap_ops, heap, map);
        errno = ENOMEM;
        return NULL;
    }
    map->heap_ops = heap_ops;
    map->heap = heap;
    return map;
}

void pgl_map_free(struct pgl_map *map)
{
    if (!map) {
        return;
    }
    for (size_t i = 0; i < map->nentries; i++) {
        pgl_object_unref(map->entries[i].object);
    }
    pgl_heap_free(map->heap_ops, map->heap, map->entries);
    pthread_rwlock_destroy(&map->lock);
    pgl_heap_free(map->heap_ops, map->heap, map);
}

/* The first entry that ends at or above a page, or nentries. */
static size_t find(const struct pgl_map *map, uint64_t map_index)
{
    size_t low = 0;
    size_t high = map->nentries;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (map->entries[middle].view.last < map_index) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static bool make_room(struct pgl_map *map, size_t more)
{
    size_t room = map->room > 0 ? map->room : 8;
    struct pgl_map_entry *entries;

    if (map->nentries + more <= map->room) {
        return true;
    }
    while (room < map->nentries + more) {
        room *= 2;
    }
    entries = pgl_heap_alloc(map->heap_ops, map->heap, room * sizeof(*entries));
    if (!entries) {
        errno = ENOMEM;
        return false;
    }
    if (map->nentries > 0) {
        memcpy(entries, map->entries, map->nentries * sizeof(*entries));
    }
    pgl_heap_free(map->heap_ops, map->heap, map->entries);
    map->entries = entries;
    map->room = room;
    return true;
}

/* Insert an entry, for which there is room. */
static void insert(struct pgl_map *map, size_t at, const struct pgl_map_entry *entry)
{
    memmove(&map->entries[at + 1], &map->entries[at], (map->nentries - at) * sizeof(*entry));
    map->entries[at] = *entry;
    map->nentries++;
    pgl_object_ref(entry->object);
}

static void erase(struct pgl_map *map, size_t at)
{
    pgl_object_unref(map->entries[at].object);
    map->nentries--;
    memmove(&map->entries[at], &map->entries[at + 1], (map->nentries - at) * sizeof(*map->entries));
}

/* Split an entry that begins below the page and shows it, so that a second entry begins at the page. There is room. */
static void split(struct pgl_map *map, size_t at, uint64_t map_index)
{
    struct pgl_map_entry upper = map->entries[at];

    upper.view.object_first += map_index - upper.view.first;
    upper.view.first = map_index;
    map->entries[at].view.last = map_index - 1;
    insert(map, at + 1, &upper);
}

/* Join two neighbours that a split has separated and that have the same advice again. */
static void join(struct pgl_map *map, size_t at)
{
    const struct pgl_map_entry *lower = &map->entries[at];
    const struct pgl_map_entry *upper = &map->entries[at + 1];

    if (at + 1 < map->nentries && lower->object == upper->object && lower->advice == upper->advice &&
        lower->view.last + 1 == upper->view.first &&
        upper->view.object_first - lower->view.object_first == upper->view.first - lower->view.first) {
        map->entries[at].view.last = upper->view.last;
        erase(map, at + 1);
    }
}

bool pgl_map_enter(struct pgl_map *map, uint64_t first, uint64_t last, struct pgl_object *object, uint64_t object_first,
                   enum pgl_advice advice)
{
    struct pgl_map_entry entry = {{first, last, object_first}, object, advice};
    uint64_t object_last = object->config.last;
    bool entered = false;
    size_t at;

    if (first > last || object_first > object_last || last - first > object_last - object_first ||
        !pgl_advice_valid((int)advice)) {
        errno = EINVAL;
        return false;
    }
    pthread_rwlock_wrlock(&map->lock);
    at = find(map, first);
    if (at < map->nentries && map->entries[at].view.first <= last) {
        errno = EEXIST;
    } else if (make_room(map, 1)) {
        insert(map, at, &entry);
        map->version++;
        entered = true;
    }
    pthread_rwlock_unlock(&map->lock);
    return entered;
}

/*
 * Remove [first, last] from an entry that overlaps it. If parts are left on both sides, there is room for one more
 * entry. Returns the position of the next entry.
 */
static size_t cut(struct pgl_map *map, size_t at, uint64_t first, uint64_t last)
{
    struct pgl_view *view = &map->entries[at].view;

    if (view->first >= first && view->last <= last) {
        erase(map, at);
        return at;
    }
    if (view->first < first && view->last > last) {
        split(map, at, last + 1);
    }
    if (view->first < first) {
        view->last = first - 1;
    } else {
        view->object_first += last - view->first + 1;
        view->first = last + 1;
    }
    return at + 1;
}

bool pgl_map_remove(struct pgl_map *map, uint64_t first, uint64_t last)
{
    bool roomy = true;
    size_t at;

    if (first > last) {
        errno = EINVAL;
        return false;
    }
    pthread_rwlock_wrlock(&map->lock);
    at = find(map, first);
    if (at < map->nentries && map->entries[at].view.first < first && map->entries[at].view.last > last) {
        roomy = make_room(map, 1);
    }
    if (roomy) {
        while (at < map->nentries && map->entries[at].view.first <= last) {
            at = cut(map, at, first, last);
        }
        map->version++;
    }
    pthread_rwlock_unlock(&map->lock);
    return roomy;
}

static bool is_mapped(const struct pgl_map *map, uint64_t first, uint64_t last)
{
    for (size_t at = find(map, first); at < map->nentries && map->entries[at].view.first <= first; at++) {
        if (map->entries[at].view.last >= last) {
            return true;
        }
        first = map->entries[at].view.last + 1;
    }
    return false;
}

/* Whether the page lies inside an entry with another advice, which therefore has to be split there. */
static bool splits(const struct pgl_map *map, uint64_t map_index, enum pgl_advice advice)
{
    size_t at = find(map, map_index);

    return at < map->nentries && map->entries[at].view.first < map_index && map->entries[at].advice != advice;
}

bool pgl_map_advise(struct pgl_map *map, uint64_t first, uint64_t last, enum pgl_advice advice)
{
    bool advised = false;
    bool below, above;
    size_t start, at;

    if (first > last || !pgl_advice_valid((int)advice)) {
        errno = EINVAL;
        return false;
    }
    pthread_rwlock_wrlock(&map->lock);
    below = splits(map, first, advice);
    above = last < UINT64_MAX && splits(map, last + 1, advice);
    if (!is_mapped(map, first, last)) {
        errno = ENOENT;
    } else if (make_room(map, (size_t)below + above)) {
        if (below) {
            split(map, find(map, first), first);
        }
        if (above) {
            split(map, find(map, last + 1), last + 1);
        }
        start = find(map, first);
        for (at = start; at < map->nentries && map->entries[at].view.first <= last; at++) {
            map->entries[at].advice = advice;
        }
        for (; at > 0 && at >= start; at--) {
            join(map, at - 1);
        }
        map->version++;
        advised = true;
    }
    pthread_rwlock_unlock(&map->lock);
    return advised;
}

bool pgl_map_lookup(struct pgl_map *map, uint64_t map_index, struct pgl_map_entry *entry)
{
    bool found;
    size_t at;

    pthread_rwlock_rdlock(&map->lock);
    at = find(map, map_index);
    found = at < map->nentries;
    if (found) {
        *entry = map->entries[at];
    }
    pthread_rwlock_unlock(&map->lock);
    return found;
}

/* The entry that shows a page, or NULL. */
static const struct pgl_map_entry *showing(const struct pgl_map *map, uint64_t map_index)
{
    size_t at = find(map, map_index);

    return at < map->nentries && map->entries[at].view.first <= map_index ? &map->entries[at] : NULL;
}

bool pgl_map_shows(struct pgl_map *map, uint64_t map_index)
{
    bool shows;

    pthread_rwlock_rdlock(&map->lock);
    shows = showing(map, map_index);
    pthread_rwlock_unlock(&map->lock);
    return shows;
}

bool pgl_map_copy_place(struct pgl_map *map, uint64_t map_index, struct pgl_place *place)
{
    const struct pgl_map_entry *entry;

    pthread_rwlock_rdlock(&map->lock);
    entry = showing(map, map_index);
    if (entry) {
        place->object = pgl_object_ref(entry->object);
        place->index = map_index - entry->view.first + entry->view.object_first;
        place->first = entry->view.object_first;
        place->last = pgl_map_entry_object_last(entry);
        place->advice = entry->advice;
        place->version = map->version;
    }
    pthread_rwlock_unlock(&map->lock);
    return entry;
}

bool pgl_map_has_place(struct pgl_map *map, uint64_t map_index, const struct pgl_place *place)
{
    const struct pgl_map_entry *entry;
    bool same;

    pthread_rwlock_rdlock(&map->lock);
    same = map->version == place->version;
    if (!same) {
        entry = showing(map, map_index);
        same = entry && entry->object == place->object &&
               map_index - entry->view.first + entry->view.object_first == place->index;
    }
    pthread_rwlock_unlock(&map->lock);
    return same;
}
