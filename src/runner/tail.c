#include "runner/tail.h"

#include "base/text.h"

void run_tail_add(struct run_tail *t, struct slice bytes)
{
    if (bytes.len > RUN_TAIL_MAX) {
        t->cut = true;
        bytes = slice_after(bytes, bytes.len - RUN_TAIL_MAX);
    }
    if (t->len + bytes.len > RUN_TAIL_MAX) {
        size_t drop = t->len + bytes.len - RUN_TAIL_MAX;

        t->cut = true;
        memmove(t->bytes, t->bytes + drop, t->len - drop);
        t->len -= drop;
    }
    if (bytes.len)
        memcpy(t->bytes + t->len, bytes.at, bytes.len);
    t->len += bytes.len;
}

bool run_tail_text(const struct run_tail *t, struct buf *out, struct err *e)
{
    struct slice left = slice_of(t->bytes, t->len);
    bool first = true;

    if (t->cut && slice_find(left, '\n') + 1 < left.len)
        left = slice_after(left, slice_find(left, '\n') + 1);
    while (left.len > 0) {
        size_t end = slice_find(left, '\n');
        struct slice line = slice_first(left, end);

        left = slice_after(left, end + 1);
        while (line.len > 0 && (line.at[line.len - 1] == '\r' || line.at[line.len - 1] == ' '))
            line = slice_first(line, line.len - 1);
        if (line.len == 0)
            continue;
        if ((!first && !buf_append_u8(out, '\n', e)) || !text_safe(line, out, e))
            return false;
        first = false;
    }
    return true;
}
