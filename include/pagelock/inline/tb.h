/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Private: the members of a block, and the macros that add the place of a call. */
#ifndef PGL_PAGELOCK_INLINE_TB_H
#define PGL_PAGELOCK_INLINE_TB_H

#include <pagelock/tb.h>

#ifdef __cplusplus
extern "C" {
#endif

struct pgl_tb {
    uintptr_t next[2]; /* one link for each page: tagged pointers */
    uint64_t first[2]; /* bytes on each page, inclusive; none if first > last */
    uint64_t last[2];
    uint32_t state;
} __attribute__((aligned(16)));

PGL_INLINE void pgl_tb_set_bytes(struct pgl_tb *tb, unsigned which, uint64_t first_addr, uint64_t last_addr)
{
    tb->first[which] = first_addr;
    tb->last[which] = last_addr;
}

PGL_INLINE bool pgl_tb_is_live(const struct pgl_tb *tb)
{
    return __atomic_load_n(&tb->state, __ATOMIC_ACQUIRE) == PGL_TB_LIVE;
}

PGL_INLINE struct pgl_tb *pgl_tb_chain_next(const struct pgl_tb *tb)
{
    return (struct pgl_tb *)tb->next[0];
}

#define pgl_tb_link_unlisted(table, tb) pgl_tb_link_unlisted_at(table, tb, PGL_HERE)
PGL_API void pgl_tb_link_unlisted_at(struct pgl_table *table, struct pgl_tb *tb, const char *place);

#define pgl_page_foreach_tb(table, page, visit, opaque) pgl_page_foreach_tb_at(table, page, visit, opaque, PGL_HERE)
PGL_API bool pgl_page_foreach_tb_at(struct pgl_table *table, struct pgl_page *page,
                                    bool (*visit)(struct pgl_tb *tb, void *opaque) PGL_NOEXCEPT, void *opaque,
                                    const char *place) PGL_ANNOTATE(requires_capability(page));

#define pgl_tb_lock_pages(table, tb) pgl_tb_lock_pages_at(table, tb, PGL_HERE)
#define pgl_tb_unlock_pages(table, tb) pgl_tb_unlock_pages_at(table, tb, PGL_HERE)
PGL_API void pgl_tb_lock_pages_at(struct pgl_table *table, const struct pgl_tb *tb, const char *place);
PGL_API void pgl_tb_unlock_pages_at(struct pgl_table *table, const struct pgl_tb *tb, const char *place);

#define pgl_invalidate_tb(table, tb, running) pgl_invalidate_tb_at(table, tb, running, PGL_HERE)
PGL_API int pgl_invalidate_tb_at(struct pgl_table *table, struct pgl_tb *tb, const struct pgl_tb *running,
                                 const char *place);

#define pgl_invalidate_range(table, first_addr, last_addr, running)                                                    \
    pgl_invalidate_range_at(table, first_addr, last_addr, running, PGL_HERE)
PGL_API int pgl_invalidate_range_at(struct pgl_table *table, uint64_t first_addr, uint64_t last_addr,
                                    const struct pgl_tb *running, const char *place);

#define pgl_invalidate_page(table, index, running) pgl_invalidate_page_at(table, index, running, PGL_HERE)
PGL_API int pgl_invalidate_page_at(struct pgl_table *table, uint64_t index, const struct pgl_tb *running,
                                   const char *place);
#define pgl_flush(table, running) pgl_flush_at(table, running, PGL_HERE)
PGL_API int pgl_flush_at(struct pgl_table *table, const struct pgl_tb *running, const char *place);

#ifdef __cplusplus
}
#endif
#endif
