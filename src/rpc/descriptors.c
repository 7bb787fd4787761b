#include "rpc/descriptors.h"

#include "base/cursor.h"
#include "base/mem.h"
#include "google/protobuf/descriptor.pb-c.h"
#include "proto/pb.h"

#define SET_DEPTH_MAX 32
#define SET_ELEMENTS_MAX ((size_t)1024 * 1024)
#define SCOPE_MAX 1024 /* bytes of a full name */

#define TAG_FILE 0x0a /* FileDescriptorSet.file, length-delimited */

typedef Google__Protobuf__FileDescriptorSet desc_set;
typedef Google__Protobuf__FileDescriptorProto desc_file;
typedef Google__Protobuf__DescriptorProto desc_message;
typedef Google__Protobuf__EnumDescriptorProto desc_enum;
typedef Google__Protobuf__FieldDescriptorProto desc_field;
typedef Google__Protobuf__ServiceDescriptorProto desc_service;

struct symbol {
    char *name;
    size_t file;
    bool is_message;
};

struct extension {
    const char *message; /* borrowed from the decoded set, without the leading dot */
    int32_t number;
    size_t file;
};

struct rpc_desc {
    desc_set *set;
    struct slice *wire;     /* of each file */
    struct symbol *symbols; /* sorted by name once complete */
    size_t symbol_count, symbol_cap;
    struct extension *extensions;
    size_t extension_count, extension_cap;
};

/* ------------------------------------------------------------- growing lists */

/* Room for one element more in a list of count. */
static bool grow(void **list, size_t *cap, size_t count, size_t size, struct err *e)
{
    if (count < *cap)
        return true;

    size_t want = *cap ? *cap * 2 : 64;
    size_t bytes;

    if (!size_mul(want, size, &bytes))
        return err_fail(e, ERR_KIND_LIMIT, "too many symbols");

    void *at = mem_resize(*list, bytes, e);

    if (!at)
        return false;
    *list = at;
    *cap = want;
    return true;
}

/* ret gets "scope.name", the name of the symbol that is added; "" as scope adds no dot. */
static bool add_symbol(struct rpc_desc *d, size_t file, const char *scope, const char *name, bool is_message,
                       char ret[SCOPE_MAX], struct err *e)
{
    void *list = d->symbols;
    int n = snprintf(ret, SCOPE_MAX, "%s%s%s", scope, *scope ? "." : "", name ? name : "");

    if (n < 0 || n >= SCOPE_MAX)
        return err_fail(e, ERR_KIND_LIMIT, "symbol '%s': name too long", ret);

    bool ok = grow(&list, &d->symbol_cap, d->symbol_count, sizeof(*d->symbols), e);

    d->symbols = list;
    if (!ok)
        return false;

    char *copy = mem_dup_str(ret, e);

    if (!copy)
        return false;
    d->symbols[d->symbol_count++] = (struct symbol){ copy, file, is_message };
    return true;
}

/* ------------------------------------------------------------------ indexing */

static bool add_fields(struct rpc_desc *d, size_t file, const char *scope, desc_field **fields, size_t count,
                       bool extensions, struct err *e)
{
    char full[SCOPE_MAX];

    for (size_t i = 0; i < count; i++) {
        const char *message = fields[i]->extendee ? fields[i]->extendee : "";
        void *list = d->extensions;

        if (!add_symbol(d, file, scope, fields[i]->name, false, full, e))
            return false;
        if (!extensions)
            continue;

        bool ok = grow(&list, &d->extension_cap, d->extension_count, sizeof(*d->extensions), e);

        d->extensions = list;
        if (!ok)
            return false;
        d->extensions[d->extension_count++] = (struct extension){ *message == '.' ? message + 1 : message,
                                                                  fields[i]->number, file };
    }
    return true;
}

static bool add_enum(struct rpc_desc *d, size_t file, const char *scope, const desc_enum *en, struct err *e)
{
    char full[SCOPE_MAX];

    if (!add_symbol(d, file, scope, en->name, false, full, e))
        return false;
    /* An enum's values are siblings of the enum, not its children. */
    for (size_t i = 0; i < en->n_value; i++)
        if (!add_symbol(d, file, scope, en->value[i]->name, false, full, e))
            return false;
    return true;
}

