/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../cm.h"
#include "pages.h"
#include "sender.h"

struct letter {
    enum order order;
    uint64_t page;
};

/* The other process. */
static struct {
    unsigned char *memory;
    int fd;
    uint64_t modes; /* in which it registers memory */
    pthread_t thread;
    pid_t child;
} self;

static void *touch(void *page)
{
    uint64_t number = (uint64_t)((unsigned char *)page - self.memory) / PAGE;

    return is_page(page, number) ? page : NULL;
}

static bool see_as_child(unsigned char *page, uint64_t number)
{
    pid_t child = fork();
    int status = 1;

    if (child == 0) {
        _exit(!is_page(page, number));
    }
    return waitpid(child, &status, 0) == child && status == 0;
}

static bool fork_touching(unsigned char *page, uint64_t number)
{
    self.child = fork();
    if (self.child == 0) {
        _exit(!is_page(page, number));
    }
    return self.child > 0;
}

static bool kill_child(void)
{
    return kill(self.child, SIGKILL) == 0 && waitpid(self.child, NULL, 0) == self.child;
}

static bool enlist(uint64_t addr, size_t length)
{
    struct uffdio_register claim = {.range = {addr, length}, .mode = self.modes};

    return ioctl(self.fd, UFFDIO_REGISTER, &claim) == 0;
}

static bool obey(const struct letter *letter)
{
    unsigned char *page = self.memory + letter->page * PAGE;
    unsigned char resident = 0;
    void *seen = NULL;

    switch (letter->order) {
    case ORDER_SHOWS_PAGE:
        return is_page(page, letter->page);
    case ORDER_SHOWS_ZEROS:
        return is_zero(page);
    case ORDER_IS_RESIDENT:
        return mincore(page, PAGE, &resident) == 0 && (resident & 1) != 0;
    case ORDER_WRITE:
        *(volatile unsigned char *)page = 'w';
        return true;
    case ORDER_DROP:
        return madvise(page, PAGE, MADV_REMOVE) == 0;
    case ORDER_GIVE_BACK:
        return madvise(page, PAGE, MADV_DONTNEED) == 0;
    case ORDER_UNMAP:
        return munmap(page, PAGE) == 0;
    case ORDER_TOUCH:
        return pthread_create(&self.thread, NULL, touch, page) == 0;
    case ORDER_JOIN:
        return pthread_join(self.thread, &seen) == 0 && seen;
    case ORDER_FORK:
        return see_as_child(page, letter->page);
    case ORDER_FORK_TOUCH:
        return fork_touching(page, letter->page);
    case ORDER_KILL_CHILD:
        return kill_child();
    case ORDER_REGISTER_ALSO:
        page = mmap((void *)(uintptr_t)letter->page, PAGE, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        return page != MAP_FAILED && enlist(letter->page, PAGE);
    }
    return false;
}

/* Send a descriptor with one byte. */
static bool send_fd(int socket, int fd)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {.header = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
    char byte = 1;
    struct iovec part = {&byte, 1};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};

    memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
    return sendmsg(socket, &message, 0) == 1;
}

static int receive_fd(int socket)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    char byte = 0;
    struct iovec part = {&byte, 1};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
    int fd = -1;

    assert_int_equal(recvmsg(socket, &message, MSG_CMSG_CLOEXEC), 1);
    assert_int_equal(message.msg_controllen, sizeof(control));
    memcpy(&fd, CMSG_DATA(&control.header), sizeof(fd));
    return fd;
}

static void live(int socket, size_t length, uint64_t events)
{
    struct uffdio_api api = {.api = UFFD_API, .features = events};
    struct letter letter;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    self.fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
    if (self.fd < 0 || ioctl(self.fd, UFFDIO_API, &api) != 0 || !enlist((uintptr_t)self.memory, length) ||
        !send_fd(socket, self.fd)) {
        _exit(1);
    }
    while (read(socket, &letter, sizeof(letter)) == sizeof(letter)) {
        bool answer = obey(&letter);

        if (write(socket, &answer, sizeof(answer)) != sizeof(answer)) {
            break;
        }
    }
    _exit(0);
}

void sender_start_with(struct sender *sender, unsigned char *memory, size_t length, uint64_t events, uint64_t modes)
{
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    sender->pid = fork();
    if (sender->pid == 0) {
        close(pair[0]);
        self.memory = memory;
        self.modes = modes;
        live(pair[1], length, events);
    }
    assert_true(sender->pid > 0);
    close(pair[1]);
    sender->socket = pair[0];
    sender->fd = receive_fd(pair[0]);
}

void sender_start(struct sender *sender, unsigned char *memory, size_t length, uint64_t events)
{
    sender_start_with(sender, memory, length, events, UFFDIO_REGISTER_MODE_MISSING);
}

int sender_try(struct sender *sender, enum order order, uint64_t page)
{
    struct letter letter = {order, page};
    bool answer = false;

    if (send(sender->socket, &letter, sizeof(letter), MSG_NOSIGNAL) != sizeof(letter) ||
        read(sender->socket, &answer, sizeof(answer)) != sizeof(answer)) {
        return -1;
    }
    return answer;
}

bool sender_do(struct sender *sender, enum order order, uint64_t page)
{
    int answer = sender_try(sender, order, page);

    assert_true(answer >= 0);
    return answer > 0;
}

void sender_kill(struct sender *sender)
{
    kill(sender->pid, SIGKILL);
    assert_int_equal(waitpid(sender->pid, NULL, 0), sender->pid);
    sender->pid = 0;
}

void sender_end(struct sender *sender)
{
    if (sender->pid != 0) {
        sender_kill(sender);
    }
    close(sender->socket);
    close(sender->fd);
}
