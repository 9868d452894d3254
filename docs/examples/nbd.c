/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A region whose bytes are on a server, reached by NBD, that answers after a millisecond. The first run touches its
 * pages one by one, and is recorded. The second one follows the working set that was made of the recording: the first
 * touch of a cluster brings all of it.
 *
 *     cc -o nbd nbd.c $(pkg-config --cflags --libs pagelock libnbd) -pthread
 *     ./nbd
 *
 * prints:
 *
 *     page by page: 528 requests, 0 pages wrong
 *     with the working set: 32 requests, 0 pages wrong
 */
#include <endian.h>
#include <err.h>
#include <errno.h>
#include <libnbd.h>
#include <pagelock/pagelock.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { PAGES = 16384, STRETCHES = 32, EVERY = PAGES / STRETCHES };

/* A request on its way to the thread that owns the connection, and then to the server. */
struct job {
    struct pgl_uffd_request *request;
    struct pgl_uffd_wanted wanted;
    char bytes[];
};

static struct nbd_handle *nbd;
static int jobs[2]; /* a pipe of pointers to them */

/* The source. */
static void on_request(void *arg, struct pgl_uffd_request *request, const struct pgl_uffd_wanted *wanted)
{
    struct job *job = malloc(sizeof(*job) + wanted->length);

    (void)arg;
    if (!job) {
        err(1, "request");
    }
    *job = (struct job){request, *wanted};
    if (write(jobs[1], &job, sizeof(job)) != sizeof(job)) {
        err(1, "pipe");
    }
}

/* The server has answered. */
static int on_answer(void *arg, int *error)
{
    struct job *job = arg;

    if (*error == 0) { /* else the page has no answer, and is poison */
        pgl_uffd_request_supply(job->request, job->wanted.offset, job->bytes, job->wanted.length);
    }
    pgl_uffd_request_end(job->request);
    free(job);
    return 1; /* libnbd forgets the command */
}

/* Send requests and receive answers, until the pipe is closed. */
static void *talk(void *arg)
{
    struct pollfd fds[2] = {{.events = 0}, {.fd = jobs[0], .events = POLLIN}};
    struct job *job;

    for (;;) {
        fds[0].fd = nbd_aio_get_fd(nbd);
        fds[0].events = nbd_aio_get_direction(nbd) & LIBNBD_AIO_DIRECTION_WRITE ? POLLIN | POLLOUT : POLLIN;
        poll(fds, 2, -1);
        if (fds[0].revents) {
            (void)(fds[0].revents == POLLOUT ? nbd_aio_notify_write(nbd) : nbd_aio_notify_read(nbd));
        }
        if (fds[1].revents && read(jobs[0], &job, sizeof(job)) != sizeof(job)) {
            return arg;
        }
        if (fds[1].revents && nbd_aio_pread(nbd, job->bytes, job->wanted.length, job->wanted.offset,
                                            (nbd_completion_callback){on_answer, job, NULL}, 0) < 0) {
            on_answer(job, &(int){EIO});
        }
    }
}

/* A run touches 32 stretches of 1 to 32 pages. It is recorded, or has a working set. */
static void run(const char *name, struct pgl_recording *recording, const struct pgl_workset *set)
{
    const size_t page_size = (size_t)sysconf(_SC_PAGESIZE);
    struct pgl_uffd_region region = {.length = PAGES * page_size, .advice = PGL_ADVICE_RANDOM};
    struct pgl_uffd *pager = pgl_uffd_new(&(struct pgl_uffd_config){0});
    struct pgl_uffd_stats stats;
    struct timespec start, end;
    char *memory = mmap(NULL, region.length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int wrong = 0;

    region.addr = memory;
    region.source = (struct pgl_uffd_source){PGL_UFFD_CALLBACK, .size = region.length, .request = on_request};
    if (!pager || !pgl_uffd_map_region(pager, &region)) {
        errx(1, "%s", pgl_uffd_explain(errno));
    }
    if (set) {
        pgl_uffd_set_workset(pager, memory, region.length, set);
    } else {
        pgl_uffd_watch(pager, memory, region.length, pgl_recording_touch, recording);
    }
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (size_t i = 0; i < STRETCHES; i++) {
        for (size_t n = i * 13 % STRETCHES, page = n * EVERY; page <= n * EVERY + n; page++) {
            wrong += be64toh(*(uint64_t *)(void *)(memory + page * page_size)) != page * page_size;
        }
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    pgl_uffd_get_stats(pager, &stats);
    printf("%s: %d requests, %d pages wrong\n", name, (int)stats.requests, wrong);
    fprintf(stderr, "%s: %.1f ms\n", name,
            (double)(end.tv_sec - start.tv_sec) * 1e3 + (double)(end.tv_nsec - start.tv_nsec) / 1e6);
    pgl_uffd_free(pager);
    munmap(memory, region.length);
}

int main(void)
{
    const char *server[] = {"nbdkit", "--exit-with-parent", "--filter=delay", "pattern", "1G", "rdelay=1ms", NULL};
    struct pgl_recording *recording = pgl_recording_new(PAGES);
    pthread_t talker;

    nbd = nbd_create();
    if (!nbd || nbd_connect_systemd_socket_activation(nbd, (char **)server) != 0) {
        printf("SKIP: no nbdkit: %s\n", nbd_get_error());
        return 77;
    }
    if (pipe(jobs) != 0 || pthread_create(&talker, NULL, talk, NULL) != 0) {
        err(1, "no thread");
    }
    run("page by page", recording, NULL);
    struct pgl_workset *set = pgl_workset_new(recording, "guest", &(struct pgl_costs){1000000, 2000});
    run("with the working set", NULL, set);
    close(jobs[1]);
    pthread_join(talker, NULL);
    nbd_close(nbd);
    pgl_workset_free(set);
    pgl_recording_free(recording);
}
