/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A simulated pager with memory and heap, for tests of the fault driver. It records what it is asked, and answers by a
 * script: a function that may reply now, keep the request for later, reply wrongly, or refuse. Every hook of the driver
 * goes through sim_inject(), so that each one can be made to fail. Its heap aborts when a block was written past its
 * end.
 */
#ifndef PGL_TESTS_FAULT_SIM_H
#define PGL_TESTS_FAULT_SIM_H

#include <stdlib.h>

#include <pagelock/fault.h>

#define SIM_PAGE_SIZE 16
#define SIM_LOG 64

struct sim;

typedef int sim_script(struct sim *sim, const struct pgl_request *request, bool data);

/* The hooks of the driver, each a step of a fault that can fail. */
enum sim_hook { SIM_HEAP, SIM_FRAME, SIM_REQUEST, SIM_HOOKS };

/* Print what pgl_object_check() reports. */
void sim_say(const char *what, void *opaque);

/* Fails the hook call number `at` (from 1), counted over all hooks. Shared by all sims of a scenario. */
struct sim_injector {
    uint64_t calls;
    uint64_t at;
    int error;           /* what a failing request returns; 0: it is left to fail() */
    enum sim_hook fired; /* SIM_HOOKS: none yet */
    sim_script *fail;
    void (*before)(void *arg, const struct pgl_request *request); /* of every request, failing or not; may be NULL */
    void *arg;
};

struct sim {
    sim_script *script;
    struct sim_injector *injector; /* may be NULL */
    int refusal;                   /* what sim_refuse() returns */
    uint64_t tag;                  /* in the bytes of its pages */
    uint64_t nframes;              /* at the most; 0: no limit */
    uint64_t reserve;              /* of them, not for speculation */
    uint64_t frames_used;
    uint64_t blocks_used;

    unsigned nrequests;
    unsigned nunlocks;
    struct pgl_request log[SIM_LOG]; /* data and access requests, in order */
    unsigned nreleased;
    unsigned nbehind;
    struct pgl_pager_range behind; /* the last one */
};

extern const struct pgl_pager_ops sim_pager_ops;
extern const struct pgl_memory_ops sim_memory_ops;
extern const struct pgl_heap_ops sim_heap_ops;

/* A config of an object of npages with this pager, memory and heap. */
struct pgl_object_config sim_config(struct sim *sim, uint64_t npages);

/* The last request. */
const struct pgl_request *sim_last(const struct sim *sim);

/* Scripts. sim_now() answers the demand page first, then the others, each with the access asked for. */
int sim_now(struct sim *sim, const struct pgl_request *request, bool data);
int sim_keep(struct sim *sim, const struct pgl_request *request, bool data);
int sim_refuse(struct sim *sim, const struct pgl_request *request, bool data);
int sim_no_data(struct sim *sim, const struct pgl_request *request, bool data);
int sim_error(struct sim *sim, const struct pgl_request *request, bool data);

/* Supplies, or grants, pages [first, last] of a request with the right bytes. Returns how many were taken. */
uint64_t sim_supply(struct sim *sim, const struct pgl_request *request, uint64_t first, uint64_t last,
                    enum pgl_access access);

/* Offers pages [first, last] with the right bytes. Returns how many were taken. */
uint64_t sim_offer(struct sim *sim, struct pgl_object *object, uint64_t first, uint64_t last, enum pgl_access access);

/* Whether a frame holds the pager's page, or zeros. */
bool sim_frame_is(const void *frame, uint64_t tag, uint64_t pager_index);
bool sim_frame_is_zero(const void *frame);

#endif
