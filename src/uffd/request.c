/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Requests to a source that is a callback, and its answers.
 *
 * OBJECTS      A request belongs to the source until pgl_uffd_request_end(), and to the fault that waits for it until
 *              that fault ends or asks again. It holds a reference on its space and on its object. The late part's lock
 *              protects the list of requests, their number, and the threads that answer. The error of a request and
 *              whether its page was answered are atomic. The other fields do not change while the pager lives.
 * LOCK ORDER   The lock is a leaf.
 * INVARIANTS   N5: an answer looks at the pager only between enter() and leave(), and the pager is not freed meanwhile.
 *              N6: what a request holds is released at its end, or at the end of the pager if that is first. The memory
 *              of the pager itself, in which its requests are, is freed with the last of both.
 *              N7: bytes are good for whichever request wants them. Therefore an answer names no request to the driver,
 *              and a request may find that all its pages were brought by the answers to others.
 *              N8: the answer of a request's page is counted once: after the page has been installed, and before
 *              the driver knows and the thread is woken. A fault that finds its request unanswered wakes its thread.
 *              The answer of a prefetch is not counted, because no thread waits for it.
 *              (test_uffd_late_*)
 * PROGRESS     Each page of a request is answered at the request's end at the latest, or rolled back at the pager's.
 */
#include <errno.h>

#include "../cancel_internal.h"
#include "../fault/object_internal.h"
#include "delivery_internal.h"
#include "late_internal.h"

struct pgl_uffd_request {
    struct pgl_uffd_request *next; /* the list, under the lock */
    struct pgl_uffd_request **link;
    struct pgl_uffd *pager;
    struct pgl_space *space;   /* referenced; NULL: the pager has ended */
    struct pgl_request wanted; /* its object is referenced */
    uint64_t addr;             /* of its demand page */
    uint64_t start_ns;         /* when the fault's message was read */
    unsigned refs;             /* atomic, as the last two are */
    bool ended;                /* under the lock: the source has, when the pager was closed already */
    int error;
    bool answered;
};

/* Whether answers may still change anything. If so, leave() follows. */
static bool enter(struct pgl_uffd *uffd)
{
    struct pgl_late *late = &uffd->late;
    bool open = false;

    if (pgl_uffd_is_ours(uffd)) { /* S4 */
        pthread_mutex_lock(&late->lock);
        open = !late->closed;
        late->users += open;
        pthread_mutex_unlock(&late->lock);
    }
    if (!open) {
        errno = ECANCELED;
    }
    return open;
}

static void leave(struct pgl_uffd *uffd)
{
    struct pgl_late *late = &uffd->late;

    pthread_mutex_lock(&late->lock);
    late->users--;
    pthread_cond_broadcast(&late->left);
    pthread_mutex_unlock(&late->lock);
}

void pgl_request_close(struct pgl_uffd *uffd)
{
    struct pgl_late *late = &uffd->late;

    pthread_mutex_lock(&late->lock);
    late->closed = true;
    while (late->users > 0) { /* N5 */
        pthread_cond_wait(&late->left, &late->lock);
    }
    pthread_mutex_unlock(&late->lock);
}

void pgl_request_unref(struct pgl_uffd_request *request)
{
    /* acquire and release: pairs with itself in the other holder, which has used the request before it is freed */
    if (__atomic_sub_fetch(&request->refs, 1, __ATOMIC_ACQ_REL) == 0) {
        pgl_arena_free(&request->pager->arena, request);
    }
}

static int error_of(const struct pgl_uffd_request *request)
{
    return __atomic_load_n(&request->error, __ATOMIC_RELAXED);
}

int pgl_delivery_error(const struct pgl_delivery *delivery)
{
    int error = delivery->asked ? error_of(delivery->asked) : delivery->error;

    return error != 0 ? error : EIO;
}

bool pgl_request_was_answered(const struct pgl_uffd_request *request)
{
    return __atomic_load_n(&request->answered, __ATOMIC_RELAXED);
}

/* Release what a request holds of the pager. No lock is held. */
static void release(struct pgl_uffd_request *request)
{
    struct pgl_uffd *uffd = request->pager;

    if (request->space) {
        pgl_object_unref(request->wanted.object);
        pgl_space_unref(uffd, request->space);
        request->space = NULL;
    }
}

/* The lock is held. */
static void unlink_request(struct pgl_uffd_request *request)
{
    *request->link = request->next;
    if (request->next) {
        request->next->link = request->link;
    }
    request->pager->late.nrequests--;
}

