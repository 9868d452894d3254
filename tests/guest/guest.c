/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Runs guest programs on the emulator and compares: bytes of blocks with stores before, ends with the interpreter's. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "emu.h"

enum { PROGRAM_SECONDS = 20 }; /* a program that takes longer hangs */

static const char *const mistakes[MISTAKE_COUNT] = {
    [MISTAKE_NONE] = "none",
    [MISTAKE_NO_CHECK] = "no-check",
    [MISTAKE_EARLY_READ] = "early-read",
    [MISTAKE_IGNORE_DEAD] = "ignore-dead",
    [MISTAKE_KEEP_CACHES] = "keep-caches",
    [MISTAKE_NO_TRAP] = "no-trap",
    [MISTAKE_NO_CONFIRM] = "no-confirm",
};

static const char *const orders[] = {
    [ORDER_CHECK] = "store checks",
    [ORDER_BRACKET] = "store brackets",
    [ORDER_ANNOUNCE] = "announce and confirm",
};

static const char *const tables[] = {
    [TABLE_PLAIN] = "plain",     [TABLE_ASYMMETRIC] = "asymmetric", [TABLE_EXTERNAL] = "external",
    [TABLE_NO_MAPS] = "no-maps", [TABLE_LARGE] = "large",
};

struct options {
    uint64_t stores, seed, program;
    double seconds;
    unsigned harts;
    bool by_hand, one_program;
    enum emu_mistake mistake;
};

struct totals {
    struct emu_stats stats;
    uint64_t programs, mismatches;
    uint64_t programs_with[TABLES];
    uint64_t stores, hits; /* in tables with pages of the guest's size: larger ones trap stores beside code, too */
};

static char running[100]; /* for the alarm */

static void on_alarm(int signal)
{
    static const char what[] = "guest: hangs: ";

    (void)signal;
    if (__atomic_load_n(&emu_mistake_was_found, __ATOMIC_RELAXED)) {
        _exit(0);
    }
    if (write(STDERR_FILENO, what, sizeof(what) - 1) < 0 || write(STDERR_FILENO, running, strlen(running)) < 0) {
        _exit(1);
    }
    abort();
}

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void mismatch(struct totals *totals, bool quiet, const char *what, unsigned number, uint64_t is, uint64_t wanted)
{
    totals->mismatches++;
    if (!quiet) {
        fprintf(stderr, "guest: %s: %s %u is %#jx, the interpreter has %#jx\n", running, what, number, (uintmax_t)is,
                (uintmax_t)wanted);
    }
}

/* Compare memory and registers, accessed bits apart, with what the interpreter leaves. */
static void compare(const struct emu *emu, const struct program *program, bool quiet, struct totals *totals)
{
    static uint8_t image[RAM_SIZE], ignored[RAM_SIZE];
    struct cpu cpus[HARTS_MAX];

    program_interpret(program, image, cpus);
    memset(ignored, 0, sizeof(ignored));
    for (unsigned page = 0; page < (unsigned)VA_SIZE >> program->page_bits; page++) {
        ignored[program->pte_at[page]] = PTE_ACCESSED;
    }
    for (unsigned at = 0; at < RAM_SIZE; at++) {
        if ((emu_byte(emu, at) | ignored[at]) != (image[at] | ignored[at])) {
            mismatch(totals, quiet, "byte", at, emu_byte(emu, at), image[at]);
            return;
        }
    }
    for (unsigned i = 0; i < program->nharts; i++) {
        for (unsigned reg = 0; reg < 16; reg++) {
            if (emu_cpu(emu, i)->reg[reg] != cpus[i].reg[reg]) {
                mismatch(totals, quiet, "register", 100 * i + reg, emu_cpu(emu, i)->reg[reg], cpus[i].reg[reg]);
                return;
            }
        }
    }
}

static void run_program(const struct program *program, uint64_t number, const struct emu_config *config,
                        struct totals *totals)
{
    uint64_t *to = (uint64_t *)&totals->stats;
    struct emu *emu = emu_new(program, config);
    struct emu_stats stats;

    snprintf(running, sizeof(running), "%s, program %ju, %s table, %s%s", program->name, (uintmax_t)number,
             tables[config->table], config->superblocks ? "superblocks, " : "", orders[config->order]);
    alarm(PROGRAM_SECONDS);
    emu_run(emu, &stats);
    if (program->deterministic) {
        compare(emu, program, config->mistake != MISTAKE_NONE, totals);
    }
    alarm(0);
    if ((stats.stale || stats.wrong) && config->mistake == MISTAKE_NONE) {
        fprintf(stderr, "guest: %s: stale=%ju wrong=%ju\n", running, (uintmax_t)stats.stale, (uintmax_t)stats.wrong);
    }
    emu_free(emu);
    for (unsigned n = 0; n < sizeof(stats) / sizeof(*to); n++) {
        to[n] += ((const uint64_t *)&stats)[n];
    }
    totals->programs++;
    totals->programs_with[config->table]++;
    if (config->table != TABLE_LARGE) {
        totals->stores += stats.stores;
        totals->hits += stats.hits;
    }
}

static uint64_t found(const struct totals *totals)
{
    return totals->stats.stale + totals->mismatches + totals->stats.wrong;
}

