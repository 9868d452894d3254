/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pages that the kernel itself has pinned: they stay where a limit would give them back, and go when they are free
 * again; those that are pinned for a device count as written. One device is a file system of the test's own (FUSE) whose
 * answer to a write comes when the test wants it: until then the pages of the write are pinned. The other one is
 * io_uring, whose registered buffers are pinned until they are unregistered.
 */
#include <fcntl.h>
#include <linux/fuse.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../cm.h"
#include "limited.h"

/* The file system and its users, in memory of both. */
struct state {
    bool pinned; /* a write has come to the file system. Atomic, as the next one */
    bool free;   /* the file system may answer it */
};

/*
 * A file system with one file, by which the kernel pins the pages of a write. Its server is a process of its own, and
 * ends with the test's main thread: a thread that waits for a server in its own process could not be ended with it.
 */
struct slow_file {
    int device;
    int fd;
    pid_t server;
    pthread_t writer;
    const unsigned char *bytes; /* that are written */
    size_t length;
    ssize_t written;
    struct state *state;
};

static void answer(const struct slow_file *file, uint64_t unique, int error, const void *data, size_t length)
{
    const struct fuse_out_header header = {
        .len = (uint32_t)(sizeof(header) + length), .error = -error, .unique = unique};
    const struct iovec parts[] = {{(void *)(uintptr_t)&header, sizeof(header)}, {(void *)(uintptr_t)data, length}};

    (void)!writev(file->device, parts, length > 0 ? 2 : 1);
}

static void serve(struct slow_file *file, const struct fuse_in_header *in)
{
    const struct fuse_write_in *write_in = (const void *)(in + 1);
    const struct fuse_init_out init = {
        .major = FUSE_KERNEL_VERSION, .minor = FUSE_KERNEL_MINOR_VERSION, .max_write = 1 << 16};
    const struct fuse_attr attr = {.ino = in->nodeid == 1 ? 1 : 2,
                                   .mode = in->nodeid == 1 ? S_IFDIR | 0755 : S_IFREG | 0644,
                                   .size = 1 << 20,
                                   .nlink = 1};
    const struct fuse_entry_out entry = {.nodeid = 2, .attr = attr, .entry_valid = 60, .attr_valid = 60};
    const struct fuse_attr_out attr_out = {.attr_valid = 60, .attr = attr};
    const struct fuse_open_out opened = {.open_flags = FOPEN_DIRECT_IO};
    struct fuse_entry_out found = entry;
    struct fuse_write_out written = {0};

    switch (in->opcode) {
    case FUSE_INIT:
        answer(file, in->unique, 0, &init, sizeof(init));
        break;
    case FUSE_LOOKUP:
        found.attr.ino = 2;
        found.attr.mode = S_IFREG | 0644;
        answer(file, in->unique, 0, &found, sizeof(found));
        break;
    case FUSE_GETATTR:
        answer(file, in->unique, 0, &attr_out, sizeof(attr_out));
        break;
    case FUSE_OPEN:
        answer(file, in->unique, 0, &opened, sizeof(opened));
        break;
    case FUSE_WRITE:
        __atomic_store_n(&file->state->pinned, true, __ATOMIC_RELEASE);
        while (!__atomic_load_n(&file->state->free, __ATOMIC_ACQUIRE)) {
            usleep(1000);
        }
        written.size = write_in->size;
        answer(file, in->unique, 0, &written, sizeof(written));
        break;
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
    case FUSE_INTERRUPT:
        break;
    case FUSE_FLUSH:
    case FUSE_RELEASE:
        answer(file, in->unique, 0, NULL, 0);
        break;
    default:
        answer(file, in->unique, ENOSYS, NULL, 0);
    }
}

/* Until the file system ends. */
static _Noreturn void serve_all(struct slow_file *file)
{
    static _Alignas(8) unsigned char request[1 << 18];

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    while (__real_read(file->device, request, sizeof(request)) > 0) {
        serve(file, (const struct fuse_in_header *)(const void *)request);
    }
    _exit(0);
}

/*
 * Returns false when this kernel, or this user, has no such file system. It is in no directory any more when the file
 * is open, and ends with its descriptor.
 */
