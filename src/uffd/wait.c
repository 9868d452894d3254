/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Faults that wait for a source's answer. A handler starts such a fault in the driver, without sleeping, and serves
 * others while it is pending. When the driver can go on with it, any handler does.
 *
 * OBJECTS      A waiting fault holds a reference on its space, on its object, and on its last request. The lock of the
 *              late part protects the list of all waiting faults and the list of those that can go on. Everything else
 *              of a fault belongs to the thread that starts it or goes on with it, and to no thread while it is
 *              pending.
 * LOCK ORDER   The lock is a leaf.
 * INVARIANTS   N3: the event has been written once for each fault on the list of those that can go on, and read once
 *              for each that was taken from it. Therefore no fault stays on the list while a handler is idle.
 *              N4: no handler sleeps for a source.
 *              (test_uffd_late_*)
 * PROGRESS     The driver calls on_ready() once for each time that a fault became pending: when its page is answered,
 *              when it gets a credit, or when it is interrupted at the end of the pager.
 */
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../fault/fault_internal.h"
#include "delivery_internal.h"
#include "late_internal.h"

struct pgl_wait {
    struct pgl_wait *next; /* these three: of all waiting faults, and of those that can go on */
    struct pgl_wait **link;
    struct pgl_wait *next_ready;
    struct pgl_fault fault;
    struct pgl_delivery delivery;
    struct pgl_fault_args args;
    bool begun;
};

bool pgl_late_init(struct pgl_uffd *uffd)
{
    struct epoll_event ready = {.events = EPOLLIN, .data.u64 = PGL_UFFD_NUMBER_LATE};
    struct pgl_late *late = &uffd->late;

    late->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE);
    return late->event >= 0 && epoll_ctl(uffd->epoll, EPOLL_CTL_ADD, late->event, &ready) == 0;
}

void pgl_late_fini(struct pgl_uffd *uffd)
{
    if (uffd->late.event >= 0) {
        close(uffd->late.event);
    }
}

struct pgl_wait *pgl_wait_new(const struct pgl_delivery *delivery, const struct pgl_fault_args *args)
{
    struct pgl_uffd *uffd = delivery->pager;
    struct pgl_late *late = &uffd->late;
    struct pgl_wait *wait = pgl_arena_alloc(&uffd->arena, sizeof(*wait));

    if (!wait || !pgl_fault_init(&wait->fault)) {
        pgl_arena_free(&uffd->arena, wait);
        return NULL;
    }
    wait->delivery = *delivery;
    wait->args = *args;
    wait->args.cookie = &wait->delivery;
    pgl_space_ref(uffd, delivery->space);
    pthread_mutex_lock(&late->lock);
    wait->next = late->waits;
    wait->link = &late->waits;
    if (wait->next) {
        wait->next->link = &wait->next;
    }
    late->waits = wait;
    pthread_mutex_unlock(&late->lock);
    return wait;
}

void pgl_wait_free(struct pgl_wait *wait)
{
    struct pgl_uffd *uffd = wait->delivery.pager;

    pthread_mutex_lock(&uffd->late.lock);
    *wait->link = wait->next;
    if (wait->next) {
        wait->next->link = wait->link;
    }
    pthread_mutex_unlock(&uffd->late.lock);
    if (wait->delivery.asked) {
        pgl_request_unref(wait->delivery.asked);
    }
    if (wait->delivery.placed) {
        pgl_object_unref(wait->delivery.place.object);
    }
    pgl_space_unref(uffd, wait->delivery.space);
    pgl_fault_fini(&wait->fault);
    pgl_arena_free(&uffd->arena, wait);
}

struct pgl_delivery *pgl_wait_delivery(struct pgl_wait *wait)
{
    return &wait->delivery;
}

struct pgl_fault_args *pgl_wait_args(struct pgl_wait *wait)
{
    return &wait->args;
}

/* The driver can go on with the fault. Called by whichever thread answers or interrupts it. */
static void on_ready(void *arg)
{
    struct pgl_wait *wait = arg;
    struct pgl_late *late = &wait->delivery.pager->late;

    pthread_mutex_lock(&late->lock);
    wait->next_ready = late->ready;
    late->ready = wait;
    eventfd_write(late->event, 1); /* N3: under the lock, as the list changes */
    pthread_mutex_unlock(&late->lock);
}

enum pgl_fault_result pgl_wait_run(struct pgl_wait *wait, struct pgl_fault_page *page)
{
    bool begun = wait->begun;

    wait->begun = true; /* before another thread may have it */
    return begun ? pgl_fault_continue(&wait->fault, page)
                 : pgl_fault_start(&wait->fault, &wait->args, page, on_ready, wait);
}

struct pgl_wait *pgl_wait_next(struct pgl_uffd *uffd)
{
    struct pgl_late *late = &uffd->late;
    struct pgl_wait *wait = NULL;
    eventfd_t one;

    pthread_mutex_lock(&late->lock);
    if (late->ready && eventfd_read(late->event, &one) == 0) {
        wait = late->ready;
        late->ready = wait->next_ready;
    }
    pthread_mutex_unlock(&late->lock);
    return wait;
}

void pgl_wait_end_all(struct pgl_uffd *uffd)
{
    struct pgl_late *late = &uffd->late;

    while (late->waits) {
        struct pgl_wait *wait;

        for (wait = late->waits; wait; wait = wait->next) {
            pgl_fault_interrupt(&wait->fault);
        }
        while ((wait = pgl_wait_next(uffd))) {
            struct pgl_fault_page page;

            if (pgl_wait_run(wait, &page) != PGL_FAULT_PENDING) {
                pgl_wait_free(wait);
            }
        }
    }
}
