/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Objects: the table of their records, ranges of pages, and the checker of their invariants. */
#include "../../src/fault/object_internal.h"
#include "probe.h"

#include "../cm.h"

/* Records of 64 pages of the first shard, far from each other in no regular order. */
static uint64_t page_of_record(const struct pgl_object *object, uint64_t number)
{
    uint64_t page = (number * number * 7 + number) * PGL_SHARDS_MAX * PGL_STRIPE_PAGES + number % PGL_CHUNK_PAGES;

    while (pgl_object_shard(object, page) != &object->shards[0]) {
        page += PGL_STRIPE_PAGES;
    }
    return page;
}

static void make_wide_object(struct fixture *f)
{
    struct pgl_object_config config = config_of(f);

    config.last = UINT64_MAX;
    config.pager_range = (struct pgl_pager_range){0, UINT64_MAX};
    config.advice = PGL_ADVICE_RANDOM;
    f->object = pgl_object_new(&config);
}

/* The table begins with 8 slots and is at most half used: it grows for the 5th record, the 9th, the 17th and the 33rd. */
static void test_object_table_grows_and_keeps_every_record(void **state)
{
    struct fixture *f = *state;

    make_wide_object(f);
    for (uint64_t n = 0; n < 40; n++) {
        assert_int_equal(read_page(&f->a, f->object, page_of_record(f->object, n)), PGL_FAULT_SUCCESS);
        assert_int_equal(f->object->shards[0].nchunks, n + 1);
        assert_int_equal(f->object->shards[0].table->nslots, n < 4 ? 8 : n < 8 ? 16 : n < 16 ? 32 : n < 32 ? 64 : 128);
        for (uint64_t i = 0; i <= n; i++) {
            assert_true(pgl_object_resident(f->object, page_of_record(f->object, i)));
            assert_int_equal(read_page(&f->b, f->object, page_of_record(f->object, i)), PGL_FAULT_SUCCESS);
            assert_true(sim_frame_is(f->b.page.frame, 0xaa, page_of_record(f->object, i)));
        }
        assert_false(pgl_object_resident(f->object, page_of_record(f->object, n + 1)));
        assert_int_equal(f->sim.nrequests, n + 1);
        assert_int_equal(stats_of(f->object).resident, n + 1);
    }
    for (uint64_t n = 0; n < 40; n++) {
        assert_int_equal(pgl_object_remove(f->object, page_of_record(f->object, n), page_of_record(f->object, n)), 1);
    }
    assert_int_equal(f->sim.frames_used, 0);
}

/* Pages on both sides of where each record of a few begins; the range lies between two of these places. */
static void try_ranges(struct fixture *f, uint64_t nrecords, uint64_t distance)
{
    for (uint64_t first = 0; first < nrecords; first++) {
        for (uint64_t last = first + 1; last < nrecords; last++) {
            uint64_t from = PGL_CHUNK_PAGES * (1 + first * distance);
            uint64_t to = PGL_CHUNK_PAGES * (1 + last * distance) - 1;

            make_wide_object(f);
            for (uint64_t i = 0; i < nrecords; i++) {
                read_page(&f->a, f->object, PGL_CHUNK_PAGES * (1 + i * distance) - 1);
                read_page(&f->a, f->object, PGL_CHUNK_PAGES * (1 + i * distance));
            }
            assert_int_equal(pgl_object_remove(f->object, from, to), 2 * (last - first));
            assert_int_equal(stats_of(f->object).resident, 2 * (nrecords - (last - first)));
            assert_true(pgl_object_resident(f->object, from - 1));
            assert_true(pgl_object_resident(f->object, to + 1));
            pgl_object_unref(f->object);
            f->object = NULL;
        }
    }
}

/* A range visits its records one by one, or where it is wide all that there are: it ends at the same pages. */
static void test_object_range_ends_where_it_says_however_wide_it_is(void **state)
{
    struct fixture *f = *state;

    for (uint64_t nrecords = 2; nrecords <= 9; nrecords++) {
        try_ranges(f, nrecords, 1);
        try_ranges(f, nrecords, 7);
        try_ranges(f, nrecords, 8);
        try_ranges(f, nrecords, 9);
        try_ranges(f, nrecords, 1000);
    }
}

static void test_object_may_have_a_single_page(void **state)
{
    struct fixture *f = *state;
    struct pgl_object_config config = config_of(f);

    config.last = 0;
    config.pager_range = (struct pgl_pager_range){7, 7};
    f->object = pgl_object_new(&config);
    assert_non_null(f->object);
    assert_int_equal(read_page(&f->a, f->object, 0), PGL_FAULT_SUCCESS);
    assert_asked(&f->sim, 7, 7, 7);
    assert_int_equal(read_page(&f->a, f->object, 1), PGL_FAULT_NO_ENTRY);
}

