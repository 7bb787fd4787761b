#include "unit.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/config.h"
#include "base/log.h"

struct settings {
    const char *host;
    uint64_t port;
    bool tls;
    uint64_t timeout_ms;
    int level;
    struct config_list sets;
    const char *key;
    const char *unset;
    bool verbose;
};

#define AT(field) offsetof(struct settings, field)

static const struct config_opt opts[] = {
    { "host", 'H', "UNIT_HOST", CONFIG_STR, "localhost", 0, 0, false, "name", "where to listen", AT(host) },
    { "port", 'p', "UNIT_PORT", CONFIG_U64, "7001", 1, 65535, false, NULL, "what to listen on", AT(port) },
    { "tls", 0, "UNIT_TLS", CONFIG_BOOL, NULL, 0, 0, false, NULL, "speak TLS", AT(tls) },
    { "timeout", 't', "UNIT_TIMEOUT", CONFIG_DURATION_MS, "60s", 0, 0, false, NULL, "give up",
      AT(timeout_ms) },
    { "log-level", 0, "UNIT_LOG_LEVEL", CONFIG_LEVEL, "debug", 0, 0, false, NULL, "what to log", AT(level) },
    { "dataset", 'd', "UNIT_DATASET", CONFIG_LIST, NULL, 0, 0, false, "file", "a dataset", AT(sets) },
    { NULL, 0, "UNIT_KEY", CONFIG_STR, NULL, 0, 0, true, "file", "the key", AT(key) },
    { "unset", 0, NULL, CONFIG_STR, NULL, 0, 0, false, NULL, "nothing by default", AT(unset) },
    { "verbose", 'v', NULL, CONFIG_BOOL, NULL, 0, 0, false, NULL, "say more", AT(verbose) },
};

static const struct config_spec spec = {
    .program = "unit",
    .usage = "[flags] <in> [out]",
    .summary = "A program for tests.",
    .examples = "  unit --port 1 in\n",
    .opts = opts,
    .opt_count = ARRAY_LEN(opts),
    .args_min = 1,
    .args_max = 2,
};

enum { WORDS = 12 };

