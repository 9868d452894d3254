/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Serves the memory of virtual machines from a snapshot, one machine after the other. It speaks Firecracker's hand-over
 * of page faults: the monitor connects to SOCKET and sends one message, the mappings of its memory as JSON with its
 * userfaultfd. It is served until it ends, and may close the connection before. One that says nothing for some seconds
 * is refused. Pages that a balloon has given back are zeros.
 *
 *     cc -D_GNU_SOURCE -o snapshot-handler snapshot-handler.c $(pkg-config --cflags --libs pagelock json-glib-1.0)
 *     ./snapshot-handler
 *
 * prints:
 *
 *     usage: snapshot-handler SOCKET SNAPSHOT
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <json-glib/json-glib.h>
#include <pagelock/pagelock.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

enum { MAPPINGS = 64, TEXT = 65536, HUGE_KIB = 2048, PATIENCE_S = 5 };

/* Receive a text with one descriptor; there is room for no second one. Returns the length, or -1, also for silence. */
static ssize_t receive(int connection, char *text, int *fd)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec part = {text, TEXT};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = CMSG_LEN(sizeof(int))};
    ssize_t n;

    setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){PATIENCE_S, 0}, sizeof(struct timeval));
    n = recvmsg(connection, &message, MSG_CMSG_CLOEXEC);
    if (n <= 0 || message.msg_controllen < CMSG_LEN(sizeof(int)) || control.header.cmsg_type != SCM_RIGHTS) {
        return -1;
    }
    memcpy(fd, CMSG_DATA(&control.header), sizeof(*fd));
    return n;
}

/* Returns the region of a mapping. Older monitors tell the size of a page by another name, in KiB or not, or do not. */
static struct pgl_uffd_region region_of(GVariant *mapping, int snapshot)
{
    gint64 addr = 0, size = 0, offset = 0, page = 0;

    g_variant_lookup(mapping, "base_host_virt_addr", "x", &addr);
    g_variant_lookup(mapping, "size", "x", &size);
    g_variant_lookup(mapping, "offset", "x", &offset);
    g_variant_lookup(mapping, "page_size_kib", "x", &page);
    g_variant_lookup(mapping, "page_size", "x", &page);
    return (struct pgl_uffd_region){
        .addr = (void *)(uintptr_t)addr,
        .length = (size_t)size,
        .offset = (uint64_t)offset,
        .source.fd = snapshot,
        .advice = PGL_ADVICE_ADAPTIVE,
        .memory = page == HUGE_KIB || page == HUGE_KIB * 1024 ? PGL_UFFD_HUGE : PGL_UFFD_PRIVATE,
        .removed = PGL_UFFD_ZEROS,
    };
}

/* Returns the number of regions, or 0 when the text says none, or too many. */
static size_t parse(const char *text, ssize_t length, int snapshot, struct pgl_uffd_region *regions)
{
    g_autoptr(GVariant) mappings = json_gvariant_deserialize_data(text, length, "aa{sv}", NULL);
    size_t n = mappings ? g_variant_n_children(mappings) : 0;

    for (size_t i = 0; i < n && n <= MAPPINGS; i++) {
        g_autoptr(GVariant) mapping = g_variant_get_child_value(mappings, i);

        regions[i] = region_of(mapping, snapshot);
    }
    return n <= MAPPINGS ? n : 0;
}

/* Wait until the process at the other end has ended. If it cannot be watched, its connection tells. */
static void await_end(int connection)
{
    struct ucred peer = {0};
    int error = getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &(socklen_t){sizeof(peer)});
    int process = error == 0 ? (int)syscall(SYS_pidfd_open, peer.pid, 0) : -1;
    struct pollfd end = {process >= 0 ? process : connection, process >= 0 ? POLLIN : POLLRDHUP, 0};

    while (poll(&end, 1, -1) < 0 && errno == EINTR) {
    }
    close(process);
}

/* Serve one machine until its monitor ends. */
static void serve(struct pgl_uffd *pager, int connection, int snapshot)
{
    static char text[TEXT];
    struct pgl_uffd_region regions[MAPPINGS];
    int fd = -1;
    ssize_t length = receive(connection, text, &fd);
    size_t n = length > 0 ? parse(text, length, snapshot, regions) : 0;
    uint64_t process = n > 0 ? pgl_uffd_adopt(pager, fd, regions, n) : 0;

    if (fd >= 0) {
        close(fd);
    }
    if (process == 0) {
        warnx("%s", n == 0 ? "no message of mappings with a userfaultfd" : strerror(errno));
    } else {
        await_end(connection);
        pgl_uffd_disown(pager, process);
    }
}

int main(int argc, char **argv)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int snapshot, door, connection;

    if (argc != 3) {
        puts("usage: snapshot-handler SOCKET SNAPSHOT");
        return argc != 1;
    }
    snapshot = open(argv[2], O_RDONLY | O_CLOEXEC);
    if (snapshot < 0 || strlen(argv[1]) >= sizeof(address.sun_path)) {
        err(1, "%s", argv[snapshot < 0 ? 2 : 1]);
    }
    struct pgl_uffd *pager = pgl_uffd_new(&(struct pgl_uffd_config){.threads = 2});
    if (!pager) {
        errx(1, "%s", pgl_uffd_explain(errno));
    }
    strcpy(address.sun_path, argv[1]);
    unlink(argv[1]); /* of a handler before this one */
    door = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (door < 0 || bind(door, (struct sockaddr *)&address, sizeof(address)) != 0 || listen(door, 8) != 0) {
        err(1, "%s", argv[1]);
    }
    while ((connection = accept(door, NULL, NULL)) >= 0) {
        serve(pager, connection, snapshot);
        close(connection);
    }
    err(1, "accept");
}
