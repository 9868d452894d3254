/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A limit that is changed while the region is used: what goes at once, what stays, and what is refused. */
#include <pthread.h>
#include <sys/ioctl.h>

#include "../cm.h"
#include "../sanitized.h"
#include "limited.h"

#define HIGH 400
#define IOCTL_MOVE 0xc028aa05ul /* of newer headers */

static bool set_limit(struct fixture *f, unsigned char *memory, uint64_t limit)
{
    return pgl_uffd_set_limit(f->uffd, memory, PAGES * PAGE, limit);
}

static void test_uffd_limit_lowered_gives_pages_back_at_once(void **state)
{
    struct fixture *f = *state;
    START(memory, f, PGL_ADVICE_RANDOM, 1)

    assert_true(set_limit(f, memory, HIGH));
    read_from(memory, 0);
    wait_until_resident(memory, HIGH);
    for (uint64_t limit = HIGH - 1; limit >= LIMIT; limit -= limit > 300 ? 7 : 43) {
        assert_true(set_limit(f, memory, limit));
        assert_int_equal(count_resident(memory, PAGES), limit);
        assert_int_equal(count_resident(memory + (PAGES - limit) * PAGE, limit), limit); /* the oldest have gone */
        assert_int_equal(stats_of(f).pages_given_back, PAGES - limit);
    }
    read_from(memory, 0);
    finish(f, memory);
}

static void test_uffd_limit_raised_lets_more_pages_stay(void **state)
{
    struct fixture *f = *state;
    START(memory, f, PGL_ADVICE_RANDOM, 1)

    read_from(memory, 0);
    wait_until_resident(memory, LIMIT);
    assert_true(set_limit(f, memory, HIGH));
    assert_int_equal(count_resident(memory, PAGES), LIMIT);
    read_from(memory, 0);
    wait_until_resident(memory, HIGH);
    finish(f, memory);
}

static void test_uffd_limit_of_none_lets_all_pages_stay_until_there_is_one(void **state)
{
    struct fixture *f = *state;
    START(memory, f, PGL_ADVICE_NORMAL, 1)

    assert_true(set_limit(f, memory, 0));
    read_from(memory, 0);
    assert_int_equal(count_resident(memory, PAGES), PAGES);
    assert_int_equal(stats_of(f).pages_given_back, 0);
    assert_true(set_limit(f, memory, LIMIT));
    assert_int_equal(count_resident(memory, PAGES), LIMIT);
    finish(f, memory);
}

static void test_uffd_limit_lowered_keeps_written_pages(void **state)
{
    struct fixture *f = *state;
    START(memory, f, PGL_ADVICE_RANDOM, 1)

    assert_true(set_limit(f, memory, 0));
    for (uint64_t page = 0; page < PAGES; page++) {
        assert_true(is_page(memory + page * PAGE, page));
        memory[page * PAGE + 8] = page % 2 == 0 ? 0xee : memory[page * PAGE + 8];
    }
    assert_true(set_limit(f, memory, LIMIT));
    for (uint64_t page = 0; page < PAGES; page++) {
        assert_true(memory[page * PAGE + 8] == 0xee || page % 2 != 0);
    }
    finish(f, memory);
}

static void test_uffd_limit_is_set_no_lower_than_the_widest_cluster(void **state)
{
    struct fixture *f = *state;
    START(memory, f, PGL_ADVICE_RANDOM, 1)

    for (uint64_t limit = 1; limit < ENOUGH; limit += ENOUGH - 2) {
        errno = 0;
        assert_false(set_limit(f, memory, limit));
        assert_int_equal(errno, EINVAL);
    }
    read_from(memory, 0);
    wait_until_resident(memory, LIMIT);
    assert_true(set_limit(f, memory, ENOUGH));
    assert_int_equal(count_resident(memory, PAGES), ENOUGH);
    finish(f, memory);
}

