/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Emulators that trap stores to pages with code: traps that cannot be set, and system calls that meet one. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "emu.h"

/* ---- a trap that cannot be set, for which `first_code` leaves a note ---- */

enum {
    HARD = 8, /* the page whose trap cannot be set */
};

static void refuse(struct emu *emu, uint64_t index)
{
    *(bool *)emu->arg |= index == HARD;
}

/* Link a block on page 7, and on page @second unless it is EMU_NO_PAGE, if no trap is missing. */
static bool link_if_trapped(struct emu *emu, struct emu_block *block, uint64_t first, uint64_t second)
{
    bool *missing = emu->arg;
    struct pgl_bracket bracket;

    *missing = false;
    assert_true(pgl_bracket_begin(&bracket, emu->table, first));
    if (!*missing && second != EMU_NO_PAGE) {
        assert_int_equal(pgl_bracket_cross(&bracket, second), PGL_BRACKET_OK);
    }
    if (*missing) {
        pgl_bracket_abort(&bracket);
        return false;
    }
    emu_init_block(block, first << 12, (first << 12) + 3);
    if (second != EMU_NO_PAGE) {
        pgl_tb_set_bytes(&block->tb, 1, second << 12, (second << 12) + 3);
    }
    assert_int_equal(pgl_bracket_commit(&bracket, &block->tb, NULL), PGL_BRACKET_OK);
    return true;
}

static void test_trap_that_cannot_be_set_is_answered_by_an_abort(void **state)
{
    struct emu_block blocks[3];
    bool missing;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu.arg = &missing;
    emu.at_first_code = refuse;
    assert_true(link_if_trapped(&emu, &blocks[0], 7, EMU_NO_PAGE));
    assert_false(link_if_trapped(&emu, &blocks[1], HARD, EMU_NO_PAGE));
    assert_false(link_if_trapped(&emu, &blocks[1], 7, HARD));
    assert_false(link_if_trapped(&emu, &blocks[1], HARD, 7));
    for (uint64_t index = 7; index <= HARD; index++) {
        assert_false(emu_is_locked(&emu, index));
        assert_int_equal(emu_code_bit(&emu, index), index == 7);
    }
    assert_int_equal(pgl_store_check(emu.table, HARD << 12, 4096, NULL), 0);
    assert_true(emu_is_live(&blocks[0]));
    emu.at_first_code = NULL;
    assert_true(link_if_trapped(&emu, &blocks[2], 7, HARD));
    assert_int_equal(pgl_store_check(emu.table, HARD << 12, 4, NULL), PGL_HIT);
    emu_fini(&emu);
}

/* ---- a system call that writes to trapped pages ---- */

enum {
    FIRST = 4, /* the guest's first page */
    PAGES = 3,
};

/* The memory of a guest, in two mappings: one that is trapped, and one in which each page can be written to. */
struct guest {
    size_t page_size;
    unsigned char *trapped, *open;
};

static void protect(struct emu *emu, uint64_t index, int protection)
{
    const struct guest *guest = emu->arg;

    assert_int_equal(mprotect(guest->trapped + (index - FIRST) * guest->page_size, guest->page_size, protection), 0);
}

static void trap(struct emu *emu, uint64_t index)
{
    protect(emu, index, PROT_READ);
}

static void untrap(struct emu *emu, uint64_t index)
{
    protect(emu, index, PROT_READ | PROT_WRITE);
}

static unsigned char *map(int fd, size_t length)
{
    void *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    assert_ptr_not_equal(memory, MAP_FAILED);
    return memory;
}

static int file_of(size_t length)
{
    FILE *file = tmpfile();
    int fd = file ? dup(fileno(file)) : -1;

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)length), 0);
    fclose(file);
    return fd;
}

static void test_trapped_pages_take_what_a_system_call_brings(void **state)
{
    struct guest guest = {.page_size = (size_t)sysconf(_SC_PAGESIZE)};
    const unsigned page_bits = (unsigned)__builtin_ctzl(guest.page_size);
    const size_t length = PAGES * guest.page_size;
    const uint64_t addr = (uint64_t)FIRST << page_bits;
    int ram = file_of(length), disk = file_of(length);
    unsigned char *buffer = malloc(length), *bytes = malloc(length);
    struct emu_block blocks[2];
    struct pgl_store store;
    struct emu emu;

    (void)state;
    memset(bytes, 0x5a, length);
    assert_int_equal(pwrite(disk, bytes, length, 0), length);
    guest.trapped = map(ram, length);
    guest.open = map(ram, length);
    emu_init_bits(&emu, page_bits, 48);
    emu.arg = &guest;
    emu.at_first_code = trap;
    emu.at_no_code = untrap;
    for (unsigned i = 0; i < 2; i++) {
        emu_link(&emu, &blocks[i], addr + (i + 1) * guest.page_size, addr + (i + 1) * guest.page_size + 3);
    }
    assert_true(pread(disk, guest.trapped, length, 0) <= (ssize_t)guest.page_size); /* or an error */
    assert_int_equal(guest.open[length - 1], 0);

    assert_int_equal(pread(disk, buffer, length, 0), length); /* a call that waits waits without a page */
    assert_int_equal(pgl_store_begin(&store, emu.table, addr, length, NULL), PGL_HIT);
    memcpy(guest.open, buffer, length);
    pgl_store_end(&store);
    assert_false(emu_is_live(&blocks[0]) || emu_is_live(&blocks[1]));
    assert_memory_equal(guest.trapped, bytes, length);
    emu_fini(&emu);
    munmap(guest.trapped, length);
    munmap(guest.open, length);
    free(buffer);
    free(bytes);
    close(ram);
    close(disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trap_that_cannot_be_set_is_answered_by_an_abort),
        cmocka_unit_test(test_trapped_pages_take_what_a_system_call_brings),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
