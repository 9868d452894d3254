/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An object whose faults are recorded, or follow a recording.
 *
 * OBJECTS      The watcher and the working set of an object change only while all of it is locked. A fault reads them
 *              with the shard of its page locked. Therefore a watcher that was replaced is not called any more, and a
 *              set that was replaced is not read any more, once the call returns.
 */
#include "object_internal.h"
#include "workset_internal.h"

void pgl_object_watch(struct pgl_object *object, void (*touched)(void *arg, uint64_t index), void *arg)
{
    pgl_object_lock_all(object);
    object->touched = touched;
    object->touched_arg = arg;
    pgl_object_unlock_all(object);
}

void pgl_object_set_workset(struct pgl_object *object, const struct pgl_workset *workset)
{
    pgl_object_lock_all(object);
    object->workset = workset;
    pthread_mutex_lock(&object->advisor_lock);
    object->doubts = 0;
    pthread_mutex_unlock(&object->advisor_lock);
    pgl_object_unlock_all(object);
}

bool pgl_object_recorded_row(const struct pgl_object *object, uint64_t index, struct pgl_advice_row *row)
{
    return object->workset && pgl_workset_find_row(object->workset, index + object->config.pager_range.first, row);
}

void pgl_object_record_as(struct pgl_object *object, struct pgl_object *other)
{
    const struct pgl_workset *workset;
    void (*touched)(void *arg, uint64_t index);
    void *arg;

    pgl_object_lock(other, 0, 0);
    workset = other->workset;
    touched = other->touched;
    arg = other->touched_arg;
    pgl_object_unlock(other, 0, 0);
    pgl_object_watch(object, touched, arg);
    pgl_object_set_workset(object, workset);
}
