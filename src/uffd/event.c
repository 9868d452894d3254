/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The kernel reports four changes of a space's memory: remove, unmap, remap and fork.
 *
 * EVENTS       A thread that changes memory sleeps in the kernel until a handler has read its event. From the beginning
 *              of the change until the thread has left the kernel, the kernel refuses to install a page (EAGAIN). It
 *              hands out every page fault before any event.
 *              E1: events are applied to the map in the order in which the kernel sent them.
 *              E2: a handler that is refused keeps the data that it has read, and reads events until the kernel accepts
 *              the page (pgl_delivery_persist).
 *              E3: the threads whose faults it reads meanwhile are parked. They sleep until this handler is done, and
 *              the handler that parks a thread also wakes it.
 *              E4: a thread that is woken without its page faults again. Therefore it is woken when no event is unread.
 *              E5: every event is read, even when descriptors or memory run out, and even after the handlers have
 *              ended.
 *              E6: an event is read and applied under the pager's lock. Its thread may be awake in between, but it
 *              finds its event counted, because pgl_uffd_get_stats() takes the lock, too.
 *              E7: no handler waits for a message, because it would hold the locks meanwhile. An adopted process shares
 *              the flags of its userfaultfd; therefore a handler asks for a read that does not wait (Linux 6.10) or,
 *              where there is none, looks at the flags before each read.
 *              (test_uffd_event_is_read_*, test_uffd_adopt_of_a_process_that_waits_for_messages_hangs_nobody,
 *              test_uffd_event_is_counted_before_its_thread_sees_the_counts,
 *              test_uffd_fork_whose_event_cannot_be_read_at_once_returns, test_uffd_stops_while_a_thread_forks)
 * PROGRESS     An event waits for one copy and for one fault of each thread, however many threads, handlers and spaces
 *              there are (E3, E4).
 * NOT PROMISED The right pages in a child that was forked while another thread was in mremap() on a region: the kernel
 *              sends the two events in either order.
 *              E7 before Linux 6.10, if an adopted process changes the flags again and again.
 *              The arrival of a page while threads change memory without a pause: the kernel refuses it then.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "../fault/object_internal.h"
#include "delivery_internal.h"
#include "limit_internal.h"

int pgl_event_open_spare(void)
{
    return eventfd(0, EFD_CLOEXEC);
}

/* Retry when memory is short: the event has happened, and the map has to follow it. */
static void insist_on_removing(struct pgl_space *space, uint64_t first, uint64_t last)
{
    while (!pgl_map_remove(space->map, first, last) && errno == ENOMEM) {
        usleep(PGL_UFFD_PAUSE_US);
    }
}

static void insist_on_entering(struct pgl_space *space, const struct pgl_view *view, struct pgl_object *object,
                               enum pgl_advice advice)
{
    while (!pgl_map_enter(space->map, view->first, view->last, object, view->object_first, advice) && errno == ENOMEM) {
        usleep(PGL_UFFD_PAUSE_US);
    }
}

/*
 * Make an object that shows the same as pages [first, last] of another one, and has none of them yet. A page becomes
 * resident in it when the kernel answers EEXIST to its copy. Returns a reference.
 */
static struct pgl_object *copy_object(struct pgl_uffd *uffd, struct pgl_object *object, uint64_t first, uint64_t last,
                                      bool records)
{
    struct pgl_object *copy;
    struct pgl_shown *shown;

    while (!(shown = pgl_shown_copy(object->config.pager, first, last, records))) {
        usleep(PGL_UFFD_PAUSE_US);
    }
    while (!(copy = pgl_uffd_object_new(uffd, object->config.pager_ops, shown, pgl_object_advice(object)))) {
        usleep(PGL_UFFD_PAUSE_US);
    }
    pgl_object_record_as(copy, object);
    return copy;
}

/*
 * Returns a reference to the object that a part shows after it was moved, and the first page of it: with a record, an
 * object of the part's own (O8).
 */
static struct pgl_object *moved_object(struct pgl_uffd *uffd, const struct pgl_map_entry *part, uint64_t *first)
{
    uint64_t index = part->view.object_first;
    struct pgl_object *object;

    pgl_limit_note_moved(part->object);
    if (!pgl_shown_of(part->object)->dirty) {
        *first = index;
        return pgl_object_ref(part->object);
    }
    *first = 0;
    object = copy_object(uffd, part->object, index, pgl_map_entry_object_last(part), true);
    pgl_dirty_note_moved(part, object);
    return object;
}

/*
 * [first, last] was moved to to_first. The old entries stay until an UNMAP event removes them. With MREMAP_DONTUNMAP
 * that event never comes: the old range stays mapped, and its next faults read the file again.
 */
