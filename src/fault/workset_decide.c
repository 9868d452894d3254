/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The choice of a cluster by a working set, for pages that were recorded and for others.
 *
 * DOUBT        A run that is like the recorded ones touches few pages that they did not, and these come in short rows:
 *              the aligned block is enough that costs as much as a fault and a half. Each fault on a page of a cluster
 *              takes a doubt away, and each other one adds a doubt. After DOUBTS_FEW a block costs as much as three
 *              faults, and at DOUBTS_MANY, the most there are, the set knows nothing of the pages that it does not
 *              have, and the advice decides. The clusters are followed all the same.
 *
 * The constants were chosen on recordings of OpenJDK 25 and of sqlite3, which are not those in docs/performance.md.
 */
#include "workset_internal.h"

#define DOUBTS_FEW 4
#define DOUBTS_MANY 36

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

enum pgl_reason pgl_workset_decide(const struct pgl_workset *workset, uint32_t *doubts,
                                   const struct pgl_cluster_args *args, struct pgl_cluster *cluster)
{
    uint64_t page = args->demand + (args->pager ? args->pager->first - args->pager->object_first : 0);
    struct pgl_cluster_args own = *args;
    bool recorded = pgl_workset_find_row(workset, page, &own.row);
    uint32_t before = doubts ? *doubts : DOUBTS_MANY;

    if (doubts && recorded) {
        *doubts = before > 0 ? before - 1 : 0;
    } else if (doubts) {
        *doubts = before < DOUBTS_MANY ? before + 1 : DOUBTS_MANY;
    }
    if (!recorded) {
        uint32_t npages = workset->block[before >= DOUBTS_FEW];
        uint32_t at = (uint32_t)(page % npages);

        if (before >= DOUBTS_MANY || (args->row.before == 0 && args->row.after == 0)) {
            return PGL_REASON_OUTSIDE;
        }
        own.row = (struct pgl_advice_row){.before = least(at, args->row.before),
                                          .after = least(npages - 1 - at, args->row.after)};
    }
    if (!pgl_cluster_decide(&own, cluster)) {
        return PGL_REASON_OUTSIDE;
    }
    return recorded ? PGL_REASON_RECORDED : PGL_REASON_START;
}