static bool open_file(struct slow_file *file)
{
    char directory[] = P_tmpdir "/pinned.XXXXXX", path[64], options[96];

    *file = (struct slow_file){.device = open("/dev/fuse", O_RDWR | O_CLOEXEC)};
    if (file->device < 0) {
        return false;
    }
    assert_non_null(mkdtemp(directory));
    snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0", file->device);
    snprintf(path, sizeof(path), "%s/file", directory);
    if (mount("pinned", directory, "fuse", MS_NOSUID | MS_NODEV, options) != 0) {
        rmdir(directory);
        close(file->device);
        return false;
    }
    file->state = mmap(NULL, sizeof(*file->state), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    file->server = file->state != MAP_FAILED ? fork() : -1;
    if (file->server == 0) {
        serve_all(file);
    }
    close(file->device); /* when the server ends, the kernel answers for it */
    file->fd = open(path, O_WRONLY | O_CLOEXEC);
    umount2(directory, MNT_DETACH);
    rmdir(directory);
    assert_true(file->server > 0 && file->fd >= 0);
    return true;
}

static void close_file(struct slow_file *file)
{
    close(file->fd);
    assert_int_equal(waitpid(file->server, NULL, 0), file->server);
    munmap(file->state, sizeof(*file->state));
}

static void *write_file(void *arg)
{
    struct slow_file *file = arg;

    file->written = write(file->fd, file->bytes, file->length);
    return NULL;
}

/* Begin to write pages to the file, and wait until they are pinned. */
static void pin(struct slow_file *file, const unsigned char *bytes, size_t length)
{
    file->bytes = bytes;
    file->length = length;
    assert_int_equal(pthread_create(&file->writer, NULL, write_file, file), 0);
    while (!__atomic_load_n(&file->state->pinned, __ATOMIC_ACQUIRE)) {
        usleep(100);
    }
}

static void unpin(struct slow_file *file)
{
    __atomic_store_n(&file->state->free, true, __ATOMIC_RELEASE);
    assert_int_equal(pthread_join(file->writer, NULL), 0);
    assert_int_equal(file->written, file->length);
}

static void test_uffd_pinned_pages_stay_beyond_a_limit_until_they_are_free(void **state)
{
    struct fixture *f = *state;
    struct slow_file file;

    if (!open_file(&file)) {
        SKIP_BECAUSE("no FUSE, or no right to mount it");
    }
    START(memory, f, PGL_ADVICE_RANDOM, 1)
    assert_true(pgl_uffd_set_limit(f->uffd, memory, PAGES * PAGE, 0));
    read_from(memory, 0);
    pin(&file, memory + 10 * PAGE, 4 * PAGE);
    assert_true(pgl_uffd_set_limit(f->uffd, memory, PAGES * PAGE, LIMIT));
    assert_int_equal(count_resident(memory, PAGES), LIMIT); /* those before and behind went with them in one call */
    assert_int_equal(stats_of(f).pages_given_back, PAGES - LIMIT);
    assert_int_equal(count_resident(memory + 10 * PAGE, 4), 4);
    assert_int_equal(count_resident(memory, 10), 0);
    unpin(&file);
    for (unsigned i = 0; i < 2; i++) {
        read_from(memory, 0);
    }
    wait_until_resident(memory, LIMIT);
    assert_int_equal(count_resident(memory + 10 * PAGE, 4), 0);
    close_file(&file);
    finish(f, memory);
}

long __real_syscall(long number, ...);

/* Returns a ring whose one buffer is registered, or -1. */
static int pin_buffer(unsigned char *buffer, size_t length)
{
    struct io_uring_params params = {0};
    struct iovec part = {buffer, length};
    int ring = (int)__real_syscall(SYS_io_uring_setup, 1, &params);

    if (ring >= 0 && __real_syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &part, 1) != 0) {
        close(ring);
        ring = -1;
    }
    return ring;
}

/* To pin a page for a device that may write is a write: it is reported, and never given back. */
static void test_uffd_pinned_for_a_device_counts_as_written(void **state)
{
    struct fixture *f = *state;
    struct pgl_uffd_range rest, written[4];
    unsigned char *memory = new_pages();
    int ring;

    fill(f->file, 0, PAGES);
    f->config.write_protect = f->config.track_dirty = true;
    assert_true(try_new(f));
    if (!map_limited(f, memory, PGL_ADVICE_RANDOM, LIMIT)) {
        assert_int_equal(errno, EOPNOTSUPP);
        SKIP_BECAUSE("the kernel has no UFFDIO_MOVE, which came with Linux 6.8");
    }
    ring = pin_buffer(memory + 20 * PAGE, 2 * PAGE);
    if (ring < 0) {
        finish(f, memory);
        SKIP_BECAUSE("no io_uring, or no right to pin memory");
    }
    rest = (struct pgl_uffd_range){memory, PAGES * PAGE};
    assert_int_equal(pgl_uffd_dirty_take(f->uffd, &rest, written, 4), 1);
    assert_ptr_equal(written[0].addr, memory + 20 * PAGE);
    assert_int_equal(written[0].length, 2 * PAGE);
    read_from(memory, 0);
    wait_until_resident(memory, ENOUGH + 2);
    assert_int_equal(count_resident(memory + 20 * PAGE, 2), 2); /* also after the epoch has protected them again */
    memory[20 * PAGE] = 'w'; /* a write to a page that is protected and pinned is noticed */
    rest = (struct pgl_uffd_range){memory, PAGES * PAGE};
    assert_int_equal(pgl_uffd_dirty_take(f->uffd, &rest, written, 4), 1);
    assert_int_equal(written[0].length, PAGE);
    close(ring);
    finish(f, memory);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_uffd_pinned_pages_stay_beyond_a_limit_until_they_are_free),
        TEST(test_uffd_pinned_for_a_device_counts_as_written),
    };
#undef TEST

    return permitted() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
