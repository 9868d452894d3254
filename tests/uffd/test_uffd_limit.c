/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Regions with a limit: how many pages stay in memory and which, that no write is lost, and that what the kernel
 * refuses is tried again.
 */
#include <errno.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../cm.h"
#include "../sanitized.h"
#include "calls.h"
#include "limited.h"

#define CLUSTER 33 /* that one fault brings */
#define HANDLERS 2
#define READERS 3
#define WRITERS 2
#define ROUNDS 4
#define EVERY 8 /* one of so many pages is written */

/* Of newer headers. */
#define FEATURE_MOVE (1 << 16)
#define IOCTL_MOVE 0xc028aa05ul

static void test_uffd_limit_is_refused_at_the_door_without_protection(void **state)
{
    struct fixture *f = *state;
    unsigned char *memory = new_pages();

    fill(f->file, 0, PAGES);
    assert_true(try_new(f));
    assert_false(map_limited(f, memory, PGL_ADVICE_RANDOM, LIMIT));
    assert_int_equal(errno, EINVAL);
    finish(f, memory);
}

static void test_uffd_limit_has_room_for_the_widest_cluster(void **state)
{
    struct fixture *f = *state;
    START(memory, f, PGL_ADVICE_RANDOM, 1)

    assert_true(pgl_uffd_unmap(f->uffd, memory, (size_t)PAGES * PAGE));
    for (uint64_t limit = 1; limit < ENOUGH; limit += ENOUGH - 2) {
        assert_false(map_limited(f, memory, PGL_ADVICE_RANDOM, limit));
        assert_int_equal(errno, EINVAL);
    }
    assert_true(map_limited(f, memory, PGL_ADVICE_RANDOM, ENOUGH));
    read_from(memory, 0);
    wait_until_resident(memory, ENOUGH);
    finish(f, memory);
}

static void test_uffd_limit_needs_private_memory(void **state)
{
    struct fixture *f = *state;
    START(memory, f, PGL_ADVICE_RANDOM, 1)
    struct pgl_uffd_region region = {
        .addr = mmap(NULL, (size_t)PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0),
        .length = PAGES * PAGE,
        .source = {.kind = PGL_UFFD_FILE, .fd = f->file},
        .memory = PGL_UFFD_SHARED,
        .limit = LIMIT,
    };

    assert_false(pgl_uffd_map_region(f->uffd, &region));
    assert_int_equal(errno, EOPNOTSUPP);
    munmap(region.addr, region.length);
    finish(f, memory);
}

static void never_asked(void *arg, struct pgl_uffd_request *request, const struct pgl_uffd_wanted *wanted)
{
    (void)arg;
    (void)wanted;
    (void)request;
}

static void test_uffd_limit_needs_a_source_that_answers_at_once(void **state)
{
    struct fixture *f = *state;
    START(memory, f, PGL_ADVICE_RANDOM, 1)
    const struct pgl_uffd_region region = {
        .addr = memory,
        .length = PAGES * PAGE,
        .source = {.kind = PGL_UFFD_CALLBACK, .size = PAGES * PAGE, .request = never_asked},
        .limit = LIMIT,
    };

    assert_true(pgl_uffd_unmap(f->uffd, memory, (size_t)PAGES * PAGE));
    assert_false(pgl_uffd_map_region(f->uffd, &region));
    assert_int_equal(errno, EOPNOTSUPP);
    finish(f, memory);
}

static void test_uffd_limit_needs_a_kernel_that_moves_pages(void **state)
{
    struct fixture *f = *state;

    hidden_features = FEATURE_MOVE;
    assert_null(start(f, PGL_ADVICE_RANDOM, 1));
}

