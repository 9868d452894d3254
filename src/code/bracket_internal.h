/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A bracket, as the files that implement its calls share it. bracket.c has the protocol and the invariants. */
#ifndef PGL_CODE_BRACKET_INTERNAL_H
#define PGL_CODE_BRACKET_INTERNAL_H

#include <errno.h>

#include <pagelock/bracket.h>

#include "witness_internal.h"

/* The pages of a bracket. */
static inline struct pgl_bracket_page *pgl_bracket_pages(struct pgl_bracket *bracket)
{
    return bracket->room > PGL_BRACKET_INLINE ? bracket->more : bracket->in_place;
}

/*
 * In a lock_debug build, report a bracket that has ended or is not of this thread, and a call inside a callback; then
 * return false. A release build trusts the caller.
 */
static inline bool pgl_bracket_is_under_way(struct pgl_bracket *bracket, const char *place)
{
    const struct pgl_bracket_page *first;

    if (!PGL_WITNESS) {
        return true;
    }
    if (!pgl_witness_may_call(place)) {
        return false;
    }
    if (!bracket->npages) {
        pgl_witness_breach(PGL_BREACH_NOT_HELD, UINT64_MAX, place, NULL);
        return false;
    }
    first = pgl_bracket_pages(bracket);
    return pgl_witness_holds(bracket->table, pgl_leaf_page(first->leaf, first->index), place);
}

/* The result of a call that fails with @number. */
static inline enum pgl_bracket_result pgl_bracket_refuse(int number)
{
    errno = number;
    return PGL_BRACKET_ERROR;
}

/* Answer the remembered stores with all pages unlocked, and take the same pages again. The decoded bytes are void. */
void pgl_bracket_answer_and_retake(struct pgl_bracket *bracket);

#endif
