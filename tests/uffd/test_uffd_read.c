/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading and writing memory that shows a file: every byte, under every advice, with holes and with write protection.
 */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../cm.h"
#include "pager.h"

/* Reading */

static void test_uffd_brings_the_files_bytes_under_every_advice(void **state)
{
    struct fixture *f = *state;

    for (int advice = 0; advice < PGL_ADVICE_COUNT; advice++) {
        f->config.threads = 1 + (unsigned)advice % 2;
        map_all(f, (enum pgl_advice)advice);
        for (uint64_t i = 0; i < NPAGES; i++) {
            uint64_t page = i * 211 % NPAGES; /* in no order that the advice likes */

            assert_true(is_page(f->memory + page * PAGE, page));
        }
        assert_count(f, pages_fetched, NPAGES);
        assert_count(f, bytes_read, NPAGES * PAGE);
        pgl_uffd_free(f->uffd);
        f->uffd = NULL;
        assert_int_equal(madvise(f->memory, NPAGES * PAGE, MADV_DONTNEED), 0);
    }
}

static void test_uffd_sequential_reads_a_window_a_fault(void **state)
{
    struct fixture *f = *state;

    map_all(f, PGL_ADVICE_SEQUENTIAL);
    assert_pages(f->memory, NPAGES, 0);
    assert_count(f, faults, NPAGES / 32);
    assert_count(f, requests, NPAGES / 32);
}

/* One handler answers one fault after the other, and counts it before it wakes: what each has taken is known. */
static void test_uffd_slowest_answer_is_the_largest_of_all(void **state)
{
    struct fixture *f = *state;
    uint64_t total = 0, slowest = 0;

    f->config.threads = 1;
    map_all(f, PGL_ADVICE_RANDOM);
    for (uint64_t page = 0; page < 300; page++) {
        struct pgl_uffd_stats stats;
        uint64_t taken;

        assert_true(is_page(f->memory + page * PAGE, page));
        stats = stats_of(f);
        assert_int_equal(stats.faults, page + 1);
        taken = stats.ns_total - total;
        total = stats.ns_total;
        assert_true(taken > 0);
        slowest = taken > slowest ? taken : slowest;
        assert_int_equal(stats.ns_max, slowest);
    }
}

static void test_uffd_random_reads_no_more_than_is_needed(void **state)
{
    struct fixture *f = *state;

    map_all(f, PGL_ADVICE_RANDOM);
    for (uint64_t i = 0; i < 100; i++) {
        assert_true(is_page(f->memory + (i * 37 % NPAGES) * PAGE, i * 37 % NPAGES));
    }
    assert_count(f, bytes_read, 100 * PAGE);
}

static void test_uffd_maps_a_part_of_the_file(void **state)
{
    struct fixture *f = *state;

    start_pager(f);
    assert_true(pgl_uffd_map(f->uffd, f->memory + 10 * PAGE, 20 * PAGE, f->file, 100 * PAGE, PGL_ADVICE_NORMAL));
    assert_pages(f->memory + 10 * PAGE, 20, 100);
    assert_true(is_zero(f->memory + 9 * PAGE));
    assert_true(is_zero(f->memory + 30 * PAGE));
    assert_count(f, pages_fetched, 20);
}

static void test_uffd_hole_becomes_zero_pages_that_are_not_read(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(ftruncate(f->file, 0), 0);
    assert_int_equal(ftruncate(f->file, NPAGES * PAGE), 0);
    fill(f->file, 100, 3);
    fill(f->file, 200, 50);
    map_all(f, PGL_ADVICE_NORMAL);
    for (uint64_t page = 0; page < NPAGES; page++) {
        bool data = (page >= 100 && page < 103) || (page >= 200 && page < 250);

        assert_true(data ? is_page(f->memory + page * PAGE, page) : is_zero(f->memory + page * PAGE));
    }
    assert_count(f, pages_fetched, 53);
    assert_count(f, bytes_read, 53 * PAGE);
    assert_count(f, pages_zeroed, NPAGES - 53);
    assert_int_equal(lseek(f->file, 0, SEEK_CUR), 0); /* the caller's offset stands */
}

