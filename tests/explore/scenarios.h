/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PGL_TESTS_EXPLORE_SCENARIOS_H
#define PGL_TESTS_EXPLORE_SCENARIOS_H

#include "explore.h"

/* Each list ends with a scenario without a name. */
extern const struct explore_scenario page_scenarios[];       /* table, page lock */
extern const struct explore_scenario collection_scenarios[]; /* the ordered set */
extern const struct explore_scenario fault_scenarios[];      /* the fault driver */
extern const struct explore_scenario object_scenarios[];     /* many faults on one object */
extern const struct explore_scenario workset_scenarios[];    /* working sets and recordings */
extern const struct explore_scenario range_scenarios[];      /* copies, lists of pages, shared frames */
extern const struct explore_scenario bracket_scenarios[];    /* brackets */
extern const struct explore_scenario super_scenarios[];      /* brackets on three pages */
extern const struct explore_scenario tb_scenarios[];         /* stores, invalidation */
extern const struct explore_scenario hot_scenarios[];        /* pages with exact maps and buckets */
extern const struct explore_scenario choice_scenarios[];     /* kills of chosen blocks, and of blocks on many leaves */
extern const struct explore_scenario store_scenarios[];      /* store brackets, announced stores */
extern const struct explore_scenario fence_scenarios[];      /* tables with asymmetric fences */
extern const struct explore_scenario killed_scenarios[];     /* stores to pages that are held to kill */
extern const struct explore_scenario dirty_scenarios[];      /* pages that are taken and given back; with userfaultfd */
extern const struct explore_scenario uffd_scenarios[]; /* processes that are adopted, late answers; with userfaultfd */

#endif
