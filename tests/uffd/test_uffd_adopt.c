/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The memory of another process, which has sent its userfaultfd. */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "../cm.h"
#include "../sanitized.h"
#include "pager.h"
#include "sender.h"
#include "waits.h"

#define EVENTS (UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_EVENT_UNMAP | UFFD_FEATURE_EVENT_REMAP)

/* In the library: the address of one of its questions. */
int pgl_space_probe(const struct pgl_uffd *uffd, const void *space);

static struct sender sender;

/* The only request of a source that answers when a test says so. Atomic. */
static struct pgl_uffd_request *request;

static void on_request(void *arg, struct pgl_uffd_request *asked_for, const struct pgl_uffd_wanted *wanted)
{
    (void)arg;
    (void)wanted;
    __atomic_store_n(&request, asked_for, __ATOMIC_RELEASE);
}

static void wait_for_request(void)
{
    while (!__atomic_load_n(&request, __ATOMIC_ACQUIRE)) {
        usleep(100);
    }
}

static void wait_for_gone(const struct fixture *f)
{
    while (stats_of(f).gone == 0) {
        usleep(100);
    }
}

static struct pgl_uffd_region region_of(const struct fixture *f)
{
    return (struct pgl_uffd_region){
        .addr = f->memory,
        .length = NPAGES * PAGE,
        .source.fd = f->file,
        .advice = PGL_ADVICE_RANDOM,
    };
}

static struct pgl_uffd_region late_region_of(const struct fixture *f)
{
    struct pgl_uffd_region region = region_of(f);

    region.source = (struct pgl_uffd_source){PGL_UFFD_CALLBACK, .size = NPAGES * PAGE, .request = on_request};
    return region;
}

static int set_up_sender(void **state)
{
    int error = set_up(state);
    struct fixture *f = *state;

    request = NULL;
    sender_start(&sender, f->memory, NPAGES * PAGE, EVENTS);
    start_pager(f);
    return error;
}

static int tear_down_sender(void **state)
{
    sender_end(&sender);
    return tear_down(state);
}

static uint64_t adopt(struct fixture *f, struct pgl_uffd_region region)
{
    uint64_t process = pgl_uffd_adopt(f->uffd, sender.fd, &region, 1);

    assert_int_not_equal(process, 0);
    return process;
}

static void assert_refused(const struct fixture *f, int fd, struct pgl_uffd_region region, int error)
{
    unsigned nfds = count_fds();

    errno = 0;
    assert_int_equal(pgl_uffd_adopt(f->uffd, fd, &region, 1), 0);
    assert_int_equal(errno, error);
    assert_fds(nfds);
}

static void test_uffd_adopt_shows_the_file_in_another_process(void **state)
{
    struct fixture *f = *state;

    adopt(f, region_of(f));
    for (uint64_t page = 0; page < NPAGES; page++) {
        assert_true(sender_do(&sender, ORDER_SHOWS_PAGE, page));
    }
    assert_int_equal(stats_of(f).pages_fetched, NPAGES);
}

static void test_uffd_adopt_shows_each_region_its_own_part(void **state)
{
    struct fixture *f = *state;
    struct pgl_uffd_region regions[2] = {region_of(f), region_of(f)};

    regions[0].length = 3 * PAGE;
    regions[1].addr = f->memory + 3 * PAGE;
    regions[1].offset = 3 * PAGE;
    regions[1].length = (NPAGES - 3) * PAGE;
    assert_int_not_equal(pgl_uffd_adopt(f->uffd, sender.fd, regions, 2), 0);
    assert_true(sender_do(&sender, ORDER_SHOWS_PAGE, 2));
    assert_true(sender_do(&sender, ORDER_SHOWS_PAGE, 3));
    assert_true(sender_do(&sender, ORDER_SHOWS_PAGE, NPAGES - 1));
}

static void test_uffd_adopt_serves_a_fault_that_waits_already(void **state)
{
    struct fixture *f = *state;

    assert_true(sender_do(&sender, ORDER_TOUCH, 5));
    while (uffd_count_pending_of(sender.fd) != 1) {
        usleep(100);
    }
    adopt(f, region_of(f));
    assert_true(sender_do(&sender, ORDER_JOIN, 0));
}

