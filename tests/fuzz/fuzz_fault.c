/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The fault driver with a pager that does what the input says: answers at once, later, in part, in any order, wrongly,
 * not at all, or with an error; while memory runs short, hooks fail, faults are interrupted, maps and objects change.
 * One thread: faults are started and continued, so every order of the steps of several faults can be had.
 *
 * After each step every object is sound, and an answer has to have a reason. In the end everything is answered: no
 * fault may still be waiting, nothing marked, nothing outstanding, nothing allocated.
 */
#include <errno.h>
#include <string.h>

#include <pagelock/fault.h>

#include "fuzz.h"
#include <pagelock/workset.h>

#include "../fault/sim.h"

enum {
    NOBJECTS = 4,
    BASE = 1004, /* the first page that is touched: the pages lie on both sides of where a stripe ends */
    NPAGES = 40, /* that are touched */
    OBJECT_PAGES = BASE + NPAGES,
    MAP_PAGES = 96,
    NFAULTS = 4,
    NREQUESTS = 32,
    NWIRES = 32,
    PAGER_FIRST = 1000, /* the pager's page of an object's page 0 */
};

enum answer {
    ANSWER_KEEP,
    ANSWER_NOW,
    ANSWER_PART,
    ANSWER_NO_DATA,
    ANSWER_ERROR,
    ANSWER_REFUSE,
    ANSWERS,
};

/* Events that may be the reason of an answer. */
enum reason {
    REASON_EAGAIN = 1,
    REASON_EINTR = 2,
    REASON_SHORTAGE = 4,
    REASON_ERROR = 8,
    REASON_NO_DATA = 16,
};

struct world;

struct one_fault {
    struct world *world;
    struct pgl_fault *fault;
    struct pgl_fault_args args;
    bool pending;
    unsigned interrupts; /* that may still come to something: one ends this fault or a later one, or is like another */
    unsigned ready;      /* calls since it became pending */
};

/* A request that was kept, to be answered later, perhaps more than once. */
struct kept {
    struct pgl_request request;
    bool data;
    bool wrong;     /* another access than the request's */
    uint64_t taken; /* pages that replies took, all in all */
};

struct world {
    struct input input;
    struct sim sim[NOBJECTS]; /* the first member of each is what scripts are called with */
    struct sim_injector injector;
    struct pgl_object *object[NOBJECTS];
    struct pgl_map *map;
    struct pgl_workset *set; /* of pages of each pager */
    struct one_fault fault[NFAULTS];
    struct kept kept[NREQUESTS];
    unsigned nkept;
    struct pgl_fault_page wire[NWIRES];
    unsigned nwires;
    int8_t mapped[MAP_PAGES];         /* the object seen there, or -1 */
    bool bad[NOBJECTS][OBJECT_PAGES]; /* in error for certain: to be asked for alone */
    unsigned reasons;
    bool draining;
};

static struct world *the_world; /* scripts know their sim only */

/* ---- the pager ---- */

static unsigned object_number(const struct world *world, const struct pgl_object *object)
{
    unsigned n = 0;

    while (n < NOBJECTS && world->object[n] != object) {
        n++;
    }
    CHECK(n < NOBJECTS);
    return n;
}

/* Pages [first, last] of a pager, as far as there are such. */
static void note_bad(struct world *world, const struct pgl_object *object, uint64_t first, uint64_t last, bool bad)
{
    for (uint64_t page = first; page <= last && page < PAGER_FIRST + OBJECT_PAGES; page++) {
        world->bad[object_number(world, object)][page - PAGER_FIRST] = bad;
    }
}

static void reply(struct world *world, struct kept *kept, unsigned how, uint64_t first, uint64_t last,
                  enum pgl_access access)
{
    const struct pgl_request *request = &kept->request;
    struct sim *sim = &world->sim[object_number(world, request->object)];
    struct pgl_pager_range range = {first, last};
    uint64_t size = request->range.last - request->range.first + 1, taken;

