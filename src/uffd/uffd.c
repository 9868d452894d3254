/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The userfaultfd pager: handler threads that read the kernel's messages, and turn each page fault into a fault of the
 * driver.
 *
 * OBJECTS      A space is an address space that faults: this process, or a forked child. It has a userfaultfd and a map
 *              from page numbers to objects, one object for each pgl_uffd_map() and each fork. The pager's lock
 *              protects the list of spaces, the addresses of parked threads, and the list of bad pages. A space is held
 *              by the list, by each handler that works on it, and by each of its bad pages. The layout is locked for
 *              writing while events are read and applied to a map, in the order in which the kernel sent them, and
 *              where a region is entered or let go; for reading from a look at a map until pages are where it shows
 *              them, or their protection is gone. So what is late does not enter what was mapped there since: a change
 *              that the kernel has told of is in the map, and before that it refuses (EAGAIN).
 * LOCK ORDER   the pager's lock -> layout -> map -> object -> the list of files.
 * READERS      The kernel knows better. (i) A fault on a page that the driver has as resident, found so at the first
 *              look, means that the page was removed (its event raced with a copy): it is forgotten and fetched again.
 *              (ii) The same fault after a wait for another handler's fetch may be an old message: its thread is only
 *              woken, and faults again if the page is not there. (iii) Where the map has nothing, memory was let go or
 *              has grown by mremap(): it gets zeros. (iv) A message is as old as its batch: where this handler has put
 *              the page in place since, its thread is only woken. So threads that want the same page read it once.
 * EVENTS       The kernel refuses to place a page from the beginning of a change of memory until its thread has left the
 *              kernel, which it does when the event has been read; and it hands out every fault before an event.
 *              (i) A handler that was refused keeps what it has read, and reads events until it is not refused any more
 *              (pgl_delivery_persist). (ii) Threads whose faults it reads meanwhile are parked: they sleep until that
 *              handler is done, and what parks also unparks. (iii) A thread that is woken without its page faults again:
 *              it is woken when no event is to be read. So an event waits for one copy, and behind one fault of each
 *              thread, whatever the number of threads, handlers and spaces.
 * BAD PAGES    A page that failed() wants tried again is on a list until a timer expires, and its threads sleep; the
 *              handlers serve others meanwhile. One thread's fault tries it, the others' find it on the list.
 * COUNTS       The kernel wakes nobody who waits for a page; the handler does, when it has counted what it did for that
 *              page. Reading an event wakes its thread: pgl_uffd_get_stats() waits until the event was applied.
 * OUT OF ORDER Nothing is allocated with malloc() by a handler, or under the pager's lock: see arena.h.
 * PROGRESS     Every fault's message ends in a wake-up: by the handler that made the page, or by hand; by the timer where
 *              failed() wants the page tried again; by the handler that parked its thread; when the pager ends, by
 *              letting the region go. Every event is read, whatever is short, and those that come after the handlers'
 *              end, too. A handler waits for another one in two places. In the driver, for a page that the other is
 *              reading: that one waits for the file, and for threads that change memory to leave the kernel, which no
 *              handler keeps them from. At the two locks, of which layout is held while pages are placed and events are
 *              applied, neither of which waits for a handler.
 * NOT PROMISED The right pages in a child that was forked while another thread was in mremap() on a region: the kernel
 *              sends the two events in either order. A page's arrival while threads change memory without a pause: the
 *              kernel refuses it then.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "../cancel_internal.h"
#include "../fault/object_internal.h"
#include "uffd_internal.h"

#define BATCH 64      /* messages read at a time, by the only handler or at the end */
#define ENOUGH 100    /* times that a moment without changes of memory is waited for */
#define PAUSE_US 1000 /* before what did not go is tried again */

/* What epoll knows a descriptor by: a space's number, or one of these. */
enum { NUMBER_STOP = 0, NUMBER_TIMER = 1, NUMBER_LAST = NUMBER_TIMER };

struct space {
    struct space *next;
    uint64_t number;
    unsigned refs;         /* belongs to the pager's lock, as the next two do */
    uint64_t parked_first; /* addresses between which threads are parked; none while parked_first > parked_last */
    uint64_t parked_last;
    int fd;
    struct pgl_map *map;
};

/* A page that failed() wants tried again: whoever faults on it sleeps until the timer expires. */
struct bad_page {
    struct bad_page *next;
    struct space *space; /* a reference */
    uint64_t addr;
};

struct handler {
    struct pgl_uffd *uffd;
    pthread_t thread;
    struct pgl_fault *fault;
    unsigned char *buffer; /* of the widest cluster */
    struct put {
        uint64_t first;
        uint64_t last;
    } put[BATCH]; /* what came of the batch so far, by address */
    unsigned nput;
};

struct pgl_uffd {
    struct pgl_uffd_config config;
    struct pgl_advice_table table;
    size_t page_size;
    int epoll;
    int stop;  /* readable when the handlers are to end */
    int timer; /* readable when the bad pages are due */
    int spare; /* a descriptor to close, so that a fork's event can be read where there is no other; or -1 */
    struct space *self;
    struct arena arena; /* of everything that handlers make, or that is made under the lock */
    struct files files; /* that regions show */
    struct handler *handlers;
    unsigned nhandlers; /* running */
    size_t share;       /* messages that a handler reads at a time: while others are idle, none waits for another */

