/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Usage: poisoned [PAGES]
 *
 * Touch so many pages whose bytes cannot be read, under the default policy, and print how long each took until SIGBUS,
 * in the median and at the worst. A second thread gets pages that can be read meanwhile.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <pagelock/uffd.h>

#include "sigbus.h"

static size_t page_size;
static size_t npages; /* bad ones, after as many good ones */
static unsigned char *memory;
static int file;

/* The good pages that were served. Both atomic. */
static size_t served;
static bool stop;

static _Noreturn void fail(const char *what)
{
    printf("FAILED: %s\n", what);
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static int compare(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

    return (left > right) - (left < right);
}

/* Each page of the file begins with a one. */
static void make_file(void)
{
    file = memfd_create("pages", MFD_CLOEXEC);
    if (file < 0 || ftruncate(file, (off_t)(2 * npages * page_size)) != 0) {
        fail("no file");
    }
    for (size_t page = 0; page < npages; page++) {
        if (pwrite(file, "\1", 1, (off_t)(page * page_size)) != 1) {
            fail("no file");
        }
    }
}

/* Until told to stop, and once at least: a page that was given back is read again. */
static void *touch_good(void *wrong)
{
    for (size_t n = 0; n == 0 || !__atomic_load_n(&stop, __ATOMIC_ACQUIRE); n++) {
        unsigned char *page = memory + n % npages * page_size;

        if (*(volatile unsigned char *)page != 1 || madvise(page, page_size, MADV_DONTNEED) != 0) {
            return wrong;
        }
        __atomic_fetch_add(&served, 1, __ATOMIC_RELEASE);
    }
    return NULL;
}

/* Touch the bad pages. Between two of them the other thread gets one or more. */
static void time_bad(uint64_t *ns)
{
    for (size_t i = 0; i < npages; i++) {
        size_t before = __atomic_load_n(&served, __ATOMIC_ACQUIRE);
        uint64_t start = now_ns();

        if (!sigbus_at(memory + (npages + i) * page_size, page_size)) {
            fail("a page that cannot be read shows something");
        }
        ns[i] = now_ns() - start;
        while (__atomic_load_n(&served, __ATOMIC_ACQUIRE) == before) {
            usleep(10);
        }
    }
}

int main(int argc, char **argv)
{
    const struct pgl_uffd_config config = {.threads = 2};
    struct pgl_uffd_region region = {.advice = PGL_ADVICE_RANDOM};
    struct pgl_uffd_stats stats;
    struct pgl_uffd *pager;
    pthread_t thread;
    void *wrong = NULL;
    uint64_t *ns;

    page_size = (size_t)sysconf(_SC_PAGESIZE);
    npages = argc > 1 && atoi(argv[1]) > 0 ? (size_t)atoi(argv[1]) : 100;
    ns = calloc(npages, sizeof(*ns));
    make_file();
    region.length = 2 * npages * page_size;
    region.source.fd = file;
    region.addr = memory = mmap(NULL, region.length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pager = pgl_uffd_new(&config);
    if (!pager) {
        printf("SKIP: %s\n", pgl_uffd_explain(errno));
        return 77;
    }
    if (!ns || !pgl_uffd_map_region(pager, &region) || ftruncate(file, (off_t)(npages * page_size)) != 0 ||
        pthread_create(&thread, NULL, touch_good, ns) != 0) {
        fail("no region or no thread");
    }
    sigbus_install();
    time_bad(ns);
    __atomic_store_n(&stop, true, __ATOMIC_RELEASE);
    pthread_join(thread, &wrong);
    pgl_uffd_get_stats(pager, &stats);
    if (wrong || stats.poisoned != npages) {
        fail(wrong ? "a page that can be read is wrong" : "pages are poison that were not touched");
    }
    qsort(ns, npages, sizeof(*ns), compare);
    printf("%zu pages could not be read: SIGBUS after %.3f ms in the median, %.3f ms at the worst; %zu others served\n",
           npages, (double)ns[npages / 2] / 1e6, (double)ns[npages - 1] / 1e6, served);
    pgl_uffd_free(pager);
    munmap(memory, region.length);
    close(file);
    free(ns);
    return 0;
}
