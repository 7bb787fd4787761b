#include "unit/base/unit.h"

#include "agent/match.h"
#include "agent_fixture.h"

static struct match_case {
    const char *name;
    const char *pending; /* "110": datasets 0 and 1 */
    size_t owner;        /* 0: provider A (datasets 0 and 2), 1: provider B */
    int hash;
    const char *filename;
    enum match want;
    size_t want_index;
} cases[] = {
    { "hash_and_name_agree", "111", 0, 10, "a.csv", MATCH_FOUND, 0 },
    { "unnamed_takes_any_name", "111", 0, 12, "whatever", MATCH_FOUND, 2 },
    { "unnamed_takes_no_name", "111", 0, 12, "", MATCH_FOUND, 2 },
    { "hash_with_another_name", "111", 0, 10, "x.csv", MATCH_WRONG_NAME, 0 },
    { "hash_with_no_name", "111", 0, 10, "", MATCH_WRONG_NAME, 0 },
    { "name_with_another_hash", "111", 0, 99, "a.csv", MATCH_WRONG_HASH, 0 },
    { "neither_hash_nor_name", "111", 0, 99, "x.csv", MATCH_UNDECLARED, 0 },
    { "AG-4_content_of_another", "111", 0, 11, "b.csv", MATCH_NOT_YOURS, 0 },
    { "AG-4_name_of_another", "111", 0, 99, "b.csv", MATCH_NOT_YOURS, 0 },
    { "AG-4_b_sends_what_is_of_a", "111", 1, 12, "", MATCH_NOT_YOURS, 0 },
    { "received_already", "011", 0, 10, "a.csv", MATCH_UNDECLARED, 0 },
    { "nothing_pending", "000", 0, 10, "a.csv", MATCH_NONE_PENDING, 0 },
    { "hash_goes_before_name", "111", 0, 12, "a.csv", MATCH_FOUND, 2 },
};

static void check_case(void **state)
{
    const struct match_case *t = *state;
    struct auth_grant grant = { .role = AUTH_DATA, .key = t->owner };
    uint8_t hash[HASH_SHA3_256_LEN];
    bool pending[3];
    struct err e = ERR_INIT;
    struct people p;
    struct auth *a;
    size_t index = 99;

    people_init(&p);
    a = auth_new(p.mf, false, &e);
    memset(hash, t->hash, sizeof(hash));
    for (size_t i = 0; i < ARRAY_LEN(pending); i++)
        pending[i] = t->pending[i] == '1';
    assert_int_equal(match_dataset(p.mf, a, pending, &grant, hash, slice_of_str(t->filename), &index),
                     t->want);
    assert_int_equal(index,
                     t->want == MATCH_FOUND || t->want == MATCH_WRONG_NAME || t->want == MATCH_WRONG_HASH
                         ? t->want_index
                         : 99);
    auth_free(a);
    people_done(&p);
}

int main(void)
{
    struct CMUnitTest tests[ARRAY_LEN(cases)];
    size_t count = 0;

    UNIT_ROWS(tests, count, cases, check_case);
    return _cmocka_run_group_tests("agent/match", tests, count, NULL, NULL);
}
