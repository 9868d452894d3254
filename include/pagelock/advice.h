/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Advice, which says how a mapping will be touched, and the cluster that a fault asks for: a demand page with the
 * neighbours that are worth fetching in the same request. All functions are pure. They take no lock and allocate
 * nothing.
 */
#ifndef PGL_PAGELOCK_ADVICE_H
#define PGL_PAGELOCK_ADVICE_H

#include <stdbool.h>
#include <stdint.h>

#include <pagelock/version.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * enum pgl_advice - how a mapping will be touched
 * @PGL_ADVICE_DEFAULT: of an entry: the advice of its object; of an object: the demand page alone, in the shipped table
 * @PGL_ADVICE_RANDOM: in no order
 * @PGL_ADVICE_NORMAL: mostly in order
 * @PGL_ADVICE_SEQUENTIAL: forward, each page once
 * @PGL_ADVICE_ADAPTIVE: unknown; the object's earlier faults determine the window, up to the limits in its row
 */
enum pgl_advice {
    PGL_ADVICE_DEFAULT,
    PGL_ADVICE_RANDOM,
    PGL_ADVICE_NORMAL,
    PGL_ADVICE_SEQUENTIAL,
    PGL_ADVICE_ADAPTIVE,
};
#define PGL_ADVICE_COUNT 5

/**
 * struct pgl_advice_row - the window of one advice, in pages beside the demand page
 * @before: pages before the demand page that a cluster may take
 * @after: pages after the demand page that a cluster may take
 * @behind: pages before the cluster that a forward reader leaves behind, see struct pgl_cluster
 */
struct pgl_advice_row {
    uint32_t before;
    uint32_t after;
    uint32_t behind;
};

/**
 * struct pgl_advice_table - the windows of all advice
 * @row: by enum pgl_advice
 */
struct pgl_advice_table {
    struct pgl_advice_row row[PGL_ADVICE_COUNT];
};

/**
 * pgl_advice_shipped() - return the table of an object that was configured without one
 *
 * Its windows were chosen by measurement on recorded faults; docs/performance.md shows the measurement. The rows of
 * PGL_ADVICE_DEFAULT and PGL_ADVICE_RANDOM are zero, and therefore fetch the demand page alone.
 *
 * Locks:    none.
 * Owns:     the library; never freed, never changed.
 */
PGL_API const struct pgl_advice_table *pgl_advice_shipped(void);

/**
 * pgl_advice_valid() - return whether a number is an advice that exists
 *
 * Every call that sets an advice refuses any other number with EINVAL.
 *
 * Locks:    none.
 */
PGL_API bool pgl_advice_valid(int advice);

/**
 * pgl_advice_name() - return the word for an advice, such as "sequential"
 *
 * Returns NULL for an advice that does not exist.
 *
 * Locks:    none.
 * Owns:     the library.
 */
PGL_API const char *pgl_advice_name(enum pgl_advice advice);

/**
 * pgl_advice_parse() - find the advice that a word names
 * @name: as pgl_advice_name() spells it
 * @advice: receives the advice; unchanged if there is none
 *
 * Returns true if there is an advice of that name.
 *
 * Locks:    none.
 */
PGL_API bool pgl_advice_parse(const char *name, enum pgl_advice *advice);

/**
 * pgl_advice_effective() - return the advice that a fault follows
 * @entry: the entry's advice; PGL_ADVICE_DEFAULT if there is no entry
 * @object: the object's advice
 *
 * It is the entry's advice, or the object's if the entry's is PGL_ADVICE_DEFAULT.
 *
 * Locks:    none.
 */
PGL_API enum pgl_advice pgl_advice_effective(enum pgl_advice entry, enum pgl_advice object);

/**
 * struct pgl_view - pages of an address space or of a pager that show pages of an object
 * @first, @last: the pages of the address space or of the pager, inclusive
 * @object_first: the object's page that @first shows; page x shows the object's page x - first + object_first
 */
