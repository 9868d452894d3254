/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The sources and the policies of a region. */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../cm.h"
#include "pager.h"
#include "sigbus.h"
#include "waits.h"

static struct pgl_uffd_region region_of(const struct fixture *f)
{
    return (struct pgl_uffd_region){
        .addr = f->memory,
        .length = NPAGES * PAGE,
        .source.fd = f->file,
        .advice = PGL_ADVICE_NORMAL,
    };
}

static void map_region(struct fixture *f, const struct pgl_uffd_region *region)
{
    start_pager(f);
    assert_true(pgl_uffd_map_region(f->uffd, region));
}

static void map_removing(struct fixture *f)
{
    struct pgl_uffd_region region = region_of(f);

    region.removed = PGL_UFFD_ZEROS;
    map_region(f, &region);
}

static void assert_zeros(const unsigned char *memory, uint64_t npages)
{
    for (uint64_t page = 0; page < npages; page++) {
        assert_true(is_zero(memory + page * PAGE));
    }
}

/* S3: a page that was touched before, one that was not, in words of the bitmap and over their ends. */
static void test_uffd_page_given_back_shows_zeros(void **state)
{
    static const struct {
        uint64_t first, npages;
    } removed[] = {{3, 1}, {63, 2}, {100, 92}, {192, 64}, {300, 1}, {NPAGES - 1, 1}};
    struct fixture *f = *state;
    uint64_t next = 0;

    map_removing(f);
    assert_pages(f->memory, 200, 0);
    for (unsigned i = 0; i < sizeof(removed) / sizeof(*removed); i++) {
        assert_int_equal(madvise(f->memory + removed[i].first * PAGE, removed[i].npages * PAGE, MADV_DONTNEED), 0);
    }
    for (unsigned i = 0; i < sizeof(removed) / sizeof(*removed); i++) {
        assert_pages(f->memory + next * PAGE, removed[i].first - next, next);
        assert_zeros(f->memory + removed[i].first * PAGE, removed[i].npages);
        next = removed[i].first + removed[i].npages;
    }
    f->memory[3 * PAGE] = 'w';
    assert_int_equal(f->memory[3 * PAGE], 'w');
    assert_int_equal(madvise(f->memory + 3 * PAGE, PAGE, MADV_DONTNEED), 0);
    assert_zeros(f->memory + 3 * PAGE, 1);
    assert_count(f, errors, 0);
}

static void test_uffd_page_given_back_shows_zeros_write_protected(void **state)
{
    struct fixture *f = *state;

    f->config.write_protect = true;
    map_removing(f);
    assert_int_equal(madvise(f->memory + 3 * PAGE, 5 * PAGE, MADV_DONTNEED), 0);
    assert_pages(f->memory, 3, 0);
    assert_zeros(f->memory + 3 * PAGE, 5);
    f->memory[4 * PAGE] = 'w';
    assert_int_equal(f->memory[4 * PAGE], 'w');
    assert_count(f, unlocks, 1);
}

