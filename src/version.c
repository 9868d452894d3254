/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The version and the form of the library that a program runs with. */
#include <pagelock/version.h>

const char *pgl_version(void)
{
    return PGL_VERSION;
}

bool pgl_has_lock_debug(void)
{
#ifdef PGL_LOCK_DEBUG
    return true;
#else
    return false;
#endif
}
