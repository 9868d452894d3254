/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The functions that the compiler calls for each access when told -fsanitize=thread: here they lead into memory.c.
 * Their names and types are the compiler's.
 */
#include "engine.h"

#pragma GCC diagnostic ignored "-Wmissing-prototypes"

#define PC __builtin_return_address(0)

void __tsan_init(void)
{
}

void __tsan_func_entry(void *pc)
{
    (void)pc;
}

void __tsan_func_exit(void)
{
}

static inline void plain(const void *address, size_t size, bool write, const void *pc)
{
    if (++engine_accesses > ACCESS_BOUND && engine_running()) {
        explore_fail("no end in sight after %d plain accesses", ACCESS_BOUND);
    }
    if (engine_concurrent) {
        memory_plain((uintptr_t)address, size, write, pc);
    }
}

#define PLAIN(name, size, write)                                                                                       \
    void name(void *address)                                                                                           \
    {                                                                                                                  \
        plain(address, size, write, PC);                                                                               \
    }
#define PLAIN_ALL(size)                                                                                                \
    PLAIN(__tsan_read##size, size, false)                                                                              \
    PLAIN(__tsan_write##size, size, true)                                                                              \
    PLAIN(__tsan_unaligned_read##size, size, false)                                                                    \
    PLAIN(__tsan_unaligned_write##size, size, true)
PLAIN_ALL(1)
PLAIN_ALL(2)
PLAIN_ALL(4)
PLAIN_ALL(8)
PLAIN_ALL(16)

void __tsan_read_range(void *address, uintptr_t size)
{
    plain(address, size, false, PC);
}

void __tsan_write_range(void *address, uintptr_t size)
{
    plain(address, size, true, PC);
}

void __tsan_atomic_thread_fence(int order)
{
    if (engine_running()) {
        memory_fence(order, PC);
    }
}

void pgl_explore_fence(void)
{
    if (engine_running()) {
        memory_fence(__ATOMIC_SEQ_CST, PC);
    }
}

void pgl_explore_fence_after_update(void)
{
    if (engine_running() && engine_memory() != MEMORY_TSO) {
        memory_fence(__ATOMIC_SEQ_CST, PC);
    }
}

void pgl_explore_fence_all_threads(void)
{
    if (engine_running()) {
        memory_fence_all(PC);
    }
}

void __tsan_atomic_signal_fence(int order)
{
    (void)order;
}

static bool update_exchange(uint64_t *value, uint64_t a, uint64_t b)
{
    (void)b;
    *value = a;
    return true;
}

static bool update_compare(uint64_t *value, uint64_t expected, uint64_t desired)
{
    if (*value != expected) {
        return false;
    }
    *value = desired;
    return true;
}

#define UPDATE(operation, expression)                                                                                  \
    static bool update_##operation(uint64_t *value, uint64_t a, uint64_t b)                                            \
    {                                                                                                                  \
        (void)b;                                                                                                       \
        *value = expression;                                                                                           \
        return true;                                                                                                   \
    }
UPDATE(fetch_add, *value + a)
UPDATE(fetch_sub, *value - a)
UPDATE(fetch_and, *value &a)
UPDATE(fetch_or, *value | a)
UPDATE(fetch_xor, *value ^ a)
UPDATE(fetch_nand, ~(*value &a))

/* Outside of a schedule (static constructors, cmocka) there is one thread: the order of accesses is the program's. */
#define MODIFY(bits, operation)                                                                                        \
    uint##bits##_t __tsan_atomic##bits##_##operation(volatile uint##bits##_t *address, uint##bits##_t a, int order)    \
    {                                                                                                                  \
        bool updated;                                                                                                  \
        return (uint##bits##_t)memory_update((uintptr_t)address, bits / 8, update_##operation, a, 0, order, order,     \
                                             &updated, PC);                                                            \
    }
#define COMPARE(bits, name)                                                                                            \
    bool name(volatile uint##bits##_t *address, uint##bits##_t *expected, uint##bits##_t desired, int order,           \
              int failure_order)                                                                                       \
    {                                                                                                                  \
        bool updated;                                                                                                  \
        uint64_t old = memory_update((uintptr_t)address, bits / 8, update_compare, *expected, desired, order,          \
                                     failure_order, &updated, PC);                                                     \
        if (!updated) {                                                                                                \
            *expected = (uint##bits##_t)old;                                                                           \
        }                                                                                                              \
        return updated;                                                                                                \
    }
/* clang's compare-and-swap returns the old value instead. */
#define COMPARE_VALUE(bits)                                                                                            \
    uint##bits##_t __tsan_atomic##bits##_compare_exchange_val(volatile uint##bits##_t *address,                        \
                                                              uint##bits##_t expected, uint##bits##_t desired,         \
                                                              int order, int failure_order)                            \
    {                                                                                                                  \
        bool updated;                                                                                                  \
        return (uint##bits##_t)memory_update((uintptr_t)address, bits / 8, update_compare, expected, desired, order,   \
                                             failure_order, &updated, PC);                                             \
    }
#define ATOMIC(bits)                                                                                                   \
    uint##bits##_t __tsan_atomic##bits##_load(const volatile uint##bits##_t *address, int order)                       \
    {                                                                                                                  \
        return (uint##bits##_t)memory_load((uintptr_t)address, bits / 8, order, PC);                                   \
    }                                                                                                                  \
    void __tsan_atomic##bits##_store(volatile uint##bits##_t *address, uint##bits##_t value, int order)                \
    {                                                                                                                  \
        memory_store((uintptr_t)address, bits / 8, value, order, PC);                                                  \
    }                                                                                                                  \
    MODIFY(bits, exchange)                                                                                             \
    MODIFY(bits, fetch_add)                                                                                            \
    MODIFY(bits, fetch_sub)                                                                                            \
    MODIFY(bits, fetch_and)                                                                                            \
    MODIFY(bits, fetch_or)                                                                                             \
    MODIFY(bits, fetch_xor)                                                                                            \
    MODIFY(bits, fetch_nand)                                                                                           \
    COMPARE_VALUE(bits)                                                                                                \
    COMPARE(bits, __tsan_atomic##bits##_compare_exchange_strong)                                                       \
    COMPARE(bits, __tsan_atomic##bits##_compare_exchange_weak)
ATOMIC(8)
ATOMIC(16)
ATOMIC(32)
ATOMIC(64)
