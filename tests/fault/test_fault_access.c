/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The fault driver on one object: requests for more access, and accesses that do not exist. One claim per test. */
#include <errno.h>

#include "probe.h"

#include "../cm.h"

/* Access */

static void test_fault_speculation_asks_for_reading_only(void **state)
{
    struct fixture *f = *state;

    make_object(f);
    assert_int_equal(write_page(&f->a, f->object, 100), PGL_FAULT_SUCCESS);
    assert_int_equal(sim_last(&f->sim)->access, PGL_ACCESS_WRITE);
    assert_int_equal(sim_last(&f->sim)->pager_demand, 100); /* the access is for this page alone */
    assert_int_equal(f->a.page.access, PGL_ACCESS_WRITE);
    assert_int_equal(read_page(&f->a, f->object, 101), PGL_FAULT_SUCCESS);
    assert_int_equal(f->a.page.access, PGL_ACCESS_READ);
    assert_int_equal(write_page(&f->a, f->object, 101), PGL_FAULT_SUCCESS); /* so that a write asks for access */
    assert_int_equal(f->sim.nunlocks, 1);
    assert_int_equal(f->sim.nrequests, 1);
    assert_asked(&f->sim, 101, 101, 101); /* neighbours can be read already, and speculation asks for no more */
    assert_int_equal(f->a.page.access, PGL_ACCESS_WRITE);
    assert_int_equal(stats_of(f->object).by_advice[PGL_ADVICE_DEFAULT].unlocks, 1);
}

/* Which page may come along in an access request: by states of page 101 while page 100 lacks access. */
static void test_fault_unlock_eligibility_truth_table(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *state;
        enum pgl_access has;
        bool eligible;
    } rows[] = {
        {"resident without access", PGL_ACCESS_NONE, true},   {"resident and readable", PGL_ACCESS_READ, false},
        {"resident and writable", PGL_ACCESS_WRITE, false},   {"absent", PGL_ACCESS_NONE, false},
        {"asked for access already", PGL_ACCESS_NONE, false}, {"busy", PGL_ACCESS_NONE, false},
    };

    for (size_t i = 0; i < 2 * sizeof(rows) / sizeof(rows[0]); i++) {
        enum pgl_access wanted = i % 2 != 0 ? PGL_ACCESS_WRITE : PGL_ACCESS_READ;
        size_t row = i / 2;

        make_object(f);
        pgl_object_advise(f->object, PGL_ADVICE_RANDOM);
        f->sim.script = sim_now;
        write_page(&f->a, f->object, 100);
        pgl_pager_withhold(f->object, (struct pgl_pager_range){100, 100}, PGL_ACCESS_NONE);
        f->sim.script = row == 5 ? sim_keep : sim_now;
        if (row != 3) {
            write_page(&f->b, f->object, 101);
            pgl_pager_withhold(f->object, (struct pgl_pager_range){101, 101}, rows[row].has);
        }
        f->sim.script = sim_keep;
        if (row == 4) {
            assert_int_equal(read_page(&f->b, f->object, 101), PGL_FAULT_PENDING);
        }
        pgl_object_advise(f->object, PGL_ADVICE_DEFAULT);
        assert_int_equal(fault_on(&f->a, f->object, 100, wanted, 0), PGL_FAULT_PENDING);
        assert_int_equal(sim_last(&f->sim)->access, wanted);
        if ((sim_last(&f->sim)->range.last > 100) != rows[row].eligible) {
            fail_msg("a page that is %s was %s", rows[row].state, rows[row].eligible ? "skipped" : "asked for");
        }
        pgl_object_terminate(f->object);
        assert_int_equal(go_on(&f->a), PGL_FAULT_MEMORY_ERROR);
        if (row >= 4) {
            assert_int_equal(go_on(&f->b), PGL_FAULT_MEMORY_ERROR);
        }
        assert_at_rest(f->object);
        pgl_object_unref(f->object);
        f->object = NULL;
    }
}

/* 98..104 are resident and may not even be read. */
static void make_locked_pages(struct fixture *f)
{
    make_object(f);
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_SUCCESS);
    assert_int_equal(pgl_pager_withhold(f->object, (struct pgl_pager_range){0, UINT64_MAX}, PGL_ACCESS_NONE), 7);
    f->sim.script = sim_keep;
}

