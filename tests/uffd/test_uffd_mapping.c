/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Copies out of a mapping of the file: which pages they bring, and what happens when the mapping cannot be read. */
#include <errno.h>
#include <linux/userfaultfd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../cm.h"
#include "calls.h"
#include "waits.h"

/* The part of the kernel's list of mappings that begins with the one of the fixture's file, or NULL. */
static const char *find_mapping(void)
{
    static char text[1 << 20];
    size_t have = 0;
    int fd = __real_open64("/proc/self/smaps", O_RDONLY | O_CLOEXEC);
    ssize_t n;

    while (have < sizeof(text) - 1 && (n = __real_read(fd, text + have, sizeof(text) - 1 - have)) > 0) {
        have += (size_t)n;
    }
    close(fd);
    text[have] = '\0';
    return strstr(text, "memfd:pages");
}

/* The KiB that a line of such a part tells, or -1. */
static long kib_of(const char *mapping, const char *line)
{
    const char *at = mapping ? strstr(mapping, line) : NULL;

    return at ? strtol(at + strlen(line), NULL, 10) : -1;
}

/* A pager whose clusters have so many pages. */
static void make_pager(struct fixture *f, uint32_t npages)
{
    struct pgl_advice_table table = {0};

    table.row[PGL_ADVICE_NORMAL].after = npages - 1;
    f->config.table = &table;
    assert_true(try_new(f));
}

static void show_file(struct fixture *f, uint32_t npages)
{
    make_pager(f, npages);
    assert_true(map_zeroing(f->uffd, f->memory, NPAGES * PAGE, f->file, 0, PGL_ADVICE_NORMAL));
}

static void assert_shows_file(const struct fixture *f)
{
    for (uint64_t page = 0; page < NPAGES; page++) {
        assert_true(shows_page(f, page));
    }
}

static void test_uffd_mapping_brings_clusters_without_a_read(void **state)
{
    struct fixture *f = *state;

    fail_theirs(CALL_PREAD, 0, EIO, 1000);
    show_file(f, 32);
    assert_shows_file(f);
    assert_int_equal(count_fired(), 0);
    assert_int_equal(stats_of(f).requests, NPAGES / 32);
    assert_int_equal(stats_of(f).bytes_read, NPAGES * PAGE);
    assert_int_equal(stats_of(f).pages_fetched, NPAGES);
}

/* Three pages are read, four are not, and neither are five. */
static void test_uffd_mapping_is_for_four_pages_and_more(void **state)
{
    struct fixture *f = *state;

    for (uint32_t npages = 3; npages <= 5; npages++) {
        show_file(f, npages);
        fail_theirs(CALL_PREAD, 0, EINTR, 1);
        assert_true(shows_page(f, 0));
        assert_int_equal(count_fired(), npages < 4);
        undo_map(f);
        undo_new(f);
    }
}

/* Y1 */
static void test_uffd_mapping_does_not_show_what_a_file_grew_by(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(ftruncate(f->file, (NPAGES - 1) * PAGE + 8), 0);
    show_file(f, 32);
    fill(f->file, NPAGES - 1, 1);
    for (uint64_t page = 0; page < NPAGES - 1; page++) {
        assert_true(shows_page(f, page));
    }
    assert_int_equal(*(uint64_t *)(void *)(f->memory + (NPAGES - 1) * PAGE), word_at((NPAGES - 1) * PAGE));
    for (unsigned i = 8; i < PAGE; i++) {
        assert_int_equal(f->memory[(NPAGES - 1) * PAGE + i], 0);
    }
}

