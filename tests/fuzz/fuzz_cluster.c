/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The cluster calculator against an oracle that deals out the budget page by page, to one side and the other, and asks
 * of each page by itself whether it may come along.
 */
#include <string.h>

#include <pagelock/advice.h>

#include "fuzz.h"

__extension__ typedef __int128 wide;

enum { ROW_MAX = 200 };

/* Which pages are eligible: a few bytes from the input, repeated for ever from some page on. */
struct pattern {
    uint64_t offset;
    uint8_t bytes[8];
    bool dense;
};

static bool page_eligible(const void *arg, uint64_t index)
{
    const struct pattern *pattern = arg;
    uint64_t at = index - pattern->offset;

    if (pattern->dense && at % 64) {
        return true;
    }
    return pattern->bytes[at / 8 % 8] >> at % 8 & 1;
}

static uint64_t word_eligible(const void *arg, uint64_t number)
{
    uint64_t word = 0;

    for (unsigned bit = 0; bit < 64; bit++) {
        word |= (uint64_t)page_eligible(arg, 64 * number + bit) << bit;
    }
    return word;
}

/* ---- the oracle ---- */

static bool shows(const struct pgl_view *view, wide index)
{
    wide theirs;

    if (!view) {
        return true;
    }
    theirs = index - view->object_first + view->first;
    return index >= view->object_first && theirs >= view->first && theirs <= view->last;
}

static bool within(const struct pgl_cluster_args *args, wide index)
{
    return index >= 0 && index <= args->object_last && shows(args->entry, index) && shows(args->pager, index);
}

/* Whether page @n on a side, counted from 1, may come along when all before it do. */
static bool may_come(const struct pgl_cluster_args *args, const struct pattern *pattern, wide n, bool after)
{
    wide index = after ? args->demand + n : args->demand - n;

    return n <= (after ? args->row.after : args->row.before) && within(args, index) &&
           (!pattern || page_eligible(pattern, (uint64_t)index));
}

static struct pgl_cluster deal(const struct pgl_cluster_args *args, const struct pattern *pattern)
{
    struct pgl_cluster cluster = {.first = args->demand, .last = args->demand};
    bool room[2] = {true, true}; /* before, after */
    uint64_t n[2] = {0, 0}, dealt = 0;
    bool after = true;

    while (dealt < args->budget && (room[0] || room[1])) {
        if (room[after] && may_come(args, pattern, (wide)n[after] + 1, after)) {
            n[after]++;
            dealt++;
        } else {
            room[after] = false;
        }
        if (!args->forward || !room[1]) {
            after = !after;
        }
    }
    cluster.first -= n[0];
    cluster.last += n[1];
    while (cluster.behind_last < args->row.behind && within(args, (wide)cluster.first - 1 - cluster.behind_last)) {
        cluster.behind_last++;
    }
    if (cluster.behind_last) {
        cluster.has_behind = true;
        cluster.behind_first = cluster.first - cluster.behind_last;
        cluster.behind_last = cluster.first - 1;
    }
    return cluster;
}

/* ---- choosing ---- */

/* Near an end of the 64-bit space, near another page, or anywhere. */
static uint64_t any_page(struct input *input, uint64_t other)
{
    unsigned choice = eat(input);
    uint64_t distance = eat(input);

    switch (choice % 5) {
    case 0:
        return distance;
    case 1:
        return UINT64_MAX - distance;
    case 2:
        return other + distance;
    case 3:
        return other - distance;
    default:
        return eat_bytes(input, 8);
    }
}

static struct pgl_view any_view(struct input *input, uint64_t demand)
{
    struct pgl_view view;

    view.object_first = any_page(input, demand);
    view.first = any_page(input, view.object_first);
    view.last = any_page(input, view.first);
    return view;
}

static bool same(const struct pgl_cluster *a, const struct pgl_cluster *b)
{
    return a->first == b->first && a->last == b->last && a->has_behind == b->has_behind &&
           (!a->has_behind || (a->behind_first == b->behind_first && a->behind_last == b->behind_last));
}

static void compare(struct pgl_cluster_args *args, const struct pattern *pattern)
{
    struct pgl_cluster cluster = {.first = 1}, again = {.first = 1}, wanted, more;
    bool decided = pgl_cluster_decide(args, &cluster);

    CHECK(decided == within(args, args->demand));
    if (!decided) {
        CHECK(cluster.first == 1 && cluster.last == 0);
        return;
    }
    wanted = deal(args, pattern);
    CHECK(same(&cluster, &wanted));
    if (pattern) {
        args->eligible = (struct pgl_eligible){.page = page_eligible, .arg = pattern};
        CHECK(pgl_cluster_decide(args, &again) && same(&cluster, &again));
    }
    args->budget += args->budget < UINT64_MAX;
    CHECK(pgl_cluster_decide(args, &more));
    CHECK(more.first <= cluster.first && more.last >= cluster.last);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, data + size};
    unsigned choice = eat(&input);
    struct pattern pattern = {.dense = choice & 1};
    struct pgl_cluster_args args = {.forward = choice >> 1 & 1};
    struct pgl_view entry, pager;

    args.demand = any_page(&input, 0);
    args.object_last = any_page(&input, args.demand);
    args.row.before = eat(&input) % ROW_MAX;
    args.row.after = eat(&input) % ROW_MAX;
    args.row.behind = eat(&input) % ROW_MAX;
    args.budget = choice & 4 ? any_page(&input, 0) : eat(&input);
    entry = any_view(&input, args.demand);
    pager = any_view(&input, args.demand);
    args.entry = choice & 8 ? &entry : NULL;
    args.pager = choice & 16 ? &pager : NULL;
    pattern.offset = args.demand - eat(&input);
    for (unsigned i = 0; i < 8; i++) {
        pattern.bytes[i] = (uint8_t)(eat(&input) ^ 0xff);
    }
    if (choice & 32) {
        args.eligible = (struct pgl_eligible){.word = word_eligible, .arg = &pattern};
    }
    compare(&args, choice & 32 ? &pattern : NULL);
    return 0;
}
