#include "base/log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"

enum {
    PIECE_MAX = 16 * 1024,       /* bytes of a message or value that are shown     */
    LINE_MAX_BYTES = 512 * 1024, /* a line with all its escapes                    */
    WRITE_PIECE = 4096,          /* PIPE_BUF: a pipe that polls writable takes it   */
    STALL_WAIT_MS = 1000,        /* for a reader that is slow; after that it's dead */
};

static struct {
    pthread_mutex_t lock;
    atomic_int min_level;
    const char *program;
    int fd;
    enum log_form form;
    log_sink_fn sink;
    void *sink_ctx;
    bool stalled;     /* the last write timed out: don't wait again */
    bool cut_line;    /* the last line went out in part             */
    uint64_t dropped; /* records lost since the last whole line     */
} target = {
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .program = "",
    .fd = STDOUT_FILENO,
    .form = LOG_FORM_AUTO,
};

bool log_level_parse(struct slice text, int *ret_level, struct err *e)
{
    static const struct {
        const char *name;
        int level;
    } names[] = {
        { "debug", LOG_DEBUG }, { "info", LOG_INFO }, { "warn", LOG_WARN }, { "error", LOG_ERROR }
    };
    char shown[TEXT_SHORT_SIZE];

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        size_t len = strlen(names[i].name);
        struct slice offset = slice_after(text, len);
        uint64_t n = 0;

        if (text.len < len || strncasecmp((const char *)text.at, names[i].name, len) != 0)
            continue;
        if (offset.len != 0) {
            struct err ignored = ERR_INIT;

            if ((offset.at[0] != '+' && offset.at[0] != '-') ||
                !text_parse_u64(slice_after(offset, 1), 0, 1000, &n, &ignored))
                break;
        }
        *ret_level = names[i].level + (offset.len && offset.at[0] == '-' ? -(int)n : (int)n);
        return true;
    }
    text_short(text, shown);
    return err_fail(e, ERR_KIND_INVALID, "'%s': debug, info, warn or error is wanted", shown);
}

const char *log_level_name(int level)
{
    if (level < LOG_INFO)
        return "DEBUG";
    if (level < LOG_WARN)
        return "INFO";
    return level < LOG_ERROR ? "WARN" : "ERROR";
}

void log_open(const char *program, int min_level)
{
    pthread_mutex_lock(&target.lock);
    target.program = program;
    pthread_mutex_unlock(&target.lock);
    log_set_level(min_level);
}

void log_set_level(int min_level)
{
    atomic_store(&target.min_level, min_level);
}

void log_set_output(int fd, enum log_form form)
{
    pthread_mutex_lock(&target.lock);
    target.fd = fd;
    target.form = form;
    target.stalled = false;
    target.cut_line = false;
    target.dropped = 0;
    pthread_mutex_unlock(&target.lock);
}

void log_set_sink(log_sink_fn sink, void *ctx)
{
    pthread_mutex_lock(&target.lock);
    target.sink = sink;
    target.sink_ctx = ctx;
    pthread_mutex_unlock(&target.lock);
}

/* Writes without ever waiting in the kernel, whatever fd is and however it was opened. */
static ssize_t write_now(int fd, struct slice piece)
{
    ssize_t n = send(fd, piece.at, piece.len, MSG_DONTWAIT | MSG_NOSIGNAL);

    return n < 0 && errno == ENOTSOCK ? write(fd, piece.at, piece.len) : n;
}

/*
 * All of line, or false. A reader that is slow is waited for; one that has
 * stopped, or has gone, must not take the program with it.
 */
static bool write_line(struct slice line)
{
    uint64_t give_up = clock_mono_ms(clock_system()) + (target.stalled ? 0 : STALL_WAIT_MS);

    while (line.len) {
        struct pollfd ready = { .fd = target.fd, .events = POLLOUT };
        uint64_t now = clock_mono_ms(clock_system());
        int n = poll(&ready, 1, now < give_up ? (int)(give_up - now) : 0);

        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            target.stalled = true;
        if (n <= 0)
            return false;

        ssize_t wrote = write_now(target.fd, slice_first(line, WRITE_PIECE));

        if (wrote < 0 && (errno == EINTR || errno == EAGAIN) && now < give_up)
            continue;
        if (wrote < 0)
            return false;
        target.cut_line = true;
        line = slice_after(line, (size_t)wrote);
    }
    target.cut_line = false;
    target.stalled = false;
    return true;
}

static bool put_json(struct buf *out, const char *key, struct slice text, struct err *e)
{
    return text_json_string(slice_of_str(key), out, e) && buf_append_u8(out, ':', e) &&
           text_json_string(slice_first(text, PIECE_MAX), out, e);
}

static bool put_json_field(struct buf *out, const struct log_field *f, struct err *e)
{
    if (!buf_append_u8(out, ',', e))
        return false;
    if (f->type == LOG_FIELD_STR)
        return put_json(out, f->key, f->str, e);
    return text_json_string(slice_of_str(f->key), out, e) &&
           (f->type == LOG_FIELD_U64 ? buf_format(out, e, ":%llu", (unsigned long long)f->u64)
                                     : buf_append_str(out, f->u64 ? ":true" : ":false", e));
}

