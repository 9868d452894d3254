/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "trace.h"

#include <string.h>

#include "reader.h"

/* The name by which two blocks are equal: an emulator looks a block up by address, kind (the key) and second page. */
struct block_name {
    uint64_t addr;
    uint64_t key;
    uint64_t addr1;
};

static guint block_name_hash(gconstpointer p)
{
    const struct block_name *name = p;
    uint64_t mixed = (name->addr ^ name->key << 32 ^ name->addr1 << 7) * UINT64_C(0x9e3779b97f4a7c15);

    return (guint)(mixed >> 32);
}

static gboolean block_name_equal(gconstpointer a, gconstpointer b)
{
    return !memcmp(a, b, sizeof(struct block_name));
}

static bool read_vcpu(struct reader *r, const struct trace *trace, uint16_t *vcpu)
{
    uint64_t value;

    if (!reader_decimal(r, "vcpu", 0, trace->vcpus - 1, &value)) {
        return false;
    }
    *vcpu = (uint16_t)value;
    return true;
}

/* T and E lines: vcpu paddr size key [paddr1] */
static bool read_block(struct reader *r, struct trace *trace, GHashTable *by_name, enum trace_op op)
{
    uint64_t page_size = UINT64_C(1) << trace->page_bits, room, size;
    struct block_name name = {.addr1 = TRACE_NO_ADDR};
    struct trace_block block = {.equal = TRACE_NO_BLOCK};
    struct trace_event event = {.op = op, .arg = trace->blocks->len};
    gpointer known;

    if (!read_vcpu(r, trace, &event.vcpu) || !reader_hex(r, "paddr", &name.addr) ||
        !reader_decimal(r, "size", 1, 2 * page_size, &size) || !reader_hex(r, "key", &name.key)) {
        return false;
    }
    room = page_size - (name.addr & (page_size - 1));
    if (r->at && !reader_hex(r, "paddr1", &name.addr1)) {
        return false;
    }
    if (!reader_line_done(r)) {
        return false;
    }
    if (size > room && name.addr1 == TRACE_NO_ADDR) {
        return reader_fail(r, "the block runs beyond its page, and paddr1 is missing");
    }
    if (size > room + page_size) {
        return reader_fail(r, "the block runs beyond its second page");
    }
    if (size <= room && name.addr1 != TRACE_NO_ADDR) {
        return reader_fail(r, "paddr1 is given, but the block ends on its first page");
    }
    if (name.addr1 != TRACE_NO_ADDR && name.addr1 & (page_size - 1)) {
        return reader_fail(r, "paddr1 is not the start of a page");
    }
    if (op == TRACE_EQUAL) {
        if (!g_hash_table_lookup_extended(by_name, &name, NULL, &known)) {
            return reader_fail(r, "no line before has linked an equal block");
        }
        block.equal = GPOINTER_TO_UINT(known);
    } else {
        g_hash_table_replace(by_name, g_memdup2(&name, sizeof(name)), GUINT_TO_POINTER(event.arg));
    }
    block.addr = event.addr = name.addr;
    block.addr1 = name.addr1;
    block.size = (uint32_t)size;
    g_array_append_val(trace->blocks, block);
    g_array_append_val(trace->events, event);
    return true;
}

/* W lines: vcpu paddr len */
static bool read_store(struct reader *r, struct trace *trace)
{
    struct trace_event event = {.op = TRACE_STORE};
    uint64_t len;

    if (!read_vcpu(r, trace, &event.vcpu) || !reader_hex(r, "paddr", &event.addr) ||
        !reader_decimal(r, "len", 1, TRACE_MAX_STORE, &len) || !reader_line_done(r)) {
        return false;
    }
    if (event.addr > UINT64_MAX - (len - 1)) {
        return reader_fail(r, "the store runs beyond the last address");
    }
    event.arg = (uint32_t)len;
    g_array_append_val(trace->events, event);
    return true;
}

