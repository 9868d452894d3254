/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A pager whose threads serve themselves by SIGBUS, on the kernel's own faults: pages are read, written, removed, moved
 * and handed to system calls; regions, the pager and the file come and go; the signals of other memory, and of another
 * userfaultfd, go to a handler of the program. Each page has one byte throughout, and a model knows which.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <pagelock/uffd.h>

#include "fuzz.h"

enum { NPAGES = 24, FILE_PAGES = 48, PAGE = 4096, MAX_STEPS = 200 };

/* A page is at one of two places, and moves between them. */
struct page {
    bool moved;
    bool mapped; /* the pager shows a page of the file there */
    int shows;   /* which */
    bool own;    /* its byte is its own, and not the file's or zero */
    uint8_t byte;
};

static struct world {
    struct input input;
    struct pgl_uffd *uffd;
    unsigned char *places; /* two for each page */
    struct page page[NPAGES];
    int file, pipe[2];
    bool again;        /* what failed() asks for */
    unsigned failures; /* its calls */
    sigjmp_buf out;
    void *expected; /* the address for which the program's handler waits */
} world;

static void fill_file(int first)
{
    unsigned char bytes[PAGE];

    for (int page = first; page < FILE_PAGES; page++) {
        memset(bytes, page + 1, sizeof(bytes));
        CHECK(pwrite(world.file, bytes, sizeof(bytes), (off_t)page * PAGE) == PAGE);
    }
}

static enum pgl_uffd_remedy failed(void *arg, const void *addr, int error)
{
    (void)arg;
    (void)addr;
    CHECK(error == ENODATA);
    world.failures++;
    if (world.again) {
        fill_file(0);
    }
    return world.again ? PGL_UFFD_AGAIN : PGL_UFFD_ZERO;
}

static void on_signal(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    (void)context;
    CHECK(world.expected && info->si_addr == world.expected);
    siglongjmp(world.out, 1);
}

static volatile unsigned char *at(unsigned n)
{
    return world.places + (n + (world.page[n].moved ? NPAGES : 0)) * PAGE;
}

static uint8_t byte_of(unsigned n)
{
    const struct page *page = &world.page[n];

    return page->own ? page->byte : page->mapped ? (uint8_t)(page->shows + 1) : 0;
}

static bool is_present(unsigned n)
{
    unsigned char resident = 0;

    CHECK(mincore((void *)(uintptr_t)at(n), PAGE, &resident) == 0);
    return (resident & 1) != 0;
}

static void check_page(unsigned n)
{
    CHECK(at(n)[0] == byte_of(n) && at(n)[PAGE - 1] == byte_of(n));
}

/* The pager has the page no more: what is present stays, and the rest is zeros. */
static void forget(unsigned n)
{
    struct page *page = &world.page[n];

    if (page->mapped && is_present(n)) {
        page->byte = byte_of(n);
        page->own = true;
    }
    page->mapped = false;
}

static void new_pager(void)
{
    const struct pgl_uffd_config config = {.handover = PGL_UFFD_SIGBUS, .allow_user_mode = true, .failed = failed};

    need_pages_of(PAGE);
    world.uffd = pgl_uffd_new(&config);
    if (!world.uffd && (errno == EPERM || errno == ENOSYS || errno == EOPNOTSUPP || errno == EINVAL)) {
        fprintf(stderr, "SKIP: %s\n", pgl_uffd_explain(errno));
        exit(77);
    }
    CHECK(world.uffd);
}

/* ---- steps ---- */

static unsigned any_page(void)
{
    return eat(&world.input) % NPAGES;
}

/* The pages from @first that lie side by side, and are all mapped or all not, up to @last. Returns the last one. */
static unsigned run_from(unsigned first, unsigned last)
{
    unsigned n = first;

    while (n < last && world.page[n + 1].moved == world.page[first].moved &&
           world.page[n + 1].mapped == world.page[first].mapped) {
        n++;
    }
    return n;
}