/* Y1: the end is in the middle of a page: of the last one that is asked for, which the mapping has, or of another. */
static void test_uffd_mapping_of_a_file_that_shrank_is_not_used(void **state)
{
    static const uint64_t ends[] = {15, 10};
    struct fixture *f = *state;

    for (unsigned i = 0; i < sizeof(ends) / sizeof(*ends); i++) {
        fill(f->file, 0, NPAGES);
        show_file(f, 16);
        assert_int_equal(ftruncate(f->file, (off_t)(ends[i] * PAGE + 100)), 0);
        for (uint64_t page = 0; page < ends[i]; page++) {
            assert_true(shows_page(f, page));
        }
        assert_errors(f, 0);
        assert_true(shows_zeros(f, ends[i]));
        assert_errors(f, 1);
        undo_new(f);
        renew_memory(f);
    }
}

static void test_uffd_mapping_that_cannot_be_copied_is_read(void **state)
{
    struct fixture *f = *state;

    show_file(f, 32);
    fail_theirs(CALL_IOCTL, UFFDIO_COPY, EFAULT, 1);
    assert_shows_file(f);
    assert_int_equal(count_fired(), 1);
    assert_int_equal(stats_of(f).requests, NPAGES / 32 + 1);
    assert_int_equal(stats_of(f).bytes_read, NPAGES * PAGE);
    assert_int_equal(stats_of(f).pages_fetched, NPAGES);
    assert_errors(f, 0);
}

/* The file shrinks just before the copy: the kernel copies as far as it reaches, and the rest is read. */
static void test_uffd_mapping_is_copied_as_far_as_the_file_reaches(void **state)
{
    struct fixture *f = *state;

    show_file(f, 32);
    __atomic_store_n(&told_size, NPAGES * PAGE, __ATOMIC_RELEASE);
    fail_theirs(CALL_MADVISE, MADV_POPULATE_READ, LIE, 1);
    assert_int_equal(ftruncate(f->file, 10 * PAGE), 0);
    for (uint64_t page = 0; page < 10; page++) {
        assert_true(shows_page(f, page));
    }
    assert_int_equal(stats_of(f).present, 0);
    assert_int_equal(stats_of(f).pages_fetched, 10);
    while (stats_of(f).bytes_read != 10 * PAGE) { /* the handler takes back, a moment later, what it did not copy */
        usleep(100);
    }
    assert_errors(f, 0);
    assert_true(shows_zeros(f, 10));
    assert_errors(f, 1);
}

/* Y3: also pages that are not copied then. */
static void test_uffd_mapping_is_in_memory_before_it_is_copied(void **state)
{
    struct fixture *f = *state;

    if (madvise(f->memory, PAGE, MADV_POPULATE_READ) != 0) {
        SKIP_BECAUSE("this kernel has no MADV_POPULATE_READ");
    }
    show_file(f, 32);
    fail_theirs(CALL_IOCTL, UFFDIO_COPY, EFAULT, 1);
    assert_true(shows_page(f, 0));
    assert_int_equal(count_fired(), 1);
    assert_true(kib_of(find_mapping(), "\nRss:") * 1024 >= 32 * (long)PAGE);
}

/* Y3 */
static void test_uffd_mapping_that_cannot_be_brought_into_memory_is_read(void **state)
{
    static const int errors[] = {EINVAL, EFAULT, ENOMEM, EAGAIN, EHWPOISON, EINTR};
    struct fixture *f = *state;

    for (unsigned i = 0; i < sizeof(errors) / sizeof(*errors); i++) {
        show_file(f, 32);
        fail_theirs(CALL_MADVISE, MADV_POPULATE_READ, errors[i], 1000);
        assert_true(shows_page(f, 0));
        assert_int_equal(count_fired(), 1);
        assert_shows_file(f);
        assert_int_equal(count_fired(), NPAGES / 32);
        assert_int_equal(stats_of(f).bytes_read, NPAGES * PAGE);
        assert_int_equal(stats_of(f).pages_fetched, NPAGES);
        assert_errors(f, 0);
        undo_map(f);
        undo_new(f);
    }
}

