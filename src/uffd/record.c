/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Regions whose faults are recorded, or follow a recording. Both belong to the object that a region shows. */
#include <errno.h>

#include "../cancel_internal.h"
#include "../fault/object_internal.h"
#include "delivery_internal.h"

/* Call a function for the objects by which forked children show a source. Both locks are held. */
static void for_each_childs_object(struct pgl_uffd *uffd, const struct pgl_source *source,
                                   void (*set)(struct pgl_object *object, const void *arg), const void *arg)
{
    for (const struct pgl_space *space = uffd->spaces; space; space = space->next) {
        struct pgl_map_entry entry;
        uint64_t first = 0;

        while (space != uffd->self && pgl_space_next_part(space, &first, UINT64_MAX - 1, &entry)) {
            if (pgl_shown_of(entry.object)->source == source) {
                set(entry.object, arg);
            }
        }
    }
}

/*
 * Call a function for the object of each entry of a range, and for those of children. Returns false with errno if the
 * range is not all mapped.
 */
static bool for_each_object(struct pgl_uffd *uffd, const void *addr, size_t length,
                            void (*set)(struct pgl_object *object, const void *arg), const void *arg)
{
    struct pgl_map_entry part;
    uint64_t first, last;
    bool mapped;

    if (!pgl_uffd_to_pages(uffd, addr, length, &first, &last)) {
        return false;
    }
    pgl_uffd_lock(uffd);
    mapped = pgl_space_shows_all(uffd->self, first, last);
    while (mapped && pgl_space_next_part(uffd->self, &first, last, &part)) {
        set(part.object, arg);
        for_each_childs_object(uffd, pgl_shown_of(part.object)->source, set, arg);
    }
    pgl_uffd_unlock(uffd);
    if (!mapped) {
        errno = ENOENT;
    }
    return mapped;
}

/* A huge page comes as a whole: a set could only join it with others. */
static void set_workset(struct pgl_object *object, const void *workset)
{
    pgl_object_set_workset(object, pgl_shown_of(object)->unit > 1 ? NULL : workset);
}

bool pgl_uffd_set_workset(struct pgl_uffd *uffd, void *addr, size_t length, const struct pgl_workset *workset)
{
    PGL_UNCANCELLED;

    return for_each_object(uffd, addr, length, set_workset, workset);
}

struct watcher {
    void (*touched)(void *arg, uint64_t index) PGL_NOEXCEPT;
    void *arg;
};

static void watch(struct pgl_object *object, const void *arg)
{
    const struct watcher *watcher = arg;

    pgl_object_watch(object, watcher->touched, watcher->arg);
}

bool pgl_uffd_watch(struct pgl_uffd *uffd, void *addr, size_t length, void (*touched)(void *arg, uint64_t index),
                    void *arg)
{
    PGL_UNCANCELLED;
    const struct watcher watcher = {touched, arg};

    return for_each_object(uffd, addr, length, watch, &watcher);
}
