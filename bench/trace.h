/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Recorded traces, read whole and checked line by line before anything is replayed. */
#ifndef PGL_BENCH_TRACE_H
#define PGL_BENCH_TRACE_H

#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

enum trace_kind {
    TRACE_CODE,  /* block links, stores into code pages, range invalidations */
    TRACE_FAULT, /* first touches of pages */
};

enum trace_op {
    TRACE_LINK,  /* T: @arg is the block's number */
    TRACE_EQUAL, /* E: the same, where an equal block had been linked already */
    TRACE_STORE, /* W: @arg is the length in bytes */
    TRACE_RANGE, /* I: @arg is a number in @range_last */
};

#define TRACE_NO_VCPU UINT16_MAX  /* a device or the loader did it */
#define TRACE_NO_BLOCK UINT32_MAX /* repeats none */
#define TRACE_NO_ADDR UINT64_MAX  /* on one page only; no page starts here */

enum { TRACE_MAX_STORE = 64, TRACE_MAX_VCPUS = 1024 };
#define TRACE_MAX_PAGES (UINT64_C(1) << 32) /* of an object */

/* A block lies at @addr; what does not fit on that page lies at the start of the page at @addr1. */
struct trace_block {
    uint64_t addr;
    uint64_t addr1;
    uint32_t size;
    uint32_t equal; /* the block that an E line repeats: the last one before it in the file */
};

struct trace_event {
    uint64_t addr;
    uint32_t arg;
    uint16_t vcpu;
    uint8_t op;
};

struct trace_object {
    uint64_t npages;
    char *name;
};

/* A mapping: @npages pages of @object from @first on. */
struct trace_entry {
    uint32_t object;
    uint64_t first;
    uint64_t npages;
};

struct trace_touch {
    uint64_t page;
    uint32_t object;
    bool write;
};

struct trace {
    char *name; /* file name up to .trace */
    enum trace_kind kind;
    unsigned page_bits;
    /* a code trace */
    unsigned vcpus;
    GArray *blocks;     /* of struct trace_block, one for each T and E line */
    GArray *events;     /* of struct trace_event */
    GArray *range_last; /* of uint64_t: the last byte of each I line */
    /* a fault trace */
    GArray *objects; /* of struct trace_object */
    GArray *entries; /* of struct trace_entry */
    GArray *touches; /* of struct trace_touch */
};

/* A fault trace of nothing. */
struct trace *trace_new(const char *name);

/* Returns NULL where the file is not a well-formed trace, with "file:line: what is wrong" in @error; without a line
 * where it cannot be opened. */
struct trace *trace_read(const char *path, GError **error);
void trace_free(struct trace *trace);

#endif
