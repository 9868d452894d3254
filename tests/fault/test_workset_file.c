/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Working sets as bytes: what is saved is loaded, and each kind of damage is refused with its reason. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <pagelock/workset.h>

#include "../cm.h"

enum { HEADER = 24, NAME = 4, ROOM = 400 };

/* A saved set of three stretches with the name "file", of two runs. */
struct saved {
    unsigned char bytes[ROOM];
    size_t size;
};

static struct pgl_workset *record(uint64_t first, uint64_t last)
{
    struct pgl_recording *recording = pgl_recording_new(1000);
    struct pgl_workset *set;

    for (uint64_t page = first; page <= last; page++) {
        pgl_recording_touch(recording, page);
    }
    set = pgl_workset_new(recording, "file", NULL);
    pgl_recording_free(recording);
    return set;
}

/* Pages 10 to 14 once, 15 to 19 twice, 20 to 29 once. */
static struct saved save(void)
{
    const struct pgl_workset *sets[] = {record(10, 19), record(15, 29)};
    struct pgl_workset *set = pgl_workset_combine(sets, 2, 1, NULL);
    struct saved saved;

    saved.size = pgl_workset_save(set, saved.bytes, sizeof(saved.bytes));
    assert_int_equal(saved.size, HEADER + NAME + 3 * 12 + 4);
    pgl_workset_free(set);
    for (unsigned i = 0; i < 2; i++) {
        pgl_workset_free((struct pgl_workset *)(uintptr_t)sets[i]);
    }
    return saved;
}

static void put32(unsigned char *to, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++) {
        to[i] = (unsigned char)(value >> 8 * i);
    }
}

/* The checksum of zip and gzip, again. */
static uint32_t crc32_of(const unsigned char *bytes, size_t size)
{
    uint32_t crc = UINT32_MAX;

    for (size_t i = 0; i < 8 * size; i++) {
        unsigned bit = bytes[i / 8] >> i % 8 & 1;

        crc = (crc & 1) != bit ? crc >> 1 ^ UINT32_C(0xedb88320) : crc >> 1;
    }
    return ~crc;
}

/* Change a number of a saved set, and have its checksum right. */
static struct saved forge(size_t at, uint32_t value)
{
    struct saved saved = save();

    put32(saved.bytes + at, value);
    put32(saved.bytes + saved.size - 4, crc32_of(saved.bytes, saved.size - 4));
    return saved;
}

static void assert_refused(const struct saved *saved, const char *reason)
{
    const char *why = NULL;

    errno = 0;
    assert_null(pgl_workset_load(saved->bytes, saved->size, NULL, NULL, &why));
    assert_int_equal(errno, EINVAL);
    assert_non_null(why);
    assert_string_equal(why, reason);
}

#define STRETCH(i, member) (HEADER + NAME + 12 * (i) + 4 * (member))

static void test_workset_that_is_loaded_is_the_one_that_was_saved(void **state)
{
    const struct saved saved = save();
    struct pgl_workset *set = pgl_workset_load(saved.bytes, saved.size, NULL, NULL, NULL);
    struct pgl_workset_info info;
    unsigned char again[ROOM];

    (void)state;
    assert_non_null(set);
    pgl_workset_get_info(set, &info);
    assert_string_equal(info.name, "file");
    assert_int_equal(info.recordings, 2);
    assert_int_equal(info.pages, 20);
    assert_int_equal(pgl_workset_save(set, again, sizeof(again)), saved.size);
    assert_memory_equal(again, saved.bytes, saved.size);
    pgl_workset_free(set);
}

/* The form that other versions and machines write. */
static void test_workset_is_saved_in_the_form_that_is_documented(void **state)
{
    static const unsigned char expected[] = {
        'p', 'g', 'l', 'w', 's', 'e', 't', 's', 1,  0, 0, 0, 4,  0, 0, 0, 3, 0, 0,  0, 2, 0,
        0,   0,   'f', 'i', 'l', 'e', 10,  0,   0,  0, 5, 0, 0,  0, 1, 0, 0, 0, 15, 0, 0, 0,
        5,   0,   0,   0,   2,   0,   0,   0,   20, 0, 0, 0, 10, 0, 0, 0, 1, 0, 0,  0,
    };
    const struct saved saved = save();

    (void)state;
    assert_memory_equal(saved.bytes, expected, sizeof(expected));
    assert_int_equal(crc32_of((const unsigned char *)"123456789", 9), 0xcbf43926);
    assert_int_equal(saved.size, sizeof(expected) + 4);
}

static void test_workset_without_room_writes_nothing(void **state)
{
    const struct saved saved = save();
    struct pgl_workset *set = pgl_workset_load(saved.bytes, saved.size, NULL, NULL, NULL);
    unsigned char bytes[ROOM] = {0};

    (void)state;
    assert_int_equal(pgl_workset_save(set, NULL, 0), saved.size);
    assert_int_equal(pgl_workset_save(set, bytes, saved.size - 1), saved.size);
    for (unsigned i = 0; i < ROOM; i++) {
        assert_int_equal(bytes[i], 0);
    }
    assert_int_equal(pgl_workset_save(set, bytes, saved.size), saved.size);
    assert_memory_equal(bytes, saved.bytes, saved.size);
    pgl_workset_free(set);
}

static void test_workset_with_one_bit_changed_is_refused(void **state)
{
    const struct saved saved = save();

    (void)state;
    for (size_t bit = 0; bit < 8 * saved.size; bit++) {
        struct saved damaged = saved;
        const char *why = NULL;

        damaged.bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
        assert_null(pgl_workset_load(damaged.bytes, damaged.size, NULL, NULL, &why));
        assert_non_null(why);
    }
    {
        struct saved damaged = saved;

        damaged.bytes[STRETCH(0, 0)] ^= 1;
        assert_refused(&damaged, "its checksum is wrong");
    }
}