/* A mapping that is refused while pages of the cluster are gone: what is left is read, and nothing stays asked for. */
static void test_uffd_mapping_with_an_event_in_between_goes_on(void **state)
{
    struct fixture *f = *state;

    show_file(f, 32);
    fail_theirs(CALL_IOCTL, UFFDIO_COPY, 0, 1); /* one page, and then EAGAIN */
    assert_shows_file(f);
    assert_int_equal(count_fired(), 1);
    assert_int_equal(stats_of(f).pages_fetched, NPAGES);
    assert_int_equal(stats_of(f).bytes_read, NPAGES * PAGE);
}

static void test_uffd_mapping_of_a_direct_file_is_not_made(void **state)
{
    struct fixture *f = *state;

    direct = true;
    fail_theirs(CALL_MUNLOCK, 0, ENOMEM, 1000);
    show_file(f, 32);
    assert_int_equal(count_fired(), 0);
    assert_null(find_mapping());
    assert_shows_file(f);
}

static void test_uffd_mapping_that_cannot_be_made_is_done_without(void **state)
{
    static const struct {
        enum call call;
        unsigned long request;
        int error;
    } all[] = {{CALL_MMAP, 1, ENOMEM},    {CALL_MMAP, 1, ENODEV},     {CALL_MMAP, 1, EAGAIN},
               {CALL_MUNLOCK, 0, ENOMEM}, {CALL_MPROTECT, 0, ENOMEM}, {CALL_MPROTECT, 0, EACCES}};
    struct fixture *f = *state;

    for (unsigned i = 0; i < sizeof(all) / sizeof(*all); i++) {
        fail_theirs(all[i].call, all[i].request, all[i].error, 1);
        show_file(f, 32);
        assert_int_equal(count_fired(), 1);
        assert_null(find_mapping());
        fail_theirs(CALL_PREAD, 0, EINTR, 1);
        assert_shows_file(f);
        assert_int_equal(count_fired(), 1);
        undo_map(f);
        undo_new(f);
    }
}

static void test_uffd_mapping_ends_with_its_region(void **state)
{
    struct fixture *f = *state;

    show_file(f, 32);
    assert_non_null(find_mapping());
    undo_map(f);
    while (find_mapping()) { /* the handler of the last fault lets its object go a moment later */
        usleep(100);
    }
    undo_new(f);
    show_file(f, 32);
    undo_new(f);
    assert_null(find_mapping());
}

/* Y2 */
static void test_uffd_mapping_is_not_read_in_by_mlockall(void **state)
{
    struct fixture *f = *state;
    const char *mapping;

    if (mlockall(MCL_FUTURE) != 0) {
        SKIP_BECAUSE("this user may not lock memory");
    }
    show_file(f, 32);
    mapping = find_mapping();
    munlockall();
    assert_non_null(mapping);
    assert_int_equal(kib_of(mapping, "\nRss:"), 0);
    assert_int_equal(kib_of(mapping, "\nLocked:"), 0);
    assert_shows_file(f);
}

/* The pages of the file that handlers bring into the mapping, in turn, and those that mincore() finds in the cache. */
static struct {
    const unsigned char *bytes; /* of the mapping */
    uint64_t npages;            /* of these, from the first one on */
    unsigned looks;             /* atomic, as the others */
    unsigned n;
    struct {
        uint64_t first, npages;
    } brought[1024];
} cache;

static void note_brought(const unsigned char *addr, size_t length)
{
    if (length > 0) {
        unsigned at = cache.n % (sizeof(cache.brought) / sizeof(*cache.brought));

        cache.brought[at].first = (uint64_t)(addr - cache.bytes) / PAGE;
        cache.brought[at].npages = length / PAGE;
        __atomic_store_n(&cache.n, cache.n + 1, __ATOMIC_RELEASE);
    }
}

static void tell_cached(const unsigned char *addr, size_t npages, unsigned char *resident)
{
    uint64_t first = (uint64_t)(addr - cache.bytes) / PAGE;

    for (size_t i = 0; i < npages; i++) {
        resident[i] = first + i < __atomic_load_n(&cache.npages, __ATOMIC_RELAXED);
    }
    __atomic_fetch_add(&cache.looks, 1, __ATOMIC_RELAXED);
}

