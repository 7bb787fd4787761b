#include "proto/pb.h"

#include "base/cursor.h"
#include "base/mem.h"

#define PB_DEPTH_DEFAULT 16
#define PB_ELEMENTS_DEFAULT 65536

#define PB_TAG_BYTES_MAX 5      /* tags and lengths: 32 bits            */
#define PB_NUMBER_MAX 536870911 /* the largest field number, 2^29 - 1 */

extern const unsigned char proto_descriptors[];
extern const size_t proto_descriptors_len;

enum wire_type {
    WIRE_VARINT = 0,
    WIRE_64 = 1,
    WIRE_BYTES = 2,
    WIRE_GROUP_BEGIN = 3,
    WIRE_GROUP_END = 4,
    WIRE_32 = 5,
};

/* ---------------------------------------------------------------- the walk */

struct walk {
    size_t depth_left;
    size_t elements_left;
    size_t depth_max;
    size_t elements_max;
    bool unknown_seen; /* a field the descriptor does not have */
    struct err *e;
};

/* One field as it stands on the wire. */
struct wire_field {
    uint32_t number;
    uint8_t type;
    struct slice bytes; /* of WIRE_BYTES */
};

static bool walk_message(struct walk *w, const ProtobufCMessageDescriptor *type, struct slice wire);

static const ProtobufCFieldDescriptor *field_of(const ProtobufCMessageDescriptor *type, uint32_t number)
{
    return protobuf_c_message_descriptor_get_field(type, number);
}

/* "cvms.Dataset.filename" or "cvms.Dataset field 99", for errors. */
static bool fail_at(struct walk *w, enum err_kind kind, const ProtobufCMessageDescriptor *type,
                    uint32_t number, const char *what)
{
    const ProtobufCFieldDescriptor *field = field_of(type, number);

    if (field)
        return err_fail(w->e, kind, "%s.%s %s", type->name, field->name, what);
    return err_fail(w->e, kind, "%s field %u %s", type->name, number, what);
}

/* A varint of at most max_bytes; false when it is cut or longer. */
static bool read_varint(struct cursor *in, size_t max_bytes, uint64_t *ret)
{
    struct cursor at = *in;
    uint64_t v;

    if (!cursor_varint(&at, &v) || in->left.len - at.left.len > max_bytes)
        return false;
    *in = at;
    *ret = v;
    return true;
}

static bool count_element(struct walk *w, const ProtobufCMessageDescriptor *type)
{
    if (w->elements_left == 0)
        return err_fail(w->e, ERR_KIND_LIMIT, "%s: more than %zu fields in one message", type->name,
                        w->elements_max);
    w->elements_left--;
    return true;
}

static bool read_field(struct walk *w, const ProtobufCMessageDescriptor *type, struct cursor *in,
                       struct wire_field *ret)
{
    uint64_t tag;
    uint64_t v;
    struct slice skipped;

    if (!read_varint(in, PB_TAG_BYTES_MAX, &tag) || tag > UINT32_MAX)
        return err_fail(w->e, ERR_KIND_INVALID, "%s: a field's tag is cut or overlong", type->name);

    struct wire_field f = { (uint32_t)tag >> 3, (uint8_t)(tag & 7), SLICE_EMPTY };

    if (f.number == 0 || f.number > PB_NUMBER_MAX)
        return err_fail(w->e, ERR_KIND_INVALID, "%s: field number %u", type->name, f.number);
    switch (f.type) {
    case WIRE_VARINT:
        if (!cursor_varint(in, &v))
            return fail_at(w, ERR_KIND_INVALID, type, f.number, "has a cut or overlong varint");
        break;
    case WIRE_64:
        if (!cursor_bytes(in, 8, &skipped))
            return fail_at(w, ERR_KIND_INVALID, type, f.number, "is cut");
        break;
    case WIRE_32:
        if (!cursor_bytes(in, 4, &skipped))
            return fail_at(w, ERR_KIND_INVALID, type, f.number, "is cut");
        break;
    case WIRE_BYTES:
        if (!read_varint(in, PB_TAG_BYTES_MAX, &v))
            return fail_at(w, ERR_KIND_INVALID, type, f.number, "has a cut or overlong length");
        if (v > in->left.len || !cursor_bytes(in, (size_t)v, &f.bytes))
            return fail_at(w, ERR_KIND_INVALID, type, f.number, "is longer than its message");
        break;
    case WIRE_GROUP_BEGIN:
    case WIRE_GROUP_END:
        return fail_at(w, ERR_KIND_INVALID, type, f.number, "is a group, which is not supported");
    default: return fail_at(w, ERR_KIND_INVALID, type, f.number, "has an unknown wire type");
    }
    *ret = f;
    return true;
}