static void test_uffd_limit_is_set_for_regions_only(void **state)
{
    struct fixture *f = *state;
    START(memory, f, PGL_ADVICE_RANDOM, 1)
    unsigned char *there = new_pages();

    assert_false(pgl_uffd_set_limit(f->uffd, memory + 1, PAGE, LIMIT));
    assert_int_equal(errno, EINVAL);
    assert_false(set_limit(f, there, LIMIT));
    assert_int_equal(errno, ENOENT);
    assert_true(pgl_uffd_unmap(f->uffd, memory + 9 * PAGE, PAGE));
    assert_false(set_limit(f, memory, HIGH)); /* and nothing was changed */
    assert_int_equal(errno, ENOENT);
    read_from(memory, 10);
    wait_until_resident(memory, LIMIT);
    munmap(there, PAGES * PAGE);
    finish(f, memory);
}

static void test_uffd_limit_is_set_where_there_was_one(void **state)
{
    struct fixture *f = *state;
    START(memory, f, PGL_ADVICE_RANDOM, 1)
    unsigned char *second = memory + PAGES / 2 * PAGE;

    assert_true(pgl_uffd_unmap(f->uffd, second, PAGES / 2 * PAGE));
    assert_true(pgl_uffd_map(f->uffd, second, PAGES / 2 * PAGE, f->file, PAGES / 2 * PAGE, PGL_ADVICE_RANDOM));
    assert_false(set_limit(f, memory, ENOUGH)); /* the first half has one: it stays as it was */
    assert_int_equal(errno, ENOTSUP);
    read_from(memory, 0);
    wait_until_resident(memory, LIMIT + PAGES / 2);
    assert_true(pgl_uffd_set_limit(f->uffd, memory, PAGES / 2 * PAGE, ENOUGH));
    assert_int_equal(count_resident(memory, PAGES), ENOUGH + PAGES / 2);
    finish(f, memory);
}

static void test_uffd_limit_is_not_set_when_memory_was_moved(void **state)
{
    struct fixture *f = *state;
    START(memory, f, PGL_ADVICE_RANDOM, 1)
    unsigned char *there = new_pages();

    read_from(memory, 0);
    assert_ptr_equal(mremap(memory, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, there), there);
    assert_false(pgl_uffd_set_limit(f->uffd, there, PAGE, ENOUGH));
    assert_int_equal(errno, ENOTSUP);
    assert_false(pgl_uffd_set_limit(f->uffd, memory + PAGE, PAGE, ENOUGH));
    assert_int_equal(errno, ENOTSUP);
    munmap(there, PAGES * PAGE);
    finish(f, memory);
}

/* Pages that go together are of several mappings, or some of them are locked: they go one by one. */
static void test_uffd_limit_lowered_gives_back_pages_of_several_mappings(void **state)
{
    struct fixture *f = *state;
    START(memory, f, PGL_ADVICE_RANDOM, 1)

    assert_true(set_limit(f, memory, 0));
    read_from(memory, 0);
    for (uint64_t page = 5; page < PAGES; page += 10) {
        assert_int_equal(mprotect(memory + page * PAGE, PAGE, PROT_READ), 0);
    }
    assert_true(set_limit(f, memory, LIMIT));
    assert_int_equal(count_resident(memory, PAGES), LIMIT);
    read_from(memory, 0);
    finish(f, memory);
}

/* More of the oldest ones than a handler tries at a time. */
static void test_uffd_limit_lowered_beside_many_locked_pages(void **state)
{
    enum { LOCKED = 40 };
    struct fixture *f = *state;
    START(memory, f, PGL_ADVICE_RANDOM, 1)

    assert_true(set_limit(f, memory, 0));
    read_from(memory, 0);
    if (mlock2(memory, LOCKED * PAGE, MLOCK_ONFAULT) != 0) { /* mlock() writes */
        SKIP_BECAUSE("no right to lock memory");
    }
    assert_true(set_limit(f, memory, LIMIT));
    assert_int_equal(count_resident(memory, PAGES), LIMIT);
    assert_int_equal(count_resident(memory, LOCKED), LOCKED);
    finish(f, memory);
}

/* The kernel moves no page to locked memory: the pager unlocks its own again. */
static void test_uffd_limit_lowered_after_all_memory_was_locked(void **state)
{
    struct fixture *f = *state;
#ifdef SANITIZED
    SKIP_BECAUSE("the sanitizers' mlockall() does nothing");
#endif
    START(memory, f, PGL_ADVICE_RANDOM, 1)

    assert_true(set_limit(f, memory, 0));
    read_from(memory, 0);
    assert_true(set_limit(f, memory, HIGH));
    if (mlockall(MCL_CURRENT | MCL_ONFAULT) != 0) {
        SKIP_BECAUSE("no right to lock memory");
    }
    assert_int_equal(munlock(memory, PAGES * PAGE), 0);
    assert_true(set_limit(f, memory, LIMIT));
    assert_int_equal(count_resident(memory, PAGES), LIMIT);
    assert_int_equal(munlockall(), 0);
    finish(f, memory);
}