static unsigned any_run(unsigned *first)
{
    unsigned length;

    *first = any_page();
    length = eat(&world.input) % NPAGES;
    return run_from(*first, *first + length < NPAGES ? *first + length : NPAGES - 1);
}

static void step_read(void)
{
    check_page(any_page());
}

static void step_write(void)
{
    unsigned n = any_page();
    uint8_t byte = eat(&world.input);

    at(n)[0] = byte;
    CHECK(at(n)[PAGE - 1] == byte_of(n));
    memset((void *)(uintptr_t)at(n), byte, PAGE);
    world.page[n].own = true;
    world.page[n].byte = byte;
}

static void step_remove(void)
{
    unsigned first, last = any_run(&first);

    CHECK(madvise((void *)(uintptr_t)at(first), (last - first + 1) * PAGE, MADV_DONTNEED) == 0);
    for (unsigned n = first; n <= last; n++) {
        world.page[n].own = false;
    }
}

static void step_map(void)
{
    unsigned first, last = any_run(&first);
    unsigned offset = eat(&world.input) % (FILE_PAGES - NPAGES);
    enum pgl_advice advice = (enum pgl_advice)(eat(&world.input) % PGL_ADVICE_COUNT);
    size_t length = (last - first + 1) * PAGE;
    bool mapped =
        pgl_uffd_map(world.uffd, (void *)(uintptr_t)at(first), length, world.file, (off_t)offset * PAGE, advice);

    CHECK(mapped == !world.page[first].mapped);
    for (unsigned n = first; n <= last && mapped; n++) {
        world.page[n] = (struct page){world.page[n].moved, true, (int)(offset + n - first), false, 0};
    }
}

static void step_unmap(void)
{
    unsigned first, last = any_run(&first);

    if (world.page[first].mapped) {
        for (unsigned n = first; n <= last; n++) {
            forget(n);
        }
        CHECK(pgl_uffd_unmap(world.uffd, (void *)(uintptr_t)at(first), (last - first + 1) * PAGE));
    }
}

static void step_advise(void)
{
    unsigned first, last = any_run(&first);
    enum pgl_advice advice = (enum pgl_advice)(eat(&world.input) % PGL_ADVICE_COUNT);

    CHECK(pgl_uffd_advise(world.uffd, (void *)(uintptr_t)at(first), (last - first + 1) * PAGE, advice) ==
          world.page[first].mapped);
}

/* The place that is left behind stays reserved for the way back. */
static void step_move(void)
{
    unsigned n = any_page();
    void *from = (void *)(uintptr_t)at(n);

    world.page[n].moved = !world.page[n].moved;
    CHECK(mremap(from, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)(uintptr_t)at(n)) == at(n));
    CHECK(mmap(from, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == from);
}

/* Memory that mremap() adds to a region is zeros. */
static void step_grow(void)
{
    unsigned char *memory = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsigned added = eat(&world.input) % 4;

    CHECK(memory != MAP_FAILED);
    CHECK(pgl_uffd_map(world.uffd, memory, PAGE, world.file, PAGE, PGL_ADVICE_NORMAL));
    memory = mremap(memory, PAGE, (1 + added) * PAGE, MREMAP_MAYMOVE);
    CHECK(memory != MAP_FAILED);
    for (unsigned i = added; i > 0; i--) {
        CHECK(memory[i * PAGE] == 0);
        memory[i * PAGE] = 1;
    }
    CHECK(memory[0] == 2);
    CHECK(munmap(memory, (1 + added) * PAGE) == 0);
}

/* A system call sees what is there, and fails where the pager would have to bring the page. */
static void step_call(void)
{
    unsigned n = any_page();
    bool fails = world.page[n].mapped && !is_present(n);
    uint8_t byte = 0;
    ssize_t written = write(world.pipe[1], (void *)(uintptr_t)at(n), 1);

    CHECK(written == (fails ? -1 : 1) && (!fails || errno == EFAULT));
    if (!fails) {
        CHECK(read(world.pipe[0], &byte, 1) == 1 && byte == byte_of(n));
    }
}

