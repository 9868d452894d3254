/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which pages were written, by epochs. An epoch of a page ends when the page is taken: it is reported and protected
 * again, and the next write to it belongs to the next epoch.
 *
 * OBJECTS      With track_dirty, each region of this process has a record, one bit per page: the page was written, or
 *              given back, and is not reported yet. A forked child has none. The bits are set by handlers that hold the
 *              layout for reading, several at once, and cleared by the one thread that holds it for writing.
 *              There are two ways to know of writes. With asynchronous protection the kernel keeps the record, and
 *              scan() moves it to the bits. Otherwise the first write to a protected page is a fault, and the handler
 *              that removes the protection sets the bit.
 * INVARIANTS   O1: a page without a bit is absent, or protected, or (asynchronous) its write is on the kernel's record.
 *              O2: without asynchronous protection, the handler removes a page's protection and sets its bit, and the
 *              taker protects the page and clears its bit, each under one hold of the layout. Otherwise a handler could
 *              remove the protection after the taker has cleared the bit, and later writes would be lost.
 *              O3: a page is protected before it is reported. The caller reads its bytes afterwards: it finds every
 *              write of the epoch, and a write that it misses belongs to the next one.
 *              O4: what was found and does not fit in the answer keeps its bit.
 *              O5: a page that was given back shows other bytes than before. It counts as written.
 *              O6: a page is opened for a fault that was read since pages were last taken. The thread of an older one
 *              may have written its page in an earlier epoch, because another fault on the page was answered: it would
 *              open a page that nobody writes.
 *              O7: the kernel drops pages after their event was read, and reports no end of it. Until a page that was
 *              given back is found absent, or is installed anew, each answer has it, because the caller may have read
 *              the bytes that were to go. A page that is swapped out is not absent; mincore() tells no difference, but
 *              the kernel's table of pages does. Of shared memory and of huge pages that table also has the place where
 *              a protected page was, as if it were swapped out; there mincore() tells. Of shared huge pages mincore()
 *              tells too little: it knows their mapping, and not their file. The kernel has told all processors before
 *              the answer returns.
 *              O8: memory that was moved counts as written at its new place, and at the old one if that stays mapped.
 *              Each place has an object, and a record, of its own. Otherwise a page that is taken at one place would
 *              lose its bit for the other.
 *              (test_uffd_dirty_*, test_uffd_beside_*)
 * PROGRESS     While an event is unread, the kernel does not protect pages. The taker then unlocks the layout, so that
 *              a handler reads the event, and goes on.
 * NOT PROMISED That each reported page was written. The kernel joins pages to a transparent huge page, unless
 *              MADV_NOHUGEPAGE forbids it, and a write to one of them is then a write to all of them. A page that was
 *              given back may show its old bytes, and after MADV_FREE it is reported each time until the kernel takes
 *              it. A shared huge page is reported each time until it is touched.
 *              That a write is noticed which a thread makes to a page while another one gives it back: the kernel may
 *              drop it after it was reported. That the page is reported again if it is shared, and was swapped out, at
 *              that moment. That a hole is noticed which another process, or fallocate(), makes in shared memory.
 */
#include <errno.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../cancel_internal.h"
#include "bits_internal.h"
#include "delivery_internal.h"

#define PORTION 4096 /* pages that are looked at in one hold of the layout */

/* Set the bits of all that the kernel maps together with the page of the fault. */
static void note(uint64_t *bits, const struct pgl_delivery *delivery)
{
    uint64_t first = pgl_delivery_first(delivery);

    pgl_bits_set(bits, first, first + delivery->unit);
}

void pgl_dirty_note(const struct pgl_delivery *delivery)
{
    uint64_t *dirty = delivery->placed ? pgl_shown_of(delivery->place.object)->dirty : NULL;

    if (dirty) {
        note(dirty, delivery);
    }
}

void pgl_dirty_note_poison(const struct pgl_delivery *delivery)
{
    uint64_t *poisoned = delivery->placed ? pgl_shown_of(delivery->place.object)->poisoned : NULL;

    if (poisoned) {
        note(poisoned, delivery);
    }
}

