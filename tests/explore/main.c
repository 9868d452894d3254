/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The explorer's command: options, workers, report. */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "scenarios.h"
#include "search.h"

#define MAX_SCENARIOS 512
#define MAX_WORKERS 64

static const char *const memory_names[] = {"sc", "tso", "weak"};

static struct {
    double seconds;
    unsigned int workers;
    uint64_t seed;
    enum explore_memory memory;
    int bound; /* -1: all strategies in turn */
    bool plain_points;
    const char *replay;
    const struct explore_scenario *scenarios[MAX_SCENARIOS];
    unsigned int n;
} options = {.seconds = 10, .workers = 2, .seed = 1, .memory = MEMORY_MODES, .bound = -1};

/* Shared with the workers. */
static struct board {
    unsigned int next;
    bool done[MAX_SCENARIOS];
    struct tally tallies[MAX_SCENARIOS];
} * board;

static void usage(void)
{
    fprintf(stderr, "usage: explore [--seconds N] [--scenario NAME[,NAME*...]] [--memory sc|tso|weak] [--bound N]\n"
                    "               [--seed N] [--workers N] [--list]\n"
                    "       explore --scenario NAME --memory sc|tso|weak [--plain] --replay DECISIONS\n");
    exit(2);
}

static const struct explore_scenario *const lists[] = {
    page_scenarios,  collection_scenarios, bracket_scenarios, super_scenarios, tb_scenarios,
    hot_scenarios,   choice_scenarios,     store_scenarios,   fence_scenarios, killed_scenarios,
    fault_scenarios, object_scenarios,     workset_scenarios, range_scenarios,
#ifdef EXPLORE_UFFD
    dirty_scenarios, uffd_scenarios,
#endif
};
#define NLISTS (sizeof lists / sizeof *lists)

/* One, or with a star at the end all whose names begin so. */
static void add_scenarios(const char *name)
{
    size_t length = strcspn(name, "*");
    unsigned int before = options.n;

    for (size_t list = 0; list < NLISTS; list++) {
        for (const struct explore_scenario *s = lists[list]; s->name; s++) {
            bool same = name[length] == '*' ? strncmp(s->name, name, length) == 0 : strcmp(s->name, name) == 0;
            if (same && options.n < MAX_SCENARIOS) {
                options.scenarios[options.n++] = s;
            }
        }
    }
    if (options.n == before) {
        fprintf(stderr, "explore: no scenario %s; --list names them\n", name);
        exit(2);
    }
}

static enum explore_memory parse_memory(const char *name)
{
    for (int m = 0; m < MEMORY_MODES; m++) {
        if (strcmp(name, memory_names[m]) == 0) {
            return (enum explore_memory)m;
        }
    }
    usage();
    return MEMORY_MODES;
}

static void print_list(void)
{
    for (size_t list = 0; list < NLISTS; list++) {
        for (const struct explore_scenario *s = lists[list]; s->name; s++) {
            printf("%-24s %s\n", s->name, s->claim);
        }
    }
    exit(0);
}

static void parse_options(int argc, char **argv)
{
    static const struct option names[] = {
        {"seconds", required_argument, NULL, 't'}, {"scenario", required_argument, NULL, 's'},
        {"memory", required_argument, NULL, 'm'},  {"bound", required_argument, NULL, 'b'},
        {"seed", required_argument, NULL, 'r'},    {"workers", required_argument, NULL, 'w'},
        {"replay", required_argument, NULL, 'p'},  {"plain", no_argument, NULL, 'n'},
        {"list", no_argument, NULL, 'l'},          {NULL, 0, NULL, 0},
    };
    int option;

    while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
        switch (option) {
        case 't':
            options.seconds = strtod(optarg, NULL);
            break;
        case 's':
            for (char *name = strtok(optarg, ","); name; name = strtok(NULL, ",")) {
                add_scenarios(name);
            }
            break;
        case 'm':
            options.memory = parse_memory(optarg);
            break;
        case 'b':
            options.bound = atoi(optarg);
            break;
        case 'r':
            options.seed = strtoull(optarg, NULL, 0);
            break;
        case 'w':
            options.workers = (unsigned int)atoi(optarg);
            break;
        case 'p':
            options.replay = optarg;
            break;
        case 'n':
            options.plain_points = true;
            break;
        case 'l':
            print_list();
            break;
        default:
            usage();
        }
    }
    if (optind != argc || options.workers < 1 || options.workers > MAX_WORKERS || options.seconds <= 0) {
        usage();
    }
}

