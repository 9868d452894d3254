/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The shards of an object: stripes of pages whose locks, ids and counts are their own, and faults that take no lock. */
#include <errno.h>
#include <semaphore.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/fault/fault_internal.h"
#include "probe.h"

#include "../cm.h"

#define EDGE PGL_STRIPE_PAGES /* the first page of the second stripe */

static void make_object_of(struct fixture *f, uint64_t npages)
{
    struct pgl_object_config config = config_of(f);

    config.last = npages - 1;
    config.pager_range.last = npages - 1;
    f->object = pgl_object_new(&config);
    assert_non_null(f->object);
}

static void drop_object(struct fixture *f)
{
    pgl_object_unref(f->object);
    f->object = NULL;
}

static void test_object_has_a_shard_for_each_stripe_up_to_a_limit(void **state)
{
    struct fixture *f = *state;
    static const struct {
        uint64_t npages;
        uint64_t nshards;
    } rows[] = {{1, 1},
                {EDGE - 1, 1},
                {EDGE, 1},
                {EDGE + 1, 2},
                {2 * EDGE, 2},
                {2 * EDGE + 1, 4},
                {(PGL_SHARDS_MAX - 1) * EDGE, PGL_SHARDS_MAX},
                {PGL_SHARDS_MAX * EDGE, PGL_SHARDS_MAX},
                {PGL_SHARDS_MAX * EDGE + 1, PGL_SHARDS_MAX},
                {UINT64_MAX, PGL_SHARDS_MAX}};

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        make_object_of(f, rows[i].npages);
        assert_int_equal(f->object->last_shard + 1, rows[i].nshards);
        assert_int_equal(read_page(&f->a, f->object, rows[i].npages - 1), PGL_FAULT_SUCCESS);
        assert_true(sim_frame_is(f->a.page.frame, 0xaa, rows[i].npages - 1));
        assert_at_rest(f->object);
        drop_object(f);
    }
}

/* The window is 2 pages before and 4 after. */
static void test_object_cluster_reaches_into_the_next_stripe(void **state)
{
    struct fixture *f = *state;

    for (uint64_t page = EDGE - 5; page < EDGE + 3; page++) {
        make_object_of(f, 4 * EDGE);
        assert_int_equal(read_page(&f->a, f->object, page), PGL_FAULT_SUCCESS);
        assert_asked(&f->sim, page - 2, page + 4, page);
        assert_int_equal(f->sim.frames_used, 7);
        for (uint64_t i = page - 2; i <= page + 4; i++) {
            assert_int_equal(read_page(&f->a, f->object, i), PGL_FAULT_SUCCESS);
            assert_true(f->a.page.hit);
            assert_true(sim_frame_is(f->a.page.frame, 0xaa, i));
        }
        assert_int_equal(stats_of(f->object).resident, 7);
        assert_int_equal(stats_of(f->object).by_advice[PGL_ADVICE_DEFAULT].used, 6);
        drop_object(f);
    }
}

/* A fault that is refused, interrupted or terminated removes its marks from both stripes. */
static void test_object_marks_of_both_stripes_are_rolled_back(void **state)
{
    struct fixture *f = *state;

    make_object_of(f, 2 * EDGE);
    f->sim.script = sim_refuse;
    f->sim.refusal = EAGAIN;
    assert_int_equal(read_page(&f->a, f->object, EDGE - 1), PGL_FAULT_RETRY);
    assert_at_rest(f->object);
    f->sim.script = sim_keep;
    assert_int_equal(read_page(&f->a, f->object, EDGE + 1), PGL_FAULT_PENDING);
    assert_int_equal(stats_of(f->object).busy, 7);
    pgl_fault_interrupt(f->a.fault);
    assert_int_equal(go_on(&f->a), PGL_FAULT_INTERRUPTED);
    assert_at_rest(f->object);
    assert_int_equal(read_page(&f->a, f->object, EDGE + 1), PGL_FAULT_PENDING);
    pgl_object_terminate(f->object);
    assert_int_equal(go_on(&f->a), PGL_FAULT_MEMORY_ERROR);
    assert_at_rest(f->object);
}

/* Stripes that are a power of two apart have different shards, up to that many bytes of pages, and none is left out. */
static void test_object_even_parts_do_not_meet_at_each_stripe(void **state)
{
    struct fixture *f = *state;

    make_object_of(f, UINT64_MAX);
    for (unsigned bits = 0; bits < 40; bits++) {
        unsigned meet = 0;

        for (uint64_t stripe = 0; stripe < 1024; stripe++) {
            meet += pgl_object_shard_of(f->object, stripe) ==
                    pgl_object_shard_of(f->object, stripe + (UINT64_C(1) << bits));
        }
        assert_true(meet <= 1024 / 8);
    }
    for (uint64_t group = 0; group < 64; group++) {
        assert_int_equal(
            pgl_object_shards(f->object, group * PGL_SHARDS_MAX * EDGE, (group + 1) * PGL_SHARDS_MAX * EDGE - 1),
            UINT32_MAX);
        assert_int_equal(__builtin_popcountll(pgl_object_shards(f->object, group * EDGE, group * EDGE)), 1);
    }
}