static void move(struct pgl_uffd *uffd, struct pgl_space *space, uint64_t first, uint64_t last, uint64_t to_first)
{
    uint64_t shift = to_first - first; /* wraps if memory moved down */
    struct pgl_map_entry part;

    insist_on_removing(space, to_first, to_first + (last - first));
    while (pgl_space_next_part(space, &first, last, &part)) {
        struct pgl_view there = {part.view.first + shift, part.view.last + shift, 0};
        struct pgl_object *object = moved_object(uffd, &part, &there.object_first);

        insist_on_entering(space, &there, object, part.advice);
        pgl_object_unref(object);
    }
}

/*
 * Returns a reference to the child's object for the one that the parent's entry shows. The first entry that shows an
 * object makes the child's.
 */
static struct pgl_object *childs_object(struct pgl_uffd *uffd, const struct pgl_space *parent,
                                        const struct pgl_space *child, const struct pgl_map_entry *entry)
{
    struct pgl_map_entry earlier, copy;
    uint64_t first = 0;

    while (pgl_space_next_part(parent, &first, entry->view.first - 1, &earlier)) {
        if (earlier.object == entry->object && pgl_map_lookup(child->map, earlier.view.first, &copy)) {
            return pgl_object_ref(copy.object);
        }
    }
    return copy_object(uffd, entry->object, 0, entry->object->config.last, false);
}

/* A child's userfaultfd has the flags with which the first of its line was made, maybe by another process. */
static bool set_flags(int fd)
{
    return fcntl(fd, F_SETFL, O_NONBLOCK) == 0 && fcntl(fd, F_SETFD, FD_CLOEXEC) == 0;
}

static void open_spare(struct pgl_uffd *uffd)
{
    if (uffd->spare < 0) {
        uffd->spare = pgl_event_open_spare();
    }
}

/*
 * Add the space of a forked child, whose faults come to a userfaultfd of its own. Returns NULL if it cannot be served:
 * a spare descriptor comes first, because the next event has to be read, too.
 */
static struct pgl_space *add_child(struct pgl_uffd *uffd, const struct pgl_space *parent, int fd)
{
    struct pgl_space *child;

    open_spare(uffd);
    if (uffd->spare < 0 || (parent->process != 0 && !set_flags(fd))) {
        close(fd);
        open_spare(uffd);
        return NULL;
    }
    child = pgl_space_add(uffd, fd, pgl_space_map_new(uffd));
    if (child) {
        child->process = parent->process;
    }
    return child;
}

/* Serve a forked child. It has inherited the resident pages. Its objects begin empty. */
static void follow(struct pgl_uffd *uffd, const struct pgl_space *parent, int fd)
{
    struct pgl_map_entry entry;
    struct pgl_space *child;
    uint64_t first = 0;

    pgl_count(&uffd->stats.forks, 1);
    pgl_space_drop_ended(uffd);
    child = add_child(uffd, parent, fd);
    pgl_count(&uffd->stats.errors, !child);
    while (child && pgl_space_next_part(parent, &first, UINT64_MAX - 1, &entry)) {
        struct pgl_object *object = childs_object(uffd, parent, child, &entry);

        insist_on_entering(child, &entry.view, object, entry.advice);
        pgl_object_unref(object);
    }
}

void pgl_event_apply(struct pgl_uffd *uffd, struct pgl_space *space, const struct uffd_msg *message)
{
    uint64_t size = uffd->page_size;
    uint64_t first = message->arg.remove.start / size;
    uint64_t last = message->arg.remove.end / size - 1;
    uint64_t from = message->arg.remap.from / size;

    switch (message->event) {
    case UFFD_EVENT_FORK:
        follow(uffd, space, (int)message->arg.fork.ufd);
        break;
    case UFFD_EVENT_REMAP:
        pgl_count(&uffd->stats.remaps, 1);
        move(uffd, space, from, from + message->arg.remap.len / size - 1, message->arg.remap.to / size);
        break;
    case UFFD_EVENT_REMOVE:
        pgl_count(&uffd->stats.removes, 1);
        pgl_space_give_back(space, first, last);
        pgl_dirty_note_removed(space, first, last);
        break;
    case UFFD_EVENT_UNMAP:
        pgl_count(&uffd->stats.unmaps, 1);
        pgl_space_note_unmapped(space, first, last);
        insist_on_removing(space, first, last);
        break;
    }
}

/* Read, and do not wait, whatever the flags of the file say. Returns -1 with EOPNOTSUPP where that cannot be had. */
static ssize_t read_nowait(int fd, void *buffer, size_t length)
{
#ifdef PGL_NOWAIT
    struct iovec part = {buffer, length};

    return preadv2(fd, &part, 1, -1, RWF_NOWAIT);
#else
    (void)fd;
    (void)buffer;
    (void)length;
    errno = EOPNOTSUPP;
    return -1;
#endif
}

