#include "unit/base/unit.h"

#include "agent/stall.h"

#define LIMIT 30000

struct look {
    uint64_t now_ms, bytes;
    bool waiting, want;
};

/* clang-format off: a look a line */
static struct stall_case {
    const char *name;
    uint64_t limit_ms;
    struct look looks[6];
    size_t count;
} cases[] = {
    { "nothing_ever_comes",
      LIMIT,
      { { 1, 0, true, false }, { 29999, 0, true, false }, { 30000, 0, true, true } },
      3 },
    { "first_byte_then_silence",
      LIMIT,
      { { 20000, 1, true, false }, { 49999, 1, true, false }, { 50000, 1, true, true } },
      3 },
    { "a_byte_each_29_s_is_slow_but_alive",
      LIMIT,
      { { 29000, 1, true, false },
        { 58000, 2, true, false },
        { 87000, 3, true, false },
        { 116000, 4, true, false },
        { 145000, 5, true, false } },
      5 },
    { "held_back_is_not_silent",
      LIMIT,
      { { 20000, 7, true, false },
        { 100000, 7, false, false },
        { 129999, 7, true, false },
        { 130000, 7, true, true } },
      4 },
    { "no_limit_waits_for_ever", 0, { { 1, 0, true, false }, { UINT64_MAX, 0, true, false } }, 2 },
    { "a_clock_that_steps_back_ends_nothing",
      LIMIT,
      { { 50000, 1, true, false }, { 10, 1, true, false } },
      2 },
};
/* clang-format on */

static void check_case(void **state)
{
    const struct stall_case *c = *state;
    struct stall s = stall_begin(0);

    for (size_t i = 0; i < c->count; i++) {
        const struct look *l = &c->looks[i];

        if (stall_look(&s, l->now_ms, l->bytes, l->waiting, c->limit_ms) != l->want)
            fail_msg("look %zu: %s is wanted", i, l->want ? "a stall" : "none");
    }
}

int main(void)
{
    struct CMUnitTest tests[ARRAY_LEN(cases)];
    size_t count = 0;

    UNIT_ROWS(tests, count, cases, check_case);
    return _cmocka_run_group_tests("agent/stall", tests, count, NULL, NULL);
}
