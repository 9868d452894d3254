/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The lessons of the advisor: see advisor_internal.h. */
#include "advisor_internal.h"

/*
 * The constants were chosen on recorded faults; docs/performance.md shows what comes of them on others.
 *
 * A decision is judged when SOON_LEAST faults and a part of those before it have passed, or SOON_MOST; and again after
 * LATER_TIMES as many, or LATER_MOST.
 */
#define SOON_LEAST 14
#define SOON_PART 5
#define SOON_MOST 39
#define LATER_TIMES 4
#define LATER_MOST 127

/* The starts among so many decisions count as recent. A byte has room for them. */
#define LATELY 20

/* The part of what is known that is kept at each observation, and at each reckoning. */
#define START_KEEPS 0.952f
#define STREAM_KEEPS 0.843f
#define LASTING_KEEPS 0.994f
#define LATER_KEEPS 0.94f
#define AGEING 0.879f

/* The chance of the seventh doubling while nothing is known; and how many observations a guess counts for. */
static const float guess_last[PGL_FAULT_KINDS] = {0.66f, 0.45f, 0.45f};
#define START_WEIGHT 5.94f
#define STREAM_WEIGHT 7.08f
#define LASTING_WEIGHT 40.2f
#define LATER_WEIGHT 11.5f

/*
 * A doubling's chance is guessed as a part of the next one's. A start's chances that fall from doubling to doubling go
 * on falling.
 */
#define START_PART 0.895f
#define STREAM_PART 1.06f
#define START_FALL 0.798f

/* The part of the chance itself with which a miss turns out to be none. */
#define START_LATER 1.09f
#define STREAM_LATER 0.28f

static inline bool is_stream(enum pgl_fault_kind kind)
{
    return kind == PGL_FAULT_UP || kind == PGL_FAULT_DOWN;
}

static inline struct pgl_past *past_of(struct pgl_advisor *advisor, uint64_t number)
{
    return &advisor->pasts[number % PGL_ADVISOR_PASTS];
}

static inline uint64_t *head_of(struct pgl_advisor *advisor, uint64_t block, bool of_stream)
{
    return &advisor->heads[(2 * block + of_stream) % PGL_ADVISOR_HEADS];
}

/* A set of the doubling that adds a page to a past's window, if one that is watched does. It branches on nothing. */
static inline unsigned doubling_of(const struct pgl_past *past, bool is_stream, uint64_t page)
{
    uint64_t above = page - past->demand;
    uint64_t aside = past->kind == PGL_FAULT_UP ? above : 0 - above;
    uint64_t bits = is_stream ? aside : page ^ past->demand;
    bool adds = (above + past->before <= past->beyond) & (bits - 1 < 127);

    return (unsigned)adds << (64 - __builtin_clzll(bits | 1)) % 8;
}

/* Mark the pasts on a block of 128 pages that would have added a page. Another block may have the same head. */
static inline void touch(struct pgl_advisor *advisor, uint64_t block, uint64_t demand)
{
    uint64_t number = *head_of(advisor, block, true);
    uint64_t forgotten = advisor->forgotten;

    while (number > forgotten) {
        struct pgl_past *past = past_of(advisor, number);

        past->touched |= (uint8_t)doubling_of(past, true, demand);
        number -= past->since;
    }
}

/* The same for starts. Returns in byte n how many were lately in the page's block of 2^n pages, and in no smaller one. */
static inline uint64_t touch_starts(struct pgl_advisor *advisor, uint64_t demand, struct pgl_room room)
{
    uint64_t number = *head_of(advisor, demand / 128, false);
    uint64_t forgotten = advisor->forgotten;
    uint64_t nfaults = advisor->nfaults;
    uint64_t lately = 0;

    while (number > forgotten) {
        struct pgl_past *past = past_of(advisor, number);
        uint64_t bits = past->demand ^ demand;

        if (bits < 128) {
            bool is_absent = past->demand - (demand - room.before) <= room.before + room.after;
            bool counts = (nfaults - number < LATELY) & !is_absent;

            past->touched |= (uint8_t)doubling_of(past, false, demand);
            lately += (uint64_t)counts << (64 - __builtin_clzll(bits | 1)) * 8;
        }
        number -= past->since;
    }
    return lately;
}

/*
 * Enter an observation of the doublings in a set, and in which of them a page was faulted on. No branch depends on the
 * sets, and a compiler turns the loop into a few vector instructions.
 */
static inline void observe(struct pgl_tries *tries, unsigned set, unsigned touched, float keeps)
{
    static const unsigned bit[PGL_ADVISOR_WATCHED + 1] = {1, 2, 4, 8, 16, 32, 64, 128};
    float loses = 1 - keeps;

    touched &= set;
    for (unsigned n = 0; n <= PGL_ADVISOR_WATCHED; n++) {
        float is_seen = (set & bit[n]) != 0 ? 1.0f : 0.0f;
        float is_touched = (touched & bit[n]) != 0 ? 1.0f : 0.0f;

        tries->seen[n] += is_seen - is_seen * (loses * tries->seen[n]);
        tries->touched[n] += is_touched - is_seen * (loses * tries->touched[n]);
    }
}

