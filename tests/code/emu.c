/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "emu.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include "../../src/code/spin_internal.h"

static void __attribute__((format(printf, 2, 3))) note(struct emu *emu, const char *format, ...)
{
    size_t room = sizeof(emu->log) - emu->log_len;
    va_list args;
    int n;

    va_start(args, format);
    n = snprintf(emu->log + emu->log_len, room, "%s", emu->log_len ? ", " : "");
    n += vsnprintf(emu->log + emu->log_len + n, room - (size_t)n, format, args);
    va_end(args);
    /* A log that is full stays as it is: no test reads one so long. */
    if ((size_t)n < room - 2) {
        emu->log_len += (size_t)n;
    }
}

const char *emu_log(struct emu *emu)
{
    pthread_mutex_lock(&emu->lock);
    memcpy(emu->taken, emu->log, emu->log_len);
    emu->taken[emu->log_len] = '\0';
    emu->log_len = 0;
    pthread_mutex_unlock(&emu->lock);
    return emu->taken;
}

static void first_code(uint64_t index, void *opaque)
{
    struct emu *emu = opaque;

    if (emu->at_first_code) {
        emu->at_first_code(emu, index);
    }
    pthread_mutex_lock(&emu->lock);
    emu->n_first_code++;
    note(emu, "first %" PRIx64, index);
    pthread_mutex_unlock(&emu->lock);
}

static void no_code(uint64_t index, void *opaque)
{
    struct emu *emu = opaque;

    if (emu->at_no_code) {
        emu->at_no_code(emu, index);
    }
    pthread_mutex_lock(&emu->lock);
    emu->n_no_code++;
    note(emu, "none %" PRIx64, index);
    pthread_mutex_unlock(&emu->lock);
}

static bool are_equal(const struct emu_block *a, const struct emu_block *b)
{
    unsigned n = pgl_tb_count_extents(&a->tb);

    if (!a->key || a->key != b->key || n != pgl_tb_count_extents(&b->tb)) {
        return false;
    }
    for (unsigned i = 0; i < n; i++) {
        if (pgl_tb_first_addr(&a->tb, i) != pgl_tb_first_addr(&b->tb, i) ||
            pgl_tb_last_addr(&a->tb, i) != pgl_tb_last_addr(&b->tb, i)) {
            return false;
        }
    }
    return true;
}

static struct pgl_tb *publish(struct pgl_tb *tb, void *opaque)
{
    struct emu_block *block = (struct emu_block *)tb, *other;
    struct emu *emu = opaque;

    if (emu->at_publish) {
        emu->at_publish(emu, tb);
    }
    pthread_mutex_lock(&emu->lock);
    for (other = emu->findable; other && !are_equal(other, block);) {
        other = other->next;
    }
    if (!other) {
        block->next = emu->findable;
        block->findable = true;
        emu->findable = block;
    }
    note(emu, "%s", other ? "equal" : "publish");
    pthread_mutex_unlock(&emu->lock);
    return other ? &other->tb : NULL;
}

static void retired(struct pgl_tb *chain, void *opaque)
{
    struct emu *emu = opaque;
    unsigned n = 0;

    if (emu->at_retired) {
        emu->at_retired(emu, chain);
    }
    pthread_mutex_lock(&emu->lock);
    for (struct pgl_tb *tb = chain; tb; tb = pgl_tb_chain_next(tb)) {
        struct emu_block *block = (struct emu_block *)tb;
        struct emu_block **at = &emu->findable;

        while (*at && *at != block) {
            at = &(*at)->next;
        }
        if (*at) {
            *at = block->next;
        }
        block->findable = false;
        block->retired++;
        n++;
    }
    emu->n_retired++;
    emu->n_retired_blocks += n;
    note(emu, "retired %u", n);
    pthread_mutex_unlock(&emu->lock);
}

static const struct pgl_tb_ops ops = {
    .first_code = first_code,
    .no_code = no_code,
    .publish = publish,
    .retired = retired,
};

static void init(struct emu *emu, struct pgl_table_config config)
{
    memset(emu, 0, sizeof(*emu));
    pthread_mutex_init(&emu->lock, NULL);
    config.ops = &ops;
    config.opaque = emu;
    emu->table = pgl_table_new(&config);
    assert_non_null(emu->table);
}

