#include "base/cursor.h"
#include "cvms/mend.h"

#define WIRE_BYTES 2 /* the wire type of strings and messages */
#define SUB 0x1a

/* The payload of the next field with this number, of wire type WIRE_BYTES; others are passed over. */
static bool find_bytes(struct cursor *c, uint64_t number, struct slice *ret)
{
    uint64_t tag, len, skipped;
    struct slice bytes;

    while (cursor_varint(c, &tag)) {
        switch (tag & 7) {
        case 0:
            if (!cursor_varint(c, &skipped))
                return false;
            break;
        case 1:
            if (!cursor_bytes(c, 8, &bytes))
                return false;
            break;
        case WIRE_BYTES:
            if (!cursor_varint(c, &len) || len > SIZE_MAX || !cursor_bytes(c, (size_t)len, &bytes))
                return false;
            if (tag >> 3 == number) {
                *ret = bytes;
                return true;
            }
            break;
        case 5:
            if (!cursor_bytes(c, 4, &bytes))
                return false;
            break;
        default: return false;
        }
    }
    return false;
}

/* Makes the zero bytes of text SUB bytes. text lies within message, whose bytes are ours to write. */
static bool mend(struct buf *message, struct slice text)
{
    bool mended = false;

    for (size_t i = 0; i < text.len; i++) {
        if (text.at[i] == 0) {
            message->base[(size_t)(text.at - message->base) + i] = SUB;
            mended = true;
        }
    }
    return mended;
}

bool cvms_mend_log(struct buf *message)
{
    struct cursor outer = cursor_of(buf_slice(message));
    struct slice log, text;
    bool mended = false;

    while (find_bytes(&outer, 1, &log)) {
        struct cursor inner = cursor_of(log);

        while (find_bytes(&inner, 1, &text))
            mended = mend(message, text) || mended;
    }
    return mended;
}
