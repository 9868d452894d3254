/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Private: the members of a bracket, and the inline way to begin one. */
#ifndef PGL_PAGELOCK_INLINE_BRACKET_H
#define PGL_PAGELOCK_INLINE_BRACKET_H

#include <pagelock/inline/fence.h>
#include <pagelock/inline/page.h>
#include <pagelock/inline/tb.h>

#ifdef __cplusplus
extern "C" {
#endif

struct pgl_bracket {
    struct pgl_table *table;
    uint64_t index[2]; /* UINT64_MAX if not held */
    struct pgl_leaf *leaf[2];
    uintptr_t head;   /* the first page's, as long as nothing prevents a short commit; else 0 */
    unsigned nstores; /* remembered; if there are any, the decoded bytes are void */
    bool crossed;     /* this decoding has crossed to the second page */
    struct {
        uint64_t first_addr, last_addr;
    } stores[PGL_BRACKET_STORES];
};

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
    bracket->table = table;
    bracket->index[0] = index;
    bracket->index[1] = UINT64_MAX;
    bracket->leaf[0] = leaf;
    bracket->head = head & PGL_HEAD_HOT ? 0 : head;
    bracket->nstores = 0;
    pgl_fence_after_lock();
    return true;
}

#define pgl_bracket_cross(bracket, index) pgl_bracket_cross_at(bracket, index, PGL_HERE)
PGL_API enum pgl_bracket_result pgl_bracket_cross_at(struct pgl_bracket *bracket, uint64_t index, const char *place);

#define pgl_bracket_store(bracket, addr, len) pgl_bracket_store_at(bracket, addr, len, PGL_HERE)
PGL_API enum pgl_bracket_result pgl_bracket_store_at(struct pgl_bracket *bracket, uint64_t addr, unsigned len,
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