static void test_uffd_limit_gives_the_oldest_pages_back(void **state)
{
    struct fixture *f = *state;
    START(memory, f, PGL_ADVICE_RANDOM, 1)

    for (uint64_t page = 0; page < PAGES; page++) {
        assert_true(is_page(memory + page * PAGE, page));
        assert_true(count_resident(memory, PAGES) <= LIMIT + 1);
    }
    wait_until_resident(memory, LIMIT);
    assert_int_equal(count_resident(memory + (PAGES - LIMIT) * PAGE, LIMIT), LIMIT);
    assert_int_equal(stats_of(f).pages_given_back, PAGES - LIMIT);
    finish(f, memory);
}

static void test_uffd_limit_gives_back_first_what_a_reader_has_left_behind(void **state)
{
    struct fixture *f = *state;
    struct pgl_advice_table table = *pgl_advice_shipped();

    table.row[PGL_ADVICE_SEQUENTIAL] = (struct pgl_advice_row){.after = 7, .behind = 8}; /* more than 32 faults (O14) */
    f->config.table = &table;
    START(memory, f, PGL_ADVICE_SEQUENTIAL, 1)
    unsigned char *old = memory + (PAGES - 16) * PAGE;

    assert_true(pgl_uffd_advise(f->uffd, old, 16 * PAGE, PGL_ADVICE_RANDOM));
    for (uint64_t page = PAGES - 16; page < PAGES; page++) {
        assert_true(is_page(memory + page * PAGE, page));
    }
    for (uint64_t page = 0; page < PAGES - 16; page++) {
        assert_true(is_page(memory + page * PAGE, page));
    }
    wait_until_resident(memory, LIMIT);
    assert_int_equal(count_resident(old, 16), 16);
    finish(f, memory);
}

static void test_uffd_limit_gives_back_what_was_left_behind_in_its_order(void **state)
{
    struct fixture *f = *state;
    START(memory, f, PGL_ADVICE_SEQUENTIAL, 1)
    const unsigned stay = (PAGES - LIMIT) / 32 + 1; /* pages of earlier faults (O14), the last one among the newest */

    read_from(memory, 0);
    wait_until_resident(memory, LIMIT);
    assert_int_equal(count_resident(memory + (PAGES - LIMIT + stay) * PAGE, LIMIT - stay), LIMIT - stay);
    finish(f, memory);
}

static void test_uffd_limit_keeps_written_pages(void **state)
{
    struct fixture *f = *state;
    START(memory, f, PGL_ADVICE_SEQUENTIAL, 1)

    for (uint64_t page = 0; page < PAGES; page += 2) { /* twice the limit */
        assert_true(is_page(memory + page * PAGE, page));
        memory[page * PAGE + 8] = 0xee;
    }
    for (uint64_t page = 0; page < PAGES; page++) {
        assert_true(page % 2 == 0 ? memory[page * PAGE + 8] == 0xee : is_page(memory + page * PAGE, page));
    }
    wait_until_resident(memory, PAGES / 2 + ENOUGH);
    finish(f, memory);
}

static void test_uffd_limit_keeps_pages_that_were_written_at_once(void **state)
{
    struct fixture *f = *state;
    START(memory, f, PGL_ADVICE_RANDOM, 1)

    memory[8] = 0xee;
    read_from(memory, 1);
    assert_int_equal(memory[8], 0xee);
    finish(f, memory);
}

static void test_uffd_limit_gives_back_a_written_page_after_the_program_has(void **state)
{
    struct fixture *f = *state;
    START(memory, f, PGL_ADVICE_RANDOM, 1)

    memory[8] = 0xee;
    assert_int_equal(madvise(memory, PAGE, MADV_DONTNEED), 0);
    read_from(memory, 1);
    wait_until_resident(memory, LIMIT); /* the page that was given back is none of them */
    read_from(memory, 0);
    wait_until_resident(memory, LIMIT);
    assert_int_equal(count_resident(memory, 1), 0);
    finish(f, memory);
}