/* A heap whose allocation number `at` waits until the test lets it go on. */
struct gate {
    unsigned calls;
    unsigned at;
    sem_t reached;
    sem_t open;
};

static void *gate_alloc(void *heap, size_t size)
{
    struct gate *gate = heap;

    if (++gate->calls == gate->at) {
        sem_post(&gate->reached);
        sem_wait(&gate->open);
    }
    return calloc(1, size);
}

static void gate_free(void *heap, void *block)
{
    (void)heap;
    free(block);
}

static void *read_before_a_chunk_ends(void *arg)
{
    struct fixture *f = arg;

    assert_int_equal(read_page(&f->a, f->object, PGL_CHUNK_PAGES - 3), PGL_FAULT_PENDING);
    return NULL;
}

/* One fault has counted the spare frames, and its cluster of 7 is marked in part, when another stripe's counts them. */
static void test_object_spare_frames_are_not_promised_twice(void **state)
{
    static const struct pgl_heap_ops gate_ops = {gate_alloc, gate_free};
    struct fixture *f = *state;
    struct pgl_object_config config = config_of(f);
    struct gate gate = {.at = 4}; /* the object, a table, a chunk; and the next chunk, in the cluster */
    pthread_t thread;

    assert_int_equal(sem_init(&gate.reached, 0, 0), 0);
    assert_int_equal(sem_init(&gate.open, 0, 0), 0);
    config.last = config.pager_range.last = 2 * EDGE - 1;
    config.heap_ops = &gate_ops;
    config.heap = &gate;
    f->sim.nframes = 10;
    f->sim.reserve = 2;
    f->sim.script = sim_keep;
    f->object = pgl_object_new(&config);
    assert_int_equal(pthread_create(&thread, NULL, read_before_a_chunk_ends, f), 0);
    sem_wait(&gate.reached);
    assert_int_equal(read_page(&f->b, f->object, EDGE + 100), PGL_FAULT_PENDING);
    sem_post(&gate.open);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(stats_of(f->object).outstanding,
                     7 + 1);                              /* the second takes no neighbours: two frames are kept back */
    assert_int_equal(f->object->frames->promised, 7 + 1); /* for the replies */
    pgl_object_terminate(f->object);
    assert_int_equal(go_on(&f->a), PGL_FAULT_MEMORY_ERROR);
    assert_int_equal(go_on(&f->b), PGL_FAULT_MEMORY_ERROR);
    drop_object(f);
    sem_destroy(&gate.reached);
    sem_destroy(&gate.open);
}

static void test_object_ids_of_shards_differ(void **state)
{
    struct fixture *f = *state;
    uint64_t ids[8];

    make_object_of(f, 4 * EDGE);
    for (uint64_t i = 0; i < 8; i++) {
        assert_int_equal(read_page(&f->a, f->object, i % 4 * EDGE + 100 * (i / 4)), PGL_FAULT_SUCCESS);
        ids[i] = sim_last(&f->sim)->id;
        assert_int_not_equal(ids[i], 0);
        for (uint64_t j = 0; j < i; j++) {
            assert_int_not_equal(ids[i], ids[j]);
        }
    }
}

/* A range that ends in the middle of stripes, is wider than all of them, or comes round to the first shard. */
static void test_object_range_over_stripes_ends_where_it_says(void **state)
{
    struct fixture *f = *state;
    static const uint64_t ends[] = {0, 1, EDGE - 1, EDGE, EDGE + 1, 2 * EDGE, 3 * EDGE - 1, 3 * EDGE};

    for (size_t first = 0; first < 8; first++) {
        for (size_t last = first; last < 8; last++) {
            make_object_of(f, 4 * EDGE);
            pgl_object_advise(f->object, PGL_ADVICE_RANDOM);
            for (size_t i = 0; i < 8; i++) {
                assert_int_equal(read_page(&f->a, f->object, ends[i]), PGL_FAULT_SUCCESS);
            }
            assert_int_equal(
                pgl_pager_withhold(f->object, (struct pgl_pager_range){ends[first], ends[last]}, PGL_ACCESS_READ),
                last - first + 1);
            assert_int_equal(pgl_object_remove(f->object, ends[first], ends[last]), last - first + 1);
            assert_int_equal(stats_of(f->object).resident, 8 - (last - first + 1));
            drop_object(f);
        }
    }
}

