/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory with a userfaultfd of its own, adopted, disowned and adopted again, and a source that answers late, in part,
 * with more or less than it was asked for, with errors, or not. Threads touch the pages meanwhile, and see nothing but
 * what the steps allow. The memory is this process's, because a process for each input would take most of the time.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <pagelock/uffd.h>

#include "fuzz.h"

enum { NPAGES = 20, LOW = 12, PAGE = 4096, MAX_STEPS = 120, NTOUCHERS = 3, KEPT = 4096 };

/* The bytes that a page may show, or that it kills. */
enum { SOURCE = 1, ZEROS = 2, BUS = 4 };

/* A thread that touches a page when it is told. All but the thread and the jump is under the lock. */
struct toucher {
    pthread_t thread;
    sigjmp_buf out;
    int page; /* or -1: it is idle */
    bool over;
    unsigned allowed; /* at any moment since it was told */
};

static struct world {
    struct input input;
    struct pgl_uffd *uffd;
    struct pgl_uffd_region regions[2]; /* the pages below LOW, and the others, whose source is apart */
    uint64_t process;                  /* 0: the memory is not adopted, and plain */
    int fd;                            /* of the memory */
    unsigned char *memory, *source;
    unsigned allowed[NPAGES];
    bool freed; /* the pager is */
    struct toucher touchers[NTOUCHERS];
    pthread_mutex_t lock; /* of what touchers and callbacks share: these */
    pthread_cond_t told;
    struct pgl_uffd_request *requests[KEPT];
    struct pgl_uffd_wanted wanted[KEPT];
    unsigned first, nrequests; /* those from `first` on are not ended */
    bool leaving;              /* requests are ended at once, because the memory is being disowned */
} world;

static __thread struct toucher *me;

/* ---- the source ---- */

static uint64_t offset_of(unsigned page)
{
    return (page < LOW ? page : page + LOW) * (uint64_t)PAGE;
}

static const uint64_t source_size = (NPAGES + LOW) * (uint64_t)PAGE;

static void on_request(void *arg, struct pgl_uffd_request *request, const struct pgl_uffd_wanted *wanted)
{
    (void)arg;
    CHECK(wanted->length > 0 && wanted->length % PAGE == 0 && wanted->offset % PAGE == 0);
    CHECK(wanted->demand >= wanted->offset && wanted->demand - wanted->offset < wanted->length);
    CHECK(wanted->offset + wanted->length <= LOW * PAGE || wanted->offset >= offset_of(LOW));
    CHECK(wanted->offset + wanted->length <= source_size);
    pthread_mutex_lock(&world.lock);
    if (!world.leaving) {
        CHECK(world.nrequests < KEPT);
        world.requests[world.nrequests] = request;
        world.wanted[world.nrequests++] = *wanted;
        request = NULL;
    }
    pthread_mutex_unlock(&world.lock);
    if (request) {
        pgl_uffd_request_end(request);
    }
}

/* Take a request that is not ended: the oldest one, or the last. Returns false when there is none. */
static bool take_request(bool last, struct pgl_uffd_request **request, struct pgl_uffd_wanted *wanted)
{
    unsigned n;

    pthread_mutex_lock(&world.lock);
    n = last ? world.nrequests - 1 : world.first;
    if (world.first == world.nrequests) {
        pthread_mutex_unlock(&world.lock);
        return false;
    }
    *request = world.requests[n];
    *wanted = world.wanted[n];
    world.requests[n] = world.requests[world.first];
    world.wanted[n] = world.wanted[world.first++];
    pthread_mutex_unlock(&world.lock);
    return true;
}

static void keep_request(struct pgl_uffd_request *request, const struct pgl_uffd_wanted *wanted)
{
    on_request(NULL, request, wanted);
}

/* ---- the bytes of pages ---- */

/* Threads that touch the page now may also see this. The lock is held. */
static void allow_touchers(unsigned page, unsigned what)
{
    for (unsigned i = 0; i < NTOUCHERS; i++) {
        world.touchers[i].allowed |= world.touchers[i].page == (int)page ? what : 0;
    }
}

static bool is_touched(unsigned page)
{
    bool touched = false;

    for (unsigned i = 0; i < NTOUCHERS; i++) {
        touched = touched || world.touchers[i].page == (int)page;
    }
    return touched;
}

/* Pages of the source between two offsets may show this, too. */
static void allow(uint64_t offset, uint64_t length, unsigned what)
{
    pthread_mutex_lock(&world.lock);
    for (unsigned page = 0; page < NPAGES; page++) {
        uint64_t at = offset_of(page);

        if (at + PAGE > offset && at < offset + length) {
            world.allowed[page] |= what;
            allow_touchers(page, what);
        }
    }
    pthread_mutex_unlock(&world.lock);
}

