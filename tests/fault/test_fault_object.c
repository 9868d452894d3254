/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The configurations that a new object refuses, and objects without memory. */
#include <errno.h>
#include <string.h>

#include "probe.h"

#include "../cm.h"

static void test_fault_object_refuses_bad_configurations(void **state)
{
    struct fixture *f = *state;
    struct pgl_pager_ops no_request = sim_pager_ops;
    struct pgl_memory_ops no_copy = sim_memory_ops;

    make_object(f);
    no_request.data_request = NULL;
    no_copy.copy = NULL;
    for (unsigned i = 0; i < 7; i++) {
        struct pgl_object_config config = config_of(f);

        switch (i) {
        case 0:
            config.advice = (enum pgl_advice)PGL_ADVICE_COUNT;
            break;
        case 1:
            config.pager_ops = &no_request;
            break;
        case 2:
            config.pager_range = (struct pgl_pager_range){9, 8};
            break;
        case 3:
            config.memory_ops = &no_copy;
            break;
        case 4:
            config.page_size = 0;
            break;
        case 5:
            config.backing = f->object;
            config.backing_first = NPAGES;
            break;
        case 6:
            config.backing = f->object;
            config.memory_ops = NULL;
            break;
        }
        errno = 0;
        assert_null(pgl_object_new(&config));
        assert_int_equal(errno, EINVAL);
    }
}

static void test_fault_object_without_memory_keeps_states_only(void **state)
{
    struct fixture *f = *state;
    struct pgl_object_config config = config_of(f);

    config.memory_ops = NULL;
    f->object = pgl_object_new(&config);
    assert_int_equal(write_page(&f->a, f->object, 100), PGL_FAULT_SUCCESS);
    assert_null(f->a.page.frame);
    assert_asked(&f->sim, 98, 104, 100);
    assert_true(pgl_object_resident(f->object, 104));
    assert_at_rest(f->object);
}

static void *count_bytes(void *heap, size_t size)
{
    *(size_t *)heap += size;
    return calloc(1, size);
}

static void free_block(void *heap, void *block)
{
    (void)heap;
    free(block);
}

/* A pager on userfaultfd keeps the states of very many pages. */
static void test_fault_object_without_memory_has_no_room_for_frames(void **state)
{
    struct fixture *f = *state;
    const struct pgl_heap_ops heap_ops = {count_bytes, free_block};
    size_t bytes[2] = {0, 0};

    for (unsigned memory = 0; memory < 2; memory++) {
        struct pgl_object_config config = config_of(f);
        size_t before;

        config.memory_ops = memory ? &sim_memory_ops : NULL;
        config.heap_ops = &heap_ops;
        config.heap = &bytes[memory];
        f->object = pgl_object_new(&config);
        assert_int_equal(read_page(&f->a, f->object, 10), PGL_FAULT_SUCCESS);
        before = bytes[memory];
        assert_int_equal(fault_on(&f->a, f->object, 100, PGL_ACCESS_READ, PGL_FAULT_FLAG_WIRE), PGL_FAULT_SUCCESS);
        bytes[memory] -= before; /* one record of 64 pages is left */
        assert_int_equal(pgl_object_remove(f->object, 0, NPAGES - 1), 7);
        assert_true(pgl_object_unwire(f->object, 100)); /* wires need none */
        assert_int_equal(pgl_object_check(f->object, sim_say, NULL), 0);
        pgl_object_unref(f->object);
        f->object = NULL;
    }
    assert_int_equal(bytes[1] - bytes[0], 64 * sizeof(void *));
}

/* The caller's reference may go while the fault is pending. */
static void test_fault_pending_keeps_its_object(void **state)
{
    struct fixture *f = *state;
    struct pgl_object *object;

    make_object(f);
    object = f->object;
    f->sim.script = sim_keep;
    assert_int_equal(read_page(&f->a, object, 100), PGL_FAULT_PENDING);
    f->object = NULL;
    pgl_object_unref(object);
    assert_int_equal(f->sim.nreleased, 0);
    sim_now(&f->sim, sim_last(&f->sim), true);
    assert_int_equal(go_on(&f->a), PGL_FAULT_SUCCESS);
    assert_int_equal(f->sim.nreleased, 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_fault_object_refuses_bad_configurations),
        TEST(test_fault_object_without_memory_keeps_states_only),
        TEST(test_fault_object_without_memory_has_no_room_for_frames),
        TEST(test_fault_pending_keeps_its_object),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
