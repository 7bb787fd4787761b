#include "rpc/metadata.h"

#include "base/mem.h"
#include "base/text.h"

#define ENTRY_OVERHEAD 32u /* RFC 9113, 6.5.2 */

static const char *const reserved[] = {
    "content-type", "content-length",    "te",         "host",
    "connection",   "proxy-connection",  "keep-alive", "upgrade",
    "trailer",      "transfer-encoding", "user-agent",
};

bool rpc_md_key_is_reserved(struct slice key)
{
    if (key.len == 0 || key.at[0] == ':' || slice_starts(key, "grpc-"))
        return true;
    for (size_t i = 0; i < ARRAY_LEN(reserved); i++) {
        if (slice_equal_str(key, reserved[i]))
            return true;
    }
    return false;
}

static bool key_is_valid(struct slice key)
{
    for (size_t i = 0; i < key.len; i++) {
        uint8_t c = key.at[i];

        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.'))
            return false;
    }
    return key.len > 0;
}

static bool value_is_printable(struct slice value)
{
    for (size_t i = 0; i < value.len; i++) {
        if (value.at[i] < 0x20 || value.at[i] > 0x7e)
            return false;
    }
    return true;
}

static bool is_binary(struct slice key)
{
    return slice_ends(key, "-bin");
}

static bool append(struct rpc_md *md, struct slice key, struct slice value, struct err *e)
{
    if (md->count == md->cap) {
        size_t cap = md->cap ? md->cap * 2 : 8;
        struct rpc_md_entry *grown = mem_resize(md->entries, cap * sizeof(*grown), e);

        if (!grown)
            return false;
        md->entries = grown;
        md->cap = cap;
    }

    struct rpc_md_entry *entry = &md->entries[md->count];

    entry->value = (struct buf)BUF_INIT(value.len);
    entry->key = mem_dup_slice(key, e);
    if (!entry->key || !buf_append(&entry->value, value, e)) {
        mem_free(entry->key);
        return false;
    }
    md->count++;
    md->bytes += key.len + value.len + ENTRY_OVERHEAD;
    return true;
}

bool rpc_md_add(struct rpc_md *md, const char *key, struct slice value, struct err *e)
{
    struct slice name = slice_of_str(key);

    if (!key_is_valid(name) && !(name.len && name.at[0] == ':'))
        return err_fail(e, ERR_KIND_INVALID, "metadata key '%s': only a-z, 0-9, '_', '-' and '.' are allowed",
                        key);
    if (rpc_md_key_is_reserved(name))
        return err_fail(e, ERR_KIND_INVALID, "metadata key '%s' is reserved by the protocol", key);
    if (!is_binary(name) && !value_is_printable(value))
        return err_fail(e, ERR_KIND_INVALID,
                        "metadata '%s': the value is not printable ASCII; a key that ends in "
                        "\"-bin\" takes any bytes",
                        key);
    return append(md, name, value, e);
}

bool rpc_md_add_str(struct rpc_md *md, const char *key, const char *value, struct err *e)
{
    return rpc_md_add(md, key, slice_of_str(value), e);
}

bool rpc_md_add_wire(struct rpc_md *md, struct slice key, struct slice value, struct err *e)
{
    if (!is_binary(key))
        return append(md, key, value, e);

    for (;;) {
        CLEANUP(buf_done) struct buf plain = BUF_INIT(value.len);
        size_t end = slice_find(value, ',');
        bool last = end == value.len;

        if (!base64_decode_lax(slice_first(value, end), &plain, e))
            return err_wrap(e, "malformed binary metadata in header \"%.*s\"", (int)key.len,
                            (const char *)key.at);
        if (!append(md, key, buf_slice(&plain), e))
            return false;
        if (last)
            return true;
        value = slice_after(value, end + 1);
    }
}

bool rpc_md_copy(struct rpc_md *to, const struct rpc_md *from, struct err *e)
{
    for (size_t i = 0; from && i < from->count; i++) {
        if (!append(to, slice_of_str(from->entries[i].key), buf_slice(&from->entries[i].value), e))
            return false;
    }
    return true;
}

size_t rpc_md_count(const struct rpc_md *md, const char *key)
{
    size_t n = 0;

    for (size_t i = 0; i < md->count; i++)
        n += strcmp(md->entries[i].key, key) == 0;
    return n;
}

bool rpc_md_get(const struct rpc_md *md, const char *key, size_t nth, struct slice *ret)
{
    for (size_t i = 0; i < md->count; i++) {
        if (strcmp(md->entries[i].key, key) != 0 || nth-- > 0)
            continue;
        *ret = buf_slice(&md->entries[i].value);
        return true;
    }
    return false;
}

void rpc_md_done(struct rpc_md *md)
{
    for (size_t i = 0; i < md->count; i++) {
        mem_free(md->entries[i].key);
        /* Metadata carries signatures and tokens. */
        buf_wipe(&md->entries[i].value);
    }
    mem_free(md->entries);
    *md = (struct rpc_md)RPC_MD_INIT;
}

/* ----------------------------------------------------------- headers to send */

static void headers_add(struct rpc_headers *h, const char *name, struct slice value)
{
    struct err e = ERR_INIT;

    if (h->count == h->cap) {
        size_t cap = h->cap ? h->cap * 2 : 16;
        nghttp2_nv *grown = mem_resize(h->at, cap * sizeof(*grown), &e);

        if (!grown) {
            h->failed = true;
            return;
        }
        h->at = grown;
        h->cap = cap;
    }
    /* nghttp2 has no const here and writes nothing. */
    h->at[h->count++] = (nghttp2_nv){
        .name = (uint8_t *)(uintptr_t)name,
        .namelen = strlen(name),
        .value = (uint8_t *)(uintptr_t)value.at,
        .valuelen = value.len,
    };
}

void rpc_headers_add_str(struct rpc_headers *h, const char *name, const char *value)
{
    headers_add(h, name, slice_of_str(value));
}

/* Base64 without padding, as the peers write it; held by the list. */
static bool own_encoded(struct rpc_headers *h, struct slice bytes, struct slice *ret)
{
    struct err e = ERR_INIT;
    CLEANUP(buf_done) struct buf text = BUF_INIT(bytes.len * 2 + 4);

    if (!base64_encode(bytes, &text, &e))
        return false;
    while (text.len > 0 && buf_slice(&text).at[text.len - 1] == '=')
        buf_truncate(&text, text.len - 1);

    char **grown = mem_resize(h->owned, (h->owned_count + 1) * sizeof(*grown), &e);

    if (!grown)
        return false;
    h->owned = grown;

    char *copy = mem_dup_slice(buf_slice(&text), &e);

    if (!copy)
        return false;
    h->owned[h->owned_count++] = copy;
    *ret = slice_of_str(copy);
    return true;
}

void rpc_headers_add_md(struct rpc_headers *h, const struct rpc_md *md)
{
    for (size_t i = 0; md && i < md->count; i++) {
        const struct rpc_md_entry *entry = &md->entries[i];
        struct slice value = buf_slice(&entry->value);

        if (is_binary(slice_of_str(entry->key)) && !own_encoded(h, value, &value)) {
            h->failed = true;
            return;
        }
        headers_add(h, entry->key, value);
    }
}

void rpc_headers_done(struct rpc_headers *h)
{
    for (size_t i = 0; i < h->owned_count; i++)
        mem_free(h->owned[i]);
    mem_free(h->owned);
    mem_free(h->at);
    *h = (struct rpc_headers)RPC_HEADERS_INIT;
}