static void test_uffd_adopt_shows_the_source_again_after_the_balloon(void **state)
{
    struct fixture *f = *state;

    adopt(f, region_of(f));
    assert_true(sender_do(&sender, ORDER_SHOWS_PAGE, 9));
    assert_true(sender_do(&sender, ORDER_GIVE_BACK, 9));
    assert_true(sender_do(&sender, ORDER_SHOWS_PAGE, 9));
    assert_int_equal(stats_of(f).removes, 1);
}

static void test_uffd_adopt_shows_zeros_after_the_balloon_if_the_region_says_so(void **state)
{
    struct fixture *f = *state;
    struct pgl_uffd_region region = region_of(f);

    region.removed = PGL_UFFD_ZEROS;
    adopt(f, region);
    assert_true(sender_do(&sender, ORDER_SHOWS_PAGE, 9));
    assert_true(sender_do(&sender, ORDER_GIVE_BACK, 9));
    assert_true(sender_do(&sender, ORDER_SHOWS_ZEROS, 9));
    assert_true(sender_do(&sender, ORDER_SHOWS_PAGE, 10));
}

static void test_uffd_adopt_applies_the_unmapping_of_memory(void **state)
{
    struct fixture *f = *state;

    adopt(f, region_of(f));
    assert_true(sender_do(&sender, ORDER_UNMAP, 4));
    assert_true(sender_do(&sender, ORDER_SHOWS_PAGE, 5));
    assert_int_equal(stats_of(f).unmaps, 1);
}

static void test_uffd_adopt_serves_the_children_of_the_process(void **state)
{
    struct fixture *f = *state;
    uint64_t process;

    sender_end(&sender);
    sender_start(&sender, f->memory, NPAGES * PAGE, EVENTS | UFFD_FEATURE_EVENT_FORK);
    unsigned nfds = count_fds();
    process = adopt(f, region_of(f));
    assert_true(sender_do(&sender, ORDER_FORK, 6));
    assert_true(sender_do(&sender, ORDER_FORK, 7));
    assert_int_equal(stats_of(f).forks, 2);
    assert_true(pgl_uffd_disown(f->uffd, process));
    assert_fds(nfds);
}

static void test_uffd_adopt_keeps_a_dead_process_until_it_is_disowned(void **state)
{
    struct fixture *f = *state;
    unsigned nfds = count_fds();
    uint64_t process = adopt(f, region_of(f));

    sender_kill(&sender);
    run_idle_child();
    assert_true(pgl_uffd_disown(f->uffd, process));
    assert_fds(nfds);
    assert_false(pgl_uffd_disown(f->uffd, process));
    assert_int_equal(errno, ENOENT);
}

static void test_uffd_adopt_installs_no_page_by_asking(void **state)
{
    struct fixture *f = *state;
    uint64_t code = (uintptr_t)pgl_space_probe & ~(uint64_t)(PAGE - 1);
    struct pgl_uffd_region regions[2] = {region_of(f), region_of(f)};

#ifdef THREAD_SANITIZED
    SKIP_BECAUSE("the thread sanitizer needs the code of the other process that makes room for memory");
#endif
    assert_true(sender_do(&sender, ORDER_REGISTER_ALSO, code));
    regions[0].length = 8 * PAGE;
    regions[1].addr = (void *)(uintptr_t)code; /* NOLINT(performance-no-int-to-ptr): the other process's */
    regions[1].length = PAGE;
    assert_int_not_equal(pgl_uffd_adopt(f->uffd, sender.fd, regions, 2), 0);
    assert_false(sender_do(&sender, ORDER_IS_RESIDENT, 0));
    assert_true(sender_do(&sender, ORDER_SHOWS_ZEROS, 8)); /* in no region: the handler asks */
    assert_false(sender_do(&sender, ORDER_IS_RESIDENT, (code - (uintptr_t)f->memory) / PAGE));
}