bool pgl_request_release_all(struct pgl_uffd *uffd)
{
    struct pgl_late *late = &uffd->late;
    struct pgl_uffd_request *next;
    bool none;

    for (struct pgl_uffd_request *request = late->requests; request; request = request->next) {
        release(request); /* the list does not change between pgl_request_close() and `freed` */
    }
    pthread_mutex_lock(&late->lock);
    for (struct pgl_uffd_request *request = late->requests; request; request = next) {
        next = request->next;
        if (request->ended) {
            unlink_request(request);
            pgl_request_unref(request);
        }
    }
    late->freed = true;
    none = late->nrequests == 0;
    pthread_mutex_unlock(&late->lock);
    return none;
}

/* Hand a request to its source. Returns 0 or an errno. */
static int send_to_source(struct pgl_delivery *delivery, const struct pgl_request *wanted)
{
    const struct pgl_shown *shown = wanted->object->config.pager;
    struct pgl_uffd *uffd = delivery->pager;
    struct pgl_uffd_request *request = pgl_arena_alloc(&uffd->arena, sizeof(*request));
    const struct pgl_uffd_wanted in_bytes = {
        .offset = wanted->range.first * uffd->page_size,
        .length = (wanted->range.last - wanted->range.first + 1) * uffd->page_size,
        .demand = wanted->pager_demand * uffd->page_size,
    };

    if (!request) {
        return ENOMEM;
    }
    *request = (struct pgl_uffd_request){
        .pager = uffd,
        .space = delivery->space,
        .wanted = *wanted,
        .addr = delivery->addr,
        .start_ns = delivery->start_ns,
        .refs = 2,
        .answered = delivery->answered, /* as of a prefetch, for which no thread waits */
    };
    pgl_object_ref(wanted->object);
    pgl_space_ref(uffd, delivery->space);
    pthread_mutex_lock(&uffd->late.lock);
    request->next = uffd->late.requests;
    request->link = &uffd->late.requests;
    if (request->next) {
        request->next->link = &request->next;
    }
    uffd->late.requests = request;
    uffd->late.nrequests++;
    pthread_mutex_unlock(&uffd->late.lock);
    if (delivery->asked) {
        __atomic_store_n(&delivery->asked->answered, true, __ATOMIC_RELAXED); /* N8: the new one's counts */
        pgl_request_unref(delivery->asked);
    }
    delivery->asked = request;
    delivery->claim = &request->answered;
    pgl_count(&uffd->stats.requests, 1);
    shown->source->from.request(shown->source->from.arg, request, &in_bytes);
    return 0;
}

/* Pages that show zeros need no source. A fault on one of them leaves its neighbours to others. */
static int late_data_request(void *pager, const struct pgl_request *wanted)
{
    const struct pgl_shown *shown = pager;
    struct pgl_delivery *delivery = wanted->cookie;
    struct pgl_pager_range run;

    if (pgl_delivery_is_ending(delivery)) {
        return EINTR;
    }
    if (!pgl_delivery_is_same(delivery)) { /* its thread gets no page of this source any more */
        return EAGAIN;
    }
    if (delivery->present) { /* needs no source */
        return pgl_uffd_pager_ops.data_request(pager, wanted);
    }
    if (pgl_shown_was_given_back(shown, wanted->pager_demand, 1)) {
        int error = pgl_delivery_bring(delivery, wanted, wanted->pager_demand, &run);

        return error != 0 ? error : EAGAIN; /* the driver removes the marks that are left */
    }
    return send_to_source(delivery, wanted);
}

static int late_access_request(void *pager, const struct pgl_request *wanted)
{
    return pgl_uffd_pager_ops.access_request(pager, wanted);
}

static void late_release(void *pager)
{
    pgl_uffd_pager_ops.release(pager);
}

const struct pgl_pager_ops pgl_late_pager_ops = {
    .data_request = late_data_request,
    .access_request = late_access_request,
    .release = late_release,
};

/* The whole pages of the request's object that are within bytes of its source, and within its surplus. */
static bool to_pages(const struct pgl_uffd_request *request, uint64_t offset, uint64_t length,
                     struct pgl_pager_range *pages)
{
    const struct pgl_shown *shown = request->wanted.object->config.pager;
    const struct pgl_pager_range *own = &shown->range;
    const struct pgl_pager_range *wanted = &request->wanted.range;
    uint64_t size = request->pager->page_size;
    uint64_t surplus = shown->source->from.surplus / size;
    uint64_t lowest = wanted->first - own->first > surplus ? wanted->first - surplus : own->first;
    uint64_t highest = own->last - wanted->last > surplus ? wanted->last + surplus : own->last;
    uint64_t end = length < UINT64_MAX - offset ? (offset + length) / size : UINT64_MAX / size;

    pages->first = offset / size + (offset % size != 0);
    pages->first = pages->first > lowest ? pages->first : lowest;
    pages->last = end - 1 < highest ? end - 1 : highest;
    return end > 0 && pages->first <= pages->last;
}