/* The set was decoded within SET_DEPTH_MAX, which bounds the recursion. */
static bool add_message(struct rpc_desc *d, size_t file, const char *scope, const desc_message *m,
                        struct err *e)
{
    char full[SCOPE_MAX];
    char part[SCOPE_MAX];

    if (!add_symbol(d, file, scope, m->name, true, full, e) ||
        !add_fields(d, file, full, m->field, m->n_field, false, e) ||
        !add_fields(d, file, full, m->extension, m->n_extension, true, e))
        return false;
    for (size_t i = 0; i < m->n_oneof_decl; i++)
        if (!add_symbol(d, file, full, m->oneof_decl[i]->name, false, part, e))
            return false;
    for (size_t i = 0; i < m->n_enum_type; i++)
        if (!add_enum(d, file, full, m->enum_type[i], e))
            return false;
    for (size_t i = 0; i < m->n_nested_type; i++)
        if (!add_message(d, file, full, m->nested_type[i], e))
            return false;
    return true;
}

static bool add_service(struct rpc_desc *d, size_t file, const char *scope, const desc_service *s,
                        struct err *e)
{
    char full[SCOPE_MAX];
    char method[SCOPE_MAX];

    if (!add_symbol(d, file, scope, s->name, false, full, e))
        return false;
    for (size_t i = 0; i < s->n_method; i++)
        if (!add_symbol(d, file, full, s->method[i]->name, false, method, e))
            return false;
    return true;
}

static bool add_file(struct rpc_desc *d, size_t file, struct err *e)
{
    const desc_file *f = d->set->file[file];
    const char *scope = f->package ? f->package : "";

    for (size_t i = 0; i < f->n_message_type; i++)
        if (!add_message(d, file, scope, f->message_type[i], e))
            return false;
    for (size_t i = 0; i < f->n_enum_type; i++)
        if (!add_enum(d, file, scope, f->enum_type[i], e))
            return false;
    for (size_t i = 0; i < f->n_service; i++)
        if (!add_service(d, file, scope, f->service[i], e))
            return false;
    return add_fields(d, file, scope, f->extension, f->n_extension, true, e);
}

static bool check_imports(const struct rpc_desc *d, struct err *e)
{
    size_t ignored;

    for (size_t i = 0; i < d->set->n_file; i++)
        for (size_t k = 0; k < d->set->file[i]->n_dependency; k++)
            if (!rpc_desc_by_name(d, slice_of_str(d->set->file[i]->dependency[k]), &ignored))
                return err_fail(e, ERR_KIND_INVALID, "'%s' imports '%s', which is missing",
                                d->set->file[i]->name, d->set->file[i]->dependency[k]);
    return true;
}

/* The bytes of each file as they stand in the set, so that they are passed on unchanged. */
static bool find_wire(struct rpc_desc *d, struct slice set, struct err *e)
{
    struct cursor in = cursor_of(set);

    d->wire = mem_new_array(d->set->n_file, sizeof(*d->wire), e);
    if (!d->wire)
        return false;
    for (size_t i = 0; i < d->set->n_file; i++) {
        uint8_t tag;
        uint64_t len;

        if (!cursor_u8(&in, &tag) || tag != TAG_FILE || !cursor_varint(&in, &len) || len > in.left.len ||
            !cursor_bytes(&in, (size_t)len, &d->wire[i]))
            return err_fail(e, ERR_KIND_INVALID, "not a list of files only");
    }
    return true;
}

static int compare_symbols(const void *a, const void *b)
{
    return strcmp(((const struct symbol *)a)->name, ((const struct symbol *)b)->name);
}