static struct read_case {
    const char *name;
    char *argv[WORDS];
    char *env[WORDS];
    enum config_outcome want;
    const char *want_text; /* all settings, or the whole error */
} cases[] = {
    { "defaults",
      { "in" },
      { "UNIT_KEY=k" },
      CONFIG_RUN,
      "localhost 7001 tls=0 60000 -4 [] k (null) v=0 | in" },
    { "environment_beats_default",
      { "in" },
      { "UNIT_KEY=k", "UNIT_HOST=h", "UNIT_PORT=1", "UNIT_TLS=T", "UNIT_TIMEOUT=1h", "UNIT_LOG_LEVEL=INFO+2",
        "UNIT_DATASET=a,b" },
      CONFIG_RUN,
      "h 1 tls=1 3600000 2 [a,b;] k (null) v=0 | in" },
    { "flag_beats_environment",
      { "in", "-port", "65535", "--host=x" },
      { "UNIT_KEY=k", "UNIT_PORT=1", "UNIT_HOST=h" },
      CONFIG_RUN,
      "x 65535 tls=0 60000 -4 [] k (null) v=0 | in" },
    { "empty_environment_is_unset",
      { "in" },
      { "UNIT_KEY=k", "UNIT_PORT=", "UNIT_HOST=" },
      CONFIG_RUN,
      "localhost 7001 tls=0 60000 -4 [] k (null) v=0 | in" },
    { "longer_environment_name_is_another",
      { "in" },
      { "UNIT_KEY=k", "UNIT_PORTS=9", "XUNIT_PORT=8" },
      CONFIG_RUN,
      "localhost 7001 tls=0 60000 -4 [] k (null) v=0 | in" },
    { "all_spellings_of_flags",
      { "-host", "a", "--port", "2", "-timeout=2s", "--log-level=warn", "in" },
      { "UNIT_KEY=k" },
      CONFIG_RUN,
      "a 2 tls=0 2000 4 [] k (null) v=0 | in" },
    { "short_flags",
      { "-H", "a", "-p=3", "-v", "in" },
      { "UNIT_KEY=k" },
      CONFIG_RUN,
      "a 3 tls=0 60000 -4 [] k (null) v=1 | in" },
    { "short_flag_with_two_dashes_is_unknown",
      { "--p=3", "in" },
      { "UNIT_KEY=k" },
      CONFIG_BAD,
      "unknown flag --p: --help lists the known ones" },
    { "bool_alone_is_true",
      { "--tls", "in" },
      { "UNIT_KEY=k" },
      CONFIG_RUN,
      "localhost 7001 tls=1 60000 -4 [] k (null) v=0 | in" },
    { "bool_takes_false_spelled_out",
      { "-tls", "false", "in" },
      { "UNIT_KEY=k", "UNIT_TLS=1" },
      CONFIG_RUN,
      "localhost 7001 tls=0 60000 -4 [] k (null) v=0 | in" },
    { "bool_leaves_1_to_the_arguments",
      { "-tls", "1" },
      { "UNIT_KEY=k" },
      CONFIG_RUN,
      "localhost 7001 tls=1 60000 -4 [] k (null) v=0 | 1" },
    { "bool_with_equals",
      { "--tls=0", "in" },
      { "UNIT_KEY=k", "UNIT_TLS=1" },
      CONFIG_RUN,
      "localhost 7001 tls=0 60000 -4 [] k (null) v=0 | in" },
    { "list_is_gathered_in_order",
      { "-d", "b", "in", "--dataset=a", "-dataset", "" },
      { "UNIT_KEY=k", "UNIT_DATASET=z" },
      CONFIG_RUN,
      "localhost 7001 tls=0 60000 -4 [b;a;;] k (null) v=0 | in" },
    { "last_of_a_single_flag_wins",
      { "-p", "1", "-p", "2", "in" },
      { "UNIT_KEY=k" },
      CONFIG_RUN,
      "localhost 2 tls=0 60000 -4 [] k (null) v=0 | in" },
    { "empty_flag_value_is_empty_text",
      { "--host=", "--unset=", "in" },
      { "UNIT_KEY=k" },
      CONFIG_RUN,
      " 7001 tls=0 60000 -4 [] k  v=0 | in" },
    { "flags_may_follow_arguments",
      { "in", "-p", "9", "out" },
      { "UNIT_KEY=k" },
      CONFIG_RUN,
      "localhost 9 tls=0 60000 -4 [] k (null) v=0 | in out" },
    { "double_dash_ends_flags",
      { "--", "-p", "--help" },
      { "UNIT_KEY=k" },
      CONFIG_RUN,
      "localhost 7001 tls=0 60000 -4 [] k (null) v=0 | -p --help" },
    { "dash_alone_is_an_argument",
      { "-" },
      { "UNIT_KEY=k" },
      CONFIG_RUN,
      "localhost 7001 tls=0 60000 -4 [] k (null) v=0 | -" },
    { "value_may_look_like_a_flag",
      { "--host", "--help", "in" },
      { "UNIT_KEY=k" },
      CONFIG_RUN,
      "--help 7001 tls=0 60000 -4 [] k (null) v=0 | in" },
    { "value_may_hold_equals",
      { "--host=a=b", "in" },
      { "UNIT_KEY=k" },
      CONFIG_RUN,
      "a=b 7001 tls=0 60000 -4 [] k (null) v=0 | in" },
    { "unknown_flag_names_the_nearest",
      { "--prot", "7", "in" },
      { "UNIT_KEY=k" },
      CONFIG_BAD,
      "unknown flag --prot: did you mean --port?" },
    { "unknown_flag_near_a_long_one",
      { "-loglevle=info", "in" },
      { "UNIT_KEY=k" },
      CONFIG_BAD,
      "unknown flag --loglevle: did you mean --log-level?" },
    { "unknown_flag_near_a_long_one_by_two",
      { "-log-levle=info", "in" },
      { "UNIT_KEY=k" },
      CONFIG_BAD,
      "unknown flag --log-levle: did you mean --log-level?" },
    { "unknown_flag_near_help",
      { "--hepl", "in" },
      { "UNIT_KEY=k" },
      CONFIG_BAD,
      "unknown flag --hepl: did you mean --help?" },
    { "unknown_flag_far_from_all",
      { "--zzzzzz", "in" },
      { "UNIT_KEY=k" },
      CONFIG_BAD,
      "unknown flag --zzzzzz: --help lists the known ones" },
    { "unknown_flag_is_shown_safely_RL_6",
      { "--\x1b[2J", "in" },
      { "UNIT_KEY=k" },
      CONFIG_BAD,
      "unknown flag --\\x1b[2J: --help lists the known ones" },
    { "value_missing", { "in", "--port" }, { "UNIT_KEY=k" }, CONFIG_BAD, "flag --port: a value is wanted" },
    { "required_missing", { "in" }, { "UNIT_KEY=" }, CONFIG_BAD, "environment UNIT_KEY: must be set" },
    { "flag_fault_names_flag",
      { "in", "-p", "0" },
      { "UNIT_KEY=k" },
      CONFIG_BAD,
      "flag --port: '0': a whole number from 1 to 65535 is wanted" },
    { "environment_fault_names_variable",
      { "in" },
      { "UNIT_KEY=k", "UNIT_PORT=http" },
      CONFIG_BAD,
      "environment UNIT_PORT: 'http': a whole number from 1 to 65535 is wanted" },
    { "empty_number_by_flag_is_a_fault",
      { "in", "--port=" },
      { "UNIT_KEY=k" },
      CONFIG_BAD,
      "flag --port: '': a whole number from 1 to 65535 is wanted" },
    { "all_faults_at_once",
      { "a", "b", "c", "-p", "x", "--tsl", "--tls=maybe", "-t", "5" },
      { "UNIT_LOG_LEVEL=loud" },
      CONFIG_BAD,
      "unknown flag --tsl: did you mean --tls?; flag --port: 'x': a whole number from 1 to 65535 is wanted; "
      "flag --tls: 'maybe': true or false is wanted; "
      "flag --timeout: '5': a duration such as 100ms, 1.5s or 1h30m is wanted; "
      "environment UNIT_LOG_LEVEL: 'loud': debug, info, warn or error is wanted; "
      "environment UNIT_KEY: must be set; argument 'c' is one too many: unit [flags] <in> [out]" },
    { "argument_missing",
      { "-v" },
      { "UNIT_KEY=k" },
      CONFIG_BAD,
      "0 arguments given, 1 wanted: unit [flags] <in> [out]" },
};