void pgl_dirty_note_shown(const struct pgl_object *object, uint64_t index, uint64_t npages)
{
    uint64_t *poisoned = pgl_shown_of(object)->poisoned;

    if (poisoned) {
        pgl_bits_clear(poisoned, index, index + npages);
    }
}

void pgl_dirty_note_installed(const struct pgl_object *object, uint64_t index, uint64_t npages)
{
    const struct pgl_shown *shown = pgl_shown_of(object);

    if (shown->dirty) {
        uint64_t end = index + npages;

        pgl_dirty_note_shown(object, index, npages);
        pgl_bits_copy(shown->leaving, index, end, shown->dirty, index); /* O7 */
        pgl_bits_clear(shown->leaving, index, end);
    }
}

void pgl_dirty_note_moved(const struct pgl_map_entry *from, const struct pgl_object *to)
{
    const struct pgl_shown *old = pgl_shown_of(from->object);
    const struct pgl_shown *shown = pgl_shown_of(to);
    uint64_t index = from->view.object_first;
    uint64_t end = pgl_map_entry_object_last(from) + 1;

    pgl_bits_set(shown->dirty, 0, end - index); /* O8 */
    for (uint64_t at = index; (at = pgl_bits_find(old->poisoned, at, end, true)) < end; at++) {
        pgl_bits_set(shown->poisoned, at - index, at - index + 1);
        pgl_bits_clear(shown->dirty, at - index, at - index + 1);
    }
    pgl_bits_copy(old->leaving, index, end, shown->leaving, 0);
    pgl_bits_clear(old->poisoned, index, end);
    pgl_bits_set(old->dirty, index, end);
}

void pgl_dirty_note_removed(struct pgl_space *space, uint64_t first, uint64_t last)
{
    struct pgl_map_entry part;

    while (pgl_space_next_part(space, &first, last, &part)) {
        const struct pgl_shown *shown = pgl_shown_of(part.object);
        uint64_t index = part.view.object_first;
        uint64_t end = pgl_map_entry_object_last(&part) + 1;

        if (shown->dirty) {
            pgl_bits_set(shown->dirty, index, end); /* O5 */
            pgl_bits_set(shown->leaving, index, end);
        }
    }
}

/* An answer that is being filled. */
struct taking {
    struct pgl_uffd *uffd;
    struct pgl_uffd_range *written;
    size_t room;
    size_t n;
};

/* Pages that the kernel is asked about. */
struct scanning {
    const struct pgl_map_entry *part;
    size_t page_size;
};

/* Set the bits of pages between two addresses that are, or are not, in another set. */
static void note_found(const struct scanning *scanning, uint64_t start, uint64_t end, const uint64_t *set, bool in)
{
    const struct pgl_view *view = &scanning->part->view;
    uint64_t stop = view->object_first + (end / scanning->page_size - view->first);
    uint64_t index = view->object_first + (start / scanning->page_size - view->first);

    for (; (index = pgl_bits_find(set, index, stop, in)) < stop; index++) {
        pgl_bits_set(pgl_shown_of(scanning->part->object)->dirty, index, index + 1);
    }
}

/* Note pages that the kernel found written. It takes poison for a page without protection. */
static void note_written(void *arg, uint64_t start, uint64_t end)
{
    const struct scanning *scanning = arg;

    note_found(scanning, start, end, pgl_shown_of(scanning->part->object)->poisoned, false);
}

/* Note pages that the kernel found in memory, or swapped out, and that are to go. */
static void note_staying(void *arg, uint64_t start, uint64_t end)
{
    const struct scanning *scanning = arg;

    note_found(scanning, start, end, pgl_shown_of(scanning->part->object)->leaving, true);
}