/* Have so many pages be in the cache, and note what handlers do. */
static void watch_cache(uint64_t npages)
{
    const char *mapping = find_mapping();

    while (mapping && mapping[-1] != '\n') { /* the line begins with the address */
        mapping--;
    }
    assert_non_null(mapping);
    memset(&cache, 0, sizeof(cache));
    cache.bytes = (const unsigned char *)strtoul(mapping, NULL, 16); /* NOLINT(performance-no-int-to-ptr) */
    cache.npages = npages;
    __atomic_store_n(&after_mincore, tell_cached, __ATOMIC_RELEASE);
    __atomic_store_n(&before_populate, note_brought, __ATOMIC_RELEASE);
}

/* Touch a page, and assert that its cluster of four pages was brought, and these pages after it. */
static void assert_reads_on(const struct fixture *f, uint64_t page, uint64_t first, uint64_t npages)
{
    unsigned before = __atomic_load_n(&cache.n, __ATOMIC_ACQUIRE);

    assert_true(shows_page(f, page));
    assert_int_equal(__atomic_load_n(&cache.n, __ATOMIC_ACQUIRE), before + 1 + (npages > 0));
    assert_int_equal(cache.brought[before].first, page);
    assert_int_equal(cache.brought[before].npages, 4);
    if (npages > 0) {
        assert_int_equal(cache.brought[before + 1].first, first);
        assert_int_equal(cache.brought[before + 1].npages, npages);
    }
}

/* Y5: none twice, and four times as many as the cluster has. Y4: none that is not in the cache. */
static void test_uffd_mapping_of_a_sequence_is_read_on(void **state)
{
    struct fixture *f = *state;

    show_file(f, 4);
    watch_cache(40);
    assert_reads_on(f, 8, 0, 0);
    assert_reads_on(f, 12, 16, 16);
    assert_reads_on(f, 16, 32, 8);
    assert_reads_on(f, 20, 0, 0);
    __atomic_store_n(&cache.npages, 41, __ATOMIC_RELAXED);
    assert_reads_on(f, 24, 40, 1);
    __atomic_store_n(&cache.npages, NPAGES - 1, __ATOMIC_RELAXED);
    assert_reads_on(f, 28, 41, 16);
    assert_reads_on(f, 32, 57, 6);
    assert_shows_file(f);
}

static void test_uffd_mapping_is_read_on_in_sequence_only(void **state)
{
    struct fixture *f = *state;

    show_file(f, 4);
    watch_cache(60);
    assert_reads_on(f, 8, 0, 0);
    assert_reads_on(f, 16, 0, 0);
    assert_reads_on(f, 12, 0, 0);
    assert_reads_on(f, 40, 0, 0);
    assert_reads_on(f, 44, 48, 12);
    assert_reads_on(f, 20, 0, 0);
    assert_reads_on(f, 24, 28, 16);
}

/* Y4 */
static void test_uffd_mapping_of_anothers_file_is_not_read_on(void **state)
{
    struct fixture *f = *state;

    told_foreign = true;
    show_file(f, 4);
    watch_cache(60);
    for (uint64_t page = 0; page < NPAGES; page += 4) {
        assert_reads_on(f, page, 0, 0);
    }
    assert_int_equal(cache.looks, 0);
}

static void test_uffd_mapping_is_not_read_on_where_nothing_is_known(void **state)
{
    static const int errors[] = {EAGAIN, EFAULT, EINVAL, ENOMEM};
    struct fixture *f = *state;

    for (unsigned i = 0; i < sizeof(errors) / sizeof(*errors); i++) {
        show_file(f, 4);
        watch_cache(NPAGES - 1);
        fail_theirs(CALL_MINCORE, 0, errors[i], 2);
        assert_reads_on(f, 0, 0, 0);
        assert_int_equal(count_fired(), 2);
        assert_reads_on(f, 4, 8, 16);
        assert_shows_file(f);
        undo_map(f);
        undo_new(f);
    }
}