/* The lines of a trace start with an address in the program: put the place in the source there. */
static void print_trace(FILE *trace)
{
    char line[1024], place[512], command[256], name[] = "/tmp/explore-XXXXXX";
    int addresses = mkstemp(name);
    FILE *symbolizer = NULL;

    rewind(trace);
    while (addresses >= 0 && fgets(line, sizeof line, trace)) {
        dprintf(addresses, "%zx\n", (size_t)strtoul(line, NULL, 16));
    }
    if (addresses >= 0) {
        close(addresses);
        snprintf(command, sizeof command, "addr2line -s -e /proc/%d/exe <%s", (int)getpid(), name);
        symbolizer = popen(command, "r");
    }
    rewind(trace);
    while (fgets(line, sizeof line, trace)) {
        const char *text = strchr(line, ' ');

        if (!symbolizer || !fgets(place, sizeof place, symbolizer) || strncmp(line, "0 ", 2) == 0) {
            strcpy(place, "-");
        }
        place[strcspn(place, "\n ")] = '\0';
        printf("  %-22s%s", place, text ? text : "\n");
    }
    if (symbolizer) {
        pclose(symbolizer);
    }
    unlink(name);
}

static bool replay(const struct explore_scenario *scenario, enum explore_memory memory, bool plain_points,
                   const char *decisions)
{
    char why[512];
    FILE *trace = tmpfile();
    bool failed = search_replay(scenario, memory, plain_points, decisions, trace, why);

    print_trace(trace);
    fclose(trace);
    printf("scenario=%s memory=%s %s\n", scenario->name, memory_names[memory], failed ? why : "passes");
    return failed;
}

/* Every schedule with up to two preemptions, if that can be done by @deadline. */
static void run_complete(struct search *search, double deadline)
{
    if (options.bound < 0 && (options.memory == MEMORY_MODES || options.memory == MEMORY_SC)) {
        search_exhaust(search, MEMORY_SC, 2, deadline);
    }
    for (int m = 0; m < MEMORY_MODES && options.bound >= 0; m++) {
        if (options.memory == MEMORY_MODES || options.memory == (enum explore_memory)m) {
            search_exhaust(search, (enum explore_memory)m, options.bound, deadline);
        }
    }
}

/* The scenario with the fewest distinct schedules of those that may have more, or NULL. */
static struct search *least_known(struct search *const *searches, unsigned int n)
{
    struct search *least = NULL;

    for (unsigned int i = 0; i < n; i++) {
        const struct tally *tally = search_tally(searches[i]);
        bool over = tally->failed || search_is_exhausted(searches[i], options.memory);
        if (!over && (!least || tally->distinct < search_tally(least)->distinct)) {
            least = searches[i];
        }
    }
    return least;
}

/*
 * A worker takes scenarios while there are any, and runs what must be complete in up to twice a scenario's share of the
 * time. Of the time that is left, up to half goes to what is not complete yet, and the rest to all strategies, for each
 * scenario in turn and for the one in between of which the fewest schedules are known.
 */
