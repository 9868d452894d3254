/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../cm.h"
#include "pager.h"

/*
 * The library's and this program's calls of malloc() come here. A handler may make none: a thread that forks holds its
 * locks, and waits for a handler.
 */
__thread bool may_malloc; /* not in handlers, which do not set it */
unsigned handlers_malloced;

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void __real_free(void *block);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void __wrap_free(void *block);

static void note_malloc(void)
{
    __atomic_fetch_add(&handlers_malloced, !may_malloc, __ATOMIC_RELAXED);
}

void *__wrap_malloc(size_t size)
{
    note_malloc();
    return __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
    note_malloc();
    return __real_calloc(n, size);
}

void __wrap_free(void *block)
{
    note_malloc();
    __real_free(block);
}

int set_up(void **state)
{
    struct fixture *f;

    may_malloc = true;
    f = calloc(1, sizeof(*f));
    f->file = memfd_create("pages", MFD_CLOEXEC);
    fill(f->file, 0, NPAGES);
    f->memory = mmap(NULL, NPAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    *state = f;
    return f->memory == MAP_FAILED;
}

int tear_down(void **state)
{
    struct fixture *f = *state;

    pgl_uffd_free(f->uffd);
    munmap(f->memory, NPAGES * PAGE);
    close(f->file);
    free(f);
    return handlers_malloced != 0;
}

void start_pager(struct fixture *f)
{
    f->uffd = pgl_uffd_new(&f->config);
    assert_non_null(f->uffd);
}

void end_pager(struct fixture *f)
{
    pgl_uffd_free(f->uffd);
    f->uffd = NULL;
}

void map_all(struct fixture *f, enum pgl_advice advice)
{
    start_pager(f);
    assert_true(map_zeroing(f->uffd, f->memory, NPAGES * PAGE, f->file, 0, advice));
}

void assert_count_at(struct fixture *f, size_t at, uint64_t value)
{
    struct pgl_uffd_stats stats = stats_of(f);
    uint64_t now;

    memcpy(&now, (const char *)&stats + at, sizeof(now));
    assert_int_equal(now, value);
}

bool pager_permitted(void)
{
    may_malloc = true;
    return permitted();
}

unsigned asked;
unsigned may_answer;
enum pgl_uffd_remedy answer_after_wait = PGL_UFFD_ZERO;

enum pgl_uffd_remedy on_failure_wait(void *arg, const void *addr, int error)
{
    unsigned number = __atomic_add_fetch(&asked, 1, __ATOMIC_RELEASE);

    (void)arg;
    (void)addr;
    (void)error;
    while (__atomic_load_n(&may_answer, __ATOMIC_ACQUIRE) < number) {
        usleep(1000);
    }
    return answer_after_wait;
}

void wait_until_asked(unsigned n)
{
    while (__atomic_load_n(&asked, __ATOMIC_ACQUIRE) < n) {
        usleep(100);
    }
}

void let_answer(unsigned n)
{
    __atomic_store_n(&may_answer, n, __ATOMIC_RELEASE);
}

pthread_t touch_bad_page(unsigned char *page)
{
    pthread_t thread;

    __atomic_store_n(&asked, 0, __ATOMIC_RELEASE);
    let_answer(0);
    assert_int_equal(pthread_create(&thread, NULL, touch_zero_page, page), 0);
    wait_until_asked(1);
    return thread;
}

void run_idle_child(void)
{
    pid_t child = fork();
    int status;

    if (child == 0) {
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

int check_as_child(unsigned char *memory)
{
    for (uint64_t page = 0; page < NPAGES; page++) {
        if (page == 5 ? memory[page * PAGE] != 'p' : !is_page(memory + page * PAGE, page)) {
            return 1;
        }
    }
    memset(memory + 7 * PAGE, 'c', PAGE);
    return memory[7 * PAGE] != 'c';
}

void run_child(unsigned char *memory)
{
    pid_t child = fork();
    int status;

    if (child == 0) {
        _exit(check_as_child(memory));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}
