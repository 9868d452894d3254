/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The costs of a fault and of each page that comes with it, measured while faults are answered.
 *
 * METER        The time of a request, from its message to waking its thread, is taken for a + b * pages. Both are the
 *              regression over the requests so far, of which each counts 63/64 of the next one. A request that takes
 *              much longer than that counts less. b is near PGL_COSTS_PAGE_NS while all requests have the same size.
 *              The hand-over is what lies between the wake-up of a thread and the message of its next fault: the
 *              thread starts to run, touches pages, and the handler starts to run. The shortest of the last 32 to 64
 *              times of a thread that faults alone is taken for the hand-over, because then the thread did nothing
 *              else.
 *              G2: fault_ns is a and the hand-over, and page_ns is b; a cost that the configuration gives is that one.
 *              G3: both are at least 1, and are accepted by pgl_costs_explain().
 *              G4: a fault adds a bounded number of steps, no system call, no allocation and no wait: a thread that
 *              meets another one at the meter leaves its time out.
 *              (test_uffd_costs_*)
 * OBJECTS      The lock protects all members. The costs in the statistics are atomic, as all of these.
 * LOCK ORDER   The lock is a leaf, and is only tried.
 */
#include "uffd_internal.h"

#define KEEPS (63.0 / 64)
#define FEW 32                 /* requests, before which the advisor knows little, and would fetch widely in vain */
#define EXCEEDS 4              /* times the expected time: a longer one counts as that */
#define SPREAD 4.0             /* the square of a spread of sizes from which on they tell what a page costs */
#define GAPS 32                /* of which the shortest is taken */
#define MAX_HANDOVER_NS 200000 /* a thread that has faulted later did something else */

bool pgl_meter_init(struct pgl_meter *meter, const struct pgl_costs *given, struct pgl_uffd_stats *stats)
{
    *meter = (struct pgl_meter){.given = *given, .shortest_ns = UINT64_MAX, .shortest_before_ns = UINT64_MAX};
    stats->fault_ns = given->fault_ns;
    stats->page_ns = given->page_ns;
    return pthread_mutex_init(&meter->lock, NULL) == 0;
}

void pgl_meter_fini(struct pgl_meter *meter)
{
    pthread_mutex_destroy(&meter->lock);
}

static double handover(const struct pgl_meter *meter)
{
    uint64_t ns = meter->shortest_ns < meter->shortest_before_ns ? meter->shortest_ns : meter->shortest_before_ns;

    return ns == UINT64_MAX ? PGL_COSTS_FAULT_NS : ns < MAX_HANDOVER_NS ? (double)ns : MAX_HANDOVER_NS;
}

/* Reckon a and b. */
static void reckon(struct pgl_meter *meter)
{
    double pages = meter->pages / meter->weight;
    double ns = meter->ns / meter->weight;
    double spread = meter->pages_pages / meter->weight - pages * pages;
    double together = meter->pages_ns / meter->weight - pages * ns;

    spread = spread > 0 ? spread : 0;
    meter->per_page = (together + SPREAD * PGL_COSTS_PAGE_NS) / (spread + SPREAD);
    meter->per_page = meter->per_page > 1 ? meter->per_page : 1;
    meter->per_request = ns - meter->per_page * pages;
    if (meter->per_request < 0) {
        meter->per_request = 0;
        meter->per_page = ns / pages;
    }
}

static uint64_t to_cost(double ns)
{
    return ns < 1 ? 1 : ns < (double)PGL_COSTS_MAX_NS ? (uint64_t)ns : PGL_COSTS_MAX_NS;
}

static void publish(const struct pgl_meter *meter, struct pgl_uffd_stats *stats)
{
    struct pgl_costs costs = meter->given;

    costs.fault_ns = costs.fault_ns != 0 ? costs.fault_ns : to_cost(meter->per_request + handover(meter));
    costs.page_ns = costs.page_ns != 0 ? costs.page_ns : to_cost(meter->per_page);
    if (!pgl_costs_explain(&costs)) { /* G3 */
        __atomic_store_n(&stats->fault_ns, costs.fault_ns, __ATOMIC_RELAXED);
        __atomic_store_n(&stats->page_ns, costs.page_ns, __ATOMIC_RELAXED);
    }
}

void pgl_meter_request(struct pgl_meter *meter, uint64_t npages, uint64_t ns, struct pgl_uffd_stats *stats)
{
    double pages = (double)npages;
    double time = (double)ns;

    if (pthread_mutex_trylock(&meter->lock) != 0) { /* G4 */
        return;
    }
    if (meter->nrequests >= FEW) {
        double most = EXCEEDS * (meter->per_request + meter->per_page * pages);

        time = time < most ? time : most;
    }
    meter->nrequests++;
    meter->weight = KEEPS * meter->weight + 1;
    meter->pages = KEEPS * meter->pages + pages;
    meter->ns = KEEPS * meter->ns + time;
    meter->pages_pages = KEEPS * meter->pages_pages + pages * pages;
    meter->pages_ns = KEEPS * meter->pages_ns + pages * time;
    reckon(meter);
    if (meter->nrequests >= FEW) {
        publish(meter, stats);
    }
    pthread_mutex_unlock(&meter->lock);
}

void pgl_meter_handover(struct pgl_meter *meter, uint64_t ns)
{
    if (pthread_mutex_trylock(&meter->lock) != 0) { /* G4 */
        return;
    }
    if (meter->ngaps == GAPS) {
        meter->shortest_before_ns = meter->shortest_ns;
        meter->shortest_ns = UINT64_MAX;
        meter->ngaps = 0;
    }
    meter->ngaps++;
    meter->shortest_ns = ns < meter->shortest_ns ? ns : meter->shortest_ns;
    pthread_mutex_unlock(&meter->lock);
}

void pgl_meter_tell(const struct pgl_uffd_stats *stats, struct pgl_object *object)
{
    const struct pgl_costs costs = {
        .fault_ns = __atomic_load_n(&stats->fault_ns, __ATOMIC_RELAXED),
        .page_ns = __atomic_load_n(&stats->page_ns, __ATOMIC_RELAXED),
    };

    pgl_object_set_costs(object,
                         &costs); /* two that were not stored together may be refused: the next ones come soon */
}
