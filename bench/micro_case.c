/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "micro_case.h"

#include <pagelock/tb.h>

static void forget(struct pgl_tb *chain, void *opaque)
{
    (void)chain;
    (void)opaque;
}

const struct pgl_tb_ops micro_forget = {.retired = forget};

struct micro_case *micro_add(GPtrArray *cases, const char *name, const char *what, enum micro_plot plot)
{
    struct micro_case *one = g_new(struct micro_case, 1);

    for (guint i = 0; i < cases->len; i++) {
        const struct micro_case *other = (const struct micro_case *)g_ptr_array_index(cases, i);

        g_assert_cmpstr(name, !=, other->name);
    }
    one->name = name;
    one->what = what;
    one->plot = plot;
    one->variants = g_array_new(FALSE, FALSE, sizeof(struct variant));
    one->pairs = g_array_new(FALSE, FALSE, sizeof(struct pair));
    one->result = NULL;
    g_ptr_array_add(cases, one);
    return one;
}

void micro_free(void *p)
{
    struct micro_case *one = p;

    g_array_unref(one->variants);
    g_array_unref(one->pairs);
    g_free(one);
}

unsigned micro_variant(struct micro_case *one, const struct variant *variant)
{
    g_array_append_vals(one->variants, variant, 1);
    return one->variants->len - 1;
}

void micro_pair(struct micro_case *one, unsigned a, unsigned b)
{
    struct pair pair = {a, b};

    g_array_append_val(one->pairs, pair);
}

void micro_versus(struct micro_case *one, const struct subject *a, const struct subject *b,
                  const struct variant *variant)
{
    struct variant copy = *variant;
    unsigned number;

    copy.subject = a;
    number = micro_variant(one, &copy);
    copy.subject = b;
    micro_pair(one, number, micro_variant(one, &copy));
}