/* Have the kernel's record in the bits. Returns 0 or an errno. The layout is held for writing. */
static int scan(const struct pgl_uffd *uffd, const struct pgl_map_entry *part)
{
    struct scanning scanning = {part, uffd->page_size};

    return pgl_pagemap_take(uffd->pagemap, part->view.first * uffd->page_size, (part->view.last + 1) * uffd->page_size,
                            note_written, &scanning);
}

/* Whether the answer has room for pages that begin at this address. */
static bool has_room(const struct taking *taking, uint64_t addr)
{
    const struct pgl_uffd_range *last = taking->n > 0 ? &taking->written[taking->n - 1] : NULL;

    return taking->n < taking->room || (last && (uintptr_t)last->addr + last->length == addr);
}

static void report(struct taking *taking, uint64_t addr, uint64_t length)
{
    struct pgl_uffd_range *last = taking->n > 0 ? &taking->written[taking->n - 1] : NULL;

    if (last && (uintptr_t)last->addr + last->length == addr) {
        last->length += (size_t)length;
    } else {
        taking->written[taking->n++] = (struct pgl_uffd_range){(void *)(uintptr_t)addr, (size_t)length};
    }
}

/* Protect pages of one mapping. Returns 0 or an errno. */
static int protect_once(const struct pgl_uffd *uffd, uint64_t addr, uint64_t length)
{
    struct uffdio_writeprotect protection = {{addr, length}, UFFDIO_WRITEPROTECT_MODE_WP};

    return ioctl(uffd->self->fd, UFFDIO_WRITEPROTECT, &protection) != 0 ? errno : 0;
}

/*
 * Protect pages. If they are not one mapping, protect them one by one; a page that is not there any more needs no
 * protection. Returns 0 or an errno.
 */
static int protect(const struct pgl_uffd *uffd, uint64_t addr, uint64_t length)
{
    int error = protect_once(uffd, addr, length);

    if (error != ENOENT) {
        return error;
    }
    for (uint64_t at = 0; at < length; at += uffd->page_size) {
        error = protect_once(uffd, addr + at, uffd->page_size);
        if (error != 0 && error != ENOENT) {
            return error;
        }
    }
    return 0;
}

/* Whether the page at an address is in memory, also if only its file has it. */
static bool is_resident(const struct pgl_uffd *uffd, uint64_t addr)
{
    unsigned char resident = 1;

    return mincore((void *)(uintptr_t)addr, uffd->page_size, &resident) != 0 || (resident & 1) != 0;
}

/*
 * Pages of a part were taken. Those that were given back and are still there keep their bits, and the others are gone
 * (O7). The layout is held for writing.
 */
static void settle(const struct pgl_uffd *uffd, const struct pgl_map_entry *part, uint64_t index, uint64_t end)
{
    const struct pgl_shown *shown = pgl_shown_of(part->object);
    struct scanning scanning = {part, uffd->page_size};
    uint64_t base = (part->view.first - part->view.object_first) * uffd->page_size; /* wraps */
    bool known;

    index = pgl_bits_find(shown->leaving, index, end, true);
    if (index == end) {
        return;
    }
    known = shown->mincore_tells || pgl_pagemap_find(uffd->pagemap, base + index * uffd->page_size,
                                                     base + end * uffd->page_size, note_staying, &scanning) == 0;
    for (; (index = pgl_bits_find(shown->leaving, index, end, true)) < end; index++) {
        if (!known || is_resident(uffd, base + index * uffd->page_size)) {
            pgl_bits_set(shown->dirty, index, index + 1);
        } else if (!pgl_bits_have(shown->dirty, index)) {
            pgl_bits_clear(shown->leaving, index, index + 1);
        }
    }
}

/*
 * Take the pages of a part of a region. Returns 0, ENOSPC when the answer is full, or the errno of the kernel; *first
 * is the first page that was not taken. The layout is held for writing.
 */