    switch (how) {
    case ANSWER_NO_DATA:
        /* no data is no answer to a request for access: it is an error */
        world->reasons |= kept->data ? REASON_NO_DATA : REASON_ERROR;
        taken = pgl_pager_no_data(request->object, request->id, range);
        note_bad(world, request->object, first, last, false);
        break;
    case ANSWER_ERROR:
        world->reasons |= REASON_ERROR;
        taken = pgl_pager_error(request->object, request->id, range);
        if (kept->data && !kept->wrong && last <= request->range.last && taken == last - first + 1) {
            note_bad(world, request->object, first, last, true);
        }
        break;
    default:
        if (kept->data) {
            taken = sim_supply(sim, request, first, last, access);
        } else {
            taken = pgl_pager_grant(request->object, request->id, range, access);
        }
    }
    kept->taken += taken;
    CHECK(kept->taken <= size);
}

static enum pgl_access any_access(struct world *world)
{
    static const enum pgl_access accesses[] = {PGL_ACCESS_WRITE, PGL_ACCESS_READ, PGL_ACCESS_NONE, PGL_ACCESS_WRITE};

    return accesses[eat(&world->input) % 4];
}

/* A part of the request, or something that reaches beyond it. */
static void any_part(struct world *world, const struct pgl_request *request, uint64_t *first, uint64_t *last)
{
    uint64_t size = request->range.last - request->range.first + 1;

    *first = request->range.first + eat(&world->input) % size;
    *last = *first + eat(&world->input) % (size + 2);
}

static void reply_somehow(struct world *world, struct kept *kept)
{
    unsigned how = eat(&world->input);
    uint64_t first = kept->request.range.first, last = kept->request.range.last;

    if (how & 64) {
        any_part(world, &kept->request, &first, &last);
    }
    if (how & 32) {
        struct kept wrong = *kept;

        wrong.wrong = true;
        wrong.data ^= eat(&world->input) & 1;
        wrong.request.id -= eat(&world->input) % 4;
        wrong.taken = 0;
        world->reasons |= REASON_ERROR;
        reply(world, &wrong, how % ANSWERS, first, last, any_access(world));
    }
    reply(world, kept, how % ANSWERS, first, last, any_access(world));
}

static int refuse(struct world *world)
{
    static const int errors[] = {EAGAIN, EINTR, ENOMEM, EIO};
    static const unsigned reasons[] = {REASON_EAGAIN, REASON_EINTR, REASON_SHORTAGE, REASON_ERROR};
    unsigned n = eat(&world->input) % 4;

    world->reasons |= reasons[n];
    return errors[n];
}

static int script(struct sim *sim, const struct pgl_request *request, bool data)
{
    struct world *world = the_world;
    struct kept kept = {.request = *request, .data = data};
    uint64_t first, last;

    CHECK(&world->sim[object_number(world, request->object)] == sim);
    CHECK(request->range.first <= request->pager_demand && request->pager_demand <= request->range.last);
    CHECK(request->range.first >= PAGER_FIRST && request->range.last < PAGER_FIRST + OBJECT_PAGES);
    for (uint64_t page = request->range.first; page <= request->range.last; page++) {
        CHECK(page == request->pager_demand || !world->bad[object_number(world, request->object)][page - PAGER_FIRST]);
    }
    if (world->draining) {
        reply(world, &kept, ANSWER_NOW, request->range.first, request->range.last, PGL_ACCESS_WRITE);
        return 0;
    }
    switch (eat(&world->input) % ANSWERS) {
    case ANSWER_REFUSE:
        return refuse(world);
    case ANSWER_NOW:
        return sim_now(sim, request, data);
    case ANSWER_NO_DATA:
        reply(world, &kept, ANSWER_NO_DATA, request->range.first, request->range.last, PGL_ACCESS_NONE);
        return 0;
    case ANSWER_ERROR:
        reply(world, &kept, ANSWER_ERROR, request->range.first, request->range.last, PGL_ACCESS_NONE);
        return 0;
    case ANSWER_PART:
        any_part(world, request, &first, &last);
        reply(world, &kept, ANSWER_NOW, first, last, any_access(world));
        break;
    default:
        break;
    }
    if (world->nkept == NREQUESTS) {
        return refuse(world); /* after a part, too */
    }
    world->kept[world->nkept++] = kept;
    return 0;
}