/* Holes of one page and more, before, behind and between pages of data: each cluster takes a part of each. */
static void test_uffd_cluster_takes_holes_and_data_in_turn(void **state)
{
    struct fixture *f = *state;
    struct pgl_advice_table table = *pgl_advice_shipped();
    uint64_t ndata = 0;

    f->config.table = &table;
    assert_int_equal(ftruncate(f->file, 0), 0);
    assert_int_equal(ftruncate(f->file, NPAGES * PAGE), 0);
    for (uint64_t page = 1; page < NPAGES; page += 2 + page % 5) {
        uint64_t npages = 1 + page % 3;

        npages = npages < NPAGES - page ? npages : NPAGES - page;
        fill(f->file, page, npages);
        ndata += npages;
        page += npages;
    }
    for (uint32_t before = 0; before < 8; before++) {
        for (uint32_t after = 0; after < 8; after += 3) {
            table.row[PGL_ADVICE_NORMAL] = (struct pgl_advice_row){.before = before, .after = after};
            map_all(f, PGL_ADVICE_NORMAL);
            for (uint64_t i = 0; i < NPAGES; i++) {
                uint64_t page = i * 211 % NPAGES;

                assert_true(is_page(f->memory + page * PAGE, page) || is_zero(f->memory + page * PAGE));
                assert_int_equal(stats_of(f).present, 0);
            }
            assert_int_equal(stats_of(f).pages_fetched, ndata);
            assert_int_equal(stats_of(f).bytes_read, ndata * PAGE);
            assert_int_equal(stats_of(f).pages_zeroed, NPAGES - ndata);
            pgl_uffd_free(f->uffd);
            f->uffd = NULL;
        }
    }
}