static int run(char *const *words, char *const *env, struct settings *s, struct config_values *v,
               struct err *e)
{
    char program[] = "unit";
    char *argv[WORDS + 2] = { program };
    int argc = 1;

    for (; argc <= WORDS && words[argc - 1]; argc++)
        argv[argc] = words[argc - 1];
    return (int)config_read(&spec, argc, argv, env, s, v, e);
}

static void show(const struct settings *s, const struct config_values *v, struct buf *out)
{
    struct err e = ERR_INIT;
    bool ok = buf_format(out, &e, "%s %llu tls=%d %llu %d [", s->host, (unsigned long long)s->port, s->tls,
                         (unsigned long long)s->timeout_ms, s->level);

    for (size_t i = 0; i < s->sets.count; i++)
        ok = ok && buf_format(out, &e, "%s;", s->sets.at[i]);
    ok = ok && buf_format(out, &e, "] %s %s v=%d |", s->key, s->unset ? s->unset : "(null)", s->verbose);
    for (size_t i = 0; i < v->arg_count; i++)
        ok = ok && buf_format(out, &e, " %s", v->args[i]);
    assert_true(ok);
}

static void check_read(void **state)
{
    struct read_case *c = *state;
    CLEANUP(config_values_done) struct config_values v = { 0 };
    CLEANUP(buf_done) struct buf seen = BUF_INIT(4096);
    struct settings s;
    struct err e = ERR_INIT;

    memset(&s, 0x5a, sizeof(s));
    assert_int_equal(run(c->argv, c->env, &s, &v, &e), c->want);
    if (c->want == CONFIG_BAD) {
        struct settings untouched;

        memset(&untouched, 0x5a, sizeof(untouched));
        assert_memory_equal(&s, &untouched, sizeof(s));
        assert_int_equal(e.kind, ERR_KIND_INVALID);
        assert_string_equal(err_text(&e), c->want_text);
        return;
    }
    assert_string_equal(err_text(&e), "");
    show(&s, &v, &seen);
    assert_string_equal(buf_str(&seen, &e), c->want_text);
}

static void origins_are_kept(void **state)
{
    CLEANUP(config_values_done) struct config_values v = { 0 };
    char *words[WORDS] = { "in", "-p", "7" };
    char *env[] = { "UNIT_KEY=k", NULL };
    struct settings s;
    struct err e = ERR_INIT;

    (void)state;
    assert_int_equal(run(words, env, &s, &v, &e), CONFIG_RUN);
    assert_string_equal(v.origin[0], "default");
    assert_string_equal(v.origin[1], "flag");
    assert_null(v.origin[2]);
    assert_string_equal(v.origin[6], "environment");
}

