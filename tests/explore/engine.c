/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Threads as coroutines, one step at a time. At each point the running thread decides which thread runs next, and
 * switches there directly. A schedule is the sequence of these choices; nothing else differs between two runs of a
 * scenario.
 */
#include "engine.h"

#include <errno.h>
#include <link.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "switch.h"

#define STACK_SIZE ((size_t)256 << 10)
#define STEP_BOUND 20000
#define TLS_MAX 4096

enum state { RUNNABLE, BLOCKED, FINISHED };

struct thread {
    struct context context;
    enum state state;
    bool (*ready)(uintptr_t a, uintptr_t b);
    uintptr_t ready_args[2];
    unsigned int step;
    uint64_t yielded_at; /* writes by others when it last yielded */
    int saved_errno;
    char tls[TLS_MAX];
};

static struct {
    struct run *run;
    int current; /* ALONE, or a thread */
    unsigned int nthreads;
    unsigned int steps;
    unsigned int first_choices;
    bool running;
    struct context main_context;
    struct context alone_context;
    struct thread threads[EXPLORE_THREADS];
    char *stacks; /* one a thread, and the last one for code that runs alone */
    char *tls;
    size_t tls_size;
    char tls_initial[TLS_MAX];
    uintptr_t load_base;
    void (*alone_function)(void);
} engine = {.current = ALONE};

bool engine_concurrent;
unsigned int engine_accesses;

static void set_current(int thread)
{
    engine.current = thread;
    engine_concurrent = thread != ALONE;
    engine_accesses = 0;
}

/* Thread-local storage: the threads share one real thread; therefore each switch swaps the program's own block. */

static int find_tls(struct dl_phdr_info *info, size_t size, void *data)
{
    (void)size;
    (void)data;
    engine.load_base = info->dlpi_addr;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        if (info->dlpi_phdr[i].p_type == PT_TLS) {
            engine.tls = info->dlpi_tls_data;
            engine.tls_size = info->dlpi_phdr[i].p_memsz;
        }
    }
    return 1; /* the first is the program */
}

static void crashed(int signal)
{
    if (!engine.running) {
        struct sigaction action = {.sa_handler = SIG_DFL};
        sigaction(signal, &action, NULL);
        return;
    }
    explore_fail("crashed: signal %d", signal);
}

static void engine_init(void)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    struct sigaction action = {.sa_handler = crashed, .sa_flags = SA_ONSTACK | SA_NODEFER};

    engine.stacks = mmap(NULL, STACK_SIZE * (EXPLORE_THREADS + 1), PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (engine.stacks == MAP_FAILED) {
        perror("explore: stacks");
        exit(1);
    }
    for (int i = 0; i <= EXPLORE_THREADS; i++) {
        mprotect(engine.stacks + STACK_SIZE * (size_t)i, (size_t)sysconf(_SC_PAGESIZE), PROT_NONE);
    }
    dl_iterate_phdr(find_tls, NULL);
    if (engine.tls_size > TLS_MAX) {
        fprintf(stderr, "explore: %zu bytes of thread-local storage\n", engine.tls_size);
        exit(1);
    }
    if (engine.tls_size > 0) {
        memcpy(engine.tls_initial, engine.tls, engine.tls_size);
    }
    sigaltstack(&(stack_t){.ss_sp = malloc(65536), .ss_size = 65536}, NULL);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        sigaction(signals[i], &action, NULL);
    }
    heap_init();
}

static void tls_leave(int thread)
{
    if (thread != ALONE) {
        memcpy(engine.threads[thread].tls, engine.tls, engine.tls_size);
        engine.threads[thread].saved_errno = errno;
    }
}

static void tls_enter(int thread)
{
    if (thread != ALONE) {
        memcpy(engine.tls, engine.threads[thread].tls, engine.tls_size);
        errno = engine.threads[thread].saved_errno;
    }
}

bool engine_private(uintptr_t address)
{
    return address - (uintptr_t)engine.stacks < STACK_SIZE * (EXPLORE_THREADS + 1) ||
           address - (uintptr_t)engine.tls < engine.tls_size;
}

/* Small answers. */

bool engine_running(void)
{
    return engine.running;
}

enum explore_memory engine_memory(void)
{
    return engine.run->memory;
}

enum explore_memory explore_memory(void)
{
    return engine.run->memory;
}

bool explore_sample(unsigned int n)
{
    return engine.run->signature % n == 0;
}

bool engine_plain_points(void)
{
    return engine.run->plain_points;
}

unsigned int engine_threads(void)
{
    return engine.nthreads;
}

int explore_self(void)
{
    return engine.current;
}

