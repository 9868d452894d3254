/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The locks of an object. Its pages are divided into stripes of PGL_STRIPE_PAGES, and dealt out to shards by turns, so
 * that faults on different stripes meet at no lock. An object that has fewer stripes has fewer shards.
 *
 * LOCK ORDER   The shards of an object in the order of their numbers, then its credits, its memory or its advisor.
 * PROGRESS     A lock is held for some hundred instructions. Therefore a thread that finds it taken tries for a while
 *              before it sleeps, where the threads library offers that.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* PTHREAD_MUTEX_ADAPTIVE_NP */
#endif
#include "object_internal.h"

static bool init_lock(pthread_mutex_t *lock)
{
    pthread_mutexattr_t attr;
    bool made;

    if (pthread_mutexattr_init(&attr) != 0) {
        return false;
    }
#ifdef PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP
    pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ADAPTIVE_NP);
#endif
    made = pthread_mutex_init(lock, &attr) == 0;
    pthread_mutexattr_destroy(&attr);
    return made;
}

enum { OTHER_LOCKS = 2 };

/* The locks of an object by number: its shards, then the others. */
static pthread_mutex_t *lock_at(struct pgl_object *object, uint64_t number)
{
    pthread_mutex_t *const others[OTHER_LOCKS] = {&object->credits.room.lock, &object->advisor_lock};
    uint64_t nshards = object->last_shard + 1;

    return number < nshards ? &object->shards[number].room.lock : others[number - nshards];
}

static void destroy_locks(struct pgl_object *object, uint64_t nlocks)
{
    while (nlocks > 0) {
        pthread_mutex_destroy(lock_at(object, --nlocks));
    }
}

bool pgl_object_locks_init(struct pgl_object *object)
{
    for (uint64_t made = 0; made < object->last_shard + 1 + OTHER_LOCKS; made++) {
        if (!init_lock(lock_at(object, made))) {
            destroy_locks(object, made);
            return false;
        }
    }
    object->credits.room.object = object;
    for (uint64_t i = 0; i <= object->last_shard; i++) {
        object->shards[i].room.object = object;
        object->shards[i].last_id = i;
    }
    return true;
}

void pgl_object_locks_fini(struct pgl_object *object)
{
    destroy_locks(object, object->last_shard + 1 + OTHER_LOCKS);
}

uint64_t pgl_object_shards(const struct pgl_object *object, uint64_t first, uint64_t last)
{
    uint64_t stripe = first / PGL_STRIPE_PAGES;
    uint64_t more = last / PGL_STRIPE_PAGES - stripe;
    uint64_t shards = 0;

    if (more >= PGL_SHARDS_MAX) {
        return (UINT64_C(2) << object->last_shard) - 1;
    }
    for (uint64_t i = 0; i <= more; i++) {
        shards |= UINT64_C(1) << pgl_object_shard_of(object, stripe + i);
    }
    return shards;
}

void pgl_object_lock(struct pgl_object *object, uint64_t first, uint64_t last)
{
    if (first / PGL_STRIPE_PAGES == last / PGL_STRIPE_PAGES) {
        pthread_mutex_lock(&pgl_object_shard(object, first)->room.lock);
        return;
    }
    for (uint64_t shards = pgl_object_shards(object, first, last); shards != 0; shards &= shards - 1) {
        pthread_mutex_lock(&object->shards[__builtin_ctzll(shards)].room.lock);
    }
}

void pgl_object_unlock(struct pgl_object *object, uint64_t first, uint64_t last)
{
    if (first / PGL_STRIPE_PAGES == last / PGL_STRIPE_PAGES) {
        pthread_mutex_unlock(&pgl_object_shard(object, first)->room.lock);
        return;
    }
    for (uint64_t shards = pgl_object_shards(object, first, last); shards != 0; shards &= shards - 1) {
        pthread_mutex_unlock(&object->shards[__builtin_ctzll(shards)].room.lock);
    }
}

void pgl_object_lock_all(struct pgl_object *object)
{
    pgl_object_lock(object, 0, UINT64_MAX);
    pthread_mutex_lock(&object->credits.room.lock);
}

void pgl_object_unlock_all(struct pgl_object *object)
{
    pthread_mutex_unlock(&object->credits.room.lock);
    pgl_object_unlock(object, 0, UINT64_MAX);
}

uint64_t pgl_object_new_id(const struct pgl_object *object, uint64_t index)
{
    struct pgl_shard *shard = pgl_object_shard(object, index);

    shard->last_id += object->last_shard + 1;
    return shard->last_id;
}

uint64_t pgl_object_outstanding(const struct pgl_object *object)
{
    uint64_t npages = 0;

    for (uint64_t i = 0; i <= object->last_shard; i++) {
        npages += __atomic_load_n(&object->shards[i].outstanding, __ATOMIC_RELAXED);
    }
    return npages;
}
