/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A program for pagelock-bench record to record: it maps a file in the ways that the shim knows, and compares each page
 * that it touches with the file.
 *
 * Usage: mapped FILE PAGE...: touches these pages in this order. A letter in place of a page changes the mapping first:
 *   f  goes on in a forked child, and ends as it does      x  ends by _exit()      k  kills itself
 *   u  unmaps the first half, and maps it again     s  maps the file shared     w  asks to write the shared mapping
 *   g  asks mremap() for more                       e  replaces itself by itself, with the rest of the arguments
 *   i  asks for a mapping that is neither shared nor private                    h  unmaps and cuts what it may not
 *   m  has memory of its own in place of the second half, after munmap() of a length that ends inside of a page
 *   c  the same, after mremap() has cut the mapping in the middle               v  the same, moved there by mremap()
 *   a  the same, in a child only                    p  writes to the last page of the private mapping
 *   n  unmaps each second page of a file of 10,000 pages, and looks at the others in a child
 *   o  unmaps a page in the middle when there is no descriptor left, and goes on in a forked child
 * A child and its child look at the memory that was written.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
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

/* Look at a word in a child, and in a child of the child. */
static void look_in_children(const unsigned char *at)
{
    int status = 0;
    pid_t child = fork();

    if (child == 0) {
        child = fork();
        if (child == 0) {
            _exit(strcmp((const char *)at, "mine") != 0);
        }
        _exit(strcmp((const char *)at, "mine") != 0 || waitpid(child, &status, 0) != child || status != 0);
    }
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0) {
        fprintf(stderr, "a child ended with %#x\n", status);
        exit(1);
    }
}

/* Write to memory of one's own in place of the second half, and look at it in children. */
static void use_second_half(char what)
{
    size_t half = length / 2;
    unsigned char *middle = memory + half;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS;
    unsigned char *own = mmap(what == 'v' ? NULL : middle, half, PROT_READ | PROT_WRITE, flags, -1, 0);

    if (own == MAP_FAILED) {
        give_up("mmap");
    }
    strcpy((char *)own, "mine");
    if (what == 'v' && mremap(own, half, half, MREMAP_MAYMOVE | MREMAP_FIXED, middle) != middle) {
        give_up("mremap");
    }
    if (what != 'v' && own != middle) {
        fprintf(stderr, "the second half is not free\n");
        exit(1);
    }
    look_in_children(middle);
}

static void use_second_half_in_child(void)
{
    pid_t child = fork();
    int status;

    if (child == 0) {
        if (munmap(memory + length / 2, length / 2) != 0) {
            give_up("munmap");
        }
        use_second_half('a');
        _exit(0);
    }
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0) {
        exit(1);
    }
}

static void write_privately(void)
{
    if (mprotect(memory, length, PROT_READ | PROT_WRITE) != 0) {
        give_up("mprotect");
    }
    strcpy((char *)memory + length - PAGE, "mine");
    look_in_children(memory + length - PAGE);
}

/* More parts than the shim once had slots for. */
static void cut_often(void)
{
    enum { NPAGES = 10000 };
    int other = memfd_create("many", MFD_CLOEXEC);
    unsigned char *many;
    int status = 0;
    pid_t child;

    for (int i = 0; i < NPAGES; i++) {
        if (pwrite(other, "x", 1, (off_t)i * PAGE) != 1) {
            give_up("pwrite");
        }
    }
    many = mmap(NULL, (size_t)NPAGES * PAGE, PROT_READ, MAP_PRIVATE, other, 0);
    for (size_t i = 1; i < NPAGES; i += 2) {
        if (many == MAP_FAILED || munmap(many + i * PAGE, PAGE) != 0) {
            give_up("munmap");
        }
    }
    child = fork();
    for (size_t i = 0; i < NPAGES && child == 0; i += 2) {
        if (many[i * PAGE] != 'x') {
            _exit(1);
        }
    }
    if (child == 0) {
        _exit(0);
    }
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0) {
        fprintf(stderr, "a child of many parts ended with %#x\n", status);
        exit(1);
    }
}

static void cut_without_descriptors(void)
{
    const struct rlimit none = {0, 0};

    if (setrlimit(RLIMIT_NOFILE, &none) != 0 || munmap(memory + length / 2, PAGE) != 0) {
        give_up("munmap");
    }
    go_on_in_child();
}

/* The kernel refuses all of it but the last one, which changes nothing. */
static void ask_in_vain(void)
{
    if (munmap(memory + 1, PAGE) == 0 || munmap(memory, 0) == 0 || munmap(memory, SIZE_MAX) == 0 ||
        mremap(memory + PAGE, PAGE, 0, 0) != MAP_FAILED || mremap(memory + PAGE, PAGE, PAGE, 0) != memory + PAGE) {
        give_up("refused");
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
    case 'i':
        if (mmap(NULL, length, PROT_READ, 0, file, 0) != MAP_FAILED || errno != EINVAL) {
            give_up("mmap");
        }
        break;
    case 'h':
        ask_in_vain();
        break;
    case 'm':
        if (munmap(memory + length / 2, length / 2 - 100) != 0) {
            give_up("munmap");
        }
        use_second_half(what);
        break;
    case 'c':
        if (mremap(memory, length, length / 2 - 100, 0) != memory) {
            give_up("mremap");
        }
        use_second_half(what);
        break;
    case 'v':
        use_second_half(what);
        break;
    case 'a':
        use_second_half_in_child();
        break;
    case 'p':
        write_privately();
        break;
    case 'n':
        cut_often();
        break;
    case 'o':
        cut_without_descriptors();
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