static void test_uffd_page_given_back_shows_zeros_where_it_moved(void **state)
{
    struct fixture *f = *state;
    unsigned char *room = mmap(NULL, 64 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    map_removing(f);
    assert_int_equal(madvise(f->memory + 10 * PAGE, 10 * PAGE, MADV_DONTNEED), 0);
    assert_ptr_equal(mremap(f->memory, 64 * PAGE, 64 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, room), room);
    assert_pages(room, 10, 0);
    assert_zeros(room + 10 * PAGE, 10);
    assert_pages(room + 20 * PAGE, 44, 20);
    munmap(room, 64 * PAGE);
}

static void test_uffd_page_given_back_shows_zeros_in_a_child(void **state)
{
    struct fixture *f = *state;
    int status;
    pid_t child;

    FOLLOW_FORKS(f);
    map_removing(f);
    assert_int_equal(madvise(f->memory + 10 * PAGE, PAGE, MADV_DONTNEED), 0);
    child = fork();
    if (child == 0) {
        bool right = is_zero(f->memory + 10 * PAGE) && is_page(f->memory + 11 * PAGE, 11);

        right = right && madvise(f->memory + 12 * PAGE, PAGE, MADV_DONTNEED) == 0 && is_zero(f->memory + 12 * PAGE);
        _exit(!right);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_true(is_page(f->memory + 12 * PAGE, 12)); /* the child's, and not this one */
}

/* Whole pages at an address inside of one. */
static void test_uffd_region_shows_memory(void **state)
{
    struct fixture *f = *state;
    unsigned char *bytes = mmap(NULL, (NPAGES + 1) * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct pgl_uffd_region region = region_of(f);

    assert_int_equal(pread(f->file, bytes + 40, NPAGES * PAGE, 0), NPAGES * PAGE);
    region.source =
        (struct pgl_uffd_source){.kind = PGL_UFFD_MEMORY, .memory = bytes + 40, .size = (size_t)NPAGES * PAGE};
    region.offset = 8 * PAGE;
    region.length = (NPAGES - 8) * PAGE;
    map_region(f, &region);
    assert_pages(f->memory, NPAGES - 8, 8);
    assert_count(f, bytes_read, (NPAGES - 8) * PAGE);
    assert_count(f, pages_fetched, NPAGES - 8);
    assert_true(pgl_uffd_unmap(f->uffd, f->memory, region.length));
    assert_int_equal(pread(f->file, f->memory, PAGE, 0), PAGE);
    assert_true(is_page(bytes + 40 + 9 * PAGE, 9)); /* it is still there */
    munmap(bytes, (NPAGES + 1) * PAGE);
}

static void test_uffd_child_shows_memory_of_its_parent(void **state)
{
    struct fixture *f = *state;
    unsigned char *bytes = mmap(NULL, NPAGES * PAGE, PROT_READ, MAP_PRIVATE, f->file, 0);
    struct pgl_uffd_region region = region_of(f);
    int status;
    pid_t child;

    FOLLOW_FORKS(f);
    region.source = (struct pgl_uffd_source){.kind = PGL_UFFD_MEMORY, .memory = bytes, .size = NPAGES * PAGE};
    map_region(f, &region);
    child = fork();
    if (child == 0) {
        munmap(bytes, NPAGES * PAGE); /* its own copy */
        _exit(!is_page(f->memory + 11 * PAGE, 11));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    munmap(bytes, NPAGES * PAGE);
}

static void test_uffd_region_refuses_what_it_cannot_show(void **state)
{
    struct fixture *f = *state;
    unsigned char *bytes = mmap(NULL, NPAGES * PAGE, PROT_READ, MAP_PRIVATE, f->file, 0);
    const struct pgl_uffd_source memory = {.kind = PGL_UFFD_MEMORY, .memory = bytes, .size = 8 * PAGE};
    struct pgl_uffd_region good = region_of(f);
    struct pgl_uffd_region bad[12];
    unsigned n = 0;

    good.source = memory;
    good.length = 8 * PAGE;
    for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        bad[i] = good;
    }
    bad[n++].source.kind = (enum pgl_uffd_source_kind)99;
    bad[n++].removed = (enum pgl_uffd_removed)99;
    bad[n++].on_error = (enum pgl_uffd_remedy)99;
    bad[n++].source.memory = NULL;
    bad[n++].source.size = UINT64_MAX;
    bad[n].source.size = UINT64_MAX;
    bad[n++].source.memory = f->memory + 16 * PAGE; /* in a region, wherever it ends */
    bad[n++].source.size = 8 * PAGE - 1;
    bad[n++].offset = PAGE;
    bad[n++].offset = 1;
    bad[n++].offset = 16 * PAGE;
    bad[n++].offset = (uint64_t)INT64_MAX + 1;
    bad[n].source.memory = f->memory + 15 * PAGE; /* a region begins behind its first page */
    start_pager(f);
    good.addr = f->memory + 16 * PAGE;
    assert_true(pgl_uffd_map_region(f->uffd, &good));
    for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        errno = 0;
        assert_false(pgl_uffd_map_region(f->uffd, &bad[i]));
        assert_int_equal(errno, EINVAL);
    }
    bad[n].source.memory = f->memory + 8 * PAGE; /* the page before the region is its last */
    assert_true(pgl_uffd_map_region(f->uffd, &bad[n]));
    munmap(bytes, NPAGES * PAGE);
}

/* The default, and the same chosen: no other page is concerned, and the page comes when it was given back. */
static void test_uffd_page_that_cannot_be_read_is_poison(void **state)
{
    struct fixture *f = *state;

    SKIP_WITHOUT_POISON();
    sigbus_install();
    for (int chosen = 0; chosen < 2; chosen++) {
        struct pgl_uffd_region region = region_of(f);

        region.on_error = chosen ? PGL_UFFD_POISON : PGL_UFFD_DEFAULT;
        map_region(f, &region);
        if (stats_of(f).poisoned == 0) {
            assert_int_equal(ftruncate(f->file, 299 * PAGE + 10), 0);
        }
        assert_pages(f->memory, 299, 0);
        for (uint64_t page = 299; page < NPAGES; page++) {
            assert_true(sigbus_at(f->memory + page * PAGE + 7, PAGE));
            assert_true(sigbus_at(f->memory + page * PAGE, PAGE));
        }
        assert_count(f, errors, NPAGES - 299);
        assert_count(f, poisoned, NPAGES - 299);
        fill(f->file, 299, NPAGES - 299);
        assert_true(sigbus_at(f->memory + 300 * PAGE, PAGE));
        assert_int_equal(madvise(f->memory + 300 * PAGE, PAGE, MADV_DONTNEED), 0);
        assert_true(is_page(f->memory + 300 * PAGE, 300));
        assert_true(sigbus_at(f->memory + 301 * PAGE, PAGE));
        pgl_uffd_free(f->uffd);
        assert_int_equal(madvise(f->memory, NPAGES * PAGE, MADV_DONTNEED), 0);
    }
    f->uffd = NULL;
}

static void test_uffd_system_call_that_meets_poison_fails(void **state)
{
    struct fixture *f = *state;
    struct pgl_uffd_region region = region_of(f);
    int ends[2];

    SKIP_WITHOUT_POISON();
    map_region(f, &region);
    assert_int_equal(ftruncate(f->file, PAGE), 0);
    assert_int_equal(pipe(ends), 0);
    errno = 0;
    assert_int_equal(write(ends[1], f->memory + 3 * PAGE, 8), -1);
    assert_int_equal(errno, EFAULT);
    assert_count(f, poisoned, 1);
    close(ends[0]);
    close(ends[1]);
}

/* Memory that cannot be read is an error of the pages that show it, and the handlers go on. */
static void test_uffd_source_in_memory_that_cannot_be_read_is_an_error(void **state)
{
    struct fixture *f = *state;
    unsigned char *bytes = mmap(NULL, NPAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, f->file, 0);
    struct pgl_uffd_region region = region_of(f);

    SKIP_WITHOUT_POISON();
    sigbus_install();
    region.source = (struct pgl_uffd_source){.kind = PGL_UFFD_MEMORY, .memory = bytes, .size = NPAGES * PAGE};
    map_region(f, &region);
    assert_int_equal(mprotect(bytes + 20 * PAGE, 2 * PAGE, PROT_NONE), 0);
    for (uint64_t page = 0; page < NPAGES; page++) {
        if (page == 20 || page == 21) {
            assert_true(sigbus_at(f->memory + page * PAGE, PAGE));
        } else {
            assert_true(is_page(f->memory + page * PAGE, page));
        }
    }
    assert_count(f, poisoned, 2);
    assert_int_equal(mprotect(bytes + 20 * PAGE, 2 * PAGE, PROT_READ), 0);
    assert_int_equal(madvise(f->memory + 20 * PAGE, 2 * PAGE, MADV_DONTNEED), 0);
    assert_pages(f->memory + 20 * PAGE, 2, 20);
    munmap(bytes, NPAGES * PAGE);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_uffd_page_given_back_shows_zeros),
        TEST(test_uffd_page_given_back_shows_zeros_write_protected),
        TEST(test_uffd_page_given_back_shows_zeros_where_it_moved),
        TEST(test_uffd_page_given_back_shows_zeros_in_a_child),
        TEST(test_uffd_region_shows_memory),
        TEST(test_uffd_child_shows_memory_of_its_parent),
        TEST(test_uffd_region_refuses_what_it_cannot_show),
        TEST(test_uffd_page_that_cannot_be_read_is_poison),
        TEST(test_uffd_system_call_that_meets_poison_fails),
        TEST(test_uffd_source_in_memory_that_cannot_be_read_is_an_error),
    };
#undef TEST

    return pager_permitted() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
