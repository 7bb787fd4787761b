#include "base/err.h"

#include <errno.h>
#include <stdarg.h>

#undef err_fail
#undef err_fail_os
#undef err_wrap

static const size_t end = ERR_TEXT_SIZE - 1; /* the last byte stays NUL */

/* Writes the formatted text before what is there; cut at its end when room is short. */
static PRINTF(2, 0) void put_front(struct err *e, const char *fmt, va_list args)
{
    char piece[ERR_TEXT_SIZE];
    int n = vsnprintf(piece, sizeof(piece), fmt, args);
    size_t len = n < 0 ? 0 : (size_t)n;

    if (len >= sizeof(piece))
        len = sizeof(piece) - 1;
    if (len > e->start)
        len = e->start;
    e->start -= len;
    memcpy(e->text + e->start, piece, len);
}

static PRINTF(2, 3) void put_front_f(struct err *e, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    put_front(e, fmt, args);
    va_end(args);
}

static void set(struct err *e, enum err_kind kind, int os_errno)
{
    e->kind = kind;
    e->os_errno = os_errno;
    e->start = end;
    e->text[end] = '\0';
}

bool err_fail(struct err *e, enum err_kind kind, const char *fmt, ...)
{
    va_list args;

    set(e, kind, 0);
    va_start(args, fmt);
    put_front(e, fmt, args);
    va_end(args);
    return false;
}

static enum err_kind kind_of_errno(int code)
{
    switch (code) {
    case ENOENT: return ERR_KIND_MISSING;
    case EACCES:
    case EPERM: return ERR_KIND_DENIED;
    case ENOSPC:
    case EDQUOT:
    case EMFILE:
    case ENFILE:
    case ENOMEM: return ERR_KIND_LIMIT;
    case ETIMEDOUT: return ERR_KIND_TIMEOUT;
    case ECONNREFUSED:
    case ECONNRESET:
    case ECONNABORTED:
    case EPIPE:
    case EHOSTUNREACH:
    case ENETUNREACH: return ERR_KIND_UNAVAILABLE;
    default: return ERR_KIND_INTERNAL;
    }
}

bool err_fail_os(struct err *e, const char *fmt, ...)
{
    int code = errno;
    char reason[128];
    va_list args;

    set(e, kind_of_errno(code), code);
    put_front_f(e, ": %s", strerror_r(code, reason, sizeof(reason)));
    va_start(args, fmt);
    put_front(e, fmt, args);
    va_end(args);
    return false;
}

bool err_wrap(struct err *e, const char *fmt, ...)
{
    va_list args;

    put_front_f(e, ": ");
    va_start(args, fmt);
    put_front(e, fmt, args);
    va_end(args);
    return false;
}

const char *err_text(const struct err *e)
{
    return e->kind == ERR_KIND_NONE ? "" : e->text + e->start;
}

const char *err_kind_name(enum err_kind kind)
{
    static const char *const names[] = {
        [ERR_KIND_NONE] = "none",
        [ERR_KIND_INVALID] = "invalid",
        [ERR_KIND_UNVERIFIED] = "unverified",
        [ERR_KIND_DENIED] = "denied",
        [ERR_KIND_MISSING] = "missing",
        [ERR_KIND_LIMIT] = "limit",
        [ERR_KIND_TIMEOUT] = "timeout",
        [ERR_KIND_UNAVAILABLE] = "unavailable",
        [ERR_KIND_CANCELLED] = "cancelled",
        [ERR_KIND_UNSUPPORTED] = "unsupported",
        [ERR_KIND_INTERNAL] = "internal",
    };
    return (size_t)kind < ARRAY_LEN(names) ? names[kind] : "internal";
}

void err_clear(struct err *e)
{
    set(e, ERR_KIND_NONE, 0);
}
