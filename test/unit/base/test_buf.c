#include "unit.h"

#include "base/buf.h"
#include "base/mem.h"

static void append_fits_to_the_last_byte(void **state)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(5);
    struct err e = ERR_INIT;

    (void)state;
    assert_true(buf_append_str(&b, "abc", &e));
    assert_false(buf_append_str(&b, "def", &e));
    assert_int_equal(e.kind, ERR_KIND_LIMIT);
    assert_string_equal(err_text(&e), "3 bytes and 3 more, at most 5 are held");
    assert_true(slice_equal_str(buf_slice(&b), "abc"));
    assert_true(buf_append_str(&b, "de", &e));
    assert_false(buf_append_u8(&b, 'f', &e));
    assert_true(slice_equal_str(buf_slice(&b), "abcde"));
    assert_true(buf_append(&b, SLICE_EMPTY, &e));
}

static void lengths_that_overflow_are_refused(void **state)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(SIZE_MAX);
    struct err e = ERR_INIT;
    uint8_t *at = NULL;

    (void)state;
    assert_true(buf_append_u8(&b, 'a', &e));
    assert_false(buf_reserve(&b, SIZE_MAX, &at, &e));
    assert_int_equal(e.kind, ERR_KIND_LIMIT);
    assert_null(at);
}

static void numbers_have_their_byte_order(void **state)
{
    static const struct slice want = SLICE_LIT("\x01\x01\x02\x01\x02\x03\x04\x02\x01\x04\x03\x02\x01"
                                               "\x08\x07\x06\x05\x04\x03\x02\x01");
    CLEANUP(buf_done) struct buf b = BUF_INIT(100);
    struct err e = ERR_INIT;

    (void)state;
    assert_true(buf_append_u8(&b, 0x01, &e) && buf_append_be16(&b, 0x0102, &e) &&
                buf_append_be32(&b, 0x01020304, &e) && buf_append_le16(&b, 0x0102, &e) &&
                buf_append_le32(&b, 0x01020304, &e) && buf_append_le64(&b, 0x0102030405060708, &e));
    assert_true(slice_equal(buf_slice(&b), want));
}

static void number_that_does_not_fit_adds_nothing(void **state)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(3);
    struct err e = ERR_INIT;

    (void)state;
    assert_false(buf_append_be32(&b, 1, &e));
    assert_false(buf_append_le64(&b, 1, &e));
    assert_int_equal(b.len, 0);
}

static void format_is_appended_whole_or_not(void **state)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(8);
    struct err e = ERR_INIT;

    (void)state;
    assert_true(buf_format(&b, &e, "%d-%s", 42, "x"));
    assert_false(buf_format(&b, &e, "%s", "12345"));
    assert_true(buf_format(&b, &e, "%s", "1234"));
    assert_true(buf_format(&b, &e, "%s", ""));
    assert_string_equal(buf_str(&b, &e), "42-x1234"); /* the NUL has room beyond the limit */
    assert_int_equal(b.len, 8);
    assert_false(buf_append_u8(&b, 'x', &e));
}

/* A model of the queue: what goes in comes out, in order. */
static void works_as_a_bounded_queue(void **state)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(1000);
    struct err e = ERR_INIT;
    uint8_t in = 0;
    uint8_t out = 0;
    unsigned dice = 1;

    (void)state;
    for (int round = 0; round < 20000; round++) {
        size_t n;

        dice = dice * 1103515245u + 12345u;
        n = dice >> 16 & 127;
        if (dice & 0x40000000u) {
            for (size_t i = 0; i < n && b.len < b.max; i++)
                assert_true(buf_append_u8(&b, in++, &e));
        } else {
            struct slice s = slice_first(buf_slice(&b), n);

            for (size_t i = 0; i < s.len; i++)
                assert_int_equal(s.at[i], out++);
            buf_consume(&b, n);
        }
        assert_int_equal(b.len, (uint8_t)(in - out) + (b.len & ~(size_t)255));
    }
    /* The block does not creep: it is no larger than the limit. */
    assert_true(b.cap <= 1000);
}

static void consume_and_truncate_are_cut_to_the_length(void **state)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(100);
    struct err e = ERR_INIT;

    (void)state;
    assert_true(buf_append_str(&b, "abcdef", &e));
    buf_truncate(&b, 99);
    assert_int_equal(b.len, 6);
    buf_truncate(&b, 4);
    buf_consume(&b, 1);
    assert_true(slice_equal_str(buf_slice(&b), "bcd"));
    buf_consume(&b, 99);
    assert_int_equal(buf_slice(&b).len, 0);
    assert_true(buf_append_str(&b, "again", &e));
    assert_string_equal(buf_str(&b, &e), "again");
}

static void reserve_counts_only_what_is_extended(void **state)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(10);
    struct err e = ERR_INIT;
    uint8_t *at;

    (void)state;
    assert_true(buf_reserve(&b, 10, &at, &e));
    memcpy(at, "0123456789", 10);
    buf_extend(&b, 3);
    assert_true(slice_equal_str(buf_slice(&b), "012"));
    assert_false(buf_reserve(&b, 8, &at, &e));
    assert_true(buf_reserve(&b, 7, &at, &e));
}