static enum wire_type wire_type_of(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT: return WIRE_32;
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE: return WIRE_64;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE: return WIRE_BYTES;
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_BOOL:
    case PROTOBUF_C_TYPE_ENUM: return WIRE_VARINT;
    }
    return WIRE_BYTES;
}

/* The elements of a packed repeated field, each counted like a field of its own. */
static bool walk_packed(struct walk *w, const ProtobufCMessageDescriptor *type, const struct wire_field *f,
                        enum wire_type element)
{
    struct cursor in = cursor_of(f->bytes);
    struct slice skipped;
    uint64_t v;

    while (!cursor_end(&in)) {
        bool whole = element == WIRE_VARINT ? cursor_varint(&in, &v)
                                            : cursor_bytes(&in, element == WIRE_32 ? 4 : 8, &skipped);

        if (!whole)
            return fail_at(w, ERR_KIND_INVALID, type, f->number, "has a cut or overlong element");
        if (!count_element(w, type))
            return false;
    }
    return true;
}

static bool walk_known(struct walk *w, const ProtobufCMessageDescriptor *type,
                       const ProtobufCFieldDescriptor *field, const struct wire_field *f)
{
    enum wire_type want = wire_type_of(field->type);

    if (f->type == WIRE_BYTES && want != WIRE_BYTES && field->label == PROTOBUF_C_LABEL_REPEATED)
        return walk_packed(w, type, f, want);
    if (f->type != want)
        return fail_at(w, ERR_KIND_INVALID, type, f->number, "has the wrong wire type");
    if (field->type == PROTOBUF_C_TYPE_STRING) {
        if (!slice_is_utf8(f->bytes))
            return fail_at(w, ERR_KIND_INVALID, type, f->number, "is not UTF-8");
        /* A C string would end there, and what was checked would not be what is used. */
        if (slice_find(f->bytes, 0) != f->bytes.len)
            return fail_at(w, ERR_KIND_INVALID, type, f->number, "has a zero byte");
    }
    if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
        if (w->depth_left == 0)
            return err_fail(w->e, ERR_KIND_LIMIT, "%s.%s is nested deeper than %zu messages", type->name,
                            field->name, w->depth_max);
        w->depth_left--;
        if (!walk_message(w, field->descriptor, f->bytes))
            return false;
        w->depth_left++;
    }
    return true;
}

static bool walk_message(struct walk *w, const ProtobufCMessageDescriptor *type, struct slice wire)
{
    struct cursor in = cursor_of(wire);

    while (!cursor_end(&in)) {
        struct wire_field f = { 0 };

        if (!count_element(w, type) || !read_field(w, type, &in, &f))
            return false;

        const ProtobufCFieldDescriptor *field = field_of(type, f.number);

        if (!field)
            w->unknown_seen = true;
        else if (!walk_known(w, type, field, &f))
            return false;
    }
    return true;
}

/* ------------------------------------------------------------------ memory */

static void *pb_alloc(void *allocator_data, size_t size)
{
    struct err ignored = ERR_INIT;
    struct err *e = allocator_data;

    return mem_new(size, e ? e : &ignored);
}

static void pb_release(void *allocator_data, void *at)
{
    (void)allocator_data;
    mem_free(at);
}

static ProtobufCAllocator allocator(struct err *e)
{
    return (ProtobufCAllocator){ pb_alloc, pb_release, e };
}

