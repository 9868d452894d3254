/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Working sets. With an odd first byte the rest is a saved set, which is made to pass its checksum if the second byte
 * is odd; what is accepted is saved as it was. With an even one the rest says which pages some runs touched; the sets
 * and their combinations are compared with counts per page.
 */
#include <string.h>

#include <pagelock/workset.h>

#include "fuzz.h"

enum { PAGES = 512, RUNS = 4, CHECKSUM = 4 };

static uint32_t crc32_of(const uint8_t *bytes, size_t size)
{
    uint32_t crc = UINT32_MAX;

    for (size_t i = 0; i < 8 * size; i++) {
        unsigned bit = bytes[i / 8] >> i % 8 & 1;

        crc = (crc & 1) != bit ? crc >> 1 ^ UINT32_C(0xedb88320) : crc >> 1;
    }
    return ~crc;
}

/* The clusters are in order, small enough, and found from each of their ends. Looks at the first ones. */
static void check_clusters(const struct pgl_workset *set)
{
    struct pgl_pager_range cluster, found;
    uint64_t at = 0;

    for (unsigned n = 0; n < 1000 && pgl_workset_next(set, at, &cluster); n++) {
        CHECK(cluster.first >= at && cluster.first <= cluster.last);
        CHECK(cluster.last - cluster.first < PGL_WORKSET_CLUSTER && cluster.last < PGL_WORKSET_PAGES_MAX);
        CHECK(pgl_workset_find(set, cluster.first, &found) && found.first == cluster.first);
        CHECK(pgl_workset_find(set, cluster.last, &found) && found.last == cluster.last);
        at = cluster.last + 1;
    }
}

static void load(const uint8_t *data, size_t size, bool seal)
{
    uint8_t *bytes = malloc(size + CHECKSUM);
    uint8_t *again = malloc(size + CHECKSUM);
    const char *why = NULL;
    struct pgl_workset *set;
    size_t used = 0;

    CHECK(bytes && again);
    memcpy(bytes, data, size);
    if (seal) {
        uint32_t crc = crc32_of(data, size);

        for (unsigned i = 0; i < CHECKSUM; i++) {
            bytes[size++] = (uint8_t)(crc >> 8 * i);
        }
    }
    set = pgl_workset_load(bytes, size, NULL, &used, &why);
    CHECK(!set == !!why);
    if (set) {
        CHECK(used <= size && pgl_workset_save(set, again, size) == used && memcmp(bytes, again, used) == 0);
        check_clusters(set);
        pgl_workset_free(set);
    }
    free(bytes);
    free(again);
}

static void check_pages(const struct pgl_workset *set, const unsigned *counts, unsigned least, bool bridged)
{
    struct pgl_pager_range cluster;
    struct pgl_workset_info info;
    uint64_t npages = 0;

    for (unsigned page = 0; page < PAGES; page++) {
        bool found = pgl_workset_find(set, page, &cluster);

        CHECK(found || counts[page] < least);
        CHECK(bridged || !found || counts[page] >= least);
        npages += counts[page] >= least;
        if (found) {
            CHECK(counts[cluster.first] >= least && counts[cluster.last] >= least);
        }
    }
    pgl_workset_get_info(set, &info);
    CHECK(info.pages == npages && info.cluster_pages >= npages);
    check_clusters(set);
}

/* A recorded page gets its cluster, and any other one an aligned block, or nothing. */
static void check_decisions(const struct pgl_workset *set, struct input *input)
{
    uint32_t doubts = eat(input);

    for (unsigned n = eat(input) % 64; n > 0; n--) {
        const struct pgl_cluster_args args = {.demand = eat_bytes(input, 2) % PAGES,
                                              .object_last = PAGES - 1,
                                              .row = {.before = 63, .after = 63},
                                              .budget = UINT64_MAX};
        struct pgl_cluster chosen;
        struct pgl_pager_range own;
        bool recorded = pgl_workset_find(set, args.demand, &own);
        enum pgl_reason reason = pgl_workset_decide(set, &doubts, &args, &chosen);

        CHECK((reason == PGL_REASON_RECORDED) == recorded);
        CHECK(!recorded || (chosen.first == own.first && chosen.last == own.last));
        CHECK(reason == PGL_REASON_RECORDED || reason == PGL_REASON_START || reason == PGL_REASON_OUTSIDE);
        if (reason == PGL_REASON_START) {
            CHECK(chosen.first <= args.demand && args.demand <= chosen.last);
            CHECK(chosen.first / 64 == chosen.last / 64);
        }
    }
}

static void combine(struct input *input)
{
    const struct pgl_costs costs = {1 + eat(input) % 16 * UINT64_C(1000), 1000};
    const struct pgl_workset *sets[RUNS];
    unsigned counts[PAGES] = {0};
    unsigned nsets = 1 + eat(input) % RUNS;

    for (unsigned i = 0; i < nsets; i++) {
        struct pgl_recording *recording = pgl_recording_new(PAGES);
        unsigned own[PAGES] = {0};

        CHECK(recording);
        for (unsigned n = 1 + eat(input) % 16; n > 0; n--) {
            uint64_t first = eat_bytes(input, 2) % (PAGES + 8), npages = eat(input) % 200;

            for (uint64_t page = first; page < first + npages; page++) {
                pgl_recording_touch(recording, page);
                if (page < PAGES) {
                    own[page] = 1;
                }
            }
        }
        sets[i] = pgl_workset_new(recording, NULL, &costs);
        CHECK(sets[i]);
        check_pages(sets[i], own, 1, costs.fault_ns >= costs.page_ns);
        for (unsigned page = 0; page < PAGES; page++) {
            counts[page] += own[page];
        }
        pgl_recording_free(recording);
    }
    for (unsigned least = 1; least <= nsets + 1; least++) {
        struct pgl_workset *set = pgl_workset_combine(sets, nsets, least, &costs);

        CHECK(set);
        check_pages(set, counts, least, costs.fault_ns >= costs.page_ns);
        check_decisions(set, input);
        pgl_workset_free(set);
    }
    for (unsigned i = 0; i < nsets; i++) {
        pgl_workset_free((struct pgl_workset *)(uintptr_t)sets[i]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, data + size};

    if (size < 2) {
        return 0;
    }
    if (eat(&input) % 2 != 0) {
        load(data + 2, size - 2, data[1] % 2 != 0);
    } else {
        combine(&input);
    }
    return 0;
}