/* A reply that no page of the object is in counts as well, and so does one that spans all stripes. */
static void test_object_replies_over_stripes_are_counted_once(void **state)
{
    struct fixture *f = *state;
    const struct pgl_pager_range beside = {5 * EDGE, 5 * EDGE + 9};
    const struct pgl_pager_range all = {0, 4 * EDGE - 1};

    make_object_of(f, 4 * EDGE);
    assert_int_equal(read_page(&f->a, f->object, EDGE - 1), PGL_FAULT_SUCCESS); /* seven pages */
    assert_int_equal(pgl_pager_no_data(f->object, 1, beside), 0);
    assert_int_equal(stats_of(f->object).aliens, 10);
    assert_int_equal(pgl_pager_no_data(f->object, 1, all), 0);
    assert_int_equal(stats_of(f->object).duplicates, 7);
    assert_int_equal(stats_of(f->object).aliens, 10 + 4 * EDGE - 7);
}

/* Credits are the object's and not a shard's. */
static void test_object_credit_is_handed_to_a_fault_in_another_shard(void **state)
{
    struct fixture *f = *state;
    struct pgl_object_config config = config_of(f);

    config.last = config.pager_range.last = 2 * EDGE - 1;
    config.credits = 1;
    f->object = pgl_object_new(&config);
    f->sim.script = sim_keep;
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_PENDING);
    assert_int_equal(read_page(&f->b, f->object, EDGE + 100), PGL_FAULT_PENDING);
    assert_int_equal(stats_of(f->object).waiting, 2);
    sim_supply(&f->sim, sim_last(&f->sim), 100, 100, PGL_ACCESS_READ);
    assert_int_equal(go_on(&f->a), PGL_FAULT_SUCCESS);
    assert_int_equal(go_on(&f->b), PGL_FAULT_PENDING);
    sim_supply(&f->sim, sim_last(&f->sim), EDGE + 100, EDGE + 100, PGL_ACCESS_READ);
    assert_int_equal(go_on(&f->b), PGL_FAULT_SUCCESS);
    assert_at_rest(f->object);
}

static void hear(const char *what, void *opaque)
{
    *(const char **)opaque = what;
}

static void test_object_check_names_a_page_in_another_stripes_shard(void **state)
{
    struct fixture *f = *state;
    const char *said = "";
    struct pgl_shard saved;

    make_object_of(f, 2 * EDGE);
    assert_int_equal(read_page(&f->a, f->object, 0), PGL_FAULT_SUCCESS);
    saved = f->object->shards[1];
    f->object->shards[1].table = f->object->shards[0].table;
    f->object->shards[1].resident = f->object->shards[0].resident;
    assert_int_equal(pgl_object_check(f->object, hear, &said), 1);
    assert_memory_equal(said, "I10", 3);
    f->object->shards[1].table = saved.table;
    f->object->shards[1].resident = saved.resident;
}

/* Cache lines */

static uintptr_t line_of(const void *member)
{
    return (uintptr_t)member / PGL_CACHE_LINE;
}

/* A heap whose blocks begin 16 bytes further each time. */
static void *alloc_further(void *heap, size_t size)
{
    size_t *nblocks = heap;
    size_t further = sizeof(max_align_t) * (1 + ++*nblocks % 4);
    char *block = calloc(1, further + size);

    if (block) {
        memcpy(block + further - sizeof(further), &further, sizeof(further));
    }
    return block ? block + further : NULL;
}

static void free_further(void *heap, void *block)
{
    size_t further;

    (void)heap;
    memcpy(&further, (char *)block - sizeof(further), sizeof(further));
    free((char *)block - further);
}

static void test_object_shards_share_no_cache_line(void **state)
{
    static const struct pgl_heap_ops heap_ops = {.alloc = alloc_further, .free = free_further};
    struct fixture *f = *state;
    struct pgl_object_config config = config_of(f);
    size_t nblocks = 0;

    config.heap_ops = &heap_ops;
    config.heap = &nblocks;
    config.last = config.pager_range.last = 2 * EDGE - 1;
    for (unsigned i = 0; i < 5; i++) {
        struct pgl_shard *shards;

        f->object = pgl_object_new(&config);
        assert_non_null(f->object);
        shards = f->object->shards;
        assert_true(line_of((char *)(f->object + 1) - 1) < line_of(&shards[0]));
        assert_true(line_of((char *)&shards[1] - 1) < line_of(&shards[1]));
        assert_true(line_of(&shards[0].nchunks) < line_of(&shards[0].room)); /* of what is read without the lock */
        assert_int_equal(read_page(&f->a, f->object, EDGE), PGL_FAULT_SUCCESS);
        drop_object(f);
    }
}

static void test_fault_shares_no_cache_line_with_the_next(void **state)
{
    struct pgl_fault pair[2];

    (void)state;
    assert_true((char *)&pair[1] - (char *)(&pair[0].asked_last + 1) >= PGL_CACHE_LINE);
}

/* Faults without a lock */

