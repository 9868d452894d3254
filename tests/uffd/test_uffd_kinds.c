/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Each kind of memory with each policy, source and option of a region, and with each kind of pager: it works, or it is
 * refused, as the table in docs/fault.md says.
 */
#include <errno.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../cm.h"
#include "calls.h"
#include "sigbus.h"

#define HUGE ((size_t)2 << 20)
#define HUGE_PAGES (HUGE / PAGE)
#define BIT(n) (1u << (n))

#define FEATURE_MOVE (1 << 16) /* of newer headers */

enum pager { UNPROTECTED, PROTECTING, TRACKING, BOTH, SELF, SELF_TRACKING, PAGERS };
enum kind { PRIVATE, SHARED, HUGE_PRIVATE, HUGE_SHARED, KINDS };
enum { SOURCES = 3, REMOVED = 2, REMEDIES = 4 };

#define ANY_PAGER (BIT(PAGERS) - 1)
#define ANY_KIND (BIT(KINDS) - 1)
#define ANY_SOURCE (BIT(SOURCES) - 1)
#define HUGES (BIT(HUGE_PRIVATE) | BIT(HUGE_SHARED))

/* A combination. */
struct wish {
    enum pager pager;
    enum kind kind;
    enum pgl_uffd_source_kind source;
    enum pgl_uffd_removed removed;
    enum pgl_uffd_remedy remedy;
    bool limited;
};

/* The table: the first row that a combination meets says how it is refused. */
static const struct row {
    unsigned pagers;
    unsigned kinds;
    unsigned sources;
    bool zeros; /* pages that are given back are to be zeros */
    bool limited;
    int error;
} table[] = {
    {ANY_PAGER & ~(BIT(PROTECTING) | BIT(BOTH)), ANY_KIND, ANY_SOURCE, false, true, EINVAL},
    {ANY_PAGER, ANY_KIND & ~BIT(PRIVATE), ANY_SOURCE, false, true, EOPNOTSUPP},
    {ANY_PAGER, ANY_KIND, BIT(PGL_UFFD_CALLBACK), false, true, EOPNOTSUPP},
    {BIT(SELF_TRACKING), ANY_KIND & ~BIT(PRIVATE), ANY_SOURCE, false, false, EOPNOTSUPP},
    {ANY_PAGER, BIT(SHARED) | BIT(HUGE_SHARED), ANY_SOURCE, true, false, EOPNOTSUPP},
    {BIT(SELF) | BIT(SELF_TRACKING), ANY_KIND, BIT(PGL_UFFD_CALLBACK), false, false, EOPNOTSUPP},
    {ANY_PAGER, HUGES, BIT(PGL_UFFD_CALLBACK), false, false, EOPNOTSUPP},
};

static int error_of(const struct wish *wish)
{
    for (unsigned i = 0; i < sizeof(table) / sizeof(*table); i++) {
        const struct row *row = &table[i];

        if ((row->pagers >> wish->pager & 1) != 0 && (row->kinds >> wish->kind & 1) != 0 &&
            (row->sources >> wish->source & 1) != 0 && (!row->zeros || wish->removed == PGL_UFFD_ZEROS) &&
            (!row->limited || wish->limited)) {
            return row->error;
        }
    }
    return 0;
}

static unsigned char bytes[HUGE] __attribute__((aligned(PAGE))); /* of the file */

static size_t length_of(enum kind kind)
{
    return (HUGES >> kind & 1) != 0 ? HUGE : NPAGES * PAGE;
}

/* Returns the memory, or NULL when the machine has none of the kind. */
static unsigned char *new_kind(enum kind kind)
{
    static const int flags[] = {MAP_PRIVATE, MAP_SHARED, MAP_PRIVATE | MAP_HUGETLB, MAP_SHARED | MAP_HUGETLB};
    void *memory = mmap(NULL, length_of(kind), PROT_READ | PROT_WRITE, flags[kind] | MAP_ANONYMOUS, -1, 0);

    return memory != MAP_FAILED ? memory : NULL;
}

static bool is_shared(enum kind kind)
{
    return kind == SHARED || kind == HUGE_SHARED;
}

static enum pgl_uffd_memory memory_of(enum kind kind)
{
    return kind == PRIVATE ? PGL_UFFD_PRIVATE : kind == SHARED ? PGL_UFFD_SHARED : PGL_UFFD_HUGE;
}

