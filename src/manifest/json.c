#include "manifest/manifest.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "proto/pb.h"

/* ------------------------------------------------------------------ writing J */

/* One object being written: whether a comma is due. */
struct json_out {
    struct buf *out;
    struct err *e;
    bool first;
};

/* What Go's encoder has a short form for; 0 for the other control characters. */
static char short_escape(uint8_t c)
{
    switch (c) {
    case '"':
    case '\\': return (char)c;
    case '\b': return 'b';
    case '\f': return 'f';
    case '\n': return 'n';
    case '\r': return 'r';
    case '\t': return 't';
    default: return 0;
    }
}

/* U+2028 and U+2029 end a line in JavaScript, so Go escapes them. */
static bool is_line_separator(struct slice s)
{
    return s.len >= 3 && s.at[0] == 0xe2 && s.at[1] == 0x80 && (s.at[2] == 0xa8 || s.at[2] == 0xa9);
}

/* As Go's json.Marshal does, so that hashes of the text agree. */
static bool go_string(const char *text, struct buf *out, struct err *e)
{
    struct slice left = slice_of_str(text);

    if (!slice_is_utf8(left))
        return err_fail(e, ERR_KIND_INVALID, "text that is not UTF-8");
    if (!buf_append_u8(out, '"', e))
        return false;
    while (left.len > 0) {
        uint8_t c = left.at[0];
        size_t used = 1;
        bool ok;

        if (short_escape(c))
            ok = buf_format(out, e, "\\%c", short_escape(c));
        else if (c < 0x20 || c == '<' || c == '>' || c == '&')
            ok = buf_format(out, e, "\\u%04x", c);
        else if (is_line_separator(left)) {
            ok = buf_format(out, e, "\\u20%02x", left.at[2] - 0x80);
            used = 3;
        } else
            ok = buf_append_u8(out, c, e);
        if (!ok)
            return false;
        left = slice_after(left, used);
    }
    return buf_append_u8(out, '"', e);
}

static bool name_put(struct json_out *o, const char *name)
{
    bool comma = !o->first;

    o->first = false;
    return buf_format(o->out, o->e, "%s\"%s\":", comma ? "," : "", name);
}

static bool text_put(struct json_out *o, const char *name, const char *text)
{
    return !*text || (name_put(o, name) && go_string(text, o->out, o->e));
}

static bool bool_put(struct json_out *o, const char *name, bool value)
{
    return !value || (name_put(o, name) && buf_append_str(o->out, "true", o->e));
}

static bool bytes_put(struct json_out *o, const char *name, ProtobufCBinaryData bytes)
{
    return bytes.len == 0 ||
           (name_put(o, name) && buf_append_u8(o->out, '"', o->e) &&
            base64_encode(pb_slice(bytes), o->out, o->e) && buf_append_u8(o->out, '"', o->e));
}

static bool hash_put(struct json_out *o, ProtobufCBinaryData hash)
{
    if (hash.len != HASH_SHA3_256_LEN)
        return err_fail(o->e, ERR_KIND_INVALID, "hash: %zu bytes, %d are wanted", hash.len,
                        HASH_SHA3_256_LEN);
    if (!name_put(o, "hash"))
        return false;
    for (size_t i = 0; i < hash.len; i++)
        if (!buf_format(o->out, o->e, "%c%u", i ? ',' : '[', hash.data[i]))
            return false;
    return buf_append_u8(o->out, ']', o->e);
}

static bool open_put(struct json_out *o, const char *name, char bracket)
{
    if (!name_put(o, name) || !buf_append_u8(o->out, (uint8_t)bracket, o->e))
        return false;
    o->first = true;
    return true;
}

static bool close_put(struct json_out *o, char bracket)
{
    o->first = false;
    return buf_append_u8(o->out, (uint8_t)bracket, o->e);
}

static bool source_put(struct json_out *o, const Cvms__Source *s)
{
    return !s || (open_put(o, "source", '{') && text_put(o, "type", s->type) && text_put(o, "url", s->url) &&
                  text_put(o, "kbs_resource_path", s->kbs_resource_path) &&
                  bool_put(o, "encrypted", s->encrypted) && close_put(o, '}'));
}

static bool kbs_put(struct json_out *o, const Cvms__KBSConfig *k)
{
    return !k || (open_put(o, "kbs", '{') && text_put(o, "url", k->url) &&
                  bool_put(o, "enabled", k->enabled) && close_put(o, '}'));
}

/* A list's element is an object without a name. */
static bool element_open(struct json_out *o)
{
    bool comma = !o->first;

    o->first = true;
    return buf_append_str(o->out, comma ? ",{" : "{", o->e);
}

static bool datasets_put(struct json_out *o, const Cvms__ComputationRunReq *req)
{
    if (req->n_datasets == 0)
        return true;
    if (!open_put(o, "datasets", '['))
        return false;
    for (size_t i = 0; i < req->n_datasets; i++) {
        const Cvms__Dataset *d = req->datasets[i];

        if (!element_open(o))
            return false;
        if (!hash_put(o, d->hash) || !bytes_put(o, "user_key", d->userkey) ||
            !text_put(o, "filename", d->filename) || !source_put(o, d->source) ||
            !bool_put(o, "decompress", d->decompress) || !kbs_put(o, d->kbs))
            return err_wrap(o->e, "datasets[%zu]", i);
        if (!close_put(o, '}'))
            return false;
    }
    return close_put(o, ']');
}

static bool algorithm_put(struct json_out *o, const Cvms__Algorithm *a)
{
    if (!a)
        return true;
    if (!open_put(o, "algorithm", '{') || !hash_put(o, a->hash) || !bytes_put(o, "user_key", a->userkey) ||
        !source_put(o, a->source) || !text_put(o, "algo_type", a->algo_type))
        return err_wrap(o->e, "algorithm");
    if (a->n_algo_args > 0) {
        if (!open_put(o, "algo_args", '['))
            return false;
        for (size_t i = 0; i < a->n_algo_args; i++)
            if ((i > 0 && !buf_append_u8(o->out, ',', o->e)) || !go_string(a->algo_args[i], o->out, o->e))
                return false;
        if (!close_put(o, ']'))
            return false;
    }
    return kbs_put(o, a->kbs) && close_put(o, '}');
}

static bool consumers_put(struct json_out *o, const Cvms__ComputationRunReq *req)
{
    if (req->n_result_consumers == 0)
        return true;
    if (!open_put(o, "result_consumers", '['))
        return false;
    for (size_t i = 0; i < req->n_result_consumers; i++)
        if (!element_open(o) || !bytes_put(o, "user_key", req->result_consumers[i]->userkey) ||
            !close_put(o, '}'))
            return false;
    return close_put(o, ']');
}

bool mf_json(const Cvms__ComputationRunReq *req, struct buf *out, struct err *e)
{
    struct json_out o = { out, e, true };
    size_t before = out->len;

    if (buf_append_u8(out, '{', e) && text_put(&o, "id", req->id) && text_put(&o, "name", req->name) &&
        text_put(&o, "description", req->description) && datasets_put(&o, req) &&
        algorithm_put(&o, req->algorithm) && consumers_put(&o, req) && close_put(&o, '}'))
        return true;
    buf_truncate(out, before);
    return err_wrap(e, "manifest as JSON");
}
