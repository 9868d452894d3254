/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One page that faulted: zeros, poison, an end of its protection, a wake-up of its thread, and a count of the answer.
 * copy.c brings the bytes of clusters, with the same calls of the kernel.
 */
#include <errno.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

#include "../fault/object_internal.h"
#include "delivery_internal.h"
#include "limit_internal.h"

uint64_t pgl_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void count_answer(struct pgl_delivery *delivery)
{
    struct pgl_uffd_stats *stats = &delivery->pager->stats;
    uint64_t ns = pgl_now_ns() - delivery->start_ns;
    uint64_t max = __atomic_load_n(&stats->ns_max, __ATOMIC_RELAXED);

    delivery->answered_ns = delivery->start_ns + ns;
    if (delivery->npages > 0) {
        pgl_meter_request(&delivery->pager->meter, delivery->npages, ns, stats);
    }
    pgl_count(&stats->unlocks, delivery->protected);
    pgl_count(&stats->ns_total, ns);
    pgl_count(&delivery->latency[pgl_latency_bucket(ns)], 1);
    while (ns > max &&
           !__atomic_compare_exchange_n(&stats->ns_max, &max, ns, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
}

void pgl_delivery_note_answer(struct pgl_delivery *delivery, uint64_t addr, uint64_t length)
{
    if (!delivery->answered && delivery->addr - addr < length) {
        if (!delivery->claim || !__atomic_exchange_n(delivery->claim, true, __ATOMIC_RELAXED)) {
            count_answer(delivery);
        }
        delivery->answered = true;
    }
}

void pgl_delivery_wake_pages(struct pgl_delivery *delivery, uint64_t addr, uint64_t length)
{
    struct uffdio_range range = {addr, length};

    pgl_delivery_note_answer(delivery, addr, length);
    if (!delivery->pager->self_service) { /* otherwise no thread sleeps */
        ioctl(delivery->space->fd, UFFDIO_WAKE, &range);
    }
}

/* The memory that the kernel maps at a time: the page of the fault, or the huge page around it. */
static struct uffdio_range whole_page(const struct pgl_delivery *delivery)
{
    uint64_t length = delivery->unit * delivery->pager->page_size;

    return (struct uffdio_range){delivery->addr - delivery->addr % length, length};
}

void pgl_delivery_wake(struct pgl_delivery *delivery)
{
    struct uffdio_range range = whole_page(delivery);

    pgl_delivery_wake_pages(delivery, range.start, range.len);
}

uint64_t pgl_delivery_make_pages(int fd, uint64_t addr, const unsigned char *data, uint64_t length, bool protects)
{
    uint64_t mode = UFFDIO_COPY_MODE_DONTWAKE | (protects ? UFFDIO_COPY_MODE_WP : 0);
    struct uffdio_copy copy = {addr, (uint64_t)(uintptr_t)data, length, mode, 0};
    struct uffdio_zeropage zero = {{addr, length}, UFFDIO_ZEROPAGE_MODE_DONTWAKE, 0};
    int64_t made;

    if (data) {
        ioctl(fd, UFFDIO_COPY, &copy);
        made = copy.copy;
    } else {
        ioctl(fd, UFFDIO_ZEROPAGE, &zero);
        made = zero.zeropage;
    }
    return made > 0 ? (uint64_t)made : 0;
}

uint64_t pgl_delivery_show_pages(int fd, uint64_t addr, uint64_t length, bool protects)
{
    uint64_t mode = UFFDIO_CONTINUE_MODE_DONTWAKE | (protects ? UFFDIO_CONTINUE_MODE_WP : 0);
    struct uffdio_continue show = {{addr, length}, mode, 0};

    ioctl(fd, UFFDIO_CONTINUE, &show);
    return show.mapped > 0 ? (uint64_t)show.mapped : 0;
}

bool pgl_delivery_is_same(const struct pgl_delivery *delivery)
{
    uint64_t index = delivery->addr / delivery->pager->page_size;
    struct pgl_map *map = delivery->space->map;

    return delivery->placed ? pgl_map_has_place(map, index, &delivery->place) : !pgl_map_shows(map, index);
}

void pgl_delivery_note_put(struct pgl_delivery *delivery, uint64_t first, uint64_t last)
{
    delivery->put_first = first < delivery->put_first ? first : delivery->put_first;
    delivery->put_last = last > delivery->put_last ? last : delivery->put_last;
}

/* The page of the fault has no protection any more. The layout is locked since before that. */
static void note_opened(const struct pgl_delivery *delivery)
{
    pgl_dirty_note(delivery);
    pgl_limit_note_opened(delivery);
}

static int make_zeros(struct pgl_delivery *delivery, void *arg)
{
    struct uffdio_range range = whole_page(delivery);
    bool opens = delivery->pager->withholds && delivery->writes;
    bool protects = delivery->pager->protects && !opens;
    /* The kernel's zero page cannot be protected, and none is huge. */
    bool copies = protects || delivery->unit > 1;
    const unsigned char *data = copies ? memset(delivery->buffer, 0, (size_t)range.len) : NULL;
    int error = ENOENT;

    (void)arg;
    pthread_rwlock_rdlock(&delivery->pager->layout);
    if (pgl_delivery_is_same(delivery)) {
        error = pgl_delivery_make_pages(delivery->space->fd, range.start, data, range.len, protects) > 0 ? 0 : errno;
    }
    if (error == 0 && delivery->placed) {
        pgl_dirty_note_installed(delivery->place.object, pgl_delivery_first(delivery), delivery->unit);
    }
    if (error == 0 && opens) {
        note_opened(delivery);
    }
    pthread_rwlock_unlock(&delivery->pager->layout);
    return error;
}

static int make_poison(struct pgl_delivery *delivery, void *arg)
{
    struct uffdio_poison poison = {whole_page(delivery), UFFDIO_POISON_MODE_DONTWAKE, 0};
    int error = ENOENT;

    (void)arg;
    pthread_rwlock_rdlock(&delivery->pager->layout);
    if (pgl_delivery_is_same(delivery)) {
        error = ioctl(delivery->space->fd, UFFDIO_POISON, &poison) != 0 ? errno : 0;
    }
    if (error == 0) {
        pgl_dirty_note_poison(delivery);
    }
    pthread_rwlock_unlock(&delivery->pager->layout);
    return error;
}

bool pgl_delivery_poison(struct pgl_delivery *delivery)
{
    int error = pgl_delivery_persist(delivery, make_poison, NULL);

    delivery->poisoned = error == 0 || error == EEXIST;
    return error == 0;
}

bool pgl_delivery_zero(struct pgl_delivery *delivery)
{
    int error;

    delivery->latency = delivery->pager->stats.latency_zero;
    error = pgl_delivery_persist(delivery, make_zeros, NULL);
    delivery->no_room = error == ENOMEM;
    if (error == 0) {
        pgl_delivery_note_put(delivery, delivery->addr, delivery->addr);
    }
    return error == 0;
}

/*
 * Remove the protection of the page. If pages were taken since the fault was read, its thread may have written already:
 * leave the page as it is. The thread is woken in any case, and faults again if it still wants to write.
 */
int pgl_delivery_try_unprotect(struct pgl_delivery *delivery, void *arg)
{
    struct uffdio_writeprotect protect = {whole_page(delivery), UFFDIO_WRITEPROTECT_MODE_DONTWAKE};
    bool opens = false;
    int error = ENOENT;

    (void)arg;
    pthread_rwlock_rdlock(&delivery->pager->layout);
    if (pgl_delivery_is_same(delivery)) {
        opens = delivery->epoch == delivery->pager->epoch; /* O6 */
        error = opens && ioctl(delivery->space->fd, UFFDIO_WRITEPROTECT, &protect) != 0 ? errno : 0;
    }
    if (error == 0 && opens) {
        note_opened(delivery);
    }
    pthread_rwlock_unlock(&delivery->pager->layout);
    return error;
}

int pgl_delivery_unprotect(struct pgl_delivery *delivery)
{
    return pgl_delivery_persist(delivery, pgl_delivery_try_unprotect, NULL);
}

static int show(struct pgl_delivery *delivery, void *arg)
{
    struct uffdio_range range = whole_page(delivery);
    int error = ENOENT;

    (void)arg;
    pthread_rwlock_rdlock(&delivery->pager->layout);
    if (pgl_delivery_is_same(delivery)) {
        error = pgl_delivery_show_pages(delivery->space->fd, range.start, range.len, delivery->pager->protects) > 0
                    ? 0
                    : errno;
    }
    if (error == 0 && delivery->placed) {
        pgl_dirty_note_shown(delivery->place.object, pgl_delivery_first(delivery), delivery->unit);
    }
    pthread_rwlock_unlock(&delivery->pager->layout);
    return error;
}

void pgl_delivery_show(struct pgl_delivery *delivery)
{
    int error = pgl_delivery_persist(delivery, show, NULL);

    pgl_count(&delivery->pager->stats.present, error == 0);
}
