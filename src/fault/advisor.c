/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The advisor: see advisor_internal.h. The object's lock protects all of it. */
#include <string.h>

#include "advisor_internal.h"

#define START_PAGES 16  /* a start's window at full confidence; a third of it lies before the page */
#define SKIPPED_PAGES 4 /* pages that a stream may skip whatever its window is */
#define INERTIA 32      /* after that many faults of one kind, confidence has moved by about two thirds */
#define HOPELESS (PGL_ADVISOR_SURE / 10) /* below this a start fetches its page alone */

/* The side on which a fault continues a stream: 1 after its last cluster, -1 before it, 0 neither. */
static int side_of(const struct pgl_stream *stream, uint64_t index)
{
    uint64_t reach = SKIPPED_PAGES + stream->npages / 2;

    if (stream->npages == 0) {
        return 0;
    }
    if (index > stream->last) {
        return index - stream->last <= reach ? 1 : 0;
    }
    return index < stream->first && stream->first - index <= reach ? -1 : 0;
}

/* Move a stream to the front. */
static void to_front(struct pgl_advisor *advisor, unsigned at)
{
    struct pgl_stream stream = advisor->streams[at];

    memmove(&advisor->streams[1], &advisor->streams[0], at * sizeof(stream));
    advisor->streams[0] = stream;
}

static uint32_t at_most(uint32_t npages, uint32_t limit)
{
    return npages < limit ? npages : limit;
}

struct pgl_advice_row pgl_advisor_window(struct pgl_advisor *advisor, uint64_t index,
                                         const struct pgl_advice_row *limit)
{
    struct pgl_stream *stream = &advisor->streams[0];
    struct pgl_advice_row row = {0, 0, 0};
    unsigned at = 0;
    uint32_t npages;
    int side = 0;

    while (at < PGL_ADVISOR_STREAMS && (side = side_of(&advisor->streams[at], index)) == 0) {
        at++;
    }
    if (side != 0) {
        to_front(advisor, at);
        advisor->confidence += (PGL_ADVISOR_SURE - advisor->confidence) / INERTIA;
        npages = stream->side == -side ? stream->npages / 2 : 2 * stream->npages;
        row.before = side < 0 ? at_most(npages, limit->before) : 0;
        row.after = side > 0 ? at_most(npages, limit->after) : 0;
        row.behind = side > 0 ? limit->behind : 0; /* a reader that goes down still comes to the pages below */
    } else {
        to_front(advisor, PGL_ADVISOR_STREAMS - 1);
        advisor->confidence -= advisor->confidence / INERTIA;
        npages = (START_PAGES * advisor->confidence + PGL_ADVISOR_SURE / 2) / PGL_ADVISOR_SURE;
        npages = advisor->confidence < HOPELESS ? 0 : npages;
        row.before = at_most(npages / 3, limit->before);
        row.after = at_most(npages - npages / 3, limit->after);
    }
    stream->side = side;
    stream->npages = row.before + row.after > 0 ? row.before + row.after : 1;
    return row;
}

void pgl_advisor_note(struct pgl_advisor *advisor, const struct pgl_cluster *cluster)
{
    advisor->streams[0].first = cluster->first;
    advisor->streams[0].last = cluster->last;
}
