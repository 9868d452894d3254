/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "plot.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

struct series {
    char *name;
    GString *points; /* lines of: x y */
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
    GPtrArray *panels;
};

static void series_free(void *p)
{
    struct series *series = p;

    g_free(series->name);
    g_string_free(series->points, TRUE);
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

void plot_add(struct plot *plot, const char *name, const char *x, double y)
{
    struct panel *panel = g_ptr_array_index(plot->panels, plot->panels->len - 1);
    struct series *series = NULL;
    char number[G_ASCII_DTOSTR_BUF_SIZE];

    g_assert(!strpbrk(x, "\"\\\n")); /* one of our own names, or a number: it stands in the data as it is */
    for (unsigned i = 0; i < panel->series->len && !series; i++) {
        struct series *one = g_ptr_array_index(panel->series, i);

        if (!strcmp(one->name, name)) {
            series = one;
        }
    }
    if (!series) {
        series = g_new(struct series, 1);
        series->name = g_strdup(name);
        series->points = g_string_new(NULL);
        g_ptr_array_add(panel->series, series);
    }
    g_string_append_printf(series->points, "\"%s\" %s\n", x, g_ascii_dtostr(number, sizeof(number), y));
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

static void draw_panel(GString *script, const struct panel *panel)
{
    static const char *const axes[] = {
        [PLOT_LINES] = "set logscale x 2\nset yrange [0:*]\n",
        [PLOT_LOG] = "set logscale x 2\nset logscale y\nset yrange [*:*]\n",
        [PLOT_BARS] = "set style fill solid 0.7\nset xtics rotate by -20\nset yrange [0:*]\n",
        [PLOT_POINTS] = "set logscale y\nset yrange [*:*]\n",
    };
    bool bars = panel->style == PLOT_BARS;

    for (unsigned i = 0; i < panel->series->len; i++) {
        const struct series *series = g_ptr_array_index(panel->series, i);

        g_string_append_printf(script, "$data%u << END\n%sEND\n", i, series->points->str);
    }
    set_text(script, "title", panel->title);
    set_text(script, "xlabel", panel->xlabel);
    set_text(script, "ylabel", panel->ylabel);
    g_string_append_printf(script, "unset logscale\n%s", axes[panel->style]);
    for (unsigned i = 0; i < panel->series->len; i++) {
        const struct series *series = g_ptr_array_index(panel->series, i);

        g_string_append_printf(script, "%s$data%u using %s title ", i ? ", " : "plot ", i,
                               bars ? "2:xtic(1) with histograms" : "(real(strcol(1))):2 with linespoints");
        add_quoted(script, series->name);
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

    g_string_printf(script, "set terminal %s size %u,%u noenhanced\nset key outside\nset grid y\n", plot->terminal,
                    inches ? 9u : 900u, plot->panels->len * (inches ? 4u : 360u));
    g_string_append_printf(script, "set multiplot layout %u,1\n", plot->panels->len);
    for (unsigned i = 0; i < plot->panels->len; i++) {
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
