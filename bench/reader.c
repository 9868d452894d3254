/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "reader.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { GZIP_ONLY = 16, GZIP_FIRST = 0x1f }; /* added to zlib's window bits; the first byte of each member */

bool reader_fail(struct reader *r, const char *format, ...)
{
    va_list args;
    char *what, *escaped;

    if (!r->error) {
        va_start(args, format);
        what = g_strdup_vprintf(format, args);
        va_end(args);
        escaped = g_strescape(what, "\"\\"); /* what stands in a file is not for a terminal to obey */
        g_set_error(&r->error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "%s:%lu: %s", r->path, r->line, escaped);
        g_free(what);
        g_free(escaped);
    }
    return false;
}

bool reader_open(struct reader *r, const char *path)
{
    *r = (struct reader){.path = path, .fd = open(path, O_RDONLY | O_CLOEXEC)};
    if (r->fd < 0) {
        g_set_error(&r->error, G_FILE_ERROR, G_FILE_ERROR_FAILED, "%s: cannot open: %s", path, g_strerror(errno));
        return false;
    }
    r->packed = g_malloc(READER_BUFFER);
    r->unpacked = g_malloc(READER_BUFFER);
    r->is_ready = inflateInit2(&r->stream, MAX_WBITS + GZIP_ONLY) == Z_OK;
    return r->is_ready || reader_fail(r, "cannot unpack: out of memory");
}

void reader_close(struct reader *r)
{
    if (r->fd >= 0) {
        close(r->fd);
    }
    if (r->is_ready) {
        inflateEnd(&r->stream);
    }
    g_free(r->packed);
    g_free(r->unpacked);
    g_free(r->stopped_by);
    g_clear_error(&r->error);
}

/* There is no more text. Text that was unpacked before is handed out first; then @why, which is NULL at a good end. */
static bool stop(struct reader *r, char *why)
{
    r->is_stopped = true;
    r->stopped_by = why;
    return false;
}

/* Read more packed bytes when all are used up; false at the end of the file. */
static bool read_packed(struct reader *r)
{
    ssize_t n;

    if (r->stream.avail_in) {
        return true;
    }
    n = read(r->fd, r->packed, READER_BUFFER);
    if (n < 0) {
        return stop(r, g_strdup_printf("cannot read: %s", g_strerror(errno)));
    }
    r->stream.next_in = r->packed;
    r->stream.avail_in = (unsigned)n;
    return n > 0;
}

/* A gzip file is one member behind another: goes to the next. */
static bool next_member(struct reader *r)
{
    if (!read_packed(r)) {
        return r->is_stopped ? false : stop(r, NULL);
    }
    if (r->stream.next_in[0] != GZIP_FIRST) { /* inflate() looks at the rest */
        return stop(r, g_strdup(r->nmembers ? "garbage behind the gzip data" : "not a gzip file"));
    }
    r->nmembers++;
    r->in_member = true;
    return inflateReset(&r->stream) == Z_OK;
}

/* Some more of the text; false where there is none. */
static bool unpack_some(struct reader *r)
{
    int status;

    if (!r->in_member && !next_member(r)) {
        return false;
    }
    if (!read_packed(r)) {
        return r->is_stopped ? false : stop(r, g_strdup("truncated: the gzip data ends too early"));
    }
    status = inflate(&r->stream, Z_NO_FLUSH);
    r->in_member = status == Z_OK;
    return status == Z_OK || status == Z_STREAM_END || stop(r, g_strdup("damaged gzip data"));
}

/* Fills the empty buffer with text; false at the end of the data, be it that of a good file. */
static bool unpack(struct reader *r)
{
    r->stream.next_out = r->unpacked;
    r->stream.avail_out = READER_BUFFER;
    while (r->stream.avail_out && !r->is_stopped && unpack_some(r)) {
        ;
    }
    r->left_at = (const char *)r->unpacked;
    r->left = READER_BUFFER - r->stream.avail_out;
    return r->left || (r->stopped_by && reader_fail(r, "%s", r->stopped_by));
}

