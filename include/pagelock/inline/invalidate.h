/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Private: the macros that add the place of a call that kills. */
#ifndef PGL_PAGELOCK_INLINE_INVALIDATE_H
#define PGL_PAGELOCK_INLINE_INVALIDATE_H

#include <pagelock/invalidate.h>

#ifdef __cplusplus
extern "C" {
#endif

#define pgl_invalidate_tb(table, tb, running) pgl_invalidate_tb_at(table, tb, running, PGL_HERE)
PGL_API int pgl_invalidate_tb_at(struct pgl_table *table, struct pgl_tb *tb, const struct pgl_tb *running,
                                 const char *place);

#define pgl_invalidate_tbs(table, tbs, n, running) pgl_invalidate_tbs_at(table, tbs, n, running, PGL_HERE)
PGL_API int pgl_invalidate_tbs_at(struct pgl_table *table, struct pgl_tb *const *tbs, size_t n,
                                  const struct pgl_tb *running, const char *place);

#define pgl_invalidate_range(table, first_addr, last_addr, running)                                                    \
    pgl_invalidate_range_at(table, first_addr, last_addr, running, PGL_HERE)
PGL_API int pgl_invalidate_range_at(struct pgl_table *table, uint64_t first_addr, uint64_t last_addr,
                                    const struct pgl_tb *running, const char *place);

#define pgl_invalidate_if(table, first_addr, last_addr, predicate, arg, running)                                       \
    pgl_invalidate_if_at(table, first_addr, last_addr, predicate, arg, running, PGL_HERE)
PGL_API int pgl_invalidate_if_at(struct pgl_table *table, uint64_t first_addr, uint64_t last_addr,
                                 bool (*predicate)(const struct pgl_tb *tb, void *arg) PGL_NOEXCEPT, void *arg,
                                 const struct pgl_tb *running, const char *place);

#define pgl_invalidate_page(table, index, running) pgl_invalidate_page_at(table, index, running, PGL_HERE)
PGL_API int pgl_invalidate_page_at(struct pgl_table *table, uint64_t index, const struct pgl_tb *running,
                                   const char *place);
#define pgl_flush(table, running) pgl_flush_at(table, running, PGL_HERE)
PGL_API int pgl_flush_at(struct pgl_table *table, const struct pgl_tb *running, const char *place);

#define pgl_table_reset(table) pgl_table_reset_at(table, PGL_HERE)
PGL_API void pgl_table_reset_at(struct pgl_table *table, const char *place);

#ifdef __cplusplus
}
#endif
#endif
