/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Shared by the guest programs: memory for code, a few instructions of x86-64, and the report.
 *
 * Each program makes code, changes it, calls it, and counts how often the call did not do what the changed code says. It
 * prints what every machine must print, and then one line that begins with "# ": how often it was wrong, and how long it
 * took. The runner compares the former and collects the latter.
 */
#ifndef PGL_QEMU_GUEST_CODE_H
#define PGL_QEMU_GUEST_CODE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { PAGE = 4096 };

/* A function of the code that is made here. */
typedef uint32_t code_fn(uint32_t arg);

static inline uint32_t code_call(const uint8_t *code, uint32_t arg)
{
    code_fn *fn;

    memcpy(&fn, &code, sizeof(fn));
    return fn(arg);
}

static inline void die(const char *what)
{
    perror(what);
    exit(2);
}

/* Pages that can be written and run. */
static inline uint8_t *code_pages(size_t npages)
{
    void *pages = mmap(NULL, npages * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (pages == MAP_FAILED) {
        die("mmap");
    }
    memset(pages, 0xcc, npages * PAGE);
    return pages;
}

/* The bytes of what code_returns() makes. */
enum { RETURNS_BYTES = 6 };

/* Let a function that code_returns() has made return another value. */
static inline void code_patch(uint8_t *code, uint32_t value)
{
    memcpy(code + 1, &value, sizeof(value));
}

/* mov $value, %eax; ret */
static inline void code_returns(uint8_t *code, uint32_t value)
{
    code[0] = 0xb8;
    code_patch(code, value);
    code[5] = 0xc3;
}

static inline double code_seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* The last lines of a program. Returns its exit status. */
static inline int code_verdict(const char *name, unsigned long wrong, unsigned long of, double since)
{
    printf("%s: %lu done\n", name, of);
    printf("# %s: wrong %lu of %lu, %.3f s: %s\n", name, wrong, of, code_seconds() - since, wrong ? "WRONG" : "right");
    return wrong ? 1 : 0;
}

#endif