struct pgl_view {
    uint64_t first;
    uint64_t last;
    uint64_t object_first;
};

/**
 * struct pgl_eligible - the neighbours that a cluster may contain
 * @page: return whether page @index is eligible
 * @word: return the eligible pages among 64 as bits: bit b of word n is the object's page 64 * n + b. It is called only
 *      for words with a page inside the window and the bounds. pgl_absent_word() and pgl_set_word() read plain bitmaps.
 * @arg: passed to the function
 *
 * At most one of the functions is set. Without any, every page is eligible.
 */
struct pgl_eligible {
    bool (*page)(const void *arg, uint64_t index) PGL_NOEXCEPT;
    uint64_t (*word)(const void *arg, uint64_t number) PGL_NOEXCEPT;
    const void *arg;
};

/**
 * struct pgl_cluster_args - the input of a decision, in the object's pages but for first and last of the views
 * @demand: the page that faulted
 * @object_last: the object's pages are [0, object_last]
 * @entry: the mapping that faulted; NULL: none, for a copy made inside the VM
 * @pager: the part of the object that the pager has; NULL: all of it
 * @row: the window
 * @budget: the largest number of speculative pages; the demand page does not count
 * @forward: a short budget goes to the pages after the demand page first; otherwise both sides share it
 * @eligible: the pages that the cluster may contain
 */
struct pgl_cluster_args {
    uint64_t demand;
    uint64_t object_last;
    const struct pgl_view *entry;
    const struct pgl_view *pager;
    struct pgl_advice_row row;
    uint64_t budget;
    bool forward;
    struct pgl_eligible eligible;
};

/**
 * struct pgl_cluster - a decision, in the object's pages
 * @first, @last: the cluster
 * @has_behind: whether there are pages behind it
 * @behind_first, @behind_last: pages that a forward reader has passed, and that may be paged out (drop-behind). They
 *      are at most row.behind pages, end right before the cluster, and lie within every bound. They need not be
 *      resident.
 */
struct pgl_cluster {
    uint64_t first;
    uint64_t last;
    bool has_behind;
    uint64_t behind_first;
    uint64_t behind_last;
};

/**
 * pgl_cluster_decide() - choose the pages to ask for with a demand page
 * @args: borrowed for the call
 * @cluster: receives the decision; unchanged if there is none
 *
 * The cluster is contiguous, contains the demand page, and lies within the object, the entry and the pager. All its
 * other pages are eligible, and there are at most args->budget of them. The eligibility of the demand page is not
 * checked. A larger budget gives a cluster that contains the one of a smaller budget. If both sides share a short
 * budget, each gets half, an odd page goes to the side after the demand page, and a part that one side cannot use goes
 * to the other.
 *
 * Returns false if the demand page lies outside the object, the entry or the pager, or if a view's first is above its
 * last. Nothing may be requested then. The function is async-signal-safe if the eligibility function is.
 *
 * Locks:    none.
 */
PGL_API bool pgl_cluster_decide(const struct pgl_cluster_args *args, struct pgl_cluster *cluster);

/**
 * pgl_absent_word() - eligibility for pagein from a residency bitmap
 * @bitmap: const uint64_t *; bit b of word n is set if page 64 * n + b is resident or requested
 * @number: the word
 *
 * For struct pgl_eligible: the pages whose bit is clear are eligible.
 *
 * Locks:    none.
 */
PGL_API uint64_t pgl_absent_word(const void *bitmap, uint64_t number);

/**
 * pgl_set_word() - eligibility from a bitmap of the eligible pages
 * @bitmap: const uint64_t *; bit b of word n is set if page 64 * n + b is eligible
 * @number: the word
 *
 * Locks:    none.
 */
PGL_API uint64_t pgl_set_word(const void *bitmap, uint64_t number);

#ifdef __cplusplus
}
#endif
#endif