/* ---- answers ---- */

static void ready(void *arg)
{
    struct one_fault *one = arg;

    CHECK(one->ready++ == 0);
}

/* The bytes of a page of @object: zeros, or what the pager of the object, or of one below it, has. */
static bool content_is_right(const struct world *world, const struct pgl_fault_page *page)
{
    unsigned n = object_number(world, page->object);
    uint64_t pager_index = PAGER_FIRST + page->index;

    if (sim_frame_is_zero(page->frame) || sim_frame_is(page->frame, world->sim[n].tag, pager_index)) {
        return true;
    }
    /* object 1 is a shadow of object 0, and 2 one of 1, each from page 1 on */
    for (; (n == 1 || n == 2); n--) {
        if (sim_frame_is(page->frame, world->sim[n - 1].tag, ++pager_index)) {
            return true;
        }
    }
    return false;
}

static void check_success(struct world *world, const struct one_fault *one, const struct pgl_fault_page *page)
{
    CHECK((page->access & one->args.access) == one->args.access);
    CHECK(pgl_object_resident(page->object, page->index));
    CHECK(content_is_right(world, page));
    if (one->args.access == PGL_ACCESS_WRITE && one->args.object) {
        CHECK(page->object == one->args.object && page->index == one->args.index);
    }
    if (!(one->args.flags & PGL_FAULT_FLAG_WIRE)) {
        return;
    }
    if (world->nwires < NWIRES) {
        world->wire[world->nwires++] = *page;
    } else {
        CHECK(pgl_object_unwire(page->object, page->index));
    }
}

static bool is_mapped(const struct world *world, const struct pgl_fault_args *args)
{
    if (args->map) {
        return args->index < MAP_PAGES && world->mapped[args->index] >= 0;
    }
    return args->index < OBJECT_PAGES;
}

static void check_result(struct world *world, struct one_fault *one, enum pgl_fault_result result,
                         const struct pgl_fault_page *page)
{
    one->pending = result == PGL_FAULT_PENDING;
    if (one->pending) {
        return;
    }
    CHECK(one->ready == 0);
    switch (result) {
    case PGL_FAULT_SUCCESS:
        check_success(world, one, page);
        break;
    case PGL_FAULT_RETRY:
        CHECK(one->args.flags & PGL_FAULT_FLAG_NO_WAIT || world->reasons & REASON_EAGAIN);
        break;
    case PGL_FAULT_INTERRUPTED:
        CHECK(one->interrupts || world->reasons & REASON_EINTR);
        one->interrupts -= one->interrupts > 0;
        break;
    case PGL_FAULT_MEMORY_SHORTAGE:
        CHECK(world->reasons & REASON_SHORTAGE);
        break;
    case PGL_FAULT_MEMORY_ERROR:
        CHECK(world->reasons & REASON_ERROR);
        break;
    case PGL_FAULT_NO_DATA:
        CHECK(one->args.flags & PGL_FAULT_FLAG_RESIDENT || world->reasons & REASON_NO_DATA);
        break;
    case PGL_FAULT_NO_ENTRY:
        CHECK(!is_mapped(world, &one->args));
        break;
    default:
        CHECK(!"a result that does not exist");
    }
}

static void say(const char *what, void *number)
{
    fprintf(stderr, "object %u: %s\n", *(unsigned *)number, what);
}

static void check_objects(struct world *world)
{
    for (unsigned i = 0; i < NOBJECTS; i++) {
        CHECK(pgl_object_check(world->object[i], say, &i) == 0);
        for (uint64_t page = 0; page < OBJECT_PAGES; page++) {
            world->bad[i][page] = world->bad[i][page] && !pgl_object_resident(world->object[i], page);
        }
    }
}

/* ---- steps ---- */

static struct pgl_object *any_object(struct world *world)
{
    return world->object[eat(&world->input) % NOBJECTS];
}

