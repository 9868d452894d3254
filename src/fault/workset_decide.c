/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The choice of a cluster by a working set, for pages that were recorded and for those beside them.
 *
 * DOUBT        A run that is like the recorded ones touches few pages that they did not, and these come in short rows:
 *              a block is enough that costs as much as a fault and a half. Each fault on a page of a cluster takes a
 *              doubt away, and each other one adds a doubt. After DOUBTS_FEW a block costs as much as three faults,
 *              and after DOUBTS_MANY the set knows nothing of the pages that it does not have, and the advice decides.
 *              The clusters are followed all the same.
 * BLOCKS       A block ends before a cluster that it meets, because a fault on the cluster brings the cluster; it takes
 *              the cluster in as a whole if both together have no more pages than a cluster may have.
 *
 * The constants were chosen on recordings of OpenJDK 25 and of sqlite3, which are not those in docs/performance.md.
 */
#include "workset_internal.h"

#define DOUBTS_FEW 4
#define DOUBTS_MANY 36
#define DOUBTS_MOST 40

/* The block of so many pages that has a page in no cluster, cut or widened where clusters are. */
static struct pgl_pager_range block_of(const struct pgl_workset *workset, uint64_t page, uint32_t npages)
{
    struct pgl_pager_range block = {page - page % npages, page - page % npages + (npages - 1)};
    struct pgl_pager_range other;

    if (pgl_workset_before(workset, page, &other) && other.last >= block.first) {
        block.first = block.last - other.first < PGL_WORKSET_CLUSTER ? other.first : other.last + 1;
    }
    if (pgl_workset_next(workset, page, &other) && other.first <= block.last) {
        block.last = other.last - block.first < PGL_WORKSET_CLUSTER ? other.last : other.first - 1;
    }
    return block;
}

static uint32_t least(uint64_t a, uint32_t b)
{
    return a < b ? (uint32_t)a : b;
}

enum pgl_reason pgl_workset_decide(const struct pgl_workset *workset, uint32_t *doubts,
                                   const struct pgl_cluster_args *args, struct pgl_cluster *cluster)
{
    uint64_t page = args->demand + (args->pager ? args->pager->first - args->pager->object_first : 0);
    struct pgl_cluster_args own = *args;
    struct pgl_pager_range range;
    bool recorded = pgl_workset_find(workset, page, &range);
    uint32_t before = doubts ? *doubts : DOUBTS_MOST;

    if (doubts && recorded) {
        *doubts = before > 0 ? before - 1 : 0;
    } else if (doubts) {
        *doubts = before < DOUBTS_MOST ? before + 1 : DOUBTS_MOST;
    }
    if (recorded) {
        own.row =
            (struct pgl_advice_row){.before = (uint32_t)(page - range.first), .after = (uint32_t)(range.last - page)};
    } else if (before < DOUBTS_MANY && (args->row.before > 0 || args->row.after > 0)) {
        range = block_of(workset, page, workset->block[before >= DOUBTS_FEW]);
        own.row = (struct pgl_advice_row){.before = least(page - range.first, args->row.before),
                                          .after = least(range.last - page, args->row.after)};
    } else {
        return PGL_REASON_OUTSIDE;
    }
    if (!pgl_cluster_decide(&own, cluster)) {
        return PGL_REASON_OUTSIDE;
    }
    return recorded ? PGL_REASON_RECORDED : PGL_REASON_START;
}
