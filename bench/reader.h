/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The lines of a gzip file, cut into fields at single spaces, with errors that name file and line. */
#ifndef PGL_BENCH_READER_H
#define PGL_BENCH_READER_H

#include <stdbool.h>
#include <stdint.h>

#include <glib.h>
#include <zlib.h>

enum { READER_LINE = 4096, READER_BUFFER = 1 << 17 };

struct reader {
    const char *path;
    int fd;
    z_stream stream;
    bool is_ready;  /* @stream is */
    bool in_member; /* of the gzip file, and it goes on */
    unsigned long nmembers;
    unsigned char *packed;   /* a part of the file */
    unsigned char *unpacked; /* and of its text */
    const char *left_at;     /* what of the text is in no line yet */
    size_t left;
    bool is_stopped;        /* nothing more can be unpacked */
    char *stopped_by;       /* what is wrong then, or NULL */
    unsigned long line;     /* number of the line in @text, from 1 */
    char text[READER_LINE]; /* the line, without its end */
    char *at;               /* what is left of it; NULL when every field was taken */
    GError *error;          /* the first thing that went wrong */
};

/* Every function that returns a bool returns false once something is wrong, and leaves what it was in @error. */
bool reader_open(struct reader *r, const char *path);
void reader_close(struct reader *r);

/* Goes to the next line; false at the end of the file too, where @error stays NULL. */
bool reader_next(struct reader *r);

/* Records what is wrong with the present line, and returns false. */
bool reader_fail(struct reader *r, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* The next field. @what is its name in the messages. */
bool reader_word(struct reader *r, const char *what, const char **word);
bool reader_hex(struct reader *r, const char *what, uint64_t *value);
bool reader_decimal(struct reader *r, const char *what, uint64_t min, uint64_t max, uint64_t *value);

/* The next field is exactly @word; or "@name=" and a number from @min to @max. */
bool reader_expect(struct reader *r, const char *word);
bool reader_setting(struct reader *r, const char *name, uint64_t min, uint64_t max, uint64_t *value);

/* No field is left. */
bool reader_line_done(struct reader *r);

#endif