void emu_init_bits(struct emu *emu, unsigned page_bits, unsigned addr_bits)
{
    init(emu, (struct pgl_table_config){.page_bits = page_bits, .addr_bits = addr_bits});
}

void emu_init(struct emu *emu)
{
    emu_init_bits(emu, 12, 48);
}

void emu_init_external(struct emu *emu, bool (*held)(void *opaque))
{
    init(emu,
         (struct pgl_table_config){.page_bits = 12, .addr_bits = 48, .external_locking = true, .external_held = held});
}

static void say(const char *what, void *opaque)
{
    (void)opaque;
    fprintf(stderr, "pgl_table_check: %s\n", what);
}

void emu_assert_sound(const struct emu *emu)
{
    assert_int_equal(pgl_table_check(emu->table, say, NULL), 0);
}

int emu_set_up(void **state)
{
    static struct emu emu;

    emu_init(&emu);
    *state = &emu;
    return 0;
}

void emu_fini(struct emu *emu)
{
    emu_assert_sound(emu);
    pgl_table_free(emu->table);
    pthread_mutex_destroy(&emu->lock);
}

enum pgl_bracket_result emu_translate(struct emu *emu, struct emu_block *block, struct pgl_tb **equal)
{
    bool two = pgl_tb_first_addr(&block->tb, 1) <= pgl_tb_last_addr(&block->tb, 1);

    return emu_translate_across(emu, block,
                                two ? pgl_tb_first_addr(&block->tb, 1) >> emu->table->page_bits : EMU_NO_PAGE, equal);
}

enum pgl_bracket_result emu_translate_across(struct emu *emu, struct emu_block *block, uint64_t second,
                                             struct pgl_tb **equal)
{
    struct pgl_bracket bracket;
    enum pgl_bracket_result result;

    if (!pgl_bracket_begin(&bracket, emu->table, pgl_tb_first_addr(&block->tb, 0) >> emu->table->page_bits)) {
        return PGL_BRACKET_ERROR;
    }
    do {
        result = second != EMU_NO_PAGE ? pgl_bracket_cross(&bracket, second) : PGL_BRACKET_OK;
        if (result == PGL_BRACKET_OK) {
            result = pgl_bracket_commit(&bracket, &block->tb, equal);
        }
    } while (result == PGL_BRACKET_RESTART);
    return result;
}

void emu_init_block(struct emu_block *block, uint64_t first, uint64_t last)
{
    memset(block, 0, sizeof(*block));
    pgl_tb_init(&block->tb);
    pgl_tb_set_bytes(&block->tb, 0, first, last);
}

void emu_link(struct emu *emu, struct emu_block *block, uint64_t first, uint64_t last)
{
    emu_link2(emu, block, first, last, 1, 0);
}

void emu_link2(struct emu *emu, struct emu_block *block, uint64_t first, uint64_t last, uint64_t first2, uint64_t last2)
{
    memset(block, 0, sizeof(*block));
    pgl_tb_init(&block->tb);
    pgl_tb_set_bytes(&block->tb, 0, first, last);
    pgl_tb_set_bytes(&block->tb, 1, first2, last2);
    assert_int_equal(emu_translate(emu, block, NULL), PGL_BRACKET_OK);
    assert_true(emu_is_live(block));
}

static bool count_one(struct pgl_tb *tb, void *opaque)
{
    (void)tb;
    ++*(unsigned *)opaque;
    return true;
}

unsigned emu_count(struct emu *emu, uint64_t index)
{
    struct pgl_page *page = pgl_page_find(emu->table, index);
    unsigned n = 0;

    if (!page) {
        return 0;
    }
    pgl_page_lock(emu->table, page);
    pgl_page_foreach_tb(emu->table, page, count_one, &n);
    pgl_page_unlock(emu->table, page);
    return n;
}

