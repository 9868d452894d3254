/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Threads that serve their own faults, in a handler of SIGBUS.
 *
 * SELF-SERVICE With UFFD_FEATURE_SIGBUS the kernel sends SIGBUS to a thread that touches an absent page, and no
 *              message. The thread brings the page in the signal's handler and touches it again. The handler threads
 *              read events only.
 *              J1: the handler takes only locks that its thread does not hold. The thread has touched the page in code
 *              of the program, outside of the library, and meanwhile no other signal is delivered to it. The lock of
 *              the list of pagers is taken with all signals blocked.
 *              J2: the handler does not call malloc(), is not cancelled, and leaves errno alone.
 *              J3: a pager is not freed while a thread is in it. From its end until its memory is released no thread
 *              enters it: it waits in the handler, and finds plain memory then.
 *              J4: a SIGBUS for an address that is no pager's, for another reason than an absent page, or for a page
 *              that is poisoned, goes to the handler that was installed before, as if this one did not exist. It goes
 *              there once, also if a handler above this one has outlived the pagers, and passes on what it does not
 *              know.
 *              J5: in a child of fork(), which has none of the regions, so does every SIGBUS. The lock may be held
 *              there for ever, and is not touched. A byte tells, which the kernel wipes in copies of this process's
 *              memory. A child that shares the memory until it calls exec(), as vfork() makes one, is served like the
 *              thread that made it, and waits for it.
 *              J6: a thread whose page is put off stays in the handler until it has the page, or until the memory is no
 *              pager's any more. Outside of the handler the pager might end between the kernel's signal and the
 *              handler. It takes its other signals between two tries, when it holds nothing.
 *              J7: a stack that is too small for the handler ends the process with a message, and is not overrun.
 *              (test_uffd_self_*, test_uffd_signal_*, test_uffd_stack_*)
 * OBJECTS      The lock of the list protects the list, the counts of threads in each pager, and the handler that was
 *              there before. The lock of a pager's servers protects which of them are idle. A server
 *              is what a handler is but for its thread; there are SERVERS of them, and more threads wait.
 * LOCK ORDER   the list -> layout, map.
 * PROGRESS     A thread that waits for a server waits for one that waits for the file, for a page that another server
 *              reads, or for an event, which it reads itself.
 */
#include <errno.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../cancel_internal.h"
#include "../message_internal.h"
#include "uffd_internal.h"

#define SERVERS 16
#define STACK_SPENT 2048 /* of PGL_UFFD_STACK before serve_address() looks, at most */

struct pgl_self {
    struct pgl_self *next;
    struct pgl_uffd *uffd;
    unsigned users; /* threads that are in the pager */
    bool ending;    /* no thread enters it any more */
    pthread_mutex_t lock;
    pthread_cond_t returned; /* a server */
    unsigned nidle;
    struct pgl_handler *idle[SERVERS];
    struct pgl_handler servers[SERVERS];
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t left; /* a user has left a pager, or a pager the list */
    pthread_once_t once;
    bool *here; /* whether this is the process that has the pagers: false in copies of its memory */
    struct pgl_self *first;
    struct sigaction previous;
    struct sigaction above; /* the handler that was installed over this one before the last pager ended */
} all = {.lock = PTHREAD_MUTEX_INITIALIZER, .left = PTHREAD_COND_INITIALIZER, .once = PTHREAD_ONCE_INIT};

static struct pgl_handler *take_server(struct pgl_self *self)
{
    struct pgl_handler *server;

    pthread_mutex_lock(&self->lock);
    while (self->nidle == 0) {
        pthread_cond_wait(&self->returned, &self->lock);
    }
    server = self->idle[--self->nidle];
    pthread_mutex_unlock(&self->lock);
    return server;
}

static void return_server(struct pgl_self *self, struct pgl_handler *server)
{
    pthread_mutex_lock(&self->lock);
    self->idle[self->nidle++] = server;
    pthread_cond_signal(&self->returned);
    pthread_mutex_unlock(&self->lock);
}

static bool shows(const struct pgl_uffd *uffd, uint64_t addr)
{
    return pgl_map_shows(uffd->self->map, addr / uffd->page_size);
}

/*
 * Find out whether this pager has registered a page, and change nothing. To copy the page onto itself fails because it
 * is absent (EFAULT) or there (EEXIST), or because no userfaultfd has registered it (ENOENT). Registered memory can be
 * registered again by the same userfaultfd, and by no other one (EBUSY). Returns 0 or an errno.
 */