int engine_chooser(void)
{
    return engine.current == ALONE ? EXPLORE_THREADS : engine.current;
}

unsigned int engine_step(void)
{
    return engine.current == ALONE ? engine.first_choices : engine.threads[engine.current].step;
}

/* The trace. */

void engine_trace(const void *pc, const char *format, ...)
{
    FILE *out = engine.run->trace;
    va_list args;

    if (!out) {
        return;
    }
    fprintf(out, "%zx T%d %-4u ", pc ? (uintptr_t)pc - engine.load_base - 1 : 0, engine.current,
            engine.current == ALONE ? 0 : engine.threads[engine.current].step);
    va_start(args, format);
    vfprintf(out, format, args);
    va_end(args);
    fputc('\n', out);
}

/* A sum, so that the order of steps that no thread can distinguish does not count. */
void engine_event(uint64_t who, uint64_t what, uint64_t where, uint64_t version)
{
    engine.run->behaviour += mix64(mix64(mix64(who) ^ where) ^ version << 8 ^ what);
}

void explore_fail(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(engine.run->why, sizeof engine.run->why, format, args);
    va_end(args);
    engine.run->failed = true;
    engine_trace(NULL, "FAILED: %s", engine.run->why);
    set_current(ALONE);
    struct context abandoned;
    context_switch(&abandoned, &engine.main_context);
    abort();
}

/* Choosing. */

static bool thread_ready(int t)
{
    struct thread *thread = &engine.threads[t];

    if (thread->state == BLOCKED && thread->ready(thread->ready_args[0], thread->ready_args[1])) {
        return true;
    }
    return thread->state == RUNNABLE;
}

static struct choice choose(const struct choice *choices, unsigned int n, unsigned int nfree)
{
    struct run *run = engine.run;
    unsigned int k = n > 1 && run->ndecisions < MAX_DECISIONS ? run->pick(choices, n, nfree) : 0;

    if (k > 0) {
        run->decisions[run->ndecisions++] = (struct decision){
            .thread = (uint8_t)engine_chooser(),
            .kind = choices[k].kind,
            .arg = choices[k].arg,
            .step = (uint16_t)engine_step(),
        };
        run->deviations += k >= nfree;
    }
    run->points += n > 1;
    run->signature = mix64(run->signature ^ (uint64_t)choices[k].kind << 8 ^ choices[k].arg);
    if (engine.current == ALONE) {
        engine.first_choices++;
    } else {
        engine.threads[engine.current].step++;
    }
    if (++engine.steps > STEP_BOUND) {
        explore_fail("no end in sight after %d steps", STEP_BOUND);
    }
    return choices[k];
}

unsigned int engine_choose_value(unsigned int n)
{
    struct choice choices[MAX_CHOICES];

    choices[0] = (struct choice){CHOICE_RUN, (uint8_t)engine.current};
    n = n < MAX_CHOICES ? n : MAX_CHOICES;
    for (unsigned int i = 1; i < n; i++) {
        choices[i] = (struct choice){CHOICE_STALE, (uint8_t)i};
    }
    struct choice chosen = choose(choices, n, 1);
    return chosen.kind == CHOICE_STALE ? chosen.arg : 0;
}

/* List the choices: the running thread first, then the other threads, then the buffers. */
static unsigned int list_choices(struct choice *choices, unsigned int *nfree)
{
    int nthreads = (int)engine.nthreads;
    bool self = engine.current != ALONE && thread_ready(engine.current);
    unsigned int n = 0;

    if (self) {
        choices[n++] = (struct choice){CHOICE_RUN, (uint8_t)engine.current};
    }
    for (int i = 1; i <= nthreads; i++) {
        int t = (engine.current + i) % nthreads;
        if (t != engine.current && thread_ready(t)) {
            choices[n++] = (struct choice){CHOICE_RUN, (uint8_t)t};
        }
    }
    *nfree = self ? 1 : n;
    for (int t = 0; t < nthreads; t++) {
        if (memory_buffered(t)) {
            choices[n++] = (struct choice){CHOICE_FLUSH, (uint8_t)t};
        }
    }
    if (*nfree == 0) {
        *nfree = n;
    }
    return n;
}

static void report_stuck(void)
{
    for (int t = 0; t < (int)engine.nthreads; t++) {
        if (engine.threads[t].state == BLOCKED) {
            explore_fail("deadlock: thread %d waits for what nobody will do", t);
        }
    }
}

static void switch_to(int next)
{
    int previous = engine.current;
    struct context *from = previous == ALONE ? &engine.main_context : &engine.threads[previous].context;

    tls_leave(previous);
    set_current(next);
    tls_enter(next);
    context_switch(from, &engine.threads[next].context);
}

