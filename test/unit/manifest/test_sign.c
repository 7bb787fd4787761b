#include "unit/base/unit.h"

#include "manifest/sign.h"

#define HASH32                                                         \
    "\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f" \
    "\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\xff"
#define HEX32 "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eff"

static struct sign_case {
    const char *name;
    struct sign_bound bound;
    const char *want; /* NULL: INVALID */
} cases[] = {
    { "dataset_has_all_lines",
      { "42", SIGN_ROLE_DATA, (const uint8_t *)HASH32, SLICE_LIT("iris.csv"), 1700000000 },
      "cocos-c bound signature v1\n42\ndata-provider\n" HEX32 "\niris.csv\n1700000000\n" },
    { "algorithm_has_dash_for_filename",
      { "42", SIGN_ROLE_ALGORITHM, (const uint8_t *)HASH32, { NULL, 0 }, 7 },
      "cocos-c bound signature v1\n42\nalgorithm-provider\n" HEX32 "\n-\n7\n" },
    { "consumer_has_dash_for_hash_too",
      { "a b", SIGN_ROLE_CONSUMER, NULL, { NULL, 0 }, 0 },
      "cocos-c bound signature v1\na b\nconsumer\n-\n-\n0\n" },
    { "newline_in_id_is_refused", { "4\n2", SIGN_ROLE_CONSUMER, NULL, { NULL, 0 }, 0 }, NULL },
    { "newline_in_filename_is_refused",
      { "42", SIGN_ROLE_DATA, (const uint8_t *)HASH32, SLICE_LIT("a\nb"), 0 },
      NULL },
    { "nul_in_filename_is_refused",
      { "42", SIGN_ROLE_DATA, (const uint8_t *)HASH32, SLICE_LIT("a\0b"), 0 },
      NULL },
};

static void check_case(void **state)
{
    const struct sign_case *t = *state;
    CLEANUP(buf_done) struct buf out = BUF_INIT(4096);
    struct err e = ERR_INIT;

    assert_true(buf_append_str(&out, "before|", &e));
    assert_int_equal(sign_bound_text(&t->bound, &out, &e), t->want != NULL);
    buf_consume(&out, 7);
    assert_true(slice_equal_str(buf_slice(&out), t->want ? t->want : ""));
    assert_int_equal(e.kind, t->want ? ERR_KIND_NONE : ERR_KIND_INVALID);
}

int main(void)
{
    struct CMUnitTest tests[ARRAY_LEN(cases)];
    size_t count = 0;

    UNIT_ROWS(tests, count, cases, check_case);
    return _cmocka_run_group_tests("manifest/sign", tests, count, NULL, NULL);
}