bool reader_next(struct reader *r)
{
    size_t length = 0, n;
    const char *end = NULL;

    if (r->error) {
        return false;
    }
    for (r->line++; !end; length += n) {
        if (!r->left && !unpack(r)) {
            return !r->error && ((length && reader_fail(r, "truncated: the last line has no end")) ||
                                 (r->line == 1 && reader_fail(r, "the file is empty")));
        }
        end = memchr(r->left_at, '\n', r->left);
        n = end ? (size_t)(end - r->left_at) : r->left;
        if (length + n > READER_LINE - 2 || memchr(r->left_at, '\0', n)) {
            return reader_fail(r, "longer than %d bytes, or not text", READER_LINE - 2);
        }
        memcpy(r->text + length, r->left_at, n);
        r->left_at += n + !!end;
        r->left -= n + !!end;
    }
    r->text[length] = '\0';
    r->at = r->text;
    return true;
}

bool reader_word(struct reader *r, const char *what, const char **word)
{
    char *space;

    if (r->error) {
        return false;
    }
    if (!r->at) {
        return reader_fail(r, "%s is missing", what);
    }
    *word = r->at;
    space = strchr(r->at, ' ');
    if (space) {
        *space++ = '\0';
    }
    r->at = space;
    if (!**word && !space && *word > r->text) {
        return reader_fail(r, "trailing blank");
    }
    return **word || reader_fail(r, "%s is empty", what);
}

static bool parse_decimal(struct reader *r, const char *what, const char *text, uint64_t min, uint64_t max,
                          uint64_t *value)
{
    *value = 0;
    if (!*text) {
        return reader_fail(r, "%s is empty", what);
    }
    for (const char *p = text; *p; p++) {
        unsigned digit = (unsigned char)*p - '0';

        if (digit > 9) {
            return reader_fail(r, "%s is not a decimal number: %s", what, text);
        }
        if (*value > (UINT64_MAX - digit) / 10) {
            return reader_fail(r, "%s does not fit in 64 bits: %s", what, text);
        }
        *value = *value * 10 + digit;
    }
    if (*value < min || *value > max) {
        return reader_fail(r, "%s is not in %" G_GUINT64_FORMAT "..%" G_GUINT64_FORMAT ": %s", what, min, max, text);
    }
    return true;
}

bool reader_decimal(struct reader *r, const char *what, uint64_t min, uint64_t max, uint64_t *value)
{
    const char *text;

    return reader_word(r, what, &text) && parse_decimal(r, what, text, min, max, value);
}

bool reader_hex(struct reader *r, const char *what, uint64_t *value)
{
    const char *text;

    if (!reader_word(r, what, &text)) {
        return false;
    }
    *value = 0;
    for (const char *p = text; *p; p++) {
        if (!g_ascii_isxdigit(*p)) {
            return reader_fail(r, "%s is not a hexadecimal number: %s", what, text);
        }
        if (p - text == 16) {
            return reader_fail(r, "%s does not fit in 64 bits: %s", what, text);
        }
        *value = *value << 4 | (unsigned)g_ascii_xdigit_value(*p);
    }
    return true;
}

bool reader_expect(struct reader *r, const char *word)
{
    const char *text;

    return reader_word(r, word, &text) && (!strcmp(text, word) || reader_fail(r, "%s in place of %s", text, word));
}

bool reader_setting(struct reader *r, const char *name, uint64_t min, uint64_t max, uint64_t *value)
{
    size_t length = strlen(name);
    const char *text;

    if (!reader_word(r, name, &text)) {
        return false;
    }
    if (strncmp(text, name, length) || text[length] != '=') {
        return reader_fail(r, "%s in place of %s=", text, name);
    }
    return parse_decimal(r, name, text + length + 1, min, max, value);
}

bool reader_line_done(struct reader *r)
{
    if (!r->error && r->at && !*r->at) {
        return reader_fail(r, "trailing blank");
    }
    return !r->error && (!r->at || reader_fail(r, "more fields than expected: %s", r->at));
}