static unsigned moves; /* atomic */

static void count_moves(unsigned long request)
{
    __atomic_fetch_add(&moves, request == IOCTL_MOVE, __ATOMIC_RELAXED);
}

static void test_uffd_limit_lowered_moves_many_pages_at_a_time(void **state)
{
    struct fixture *f = *state;
    START(memory, f, PGL_ADVICE_RANDOM, 1)

    assert_true(set_limit(f, memory, 0));
    read_from(memory, 0);
    __atomic_store_n(&moves, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&before_ioctl, count_moves, __ATOMIC_RELAXED);
    assert_true(set_limit(f, memory, LIMIT));
    assert_int_equal(count_resident(memory, PAGES), LIMIT);
    assert_int_equal(__atomic_load_n(&moves, __ATOMIC_RELAXED), (PAGES - LIMIT) / 64);
    finish(f, memory);
}

static unsigned char *region;

static bool try_lower(struct fixture *f)
{
    return set_limit(f, region, LIMIT);
}

/* Each call of the setting thread fails once: no page is lost, and later faults give back what has stayed. */
static void test_uffd_limit_lowered_though_calls_fail(void **state)
{
    static const int errors[] = {EAGAIN, EBUSY, EEXIST, EINTR, EINVAL, ENOMEM};
    struct fixture *f = *state;
    START(memory, f, PGL_ADVICE_RANDOM, 1)
    unsigned failed = 0;

    region = memory;
    for (unsigned i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        bool more = true;

        for (unsigned at = 1; more; at++) {
            assert_true(set_limit(f, memory, 0));
            memory[8] = 0xee;
            assert_true(pgl_uffd_prefetch(f->uffd, memory + PAGE, (PAGES - 1) * PAGE));
            assert_true(run_failing(f, try_lower, at, errors[i]));
            more = mine.n >= at;
            failed += more;
            assert_int_equal(memory[8], 0xee);
            assert_true(is_page(memory + PAGE, 1)); /* a fault, if it has gone, after which the limit holds */
            if (count_resident(memory, PAGES) > LIMIT + 1) {
                assert_true(set_limit(f, memory, LIMIT));
            }
            wait_until_resident(memory, LIMIT);
        }
        read_from(memory, 1);
    }
    assert_true(failed > 20);
    finish(f, memory);
}

/* Many more pages than there are: the few that stay count, at both ends of what was given back. */
static void test_uffd_limit_counts_what_stays_when_much_is_given_back(void **state)
{
    struct fixture *f = *state;
    START(memory, f, PGL_ADVICE_RANDOM, 1)

    for (uint64_t page = 0; page < 20; page++) {
        assert_true(is_page(memory + page * PAGE, page));
        assert_true(is_page(memory + (PAGES - 1 - page) * PAGE, PAGES - 1 - page));
    }
    assert_int_equal(madvise(memory + 10 * PAGE, (PAGES - 20) * PAGE, MADV_DONTNEED), 0);
    assert_int_equal(count_resident(memory, PAGES), 20);
    read_from(memory, 10);
    wait_until_resident(memory, LIMIT);
    assert_int_equal(stats_of(f).pages_given_back, PAGES + 10 - LIMIT); /* the last ten were old, and came twice */
    finish(f, memory);
}

static __thread void (*when_unlocked)(struct fixture *f); /* called once, with `changed` */
static __thread unsigned nlocked;
static struct fixture *changed;

int __real_pthread_rwlock_rdlock(pthread_rwlock_t *lock);
int __wrap_pthread_rwlock_rdlock(pthread_rwlock_t *lock);
int __wrap_pthread_rwlock_rdlock(pthread_rwlock_t *lock)
{
    nlocked++;
    return __real_pthread_rwlock_rdlock(lock);
}

