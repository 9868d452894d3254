/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Advice, which says how a mapping will be touched, and the cluster that a fault asks for: a demand page with the
 * neighbours that are worth fetching in the same request. The functions take no lock. All but those of struct
 * pgl_advisor are pure, and only pgl_advisor_new() allocates.
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
 * @PGL_ADVICE_ADAPTIVE: unknown; an advisor chooses the window from the object's earlier faults and from the costs, up
 *      to the limits in its row
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
 * struct pgl_costs - what a pager's work takes
 * @fault_ns: nanoseconds of a request, from the fault until its thread runs again, without the pages; 0: not known
 * @page_ns: nanoseconds of each page fetched with it; 0: not known
 *
 * Only the relation of the two matters: a page that is fetched in vain costs page_ns, and a request that a fetched page
 * saves would have cost fault_ns. A cost that is not known is measured by a pager that can, and is otherwise
 * PGL_COSTS_FAULT_NS or PGL_COSTS_PAGE_NS.
 */
struct pgl_costs {
    uint64_t fault_ns;
    uint64_t page_ns;
};
#define PGL_COSTS_FAULT_NS 3200
#define PGL_COSTS_PAGE_NS 1130
#define PGL_COSTS_MAX_NS UINT64_C(10000000000)

/**
 * pgl_costs_explain() - say why costs are refused
 *
 * Returns NULL if they are accepted, and otherwise a sentence such as "page_ns is more than ten seconds". Refused are a
 * cost above PGL_COSTS_MAX_NS, and two costs of which one is more than a million times the other.
 *
 * Locks:    none.
 * Owns:     the library.
 */
PGL_API const char *pgl_costs_explain(const struct pgl_costs *costs);

/**
 * struct pgl_advisor - chooses the windows of one object whose order of faults is unknown, and learns from its faults
 *
 * It is what PGL_ADVICE_ADAPTIVE uses, and stands alone for those who have a pager of their own. Its size is fixed, and
 * a decision allocates nothing and takes a bounded time.
 */
struct pgl_advisor;

/**
 * enum pgl_reason - why a cluster is as it is
 * @PGL_REASON_OUTSIDE: there is no cluster, because the demand page lies outside the bounds
 * @PGL_REASON_ALONE: nothing may be fetched beside the demand page: the budget is empty, or the row is
 * @PGL_REASON_ROW: the window is the row of an advice that is not adaptive
 * @PGL_REASON_UP: the fault continues a stream of faults that goes up
 * @PGL_REASON_DOWN: the fault continues a stream that goes down
 * @PGL_REASON_START: the fault continues no stream; the window is what earlier faults of the kind were worth
 * @PGL_REASON_RECORDED: a working set has the page, and the window is its cluster there, see pgl_object_set_workset()
 * @PGL_REASON_PREFETCH: no fault: the pages were to be brought before they are touched, see pgl_uffd_prefetch()
 *
 * A reason says how the window was chosen, and not that it is wider than the demand page.
 */
enum pgl_reason {
    PGL_REASON_OUTSIDE,
    PGL_REASON_ALONE,
    PGL_REASON_ROW,
    PGL_REASON_UP,
    PGL_REASON_DOWN,
    PGL_REASON_START,
    PGL_REASON_RECORDED,
    PGL_REASON_PREFETCH,
};
#define PGL_REASON_COUNT 8

/**
 * pgl_reason_name() - return the word for a reason, such as "start"
 *
 * Returns NULL for a reason that does not exist.
 *
 * Locks:    none.
 * Owns:     the library.
 */
PGL_API const char *pgl_reason_name(enum pgl_reason reason);

/**
 * pgl_advisor_new() - make an advisor that has seen nothing
 * @costs: borrowed for the call; NULL: none are known
 *
 * Locks:    none.
 * Owns:     the caller; release with pgl_advisor_free().
 * Errors:   NULL with errno EINVAL: pgl_costs_explain() says why; ENOMEM.
 */
PGL_API struct pgl_advisor *pgl_advisor_new(const struct pgl_costs *costs);

/**
 * pgl_advisor_free() - release an advisor
 * @advisor: may be NULL
 *
 * Locks:    none.
 */
PGL_API void pgl_advisor_free(struct pgl_advisor *advisor);

/**
 * pgl_advisor_set_costs() - replace the costs
 * @costs: borrowed for the call
 *
 * The advisor keeps all that it has learned, because it counts faults and pages and no times.
 *
 * Locks:    entry: the caller keeps other calls on @advisor away.
 * Errors:   false with errno EINVAL: pgl_costs_explain() says why.
 */
PGL_API bool pgl_advisor_set_costs(struct pgl_advisor *advisor, const struct pgl_costs *costs);

/**
 * pgl_advisor_decide() - choose the pages to ask for with a demand page that is absent, and learn from it
 * @args: borrowed for the call. @args->row is the limit on each side, not the window. @args->eligible says which pages
 *      are absent
 * @cluster: receives the decision; unchanged with PGL_REASON_OUTSIDE
 *
 * The cluster has at most 64 pages, and is one that pgl_cluster_decide() could return. Pages behind it are named only
 * for a stream that goes up. The caller asks for the whole cluster, or for its part around the demand page, and tells
 * nothing else. All calls on an advisor are about one object.
 *
 * Returns the reason. The function is async-signal-safe if the eligibility function is.
 *
 * Locks:    entry: the caller keeps other calls on @advisor away.
 */
PGL_API enum pgl_reason pgl_advisor_decide(struct pgl_advisor *advisor, const struct pgl_cluster_args *args,
                                           struct pgl_cluster *cluster);

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