/* The bytes of one answer. */
struct answer {
    struct pgl_uffd_request *request;
    uint64_t offset;
    const unsigned char *data;
    struct pgl_wake_list woken; /* faults that go on when all pages are installed: their threads do before */
    int error;
};

static void fail(struct pgl_uffd_request *request, struct pgl_pager_range pages, int error)
{
    __atomic_store_n(&request->error, error, __ATOMIC_RELAXED);
    pgl_pager_error(request->wanted.object, request->wanted.id, pages);
}

/* Install the pages that are also in [first, last]. Those for which there is no memory fail. */
static void install_part(struct answer *answer, struct pgl_pager_range pages, uint64_t first, uint64_t last)
{
    struct pgl_uffd_request *request = answer->request;
    struct pgl_delivery delivery = {
        .pager = request->pager,
        .space = request->space,
        .start_ns = request->start_ns,
        .latency = request->pager->stats.latency_read,
        .addr = request->addr,
        .unit = 1,
        .offered = &answer->woken,
        .claim = &request->answered,
        .put_first = UINT64_MAX,
    };
    const unsigned char *data = answer->data;

    pages.first = pages.first > first ? pages.first : first;
    pages.last = pages.last < last ? pages.last : last;
    if (pages.first > pages.last || answer->error != 0) {
        return;
    }
    if (data) {
        data += pages.first * request->pager->page_size - answer->offset;
    }
    answer->error = pgl_delivery_offer(&delivery, &request->wanted, pages.first, pages.last - pages.first + 1, data);
    if (answer->error == ENOMEM) {
        fail(request, pages, ENOMEM);
    }
    answer->error = answer->error == EFAULT ? EFAULT : 0;
}

/* The wanted pages come first, because threads wait for them. */
bool pgl_uffd_request_supply(struct pgl_uffd_request *request, uint64_t offset, const void *data, uint64_t length)
{
    PGL_UNCANCELLED;
    const struct pgl_pager_range *wanted = &request->wanted.range;
    struct answer answer = {.request = request, .offset = offset, .data = data};
    struct pgl_pager_range pages;

    if (!enter(request->pager)) {
        return false;
    }
    if (to_pages(request, offset, length, &pages)) {
        install_part(&answer, pages, wanted->first, wanted->last);
        install_part(&answer, pages, wanted->last + 1, UINT64_MAX);
        if (wanted->first > 0) {
            install_part(&answer, pages, 0, wanted->first - 1);
        }
        pgl_wake_all(&answer.woken);
    }
    leave(request->pager);
    if (answer.error != 0) {
        errno = answer.error;
    }
    return answer.error == 0;
}

void pgl_uffd_request_fail(struct pgl_uffd_request *request, uint64_t offset, uint64_t length, int error)
{
    PGL_UNCANCELLED;
    uint64_t size = request->pager->page_size;
    struct pgl_pager_range pages = {offset / size, UINT64_MAX};

    if (length > 0 && enter(request->pager)) {
        if (length - 1 <= UINT64_MAX - offset) {
            pages.last = (offset + (length - 1)) / size;
        }
        fail(request, pages, error);
        leave(request->pager);
    }
}

bool pgl_uffd_request_is_wanted(struct pgl_uffd_request *request)
{
    PGL_UNCANCELLED;
    struct pgl_uffd *uffd = request->pager;
    bool wanted = false;

    if (enter(uffd)) {
        uint64_t first = request->wanted.object->config.pager_range.first;

        wanted = pgl_object_is_asked(request->wanted.object, request->wanted.id, request->wanted.range.first - first,
                                     request->wanted.range.last - first) &&
                 !pgl_space_has_ended(uffd, request->space);
        leave(uffd);
    }
    return wanted;
}

void pgl_uffd_request_end(struct pgl_uffd_request *request)
{
    PGL_UNCANCELLED;
    struct pgl_uffd *uffd = request->pager;
    bool last = false;

    if (enter(uffd)) {
        int error = error_of(request);

        fail(request, request->wanted.range, error != 0 ? error : ENODATA);
        pthread_mutex_lock(&uffd->late.lock);
        unlink_request(request);
        pthread_mutex_unlock(&uffd->late.lock);
        release(request);
        pgl_request_unref(request);
        leave(uffd);
        return;
    }
    if (!pgl_uffd_is_ours(uffd)) {
        return;
    }
    pthread_mutex_lock(&uffd->late.lock);
    request->ended = true; /* N6: pgl_request_release_all() frees it, or has released everything else */
    if (uffd->late.freed) {
        unlink_request(request);
        pgl_request_unref(request);
        last = uffd->late.nrequests == 0;
    }
    pthread_mutex_unlock(&uffd->late.lock);
    if (last) {
        pgl_uffd_destroy(uffd);
    }
}