/* A limit that is twice what stays in any case, and as many written pages that are unmapped. */
static void test_uffd_limit_is_for_what_is_mapped(void **state)
{
    struct fixture *f = *state;
    START(memory, f, PGL_ADVICE_RANDOM, 1)

    for (unsigned way = 0; way < 2; way++) {
        unsigned char *cut = new_pages();
        unsigned char *rest = cut + (size_t)PAGES / 2 * PAGE;

        assert_true(map_limited(f, cut, PGL_ADVICE_RANDOM, PAGES / 2));
        for (uint64_t page = 0; page < PAGES / 2; page++) {
            cut[page * PAGE] = 0xee;
        }
        if (way == 0) {
            assert_true(pgl_uffd_unmap(f->uffd, cut, (size_t)PAGES / 2 * PAGE));
        } else {
            assert_int_equal(munmap(cut, (size_t)PAGES / 2 * PAGE), 0);
        }
        assert_pages(rest, PAGES / 2, PAGES / 2);
        assert_int_equal(count_resident(rest, PAGES / 2), PAGES / 2);
        munmap(cut, (size_t)PAGES * PAGE);
    }
    finish(f, memory);
}

/* Cause more faults than those whose pages stay (O14), on none of the first pages. */
static void read_often(const unsigned char *memory)
{
    for (unsigned pass = 0; pass < 3; pass++) {
        read_from(memory, LIMIT);
    }
}

static void test_uffd_limit_keeps_a_page_that_it_has_found(void **state)
{
    struct fixture *f = *state;
    START(memory, f, PGL_ADVICE_SEQUENTIAL, 1)

    memory[PAGE] = 0xee;
    assert_int_equal(madvise(memory + PAGE, PAGE, MADV_FREE),
                     0); /* it stays, without protection, until memory is short */
    memory[PAGE] = 0xdd;
    assert_int_equal(madvise(memory, PAGE, MADV_DONTNEED), 0);
    assert_true(is_page(memory, 0)); /* with its neighbour, which is there */
    read_often(memory);
    assert_int_equal(memory[PAGE], 0xdd);
    finish(f, memory);
}

/* As when the kernel drops a page some time after its event: meanwhile it was found, and therefore counts as written. */
static void test_uffd_limit_gives_back_a_page_that_was_found_and_then_went(void **state)
{
    struct fixture *f = *state;
    START(memory, f, PGL_ADVICE_SEQUENTIAL, 1)

    assert_true(is_page(memory, 0) && is_page(memory + PAGE, 1));
    assert_int_equal(madvise(memory + PAGE, PAGE, MADV_FREE), 0);
    assert_int_equal(madvise(memory, PAGE, MADV_DONTNEED), 0);
    assert_true(is_page(memory, 0)); /* with its neighbour, which is there */
    assert_int_equal(madvise(memory + PAGE, PAGE, MADV_PAGEOUT), 0);
    if (count_resident(memory + PAGE, 1) != 0) {
        SKIP_BECAUSE("the kernel takes no page back when it is asked to");
    }
    read_from(memory, 0);
    read_often(memory);
    wait_until_resident(memory, LIMIT);
    assert_int_equal(count_resident(memory + PAGE, 1), 0);
    finish(f, memory);
}

/* Two pages change places: at the place of a clean one is a written one. */
static void test_uffd_limit_keeps_a_written_page_that_has_changed_places(void **state)
{
    struct fixture *f = *state;
    START(memory, f, PGL_ADVICE_RANDOM, 1)
    unsigned char *aside = new_pages(), *written = memory + PAGE, *clean = memory + 9 * PAGE;
    unsigned char *moves[][2] = {{clean, aside}, {written, clean}, {aside, written}};

    assert_true(is_page(clean, 9));
    written[8] = 0xee;
    for (unsigned i = 0; i < 3; i++) {
        unsigned char *to = moves[i][1];

        assert_ptr_equal(mremap(moves[i][0], PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to), to);
    }
    for (uint64_t page = 10; page < PAGES; page++) {
        assert_true(is_page(memory + page * PAGE, page));
    }
    assert_int_equal(clean[8], 0xee);
    assert_true(is_page(written, 9));
    munmap(aside + PAGE, (PAGES - 1) * PAGE);
    finish(f, memory);
}

