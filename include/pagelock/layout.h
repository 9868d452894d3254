/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The layout of the public structs, as constants of the library that is running. Languages that cannot read the headers
 * need them. C and C++ have sizeof and offsetof. Also the layout of a table, for a JIT that emits the store check.
 */
#ifndef PGL_PAGELOCK_LAYOUT_H
#define PGL_PAGELOCK_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <pagelock/version.h>

#ifdef __cplusplus
extern "C" {
#endif

/* PGL_LAYOUT of the library: what pgl_table_new() compares with that of the caller's headers. */
PGL_API extern const unsigned pgl_layout;

/*
 * The sizes in bytes of the structs that a caller allocates. The alignment of malloc() is enough for each of them,
 * except for struct pgl_tb, which is a member of the caller's own block, and for struct pgl_extent, of which a large
 * block has an array. Both are aligned to 16 bytes; malloc() aligns so on 64-bit machines. Their alignments are here
 * too.
 */
PGL_API extern const size_t pgl_sizeof_tb;
PGL_API extern const size_t pgl_alignof_tb;
PGL_API extern const size_t pgl_sizeof_extent;
PGL_API extern const size_t pgl_alignof_extent;
PGL_API extern const size_t pgl_sizeof_bracket;
PGL_API extern const size_t pgl_sizeof_check_layout;
PGL_API extern const size_t pgl_sizeof_collection;
PGL_API extern const size_t pgl_sizeof_store;
PGL_API extern const size_t pgl_sizeof_table_config;
PGL_API extern const size_t pgl_sizeof_table_stats;
PGL_API extern const size_t pgl_sizeof_tb_ops;

PGL_API extern const size_t pgl_sizeof_advice_table;
PGL_API extern const size_t pgl_sizeof_cluster;
PGL_API extern const size_t pgl_sizeof_cluster_args;
PGL_API extern const size_t pgl_sizeof_costs;
PGL_API extern const size_t pgl_sizeof_view;

PGL_API extern const size_t pgl_sizeof_fault_args;
PGL_API extern const size_t pgl_sizeof_fault_page;
PGL_API extern const size_t pgl_sizeof_heap_ops;
PGL_API extern const size_t pgl_sizeof_map_entry;
PGL_API extern const size_t pgl_sizeof_memory_ops;
PGL_API extern const size_t pgl_sizeof_object_config;
PGL_API extern const size_t pgl_sizeof_object_stats;
PGL_API extern const size_t pgl_sizeof_pager_ops;

PGL_API extern const size_t pgl_sizeof_uffd_config;
PGL_API extern const size_t pgl_sizeof_uffd_range;
PGL_API extern const size_t pgl_sizeof_uffd_region;
PGL_API extern const size_t pgl_sizeof_uffd_source;
PGL_API extern const size_t pgl_sizeof_uffd_stats;
PGL_API extern const size_t pgl_sizeof_uffd_wanted;
PGL_API extern const size_t pgl_sizeof_workset_info;

/**
 * struct pgl_member - the place of a member in a public struct
 * @name: the struct's name without pgl_, a dot, and the member's name, as in "table_config.ops"
 * @offset: from the beginning of the struct, in bytes
 * @size: in bytes; of an array, the size of the whole array
 */
struct pgl_member {
    const char *name;
    size_t offset;
    size_t size;
};

/*
 * Each member that a caller fills in or reads. The last entry has NULL for its name. Look a member up by its name,
 * because the order has no meaning.
 */
PGL_API extern const struct pgl_member pgl_members[];

struct pgl_table;

/**
 * struct pgl_check_layout - where a store check looks, for a JIT that emits the check as machine code
 * @root: the first node of the table's tree, which is an array of pointers
 * @root_shift: shifts a page index to its place in @root; a multiple of @level_bits, and not 0
 * @level_bits: the bits of a page index that each further level uses
 * @page_bits: log2 of the guest's page size
 * @last_index: the last page of the table
 * @descriptor_size: bytes of a page's descriptor; a leaf begins with an array of them
 * @head: offset in a descriptor, below 128, of a word as large as a pointer
 * @head_lock: the bit of that word, below 128, which says that a thread holds the page
 * @mask: offset in a descriptor, below 128, of a word of 64 bits, one for each 1/64 of the page
 * @tb_state: offset in struct pgl_tb of a word of 16 bits
 * @tb_live: the value, below 128, of that word in a block that is alive
 * @fence: whether the check needs a full fence of its own
 *
 * These are the steps of version 1. They follow the guest's store of the bytes [first, last]. Each load is an acquire,
 * which on x86 is an ordinary load. To ask is to call pgl_store_check(), which answers in every case.
 *
 * Step 1: if @fence is set, a full fence (pgl_fence()).
 *
 * Step 2: index = first >> @page_bits. If last >> @page_bits is another page, or if index is above @last_index, ask.
 *
 * Step 3: node = the pointer number (index >> shift) in @root, with shift = @root_shift. While shift is above
 * @level_bits, subtract @level_bits from shift, and node = the pointer number (index >> shift) modulo 2^@level_bits in
 * node. If one of these pointers is NULL, the store is clean: go on with step 6. The last pointer leads to the leaf.
 *
 * Step 4: the descriptor is number index modulo 2^@level_bits in the leaf. Load the word at @head. If it has the bit
 * @head_lock, ask.
 *
 * Step 5: load the mask. Bit (address >> (@page_bits - 6)) modulo 64 stands for the byte at an address. If any bit from
 * that of first to that of last is set, ask. Otherwise the store is clean.
 *
 * Step 6: if the vCPU is in a block, load the word at @tb_state of the block. If it is not @tb_live, ask. Another vCPU
 * may have killed the block, and then the mask no longer knows its bytes; therefore this step comes last.
 *
 * The steps leave the exact maps of hot pages out. Therefore they ask more often than pgl_store_is_clean().
 */
struct pgl_check_layout {
    const void *root;
    uint64_t last_index;
    unsigned root_shift;
    unsigned level_bits;
    unsigned page_bits;
    unsigned descriptor_size;
    unsigned head;
    unsigned head_lock;
    unsigned mask;
    unsigned tb_state;
    unsigned tb_live;
    bool fence;
};

/**
 * pgl_table_get_check_layout() - describe the store check of a table
 * @table: borrowed; the layout is valid until pgl_table_free()
 * @version: the number of the steps above for which the caller's JIT was written. Write the number into the JIT, and
 *      change it with the JIT.
 * @layout: filled in when the call succeeds
 *
 * Returns true when the steps of this version are right for the running library.
 *
 * Locks:    none.
 * Errors:   false with errno ENOTSUP: the library has other steps; call pgl_store_check() for each store.
 */
PGL_API bool pgl_table_get_check_layout(const struct pgl_table *table, unsigned version,
                                        struct pgl_check_layout *layout);

#ifdef __cplusplus
}
#endif
#endif