static void move_leaves_the_giver_empty_and_limits_alone(void **state)
{
    CLEANUP(buf_done) struct buf a = BUF_INIT(10);
    CLEANUP(buf_done) struct buf b = BUF_INIT(20);
    struct err e = ERR_INIT;

    (void)state;
    assert_true(buf_append_str(&a, "old", &e));
    assert_true(buf_append_str(&b, "new", &e));
    buf_move(&a, &b);
    assert_string_equal(buf_str(&a, &e), "new");
    assert_int_equal(a.max, 10);
    assert_int_equal(b.len, 0);
    assert_int_equal(b.max, 20);
    assert_true(buf_append_str(&b, "used again", &e));
    buf_move(&b, &b);
    assert_string_equal(buf_str(&b, &e), "used again");
}

static void done_may_be_repeated_and_used_again(void **state)
{
    struct buf b = BUF_INIT(10);
    struct err e = ERR_INIT;

    (void)state;
    buf_done(&b);
    assert_true(buf_append_str(&b, "x", &e));
    buf_done(&b);
    buf_done(&b);
    buf_wipe(&b);
    assert_int_equal(b.len, 0);
    assert_true(buf_append_str(&b, "x", &e));
    buf_wipe(&b);
    assert_null(b.base);
}

static void a_secret_stays_one_through_done_and_move(void **state)
{
    struct secret s = SECRET_INIT(100000);
    struct buf plain = BUF_INIT(100000);
    struct err e = ERR_INIT;

    (void)state;
    assert_true(s.bytes.wipes);
    for (int i = 0; i < 1000; i++) /* grows several times */
        assert_true(buf_append_str(&s.bytes, "canary", &e));
    assert_int_equal(secret_slice(&s).len, 6000);
    buf_move(&plain, &s.bytes);
    assert_true(plain.wipes && s.bytes.wipes);
    secret_done(&s);
    assert_true(s.bytes.wipes);
    buf_done(&plain);
}

/* ---- mem ---- */

static void memory_is_zeroed_and_sizes_are_checked(void **state)
{
    struct err e = ERR_INIT;
    uint8_t *at = mem_new(1000, &e);
    void *kept;

    (void)state;
    for (size_t i = 0; i < 1000; i++)
        assert_int_equal(at[i], 0);
    mem_free(at);
    at = mem_new(0, &e);
    assert_non_null(at);
    mem_done(&at);
    assert_null(at);
    mem_done(&at);
    mem_free(NULL);
    assert_null(mem_new_array(SIZE_MAX / 2, 3, &e));
    assert_int_equal(e.kind, ERR_KIND_LIMIT);
    kept = mem_new_array(3, 5, &e);
    assert_non_null(kept);
    kept = mem_resize(kept, 0, &e);
    assert_non_null(kept);
    mem_free(kept);
}

static void copies_end_with_nul(void **state)
{
    struct err e = ERR_INIT;
    CLEANUP(mem_done) char *a = mem_dup_slice((struct slice)SLICE_LIT("a\0b"), &e);
    CLEANUP(mem_done) char *b = mem_dup_str("text", &e);
    CLEANUP(mem_done) char *c = mem_dup_slice(SLICE_EMPTY, &e);
    CLEANUP(mem_done) char *d = mem_format(&e, "%s-%d", "x", 7);

    (void)state;
    assert_memory_equal(a, "a\0b", 4);
    assert_string_equal(b, "text");
    assert_string_equal(c, "");
    assert_string_equal(d, "x-7");
}

static void wipe_overwrites(void **state)
{
    char secret[] = "secret";

    (void)state;
    mem_wipe(secret, 3);
    assert_memory_equal(secret, "\0\0\0ret", 7);
    mem_wipe(NULL, 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(append_fits_to_the_last_byte),
        cmocka_unit_test(lengths_that_overflow_are_refused),
        cmocka_unit_test(numbers_have_their_byte_order),
        cmocka_unit_test(number_that_does_not_fit_adds_nothing),
        cmocka_unit_test(format_is_appended_whole_or_not),
        cmocka_unit_test(works_as_a_bounded_queue),
        cmocka_unit_test(consume_and_truncate_are_cut_to_the_length),
        cmocka_unit_test(reserve_counts_only_what_is_extended),
        cmocka_unit_test(move_leaves_the_giver_empty_and_limits_alone),
        cmocka_unit_test(done_may_be_repeated_and_used_again),
        cmocka_unit_test(a_secret_stays_one_through_done_and_move),
        cmocka_unit_test(memory_is_zeroed_and_sizes_are_checked),
        cmocka_unit_test(copies_end_with_nul),
        cmocka_unit_test(wipe_overwrites),
    };

    return cmocka_run_group_tests_name("buf", tests, NULL, NULL);
}