static void work(double deadline)
{
    struct search *mine[MAX_SCENARIOS];
    unsigned int numbers[MAX_SCENARIOS];
    unsigned int n = 0;
    unsigned int next;

    while ((next = __atomic_fetch_add(&board->next, 1, __ATOMIC_RELAXED)) < options.n) {
        double now = search_now();
        double share = (deadline - now) * options.workers / (options.n - next);

        mine[n] = search_new(options.scenarios[next], options.seed);
        numbers[n] = next;
        run_complete(mine[n++], now + 2 * share < deadline ? now + 2 * share : deadline);
    }
    double half = (search_now() + deadline) / 2;
    for (unsigned int i = 0; i < n; i++) {
        run_complete(mine[i], half);
    }
    struct search *least;
    for (unsigned int turn = 0; options.bound < 0 && search_now() < deadline; turn++) {
        if (!(least = least_known(mine, n))) {
            break;
        }
        search_mixed(turn % 2 == 0 ? mine[turn / 2 % n] : least, options.memory, search_now() + 0.1);
    }
    for (unsigned int i = 0; i < n; i++) {
        board->tallies[numbers[i]] = *search_tally(mine[i]);
        board->done[numbers[i]] = true;
        search_free(mine[i]);
    }
}

static void run_workers(void)
{
    double deadline = options.bound >= 0 ? 1e18 : search_now() + options.seconds;

    fflush(stdout);
    for (unsigned int w = 0; w < options.workers; w++) {
        pid_t pid = fork();
        if (pid < 0) {
            perror("explore: fork");
            exit(1);
        }
        if (pid == 0) {
            work(deadline);
            _exit(0);
        }
    }
    while (wait(NULL) > 0) {
    }
}

static void print_bound(const struct tally *tally, enum explore_memory memory)
{
    if (tally->exhausted[memory]) {
        printf(" %s=exhausted", memory_names[memory]);
    } else if (tally->complete[memory] >= 0) {
        printf(" %s=%d", memory_names[memory], tally->complete[memory]);
    } else {
        printf(" %s=-", memory_names[memory]);
    }
}

static void print_tally(const struct explore_scenario *scenario, const struct tally *tally)
{
    bool complete = tally->exhausted[MEMORY_SC] || tally->complete[MEMORY_SC] >= 2;

    printf("scenario=%s schedules=%llu distinct=%llu behaviours=%llu preemptions=%llu/%llu/%llu(%s)", scenario->name,
           (unsigned long long)tally->schedules, (unsigned long long)tally->distinct,
           (unsigned long long)tally->behaviours, (unsigned long long)tally->with[0],
           (unsigned long long)tally->with[1], (unsigned long long)tally->with[2], complete ? "all" : "some");
    for (int m = 0; m < MEMORY_MODES; m++) {
        print_bound(tally, (enum explore_memory)m);
    }
    printf(" failures=%d\n", tally->failed);
    if (tally->failed) {
        printf("FAILED %s: %s\n", scenario->name, tally->why);
        replay(scenario, tally->memory, tally->plain_points, tally->replay);
        printf("again: --scenario %s --memory %s %s--replay %s\n", scenario->name, memory_names[tally->memory],
               tally->plain_points ? "--plain " : "", tally->replay);
    }
}

int main(int argc, char **argv)
{
    uint64_t schedules = 0;
    unsigned int failures = 0;

    parse_options(argc, argv);
    if (options.replay) {
        if (options.n != 1 || options.memory == MEMORY_MODES) {
            usage();
        }
        return replay(options.scenarios[0], options.memory, options.plain_points, options.replay);
    }
    if (options.n == 0) {
        add_scenarios("*");
    }
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (board == MAP_FAILED) {
        perror("explore: mmap");
        return 1;
    }
    printf("seed=%llu seconds=%g workers=%u scenarios=%u\n", (unsigned long long)options.seed, options.seconds,
           options.workers, options.n);
    run_workers();
    for (unsigned int i = 0; i < options.n; i++) {
        if (!board->done[i]) {
            printf("FAILED %s: its worker died\n", options.scenarios[i]->name);
            failures++;
            continue;
        }
        print_tally(options.scenarios[i], &board->tallies[i]);
        schedules += board->tallies[i].schedules;
        failures += board->tallies[i].failed;
    }
    printf("schedules=%llu failures=%u\n", (unsigned long long)schedules, failures);
    return failures > 0;
}
