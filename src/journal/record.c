#include "journal/record.h"

#include "base/cursor.h"
#include "base/log.h"
#include "proto/cvms.pb-c.h"
#include "proto/pb.h"

#define TAG_AGENT_LOG 0x0a   /* field 1, length-delimited */
#define TAG_AGENT_EVENT 0x12 /* field 2, length-delimited */
#define NS_PER_S 1000000000

int64_t record_stamp(struct record_clock *c)
{
    int64_t now = clock_wall_ns(c->clock);

    if (now <= c->last_ns)
        now = c->last_ns + 1;
    c->last_ns = now;
    return now;
}

/* ---------------------------------------------------------------------- pieces */

/*
 * Length of the character at the front of s, or 0 when the first byte belongs
 * to none. NUL is none: protobuf-c ends strings there.
 */
static size_t char_len(struct slice s)
{
    size_t want = s.at[0] < 0x80 ? 1 : s.at[0] < 0xe0 ? 2 : s.at[0] < 0xf0 ? 3 : 4;

    if (s.at[0] == 0 || want > s.len || !slice_is_utf8(slice_first(s, want)))
        return 0;
    return want;
}

bool record_piece(struct slice *text, struct buf *piece, struct err *e)
{
    static const struct slice replacement = SLICE_LIT("\xef\xbf\xbd");

    buf_truncate(piece, 0);
    while (text->len > 0) {
        size_t len = char_len(*text);
        struct slice c = len ? slice_first(*text, len) : replacement;

        if (piece->len + c.len > RECORD_PIECE_MAX)
            return true;
        if (!buf_append(piece, c, e))
            return piece->len > 0;
        *text = slice_after(*text, len ? len : 1);
    }
    return piece->len > 0;
}

/* -------------------------------------------------------------------- encoding */

static Google__Protobuf__Timestamp stamp_of(int64_t time_ns)
{
    Google__Protobuf__Timestamp t = GOOGLE__PROTOBUF__TIMESTAMP__INIT;

    t.seconds = time_ns / NS_PER_S;
    t.nanos = (int32_t)(time_ns % NS_PER_S);
    return t;
}

/* protobuf-c wants pointers without const and writes to none of them. */
static char *text_of(const char *text)
{
    return (char *)(uintptr_t)(text ? text : "");
}

bool record_log_encode(const struct record_log *r, struct buf *payload, struct err *e)
{
    CLEANUP(buf_done) struct buf message = BUF_INIT(RECORD_PIECE_MAX + 1);
    Google__Protobuf__Timestamp time = stamp_of(r->time_ns);
    Cvms__AgentLog log = CVMS__AGENT_LOG__INIT;
    Cvms__ClientStreamMessage m = CVMS__CLIENT_STREAM_MESSAGE__INIT;

    if (!buf_append(&message, r->message, e))
        return false;

    const char *text = buf_str(&message, e);

    if (!text)
        return false;
    log.message = text_of(text);
    log.computation_id = text_of(r->computation_id);
    log.level = text_of(log_level_name(r->level));
    log.timestamp = &time;
    m.message_case = CVMS__CLIENT_STREAM_MESSAGE__MESSAGE_AGENT_LOG;
    m.agent_log = &log;
    return pb_encode(&m.base, payload, e);
}

bool record_event_encode(const struct record_event *r, struct buf *payload, struct err *e)
{
    Google__Protobuf__Timestamp time = stamp_of(r->time_ns);
    Cvms__AgentEvent event = CVMS__AGENT_EVENT__INIT;
    Cvms__ClientStreamMessage m = CVMS__CLIENT_STREAM_MESSAGE__INIT;

    event.event_type = text_of(r->type);
    event.timestamp = &time;
    event.computation_id = text_of(r->computation_id);
    event.details = pb_bytes(r->details);
    event.originator = text_of(r->originator);
    event.status = text_of(r->status);
    m.message_case = CVMS__CLIENT_STREAM_MESSAGE__MESSAGE_AGENT_EVENT;
    m.agent_event = &event;
    return pb_encode(&m.base, payload, e);
}

/* --------------------------------------------------------------------- framing */

enum record_kind record_unwrap(struct slice payload, struct slice *ret_inner)
{
    struct cursor c = cursor_of(payload);
    struct slice inner;
    uint8_t tag;
    uint64_t len;

    if (!cursor_u8(&c, &tag) || (tag != TAG_AGENT_LOG && tag != TAG_AGENT_EVENT) ||
        !cursor_varint(&c, &len) || len > SIZE_MAX || !cursor_bytes(&c, (size_t)len, &inner) ||
        !cursor_end(&c))
        return RECORD_OTHER;
    *ret_inner = inner;
    return tag == TAG_AGENT_LOG ? RECORD_LOG : RECORD_EVENT;
}

bool record_wrap(enum record_kind kind, struct slice inner, struct buf *payload, struct err *e)
{
    uint64_t len = inner.len;

    if (!buf_append_u8(payload, kind == RECORD_LOG ? TAG_AGENT_LOG : TAG_AGENT_EVENT, e))
        return false;
    for (; len >= 0x80; len >>= 7) {
        if (!buf_append_u8(payload, (uint8_t)(len | 0x80), e))
            return false;
    }
    return buf_append_u8(payload, (uint8_t)len, e) && buf_append(payload, inner, e);
}
