/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "plot.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "machine.h"

struct point {
    char *x;
    struct spread y;
};

struct series {
    char *name;
    GArray *points; /* of struct point */
};

struct panel {
    enum plot_style style;
    char *title;
    char *xlabel;
    char *ylabel;
    GPtrArray *series;
};

struct plot {
    char *path;
    int fd;
    bool made; /* the file was not there before */
    const char *terminal;
    char *origin; /* in the corner */
    GPtrArray *panels;
};

/* Colours that colour-blind readers can tell apart as well as so many can be, after Okabe and Ito. */
static const struct {
    const char *name, *colour;
} colours[] = {
    {"pagelock", "#0072b2"},
    {"plain", "#d55e00"},
    {"global", "#009e73"},
    {"pthread_mutex", "#cc79a7"},
    {"pthread_spin", "#e69f00"},
    {"ck_fas", "#56b4e9"},
    {"ck_ticket", "#8c564b"},
    {"ck_mcs", "#7f7f7f"},
    {"exchange+store", "#000000"},
    {"fence", "#000000"},
    {"none", "#7f7f7f"},
    {"random", "#56b4e9"},
    {"normal", "#e69f00"},
    {"sequential", "#009e73"},
    {"adaptive", "#0072b2"},
    {"clairvoyant", "#000000"},
    {"forward 1 to 64", "#cc79a7"},
    {"centred 2 to 64", "#d55e00"},
    {"aligned 4 to 64", "#8c564b"},
};

/* A name that is not in the table gets one of its colours, the same one in each plot. */
static const char *colour_of(const char *name)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(colours); i++) {
        if (!strcmp(colours[i].name, name)) {
            return colours[i].colour;
        }
    }
    return colours[g_str_hash(name) % G_N_ELEMENTS(colours)].colour;
}

static void point_clear(void *p)
{
    g_free(((struct point *)p)->x);
}

static void series_free(void *p)
{
    struct series *series = p;

    g_free(series->name);
    g_array_unref(series->points);
    g_free(series);
}

static void panel_free(void *p)
{
    struct panel *panel = p;

    g_free(panel->title);
    g_free(panel->xlabel);
    g_free(panel->ylabel);
    g_ptr_array_unref(panel->series);
    g_free(panel);
}