/* A program that has the rows of two others. */
struct inner {
    const char *name;
    uint64_t count;
};
struct outer {
    bool flag;
    struct inner first, second;
};

static void rows_of_parts_fill_the_structs_they_belong_to(void **state)
{
    static const struct config_opt own[] = { { .flag = "flag", .type = CONFIG_BOOL } };
    static const struct config_opt one[] = {
        { .env = "ONE_NAME", .type = CONFIG_STR, .offset = offsetof(struct inner, name) },
        { .flag = "one-count", .type = CONFIG_U64, .max = 9, .offset = offsetof(struct inner, count) },
    };
    static const struct config_opt two[] = {
        { .flag = "two-name", .type = CONFIG_STR, .def = "x", .offset = offsetof(struct inner, name) },
        { .flag = "two-count", .type = CONFIG_U64, .max = 9, .offset = offsetof(struct inner, count) },
    };
    static const struct config_rows rows[] = { { one, ARRAY_LEN(one) }, { two, ARRAY_LEN(two) } };
    const struct config_spec parted = {
        .program = "unit",
        .opts = own,
        .opt_count = ARRAY_LEN(own),
        .parts = { { &rows[0], offsetof(struct outer, first) },
                   { &rows[1], offsetof(struct outer, second) } },
    };
    CLEANUP(config_values_done) struct config_values v = { 0 };
    char *argv[] = { "unit", "--two-count=7", "--flag", "--one-count=3" };
    char *wrong[] = { "unit", "--two-count=10", "--one-coun=3" };
    char *env[] = { "ONE_NAME=me", NULL };
    struct outer o;
    struct err e = ERR_INIT;

    (void)state;
    assert_int_equal(config_read(&parted, ARRAY_LEN(argv), argv, env, &o, &v, &e), CONFIG_RUN);
    assert_true(o.flag);
    assert_string_equal(o.first.name, "me");
    assert_int_equal(o.first.count, 3);
    assert_string_equal(o.second.name, "x");
    assert_int_equal(o.second.count, 7);
    assert_true(config_given(&parted, &v, offsetof(struct outer, second.name)));
    assert_string_equal(v.origin[1], "environment");
    config_values_done(&v);
    assert_int_equal(config_read(&parted, ARRAY_LEN(wrong), wrong, NULL, &o, &v, &e), CONFIG_BAD);
    assert_string_equal(err_text(&e), "unknown flag --one-coun: did you mean --one-count?; "
                                      "flag --two-count: '10': a whole number from 0 to 9 is wanted");
    err_clear(&e);
    assert_int_equal(config_read(&parted, 1, argv, NULL, &o, &v, &e), CONFIG_RUN);
    assert_false(config_given(&parted, &v, offsetof(struct outer, second.count)));
}

static void faults_that_don_t_fit_are_counted(void **state)
{
    CLEANUP(config_values_done) struct config_values v = { 0 };
    static char unknown[100][40];
    char *argv[101] = { "unit" };
    struct settings s;
    struct err e = ERR_INIT;

    (void)state;
    for (int i = 0; i < 100; i++) {
        snprintf(unknown[i], sizeof(unknown[i]), "--unknown-flag-number-%d", i);
        argv[i + 1] = unknown[i];
    }
    assert_int_equal(config_read(&spec, 101, argv, NULL, &s, &v, &e), CONFIG_BAD);

    struct slice text = slice_of_str(err_text(&e));
    size_t listed = 0;
    unsigned more = 0;

    for (const char *p = err_text(&e); (p = strstr(p, "unknown flag")) != NULL; p++)
        listed++;
    assert_true(slice_starts(text, "unknown flag --unknown-flag-number-0:"));
    assert_true(slice_ends(text, " more faults"));
    assert_int_equal(sscanf(strstr(err_text(&e), "; and "), "; and %u more", &more), 1);
    assert_int_equal(listed + more, 100 + 2); /* and the key, and the argument */
}

/* ---- --help and --version ---- */

