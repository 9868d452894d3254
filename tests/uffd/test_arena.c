/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The heap of the userfaultfd pager: each class of blocks at its edges, slabs that are nearly full, full, and one block
 * more than full. Behind what it maps is a page that cannot be touched.
 *
 * Linked with --wrap for mmap64 and munmap.
 */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../src/uffd/arena_internal.h"

#include "../cm.h"

#define PAGE ((size_t)sysconf(_SC_PAGESIZE))
#define HEADER (2 * sizeof(size_t))
#define SMALLEST 64
#define LARGEST (SMALLEST << (PGL_ARENA_CLASSES - 1))
#define SLAB (16 * (size_t)LARGEST)
#define SLAB_HEADER 64
#define MANY 3000

static struct pgl_arena arena;
static unsigned nmaps, nunmaps;
static unsigned allowed = UINT32_MAX; /* mappings, until memory is short */

void *__real_mmap64(void *addr, size_t length, int prot, int flags, int fd, off_t offset);
void *__wrap_mmap64(void *addr, size_t length, int prot, int flags, int fd, off_t offset);
void *__wrap_mmap64(void *addr, size_t length, int prot, int flags, int fd, off_t offset)
{
    size_t whole = (length + PAGE - 1) / PAGE * PAGE;
    char *memory;

    if (allowed == 0) {
        return MAP_FAILED;
    }
    allowed--;
    memory = __real_mmap64(addr, whole + PAGE, prot, flags, fd, offset);
    if (memory != MAP_FAILED) {
        mprotect(memory + whole, PAGE, PROT_NONE);
    }
    nmaps++;
    return memory;
}

int __real_munmap(void *addr, size_t length);
int __wrap_munmap(void *addr, size_t length);
int __wrap_munmap(void *addr, size_t length)
{
    nunmaps++;
    return __real_munmap(addr, (length + PAGE - 1) / PAGE * PAGE + PAGE);
}

static int set_up(void **state)
{
    (void)state;
    nmaps = nunmaps = 0;
    allowed = UINT32_MAX;
    return pgl_arena_init(&arena) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    pgl_arena_fini(&arena);
    return nmaps == nunmaps ? 0 : -1;
}

/* A block of zeros at an address that fits anything, which is then full of one byte. */
static unsigned char *allocate(size_t size, unsigned char value)
{
    unsigned char *block = pgl_arena_heap_ops.alloc(&arena, size);

    assert_non_null(block);
    assert_int_equal((uintptr_t)block % HEADER, 0);
    for (size_t i = 0; i < size; i++) {
        assert_int_equal(block[i], 0);
    }
    memset(block, value, size);
    return block;
}

static void assert_full(const unsigned char *block, size_t size, unsigned char value)
{
    for (size_t i = 0; i < size; i++) {
        assert_int_equal(block[i], value);
    }
}

static void test_arena_block_is_the_callers_to_its_last_byte(void **state)
{
    (void)state;
    for (unsigned power = 0; power < PGL_ARENA_CLASSES; power++) {
        size_t most = ((size_t)SMALLEST << power) - HEADER;
        size_t sizes[] = {most - 1, most, most + 1};
        unsigned char *blocks[3][2];

        for (unsigned i = 0; i < 3; i++) {
            for (unsigned j = 0; j < 2; j++) {
                blocks[i][j] = allocate(sizes[i], (unsigned char)(i * 2 + j + 1));
            }
        }
        for (unsigned i = 0; i < 3; i++) {
            for (unsigned j = 0; j < 2; j++) {
                assert_full(blocks[i][j], sizes[i], (unsigned char)(i * 2 + j + 1));
                pgl_arena_heap_ops.free(&arena, blocks[i][j]);
            }
        }
    }
}

