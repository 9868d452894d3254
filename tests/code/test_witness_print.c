/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The default hook of the witness prints all places and aborts. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "witness.h"

/*
 * Each of these breaks the contract as its last call, and prints before that what the report will be, with the lines of
 * its calls, counted from the one that says so.
 */
#define EXPECT(format, ...) fprintf(stderr, "libpagelock: the call at " format "\n", __VA_ARGS__)

static void wait_for_a_lower_page(struct emu *emu)
{
    unsigned line = __LINE__;

    EXPECT("%s:%u blocks on a page lower than one it holds (page 0x10); page 0x20 was locked at %s:%u", __FILE__,
           line + 5, __FILE__, line + 4);
    pgl_page_lock(emu->table, pgl_page_get(emu->table, 0x20));
    pgl_page_lock(emu->table, pgl_page_get(emu->table, 0x10));
}

static void begin_two_stores(struct emu *emu)
{
    struct pgl_store stores[2];
    unsigned line = __LINE__;

    EXPECT("%s:%u begins a pair, collection, bracket, store check or invalidation while it holds a page; page 0x5 was "
           "locked at %s:%u",
           __FILE__, line + 6, __FILE__, line + 5);
    pgl_store_begin(&stores[0], emu->table, 0x5000, 8, NULL);
    pgl_store_begin(&stores[1], emu->table, 0x9000, 8, NULL);
}

static void link_twice(struct emu *emu)
{
    struct emu_block block;

    link_block(emu, &block, 0x5000, 0x5003, 1, 0);
    EXPECT("%s:%u links a block that is linked already, not new, or not aligned to 16 bytes, or whose array of "
           "extents is linked or not aligned, invalidates one that was never linked, or calls a dead one an equal "
           "(page 0x5); the block was linked at %s:%u",
           __FILE__, LINK_LINE, __FILE__, LINK_LINE);
    pgl_tb_init(&block.tb);
    pgl_tb_set_bytes(&block.tb, 0, 0x5000, 0x5003);
    try_link(emu->table, &block.tb);
}

static void invalidate_in_another_table(struct emu *emu)
{
    struct emu_block block;
    struct emu other;
    unsigned line;

    emu_init(&other);
    link_block(&other, &block, 0x5000, 0x5003, 1, 0);
    line = __LINE__ + 2;
    EXPECT("%s:%u uses a block of another table; the block was linked at %s:%u", __FILE__, line, __FILE__, LINK_LINE);
    pgl_invalidate_tb(emu->table, &block.tb, NULL);
}

static void reuse_memory(struct emu *emu)
{
    struct emu_block block;
    unsigned line;

    link_block(emu, &block, 0x5000, 0x5003, 1, 0);
    memset(&block, 0, sizeof(block));
    line = __LINE__ + 4;
    EXPECT("%s:%u meets a linked block whose bytes, state or links were changed, or whose memory was reused (page "
           "0x5); the block was linked at %s:%u",
           __FILE__, line, __FILE__, LINK_LINE);
    pgl_store_check(emu->table, 0x5000, 1, NULL);
}

static unsigned check_line;

static void check_in_retired(struct emu *emu, struct pgl_tb *chain)
{
    unsigned line = __LINE__ + 6;

    (void)chain;
    EXPECT("%s:%u stands in a callback, which may not make it; page 0x5 was locked at %s:%u; the callback `retired` "
           "was called by the call at %s:%u",
           __FILE__, line, __FILE__, check_line, __FILE__, check_line);
    pgl_store_check(emu->table, 0x9000, 1, NULL);
}

static void call_in_a_callback(struct emu *emu)
{
    struct emu_block block;

    link_block(emu, &block, 0x5000, 0x5003, 1, 0);
    emu->at_retired = check_in_retired;
    check_line = __LINE__ + 1;
    pgl_store_check(emu->table, 0x5000, 1, NULL);
}

static void free_while_held(struct emu *emu)
{
    unsigned line = __LINE__ + 5;

    EXPECT("pgl_table_free() frees, resets or trims a table of which a page is held (page 0x5); page 0x5 was locked at "
           "%s:%u",
           __FILE__, line);
    pgl_page_lock(emu->table, pgl_page_get(emu->table, 5));
    pgl_table_free(emu->table);
}

/* The page of another thread, which the child does not have. */
static void free_while_another_holds(struct emu *emu)
{
    struct emu_holder holder;

    emu_hold(&holder, emu, 0x70005);
    EXPECT("%s", "pgl_table_free() frees, resets or trims a table of which a page is held (page 0x70005)");
    pgl_table_free(emu->table);
}

static void *end_while_it_holds(void *arg)
{
    struct emu *emu = arg;
    unsigned line = __LINE__ + 5;

    EXPECT("%s:%u is the last one of a thread that ended while it held a page (page 0x5); page 0x5 was locked at "
           "%s:%u",
           __FILE__, line, __FILE__, line);
    pgl_page_lock(emu->table, pgl_page_get(emu->table, 5));
    return NULL;
}

static void end_a_thread(struct emu *emu)
{
    pthread_t thread;

    pthread_create(&thread, NULL, end_while_it_holds, emu);
    pthread_join(thread, NULL);
}

/* A child that breaks the contract under the default hook prints what it expects, and dies by SIGABRT. */
static void test_witness_default_prints_all_places_and_aborts(void **state)
{
    static void (*const breach[])(struct emu * emu) = {
        wait_for_a_lower_page, begin_two_stores,   link_twice,      invalidate_in_another_table,
        reuse_memory,          call_in_a_callback, free_while_held, free_while_another_holds,
        end_a_thread,
    };

    (void)state;
    for (size_t i = 0; i < sizeof(breach) / sizeof(*breach); i++) {
        char text[2000] = "", *second;
        size_t len = 0;
        int fds[2], status;
        struct emu emu;
        pid_t child;
        ssize_t n;

        emu_init(&emu);
        assert_int_equal(pipe(fds), 0);
        child = fork();
        assert_true(child >= 0);
        if (!child) {
            dup2(fds[1], STDERR_FILENO);
            pgl_witness_set_hook(NULL, NULL);
            breach[i](&emu);
            _exit(0);
        }
        close(fds[1]);
        while ((n = read(fds[0], text + len, sizeof(text) - 1 - len)) > 0) {
            len += (size_t)n;
        }
        close(fds[0]);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), SIGABRT);
        second = strchr(text, '\n');
        assert_non_null(second);
        *second++ = '\0';
        assert_true(text[0]);
        assert_non_null(strchr(second, '\n'));
        *strchr(second, '\n') = '\0';
        assert_string_equal(second, text);
        emu_fini(&emu);
    }
    assert_int_equal(n_seen, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_witness_default_prints_all_places_and_aborts, set_hook),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
