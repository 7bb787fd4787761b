#include "made_zip.h"

#include <zlib.h>

static void le16(struct buf *b, unsigned v)
{
    struct err e = ERR_INIT;

    assert_true(buf_append_le16(b, (uint16_t)v, &e));
}

static void le32(struct buf *b, uint32_t v)
{
    struct err e = ERR_INIT;

    assert_true(buf_append_le32(b, v, &e));
}

static void le64(struct buf *b, uint64_t v)
{
    struct err e = ERR_INIT;

    assert_true(buf_append_le64(b, v, &e));
}

void made_bytes(struct buf *b, const void *at, size_t len)
{
    struct err e = ERR_INIT;

    assert_true(buf_append(b, slice_of(at, len), &e));
}

/* A raw deflate stream of text, appended; its length. */
static size_t deflated(struct buf *b, const void *text, size_t len)
{
    z_stream z = { 0 };
    struct err e = ERR_INIT;
    uint8_t *at;
    size_t room = len + 1024;

    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, -15, 9, Z_DEFAULT_STRATEGY), Z_OK);
    assert_true(buf_reserve(b, room, &at, &e));
    z.next_in = (Bytef *)(uintptr_t)text;
    z.avail_in = (uInt)len;
    z.next_out = at;
    z.avail_out = (uInt)room;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    buf_extend(b, z.total_out);
    len = z.total_out;
    deflateEnd(&z);
    return len;
}

static size_t unhex(const char *hex, uint8_t *ret)
{
    size_t len = hex ? strlen(hex) / 2 : 0;

    for (size_t i = 0; i < len; i++) {
        char two[3] = { hex[2 * i], hex[2 * i + 1], 0 };

        ret[i] = (uint8_t)strtoul(two, NULL, 16);
    }
    return len;
}

/* What both headers of an entry say. */
struct entry {
    const char *name;
    struct slice packed, extra;
    uint32_t offset, crc, told;
};

static void put_descriptor(struct buf *b, const struct made_piece *p, const struct entry *n)
{
    if (p->descriptor_len == 16 || p->descriptor_len == 24)
        le32(b, 0x08074b50);
    le32(b, n->crc ^ p->descriptor_xor);
    if (p->descriptor_len >= 20) {
        le64(b, n->packed.len);
        le64(b, n->told);
    } else {
        le32(b, (uint32_t)n->packed.len);
        le32(b, n->told);
    }
}

static void put_local(struct buf *b, const struct made_piece *p, const struct entry *n)
{
    const char *name = p->local_name ? p->local_name : n->name;
    bool described = (p->flags & 8) != 0;

    le32(b, 0x04034b50);
    le16(b, 20);
    le16(b, p->flags ^ p->local_flags_xor);
    le16(b, p->method ^ p->local_method_xor);
    le32(b, 0x00210000);
    le32(b, described ? 0 : n->crc ^ p->local_crc_xor);
    le32(b, described ? 0 : (uint32_t)n->packed.len);
    le32(b, described ? 0 : (uint32_t)((int64_t)n->told + p->local_len_add));
    le16(b, (unsigned)strlen(name));
    le16(b, (unsigned)n->extra.len);
    made_bytes(b, name, strlen(name));
    made_bytes(b, n->extra.at, n->extra.len);
    made_bytes(b, n->packed.at, n->packed.len);
    if (described)
        put_descriptor(b, p, n);
    if (p->gap)
        made_bytes(b, p->gap, strlen(p->gap));
}

static void put_central(struct buf *b, const struct made_piece *p, const struct entry *n)
{
    le32(b, 0x02014b50);
    le16(b, p->made_by ? p->made_by : 0x0314);
    le16(b, 20);
    le16(b, p->flags);
    le16(b, p->method);
    le32(b, 0x00210000);
    le32(b, n->crc);
    le32(b, (uint32_t)n->packed.len);
    le32(b, n->told);
    le16(b, (unsigned)strlen(n->name));
    le16(b, (unsigned)n->extra.len);
    le16(b, 0);
    le32(b, 0);
    le32(b, p->attributes);
    le32(b, (uint32_t)((int64_t)n->offset + p->offset_add));
    made_bytes(b, n->name, strlen(n->name));
    made_bytes(b, n->extra.at, n->extra.len);
}

void made_add(struct made *m, const struct made_piece *p, const void *data, size_t len)
{
    static char long_name[8192];
    uint8_t extra[256];
    CLEANUP(buf_done) struct buf packed = BUF_INIT(1 << 26);
    struct entry n = {
        .name = p->name,
        .extra = slice_of(extra, unhex(p->extra, extra)),
        .offset = (uint32_t)m->bytes.len,
        .crc = (uint32_t)crc32(crc32(0, NULL, 0), data, (uInt)len) ^ p->crc_xor,
        .told = (uint32_t)((int64_t)len + p->len_add),
    };

    if (n.name[0] == '=') {
        memset(long_name, 'n', sizeof(long_name));
        long_name[strtoul(n.name + 1, NULL, 10)] = '\0';
        n.name = long_name;
    }
    if (p->method == 8)
        deflated(&packed, data, len);
    else
        made_bytes(&packed, data, len);
    if (p->packed_tail)
        made_bytes(&packed, p->packed_tail, strlen(p->packed_tail));
    n.packed = buf_slice(&packed);
    put_local(&m->bytes, p, &n);
    put_central(&m->central, p, &n);
    m->count++;
}

void made_finish(struct made *m, const struct made_end *x)
{
    uint32_t offset = (uint32_t)m->bytes.len;
    uint32_t len = (uint32_t)m->central.len;

    made_bytes(&m->bytes, buf_slice(&m->central).at, m->central.len);
    le32(&m->bytes, 0x06054b50);
    le16(&m->bytes, (unsigned)x->disk);
    le16(&m->bytes, 0);
    le16(&m->bytes, m->count + (unsigned)x->count_add);
    le16(&m->bytes, m->count + (unsigned)x->count_add);
    le32(&m->bytes, len + (uint32_t)x->len_add);
    le32(&m->bytes, offset + (uint32_t)x->offset_add);
    le16(&m->bytes, 0);
}

void made_done(struct made *m)
{
    buf_done(&m->bytes);
    buf_done(&m->central);
}
void made_all(struct made *m, const struct made_piece *pieces, size_t count, const struct made_end *x)
{
    for (size_t i = 0; i < count && pieces[i].name; i++) {
        const char *data = pieces[i].data ? pieces[i].data : "";

        made_add(m, &pieces[i], data, strlen(data));
    }
    made_finish(m, x);
}
