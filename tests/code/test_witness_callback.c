/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The witness reports each call that no callback may make. */
#include <errno.h>
#include <string.h>

#include "witness.h"

/* A call that no callback may make, on pages 5 and 9, of which 5 has the block that the callback is about. */
struct misuse {
    struct emu *emu;
    struct pgl_bracket *bracket; /* under way, or NULL */
    struct emu_block *block;
};

static void misuse_lock(struct misuse *m)
{
    pgl_page_lock(m->emu->table, pgl_page_find(m->emu->table, 9));
}

static void misuse_trylock(struct misuse *m)
{
    assert_false(pgl_page_trylock(m->emu->table, pgl_page_find(m->emu->table, 9)));
}

static void misuse_unlock(struct misuse *m)
{
    pgl_page_unlock(m->emu->table, pgl_page_find(m->emu->table, 5));
}

static void misuse_lock_pair(struct misuse *m)
{
    assert_false(pgl_page_lock_pair(m->emu->table, 9, 10));
    assert_int_equal(errno, EINVAL);
}

static void misuse_unlock_pair(struct misuse *m)
{
    pgl_page_unlock_pair(m->emu->table, 5, 5);
}

static void misuse_collection(struct misuse *m)
{
    struct pgl_collection collection;

    assert_false(pgl_collection_lock(&collection, m->emu->table, 0x9000, 0x9fff));
    assert_int_equal(errno, EINVAL);
    pgl_collection_unlock(&collection);
}

static void misuse_begin(struct misuse *m)
{
    struct pgl_bracket bracket;

    assert_false(pgl_bracket_begin(&bracket, m->emu->table, 9));
    assert_int_equal(errno, EINVAL);
}

static void misuse_cross(struct misuse *m)
{
    assert_int_equal(pgl_bracket_cross(m->bracket, 9), PGL_BRACKET_ERROR);
    assert_int_equal(errno, EINVAL);
}

static void misuse_bracket_store(struct misuse *m)
{
    assert_int_equal(pgl_bracket_store(m->bracket, 0x9000, 1), PGL_BRACKET_ERROR);
}

static void misuse_commit(struct misuse *m)
{
    assert_int_equal(pgl_bracket_commit(m->bracket, &m->block->tb, NULL), PGL_BRACKET_ERROR);
}

static void misuse_abort(struct misuse *m)
{
    pgl_bracket_abort(m->bracket);
}

static void misuse_foreach(struct misuse *m)
{
    assert_false(pgl_page_foreach_tb(m->emu->table, pgl_page_find(m->emu->table, 5), never, NULL));
}

static void misuse_lock_pages(struct misuse *m)
{
    struct pgl_tb tb = {.span = {.first = 0x9000, .last = 0x9003}, .nextents = 1, .state = PGL_TB_DEAD};

    pgl_tb_lock_pages(m->emu->table, &tb);
}

static void misuse_invalidate_tb(struct misuse *m)
{
    assert_int_equal(pgl_invalidate_tb(m->emu->table, &m->block->tb, NULL), 0);
}

static void misuse_invalidate_range(struct misuse *m)
{
    assert_int_equal(pgl_invalidate_range(m->emu->table, 0x9000, 0x9003, NULL), PGL_ERROR);
    assert_int_equal(errno, EINVAL);
}

static void misuse_flush(struct misuse *m)
{
    assert_int_equal(pgl_flush(m->emu->table, NULL), PGL_ERROR);
}

static void misuse_clean_check(struct misuse *m)
{
    assert_true(pgl_store_is_clean(m->emu->table, 0x9000, 8)); /* which may be asked anywhere */
    assert_int_equal(n_seen, 0);
    assert_int_equal(pgl_store_check(m->emu->table, 0x9000, 8, NULL), PGL_ERROR);
    assert_int_equal(errno, EINVAL);
}

static void misuse_check(struct misuse *m)
{
    assert_int_equal(pgl_store_check(m->emu->table, 0x5000, 1, NULL), PGL_ERROR);
}