static void step_fault(struct world *world)
{
    struct one_fault *one = &world->fault[eat(&world->input) % NFAULTS];
    unsigned choice = eat(&world->input), index = eat(&world->input);
    struct pgl_fault_page page = {0};

    if (one->pending) {
        return;
    }
    one->args = (struct pgl_fault_args){
        .access = choice & 1          ? PGL_ACCESS_WRITE
                  : (choice & 6) == 6 ? PGL_ACCESS_NONE
                                      : PGL_ACCESS_READ,
        .flags = choice >> 4 | (index & 128 ? PGL_FAULT_FLAG_UNINTERRUPTIBLE : 0),
    };
    if (choice & 8) {
        one->args.object = any_object(world);
        one->args.index = BASE + index % (NPAGES + 1);
    } else {
        one->args.map = world->map;
        one->args.index = index % (MAP_PAGES + 1);
    }
    one->ready = 0;
    check_result(world, one, pgl_fault_start(one->fault, &one->args, &page, ready, one), &page);
}

static void go_on(struct world *world, struct one_fault *one)
{
    struct pgl_fault_page page = {0};

    if (!one->pending || !one->ready) {
        return;
    }
    one->ready = 0;
    check_result(world, one, pgl_fault_continue(one->fault, &page), &page);
}

static void step_continue(struct world *world)
{
    go_on(world, &world->fault[eat(&world->input) % NFAULTS]);
}

static void step_reply(struct world *world)
{
    if (world->nkept) {
        reply_somehow(world, &world->kept[eat(&world->input) % world->nkept]);
    }
}

static void step_interrupt(struct world *world)
{
    struct one_fault *one = &world->fault[eat(&world->input) % NFAULTS];

    one->interrupts++;
    pgl_fault_interrupt(one->fault);
}

static void step_remove(struct world *world)
{
    uint64_t first = BASE + eat(&world->input) % NPAGES, last = first + eat(&world->input) % NPAGES;

    CHECK(pgl_object_remove(any_object(world), first, last) <= OBJECT_PAGES);
}

/* Pages lose access, or come without a request. */
static void step_withhold_or_offer(struct world *world)
{
    uint64_t first = PAGER_FIRST + BASE + eat(&world->input) % NPAGES;
    unsigned choice = eat(&world->input);
    struct pgl_pager_range range = {first, first + choice % 8};
    struct pgl_object *object = any_object(world);
    enum pgl_access access = any_access(world);

    if (choice & 128) {
        CHECK(sim_offer(&world->sim[object_number(world, object)], object, range.first, range.last, access) <= 8);
    } else {
        CHECK(pgl_pager_withhold(object, range, access) <= OBJECT_PAGES);
    }
}

static void step_unwire(struct world *world)
{
    struct pgl_fault_page *wire;

    if (!world->nwires) {
        return;
    }
    wire = &world->wire[eat(&world->input) % world->nwires];
    if (wire->index % 2) {
        CHECK(pgl_object_unwire(wire->object, wire->index));
    } else {
        CHECK(pgl_fault_unwire(&(struct pgl_fault_args){.object = wire->object, .index = wire->index}, 1) == 1);
    }
    *wire = world->wire[--world->nwires];
}

static void check_touch(void *arg, uint64_t index)
{
    CHECK(arg == the_world && index >= PAGER_FIRST + BASE && index < PAGER_FIRST + OBJECT_PAGES);
}

/* An object follows the working set, or is watched, or no more. */
static void record(struct world *world, unsigned choice)
{
    struct pgl_object *object = any_object(world);

    if (choice % 4 < 2) {
        pgl_object_set_workset(object, choice % 2 != 0 ? world->set : NULL);
    } else {
        pgl_object_watch(object, choice % 2 != 0 ? check_touch : NULL, world);
    }
}

