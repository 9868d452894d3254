/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tables whose store checks have no fence: with asymmetric fences, and with external locking. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "emu.h"

#ifdef __linux__
#if __has_include(<linux/membarrier.h>)
#include <linux/membarrier.h>
#else /* musl may come without the kernel's headers */
enum { MEMBARRIER_CMD_PRIVATE_EXPEDITED = 1 << 3, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED = 1 << 4 };
#endif

/* The calls of membarrier(2), and their answers in place of the kernel's. */
static struct {
    unsigned barriers, registrations;
    unsigned fail_barriers; /* so many of the next ones */
    int error;              /* the kernel has no membarrier(2) at all, when not 0 */
} kernel;

long __wrap_syscall(long number, int command, unsigned flags, int cpu);

long __wrap_syscall(long number, int command, unsigned flags, int cpu)
{
    (void)flags;
    (void)cpu;
    assert_int_equal(number, SYS_membarrier);
    if (command == MEMBARRIER_CMD_PRIVATE_EXPEDITED) {
        kernel.barriers++;
    } else {
        assert_int_equal(command, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);
        kernel.registrations++;
    }
    if (kernel.error) {
        errno = kernel.error;
        return -1;
    }
    if (command == MEMBARRIER_CMD_PRIVATE_EXPEDITED && kernel.fail_barriers) {
        kernel.fail_barriers--;
        errno = EPERM;
        return -1;
    }
    return 0;
}

static void retired(struct pgl_tb *chain, void *opaque)
{
    (void)chain;
    (void)opaque;
}

static const struct pgl_tb_ops ops = {.retired = retired};

static struct pgl_table *new_table(bool external, bool asymmetric)
{
    const struct pgl_table_config config = {
        .page_bits = 12, .addr_bits = 48, .external_locking = external, .asymmetric_fences = asymmetric, .ops = &ops};

    memset(&kernel, 0, sizeof(kernel));
    return pgl_table_new(&config);
}

static void link_block(struct pgl_table *table, struct pgl_tb *tb, uint64_t first, uint64_t last)
{
    struct pgl_bracket bracket;

    pgl_tb_init(tb);
    pgl_tb_set_bytes(tb, 0, first, last);
    assert_true(pgl_bracket_begin(&bracket, table, first >> 12));
    assert_int_equal(pgl_bracket_commit(&bracket, tb, NULL), PGL_BRACKET_OK);
}

static void test_fence_calls_the_kernel_once_a_bracket(void **state)
{
    struct pgl_table *table = new_table(false, true);
    struct pgl_tb first, second;

    (void)state;
    assert_int_equal(kernel.registrations, 1);
    assert_int_equal(kernel.barriers, 0);
    link_block(table, &first, 0x5000, 0x5003);
    assert_int_equal(kernel.barriers, 1);
    link_block(table, &second, 0x5010, 0x5013);
    assert_int_equal(kernel.barriers, 2);
    assert_int_equal(kernel.registrations, 1);
    pgl_flush(table, NULL);
    pgl_table_free(table);
}

static void test_fence_calls_the_kernel_for_a_second_page_and_a_restart(void **state)
{
    struct pgl_table *table = new_table(false, true);
    struct pgl_bracket bracket;

    (void)state;
    assert_true(pgl_bracket_begin(&bracket, table, 5));
    assert_int_equal(pgl_bracket_cross(&bracket, 6), PGL_BRACKET_OK);
    assert_int_equal(kernel.barriers, 2);
    assert_int_equal(pgl_bracket_store(&bracket, 0x5000, 4), PGL_BRACKET_RESTART);
    assert_int_equal(pgl_bracket_cross(&bracket, 6), PGL_BRACKET_RESTART);
    assert_int_equal(kernel.barriers, 3);
    pgl_bracket_abort(&bracket);
    assert_int_equal(kernel.barriers, 3);
    pgl_table_free(table);
}

static void assert_answers_stores(struct pgl_table *table)
{
    struct pgl_page *page;
    struct pgl_tb tb;

    link_block(table, &tb, 0x5000, 0x5003);
    page = pgl_page_find(table, 5);
    kernel.barriers = 0;
    assert_true(pgl_store_is_clean(table, 0x5800, 4));
    assert_false(pgl_store_is_clean(table, 0x5000, 4));
    assert_false(pgl_store_is_clean(table, UINT64_C(1) << 48, 4));
    assert_int_equal(pgl_store_check(table, 0x5800, 4, &tb), 0);
    assert_int_equal(pgl_store_check(table, 0x9000, 4, &tb), 0);
    assert_int_equal(pgl_store_check(table, 0x5003, 4, &tb), PGL_HIT | PGL_RUNNING_DEAD);
    pgl_page_lock(table, page);
    pgl_page_unlock(table, page);
    assert_true(pgl_page_trylock(table, page));
    pgl_page_unlock(table, page);
    assert_int_equal(kernel.barriers, 0);
    assert_int_equal(pgl_table_check(table, NULL, NULL), 0);
    pgl_table_free(table);
}

