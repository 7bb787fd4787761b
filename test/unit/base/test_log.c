#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"

/* ---- a pipe in the place of stdout ---- */

struct tap {
    int read_fd;
    int write_fd;
};

static struct tap tap_open(enum log_form form)
{
    int fds[2];

    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    log_open("unit", LOG_INFO);
    log_set_output(fds[1], form);
    return (struct tap){ fds[0], fds[1] };
}

/* All that was logged; closes the tap. *ret is NUL-terminated. */
static void tap_close(struct tap *t, char *ret, size_t size)
{
    size_t used = 0;
    ssize_t n;

    log_set_output(STDERR_FILENO, LOG_FORM_JSON);
    close(t->write_fd);
    while ((n = read(t->read_fd, ret + used, size - 1 - used)) > 0)
        used += (size_t)n;
    ret[used] = '\0';
    close(t->read_fd);
}

/* The part of a JSON line behind its time, whose shape is checked. */
static const char *after_time(const char *line)
{
    static const char shape[] = "{\"time\":\"dddd-dd-ddTdd:dd:dd.dddddddddZ\",";

    for (size_t i = 0; i < sizeof(shape) - 1; i++) {
        if (shape[i] == 'd')
            assert_in_range(line[i], '0', '9');
        else
            assert_int_equal(line[i], shape[i]);
    }
    return line + sizeof(shape) - 1;
}

/* ---- form of a line ---- */

static const struct log_field no_fields[1];
static const struct log_field ready_fields[] = {
    { "addr", LOG_FIELD_STR, SLICE_LIT("127.0.0.1:7002"), 0 },
};
static const struct log_field all_fields[] = {
    { "n", LOG_FIELD_U64, { NULL, 0 }, UINT64_MAX },  { "yes", LOG_FIELD_BOOL, { NULL, 0 }, 1 },
    { "no", LOG_FIELD_BOOL, { NULL, 0 }, 0 },         { "empty", LOG_FIELD_STR, { NULL, 0 }, 0 },
    { "spaced", LOG_FIELD_STR, SLICE_LIT("a b"), 0 },
};
static const struct log_field hostile_fields[] = {
    { "name", LOG_FIELD_STR, SLICE_LIT("x\n\x1b[2J\xff\xe2\x80\xae"), 0 },
};

static struct line_case {
    const char *name;
    enum log_form form;
    int level;
    const char *msg;
    const struct log_field *fields;
    size_t count;
    const char *want; /* behind the time */
} line_cases[] = {
    { "json_ready_line", LOG_FORM_JSON, LOG_INFO, "ready", ready_fields, 1,
      "\"level\":\"INFO\",\"program\":\"unit\",\"msg\":\"ready\",\"addr\":\"127.0.0.1:7002\"}\n" },
    { "json_all_field_types", LOG_FORM_JSON, LOG_WARN, "m", all_fields, 5,
      "\"level\":\"WARN\",\"program\":\"unit\",\"msg\":\"m\",\"n\":18446744073709551615,"
      "\"yes\":true,\"no\":false,\"empty\":\"\",\"spaced\":\"a b\"}\n" },
    { "json_control_bytes_RL_6", LOG_FORM_JSON, LOG_ERROR, "a\"\n{}", hostile_fields, 1,
      "\"level\":\"ERROR\",\"program\":\"unit\",\"msg\":\"a\\\"\\u000a{}\","
      "\"name\":\"x\\u000a\\u001b[2J\xef\xbf\xbd\\u202e\"}\n" },
    { "text_ready_line", LOG_FORM_TEXT, LOG_INFO, "ready", ready_fields, 1,
      "INFO  ready  addr=127.0.0.1:7002\n" },
    { "text_all_field_types", LOG_FORM_TEXT, LOG_WARN, "m", all_fields, 5,
      "WARN  m  n=18446744073709551615  yes=true  no=false  empty=\"\"  spaced=\"a b\"\n" },
    { "text_control_bytes_RL_6", LOG_FORM_TEXT, LOG_ERROR, "a\n\x1b]0;t\x07", hostile_fields, 1,
      "ERROR a\\x0a\\x1b]0;t\\x07  name=x\\x0a\\x1b[2J\\xff\\u{202e}\n" },
    { "a_pipe_is_json_on_its_own", LOG_FORM_AUTO, LOG_INFO, "m", no_fields, 0,
      "\"level\":\"INFO\",\"program\":\"unit\",\"msg\":\"m\"}\n" },
    { "below_the_level_is_silent", LOG_FORM_JSON, LOG_INFO - 1, "m", no_fields, 0, "" },
    { "levels_between_have_the_lower_name", LOG_FORM_JSON, LOG_INFO + 2, "m", no_fields, 0,
      "\"level\":\"INFO\",\"program\":\"unit\",\"msg\":\"m\"}\n" },
};

