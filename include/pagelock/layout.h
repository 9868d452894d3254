/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The layout of the public structs, as constants of the library that is running: for other languages, which cannot read
 * the headers. C and C++ have sizeof and offsetof.
 */
#ifndef PGL_PAGELOCK_LAYOUT_H
#define PGL_PAGELOCK_LAYOUT_H

#include <stddef.h>

#include <pagelock/version.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * The sizes in bytes of the structs that a caller allocates. Each is aligned as malloc() aligns, but struct pgl_tb:
 * that is a member of the caller's own block, and has its alignment here.
 */
PGL_API extern const size_t pgl_sizeof_tb;
PGL_API extern const size_t pgl_alignof_tb;
PGL_API extern const size_t pgl_sizeof_bracket;
PGL_API extern const size_t pgl_sizeof_collection;
PGL_API extern const size_t pgl_sizeof_store;
PGL_API extern const size_t pgl_sizeof_table_config;
PGL_API extern const size_t pgl_sizeof_table_stats;
PGL_API extern const size_t pgl_sizeof_tb_ops;

PGL_API extern const size_t pgl_sizeof_advice_table;
PGL_API extern const size_t pgl_sizeof_cluster;
PGL_API extern const size_t pgl_sizeof_cluster_args;
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
PGL_API extern const size_t pgl_sizeof_uffd_stats;

/**
 * struct pgl_member - where a member of a public struct lies
 * @name: the struct's name without pgl_, a dot, and the member's: "table_config.ops"
 * @offset: from the beginning of the struct, in bytes
 * @size: in bytes; of an array, all of it
 */
struct pgl_member {
    const char *name;
    size_t offset;
    size_t size;
};

/*
 * Each member that a caller fills in or reads. Ends with a member whose name is NULL. The order means nothing: look a
 * member up by its name.
 */
PGL_API extern const struct pgl_member pgl_members[];

#ifdef __cplusplus
}
#endif
#endif
