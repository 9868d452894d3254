/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Usage: handover HANDLER [MIB THREADS KILLS HANDLERS [huge]]
 *
 * The example HANDLER serves stand-ins for the monitors of virtual machines from a snapshot. Each one is killed at some
 * moment: KILLS of them, with MIB of memory and THREADS threads. HANDLERS times the handler is killed instead, and the
 * monitor has to notice. The message takes each form that Firecracker's has had in turn. With huge pages 4 MiB are
 * enough, because the machine has few. No page may be wrong, no descriptor may be left in the handler, and nobody may
 * hang. Before that, the handler gets messages that no monitor sends, and no message, and refuses each.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pages.h"
#include "standin.h"

#define PATIENCE_MS 60000 /* after which something hangs */

enum { MANY = 64, FDS = 3, DEEP = 60000 }; /* mappings that the handler knows; descriptors; nested arrays */

static char directory[] = "/tmp/handover.XXXXXX";
static char door[64], snapshot[64];
static pid_t handler, monitor;
static int news_fd = -1; /* the monitor's progress */
static unsigned long long steps;

static _Noreturn void fail(const char *what)
{
    printf("FAILED: %s\n", what);
    if (handler > 0) {
        kill(handler, SIGKILL);
    }
    if (monitor > 0) {
        kill(monitor, SIGKILL);
    }
    unlink(door);
    unlink(snapshot);
    rmdir(directory);
    exit(1);
}

/* Kill a child, or wait for its own end. Returns its status. */
static int end_of(pid_t child, int signal)
{
    int status = 0;

    if (signal != 0) {
        kill(child, signal);
    }
    for (unsigned tries = 0; waitpid(child, &status, WNOHANG) == 0; tries++) {
        if (tries == PATIENCE_MS) {
            fail("a process hangs");
        }
        usleep(1000);
    }
    return status;
}

