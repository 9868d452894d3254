/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pages that could not be read and are due again later.
 *
 * BAD PAGES    A bad page could not be read, and failed() asked for another try. It is on a list until a timer expires.
 *              Q1: the threads that want a bad page sleep, and the handlers serve other faults meanwhile.
 *              Q2: the fault of one thread tries the page. The faults of the others find it on the list.
 *              Q3: the timer runs while the list has a page, and wakes the threads of all of them.
 *              (test_uffd_page_that_stays_bad_holds_nothing_else_up,
 *              test_uffd_bad_page_is_tried_once_in_a_while_and_delays_no_handler)
 */
#include <sys/ioctl.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "uffd_internal.h"

struct pgl_bad_page {
    struct pgl_bad_page *next;
    struct pgl_space *space; /* referenced */
    uint64_t addr;
};

bool pgl_bad_page_is_listed(struct pgl_uffd *uffd, const struct pgl_space *space, uint64_t addr)
{
    const struct pgl_bad_page *page;

    if (!__atomic_load_n(&uffd->bad_pages, __ATOMIC_RELAXED)) {
        return false;
    }
    pthread_mutex_lock(&uffd->lock);
    for (page = uffd->bad_pages; page && (page->space != space || page->addr != addr); page = page->next) {
    }
    pthread_mutex_unlock(&uffd->lock);
    return page;
}

bool pgl_bad_page_add(struct pgl_uffd *uffd, struct pgl_space *space, uint64_t addr)
{
    const struct itimerspec pause = {.it_value = {0, PGL_UFFD_PAUSE_US * 1000L}};
    struct pgl_bad_page *page = pgl_arena_alloc(&uffd->arena, sizeof(*page));

    if (!page) {
        return false;
    }
    pthread_mutex_lock(&uffd->lock);
    *page = (struct pgl_bad_page){uffd->bad_pages, space, addr};
    space->refs++;
    if (!uffd->bad_pages) {
        timerfd_settime(uffd->timer, 0, &pause, NULL);
    }
    __atomic_store_n(&uffd->bad_pages, page, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&uffd->lock);
    return true;
}

void pgl_bad_page_wake_all(struct pgl_uffd *uffd)
{
    struct pgl_bad_page *page;

    while ((page = uffd->bad_pages)) {
        struct uffdio_range range = {page->addr, uffd->page_size};

        __atomic_store_n(&uffd->bad_pages, page->next, __ATOMIC_RELAXED);
        ioctl(page->space->fd, UFFDIO_WAKE, &range);
        pgl_space_unref_locked(uffd, page->space);
        pgl_arena_free(&uffd->arena, page);
    }
}

void pgl_bad_page_expire(struct pgl_uffd *uffd)
{
    uint64_t expirations;

    pthread_mutex_lock(&uffd->lock);
    if (read(uffd->timer, &expirations, sizeof(expirations)) == sizeof(expirations)) { /* this handler is the first */
        pgl_bad_page_wake_all(uffd);
    }
    pthread_mutex_unlock(&uffd->lock);
}