static void supply(void *arg, struct pgl_uffd_request *request, const struct pgl_uffd_wanted *wanted)
{
    (void)arg;
    pgl_uffd_request_supply(request, wanted->offset, bytes + wanted->offset, wanted->length);
    pgl_uffd_request_end(request);
}

static bool map_wish(struct fixture *f, const struct wish *wish, unsigned char *memory)
{
    const struct pgl_uffd_region region = {
        .addr = memory,
        .length = length_of(wish->kind),
        .source = {.kind = wish->source, .fd = f->file, .memory = bytes, .size = sizeof(bytes), .request = supply},
        .advice = PGL_ADVICE_RANDOM,
        .memory = memory_of(wish->kind),
        .removed = wish->removed,
        .on_error = wish->remedy,
        .limit = wish->limited ? UINT64_MAX : 0,
    };

    return pgl_uffd_map_region(f->uffd, &region);
}

/* The page was tried some times: it can be read from now on. */
static enum pgl_uffd_remedy mend_the_page(void *arg, const void *addr, int error)
{
    struct fixture *f = arg;

    (void)addr;
    (void)error;
    if (__atomic_add_fetch(&f->failures, 1, __ATOMIC_RELAXED) >= 2) {
        __atomic_store_n(&bad_offset, -1, __ATOMIC_RELEASE);
    }
    return PGL_UFFD_DEFAULT;
}

static bool start(struct fixture *f, enum pager pager)
{
    f->config = (struct pgl_uffd_config){
        .write_protect = pager == PROTECTING || pager == BOTH,
        .track_dirty = pager == TRACKING || pager == BOTH || pager == SELF_TRACKING,
        .handover = pager >= SELF ? PGL_UFFD_SIGBUS : PGL_UFFD_FOLLOW,
        .failed = mend_the_page,
        .arg = f,
    };
    return try_new(f);
}

/* A page that cannot be read is answered as on_error says. */
static void check_remedy(struct fixture *f, const struct wish *wish, unsigned char *memory)
{
    __atomic_store_n(&f->failures, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&bad_offset, 3 * PAGE, __ATOMIC_RELEASE);
    if (wish->remedy == PGL_UFFD_DEFAULT || wish->remedy == PGL_UFFD_POISON) {
        assert_true(sigbus_at(memory + 3 * PAGE, PAGE));
    } else {
        assert_true(wish->remedy == PGL_UFFD_ZERO ? is_zero(memory + 3 * PAGE) : is_page(memory + 3 * PAGE, 3));
    }
    __atomic_store_n(&bad_offset, -1, __ATOMIC_RELEASE);
}

/* The source is shown, writes stay and are reported, and what is given back shows what `removed` says. */
static void check_bytes(struct fixture *f, const struct wish *wish, unsigned char *memory)
{
    struct pgl_uffd_range rest = {memory, length_of(wish->kind)}, range;

    assert_true(is_page(memory + 5 * PAGE, 5) && is_page(memory + 7 * PAGE, 7));
    memory[7 * PAGE] = 'w';
    if (f->config.track_dirty) {
        assert_int_equal(pgl_uffd_dirty_take(f->uffd, &rest, &range, 1), 1);
        assert_true((unsigned char *)range.addr <= memory + 7 * PAGE);
        assert_true((unsigned char *)range.addr + range.length > memory + 7 * PAGE);
    }
    memory[7 * PAGE + 1] = 'w';
    assert_true(memory[7 * PAGE] == 'w' && memory[7 * PAGE + 1] == 'w');
    assert_int_equal(madvise(memory, length_of(wish->kind), is_shared(wish->kind) ? MADV_REMOVE : MADV_DONTNEED), 0);
    assert_true(wish->removed == PGL_UFFD_ZEROS ? is_zero(memory + 7 * PAGE) : is_page(memory + 7 * PAGE, 7));
}

/* Map fresh memory of a kind: it is refused as the table says, or does what it is checked for. */
static void check(struct fixture *f, const struct wish *wish,
                  void (*check_works)(struct fixture *f, const struct wish *wish, unsigned char *memory))
{
    unsigned char *memory = new_kind(wish->kind);
    int error = error_of(wish);

    assert_non_null(memory);
    errno = 0;
    if (map_wish(f, wish, memory) ? error != 0 : errno != error) {
        fail_msg("pager %d memory %d source %d removed %d on_error %d limit %d: %s, and not %s", wish->pager,
                 wish->kind, wish->source, wish->removed, wish->remedy, wish->limited, strerror(errno),
                 strerror(error));
    }
    if (error == 0) {
        check_works(f, wish, memory);
        assert_true(pgl_uffd_unmap(f->uffd, memory, length_of(wish->kind)));
    }
    munmap(memory, length_of(wish->kind));
}

