/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "decisions.h"

#include "clock.h"
#include "resident.h"
#include "sets.h"

/* A decision that was taken. */
struct decision {
    uint32_t object;
    struct pgl_cluster cluster;
};

/* The state behind the decisions: each object has its own pages, and its own advisor. */
struct state {
    const struct trace *trace;
    const struct policy *policy;
    struct pgl_advice_row row;
    struct resident resident;
    struct pgl_advisor **advisors;
    const struct pgl_workset **sets; /* of each object; or NULL */
    uint32_t *doubts;                /* of each object, about its set */
};

/* Returns false if there is no memory. */
static bool state_reset(struct state *state, const struct pgl_costs *costs)
{
    resident_reset(&state->resident);
    for (unsigned i = 0; i < state->trace->objects->len; i++) {
        pgl_advisor_free(state->advisors[i]);
        state->doubts[i] = 0;
        state->advisors[i] = pgl_advisor_new(costs);
        if (!state->advisors[i]) {
            return false;
        }
    }
    return true;
}

static void state_clear(struct state *state)
{
    for (unsigned i = 0; i < state->trace->objects->len; i++) {
        pgl_advisor_free(state->advisors[i]);
    }
    g_free(state->advisors);
    g_free(state->sets);
    g_free(state->doubts);
    resident_clear(&state->resident);
}

/* As the driver decides. */
static void decide(const struct state *state, uint32_t object, struct pgl_cluster_args *args,
                   struct pgl_cluster *cluster)
{
    const struct pgl_workset *set = state->sets[object];
    bool adapts = state->policy->advice == PGL_ADVICE_ADAPTIVE;

    args->row = state->row;
    if (set && pgl_workset_decide(set, adapts ? &state->doubts[object] : NULL, args, cluster) != PGL_REASON_OUTSIDE) {
        return;
    }
    if (adapts) {
        pgl_advisor_decide(state->advisors[object], args, cluster);
    } else {
        pgl_cluster_decide(args, cluster);
    }
}

/* Takes all decisions. With @found, the clock stands over each of them, and @found receives them. */
static uint64_t take_all(struct state *state, GArray *found)
{
    uint64_t start = clock_ns();

    for (unsigned i = 0; i < state->trace->touches->len; i++) {
        const struct trace_touch *touch = &g_array_index(state->trace->touches, struct trace_touch, i);
        struct decision decision = {.object = touch->object};
        struct pgl_cluster_args args;

        if (!resident_faults(&state->resident, touch, &args)) {
            continue;
        }
        decide(state, touch->object, &args, &decision.cluster);
        resident_bring(&state->resident, touch->object, &decision.cluster);
        if (found) {
            g_array_append_val(found, decision);
        }
    }
    return clock_ns() - start;
}

/* All that take_all() does but for the decisions, which are given. */
static uint64_t take_none(struct state *state, const GArray *decisions)
{
    uint64_t start;
    unsigned n = 0;

    resident_reset(&state->resident);
    start = clock_ns();
    for (unsigned i = 0; i < state->trace->touches->len; i++) {
        const struct trace_touch *touch = &g_array_index(state->trace->touches, struct trace_touch, i);
        struct pgl_cluster_args args;

        if (resident_faults(&state->resident, touch, &args)) {
            resident_bring(&state->resident, touch->object, &g_array_index(decisions, struct decision, n++).cluster);
        }
    }
    return clock_ns() - start;
}

const char *decisions_time(const struct trace *trace, const struct policy *policy, const struct pgl_advice_row *row,
                           const struct replay_options *options, uint64_t expected, double ns[DECISION_ROUNDS])
{
    struct state state = {
        .trace = trace,
        .policy = policy,
        .row = *row,
        .resident = resident_new(trace),
        .advisors = g_new0(struct pgl_advisor *, trace->objects->len),
        .sets = g_new0(const struct pgl_workset *, trace->objects->len),
        .doubts = g_new0(uint32_t, trace->objects->len),
    };
    GArray *decisions = g_array_new(FALSE, FALSE, sizeof(struct decision));
    const char *broken = NULL;

    for (unsigned i = 0; i < trace->objects->len; i++) {
        state.sets[i] = sets_find(options->sets, g_array_index(trace->objects, struct trace_object, i).name);
    }
    if (!state_reset(&state, &options->costs)) {
        broken = "there is no memory for an advisor";
    } else {
        take_all(&state, decisions);
        broken = decisions->len != expected ? "the decisions that are timed are not those that were taken" : NULL;
    }
    for (unsigned round = 0; round < DECISION_ROUNDS && !broken; round++) {
        uint64_t all;

        if (!state_reset(&state, &options->costs)) {
            broken = "there is no memory for an advisor";
            break;
        }
        all = take_all(&state, NULL);
        ns[round] = ((double)all - (double)take_none(&state, decisions)) / (double)decisions->len;
    }
    g_array_unref(decisions);
    state_clear(&state);
    return broken;
}