/* An error leads to this. */
static unsigned remedy(void)
{
    return world.regions[0].on_error == PGL_UFFD_ZERO ? ZEROS : BUS;
}

/* ---- touches ---- */

static void on_signal(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    (void)context;
    CHECK(me && info->si_addr >= (void *)(world.memory + me->page * PAGE));
    siglongjmp(me->out, 1);
}

static unsigned read_page(void)
{
    const volatile unsigned char *bytes = world.memory + me->page * PAGE;
    unsigned char first = bytes[0], last = bytes[PAGE - 1];

    CHECK(first == last);
    return first == 0 ? ZEROS : first == offset_of((unsigned)me->page) / PAGE + 1 ? SOURCE : 0;
}

/* Returns what this thread's page shows. No variable is alive where a signal comes back to. */
static unsigned see(void)
{
    return sigsetjmp(me->out, 1) == 0 ? read_page() : BUS;
}

static void *touch(void *arg)
{
    me = arg;
    pthread_mutex_lock(&world.lock);
    while (!me->over) {
        unsigned seen;

        if (me->page < 0) {
            pthread_cond_wait(&world.told, &world.lock);
            continue;
        }
        pthread_mutex_unlock(&world.lock);
        seen = see();
        pthread_mutex_lock(&world.lock);
        CHECK((seen & me->allowed) != 0);
        me->page = -1;
    }
    pthread_mutex_unlock(&world.lock);
    return NULL;
}

/* Answer with all that is wanted. */
static void answer(struct pgl_uffd_request *request, const struct pgl_uffd_wanted *wanted)
{
    bool supplied = pgl_uffd_request_supply(request, wanted->offset, world.source + wanted->offset, wanted->length);

    CHECK(supplied == !world.freed && (supplied || errno == ECANCELED));
    pgl_uffd_request_end(request);
}

/* Answer until no thread touches a page. */
static void settle(void)
{
    struct pgl_uffd_request *request;
    struct pgl_uffd_wanted wanted;
    bool busy = true;

    while (busy) {
        while (take_request(false, &request, &wanted)) {
            answer(request, &wanted);
        }
        busy = false;
        pthread_mutex_lock(&world.lock);
        for (unsigned i = 0; i < NTOUCHERS; i++) {
            busy = busy || world.touchers[i].page >= 0;
        }
        pthread_mutex_unlock(&world.lock);
        if (busy) {
            usleep(20);
        }
    }
}

static void step_settle(void)
{
    settle();
}

static void step_touch(void)
{
    unsigned page = eat(&world.input) % NPAGES;
    bool told = false;

    while (!told) {
        pthread_mutex_lock(&world.lock);
        for (unsigned i = 0; i < NTOUCHERS && !told; i++) {
            struct toucher *toucher = &world.touchers[i];

            if (toucher->page < 0) {
                toucher->page = (int)page;
                toucher->allowed = world.allowed[page];
                told = true;
            }
        }
        pthread_cond_broadcast(&world.told);
        pthread_mutex_unlock(&world.lock);
        if (!told) {
            settle();
        }
    }
}

/* ---- answers ---- */

static void step_answer(void)
{
    struct pgl_uffd_request *request;
    struct pgl_uffd_wanted wanted;

    if (take_request(eat(&world.input) % 2 != 0, &request, &wanted)) {
        answer(request, &wanted);
    }
}

/* Any bytes, which may be half pages, beside the wanted ones, or beyond the source's end; and then nothing for now. */
static void step_supply(void)
{
    bool zeros = eat(&world.input) % 4 == 0;
    uint64_t offset = eat(&world.input) * source_size / 256 & ~UINT64_C(511);
    uint64_t length = eat(&world.input) % 64 * UINT64_C(1024);
    struct pgl_uffd_request *request;
    struct pgl_uffd_wanted wanted;

    if (take_request(eat(&world.input) % 2 != 0, &request, &wanted)) {
        length = zeros || offset + length < source_size ? length : source_size - offset;
        if (zeros) {
            allow(offset, length, ZEROS);
        }
        CHECK(pgl_uffd_request_supply(request, offset, zeros ? NULL : world.source + offset, length) == !world.freed);
        keep_request(request, &wanted);
    }
}

/* Any bytes cannot be had, of this request. */
static void step_fail(void)
{
    uint64_t offset = eat(&world.input) * source_size / 256;
    uint64_t length = eat(&world.input) * UINT64_C(256);
    struct pgl_uffd_request *request;
    struct pgl_uffd_wanted wanted;

    if (take_request(eat(&world.input) % 2 != 0, &request, &wanted)) {
        allow(wanted.offset, wanted.length, remedy());
        pgl_uffd_request_fail(request, offset, length, EIO);
        keep_request(request, &wanted);
    }
}