static void check_wishes_of(struct fixture *f, enum pager pager, enum kind kind, bool has_move)
{
    enum { ALL = SOURCES * REMOVED * REMEDIES * 2 };

    for (unsigned i = 0; i < ALL; i++) {
        const struct wish wish = {
            .pager = pager,
            .kind = kind,
            .source = (enum pgl_uffd_source_kind)(i % SOURCES),
            .removed = (enum pgl_uffd_removed)(i / SOURCES % REMOVED),
            .remedy = (enum pgl_uffd_remedy)(i / SOURCES / REMOVED % REMEDIES),
            .limited = i / SOURCES / REMOVED / REMEDIES != 0,
        };

        if (has_move || !wish.limited) {
            check(f, &wish, check_bytes);
            if (wish.source == PGL_UFFD_FILE) {
                check(f, &wish, check_remedy);
            }
        }
    }
}

/* Whether the kernel can give pages back. */
static bool kernel_has_move(struct fixture *f)
{
    const struct wish wish = {.pager = PROTECTING, .limited = true};
    unsigned char *memory = new_kind(PRIVATE);
    bool has = start(f, PROTECTING) && map_wish(f, &wish, memory);

    undo_new(f);
    munmap(memory, length_of(PRIVATE));
    return has;
}

static void check_table(struct fixture *f, enum kind first, enum kind last)
{
    bool has_move = kernel_has_move(f);

    sigbus_install();
    fill(f->file, 0, HUGE_PAGES);
    assert_int_equal(pread(f->file, bytes, sizeof(bytes), 0), sizeof(bytes));
    for (enum pager pager = UNPROTECTED; pager < PAGERS; pager++) {
        if (!start(f, pager)) { /* the kernel keeps no record of writes */
            assert_int_equal(errno, EOPNOTSUPP);
            continue;
        }
        for (enum kind kind = first; kind <= last; kind++) {
            check_wishes_of(f, pager, kind, has_move);
        }
        undo_new(f);
    }
}

static void test_uffd_kinds_small_pages_are_as_the_table_says(void **state)
{
    struct fixture *f = *state;

    SKIP_WITHOUT_POISON();
    check_table(f, PRIVATE, SHARED);
}

#define LOCK_HUGE_PAGES()                                                                                              \
    lock_huge_pages();                                                                                                 \
    if (count_free_huge_pages() < 1) {                                                                                 \
        unlock_huge_pages();                                                                                           \
        SKIP_BECAUSE("no huge page of 2 MiB: vm.nr_hugepages is to be 2");                                             \
    }

static void test_uffd_kinds_huge_pages_are_as_the_table_says(void **state)
{
    struct fixture *f = *state;

    SKIP_WITHOUT_POISON();
    LOCK_HUGE_PAGES()
    check_table(f, HUGE_PRIVATE, HUGE_SHARED);
    unlock_huge_pages();
}

/* S3: a part is enough, whichever it is, and shared memory beside the region is none of it. */
static void test_uffd_kinds_shared_memory_is_seen_in_any_part(void **state)
{
    struct fixture *f = *state;
    const int flags = MAP_ANONYMOUS | MAP_HUGETLB | MAP_NORESERVE;
    unsigned char *memory;

    lock_huge_pages();
    memory = mmap(NULL, 3 * HUGE, PROT_READ | PROT_WRITE, flags | MAP_PRIVATE, -1, 0);
    if (memory == MAP_FAILED) {
        unlock_huge_pages();
        SKIP_BECAUSE("no huge page of 2 MiB: vm.nr_hugepages is to be 2");
    }
    fill(f->file, 0, 3 * HUGE_PAGES);
    assert_true(start(f, UNPROTECTED));
    for (size_t shared = 0; shared < 3; shared++) {
        struct pgl_uffd_region region = {
            .source.fd = f->file, .length = HUGE, .memory = PGL_UFFD_HUGE, .removed = PGL_UFFD_ZEROS};
        unsigned char *part = memory + shared * HUGE;

        assert_ptr_equal(mmap(part, HUGE, PROT_READ | PROT_WRITE, flags | MAP_SHARED | MAP_FIXED, -1, 0), part);
        for (size_t i = 0; i < 3; i++) {
            region.addr = memory + i * HUGE;
            assert_int_equal(pgl_uffd_map_region(f->uffd, &region), i != shared);
            assert_true(i != shared || errno == EOPNOTSUPP);
            assert_true(i == shared || pgl_uffd_unmap(f->uffd, region.addr, HUGE));
        }
        region.addr = memory;
        region.length = 3 * HUGE;
        assert_false(pgl_uffd_map_region(f->uffd, &region));
        assert_int_equal(errno, EOPNOTSUPP);
        assert_ptr_equal(mmap(part, HUGE, PROT_READ | PROT_WRITE, flags | MAP_PRIVATE | MAP_FIXED, -1, 0), part);
    }
    munmap(memory, 3 * HUGE);
    unlock_huge_pages();
}

