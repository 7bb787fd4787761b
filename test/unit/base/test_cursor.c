#include "unit.h"

#include "base/cursor.h"

static const uint8_t eight[] = { 1, 2, 3, 4, 5, 6, 7, 8 };

static bool read_number(struct cursor *c, unsigned what, uint64_t *ret)
{
    uint8_t u8;
    uint16_t u16;
    uint32_t u32;
    bool ok;

    switch (what) {
    case 0: ok = cursor_u8(c, &u8), *ret = ok ? u8 : *ret; return ok;
    case 1: ok = cursor_be16(c, &u16), *ret = ok ? u16 : *ret; return ok;
    case 2: ok = cursor_be24(c, &u32), *ret = ok ? u32 : *ret; return ok;
    case 3: ok = cursor_be32(c, &u32), *ret = ok ? u32 : *ret; return ok;
    case 4: return cursor_be64(c, ret);
    case 5: ok = cursor_le16(c, &u16), *ret = ok ? u16 : *ret; return ok;
    case 6: ok = cursor_le32(c, &u32), *ret = ok ? u32 : *ret; return ok;
    case 7: return cursor_le64(c, ret);
    default: return cursor_varint(c, ret);
    }
}

static struct number_case {
    const char *name;
    unsigned what;
    size_t len;
    uint64_t want;
} number_cases[] = {
    { "u8", 0, 1, 0x01 },
    { "be16", 1, 2, 0x0102 },
    { "be24", 2, 3, 0x010203 },
    { "be32", 3, 4, 0x01020304 },
    { "be64", 4, 8, 0x0102030405060708 },
    { "le16", 5, 2, 0x0201 },
    { "le32", 6, 4, 0x04030201 },
    { "le64", 7, 8, 0x0807060504030201 },
};

static void check_number(void **state)
{
    const struct number_case *c = *state;

    for (size_t len = 0; len <= sizeof(eight); len++) {
        struct cursor at = cursor_of(slice_of(eight, len));
        uint64_t v = 0x5a5a5a5a5a5a5a5a;
        bool ok = read_number(&at, c->what, &v);

        assert_int_equal(ok, len >= c->len);
        assert_int_equal(at.left.len, ok ? len - c->len : len);
        assert_true(v == (ok ? c->want : 0x5a5a5a5a5a5a5a5a));
    }
}

