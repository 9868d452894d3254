/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The common part of fuzz targets: input that is eaten byte by byte, and a check that is never compiled out. */
#ifndef PGL_TESTS_FUZZ_FUZZ_H
#define PGL_TESTS_FUZZ_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    const uint8_t *at, *end;
};

/* An input that has ended gives zeros. */
static inline uint8_t eat(struct input *input)
{
    return input->at < input->end ? *input->at++ : 0;
}

static inline uint64_t eat_bytes(struct input *input, unsigned n)
{
    uint64_t value = 0;

    while (n--) {
        value = value << 8 | eat(input);
    }
    return value;
}

/* Do a step for each byte, but no more than so many. */
static inline void do_steps(struct input *input, void (*const *steps)(void), size_t nsteps, unsigned most)
{
    for (unsigned n = 0; n < most && input->at < input->end; n++) {
        steps[eat(input) % nsteps]();
    }
}

/* Leave a target out that is for pages of another size. */
static inline void need_pages_of(long page_size)
{
    if (sysconf(_SC_PAGESIZE) != page_size) {
        fprintf(stderr, "SKIP: this target is for pages of %ld bytes\n", page_size);
        exit(77);
    }
}

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                            \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

#endif
