#include "unit/base/unit.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/stage.h"
#include "runner/plan.h"
#include "runner/tail.h"

/* A file of requirements in TMPDIR; the path is valid until the next call. */
static const char *requirements_file(const char *text)
{
    static char path[512];
    const char *tmp = getenv("TMPDIR");
    struct err e = ERR_INIT;

    snprintf(path, sizeof(path), "%s/requirements-XXXXXX", tmp && *tmp ? tmp : "/tmp");

    int fd = mkstemp(path);

    assert_true(fd >= 0);
    assert_true(stage_write_all(fd, slice_of_str(text), &e));
    close(fd);
    return path;
}

/* The words of all steps: "word word | word word". */
static void join(const struct run_plan *p, char ret[2048])
{
    size_t at = 0;

    for (size_t i = 0; i < p->count; i++) {
        at += (size_t)snprintf(ret + at, 2048 - at, "%s", i ? "| " : "");
        for (const char **w = p->steps[i].argv; *w; w++)
            at += (size_t)snprintf(ret + at, 2048 - at, "%s ", *w);
    }
}

static struct plan_case {
    const char *name;
    const char *kind;
    const char *requirements; /* NULL: no file */
    const char *find_links, *index_url;
    const char *want; /* "R" is the file of requirements */
} plan_cases[] = {
    { "bin_is_one_command", "bin", NULL, "", "", "/w/algo -x y z " },
    { "binary_is_bin", "binary", NULL, "", "", "/w/algo -x y z " },
    { "no_kind_is_bin", "", NULL, "", "", "/w/algo -x y z " },
    { "bin_takes_no_requirements", "bin", "numpy\n", "", "", "/w/algo -x y z " },
    { "python_has_an_environment_of_its_own", "python", NULL, "", "",
      "python3 -m venv --without-pip venv | /w/venv/bin/python /w/algo -x y z " },
    { "python_comments_are_no_requirements", "python", "# none\n\n  \t\r\n", "", "",
      "python3 -m venv --without-pip venv | /w/venv/bin/python /w/algo -x y z " },
    { "python_requirements_from_a_directory_use_no_network", "python", "numpy\n", "/wheels", NULL,
      "python3 -m venv venv | /w/venv/bin/python -m pip install --no-input --no-cache-dir "
      "--disable-pip-version-check --quiet --find-links /wheels --no-index -r R | "
      "/w/venv/bin/python /w/algo -x y z " },
    { "python_requirements_from_an_index", "python", "# c\nnumpy", NULL, "https://i.test/simple",
      "python3 -m venv venv | /w/venv/bin/python -m pip install --no-input --no-cache-dir "
      "--disable-pip-version-check --quiet --index-url https://i.test/simple -r R | "
      "/w/venv/bin/python /w/algo -x y z " },
};

static void check_plan(void **state)
{
    static const char *const args[] = { "-x", "y z" };
    const struct plan_case *c = *state;
    struct run_plan p = { .count = 0 };
    struct run_request r = { .kind = c->kind,
                             .work_dir = "/w",
                             .algorithm = "algo",
                             .requirements = c->requirements ? requirements_file(c->requirements) : "",
                             .args = args,
                             .arg_count = 2,
                             .find_links = c->find_links,
                             .index_url = c->index_url };
    struct err e = ERR_INIT;
    char got[2048], want[2048];
    const char *mark = strstr(c->want, " R ");

    if (mark)
        snprintf(want, sizeof(want), "%.*s %s %s", (int)(mark - c->want), c->want, r.requirements, mark + 3);
    else
        snprintf(want, sizeof(want), "%s", c->want);
    if (!run_plan_make(&r, &p, &e))
        fail_msg("%s", err_text(&e));
    join(&p, got);
    assert_string_equal(got, want);
    for (size_t i = 0; i < p.count; i++)
        assert_int_equal(p.steps[i].is_algorithm, i + 1 == p.count);
    run_plan_done(&p);
    if (c->requirements)
        unlink(r.requirements);
}

static struct refuse_case {
    const char *name;
    const char *kind, *requirements;
    enum err_kind want;
    const char *want_text;
} refuse_cases[] = {
    { "wasm_is_unsupported_and_the_supported_are_named", "wasm", NULL, ERR_KIND_UNSUPPORTED,
      "unsupported algorithm type: wasm (this runner knows bin and python)" },
    { "docker_is_unsupported", "docker", NULL, ERR_KIND_UNSUPPORTED, "unsupported algorithm type: docker" },
    { "upper_case_is_unsupported", "BIN", NULL, ERR_KIND_UNSUPPORTED, "unsupported algorithm type: BIN" },
    { "requirements_without_a_source_are_refused", "python", "numpy\n", ERR_KIND_INVALID,
      "set RUNNER_PIP_FIND_LINKS" },
};

static void check_refuse(void **state)
{
    const struct refuse_case *c = *state;
    struct run_plan p = { .count = 0 };
    struct run_request r = { .kind = c->kind, .work_dir = "/w", .algorithm = "algo", .requirements = "" };
    struct err e = ERR_INIT;

    if (c->requirements)
        r.requirements = requirements_file(c->requirements);
    assert_false(run_plan_make(&r, &p, &e));
    assert_int_equal(e.kind, c->want);
    assert_non_null(strstr(err_text(&e), c->want_text));
    if (c->requirements)
        unlink(r.requirements);
}

