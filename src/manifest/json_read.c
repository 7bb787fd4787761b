#include "manifest/manifest.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "proto/pb.h"

/*
 * JSON members are the message's fields by name, so the generated descriptor
 * is the table. The tree is made under mem as pb_decode makes it, and one
 * that is half built is whole enough for pb_free.
 */

/* Go's name for what the .proto files call userKey. */
static const char *field_name(const char *member)
{
    return strcmp(member, "user_key") == 0 ? "userKey" : member;
}

/* A copy on the heap; of no bytes there is no block, as protobuf-c has it. */
static bool bytes_keep(struct slice bytes, ProtobufCBinaryData *ret, struct err *e)
{
    uint8_t *at;

    if (bytes.len == 0)
        return true;
    at = mem_new(bytes.len, e);
    if (!at)
        return false;
    memcpy(at, bytes.at, bytes.len);
    *ret = (ProtobufCBinaryData){ bytes.len, at };
    return true;
}

static bool hash_read(const json_t *value, ProtobufCBinaryData *ret, struct err *e)
{
    CLEANUP(buf_done) struct buf out = BUF_INIT(HASH_SHA3_256_LEN);

    if (json_is_string(value)) {
        struct slice hex = slice_of(json_string_value(value), json_string_length(value));

        if (hex.len != (size_t)2 * HASH_SHA3_256_LEN)
            return err_fail(e, ERR_KIND_INVALID, "%zu hex digits, 64 are wanted", hex.len);
        return hex_decode(hex, &out, e) && bytes_keep(buf_slice(&out), ret, e);
    }
    if (!json_is_array(value))
        return err_fail(e, ERR_KIND_INVALID, "32 numbers or 64 hex digits are wanted");
    if (json_array_size(value) != HASH_SHA3_256_LEN)
        return err_fail(e, ERR_KIND_INVALID, "%zu numbers, 32 are wanted", json_array_size(value));
    for (size_t i = 0; i < HASH_SHA3_256_LEN; i++) {
        const json_t *n = json_array_get(value, i);

        if (!json_is_integer(n) || json_integer_value(n) < 0 || json_integer_value(n) > 255)
            return err_fail(e, ERR_KIND_INVALID, "number %zu: 0 to 255 is wanted", i);
        if (!buf_append_u8(&out, (uint8_t)json_integer_value(n), e))
            return false;
    }
    return bytes_keep(buf_slice(&out), ret, e);
}

static bool bytes_read(const json_t *value, ProtobufCBinaryData *ret, struct err *e)
{
    CLEANUP(buf_done) struct buf out = BUF_INIT(MF_REQUEST_MAX);

    if (!json_is_string(value))
        return err_fail(e, ERR_KIND_INVALID, "base64 in a string is wanted");
    return base64_decode(slice_of(json_string_value(value), json_string_length(value)), &out, e) &&
           bytes_keep(buf_slice(&out), ret, e);
}

static bool text_read(const json_t *value, char **ret, struct err *e)
{
    char *copy;

    if (!json_is_string(value))
        return err_fail(e, ERR_KIND_INVALID, "a string is wanted");
    copy = mem_dup_slice(slice_of(json_string_value(value), json_string_length(value)), e);
    if (!copy)
        return false;
    *ret = copy;
    return true;
}

static bool bool_read(const json_t *value, protobuf_c_boolean *ret, struct err *e)
{
    if (!json_is_boolean(value))
        return err_fail(e, ERR_KIND_INVALID, "true or false is wanted");
    *ret = json_is_true(value);
    return true;
}

static bool message_read(const json_t *value, const ProtobufCMessageDescriptor *type, ProtobufCMessage **ret,
                         struct err *e);

/* One value of the field into *at, which is what a repeated field has an array of. */
static bool value_read(const json_t *value, const ProtobufCFieldDescriptor *field, void *at, struct err *e)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_STRING: return text_read(value, at, e);
    case PROTOBUF_C_TYPE_BOOL: return bool_read(value, at, e);
    case PROTOBUF_C_TYPE_BYTES:
        return strcmp(field->name, "hash") == 0 ? hash_read(value, at, e) : bytes_read(value, at, e);
    case PROTOBUF_C_TYPE_MESSAGE: return message_read(value, field->descriptor, at, e);
    default: /* the manifest has no other kinds */
        return err_fail(e, ERR_KIND_UNSUPPORTED, "not a member of JSON manifests");
    }
}

/* Only lists of pointers (strings, messages) exist in a manifest. */
static bool list_read(const json_t *value, const ProtobufCFieldDescriptor *field, void ***ret,
                      size_t *ret_count, struct err *e)
{
    size_t count = json_array_size(value);

    if (!json_is_array(value))
        return err_fail(e, ERR_KIND_INVALID, "a list is wanted");
    if (count == 0)
        return true;
    *ret = mem_new_array(count, sizeof(void *), e);
    if (!*ret)
        return false;
    for (size_t i = 0; i < count; i++) {
        *ret_count = i + 1; /* first, so that a half built element is freed too */
        if (!value_read(json_array_get(value, i), field, &(*ret)[i], e))
            return err_wrap(e, "[%zu]", i);
    }
    return true;
}

static bool field_read(const json_t *value, const ProtobufCFieldDescriptor *field, ProtobufCMessage *m,
                       struct err *e)
{
    uint8_t *base = (uint8_t *)m;

    if (field->label == PROTOBUF_C_LABEL_REPEATED)
        return list_read(value, field, (void ***)(void *)(base + field->offset),
                         (size_t *)(void *)(base + field->quantifier_offset), e);
    return value_read(value, field, base + field->offset, e);
}

static bool message_read(const json_t *value, const ProtobufCMessageDescriptor *type, ProtobufCMessage **ret,
                         struct err *e)
{
    const char *name;
    json_t *each;

    if (!json_is_object(value))
        return err_fail(e, ERR_KIND_INVALID, "an object is wanted");
    *ret = mem_new(type->sizeof_message, e);
    if (!*ret)
        return false;
    type->message_init(*ret);
    json_object_foreach((json_t *)(uintptr_t)value, name, each)
    {
        const ProtobufCFieldDescriptor *field = protobuf_c_message_descriptor_get_field_by_name(
            type, field_name(name));

        if (!field || strcmp(name, "userKey") == 0)
            return err_fail(e, ERR_KIND_INVALID, "unknown member '%.64s'", name);
        if (!field_read(each, field, *ret, e))
            return err_wrap(e, "%s", name);
    }
    return true;
}

Cvms__ComputationRunReq *mf_request_from_json(struct slice text, struct err *e)
{
    CLEANUP(json_done) json_t *root = NULL;
    ProtobufCMessage *req = NULL;

    if (text.len > MF_REQUEST_MAX) {
        err_fail(e, ERR_KIND_LIMIT, "manifest of %zu bytes, at most %zu are accepted", text.len,
                 MF_REQUEST_MAX);
        return NULL;
    }
    root = json_read(text, e);
    if (!root) {
        err_wrap(e, "manifest");
        return NULL;
    }
    if (message_read(root, &cvms__computation_run_req__descriptor, &req, e))
        return (Cvms__ComputationRunReq *)req;
    err_wrap(e, "manifest");
    pb_free(req);
    return NULL;
}
