/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The leaves of a collection: their order, and their memory. Linked with --wrap for malloc, which does not reach into
 * GLib.
 */
#include <errno.h>
#include <stdlib.h>

#include <pagelock/collection.h>

#include "../../src/code/leaves_internal.h"
#include "../cm.h"

enum {
    MOST = 65,
    STEP = 3, /* leaves of the address space from one leaf to the next */
};

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);

static unsigned fail_in; /* 1: the next allocation fails; 0: none does */
static struct pgl_leaf leaves[MOST];
/* At each edge: four in place; room for 16 and 64 in an array. */
static const unsigned counts[] = {1, 3, 4, 5, 15, 16, 17, 63, 64, MOST};
/* An order of arrival: leaf number (first + n * step) % count is the n-th, where count and step have no divisor. */
static const unsigned orders[][2] = {{0, 1}, {1, 1}, {2, 2}, {0, 7}};

void *__wrap_malloc(size_t size)
{
    if (fail_in && !--fail_in) {
        errno = ENOMEM;
        return NULL;
    }
    return __real_malloc(size);
}

static uint64_t first_index(unsigned n)
{
    return (uint64_t)(n * STEP + 1) * PGL_LEVEL_SIZE;
}

static void init(struct pgl_collection *set)
{
    *set = (struct pgl_collection){0};
    for (unsigned n = 0; n < MOST; n++) {
        leaves[n].first_index = first_index(n);
    }
}

/* Make a leaf recognizable. */
static void stamp(struct pgl_collection_leaf *member)
{
    member->words = 2;
    member->held[1] = member->first_index;
}

/* The number of leaves, each of which is stamped and above the one before. */
static unsigned count(const struct pgl_collection *set)
{
    unsigned n = 0;
    uint64_t next = 0;

    for (struct pgl_leaves_at at = pgl_leaves_from(set, 0); at.member; at = pgl_leaves_next(set, at)) {
        assert_true(at.member->first_index >= next);
        assert_int_equal(at.member->leaf->first_index, at.member->first_index);
        assert_int_equal(at.member->words, 2);
        assert_int_equal(at.member->held[1], at.member->first_index);
        next = at.member->first_index + PGL_LEVEL_SIZE;
        n++;
    }
    return n;
}

/* Insert the first @n leaves in one of the orders. */
static void insert(struct pgl_collection *set, unsigned n, unsigned order)
{
    for (unsigned i = 0; i < n; i++) {
        unsigned at = (orders[order][0] + i * orders[order][1]) % n;
        struct pgl_collection_leaf *member = pgl_leaves_get(set, &leaves[order == 1 ? n - 1 - i : at]);

        assert_non_null(member);
        if (!member->words) {
            stamp(member);
        }
    }
    for (unsigned i = 0; i < n; i++) { /* those that the order left out, because its step divides @n */
        struct pgl_collection_leaf *member = pgl_leaves_get(set, &leaves[i]);

        assert_non_null(member);
        if (!member->words) {
            stamp(member);
        }
    }
}

static void test_leaves_come_in_order_whatever_the_order_of_arrival(void **state)
{
    (void)state;
    for (size_t c = 0; c < sizeof(counts) / sizeof(*counts); c++) {
        for (unsigned order = 0; order < sizeof(orders) / sizeof(*orders); order++) {
            struct pgl_collection set;

            init(&set);
            insert(&set, counts[c], order);
            assert_int_equal(count(&set), counts[c]);
            pgl_leaves_free(&set);
            assert_int_equal(count(&set), 0);
        }
    }
}

static void test_leaves_are_found_again_with_their_members(void **state)
{
    (void)state;
    for (size_t c = 0; c < sizeof(counts) / sizeof(*counts); c++) {
        struct pgl_collection set;

        init(&set);
        insert(&set, counts[c], 1);
        for (unsigned n = 0; n < counts[c]; n++) {
            struct pgl_collection_leaf *member = pgl_leaves_get(&set, &leaves[n]);

            assert_ptr_equal(member->leaf, &leaves[n]);
            assert_int_equal(member->words, 2);
            assert_int_equal(member->held[1], first_index(n));
        }
        assert_int_equal(count(&set), counts[c]);
        pgl_leaves_free(&set);
    }
}

static void test_leaves_from_a_page_begin_with_its_leaf_or_the_next(void **state)
{
    (void)state;
    for (size_t c = 0; c < sizeof(counts) / sizeof(*counts); c++) {
        struct pgl_collection set;

        init(&set);
        insert(&set, counts[c], 0);
        for (unsigned n = 0; n < counts[c]; n++) {
            const uint64_t last = first_index(n) + PGL_LEVEL_SIZE - 1;
            struct pgl_leaves_at behind = pgl_leaves_from(&set, last + 1);

            assert_ptr_equal(pgl_leaves_from(&set, first_index(n)).member->leaf, &leaves[n]);
            assert_ptr_equal(pgl_leaves_from(&set, last).member->leaf, &leaves[n]);
            assert_ptr_equal(pgl_leaves_from(&set, first_index(n) - 1).member->leaf, &leaves[n]);
            assert_ptr_equal(behind.member ? behind.member->leaf : NULL, n + 1 < counts[c] ? &leaves[n + 1] : NULL);
        }
        pgl_leaves_free(&set);
    }
}

/* Each allocation fails in turn, for each leaf that arrives. */
static void test_leaves_survive_want_of_memory(void **state)
{
    struct pgl_collection set;
    unsigned failures = 0;

    (void)state;
    init(&set);
    for (unsigned n = 0; n < MOST; n++) {
        struct pgl_collection_leaf *member;

        for (unsigned fail = 1;; fail++) {
            fail_in = fail;
            errno = 0;
            member = pgl_leaves_get(&set, &leaves[n]);
            if (member) {
                break;
            }
            assert_int_equal(errno, ENOMEM);
            assert_int_equal(count(&set), n);
            failures++;
        }
        fail_in = 0;
        assert_true(n >= PGL_COLLECTION_INLINE || !failures);
        stamp(member);
        assert_int_equal(count(&set), n + 1);
    }
    assert_true(failures > 0);
    pgl_leaves_free(&set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_leaves_come_in_order_whatever_the_order_of_arrival),
        cmocka_unit_test(test_leaves_are_found_again_with_their_members),
        cmocka_unit_test(test_leaves_from_a_page_begin_with_its_leaf_or_the_next),
        cmocka_unit_test(test_leaves_survive_want_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