static void requirements_that_are_not_there_are_missing(void **state)
{
    struct run_plan p = { .count = 0 };
    struct run_request r = {
        .kind = "python", .work_dir = "/nowhere", .algorithm = "algo", .requirements = "requirements.txt"
    };
    struct err e = ERR_INIT;

    (void)state;
    assert_false(run_plan_make(&r, &p, &e));
    assert_int_equal(e.kind, ERR_KIND_MISSING);
    assert_non_null(strstr(err_text(&e), "/nowhere/requirements.txt"));
}

static void rl_5_environment_is_four_variables(void **state)
{
    struct run_plan p = { .count = 0 };
    struct run_request r = { .kind = "bin", .work_dir = "/w", .algorithm = "/abs/algo", .requirements = "" };
    struct err e = ERR_INIT;
    const char *const names[] = { "PATH=", "HOME=/w", "LANG=", "TMPDIR=" };

    (void)state;
    assert_int_equal(setenv("AWS_SECRET_ACCESS_KEY", "canary", 1), 0);
    assert_true(run_plan_make(&r, &p, &e));
    assert_string_equal(p.steps[0].argv[0], "/abs/algo");
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        assert_true(slice_starts(slice_of_str(p.env[i]), names[i]));
    assert_null(p.env[ARRAY_LEN(names)]);
    run_plan_done(&p);
}

/* ------------------------------------------------------------------------- tail */

static struct tail_case {
    const char *name;
    struct slice in;
    const char *want;
} tail_cases[] = {
    { "nothing_is_nothing", SLICE_LIT(""), "" },
    { "blank_lines_are_nothing", SLICE_LIT("\n \r\n\n"), "" },
    { "a_line_without_its_end_is_kept", SLICE_LIT("oops"), "oops" },
    { "blank_lines_are_left_out", SLICE_LIT("one\n\ntwo\r\n"), "one\ntwo" },
    { "rl_6_escapes_are_made_visible", SLICE_LIT("\x1b[31mred\n"), "\\x1b[31mred" },
    { "rl_6_bytes_that_are_no_text_are_made_visible", SLICE_LIT("\xff\xfe"), "\\xff\\xfe" },
};

static void check_tail(void **state)
{
    const struct tail_case *c = *state;
    CLEANUP(buf_done) struct buf out = BUF_INIT(4096);
    struct run_tail t = { .len = 0 };
    struct err e = ERR_INIT;

    /* In one piece and byte by byte. */
    run_tail_add(&t, c->in);
    assert_true(run_tail_text(&t, &out, &e));
    assert_true(slice_equal_str(buf_slice(&out), c->want));
    t = (struct run_tail){ .len = 0 };
    buf_truncate(&out, 0);
    for (size_t i = 0; i < c->in.len; i++)
        run_tail_add(&t, slice_of(c->in.at + i, 1));
    assert_true(run_tail_text(&t, &out, &e));
    assert_true(slice_equal_str(buf_slice(&out), c->want));
}

static void long_output_keeps_its_last_whole_lines(void **state)
{
    CLEANUP(buf_done) struct buf out = BUF_INIT(4096);
    struct run_tail t = { .len = 0 };
    struct err e = ERR_INIT;
    char line[64];

    (void)state;
    for (int i = 0; i < 1000; i++) {
        snprintf(line, sizeof(line), "line number %d\n", i);
        run_tail_add(&t, slice_of_str(line));
    }
    assert_true(run_tail_text(&t, &out, &e));
    assert_true(slice_starts(buf_slice(&out), "line number "));
    assert_true(slice_ends(buf_slice(&out), "\nline number 999"));
    assert_true(out.len > RUN_TAIL_MAX - 64);
}

static void one_endless_line_keeps_its_end(void **state)
{
    CLEANUP(buf_done) struct buf out = BUF_INIT(4096);
    struct run_tail t = { .len = 0 };
    struct err e = ERR_INIT;
    char big[5000];

    (void)state;
    memset(big, 'a', sizeof(big));
    big[sizeof(big) - 1] = 'z';
    run_tail_add(&t, slice_of(big, sizeof(big)));
    assert_true(run_tail_text(&t, &out, &e));
    assert_int_equal(out.len, RUN_TAIL_MAX);
    assert_true(slice_ends(buf_slice(&out), "aaaz"));
}

int main(void)
{
    static struct CMUnitTest
        tests[ARRAY_LEN(plan_cases) + ARRAY_LEN(refuse_cases) + ARRAY_LEN(tail_cases) + 4];
    size_t count = 0;

    UNIT_ROWS(tests, count, plan_cases, check_plan);
    UNIT_ROWS(tests, count, refuse_cases, check_refuse);
    UNIT_ROWS(tests, count, tail_cases, check_tail);
    tests[count++] = (struct CMUnitTest)cmocka_unit_test(requirements_that_are_not_there_are_missing);
    tests[count++] = (struct CMUnitTest)cmocka_unit_test(rl_5_environment_is_four_variables);
    tests[count++] = (struct CMUnitTest)cmocka_unit_test(long_output_keeps_its_last_whole_lines);
    tests[count++] = (struct CMUnitTest)cmocka_unit_test(one_endless_line_keeps_its_end);
    return cmocka_run_group_tests_name("plan", tests, NULL, NULL);
}
