/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Advice: its names, the windows that it stands for, and which advice a fault follows. */
#include <stddef.h>
#include <string.h>

#include <pagelock/advice.h>

static const char *const names[PGL_ADVICE_COUNT] = {
    [PGL_ADVICE_DEFAULT] = "default",       [PGL_ADVICE_RANDOM] = "random",     [PGL_ADVICE_NORMAL] = "normal",
    [PGL_ADVICE_SEQUENTIAL] = "sequential", [PGL_ADVICE_ADAPTIVE] = "adaptive",
};

static const char *const reasons[PGL_REASON_COUNT] = {
    [PGL_REASON_OUTSIDE] = "outside",   [PGL_REASON_ALONE] = "alone",
    [PGL_REASON_ROW] = "row",           [PGL_REASON_UP] = "up",
    [PGL_REASON_DOWN] = "down",         [PGL_REASON_START] = "start",
    [PGL_REASON_RECORDED] = "recorded", [PGL_REASON_PREFETCH] = "prefetch",
};

/*
 * Pages before, after and behind. With the default advice a fault fetches its demand page alone, because the caller has
 * not said that the neighbours are worth fetching. A sequential reader leaves one cluster of 32 pages behind, which is
 * the previous cluster.
 */
static const struct pgl_advice_table shipped = {{
    [PGL_ADVICE_DEFAULT] = {0, 0, 0},
    [PGL_ADVICE_RANDOM] = {0, 0, 0},
    [PGL_ADVICE_NORMAL] = {3, 12, 0},
    [PGL_ADVICE_SEQUENTIAL] = {0, 31, 32},
    [PGL_ADVICE_ADAPTIVE] = {63, 63, 0},
}};

const struct pgl_advice_table *pgl_advice_shipped(void)
{
    return &shipped;
}

bool pgl_advice_valid(int advice)
{
    return advice >= 0 && advice < PGL_ADVICE_COUNT;
}

const char *pgl_advice_name(enum pgl_advice advice)
{
    return pgl_advice_valid((int)advice) ? names[advice] : NULL;
}

bool pgl_advice_parse(const char *name, enum pgl_advice *advice)
{
    for (int i = 0; i < PGL_ADVICE_COUNT; i++) {
        if (strcmp(name, names[i]) == 0) {
            *advice = (enum pgl_advice)i;
            return true;
        }
    }
    return false;
}

const char *pgl_reason_name(enum pgl_reason reason)
{
    return (unsigned)reason < PGL_REASON_COUNT ? reasons[reason] : NULL;
}

enum pgl_advice pgl_advice_effective(enum pgl_advice entry, enum pgl_advice object)
{
    return entry != PGL_ADVICE_DEFAULT ? entry : object;
}