static void test_uffd_adopt_death_with_faults_outstanding(void **state)
{
    struct fixture *f = *state;
    unsigned nfds = count_fds();
    static const unsigned char page[PAGE];
    uint64_t process = adopt(f, late_region_of(f));

    assert_true(sender_do(&sender, ORDER_TOUCH, 5));
    wait_for_request();
    assert_true(pgl_uffd_request_is_wanted(request));
    sender_kill(&sender);
    assert_false(pgl_uffd_request_is_wanted(request));
    assert_true(pgl_uffd_request_supply(request, 5 * PAGE, page, PAGE));
    pgl_uffd_request_end(request);
    wait_for_gone(f);
    assert_true(pgl_uffd_disown(f->uffd, process));
    assert_fds(nfds);
}

/* A child of the process dies, and the process lives on. */
static void test_uffd_adopt_page_of_a_child_that_has_ended_is_not_wanted(void **state)
{
    struct fixture *f = *state;

    sender_end(&sender);
    sender_start(&sender, f->memory, NPAGES * PAGE, EVENTS | UFFD_FEATURE_EVENT_FORK);
    adopt(f, late_region_of(f));
    assert_true(sender_do(&sender, ORDER_FORK_TOUCH, 6));
    wait_for_request();
    assert_true(pgl_uffd_request_is_wanted(request));
    assert_true(sender_do(&sender, ORDER_KILL_CHILD, 0));
    assert_false(pgl_uffd_request_is_wanted(request));
    pgl_uffd_request_end(request);
}

struct disowning {
    struct pgl_uffd *uffd;
    uint64_t process;
    bool may_return; /* atomic */
};

static void *disown(void *arg)
{
    struct disowning *disowning = arg;

    may_malloc = true;
    return pgl_uffd_disown(disowning->uffd, disowning->process) &&
                   __atomic_load_n(&disowning->may_return, __ATOMIC_ACQUIRE)
               ? arg
               : NULL;
}

/* The process has kept its descriptor: its thread waits for the next one that adopts it. */
static void test_uffd_adopt_disown_with_faults_outstanding(void **state)
{
    struct fixture *f = *state;
    unsigned nfds = count_fds();
    struct disowning disowning = {f->uffd, adopt(f, late_region_of(f)), false};
    pthread_t thread;
    void *done;

    assert_true(sender_do(&sender, ORDER_TOUCH, 5));
    wait_for_request();
    assert_int_equal(pthread_create(&thread, NULL, disown, &disowning), 0);
    while (pgl_uffd_request_is_wanted(request)) {
        usleep(100);
    }
    assert_int_equal(count_fds(), nfds + 1); /* A9 */
    __atomic_store_n(&disowning.may_return, true, __ATOMIC_RELEASE);
    pgl_uffd_request_end(request);
    assert_int_equal(pthread_join(thread, &done), 0);
    assert_non_null(done);
    assert_fds(nfds);
    adopt(f, region_of(f));
    assert_true(sender_do(&sender, ORDER_JOIN, 0));
}

static void test_uffd_adopt_free_with_faults_outstanding(void **state)
{
    struct fixture *f = *state;
    struct pgl_uffd_region region = region_of(f);

    adopt(f, late_region_of(f));
    assert_true(sender_do(&sender, ORDER_TOUCH, 5));
    wait_for_request();
    pgl_uffd_free(f->uffd);
    pgl_uffd_request_end(request);
    start_pager(f);
    assert_int_not_equal(pgl_uffd_adopt(f->uffd, sender.fd, &region, 1), 0);
    assert_true(sender_do(&sender, ORDER_JOIN, 0));
}

static void test_uffd_adopt_disown_of_a_page_that_stays_bad(void **state)
{
    struct fixture *f = *state;
    struct pgl_uffd_region region = region_of(f);
    uint64_t process;

    region.on_error = PGL_UFFD_AGAIN;
    process = adopt(f, region);
    assert_int_equal(ftruncate(f->file, 0), 0);
    assert_true(sender_do(&sender, ORDER_TOUCH, 5));
    while (stats_of(f).faults < 2) {
        usleep(100);
    }
    assert_true(pgl_uffd_disown(f->uffd, process));
}