/* Whether the file can be written is known before hours of measurement: until plot_draw() it stays as it is. */
static bool open_file(struct plot *plot)
{
    plot->fd = open(plot->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    plot->made = plot->fd >= 0;
    if (!plot->made && errno == EEXIST) {
        plot->fd = open(plot->path, O_WRONLY | O_CLOEXEC);
    }
    if (plot->fd < 0) {
        g_printerr("pagelock-bench: cannot write %s: %s\n", plot->path, g_strerror(errno));
    }
    return plot->fd >= 0;
}

static const char *terminal_of(const char *path)
{
    static const struct {
        const char *suffix, *terminal;
    } kinds[] = {{".svg", "svg"}, {".png", "png"}, {".pdf", "pdf"}};

    for (unsigned i = 0; i < G_N_ELEMENTS(kinds); i++) {
        if (g_str_has_suffix(path, kinds[i].suffix)) {
            return kinds[i].terminal;
        }
    }
    return NULL;
}

void plot_set_origin(struct plot *plot, const char *processor, const char *date)
{
    g_free(plot->origin);
    plot->origin = g_strdup_printf("%s, %s", processor, date);
}

static void set_origin_here(struct plot *plot)
{
    char *processor = machine_processor(), *date = machine_date();

    plot_set_origin(plot, processor, date);
    g_free(processor);
    g_free(date);
}

int plot_new(const char *path, struct plot **made)
{
    const char *terminal;
    struct plot *plot;
    char *gnuplot;

    *made = NULL;
    if (!path) {
        return STATUS_GOOD;
    }
    terminal = terminal_of(path);
    if (!terminal) {
        return usage_error("--plot wants a name that ends in .svg, .png or .pdf: %s", path);
    }
    gnuplot = g_find_program_in_path("gnuplot");
    if (!gnuplot) {
        g_printerr("pagelock-bench: cannot draw %s: there is no gnuplot\n", path);
        return STATUS_FAILED;
    }
    g_free(gnuplot);
    plot = g_new0(struct plot, 1);
    plot->path = g_strdup(path);
    plot->terminal = terminal;
    plot->panels = g_ptr_array_new_with_free_func(panel_free);
    set_origin_here(plot);
    if (!open_file(plot)) {
        plot_free(plot);
        return STATUS_FAILED;
    }
    *made = plot;
    return STATUS_GOOD;
}

void plot_free(struct plot *plot)
{
    if (!plot) {
        return;
    }
    if (plot->made) {
        unlink(plot->path);
    }
    if (plot->fd >= 0) {
        close(plot->fd);
    }
    g_ptr_array_unref(plot->panels);
    g_free(plot->origin);
    g_free(plot->path);
    g_free(plot);
}

void plot_panel(struct plot *plot, enum plot_style style, const char *title, const char *xlabel, const char *ylabel)
{
    struct panel *panel = g_new(struct panel, 1);

    panel->style = style;
    panel->title = g_strdup(title);
    panel->xlabel = g_strdup(xlabel);
    panel->ylabel = g_strdup(ylabel);
    panel->series = g_ptr_array_new_with_free_func(series_free);
    g_ptr_array_add(plot->panels, panel);
}

static struct series *series_named(const struct panel *panel, const char *name)
{
    struct series *series;

    for (unsigned i = 0; i < panel->series->len; i++) {
        series = g_ptr_array_index(panel->series, i);
        if (!strcmp(series->name, name)) {
            return series;
        }
    }
    series = g_new(struct series, 1);
    series->name = g_strdup(name);
    series->points = g_array_new(FALSE, FALSE, sizeof(struct point));
    g_array_set_clear_func(series->points, point_clear);
    g_ptr_array_add(panel->series, series);
    return series;
}

void plot_add(struct plot *plot, const char *name, const char *x, struct spread y)
{
    struct panel *panel = g_ptr_array_index(plot->panels, plot->panels->len - 1);
    struct point point = {g_strdup(x), y};

    g_assert(!strpbrk(x, "\"\\\n")); /* one of our own names, or a number: it stands in the data as it is */
    g_array_append_val(series_named(panel, name)->points, point);
}

struct spread plot_rate(struct spread ns)
{
    return (struct spread){1000 / ns.median, 1000 / ns.max, 1000 / ns.min};
}

/* A text may be the name of a file: gnuplot gets each byte of it but letters by number. */
static void add_quoted(GString *script, const char *text)
{
    g_string_append_c(script, '"');
    for (const char *p = text; *p; p++) {
        if (g_ascii_isalpha(*p)) {
            g_string_append_c(script, *p);
        } else {
            g_string_append_printf(script, "\\%03o", (unsigned)(unsigned char)*p);
        }
    }
    g_string_append_c(script, '"');
}

static void set_text(GString *script, const char *what, const char *text)
{
    g_string_append_printf(script, "set %s ", what);
    add_quoted(script, text);
    g_string_append_c(script, '\n');
}

static void add_number(GString *script, double value)
{
    char number[G_ASCII_DTOSTR_BUF_SIZE];

    g_string_append_printf(script, " %s", g_ascii_dtostr(number, sizeof(number), value));
}

static const struct point *point_at(const struct series *series, const char *x)
{
    for (unsigned i = 0; i < series->points->len; i++) {
        const struct point *point = &g_array_index(series->points, struct point, i);

        if (!strcmp(point->x, x)) {
            return point;
        }
    }
    return NULL;
}

static void add_point(GString *script, const char *x, const struct point *point)
{
    g_string_append_printf(script, "\"%s\"", x);
    if (point) {
        add_number(script, point->y.median);
        add_number(script, point->y.min);
        add_number(script, point->y.max);
    } else {
        g_string_append(script, " NaN NaN NaN");
    }
    g_string_append_c(script, '\n');
}

/* The words that bars stand over, each once, in the order in which they came. */
static GPtrArray *words_of(const struct panel *panel)
{
    GPtrArray *words = g_ptr_array_new();

    for (unsigned i = 0; i < panel->series->len; i++) {
        const struct series *series = g_ptr_array_index(panel->series, i);

        for (unsigned j = 0; j < series->points->len; j++) {
            char *x = g_array_index(series->points, struct point, j).x;

            if (!g_ptr_array_find_with_equal_func(words, x, g_str_equal, NULL)) {
                g_ptr_array_add(words, x);
            }
        }
    }
    return words;
}

/* Lines of: x median min max. Each series of bars has a line for each word, so that bars of one word stand together. */
static void add_data(GString *script, const struct panel *panel)
{
    GPtrArray *words = words_of(panel);

    for (unsigned i = 0; i < panel->series->len; i++) {
        const struct series *series = g_ptr_array_index(panel->series, i);

        g_string_append_printf(script, "$data%u << END\n", i);
        for (unsigned j = 0; j < words->len && panel->style == PLOT_BARS; j++) {
            const char *word = g_ptr_array_index(words, j);

            add_point(script, word, point_at(series, word));
        }
        for (unsigned j = 0; j < series->points->len && panel->style != PLOT_BARS; j++) {
            const struct point *point = &g_array_index(series->points, struct point, j);

            add_point(script, point->x, point);
        }
        g_string_append(script, "END\n");
    }
    g_ptr_array_unref(words);
}

/* Whether some of it was not the same each time. */
static bool has_spread(const struct series *series)
{
    for (unsigned i = 0; i < series->points->len; i++) {
        const struct spread *y = &g_array_index(series->points, struct point, i).y;

        if (y->min < y->max) {
            return true;
        }
    }
    return false;
}

static void add_series(GString *script, const struct panel *panel, unsigned number)
{
    const struct series *series = g_ptr_array_index(panel->series, number);

    g_string_append_printf(script, "%s$data%u using ", number ? ", " : "plot ", number);
    if (panel->style == PLOT_BARS) {
        g_string_append(script, "2:3:4:xtic(1) with histograms");
    } else if (has_spread(series)) {
        g_string_append(script, "(real(strcol(1))):2:3:4 with yerrorlines");
    } else {
        g_string_append(script, "(real(strcol(1))):2 with linespoints");
    }
    if (panel->style != PLOT_BARS) { /* one that stands alone is larger */
        g_string_append_printf(script, " pointtype 7 pointsize %s", series->points->len == 1 ? "1.0" : "0.4");
    }
    g_string_append_printf(script, " linecolor rgb \"%s\" title ", colour_of(series->name));
    add_quoted(script, series->name);
}

static void draw_panel(GString *script, const struct panel *panel)
{
    static const char *const axes[] = {
        [PLOT_LINES] = "set logscale x 2\nset yrange [0:*]\n",
        [PLOT_LOG] = "set logscale x 2\nset logscale y\nset yrange [*:*]\n",
        [PLOT_BARS] = "set style fill solid 0.8\nset style histogram errorbars gap 1 linewidth 1\nset yrange [0:*]\n",
        [PLOT_POINTS] = "set logscale y\nset yrange [*:*]\n",
    };

    add_data(script, panel);
    set_text(script, "title", panel->title);
    set_text(script, "xlabel", panel->xlabel);
    set_text(script, "ylabel", panel->ylabel);
    g_string_append_printf(script, "unset logscale\n%s", axes[panel->style]);
    for (unsigned i = 0; i < panel->series->len; i++) {
        add_series(script, panel, i);
    }
    g_string_append_c(script, '\n');
}

/* gnuplot reads the script from a file, and writes to one: no name of the user's is in what it reads. */
static bool run_gnuplot(const struct plot *plot, const GString *script)
{
    static char name[] = "gnuplot", *const argv[] = {name, NULL};
    posix_spawn_file_actions_t actions;
    FILE *input = tmpfile();
    bool good = input && fwrite(script->str, 1, script->len, input) == script->len && !fflush(input) &&
                !fseek(input, 0, SEEK_SET) && !ftruncate(plot->fd, 0);
    int status;
    pid_t pid;

    posix_spawn_file_actions_init(&actions);
    if (good) {
        posix_spawn_file_actions_adddup2(&actions, fileno(input), STDIN_FILENO);
        posix_spawn_file_actions_adddup2(&actions, plot->fd, STDOUT_FILENO);
        good = !posix_spawnp(&pid, name, &actions, NULL, argv, environ) && waitpid(pid, &status, 0) == pid && !status;
    }
    posix_spawn_file_actions_destroy(&actions);
    if (input) {
        fclose(input);
    }
    return good;
}

bool plot_draw(struct plot *plot)
{
    bool inches = !strcmp(plot->terminal, "pdf"), good;
    GString *script = g_string_new(NULL);

    g_string_printf(script, "set terminal %s size %u,%u noenhanced\nset key outside spacing 1.3\nset grid y\n",
                    plot->terminal, inches ? 9u : 900u, plot->panels->len * (inches ? 4u : 360u));
    g_string_append_printf(script, "set multiplot layout %u,1\n", plot->panels->len);
    for (unsigned i = 0; i < plot->panels->len; i++) {
        if (i + 1 == plot->panels->len) { /* each panel draws it anew */
            set_text(script, "label 1", plot->origin);
            g_string_append(script, "set label 1 at screen 0.99, screen 0.012 right\n");
        }
        draw_panel(script, g_ptr_array_index(plot->panels, i));
    }
    g_string_append(script, "unset multiplot\nunset output\n");
    good = run_gnuplot(plot, script);
    if (good) {
        plot->made = false; /* it stays */
    } else {
        g_printerr("pagelock-bench: gnuplot cannot draw %s\n", plot->path);
    }
    g_string_free(script, TRUE);
    return good;
}