/* Read messages, and wait for none (E7). */
static ssize_t read_at_once(const struct pgl_space *space, struct uffd_msg *messages, size_t max)
{
    size_t size = max * sizeof(*messages);

    if (space->process == space->number) { /* it was adopted; a child's userfaultfd is in no other process */
        ssize_t n = read_nowait(space->fd, messages, size);
        int flags;

        if (n >= 0 || (errno != EOPNOTSUPP && errno != ENOSYS)) {
            return n;
        }
        flags = fcntl(space->fd, F_GETFL);
        if ((flags & O_NONBLOCK) == 0) {
            fcntl(space->fd, F_SETFL, flags | O_NONBLOCK);
        }
    }
    return read(space->fd, messages, size);
}

size_t pgl_event_read(struct pgl_uffd *uffd, const struct pgl_space *space, struct uffd_msg *messages, size_t max)
{
    for (;;) {
        ssize_t nbytes = read_at_once(space, messages, max);

        if (nbytes >= 0 || errno == EAGAIN || errno == EINTR) {
            return nbytes > 0 ? (size_t)nbytes / sizeof(*messages) : 0;
        }
        if ((errno == EMFILE || errno == ENFILE) && uffd->spare >= 0) {
            close(uffd->spare);
            uffd->spare = -1;
        } else {
            pgl_uffd_unlock(uffd);
            usleep(PGL_UFFD_PAUSE_US);
            pgl_uffd_lock(uffd);
        }
    }
}

void pgl_event_read_last(const struct pgl_uffd *uffd, const struct pgl_space *space)
{
    struct uffd_msg message;

    while (pgl_space_probe(uffd, space) == EAGAIN) {
        if (read_at_once(space, &message, 1) != sizeof(message)) {
            usleep(PGL_UFFD_PAUSE_US / 10);
        } else if (message.event == UFFD_EVENT_FORK) {
            close((int)message.arg.fork.ufd);
        }
    }
}

/* Leave the thread that faulted asleep until unpark(). The pager's lock is held. */
static void park(const struct pgl_uffd *uffd, struct pgl_space *space, const struct uffd_msg *message)
{
    uint64_t addr = message->arg.pagefault.address & ~(uint64_t)(uffd->page_size - 1);

    space->parked_first = addr < space->parked_first ? addr : space->parked_first;
    space->parked_last = addr > space->parked_last ? addr : space->parked_last;
}

/* Wake the parked threads, and all others that wait between their addresses. Each tries its access again. */
static void unpark(struct pgl_uffd *uffd, struct pgl_space *space)
{
    struct uffdio_range range;
    bool parked;

    pthread_mutex_lock(&uffd->lock);
    parked = space->parked_first <= space->parked_last;
    range.start = space->parked_first;
    range.len = space->parked_last - space->parked_first + uffd->page_size;
    space->parked_first = UINT64_MAX;
    space->parked_last = 0;
    pthread_mutex_unlock(&uffd->lock);
    if (parked) {
        ioctl(space->fd, UFFDIO_WAKE, &range);
    }
}

/*
 * Read messages until an event has been applied, or until none is left, and park the threads that fault. A parked
 * thread cannot fault again before it is woken, and therefore cannot keep an event behind its faults. Returns whether
 * an event was applied.
 */
static bool read_events(struct pgl_uffd *uffd, struct pgl_space *space)
{
    struct uffd_msg messages[PGL_UFFD_BATCH];
    bool applied = false;
    size_t n;

    pgl_uffd_lock(uffd);
    do {
        n = pgl_event_read(uffd, space, messages, PGL_UFFD_BATCH);
        for (size_t i = 0; i < n; i++) {
            if (messages[i].event == UFFD_EVENT_PAGEFAULT) {
                park(uffd, space, &messages[i]);
            } else {
                pgl_event_apply(uffd, space, &messages[i]);
                applied = true;
            }
        }
    } while (!applied && n == PGL_UFFD_BATCH);
    pgl_uffd_unlock(uffd);
    return applied;
}

int pgl_delivery_persist(struct pgl_delivery *delivery, int (*attempt)(struct pgl_delivery *delivery, void *arg),
                         void *arg)
{
    struct pgl_uffd *uffd = delivery->pager;
    int error = attempt(delivery, arg);

    if (error != EAGAIN) {
        return error;
    }
    pgl_count(&uffd->stats.again, 1);
    for (unsigned tries = 0; error == EAGAIN; tries++) {
        if (tries >= PGL_UFFD_ENOUGH && pgl_delivery_is_ending(delivery)) {
            break;
        }
        if (!read_events(uffd, delivery->space)) {
            usleep(PGL_UFFD_PAUSE_US / 10); /* the event is not sent yet, or its thread has not left the kernel */
        }
        error = attempt(delivery, arg);
    }
    unpark(uffd, delivery->space);
    return error;
}
