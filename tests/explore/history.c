/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Linearizability of a small history: try all orders, remembering nothing; a dozen operations are few enough. */
#include "engine.h"

#include <string.h>

#define MAX_OPS 16
#define MAX_STATE 256

static struct {
    unsigned int n;
    struct hist_op ops[MAX_OPS];
    bool returned[MAX_OPS];
    uint32_t returned_clock[MAX_OPS]; /* of its thread, at its return */
    bool before[MAX_OPS][MAX_OPS];    /* [a][b]: a returned before b was called */
    bool (*apply)(void *state, const struct hist_op *op);
    size_t size;
} hist;

void hist_reset(void)
{
    hist.n = 0;
}

int hist_call(int kind, uint64_t arg0, uint64_t arg1)
{
    unsigned int op = hist.n;

    if (op == MAX_OPS) {
        explore_fail("more than %d operations in the history", MAX_OPS);
    }
    hist.n++;
    hist.ops[op] = (struct hist_op){.thread = explore_self(), .kind = kind, .arg = {arg0, arg1}};
    hist.returned[op] = false;
    for (unsigned int a = 0; a < op; a++) {
        bool weak = explore_memory() != MEMORY_SC && explore_self() != ALONE && hist.ops[a].thread != ALONE;
        hist.before[a][op] = hist.returned[a] && (!weak || hist.ops[a].thread == explore_self() ||
                                                  memory_clock_before(hist.ops[a].thread, hist.returned_clock[a]));
    }
    return (int)op;
}

void hist_return(int op, uint64_t result)
{
    hist.ops[op].result = result;
    hist.returned[op] = true;
    hist.returned_clock[op] = explore_self() == ALONE ? 0 : memory_clock();
}

static bool place(unsigned int placed, const void *state)
{
    unsigned char next[MAX_STATE];

    if (placed == (1u << hist.n) - 1) {
        return true;
    }
    for (unsigned int op = 0; op < hist.n; op++) {
        bool possible = !(placed >> op & 1);
        for (unsigned int a = 0; a < op && possible; a++) {
            possible = !hist.before[a][op] || (placed >> a & 1);
        }
        if (!possible) {
            continue;
        }
        memcpy(next, state, hist.size);
        if (hist.apply(next, &hist.ops[op]) && place(placed | 1u << op, next)) {
            return true;
        }
    }
    return false;
}

void hist_check(const void *state, size_t size, bool (*apply)(void *state, const struct hist_op *op))
{
    hist.apply = apply;
    hist.size = size;
    if (size > MAX_STATE) {
        explore_fail("state of %zu bytes", size);
    }
    for (unsigned int op = 0; op < hist.n; op++) {
        if (!hist.returned[op]) {
            explore_fail("operation %u never returned", op);
        }
        engine_trace(NULL, "history: T%d operation %d (%llx, %llx) returned %llx", hist.ops[op].thread,
                     hist.ops[op].kind, (unsigned long long)hist.ops[op].arg[0],
                     (unsigned long long)hist.ops[op].arg[1], (unsigned long long)hist.ops[op].result);
    }
    if (!place(0, state)) {
        explore_fail("the history of %u operations is not linearizable", hist.n);
    }
}