static void test_fault_unlocks_a_cluster_in_one_request(void **state)
{
    struct fixture *f = *state;

    make_locked_pages(f);
    f->sim.nframes = f->sim.frames_used; /* access takes no memory */
    assert_int_equal(write_page(&f->a, f->object, 101), PGL_FAULT_PENDING);
    assert_int_equal(f->sim.nunlocks, 1);
    assert_int_equal(f->sim.nrequests, 1);
    assert_asked(&f->sim, 99, 104, 101);
    assert_int_equal(sim_last(&f->sim)->access, PGL_ACCESS_WRITE);
    assert_int_equal(read_page(&f->b, f->object, 103), PGL_FAULT_PENDING);
    assert_int_equal(f->sim.nunlocks, 1);
    sim_now(&f->sim, sim_last(&f->sim), false);
    assert_int_equal(go_on(&f->a), PGL_FAULT_SUCCESS);
    assert_int_equal(go_on(&f->b), PGL_FAULT_SUCCESS);
    assert_int_equal(f->a.page.access, PGL_ACCESS_WRITE);
    assert_int_equal(f->b.page.access, PGL_ACCESS_READ);
    assert_at_rest(f->object);
}

static void test_fault_unlock_failure_takes_back_the_request_never_the_page(void **state)
{
    struct fixture *f = *state;
    void *frame;

    make_locked_pages(f);
    frame = f->a.page.frame;
    assert_int_equal(write_page(&f->a, f->object, 100), PGL_FAULT_PENDING);
    assert_int_equal(pgl_pager_error(f->object, sim_last(&f->sim)->id, sim_last(&f->sim)->range), 7);
    assert_int_equal(go_on(&f->a), PGL_FAULT_MEMORY_ERROR);
    f->sim.script = sim_refuse;
    f->sim.refusal = EIO;
    assert_int_equal(write_page(&f->a, f->object, 100), PGL_FAULT_MEMORY_ERROR);
    f->sim.script = sim_keep;
    assert_int_equal(write_page(&f->a, f->object, 100), PGL_FAULT_PENDING);
    pgl_fault_interrupt(f->a.fault);
    assert_int_equal(go_on(&f->a), PGL_FAULT_INTERRUPTED);
    assert_int_equal(stats_of(f->object).resident, 7);
    assert_at_rest(f->object);
    f->sim.script = sim_now;
    assert_int_equal(write_page(&f->a, f->object, 100), PGL_FAULT_SUCCESS);
    assert_ptr_equal(f->a.page.frame, frame);
}

static void test_fault_asks_again_when_too_little_was_granted(void **state)
{
    struct fixture *f = *state;

    make_locked_pages(f);
    assert_int_equal(write_page(&f->a, f->object, 100), PGL_FAULT_PENDING);
    pgl_pager_grant(f->object, sim_last(&f->sim)->id, sim_last(&f->sim)->range, PGL_ACCESS_READ);
    f->sim.script = sim_now;
    assert_int_equal(go_on(&f->a), PGL_FAULT_SUCCESS);
    assert_int_equal(f->sim.nunlocks, 2);
    assert_int_equal(f->a.page.access, PGL_ACCESS_WRITE);
}

/* Such a pager never withholds access; if one did so all the same, there is nothing to ask. */
static void test_fault_without_anybody_to_ask_for_access_is_an_error(void **state)
{
    struct fixture *f = *state;
    static struct pgl_pager_ops no_access; /* it outlives the object */
    struct pgl_object_config config = config_of(f);

    no_access.data_request = sim_pager_ops.data_request;
    config.pager_ops = &no_access;
    f->object = pgl_object_new(&config);
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_SUCCESS);
    assert_int_equal(write_page(&f->a, f->object, 100), PGL_FAULT_MEMORY_ERROR);
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_SUCCESS);
    assert_at_rest(f->object);
}

