/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How a mapping expects to be touched (advice), and the cluster that a fault asks for: a demand page with the
 * neighbours that are worth fetching in the same request. Everything here is a pure function: no lock, no allocation.
 */
#ifndef PGL_PAGELOCK_ADVICE_H
#define PGL_PAGELOCK_ADVICE_H

#include <stdbool.h>
#include <stdint.h>

#include <pagelock/version.h>

#ifdef __cplusplus
extern "C" {
#endif

enum pgl_advice {
    PGL_ADVICE_DEFAULT, /* an entry's: as its object says; an object's: as shipped, the demand page alone */
    PGL_ADVICE_RANDOM,
    PGL_ADVICE_NORMAL,
    PGL_ADVICE_SEQUENTIAL,
    PGL_ADVICE_ADAPTIVE, /* as the object's faults so far suggest; its row says how far at the most */
};
#define PGL_ADVICE_COUNT 5

/* What one advice means, in pages; the demand page is counted in none of them. */
struct pgl_advice_row {
    uint32_t before; /* pages before the demand page that a cluster may take */
    uint32_t after;  /* pages after it */
    uint32_t behind; /* pages before the cluster that the fault leaves behind itself: see struct pgl_cluster */
};

struct pgl_advice_table {
    struct pgl_advice_row row[PGL_ADVICE_COUNT]; /* by enum pgl_advice */
};

/**
 * pgl_advice_shipped - the table that an object has when it brings none
 *
 * Its windows were chosen by measurement on recorded faults; docs/performance.md shows the measurement. The rows of
 * PGL_ADVICE_DEFAULT and PGL_ADVICE_RANDOM are zero: nothing but the demand page is fetched without being asked for.
 *
 * Locks:    none.
 * Owns:     the library; never freed, never changed.
 */
PGL_API const struct pgl_advice_table *pgl_advice_shipped(void);

/**
 * pgl_advice_valid - whether a number is an advice that exists
 *
 * Every call that sets an advice refuses another number with EINVAL.
 *
 * Locks:    none.
 */
PGL_API bool pgl_advice_valid(int advice);

/**
 * pgl_advice_name - the word for an advice, such as "sequential"
 *
 * Returns NULL for an advice that does not exist.
 *
 * Locks:    none.
 * Owns:     the library.
 */
PGL_API const char *pgl_advice_name(enum pgl_advice advice);

/**
 * pgl_advice_parse - the advice that a word names
 * @name: as pgl_advice_name() spells it
 * @advice: where it goes; untouched when there is none
 *
 * Returns true when there is an advice of that name.
 *
 * Locks:    none.
 */
PGL_API bool pgl_advice_parse(const char *name, enum pgl_advice *advice);

/**
 * pgl_advice_effective - the advice that a fault follows
 * @entry: the entry's advice; PGL_ADVICE_DEFAULT where there is no entry
 * @object: the object's advice
 *
 * The entry's advice wins over its object's unless it is PGL_ADVICE_DEFAULT.
 *
 * Locks:    none.
 */
PGL_API enum pgl_advice pgl_advice_effective(enum pgl_advice entry, enum pgl_advice object);

/*
 * Pages [first, last] of another coordinate system (an address space's, a pager's) that show an object's pages from
 * object_first on: page x of theirs is the object's page x - first + object_first.
 */
struct pgl_view {
    uint64_t first;
    uint64_t last;
    uint64_t object_first;
};

/*
 * Which neighbours may come along. One of the two functions is given; with neither, every page may. Bit b of word(arg,
 * n) stands for the object's page 64 * n + b; a word is asked for only when it holds a page within the window and the
 * bounds. pgl_absent_word() and pgl_set_word() read plain bitmaps.
 */
struct pgl_eligible {
    bool (*page)(const void *arg, uint64_t index) PGL_NOEXCEPT;
    uint64_t (*word)(const void *arg, uint64_t number) PGL_NOEXCEPT;
    const void *arg;
};

/* One decision's input. Everything is in the object's pages, but for the views' own first and last. */
struct pgl_cluster_args {
    uint64_t demand;              /* the page that faulted */
    uint64_t object_last;         /* the object's pages are [0, object_last] */
    const struct pgl_view *entry; /* the mapping that faulted; NULL: none (a copy made inside the VM) */
    const struct pgl_view *pager; /* what the pager has of the object; NULL: all of it */
    struct pgl_advice_row row;    /* the window */
    uint64_t budget;              /* speculative pages at the most; the demand page is outside the budget */
    bool forward;                 /* a short budget goes to the pages after first; else both sides share it */
    struct pgl_eligible eligible;
};

/*
 * The decision, in the object's pages. [behind_first, behind_last] is what a reader that goes forward has passed and
 * may be paged out (drop-behind): at most row.behind pages that end right before the cluster, within every bound;
 * has_behind says whether there are any. Which of them are resident is not looked at.
 */
struct pgl_cluster {
    uint64_t first;
    uint64_t last;
    bool has_behind;
    uint64_t behind_first;
    uint64_t behind_last;
};

/**
 * pgl_cluster_decide - choose the pages to ask for with a demand page
 * @args: borrowed for the call
 * @cluster: where the decision goes; untouched when there is none
 *
 * The cluster contains the demand page, lies within the object, the entry and the pager, is contiguous, holds no
 * ineligible page but perhaps the demand page (whose eligibility is not asked), and has at most args->budget pages
 * beside it. A larger budget gives a cluster that contains the smaller one's. Where both sides share a short budget,
 * each has half (the odd page goes after), and what one side cannot use goes to the other.
 *
 * Returns false when the demand page lies outside the object, the entry or the pager, or a view's first is above its
 * last: nothing may be asked for then.
 *
 * Locks:    none. Pure but for the eligibility function; safe in a signal handler when that is.
 */
PGL_API bool pgl_cluster_decide(const struct pgl_cluster_args *args, struct pgl_cluster *cluster);

/**
 * pgl_absent_word - eligibility for pagein from a residency bitmap
 * @bitmap: const uint64_t *: bit b of word n is set when page 64 * n + b is resident (or on its way)
 * @number: the word
 *
 * For struct pgl_eligible: the pages whose bit is clear are eligible.
 *
 * Locks:    none.
 */
PGL_API uint64_t pgl_absent_word(const void *bitmap, uint64_t number);

/**
 * pgl_set_word - eligibility from a bitmap of the eligible pages
 * @bitmap: const uint64_t *: bit b of word n is set when page 64 * n + b is eligible
 * @number: the word
 *
 * Locks:    none.
 */
PGL_API uint64_t pgl_set_word(const void *bitmap, uint64_t number);

#ifdef __cplusplus
}
#endif
#endif