/* More than a mebibyte of the pager's records: 4,096 holes, and as many stretches of pages far from each other. */
static void test_uffd_keeps_many_records(void **state)
{
    const uint64_t distance = 64;
    struct fixture *f = *state;
    uint64_t npages = 4096 * distance;
    unsigned char *memory =
        mmap(NULL, npages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    assert_true(memory != MAP_FAILED);
    assert_int_equal(ftruncate(f->file, 0), 0);
    assert_int_equal(ftruncate(f->file, (off_t)(npages * PAGE)), 0);
    for (uint64_t page = 0; page < npages; page += distance) {
        fill(f->file, page, 1);
    }
    start_pager(f);
    assert_true(pgl_uffd_map(f->uffd, memory, npages * PAGE, f->file, 0, PGL_ADVICE_RANDOM));
    for (unsigned round = 0; round < 2; round++) {
        for (uint64_t page = 0; page < npages; page += distance) {
            assert_true(is_page(memory + page * PAGE, page));
        }
    }
    assert_count(f, faults, npages / distance);
    pgl_uffd_free(f->uffd);
    f->uffd = NULL;
    munmap(memory, npages * PAGE);
}

/* The holes are those of the file as it was mapped: what becomes data later is not seen there. */
static void test_uffd_hole_that_is_filled_later_stays_zeros(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(ftruncate(f->file, 100 * PAGE), 0);
    assert_int_equal(ftruncate(f->file, NPAGES * PAGE), 0);
    map_all(f, PGL_ADVICE_NORMAL);
    fill(f->file, 200, 50);
    for (uint64_t page = 150; page < NPAGES; page++) {
        assert_true(is_zero(f->memory + page * PAGE));
    }
    assert_count(f, bytes_read, 0);
}

/* The thread that writes has locked the file, and waits for its pages: nothing that brings them may want that lock. */
static void test_uffd_region_is_written_to_its_own_sparse_file(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(ftruncate(f->file, 20 * PAGE), 0);
    assert_int_equal(ftruncate(f->file, 21 * PAGE), 0);
    fill(f->file, 21, NPAGES - 21);
    map_all(f, PGL_ADVICE_RANDOM);
    alarm(20); /* it would hang for ever */
    assert_int_equal(pwrite(f->file, f->memory, NPAGES * PAGE, 0), NPAGES * PAGE);
    alarm(0);
    for (uint64_t page = 0; page < NPAGES; page++) {
        assert_true(page == 20 ? is_zero(f->memory + page * PAGE) : is_page(f->memory + page * PAGE, page));
    }
}

static void test_uffd_partial_last_page_ends_in_zeros(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(ftruncate(f->file, (NPAGES - 1) * PAGE + 100), 0);
    map_all(f, PGL_ADVICE_NORMAL);
    assert_memory_not_equal(f->memory + (NPAGES - 1) * PAGE, (unsigned char[100]){0}, 100);
    for (size_t i = 100; i < PAGE; i++) {
        assert_int_equal(f->memory[(NPAGES - 1) * PAGE + i], 0);
    }
    assert_count(f, errors, 0);
}

/* Writing */

static void test_uffd_writes_stay(void **state)
{
    struct fixture *f = *state;

    for (int write_protect = 0; write_protect < 2; write_protect++) {
        f->config.write_protect = write_protect != 0;
        map_all(f, PGL_ADVICE_SEQUENTIAL);
        for (uint64_t page = 0; page < NPAGES; page += 5) {
            memset(f->memory + page * PAGE, 'w', PAGE);
        }
        for (uint64_t page = 0; page < NPAGES; page++) {
            if (page % 5 == 0) {
                assert_int_equal(f->memory[page * PAGE], 'w');
                assert_int_equal(f->memory[page * PAGE + PAGE - 1], 'w');
            } else {
                assert_true(is_page(f->memory + page * PAGE, page));
            }
        }
        pgl_uffd_free(f->uffd);
        f->uffd = NULL;
        assert_int_equal(madvise(f->memory, NPAGES * PAGE, MADV_DONTNEED), 0);
    }
}

/* A write to a page that came for reading is one more fault; a page that a write has asked for is not protected. */
static void test_uffd_write_protect_faults_go_the_unlock_way(void **state)
{
    struct fixture *f = *state;

    f->config.write_protect = true;
    map_all(f, PGL_ADVICE_SEQUENTIAL);
    f->memory[0] = 1;
    assert_count(f, unlocks, 0);
    for (uint64_t page = 1; page < 11; page++) {
        f->memory[page * PAGE] = 1;
        f->memory[page * PAGE + 1] = 1;
    }
    assert_count(f, unlocks, 10);
    assert_count(f, requests, 1);
    assert_int_equal(f->memory[64 * PAGE], (unsigned char)word_at(64 * PAGE)); /* reads are not protected */
    assert_count(f, unlocks, 10);
}

/* Zeros in place of what cannot be read, or that mremap() added, are pages like others. */
static void test_uffd_zeros_are_write_protected_too(void **state)
{
    struct fixture *f = *state;
    unsigned char *small = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsigned char *grown;

    f->config.write_protect = true;
    map_all(f, PGL_ADVICE_RANDOM);
    assert_true(pgl_uffd_map(f->uffd, small, 8 * PAGE, f->file, 0, PGL_ADVICE_RANDOM));
    grown = mremap(small, 8 * PAGE, 64 * PAGE, MREMAP_MAYMOVE);
    assert_int_equal(ftruncate(f->file, 0), 0);
    assert_true(is_zero(f->memory + 2 * PAGE));
    assert_count(f, errors, 1);
    assert_true(is_zero(grown + 20 * PAGE));
    assert_count(f, unlocks, 0);
    f->memory[2 * PAGE] = 'w';
    assert_count(f, unlocks, 1);
    grown[20 * PAGE] = 'w';
    assert_count(f, unlocks, 2);
    f->memory[3 * PAGE] = 'w'; /* a write has asked for it */
    assert_count(f, errors, 2);
    f->memory[3 * PAGE + 1] = 'w';
    assert_true(f->memory[2 * PAGE] == 'w' && f->memory[3 * PAGE] == 'w' && grown[20 * PAGE] == 'w');
    assert_count(f, unlocks, 2);
    munmap(grown, 64 * PAGE);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_uffd_brings_the_files_bytes_under_every_advice),
        TEST(test_uffd_sequential_reads_a_window_a_fault),
        TEST(test_uffd_slowest_answer_is_the_largest_of_all),
        TEST(test_uffd_random_reads_no_more_than_is_needed),
        TEST(test_uffd_maps_a_part_of_the_file),
        TEST(test_uffd_hole_becomes_zero_pages_that_are_not_read),
        TEST(test_uffd_cluster_takes_holes_and_data_in_turn),
        TEST(test_uffd_keeps_many_records),
        TEST(test_uffd_hole_that_is_filled_later_stays_zeros),
        TEST(test_uffd_region_is_written_to_its_own_sparse_file),
        TEST(test_uffd_partial_last_page_ends_in_zeros),
        TEST(test_uffd_writes_stay),
        TEST(test_uffd_write_protect_faults_go_the_unlock_way),
        TEST(test_uffd_zeros_are_write_protected_too),
    };
#undef TEST

    return pager_permitted() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
