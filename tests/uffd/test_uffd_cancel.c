/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A thread that is cancelled in a call of the userfaultfd pager goes on to the end of the call. */
#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include <pagelock/uffd.h>

#include "../cm.h"
#include "../victim.h"

struct paging {
    struct pgl_uffd *uffd;
    unsigned char *memory;
    size_t length;
    int file;
    bool done;
};

static void new_pager(void *opaque)
{
    struct paging *paging = opaque;
    const struct pgl_uffd_config config = {.threads = 2};

    paging->uffd = pgl_uffd_new(&config);
}

static void map_file(void *opaque)
{
    struct paging *paging = opaque;

    paging->done = pgl_uffd_map(paging->uffd, paging->memory, paging->length, paging->file, 0, PGL_ADVICE_NORMAL);
}

static void unmap_file(void *opaque)
{
    struct paging *paging = opaque;

    paging->done = pgl_uffd_unmap(paging->uffd, paging->memory, paging->length);
}

static void free_pager(void *opaque)
{
    struct paging *paging = opaque;

    pgl_uffd_free(paging->uffd);
}

static void call_cancelled(void (*call)(void *arg), struct paging *paging)
{
    struct victim victim;

    victim_start(&victim, call, paging);
    victim_assert_finished(&victim);
}

static void test_uffd_cancel_of_a_call_is_answered_after_it(void **state)
{
    struct paging paging = {.length = 4 * (size_t)sysconf(_SC_PAGESIZE), .file = memfd_create("pages", MFD_CLOEXEC)};
    const struct pgl_uffd_config config = {0};

    (void)state;
    paging.uffd = pgl_uffd_new(&config);
    if (!paging.uffd) {
        SKIP_BECAUSE(pgl_uffd_explain(errno));
    }
    pgl_uffd_free(paging.uffd);
    assert_int_equal(pwrite(paging.file, "page", 4, (off_t)paging.length - 1), 4);
    paging.memory = mmap(NULL, paging.length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(paging.memory != MAP_FAILED);

    call_cancelled(new_pager, &paging);
    assert_non_null(paging.uffd);
    call_cancelled(map_file, &paging);
    assert_true(paging.done);
    paging.done = false;
    call_cancelled(unmap_file, &paging); /* no handler has the file yet; therefore this closes it */
    assert_true(paging.done);
    paging.done = false;
    call_cancelled(map_file, &paging);
    assert_true(paging.done);
    assert_int_equal(paging.memory[paging.length - 1], 'p');
    call_cancelled(free_pager, &paging);
    munmap(paging.memory, paging.length);
    close(paging.file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_uffd_cancel_of_a_call_is_answered_after_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
