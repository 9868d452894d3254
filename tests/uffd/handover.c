/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Usage: handover HANDLER [MIB THREADS KILLS HANDLERS [huge]]
 *
 * The example HANDLER serves stand-ins for the monitors of virtual machines from a snapshot. Each one is killed at some
 * moment: KILLS of them, with MIB of memory and THREADS threads. HANDLERS times the handler is killed instead, and the
 * monitor has to notice. Every other one that is killed is of an older kind. With huge pages 4 MiB are enough, because
 * the machine has few. No page may be wrong, no descriptor may be left in the handler, and nobody may hang.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pages.h"
#include "standin.h"

#define PATIENCE_MS 60000 /* after which something hangs */

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

/* Connect once, and wait until the handler has closed that connection, which is none of its descriptors then. */
static bool listens(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool connected;
    char byte;

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", door);
    connected = connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
    if (connected) {
        shutdown(fd, SHUT_WR);
        connected = read(fd, &byte, 1) == 0;
    }
    close(fd);
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
    int fd;

    if (argc < 2) {
        return 2;
    }
    fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
    if (fd < 0) {
        puts("SKIP: userfaultfd is not permitted");
        return 77;
    }
    close(fd);
    if (config.huge && (lock_huge_pages() < 0 || count_free_huge_pages() < config.length / STANDIN_HUGE_PAGE)) {
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
    for (unsigned i = 0; i < kills + handlers; i++) {
        bool handlers_turn = is_handlers_turn(i, kills, handlers);

        config.seed = i + 1;
        config.old = !handlers_turn && i % 2 != 0; /* that one does not notice the end of its handler */
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
