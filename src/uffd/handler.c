/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The handler threads. A handler reads the kernel's messages, applies the events among them, and serves each page fault
 * (serve.c).
 *
 * OUT OF ORDER A thread that forks may hold malloc's locks until its event is read. Therefore neither a handler nor
 *              code under the pager's lock calls malloc() (arena_internal.h; test_uffd_handlers_do_not_malloc).
 * PROGRESS     R6: a handler that has answered reads again before it waits, but so many times in a row only, because
 *              other events may wait. If it finds nothing, it does not try after the next few waits, because a vain
 *              read costs a thread on another processor, or one that does something else, what it saves this one.
 *              (test_uffd_handler_reads_on_but_not_for_ever, test_uffd_handler_does_not_read_in_vain_again_and_again)
 *              A handler waits for another one in two places.
 *              In the driver it waits for a page of a file that the other one is reading, and for no source that
 *              answers later (wait.c). The other one waits for the file, and for threads that change memory to leave
 *              the kernel, which no handler prevents.
 *              At the pager's lock and the layout it waits while pages are installed, while events are read and
 *              applied, and while an allocation for an event is retried. None of these waits for a handler.
 */
#include <errno.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "delivery_internal.h"
#include "late_internal.h"

#define IN_A_ROW 32 /* reads without a wait, after the first one */
#define PATIENCE 8  /* waits without another read, after one that was in vain */

/* Serve one batch of a space, by its number. Returns the number of messages; if it is less than max, none is left. */
static size_t serve(struct pgl_handler *handler, uint64_t number, size_t max)
{
    struct pgl_uffd *uffd = handler->uffd;
    struct uffd_msg messages[PGL_UFFD_BATCH];
    struct pgl_space *space;
    int64_t thread = -1; /* no thread has faulted */
    size_t n = 0;

    pgl_uffd_lock(uffd);
    for (space = uffd->spaces; space && space->number != number; space = space->next) {
    }
    if (space) {
        space->refs++;
        handler->moment = __atomic_fetch_add(&uffd->moment, 1, __ATOMIC_RELAXED); /* R7: before it reads */
        n = pgl_event_read(uffd, space, messages, max);
        handler->epoch = uffd->epoch;
        for (size_t i = 0; i < n; i++) {
            pgl_count(&uffd->stats.faults, messages[i].event == UFFD_EVENT_PAGEFAULT);
            pgl_event_apply(uffd, space, &messages[i]);
        }
    }
    pgl_uffd_unlock(uffd);

    uint64_t start_ns = pgl_now_ns();
    handler->nput = 0;
    for (size_t i = 0; i < n; i++) {
        if (messages[i].event == UFFD_EVENT_PAGEFAULT) {
            pgl_handler_fault(handler, space, &messages[i], start_ns);
            thread = n == 1 && space == uffd->self ? messages[i].arg.pagefault.feat.ptid : 0;
        }
    }

    if (thread >= 0) {
        pgl_follow_fault(&handler->follow, (uint32_t)thread, start_ns,
                         handler->last_thread != 0 ? handler->answered_ns : 0);
    }
    if (space) {
        pgl_space_unref(uffd, space);
    }
    return n;
}

/*
 * Serve a space that has a message, and read on until it has none. A thread that shares the processor of its handler
 * may have run and faulted again while the handler woke it; then a read spares a wait.
 */
static void serve_on(struct pgl_handler *handler, uint64_t number)
{
    size_t max = handler->uffd->share;
    unsigned more = handler->patience == 0 ? IN_A_ROW : 0; /* R6 */
    size_t n = serve(handler, number, max);

    handler->patience -= handler->patience > 0;
    while (n > 0 && more > 0) {
        n = serve(handler, number, max);
        more--;
        handler->patience = n > 0 ? 0 : PATIENCE;
    }
}

/* Answer the faults that wait already, before the handler ends. */
static void serve_the_rest(struct pgl_handler *handler)
{
    struct pgl_uffd *uffd = handler->uffd;
    uint64_t last;

    pthread_mutex_lock(&uffd->lock);
    last = uffd->last_number;
    pthread_mutex_unlock(&uffd->lock);
    for (uint64_t number = PGL_UFFD_NUMBER_LAST + 1; number <= last; number++) {
        while (serve(handler, number, PGL_UFFD_BATCH) == PGL_UFFD_BATCH) {
        }
    }
}

static void *handle(void *arg)
{
    struct pgl_handler *handler = arg;
    char name[16]; /* as much as the kernel keeps */

    snprintf(name, sizeof(name), "pagelock/%u", (unsigned)(handler - handler->uffd->handlers));
    pthread_setname_np(pthread_self(), name);
    if (handler->uffd->config.handover == PGL_UFFD_FOLLOW) {
        pgl_follow_start(&handler->follow, handler->uffd->share > 1);
    }
    for (;;) {
        struct epoll_event event;
        struct pgl_wait *wait;

        if (epoll_wait(handler->uffd->epoll, &event, 1, -1) != 1) {
            continue;
        }
        switch (event.data.u64) {
        case PGL_UFFD_NUMBER_STOP:
            serve_the_rest(handler);
            return NULL;
        case PGL_UFFD_NUMBER_TIMER:
            pgl_bad_page_expire(handler->uffd);
            break;
        case PGL_UFFD_NUMBER_LATE:
            wait = pgl_wait_next(handler->uffd);
            if (wait) {
                pgl_handler_continue(handler, wait);
            }
            break;
        default:
            serve_on(handler, event.data.u64);
        }
    }
}

/* Returns the bytes of the widest cluster, or of a huge page. */
static uint64_t buffer_length(const struct pgl_uffd *uffd)
{
    uint64_t length = uffd->widest * uffd->page_size;

    return length > PGL_UFFD_HUGE_SIZE ? length : PGL_UFFD_HUGE_SIZE;
}

/* Start a thread that takes no signals: a signal handler may touch a page that only this thread can install. */
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

bool pgl_handler_init(struct pgl_uffd *uffd, struct pgl_handler *handler)
{
    uint64_t length = buffer_length(uffd);

    /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): no handler is started after calloc() has failed */
    handler->uffd = uffd;
    handler->fault = pgl_fault_new();
    handler->buffer = length <= PTRDIFF_MAX ? aligned_alloc(uffd->page_size, (size_t)length) : NULL;
    if (!handler->fault || !handler->buffer) {
        pgl_handler_fini(handler);
        return false;
    }
    return true;
}

void pgl_handler_fini(struct pgl_handler *handler)
{
    pgl_fault_free(handler->fault);
    free(handler->buffer);
}

int pgl_handler_start(struct pgl_uffd *uffd, struct pgl_handler *handler)
{
    int error;

    if (!pgl_handler_init(uffd, handler)) {
        return ENOMEM;
    }
    error = start_deaf(&handler->thread, handle, handler);
    if (error != 0) {
        pgl_handler_fini(handler);
    }
    return error;
}