static bool fill(struct rpc_desc *d, struct slice set, struct err *e)
{
    const struct pb_limits limits = { SET_DEPTH_MAX, SET_ELEMENTS_MAX };

    d->set = (desc_set *)pb_decode(&google__protobuf__file_descriptor_set__descriptor, set, &limits, e);
    if (!d->set || !find_wire(d, set, e) || !check_imports(d, e))
        return false;
    for (size_t i = 0; i < d->set->n_file; i++)
        if (!add_file(d, i, e))
            return err_wrap(e, "'%s'", d->set->file[i]->name);
    if (d->symbol_count)
        qsort(d->symbols, d->symbol_count, sizeof(*d->symbols), compare_symbols);
    return true;
}

bool rpc_desc_new(struct slice set, struct rpc_desc **ret, struct err *e)
{
    struct rpc_desc *d = mem_new(sizeof(*d), e);

    if (!d)
        return false;
    if (!fill(d, set, e)) {
        rpc_desc_free(d);
        return err_wrap(e, "descriptors");
    }
    *ret = d;
    return true;
}

void rpc_desc_free(struct rpc_desc *d)
{
    if (!d)
        return;
    for (size_t i = 0; i < d->symbol_count; i++)
        mem_free(d->symbols[i].name);
    mem_free(d->symbols);
    mem_free(d->extensions);
    mem_free(d->wire);
    pb_free((ProtobufCMessage *)d->set);
    mem_free(d);
}

/* ------------------------------------------------------------------ answering */

size_t rpc_desc_file_count(const struct rpc_desc *d)
{
    return d->set->n_file;
}

struct slice rpc_desc_file(const struct rpc_desc *d, size_t file)
{
    return d->wire[file];
}

bool rpc_desc_by_name(const struct rpc_desc *d, struct slice name, size_t *ret_file)
{
    for (size_t i = 0; i < d->set->n_file; i++)
        if (slice_equal_str(name, d->set->file[i]->name)) {
            *ret_file = i;
            return true;
        }
    return false;
}

static const struct symbol *find_symbol(const struct rpc_desc *d, struct slice name)
{
    size_t from = 0;
    size_t to = d->symbol_count;

    while (from < to) {
        size_t middle = from + (to - from) / 2;
        int order = slice_compare(name, slice_of_str(d->symbols[middle].name));

        if (order == 0)
            return &d->symbols[middle];
        if (order < 0)
            to = middle;
        else
            from = middle + 1;
    }
    return NULL;
}

bool rpc_desc_by_symbol(const struct rpc_desc *d, struct slice symbol, size_t *ret_file)
{
    const struct symbol *s = find_symbol(d, symbol);

    if (s)
        *ret_file = s->file;
    return s != NULL;
}

bool rpc_desc_is_message(const struct rpc_desc *d, struct slice symbol)
{
    const struct symbol *s = find_symbol(d, symbol);

    return s && s->is_message;
}

bool rpc_desc_by_extension(const struct rpc_desc *d, struct slice message, int32_t number, size_t *ret_file)
{
    for (size_t i = 0; i < d->extension_count; i++)
        if (d->extensions[i].number == number && slice_equal_str(message, d->extensions[i].message)) {
            *ret_file = d->extensions[i].file;
            return true;
        }
    return false;
}

bool rpc_desc_extension_number(const struct rpc_desc *d, struct slice message, size_t nth,
                               int32_t *ret_number)
{
    for (size_t i = 0; i < d->extension_count; i++)
        if (slice_equal_str(message, d->extensions[i].message) && nth-- == 0) {
            *ret_number = d->extensions[i].number;
            return true;
        }
    return false;
}

static bool is_among(const size_t *files, size_t count, size_t file)
{
    for (size_t i = 0; i < count; i++)
        if (files[i] == file)
            return true;
    return false;
}

size_t rpc_desc_with_imports(const struct rpc_desc *d, size_t file, size_t *ret)
{
    size_t count = 1;

    ret[0] = file;
    for (size_t i = 0; i < count; i++) {
        const desc_file *f = d->set->file[ret[i]];

        for (size_t k = 0; k < f->n_dependency; k++) {
            size_t import;

            if (rpc_desc_by_name(d, slice_of_str(f->dependency[k]), &import) && !is_among(ret, count, import))
                ret[count++] = import;
        }
    }
    return count;
}