int __real_pthread_rwlock_wrlock(pthread_rwlock_t *lock);
int __wrap_pthread_rwlock_wrlock(pthread_rwlock_t *lock);
int __wrap_pthread_rwlock_wrlock(pthread_rwlock_t *lock)
{
    nlocked++;
    return __real_pthread_rwlock_wrlock(lock);
}

int __real_pthread_rwlock_unlock(pthread_rwlock_t *lock);
int __wrap_pthread_rwlock_unlock(pthread_rwlock_t *lock);
int __wrap_pthread_rwlock_unlock(pthread_rwlock_t *lock)
{
    int error = __real_pthread_rwlock_unlock(lock);

    if (--nlocked == 0 && when_unlocked) {
        void (*call)(struct fixture *) = when_unlocked;

        when_unlocked = NULL;
        call(changed);
    }
    return error;
}

static void map_without_limit(struct fixture *f)
{
    assert_true(pgl_uffd_unmap(f->uffd, region, PAGES * PAGE));
    assert_true(map_limited(f, region, PGL_ADVICE_RANDOM, 0));
}

/* Another thread maps a region without a limit between the new limit and the look at what has to go. */
static void test_uffd_limit_is_set_while_the_region_becomes_one_without(void **state)
{
    struct fixture *f = *state;
    START(memory, f, PGL_ADVICE_RANDOM, 1)

    region = memory;
    changed = f;
    when_unlocked = map_without_limit;
    assert_true(set_limit(f, memory, HIGH));
    read_from(memory, 0);
    assert_int_equal(count_resident(memory, PAGES), PAGES);
    finish(f, memory);
}

struct world {
    struct fixture *f;
    unsigned char *memory;
    bool ended; /* atomic */
};

static void *write_pages(void *arg)
{
    struct world *world = arg;
    uintptr_t lost = 0;

    for (uint64_t page = 0; page < PAGES; page += 4) {
        volatile uint64_t *word = (volatile uint64_t *)(world->memory + page * PAGE);

        *word = page + 1;
        for (uint64_t earlier = 0; earlier <= page; earlier += 4) {
            lost += *(volatile uint64_t *)(world->memory + earlier * PAGE) != earlier + 1;
        }
        lost += !is_page(world->memory + (page + 1) * PAGE, page + 1);
    }
    __atomic_store_n(&world->ended, true, __ATOMIC_RELEASE);
    return (void *)lost;
}

static void test_uffd_limit_set_again_and_again_loses_no_write(void **state)
{
    struct fixture *f = *state;
    START(memory, f, PGL_ADVICE_NORMAL, 2)
    struct world world = {f, memory, false};
    pthread_t writer;
    void *lost;

    assert_int_equal(pthread_create(&writer, NULL, write_pages, &world), 0);
    for (uint64_t n = 0; !__atomic_load_n(&world.ended, __ATOMIC_ACQUIRE); n++) {
        assert_true(set_limit(f, memory, n % 3 == 0 ? 0 : ENOUGH + n * 37 % 300));
    }
    assert_int_equal(pthread_join(writer, &lost), 0);
    assert_null(lost);
    finish(f, memory);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_uffd_limit_lowered_gives_pages_back_at_once),
        TEST(test_uffd_limit_raised_lets_more_pages_stay),
        TEST(test_uffd_limit_of_none_lets_all_pages_stay_until_there_is_one),
        TEST(test_uffd_limit_lowered_keeps_written_pages),
        TEST(test_uffd_limit_is_set_no_lower_than_the_widest_cluster),
        TEST(test_uffd_limit_is_set_for_regions_only),
        TEST(test_uffd_limit_is_set_where_there_was_one),
        TEST(test_uffd_limit_is_not_set_when_memory_was_moved),
        TEST(test_uffd_limit_lowered_gives_back_pages_of_several_mappings),
        TEST(test_uffd_limit_lowered_beside_many_locked_pages),
        TEST(test_uffd_limit_lowered_after_all_memory_was_locked),
        TEST(test_uffd_limit_lowered_moves_many_pages_at_a_time),
        TEST(test_uffd_limit_lowered_though_calls_fail),
        TEST(test_uffd_limit_counts_what_stays_when_much_is_given_back),
        TEST(test_uffd_limit_is_set_while_the_region_becomes_one_without),
        TEST(test_uffd_limit_set_again_and_again_loses_no_write),
    };
#undef TEST

    return permitted() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
