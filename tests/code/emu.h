/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A small emulator around one table, for the tests of code pages: blocks, a list in which they are found, a log of what
 * the callbacks were told, and threads that hold pages on command.
 */
#ifndef PGL_TESTS_CODE_EMU_H
#define PGL_TESTS_CODE_EMU_H

#include <pthread.h>
#include <semaphore.h>
#include <unistd.h>

#include <pagelock/tb.h>

#include "../cm.h"

/* A block. pgl_tb comes first: both have one address. */
struct emu_block {
    struct pgl_tb tb;
    struct emu_block *next; /* findable ones */
    unsigned key;           /* blocks of one key and one set of bytes are equal; 0 is equal to none */
    unsigned retired;       /* how often */
    bool findable;
};

enum {
    EMU_LOG_ROOM = 4096,
};

struct emu {
    struct pgl_table *table;
    pthread_mutex_t lock; /* protects what follows; comes after every page lock */
    struct emu_block *findable;
    unsigned n_first_code, n_no_code, n_retired, n_retired_blocks;
    char log[EMU_LOG_ROOM];
    size_t log_len;
    char taken[EMU_LOG_ROOM];

    /* Called at the callback, before it does its work, when not NULL. */
    void (*at_first_code)(struct emu *emu, uint64_t index);
    void (*at_no_code)(struct emu *emu, uint64_t index);
    void (*at_publish)(struct emu *emu, struct pgl_tb *tb);
    void (*at_retired)(struct emu *emu, struct pgl_tb *chain);
    void *arg; /* the test's own */
};

/* Make an emulator with 4 KiB pages and 48-bit addresses, or others, or on an externally locked table. */
void emu_init(struct emu *emu);
void emu_init_bits(struct emu *emu, unsigned page_bits, unsigned addr_bits);
void emu_init_external(struct emu *emu, bool (*held)(void *opaque));

/* For cmocka: *state is an emulator with 4 KiB pages and 48-bit addresses. The test calls emu_fini(). */
int emu_set_up(void **state);

/* Check the table, assert that it is sound, and free it. */
void emu_fini(struct emu *emu);

/* Assert that the table is sound: pgl_table_check() finds nothing. */
void emu_assert_sound(const struct emu *emu);

/* The log of the callbacks since the last call: "first 5, publish, retired 1, none 5" (page indices in hexadecimal) */
const char *emu_log(struct emu *emu);

/* Make a new block of no key with these bytes, linked nowhere. */
void emu_init_block(struct emu_block *block, uint64_t first, uint64_t last);

/* Translate: link a block with these bytes, which is alive afterwards. Restarts are obeyed. */
void emu_link(struct emu *emu, struct emu_block *block, uint64_t first, uint64_t last);
void emu_link2(struct emu *emu, struct emu_block *block, uint64_t first, uint64_t last, uint64_t first2,
               uint64_t last2);

/* The same without assertions, for other threads: pgl_bracket_commit()'s answer. */
enum pgl_bracket_result emu_translate(struct emu *emu, struct emu_block *block, struct pgl_tb **equal);

/*
 * The same in a bracket that crosses into page @second, or into none when that is EMU_NO_PAGE. It need not be a page of
 * the block's, unless the block has bytes on another page than its first.
 */
#define EMU_NO_PAGE UINT64_MAX
enum pgl_bracket_result emu_translate_across(struct emu *emu, struct emu_block *block, uint64_t second,
                                             struct pgl_tb **equal);

static inline bool emu_is_live(const struct emu_block *block)
{
    return pgl_tb_is_live(&block->tb);
}

/* How many blocks are on the list of a page. */
unsigned emu_count(struct emu *emu, uint64_t index);

/*
 * Fork with every page and the emulator's lock held, as docs/locking.md says. The child ends by a signal after
 * @seconds, because it may wait for a lock that no thread will unlock.
 */
pid_t emu_fork_holding_everything(struct emu *emu, unsigned seconds);

/* Wait for a child, which ends with 0. */
void emu_assert_child_succeeds(pid_t child);

/* Whether a thread holds a page that exists. */
bool emu_is_locked(const struct emu *emu, uint64_t index);

static inline uint64_t emu_mask(const struct emu *emu, uint64_t index)
{
    return __atomic_load_n(&pgl_page_find(emu->table, index)->mask, __ATOMIC_ACQUIRE);
}

static inline bool emu_code_bit(const struct emu *emu, uint64_t index)
{
    return __atomic_load_n(&pgl_leaf_find(emu->table, index)->code[index % PGL_LEVEL_SIZE / 64], __ATOMIC_ACQUIRE) >>
               index % 64 &
           1;
}

static inline struct pgl_table_stats emu_stats(const struct emu *emu)
{
    struct pgl_table_stats stats;

    pgl_table_get_stats(emu->table, &stats);
    return stats;
}

/* A thread that holds one page from emu_hold() to emu_release(). */
struct emu_holder {
    struct emu *emu;
    uint64_t index;
    pthread_t thread;
    sem_t holds, let_go;
};

void emu_hold(struct emu_holder *holder, struct emu *emu, uint64_t index);
void emu_release(struct emu_holder *holder);

/* A call that runs on a thread of its own, and whether it has returned. */
struct emu_call {
    void (*run)(struct emu *emu, void *arg);
    struct emu *emu;
    void *arg;
    pthread_t thread;
    unsigned done;
    unsigned yields; /* in waits for a page */
};

void emu_call(struct emu_call *call, struct emu *emu, void (*run)(struct emu *emu, void *arg), void *arg);
void emu_join(struct emu_call *call);

static inline bool emu_has_returned(const struct emu_call *call)
{
    return __atomic_load_n(&call->done, __ATOMIC_ACQUIRE);
}

/*
 * Whether the call waits for a page that another thread holds: true once its thread has found the page locked so often
 * that it yields, false once the call has returned. Each call that this is asked of enters at most one such wait
 * before.
 */
bool emu_is_stuck(const struct emu_call *call);

/* The same of the second wait of a call, of which emu_is_stuck() was true in the first. */
bool emu_is_stuck_again(const struct emu_call *call);

/* How often the threads of this program have yielded. Every program that uses this emulator is linked with --wrap for
 * sched_yield. */
unsigned emu_yields(void);

/* Called by each thread that yields, when not NULL. */
extern void (*emu_at_yield)(void);

/* Wait until @condition holds; a minute without it fails the test. */
#define EMU_WAIT_UNTIL(condition)                                                                                      \
    do {                                                                                                               \
        unsigned waited_ = 0;                                                                                          \
        while (!(condition)) {                                                                                         \
            usleep(200);                                                                                               \
            assert_true(waited_++ < 300000);                                                                           \
        }                                                                                                              \
    } while (0)

/* A sequence of random numbers, from a seed that the environment variable PGL_SEED replaces; printed by emu_seed(). */
struct emu_random {
    uint64_t state;
};

uint64_t emu_seed(const char *what);
uint64_t emu_random(struct emu_random *random);

/* A random number below @n. */
static inline uint64_t emu_below(struct emu_random *random, uint64_t n)
{
    return emu_random(random) % n;
}

#endif