static int ask_registered(const struct pgl_uffd *uffd, uint64_t page)
{
    struct uffdio_copy copy = {page, page, uffd->page_size, UFFDIO_COPY_MODE_DONTWAKE, 0};
    struct uffdio_register claim = {.range = {page, uffd->page_size}, .mode = UFFDIO_REGISTER_MODE_MISSING};
    int error = ioctl(uffd->self->fd, UFFDIO_COPY, &copy) != 0 ? errno : 0;

    if (error != EFAULT && error != EEXIST) {
        return error;
    }
    return ioctl(uffd->self->fd, UFFDIO_REGISTER, &claim) != 0 ? errno : 0;
}

/*
 * Make zeros of memory for which the map has no entry, if it is registered: mremap() has added it, or it is about to be
 * unmapped. The kernel would do that through any userfaultfd, also if another one has registered the memory; therefore
 * it is asked before. Returns 0, or the errno of the kernel.
 */
static int fill_unknown(struct pgl_uffd *uffd, uint64_t addr)
{
    uint64_t page = addr & ~(uint64_t)(uffd->page_size - 1);
    struct uffdio_zeropage zero = {{page, uffd->page_size}, UFFDIO_ZEROPAGE_MODE_DONTWAKE, 0};
    int error = EAGAIN;

    pthread_rwlock_rdlock(&uffd->layout);
    if (!shows(uffd, addr)) {
        error = ask_registered(uffd, page);
        if (error == 0 && ioctl(uffd->self->fd, UFFDIO_ZEROPAGE, &zero) != 0) {
            error = errno;
        }
    }
    pthread_rwlock_unlock(&uffd->layout);
    return error == EEXIST ? 0 : error;
}

static enum pgl_served serve(struct pgl_self *self, uint64_t addr)
{
    struct uffd_msg message = {
        .event = UFFD_EVENT_PAGEFAULT,
        .arg.pagefault = {.address = addr, .feat.ptid = (uint32_t)((uintptr_t)pthread_self() >> 6)},
    };
    struct pgl_handler *server = take_server(self);
    enum pgl_served served;

    server->nput = 0;
    pgl_count(&self->uffd->stats.faults, 1);
    served = pgl_handler_fault(server, self->uffd->self, &message, pgl_now_ns());
    return_server(self, server);
    return served;
}

static struct pgl_self *find(uint64_t addr)
{
    struct pgl_self *self = all.first;

    while (self && !shows(self->uffd, addr)) {
        self = self->next;
    }
    return self;
}

/*
 * Enter the pager that shows a file at this address, and return it, or NULL when there is none. Wait for a pager that
 * ends; *known is true then. Its page is not unknown: through another pager serve_unknown() would make zeros of it
 * while a thread that has entered before still brings it.
 */
static struct pgl_self *enter(uint64_t addr, bool *known)
{
    struct pgl_self *self;

    pthread_mutex_lock(&all.lock);
    while ((self = find(addr)) && self->ending) { /* J3 */
        *known = true;
        pthread_cond_wait(&all.left, &all.lock);
    }
    if (self) {
        self->users++;
    }
    pthread_mutex_unlock(&all.lock);
    return self;
}

static void leave(struct pgl_self *self)
{
    pthread_mutex_lock(&all.lock);
    self->users--;
    pthread_cond_broadcast(&all.left);
    pthread_mutex_unlock(&all.lock);
}

/* As serve(), for an address at which no pager shows a file. Returns whether the memory is a pager's all the same. */
static bool serve_unknown(uint64_t addr)
{
    int error = ENOENT;

    pthread_mutex_lock(&all.lock);
    for (struct pgl_self *self = all.first; self && error != 0 && error != EAGAIN; self = self->next) {
        error = fill_unknown(self->uffd, addr);
    }
    pthread_mutex_unlock(&all.lock);
    if (error == EAGAIN) { /* a thread changes memory, and a handler will read its event: touch the page again then */
        usleep(PGL_UFFD_PAUSE_US / 10);
    }
    return error == 0 || error == EAGAIN;
}

enum service {
    SERVED, /* the thread touches the page again */
    PUT_OFF,
    NOT_OURS, /* or poisoned */
};

