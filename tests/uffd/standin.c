/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The stand-in for a virtual machine's monitor, and the snapshot's pattern.
 *
 * Each page of the machine, small or huge, has a state. FILE: it shows the snapshot. LEAVING: the balloon gives it back
 * at this moment, and each word is the snapshot's or zero. ZEROS: it was given back.
 */
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "standin.h"

enum { FILE_PAGE, LEAVING, ZEROS };

static unsigned char *memory;
static unsigned char *states; /* atomic */
static size_t npages;
static size_t unit = STANDIN_PAGE; /* of memory that is given back, and has a state */
static int connection, progress;

static uint64_t word_of(uint64_t offset)
{
    return (offset + 8) * UINT64_C(0x9e3779b97f4a7c15);
}

bool standin_write_snapshot(int fd, size_t length)
{
    static uint64_t words[STANDIN_PAGE / 8];
    bool done = true;

    for (uint64_t at = 0; done && at < length; at += sizeof(words)) {
        for (size_t i = 0; i < sizeof(words) / 8; i++) {
            words[i] = word_of(at + i * 8);
        }
        done = pwrite(fd, words, sizeof(words), (off_t)at) == sizeof(words);
    }
    return done;
}

static uint64_t next_random(uint64_t *random)
{
    *random = *random * 6364136223846793005u + 1442695040888963407u;
    return *random >> 20;
}

/* End at once: the other threads may be waiting for a page that never comes. */
static _Noreturn void end(int status)
{
    _exit(status);
}

static void check(uint64_t page)
{
    const uint64_t *words = (const uint64_t *)(const void *)(memory + page * STANDIN_PAGE);
    const unsigned char *state = &states[page * STANDIN_PAGE / unit];
    int before = __atomic_load_n(state, __ATOMIC_ACQUIRE);
    bool zeros = true, file = true, each = true;
    int after;

    for (size_t i = 0; i < STANDIN_PAGE / 8; i++) {
        uint64_t word = __atomic_load_n(&words[i], __ATOMIC_ACQUIRE); /* before the state is read again */
        bool is_zero = word == 0, is_file = word == word_of(page * STANDIN_PAGE + i * 8);

        zeros = zeros && is_zero;
        file = file && is_file;
        each = each && (is_zero || is_file);
    }
    after = __atomic_load_n(state, __ATOMIC_RELAXED);
    if (before == ZEROS ? !zeros : after == FILE_PAGE ? !file : !each) {
        dprintf(2, "page %llu is wrong\n", (unsigned long long)page);
        end(STANDIN_WRONG);
    }
}

static void *touch(void *arg)
{
    uint64_t random = (uintptr_t)arg;

    for (unsigned n = 1;; n++) {
        check(next_random(&random) % npages);
        if (n % STANDIN_STEP == 0 && write(progress, "", 1) != 1) {
            end(STANDIN_BROKEN);
        }
    }
    return NULL;
}

static void *balloon(void *arg)
{
    uint64_t random = (uintptr_t)arg;

    for (;;) {
        uint64_t at = next_random(&random) % (npages * STANDIN_PAGE / unit);

        if (__atomic_load_n(&states[at], __ATOMIC_RELAXED) == FILE_PAGE) {
            __atomic_store_n(&states[at], LEAVING, __ATOMIC_SEQ_CST);
            if (madvise(memory + at * unit, unit, MADV_DONTNEED) != 0) {
                end(STANDIN_BROKEN);
            }
            __atomic_store_n(&states[at], ZEROS, __ATOMIC_RELEASE);
        }
        usleep(unit > STANDIN_PAGE ? 20000 : 100); /* some pages last for a while */
    }
    return NULL;
}

/* The size of a page, as a part of a mapping. */
static void print_unit(char *text, size_t room, enum standin_form form)
{
    text[0] = 0;
    switch (form) {
    case STANDIN_NO_SIZE:
        break;
    case STANDIN_KIB:
        snprintf(text, room, ",\"page_size_kib\":%zu", unit / 1024);
        break;
    case STANDIN_BYTES_AS_KIB:
        snprintf(text, room, ",\"page_size_kib\":%zu", unit);
        break;
    default:
        snprintf(text, room, ",\"page_size\":%zu,\"page_size_kib\":%zu", unit, unit);
    }
}

/* Two mappings, as of a machine with a hole in its memory, in one of the forms that Firecracker sends. */
static bool hand_over(int uffd, size_t length, enum standin_form form)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {.header = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
    size_t low = unit > STANDIN_PAGE ? unit : length / 4 / unit * unit;
    char text[512], pages[64];
    struct iovec part = {text, 0};
    struct msghdr message = {
        .msg_iov = &part,
        .msg_iovlen = 1,
        .msg_control = &control,
        .msg_controllen = sizeof(control),
    };

    print_unit(pages, sizeof(pages), form);
    part.iov_len = (size_t)snprintf(text, sizeof(text),
                                    "[{\"base_host_virt_addr\":%llu,\"size\":%zu,\"offset\":0%s},"
                                    "{\"base_host_virt_addr\":%llu,\"size\":%zu,\"offset\":%zu%s}]",
                                    (unsigned long long)(uintptr_t)memory, low, pages,
                                    (unsigned long long)((uintptr_t)memory + low), length - low, low, pages);
    memcpy(CMSG_DATA(&control.header), &uffd, sizeof(uffd));
    return sendmsg(connection, &message, MSG_NOSIGNAL) == (ssize_t)part.iov_len;
}

static bool connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return connection >= 0 && connect(connection, (struct sockaddr *)&address, sizeof(address)) == 0;
}

static int make_userfaultfd(size_t length)
{
    struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_EVENT_REMOVE};
    struct uffdio_register claim = {{(uintptr_t)memory, length}, UFFDIO_REGISTER_MODE_MISSING, 0};
    int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

    if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api) != 0 || ioctl(uffd, UFFDIO_REGISTER, &claim) != 0) {
        return -1;
    }
    return uffd;
}

_Noreturn void standin_run(const struct standin_config *config, int to_driver)
{
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (config->huge ? MAP_HUGETLB : 0);
    pthread_t thread;
    int uffd;
    char byte;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    progress = to_driver;
    npages = config->length / STANDIN_PAGE;
    unit = config->huge ? STANDIN_HUGE_PAGE : STANDIN_PAGE;
    states = calloc(npages, 1);
    memory = mmap(NULL, config->length, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (!states || memory == MAP_FAILED || (uffd = make_userfaultfd(config->length)) < 0) {
        end(STANDIN_BROKEN);
    }
    if (!connect_to(config->path) || !hand_over(uffd, config->length, config->form)) {
        end(STANDIN_NO_HANDLER);
    }
    if (config->closes) {
        close(connection);
    }
    /* The userfaultfd stays open here: without a handler threads wait, and do not find zeros. */
    for (unsigned i = 0; i <= config->nthreads; i++) {
        void *random = (void *)(uintptr_t)(config->seed * 1000 + i);

        if (pthread_create(&thread, NULL, i > 0 ? touch : balloon, random) != 0) {
            end(STANDIN_BROKEN);
        }
    }
    while (config->closes || read(connection, &byte, 1) > 0) {
        if (config->closes) {
            pause();
        }
    }
    end(STANDIN_NO_HANDLER);
}
