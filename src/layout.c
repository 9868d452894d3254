/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The layout of the public structs, which tests/package/binding.py compares with the headers; and that of a table, for
 * machine code that checks stores.
 */
#include <errno.h>

#include <pagelock/layout.h>
#include <pagelock/pagelock.h>
#include <pagelock/uffd.h>

const unsigned pgl_layout = PGL_LAYOUT;

#define SIZE(name) const size_t pgl_sizeof_##name = sizeof(struct pgl_##name)

SIZE(tb);
SIZE(extent);
SIZE(bracket);
SIZE(check_layout);
SIZE(collection);
SIZE(store);
SIZE(table_config);
SIZE(table_stats);
SIZE(tb_ops);
SIZE(advice_table);
SIZE(cluster);
SIZE(cluster_args);
SIZE(costs);
SIZE(view);
SIZE(fault_args);
SIZE(fault_page);
SIZE(heap_ops);
SIZE(map_entry);
SIZE(memory_ops);
SIZE(object_config);
SIZE(object_stats);
SIZE(pager_ops);
SIZE(uffd_config);
SIZE(uffd_range);
SIZE(uffd_region);
SIZE(uffd_source);
SIZE(uffd_stats);
SIZE(uffd_wanted);
SIZE(workset_info);

const size_t pgl_alignof_tb = _Alignof(struct pgl_tb);
const size_t pgl_alignof_extent = _Alignof(struct pgl_extent);