static void check_line(void **state)
{
    const struct line_case *c = *state;
    struct tap t = tap_open(c->form);
    char seen[4096];

    log_record(c->level, c->msg, c->fields, c->count);
    tap_close(&t, seen, sizeof(seen));
    if (c->want[0] == '\0')
        assert_string_equal(seen, "");
    else if (c->form == LOG_FORM_TEXT)
        assert_string_equal(seen + strlen("03:04:05.000 "), c->want);
    else
        assert_string_equal(after_time(seen), c->want);
}

static void printf_forms_cut_only_what_is_huge(void **state)
{
    struct tap t = tap_open(LOG_FORM_JSON);
    static char seen[65536];
    static char big[20001];

    (void)state;
    memset(big, 'x', sizeof(big) - 1);
    log_info("%.*s|", 1022, big); /* fits the stack          */
    log_info("%.*s|", 1500, big); /* needs memory of its own */
    log_info("%s|", big);         /* is cut                  */
    log_debug("%s", "unseen");
    log_warn("%d", 7);
    log_error("%s", "last");
    tap_close(&t, seen, sizeof(seen));

    size_t bars = 0;
    size_t lines = 0;
    size_t xs = 0;

    for (const char *p = seen; *p; p++) {
        bars += *p == '|';
        lines += *p == '\n';
        xs += *p == 'x';
    }
    assert_int_equal(bars, 2);
    assert_int_equal(lines, 5);
    assert_int_equal(xs, 1022 + 1500 + 16384);
    assert_non_null(strstr(seen, "\"WARN\",\"program\":\"unit\",\"msg\":\"7\"}\n"));
    assert_null(strstr(seen, "unseen"));
    assert_non_null(strstr(seen, "\"msg\":\"last\"}\n"));
}

static void set_level_takes_effect_at_once(void **state)
{
    struct tap t = tap_open(LOG_FORM_JSON);
    char seen[4096];

    (void)state;
    log_set_level(LOG_ERROR);
    log_warn("one");
    log_set_level(LOG_DEBUG);
    log_debug("two");
    tap_close(&t, seen, sizeof(seen));
    assert_null(strstr(seen, "one"));
    assert_non_null(strstr(seen, "\"DEBUG\",\"program\":\"unit\",\"msg\":\"two\""));
}

static void errno_is_kept(void **state)
{
    (void)state;
    log_open("unit", LOG_INFO);
    log_set_output(-1, LOG_FORM_JSON); /* fails inside */
    errno = E2BIG;
    log_info("x");
    assert_int_equal(errno, E2BIG);
    log_record(LOG_INFO, "x", NULL, 0);
    assert_int_equal(errno, E2BIG);
}

/* ---- sink ---- */

struct seen_record {
    int level;
    size_t count;
    int64_t wall_ns;
    char msg[32];
};

static void remember(int level, int64_t wall_ns, struct slice msg, void *ctx)
{
    struct seen_record *r = ctx;

    r->level = level;
    r->count++;
    r->wall_ns = wall_ns;
    snprintf(r->msg, sizeof(r->msg), "%.*s", (int)msg.len, (const char *)msg.at);
}