static int take_part(struct taking *taking, const struct pgl_map_entry *part, uint64_t *first)
{
    struct pgl_uffd *uffd = taking->uffd;
    uint64_t *dirty = pgl_shown_of(part->object)->dirty;
    uint64_t pager_first = part->object->config.pager_range.first;
    uint64_t index = part->view.object_first;
    uint64_t end = pgl_map_entry_object_last(part) + 1;
    uint64_t stop;

    for (; (index = pgl_bits_find(dirty, index, end, true)) < end; index = stop) {
        uint64_t addr = (part->view.first + (index - part->view.object_first)) * uffd->page_size;

        stop = pgl_bits_find(dirty, index, end, false);
        *first = addr / uffd->page_size;
        if (!has_room(taking, addr)) { /* O4 */
            return ENOSPC;
        }
        if (uffd->withholds) { /* O2 */
            int error = protect(uffd, addr, (stop - index) * uffd->page_size);

            uffd->epoch++;
            if (error != 0) {
                return error;
            }
            pgl_pager_withhold(part->object, (struct pgl_pager_range){pager_first + index, pager_first + stop - 1},
                               PGL_ACCESS_READ);
        }
        pgl_bits_clear(dirty, index, stop);
        settle(uffd, part, index, stop);
        report(taking, addr, (stop - index) * uffd->page_size);
    }
    *first = part->view.last + 1;
    return 0;
}

/* As take_part(), for a range, which may not be mapped throughout: ENOENT. */
static int take_portion(struct taking *taking, uint64_t *first, uint64_t last)
{
    const struct pgl_uffd *uffd = taking->uffd;
    struct pgl_map_entry part;
    uint64_t next = *first;
    int error = 0;

    while (error == 0 && *first <= last) {
        if (!pgl_space_next_part(uffd->self, &next, last, &part) || part.view.first != *first) {
            return ENOENT;
        }
        if (!uffd->withholds) {
            error = scan(uffd, &part);
        }
        error = error != 0 ? error : take_part(taking, &part, first);
    }
    return error;
}

/*
 * A page that was dropped can be read until the kernel has told all processors, which it does with the lock of the
 * address space. Wait for that lock: mprotect() takes it, and this one changes nothing.
 */
static void await_dropping(const struct pgl_uffd *uffd)
{
    if (__atomic_load_n(&uffd->stats.removes, __ATOMIC_RELAXED) > 0) {
        mprotect((void *)(uintptr_t)uffd->zeros, uffd->page_size, PROT_READ);
    }
}

ssize_t pgl_uffd_dirty_take(struct pgl_uffd *uffd, struct pgl_uffd_range *rest, struct pgl_uffd_range *written,
                            size_t nwritten)
{
    PGL_UNCANCELLED;
    struct taking taking = {uffd, written, nwritten, 0};
    uintptr_t start = (uintptr_t)rest->addr;
    uint64_t first = start / uffd->page_size;
    uint64_t end = first + rest->length / uffd->page_size;
    int error = 0;

    if (!pgl_uffd_is_ours(uffd)) {
        return -1;
    }
    if (start % uffd->page_size != 0 || rest->length % uffd->page_size != 0 || start + rest->length < start ||
        nwritten == 0) {
        error = EINVAL;
    } else if (!uffd->config.track_dirty) {
        error = ENOTSUP;
    }
    while (error == 0 && first < end) {
        uint64_t stop = first + PORTION - (first + PORTION) % (PGL_UFFD_HUGE_SIZE / uffd->page_size);
        uint64_t last = stop < end ? stop - 1 : end - 1; /* no huge page in two portions */

        pthread_rwlock_wrlock(&uffd->layout);
        error = take_portion(&taking, &first, last);
        pthread_rwlock_unlock(&uffd->layout);
        if (error == EAGAIN) { /* a handler reads the event */
            usleep(PGL_UFFD_PAUSE_US / 10);
            error = 0;
        }
    }
    await_dropping(uffd);
    if (error != 0 && error != ENOSPC && taking.n == 0) {
        errno = error;
        return -1;
    }
    rest->addr = (void *)(uintptr_t)(first * uffd->page_size);
    rest->length = (size_t)((end - first) * uffd->page_size);
    return (ssize_t)taking.n;
}