static void step_advise(struct world *world)
{
    unsigned choice = eat(&world->input), first = eat(&world->input) % MAP_PAGES;
    unsigned last = first + eat(&world->input) % 16;
    struct pgl_advice_table table = *pgl_advice_shipped();
    enum pgl_advice advice = (enum pgl_advice)(choice / 4 % (PGL_ADVICE_COUNT + 1));
    struct pgl_costs costs;

    if (choice >= 192) {
        record(world, choice);
        return;
    }
    switch (choice % 4) {
    case 0:
        CHECK(pgl_object_advise(any_object(world), advice) == pgl_advice_valid((int)advice));
        break;
    case 1:
        table.row[advice % PGL_ADVICE_COUNT].before = eat(&world->input) % NPAGES;
        table.row[advice % PGL_ADVICE_COUNT].after = eat(&world->input) % NPAGES;
        pgl_object_set_table(any_object(world), &table);
        break;
    case 2:
        costs.fault_ns = eat_bytes(&world->input, 5);
        costs.page_ns = eat_bytes(&world->input, 5);
        CHECK(pgl_object_set_costs(any_object(world), &costs) == !pgl_costs_explain(&costs));
        break;
    default:
        pgl_map_advise(world->map, first, last, advice);
    }
}

static void step_map(struct world *world)
{
    unsigned first = eat(&world->input) % MAP_PAGES, n = eat(&world->input);
    unsigned last = first + n / 2 % 24;

    if (last >= MAP_PAGES) {
        last = MAP_PAGES - 1;
    }
    if (n % 2) {
        if (pgl_map_remove(world->map, first, last)) {
            memset(&world->mapped[first], -1, last - first + 1);
        }
    } else {
        struct pgl_object *object = any_object(world);
        uint64_t object_first = BASE + eat(&world->input) % NPAGES;

        if (pgl_map_enter(world->map, first, last, object, object_first, PGL_ADVICE_NORMAL)) {
            CHECK(object_first + (last - first) < OBJECT_PAGES);
            for (unsigned page = first; page <= last; page++) {
                CHECK(world->mapped[page] < 0);
                world->mapped[page] = (int8_t)object_number(world, object);
            }
        }
    }
}

static void step_memory(struct world *world)
{
    unsigned n = eat(&world->input);

    world->reasons |= REASON_SHORTAGE;
    for (unsigned i = 0; i < NOBJECTS; i++) {
        world->sim[i].nframes = n % 32;
        world->sim[i].reserve = n / 32;
    }
}

/* Let one of the next hooks fail. */
static void step_inject(struct world *world)
{
    world->reasons |= REASON_SHORTAGE | REASON_ERROR;
    world->injector.at = world->injector.calls + 1 + eat(&world->input) % 16;
}

static void step_ready(struct world *world)
{
    pgl_object_set_ready(any_object(world));
}

static void step_terminate(struct world *world)
{
    if (eat(&world->input) % 8) {
        return;
    }
    world->reasons |= REASON_ERROR;
    pgl_object_terminate(any_object(world));
}

static void (*const steps[])(struct world *) = {
    step_fault,
    step_fault,
    step_fault,
    step_fault,
    step_continue,
    step_continue,
    step_reply,
    step_reply,
    step_interrupt,
    step_remove,
    step_withhold_or_offer,
    step_unwire,
    step_advise,
    step_map,
    step_memory,
    step_inject,
    step_ready,
    step_terminate,
};

/* ---- a run ---- */

/* 0 has a pager; 1 shadows it, 2 shadows 1, with a pager or without; 3 has a pager and few credits. */
static void make_objects(struct world *world)
{
    unsigned choice = eat(&world->input);

    for (unsigned i = 0; i < NOBJECTS; i++) {
        struct sim *sim = &world->sim[i];
        struct pgl_object_config config = sim_config(sim, OBJECT_PAGES);

        sim->script = script;
        sim->tag = i + 1;
        sim->injector = &world->injector;
        config.pager_range = (struct pgl_pager_range){PAGER_FIRST, PAGER_FIRST + OBJECT_PAGES - 1};
        config.advice = PGL_ADVICE_NORMAL;
        config.internal = choice >> i & 1;
        config.pager_unready = choice >> 6 == i;
        config.unlock_clusters = (choice >> i ^ choice >> (i + 1)) & 1;
        if (i == 1 || i == 2) {
            config.backing = world->object[i - 1];
            config.backing_first = 1;
            if (choice >> (3 + i) & 1) {
                config.pager_ops = NULL;
            }
        }
        if (i == 3) {
            config.credits = 1 + eat(&world->input) % 8;
        }
        world->object[i] = pgl_object_new(&config);
        CHECK(world->object[i]);
    }
}

