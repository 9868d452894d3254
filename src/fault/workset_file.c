/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A working set as bytes. All numbers are little-endian:
 *
 *   offset  bytes
 *   0       8      "pglwsets"
 *   8       4      version, 1
 *   12      4      length of the name, n
 *   16      4      number of stretches, s
 *   20      4      number of recorded runs
 *   24      n      name, without a final zero
 *   24 + n  12 s   each stretch: its first page, its number of pages, and how many of the runs touched them
 *   ...     4      CRC-32 of all bytes before it, as in zip and gzip
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "workset_internal.h"

#define VERSION 1
#define HEADER 24
#define STRETCH 12
#define CHECKSUM 4

static const unsigned char magic[8] = {'p', 'g', 'l', 'w', 's', 'e', 't', 's'};

static uint32_t crc32_of(const unsigned char *bytes, size_t size)
{
    uint32_t crc = UINT32_MAX;

    for (size_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        for (unsigned bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (UINT32_C(0xedb88320) & (0 - (crc & 1)));
        }
    }
    return ~crc;
}

static void put32(unsigned char *to, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++) {
        to[i] = (unsigned char)(value >> 8 * i);
    }
}

static uint32_t get32(const unsigned char *from)
{
    return from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 | (uint32_t)from[3] << 24;
}

size_t pgl_workset_save(const struct pgl_workset *workset, void *bytes, size_t size)
{
    size_t name_length = strlen(workset->name);
    size_t needed = HEADER + name_length + STRETCH * (size_t)workset->nstretches + CHECKSUM;
    unsigned char *at = bytes;

    if (needed > size) {
        return needed;
    }
    memcpy(at, magic, sizeof(magic));
    put32(at + 8, VERSION);
    put32(at + 12, (uint32_t)name_length);
    put32(at + 16, workset->nstretches);
    put32(at + 20, workset->recordings);
    memcpy(at + HEADER, workset->name, name_length);
    at += HEADER + name_length;
    for (uint32_t i = 0; i < workset->nstretches; i++, at += STRETCH) {
        put32(at, workset->stretches[i].first);
        put32(at + 4, workset->stretches[i].npages);
        put32(at + 8, workset->stretches[i].times);
    }
    put32(at, crc32_of(bytes, needed - CHECKSUM));
    return needed;
}

/* Whether a stretch can follow those that were read. Returns what is wrong with it, or NULL. */
static const char *explain_stretch(const struct pgl_workset *workset, const struct pgl_stretch *stretch)
{
    const struct pgl_stretch *before = workset->nstretches > 0 ? &workset->stretches[workset->nstretches - 1] : NULL;

    if (stretch->npages == 0 || stretch->npages > PGL_WORKSET_PAGES_MAX - stretch->first) {
        return "it has a stretch without pages, or beyond the last page";
    }
    if (before && stretch->first < before->first + before->npages) {
        return "its stretches are not in order";
    }
    if (before && stretch->first == before->first + before->npages && stretch->times == before->times) {
        return "it has one stretch in two parts";
    }
    if (stretch->times == 0 || stretch->times > workset->recordings) {
        return "it has a stretch that no run touched, or more runs than were recorded";
    }
    return NULL;
}

/* Look at the header, the length and the checksum. Returns what is wrong, or NULL, with the length of the set. */
static const char *explain_frame(const unsigned char *bytes, size_t size, size_t *length)
{
    size_t needed;

    if (size < sizeof(magic) || memcmp(bytes, magic, sizeof(magic)) != 0) {
        return "it is no working set";
    }
    if (size < HEADER + CHECKSUM) {
        return "it is cut short";
    }
    if (get32(bytes + 8) != VERSION) {
        return "it has a version that this library does not know";
    }
    if (get32(bytes + 12) > PGL_WORKSET_NAME_MAX) {
        return "its name is too long";
    }
    if (get32(bytes + 16) > PGL_WORKSET_STRETCHES_MAX) {
        return "it has too many stretches";
    }
    needed = HEADER + get32(bytes + 12) + STRETCH * (size_t)get32(bytes + 16) + CHECKSUM;
    if (size < needed) {
        return "it is cut short";
    }
    if (get32(bytes + needed - CHECKSUM) != crc32_of(bytes, needed - CHECKSUM)) {
        return "its checksum is wrong";
    }
    *length = needed;
    return NULL;
}

/* Read the stretches. Returns what is wrong, or NULL. */
static const char *read_stretches(struct pgl_workset *workset, const unsigned char *at, uint32_t nstretches)
{
    const char *wrong = NULL;

    for (uint32_t i = 0; i < nstretches && !wrong; i++, at += STRETCH) {
        struct pgl_stretch stretch = {get32(at), get32(at + 4), get32(at + 8)};

        wrong = explain_stretch(workset, &stretch);
        workset->stretches[workset->nstretches++] = stretch;
    }
    return wrong;
}

/* The frame is right. Returns the set without its clusters, or NULL with what is wrong, or with NULL: no memory. */
static struct pgl_workset *read_set(const unsigned char *bytes, const char **wrong)
{
    uint32_t name_length = get32(bytes + 12);
    uint32_t nstretches = get32(bytes + 16);
    struct pgl_workset *workset;

    *wrong = NULL;
    if (memchr(bytes + HEADER, '\0', name_length)) {
        *wrong = "its name has a zero";
        return NULL;
    }
    workset = pgl_workset_alloc((const char *)bytes + HEADER, name_length, nstretches);
    if (!workset) {
        return NULL;
    }
    workset->recordings = get32(bytes + 20);
    *wrong = workset->recordings == 0 ? "it has no recorded run"
                                      : read_stretches(workset, bytes + HEADER + name_length, nstretches);
    if (*wrong) {
        pgl_workset_free(workset);
        workset = NULL;
    }
    return workset;
}

struct pgl_workset *pgl_workset_load(const void *bytes, size_t size, const struct pgl_costs *costs, size_t *used,
                                     const char **why)
{
    struct pgl_workset *workset = NULL;
    size_t length = 0;
    const char *wrong = costs ? pgl_costs_explain(costs) : NULL;

    wrong = wrong ? wrong : explain_frame(bytes, size, &length);
    if (!wrong && !used && length < size) {
        wrong = "other bytes follow it";
    }
    if (!wrong) {
        workset = read_set(bytes, &wrong);
    }
    if (wrong) {
        if (why) {
            *why = wrong;
        }
        errno = EINVAL;
        return NULL;
    }
    workset = workset ? pgl_workset_finish(workset, costs) : NULL;
    if (workset && used) {
        *used = length;
    }
    return workset;
}
