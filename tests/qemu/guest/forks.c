/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A fork storm: processes whose code is shared until one of them writes. Each child patches its copy of a function and
 * calls it, and the parent's stays as it is; the parent patches its own in between.
 *
 * Usage: forks CHILDREN: of each of four parents
 */
#include <sys/wait.h>
#include <unistd.h>

#include "code.h"

enum { NPARENTS = 4, SIZE = 64 };

/* The number of wrong calls of one parent and its children. */
static unsigned parent(uint8_t *page, unsigned number, unsigned nchildren)
{
    unsigned wrong = 0;
    uint8_t *code = page + number * SIZE;

    for (uint32_t i = 1; i <= nchildren; i++) {
        uint32_t mine = i * NPARENTS + number;
        int status = 0;
        pid_t child;

        code_returns(code, mine);
        wrong += code_call(code, 0) != mine;
        child = fork();
        if (child < 0) {
            die("fork");
        }
        if (child == 0) {
            unsigned bad = code_call(code, 0) != mine;

            code_returns(code, ~mine);
            bad += code_call(code, 0) != ~mine;
            _exit((int)bad);
        }
        wrong += code_call(code, 0) != mine;
        if (waitpid(child, &status, 0) != child || !WIFEXITED(status)) {
            wrong++;
        } else {
            wrong += (unsigned)WEXITSTATUS(status);
        }
        wrong += code_call(code, 0) != mine;
    }
    return wrong;
}

int main(int argc, char **argv)
{
    unsigned nchildren = argc > 1 ? (unsigned)atoi(argv[1]) : 1;
    double start = code_seconds();
    uint8_t *page = code_pages(1);
    unsigned long wrong = 0;

    for (unsigned number = 0; number < NPARENTS; number++) {
        pid_t pid = fork();

        if (pid < 0) {
            die("fork");
        }
        if (pid == 0) {
            unsigned bad = parent(page, number, nchildren);

            _exit(bad > 100 ? 100 : (int)bad);
        }
    }
    for (unsigned number = 0; number < NPARENTS; number++) {
        int status = 0;

        wrong += wait(&status) < 0 || !WIFEXITED(status) ? 1 : (unsigned long)WEXITSTATUS(status);
    }
    return code_verdict("forks", wrong, 5ul * NPARENTS * nchildren, start);
}
