/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sets.h"

#include <errno.h>
#include <string.h>

static void set_free(void *set)
{
    pgl_workset_free(set);
}

GPtrArray *sets_new(void)
{
    return g_ptr_array_new_with_free_func(set_free);
}

static const char *name_of(const struct pgl_workset *set)
{
    struct pgl_workset_info info;

    pgl_workset_get_info(set, &info);
    return info.name;
}

const struct pgl_workset *sets_find(const GPtrArray *sets, const char *name)
{
    for (unsigned i = 0; sets && i < sets->len; i++) {
        if (!strcmp(name_of(g_ptr_array_index(sets, i)), name)) {
            return g_ptr_array_index(sets, i);
        }
    }
    return NULL;
}

bool sets_read(const char *path, const struct pgl_costs *costs, GPtrArray *sets)
{
    GError *error = NULL;
    const char *why = NULL;
    gsize length, at = 0;
    size_t used;
    char *bytes;

    if (!g_file_get_contents(path, &bytes, &length, &error)) {
        g_printerr("pagelock-bench: %s\n", error->message);
        g_error_free(error);
        return false;
    }
    do {
        struct pgl_workset *set = pgl_workset_load(bytes + at, length - at, costs, &used, &why);

        if (!set) {
            g_printerr("pagelock-bench: %s: set %u: %s\n", path, sets->len + 1, errno == EINVAL ? why : "no memory");
            g_free(bytes);
            return false;
        }
        g_ptr_array_add(sets, set);
        at += used;
    } while (at < length);
    g_free(bytes);
    return true;
}

GPtrArray *sets_read_combined(const char *path, const struct pgl_costs *costs)
{
    GPtrArray *sets = sets_new();
    GPtrArray *combined = sets_read(path, costs, sets) ? sets_combine(sets, 1, costs) : NULL;

    g_ptr_array_unref(sets);
    return combined;
}

bool sets_write(const char *path, const GPtrArray *sets)
{
    GByteArray *bytes = g_byte_array_new();
    GError *error = NULL;
    bool good;

    for (unsigned i = 0; i < sets->len; i++) {
        const struct pgl_workset *set = g_ptr_array_index(sets, i);
        size_t size = pgl_workset_save(set, NULL, 0);
        unsigned at = bytes->len;

        g_byte_array_set_size(bytes, at + (guint)size);
        pgl_workset_save(set, bytes->data + at, size);
    }
    good = g_file_set_contents(path, (const char *)bytes->data, (gssize)bytes->len, &error);
    if (!good) {
        g_printerr("pagelock-bench: %s\n", error->message);
        g_error_free(error);
    }
    g_byte_array_unref(bytes);
    return good;
}

/* The pages of the objects with a name. Returns NULL if there is no memory for them. */
static struct pgl_recording *record_object(const struct trace *trace, const char *name)
{
    uint64_t npages = 0;
    struct pgl_recording *recording;

    for (unsigned i = 0; i < trace->objects->len; i++) {
        const struct trace_object *object = &g_array_index(trace->objects, struct trace_object, i);

        npages = !strcmp(object->name, name) ? MAX(npages, object->npages) : npages;
    }
    recording = pgl_recording_new(MIN(npages, PGL_WORKSET_PAGES_MAX));
    for (unsigned i = 0; recording && i < trace->touches->len; i++) {
        const struct trace_touch *touch = &g_array_index(trace->touches, struct trace_touch, i);

        if (!strcmp(g_array_index(trace->objects, struct trace_object, touch->object).name, name)) {
            pgl_recording_touch(recording, touch->page);
        }
    }
    return recording;
}

bool sets_of_trace(const struct trace *trace, const struct pgl_costs *costs, GPtrArray *sets)
{
    unsigned first = sets->len;

    for (unsigned i = 0; i < trace->objects->len; i++) {
        const char *name = g_array_index(trace->objects, struct trace_object, i).name;
        struct pgl_recording *recording;
        struct pgl_workset *set;
        bool known = false;

        for (unsigned j = first; j < sets->len && !known; j++) {
            known = !strcmp(name_of(g_ptr_array_index(sets, j)), name);
        }
        if (known) {
            continue;
        }
        recording = record_object(trace, name);
        set = recording ? pgl_workset_new(recording, name, costs) : NULL;
        pgl_recording_free(recording);
        if (!set) {
            g_printerr("pagelock-bench: %s: %s: %s\n", trace->name, name, g_strerror(errno));
            return false;
        }
        g_ptr_array_add(sets, set);
    }
    return true;
}

GPtrArray *sets_combine(const GPtrArray *sets, unsigned least, const struct pgl_costs *costs)
{
    GPtrArray *combined = sets_new();

    for (unsigned i = 0; i < sets->len; i++) {
        const char *name = name_of(g_ptr_array_index(sets, i));
        GPtrArray *same = g_ptr_array_new();
        struct pgl_workset *set;

        for (unsigned j = 0; j < sets->len; j++) {
            if (!strcmp(name_of(g_ptr_array_index(sets, j)), name)) {
                g_ptr_array_add(same, g_ptr_array_index(sets, j));
            }
        }
        if (g_ptr_array_index(same, 0) == g_ptr_array_index(sets, i)) { /* the first of its name */
            set = pgl_workset_combine((const struct pgl_workset *const *)same->pdata, same->len, least, costs);
            if (!set) {
                g_printerr("pagelock-bench: %s: %s\n", name, g_strerror(errno));
                g_clear_pointer(&combined, g_ptr_array_unref);
            } else {
                g_ptr_array_add(combined, set);
            }
        }
        g_ptr_array_unref(same);
        if (!combined) {
            break;
        }
    }
    return combined;
}