/* Whether the stack below an address has room for the handler: an alternate one may be small. */
static bool has_room(const stack_t *alternate, const void *at)
{
    uintptr_t left = (uintptr_t)at - (uintptr_t)alternate->ss_sp;

    return left >= alternate->ss_size || left >= PGL_UFFD_STACK - STACK_SPENT;
}

/*
 * Serve the thread that touched an address, on a stack that may be this alternate one. @known: it has been in a pager
 * because of this touch.
 */
static enum service serve_address(uint64_t addr, bool known, const stack_t *alternate)
{
    PGL_UNCANCELLED;
    struct pgl_self *self;
    enum pgl_served served;

    if (!*all.here) { /* J5 */
        return NOT_OURS;
    }
    self = enter(addr, &known);
    if (!self) {
        return known || serve_unknown(addr) ? SERVED : NOT_OURS;
    }
    if (!has_room(alternate, __builtin_frame_address(0))) { /* J7 */
        pgl_abort("an alternate signal stack is too small for PGL_UFFD_SIGBUS: it needs room for PGL_UFFD_STACK");
    }
    served = serve(self, addr);
    leave(self);
    if (served == PGL_SERVED_PUT_OFF) {
        usleep(PGL_UFFD_PAUSE_US);
    }
    return served == PGL_SERVED_PUT_OFF ? PUT_OFF : served == PGL_SERVED_POISONED ? NOT_OURS : SERVED;
}