#define MEMBER(type, member_)                                                                                          \
    .name = #type "." #member_, .offset = offsetof(struct pgl_##type, member_),                                        \
    .size = sizeof(((struct pgl_##type *)0)->member_)

/* NOLINTBEGIN(bugprone-sizeof-expression): the size of a member that is a pointer is meant */
const struct pgl_member pgl_members[] = {
    {MEMBER(table_config, page_bits)},
    {MEMBER(table_config, addr_bits)},
    {MEMBER(table_config, external_locking)},
    {MEMBER(table_config, asymmetric_fences)},
    {MEMBER(table_config, external_held)},
    {MEMBER(table_config, ops)},
    {MEMBER(table_config, opaque)},
    {MEMBER(table_config, hot_bytes_max)},
    {MEMBER(table_stats, leaves)},
    {MEMBER(table_stats, bytes)},
    {MEMBER(table_stats, hot_bytes)},
    {MEMBER(table_stats, hot_pages)},
    {MEMBER(table_stats, blocks)},
    {MEMBER(table_stats, kills)},
    {MEMBER(table_stats, hits)},
    {MEMBER(table_stats, false_alarms)},
    {MEMBER(table_stats, restarts)},
    {MEMBER(table_stats, retries)},
    {MEMBER(table_stats, contended)},
    {MEMBER(table_stats, slept)},
    {MEMBER(table_stats, slept_ns_max)},
    {MEMBER(check_layout, root)},
    {MEMBER(check_layout, last_index)},
    {MEMBER(check_layout, root_shift)},
    {MEMBER(check_layout, level_bits)},
    {MEMBER(check_layout, page_bits)},
    {MEMBER(check_layout, descriptor_size)},
    {MEMBER(check_layout, head)},
    {MEMBER(check_layout, head_lock)},
    {MEMBER(check_layout, mask)},
    {MEMBER(check_layout, tb_state)},
    {MEMBER(check_layout, tb_live)},
    {MEMBER(check_layout, fence)},
    {MEMBER(breach, kind)},
    {MEMBER(breach, what)},
    {MEMBER(breach, index)},
    {MEMBER(breach, place)},
    {MEMBER(breach, held_index)},
    {MEMBER(breach, held_place)},
    {MEMBER(breach, linked_place)},
    {MEMBER(breach, callback)},
    {MEMBER(breach, callback_place)},
    {MEMBER(tb_ops, first_code)},
    {MEMBER(tb_ops, no_code)},
    {MEMBER(tb_ops, publish)},
    {MEMBER(tb_ops, retired)},
    {MEMBER(advice_row, before)},
    {MEMBER(advice_row, after)},
    {MEMBER(advice_row, behind)},
    {MEMBER(advice_table, row)},
    {MEMBER(costs, fault_ns)},
    {MEMBER(costs, page_ns)},
    {MEMBER(view, first)},
    {MEMBER(view, last)},
    {MEMBER(view, object_first)},
    {MEMBER(eligible, page)},
    {MEMBER(eligible, word)},
    {MEMBER(eligible, arg)},
    {MEMBER(cluster_args, demand)},
    {MEMBER(cluster_args, object_last)},
    {MEMBER(cluster_args, entry)},
    {MEMBER(cluster_args, pager)},
    {MEMBER(cluster_args, row)},
    {MEMBER(cluster_args, budget)},
    {MEMBER(cluster_args, forward)},
    {MEMBER(cluster_args, eligible)},
    {MEMBER(cluster, first)},
    {MEMBER(cluster, last)},
    {MEMBER(cluster, has_behind)},
    {MEMBER(cluster, behind_first)},
    {MEMBER(cluster, behind_last)},
    {MEMBER(pager_range, first)},
    {MEMBER(pager_range, last)},
    {MEMBER(request, id)},
    {MEMBER(request, object)},
    {MEMBER(request, range)},
    {MEMBER(request, pager_demand)},
    {MEMBER(request, access)},
    {MEMBER(request, neighbour_access)},
    {MEMBER(request, cookie)},
    {MEMBER(pager_ops, data_request)},
    {MEMBER(pager_ops, access_request)},
    {MEMBER(pager_ops, behind)},
    {MEMBER(pager_ops, release)},
    {MEMBER(memory_ops, alloc)},
    {MEMBER(memory_ops, free)},
    {MEMBER(memory_ops, spare)},
    {MEMBER(memory_ops, zero)},
    {MEMBER(memory_ops, copy)},
    {MEMBER(heap_ops, alloc)},
    {MEMBER(heap_ops, free)},
    {MEMBER(object_config, last)},
    {MEMBER(object_config, pager_ops)},
    {MEMBER(object_config, pager)},
    {MEMBER(object_config, pager_range)},
    {MEMBER(object_config, pager_unready)},
    {MEMBER(object_config, internal)},
    {MEMBER(object_config, unlock_clusters)},
    {MEMBER(object_config, credits)},
    {MEMBER(object_config, memory_ops)},
    {MEMBER(object_config, memory)},
    {MEMBER(object_config, page_size)},
    {MEMBER(object_config, backing)},
    {MEMBER(object_config, backing_first)},
    {MEMBER(object_config, advice)},
    {MEMBER(object_config, table)},
    {MEMBER(object_config, costs)},
    {MEMBER(object_config, heap_ops)},
    {MEMBER(object_config, heap)},
    {MEMBER(fault_counts, touches)},
    {MEMBER(fault_counts, faults)},
    {MEMBER(fault_counts, requests)},
    {MEMBER(fault_counts, demanded)},
    {MEMBER(fault_counts, speculative)},
    {MEMBER(fault_counts, used)},
    {MEMBER(fault_counts, unlocks)},
    {MEMBER(fault_counts, retries)},
    {MEMBER(object_stats, by_advice)},
    {MEMBER(object_stats, by_reason)},
    {MEMBER(object_stats, resident)},
    {MEMBER(object_stats, busy)},
    {MEMBER(object_stats, outstanding)},
    {MEMBER(object_stats, waiting)},
    {MEMBER(object_stats, duplicates)},
    {MEMBER(object_stats, aliens)},
    {MEMBER(map_entry, view)},
    {MEMBER(map_entry, object)},
    {MEMBER(map_entry, advice)},
    {MEMBER(fault_args, map)},
    {MEMBER(fault_args, object)},
    {MEMBER(fault_args, index)},
    {MEMBER(fault_args, access)},
    {MEMBER(fault_args, flags)},
    {MEMBER(fault_args, cookie)},
    {MEMBER(fault_page, object)},
    {MEMBER(fault_page, index)},
    {MEMBER(fault_page, frame)},
    {MEMBER(fault_page, access)},
    {MEMBER(fault_page, hit)},
    {MEMBER(uffd_config, threads)},
    {MEMBER(uffd_config, table)},
    {MEMBER(uffd_config, write_protect)},
    {MEMBER(uffd_config, follow_forks)},
    {MEMBER(uffd_config, allow_user_mode)},
    {MEMBER(uffd_config, failed)},
    {MEMBER(uffd_config, arg)},
    {MEMBER(uffd_config, handover)},
    {MEMBER(uffd_config, track_dirty)},
    {MEMBER(uffd_config, costs)},
    {MEMBER(uffd_range, addr)},
    {MEMBER(uffd_range, length)},
    {MEMBER(uffd_region, addr)},
    {MEMBER(uffd_region, length)},
    {MEMBER(uffd_region, source)},
    {MEMBER(uffd_region, offset)},
    {MEMBER(uffd_region, advice)},
    {MEMBER(uffd_region, memory)},
    {MEMBER(uffd_region, removed)},
    {MEMBER(uffd_region, on_error)},
    {MEMBER(uffd_region, limit)},
    {MEMBER(uffd_source, kind)},
    {MEMBER(uffd_source, fd)},
    {MEMBER(uffd_source, memory)},
    {MEMBER(uffd_source, size)},
    {MEMBER(uffd_source, request)},
    {MEMBER(uffd_source, arg)},
    {MEMBER(uffd_source, surplus)},
    {MEMBER(uffd_source, outstanding)},
    {MEMBER(uffd_wanted, offset)},
    {MEMBER(uffd_wanted, length)},
    {MEMBER(uffd_wanted, demand)},
    {MEMBER(uffd_stats, faults)},
    {MEMBER(uffd_stats, requests)},
    {MEMBER(uffd_stats, pages_fetched)},
    {MEMBER(uffd_stats, pages_zeroed)},
    {MEMBER(uffd_stats, bytes_read)},
    {MEMBER(uffd_stats, unlocks)},
    {MEMBER(uffd_stats, present)},
    {MEMBER(uffd_stats, again)},
    {MEMBER(uffd_stats, gone)},
    {MEMBER(uffd_stats, removes)},
    {MEMBER(uffd_stats, unmaps)},
    {MEMBER(uffd_stats, remaps)},
    {MEMBER(uffd_stats, forks)},
    {MEMBER(uffd_stats, prefetches)},
    {MEMBER(uffd_stats, pages_prefetched)},
    {MEMBER(uffd_stats, errors)},
    {MEMBER(uffd_stats, poisoned)},
    {MEMBER(uffd_stats, ns_total)},
    {MEMBER(uffd_stats, ns_max)},
    {MEMBER(uffd_stats, latency_read)},
    {MEMBER(uffd_stats, latency_zero)},
    {MEMBER(uffd_stats, latency_unlock)},
    {MEMBER(uffd_stats, latency_found)},
    {MEMBER(uffd_stats, fault_ns)},
    {MEMBER(uffd_stats, page_ns)},
    {MEMBER(uffd_stats, pages_given_back)},
    {MEMBER(workset_info, name)},
    {MEMBER(workset_info, recordings)},
    {MEMBER(workset_info, pages)},
    {MEMBER(workset_info, clusters)},
    {MEMBER(workset_info, cluster_pages)},
    {.name = NULL},
};
/* NOLINTEND(bugprone-sizeof-expression) */

/* Increase it when the steps in the header no longer describe a store check that is right. */
#define CHECK_VERSION 1u
_Static_assert(offsetof(struct pgl_leaf, pages) == 0, "a leaf begins with its descriptors");
_Static_assert(sizeof(struct pgl_page) < 128 && PGL_HEAD_LOCK < 128 && PGL_TB_LIVE < 128, "as the header says");

bool pgl_table_get_check_layout(const struct pgl_table *table, unsigned version, struct pgl_check_layout *layout)
{
    if (version != CHECK_VERSION) {
        errno = ENOTSUP;
        return false;
    }
    *layout = (struct pgl_check_layout){
        .root = table + 1,
        .last_index = table->last_index,
        .root_shift = table->top_shift,
        .level_bits = PGL_LEVEL_BITS,
        .page_bits = table->page_bits,
        .descriptor_size = sizeof(struct pgl_page),
        .head = offsetof(struct pgl_page, head),
        .head_lock = PGL_HEAD_LOCK,
        .mask = offsetof(struct pgl_page, mask),
        .tb_state = offsetof(struct pgl_tb, state),
        .tb_live = PGL_TB_LIVE,
        .fence = !(pgl_table_special(table) & PGL_SPECIAL_FENCES),
    };
    return true;
}