/* A value that would read as two, or as none, gets quotes. */
static bool wants_quotes(struct slice s)
{
    return s.len == 0 || slice_find(s, ' ') < s.len || slice_find(s, '=') < s.len ||
           slice_find(s, '"') < s.len;
}

static bool put_text_field(struct buf *out, const struct log_field *f, struct err *e)
{
    struct slice s = slice_first(f->str, PIECE_MAX);

    if (!buf_format(out, e, "  %s=", f->key))
        return false;
    switch (f->type) {
    case LOG_FIELD_U64: return buf_format(out, e, "%llu", (unsigned long long)f->u64);
    case LOG_FIELD_BOOL: return buf_append_str(out, f->u64 ? "true" : "false", e);
    case LOG_FIELD_STR: break;
    }
    return wants_quotes(s) ? text_json_string(s, out, e) : text_safe(s, out, e);
}

static bool format_line(struct buf *out, enum log_form form, int level, int64_t wall_ns, struct slice msg,
                        const struct log_field *fields, size_t count, struct err *e)
{
    char when[40];
    bool ok;

    text_format_time(wall_ns, when);
    if (form == LOG_FORM_JSON)
        ok = buf_format(out, e, "{\"time\":\"%s\",\"level\":\"%s\",", when, log_level_name(level)) &&
             put_json(out, "program", slice_of_str(target.program), e) && buf_append_u8(out, ',', e) &&
             put_json(out, "msg", msg, e);
    else /* the time of day is enough for someone who is watching */
        ok = buf_format(out, e, "%.12s %-5s ", when + strlen("2026-01-02T"), log_level_name(level)) &&
             text_safe(slice_first(msg, PIECE_MAX), out, e);
    for (size_t i = 0; ok && i < count; i++)
        ok = form == LOG_FORM_JSON ? put_json_field(out, &fields[i], e) : put_text_field(out, &fields[i], e);
    return ok && buf_append_str(out, form == LOG_FORM_JSON ? "}\n" : "\n", e);
}

/* Formats and writes one record; false when it did not go out whole. */
static bool emit(enum log_form form, int level, int64_t wall_ns, struct slice msg,
                 const struct log_field *fields, size_t count)
{
    CLEANUP(buf_done) struct buf line = BUF_INIT(LINE_MAX_BYTES);
    struct err e = ERR_INIT;

    /* What was cut must not run into this record. */
    if (target.cut_line && !buf_append_u8(&line, '\n', &e))
        return false;
    return format_line(&line, form, level, wall_ns, msg, fields, count, &e) && write_line(buf_slice(&line));
}

static void record(int level, struct slice msg, const struct log_field *fields, size_t count)
{
    int64_t wall_ns = clock_wall_ns(clock_system());

    pthread_mutex_lock(&target.lock);

    /* Read here and now, because log_set_output comes before or after fd is a terminal. */
    enum log_form form = target.form;

    if (form == LOG_FORM_AUTO)
        form = isatty(target.fd) ? LOG_FORM_TEXT : LOG_FORM_JSON;
    if (target.dropped) {
        const struct log_field lost[] = { LOG_U64("count", target.dropped) };

        if (emit(form, LOG_WARN, wall_ns, slice_of_str("log records dropped"), lost, 1))
            target.dropped = 0;
    }
    if (!emit(form, level, wall_ns, msg, fields, count))
        target.dropped++;
    if (target.sink)
        target.sink(level, wall_ns, msg, target.sink_ctx);
    pthread_mutex_unlock(&target.lock);
}

void log_record(int level, const char *msg, const struct log_field *fields, size_t count)
{
    int saved = errno;

    if (level >= atomic_load(&target.min_level))
        record(level, slice_of_str(msg), fields, count);
    errno = saved;
}

static PRINTF(2, 0) void record_v(int level, const char *fmt, va_list args)
{
    char short_text[1024]; /* so that most records need no memory of their own */
    int saved = errno;
    va_list again;

    if (level < atomic_load(&target.min_level))
        return;
    va_copy(again, args);
    int n = vsnprintf(short_text, sizeof(short_text), fmt, args);
    size_t len = n < 0 ? 0 : (size_t)n;

    if (len < sizeof(short_text)) {
        record(level, slice_of(short_text, len), NULL, 0);
    } else {
        CLEANUP(buf_done) struct buf text = BUF_INIT(PIECE_MAX + 1);
        struct err e = ERR_INIT;
        uint8_t *at;

        if (len > PIECE_MAX)
            len = PIECE_MAX;
        if (buf_reserve(&text, len + 1, &at, &e)) {
            vsnprintf((char *)at, len + 1, fmt, again);
            record(level, slice_of(at, len), NULL, 0);
        } else {
            record(level, slice_of(short_text, sizeof(short_text) - 1), NULL, 0);
        }
    }
    va_end(again);
    errno = saved;
}

void log_debug(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    record_v(LOG_DEBUG, fmt, args);
    va_end(args);
}

void log_info(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    record_v(LOG_INFO, fmt, args);
    va_end(args);
}

void log_warn(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    record_v(LOG_WARN, fmt, args);
    va_end(args);
}

void log_error(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    record_v(LOG_ERROR, fmt, args);
    va_end(args);
}
