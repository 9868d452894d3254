/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Private: the members of a bracket, and the inline way to begin one. */
#ifndef PGL_PAGELOCK_INLINE_BRACKET_H
#define PGL_PAGELOCK_INLINE_BRACKET_H

#include <pagelock/bracket.h>
#include <pagelock/inline/fence.h>
#include <pagelock/inline/page.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The number of pages that a bracket can hold without allocating. */
#define PGL_BRACKET_INLINE 4u

struct pgl_bracket_page {
    uint64_t index;
    struct pgl_leaf *leaf;
};

struct pgl_bracket {
    struct pgl_table *table;
    uintptr_t head;   /* the first page's, as long as nothing prevents a short commit; else 0 */
    unsigned npages;  /* held; 0 if the bracket is not open */
    unsigned nnamed;  /* the first of these, which the current decoding has named */
    unsigned room;    /* for pages; beyond PGL_BRACKET_INLINE all of them are in `more` */
    unsigned nstores; /* remembered; if there are any, the decoded bytes are void */
    struct pgl_bracket_page in_place[PGL_BRACKET_INLINE];
    struct pgl_bracket_page *more;
    struct {
        uint64_t first_addr, last_addr;
    } stores[PGL_BRACKET_STORES];
};

/* Fill in a bracket that holds one page. The caller sets its head. */
static inline void pgl_bracket_init(struct pgl_bracket *bracket, struct pgl_table *table, uint64_t index,
                                    struct pgl_leaf *leaf)
{
    bracket->table = table;
    bracket->npages = 1;
    bracket->nnamed = 1;
    bracket->room = PGL_BRACKET_INLINE;
    bracket->nstores = 0;
    bracket->in_place[0].index = index;
    bracket->in_place[0].leaf = leaf;
}

#define pgl_bracket_begin(bracket, table, index) pgl_bracket_begin_at(bracket, table, index, PGL_HERE)
/* Begin a bracket in the general case. */
PGL_API bool pgl_bracket_begin_slow(struct pgl_bracket *bracket, struct pgl_table *table, uint64_t index,
                                    const char *place);
/* Begin a bracket. Inline is the common case, a page that has blocks and is unlocked. */
PGL_INLINE bool pgl_bracket_begin_at(struct pgl_bracket *bracket, struct pgl_table *table, uint64_t index,
                                     const char *place)
{
    struct pgl_leaf *leaf = index <= table->last_index ? pgl_leaf_find(table, index) : NULL;
    uintptr_t head =
        leaf && !pgl_table_special(table) ? __atomic_load_n(&pgl_leaf_page(leaf, index)->head, __ATOMIC_RELAXED) : 0;

    if (PGL_UNLIKELY(head < 16u || !pgl_page_lock_seen(pgl_leaf_page(leaf, index), &head))) {
        return pgl_bracket_begin_slow(bracket, table, index, place);
    }
    pgl_bracket_init(bracket, table, index, leaf);
    bracket->head = head;
    pgl_fence_after_lock();
    return true;
}

PGL_INLINE bool pgl_bracket_is_open(const struct pgl_bracket *bracket)
{
    return bracket->npages > 0;
}

#define pgl_bracket_cross(bracket, index) pgl_bracket_cross_at(bracket, index, PGL_HERE)
PGL_API enum pgl_bracket_result pgl_bracket_cross_at(struct pgl_bracket *bracket, uint64_t index, const char *place);

#define pgl_bracket_store(bracket, addr, len) pgl_bracket_store_at(bracket, addr, len, PGL_HERE)
PGL_API enum pgl_bracket_result pgl_bracket_store_at(struct pgl_bracket *bracket, uint64_t addr, uint64_t len,
                                                     const char *place);

#define pgl_bracket_commit(bracket, tb, equal) pgl_bracket_commit_at(bracket, tb, equal, PGL_HERE)
PGL_API enum pgl_bracket_result pgl_bracket_commit_at(struct pgl_bracket *bracket, struct pgl_tb *tb,
                                                      struct pgl_tb **equal, const char *place);

#define pgl_bracket_abort(bracket) pgl_bracket_abort_at(bracket, PGL_HERE)
PGL_API void pgl_bracket_abort_at(struct pgl_bracket *bracket, const char *place);

#ifdef __cplusplus
}
#endif
#endif