static struct varint_case {
    const char *name;
    struct slice in;
    bool ok;
    uint64_t want;
    size_t want_left;
} varint_cases[] = {
    { "varint_0", SLICE_LIT("\x00"), true, 0, 0 },
    { "varint_127", SLICE_LIT("\x7f"), true, 127, 0 },
    { "varint_150_then_more", SLICE_LIT("\x96\x01\x55"), true, 150, 1 },
    { "varint_largest", SLICE_LIT("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), true, UINT64_MAX, 0 },
    { "varint_65_bits_are_refused", SLICE_LIT("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"), false, 0, 10 },
    { "varint_of_11_bytes_is_refused", SLICE_LIT("\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"), false, 0,
      11 },
    { "varint_padded_is_fine", SLICE_LIT("\x81\x80\x00"), true, 1, 0 },
    { "varint_cut_is_refused", SLICE_LIT("\x80\x80"), false, 0, 2 },
    { "varint_empty_is_refused", SLICE_LIT(""), false, 0, 0 },
};

static void check_varint(void **state)
{
    const struct varint_case *c = *state;
    struct cursor at = cursor_of(c->in);
    uint64_t v = 77;

    assert_int_equal(cursor_varint(&at, &v), c->ok);
    assert_true(v == (c->ok ? c->want : 77));
    assert_int_equal(at.left.len, c->want_left);
}

static void bytes_are_borrowed_in_place(void **state)
{
    struct cursor at = cursor_of(slice_of(eight, 8));
    struct cursor sub = { SLICE_EMPTY };
    struct slice s = SLICE_EMPTY;

    (void)state;
    assert_true(cursor_bytes(&at, 3, &s));
    assert_ptr_equal(s.at, eight);
    assert_int_equal(s.len, 3);
    assert_false(cursor_bytes(&at, 6, &s));
    assert_int_equal(s.len, 3);
    assert_true(cursor_sub(&at, 4, &sub));
    assert_ptr_equal(sub.left.at, eight + 3);
    assert_false(cursor_sub(&at, SIZE_MAX, &sub));
    assert_int_equal(sub.left.len, 4);
    assert_false(cursor_end(&at));
    assert_true(cursor_bytes(&at, 1, &s));
    assert_true(cursor_end(&at));
    assert_true(cursor_bytes(&at, 0, &s));
    assert_int_equal(s.len, 0);
}

static void until_reads_the_stop_but_keeps_it_back(void **state)
{
    struct cursor at = cursor_of((struct slice)SLICE_LIT("ab\ncd"));
    struct slice s = SLICE_EMPTY;

    (void)state;
    assert_true(cursor_until(&at, '\n', &s));
    assert_true(slice_equal_str(s, "ab"));
    assert_false(cursor_until(&at, '\n', &s));
    assert_true(slice_equal_str(s, "ab"));
    assert_true(slice_equal_str(at.left, "cd"));
}

/* ---- slices ---- */

static struct utf8_case {
    const char *name;
    struct slice in;
    bool want;
} utf8_cases[] = {
    { "utf8_empty", SLICE_LIT(""), true },
    { "utf8_ascii", SLICE_LIT("a\0\x7f"), true },
    { "utf8_two_first", SLICE_LIT("\xc2\x80"), true },
    { "utf8_two_last", SLICE_LIT("\xdf\xbf"), true },
    { "utf8_three_first", SLICE_LIT("\xe0\xa0\x80"), true },
    { "utf8_before_surrogates", SLICE_LIT("\xed\x9f\xbf"), true },
    { "utf8_after_surrogates", SLICE_LIT("\xee\x80\x80"), true },
    { "utf8_four_first", SLICE_LIT("\xf0\x90\x80\x80"), true },
    { "utf8_last", SLICE_LIT("\xf4\x8f\xbf\xbf"), true },
    { "utf8_overlong_two", SLICE_LIT("\xc1\xbf"), false },
    { "utf8_overlong_three", SLICE_LIT("\xe0\x9f\xbf"), false },
    { "utf8_overlong_four", SLICE_LIT("\xf0\x8f\xbf\xbf"), false },
    { "utf8_first_surrogate", SLICE_LIT("\xed\xa0\x80"), false },
    { "utf8_last_surrogate", SLICE_LIT("\xed\xbf\xbf"), false },
    { "utf8_beyond_the_last", SLICE_LIT("\xf4\x90\x80\x80"), false },
    { "utf8_f5", SLICE_LIT("\xf5\x80\x80\x80"), false },
    { "utf8_continuation_alone", SLICE_LIT("\x80"), false },
    { "utf8_cut_after_one", SLICE_LIT("\xe2"), false },
    { "utf8_cut_after_two", SLICE_LIT("\xe2\x82"), false },
    { "utf8_bad_third", SLICE_LIT("\xe2\x82\x41"), false },
    { "utf8_bad_fourth", SLICE_LIT("\xf0\x9f\x94\xc0"), false },
    { "utf8_bad_at_the_end", SLICE_LIT("abc\xff"), false },
};

static void check_utf8(void **state)
{
    const struct utf8_case *c = *state;

    assert_int_equal(slice_is_utf8(c->in), c->want);
}

static void slices_compare_by_bytes_then_length(void **state)
{
    static const char *const order[] = { "", "A", "a", "a-", "a.", "a/", "aa", "b", "\xff" };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(order); i++) {
        for (size_t j = 0; j < ARRAY_LEN(order); j++) {
            struct slice a = slice_of_str(order[i]);
            struct slice b = slice_of_str(order[j]);
            int want = (i > j) - (i < j);
            int seen = slice_compare(a, b);

            assert_int_equal((seen > 0) - (seen < 0), want);
            assert_int_equal(slice_equal(a, b), i == j);
            assert_int_equal(ct_equal(a, b), i == j);
            assert_int_equal(slice_equal_str(a, order[j]), i == j);
        }
    }
}

static void parts_are_cut_to_what_is_there(void **state)
{
    struct slice s = SLICE_LIT("hello");

    (void)state;
    assert_true(slice_equal_str(slice_first(s, 2), "he"));
    assert_true(slice_equal_str(slice_first(s, 99), "hello"));
    assert_true(slice_equal_str(slice_after(s, 2), "llo"));
    assert_int_equal(slice_after(s, 5).len, 0);
    assert_int_equal(slice_after(s, SIZE_MAX).len, 0);
    assert_int_equal(slice_find(s, 'l'), 2);
    assert_int_equal(slice_find(s, 'x'), 5);
    assert_int_equal(slice_find(SLICE_EMPTY, 'x'), 0);
    assert_true(slice_starts(s, "he") && slice_starts(s, "") && slice_starts(s, "hello"));
    assert_false(slice_starts(s, "hello!"));
    assert_true(slice_ends(s, "lo") && slice_ends(s, "") && slice_ends(s, "hello"));
    assert_false(slice_ends(s, "xhello"));
    assert_int_equal(slice_of_str(NULL).len, 0);
}

static void ct_equal_sees_each_bit(void **state)
{
    uint8_t a[32] = { 0 };
    uint8_t b[32] = { 0 };

    (void)state;
    assert_true(ct_equal(slice_of(a, 32), slice_of(b, 32)));
    for (size_t bit = 0; bit < 256; bit++) {
        b[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_false(ct_equal(slice_of(a, 32), slice_of(b, 32)));
        b[bit / 8] = 0;
    }
    assert_false(ct_equal(slice_of(a, 32), slice_of(b, 31)));
    assert_true(ct_equal(SLICE_EMPTY, SLICE_EMPTY));
}

static void sizes_that_overflow_write_nothing(void **state)
{
    size_t v = 7;

    (void)state;
    assert_false(size_add(SIZE_MAX, 1, &v));
    assert_false(size_mul(SIZE_MAX / 2, 3, &v));
    assert_int_equal(v, 7);
    assert_true(size_add(SIZE_MAX - 1, 1, &v));
    assert_true(v == SIZE_MAX);
    assert_true(size_mul(SIZE_MAX, 0, &v));
    assert_int_equal(v, 0);
    assert_true(size_mul(0, SIZE_MAX, &v));
}

int main(void)
{
    static const struct CMUnitTest single[] = {
        cmocka_unit_test(bytes_are_borrowed_in_place),
        cmocka_unit_test(until_reads_the_stop_but_keeps_it_back),
        cmocka_unit_test(slices_compare_by_bytes_then_length),
        cmocka_unit_test(parts_are_cut_to_what_is_there),
        cmocka_unit_test(ct_equal_sees_each_bit),
        cmocka_unit_test(sizes_that_overflow_write_nothing),
    };
    static struct CMUnitTest tests[64];
    size_t count = 0;

    UNIT_ROWS(tests, count, number_cases, check_number);
    UNIT_ROWS(tests, count, varint_cases, check_varint);
    UNIT_ROWS(tests, count, utf8_cases, check_utf8);
    for (size_t i = 0; i < ARRAY_LEN(single); i++)
        tests[count++] = single[i];
    return _cmocka_run_group_tests("cursor and slice", tests, count, NULL, NULL);
}