static void test_fence_of_an_asymmetric_table_is_in_its_brackets_only(void **state)
{
    (void)state;
    assert_answers_stores(new_table(false, true));
}

static void test_fence_of_an_externally_locked_table_is_in_the_big_lock(void **state)
{
    (void)state;
    assert_answers_stores(new_table(true, false));
}

static void test_fence_is_not_asymmetric_with_external_locking(void **state)
{
    struct pgl_table *table = new_table(true, true);
    struct pgl_tb tb;

    (void)state;
    link_block(table, &tb, 0x5000, 0x5003);
    assert_int_equal(kernel.registrations + kernel.barriers, 0);
    pgl_flush(table, NULL);
    pgl_table_free(table);
}

/* The inline check of a special table leaves the ordinary way, on which the fence is. */
static void test_fence_is_spared_by_special_tables_only(void **state)
{
    static const bool special[][2] = {{false, true}, {true, false}, {true, true}};
    struct pgl_table *table = new_table(false, false);

    (void)state;
    assert_int_equal(table->ordinary, pgl_has_lock_debug() ? 0 : table->last_index + 1);
    assert_false(table->special & PGL_SPECIAL_FENCES);
    pgl_table_free(table);
    for (unsigned i = 0; i < sizeof(special) / sizeof(*special); i++) {
        table = new_table(special[i][0], special[i][1]);
        assert_int_equal(table->ordinary, 0);
        assert_true(table->special & PGL_SPECIAL_FENCES);
        pgl_table_free(table);
    }
}

static void test_fence_that_the_kernel_has_not_refuses_the_table(void **state)
{
    const struct pgl_table_config config = {.page_bits = 12, .addr_bits = 48, .asymmetric_fences = true, .ops = &ops};
    static const int errors[] = {ENOSYS, EINVAL, EPERM};

    (void)state;
    for (unsigned i = 0; i < sizeof(errors) / sizeof(*errors); i++) {
        kernel.error = errors[i];
        errno = 0;
        assert_null(pgl_table_new(&config));
        assert_int_equal(errno, ENOTSUP);
    }
    kernel.error = 0;
}

static void test_fence_registers_again_when_the_kernel_wants_it(void **state)
{
    struct pgl_table *table = new_table(false, true);
    struct pgl_tb tb;

    (void)state;
    kernel.fail_barriers = 1;
    link_block(table, &tb, 0x5000, 0x5003);
    assert_int_equal(kernel.registrations, 2);
    assert_int_equal(kernel.barriers, 2);
    pgl_flush(table, NULL);
    pgl_table_free(table);
}

/* To go on without the fence would be to run stale code. */
static void test_fence_that_fails_later_aborts(void **state)
{
    struct pgl_table *table = new_table(false, true);
    struct pgl_bracket bracket;
    int status;
    pid_t child = fork();

    (void)state;
    if (!child) {
        signal(SIGABRT, SIG_DFL); /* cmocka's handler would go on with the next test */
        kernel.error = ENOSYS;
        pgl_bracket_begin(&bracket, table, 5);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    pgl_table_free(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fence_calls_the_kernel_once_a_bracket),
        cmocka_unit_test(test_fence_calls_the_kernel_for_a_second_page_and_a_restart),
        cmocka_unit_test(test_fence_of_an_asymmetric_table_is_in_its_brackets_only),
        cmocka_unit_test(test_fence_of_an_externally_locked_table_is_in_the_big_lock),
        cmocka_unit_test(test_fence_is_not_asymmetric_with_external_locking),
        cmocka_unit_test(test_fence_is_spared_by_special_tables_only),
        cmocka_unit_test(test_fence_that_the_kernel_has_not_refuses_the_table),
        cmocka_unit_test(test_fence_registers_again_when_the_kernel_wants_it),
        cmocka_unit_test(test_fence_that_fails_later_aborts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
#else
int main(void)
{
    return 77; /* skipped: only Linux has the call */
}
#endif