/* Decide what happens next until that is a thread's step. Returns when the calling thread is chosen (again). */
static void schedule(void)
{
    for (;;) {
        struct choice choices[MAX_CHOICES];
        unsigned int nfree;
        unsigned int n = list_choices(choices, &nfree);

        if (n == 0) {
            report_stuck();
            struct context finished;
            tls_leave(engine.current);
            set_current(ALONE);
            context_switch(&finished, &engine.main_context);
        }
        struct choice chosen = choose(choices, n, nfree);
        if (chosen.kind == CHOICE_FLUSH) {
            engine_trace(NULL, "a store of T%d reaches memory", chosen.arg);
            memory_flush_one(chosen.arg);
            continue;
        }
        engine.threads[chosen.arg].state = RUNNABLE;
        if (chosen.arg != engine.current) {
            switch_to(chosen.arg);
        }
        return;
    }
}

void engine_point(void)
{
    if (engine.current != ALONE) {
        schedule();
    }
}

void engine_block(bool (*ready)(uintptr_t a, uintptr_t b), uintptr_t a, uintptr_t b)
{
    if (engine.current == ALONE) {
        if (!ready(a, b)) {
            explore_fail("deadlock: code that runs alone waits");
        }
        return;
    }
    struct thread *thread = &engine.threads[engine.current];
    thread->state = BLOCKED;
    thread->ready = ready;
    thread->ready_args[0] = a;
    thread->ready_args[1] = b;
    schedule();
}

static bool others_wrote(uintptr_t thread, uintptr_t seen)
{
    return memory_writes((int)thread) != seen;
}

/* The thread has to look again only if another thread has written since it yielded last. */
void explore_yield(void)
{
    if (engine.current == ALONE) {
        explore_fail("code that runs alone waits");
    }
    struct thread *thread = &engine.threads[engine.current];
    uint64_t before = memory_read_stale(engine.current) ? UINT64_MAX : thread->yielded_at;
    engine_trace(__builtin_return_address(0), "yield");
    engine_block(others_wrote, (uintptr_t)engine.current, before);
    thread->yielded_at = memory_writes(engine.current);
}

/* Running. */

static void thread_entry(void)
{
    engine.run->scenario->threads[engine.current]();
    engine_trace(NULL, "ends");
    engine.threads[engine.current].state = FINISHED;
    schedule();
    abort();
}

static void alone_entry(void)
{
    engine.alone_function();
    struct context finished;
    context_switch(&finished, &engine.main_context);
    abort();
}

/* On a coroutine's stack too, so that a failure in there comes back like any other. */
static void run_alone(void (*function)(void))
{
    if (!function || engine.run->failed) {
        return;
    }
    set_current(ALONE);
    engine.alone_function = function;
    context_make(&engine.alone_context, engine.stacks + STACK_SIZE * EXPLORE_THREADS, STACK_SIZE, alone_entry);
    context_switch(&engine.main_context, &engine.alone_context);
}

static void start_threads(void)
{
    for (unsigned int t = 0; t < engine.nthreads; t++) {
        struct thread *thread = &engine.threads[t];
        thread->state = RUNNABLE;
        thread->step = 0;
        thread->yielded_at = UINT64_MAX;
        memcpy(thread->tls, engine.tls_initial, engine.tls_size);
        context_make(&thread->context, engine.stacks + STACK_SIZE * t, STACK_SIZE, thread_entry);
    }
}

static void final(void)
{
    memory_flush_all();
    if (engine.run->scenario->final) {
        engine.run->scenario->final();
    }
    heap_check_leaks();
}

void engine_run(struct run *run)
{
    if (!engine.stacks) {
        engine_init();
    }
    engine.run = run;
    run->failed = false;
    run->signature = run->behaviour = 0;
    run->points = run->deviations = run->ndecisions = 0;
    engine.steps = engine.first_choices = 0;
    for (engine.nthreads = 0; engine.nthreads < EXPLORE_THREADS; engine.nthreads++) {
        if (!run->scenario->threads[engine.nthreads]) {
            break;
        }
    }
    memory_reset();
    heap_reset();
    hist_reset();
    sync_reset();
    if (kernel_reset) {
        kernel_reset();
    }
    engine.running = true;
    if (engine.tls_size > 0) {
        memcpy(engine.tls, engine.tls_initial, engine.tls_size);
    }
    if (pgl_explore_forget) {
        pgl_explore_forget();
    }
    run_alone(run->scenario->init);
    if (!run->failed) {
        start_threads();
        set_current(ALONE);
        schedule();
    }
    set_current(ALONE);
    run_alone(final);
    engine.running = false;
}
