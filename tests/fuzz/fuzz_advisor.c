/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The advisor over a bitmap: each cluster is one that the calculator could choose, streams are those of an array of all
 * clusters, and a second advisor that is told the same decides the same.
 */
#include <string.h>

#include <pagelock/advice.h>

#include "fuzz.h"

enum { NPAGES = 1024, NDECISIONS = 4096, NSTREAMS = 8 };

struct world {
    struct input input;
    struct pgl_advisor *advisor, *twin;
    uint64_t first; /* of the object's pages that are touched; they may end at 2^64 - 1 */
    uint64_t bitmap[NPAGES / 64];
    struct pgl_advice_row row;
    uint64_t budget;
    uint64_t next;                        /* after the last cluster */
    struct pgl_cluster streams[NSTREAMS]; /* the most recently used one first */
    unsigned nstreams;
};

static bool is_absent(const void *arg, uint64_t index)
{
    const struct world *world = arg;
    uint64_t at = index - world->first;

    return at < NPAGES && (world->bitmap[at / 64] >> at % 64 & 1) == 0;
}

static uint64_t absent_word(const void *arg, uint64_t number)
{
    uint64_t word = 0;

    for (unsigned bit = 0; bit < 64; bit++) {
        word |= (uint64_t)is_absent(arg, 64 * number + bit) << bit;
    }
    return word;
}

/* The reason that the array gives, and its streams after the decision. */
static enum pgl_reason expect(struct world *world, const struct pgl_cluster_args *args,
                              const struct pgl_cluster *cluster)
{
    enum pgl_reason reason = PGL_REASON_START;
    unsigned at = 0;

    for (; at < world->nstreams && reason == PGL_REASON_START; at++) {
        const struct pgl_cluster *stream = &world->streams[at];

        reason = stream->last < args->demand && args->demand - stream->last == 1     ? PGL_REASON_UP
                 : stream->first > args->demand && stream->first - args->demand == 1 ? PGL_REASON_DOWN
                                                                                     : PGL_REASON_START;
    }
    if (reason != PGL_REASON_START) {
        at--;
    } else if (world->nstreams < NSTREAMS) {
        world->nstreams++;
    } else {
        at = NSTREAMS - 1;
    }
    memmove(&world->streams[1], &world->streams[0], at * sizeof(*cluster));
    world->streams[0] = *cluster;
    return reason;
}

static void step_decide(struct world *world)
{
    uint64_t at = eat(&world->input) % 4 == 0 ? world->next - world->first : eat_bytes(&world->input, 2);
    const struct pgl_view view = {world->first, world->first + (NPAGES - 1), world->first};
    struct pgl_cluster_args args = {
        .demand = world->first + at % NPAGES,
        .object_last = view.last,
        .entry = &view,
        .row = world->row,
        .budget = world->budget,
        .eligible = {.word = absent_word, .arg = world},
    };
    struct pgl_cluster cluster = {0}, again = {0}, legal = {0};
    enum pgl_reason reason;

    if (!is_absent(world, args.demand)) {
        return;
    }
    reason = pgl_advisor_decide(world->advisor, &args, &cluster);
    args.eligible = (struct pgl_eligible){.page = is_absent, .arg = world};
    CHECK(pgl_advisor_decide(world->twin, &args, &again) == reason);
    CHECK(again.first == cluster.first && again.last == cluster.last);
    CHECK(cluster.first <= args.demand && cluster.last >= args.demand && cluster.last - cluster.first < 64);
    CHECK(args.demand - cluster.first <= args.row.before && cluster.last - args.demand <= args.row.after);
    CHECK(cluster.last - cluster.first <= args.budget);
    if (args.budget == 0 || (args.row.before == 0 && args.row.after == 0)) {
        CHECK(reason == PGL_REASON_ALONE && cluster.first == cluster.last);
    } else {
        CHECK(reason == expect(world, &args, &cluster));
    }
    args.row.before = (uint32_t)(args.demand - cluster.first);
    args.row.after = (uint32_t)(cluster.last - args.demand);
    args.row.behind = cluster.has_behind ? args.row.behind : 0;
    CHECK(pgl_cluster_decide(&args, &legal));
    CHECK(legal.first == cluster.first && legal.last == cluster.last && legal.has_behind == cluster.has_behind);
    CHECK(!cluster.has_behind || reason == PGL_REASON_UP);
    for (uint64_t i = cluster.first - world->first; i <= cluster.last - world->first; i++) {
        world->bitmap[i / 64] |= UINT64_C(1) << i % 64;
    }
    world->next = cluster.last + 1;
}

static void step_costs(struct world *world)
{
    struct pgl_costs costs;
    bool accepted;

    costs.fault_ns = eat_bytes(&world->input, 5);
    costs.page_ns = eat_bytes(&world->input, 5);
    accepted = !pgl_costs_explain(&costs);
    CHECK(pgl_advisor_set_costs(world->advisor, &costs) == accepted);
    CHECK(pgl_advisor_set_costs(world->twin, &costs) == accepted);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct world world = {.input = {data, data + size}, .budget = UINT64_MAX, .row = {63, 63, 32}};

    world.advisor = pgl_advisor_new(NULL);
    world.twin = pgl_advisor_new(NULL);
    CHECK(world.advisor && world.twin);
    world.first = eat(&world.input) & 1 ? UINT64_MAX - (NPAGES - 1) : eat(&world.input);
    world.next = world.first;
    for (unsigned i = 0; i < NDECISIONS && world.input.at < world.input.end; i++) {
        unsigned choice = eat(&world.input);

        switch (choice % 16) {
        case 0:
            step_costs(&world);
            break;
        case 1:
            world.row.before = eat(&world.input);
            world.row.after = eat(&world.input);
            world.row.behind = eat(&world.input);
            break;
        case 2:
            world.budget = choice & 16 ? UINT64_MAX : eat(&world.input);
            break;
        case 3: /* pages are removed */
            memset(world.bitmap, 0, eat(&world.input) % (sizeof(world.bitmap) / 8 + 1) * 8);
            break;
        default:
            step_decide(&world);
        }
    }
    pgl_advisor_free(world.advisor);
    pgl_advisor_free(world.twin);
    return 0;
}