/* ------------------------------------------------- dropping unknown fields */

static void drop_unknown(ProtobufCMessage *m);

/* The messages a field of m holds: none, one, or an array of them. */
static void drop_unknown_in(ProtobufCMessage *m, const ProtobufCFieldDescriptor *field)
{
    uint8_t *base = (uint8_t *)m;
    size_t count = 1;
    void *at;

    memcpy(&at, base + field->offset, sizeof(at));
    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        memcpy(&count, base + field->quantifier_offset, sizeof(count));
        for (size_t i = 0; i < count; i++)
            drop_unknown(((ProtobufCMessage **)at)[i]);
        return;
    }
    if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) {
        uint32_t chosen;

        /* Another arm of the union is no pointer to a message. */
        memcpy(&chosen, base + field->quantifier_offset, sizeof(chosen));
        if (chosen != field->id)
            return;
    }
    if (at)
        drop_unknown(at);
}

static void drop_unknown(ProtobufCMessage *m)
{
    for (unsigned i = 0; i < m->n_unknown_fields; i++)
        mem_free(m->unknown_fields[i].data);
    mem_free(m->unknown_fields);
    m->unknown_fields = NULL;
    m->n_unknown_fields = 0;
    for (unsigned i = 0; i < m->descriptor->n_fields; i++)
        if (m->descriptor->fields[i].type == PROTOBUF_C_TYPE_MESSAGE)
            drop_unknown_in(m, &m->descriptor->fields[i]);
}

/* ------------------------------------------------------------------ public */

ProtobufCMessage *pb_decode(const ProtobufCMessageDescriptor *type, struct slice wire,
                            const struct pb_limits *limits, struct err *e)
{
    size_t depth = limits && limits->depth ? limits->depth : PB_DEPTH_DEFAULT;
    size_t elements = limits && limits->elements ? limits->elements : PB_ELEMENTS_DEFAULT;
    struct walk w = { depth - 1, elements, depth, elements, false, e };
    struct err no_memory = ERR_INIT;
    ProtobufCAllocator alloc = allocator(&no_memory);

    if (!walk_message(&w, type, wire))
        return NULL;

    ProtobufCMessage *m = protobuf_c_message_unpack(type, &alloc, wire.len, wire.at);

    if (!m && no_memory.kind != ERR_KIND_NONE) {
        err_fail(e, no_memory.kind, "%s: %s", type->name, err_text(&no_memory));
        return NULL;
    }
    if (!m) {
        err_fail(e, ERR_KIND_INVALID, "%s: not a message of this type", type->name);
        return NULL;
    }
    if (w.unknown_seen)
        drop_unknown(m);
    return m;
}

void pb_free(ProtobufCMessage *m)
{
    ProtobufCAllocator alloc = allocator(NULL);

    if (m)
        protobuf_c_message_free_unpacked(m, &alloc);
}

void pb_done(void *pointer_to_message_pointer)
{
    ProtobufCMessage *m;

    /* memcpy, because the variable may be a pointer to any generated type. */
    memcpy(&m, pointer_to_message_pointer, sizeof(m));
    pb_free(m);
    m = NULL;
    memcpy(pointer_to_message_pointer, &m, sizeof(m));
}

bool pb_encode(const ProtobufCMessage *m, struct buf *out, struct err *e)
{
    size_t len = protobuf_c_message_get_packed_size(m);
    uint8_t *at;

    if (len == 0)
        return true;
    if (!buf_reserve(out, len, &at, e))
        return err_wrap(e, "%s", m->descriptor->name);
    protobuf_c_message_pack(m, at);
    buf_extend(out, len);
    return true;
}

ProtobufCBinaryData pb_bytes(struct slice s)
{
    /* protobuf-c has no const form of this struct; packing only reads it. */
    return (ProtobufCBinaryData){ s.len, (uint8_t *)s.at };
}

struct slice pb_descriptor_set(void)
{
    return slice_of(proto_descriptors, proto_descriptors_len);
}
