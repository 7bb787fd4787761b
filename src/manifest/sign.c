#include "manifest/sign.h"

#include "base/hash.h"
#include "base/text.h"

#define SIGN_TEXT_HEAD "cocos-c bound signature v1\n"

/* A newline inside a part would let two different uploads share one text. */
static bool part_add(struct slice part, const char *what, struct buf *out, struct err *e)
{
    if (slice_find(part, '\n') < part.len || slice_find(part, '\0') < part.len)
        return err_fail(e, ERR_KIND_INVALID, "%s: a newline or NUL can't be signed", what);
    if (part.len == 0)
        part = slice_of_str("-");
    return buf_append(out, part, e) && buf_append_u8(out, '\n', e);
}

bool sign_bound_text(const struct sign_bound *b, struct buf *out, struct err *e)
{
    char hex[2 * HASH_SHA3_256_LEN + 1] = "";
    size_t before = out->len;

    if (b->hash)
        hex_encode(slice_of(b->hash, HASH_SHA3_256_LEN), hex);
    if (buf_append_str(out, SIGN_TEXT_HEAD, e) &&
        part_add(slice_of_str(b->computation_id), "computation id", out, e) &&
        part_add(slice_of_str(b->role), "role", out, e) && part_add(slice_of_str(hex), "hash", out, e) &&
        part_add(b->filename, "filename", out, e) && buf_format(out, e, "%lld\n", (long long)b->expiry_s))
        return true;
    buf_truncate(out, before);
    return err_wrap(e, "text of a bound signature");
}