/* Programs by hand, in each way of storing with superblocks and without, and random ones in turn; until one fails. */
static void run_all(const struct options *options, struct totals *totals)
{
    struct emu_config config = {.mistake = options->mistake};
    double end = now() + options->seconds;
    struct program *program;

    for (unsigned n = 0; options->by_hand && !found(totals) && (program = program_by_hand(n)); n++) {
        for (unsigned way = 0; way < 2 * ORDERS; way++) {
            config.order = way % ORDERS;
            config.superblocks = way >= ORDERS;
            config.table = (n + way) % TABLES;
            run_program(program, n, &config, totals);
        }
        free(program);
    }
    for (uint64_t n = options->program; !found(totals) && (totals->stats.stores < options->stores || now() < end);
         n += !options->one_program) {
        program = program_random(options->seed, n, options->harts);
        config.order = n / 4 % ORDERS;
        config.superblocks = n / 4 / ORDERS % 2;
        config.table = n % TABLES; /* each kind of program comes to each table */
        run_program(program, n, &config, totals);
        free(program);
    }
}

static void print(const struct totals *totals, double seconds)
{
    const struct emu_stats *s = &totals->stats;

    printf("programs=%ju seconds=%.1f untrapped=%ju translated=%ju equal=%ju two_pages=%ju falling=%ju twice=%ju\n",
           (uintmax_t)totals->programs, seconds, (uintmax_t)s->untrapped, (uintmax_t)s->translated, (uintmax_t)s->equal,
           (uintmax_t)s->two_pages, (uintmax_t)s->falling, (uintmax_t)s->twice);
    printf(
        "restarts=%ju walk_stores=%ju contended=%ju retries=%ju left=%ju chained=%ju cached=%ju hashed=%ju wrong=%ju\n",
        (uintmax_t)s->restarts, (uintmax_t)s->walk_stores, (uintmax_t)s->contended, (uintmax_t)s->retries,
        (uintmax_t)s->left, (uintmax_t)s->chained, (uintmax_t)s->cached, (uintmax_t)s->hashed, (uintmax_t)s->wrong);
    printf("super=%ju super_pages=%ju announced=%ju restarted=%ju confirmed=%ju\n", (uintmax_t)s->super,
           (uintmax_t)s->super_pages, (uintmax_t)s->announced, (uintmax_t)s->restarted, (uintmax_t)s->confirmed);
    for (unsigned i = 0; i < TABLES; i++) {
        printf("%s%s=%ju", i ? " " : "tables: ", tables[i], (uintmax_t)totals->programs_with[i]);
    }
    printf("\nhits=%ju hit_share=%.3f\n", (uintmax_t)s->hits,
           totals->stores ? (double)totals->hits / (double)totals->stores : 0.0);
    printf("stores=%ju stale=%ju mismatches=%ju\n", (uintmax_t)s->stores, (uintmax_t)s->stale,
           (uintmax_t)totals->mismatches);
}

static void usage(void)
{
    fprintf(
        stderr,
        "Usage: guest [--stores N] [--seconds N] [--hours N] [--seed N] [--harts N] [--program N] [--mistake NAME]\n"
        "Runs programs that write their own and each other's code until there were N stores into code and N seconds\n"
        "are over, or one fails. --program runs that one random program again and again. --mistake builds one of these "
        "into the\n"
        "emulator, runs until it shows, and fails when it does not:");
    for (unsigned i = MISTAKE_NONE + 1; i < MISTAKE_COUNT; i++) {
        fprintf(stderr, " %s", mistakes[i]);
    }
    fprintf(stderr, "\n");
    exit(2);
}

static uint64_t number(const char *text, uint64_t max)
{
    char *end;
    uint64_t value;

    errno = 0;
    value = strtoull(text, &end, 0);
    if (errno || *end || end == text || value > max) {
        usage();
    }
    return value;
}

static enum emu_mistake mistake(const char *name)
{
    for (unsigned i = 0; i < MISTAKE_COUNT; i++) {
        if (strcmp(name, mistakes[i]) == 0) {
            return (enum emu_mistake)i;
        }
    }
    usage();
    return MISTAKE_NONE;
}

static struct options parse(char **argv)
{
    struct options options = {.stores = 30000, .seed = 1, .harts = 4};

    for (char **arg = argv + 1; *arg; arg += 2) {
        if (!arg[1]) {
            usage();
        }
        if (strcmp(*arg, "--stores") == 0) {
            options.stores = number(arg[1], UINT64_MAX);
        } else if (strcmp(*arg, "--seconds") == 0) {
            options.seconds = (double)number(arg[1], UINT32_MAX);
        } else if (strcmp(*arg, "--hours") == 0) {
            options.seconds = 3600.0 * (double)number(arg[1], UINT32_MAX);
        } else if (strcmp(*arg, "--seed") == 0) {
            options.seed = number(arg[1], UINT64_MAX);
        } else if (strcmp(*arg, "--harts") == 0) {
            options.harts = (unsigned)number(arg[1], HARTS_MAX);
        } else if (strcmp(*arg, "--mistake") == 0) {
            options.mistake = mistake(arg[1]);
        } else if (strcmp(*arg, "--program") == 0) {
            options.program = number(arg[1], UINT64_MAX), options.one_program = true;
        } else {
            usage();
        }
    }
    if (!options.harts) {
        usage();
    }
    /* With a mistake in the emulator the programs by hand may never end. */
    options.by_hand = !options.one_program && options.mistake == MISTAKE_NONE;
    return options;
}

int main(int argc, char **argv)
{
    struct options options = parse(argv);
    struct totals totals = {0};
    double start = now();

    (void)argc;
    signal(SIGALRM, on_alarm);
    printf("seed=%ju harts=%u stores=%ju mistake=%s\n", (uintmax_t)options.seed, options.harts,
           (uintmax_t)options.stores, mistakes[options.mistake]);
    run_all(&options, &totals);
    print(&totals, now() - start);
    if (options.mistake != MISTAKE_NONE) {
        return !found(&totals);
    }
    /* A run that seldom hits says little; one program may be like that. */
    return found(&totals) || (!options.one_program && 2 * totals.hits < totals.stores);
}
