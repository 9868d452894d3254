/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The memory that objects keep their frames in, and how many of its frames are promised. frames.c explains. Private. */
#ifndef PGL_FAULT_FRAMES_INTERNAL_H
#define PGL_FAULT_FRAMES_INTERNAL_H

#include <pthread.h>

#include <pagelock/object.h>

struct pgl_frames {
    struct pgl_frames *next;
    const struct pgl_memory_ops *ops; /* these two never change */
    void *memory;
    uint64_t refs;        /* under the lock of the list */
    pthread_mutex_t lock; /* one thread at a time calls alloc(), free() and spare() */
    uint64_t promised;    /* frames that faults have been promised, or that replies will take; atomic */
};

/* Return a reference to the frames of a memory, or NULL when there is no memory for the record. */
struct pgl_frames *pgl_frames_get(const struct pgl_memory_ops *ops, void *memory);
void pgl_frames_put(struct pgl_frames *frames);

void *pgl_frames_alloc(struct pgl_frames *frames);
void pgl_frames_free(struct pgl_frames *frames, void *frame);

/*
 * Promise up to @most of the spare frames, and return their number in @promised. Returns the number of spare frames
 * that were not promised before.
 */
uint64_t pgl_frames_promise(struct pgl_frames *frames, uint64_t most, uint64_t *promised);

/* Frames are promised that will be taken whether they are spare or not; or promises have been kept, or are broken. */
void pgl_frames_owe(struct pgl_frames *frames, uint64_t nframes);
void pgl_frames_settle(struct pgl_frames *frames, uint64_t nframes);

#ifdef PGL_EXPLORE
void pgl_explore_forget(void); /* the list, which the explorer's schedules would hand on to each other */
#endif

#endif