static void test_uffd_adopt_serves_the_others_when_one_dies(void **state)
{
    struct fixture *f = *state;
    struct sender other;

    adopt(f, region_of(f));
    sender_start(&other, f->memory, NPAGES * PAGE, EVENTS);
    struct pgl_uffd_region region = region_of(f);

    assert_int_not_equal(pgl_uffd_adopt(f->uffd, other.fd, &region, 1), 0);
    sender_kill(&sender);
    assert_true(sender_do(&other, ORDER_SHOWS_PAGE, 1));
    sender_end(&other);
}

/* Whether the kernel can read a userfaultfd without waiting. */
static bool kernel_has_nowait(int fd)
{
    bool has = false;
#ifdef PGL_NOWAIT
    struct uffd_msg message;
    struct iovec part = {&message, sizeof(message)};

    has = preadv2(fd, &part, 1, -1, RWF_NOWAIT) < 0 && errno == EAGAIN;
#endif
    (void)fd;
    return has;
}

/* Its flags are those of the pager's descriptor, too. test_uffd_adopt_errors has older kernels. */
static void test_uffd_adopt_of_a_process_that_waits_for_messages_hangs_nobody(void **state)
{
    struct fixture *f = *state;
    bool has_nowait = kernel_has_nowait(sender.fd);
    uint64_t process = adopt(f, region_of(f));
    int flags = fcntl(sender.fd, F_GETFL);

    if (!has_nowait) {
        SKIP_BECAUSE("the kernel has no RWF_NOWAIT for a userfaultfd, which came with Linux 6.10");
    }
    for (uint64_t page = 0; page < NPAGES; page++) {
        assert_int_equal(fcntl(sender.fd, F_SETFL, flags & ~O_NONBLOCK), 0);
        assert_true(sender_do(&sender, ORDER_SHOWS_PAGE, page));
    }
    assert_true(pgl_uffd_disown(f->uffd, process));
}

static void test_uffd_adopt_refuses_what_is_no_userfaultfd(void **state)
{
    struct fixture *f = *state;
    int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);

    assert_refused(f, -1, region_of(f), EBADF);
    assert_refused(f, f->file, region_of(f), ENOTTY);
    assert_refused(f, fd, region_of(f), EINVAL); /* before UFFDIO_API */
    close(fd);
}

static void test_uffd_adopt_refuses_memory_that_is_not_registered(void **state)
{
    struct fixture *f = *state;
    struct pgl_uffd_region region = region_of(f);

    region.addr = f->memory + NPAGES * PAGE;
    assert_refused(f, sender.fd, region, ENOENT);
}

static void test_uffd_adopt_refuses_a_dead_process(void **state)
{
    struct fixture *f = *state;

    sender_kill(&sender);
    assert_refused(f, sender.fd, region_of(f), ESRCH);
}

static void test_uffd_adopt_refuses_a_limit(void **state)
{
    struct fixture *f = *state;
    struct pgl_uffd_region region = region_of(f);

    region.limit = NPAGES;
    assert_refused(f, sender.fd, region, ENOTSUP);
}

static void test_uffd_adopt_refuses_regions_that_cannot_be(void **state)
{
    struct fixture *f = *state;
    struct pgl_uffd_region regions[2] = {region_of(f), region_of(f)};
    struct pgl_uffd_region region = region_of(f);

    region.addr = f->memory + 1;
    assert_refused(f, sender.fd, region, EINVAL);
    region = region_of(f);
    region.length = 0;
    assert_refused(f, sender.fd, region, EINVAL);
    region = region_of(f);
    region.memory = PGL_UFFD_HUGE + 1;
    assert_refused(f, sender.fd, region, EINVAL);
    region = region_of(f);
    region.offset = PAGE;
    assert_refused(f, sender.fd, region, EINVAL); /* beyond the end of the file */
    regions[1].addr = f->memory + (NPAGES - 1) * PAGE;
    regions[1].length = PAGE;
    assert_int_equal(pgl_uffd_adopt(f->uffd, sender.fd, regions, 2), 0);
    assert_int_equal(errno, EEXIST);
    assert_int_equal(pgl_uffd_adopt(f->uffd, sender.fd, regions, 0), 0);
    assert_int_equal(errno, EINVAL);
}

