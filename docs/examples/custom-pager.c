/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A pager of your own, on the fault driver. The pages come from another thread, as they would from a disk or a network:
 * a request returns at once, and its pages are supplied later.
 *
 *     cc -o custom-pager custom-pager.c -pthread $(pkg-config --cflags --libs pagelock)
 *     ./custom-pager
 *
 * prints:
 *
 *     256 pages touched, 0 of them wrong
 *     8 requests
 */
#include <err.h>
#include <errno.h>
#include <pagelock/pagelock.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PAGES = 256, PAGE_BYTES = 4096 };

/* The memory that the object's pages are kept in: a number of frames. */
struct memory {
    size_t page_size;
    uint64_t nfree;
};

static void *alloc_frame(void *opaque)
{
    struct memory *memory = opaque;
    void *frame = memory->nfree ? malloc(memory->page_size) : NULL;

    memory->nfree -= !!frame;
    return frame;
}

static void free_frame(void *opaque, void *frame)
{
    ((struct memory *)opaque)->nfree++;
    free(frame);
}

/* The frames that pages may take which nobody has asked for yet. */
static uint64_t spare_frames(void *opaque)
{
    return ((struct memory *)opaque)->nfree;
}

static void zero_frame(void *opaque, void *frame)
{
    memset(frame, 0, ((struct memory *)opaque)->page_size);
}

static void copy_frame(void *opaque, void *frame, const void *from)
{
    memcpy(frame, from, ((struct memory *)opaque)->page_size);
}

/* The pager is a pipe: the driver writes requests to it, and the thread below reads them. */
static int data_request(void *opaque, const struct pgl_request *request)
{
    const int *ends = opaque;

    return write(ends[1], request, sizeof(*request)) == sizeof(*request) ? 0 : errno;
}

static void *supply_pages(void *opaque)
{
    const int *ends = opaque;
    struct pgl_request request;

    while (read(ends[0], &request, sizeof(request)) == sizeof(request)) {
        const size_t npages = request.range.last - request.range.first + 1;
        unsigned char *data = malloc(npages * PAGE_BYTES);

        if (!data) {
            pgl_pager_error(request.object, request.id, request.range);
            continue;
        }
        for (size_t i = 0; i < npages; i++) {
            memset(data + i * PAGE_BYTES, (int)(request.range.first + i), PAGE_BYTES);
        }
        pgl_pager_supply(request.object, request.id, request.range, data, PGL_ACCESS_WRITE);
        free(data);
    }
    return NULL;
}

int main(void)
{
    const struct pgl_memory_ops memory_ops = {alloc_frame, free_frame, spare_frames, zero_frame, copy_frame};
    const struct pgl_pager_ops pager_ops = {.data_request = data_request};
    struct memory memory = {.page_size = PAGE_BYTES, .nfree = 1000};
    int ends[2];
    struct pgl_object_config config = {
        .last = PAGES - 1,
        .pager_ops = &pager_ops,
        .pager = ends,
        .pager_range = {0, UINT64_MAX}, /* page i of the object is page i of the pager, however many it has */
        .memory_ops = &memory_ops,
        .memory = &memory,
        .page_size = PAGE_BYTES,
        .advice = PGL_ADVICE_SEQUENTIAL,
    };
    struct pgl_object *object = pgl_object_new(&config);
    struct pgl_fault *fault = pgl_fault_new();
    struct pgl_object_stats stats;
    unsigned wrong = 0;
    pthread_t thread;

    if (!object || !fault || pipe(ends)) {
        err(1, "custom-pager");
    }
    if (pthread_create(&thread, NULL, supply_pages, ends)) {
        errx(1, "no thread for the pager");
    }
    for (uint64_t index = 0; index < PAGES; index++) {
        struct pgl_fault_args args = {.object = object, .index = index, .access = PGL_ACCESS_READ};
        struct pgl_fault_page page;

        /* The call sleeps until the page is there. Nothing removes pages here, therefore the frame stays. */
        wrong += pgl_fault_run(fault, &args, &page) != PGL_FAULT_SUCCESS || *(unsigned char *)page.frame != index;
    }
    pgl_object_get_stats(object, &stats);
    printf("%d pages touched, %u of them wrong\n", PAGES, wrong);
    printf("%u requests\n", (unsigned)stats.by_advice[PGL_ADVICE_SEQUENTIAL].requests);

    close(ends[1]); /* the thread reads the end of the pipe */
    pthread_join(thread, NULL);
    pgl_fault_free(fault);
    pgl_object_unref(object);
    close(ends[0]);
    return 0;
}