    pthread_mutex_t lock;
    struct space *spaces;
    uint64_t last_number;
    struct bad_page *bad_pages; /* atomic: looked at without the lock. The timer runs while there are any */
    bool ending;                /* atomic: what the kernel refuses is not tried for ever */
    pthread_rwlock_t layout;    /* of every space's map */

    struct pgl_uffd_stats stats; /* each count is atomic */
};

/* The pager's lock, and the layout's for writing. */
static void lock(struct pgl_uffd *uffd)
{
    pthread_mutex_lock(&uffd->lock);
    pthread_rwlock_wrlock(&uffd->layout);
}

static void unlock(struct pgl_uffd *uffd)
{
    pthread_rwlock_unlock(&uffd->layout);
    pthread_mutex_unlock(&uffd->lock);
}

/* A file of its own, and not only another descriptor of one: files may run out as well. */
static int open_spare(void)
{
    return eventfd(0, EFD_CLOEXEC);
}

/* Spaces */

/* The pager's lock is held, or nobody else knows the pager yet. Takes the descriptor, and closes it on failure. */
static struct space *space_add(struct pgl_uffd *uffd, int fd)
{
    struct space *space = pgl_arena_heap_ops.alloc(&uffd->arena, sizeof(*space));
    struct epoll_event event = {.events = EPOLLIN};

    if (space != NULL) {
        space->map = pgl_map_new(&pgl_arena_heap_ops, &uffd->arena);
        space->fd = fd;
        space->refs = 1;
        space->parked_first = UINT64_MAX;
        space->parked_last = 0;
        space->number = event.data.u64 = uffd->last_number + 1;
    }
    if (space == NULL || space->map == NULL || epoll_ctl(uffd->epoll, EPOLL_CTL_ADD, fd, &event) != 0) {
        if (space != NULL) {
            pgl_map_free(space->map);
            pgl_arena_heap_ops.free(&uffd->arena, space);
        }
        close(fd);
        return NULL;
    }
    uffd->last_number++;
    space->next = uffd->spaces;
    uffd->spaces = space;
    return space;
}

/* The pager's lock is held. */
static void space_unref(struct pgl_uffd *uffd, struct space *space)
{
    if (--space->refs == 0) {
        close(space->fd);
        pgl_map_free(space->map);
        pgl_arena_heap_ops.free(&uffd->arena, space);
    }
}

/*
 * Asks for a page where none can be made, in this very code. Returns why not: EAGAIN while a change of memory is under
 * way whose event is still to be read, ESRCH where the process has ended.
 */
static int probe(const struct pgl_uffd *uffd, const struct space *space)
{
    uint64_t code = (uintptr_t)probe & ~(uint64_t)(uffd->page_size - 1);
    struct uffdio_zeropage zero = {{code, uffd->page_size}, 0, 0};

    return ioctl(space->fd, UFFDIO_ZEROPAGE, &zero) != 0 ? errno : 0;
}

static void unregister(const struct pgl_uffd *uffd, const struct space *space, uint64_t start, uint64_t end)
{
    struct uffdio_range range = {start, end - start};

    if (space == uffd->self) {
        pgl_memory_release(space->fd, &range, &uffd->config);
    } else {
        ioctl(space->fd, UFFDIO_UNREGISTER, &range);
    }
}

/*
 * The kernel makes one mapping of a region and what mremap() has added to it, and none of what belongs to different
 * userfaultfds: a mapping that shows something of ours is ours from its start to its end.
 */
static void unregister_mapping(const struct pgl_uffd *uffd, uint64_t start, uint64_t end)
{
    struct pgl_map_entry entry;

    if (pgl_map_lookup(uffd->self->map, start / uffd->page_size, &entry) && entry.view.first < end / uffd->page_size) {
        unregister(uffd, uffd->self, start, end);
    }
}

