/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The misuse of mutexes and conditions that the explorer must find. */
#include <pthread.h>
#include <stdlib.h>

#include "litmus.h"

/*
 * Objects of the threads library in memory that is freed: a message is posted under its lock, and the thread that takes
 * it frees the memory. After the unlock the poster must touch it no more.
 */

static struct post {
    pthread_mutex_t lock;
    pthread_cond_t posted;
    bool there;
} * post;

static void init_post(void)
{
    reset();
    post = calloc(1, sizeof *post);
    pthread_mutex_init(&post->lock, NULL);
    pthread_cond_init(&post->posted, NULL);
}

static void signal_then_unlock(void)
{
    pthread_mutex_lock(&post->lock);
    post->there = true;
    pthread_cond_signal(&post->posted);
    pthread_mutex_unlock(&post->lock);
}

static void unlock_then_signal(void)
{
    pthread_mutex_lock(&post->lock);
    post->there = true;
    pthread_mutex_unlock(&post->lock);
    pthread_cond_signal(&post->posted);
}

static void unlock_then_broadcast(void)
{
    pthread_mutex_lock(&post->lock);
    post->there = true;
    pthread_mutex_unlock(&post->lock);
    pthread_cond_broadcast(&post->posted);
}

static void unlock_then_lock(void)
{
    unlock_then_signal();
    pthread_mutex_lock(&post->lock);
    pthread_mutex_unlock(&post->lock);
}

static void await_post(void)
{
    pthread_mutex_lock(&post->lock);
    while (!post->there) {
        pthread_cond_wait(&post->posted, &post->lock);
    }
    pthread_mutex_unlock(&post->lock);
}

/* No thread waits on the condition, and every operation on it happened before. */
static void fini_post(void)
{
    pthread_cond_destroy(&post->posted);
    pthread_mutex_destroy(&post->lock);
    free(post);
}

static void await_and_free(void)
{
    await_post();
    fini_post();
}

/* Destroyed, but the memory is kept: only the object itself shows it. */
static void await_and_destroy(void)
{
    await_post();
    pthread_cond_destroy(&post->posted);
}

static void free_post(void)
{
    free(post);
}

/* It has seen the message without the lock: the mutex is destroyed while the poster may still be unlocking it. */
static void unlock_and_flag(void)
{
    store(&x, 1, __ATOMIC_RELEASE);
    pthread_mutex_lock(&post->lock);
    pthread_mutex_unlock(&post->lock);
}

static void destroy_mutex_when_flagged(void)
{
    if (load(&x, __ATOMIC_ACQUIRE) == 1) {
        pthread_mutex_destroy(&post->lock);
    }
}

/* Takes the first wake for the message. */
static void await_once_and_free(void)
{
    pthread_mutex_lock(&post->lock);
    if (!post->there) {
        pthread_cond_wait(&post->posted, &post->lock);
    }
    explore_check(post->there);
    pthread_mutex_unlock(&post->lock);
    fini_post();
}

/* The condition is taken away under another lock than the one it is waited on with. */
static void destroy_condition(void)
{
    acquire(&lock_a);
    pthread_cond_destroy(&post->posted);
    pthread_cond_init(&post->posted, NULL);
    release(&lock_a);
    signal_then_unlock();
}

static const struct explore_scenario post_signalled = {
    "post", "", init_post, {signal_then_unlock, await_and_free}, NULL};
static const struct explore_scenario post_awaited_once = {
    "postonce", "", init_post, {signal_then_unlock, await_once_and_free}, NULL};
static const struct explore_scenario post_late_signal = {
    "postsignal", "", init_post, {unlock_then_signal, await_and_free}, NULL};
static const struct explore_scenario post_late_broadcast = {
    "postbroadcast", "", init_post, {unlock_then_broadcast, await_and_free}, NULL};
static const struct explore_scenario post_late_lock = {
    "postlock", "", init_post, {unlock_then_lock, await_and_free}, NULL};
static const struct explore_scenario post_destroyed = {
    "postdestroy", "", init_post, {unlock_then_signal, await_and_destroy}, free_post};
static const struct explore_scenario post_mutex_destroyed = {
    "postmutex", "", init_post, {unlock_and_flag, destroy_mutex_when_flagged}, free_post};
static const struct explore_scenario post_replaced = {
    "postreplace", "", init_post, {destroy_condition, await_post}, fini_post};
static const struct explore_scenario post_kept = {
    "postkept", "", init_post, {unlock_then_broadcast, await_post}, fini_post};

/* A check of the object's memory before the scheduling point misses each of these. */
static void test_explore_finds_misuse_of_the_threads_library(void **state)
{
    (void)state;
    assert_verdicts(&post_signalled, false, false, false);
    assert_verdicts(&post_kept, false, false, false);
    assert_verdicts(&post_awaited_once, true, true, true);
    assert_verdicts(&post_late_signal, true, true, true);
    assert_verdicts(&post_late_broadcast, true, true, true);
    assert_verdicts(&post_late_lock, true, true, true);
    assert_verdicts(&post_destroyed, true, true, true);
    assert_verdicts(&post_mutex_destroyed, true, true, true);
    assert_verdicts(&post_replaced, true, true, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_explore_finds_misuse_of_the_threads_library),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
