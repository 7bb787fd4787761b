/*
 * The log of a program.
 *
 * One record a line: a JSON object when stdout is not a terminal, a sentence
 * with its fields when it is. Control bytes from anywhere are made visible.
 * The only mutable global of the project. Calls may come from any thread.
 *
 *   {"time":"2026-01-02T03:04:05.000000006Z","level":"INFO","program":"cocos-agent",
 *    "msg":"ready","addr":"127.0.0.1:7002"}
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/err.h"
#include "base/slice.h"

/* The numbers are those of Go's slog, which our peers' "INFO+2" refers to. */
enum log_level { LOG_DEBUG = -4, LOG_INFO = 0, LOG_WARN = 4, LOG_ERROR = 8 };

/* debug, info, warn, error in any case, with an optional +N or -N. */
bool log_level_parse(struct slice text, int *ret_level, struct err *e) MUST_CHECK;

/* "DEBUG" below INFO, "INFO" below WARN, "WARN" below ERROR, else "ERROR". */
const char *log_level_name(int level);

/* Records below min_level are dropped. program is borrowed for ever. */
void log_open(const char *program, int min_level);
void log_set_level(int min_level);

enum log_form { LOG_FORM_AUTO, LOG_FORM_JSON, LOG_FORM_TEXT };

/* Where lines go (default: stdout, form by isatty). fd is borrowed for ever. */
void log_set_output(int fd, enum log_form form);

/*
 * Also hands each kept record to a function, on the thread that logs. It must
 * not log. NULL takes it away.
 */
typedef void (*log_sink_fn)(int level, int64_t wall_ns, struct slice msg, void *ctx);
void log_set_sink(log_sink_fn sink, void *ctx);

struct log_field {
    const char *key;
    enum { LOG_FIELD_STR, LOG_FIELD_U64, LOG_FIELD_BOOL } type;
    struct slice str;
    uint64_t u64;
};
#define LOG_STR(k, text)                          \
    {                                             \
        (k), LOG_FIELD_STR, slice_of_str(text), 0 \
    }
#define LOG_U64(k, n)                        \
    {                                        \
        (k), LOG_FIELD_U64, { NULL, 0 }, (n) \
    }

/* msg plus fields; fields may be NULL when count is 0. */
void log_record(int level, const char *msg, const struct log_field *fields, size_t count);

/* printf forms, without fields. */
void log_debug(const char *fmt, ...) PRINTF(1, 2);
void log_info(const char *fmt, ...) PRINTF(1, 2);
void log_warn(const char *fmt, ...) PRINTF(1, 2);
void log_error(const char *fmt, ...) PRINTF(1, 2);

#endif
