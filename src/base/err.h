/*
 * Errors with their chain of context.
 *
 * An err lives on the stack of whoever starts the work and never allocates,
 * so that running out of memory can be reported. Its text grows to the front:
 * the cause is written first, and each caller puts what it was doing before
 * it. "pull 'x': layer 2 of 5: open 'b2/4f1c': Permission denied".
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include "base/attr.h"

#define ERR_TEXT_SIZE 1024

enum err_kind {
    ERR_KIND_NONE,        /* no error                                           */
    ERR_KIND_INVALID,     /* the input is wrong and will be wrong again         */
    ERR_KIND_UNVERIFIED,  /* a signature, hash or proof does not hold           */
    ERR_KIND_DENIED,      /* known, and not allowed                             */
    ERR_KIND_MISSING,     /* what was asked for is not there                    */
    ERR_KIND_LIMIT,       /* more than we are willing to hold                   */
    ERR_KIND_TIMEOUT,     /* a deadline passed                                  */
    ERR_KIND_UNAVAILABLE, /* the other side can't be reached now; may be tried again */
    ERR_KIND_CANCELLED,   /* whoever asked does not want it any more            */
    ERR_KIND_UNSUPPORTED, /* well-formed, and something we don't do             */
    ERR_KIND_INTERNAL,    /* a fault of this machine or of this program         */
};

struct err {
    enum err_kind kind;
    int os_errno; /* 0 unless a system call is the cause           */
    size_t start; /* text[start] begins the message                */
    char text[ERR_TEXT_SIZE];
};

#define ERR_INIT                                          \
    {                                                     \
        .kind = ERR_KIND_NONE, .start = ERR_TEXT_SIZE - 1 \
    }

/* Makes *e the given error, dropping what it held. Returns false. */
bool err_fail(struct err *e, enum err_kind kind, const char *fmt, ...) PRINTF(3, 4);

/*
 * Likewise for a system call that has just failed: adds ": " and the text of
 * errno. The kind follows from it: ENOENT MISSING, EACCES and EPERM DENIED,
 * ENOSPC, EDQUOT, EMFILE, ENFILE and ENOMEM LIMIT, ETIMEDOUT TIMEOUT,
 * ECONNREFUSED, ECONNRESET, EPIPE and kin UNAVAILABLE, the rest INTERNAL.
 */
bool err_fail_os(struct err *e, const char *fmt, ...) PRINTF(2, 3);

/* Puts "context: " before the text. Returns false. */
bool err_wrap(struct err *e, const char *fmt, ...) PRINTF(2, 3);

#ifdef __clang_analyzer__
/* It reads one file at a time and would ask what happens should these return true. */
#define err_fail(...) (err_fail(__VA_ARGS__), false)
#define err_fail_os(...) (err_fail_os(__VA_ARGS__), false)
#define err_wrap(...) (err_wrap(__VA_ARGS__), false)
#endif

/* The whole message; "" when there is no error. Valid while *e is. */
const char *err_text(const struct err *e);

/* "invalid", "unverified", ... */
const char *err_kind_name(enum err_kind kind);

/* Back to no error. */
void err_clear(struct err *e);

#endif
