#include "unit/base/unit.h"

#include <fcntl.h>
#include <unistd.h>

#include "agent/running.h"
#include "base/stage.h"

/* A directory of its own for each test. */
static int dir_fd = -1;
static char dir_path[] = "/tmp/unit-running-XXXXXX";

static int enter(void **state)
{
    (void)state;
    snprintf(dir_path, sizeof(dir_path), "%s", "/tmp/unit-running-XXXXXX");
    if (!mkdtemp(dir_path))
        return -1;
    dir_fd = open(dir_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return dir_fd < 0 ? -1 : 0;
}

static int leave(void **state)
{
    struct err e = ERR_INIT;
    bool ok = running_remove(dir_fd, &e);

    (void)state;
    close(dir_fd);
    return ok && rmdir(dir_path) == 0 ? 0 : -1;
}

static void nothing_noted_is_empty(void **state)
{
    struct running r = { .id = "x", .time_ns = 7 };
    struct err e = ERR_INIT;

    (void)state;
    assert_true(running_read(dir_fd, &r, &e));
    assert_string_equal(r.id, "");
    assert_int_equal(r.time_ns, 0);
}

static void what_is_noted_comes_back(void **state)
{
    struct running in = {
        .id = "a b\\\"<>", .type = "Failed", .status = "Failed", .time_ns = 1795375467575053081
    };
    struct running out = { 0 };
    struct err e = ERR_INIT;

    (void)state;
    assert_true(running_write(dir_fd, &in, &e));
    assert_true(running_read(dir_fd, &out, &e));
    assert_string_equal(out.id, in.id);
    assert_string_equal(out.type, "Failed");
    assert_string_equal(out.status, "Failed");
    assert_true(out.time_ns == in.time_ns);
    assert_true(running_remove(dir_fd, &e));
    assert_true(running_read(dir_fd, &out, &e));
    assert_string_equal(out.id, "");
}

static void begun_and_not_ended_has_no_event(void **state)
{
    struct running in = { .id = "1" }, out = { .type = "x" };
    struct err e = ERR_INIT;

    (void)state;
    assert_true(running_write(dir_fd, &in, &e));
    assert_true(running_read(dir_fd, &out, &e));
    assert_string_equal(out.id, "1");
    assert_string_equal(out.type, "");
}

static void damaged_note_is_an_error(void **state)
{
    static const char *const texts[] = { "",           "1\n",        "1\n\n\n",
                                         "1\n\n\n5",   "1\n\n\nx\n", "1\n\n\n5\nmore",
                                         "1\n\n\n-5\n" };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct stage_file f = STAGE_FILE_INIT;
        struct running out = { .id = "unset" };
        struct err e = ERR_INIT;

        assert_true(stage_file_begin(dir_fd, &f, &e));
        assert_true(stage_file_write(&f, slice_of_str(texts[i]), &e));
        assert_true(stage_file_commit(&f, "running", 0600, true, &e));
        assert_false(running_read(dir_fd, &out, &e));
        assert_int_equal(e.kind, ERR_KIND_INVALID);
        assert_string_equal(out.id, "unset");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nothing_noted_is_empty, enter, leave),
        cmocka_unit_test_setup_teardown(what_is_noted_comes_back, enter, leave),
        cmocka_unit_test_setup_teardown(begun_and_not_ended_has_no_event, enter, leave),
        cmocka_unit_test_setup_teardown(damaged_note_is_an_error, enter, leave),
    };
    return cmocka_run_group_tests_name("agent/running", tests, NULL, NULL);
}