static void sink_gets_kept_records_even_without_output(void **state)
{
    struct seen_record r = { 0 };

    (void)state;
    log_open("unit", LOG_INFO);
    log_set_output(-1, LOG_FORM_JSON);
    log_set_sink(remember, &r);
    log_debug("dropped");
    log_warn("kept %d", 1);
    assert_int_equal(r.count, 1);
    assert_int_equal(r.level, LOG_WARN);
    assert_string_equal(r.msg, "kept 1");
    assert_true(r.wall_ns > 0);
    log_set_sink(NULL, NULL);
    log_warn("unheard");
    assert_int_equal(r.count, 1);
}

/* ---- levels ---- */

static struct level_case {
    const char *name;
    struct slice in;
    bool ok;
    int want;
} level_cases[] = {
    { "level_info", SLICE_LIT("info"), true, 0 },
    { "level_DEBUG", SLICE_LIT("DEBUG"), true, -4 },
    { "level_Warn", SLICE_LIT("Warn"), true, 4 },
    { "level_error", SLICE_LIT("error"), true, 8 },
    { "level_info_plus_2", SLICE_LIT("INFO+2"), true, 2 },
    { "level_error_minus_10", SLICE_LIT("error-10"), true, -2 },
    { "level_empty_is_refused", SLICE_LIT(""), false, 0 },
    { "level_warning_is_refused", SLICE_LIT("warning"), false, 0 },
    { "level_plus_alone_is_refused", SLICE_LIT("info+"), false, 0 },
    { "level_two_signs_is_refused", SLICE_LIT("info+-1"), false, 0 },
    { "level_number_is_refused", SLICE_LIT("4"), false, 0 },
    { "level_cut_name_is_refused", SLICE_LIT("inf"), false, 0 },
};

static void check_level(void **state)
{
    const struct level_case *c = *state;
    struct err e = ERR_INIT;
    int level = 99;

    assert_int_equal(log_level_parse(c->in, &level, &e), c->ok);
    assert_int_equal(level, c->ok ? c->want : 99);
    assert_int_equal(e.kind, c->ok ? ERR_KIND_NONE : ERR_KIND_INVALID);
}

/* ---- readers that are slow, stuck or gone ---- */

static void a_gone_reader_costs_nothing(void **state)
{
    struct tap t = tap_open(LOG_FORM_JSON);
    char seen[16];

    (void)state;
    signal(SIGPIPE, SIG_IGN);
    close(t.read_fd);
    for (int i = 0; i < 1000; i++)
        log_info("nobody hears");
    t.read_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    tap_close(&t, seen, sizeof(seen));
}

static void check_stuck(bool nonblocking)
{
    struct tap t = tap_open(LOG_FORM_JSON);
    static char seen[2 * 1024 * 1024];
    static char text[10000]; /* three pages of a pipe's 16, so that a line is cut */
    size_t used = 0;
    const char *line;
    struct timespec begin;
    struct timespec end;

    memset(text, 'y', sizeof(text) - 1);
    if (nonblocking)
        assert_int_equal(fcntl(t.write_fd, F_SETFL, O_NONBLOCK), 0);
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (int i = 0; i < 200; i++) /* a pipe holds 64 KiB */
        log_info("%s", text);
    clock_gettime(CLOCK_MONOTONIC, &end);
    assert_true(end.tv_sec - begin.tv_sec < 30); /* waited for once, not 180 times */

    /* The reader comes back: what was lost is counted, on a line of its own. */
    while (used < 32768) {
        ssize_t n = read(t.read_fd, seen + used, 4096);

        assert_true(n > 0);
        used += (size_t)n;
    }
    log_info("back");
    tap_close(&t, seen + used, sizeof(seen) - used);

    const char *lost = strstr(seen, "\"msg\":\"log records dropped\",\"count\":");

    assert_non_null(lost);
    for (line = lost; line > seen && line[-1] != '\n';)
        line--;
    /* It is alone on its line, although the one before was cut. */
    assert_memory_equal(after_time(line), "\"level\":\"WARN\"", 14);
    assert_non_null(strstr(lost, "\"msg\":\"back\"}\n"));

    size_t lines = 0;

    for (const char *p = strstr(seen, "y\"}\n"); p; p = strstr(p + 1, "y\"}\n"))
        lines++; /* those that went out whole */

    unsigned long count = strtoul(strstr(lost, "count") + strlen("count\":"), NULL, 10);

    assert_int_equal(lines + count, 200);
    assert_true(count > 100);
}