static void misuse_store(struct misuse *m)
{
    struct pgl_store bracket;

    assert_int_equal(pgl_store_begin(&bracket, m->emu->table, 0x9000, 8, NULL), PGL_ERROR);
    assert_int_equal(errno, EINVAL);
}

static void misuse_invalidate_tbs(struct misuse *m)
{
    struct pgl_tb *const tbs[] = {&m->block->tb};

    errno = 0;
    assert_int_equal(pgl_invalidate_tbs(m->emu->table, tbs, 1, NULL), PGL_ERROR);
    assert_int_equal(errno, EINVAL);
}

static bool ask_never(const struct pgl_tb *tb, void *arg)
{
    (void)tb, (void)arg;
    fail();
    return true;
}

static void misuse_invalidate_if(struct misuse *m)
{
    errno = 0;
    assert_int_equal(pgl_invalidate_if(m->emu->table, 0x5000, 0x5fff, ask_never, NULL, NULL), PGL_ERROR);
    assert_int_equal(errno, EINVAL);
}

static void misuse_invalidate_page(struct misuse *m)
{
    assert_int_equal(pgl_invalidate_page(m->emu->table, 5, NULL), PGL_ERROR);
}

static void misuse_reset(struct misuse *m)
{
    pgl_table_reset(m->emu->table);
}

static void misuse_trim(struct misuse *m)
{
    assert_int_equal(pgl_table_trim(m->emu->table), 0);
}

static void misuse_store_pair(struct misuse *m)
{
    struct pgl_store bracket;

    assert_int_equal(pgl_store_begin_pair(&bracket, m->emu->table, 0x9000, 8, 0xa000, 8, NULL), PGL_ERROR);
}

static void misuse_store_value(struct misuse *m)
{
    uint32_t host;

    assert_int_equal(pgl_store_u32(m->emu->table, &host, 0x9000, 0, NULL), PGL_ERROR);
}

static void (*const misuses[])(struct misuse *m) = {
    misuse_lock,          misuse_trylock,         misuse_unlock,        misuse_lock_pair,
    misuse_unlock_pair,   misuse_collection,      misuse_begin,         misuse_foreach,
    misuse_lock_pages,    misuse_clean_check,     misuse_invalidate_tb, misuse_invalidate_range,
    misuse_flush,         misuse_check,           misuse_store,         misuse_invalidate_tbs,
    misuse_invalidate_if, misuse_invalidate_page, misuse_reset,         misuse_trim,
    misuse_store_pair,    misuse_store_value,     misuse_cross,         misuse_bracket_store,
    misuse_commit,        misuse_abort,
};

enum {
    N_MISUSES = sizeof(misuses) / sizeof(*misuses),
    N_MISUSES_OF_A_BRACKET = 4, /* the last ones */
};

/* The callback that is to come, and its act there. */
static struct {
    struct misuse misuse;
    const char *name;
    unsigned line;      /* of the call that runs it */
    unsigned held_line; /* of the call that locked page 5, 0: no page is held */
    unsigned n;
} inside;

/* Blocks that the callbacks have made live, on no page. */
static struct emu_block made[8];
static unsigned n_made;

static void misuse_all(const char *name)
{
    struct emu *emu = inside.misuse.emu;
    struct pgl_table_stats stats;
    struct pgl_tb tb;

    if (strcmp(name, inside.name) != 0) {
        return;
    }
    inside.n++;
    for (unsigned i = 0; i < N_MISUSES - (inside.misuse.bracket ? 0 : N_MISUSES_OF_A_BRACKET); i++) {
        if (!inside.held_line && (misuses[i] == misuse_unlock || misuses[i] == misuse_unlock_pair)) {
            continue;
        }
        misuses[i](&inside.misuse);
        assert_breach(PGL_BREACH_CALLBACK, UINT64_MAX, inside.held_line ? 5 : UINT64_MAX, inside.held_line);
        assert_string_equal(seen[0].callback, name);
        assert_place(seen[0].callback_place, inside.line);
        assert_null(seen[0].linked_place);
    }
    /* Calls that are allowed. */
    assert_non_null(pgl_page_find(emu->table, 9));
    pgl_table_get_stats(emu->table, &stats);
    pgl_tb_init(&tb);
    pgl_tb_is_live(&tb);
    pgl_tb_init(&made[n_made].tb);
    pgl_tb_link_unlisted(emu->table, &made[n_made++].tb);
    if (inside.held_line) {
        pgl_page_assert_held(emu->table, pgl_page_find(emu->table, 5));
    }
    assert_int_equal(n_seen, 0);
}

