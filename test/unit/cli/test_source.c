#include "unit/base/scratch.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"
#include "cli/source.h"

/* ---- the name that is sent ---- */

static struct name_case {
    const char *name;
    const char *path;
    const char *want;
} name_cases[] = {
    { "plain_name_is_kept", "d/a.csv", "a.csv" },
    { "slashes_behind_a_directory_are_no_part", "d//", "d" },
    { "dot_prefix_is_no_part", "./d/a.csv", "a.csv" },
    { "dot_is_the_directorys_own_name", "d/.", "d" },
    { "dot_dot_is_the_parents_own_name", "d/sub/..", "d" },
};

static void check_name(void **state)
{
    const struct name_case *c = *state;
    CLEANUP(cli_source_done) struct cli_source source = CLI_SOURCE_INIT;
    struct err e = ERR_INIT;

    scratch_enter();
    assert_int_equal(mkdir("d", 0755), 0);
    assert_int_equal(mkdir("d/sub", 0755), 0);
    scratch_write("d/a.csv", slice_of_str("x"), 0644);
    if (!cli_source_open(c->path, &source, &e))
        fail_msg("%s", err_text(&e));
    assert_string_equal(source.name, c->want);
    scratch_leave();
}

/* ---- hashes ---- */

static void check_hash(const char *path, const char *want)
{
    CLEANUP(cli_source_done) struct cli_source source = CLI_SOURCE_INIT;
    struct err e = ERR_INIT;
    uint8_t hash[HASH_SHA3_256_LEN];
    char hex[2 * HASH_SHA3_256_LEN + 1];

    if (!cli_source_open(path, &source, &e) || !cli_source_hash(&source, NULL, hash, &e))
        fail_msg("%s", err_text(&e));
    hex_encode(slice_of(hash, sizeof(hash)), hex);
    assert_string_equal(hex, want);
}

static void file_hash_is_sha3_256(void **state)
{
    (void)state;
    scratch_write("abc", slice_of_str("abc"), 0600);
    check_hash("abc", "3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532");
}

static void ar_18_directory_hash_is_that_of_its_zip(void **state)
{
    (void)state;
    assert_int_equal(mkdir("t", 0700), 0);
    assert_int_equal(mkdir("t/sub", 0700), 0);
    scratch_write("t/sub/b.csv", slice_of_str("x,y\n1,2\n"), 0755);
    scratch_write("t/a.txt", slice_of_str("hello"), 0644);
    check_hash("t", "eff18ed8957a21d4423787bf0e1e5bfd8ba512c975bc0485b371164836a4b32a");
}

static void empty_directory_is_an_empty_archive(void **state)
{
    CLEANUP(cli_source_done) struct cli_source source = CLI_SOURCE_INIT;
    struct err e = ERR_INIT;

    (void)state;
    assert_int_equal(mkdir("t", 0700), 0);
    assert_true(cli_source_open("t", &source, &e));
    assert_true(source.is_dir);
    assert_int_equal(source.len, 22);
}

/* ---- what is no source ---- */

static void missing_file_is_named(void **state)
{
    CLEANUP(cli_source_done) struct cli_source source = CLI_SOURCE_INIT;
    struct err e = ERR_INIT;

    (void)state;
    assert_false(cli_source_open("nowhere.csv", &source, &e));
    assert_int_equal(e.kind, ERR_KIND_MISSING);
    assert_non_null(strstr(err_text(&e), "nowhere.csv"));
}

static void fifo_is_refused_without_waiting(void **state)
{
    CLEANUP(cli_source_done) struct cli_source source = CLI_SOURCE_INIT;
    struct err e = ERR_INIT;

    (void)state;
    assert_int_equal(mkfifo("pipe", 0600), 0);
    assert_false(cli_source_open("pipe", &source, &e));
    assert_int_equal(e.kind, ERR_KIND_INVALID);
}

/* ---- changes while it is read ---- */

struct taking {
    uint64_t len;
    const char *path;
    off_t resize_to; /* when the first bytes have come; -1: never */
};

static bool take(struct slice bytes, void *ctx, struct err *e)
{
    struct taking *t = ctx;

    (void)e;
    t->len += bytes.len;
    if (t->resize_to >= 0)
        assert_int_equal(truncate(t->path, t->resize_to), 0);
    t->resize_to = -1;
    return true;
}

static void read_while_resized(const char *dir_or_file, off_t to, bool ok)
{
    CLEANUP(cli_source_done) struct cli_source source = CLI_SOURCE_INIT;
    struct taking t = { .path = "d/big", .resize_to = to };
    struct err e = ERR_INIT;

    assert_int_equal(mkdir("d", 0700), 0);
    scratch_write("d/big", slice_of_str("x"), 0600);
    assert_int_equal(truncate("d/big", 3 * 1024 * 1024 + 5), 0);
    assert_true(cli_source_open(dir_or_file, &source, &e));
    assert_int_equal(cli_source_read(&source, take, &t, &e), ok);
    if (ok)
        assert_int_equal(t.len, source.len);
    else
        assert_int_equal(e.kind, ERR_KIND_INVALID);
}

static void whole_file_is_read_to_its_last_byte(void **state)
{
    (void)state;
    read_while_resized("d/big", -1, true);
}

static void file_that_shrinks_is_refused(void **state)
{
    (void)state;
    read_while_resized("d/big", 2 * 1024 * 1024, false);
}

static void file_that_grows_is_refused(void **state)
{
    (void)state;
    read_while_resized("d/big", 4 * 1024 * 1024, false);
}

static void file_in_directory_that_shrinks_is_refused(void **state)
{
    (void)state;
    read_while_resized("d", 1, false);
}

static void hashing_stops_when_told(void **state)
{
    CLEANUP(cli_source_done) struct cli_source source = CLI_SOURCE_INIT;
    struct cli_gauge gauge = { .stop = true };
    uint8_t hash[HASH_SHA3_256_LEN];
    struct err e = ERR_INIT;

    (void)state;
    scratch_write("abc", slice_of_str("abc"), 0600);
    assert_true(cli_source_open("abc", &source, &e));
    assert_false(cli_source_hash(&source, &gauge, hash, &e));
    assert_int_equal(e.kind, ERR_KIND_CANCELLED);
}

int main(void)
{
    static const struct CMUnitTest single[] = {
        cmocka_unit_test_setup_teardown(file_hash_is_sha3_256, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(ar_18_directory_hash_is_that_of_its_zip, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(empty_directory_is_an_empty_archive, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(missing_file_is_named, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(fifo_is_refused_without_waiting, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(whole_file_is_read_to_its_last_byte, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(file_that_shrinks_is_refused, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(file_that_grows_is_refused, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(file_in_directory_that_shrinks_is_refused, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(hashing_stops_when_told, scratch_setup, scratch_teardown),
    };
    struct CMUnitTest tests[ARRAY_LEN(name_cases) + ARRAY_LEN(single)];
    size_t count = 0;

    UNIT_ROWS(tests, count, name_cases, check_name);
    for (size_t i = 0; i < ARRAY_LEN(single); i++)
        tests[count++] = single[i];
    return _cmocka_run_group_tests("cli/source", tests, count, NULL, NULL);
}
