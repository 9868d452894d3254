/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The frames of a memory. All objects with the same functions and the same memory share one record of it.
 *
 * OBJECTS      The lock of the list protects the list and the counts of references. The lock of a record keeps the
 *              functions apart, and the decision how many spare frames are promised.
 * LOCK ORDER   Both locks are leaves. The caller's functions run with that of the record held.
 * INVARIANTS   N9: the frames that are promised are those of neighbours that a fault is choosing, and those that
 *              replies to requests for data will take. A request for access takes none, and the frames of an internal
 *              object were taken when it asked. Therefore no two faults count on the same spare frame, whichever
 *              objects of the memory they are in. pgl_object_check() compares the promises with one object's requests.
 *              (test_fault_speculates_on_frames_that_nobody_is_owed,
 *              test_fault_objects_that_share_a_memory_count_on_no_frame_twice)
 */
#include <stdlib.h>

#include "frames_internal.h"

static struct {
    pthread_mutex_t lock;
    struct pgl_frames *first;
} all = {.lock = PTHREAD_MUTEX_INITIALIZER};

#ifdef PGL_EXPLORE
void pgl_explore_forget(void)
{
    all.first = NULL;
    pthread_mutex_init(&all.lock, NULL);
}
#endif

static struct pgl_frames *frames_new(const struct pgl_memory_ops *ops, void *memory)
{
    struct pgl_frames *frames = calloc(1, sizeof(*frames));

    if (frames && pthread_mutex_init(&frames->lock, NULL) != 0) {
        free(frames);
        return NULL;
    }
    if (frames) {
        frames->ops = ops;
        frames->memory = memory;
    }
    return frames;
}

struct pgl_frames *pgl_frames_get(const struct pgl_memory_ops *ops, void *memory)
{
    struct pgl_frames *frames;

    pthread_mutex_lock(&all.lock);
    for (frames = all.first; frames && (frames->ops != ops || frames->memory != memory); frames = frames->next) {
    }
    if (!frames) {
        frames = frames_new(ops, memory);
        if (frames) {
            frames->next = all.first;
            all.first = frames;
        }
    }
    if (frames) {
        frames->refs++;
    }
    pthread_mutex_unlock(&all.lock);
    return frames;
}

void pgl_frames_put(struct pgl_frames *frames)
{
    struct pgl_frames **link = &all.first;
    bool last;

    pthread_mutex_lock(&all.lock);
    last = --frames->refs == 0;
    if (last) {
        while (*link != frames) {
            link = &(*link)->next;
        }
        *link = frames->next;
    }
    pthread_mutex_unlock(&all.lock);
    if (last) {
        pthread_mutex_destroy(&frames->lock);
        free(frames);
    }
}

void *pgl_frames_alloc(struct pgl_frames *frames)
{
    void *frame;

    pthread_mutex_lock(&frames->lock);
    frame = frames->ops->alloc(frames->memory);
    pthread_mutex_unlock(&frames->lock);
    return frame;
}

void pgl_frames_free(struct pgl_frames *frames, void *frame)
{
    pthread_mutex_lock(&frames->lock);
    frames->ops->free(frames->memory, frame);
    pthread_mutex_unlock(&frames->lock);
}

uint64_t pgl_frames_promise(struct pgl_frames *frames, uint64_t most, uint64_t *promised)
{
    uint64_t spare, before;

    pthread_mutex_lock(&frames->lock);
    before = __atomic_load_n(&frames->promised, __ATOMIC_RELAXED);
    spare = frames->ops->spare(frames->memory);
    spare -= spare < before ? spare : before;
    *promised = most < spare ? most : spare;
    pgl_frames_owe(frames, *promised);
    pthread_mutex_unlock(&frames->lock);
    return spare;
}

void pgl_frames_owe(struct pgl_frames *frames, uint64_t nframes)
{
    __atomic_fetch_add(&frames->promised, nframes, __ATOMIC_RELAXED);
}

void pgl_frames_settle(struct pgl_frames *frames, uint64_t nframes)
{
    __atomic_fetch_sub(&frames->promised, nframes, __ATOMIC_RELAXED);
}