static void step_end_request(void)
{
    struct pgl_uffd_request *request;
    struct pgl_uffd_wanted wanted;

    if (take_request(eat(&world.input) % 2 != 0, &request, &wanted)) {
        allow(wanted.offset, wanted.length, remedy());
        pgl_uffd_request_is_wanted(request);
        pgl_uffd_request_end(request);
    }
}

/* ---- the memory ---- */

/* A thread that has met an error may bring zeros or poison to a page that was given back meanwhile. */
static void step_give_back(void)
{
    unsigned first = eat(&world.input) % NPAGES;
    unsigned last = first + eat(&world.input) % 4;
    bool zeros = !world.process || world.regions[0].removed == PGL_UFFD_ZEROS;

    last = last < NPAGES ? last : NPAGES - 1;
    for (unsigned page = first; page <= last; page++) {
        allow(offset_of(page), PAGE, zeros ? ZEROS : SOURCE);
    }
    CHECK(madvise(world.memory + first * PAGE, (last - first + 1) * PAGE, MADV_DONTNEED) == 0);
    pthread_mutex_lock(&world.lock);
    for (unsigned page = first; page <= last; page++) {
        world.allowed[page] = is_touched(page) ? world.allowed[page] : zeros ? ZEROS : SOURCE;
    }
    pthread_mutex_unlock(&world.lock);
}

/* The lowest descriptor that is free. */
static int free_fd(void)
{
    int fd = dup(0);

    close(fd);
    return fd;
}

/* Regions and descriptors that no process sends. */
static void step_adopt_junk(void)
{
    struct pgl_uffd_region regions[2] = {world.regions[0], world.regions[1]};
    int before = free_fd(), fd = world.fd;
    size_t n = 2;

    switch (eat(&world.input) % 7) {
    case 0:
        regions[1].length = eat(&world.input) * (size_t)PAGE / 2;
        regions[1].length += regions[1].length % PAGE == 0;
        break;
    case 1:
        regions[1].addr = world.memory + 1;
        break;
    case 2:
        regions[1].limit = NPAGES;
        break;
    case 3:
        regions[1].memory = PGL_UFFD_HUGE;
        break;
    case 4:
        regions[1].offset = source_size;
        break;
    case 5:
        n = 0;
        break;
    case 6:
        fd = eat(&world.input) % 2 != 0 ? -1 : 0;
        break;
    }
    if (!world.freed && fd >= -1) {
        errno = 0;
        CHECK(pgl_uffd_adopt(world.uffd, fd, regions, n) == 0 && errno != 0);
        CHECK(free_fd() == before);
    }
}

static void adopt(void)
{
    struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_EVENT_REMOVE};
    struct uffdio_register claim = {{(uintptr_t)world.memory, NPAGES * PAGE}, UFFDIO_REGISTER_MODE_MISSING, 0};

    CHECK(madvise(world.memory, NPAGES * PAGE, MADV_DONTNEED) == 0);
    world.fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
    if (world.fd < 0) {
        fprintf(stderr, "SKIP: %s\n", pgl_uffd_explain(errno));
        exit(77);
    }
    CHECK(ioctl(world.fd, UFFDIO_API, &api) == 0 && ioctl(world.fd, UFFDIO_REGISTER, &claim) == 0);
    world.process = pgl_uffd_adopt(world.uffd, world.fd, world.regions, 2);
    CHECK(world.process != 0);
    for (unsigned page = 0; page < NPAGES; page++) {
        world.allowed[page] = SOURCE;
    }
}

static void set_leaving(bool leaving)
{
    pthread_mutex_lock(&world.lock);
    world.leaving = leaving;
    pthread_mutex_unlock(&world.lock);
}

/* Disown the memory, which is plain from then on, maybe while pages of it are wanted; or adopt it again. */
static void step_disown_or_adopt(void)
{
    struct pgl_uffd_request *request;
    struct pgl_uffd_wanted wanted;

    if (world.freed) {
        return;
    }
    if (!world.process) {
        settle(); /* no page is given back under a thread that touches it: it might see either */
        adopt();
        return;
    }
    allow(0, source_size, ZEROS | remedy());
    set_leaving(true);
    while (take_request(false, &request, &wanted)) {
        pgl_uffd_request_end(request);
    }
    close(world.fd);
    CHECK(pgl_uffd_disown(world.uffd, world.process));
    set_leaving(false);
    CHECK(!pgl_uffd_disown(world.uffd, world.process));
    world.process = 0;
    world.fd = -1;
}