static void test_object_page_on_its_way_is_not_resident(void **state)
{
    struct fixture *f = *state;

    make_wide_object(f);
    f->sim.script = sim_keep;
    assert_int_equal(read_page(&f->a, f->object, 5), PGL_FAULT_PENDING);
    assert_false(pgl_object_resident(f->object, 5));
    assert_int_equal(pgl_object_remove(f->object, 5, 5), 0);
    assert_false(pgl_object_unwire(f->object, 5));
    assert_int_equal(sim_now(&f->sim, sim_last(&f->sim), true), 0);
    assert_int_equal(go_on(&f->a), PGL_FAULT_SUCCESS);
    assert_true(pgl_object_resident(f->object, 5));
}

/* Withholding leaves the lesser of the access that a page had and the access that it allows. */
static void test_object_withholding_gives_no_access(void **state)
{
    struct fixture *f = *state;
    static const enum pgl_access all[] = {PGL_ACCESS_NONE, PGL_ACCESS_READ, PGL_ACCESS_WRITE};
    const struct pgl_pager_range page = {5, 5};

    for (size_t had = 0; had < 3; had++) {
        for (size_t allowed = 0; allowed < 3; allowed++) {
            size_t left = had < allowed ? had : allowed;

            make_wide_object(f);
            write_page(&f->a, f->object, 5);
            pgl_pager_withhold(f->object, page, all[had]);
            assert_int_equal(pgl_pager_withhold(f->object, page, all[allowed]), 1);
            assert_int_equal(fault_on(&f->a, f->object, 5, PGL_ACCESS_READ, PGL_FAULT_FLAG_RESIDENT),
                             left > 0 ? PGL_FAULT_SUCCESS : PGL_FAULT_NO_DATA);
            assert_int_equal(fault_on(&f->a, f->object, 5, PGL_ACCESS_WRITE, PGL_FAULT_FLAG_RESIDENT),
                             left > 1 ? PGL_FAULT_SUCCESS : PGL_FAULT_NO_DATA);
            pgl_object_unref(f->object);
            f->object = NULL;
        }
    }
}

/* The checker */

/* Page 5 is resident and readable, page 6 is asked for and waited for; both are of the only record. */
static struct pgl_chunk *make_record(struct fixture *f)
{
    struct pgl_object_page page;

    make_wide_object(f);
    assert_int_equal(read_page(&f->a, f->object, 5), PGL_FAULT_SUCCESS);
    f->sim.script = sim_keep;
    assert_int_equal(read_page(&f->a, f->object, 6), PGL_FAULT_PENDING);
    assert_int_equal(pgl_object_check(f->object, sim_say, NULL), 0);
    page = pgl_object_page_find(f->object, 5);
    assert_non_null(page.chunk);
    return page.chunk;
}

struct said {
    const char *first;
    unsigned n;
};

static void hear(const char *what, void *opaque)
{
    struct said *said = opaque;

    said->first = said->n++ == 0 ? what : said->first;
}

static void assert_broken(struct fixture *f, const char *invariant)
{
    struct said said = {0};
    unsigned n = pgl_object_check(f->object, hear, &said);

    assert_true(n > 0);
    assert_int_equal(n, said.n);
    assert_memory_equal(said.first, invariant, 2);
    assert_int_equal(pgl_object_check(f->object, NULL, NULL), n);
}

#define PAGE(index) (UINT64_C(1) << (index))

/* Break one thing, see it named, and mend it. */
#define ASSERT_BREAKS(f, invariant, lvalue, value)                                                                     \
    do {                                                                                                               \
        __typeof__(lvalue) saved = (lvalue);                                                                           \
        (lvalue) = (value);                                                                                            \
        assert_broken(f, invariant);                                                                                   \
        (lvalue) = saved;                                                                                              \
        assert_int_equal(pgl_object_check((f)->object, sim_say, NULL), 0);                                             \
    } while (0)

static void test_object_check_names_each_invariant_that_is_broken(void **state)
{
    struct fixture *f = *state;
    struct pgl_chunk *chunk = make_record(f);
    struct pgl_shard *shard = &f->object->shards[0];

    ASSERT_BREAKS(f, "I1", chunk->busy, chunk->busy | PAGE(5));
    ASSERT_BREAKS(f, "I1", chunk->error, PAGE(5));
    ASSERT_BREAKS(f, "I2", chunk->asked, chunk->asked | PAGE(7));
    ASSERT_BREAKS(f, "I2", chunk->speculative, PAGE(7));
    ASSERT_BREAKS(f, "I3", chunk->writable, PAGE(6));
    ASSERT_BREAKS(f, "I3", chunk->readable, chunk->readable | PAGE(6));
    ASSERT_BREAKS(f, "I4", shard->resident, 2);
    ASSERT_BREAKS(f, "I4", shard->busy, 0);
    ASSERT_BREAKS(f, "I4", shard->outstanding, 0);
    ASSERT_BREAKS(f, "I4", shard->room.waiting, 0);
    ASSERT_BREAKS(f, "I5", chunk->id[6], 0);
    ASSERT_BREAKS(f, "I5", chunk->id[5], 77);
    ASSERT_BREAKS(f, "I6", chunk->frame[5], NULL);
    ASSERT_BREAKS(f, "I6", chunk->frame[7], chunk->frame[5]);
    ASSERT_BREAKS(f, "I7", chunk->wires[6], 1);
    ASSERT_BREAKS(f, "I8", chunk->queue.first->index, 5);
    ASSERT_BREAKS(f, "N9", f->object->frames->promised, f->object->frames->promised - 1);
    sim_now(&f->sim, sim_last(&f->sim), true);
    assert_int_equal(go_on(&f->a), PGL_FAULT_SUCCESS);
}