/* Of one class, a slab holds so many; one more begins another slab. */
static void test_arena_slab_is_filled_and_not_overrun(void **state)
{
    static unsigned char *blocks[SLAB / SMALLEST + 1];

    for (unsigned power = 0; power < PGL_ARENA_CLASSES; power++) {
        size_t size = (size_t)SMALLEST << power;
        size_t capacity = (SLAB - SLAB_HEADER) / size;

        assert_int_equal(set_up(state), 0);
        for (size_t n = 0; n <= capacity; n++) {
            blocks[n] = pgl_arena_heap_ops.alloc(&arena, size - HEADER);
            assert_non_null(blocks[n]);
            memset(blocks[n], (unsigned char)n, size - HEADER);
            assert_int_equal(nmaps, n < capacity ? 1 : 2);
        }
        for (size_t n = 0; n <= capacity; n++) {
            assert_int_equal(blocks[n][0], (unsigned char)n);
            assert_int_equal(blocks[n][size - HEADER - 1], (unsigned char)n);
        }
        assert_int_equal(tear_down(state), 0);
    }
    assert_int_equal(set_up(state), 0);
}

static void test_arena_freed_block_is_the_next_one_of_its_class(void **state)
{
    unsigned char *small = allocate(SMALLEST - HEADER, 1);
    unsigned char *large = allocate(LARGEST - HEADER, 2);

    (void)state;
    pgl_arena_heap_ops.free(&arena, small);
    pgl_arena_heap_ops.free(&arena, large);
    assert_ptr_equal(allocate(LARGEST / 2 - HEADER + 1, 3), large); /* zeros again */
    assert_ptr_equal(allocate(1, 4), small);
    assert_int_equal(nmaps, 1);
}

static void test_arena_maps_what_is_larger_than_its_classes(void **state)
{
    unsigned char *blocks[2];

    (void)state;
    blocks[0] = allocate(LARGEST - HEADER, 1);
    assert_int_equal(nmaps, 1); /* a slab */
    for (size_t more = 1; more < 3 * LARGEST; more = more * 3 + 1) {
        blocks[1] = allocate(LARGEST - HEADER + more, 2);
        assert_int_equal(nmaps, nunmaps + 2);
        pgl_arena_heap_ops.free(&arena, blocks[1]);
        assert_int_equal(nmaps, nunmaps + 1);
    }
    assert_full(blocks[0], LARGEST - HEADER, 1);
}

/* 1.5 MiB and more of blocks of all classes, a third of which is freed again meanwhile: none lies in another. */
static void test_arena_blocks_of_all_classes_do_not_overlap(void **state)
{
    static struct {
        unsigned char *block;
        size_t size;
    } all[MANY];
    uint64_t x = 1;

    (void)state;
    for (unsigned n = 0; n < MANY; n++) {
        x = x * UINT64_C(6364136223846793005) + 1442695040888963407;
        all[n].size = (x >> 33) % ((size_t)SMALLEST << (x >> 60) % PGL_ARENA_CLASSES) + 1;
        all[n].block = allocate(all[n].size, (unsigned char)n);
        if (n % 3 == 2) {
            assert_full(all[n - 1].block, all[n - 1].size, (unsigned char)(n - 1));
            pgl_arena_heap_ops.free(&arena, all[n - 1].block);
            all[n - 1].size = 0;
        }
    }
    assert_true(nmaps >= 3);
    for (unsigned n = 0; n < MANY; n++) {
        assert_full(all[n].block, all[n].size, (unsigned char)n);
    }
}

static void test_arena_short_of_memory_goes_on_with_what_it_has(void **state)
{
    unsigned char *block = allocate(1, 1);

    (void)state;
    allowed = 0;
    assert_null(pgl_arena_heap_ops.alloc(&arena, LARGEST)); /* it would be mapped */
    for (size_t n = 1; n < (SLAB - SLAB_HEADER) / SMALLEST; n++) {
        assert_non_null(pgl_arena_heap_ops.alloc(&arena, 1));
    }
    assert_null(pgl_arena_heap_ops.alloc(&arena, 1));
    pgl_arena_heap_ops.free(&arena, block);
    assert_ptr_equal(allocate(1, 2), block);
    allowed = 1;
    allocate(1, 3);
    assert_int_equal(nmaps, 2);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_arena_block_is_the_callers_to_its_last_byte),
        TEST(test_arena_slab_is_filled_and_not_overrun),
        TEST(test_arena_freed_block_is_the_next_one_of_its_class),
        TEST(test_arena_maps_what_is_larger_than_its_classes),
        TEST(test_arena_blocks_of_all_classes_do_not_overlap),
        TEST(test_arena_short_of_memory_goes_on_with_what_it_has),
    };
#undef TEST

    return cmocka_run_group_tests(tests, NULL, NULL);
}
