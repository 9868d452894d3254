/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Every public header of libpagelock, which has page locks for code pages and clusters for faulting pages.
 *
 * The licence is the LGPL. pagelock/inline/macros.h adds a permission: object code that contains material from the
 * headers may be distributed under terms of your choice.
 */
#ifndef PGL_PAGELOCK_PAGELOCK_H
#define PGL_PAGELOCK_PAGELOCK_H

#include <pagelock/advice.h>
#include <pagelock/collection.h>
#include <pagelock/fault.h>
#include <pagelock/layout.h>
#include <pagelock/message.h>
#include <pagelock/page.h>
#include <pagelock/table.h>
#include <pagelock/tb.h>
#include <pagelock/version.h>
#include <pagelock/workset.h>

/* A library for a system without userfaultfd comes without this header. */
#if __has_include(<pagelock/uffd.h>)
#include <pagelock/uffd.h>
#endif

#endif