static void test_uffd_adopt_refuses_small_pages_that_are_said_to_be_huge(void **state)
{
    struct fixture *f = *state;
    size_t huge = (size_t)2 << 20;
    struct pgl_uffd_region region = region_of(f);
    unsigned char *memory = mmap(NULL, 2 * huge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    assert_true(memory != MAP_FAILED);
    sender_end(&sender);
    sender_start(&sender, memory, 2 * huge, EVENTS);
    region.addr = memory + (huge - (uintptr_t)memory % huge) % huge;
    region.length = huge;
    region.memory = PGL_UFFD_HUGE;
    assert_refused(f, sender.fd, region, EINVAL);
    region.addr = memory + PAGE + (huge - (uintptr_t)memory % huge) % huge;
    assert_refused(f, sender.fd, region, EINVAL);
    munmap(memory, 2 * huge);
}

/* Pagers that protect pages, or whose threads serve themselves. */
static void test_uffd_adopt_refuses_pagers_of_another_kind(void **state)
{
    struct fixture *f = *state;
    static const struct pgl_uffd_config kinds[] = {
        {.write_protect = true},
        {.track_dirty = true},
        {.handover = PGL_UFFD_SIGBUS},
    };

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        pgl_uffd_free(f->uffd);
        f->config = kinds[i];
        start_pager(f);
        assert_refused(f, sender.fd, region_of(f), ENOTSUP);
    }
}

static void test_uffd_disown_knows_no_other_number(void **state)
{
    struct fixture *f = *state;
    uint64_t process = adopt(f, region_of(f));

    assert_false(pgl_uffd_disown(f->uffd, 0));
    assert_int_equal(errno, ENOENT);
    assert_false(pgl_uffd_disown(f->uffd, process + 1));
    assert_true(sender_do(&sender, ORDER_SHOWS_PAGE, 1));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up_sender, tear_down_sender)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_uffd_adopt_shows_the_file_in_another_process),
        TEST(test_uffd_adopt_shows_each_region_its_own_part),
        TEST(test_uffd_adopt_serves_a_fault_that_waits_already),
        TEST(test_uffd_adopt_shows_the_source_again_after_the_balloon),
        TEST(test_uffd_adopt_shows_zeros_after_the_balloon_if_the_region_says_so),
        TEST(test_uffd_adopt_applies_the_unmapping_of_memory),
        TEST(test_uffd_adopt_serves_the_children_of_the_process),
        TEST(test_uffd_adopt_keeps_a_dead_process_until_it_is_disowned),
        TEST(test_uffd_adopt_installs_no_page_by_asking),
        TEST(test_uffd_adopt_death_with_faults_outstanding),
        TEST(test_uffd_adopt_page_of_a_child_that_has_ended_is_not_wanted),
        TEST(test_uffd_adopt_disown_with_faults_outstanding),
        TEST(test_uffd_adopt_free_with_faults_outstanding),
        TEST(test_uffd_adopt_disown_of_a_page_that_stays_bad),
        TEST(test_uffd_adopt_serves_the_others_when_one_dies),
        TEST(test_uffd_adopt_of_a_process_that_waits_for_messages_hangs_nobody),
        TEST(test_uffd_adopt_refuses_what_is_no_userfaultfd),
        TEST(test_uffd_adopt_refuses_memory_that_is_not_registered),
        TEST(test_uffd_adopt_refuses_a_dead_process),
        TEST(test_uffd_adopt_refuses_a_limit),
        TEST(test_uffd_adopt_refuses_regions_that_cannot_be),
        TEST(test_uffd_adopt_refuses_small_pages_that_are_said_to_be_huge),
        TEST(test_uffd_adopt_refuses_pagers_of_another_kind),
        TEST(test_uffd_disown_knows_no_other_number),
    };

    return pager_permitted() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
