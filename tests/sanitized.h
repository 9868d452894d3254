/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* THREAD_SANITIZED: this is a build with the thread sanitizer. SANITIZED: with it, or with the address sanitizer. */
#ifndef PGL_TESTS_SANITIZED_H
#define PGL_TESTS_SANITIZED_H

#ifdef __SANITIZE_THREAD__
#define THREAD_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define THREAD_SANITIZED 1
#endif
#endif
#if defined(THREAD_SANITIZED) || defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif

#endif
