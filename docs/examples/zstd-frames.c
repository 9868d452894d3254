/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A snapshot in compressed frames of 1,000 pages, with an index, unpacked as its pages are touched. One thread has the
 * requests for a frame, and supplies all of it for the first of them: the pages of the others are not wanted any more.
 *
 *     cc -o zstd-frames zstd-frames.c $(pkg-config --cflags --libs pagelock libzstd) -pthread
 *     ./zstd-frames
 *
 * prints:
 *
 *     64000 touches at random by each of 4 threads, 0 of them wrong
 *     64 frames, 0 of them unpacked more than twice
 */
#include <err.h>
#include <errno.h>
#include <pagelock/pagelock.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zstd.h>

enum { FRAMES = 64, FRAME_PAGES = 1000, UNPACKERS = 2, TOUCHERS = 4, TOUCHES = 64000 };

/* A request on its way to the unpacker of its frame. One write() to a pipe sends it whole. */
struct job {
    struct pgl_uffd_request *request;
    size_t frame;
};

static uint64_t *memory;
static size_t nwords, frame_bytes;
static FILE *snapshot;
static off_t offsets[FRAMES + 1]; /* of the frames in the snapshot: its index */
static unsigned unpacked[FRAMES]; /* how often; each belongs to one unpacker */
static int pipes[UNPACKERS][2];

/* Make the snapshot, frame by frame. */
static void save(void)
{
    const size_t room = ZSTD_compressBound(frame_bytes);
    char *packed = malloc(room);

    snapshot = tmpfile();
    if (!packed || !snapshot || memory == MAP_FAILED) {
        err(1, "no memory or no file");
    }
    for (size_t n = 0; n < FRAMES; n++) {
        for (size_t i = 0; i < nwords / FRAMES; i++) {
            memory[i] = (n * nwords / FRAMES + i) / 8;
        }
        size_t length = ZSTD_compress(packed, room, memory, frame_bytes, 1);
        if (ZSTD_isError(length) || fwrite(packed, length, 1, snapshot) != 1) {
            errx(1, "frame %zu cannot be written", n);
        }
        offsets[n + 1] = offsets[n] + (off_t)length;
    }
    fflush(snapshot);
    free(packed);
}

/* The source. With PGL_ADVICE_RANDOM it is asked for one page at a time. */
static void on_request(void *arg, struct pgl_uffd_request *request, const struct pgl_uffd_wanted *wanted)
{
    const struct job job = {request, wanted->demand / frame_bytes};

    (void)arg;
    if (write(pipes[job.frame % UNPACKERS][1], &job, sizeof(job)) != sizeof(job)) {
        pgl_uffd_request_end(request); /* without an answer: the page is poison */
    }
}

static void *unpack(void *pipe)
{
    char *plain = malloc(frame_bytes + ZSTD_compressBound(frame_bytes)), *packed = plain + frame_bytes;
    struct job job;

    while (read(*(int *)pipe, &job, sizeof(job)) == sizeof(job)) { /* until it is closed */
        const off_t offset = offsets[job.frame], length = offsets[job.frame + 1] - offset;

        if (pgl_uffd_request_is_wanted(job.request) && ++unpacked[job.frame] &&
            pread(fileno(snapshot), packed, (size_t)length, offset) == length &&
            ZSTD_decompress(plain, frame_bytes, packed, (size_t)length) == frame_bytes) {
            pgl_uffd_request_supply(job.request, job.frame * frame_bytes, plain, frame_bytes);
        }
        pgl_uffd_request_end(job.request);
    }
    free(plain);
    return NULL;
}

static void *touch(void *wrong)
{
    unsigned seed = (unsigned)(uintptr_t)wrong;

    for (int i = 0; i < TOUCHES; i++) {
        size_t word = (size_t)rand_r(&seed) % nwords;

        *(unsigned *)wrong += memory[word] != word / 8;
    }
    return NULL;
}

int main(void)
{
    struct pgl_uffd_region region = {.advice = PGL_ADVICE_RANDOM, .source.kind = PGL_UFFD_CALLBACK};
    pthread_t unpackers[UNPACKERS], touchers[TOUCHERS];
    unsigned wrong[TOUCHERS] = {0}, nwrong = 0, ntimes[4] = {0};

    frame_bytes = FRAME_PAGES * (size_t)sysconf(_SC_PAGESIZE);
    nwords = FRAMES * frame_bytes / sizeof(*memory);
    region.source.request = on_request;
    region.source.surplus = frame_bytes;
    region.source.size = region.length = FRAMES * frame_bytes;
    region.addr = memory = mmap(NULL, region.length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    save();
    for (int i = 0; i < UNPACKERS; i++) {
        if (pipe(pipes[i]) != 0 || pthread_create(&unpackers[i], NULL, unpack, &pipes[i][0]) != 0) {
            errx(1, "no unpacker");
        }
    }
    struct pgl_uffd *pager = pgl_uffd_new(&(struct pgl_uffd_config){0});
    if (!pager || !pgl_uffd_map_region(pager, &region)) {
        errx(1, "%s", pgl_uffd_explain(errno));
    }
    for (int i = 0; i < TOUCHERS; i++) {
        if (pthread_create(&touchers[i], NULL, touch, &wrong[i]) != 0) {
            errx(1, "no thread");
        }
    }
    for (int i = 0; i < TOUCHERS; i++) {
        pthread_join(touchers[i], NULL);
        nwrong += wrong[i];
    }
    pgl_uffd_free(pager); /* there are no requests from now on */
    for (int i = 0; i < UNPACKERS; i++) {
        close(pipes[i][1]);
        pthread_join(unpackers[i], NULL);
    }
    for (int i = 0; i < FRAMES; i++) {
        ntimes[unpacked[i] < 3 ? unpacked[i] : 3]++;
    }
    printf("%d touches at random by each of %d threads, %u of them wrong\n", TOUCHES, TOUCHERS, nwrong);
    printf("%d frames, %u of them unpacked more than twice\n", FRAMES, ntimes[3]);
    fprintf(stderr, "%u frames were unpacked once, %u twice\n", ntimes[1], ntimes[2]);
    return nwrong > 0 || ntimes[0] > 0 || ntimes[3] > 0;
}