pid_t emu_fork_holding_everything(struct emu *emu, unsigned seconds)
{
    struct pgl_collection collection;
    pid_t child;

    assert_true(pgl_collection_lock(&collection, emu->table, 0, (UINT64_C(1) << 48) - 1));
    /* The emulator's own locks come after the pages, as always. */
    pthread_mutex_lock(&emu->lock);
    child = fork();
    if (!child) {
        alarm(seconds);
    }
    pthread_mutex_unlock(&emu->lock);
    pgl_collection_unlock(&collection);
    return child;
}

void emu_assert_child_succeeds(pid_t child)
{
    int status;

    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

bool emu_is_locked(const struct emu *emu, uint64_t index)
{
    return __atomic_load_n(&pgl_page_find(emu->table, index)->head, __ATOMIC_ACQUIRE) & PGL_HEAD_LOCK;
}

static void *hold(void *opaque)
{
    struct emu_holder *holder = opaque;
    struct pgl_page *page = pgl_page_get(holder->emu->table, holder->index);

    pgl_page_lock(holder->emu->table, page);
    sem_post(&holder->holds);
    while (sem_wait(&holder->let_go)) {
        ;
    }
    pgl_page_unlock(holder->emu->table, page);
    return NULL;
}

void emu_hold(struct emu_holder *holder, struct emu *emu, uint64_t index)
{
    holder->emu = emu;
    holder->index = index;
    sem_init(&holder->holds, 0, 0);
    sem_init(&holder->let_go, 0, 0);
    assert_int_equal(pthread_create(&holder->thread, NULL, hold, holder), 0);
    while (sem_wait(&holder->holds)) {
        ;
    }
}

void emu_release(struct emu_holder *holder)
{
    sem_post(&holder->let_go);
    pthread_join(holder->thread, NULL);
    sem_destroy(&holder->holds);
    sem_destroy(&holder->let_go);
}

/* The call that this thread runs. */
static _Thread_local struct emu_call *current;
static unsigned yields;

void (*emu_at_yield)(void);

int __real_sched_yield(void);
int __wrap_sched_yield(void);

int __wrap_sched_yield(void)
{
    __atomic_fetch_add(&yields, 1, __ATOMIC_RELAXED);
    if (current) {
        __atomic_fetch_add(&current->yields, 1, __ATOMIC_RELEASE);
    }
    if (emu_at_yield) {
        emu_at_yield();
    }
    return __real_sched_yield();
}

unsigned emu_yields(void)
{
    return __atomic_load_n(&yields, __ATOMIC_RELAXED);
}

static void *run_call(void *opaque)
{
    struct emu_call *call = opaque;

    current = call;
    call->run(call->emu, call->arg);
    __atomic_store_n(&call->done, 1, __ATOMIC_RELEASE);
    return NULL;
}

void emu_call(struct emu_call *call, struct emu *emu, void (*run)(struct emu *emu, void *arg), void *arg)
{
    *call = (struct emu_call){.run = run, .emu = emu, .arg = arg};
    assert_int_equal(pthread_create(&call->thread, NULL, run_call, call), 0);
}

void emu_join(struct emu_call *call)
{
    pthread_join(call->thread, NULL);
}

/* Wait until the call has yielded more than @n times or has returned. */
static bool yields_more(const struct emu_call *call, unsigned n)
{
    EMU_WAIT_UNTIL(emu_has_returned(call) || __atomic_load_n(&call->yields, __ATOMIC_ACQUIRE) > n);
    return !emu_has_returned(call);
}

bool emu_is_stuck(const struct emu_call *call)
{
    return yields_more(call, 0);
}

bool emu_is_stuck_again(const struct emu_call *call)
{
    return yields_more(call, PGL_SPIN_YIELD_ROUNDS); /* more than one wait yields */
}

uint64_t emu_seed(const char *what)
{
    const char *text = getenv("PGL_SEED");
    struct timespec now;
    uint64_t seed;

    clock_gettime(CLOCK_MONOTONIC, &now);
    seed = text ? strtoull(text, NULL, 0) : (uint64_t)now.tv_nsec * 1000003 + (uint64_t)now.tv_sec;
    printf("%s: PGL_SEED=%" PRIu64 "\n", what, seed);
    fflush(stdout);
    return seed;
}

/* splitmix64 */
uint64_t emu_random(struct emu_random *random)
{
    uint64_t z = random->state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}
