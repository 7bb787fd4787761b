#include "base/text.h"

static const char base64_alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

bool base64_encode(struct slice bytes, struct buf *out, struct err *e)
{
    uint8_t *at;
    size_t len;

    if (!size_mul(bytes.len / 3 + (bytes.len % 3 != 0), 4, &len))
        return err_fail(e, ERR_KIND_LIMIT, "base64 of %zu bytes", bytes.len);
    if (len == 0)
        return true;
    if (!buf_reserve(out, len, &at, e))
        return false;
    for (size_t i = 0; i < bytes.len; i += 3) {
        size_t have = bytes.len - i < 3 ? bytes.len - i : 3;
        uint32_t three = (uint32_t)bytes.at[i] << 16;

        if (have > 1)
            three |= (uint32_t)bytes.at[i + 1] << 8;
        if (have > 2)
            three |= bytes.at[i + 2];
        *at++ = (uint8_t)base64_alphabet[three >> 18];
        *at++ = (uint8_t)base64_alphabet[three >> 12 & 63];
        *at++ = have > 1 ? (uint8_t)base64_alphabet[three >> 6 & 63] : '=';
        *at++ = have > 2 ? (uint8_t)base64_alphabet[three & 63] : '=';
    }
    buf_extend(out, len);
    return true;
}

/* The value of a base64 digit, or -1. */
static int base64_value(uint8_t c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '+')
        return 62;
    return c == '/' ? 63 : -1;
}

/* Decodes digits only: the padding has been cut off. */
static bool base64_digits(struct slice digits, struct buf *out, struct err *e)
{
    size_t before = out->len;
    uint32_t bits = 0;
    unsigned count = 0;
    uint8_t *at;

    if (digits.len % 4 == 1)
        return err_fail(e, ERR_KIND_INVALID, "base64: %zu digits don't make whole bytes", digits.len);
    if (digits.len == 0)
        return true;
    if (!buf_reserve(out, digits.len / 4 * 3 + digits.len % 4 * 3 / 4, &at, e))
        return false;
    for (size_t i = 0; i < digits.len; i++) {
        int value = base64_value(digits.at[i]);

        if (value < 0) {
            buf_truncate(out, before);
            return err_fail(e, ERR_KIND_INVALID, "base64: byte 0x%02x at offset %zu", digits.at[i], i);
        }
        bits = bits << 6 | (uint32_t)value;
        count += 6;
        if (count >= 8) {
            count -= 8;
            *at++ = (uint8_t)(bits >> count);
            buf_extend(out, 1);
        }
    }
    /* Spare bits that are set would give one value two spellings. */
    if (bits & ((1u << count) - 1)) {
        buf_truncate(out, before);
        return err_fail(e, ERR_KIND_INVALID, "base64: the last digit has bits to spare");
    }
    return true;
}

/* Cuts off one or two '=' that make the length a multiple of four. */
static struct slice without_padding(struct slice text)
{
    size_t cut = 0;

    while (cut < 2 && cut < text.len && text.at[text.len - 1 - cut] == '=')
        cut++;
    return slice_first(text, text.len - cut);
}

bool base64_decode(struct slice text, struct buf *out, struct err *e)
{
    if (text.len % 4 != 0)
        return err_fail(e, ERR_KIND_INVALID, "base64: length %zu is not a multiple of 4", text.len);
    return base64_digits(without_padding(text), out, e);
}

bool base64_decode_lax(struct slice text, struct buf *out, struct err *e)
{
    return text.len % 4 == 0 ? base64_digits(without_padding(text), out, e) : base64_digits(text, out, e);
}

static const char hex_digits[] = "0123456789abcdef";

void hex_encode(struct slice bytes, char *ret)
{
    for (size_t i = 0; i < bytes.len; i++) {
        *ret++ = hex_digits[bytes.at[i] >> 4];
        *ret++ = hex_digits[bytes.at[i] & 15];
    }
    *ret = '\0';
}

static int hex_value(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool hex_decode(struct slice text, struct buf *out, struct err *e)
{
    uint8_t *at;

    if (text.len % 2 != 0)
        return err_fail(e, ERR_KIND_INVALID, "hex: %zu digits, an even count is wanted", text.len);
    for (size_t i = 0; i < text.len; i++)
        if (hex_value(text.at[i]) < 0)
            return err_fail(e, ERR_KIND_INVALID, "hex: byte 0x%02x at offset %zu", text.at[i], i);
    if (text.len == 0)
        return true;
    if (!buf_reserve(out, text.len / 2, &at, e))
        return false;
    for (size_t i = 0; i < text.len; i += 2)
        *at++ = (uint8_t)(hex_value(text.at[i]) << 4 | hex_value(text.at[i + 1]));
    buf_extend(out, text.len / 2);
    return true;
}
