#include "base/text.h"

/*
 * Reads one code point from the front of s, which is not empty. False when
 * the front is not UTF-8; then one byte is to be skipped.
 */
static bool rune_read(struct slice s, uint32_t *ret, size_t *ret_len)
{
    static const uint8_t lead_mask[] = { 0, 0x7f, 0x1f, 0x0f, 0x07 };

    /* The shortest valid prefix is one whole sequence. */
    for (size_t len = 1; len <= 4 && len <= s.len; len++) {
        if (!slice_is_utf8(slice_first(s, len)))
            continue;

        uint32_t rune = s.at[0] & lead_mask[len];

        for (size_t i = 1; i < len; i++)
            rune = rune << 6 | (s.at[i] & 0x3f);
        *ret = rune;
        *ret_len = len;
        return true;
    }
    return false;
}

/* What moves the cursor, reorders what a reader sees, or can't be seen at all. */
static bool rune_is_unsafe(uint32_t rune)
{
    static const struct {
        uint32_t first, last;
    } unsafe[] = {
        { 0x00, 0x1f },      /* C0                            */
        { 0x7f, 0x9f },      /* DEL and C1 (0x9b is a CSI)    */
        { 0x61c, 0x61c },    /* Arabic letter mark            */
        { 0x200b, 0x200b },  /* zero width space              */
        { 0x200e, 0x200f },  /* direction marks               */
        { 0x2028, 0x202e },  /* separators, bidi embeddings   */
        { 0x2066, 0x2069 },  /* bidi isolates                 */
        { 0xfeff, 0xfeff },  /* byte order mark               */
        { 0xfff9, 0xfffb },  /* interlinear annotation        */
        { 0xe0000, 0xe007f } /* tags: invisible ASCII         */
    };

    for (size_t i = 0; i < ARRAY_LEN(unsafe); i++)
        if (rune >= unsafe[i].first && rune <= unsafe[i].last)
            return true;
    return false;
}

static bool json_escape(uint32_t rune, struct buf *out, struct err *e)
{
    if (rune == '"' || rune == '\\')
        return buf_format(out, e, "\\%c", (int)rune);
    if (rune >= 0x10000) /* a surrogate pair */
        return buf_format(out, e, "\\u%04x\\u%04x", 0xd800 + ((rune - 0x10000) >> 10),
                          0xdc00 + ((rune - 0x10000) & 0x3ff));
    return buf_format(out, e, "\\u%04x", rune);
}

static bool safe_escape(uint32_t rune, struct buf *out, struct err *e)
{
    return rune < 0x80 ? buf_format(out, e, "\\x%02x", rune) : buf_format(out, e, "\\u{%x}", rune);
}

enum text_form { FORM_JSON, FORM_SAFE };

static bool quote(struct slice text, enum text_form form, struct buf *out, struct err *e)
{
    while (text.len) {
        size_t plain = 0; /* bytes at the front that need no change: copied in one go */
        size_t len = 0;
        uint32_t rune = 0;
        bool valid = true;

        while (plain < text.len) {
            valid = rune_read(slice_after(text, plain), &rune, &len);
            if (!valid || rune_is_unsafe(rune) || (form == FORM_JSON && (rune == '"' || rune == '\\')))
                break;
            plain += len;
        }
        if (!buf_append(out, slice_first(text, plain), e))
            return false;
        text = slice_after(text, plain);
        if (text.len == 0)
            break;

        bool ok;

        if (valid)
            ok = form == FORM_JSON ? json_escape(rune, out, e) : safe_escape(rune, out, e);
        else
            ok = form == FORM_JSON ? buf_append_str(out, "\xef\xbf\xbd", e)
                                   : buf_format(out, e, "\\x%02x", text.at[0]);
        if (!ok)
            return false;
        text = slice_after(text, valid ? len : 1);
    }
    return true;
}

bool text_json_string(struct slice text, struct buf *out, struct err *e)
{
    size_t before = out->len;

    if (buf_append_u8(out, '"', e) && quote(text, FORM_JSON, out, e) && buf_append_u8(out, '"', e))
        return true;
    buf_truncate(out, before);
    return false;
}

bool text_safe(struct slice text, struct buf *out, struct err *e)
{
    size_t before = out->len;

    if (quote(text, FORM_SAFE, out, e))
        return true;
    buf_truncate(out, before);
    return false;
}

void text_short(struct slice text, char ret[TEXT_SHORT_SIZE])
{
    size_t used = 0;
    size_t room = TEXT_SHORT_SIZE - sizeof("...");

    while (text.len) {
        char piece[16];
        uint32_t rune = 0;
        size_t len = 1;
        int n;

        if (!rune_read(text, &rune, &len))
            n = snprintf(piece, sizeof(piece), "\\x%02x", text.at[0]);
        else if (rune_is_unsafe(rune))
            n = snprintf(piece, sizeof(piece), rune < 0x80 ? "\\x%02x" : "\\u{%x}", rune);
        else
            n = snprintf(piece, sizeof(piece), "%.*s", (int)len, (const char *)text.at);
        if (n < 0 || (size_t)n > room - used) {
            memcpy(ret + used, "...", 3);
            used += 3;
            break;
        }
        memcpy(ret + used, piece, (size_t)n);
        used += (size_t)n;
        text = slice_after(text, len);
    }
    ret[used] = '\0';
}

/* ---------------------------------------------------------------- what was meant */

enum { NAME_MAX_LEN = 48 };

static size_t min2(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Inserted, lost, changed and swapped neighbouring bytes between a and b. */
static size_t distance(struct slice a, struct slice b)
{
    size_t d[NAME_MAX_LEN + 1][NAME_MAX_LEN + 1];

    for (size_t i = 0; i <= a.len; i++)
        d[i][0] = i;
    for (size_t j = 0; j <= b.len; j++)
        d[0][j] = j;
    for (size_t i = 1; i <= a.len; i++) {
        for (size_t j = 1; j <= b.len; j++) {
            size_t changed = a.at[i - 1] != b.at[j - 1];

            d[i][j] = min2(min2(d[i - 1][j], d[i][j - 1]) + 1, d[i - 1][j - 1] + changed);
            if (i > 1 && j > 1 && a.at[i - 1] == b.at[j - 2] && a.at[i - 2] == b.at[j - 1])
                d[i][j] = min2(d[i][j], d[i - 2][j - 2] + 1);
        }
    }
    return d[a.len][b.len];
}

const char *text_nearest(struct slice name, const char *const *names, size_t count)
{
    const char *best = NULL;
    size_t best_distance = name.len / 3 < 2 ? 3 : name.len / 3 + 1; /* farther is no help */

    if (name.len < 2 || name.len > NAME_MAX_LEN)
        return NULL;
    for (size_t i = 0; i < count; i++) {
        size_t len = strlen(names[i]), far;

        if (len == 0 || len > NAME_MAX_LEN)
            continue;
        far = distance(name, slice_of_str(names[i]));
        if (far < best_distance && far < len) {
            best = names[i];
            best_distance = far;
        }
    }
    return best;
}
