#include "rpc/status.h"

#include <nghttp2/nghttp2.h>
#include <stdarg.h>

static const char *const names[] = {
    [RPC_OK] = "OK",
    [RPC_CANCELLED] = "Canceled",
    [RPC_UNKNOWN] = "Unknown",
    [RPC_INVALID_ARGUMENT] = "InvalidArgument",
    [RPC_DEADLINE_EXCEEDED] = "DeadlineExceeded",
    [RPC_NOT_FOUND] = "NotFound",
    [RPC_ALREADY_EXISTS] = "AlreadyExists",
    [RPC_PERMISSION_DENIED] = "PermissionDenied",
    [RPC_RESOURCE_EXHAUSTED] = "ResourceExhausted",
    [RPC_FAILED_PRECONDITION] = "FailedPrecondition",
    [RPC_ABORTED] = "Aborted",
    [RPC_OUT_OF_RANGE] = "OutOfRange",
    [RPC_UNIMPLEMENTED] = "Unimplemented",
    [RPC_INTERNAL] = "Internal",
    [RPC_UNAVAILABLE] = "Unavailable",
    [RPC_DATA_LOSS] = "DataLoss",
    [RPC_UNAUTHENTICATED] = "Unauthenticated",
};

const char *rpc_code_name(enum rpc_code code)
{
    return (size_t)code < ARRAY_LEN(names) ? names[code] : names[RPC_UNKNOWN];
}

enum rpc_code rpc_code_of_err(enum err_kind kind)
{
    switch (kind) {
    case ERR_KIND_NONE: return RPC_OK;
    case ERR_KIND_INVALID: return RPC_INVALID_ARGUMENT;
    case ERR_KIND_UNVERIFIED: return RPC_UNAUTHENTICATED;
    case ERR_KIND_DENIED: return RPC_PERMISSION_DENIED;
    case ERR_KIND_MISSING: return RPC_NOT_FOUND;
    case ERR_KIND_LIMIT: return RPC_RESOURCE_EXHAUSTED;
    case ERR_KIND_TIMEOUT: return RPC_DEADLINE_EXCEEDED;
    case ERR_KIND_UNAVAILABLE: return RPC_UNAVAILABLE;
    case ERR_KIND_CANCELLED: return RPC_CANCELLED;
    case ERR_KIND_UNSUPPORTED: return RPC_UNIMPLEMENTED;
    case ERR_KIND_INTERNAL: return RPC_INTERNAL;
    }
    return RPC_UNKNOWN;
}

enum err_kind rpc_err_of_code(enum rpc_code code)
{
    switch (code) {
    case RPC_OK: return ERR_KIND_NONE;
    case RPC_INVALID_ARGUMENT:
    case RPC_FAILED_PRECONDITION:
    case RPC_OUT_OF_RANGE:
    case RPC_ALREADY_EXISTS: return ERR_KIND_INVALID;
    case RPC_UNAUTHENTICATED: return ERR_KIND_UNVERIFIED;
    case RPC_PERMISSION_DENIED: return ERR_KIND_DENIED;
    case RPC_NOT_FOUND: return ERR_KIND_MISSING;
    case RPC_RESOURCE_EXHAUSTED: return ERR_KIND_LIMIT;
    case RPC_DEADLINE_EXCEEDED: return ERR_KIND_TIMEOUT;
    case RPC_UNAVAILABLE:
    case RPC_ABORTED: return ERR_KIND_UNAVAILABLE;
    case RPC_CANCELLED: return ERR_KIND_CANCELLED;
    case RPC_UNIMPLEMENTED: return ERR_KIND_UNSUPPORTED;
    case RPC_UNKNOWN:
    case RPC_INTERNAL:
    case RPC_DATA_LOSS: return ERR_KIND_INTERNAL;
    }
    return ERR_KIND_INTERNAL;
}

/* Bytes of the well-formed UTF-8 character at the front of s, 0 when there is none. */
static size_t char_len(struct slice s)
{
    for (size_t n = 1; n <= 4 && n <= s.len; n++) {
        if (slice_is_utf8(slice_first(s, n)))
            return s.at[0] ? n : 0;
    }
    return 0;
}

