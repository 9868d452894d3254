/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One fault from its message to its answer. A handler thread (handler.c), or the thread itself (self.c), turns it into a
 * fault of the driver.
 *
 * STALE STATE  When the kernel and the driver disagree, the kernel is right.
 *              R1: a page that the driver has as resident, and finds so without waiting, was removed. Its event raced
 *              with a copy. The handler forgets the page and fetches it again.
 *              R2: if the driver waited for another handler's fetch, the message may be older than the copy. The
 *              handler only wakes the thread, which faults again if the page is still missing.
 *              R3: memory for which the map has no entry was unmapped, or mremap() added it. The handler installs
 *              zeros.
 *              R4: if this handler has installed the page since it read the batch, it only wakes the thread.
 *              R5: a thread that serves itself asks the kernel whether the page is there, before R1.
 *              R7: if a source has supplied the page, or one near it, since the message was read, it may be older than
 *              the page. The handler only wakes the thread. A source wakes the threads before it offers its pages to
 *              the driver, and reads the count of reads in between. That count has every read before the wake-up, and
 *              a message that is read after it is about a page that was removed.
 *              R8: if the memory has been mapped anew since the message was read, an error of the page is not that of
 *              the page that is there now. The handler asks for no remedy, and only wakes the thread.
 *              R9: if the map changes before the driver is done with a fault, it begins it again with what the map
 *              shows by then. Nothing is read for that: no thread has touched it yet.
 *              Because of R2, R4, R5 and R7, threads that fault on one page together cost one read.
 *              (test_uffd_page_given_back_is_fetched_again, test_uffd_threads_that_want_a_page_read_it_once,
 *              test_uffd_memory_that_grew_is_plain_beyond_its_file,
 *              test_uffd_bad_page_of_a_mapping_that_is_gone_needs_no_remedy,
 *              test_uffd_handler_reads_nothing_of_a_region_that_no_thread_touches; of the explorer uffd-late-once*)
 * COUNTS       The kernel wakes no thread that waits for a page. The handler wakes it, after it has counted everything
 *              that it did for the page.
 * PROGRESS     Every fault message leads to a wake-up: by the handler that installs the page or finds that it cannot;
 *              by the timer when failed() asks for another try; by the handler that parked the thread; or, when the
 *              pager ends, by unregistering the region.
 * NOT PROMISED R7 for a thread that the kernel interrupts between finding its page absent and sending the message, for
 *              as long as another thread's page takes from its message to the answer that brings both: a source is
 *              asked for a page once more then.
 */
#include <errno.h>
#include <linux/userfaultfd.h>
#include <sys/mman.h>

#include "delivery_internal.h"
#include "late_internal.h"
#include "limit_internal.h"

#define SHORTAGES 16 /* tries for which there was no memory, before the page is given up or put off */

/* For pgl_delivery_persist(): nothing was refused, but the thread will fault again, and events come first (E4). */
static int ask_for_events(struct pgl_delivery *delivery, void *arg)
{
    (void)arg;
    return pgl_space_probe(delivery->pager, delivery->space) == EAGAIN ? EAGAIN : 0;
}

/* Returns what is to become of a page that could not be read: not PGL_UFFD_DEFAULT. */
static enum pgl_uffd_remedy remedy_of(const struct pgl_uffd *uffd, const struct pgl_delivery *delivery)
{
    const struct pgl_uffd_config *config = &uffd->config;
    const struct pgl_shown *shown = delivery->placed ? pgl_shown_of(delivery->place.object) : NULL;
    enum pgl_uffd_remedy remedy = PGL_UFFD_DEFAULT;

    if (config->failed) {
        remedy = config->failed(config->arg, (const void *)(uintptr_t)delivery->addr, pgl_delivery_error(delivery));
    }
    if (remedy == PGL_UFFD_DEFAULT || remedy > PGL_UFFD_POISON) {
        remedy = shown ? shown->on_error : PGL_UFFD_AGAIN; /* a region was mapped since: the thread faults again */
    }
    return remedy == PGL_UFFD_POISON && (uffd->features & UFFD_FEATURE_POISON) == 0 ? PGL_UFFD_AGAIN : remedy;
}

/* Have the thread of the fault sleep until its page is tried again. */
static void put_off(struct pgl_uffd *uffd, struct pgl_delivery *delivery)
{
    delivery->put_off = pgl_bad_page_add(uffd, delivery->space, delivery->addr) ||
                        __atomic_load_n(&uffd->ending, __ATOMIC_RELAXED); /* then its thread waits for the end */
}

