/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The shared memory and the huge pages of another process. */
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../cm.h"
#include "pager.h"
#include "sender.h"

#define HUGE ((size_t)2 << 20)
#define HUGE_PAGES (2 * HUGE / PAGE) /* of two huge pages: the machine has few */

#define SHARED_FEATURES (UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MINOR_SHMEM)
#define SHARED_MODES (UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR)

static struct sender sender;
static unsigned char *memory; /* of the sender; here it is the same memory if that is shared, and not registered */
static size_t length;

static int tear_down_sender(void **state)
{
    if (sender.pid != 0) {
        sender_end(&sender);
    }
    if (memory) {
        munmap(memory, length);
        memory = NULL;
    }
    return tear_down(state);
}

static struct pgl_uffd_region region_of(const struct fixture *f, enum pgl_uffd_memory kind)
{
    return (struct pgl_uffd_region){
        .addr = memory,
        .length = length,
        .source.fd = f->file,
        .advice = PGL_ADVICE_RANDOM,
        .memory = kind,
    };
}

static void adopt(struct fixture *f, const struct pgl_uffd_region *region)
{
    start_pager(f);
    assert_int_not_equal(pgl_uffd_adopt(f->uffd, sender.fd, region, 1), 0);
}

static void start_sharer(const struct fixture *f)
{
    int fd = memfd_create("shared", MFD_CLOEXEC);

    (void)f;
    length = NPAGES * PAGE;
    assert_int_equal(ftruncate(fd, (off_t)length), 0);
    memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_true(memory != MAP_FAILED);
    close(fd);
    sender_start_with(&sender, memory, length, SHARED_FEATURES, SHARED_MODES);
}

/* Each page: as the other process has it, so it is here. */
static void test_uffd_adopt_shows_two_mappings_the_same_bytes(void **state)
{
    struct fixture *f = *state;
    struct pgl_uffd_region region;

    start_sharer(f);
    region = region_of(f, PGL_UFFD_SHARED);
    adopt(f, &region);
    for (uint64_t page = 0; page < NPAGES; page++) {
        assert_true(sender_do(&sender, ORDER_SHOWS_PAGE, page));
        assert_true(is_page(memory + page * PAGE, page));
    }
    assert_true(sender_do(&sender, ORDER_WRITE, 5));
    assert_int_equal(memory[5 * PAGE], 'w');
    memcpy(memory + 5 * PAGE, memory + 6 * PAGE, PAGE);
    memory[6 * PAGE] = 'v';
    assert_false(sender_do(&sender, ORDER_SHOWS_PAGE, 5));
    assert_false(sender_do(&sender, ORDER_SHOWS_PAGE, 6));
    assert_int_equal(stats_of(f).pages_fetched, NPAGES);
    assert_int_equal(stats_of(f).faults, NPAGES);
}

/* A back end has filled a page already: the process sees that page, which is not read from the source. */
static void test_uffd_adopt_finds_the_pages_of_shared_memory(void **state)
{
    struct fixture *f = *state;
    struct pgl_uffd_region region;

    start_sharer(f);
    region = region_of(f, PGL_UFFD_SHARED);
    memset(memory + 9 * PAGE, 0, PAGE);
    adopt(f, &region);
    assert_true(sender_do(&sender, ORDER_SHOWS_ZEROS, 9));
    assert_true(sender_do(&sender, ORDER_SHOWS_PAGE, 10));
    assert_int_equal(stats_of(f).present, 1);
    assert_int_equal(stats_of(f).pages_fetched, 1);
}

static void test_uffd_adopt_shows_shared_memory_that_was_dropped(void **state)
{
    struct fixture *f = *state;

    struct pgl_uffd_region region;

    start_sharer(f);
    region = region_of(f, PGL_UFFD_SHARED);
    adopt(f, &region);
    assert_true(sender_do(&sender, ORDER_SHOWS_PAGE, 9));
    assert_true(sender_do(&sender, ORDER_DROP, 9));
    assert_true(sender_do(&sender, ORDER_SHOWS_PAGE, 9));
    assert_true(sender_do(&sender, ORDER_SHOWS_PAGE, 10));
    assert_int_equal(stats_of(f).removes, 1);
}

/* A huge page comes with one fault, and as a whole. No memory is reserved here for the other process's pages. */
static void test_uffd_adopt_shows_huge_pages(void **state)
{
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_NORESERVE;
    struct fixture *f = *state;
    struct pgl_uffd_region region;

    lock_huge_pages();
    length = 2 * HUGE;
    memory = mmap(NULL, length, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (memory == MAP_FAILED) {
        memory = NULL;
    }
    if (!memory || count_free_huge_pages() < 2) {
        unlock_huge_pages();
        SKIP_BECAUSE("no two huge pages of 2 MiB: vm.nr_hugepages is to be 2");
    }
    fill(f->file, 0, HUGE_PAGES);
    sender_start(&sender, memory, length, UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_MISSING_HUGETLBFS);
    region = region_of(f, PGL_UFFD_PRIVATE);
    start_pager(f);
    assert_int_equal(pgl_uffd_adopt(f->uffd, sender.fd, &region, 1), 0); /* its pages are said to be small */
    region.memory = PGL_UFFD_HUGE;
    assert_int_not_equal(pgl_uffd_adopt(f->uffd, sender.fd, &region, 1), 0);
    for (uint64_t page = 0; page < HUGE_PAGES; page++) {
        assert_true(sender_do(&sender, ORDER_SHOWS_PAGE, (page * 7 + 100) % HUGE_PAGES));
    }
    assert_int_equal(stats_of(f).faults, 2);
    assert_int_equal(stats_of(f).pages_fetched, HUGE_PAGES);
    sender_end(&sender);
    sender.pid = 0;
    unlock_huge_pages();
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down_sender)
    const struct CMUnitTest tests[] = {
        TEST(test_uffd_adopt_shows_two_mappings_the_same_bytes),
        TEST(test_uffd_adopt_finds_the_pages_of_shared_memory),
        TEST(test_uffd_adopt_shows_shared_memory_that_was_dropped),
        TEST(test_uffd_adopt_shows_huge_pages),
    };
#undef TEST

    return pager_permitted() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
