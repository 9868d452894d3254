/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "plot.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

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

struct plot *plot_new(const char *path)
{
    static const struct {
        const char *suffix, *terminal;
    } kinds[] = {{".svg", "svg"}, {".png", "png"}, {".pdf", "pdf"}};

    for (unsigned i = 0; i < G_N_ELEMENTS(kinds); i++) {
        if (g_str_has_suffix(path, kinds[i].suffix)) {
            struct plot *plot = g_new(struct plot, 1);

            plot->path = g_strdup(path);
            plot->terminal = kinds[i].terminal;
            plot->panels = g_ptr_array_new_with_free_func(panel_free);
            return plot;
        }
    }
    usage_error("--plot wants a name that ends in .svg, .png or .pdf: %s", path);
    return NULL;
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

    for (unsigned i = 0; i < panel->series->len && !series; i++) {
        struct series *one = g_ptr_array_index(panel->series, i);

        if (!strcmp(one->name, name))
            series = one;
    }
    if (!series) {
        series = g_new(struct series, 1);
        series->name = g_strdup(name);
        series->points = g_string_new(NULL);
        g_ptr_array_add(panel->series, series);
    }
    g_string_append_printf(series->points, "\"%s\" %s\n", x, g_ascii_dtostr(number, sizeof(number), y));
}

static void draw_panel(FILE *gnuplot, const struct panel *panel)
{
    bool lines = panel->style != PLOT_BARS;

    for (unsigned i = 0; i < panel->series->len; i++) {
        const struct series *series = g_ptr_array_index(panel->series, i);

        fprintf(gnuplot, "$data%u << END\n%sEND\n", i, series->points->str);
    }
    fprintf(gnuplot, "set title '%s'\nset xlabel '%s'\nset ylabel '%s'\n", panel->title, panel->xlabel, panel->ylabel);
    fprintf(gnuplot, "unset logscale\n%s",
            lines ? "set logscale x 2\n" : "set style fill solid 0.7\nset xtics rotate by -20\n");
    fprintf(gnuplot, panel->style == PLOT_LOG ? "set logscale y\nset yrange [*:*]\n" : "set yrange [0:*]\n");
    for (unsigned i = 0; i < panel->series->len; i++) {
        const struct series *series = g_ptr_array_index(panel->series, i);

        fprintf(gnuplot, "%s$data%u using %s title '%s'", i ? ", " : "plot ", i,
                lines ? "(real(strcol(1))):2 with linespoints" : "2:xtic(1) with histograms", series->name);
    }
    fprintf(gnuplot, "\n");
}

bool plot_draw(struct plot *plot)
{
    void (*before)(int) = signal(SIGPIPE, SIG_IGN);
    FILE *gnuplot = plot->panels->len ? popen("gnuplot", "w") : NULL;
    bool good = gnuplot;

    if (gnuplot) {
        bool inches = !strcmp(plot->terminal, "pdf");

        fprintf(gnuplot, "set terminal %s size %u,%u noenhanced\nset output '%s'\nset key outside\nset grid y\n",
                plot->terminal, inches ? 9u : 900u, plot->panels->len * (inches ? 4u : 360u), plot->path);
        fprintf(gnuplot, "set multiplot layout %u,1\n", plot->panels->len);
        for (unsigned i = 0; i < plot->panels->len; i++)
            draw_panel(gnuplot, g_ptr_array_index(plot->panels, i));
        fprintf(gnuplot, "unset multiplot\n");
        good = pclose(gnuplot) == 0;
    }
    signal(SIGPIPE, before);
    if (!good)
        g_printerr("pagelock-bench: %s %s\n", plot->panels->len ? "gnuplot cannot draw" : "there is nothing to draw in",
                   plot->path);
    g_ptr_array_unref(plot->panels);
    g_free(plot->path);
    g_free(plot);
    return good;
}
