/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "resident.h"

#include <limits.h>
#include <string.h>

static uint64_t npages_of(const struct trace *trace, uint32_t object)
{
    return g_array_index(trace->objects, struct trace_object, object).npages;
}

struct resident resident_new(const struct trace *trace)
{
    struct resident resident = {
        .trace = trace,
        .bitmaps = g_new(uint64_t *, trace->objects->len),
        .views = g_new(struct pgl_view, trace->entries->len),
    };

    for (unsigned i = 0; i < trace->objects->len; i++) {
        resident.bitmaps[i] = g_new0(uint64_t, npages_of(trace, i) / 64 + 1);
    }
    for (unsigned i = 0; i < trace->entries->len; i++) {
        const struct trace_entry *entry = &g_array_index(trace->entries, struct trace_entry, i);

        resident.views[i] = (struct pgl_view){entry->first, entry->first + (entry->npages - 1), entry->first};
    }
    return resident;
}

void resident_reset(struct resident *resident)
{
    for (unsigned i = 0; i < resident->trace->objects->len; i++) {
        memset(resident->bitmaps[i], 0, (npages_of(resident->trace, i) / 64 + 1) * sizeof(uint64_t));
    }
}

void resident_clear(struct resident *resident)
{
    for (unsigned i = 0; i < resident->trace->objects->len; i++) {
        g_free(resident->bitmaps[i]);
    }
    g_free(resident->bitmaps);
    g_free(resident->views);
}

unsigned resident_entry_of(const struct trace *trace, const struct trace_touch *touch)
{
    for (unsigned i = 0; i < trace->entries->len; i++) {
        const struct trace_entry *entry = &g_array_index(trace->entries, struct trace_entry, i);

        if (entry->object == touch->object && touch->page >= entry->first &&
            touch->page - entry->first < entry->npages) {
            return i;
        }
    }
    return UINT_MAX;
}

bool resident_faults(const struct resident *resident, const struct trace_touch *touch, struct pgl_cluster_args *args)
{
    const uint64_t *bitmap = resident->bitmaps[touch->object];
    unsigned entry;

    if (bitmap[touch->page / 64] >> touch->page % 64 & 1) {
        return false;
    }
    entry = resident_entry_of(resident->trace, touch);
    *args = (struct pgl_cluster_args){
        .demand = touch->page,
        .object_last = npages_of(resident->trace, touch->object) - 1,
        .entry = entry != UINT_MAX ? &resident->views[entry] : NULL,
        .budget = UINT64_MAX,
        .eligible = {.word = pgl_absent_word, .arg = bitmap},
    };
    return true;
}

void resident_bring(struct resident *resident, uint32_t object, const struct pgl_cluster *cluster)
{
    for (uint64_t i = cluster->first; i <= cluster->last; i++) {
        resident->bitmaps[object][i / 64] |= UINT64_C(1) << i % 64;
    }
}