/* Returns a connection to the handler, or -1. */
static int connect_to_handler(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", door);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* Connect once, and wait until the handler has closed that connection, which is none of its descriptors then. */
static bool listens(void)
{
    int fd = connect_to_handler();
    bool connected = fd >= 0;
    char byte;

    if (connected) {
        shutdown(fd, SHUT_WR);
        connected = read(fd, &byte, 1) == 0;
        close(fd);
    }
    return connected;
}

static void start_handler(const char *program)
{
    handler = fork();
    if (handler == 0) {
        execl(program, program, door, snapshot, (char *)NULL);
        _exit(127);
    }
    for (unsigned tries = 0; !listens(); tries++) {
        if (tries == PATIENCE_MS || waitpid(handler, NULL, WNOHANG) != 0) {
            fail("the handler does not listen");
        }
        usleep(1000);
    }
}

static unsigned count_handlers_fds(void)
{
    char path[64];
    unsigned n = 0;
    DIR *fds;

    snprintf(path, sizeof(path), "/proc/%d/fd", (int)handler);
    fds = opendir(path);
    while (fds && readdir(fds)) {
        n++;
    }
    if (fds) {
        closedir(fds);
    }
    return n;
}

/* The connection of a process that ended may take the handler a moment. */
static void await_fds(unsigned n)
{
    for (unsigned tries = 0; count_handlers_fds() != n; tries++) {
        if (tries == PATIENCE_MS) {
            fail("the handler keeps descriptors");
        }
        usleep(1000);
    }
}

/* The handler closes the connection of a living process, because of what it was told or because it was told nothing. */
static void await_end_of(int fd)
{
    struct pollfd end = {.fd = fd, .events = POLLRDHUP};

    if (poll(&end, 1, PATIENCE_MS) != 1) {
        fail("a message is not refused");
    }
    close(fd);
}

/* Send a message with as many descriptors. The handler refuses it. */
static void expect_refusal(const char *text, int uffd, unsigned nfds)
{
    const int fds[FDS] = {uffd, uffd, uffd};
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(fds))];
    } control = {.header = {CMSG_LEN(nfds * sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
    struct iovec part = {(void *)(uintptr_t)text, strlen(text)};
    struct msghdr message = {
        .msg_iov = &part,
        .msg_iovlen = 1,
        .msg_control = nfds > 0 ? &control : NULL,
        .msg_controllen = nfds > 0 ? CMSG_SPACE(nfds * sizeof(int)) : 0,
    };
    int fd = connect_to_handler();

    memcpy(CMSG_DATA(&control.header), fds, nfds * sizeof(int));
    if (fd < 0 || sendmsg(fd, &message, MSG_NOSIGNAL) != (ssize_t)part.iov_len) {
        fail("a message cannot be sent");
    }
    await_end_of(fd);
}

/* Add a mapping to a message. */
static void add_mapping(char *text, const unsigned char *memory, const char *size)
{
    char mapping[128];

    snprintf(mapping, sizeof(mapping), "%c{\"base_host_virt_addr\":%llu,\"size\":%s,\"offset\":0}", text[0] ? ',' : '[',
             (unsigned long long)(uintptr_t)memory, size);
    strcat(text, mapping);
}

/* Messages that no monitor sends, and then mappings of this process that the handler cannot serve, or not all of them. */
static void send_odd_messages(int uffd)
{
    static const char *const odd[] = {
        " ",
        "x",
        "null",
        "[]",
        "[null]",
        "[[]]",
        "[{}]",
        "[{",
        "{\"size\":4096}",
        "[{\"base_host_virt_addr\":\"0\",\"size\":[],\"offset\":{},\"page_size\":1.5e300}]",
        "[{\"size\":4096,\"page_size_kib\":-9223372036854775808}]",
    };
    static const char *const sizes[] = {"0", "1", "-4096", "9223372036854771712"};
    static char deep[DEEP + 1], text[(MANY + 1) * 128];
    struct uffdio_api api = {.api = UFFD_API};
    unsigned char *memory =
        mmap(NULL, (MANY + 1) * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    struct uffdio_register claim = {{(uintptr_t)memory, (MANY + 1) * PAGE}, UFFDIO_REGISTER_MODE_MISSING, 0};

    if (memory == MAP_FAILED || ioctl(uffd, UFFDIO_API, &api) != 0 || ioctl(uffd, UFFDIO_REGISTER, &claim) != 0) {
        fail("memory cannot be registered");
    }
    for (size_t i = 0; i < sizeof(odd) / sizeof(*odd); i++) {
        expect_refusal(odd[i], uffd, 1);
    }
    memset(deep, '[', DEEP);
    expect_refusal(deep, uffd, 1);
    for (unsigned nfds = 0; nfds <= FDS; nfds++) {
        expect_refusal("[]", uffd, nfds);
    }
    for (unsigned i = 0; i < 2; i++) {
        add_mapping(text, memory, "4096");
    }
    expect_refusal(strcat(text, "]"), uffd, 1);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        text[0] = 0;
        add_mapping(text, memory, sizes[i]);
        expect_refusal(strcat(text, "]"), uffd, 1);
    }
    text[0] = 0;
    for (size_t i = 0; i <= MANY; i++) {
        add_mapping(text, memory + i * PAGE, "4096");
    }
    expect_refusal(strcat(text, "]"), uffd, 1);
    munmap(memory, (MANY + 1) * PAGE);
}

/* Start a monitor, and wait until its threads have made so much progress. */
static void run_monitor(const struct standin_config *config, unsigned long progress)
{
    struct pollfd news;
    char bytes[4096];
    int pair[2];
    ssize_t n;

    if (pipe2(pair, O_CLOEXEC) != 0) {
        fail("pipe2");
    }
    monitor = fork();
    if (monitor == 0) {
        close(pair[0]);
        standin_run(config, pair[1]);
    }
    close(pair[1]);
    news = (struct pollfd){.fd = pair[0], .events = POLLIN};
    while (progress > 0) {
        if (poll(&news, 1, PATIENCE_MS) != 1) {
            fail("no thread of the monitor gets its pages");
        }
        n = read(pair[0], bytes, sizeof(bytes));
        if (n <= 0) {
            fail(WEXITSTATUS(end_of(monitor, 0)) == STANDIN_WRONG ? "a page is wrong" : "the monitor has ended");
        }
        steps += (unsigned long long)n;
        progress -= (unsigned long)n < progress ? (unsigned long)n : progress;
    }
    news_fd = pair[0];
}

/* It was killed, or found that its handler was. */
static void check_end(int status, bool was_killed)
{
    monitor = 0;
    close(news_fd);
    if (WIFEXITED(status) && WEXITSTATUS(status) == STANDIN_WRONG) {
        fail("a page is wrong");
    }
    if (was_killed ? !WIFSIGNALED(status) : !WIFEXITED(status) || WEXITSTATUS(status) != STANDIN_NO_HANDLER) {
        fail("a monitor ended otherwise than it was told");
    }
}

/* The handlers that are killed are spread over the monitors. */
static bool is_handlers_turn(unsigned i, unsigned kills, unsigned handlers)
{
    unsigned all = kills + handlers;

    return (i + 1) * handlers / all > i * handlers / all;
}

int main(int argc, char **argv)
{
    struct standin_config config = {
        .path = door,
        .length = (size_t)(argc > 2 ? atoi(argv[2]) : 8) << 20,
        .nthreads = argc > 3 ? (unsigned)atoi(argv[3]) : 4,
        .huge = argc > 6,
    };
    unsigned kills = argc > 4 ? (unsigned)atoi(argv[4]) : 6;
    unsigned handlers = argc > 5 ? (unsigned)atoi(argv[5]) : 2;
    unsigned nfds;
    int fd, uffd;

    if (argc < 2) {
        return 2;
    }
    setenv("G_DEBUG", "fatal-criticals", 1); /* for the handler */
    uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
    if (uffd < 0) {
        puts("SKIP: userfaultfd is not permitted");
        return 77;
    }
    if (sysconf(_SC_PAGESIZE) != PAGE) {
        printf("SKIP: this test is for pages of %d bytes\n", PAGE);
        return 77;
    }
    if (config.huge && (!lock_huge_pages() || count_free_huge_pages() < config.length / STANDIN_HUGE_PAGE)) {
        puts("SKIP: too few huge pages of 2 MiB: vm.nr_hugepages is to be 2");
        return 77;
    }
    if (!mkdtemp(directory)) {
        return 2;
    }
    snprintf(door, sizeof(door), "%s/door", directory);
    snprintf(snapshot, sizeof(snapshot), "%s/snapshot", directory);
    fd = open(snapshot, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || !standin_write_snapshot(fd, config.length)) {
        fail("the snapshot cannot be written");
    }
    close(fd);
    srandom(1);
    start_handler(argv[1]);
    nfds = count_handlers_fds();
    send_odd_messages(uffd);
    close(uffd);
    await_end_of(connect_to_handler());
    await_fds(nfds);
    for (unsigned i = 0; i < kills + handlers; i++) {
        bool handlers_turn = is_handlers_turn(i, kills, handlers);

        config.seed = i + 1;
        config.form = (enum standin_form)(i % (config.huge ? STANDIN_NO_SIZE : STANDIN_FORMS));
        config.closes = !handlers_turn && i / STANDIN_FORMS % 2 == 0; /* does not notice the end of its handler */
        run_monitor(&config, (unsigned long)random() % 200 * (i % 8 != 0));
        if (handlers_turn) {
            end_of(handler, SIGKILL);
            check_end(end_of(monitor, 0), false);
            start_handler(argv[1]);
            await_fds(nfds);
        } else {
            check_end(end_of(monitor, SIGKILL), true);
            await_fds(nfds);
        }
    }
    end_of(handler, SIGKILL);
    unlink(door);
    unlink(snapshot);
    rmdir(directory);
    printf("%u monitors killed, %u handlers; %llu pages compared\n", kills, handlers, steps * STANDIN_STEP);
    return 0;
}