/* Install zeros. Returns whether it did. If there is no memory for them, the page is put off. */
static bool zero(struct pgl_uffd *uffd, struct pgl_delivery *delivery)
{
    bool made = pgl_delivery_zero(delivery);

    if (!made && delivery->no_room) {
        put_off(uffd, delivery);
    }
    return made;
}

/* The page could not be had, not even alone: install zeros, poison it, or put it off. */
static void give_up(struct pgl_uffd *uffd, struct pgl_delivery *delivery)
{
    switch (remedy_of(uffd, delivery)) {
    case PGL_UFFD_ZERO:
        pgl_count(&uffd->stats.errors, zero(uffd, delivery));
        break;
    case PGL_UFFD_POISON:
        if (pgl_delivery_poison(delivery)) {
            pgl_count(&uffd->stats.errors, 1);
            pgl_count(&uffd->stats.poisoned, 1);
        }
        break;
    case PGL_UFFD_DEFAULT:
    case PGL_UFFD_AGAIN:
        put_off(uffd, delivery);
        break;
    }
}

/*
 * There was no memory. If the kernel had none for the page, the page cannot be had. Other memory is waited for: the
 * pager's own, or that of the file's cache.
 */
static void run_short(struct pgl_uffd *uffd, struct pgl_delivery *delivery)
{
    if (delivery->no_room) {
        give_up(uffd, delivery);
    } else {
        put_off(uffd, delivery);
    }
}

/* Whether the page is in memory: another thread has brought it since this one touched it. */
static bool is_present(const struct pgl_delivery *delivery)
{
    unsigned char resident = 0;

    return mincore((void *)(uintptr_t)delivery->addr, delivery->pager->page_size, &resident) == 0 &&
           (resident & 1) != 0;
}

/* Whether an error of the page ends the fault: the page is there, or an error of it is nobody's (R8). */
static bool is_over(const struct pgl_delivery *delivery)
{
    return delivery->protected || delivery->present || !pgl_delivery_is_same(delivery);
}

/*
 * Run the fault through the driver, or go on with it. A page that is still missing when this returns is left to the
 * next fault: the caller wakes the thread unless it was put off. After a write to a protected page only the driver has
 * to know of the write; the caller removes the protection if this has not. Likewise it shows a page that is there
 * already. Returns false when the fault waits for a source, and belongs to another thread.
 */
static bool deliver_fault(struct pgl_handler *handler, struct pgl_wait *wait, struct pgl_delivery *delivery,
                          struct pgl_fault_args *args)
{
    struct pgl_uffd *uffd = handler->uffd;
    struct pgl_fault_page page;
    bool removed;

    for (;;) {
        delivery->error = EIO;
        delivery->no_room = false;
        switch (wait ? pgl_wait_run(wait, &page) : pgl_fault_run(handler->fault, args, &page)) {
        case PGL_FAULT_SUCCESS:
            if (!page.hit || delivery->protected || (args->flags & PGL_FAULT_FLAG_RETRIED) != 0 ||
                (uffd->self_service && is_present(delivery))) { /* R5 */
                return true;
            }
            pthread_rwlock_rdlock(&uffd->layout);
            removed = pgl_space_forget(delivery->space, args->index, delivery->moment); /* R1 */
            pthread_rwlock_unlock(&uffd->layout);
            if (!removed) { /* R7 */
                return true;
            }
            break;
        case PGL_FAULT_MEMORY_ERROR:
        case PGL_FAULT_NO_DATA:
            if (is_over(delivery)) {
                return true;
            }
            if (delivery->failed) {
                give_up(uffd, delivery);
                return true;
            }
            delivery->failed = true; /* a neighbour may be the cause: try the page alone before giving up */
            break;
        case PGL_FAULT_NO_ENTRY: /* R3 */
            zero(uffd, delivery);
            return true;
        case PGL_FAULT_MEMORY_SHORTAGE:
            if (is_over(delivery)) {
                return true;
            }
            if (++delivery->tries > SHORTAGES) {
                run_short(uffd, delivery);
                return true;
            }
            break;
        case PGL_FAULT_INTERRUPTED: /* or its source is asked for nothing more: its thread waits for the end */
            delivery->put_off = __atomic_load_n(&uffd->ending, __ATOMIC_RELAXED);
            return true;
        case PGL_FAULT_RETRY:
        case PGL_FAULT_INVALID:
            return true;
        case PGL_FAULT_PENDING:
            return false;
        }
        args->flags |= PGL_FAULT_FLAG_RETRIED;
    }
}