static void test_fault_a_page_supplied_without_access_is_unlocked_before_use(void **state)
{
    struct fixture *f = *state;

    make_object(f);
    f->sim.script = sim_keep;
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_PENDING);
    sim_supply(&f->sim, sim_last(&f->sim), 98, 104, PGL_ACCESS_NONE);
    assert_int_equal(go_on(&f->a), PGL_FAULT_PENDING);
    assert_int_equal(f->sim.nunlocks, 1);
    assert_int_equal(pgl_object_remove(f->object, 98, 104), 0); /* asked for: it stays */
    sim_now(&f->sim, sim_last(&f->sim), false);
    assert_int_equal(go_on(&f->a), PGL_FAULT_SUCCESS);
    assert_at_rest(f->object);
}

/* Bad input */

static void test_fault_refuses_an_access_or_a_flag_that_does_not_exist(void **state)
{
    struct fixture *f = *state;
    static const struct {
        int access;
        unsigned flags;
    } rows[] = {{2, 0}, {4, 0}, {-1, 0}, {PGL_ACCESS_READ, 32}, {PGL_ACCESS_READ, 1u << 31}};
    const struct pgl_fault_args nowhere = {.access = PGL_ACCESS_READ};

    make_object(f);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        errno = 0;
        assert_int_equal(fault_on(&f->a, f->object, 100, (enum pgl_access)rows[i].access, rows[i].flags),
                         PGL_FAULT_INVALID);
        assert_int_equal(errno, EINVAL);
    }
    errno = 0;
    assert_int_equal(start(&f->a, &nowhere), PGL_FAULT_INVALID);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(f->sim.nrequests + f->sim.nunlocks, 0);
    assert_int_equal(stats_of(f->object).by_advice[PGL_ADVICE_DEFAULT].touches, 0);
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_SUCCESS); /* it is as good as before */
}

static void test_fault_replies_with_an_access_that_does_not_exist_are_refused(void **state)
{
    struct fixture *f = *state;
    static const int accesses[] = {2, 4, -1};
    const struct pgl_pager_range page = {100, 100};
    uint64_t id;

    make_object(f);
    pgl_object_advise(f->object, PGL_ADVICE_RANDOM);
    f->sim.script = sim_keep;
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_PENDING);
    for (size_t i = 0; i < sizeof(accesses) / sizeof(accesses[0]); i++) {
        errno = 0;
        assert_int_equal(sim_supply(&f->sim, sim_last(&f->sim), 100, 100, (enum pgl_access)accesses[i]), 0);
        assert_int_equal(errno, EINVAL);
    }
    assert_int_equal(sim_supply(&f->sim, sim_last(&f->sim), 100, 100, PGL_ACCESS_READ), 1);
    assert_int_equal(go_on(&f->a), PGL_FAULT_SUCCESS);

    assert_int_equal(write_page(&f->a, f->object, 100), PGL_FAULT_PENDING);
    id = sim_last(&f->sim)->id;
    for (size_t i = 0; i < sizeof(accesses) / sizeof(accesses[0]); i++) {
        errno = 0;
        assert_int_equal(pgl_pager_grant(f->object, id, page, (enum pgl_access)accesses[i]), 0);
        assert_int_equal(errno, EINVAL);
        errno = 0;
        assert_int_equal(pgl_pager_withhold(f->object, page, (enum pgl_access)accesses[i]), 0);
        assert_int_equal(errno, EINVAL);
    }
    assert_int_equal(f->a.ready, 0);
    assert_int_equal(stats_of(f->object).aliens, 0);
    assert_int_equal(pgl_pager_grant(f->object, id, page, PGL_ACCESS_WRITE), 1);
    assert_int_equal(go_on(&f->a), PGL_FAULT_SUCCESS);
    assert_int_equal(f->a.page.access, PGL_ACCESS_WRITE);
    assert_at_rest(f->object);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_fault_speculation_asks_for_reading_only),
        TEST(test_fault_unlock_eligibility_truth_table),
        TEST(test_fault_unlocks_a_cluster_in_one_request),
        TEST(test_fault_unlock_failure_takes_back_the_request_never_the_page),
        TEST(test_fault_asks_again_when_too_little_was_granted),
        TEST(test_fault_without_anybody_to_ask_for_access_is_an_error),
        TEST(test_fault_a_page_supplied_without_access_is_unlocked_before_use),
        TEST(test_fault_refuses_an_access_or_a_flag_that_does_not_exist),
        TEST(test_fault_replies_with_an_access_that_does_not_exist_are_refused),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