/* I lines: vcpu first last, where vcpu may be - */
static bool read_range(struct reader *r, struct trace *trace)
{
    struct trace_event event = {.op = TRACE_RANGE, .vcpu = TRACE_NO_VCPU, .arg = trace->range_last->len};
    uint64_t last;

    if (r->at && g_str_has_prefix(r->at, "- ")) {
        r->at += 2;
    } else if (!read_vcpu(r, trace, &event.vcpu)) {
        return false;
    }
    if (!reader_hex(r, "first", &event.addr) || !reader_hex(r, "last", &last) || !reader_line_done(r)) {
        return false;
    }
    if (event.addr > last) {
        return reader_fail(r, "the range ends before it starts");
    }
    g_array_append_val(trace->range_last, last);
    g_array_append_val(trace->events, event);
    return true;
}

static bool read_code(struct reader *r, struct trace *trace)
{
    GHashTable *by_name = g_hash_table_new_full(block_name_hash, block_name_equal, g_free, NULL);
    const char *op;
    bool good = true;

    while (good && reader_next(r)) {
        if (r->text[0] == '#') {
            continue;
        }
        good = reader_word(r, "the kind of event", &op);
        if (!good) {
            break;
        }
        if (!strcmp(op, "W")) {
            good = read_store(r, trace);
        } else if (!strcmp(op, "T")) {
            good = read_block(r, trace, by_name, TRACE_LINK);
        } else if (!strcmp(op, "E")) {
            good = read_block(r, trace, by_name, TRACE_EQUAL);
        } else if (!strcmp(op, "I")) {
            good = read_range(r, trace);
        } else {
            good = reader_fail(r, "unknown kind of event: %s", op);
        }
    }
    g_hash_table_destroy(by_name);
    return !r->error && (trace->events->len || reader_fail(r, "the trace has no events"));
}

/* # object id npages name: objects are numbered in the order of their lines */
static bool read_object(struct reader *r, struct trace *trace)
{
    struct trace_object object = {0};
    uint64_t id;

    if (!reader_decimal(r, "object", trace->objects->len, trace->objects->len, &id) ||
        !reader_decimal(r, "npages", 1, TRACE_MAX_PAGES, &object.npages)) {
        return false;
    }
    if (!r->at || !*r->at) {
        return reader_fail(r, "name is missing");
    }
    object.name = g_strdup(r->at);
    g_array_append_val(trace->objects, object);
    return true;
}

static bool read_object_id(struct reader *r, const struct trace *trace, uint32_t *object)
{
    uint64_t id;

    if (!trace->objects->len) {
        return reader_fail(r, "no object has been declared");
    }
    if (!reader_decimal(r, "object", 0, trace->objects->len - 1, &id)) {
        return false;
    }
    *object = (uint32_t)id;
    return true;
}

/* # entry object first npages */
static bool read_entry(struct reader *r, struct trace *trace)
{
    struct trace_entry entry;
    uint64_t npages;

    if (!read_object_id(r, trace, &entry.object)) {
        return false;
    }
    npages = g_array_index(trace->objects, struct trace_object, entry.object).npages;
    if (!reader_decimal(r, "first", 0, npages - 1, &entry.first) ||
        !reader_decimal(r, "npages", 1, npages - entry.first, &entry.npages) || !reader_line_done(r)) {
        return false;
    }
    g_array_append_val(trace->entries, entry);
    return true;
}

/* Lines that start with # are notes, but for those that declare an object or an entry by its numbers. */
static bool read_note(struct reader *r, struct trace *trace)
{
    static const char object[] = "# object ", entry[] = "# entry ";
    size_t skip;

    if (g_str_has_prefix(r->text, object)) {
        skip = strlen(object);
    } else if (g_str_has_prefix(r->text, entry)) {
        skip = strlen(entry);
    } else {
        return true;
    }
    r->at = r->text + skip;
    if (!g_ascii_isdigit(*r->at)) {
        return true;
    }
    return skip == strlen(object) ? read_object(r, trace) : read_entry(r, trace);
}

