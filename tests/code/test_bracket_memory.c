/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The memory of brackets that hold many pages. Linked with --wrap for malloc and free. */
#include <errno.h>
#include <stdlib.h>

#include "emu.h"

void *__real_malloc(size_t size);
void __real_free(void *memory);
void *__wrap_malloc(size_t size);
void __wrap_free(void *memory);

static unsigned n_mallocs; /* since the last count_from_here() */
static void *living[16];   /* allocated since then, and not freed */
static unsigned n_living;
static bool fails;

void *__wrap_malloc(size_t size)
{
    n_mallocs++;
    if (fails) {
        errno = ENOMEM;
        return NULL;
    }
    living[n_living] = __real_malloc(size);
    return living[n_living++];
}

void __wrap_free(void *memory)
{
    for (unsigned i = 0; i < n_living; i++) {
        if (living[i] == memory) {
            living[i] = living[--n_living];
            break;
        }
    }
    __real_free(memory);
}

static void count_from_here(void)
{
    n_mallocs = 0;
    n_living = 0;
}

/* Begin a bracket that holds pages 1 to @n. The pages lie in one leaf, which exists. */
static void begin(struct pgl_bracket *bracket, struct emu *emu, unsigned n)
{
    assert_true(pgl_bracket_begin(bracket, emu->table, 1));
    count_from_here();
    for (unsigned index = 2; index <= n; index++) {
        assert_int_equal(pgl_bracket_cross(bracket, index), PGL_BRACKET_OK);
    }
}

static void test_bracket_memory_none_for_pages_within_the_struct(void **state)
{
    struct pgl_bracket bracket;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    begin(&bracket, &emu, PGL_BRACKET_INLINE);
    assert_int_equal(n_mallocs, 0);
    pgl_bracket_abort(&bracket);
    emu_fini(&emu);
}

/* Each decoding has another second page: a page of the one before makes room for it. */
static void test_bracket_memory_none_for_two_pages_however_often_they_change(void **state)
{
    struct pgl_bracket bracket;
    struct emu_block block;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    begin(&bracket, &emu, 1);
    emu_init_block(&block, 0x1000, 0x1003);
    fails = true;
    for (unsigned i = 0; i < 2 * PGL_BRACKET_INLINE; i++) {
        assert_int_equal(pgl_bracket_cross(&bracket, 2 + i), PGL_BRACKET_OK);
        assert_int_equal(pgl_bracket_store(&bracket, 0x1000, 1), PGL_BRACKET_RESTART);
        assert_int_equal(pgl_bracket_commit(&bracket, &block.tb, NULL), PGL_BRACKET_RESTART);
    }
    fails = false;
    assert_int_equal(n_mallocs, 0);
    pgl_bracket_abort(&bracket);
    emu_fini(&emu);
}

static void test_bracket_memory_lack_leaves_the_bracket_as_it_was(void **state)
{
    (void)state;
    for (unsigned room = PGL_BRACKET_INLINE; room <= 4 * PGL_BRACKET_INLINE; room *= 2) {
        struct pgl_bracket bracket;
        struct emu_block block;
        struct emu emu;

        emu_init(&emu);
        begin(&bracket, &emu, room);
        emu_log(&emu);
        fails = true;
        errno = 0;
        assert_int_equal(pgl_bracket_cross(&bracket, room + 1), PGL_BRACKET_ERROR);
        assert_int_equal(errno, ENOMEM);
        assert_int_equal(pgl_bracket_cross(&bracket, room), PGL_BRACKET_OK);
        fails = false;
        assert_string_equal(emu_log(&emu), "");
        for (unsigned index = 1; index <= room; index++) {
            assert_true(emu_is_locked(&emu, index));
        }
        assert_false(emu_is_locked(&emu, room + 1));
        assert_int_equal(pgl_bracket_cross(&bracket, room + 1), PGL_BRACKET_OK);
        emu_init_block(&block, 0x1000, 0x1003);
        pgl_tb_set_bytes(&block.tb, 1, (room + 1) << 12, (room + 1) << 12);
        assert_int_equal(pgl_bracket_commit(&bracket, &block.tb, NULL), PGL_BRACKET_OK);
        emu_fini(&emu);
    }
}

/* A lack of memory keeps the restart due, and the stores remembered. */
static void test_bracket_memory_lack_keeps_the_stores(void **state)
{
    struct pgl_bracket bracket;
    struct emu_block old;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link(&emu, &old, 0x2000, 0x2003);
    begin(&bracket, &emu, PGL_BRACKET_INLINE);
    assert_int_equal(pgl_bracket_store(&bracket, 0x2000, 1), PGL_BRACKET_RESTART);
    fails = true;
    assert_int_equal(pgl_bracket_cross(&bracket, PGL_BRACKET_INLINE + 1), PGL_BRACKET_ERROR);
    fails = false;
    assert_true(emu_is_live(&old));
    pgl_bracket_abort(&bracket);
    assert_false(emu_is_live(&old));
    emu_fini(&emu);
}

static void test_bracket_memory_is_freed_at_the_end(void **state)
{
    (void)state;
    for (unsigned commits = 0; commits < 2; commits++) {
        for (unsigned n = 1; n <= 4 * PGL_BRACKET_INLINE + 1; n++) {
            struct pgl_bracket bracket;
            struct emu_block block;
            struct emu emu;

            emu_init(&emu);
            begin(&bracket, &emu, n);
            assert_int_equal(n_living, n > PGL_BRACKET_INLINE);
            emu_init_block(&block, 0x1000, 0x1003);
            if (commits) {
                assert_int_equal(pgl_bracket_commit(&bracket, &block.tb, NULL), PGL_BRACKET_OK);
            } else {
                pgl_bracket_abort(&bracket);
            }
            assert_int_equal(n_living, 0);
            emu_fini(&emu);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bracket_memory_none_for_pages_within_the_struct),
        cmocka_unit_test(test_bracket_memory_none_for_two_pages_however_often_they_change),
        cmocka_unit_test(test_bracket_memory_lack_leaves_the_bracket_as_it_was),
        cmocka_unit_test(test_bracket_memory_lack_keeps_the_stores),
        cmocka_unit_test(test_bracket_memory_is_freed_at_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