/* The driver is done with the fault. See to it that its thread goes on, unless it was put off. */
static void finish_fault(struct pgl_delivery *delivery)
{
    if (delivery->asked) {
        delivery->answered = delivery->answered || pgl_request_was_answered(delivery->asked);
    }
    if (delivery->protected && !delivery->answered) {
        pgl_delivery_unprotect(delivery);
    }
    if (delivery->present && !delivery->answered) {
        pgl_delivery_show(delivery);
    }
    if (!delivery->answered) {
        pgl_delivery_persist(delivery, ask_for_events, NULL);
    }
    if (!delivery->answered && !delivery->put_off) {
        pgl_delivery_wake(delivery);
    }
}

void pgl_handler_continue(struct pgl_handler *handler, struct pgl_wait *wait)
{
    struct pgl_delivery *delivery = pgl_wait_delivery(wait);

    delivery->buffer = handler->buffer;
    if (deliver_fault(handler, wait, delivery, pgl_wait_args(wait))) {
        finish_fault(delivery);
        pgl_wait_free(wait);
    }
}

/* Whether this handler has installed the page since it read the batch (R4). */
static bool was_put(const struct pgl_handler *handler, uint64_t addr)
{
    bool put = false;

    for (unsigned i = 0; i < handler->nput && !put; i++) {
        put = addr >= handler->put[i].first && addr <= handler->put[i].last;
    }
    return put;
}

enum pgl_served pgl_handler_fault(struct pgl_handler *handler, struct pgl_space *space, const struct uffd_msg *message,
                                  uint64_t start_ns)
{
    struct pgl_uffd *uffd = handler->uffd;
    uint64_t flags = message->arg.pagefault.flags;
    uint32_t thread = message->arg.pagefault.feat.ptid;
    bool protected = (flags & UFFD_PAGEFAULT_FLAG_WP) != 0;
    bool writes = protected || (flags & UFFD_PAGEFAULT_FLAG_WRITE) != 0;
    struct pgl_delivery delivery = {
        .pager = uffd,
        .space = space,
        .start_ns = start_ns,
        .epoch = handler->epoch,
        .moment = handler->moment,
        .unit = 1,
        .latency = protected ? uffd->stats.latency_unlock : uffd->stats.latency_found,
        .addr = message->arg.pagefault.address & ~(uint64_t)(uffd->page_size - 1),
        .put_first = UINT64_MAX,
        .protected = protected,
        .writes = writes,
        .present = (flags & UFFD_PAGEFAULT_FLAG_MINOR) != 0,
        .alone = uffd->nhandlers == 1 && thread != 0 && thread == handler->last_thread,
        .buffer = handler->buffer,
    };
    struct pgl_fault_args args = {
        .map = space->map,
        .index = delivery.addr / uffd->page_size,
        .access = writes ? PGL_ACCESS_WRITE : PGL_ACCESS_READ,
        .cookie = &delivery,
        .flags = delivery.present ? PGL_FAULT_FLAG_RETRIED : 0, /* no neighbours: only this page is known to be there */
    };

    if (thread != 0 && thread == handler->last_thread) {
        pgl_meter_handover(&uffd->meter, start_ns - handler->answered_ns);
    }
    handler->last_thread = 0;
    if (!protected && pgl_bad_page_is_listed(uffd, space, delivery.addr)) {
        return PGL_SERVED_PUT_OFF;
    }
    if (protected || !was_put(handler, delivery.addr)) {
        delivery.placed = pgl_map_copy_place(space->map, args.index, &delivery.place);
        if (delivery.placed) {
            delivery.unit = pgl_shown_of(delivery.place.object)->unit;
            pgl_limit_note_demanded(delivery.place.object, delivery.place.index);
        }
        if (delivery.placed && delivery.place.object->config.pager_ops == &pgl_late_pager_ops) {
            struct pgl_wait *wait = pgl_wait_new(&delivery, &args);

            if (wait) {
                pgl_handler_continue(handler, wait);
                return PGL_SERVED_LATER;
            }
            delivery.put_off = pgl_bad_page_add(uffd, space, delivery.addr);
        } else {
            deliver_fault(handler, NULL, &delivery, &args);
        }
        handler->put[handler->nput++] = (struct pgl_put){delivery.put_first, delivery.put_last};
    }
    finish_fault(&delivery);
    if (delivery.answered) {
        handler->last_thread = thread;
        handler->answered_ns = delivery.answered_ns;
    }
    if (delivery.placed) {
        pgl_limit_make_room(uffd, delivery.place.object, 0);
        pgl_object_unref(delivery.place.object);
    }
    return delivery.put_off ? PGL_SERVED_PUT_OFF : delivery.poisoned ? PGL_SERVED_POISONED : PGL_SERVED_WOKEN;
}
