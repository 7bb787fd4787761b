#include "unit/base/scratch.h"

#include <stdlib.h>

#include "host/program.h"

/* Finds what execvp would, and nothing else. */
static struct find_case {
    const char *name;
    const char *path; /* $PATH */
    const char *wanted;
    const char *found; /* NULL: nothing */
} cases[] = {
    { "first_directory_wins", "one:two", "tool", "one/tool" },
    { "not_executable_is_passed_over", "dull:two", "tool", "two/tool" },
    { "missing_directories_do_not_matter", "none:two", "tool", "two/tool" },
    { "empty_parts_are_no_directory", "::two", "tool", "two/tool" },
    { "nowhere", "one:two", "other", NULL },
    { "empty_path", "", "tool", NULL },
    { "a_path_is_taken_as_it_is", "two", "one/tool", "one/tool" },
    { "a_path_has_to_be_executable", "two", "dull/tool", NULL },
    { "too_long_for_the_result", "one", "a-name-that-does-not-fit-into-it", NULL },
};

static void check(void **state)
{
    const struct find_case *c = *state;
    char found[24] = "";
    bool there;

    scratch_enter();
    assert_int_equal(scratch_sh("mkdir one two dull; for d in one two dull; do echo >$d/tool; done;"
                                "echo >one/a-name-that-does-not-fit-into-it; chmod 755 one/* two/*"),
                     0);
    assert_int_equal(setenv("PATH", c->path, 1), 0);
    there = host_find_program(c->wanted, found, sizeof(found));
    assert_int_equal(setenv("PATH", "/usr/bin:/bin", 1), 0);
    scratch_leave();
    assert_int_equal(there, c->found != NULL);
    if (c->found)
        assert_string_equal(found, c->found);
}

int main(void)
{
    struct CMUnitTest tests[ARRAY_LEN(cases)];

    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        tests[i] = (struct CMUnitTest){ cases[i].name, check, NULL, NULL, &cases[i] };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
