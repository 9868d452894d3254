/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The layout of the public structs, as constants of the library that is running. Languages that cannot read the headers
 * need them. C and C++ have sizeof and offsetof.
 */
#ifndef PGL_PAGELOCK_LAYOUT_H
#define PGL_PAGELOCK_LAYOUT_H

#include <stddef.h>

#include <pagelock/version.h>

#ifdef __cplusplus
extern "C" {
#endif

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
PGL_API extern const size_t pgl_sizeof_uffd_region;
PGL_API extern const size_t pgl_sizeof_uffd_source;
PGL_API extern const size_t pgl_sizeof_uffd_stats;

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

#ifdef __cplusplus
}
#endif
#endif
