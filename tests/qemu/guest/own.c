/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Four threads patch their own code. Their functions lie among each other on shared pages, as those of a JIT with
 * several threads do; no thread runs a function that another one patches. Each function is called after each patch.
 *
 * Usage: own ROUNDS
 */
#include <pthread.h>

#include "code.h"

enum { NTHREADS = 4, NPAGES = 2, SIZE = 32, NFNS = NPAGES * PAGE / SIZE };

struct owner {
    pthread_t thread;
    uint8_t *pages;
    unsigned number;
    unsigned long rounds, calls, wrong;
};

static void *patch_own(void *arg)
{
    struct owner *owner = arg;

    for (unsigned long round = 1; round <= owner->rounds; round++) {
        for (unsigned i = owner->number; i < NFNS; i += NTHREADS) {
            uint32_t value = (uint32_t)(round * NFNS + i);

            code_patch(owner->pages + i * SIZE, value);
            owner->wrong += code_call(owner->pages + i * SIZE, 0) != value;
            owner->calls++;
        }
    }
    return NULL;
}

int main(int argc, char **argv)
{
    unsigned long rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : 1;
    double start = code_seconds();
    uint8_t *pages = code_pages(NPAGES);
    struct owner owners[NTHREADS];
    unsigned long wrong = 0, calls = 0;

    for (unsigned i = 0; i < NFNS; i++) {
        code_returns(pages + i * SIZE, 0);
    }
    for (unsigned i = 0; i < NTHREADS; i++) {
        owners[i] = (struct owner){.pages = pages, .number = i, .rounds = rounds};
        if (pthread_create(&owners[i].thread, NULL, patch_own, &owners[i])) {
            die("pthread_create");
        }
    }
    for (unsigned i = 0; i < NTHREADS; i++) {
        pthread_join(owners[i].thread, NULL);
        wrong += owners[i].wrong;
        calls += owners[i].calls;
    }
    return code_verdict("own", wrong, calls, start);
}