/* Let the thread take the signals that wait for it. Their handlers may touch a page themselves, and need not return. */
static void take_signals(const ucontext_t *interrupted)
{
    sigset_t before;

    pthread_sigmask(SIG_SETMASK, &interrupted->uc_sigmask, &before);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static bool has_handler(const struct sigaction *action)
{
    return action->sa_handler != SIG_DFL && action->sa_handler != SIG_IGN;
}

/* Do what would have happened without this handler. */
static void pass_on(int signal, siginfo_t *info, void *context)
{
    const ucontext_t *interrupted = context;
    struct sigaction to = all.previous;
    sigset_t mask = interrupted->uc_sigmask;

    if ((to.sa_flags & SA_RESETHAND) != 0 && to.sa_handler != SIG_IGN) { /* for one signal, of whichever thread */
        to.sa_handler = __atomic_exchange_n(&all.previous.sa_handler, SIG_DFL, __ATOMIC_RELAXED);
    }
    if (has_handler(&to)) {
        sigorset(&mask, &mask, &to.sa_mask);
        if ((to.sa_flags & SA_NODEFER) == 0) {
            sigaddset(&mask, signal);
        }
        pthread_sigmask(SIG_SETMASK, &mask, NULL);
        if ((to.sa_flags & SA_SIGINFO) != 0) {
            to.sa_sigaction(signal, info, context);
        } else {
            to.sa_handler(signal);
        }
    } else if (info->si_code > 0 || to.sa_handler == SIG_DFL) { /* the kernel's cannot be ignored */
        const struct sigaction deadly = {.sa_handler = SIG_DFL};

        sigaction(signal, &deadly, NULL);
        if (info->si_code <= 0) {
            raise(signal);
        }
    }
}

static void on_sigbus(int signal, siginfo_t *info, void *context)
{
    const stack_t *alternate = &((const ucontext_t *)context)->uc_stack;
    enum service service = NOT_OURS;
    int error = errno;

    if (info->si_code == BUS_ADRERR) {
        service = serve_address((uintptr_t)info->si_addr, false, alternate);
    }
    while (service == PUT_OFF) { /* J6 */
        errno = error;
        take_signals(context);
        service = serve_address((uintptr_t)info->si_addr, true, alternate);
    }
    errno = error;
    if (service == NOT_OURS) {
        pass_on(signal, info, context);
    }
}

static bool are_same(const struct sigaction *one, const struct sigaction *other)
{
    return ((one->sa_flags ^ other->sa_flags) & SA_SIGINFO) == 0 && one->sa_sigaction == other->sa_sigaction;
}

/* Whether it is the handler that was above this one when the last pager ended. */
static bool passes_on(const struct sigaction *action)
{
    return has_handler(action) && are_same(action, &all.above) && !are_same(action, &all.previous);
}

/* Install the handler above the one that is there, unless that passes signals on to it. */
static void install(void)
{
    struct sigaction action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    struct sigaction now;

    sigfillset(&action.sa_mask); /* J1 */
    sigaction(SIGBUS, NULL, &now);
    /*
     * J4: a system call that another process's SIGBUS interrupts goes on, or fails, as it would without this handler.
     */
    action.sa_flags |= has_handler(&now) ? now.sa_flags & SA_RESTART : SA_RESTART;
    if (!are_same(&now, &action) && !passes_on(&now)) {
        all.previous = now;
        sigaction(SIGBUS, &action, NULL);
    }
}

/* Restore the handler that was there before. A handler that was installed later stays, and may pass signals on. */
static void uninstall(void)
{
    sigaction(SIGBUS, NULL, &all.above);
    if ((all.above.sa_flags & SA_SIGINFO) != 0 && all.above.sa_sigaction == on_sigbus) {
        sigaction(SIGBUS, &all.previous, NULL);
    }
}

/* In a child of fork(): forget the pagers of the parent. */
static void begin_process(void)
{
    pthread_mutex_init(&all.lock, NULL);
    pthread_cond_init(&all.left, NULL);
    all.first = NULL;
    if (all.here) {
        *all.here = true;
    }
}

static void begin_once(void)
{
    pthread_atfork(NULL, NULL, begin_process);
}

/* Mark this process's memory, once. Returns 0 or an errno. The list is locked. */
static int mark_memory(size_t page_size)
{
    void *page;

    if (all.here) {
        return 0;
    }
    page = mmap(NULL, page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) {
        return ENOMEM;
    }
    if (madvise(page, page_size, MADV_WIPEONFORK) != 0) {
        munmap(page, page_size);
        return ENOMEM;
    }
    all.here = page;
    *all.here = true;
    return 0;
}

/* No thread is in the pager: every server that was made is idle. */
static void fini(struct pgl_self *self)
{
    while (self->nidle > 0) {
        pgl_handler_fini(self->idle[--self->nidle]);
    }
    pthread_cond_destroy(&self->returned);
    pthread_mutex_destroy(&self->lock);
    free(self);
}

/* Lock the list with all signals blocked. */
static void lock_list(sigset_t *before)
{
    sigset_t every;

    sigfillset(&every);
    pthread_sigmask(SIG_SETMASK, &every, before);
    pthread_mutex_lock(&all.lock);
}

static void unlock_list(const sigset_t *before)
{
    pthread_mutex_unlock(&all.lock);
    pthread_sigmask(SIG_SETMASK, before, NULL);
}

bool pgl_self_has_stack(void)
{
    unsigned long frame = getauxval(AT_MINSIGSTKSZ); /* 0: the kernel does not tell */
    stack_t stack;

    return sigaltstack(NULL, &stack) != 0 || (stack.ss_flags & SS_DISABLE) != 0 ||
           stack.ss_size >= (frame > 0 ? frame : MINSIGSTKSZ) + PGL_UFFD_STACK;
}

int pgl_self_start(struct pgl_uffd *uffd)
{
    struct pgl_self *self = calloc(1, sizeof(*self));
    sigset_t before;
    int error;

    if (!self) {
        return ENOMEM;
    }
    self->uffd = uffd;
    pthread_mutex_init(&self->lock, NULL);
    pthread_cond_init(&self->returned, NULL);
    for (; self->nidle < SERVERS; self->nidle++) {
        self->idle[self->nidle] = &self->servers[self->nidle];
        if (!pgl_handler_init(uffd, self->idle[self->nidle])) {
            fini(self);
            return ENOMEM;
        }
    }
    pthread_once(&all.once, begin_once);
    lock_list(&before);
    error = mark_memory(uffd->page_size);
    if (error == 0) {
        if (!all.first) {
            install();
        }
        self->next = all.first;
        all.first = self;
        uffd->self_service = self;
    }
    unlock_list(&before);
    if (error != 0) {
        fini(self);
    }
    return error;
}

void pgl_self_end(struct pgl_self *self)
{
    sigset_t before;

    lock_list(&before);
    self->ending = true;
    while (self->users > 0) { /* J3 */
        pthread_cond_wait(&all.left, &all.lock);
    }
    unlock_list(&before);
}

void pgl_self_free(struct pgl_self *self)
{
    struct pgl_self **link = &all.first;
    sigset_t before;

    lock_list(&before);
    while (*link != self) {
        link = &(*link)->next;
    }
    *link = self->next;
    if (!all.first) {
        uninstall();
    }
    pthread_cond_broadcast(&all.left);
    unlock_list(&before);
    fini(self);
}