/* Stretches of three pages, with two between them and then three. */
static void make_set(struct world *world)
{
    struct pgl_recording *recording = pgl_recording_new(PAGER_FIRST + OBJECT_PAGES);

    CHECK(recording);
    for (uint64_t page = BASE; page < OBJECT_PAGES; page++) {
        if (page % 11 < 3 || (page % 11 >= 5 && page % 11 < 8)) {
            pgl_recording_touch(recording, PAGER_FIRST + page);
        }
    }
    world->set = pgl_workset_new(recording, NULL, NULL);
    CHECK(world->set);
    pgl_recording_free(recording);
}

static void begin(struct world *world)
{
    make_set(world);
    world->injector.error = EIO;
    memset(world->mapped, -1, sizeof(world->mapped));
    make_objects(world);
    world->map = pgl_map_new(&sim_heap_ops, &world->sim[0]);
    CHECK(world->map);
    for (unsigned i = 0; i < 3; i++) {
        CHECK(pgl_map_enter(world->map, 30 * i, 30 * i + 19, world->object[1 + i], BASE + 5, PGL_ADVICE_DEFAULT));
        memset(&world->mapped[30 * i], (int)(1 + i), 20);
    }
    for (unsigned i = 0; i < NFAULTS; i++) {
        world->fault[i].world = world;
        world->fault[i].fault = pgl_fault_new();
        CHECK(world->fault[i].fault);
    }
}

/* Everything that a fault may wait for happens: then no fault waits. */
static void drain(struct world *world)
{
    bool pending = true;

    world->draining = true;
    world->injector.at = 0;
    for (unsigned i = 0; i < NOBJECTS; i++) {
        world->sim[i].nframes = 0;
        pgl_object_set_ready(world->object[i]);
    }
    for (unsigned i = 0; i < world->nkept; i++) {
        const struct pgl_pager_range *range = &world->kept[i].request.range;

        reply(world, &world->kept[i], ANSWER_NOW, range->first, range->last, PGL_ACCESS_WRITE);
    }
    while (pending) {
        pending = false;
        for (unsigned i = 0; i < NFAULTS; i++) {
            struct one_fault *one = &world->fault[i];

            if (one->pending && one->ready) {
                go_on(world, one);
                pending = true;
            }
        }
    }
    for (unsigned i = 0; i < NFAULTS; i++) {
        CHECK(!world->fault[i].pending);
    }
}

static void finish(struct world *world)
{
    struct pgl_object_stats stats;

    while (world->nwires--) {
        CHECK(pgl_object_unwire(world->wire[world->nwires].object, world->wire[world->nwires].index));
    }
    check_objects(world);
    for (unsigned i = 0; i < NOBJECTS; i++) {
        pgl_object_get_stats(world->object[i], &stats);
        CHECK(stats.busy == 0 && stats.outstanding == 0 && stats.waiting == 0);
        CHECK(stats.resident <= OBJECT_PAGES);
    }
    for (unsigned i = 0; i < NFAULTS; i++) {
        pgl_fault_free(world->fault[i].fault);
    }
    pgl_map_free(world->map);
    for (unsigned i = NOBJECTS; i-- > 0;) {
        pgl_object_unref(world->object[i]);
    }
    pgl_workset_free(world->set);
    for (unsigned i = 0; i < NOBJECTS; i++) {
        CHECK(world->sim[i].frames_used == 0 && world->sim[i].blocks_used == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct world world = {.input = {data, data + size}};

    the_world = &world;
    begin(&world);
    while (world.input.at < world.input.end) {
        steps[eat(&world.input) % (sizeof(steps) / sizeof(steps[0]))](&world);
        check_objects(&world);
    }
    drain(&world);
    finish(&world);
    return 0;
}