static void test_object_check_names_each_invariant_of_its_advisor_that_is_broken(void **state)
{
    struct fixture *f = *state;
    struct pgl_advisor *advisor;

    make_wide_object(f);
    pgl_object_advise(f->object, PGL_ADVICE_ADAPTIVE);
    pgl_object_set_table(f->object, NULL);
    for (uint64_t i = 0; i < 500; i++) {
        assert_int_equal(read_page(&f->a, f->object, i * i), PGL_FAULT_SUCCESS);
    }
    advisor = f->object->advisor;
    ASSERT_BREAKS(f, "V1", advisor->judged, advisor->nfaults + 1);
    ASSERT_BREAKS(f, "V1", advisor->forgotten, advisor->judged + 1);
    ASSERT_BREAKS(f, "V1", advisor->forgotten, advisor->nfaults - PGL_ADVISOR_PASTS - 1);
    ASSERT_BREAKS(f, "V2", advisor->known[PGL_FAULT_START].recent.touched[7],
                  advisor->known[PGL_FAULT_START].recent.seen[7] + 1);
    ASSERT_BREAKS(f, "V2", advisor->known[PGL_FAULT_UP].lasting.touched[1], -1);
    ASSERT_BREAKS(f, "V2", advisor->known[PGL_FAULT_DOWN].later.touched[1], 1e9f);
    ASSERT_BREAKS(f, "V2", advisor->known[PGL_FAULT_DOWN].chances[1], 1.5f);
    ASSERT_BREAKS(f, "V2", advisor->known[PGL_FAULT_DOWN].crowds[1], 1.5f);
    ASSERT_BREAKS(f, "V2", advisor->crowd, 1.5f);
    ASSERT_BREAKS(f, "V2", advisor->crowd, -0.5f);
    ASSERT_BREAKS(f, "V3", advisor->nstreams, PGL_ADVISOR_STREAMS + 1);
    ASSERT_BREAKS(f, "V3", advisor->heads[0], advisor->nfaults + 1);
    ASSERT_BREAKS(f, "V4", advisor->after, ~advisor->after);
    ASSERT_BREAKS(f, "V4", advisor->before, ~advisor->before);
}

/* With one credit, which page 6 has: a second fault waits for it. */
static void test_object_check_names_a_wait_for_a_credit_that_there_is(void **state)
{
    struct fixture *f = *state;

    make_object_with_credits(f, 1);
    assert_int_equal(read_page(&f->a, f->object, 6), PGL_FAULT_PENDING);
    assert_int_equal(read_page(&f->b, f->object, 60), PGL_FAULT_PENDING);
    ASSERT_BREAKS(f, "I9", f->object->config.credits, 2);
    ASSERT_BREAKS(f, "I9", f->object->config.credits, 0); /* there is no limit */
    ASSERT_BREAKS(f, "I9", f->object->terminated, true);
    f->object->config.credits = 2;
    f->object->ready = false; /* then it may wait with credits left */
    assert_int_equal(pgl_object_check(f->object, sim_say, NULL), 0);
    f->object->ready = true;
    f->object->config.credits = 1;
    sim_now(&f->sim, sim_last(&f->sim), true);
    assert_int_equal(go_on(&f->a), PGL_FAULT_SUCCESS);
    f->sim.script = sim_now;
    assert_int_equal(go_on(&f->b), PGL_FAULT_SUCCESS);
}

/* More is asked for than there are credits. */
static void test_object_check_names_a_credit_that_is_overdrawn(void **state)
{
    struct fixture *f = *state;

    make_object_with_credits(f, 4);
    assert_int_equal(read_page(&f->a, f->object, 6), PGL_FAULT_PENDING);
    ASSERT_BREAKS(f, "I4", f->object->config.credits, 3);
    sim_now(&f->sim, sim_last(&f->sim), true);
    assert_int_equal(go_on(&f->a), PGL_FAULT_SUCCESS);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_object_table_grows_and_keeps_every_record),
        TEST(test_object_range_ends_where_it_says_however_wide_it_is),
        TEST(test_object_may_have_a_single_page),
        TEST(test_object_page_on_its_way_is_not_resident),
        TEST(test_object_withholding_gives_no_access),
        TEST(test_object_check_names_each_invariant_that_is_broken),
        TEST(test_object_check_names_each_invariant_of_its_advisor_that_is_broken),
        TEST(test_object_check_names_a_wait_for_a_credit_that_there_is),
        TEST(test_object_check_names_a_credit_that_is_overdrawn),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
