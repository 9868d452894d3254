/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "reader.h"

#include <errno.h>
#include <string.h>

bool reader_fail(struct reader *r, const char *format, ...)
{
    va_list args;
    char *what;

    if (!r->error) {
        va_start(args, format);
        what = g_strdup_vprintf(format, args);
        va_end(args);
        g_set_error(&r->error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "%s:%lu: %s", r->path, r->line, what);
        g_free(what);
    }
    return false;
}

bool reader_open(struct reader *r, const char *path)
{
    *r = (struct reader){.path = path};
    r->file = gzopen(path, "rb");
    if (!r->file)
        return reader_fail(r, "cannot open: %s", g_strerror(errno));
    gzbuffer(r->file, 1 << 17);
    return true;
}

void reader_close(struct reader *r)
{
    if (r->file)
        gzclose(r->file);
    g_clear_error(&r->error);
}

/* The end of the data: of a whole file, or of one that was cut off, damaged, or unreadable. */
static bool reader_stopped(struct reader *r)
{
    int error;

    gzerror(r->file, &error);
    if (error == Z_BUF_ERROR)
        return reader_fail(r, "truncated: the gzip data ends too early");
    if (error == Z_ERRNO)
        return reader_fail(r, "cannot read: %s", g_strerror(errno));
    if (error != Z_OK)
        return reader_fail(r, "damaged gzip data");
    return false;
}

bool reader_next(struct reader *r)
{
    char *end;

    if (r->error)
        return false;
    r->line++;
    if (!gzgets(r->file, r->text, sizeof(r->text)))
        return reader_stopped(r) || (r->line == 1 && reader_fail(r, "the file is empty"));
    if (r->line == 1 && gzdirect(r->file))
        return reader_fail(r, "not a gzip file");
    end = strchr(r->text, '\n');
    if (!end) {
        if (gzeof(r->file))
            return reader_stopped(r) || reader_fail(r, "truncated: the last line has no end");
        return reader_fail(r, "longer than %d bytes, or not text", READER_LINE - 2);
    }
    *end = '\0';
    r->at = r->text;
    return true;
}

bool reader_word(struct reader *r, const char *what, const char **word)
{
    char *space;

    if (r->error)
        return false;
    if (!r->at)
        return reader_fail(r, "%s is missing", what);
    *word = r->at;
    space = strchr(r->at, ' ');
    if (space)
        *space++ = '\0';
    r->at = space;
    return **word || reader_fail(r, "%s is empty", what);
}

static bool parse_decimal(struct reader *r, const char *what, const char *text, uint64_t min, uint64_t max,
                          uint64_t *value)
{
    *value = 0;
    if (!*text)
        return reader_fail(r, "%s is empty", what);
    for (const char *p = text; *p; p++) {
        unsigned digit = (unsigned char)*p - '0';

        if (digit > 9)
            return reader_fail(r, "%s is not a decimal number: %s", what, text);
        if (*value > (UINT64_MAX - digit) / 10)
            return reader_fail(r, "%s does not fit in 64 bits: %s", what, text);
        *value = *value * 10 + digit;
    }
    if (*value < min || *value > max)
        return reader_fail(r, "%s is not in %" G_GUINT64_FORMAT "..%" G_GUINT64_FORMAT ": %s", what, min, max, text);
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

    if (!reader_word(r, what, &text))
        return false;
    *value = 0;
    for (const char *p = text; *p; p++) {
        if (!g_ascii_isxdigit(*p))
            return reader_fail(r, "%s is not a hexadecimal number: %s", what, text);
        if (p - text == 16)
            return reader_fail(r, "%s does not fit in 64 bits: %s", what, text);
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

    if (!reader_word(r, name, &text))
        return false;
    if (strncmp(text, name, length) || text[length] != '=')
        return reader_fail(r, "%s in place of %s=", text, name);
    return parse_decimal(r, name, text + length + 1, min, max, value);
}

bool reader_line_done(struct reader *r)
{
    return !r->error && (!r->at || reader_fail(r, "more fields than expected: %s", r->at));
}