static void judge_soon(struct pgl_advisor *advisor, struct pgl_past *past)
{
    struct pgl_known *known = &advisor->known[past->kind];

    observe(&known->recent, past->tells, past->touched,
            is_stream((enum pgl_fault_kind)past->kind) ? STREAM_KEEPS : START_KEEPS);
    observe(&known->lasting, past->tells, past->touched, LASTING_KEEPS);
    past->missed = past->tells & (uint8_t)~past->touched;
}

static void judge_later(struct pgl_advisor *advisor, const struct pgl_past *past)
{
    observe(&advisor->known[past->kind].later, past->missed, past->touched, LATER_KEEPS);
}

static uint64_t soon_age(uint64_t number)
{
    uint64_t age = SOON_LEAST + number / SOON_PART;

    return age < SOON_MOST ? age : SOON_MOST;
}

static uint64_t later_age(uint64_t number)
{
    uint64_t age = LATER_TIMES * (SOON_LEAST + number / SOON_PART);

    return age < LATER_MOST ? age : LATER_MOST;
}

uint64_t pgl_advisor_learn(struct pgl_advisor *advisor, uint64_t demand, struct pgl_room room)
{
    uint64_t block = demand / 128;
    uint64_t lately = touch_starts(advisor, demand, room) + (advisor->nfaults == 0);

    touch(advisor, block, demand);
    touch(advisor, block - 1, demand); /* a stream's windows lead from one block to the next */
    touch(advisor, block + 1, demand);
    /* No age falls with the number; therefore one of each kind is enough. */
    if (advisor->nfaults - advisor->judged >= soon_age(advisor->judged)) {
        judge_soon(advisor, past_of(advisor, ++advisor->judged));
    }
    if (advisor->nfaults - advisor->forgotten >= later_age(advisor->forgotten)) {
        judge_later(advisor, past_of(advisor, ++advisor->forgotten));
    }
    return lately * UINT64_C(0x0101010101010101); /* each byte becomes the sum of those up to it */
}

static void reckon(struct pgl_known *known, enum pgl_fault_kind kind)
{
    float weight = is_stream(kind) ? STREAM_WEIGHT : START_WEIGHT;
    float part = is_stream(kind) ? STREAM_PART : START_PART;
    float fall = is_stream(kind) ? 0 : START_FALL;
    float later = is_stream(kind) ? STREAM_LATER : START_LATER;
    float guess = guess_last[kind];
    float above = 0;
    /* The weight of one observation; apart, because the next loop waits for each result. */
    float recent[PGL_ADVISOR_WATCHED + 1], lasting[PGL_ADVISOR_WATCHED + 1], late[PGL_ADVISOR_WATCHED + 1];

    for (unsigned n = 0; n <= PGL_ADVISOR_WATCHED; n++) {
        known->recent.seen[n] *= AGEING;
        known->recent.touched[n] *= AGEING;
        recent[n] = 1 / (weight + known->recent.seen[n]);
        lasting[n] = 1 / (LASTING_WEIGHT + known->lasting.seen[n]);
        late[n] = 1 / (LATER_WEIGHT + known->later.seen[n]);
    }
    for (unsigned n = PGL_ADVISOR_WATCHED; n > 0; n--) {
        float now, chance, none, follows;

        now = (weight * guess + known->recent.touched[n]) * recent[n];
        follows = now < above ? now - fall * (above - now) : now;
        guess = follows > 0 ? part * follows : 0;
        guess = guess < 1 ? guess : 1;
        above = now;
        chance = (LASTING_WEIGHT * now + known->lasting.touched[n]) * lasting[n];
        none = later * chance < 1 ? later * chance : 1;
        none = (LATER_WEIGHT * none + known->later.touched[n]) * late[n];
        chance += (1 - chance) * none;
        known->chances[n] = chance < 1 ? chance : 1;
    }
}

/*
 * The chances if each page has so many faults: of a block of 64 pages with one fault, windows of 2^(n-1) pages have
 * 1 + chance times as many faults as those of 2^n. The fraction is fitted to the number of windows that have any.
 */
static void crowd(struct pgl_known *known, float density)
{
    static const float adds[PGL_ADVISOR_WATCHED + 1] = {1, 1, 2, 4, 8, 16, 32, 64};

    for (unsigned n = 0; n <= PGL_ADVISOR_WATCHED; n++) {
        float faults = density * adds[n];

        known->crowds[n] = (1 - 1 / (1 + 0.62f * faults + faults * faults / 2)) / adds[n];
    }
}

void pgl_advisor_reckon(struct pgl_known *known, enum pgl_fault_kind kind, float density)
{
    reckon(known, kind);
    crowd(known, density);
}

void pgl_advisor_remember(struct pgl_advisor *advisor, enum pgl_fault_kind kind, uint64_t demand, struct pgl_room room,
                          unsigned tells)
{
    uint64_t *head = head_of(advisor, demand / 128, is_stream(kind));
    uint64_t since = ++advisor->nfaults - *head;

    *past_of(advisor, advisor->nfaults) = (struct pgl_past){
        .demand = demand,
        .since = (uint8_t)(since < PGL_ADVISOR_PASTS ? since : PGL_ADVISOR_PASTS),
        .before = (uint8_t)room.before,
        .beyond = (uint8_t)(room.before + room.after),
        .kind = (uint8_t)kind,
        .tells = (uint8_t)tells,
    };
    *head = advisor->nfaults;
}
