/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Plots drawn by gnuplot: one file with any number of panels, each of lines or of bars. An implementation, a policy or
 * a lock has the same colour in all of them. In the corner stand the processor and the date.
 */
#ifndef PGL_BENCH_PLOT_H
#define PGL_BENCH_PLOT_H

#include <stdbool.h>

#include "bench.h"

struct plot;

enum plot_style {
    PLOT_LINES,  /* x is a number, on a logarithmic axis */
    PLOT_LOG,    /* and so is y */
    PLOT_BARS,   /* x is a word; each series has one bar at each, or none */
    PLOT_POINTS, /* x is a number; y is on a logarithmic axis */
};

/*
 * The end of @path, .svg or .png or .pdf, says what to draw. Returns an exit status, and a message where there is no
 * gnuplot, or the file cannot be written. Without a path *@plot is NULL, and all is good.
 */
int plot_new(const char *path, struct plot **plot);
void plot_panel(struct plot *plot, enum plot_style style, const char *title, const char *xlabel, const char *ylabel);

/* One point of the last panel: the median, with a line from the least to the greatest where they differ. */
void plot_add(struct plot *plot, const char *series, const char *x, struct spread y);

/* Millions of operations a second, from the nanoseconds of one. */
struct spread plot_rate(struct spread ns);

/* Put these into the corner, in place of this machine's processor and today's date. */
void plot_set_origin(struct plot *plot, const char *processor, const char *date);

/* Draws; false and a message where gnuplot cannot. At least one panel has a point. */
bool plot_draw(struct plot *plot);

/* Of NULL too. A file that plot_new() made goes again unless something was drawn. */
void plot_free(struct plot *plot);

#endif