/* The file ends before the page of a region, for a while. */
static void step_shrink(void)
{
    unsigned n = any_page();

    world.again = eat(&world.input) % 2;
    if (!world.page[n].mapped || is_present(n)) {
        return;
    }
    world.failures = 0;
    CHECK(ftruncate(world.file, (off_t)world.page[n].shows * PAGE) == 0);
    if (!world.again) {
        world.page[n].own = true;
        world.page[n].byte = 0;
    }
    check_page(n);
    CHECK(world.failures == 1);
    fill_file(0);
}

/* Read memory that no pager has; its signal comes to the program's handler. */
static void expect_signal(volatile unsigned char *memory)
{
    world.expected = (void *)(uintptr_t)memory;
    if (sigsetjmp(world.out, 1) == 0) {
        (void)*memory;
        CHECK(!"no signal");
    }
    world.expected = NULL;
}

static void step_other(void)
{
    unsigned char *memory = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, world.file, (off_t)FILE_PAGES * PAGE);

    CHECK(memory != MAP_FAILED);
    expect_signal(memory + eat(&world.input));
    CHECK(munmap(memory, PAGE) == 0);
}

static void step_foreign(void)
{
    unsigned char *memory = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_SIGBUS};
    struct uffdio_register claim = {.range = {(uintptr_t)memory, PAGE}, .mode = UFFDIO_REGISTER_MODE_MISSING};
    int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);

    CHECK(memory != MAP_FAILED && fd >= 0 && ioctl(fd, UFFDIO_API, &api) == 0);
    CHECK(ioctl(fd, UFFDIO_REGISTER, &claim) == 0);
    expect_signal(memory + eat(&world.input));
    close(fd);
    CHECK(*memory == 0);
    CHECK(munmap(memory, PAGE) == 0);
}

static void end_pager(void)
{
    for (unsigned n = 0; n < NPAGES; n++) {
        forget(n);
    }
    pgl_uffd_free(world.uffd);
}

static void step_again(void)
{
    if (eat(&world.input) % 4 == 0) {
        end_pager();
        new_pager();
    }
}

static void (*const steps[])(void) = {
    step_read,   step_read, step_read, step_write,  step_remove, step_map,   step_map,     step_unmap,
    step_advise, step_move, step_grow, step_shrink, step_call,   step_other, step_foreign, step_again,
};

static void begin(const uint8_t *data, size_t size)
{
    const struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};

    memset(&world, 0, sizeof(world));
    world.input = (struct input){data, data + size};
    world.file = memfd_create("pages", MFD_CLOEXEC);
    CHECK(world.file >= 0 && pipe(world.pipe) == 0);
    fill_file(0);
    world.places = mmap(NULL, 2 * NPAGES * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(world.places != MAP_FAILED);
    CHECK(mprotect(world.places, NPAGES * PAGE, PROT_READ | PROT_WRITE) == 0);
    CHECK(sigaction(SIGBUS, &action, NULL) == 0);
    new_pager();
}

static void finish(void)
{
    struct sigaction action;

    for (unsigned n = 0; n < NPAGES; n += 2) {
        check_page(n);
    }
    end_pager();
    for (unsigned n = 0; n < NPAGES; n++) {
        check_page(n);
    }
    CHECK(sigaction(SIGBUS, NULL, &action) == 0 && action.sa_sigaction == on_signal);
    CHECK(munmap(world.places, 2 * NPAGES * PAGE) == 0);
    close(world.file);
    close(world.pipe[0]);
    close(world.pipe[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    begin(data, size);
    do_steps(&world.input, steps, sizeof(steps) / sizeof(steps[0]), MAX_STEPS);
    finish();
    return 0;
}