/* Another region is where a clean page was, and its page is a written one. */
static void test_uffd_limit_keeps_the_page_of_another_region_at_its_place(void **state)
{
    struct fixture *f = *state;
    START(memory, f, PGL_ADVICE_RANDOM, 1)
    unsigned char *there = memory + 9 * PAGE;

    assert_true(is_page(there, 9));
    assert_true(pgl_uffd_unmap(f->uffd, there, PAGE));
    assert_true(pgl_uffd_map(f->uffd, there, PAGE, f->file, 0, PGL_ADVICE_RANDOM));
    there[8] = 0xee;
    read_from(memory, 10);
    assert_int_equal(there[8], 0xee);
    finish(f, memory);
}

static void test_uffd_limit_is_of_each_region(void **state)
{
    enum { REGIONS = 4 };
    struct fixture *f = *state;
    START(memory, f, PGL_ADVICE_NORMAL, HANDLERS)
    unsigned char *memories[REGIONS] = {memory};

    for (unsigned i = 1; i < REGIONS; i++) {
        memories[i] = new_pages();
        assert_true(map_limited(f, memories[i], PGL_ADVICE_NORMAL, LIMIT + i));
    }
    for (uint64_t page = 0; page < PAGES; page++) {
        for (unsigned i = 0; i < REGIONS; i++) {
            assert_true(is_page(memories[i] + page * PAGE, page));
        }
    }
    for (unsigned i = 0; i < REGIONS; i++) {
        wait_until_resident(memories[i], LIMIT + i);
    }
    for (unsigned i = 1; i < REGIONS; i++) {
        assert_true(pgl_uffd_unmap(f->uffd, memories[i], (size_t)PAGES * PAGE));
        munmap(memories[i], (size_t)PAGES * PAGE);
    }
    finish(f, memory);
}

static void test_uffd_limit_keeps_locked_pages(void **state)
{
    struct fixture *f = *state;
#ifdef SANITIZED
    SKIP_BECAUSE("the sanitizers' munlock() does nothing");
#endif
    START(memory, f, PGL_ADVICE_RANDOM, 1)

    for (uint64_t page = 0; page < 8; page++) {
        assert_true(is_page(memory + page * PAGE, page));
    }
    assert_int_equal(mlock2(memory, 8 * PAGE, MLOCK_ONFAULT), 0);
    read_from(memory, 0);
    wait_until_resident(memory, LIMIT);
    assert_int_equal(count_resident(memory, 8), 8);
    assert_int_equal(munlock(memory, 8 * PAGE), 0);
    for (unsigned i = 0; i < 2; i++) {
        read_from(memory, 0);
    }
    wait_until_resident(memory, LIMIT);
    assert_int_equal(count_resident(memory, 8), 0);
    finish(f, memory);
}

static void test_uffd_limit_ends_when_memory_is_moved(void **state)
{
    struct fixture *f = *state;
    START(memory, f, PGL_ADVICE_RANDOM, 1)
    unsigned char *there = new_pages();

    read_from(memory, 0);
    wait_until_resident(memory, LIMIT);
    memory[8] = 0xee;
    assert_ptr_equal(mremap(memory, PAGES * PAGE, PAGES * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, there), there);
    assert_int_equal(there[8], 0xee);
    read_from(there, 1);
    assert_int_equal(there[8], 0xee);
    assert_int_equal(count_resident(there, PAGES), PAGES);
    finish(f, there);
}

static void test_uffd_limit_ends_for_all_pages_when_one_is_moved(void **state)
{
    struct fixture *f = *state;
    START(memory, f, PGL_ADVICE_RANDOM, 1)
    unsigned char *there = new_pages();

    assert_true(is_page(memory, 0));
    assert_ptr_equal(mremap(memory, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, there), there);
    read_from(memory, 1);
    assert_int_equal(count_resident(memory + PAGE, PAGES - 1), PAGES - 1);
    munmap(there, (size_t)PAGES * PAGE);
    finish(f, memory);
}