enum { MIB_PAGES = (1 << 20) / PAGE, BIG = 48 * MIB_PAGES };

/* Read a part of a file of 48 MiB in clusters of 32 pages. */
static void read_big(struct fixture *f, uint64_t npages, uint64_t ncached)
{
    const size_t length = (size_t)BIG * PAGE;
    unsigned char *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    assert_true(memory != MAP_FAILED);
    assert_int_equal(posix_fallocate(f->file, 0, (off_t)length), 0);
    make_pager(f, 32);
    assert_true(map_zeroing(f->uffd, memory, length, f->file, 0, PGL_ADVICE_NORMAL));
    watch_cache(ncached);
    for (uint64_t page = 0; page < npages; page += 32) {
        assert_true(page < NPAGES ? is_page(memory + page * PAGE, page) : is_zero(memory + page * PAGE));
    }
    undo_new(f);
    munmap(memory, length);
}

/* Y5: it comes to 8 MiB after the cluster, and stays there. */
static void test_uffd_mapping_is_read_on_so_far_only(void **state)
{
    struct fixture *f = *state;
    uint64_t next = 0, end = 0;

    read_big(f, 24 * MIB_PAGES, 32 * MIB_PAGES);
    for (unsigned i = 0; i < cache.n; i++) {
        if (cache.brought[i].first == next && cache.brought[i].npages == 32) {
            next += 32;
        } else {
            assert_int_equal(cache.brought[i].first, end > next ? end : next);
            end = cache.brought[i].first + cache.brought[i].npages;
            assert_true(end <= next + 8 * MIB_PAGES);
        }
    }
    assert_int_equal(next, 24 * MIB_PAGES);
    assert_int_equal(end, 32 * MIB_PAGES);
}

/* Y5 */
static void test_uffd_mapping_of_a_cached_file_costs_a_look_in_24_mib(void **state)
{
    struct fixture *f = *state;

    read_big(f, BIG, BIG);
    assert_int_equal(cache.n, BIG / 32);
    assert_int_equal(cache.looks, 2);
}

static int set_up_mappable(void **state)
{
    mappable = true;
    return set_up(state);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up_mappable, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_uffd_mapping_brings_clusters_without_a_read),
        TEST(test_uffd_mapping_is_for_four_pages_and_more),
        TEST(test_uffd_mapping_does_not_show_what_a_file_grew_by),
        TEST(test_uffd_mapping_of_a_file_that_shrank_is_not_used),
        TEST(test_uffd_mapping_that_cannot_be_copied_is_read),
        TEST(test_uffd_mapping_is_copied_as_far_as_the_file_reaches),
        TEST(test_uffd_mapping_is_in_memory_before_it_is_copied),
        TEST(test_uffd_mapping_that_cannot_be_brought_into_memory_is_read),
        TEST(test_uffd_mapping_with_an_event_in_between_goes_on),
        TEST(test_uffd_mapping_of_a_direct_file_is_not_made),
        TEST(test_uffd_mapping_that_cannot_be_made_is_done_without),
        TEST(test_uffd_mapping_ends_with_its_region),
        TEST(test_uffd_mapping_is_not_read_in_by_mlockall),
        TEST(test_uffd_mapping_of_a_sequence_is_read_on),
        TEST(test_uffd_mapping_is_read_on_in_sequence_only),
        TEST(test_uffd_mapping_of_anothers_file_is_not_read_on),
        TEST(test_uffd_mapping_is_not_read_on_where_nothing_is_known),
        TEST(test_uffd_mapping_is_read_on_so_far_only),
        TEST(test_uffd_mapping_of_a_cached_file_costs_a_look_in_24_mib),
    };
#undef TEST

    return permitted() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
