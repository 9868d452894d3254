/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The costs of a pager: which are accepted, and which stand in for those that are not known. */
#include <stddef.h>

#include <pagelock/advice.h>

#include "costs_internal.h"

#define MAX_RATIO 1000000

const char *pgl_costs_explain(const struct pgl_costs *costs)
{
    if (costs->fault_ns > PGL_COSTS_MAX_NS) {
        return "fault_ns is more than ten seconds";
    }
    if (costs->page_ns > PGL_COSTS_MAX_NS) {
        return "page_ns is more than ten seconds";
    }
    if (costs->fault_ns == 0 || costs->page_ns == 0) {
        return NULL;
    }
    if (costs->fault_ns / MAX_RATIO > costs->page_ns) {
        return "fault_ns is more than a million times page_ns";
    }
    if (costs->page_ns / MAX_RATIO > costs->fault_ns) {
        return "page_ns is more than a million times fault_ns";
    }
    return NULL;
}

struct pgl_costs pgl_costs_known(const struct pgl_costs *costs)
{
    return (struct pgl_costs){
        .fault_ns = costs->fault_ns != 0 ? costs->fault_ns : PGL_COSTS_FAULT_NS,
        .page_ns = costs->page_ns != 0 ? costs->page_ns : PGL_COSTS_PAGE_NS,
    };
}