static void test_uffd_limit_holds_for_a_prefetch(void **state)
{
    struct fixture *f = *state;
    START(memory, f, PGL_ADVICE_RANDOM, 1)

    assert_true(pgl_uffd_prefetch(f->uffd, memory, PAGES * PAGE));
    assert_int_equal(count_resident(memory, PAGES), LIMIT);
    read_from(memory, 0);
    finish(f, memory);
}

static void test_uffd_limit_is_not_for_a_child(void **state)
{
    struct fixture *f = *state;
    pid_t child;
    int status;

    FOLLOW_FORKS(f);
    START(memory, f, PGL_ADVICE_RANDOM, 1)
    read_from(memory, 0);
    memory[8] = 0xee;
    child = fork();
    if (child == 0) {
        unsigned char resident[PAGES];
        unsigned wrong = memory[8] != 0xee;

        for (uint64_t page = 1; page < PAGES; page++) {
            wrong += !is_page(memory + page * PAGE, page);
        }
        wrong += mincore(memory, (size_t)PAGES * PAGE, resident) != 0;
        for (uint64_t page = 0; page < PAGES; page++) {
            wrong += (resident[page] & 1) == 0;
        }
        _exit(wrong != 0);
    }
    read_from(memory, 1); /* some are shared: the kernel refuses to move them */
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(memory[8], 0xee);
    finish(f, memory);
}

/*
 * The kernel refuses some calls; the pages are right, and the limit holds in the end, but for pages that the kernel has
 * falsely said to be absent.
 */
static void refuse(struct fixture *f, enum call call, unsigned long request, int error, unsigned times)
{
    unsigned char *memory = start(f, PGL_ADVICE_RANDOM, 1);

    memory[8] = 0xee;
    for (uint64_t page = 1; page < PAGES; page++) {
        if (page == LIMIT + 10) {
            fail_theirs(call, request, error, times);
        }
        assert_true(is_page(memory + page * PAGE, page));
    }
    wait_until_resident(memory, LIMIT + (error == ENOENT ? times : 0));
    assert_int_equal(count_fired(), times);
    fail_theirs(CALL_NONE, 0, 0, 0);
    assert_int_equal(memory[8], 0xee);
    read_from(memory, 1);
    finish(f, memory);
}

static void test_uffd_limit_holds_after_calls_have_failed(void **state)
{
    static const int errors[] = {EAGAIN, EBUSY, EEXIST, EFAULT, EINTR, EINVAL, ENOENT, ENOMEM, ESRCH};
    struct fixture *f = *state;
    START(memory, f, PGL_ADVICE_RANDOM, 1)

    finish(f, memory);
    for (unsigned i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        refuse(f, CALL_IOCTL, IOCTL_MOVE, errors[i], 40);
    }
    refuse(f, CALL_IOCTL, UFFDIO_UNREGISTER, ENOMEM, 40);
    refuse(f, CALL_IOCTL, UFFDIO_REGISTER, ENOMEM, 40);
    refuse(f, CALL_MADVISE, MADV_DONTNEED, EAGAIN, 40);
    refuse(f, CALL_MUNLOCK, 0, ENOMEM, 5);
}

static __thread pthread_rwlock_t *held;      /* for writing */
static unsigned moves, moves_beside_readers; /* atomic */

int __real_pthread_rwlock_wrlock(pthread_rwlock_t *lock);
int __wrap_pthread_rwlock_wrlock(pthread_rwlock_t *lock);
int __wrap_pthread_rwlock_wrlock(pthread_rwlock_t *lock)
{
    held = lock;
    return __real_pthread_rwlock_wrlock(lock);
}