/* Requests outlive the pager. */
static void step_free(void)
{
    if (world.freed || eat(&world.input) % 4 != 0) {
        return;
    }
    allow(0, source_size, ZEROS);
    if (world.fd >= 0) {
        close(world.fd);
        world.fd = -1;
    }
    pgl_uffd_free(world.uffd);
    world.process = 0;
    world.freed = true;
}

static void (*const steps[])(void) = {
    step_touch,       step_touch,     step_touch,      step_answer,          step_supply, step_supply, step_fail,
    step_end_request, step_give_back, step_adopt_junk, step_disown_or_adopt, step_settle, step_free,
};

static void begin(const uint8_t *data, size_t size)
{
    const struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_NODEFER};
    struct pgl_uffd_config config = {.allow_user_mode = true};
    struct pgl_uffd_region region = {.source = {.kind = PGL_UFFD_CALLBACK, .request = on_request}};
    uint8_t kind;

    memset(&world, 0, sizeof(world));
    world.input = (struct input){data, data + size};
    pthread_mutex_init(&world.lock, NULL);
    pthread_cond_init(&world.told, NULL);
    world.memory = mmap(NULL, NPAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    world.source = malloc(source_size);
    CHECK(world.memory != MAP_FAILED && world.source);
    for (uint64_t i = 0; i < source_size; i++) {
        world.source[i] = (unsigned char)(i / PAGE + 1);
    }
    kind = eat(&world.input);
    config.threads = 1 + kind % 2;
    region.removed = kind / 2 % 2 != 0 ? PGL_UFFD_ZEROS : PGL_UFFD_SOURCE_AGAIN;
    region.on_error = kind / 4 % 2 != 0 ? PGL_UFFD_ZERO : PGL_UFFD_POISON;
    region.advice = (enum pgl_advice)(kind / 8 % PGL_ADVICE_COUNT);
    region.source.size = source_size;
    region.source.surplus = eat(&world.input) * UINT64_C(1024);
    region.source.outstanding = eat(&world.input) % 4;
    for (unsigned i = 0; i < 2; i++) {
        world.regions[i] = region;
        world.regions[i].addr = world.memory + (i == 0 ? 0 : LOW * PAGE);
        world.regions[i].length = (i == 0 ? LOW : NPAGES - LOW) * PAGE;
        world.regions[i].offset = i == 0 ? 0 : offset_of(LOW);
    }
    CHECK(sigaction(SIGBUS, &action, NULL) == 0);
    need_pages_of(PAGE);
    world.uffd = pgl_uffd_new(&config);
    if (!world.uffd && (errno == EPERM || errno == ENOSYS || errno == EOPNOTSUPP || errno == EINVAL)) {
        fprintf(stderr, "SKIP: %s\n", pgl_uffd_explain(errno));
        exit(77);
    }
    CHECK(world.uffd);
    adopt();
    for (unsigned i = 0; i < NTOUCHERS; i++) {
        world.touchers[i].page = -1;
        CHECK(pthread_create(&world.touchers[i].thread, NULL, touch, &world.touchers[i]) == 0);
    }
}

static void finish(void)
{
    struct pgl_uffd_request *request;
    struct pgl_uffd_wanted wanted;

    for (unsigned page = 0; page < NPAGES; page++) {
        world.input = (struct input){NULL, NULL};
        settle();
        pthread_mutex_lock(&world.lock);
        world.touchers[0].page = (int)page;
        world.touchers[0].allowed = world.allowed[page];
        pthread_cond_broadcast(&world.told);
        pthread_mutex_unlock(&world.lock);
    }
    settle();
    pthread_mutex_lock(&world.lock);
    for (unsigned i = 0; i < NTOUCHERS; i++) {
        world.touchers[i].over = true;
    }
    pthread_cond_broadcast(&world.told);
    pthread_mutex_unlock(&world.lock);
    for (unsigned i = 0; i < NTOUCHERS; i++) {
        pthread_join(world.touchers[i].thread, NULL);
    }
    if (!world.freed) {
        pgl_uffd_free(world.uffd);
    }
    world.freed = true;
    while (take_request(false, &request, &wanted)) {
        pgl_uffd_request_end(request);
    }
    if (world.fd >= 0) {
        close(world.fd);
    }
    free(world.source);
    CHECK(munmap(world.memory, NPAGES * PAGE) == 0);
    pthread_cond_destroy(&world.told);
    pthread_mutex_destroy(&world.lock);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    begin(data, size);
    do_steps(&world.input, steps, sizeof(steps) / sizeof(steps[0]), MAX_STEPS);
    finish();
    return 0;
}