static void test_workset_that_is_cut_short_is_refused(void **state)
{
    struct saved saved = save();
    const size_t whole = saved.size;

    (void)state;
    for (saved.size = 0; saved.size < whole; saved.size++) {
        assert_refused(&saved, saved.size < 8 ? "it is no working set" : "it is cut short");
    }
}

static void test_workset_may_be_followed_by_others_if_the_caller_knows(void **state)
{
    struct saved saved = save();
    const size_t whole = saved.size;
    struct pgl_workset *set;
    size_t used = 0;

    (void)state;
    saved.size++;
    assert_refused(&saved, "other bytes follow it");
    set = pgl_workset_load(saved.bytes, saved.size, NULL, &used, NULL);
    assert_non_null(set);
    assert_int_equal(used, whole);
    pgl_workset_free(set);
}

static void test_workset_of_another_form_is_refused(void **state)
{
    const struct saved other_magic = forge(0, 0), other_version = forge(8, 2);
    const struct saved long_name = forge(12, PGL_WORKSET_NAME_MAX + 1);
    const struct saved many_stretches = forge(16, PGL_WORKSET_STRETCHES_MAX + 1);
    const struct saved zero_in_name = forge(HEADER, 'f' | 'i' << 8);

    (void)state;
    assert_refused(&other_magic, "it is no working set");
    assert_refused(&other_version, "it has a version that this library does not know");
    assert_refused(&long_name, "its name is too long");
    assert_refused(&many_stretches, "it has too many stretches");
    assert_refused(&zero_in_name, "its name has a zero");
}

static void test_workset_with_impossible_stretches_is_refused(void **state)
{
    const struct saved empty = forge(STRETCH(1, 1), 0);
    const struct saved beyond = forge(STRETCH(2, 0), PGL_WORKSET_PAGES_MAX - 9);
    const struct saved overlapping = forge(STRETCH(1, 0), 14), backward = forge(STRETCH(2, 0), 1);
    const struct saved in_two_parts = forge(STRETCH(1, 2), 1);
    const struct saved untouched = forge(STRETCH(0, 2), 0), too_often = forge(STRETCH(0, 2), 3);
    const struct saved unrecorded = forge(20, 0);

    (void)state;
    assert_refused(&empty, "it has a stretch without pages, or beyond the last page");
    assert_refused(&beyond, "it has a stretch without pages, or beyond the last page");
    assert_refused(&overlapping, "its stretches are not in order");
    assert_refused(&backward, "its stretches are not in order");
    assert_refused(&in_two_parts, "it has one stretch in two parts");
    assert_refused(&untouched, "it has a stretch that no run touched, or more runs than were recorded");
    assert_refused(&too_often, "it has a stretch that no run touched, or more runs than were recorded");
    assert_refused(&unrecorded, "it has no recorded run");
}

/* A short file may name the last page, and more pages than there is memory for. */
static void test_workset_reaches_to_the_last_page(void **state)
{
    struct saved saved = forge(STRETCH(2, 1), PGL_WORKSET_PAGES_MAX - 20);
    struct pgl_workset *set = pgl_workset_load(saved.bytes, saved.size, NULL, NULL, NULL);
    struct pgl_pager_range cluster;
    struct pgl_workset_info info;

    (void)state;
    assert_non_null(set);
    assert_true(pgl_workset_find(set, (uint64_t)PGL_WORKSET_PAGES_MAX - 1, &cluster));
    assert_int_equal(cluster.last, (uint64_t)PGL_WORKSET_PAGES_MAX - 1);
    assert_true(cluster.last - cluster.first < PGL_WORKSET_CLUSTER);
    assert_false(pgl_workset_find(set, PGL_WORKSET_PAGES_MAX, &cluster));
    pgl_workset_get_info(set, &info);
    assert_int_equal(info.pages, (uint64_t)PGL_WORKSET_PAGES_MAX - 10);
    pgl_workset_free(set);
}

static void test_workset_takes_the_costs_of_the_machine_that_loads_it(void **state)
{
    static const struct pgl_costs dear = {100000, 1000};
    const struct pgl_workset *sets[] = {record(10, 10), record(50, 50)};
    struct pgl_workset *set = pgl_workset_combine(sets, 2, 1, NULL);
    struct pgl_workset *again;
    struct pgl_workset_info info;
    unsigned char bytes[ROOM];

    (void)state;
    pgl_workset_get_info(set, &info);
    assert_int_equal(info.clusters, 2);
    again = pgl_workset_load(bytes, pgl_workset_save(set, bytes, sizeof(bytes)), &dear, NULL, NULL);
    pgl_workset_get_info(again, &info);
    assert_int_equal(info.clusters, 1);
    pgl_workset_free(set);
    pgl_workset_free(again);
    for (unsigned i = 0; i < 2; i++) {
        pgl_workset_free((struct pgl_workset *)(uintptr_t)sets[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_workset_that_is_loaded_is_the_one_that_was_saved),
        cmocka_unit_test(test_workset_is_saved_in_the_form_that_is_documented),
        cmocka_unit_test(test_workset_without_room_writes_nothing),
        cmocka_unit_test(test_workset_with_one_bit_changed_is_refused),
        cmocka_unit_test(test_workset_that_is_cut_short_is_refused),
        cmocka_unit_test(test_workset_may_be_followed_by_others_if_the_caller_knows),
        cmocka_unit_test(test_workset_of_another_form_is_refused),
        cmocka_unit_test(test_workset_with_impossible_stretches_is_refused),
        cmocka_unit_test(test_workset_reaches_to_the_last_page),
        cmocka_unit_test(test_workset_takes_the_costs_of_the_machine_that_loads_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