static uint64_t touches(struct fixture *f, enum pgl_advice advice)
{
    return stats_of(f->object).by_advice[advice].touches;
}

/* While its shard is locked, a fault on a page that is there is answered. */
static void test_object_page_that_is_there_is_found_without_a_lock(void **state)
{
    struct fixture *f = *state;

    make_object_of(f, EDGE);
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_SUCCESS);
    pgl_object_lock(f->object, 0, 0);
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_SUCCESS);
    pgl_object_unlock(f->object, 0, 0);
    assert_true(f->a.page.hit);
    assert_true(f->a.page.object == f->object);
    assert_int_equal(f->a.page.index, 100);
    assert_int_equal(f->a.page.access, PGL_ACCESS_READ);
    assert_true(sim_frame_is(f->a.page.frame, 0xaa, 100));
}

static void test_object_page_that_is_there_has_the_access_that_it_has(void **state)
{
    struct fixture *f = *state;
    const struct pgl_pager_range page = {100, 100};

    make_object_of(f, EDGE);
    assert_int_equal(write_page(&f->a, f->object, 100), PGL_FAULT_SUCCESS);
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_SUCCESS);
    assert_int_equal(f->a.page.access, PGL_ACCESS_WRITE);
    pgl_pager_withhold(f->object, page, PGL_ACCESS_READ);
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_SUCCESS);
    assert_int_equal(f->a.page.access, PGL_ACCESS_READ);
    assert_int_equal(f->sim.nunlocks, 0);
    assert_int_equal(write_page(&f->a, f->object, 100), PGL_FAULT_SUCCESS);
    assert_int_equal(f->sim.nunlocks, 1);
    assert_int_equal(pgl_object_remove(f->object, 100, 100), 1);
    assert_int_equal(fault_on(&f->a, f->object, 100, PGL_ACCESS_READ, PGL_FAULT_FLAG_RESIDENT), PGL_FAULT_NO_DATA);
}

/* More faults than there are slots: each touch is counted once, by the advice that was followed. */
static void test_object_touches_without_a_lock_are_counted(void **state)
{
    struct fixture *f = *state;
    struct probe probes[PGL_HIT_SLOTS + 1] = {0};

    make_object_of(f, EDGE);
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_SUCCESS);
    for (size_t i = 0; i <= PGL_HIT_SLOTS; i++) {
        probes[i].fault = pgl_fault_new();
        assert_int_equal(read_page(&probes[i], f->object, 100), PGL_FAULT_SUCCESS);
        assert_int_equal(touches(f, PGL_ADVICE_DEFAULT), 2 + i);
    }
    pgl_object_advise(f->object, PGL_ADVICE_NORMAL);
    for (size_t i = 0; i <= PGL_HIT_SLOTS; i++) {
        assert_int_equal(read_page(&probes[i], f->object, 100), PGL_FAULT_SUCCESS);
        assert_int_equal(touches(f, PGL_ADVICE_NORMAL), 1 + i);
        pgl_fault_free(probes[i].fault);
    }
}

/* One fault serves two objects by turns. */
static void test_object_touches_are_counted_in_the_object_that_was_touched(void **state)
{
    struct fixture *f = *state;
    struct pgl_object *first;

    make_object_of(f, EDGE);
    first = f->object;
    make_object_of(f, EDGE);
    for (uint64_t i = 1; i < 5; i++) {
        assert_int_equal(read_page(&f->a, first, 100), PGL_FAULT_SUCCESS);
        assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_SUCCESS);
        assert_int_equal(stats_of(first).by_advice[PGL_ADVICE_DEFAULT].touches, i);
        assert_int_equal(touches(f, PGL_ADVICE_DEFAULT), i);
    }
    pgl_object_unref(first);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_object_has_a_shard_for_each_stripe_up_to_a_limit),
        TEST(test_object_cluster_reaches_into_the_next_stripe),
        TEST(test_object_marks_of_both_stripes_are_rolled_back),
        TEST(test_object_even_parts_do_not_meet_at_each_stripe),
        TEST(test_object_spare_frames_are_not_promised_twice),
        TEST(test_object_ids_of_shards_differ),
        TEST(test_object_range_over_stripes_ends_where_it_says),
        TEST(test_object_replies_over_stripes_are_counted_once),
        TEST(test_object_credit_is_handed_to_a_fault_in_another_shard),
        TEST(test_object_check_names_a_page_in_another_stripes_shard),
        TEST(test_object_shards_share_no_cache_line),
        TEST(test_fault_shares_no_cache_line_with_the_next),
        TEST(test_object_page_that_is_there_is_found_without_a_lock),
        TEST(test_object_page_that_is_there_has_the_access_that_it_has),
        TEST(test_object_touches_without_a_lock_are_counted),
        TEST(test_object_touches_are_counted_in_the_object_that_was_touched),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
