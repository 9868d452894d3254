/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which schedules to try. */
#ifndef PGL_TESTS_EXPLORE_SEARCH_H
#define PGL_TESTS_EXPLORE_SEARCH_H

#include "engine.h"

#define REPLAY_MAX 4096

/* The state of the search of a scenario. Plain data: a worker hands it over in shared memory. */
struct tally {
    uint64_t schedules;
    uint64_t distinct;          /* sequences of steps, under each memory */
    uint64_t behaviours;        /* classes of them that differ in what some thread read or wrote */
    uint64_t with[3];           /* schedules under MEMORY_SC with so many preemptions */
    int complete[MEMORY_MODES]; /* every schedule with up to so many deviations was run; -1: not even those with none */
    bool exhausted[MEMORY_MODES]; /* every schedule at all */
    bool failed;
    enum explore_memory memory; /* of the failure, as all below */
    bool plain_points;
    char why[512];
    char replay[REPLAY_MAX];
};

struct search;

struct search *search_new(const struct explore_scenario *scenario, uint64_t seed);
void search_free(struct search *search);
const struct tally *search_tally(const struct search *search);

/* Under @memory, every schedule with at most @bound deviations, until @deadline (seconds of the monotonic clock). */
void search_exhaust(struct search *search, enum explore_memory memory, int bound, double deadline);

/* All strategies in turn, under @memory or, when it is MEMORY_MODES, under each, until @deadline. */
void search_mixed(struct search *search, enum explore_memory memory, double deadline);

/* Whether nothing is left to find, under @memory or under each. */
bool search_is_exhausted(const struct search *search, enum explore_memory memory);

/* Run one schedule again and write its trace. Returns whether it failed; @why has room for 512 bytes. */
bool search_replay(const struct explore_scenario *scenario, enum explore_memory memory, bool plain_points,
                   const char *decisions, FILE *trace, char *why);

double search_now(void);

#endif