static void at_first_code(struct emu *emu, uint64_t index)
{
    (void)emu, (void)index;
    misuse_all("first_code");
}

static void at_no_code(struct emu *emu, uint64_t index)
{
    (void)emu, (void)index;
    misuse_all("no_code");
}

static void at_publish(struct emu *emu, struct pgl_tb *tb)
{
    (void)emu, (void)tb;
    misuse_all("publish");
}

static void at_retired(struct emu *emu, struct pgl_tb *chain)
{
    (void)emu, (void)chain;
    misuse_all("retired");
}

static void expect_callback(const char *name, unsigned line, unsigned held_line)
{
    assert_int_equal(inside.n, 0);
    inside.name = name;
    inside.line = line;
    inside.held_line = held_line;
}

static void assert_called_back(void)
{
    assert_int_equal(inside.n, 1);
    inside.n = 0;
    inside.name = "";
}

static void test_witness_reports_calls_that_no_callback_may_make(void **state)
{
    struct pgl_bracket bracket;
    struct emu_block block = {0}, unlisted = {0};
    unsigned held_line;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    pgl_page_get(emu.table, 9);
    emu.at_first_code = at_first_code;
    emu.at_no_code = at_no_code;
    emu.at_publish = at_publish;
    emu.at_retired = at_retired;
    memset(&inside, 0, sizeof(inside));
    inside.misuse = (struct misuse){.emu = &emu, .block = &block};
    ready(&block, 0x5000, 0x5003, 1, 0);

    held_line = __LINE__ + 2;
    expect_callback("first_code", held_line, held_line);
    assert_true(pgl_bracket_begin(&bracket, emu.table, 5));
    assert_called_back();
    inside.misuse.bracket = &bracket;
    expect_callback("no_code", __LINE__ + 1, held_line);
    pgl_bracket_abort(&bracket);
    assert_called_back();

    held_line = __LINE__ + 1;
    assert_true(pgl_bracket_begin(&bracket, emu.table, 5));
    expect_callback("publish", __LINE__ + 1, held_line);
    assert_int_equal(pgl_bracket_commit(&bracket, &block.tb, NULL), PGL_BRACKET_OK);
    assert_called_back();

    inside.misuse.bracket = NULL;
    expect_callback("retired", __LINE__ + 1, __LINE__ + 1);
    assert_int_equal(pgl_store_check(emu.table, 0x5000, 1, NULL), PGL_HIT);
    assert_called_back();

    pgl_tb_init(&unlisted.tb);
    pgl_tb_link_unlisted(emu.table, &unlisted.tb);
    inside.misuse.block = &unlisted; /* to invalidate it there would hang */
    expect_callback("retired", __LINE__ + 1, 0);
    assert_int_equal(pgl_invalidate_tb(emu.table, &unlisted.tb, NULL), PGL_HIT);
    assert_called_back();

    emu.at_retired = NULL;
    assert_true(n_made > 0);
    while (n_made) {
        assert_int_equal(pgl_invalidate_tb(emu.table, &made[--n_made].tb, NULL), PGL_HIT);
    }

    assert_int_equal(block.retired + unlisted.retired, 2);
    assert_int_equal(n_seen, 0);
    emu_fini(&emu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_witness_reports_calls_that_no_callback_may_make, set_hook),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
