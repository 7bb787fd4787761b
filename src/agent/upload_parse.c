#include "agent/upload.h"

#include "base/cursor.h"

enum wire { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

static bool value_read(struct cursor *at, unsigned wire, struct slice *ret)
{
    uint64_t n;

    *ret = SLICE_EMPTY;
    switch (wire) {
    case WIRE_VARINT: return cursor_varint(at, &n);
    case WIRE_64: return cursor_bytes(at, 8, ret);
    case WIRE_32: return cursor_bytes(at, 4, ret);
    case WIRE_BYTES: return cursor_varint(at, &n) && n <= at->left.len && cursor_bytes(at, (size_t)n, ret);
    default: return false; /* groups have not been written since proto2 */
    }
}

bool upload_parse(struct slice body, struct slice *ret_first, struct slice *ret_second, struct err *e)
{
    struct cursor at = cursor_of(body);
    struct slice first = SLICE_EMPTY, second = SLICE_EMPTY, value;
    uint64_t tag;

    while (!cursor_end(&at)) {
        if (!cursor_varint(&at, &tag) || tag >> 3 == 0 || tag >> 3 > 0x1fffffff ||
            !value_read(&at, (unsigned)(tag & 7), &value))
            return err_fail(e, ERR_KIND_INVALID, "the message is not protobuf, or cut off");
        if (tag >> 3 > 2)
            continue;
        if ((tag & 7) != WIRE_BYTES)
            return err_fail(e, ERR_KIND_INVALID, "field %u has the wrong wire type", (unsigned)(tag >> 3));
        if (tag >> 3 == 1)
            first = value;
        else
            second = value;
    }
    *ret_first = first;
    *ret_second = second;
    return true;
}