int __real_pthread_rwlock_unlock(pthread_rwlock_t *lock);
int __wrap_pthread_rwlock_unlock(pthread_rwlock_t *lock);
int __wrap_pthread_rwlock_unlock(pthread_rwlock_t *lock)
{
    held = held == lock ? NULL : held;
    return __real_pthread_rwlock_unlock(lock);
}

static void count_moves(unsigned long request)
{
    __atomic_fetch_add(&moves, request == IOCTL_MOVE, __ATOMIC_RELAXED);
    __atomic_fetch_add(&moves_beside_readers, request == IOCTL_MOVE && !held, __ATOMIC_RELAXED);
}

static void test_uffd_limit_takes_no_page_while_one_is_opened(void **state)
{
    struct fixture *f = *state;
    START(memory, f, PGL_ADVICE_RANDOM, 1)

    __atomic_store_n(&before_ioctl, count_moves, __ATOMIC_RELAXED);
    read_from(memory, 0);
    wait_until_resident(memory, LIMIT);
    assert_true(__atomic_load_n(&moves, __ATOMIC_RELAXED) >= PAGES - LIMIT);
    assert_int_equal(__atomic_load_n(&moves_beside_readers, __ATOMIC_RELAXED), 0);
    finish(f, memory);
}

static bool try_limited(struct fixture *f)
{
    return map_limited(f, f->memory, PGL_ADVICE_RANDOM, LIMIT);
}

static void test_uffd_limit_that_cannot_be_made_leaves_nothing_behind(void **state)
{
    struct fixture *f = *state;
    START(memory, f, PGL_ADVICE_RANDOM, 1)
    unsigned char *small = f->memory;
    unsigned failed = 0;
    bool mapped = false;

    finish(f, memory);
    f->memory = new_pages();
    for (unsigned at = 1; !mapped; at++) {
        assert_true(try_new(f));
        mapped = run_failing(f, try_limited, at, ENOMEM) && mine.n < at;
        failed += !mapped;
        if (mapped) {
            read_from(f->memory, 0);
        }
        pgl_uffd_free(f->uffd);
        f->uffd = NULL;
    }
    assert_true(failed > 5);
    munmap(f->memory, (size_t)PAGES * PAGE);
    f->memory = small;
}

struct world {
    unsigned char *memory;
    unsigned writing; /* writers that are not done. Atomic. */
};

struct member {
    struct world *world;
    pthread_t thread;
    uint64_t number;
};

static void *keep_reading(void *arg)
{
    struct member *member = arg;
    uint64_t random = member->number + 1;
    uintptr_t wrong = 0;

    while (__atomic_load_n(&member->world->writing, __ATOMIC_ACQUIRE) > 0) {
        random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
        uint64_t page = (random >> 33) % PAGES;
        const uint64_t *words = (const uint64_t *)(member->world->memory + page * PAGE);

        wrong += __atomic_load_n(&words[7], __ATOMIC_RELAXED) != word_at(page * PAGE + 56);
    }
    return (void *)wrong;
}

/* Write each page of its own once, while others read it, and look at its earlier writes. */
static void *write_once(void *arg)
{
    struct member *member = arg;
    uintptr_t lost = 0;

    for (uint64_t i = 0; i < PAGES / EVERY / WRITERS; i++) {
        for (uint64_t j = 0; j <= i; j += j + 8 < i ? 7 : 1) {
            uint64_t page = ((j * 37 % (PAGES / EVERY / WRITERS)) * WRITERS + member->number) * EVERY;
            uint64_t *words = (uint64_t *)(member->world->memory + page * PAGE);

            if (j == i) {
                __atomic_store_n(&words[3], page + 1, __ATOMIC_RELAXED);
            } else {
                lost += __atomic_load_n(&words[3], __ATOMIC_RELAXED) != page + 1;
            }
        }
        sched_yield();
    }
    __atomic_fetch_sub(&member->world->writing, 1, __ATOMIC_RELEASE);
    return (void *)lost;
}

