/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Recordings: which pages were touched. A bit is set and never cleared; therefore threads need no lock. */
#include <errno.h>
#include <stdlib.h>

#include "workset_internal.h"

struct pgl_recording {
    uint64_t npages;
    uint64_t words[]; /* atomic */
};

struct pgl_recording *pgl_recording_new(uint64_t npages)
{
    struct pgl_recording *recording;

    if (npages == 0 || npages > PGL_WORKSET_PAGES_MAX) {
        errno = EINVAL;
        return NULL;
    }
    recording = calloc(1, sizeof(*recording) + ((size_t)(npages - 1) / 64 + 1) * sizeof(uint64_t));
    if (recording) {
        recording->npages = npages;
    }
    return recording;
}

void pgl_recording_free(struct pgl_recording *recording)
{
    free(recording);
}

void pgl_recording_touch(void *recording, uint64_t index)
{
    struct pgl_recording *to = recording;
    uint64_t bit = UINT64_C(1) << index % 64;

    if (index < to->npages && (__atomic_load_n(&to->words[index / 64], __ATOMIC_RELAXED) & bit) == 0) {
        __atomic_fetch_or(&to->words[index / 64], bit, __ATOMIC_RELAXED);
    }
}

uint64_t pgl_recording_word(const struct pgl_recording *recording, uint64_t number)
{
    return __atomic_load_n(&recording->words[number], __ATOMIC_RELAXED);
}

uint64_t pgl_recording_words(const struct pgl_recording *recording)
{
    return (recording->npages - 1) / 64 + 1;
}

uint64_t pgl_recording_count(const struct pgl_recording *recording)
{
    uint64_t n = 0;

    for (uint64_t i = 0; i < pgl_recording_words(recording); i++) {
        n += (unsigned)__builtin_popcountll(pgl_recording_word(recording, i));
    }
    return n;
}
