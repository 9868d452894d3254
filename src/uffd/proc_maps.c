/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The kernel's list of this process's mappings, in lines that begin with "START-END rwxp ". */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "uffd_internal.h"

/* The part of a line that the next character is in. */
enum field { FIELD_START, FIELD_END, FIELD_FLAGS, FIELD_REST };

#define SHARED 3 /* the flag that is 's' or 'p' */

struct line {
    uint64_t bounds[2]; /* in hexadecimal digits */
    enum field field;
    unsigned nflags;
    bool shared;
};

static void take(struct line *line, char c)
{
    switch (line->field) {
    case FIELD_START:
    case FIELD_END:
        if (c == '-' || c == ' ') {
            line->field++;
        } else {
            line->bounds[line->field] = line->bounds[line->field] * 16 + (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
        }
        break;
    case FIELD_FLAGS:
        line->shared = line->nflags == SHARED && c == 's';
        line->field = line->nflags++ == SHARED ? FIELD_REST : FIELD_FLAGS;
        break;
    case FIELD_REST:
        break;
    }
}

bool pgl_proc_maps_walk(void (*found)(void *arg, uint64_t start, uint64_t end, bool shared), void *arg)
{
    int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    struct line line = {.field = FIELD_START};
    char text[1024];
    ssize_t n;

    if (fd < 0) {
        return false;
    }
    while ((n = read(fd, text, sizeof(text))) > 0 || (n < 0 && errno == EINTR)) {
        for (ssize_t i = 0; i < n; i++) {
            if (text[i] == '\n') {
                found(arg, line.bounds[0], line.bounds[1], line.shared);
                line = (struct line){.field = FIELD_START};
            } else {
                take(&line, text[i]);
            }
        }
    }
    close(fd);
    return n == 0;
}