/* mincore() looks at one page after the other, and may see a page that goes and the one that comes for it. */
static void assert_within(const unsigned char *memory, unsigned most)
{
    unsigned tries = 0;

    while (count_resident(memory, PAGES) > most) {
        assert_true(tries++ < 100);
    }
}

static void run_round(struct world *world)
{
    struct member members[READERS + WRITERS];
    void *wrong;

    __atomic_store_n(&world->writing, WRITERS, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < READERS + WRITERS; i++) {
        members[i] = (struct member){.world = world, .number = i < WRITERS ? i : i - WRITERS};
        assert_int_equal(pthread_create(&members[i].thread, NULL, i < WRITERS ? write_once : keep_reading, &members[i]),
                         0);
    }
    while (__atomic_load_n(&world->writing, __ATOMIC_ACQUIRE) > 0) {
        assert_within(world->memory, PAGES / EVERY + ENOUGH + HANDLERS * CLUSTER);
    }
    for (unsigned i = 0; i < READERS + WRITERS; i++) {
        assert_int_equal(pthread_join(members[i].thread, &wrong), 0);
        assert_null(wrong);
    }
    for (uint64_t page = 0; page < PAGES; page++) {
        const uint64_t *words = (const uint64_t *)(world->memory + page * PAGE);

        assert_int_equal(words[3], page % EVERY == 0 ? page + 1 : word_at(page * PAGE + 24));
    }
}

static void test_uffd_limit_loses_no_write_beside_readers(void **state)
{
    struct fixture *f = *state;
    START(memory, f, PGL_ADVICE_NORMAL, HANDLERS)
    struct world world = {.memory = memory};

    for (unsigned i = 0; i < ROUNDS; i++) {
        run_round(&world);
        assert_int_equal(madvise(memory, (size_t)PAGES * PAGE, MADV_DONTNEED), 0);
    }
    assert_true(stats_of(f).pages_given_back > 0);
    finish(f, memory);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_uffd_limit_is_refused_at_the_door_without_protection),
        TEST(test_uffd_limit_has_room_for_the_widest_cluster),
        TEST(test_uffd_limit_needs_private_memory),
        TEST(test_uffd_limit_needs_a_source_that_answers_at_once),
        TEST(test_uffd_limit_needs_a_kernel_that_moves_pages),
        TEST(test_uffd_limit_gives_the_oldest_pages_back),
        TEST(test_uffd_limit_gives_back_first_what_a_reader_has_left_behind),
        TEST(test_uffd_limit_gives_back_what_was_left_behind_in_its_order),
        TEST(test_uffd_limit_keeps_written_pages),
        TEST(test_uffd_limit_keeps_pages_that_were_written_at_once),
        TEST(test_uffd_limit_gives_back_a_written_page_after_the_program_has),
        TEST(test_uffd_limit_is_for_what_is_mapped),
        TEST(test_uffd_limit_keeps_a_page_that_it_has_found),
        TEST(test_uffd_limit_gives_back_a_page_that_was_found_and_then_went),
        TEST(test_uffd_limit_keeps_a_written_page_that_has_changed_places),
        TEST(test_uffd_limit_keeps_the_page_of_another_region_at_its_place),
        TEST(test_uffd_limit_is_of_each_region),
        TEST(test_uffd_limit_keeps_locked_pages),
        TEST(test_uffd_limit_ends_when_memory_is_moved),
        TEST(test_uffd_limit_ends_for_all_pages_when_one_is_moved),
        TEST(test_uffd_limit_holds_for_a_prefetch),
        TEST(test_uffd_limit_is_not_for_a_child),
        TEST(test_uffd_limit_holds_after_calls_have_failed),
        TEST(test_uffd_limit_that_cannot_be_made_leaves_nothing_behind),
        TEST(test_uffd_limit_takes_no_page_while_one_is_opened),
        TEST(test_uffd_limit_loses_no_write_beside_readers),
    };
#undef TEST

    return permitted() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
