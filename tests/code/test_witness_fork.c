/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The records of linked blocks are whole in a child, and not locked. */
#include <fcntl.h>
#include <string.h>
#include <sys/types.h>
#include <sys/wait.h>

#include "witness.h"

enum {
    MANY = 4096, /* more blocks than the records have room for at first */
};

static unsigned inside;  /* atomic: the grower holds the lock of the records */
static unsigned forking; /* atomic: the main thread is about to call fork() */
static unsigned forked;  /* atomic: fork() has returned */
static __thread bool is_grower;

int __real_munmap(void *addr, size_t length);
int __wrap_munmap(void *addr, size_t length);

/* Whether the main thread sleeps. Without stdio, of which fork() takes locks. */
static bool main_sleeps(void)
{
    char path[64], text[512] = "";
    int fd;

    snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)getpid());
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0) {
        text[0] = '\0';
    }
    close(fd);
    return strstr(text, ") S ") != NULL;
}

/* The witness unmaps its old records with the lock held. Stay there until fork() waits for the lock, or has not waited. */
int __wrap_munmap(void *addr, size_t length)
{
    if (is_grower) {
        __atomic_store_n(&inside, 1, __ATOMIC_RELEASE);
        while (!(__atomic_load_n(&forking, __ATOMIC_ACQUIRE) && main_sleeps()) &&
               !__atomic_load_n(&forked, __ATOMIC_ACQUIRE)) {
            usleep(100);
        }
        __atomic_store_n(&inside, 0, __ATOMIC_RELEASE);
    }
    return __real_munmap(addr, length);
}

static struct emu_block many[MANY];

static void grow(struct emu *emu, void *arg)
{
    (void)arg;
    is_grower = true;
    for (unsigned i = 0; i < MANY; i++) {
        pgl_tb_init(&many[i].tb);
        pgl_tb_link_unlisted(emu->table, &many[i].tb);
    }
    is_grower = false;
}

/* In the child: 0 when it has the records of the parent, and can add one. */
static int use_records(struct emu *emu, struct emu_block *linked)
{
    struct emu_block mine = {0};

    if (__atomic_load_n(&inside, __ATOMIC_ACQUIRE)) {
        return 1; /* the lock of the records is held by a thread that this process does not have */
    }
    pgl_tb_link_unlisted(emu->table, &linked->tb);
    if (n_seen != 1 || seen[0].kind != PGL_BREACH_TB_STATE || !seen[0].linked_place) {
        return 2;
    }
    pgl_tb_init(&mine.tb);
    pgl_tb_link_unlisted(emu->table, &mine.tb);
    return pgl_invalidate_tb(emu->table, &mine.tb, NULL) != PGL_HIT || n_seen != 1 ? 3 : 0;
}

static void test_witness_fork_waits_for_the_lock_of_the_records(void **state)
{
    struct emu_block block = {0};
    struct emu_call grower;
    struct emu emu;
    pid_t child;
    int status;

    (void)state;
    emu_init(&emu);
    pgl_tb_init(&block.tb);
    pgl_tb_link_unlisted(emu.table, &block.tb);
    emu_call(&grower, &emu, grow, NULL);
    EMU_WAIT_UNTIL(__atomic_load_n(&inside, __ATOMIC_ACQUIRE));
    __atomic_store_n(&forking, 1, __ATOMIC_RELEASE);
    child = fork();
    if (!child) {
        _exit(use_records(&emu, &block));
    }
    __atomic_store_n(&forked, 1, __ATOMIC_RELEASE);
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    emu_join(&grower);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_int_equal(pgl_invalidate_tb(emu.table, &block.tb, NULL), PGL_HIT);
    for (unsigned i = 0; i < MANY; i++) {
        pgl_invalidate_tb(emu.table, &many[i].tb, NULL);
    }
    assert_int_equal(n_seen, 0);
    emu_fini(&emu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_witness_fork_waits_for_the_lock_of_the_records, set_hook),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
