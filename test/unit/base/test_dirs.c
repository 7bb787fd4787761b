#include "scratch.h"

#include "base/dirs.h"
#include "base/mem.h"

static void check_path(char *path, const char *want)
{
    assert_non_null(path);
    assert_string_equal(path, want);
    mem_free(path);
}

static void socket_is_the_given_one_else_in_the_run_directory(void **state)
{
    const struct dirs d = { .run = "run" };
    struct err e = ERR_INIT;

    (void)state;
    check_path(dirs_socket(&d, "/y.sock", "log.sock", &e), "/y.sock");
    check_path(dirs_socket(&d, "", "log.sock", &e), "run/log.sock");
    check_path(dirs_socket(&d, NULL, "log.sock", &e), "run/log.sock");
    assert_false(scratch_has("run"));
}

static void listening_makes_the_run_directory_when_it_is_needed(void **state)
{
    const struct dirs d = { .run = "run" };
    const struct dirs file = { .run = "file" };
    struct err e = ERR_INIT;

    (void)state;
    check_path(dirs_listen(&d, "/y.sock", "log.sock", &e), "unix:/y.sock");
    assert_false(scratch_has("run"));
    check_path(dirs_listen(&d, NULL, "log.sock", &e), "unix:run/log.sock");
    assert_true(scratch_has("run"));
    scratch_write("file", SLICE_EMPTY, 0600);
    assert_null(dirs_listen(&file, NULL, "log.sock", &e));
    assert_non_null(strstr(err_text(&e), "COCOS_RUN_DIR"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(socket_is_the_given_one_else_in_the_run_directory, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(listening_makes_the_run_directory_when_it_is_needed, scratch_setup,
                                        scratch_teardown),
    };
    return cmocka_run_group_tests_name("base/dirs", tests, NULL, NULL);
}