/* This process's mappings, as the kernel lists them: lines that begin with "START-END ", in hexadecimal digits. */
static void unregister_mappings(const struct pgl_uffd *uffd)
{
    int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    uint64_t bounds[2] = {0, 0};
    unsigned field = 0;
    char text[1024];
    ssize_t n;

    while (fd >= 0 && (n = read(fd, text, sizeof(text))) > 0) {
        for (ssize_t i = 0; i < n; i++) {
            char c = text[i];

            if (c == '\n') {
                unregister_mapping(uffd, bounds[0], bounds[1]);
                memset(bounds, 0, sizeof(bounds));
                field = 0;
            } else if (c == '-' || c == ' ') {
                field++;
            } else if (field < 2) {
                bounds[field] = bounds[field] * 16 + (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
            }
        }
    }
    if (fd >= 0) {
        close(fd);
    }
}

/* Ends the faults of a space, of which a forked child may hold the userfaultfd too: closing it would not be enough. */
static void space_unregister(const struct pgl_uffd *uffd, const struct space *space)
{
    struct pgl_map_entry entry;

    if (space == uffd->self) {
        unregister_mappings(uffd);
    }
    for (uint64_t first = 0; pgl_map_lookup(space->map, first, &entry); first = entry.view.last + 1) {
        unregister(uffd, space, entry.view.first * uffd->page_size, (entry.view.last + 1) * uffd->page_size);
    }
}

/* Lets go who waits for an event to be read, now that no handler is left. Nothing registered: no other will come. */
static void read_last_events(const struct pgl_uffd *uffd, const struct space *space)
{
    struct uffd_msg message;

    while (probe(uffd, space) == EAGAIN) {
        if (read(space->fd, &message, sizeof(message)) != sizeof(message)) {
            usleep(PAUSE_US / 10);
        } else if (message.event == UFFD_EVENT_FORK) {
            close((int)message.arg.fork.ufd);
        }
    }
}

/* Takes a space from the list. Handlers that work on it keep it a little longer. */
static void space_drop(struct pgl_uffd *uffd, struct space **link)
{
    struct space *space = *link;

    *link = space->next;
    epoll_ctl(uffd->epoll, EPOLL_CTL_DEL, space->fd, NULL);
    space_unref(uffd, space);
}

/* Drops forked children that have ended: nothing announces that, so it is looked for whenever another is forked. */
static void drop_ended_children(struct pgl_uffd *uffd)
{
    struct space **link = &uffd->spaces;

    while (*link != NULL) {
        if (probe(uffd, *link) == ESRCH) {
            space_drop(uffd, link);
        } else {
            link = &(*link)->next;
        }
    }
}

/* Events: the pager's lock is held, and the layout locked for writing. */

static struct pgl_object *object_of(struct pgl_uffd *uffd, struct source *source, enum pgl_advice advice)
{
    const struct pgl_object_config config = {
        .last = source->range.last - source->range.first,
        .pager_ops = &pgl_uffd_pager_ops,
        .pager = source,
        .pager_range = source->range,
        .advice = advice,
        .table = &uffd->table,
        .heap_ops = &pgl_arena_heap_ops,
        .heap = &uffd->arena,
    };

    return pgl_object_new(&config);
}

/* The part of an entry that lies in [first, last]. Returns false when there is no entry left. */
static bool next_part(const struct space *space, uint64_t *first, uint64_t last, struct pgl_map_entry *part)
{
    if (*first > last || !pgl_map_lookup(space->map, *first, part) || part->view.first > last) {
        return false;
    }
    if (part->view.first < *first) {
        part->view.object_first += *first - part->view.first;
        part->view.first = *first;
    }
    if (part->view.last > last) {
        part->view.last = last;
    }
    *first = part->view.last + 1;
    return true;
}

/* The kernel has these pages no more. */
static void forget(struct space *space, uint64_t first, uint64_t last)
{
    struct pgl_map_entry part;

    while (next_part(space, &first, last, &part)) {
        uint64_t object_last = part.view.object_first + (part.view.last - part.view.first);

        pgl_object_remove(part.object, part.view.object_first, object_last);
    }
}

/* An event has happened, memory or not: what follows from it cannot be left undone. */
static void insist_on_removing(struct space *space, uint64_t first, uint64_t last)
{
    while (!pgl_map_remove(space->map, first, last) && errno == ENOMEM) {
        usleep(PAUSE_US);
    }
}

static void insist_on_entering(struct space *space, const struct pgl_view *view, struct pgl_object *object,
                               enum pgl_advice advice)
{
    while (!pgl_map_enter(space->map, view->first, view->last, object, view->object_first, advice) && errno == ENOMEM) {
        usleep(PAUSE_US);
    }
}

/*
 * [first, last] was moved to to_first on. What it showed is shown where it was until the kernel says that the memory
 * has gone, too; with MREMAP_DONTUNMAP it has not, and is filled from the file again.
 */
static void move(struct space *space, uint64_t first, uint64_t last, uint64_t to_first)
{
    uint64_t shift = to_first - first; /* wraps where memory moved down */
    struct pgl_map_entry part;

    insist_on_removing(space, to_first, to_first + (last - first));
    while (next_part(space, &first, last, &part)) {
        struct pgl_view there = {part.view.first + shift, part.view.last + shift, part.view.object_first};

        insist_on_entering(space, &there, part.object, part.advice);
    }
}

/* The child's object for one of the parent's: made with the first entry that shows it. A reference comes with it. */
static struct pgl_object *childs_object(struct pgl_uffd *uffd, const struct space *parent, const struct space *child,
                                        const struct pgl_map_entry *entry)
{
    struct source *source = entry->object->config.pager;
    struct pgl_map_entry earlier, copy;
    struct pgl_object *object;
    uint64_t first = 0;

    while (next_part(parent, &first, entry->view.first - 1, &earlier)) {
        if (earlier.object == entry->object && pgl_map_lookup(child->map, earlier.view.first, &copy)) {
            return pgl_object_ref(copy.object);
        }
    }
    while ((object = object_of(uffd, source, pgl_object_advice(entry->object))) == NULL) {
        usleep(PAUSE_US);
    }
    __atomic_fetch_add(&source->refs, 1, __ATOMIC_RELAXED);
    return object;
}

/*
 * A child was forked, and its faults come to a userfaultfd of its own. It has inherited the pages that were there; its
 * objects begin empty, and learn of them when the kernel says EEXIST.
 */
static void adopt(struct pgl_uffd *uffd, const struct space *parent, int fd)
{
    struct pgl_map_entry entry;
    struct space *child;
    uint64_t first = 0;

    count(&uffd->stats.forks, 1);
    drop_ended_children(uffd);
    if (uffd->spare < 0) {
        uffd->spare = open_spare();
    }
    if (uffd->spare < 0) { /* the next event has to be read, too */
        close(fd);
        uffd->spare = open_spare();
        child = NULL;
    } else {
        child = space_add(uffd, fd);
    }
    count(&uffd->stats.errors, child == NULL);
    while (child != NULL && next_part(parent, &first, UINT64_MAX - 1, &entry)) {
        struct pgl_object *object = childs_object(uffd, parent, child, &entry);

        insist_on_entering(child, &entry.view, object, entry.advice);
        pgl_object_unref(object);
    }
}

static void apply_event(struct pgl_uffd *uffd, struct space *space, const struct uffd_msg *message)
{
    uint64_t size = uffd->page_size;
    uint64_t first = message->arg.remove.start / size;
    uint64_t last = message->arg.remove.end / size - 1;
    uint64_t from = message->arg.remap.from / size;

    switch (message->event) {
    case UFFD_EVENT_FORK:
        adopt(uffd, space, (int)message->arg.fork.ufd);
        break;
    case UFFD_EVENT_REMAP:
        count(&uffd->stats.remaps, 1);
        move(space, from, from + message->arg.remap.len / size - 1, message->arg.remap.to / size);
        break;
    case UFFD_EVENT_REMOVE:
        count(&uffd->stats.removes, 1);
        forget(space, first, last);
        break;
    case UFFD_EVENT_UNMAP:
        count(&uffd->stats.unmaps, 1);
        insist_on_removing(space, first, last);
        break;
    }
}

/*
 * Reads a batch. A fork's event that the kernel has no descriptor or memory for stays there, but nothing tells of it
 * again: it is insisted on. Both locks are held, and let go for a while where it does not help to close the spare.
 */
static size_t read_messages(struct pgl_uffd *uffd, const struct space *space, struct uffd_msg *messages, size_t max)
{
    for (;;) {
        ssize_t nbytes = read(space->fd, messages, max * sizeof(*messages));

        if (nbytes >= 0 || errno == EAGAIN || errno == EINTR) {
            return nbytes > 0 ? (size_t)nbytes / sizeof(*messages) : 0;
        }
        if ((errno == EMFILE || errno == ENFILE) && uffd->spare >= 0) {
            close(uffd->spare);
            uffd->spare = -1;
        } else {
            unlock(uffd);
            usleep(PAUSE_US);
            lock(uffd);
        }
    }
}

/* The pager's lock is held. The thread that faulted sleeps until unpark(). */
static void park(const struct pgl_uffd *uffd, struct space *space, const struct uffd_msg *message)
{
    uint64_t addr = message->arg.pagefault.address & ~(uint64_t)(uffd->page_size - 1);

    space->parked_first = addr < space->parked_first ? addr : space->parked_first;
    space->parked_last = addr > space->parked_last ? addr : space->parked_last;
}

/* Wakes what is parked, and whatever else waits between: each looks again. */
static void unpark(struct pgl_uffd *uffd, struct space *space)
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
 * The kernel hands out faults before events. Reads until an event was applied, or nothing is left to read, and parks what
 * faults: a thread faults again only when it is woken, so it cannot keep the event from being read. Returns whether an
 * event was applied.
 */
static bool read_events(struct pgl_uffd *uffd, struct space *space)
{
    struct uffd_msg messages[BATCH];
    bool applied = false;
    size_t n;

    lock(uffd);
    do {
        n = read_messages(uffd, space, messages, BATCH);
        for (size_t i = 0; i < n; i++) {
            if (messages[i].event == UFFD_EVENT_PAGEFAULT) {
                park(uffd, space, &messages[i]);
            } else {
                apply_event(uffd, space, &messages[i]);
                applied = true;
            }
        }
    } while (!applied && n == BATCH);
    unlock(uffd);
    return applied;
}

int pgl_delivery_persist(struct delivery *delivery, int (*attempt)(struct delivery *delivery, void *arg), void *arg)
{
    struct pgl_uffd *uffd = delivery->pager;
    int error = attempt(delivery, arg);

    if (error != EAGAIN) {
        return error;
    }
    count(&uffd->stats.again, 1);
    for (unsigned tries = 0; error == EAGAIN; tries++) {
        if (tries >= ENOUGH && __atomic_load_n(&uffd->ending, __ATOMIC_RELAXED)) {
            break;
        }
        if (!read_events(uffd, delivery->space)) {
            usleep(PAUSE_US / 10); /* it is still to come, or its thread is still to leave the kernel */
        }
        error = attempt(delivery, arg);
    }
    unpark(uffd, delivery->space);
    return error;
}

/* Bad pages: failed() wants them tried again. */

/* Whether the page has been tried and is not due yet. */
static bool is_bad(struct pgl_uffd *uffd, const struct space *space, uint64_t addr)
{
    const struct bad_page *page;

    if (__atomic_load_n(&uffd->bad_pages, __ATOMIC_RELAXED) == NULL) {
        return false;
    }
    pthread_mutex_lock(&uffd->lock);
    for (page = uffd->bad_pages; page != NULL && (page->space != space || page->addr != addr); page = page->next) {
    }
    pthread_mutex_unlock(&uffd->lock);
    return page != NULL;
}

/* Leaves the threads that wait for a page asleep until the timer expires. Returns false where there is no memory. */
static bool put_off(struct pgl_uffd *uffd, struct space *space, uint64_t addr)
{
    const struct itimerspec pause = {.it_value = {0, PAUSE_US * 1000L}};
    struct bad_page *page = pgl_arena_heap_ops.alloc(&uffd->arena, sizeof(*page));

    if (page == NULL) {
        return false;
    }
    pthread_mutex_lock(&uffd->lock);
    *page = (struct bad_page){uffd->bad_pages, space, addr};
    space->refs++;
    if (uffd->bad_pages == NULL) {
        timerfd_settime(uffd->timer, 0, &pause, NULL);
    }
    __atomic_store_n(&uffd->bad_pages, page, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&uffd->lock);
    return true;
}

/* The pager's lock is held, or no handler is left. */
static void wake_bad_pages(struct pgl_uffd *uffd)
{
    struct bad_page *page;

    while ((page = uffd->bad_pages) != NULL) {
        struct uffdio_range range = {page->addr, uffd->page_size};

        __atomic_store_n(&uffd->bad_pages, page->next, __ATOMIC_RELAXED);
        ioctl(page->space->fd, UFFDIO_WAKE, &range);
        space_unref(uffd, page->space);
        pgl_arena_heap_ops.free(&uffd->arena, page);
    }
}

static void serve_timer(struct pgl_uffd *uffd)
{
    uint64_t expirations;

    pthread_mutex_lock(&uffd->lock);
    if (read(uffd->timer, &expirations, sizeof(expirations)) == sizeof(expirations)) { /* no other handler has */
        wake_bad_pages(uffd);
    }
    pthread_mutex_unlock(&uffd->lock);
}

/* Faults: no lock is held. */

/* For a thread that will fault again, although the kernel has refused nothing: not before events that are to be read. */
static int ask_for_events(struct delivery *delivery, void *arg)
{
    (void)arg;
    return probe(delivery->pager, delivery->space) == EAGAIN ? EAGAIN : 0;
}

/* A page cannot be had, alone either: it becomes zeros, or is put off. */
static void give_up(struct pgl_uffd *uffd, struct delivery *delivery)
{
    const struct pgl_uffd_config *config = &uffd->config;
    const void *addr = (const void *)(uintptr_t)delivery->addr;

    if (config->failed != NULL && config->failed(config->arg, addr, delivery->error) == PGL_UFFD_AGAIN) {
        delivery->put_off = put_off(uffd, delivery->space, delivery->addr) ||
                            __atomic_load_n(&uffd->ending, __ATOMIC_RELAXED); /* then it waits for the region's end */
    } else {
        count(&uffd->stats.errors, pgl_delivery_zero(delivery));
    }
}

/*
 * Whatever is not in place when this returns is the next fault's: the thread is woken, or put off. Of a write to a page
 * that is protected nothing is needed but that the driver knows.
 */
static void deliver_fault(struct handler *handler, struct delivery *delivery, struct pgl_fault_args *args)
{
    struct pgl_uffd *uffd = handler->uffd;
    struct pgl_fault_page page;
    bool failed = false;

    for (;;) {
        delivery->error = EIO;
        switch (pgl_fault_run(handler->fault, args, &page)) {
        case PGL_FAULT_SUCCESS:
            if (!page.hit || delivery->protected || (args->flags & PGL_FAULT_FLAG_RETRIED) != 0) {
                return;
            }
            pthread_rwlock_rdlock(&uffd->layout);
            forget(delivery->space, args->index, args->index); /* reader (i): the kernel does not have it */
            pthread_rwlock_unlock(&uffd->layout);
            break;
        case PGL_FAULT_MEMORY_ERROR:
        case PGL_FAULT_NO_DATA:
            if (delivery->protected) {
                return;
            }
            if (failed) {
                give_up(uffd, delivery);
                return;
            }
            failed = true; /* perhaps only for a neighbour: alone, before it is given up */
            break;
        case PGL_FAULT_NO_ENTRY: /* memory that was added by mremap(), or let go just now, is plain */
            pgl_delivery_zero(delivery);
            return;
        case PGL_FAULT_RETRY:
        case PGL_FAULT_INTERRUPTED:
        case PGL_FAULT_MEMORY_SHORTAGE:
        case PGL_FAULT_PENDING:
        case PGL_FAULT_INVALID:
            return;
        }
        args->flags |= PGL_FAULT_FLAG_RETRIED;
    }
}

/* Whether the page was put in place since the batch was read: reader (iv). */
static bool was_put(const struct handler *handler, uint64_t addr)
{
    bool put = false;

    for (unsigned i = 0; i < handler->nput && !put; i++) {
        put = addr >= handler->put[i].first && addr <= handler->put[i].last;
    }
    return put;
}

static void handle_fault(struct handler *handler, struct space *space, const struct uffd_msg *message,
                         uint64_t start_ns)
{
    struct pgl_uffd *uffd = handler->uffd;
    uint64_t flags = message->arg.pagefault.flags;
    bool protected = (flags & UFFD_PAGEFAULT_FLAG_WP) != 0;
    bool writes = protected || (flags & UFFD_PAGEFAULT_FLAG_WRITE) != 0;
    struct delivery delivery = {
        .pager = uffd,
        .space = space,
        .stats = &uffd->stats,
        .layout = &uffd->layout,
        .map = space->map,
        .uffd = space->fd,
        .start_ns = start_ns,
        .addr = message->arg.pagefault.address & ~(uint64_t)(uffd->page_size - 1),
        .put_first = UINT64_MAX,
        .protected = protected,
        .writes = writes,
        .write_protect = uffd->config.write_protect,
        .page_size = uffd->page_size,
        .buffer = handler->buffer,
    };
    struct pgl_fault_args args = {
        .map = space->map,
        .index = delivery.addr / uffd->page_size,
        .access = writes ? PGL_ACCESS_WRITE : PGL_ACCESS_READ,
        .cookie = &delivery,
    };

    if (!protected && is_bad(uffd, space, delivery.addr)) {
        return;
    }
    if (protected || !was_put(handler, delivery.addr)) {
        delivery.placed = pgl_map_copy_place(space->map, args.index, &delivery.place);
        deliver_fault(handler, &delivery, &args);
        handler->put[handler->nput++] = (struct put){delivery.put_first, delivery.put_last};
    }
    if (protected && !delivery.answered) {
        pgl_delivery_unprotect(&delivery);
    }
    if (!delivery.answered) {
        pgl_delivery_persist(&delivery, ask_for_events, NULL);
    }
    if (!delivery.answered && !delivery.put_off) {
        pgl_delivery_wake(&delivery);
    }
    if (delivery.placed) {
        pgl_object_unref(delivery.place.object);
    }
}

/* Reads one batch from a space, by its number. Returns how many messages that were: less than max were all. */
static size_t serve(struct handler *handler, uint64_t number, size_t max)
{
    struct pgl_uffd *uffd = handler->uffd;
    struct uffd_msg messages[BATCH];
    struct space *space;
    size_t n = 0;

    lock(uffd);
    for (space = uffd->spaces; space != NULL && space->number != number; space = space->next) {
    }
    if (space != NULL) {
        space->refs++;
        n = read_messages(uffd, space, messages, max);
        for (size_t i = 0; i < n; i++) {
            count(&uffd->stats.faults, messages[i].event == UFFD_EVENT_PAGEFAULT);
            apply_event(uffd, space, &messages[i]);
        }
    }
    unlock(uffd);

    uint64_t start_ns = pgl_now_ns();
    handler->nput = 0;
    for (size_t i = 0; i < n; i++) {
        if (messages[i].event == UFFD_EVENT_PAGEFAULT) {
            handle_fault(handler, space, &messages[i], start_ns);
        }
    }

    if (space != NULL) {
        pthread_mutex_lock(&uffd->lock);
        space_unref(uffd, space);
        pthread_mutex_unlock(&uffd->lock);
    }
    return n;
}

/* Before the end, answers what waits already. */
static void serve_the_rest(struct handler *handler)
{
    struct pgl_uffd *uffd = handler->uffd;
    uint64_t last;

    pthread_mutex_lock(&uffd->lock);
    last = uffd->last_number;
    pthread_mutex_unlock(&uffd->lock);
    for (uint64_t number = NUMBER_LAST + 1; number <= last; number++) {
        while (serve(handler, number, BATCH) == BATCH) {
        }
    }
}

static void *handle(void *arg)
{
    struct handler *handler = arg;

    for (;;) {
        struct epoll_event event;

        if (epoll_wait(handler->uffd->epoll, &event, 1, -1) != 1) {
            continue;
        }
        switch (event.data.u64) {
        case NUMBER_STOP:
            serve_the_rest(handler);
            return NULL;
        case NUMBER_TIMER:
            serve_timer(handler->uffd);
            break;
        default:
            serve(handler, event.data.u64, handler->uffd->share);
        }
    }
}

/* Making and freeing */

/* Bytes of the widest cluster. */
static uint64_t widest_cluster(const struct pgl_uffd *uffd)
{
    uint64_t widest = 1;

    for (int i = 0; i < PGL_ADVICE_COUNT; i++) {
        uint64_t npages = (uint64_t)uffd->table.row[i].before + uffd->table.row[i].after + 1;

        widest = npages > widest ? npages : widest;
    }
    return widest * uffd->page_size;
}

/* A thread that takes no signals: what the program does about one may touch a page that only this thread can bring. */
static int start_deaf(pthread_t *thread, void *(*start)(void *), void *arg)
{
    sigset_t all, before;
    int error;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(thread, NULL, start, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

/* Returns 0 or an errno. */
static int start_handler(struct pgl_uffd *uffd, struct handler *handler)
{
    uint64_t length = widest_cluster(uffd);
    int error = ENOMEM;

    /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): without handlers there was an errno */
    handler->uffd = uffd;
    handler->fault = pgl_fault_new();
    handler->buffer = length <= PTRDIFF_MAX ? aligned_alloc(uffd->page_size, (size_t)length) : NULL;
    if (handler->fault != NULL && handler->buffer != NULL) {
        error = start_deaf(&handler->thread, handle, handler);
    }
    if (error != 0) {
        pgl_fault_free(handler->fault);
        free(handler->buffer);
    }
    return error;
}

struct pgl_uffd *pgl_uffd_new(const struct pgl_uffd_config *config)
{
    PGL_UNCANCELLED;
    unsigned nhandlers = config->threads > 0 ? config->threads : 1;
    struct epoll_event stop = {.events = EPOLLIN, .data.u64 = NUMBER_STOP};
    struct epoll_event timer = {.events = EPOLLIN, .data.u64 = NUMBER_TIMER};
    struct pgl_uffd *uffd = calloc(1, sizeof(*uffd));
    int error = 0;
    int fd;

    if (uffd == NULL || pthread_mutex_init(&uffd->lock, NULL) != 0 || pthread_rwlock_init(&uffd->layout, NULL) != 0 ||
        !pgl_arena_init(&uffd->arena) || !pgl_files_init(&uffd->files, &uffd->arena)) {
        free(uffd);
        errno = ENOMEM;
        return NULL;
    }
    uffd->config = *config;
    uffd->table = config->table != NULL ? *config->table : *pgl_advice_shipped();
    uffd->page_size = (size_t)sysconf(_SC_PAGESIZE);
    uffd->epoll = epoll_create1(EPOLL_CLOEXEC);
    uffd->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    uffd->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    uffd->spare = open_spare();
    uffd->last_number = NUMBER_LAST;
    uffd->share = nhandlers > 1 ? 1 : BATCH;
    uffd->handlers = calloc(nhandlers, sizeof(*uffd->handlers));
    if (uffd->epoll < 0 || uffd->stop < 0 || uffd->timer < 0 || uffd->spare < 0 || uffd->handlers == NULL ||
        epoll_ctl(uffd->epoll, EPOLL_CTL_ADD, uffd->stop, &stop) != 0 ||
        epoll_ctl(uffd->epoll, EPOLL_CTL_ADD, uffd->timer, &timer) != 0 || (fd = pgl_uffd_open(config)) < 0 ||
        (uffd->self = space_add(uffd, fd)) == NULL) {
        error = errno;
    }
    while (error == 0 && uffd->nhandlers < nhandlers) {
        error = start_handler(uffd, &uffd->handlers[uffd->nhandlers]);
        uffd->nhandlers += error == 0;
    }
    if (error != 0) {
        pgl_uffd_free(uffd);
        errno = error;
        return NULL;
    }
    return uffd;
}

void pgl_uffd_free(struct pgl_uffd *uffd)
{
    PGL_UNCANCELLED;

    if (uffd == NULL) {
        return;
    }
    __atomic_store_n(&uffd->ending, true, __ATOMIC_RELAXED);
    eventfd_write(uffd->stop, 1);
    for (unsigned i = 0; i < uffd->nhandlers; i++) {
        pthread_join(uffd->handlers[i].thread, NULL);
    }
    if (uffd->spare >= 0) {
        close(uffd->spare);
    }
    wake_bad_pages(uffd);
    while (uffd->spaces != NULL) {
        space_unregister(uffd, uffd->spaces);
        read_last_events(uffd, uffd->spaces);
        space_drop(uffd, &uffd->spaces);
    }
    for (unsigned i = 0; i < uffd->nhandlers; i++) { /* not before: a thread that forks may hold malloc's locks */
        pgl_fault_free(uffd->handlers[i].fault);
        free(uffd->handlers[i].buffer);
    }
    if (uffd->epoll >= 0) {
        close(uffd->epoll);
    }
    if (uffd->stop >= 0) {
        close(uffd->stop);
    }
    if (uffd->timer >= 0) {
        close(uffd->timer);
    }
    pgl_files_fini(&uffd->files);
    pgl_arena_fini(&uffd->arena);
    pthread_rwlock_destroy(&uffd->layout);
    pthread_mutex_destroy(&uffd->lock);
    free(uffd->handlers);
    free(uffd);
}

/* Regions */

/* Page numbers of a range of memory. Returns false, with EINVAL, when it is not page-aligned, or empty. */
static bool to_pages(const struct pgl_uffd *uffd, const void *addr, size_t length, uint64_t *first, uint64_t *last)
{
    uintptr_t start = (uintptr_t)addr;

    if (start % uffd->page_size != 0 || length % uffd->page_size != 0 || length == 0 || start + length < start) {
        errno = EINVAL;
        return false;
    }
    *first = start / uffd->page_size;
    *last = *first + length / uffd->page_size - 1;
    return true;
}

/* The pager's lock is held, and the layout locked for writing. Shows the object, and asks the kernel for faults. */
static bool register_range(struct pgl_uffd *uffd, uint64_t first, uint64_t last, struct pgl_object *object)
{
    const struct uffdio_range range = {first * uffd->page_size, (last - first + 1) * uffd->page_size};
    int error;

    if (!pgl_map_enter(uffd->self->map, first, last, object, 0, PGL_ADVICE_DEFAULT)) {
        return false;
    }
    error = pgl_memory_claim(uffd->self->fd, &range, &uffd->config, uffd->page_size);
    if (error != 0) {
        pgl_map_remove(uffd->self->map, first, last);
        errno = error;
    }
    return error == 0;
}

/*
 * Enters a region. Its address may have been let go or moved away from a moment ago, and the event that takes the old
 * memory from the map would take the new one. At any moment since when nothing is under way, it has been applied. Other
 * threads may leave no such moment: after a while the region is entered all the same, unless the map still shows
 * something there; only what mremap() had added is not in it.
 */
static bool enter_region(struct pgl_uffd *uffd, uint64_t first, uint64_t last, struct pgl_object *object)
{
    for (unsigned tries = 0;; tries++) {
        bool settled = probe(uffd, uffd->self) != EAGAIN;

        if (settled || tries >= ENOUGH) {
            bool entered;
            int error;

            lock(uffd);
            entered = register_range(uffd, first, last, object);
            error = errno;
            unlock(uffd);
            errno = error;
            if (entered || settled || error != EEXIST) {
                return entered;
            }
        }
        usleep(PAUSE_US / 10);
    }
}

bool pgl_uffd_map(struct pgl_uffd *uffd, void *addr, size_t length, int fd, off_t offset, enum pgl_advice advice)
{
    PGL_UNCANCELLED;
    const struct uffdio_range range = {(uintptr_t)addr, length};
    struct pgl_object *object;
    struct source *source;
    uint64_t first, last;
    bool mapped;
    int error;

    if (!pgl_advice_valid((int)advice) || offset < 0 || offset % (off_t)uffd->page_size != 0) {
        errno = EINVAL;
        return false;
    }
    if (!to_pages(uffd, addr, length, &first, &last)) {
        return false;
    }
    error = pgl_memory_check(&range);
    if (error != 0) {
        errno = error;
        return false;
    }
    source = pgl_source_new(&uffd->files, fd, (uint64_t)offset, length, uffd->page_size);
    if (source == NULL) {
        return false;
    }
    object = object_of(uffd, source, advice);
    if (object == NULL) {
        pgl_source_unref(source);
        errno = ENOMEM;
        return false;
    }
    mapped = enter_region(uffd, first, last, object);
    error = errno;
    pgl_object_unref(object); /* the map has its own reference */
    errno = error;
    return mapped;
}

static bool is_mapped(const struct space *space, uint64_t first, uint64_t last)
{
    struct pgl_map_entry part;
    uint64_t next = first;

    while (next <= last && next_part(space, &next, last, &part) && part.view.first == first) {
        first = next;
    }
    return first > last;
}

bool pgl_uffd_unmap(struct pgl_uffd *uffd, void *addr, size_t length)
{
    PGL_UNCANCELLED;
    const struct uffdio_range range = {(uintptr_t)addr, length};
    uint64_t first, last;
    int error = ENOENT;

    if (!to_pages(uffd, addr, length, &first, &last)) {
        return false;
    }
    lock(uffd);
    if (is_mapped(uffd->self, first, last)) {
        error = pgl_memory_release(uffd->self->fd, &range, &uffd->config);
    }
    if (error == 0 && !pgl_map_remove(uffd->self->map, first, last)) {
        error = errno;
    }
    unlock(uffd);
    if (error != 0) {
        errno = error;
    }
    return error == 0;
}

bool pgl_uffd_advise(struct pgl_uffd *uffd, void *addr, size_t length, enum pgl_advice advice)
{
    uint64_t first, last;

    return to_pages(uffd, addr, length, &first, &last) && pgl_map_advise(uffd->self->map, first, last, advice);
}

void pgl_uffd_get_stats(struct pgl_uffd *uffd, struct pgl_uffd_stats *stats)
{
    const uint64_t *from = (const uint64_t *)&uffd->stats;
    uint64_t *to = (uint64_t *)stats;

    pthread_mutex_lock(&uffd->lock); /* reading an event wakes its thread: it is applied before the lock is free */
    for (size_t i = 0; i < sizeof(*stats) / sizeof(uint64_t); i++) {
        to[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
    }
    pthread_mutex_unlock(&uffd->lock);
}