static unsigned char *huge_page;

static bool try_huge_zeros(struct fixture *f)
{
    const struct wish wish = {.kind = HUGE_PRIVATE, .removed = PGL_UFFD_ZEROS};

    return map_wish(f, &wish, huge_page);
}

/* The list of mappings cannot be opened, or be read to its end. */
static void test_uffd_kinds_huge_zeros_need_the_list_of_mappings(void **state)
{
    struct fixture *f = *state;
    unsigned refused = 0, at_read = 0;
    bool mapped = false;

    LOCK_HUGE_PAGES()
    fill(f->file, 0, HUGE_PAGES);
    huge_page = new_kind(HUGE_PRIVATE);
    assert_non_null(huge_page);
    assert_true(start(f, UNPROTECTED));
    for (unsigned at = 1; !mapped; at++) {
        bool done = run_failing(f, try_huge_zeros, at, EIO);

        if (!done && errno == EOPNOTSUPP) {
            refused++;
            assert_true(mine.call == CALL_OPEN || mine.call == CALL_READ);
            at_read = mine.call == CALL_READ ? at : at_read;
        }
        mapped = done && mine.n < at;
        assert_true(mapped || !done || pgl_uffd_unmap(f->uffd, huge_page, HUGE));
    }
    assert_true(refused >= 2);
    assert_true(pgl_uffd_unmap(f->uffd, huge_page, HUGE));
    assert_true(run_failing(f, try_huge_zeros, at_read, EINTR)); /* an interruption is no end */
    assert_true(is_page(huge_page, 0));
    undo_new(f);
    munmap(huge_page, HUGE);
    unlock_huge_pages();
}

/* Each kind that is said to be each other one. */
static void check_saying(struct fixture *f, enum kind first, enum kind last)
{
    assert_true(start(f, UNPROTECTED));
    for (enum kind kind = first; kind <= last; kind++) {
        for (int said = PGL_UFFD_PRIVATE; said <= PGL_UFFD_HUGE; said++) {
            struct pgl_uffd_region region = {
                .addr = new_kind(kind),
                .length = length_of(kind),
                .source.fd = f->file,
                .memory = (enum pgl_uffd_memory)said,
            };

            assert_non_null(region.addr);
            if (region.memory != memory_of(kind)) {
                assert_false(pgl_uffd_map_region(f->uffd, &region));
                assert_int_equal(errno, EINVAL);
                *(unsigned char *)region.addr = 'x'; /* no handler waits for it */
            }
            munmap(region.addr, region.length);
        }
    }
}

static void test_uffd_kinds_small_pages_are_what_they_are_said_to_be(void **state)
{
    check_saying(*state, PRIVATE, SHARED);
}

static void test_uffd_kinds_huge_pages_are_what_they_are_said_to_be(void **state)
{
    struct fixture *f = *state;

    LOCK_HUGE_PAGES()
    fill(f->file, 0, HUGE_PAGES);
    check_saying(f, HUGE_PRIVATE, HUGE_SHARED);
    unlock_huge_pages();
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_uffd_kinds_small_pages_are_as_the_table_says),
        TEST(test_uffd_kinds_huge_pages_are_as_the_table_says),
        TEST(test_uffd_kinds_shared_memory_is_seen_in_any_part),
        TEST(test_uffd_kinds_huge_zeros_need_the_list_of_mappings),
        TEST(test_uffd_kinds_small_pages_are_what_they_are_said_to_be),
        TEST(test_uffd_kinds_huge_pages_are_what_they_are_said_to_be),
    };
#undef TEST

    return permitted() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
