/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A program for pagelock-bench record to record: it maps a file in the ways that the shim knows, and compares each page
 * that it touches with the file.
 *
 * Usage: mapped FILE PAGE...: touches these pages in this order. A letter in place of a page changes the mapping first:
 *   f  goes on in a forked child, and ends as it does      x  ends by _exit()      k  kills itself
 *   u  unmaps the first half, and maps it again     s  maps the file shared     w  asks to write the shared mapping
 *   g  asks mremap() for more                       e  replaces itself by itself, with the rest of the arguments
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096

static int file;
static size_t length;
static unsigned char *memory;

static void give_up(const char *what)
{
    perror(what);
    exit(1);
}

static unsigned char *map(int flags, size_t bytes)
{
    unsigned char *mapped = mmap(NULL, bytes, PROT_READ, flags, file, 0);

    if (mapped == MAP_FAILED) {
        give_up("mmap");
    }
    return mapped;
}

static void compare(unsigned long page)
{
    unsigned char expected[PAGE];

    if (pread(file, expected, PAGE, (off_t)page * PAGE) != PAGE || memcmp(expected, memory + page * PAGE, PAGE) != 0) {
        fprintf(stderr, "page %lu is wrong\n", page);
        exit(1);
    }
}

static void go_on_in_child(void)
{
    pid_t child = fork();
    int status;

    if (child < 0) {
        give_up("fork");
    }
    if (child > 0) {
        waitpid(child, &status, 0);
        exit(status != 0);
    }
}

static void change(char what, char **argv)
{
    switch (what) {
    case 'f':
        go_on_in_child();
        break;
    case 'x':
        _exit(0);
    case 'k':
        raise(SIGKILL);
        break;
    case 'u':
        if (munmap(memory, length / 2) != 0 ||
            mmap(memory, length / 2, PROT_READ, MAP_PRIVATE | MAP_FIXED, file, 0) != memory) {
            give_up("munmap");
        }
        break;
    case 's':
        memory = map(MAP_SHARED, length);
        break;
    case 'w':
        if (mprotect(memory, length, PROT_READ | PROT_WRITE) == 0 || errno != EACCES) {
            give_up("mprotect");
        }
        break;
    case 'g':
        if (mremap(memory, length, 2 * length, MREMAP_MAYMOVE) != MAP_FAILED || errno != ENOMEM) {
            give_up("mremap");
        }
        break;
    case 'e':
        execv("/proc/self/exe", argv);
        give_up("execv");
        break;
    default:
        errno = EINVAL;
        give_up("usage");
    }
}

int main(int argc, char **argv)
{
    struct stat st;

    if (argc < 2 || (file = open(argv[1], O_RDWR)) < 0 || fstat(file, &st) != 0) {
        give_up("open");
    }
    length = (size_t)st.st_size;
    memory = map(MAP_PRIVATE, length);
    for (int i = 2; i < argc; i++) {
        if (argv[i][0] >= '0' && argv[i][0] <= '9') {
            compare(strtoul(argv[i], NULL, 10));
        } else {
            char what = argv[i][0];

            argv[i] = argv[1];
            argv[i - 1] = argv[0];
            change(what, argv + i - 1);
        }
    }
    return 0;
}