void rpc_status_set(struct rpc_status *ret, enum rpc_code code, struct slice text)
{
    static const char replacement[] = "\xef\xbf\xbd";
    size_t len = 0;

    ret->code = code;
    while (text.len > 0) {
        size_t n = char_len(text);
        const void *from = n ? (const void *)text.at : replacement;
        size_t put = n ? n : sizeof(replacement) - 1;

        if (len + put >= sizeof(ret->message))
            break;
        memcpy(ret->message + len, from, put);
        len += put;
        text = slice_after(text, n ? n : 1);
    }
    ret->message[len] = '\0';
}

void rpc_status_setf(struct rpc_status *ret, enum rpc_code code, const char *fmt, ...)
{
    char text[RPC_STATUS_TEXT_MAX];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    rpc_status_set(ret, code, slice_of_str(text));
}

size_t rpc_status_text_encode(const char *text, char ret[RPC_STATUS_WIRE_MAX])
{
    static const char digits[] = "0123456789ABCDEF";
    size_t len = 0;

    for (const uint8_t *at = (const uint8_t *)text; *at && len + 4 <= RPC_STATUS_WIRE_MAX; at++) {
        if (*at >= 0x20 && *at <= 0x7e && *at != '%') {
            ret[len++] = (char)*at;
            continue;
        }
        ret[len++] = '%';
        ret[len++] = digits[*at >> 4];
        ret[len++] = digits[*at & 15];
    }
    ret[len] = '\0';
    return len;
}

/* 0 to 15, or -1. */
static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

void rpc_status_text_decode(struct slice wire, char ret[RPC_STATUS_TEXT_MAX])
{
    uint8_t plain[RPC_STATUS_TEXT_MAX];
    struct rpc_status clean;
    size_t len = 0;

    for (size_t i = 0; i < wire.len && len < sizeof(plain); i++) {
        int high = wire.at[i] == '%' && wire.len - i > 2 ? hex_digit(wire.at[i + 1]) : -1;
        int low = high >= 0 ? hex_digit(wire.at[i + 2]) : -1;

        plain[len++] = low >= 0 ? (uint8_t)(high * 16 + low) : wire.at[i];
        if (low >= 0)
            i += 2;
    }
    rpc_status_set(&clean, RPC_OK, slice_of(plain, len));
    memcpy(ret, clean.message, RPC_STATUS_TEXT_MAX);
}

bool rpc_code_parse(struct slice text, enum rpc_code *ret)
{
    unsigned n = 0;

    if (text.len == 0 || text.len > 9)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.at[i] < '0' || text.at[i] > '9')
            return false;
        n = n * 10 + (unsigned)(text.at[i] - '0');
    }
    *ret = n <= RPC_UNAUTHENTICATED ? (enum rpc_code)n : RPC_UNKNOWN;
    return true;
}

enum rpc_code rpc_code_of_http(unsigned http_status)
{
    switch (http_status) {
    case 400: return RPC_INTERNAL;
    case 401: return RPC_UNAUTHENTICATED;
    case 403: return RPC_PERMISSION_DENIED;
    case 404: return RPC_UNIMPLEMENTED;
    case 429:
    case 502:
    case 503:
    case 504: return RPC_UNAVAILABLE;
    default: /* whatever else a proxy may say */ return RPC_UNKNOWN;
    }
}

enum rpc_code rpc_code_of_h2(uint32_t error_code)
{
    switch (error_code) {
    case NGHTTP2_REFUSED_STREAM: return RPC_UNAVAILABLE;
    case NGHTTP2_CANCEL: return RPC_CANCELLED;
    case NGHTTP2_ENHANCE_YOUR_CALM: return RPC_RESOURCE_EXHAUSTED;
    case NGHTTP2_INADEQUATE_SECURITY: return RPC_PERMISSION_DENIED;
    case NGHTTP2_STREAM_CLOSED:
    case NGHTTP2_HTTP_1_1_REQUIRED: return RPC_UNKNOWN;
    default: return error_code <= NGHTTP2_CONNECT_ERROR ? RPC_INTERNAL : RPC_UNKNOWN;
    }
}
