/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Each allocation of the pager's heap fails once. The caller is told, and nothing is left; or a handler goes on, and no
 * page is wrong.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../src/uffd/arena_internal.h"
#include "../cm.h"
#include "late.h"
#include "pager.h"
#include "sender.h"

#define EVENTS (UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_EVENT_FORK)

extern const struct pgl_heap_ops __real_pgl_arena_heap_ops;
extern const struct pgl_heap_ops __wrap_pgl_arena_heap_ops;

/* Allocations of all threads since the failing one was chosen; which one fails; how many blocks are in use. Atomic. */
static unsigned nallocs, failing;
static int nblocks;

static void *failing_alloc(void *heap, size_t size)
{
    unsigned n = __atomic_add_fetch(&nallocs, 1, __ATOMIC_RELAXED);
    bool fails = n == __atomic_load_n(&failing, __ATOMIC_RELAXED);
    void *block = fails ? NULL : __real_pgl_arena_heap_ops.alloc(heap, size);

    __atomic_fetch_add(&nblocks, block != NULL, __ATOMIC_RELAXED);
    return block;
}

static void counting_free(void *heap, void *block)
{
    __atomic_fetch_sub(&nblocks, 1, __ATOMIC_RELAXED);
    __real_pgl_arena_heap_ops.free(heap, block);
}

const struct pgl_heap_ops __wrap_pgl_arena_heap_ops = {failing_alloc, counting_free};

static void let_fail(unsigned n)
{
    __atomic_store_n(&nallocs, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&failing, n, __ATOMIC_RELAXED);
}

/* Whether an allocation has failed since then. No other will. */
static bool has_failed(void)
{
    return __atomic_load_n(&nallocs, __ATOMIC_RELAXED) >= __atomic_exchange_n(&failing, 0, __ATOMIC_RELAXED);
}

static int count_blocks(void)
{
    return __atomic_load_n(&nblocks, __ATOMIC_RELAXED);
}

static int tear_down_shortage(void **state)
{
    let_fail(0);
    return tear_down_source(state);
}

/* The ways to have a region that allocate differently. Returns false when there is no such pager here. */
static bool choose(struct fixture *f, struct pgl_uffd_region *region, unsigned way)
{
    *region = late_region_of(f);
    f->config = (struct pgl_uffd_config){.track_dirty = way == 2, .write_protect = way == 3};
    if (way % 2 != 0) {
        region->source = (struct pgl_uffd_source){.fd = f->file};
    }
    region->removed = way == 1 ? PGL_UFFD_ZEROS : PGL_UFFD_SOURCE_AGAIN;
    region->limit = way == 3 ? NPAGES : 0;
    f->uffd = pgl_uffd_new(&f->config);
    return f->uffd != NULL;
}

static void test_uffd_shortage_for_a_region_is_told(void **state)
{
    struct fixture *f = *state;
    struct pgl_uffd_region region;
    bool done;

    __atomic_store_n(&source.at_once, true, __ATOMIC_RELAXED);
    for (unsigned way = 0; way < 4 && choose(f, &region, way); way++) {
        int before = count_blocks();
        unsigned n = 0;

        do {
            let_fail(++n);
            errno = 0;
            done = pgl_uffd_map_region(f->uffd, &region);
            assert_int_equal(has_failed(), !done);
            assert_true(done || errno == ENOMEM || (way == 3 && errno == ENOTSUP));
            assert_true(done || count_blocks() == before);
        } while (!done && errno == ENOMEM);
        assert_true(n > 4 ||
                    (way == 3 && !done)); /* an object, its source and its policies; the kernel may lack limits */
        assert_true(!done || is_page(f->memory + 5 * PAGE, 5));
        end_pager(f);
        assert_int_equal(madvise(f->memory, NPAGES * PAGE, MADV_DONTNEED), 0);
    }
}

static void test_uffd_shortage_for_an_adopted_process_is_told(void **state)
{
    struct fixture *f = *state;
    struct pgl_uffd_region region = late_region_of(f);
    struct sender sender;
    uint64_t process;
    unsigned n = 0;
    int before;

    __atomic_store_n(&source.at_once, true, __ATOMIC_RELAXED);
    start_pager(f);
    sender_start(&sender, f->memory, NPAGES * PAGE, EVENTS);
    before = count_blocks();
    do {
        unsigned nfds = count_fds();

        let_fail(++n);
        errno = 0;
        process = pgl_uffd_adopt(f->uffd, sender.fd, &region, 1);
        assert_int_equal(has_failed(), process == 0);
        if (process == 0) {
            assert_int_equal(errno, ENOMEM);
            assert_int_equal(count_blocks(), before);
            assert_fds(nfds);
        }
    } while (process == 0);
    assert_true(n > 6); /* also a map and a space */
    assert_true(sender_do(&sender, ORDER_SHOWS_PAGE, 5));
    assert_true(pgl_uffd_disown(f->uffd, process));
    while (count_blocks() != before) { /* a handler may be at it */
        usleep(100);
    }
    sender_end(&sender);
}

/* A fault that cannot wait is put off; one that cannot ask comes again. The page is not poison. */
static void test_uffd_shortage_delays_a_late_page(void **state)
{
    struct fixture *f = *state;
    unsigned n = 0, page = 0;

    __atomic_store_n(&source.at_once, true, __ATOMIC_RELAXED);
    map_late(f);
    do {
        let_fail(++n);
        assert_true(is_page(f->memory + page * PAGE, page));
        page++;
    } while (has_failed());
    assert_true(n > 2); /* of the waiting fault and its request */
    assert_int_equal(count_requests(), page);
    assert_count(f, errors, 0);
}

/* The event of a fork has happened: a handler tries again until it has followed, once the child has a space. */
static void test_uffd_shortage_delays_the_event_of_a_fork(void **state)
{
    struct fixture *f = *state;
    struct pgl_uffd_region region = late_region_of(f);
    struct sender sender;
    unsigned n = 0;

    __atomic_store_n(&source.at_once, true, __ATOMIC_RELAXED);
    region.removed = PGL_UFFD_ZEROS;
    start_pager(f);
    sender_start(&sender, f->memory, NPAGES * PAGE, EVENTS);
    assert_int_not_equal(pgl_uffd_adopt(f->uffd, sender.fd, &region, 1), 0);
    do {
        uint64_t errors = stats_of(f).errors;
        bool right;

        let_fail(++n);
        right = sender_do(&sender, ORDER_FORK, n);
        assert_int_equal(right, stats_of(f).errors == errors); /* a child without a space is counted as an error */
    } while (has_failed());
    assert_true(n > 5);
    sender_end(&sender);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up_source, tear_down_shortage)
    const struct CMUnitTest tests[] = {
        TEST(test_uffd_shortage_for_a_region_is_told),
        TEST(test_uffd_shortage_for_an_adopted_process_is_told),
        TEST(test_uffd_shortage_delays_a_late_page),
        TEST(test_uffd_shortage_delays_the_event_of_a_fork),
    };
#undef TEST

    return pager_permitted() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