static void captured(char *const *words, enum config_outcome want, struct buf *out)
{
    CLEANUP(config_values_done) struct config_values v = { 0 };
    struct settings s;
    struct err e = ERR_INIT;
    int fds[2];
    int saved = dup(STDOUT_FILENO);
    uint8_t *at;

    fflush(stdout);
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    assert_int_equal(dup2(fds[1], STDOUT_FILENO), STDOUT_FILENO);

    int outcome = run(words, NULL, &s, &v, &e);

    dup2(saved, STDOUT_FILENO);
    close(saved);
    close(fds[1]);
    assert_int_equal(outcome, want);
    assert_true(buf_reserve(out, 16384, &at, &e));

    ssize_t n = read(fds[0], at, 16384);

    close(fds[0]);
    assert_true(n >= 0);
    buf_extend(out, (size_t)n);
}

static void help_tells_all(void **state)
{
    static const char want[] = "Usage: unit [flags] <in> [out]\n"
                               "\n"
                               "A program for tests.\n"
                               "\n"
                               "Flags:\n"
                               "  -H, --host <name>\n"
                               "        where to listen (environment UNIT_HOST; default localhost)\n"
                               "  -p, --port <number>\n"
                               "        what to listen on (1 to 65535; environment UNIT_PORT; default 7001)\n"
                               "      --tls\n"
                               "        speak TLS (environment UNIT_TLS)\n"
                               "  -t, --timeout <duration>\n"
                               "        give up (environment UNIT_TIMEOUT; default 60s)\n"
                               "      --log-level <level>\n"
                               "        what to log (environment UNIT_LOG_LEVEL; default debug)\n"
                               "  -d, --dataset <file>\n"
                               "        a dataset (may be repeated; environment UNIT_DATASET)\n"
                               "      --unset <text>\n"
                               "        nothing by default\n"
                               "  -v, --verbose\n"
                               "        say more\n"
                               "  -h, --help\n"
                               "        show this text\n"
                               "      --version\n"
                               "        show the version\n"
                               "\n"
                               "Environment only:\n"
                               "  UNIT_KEY\n"
                               "        the key (required)\n"
                               "\n"
                               "Examples:\n"
                               "  unit --port 1 in\n";
    static char *spellings[][WORDS] = {
        { "--help" }, { "-help" }, { "-h" }, { "-p", "bad", "--help" }, { "--bad", "-h" }
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(spellings); i++) {
        CLEANUP(buf_done) struct buf seen = BUF_INIT(65536);
        struct err e = ERR_INIT;

        captured(spellings[i], CONFIG_SHOWN, &seen);
        assert_string_equal(buf_str(&seen, &e), want);
    }
}

static void version_is_shown(void **state)
{
    CLEANUP(buf_done) struct buf seen = BUF_INIT(65536);
    char *words[WORDS] = { "--version" };
    struct err e = ERR_INIT;

    (void)state;
    captured(words, CONFIG_SHOWN, &seen);
    assert_string_equal(buf_str(&seen, &e), "unit " COCOS_VERSION "\n");
}

static void strings_outlive_their_sources(void **state)
{
    CLEANUP(config_values_done) struct config_values v = { 0 };
    char in[] = "in";
    char host[] = "--host=copy";
    char key[] = "UNIT_KEY=secret";
    char *words[WORDS] = { in, host };
    char *env[] = { key, NULL };
    struct settings s;
    struct err e = ERR_INIT;

    (void)state;
    assert_int_equal(run(words, env, &s, &v, &e), CONFIG_RUN);
    memset(in, 'x', 2);
    memset(host, 'x', sizeof(host) - 1);
    memset(key, 'x', sizeof(key) - 1);
    assert_string_equal(v.args[0], "in");
    assert_string_equal(s.host, "copy");
    assert_string_equal(s.key, "secret");
}

int main(void)
{
    static const struct CMUnitTest single[] = {
        cmocka_unit_test(origins_are_kept),
        cmocka_unit_test(rows_of_parts_fill_the_structs_they_belong_to),
        cmocka_unit_test(faults_that_don_t_fit_are_counted),
        cmocka_unit_test(help_tells_all),
        cmocka_unit_test(version_is_shown),
        cmocka_unit_test(strings_outlive_their_sources),
    };
    static struct CMUnitTest tests[64];
    size_t count = 0;

    UNIT_ROWS(tests, count, cases, check_read);
    for (size_t i = 0; i < ARRAY_LEN(single); i++)
        tests[count++] = single[i];
    return _cmocka_run_group_tests("config", tests, count, NULL, NULL);
}