static void a_stuck_reader_drops_and_counts(void **state)
{
    (void)state;
    check_stuck(false);
}

static void a_stuck_nonblocking_pipe_drops_and_counts(void **state)
{
    (void)state;
    check_stuck(true);
}

static void a_stuck_socket_does_not_block(void **state)
{
    static char text[3000];
    int fds[2];

    (void)state;
    memset(text, 'z', sizeof(text) - 1);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    log_set_output(fds[0], LOG_FORM_JSON);
    for (int i = 0; i < 1000; i++)
        log_info("%s", text);
    close(fds[1]);
    log_info("nobody hears"); /* and no SIGPIPE */
    log_set_output(STDERR_FILENO, LOG_FORM_JSON);
    close(fds[0]);
}

/* ---- threads ---- */

enum { THREADS = 4, RECORDS = 500 };

static void *log_many(void *ctx)
{
    const char *text = ctx;

    for (int i = 0; i < RECORDS; i++)
        log_info("%s", text);
    return NULL;
}

struct drain {
    int fd;
    char *at;
    size_t size;
    size_t used;
};

static void *drain_all(void *ctx)
{
    struct drain *d = ctx;
    ssize_t n;

    while ((n = read(d->fd, d->at + d->used, d->size - d->used)) > 0)
        d->used += (size_t)n;
    return NULL;
}

static void lines_of_threads_do_not_mix(void **state)
{
    static char text[THREADS][6001]; /* above PIPE_BUF, so that a line takes several writes */
    const size_t size = (size_t)THREADS * RECORDS * 7000;
    struct err e = ERR_INIT;
    CLEANUP(mem_done) char *seen = mem_new(size, &e);
    struct tap t = tap_open(LOG_FORM_JSON);
    struct drain d = { t.read_fd, seen, size, 0 };
    pthread_t threads[THREADS];
    pthread_t reader;
    size_t lines = 0;

    (void)state;
    assert_non_null(seen);
    assert_int_equal(pthread_create(&reader, NULL, drain_all, &d), 0);
    for (int i = 0; i < THREADS; i++) {
        memset(text[i], 'a' + i, sizeof(text[i]) - 1);
        assert_int_equal(pthread_create(&threads[i], NULL, log_many, text[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    log_set_output(STDERR_FILENO, LOG_FORM_JSON);
    close(t.write_fd);
    pthread_join(reader, NULL);
    close(t.read_fd);

    for (struct slice left = slice_of(seen, d.used); left.len;) {
        size_t len = slice_find(left, '\n');
        struct slice line = slice_first(left, len);
        struct slice body = slice_first(slice_after(line, line.len - 6002), 6000);

        assert_true(slice_starts(line, "{\"time\"") && slice_ends(line, "\"}"));
        for (size_t i = 1; i < body.len; i++)
            assert_int_equal(body.at[i], body.at[0]);
        lines++;
        left = slice_after(left, len + 1);
    }
    assert_int_equal(lines, THREADS * RECORDS);
}

int main(void)
{
    static const struct CMUnitTest single[] = {
        cmocka_unit_test(printf_forms_cut_only_what_is_huge),
        cmocka_unit_test(set_level_takes_effect_at_once),
        cmocka_unit_test(errno_is_kept),
        cmocka_unit_test(sink_gets_kept_records_even_without_output),
        cmocka_unit_test(a_gone_reader_costs_nothing),
        cmocka_unit_test(a_stuck_reader_drops_and_counts),
        cmocka_unit_test(a_stuck_nonblocking_pipe_drops_and_counts),
        cmocka_unit_test(a_stuck_socket_does_not_block),
        cmocka_unit_test(lines_of_threads_do_not_mix),
    };
    static struct CMUnitTest tests[64];
    size_t count = 0;

    UNIT_ROWS(tests, count, line_cases, check_line);
    UNIT_ROWS(tests, count, level_cases, check_level);
    for (size_t i = 0; i < ARRAY_LEN(single); i++)
        tests[count++] = single[i];
    return _cmocka_run_group_tests("log", tests, count, NULL, NULL);
}
