/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <sys/mman.h>
#include <unistd.h>

#include "../cm.h"
#include "late.h"
#include "pager.h"
#include "sigbus.h"

struct late_source source = {.lock = PTHREAD_MUTEX_INITIALIZER};

static const void *bytes_at(uint64_t offset)
{
    return source.bytes + offset;
}

bool supply(unsigned i, uint64_t offset, uint64_t length)
{
    return pgl_uffd_request_supply(source.request[i], offset, bytes_at(offset), length);
}

void end_request(unsigned i)
{
    pgl_uffd_request_end(source.request[i]);
}

void answer(unsigned i)
{
    pthread_mutex_lock(&source.lock);
    source.pages -= source.wanted[i].length / PAGE;
    pthread_mutex_unlock(&source.lock);
    assert_true(supply(i, source.wanted[i].offset, source.wanted[i].length));
    end_request(i);
}

static void on_request(void *arg, struct pgl_uffd_request *request, const struct pgl_uffd_wanted *wanted)
{
    unsigned i;

    (void)arg;
    pthread_mutex_lock(&source.lock);
    i = source.n;
    source.request[i % KEPT] = request;
    source.wanted[i % KEPT] = *wanted;
    source.pages += wanted->length / PAGE;
    source.most = source.pages > source.most ? source.pages : source.most;
    __atomic_store_n(&source.n, i + 1, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&source.lock);
    if (__atomic_load_n(&source.at_once, __ATOMIC_RELAXED)) {
        pgl_uffd_request_supply(request, wanted->offset, bytes_at(wanted->offset), wanted->length);
        end_request(i % KEPT);
    }
}

unsigned count_requests(void)
{
    return __atomic_load_n(&source.n, __ATOMIC_ACQUIRE);
}

void wait_for_requests(unsigned n)
{
    while (count_requests() < n) {
        usleep(100);
    }
}

struct pgl_uffd_region late_region_of(const struct fixture *f)
{
    return (struct pgl_uffd_region){
        .addr = f->memory,
        .length = NPAGES * PAGE,
        .source = {.kind = PGL_UFFD_CALLBACK, .request = on_request, .size = NPAGES * PAGE},
        .advice = PGL_ADVICE_RANDOM,
    };
}

void map_region(struct fixture *f, const struct pgl_uffd_region *region)
{
    start_pager(f);
    assert_true(pgl_uffd_map_region(f->uffd, region));
}

void map_late(struct fixture *f)
{
    const struct pgl_uffd_region region = late_region_of(f);

    map_region(f, &region);
}

void map_late_with_surplus(struct fixture *f, uint64_t surplus)
{
    struct pgl_uffd_region region = late_region_of(f);

    region.source.surplus = surplus;
    map_region(f, &region);
}

int set_up_source(void **state)
{
    int error = set_up(state);
    const struct fixture *f = *state;

    source.bytes = mmap(NULL, NPAGES * PAGE, PROT_READ, MAP_SHARED, f->file, 0);
    __atomic_store_n(&source.at_once, false, __ATOMIC_RELAXED);
    source.n = 0;
    source.pages = source.most = 0;
    return error;
}

int tear_down_source(void **state)
{
    int error = tear_down(state);

    munmap(source.bytes, NPAGES * PAGE);
    return error;
}

static void *touch(void *arg)
{
    struct toucher *toucher = arg;

    toucher->killed = sigbus_at(toucher->page, PAGE);
    toucher->right = !toucher->killed && is_page(toucher->page, toucher->file_page);
    toucher->zeros = !toucher->killed && is_zero(toucher->page);
    return NULL;
}

void start_touch_of(struct toucher *toucher, const struct fixture *f, uint64_t page, uint64_t file_page)
{
    sigbus_install();
    *toucher = (struct toucher){.page = f->memory + page * PAGE, .file_page = file_page};
    assert_int_equal(pthread_create(&toucher->thread, NULL, touch, toucher), 0);
}

void start_touch(struct toucher *toucher, const struct fixture *f, uint64_t page)
{
    start_touch_of(toucher, f, page, page);
}

void join_touch(struct toucher *toucher)
{
    assert_int_equal(pthread_join(toucher->thread, NULL), 0);
}