/* t_ns object page r|w */
static bool read_touch(struct reader *r, struct trace *trace)
{
    struct trace_touch touch;
    const char *access;
    uint64_t ns;

    if (!reader_decimal(r, "t_ns", 0, UINT64_MAX, &ns) || !read_object_id(r, trace, &touch.object) ||
        !reader_decimal(r, "page", 0, g_array_index(trace->objects, struct trace_object, touch.object).npages - 1,
                        &touch.page) ||
        !reader_word(r, "r or w", &access) || !reader_line_done(r)) {
        return false;
    }
    if (strcmp(access, "r") && strcmp(access, "w")) {
        return reader_fail(r, "%s in place of r or w", access);
    }
    touch.write = access[0] == 'w';
    g_array_append_val(trace->touches, touch);
    return true;
}

static bool read_fault(struct reader *r, struct trace *trace)
{
    bool good = true;

    while (good && reader_next(r)) {
        good = r->text[0] == '#' ? read_note(r, trace) : read_touch(r, trace);
    }
    return !r->error && (trace->touches->len || reader_fail(r, "the trace has no touches"));
}

/* # pagelock-trace 1 kind=code page_bits=12 vcpus=4 */
static bool read_header(struct reader *r, struct trace *trace)
{
    const char *word;
    uint64_t bits, vcpus = 0;

    if (!reader_next(r)) {
        return false;
    }
    if (!g_str_has_prefix(r->text, "# pagelock-trace ")) {
        return reader_fail(r, "not a trace: its first line does not start with \"# pagelock-trace \"");
    }
    r->at = r->text + 2;
    if (!reader_expect(r, "pagelock-trace") || !reader_expect(r, "1") || !reader_word(r, "kind=", &word)) {
        return false;
    }
    if (!strcmp(word, "kind=code")) {
        trace->kind = TRACE_CODE;
    } else if (!strcmp(word, "kind=fault")) {
        trace->kind = TRACE_FAULT;
    } else {
        return reader_fail(r, "%s in place of kind=code or kind=fault", word);
    }
    if (!reader_setting(r, "page_bits", 10, 21, &bits) ||
        (trace->kind == TRACE_CODE && !reader_setting(r, "vcpus", 1, TRACE_MAX_VCPUS, &vcpus)) ||
        !reader_line_done(r)) {
        return false;
    }
    trace->page_bits = (unsigned)bits;
    trace->vcpus = (unsigned)vcpus;
    return true;
}

static char *name_of(const char *path)
{
    char *name = g_path_get_basename(path), *end = strstr(name, ".trace");

    if (end) {
        *end = '\0';
    }
    return name;
}

static void clear_object(void *object)
{
    g_free(((struct trace_object *)object)->name);
}

struct trace *trace_new(const char *name)
{
    struct trace *trace = g_new0(struct trace, 1);

    trace->name = g_strdup(name);
    trace->kind = TRACE_FAULT;
    trace->page_bits = 12;
    trace->blocks = g_array_new(FALSE, FALSE, sizeof(struct trace_block));
    trace->events = g_array_new(FALSE, FALSE, sizeof(struct trace_event));
    trace->range_last = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    trace->objects = g_array_new(FALSE, FALSE, sizeof(struct trace_object));
    g_array_set_clear_func(trace->objects, clear_object);
    trace->entries = g_array_new(FALSE, FALSE, sizeof(struct trace_entry));
    trace->touches = g_array_new(FALSE, FALSE, sizeof(struct trace_touch));
    return trace;
}

struct trace *trace_read(const char *path, GError **error)
{
    char *name = name_of(path);
    struct trace *trace = trace_new(name);
    struct reader r;

    g_free(name);
    if (!reader_open(&r, path) || !read_header(&r, trace) ||
        !(trace->kind == TRACE_CODE ? read_code(&r, trace) : read_fault(&r, trace))) {
        g_propagate_error(error, g_steal_pointer(&r.error));
        g_clear_pointer(&trace, trace_free);
    }
    reader_close(&r);
    return trace;
}

void trace_free(struct trace *trace)
{
    g_free(trace->name);
    g_array_unref(trace->blocks);
    g_array_unref(trace->events);
    g_array_unref(trace->range_last);
    g_array_unref(trace->objects);
    g_array_unref(trace->entries);
    g_array_unref(trace->touches);
    g_free(trace);
}
