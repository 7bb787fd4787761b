#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <zlib.h>

#include "rpc/gzip.h"

/* What `printf hello | gzip -n` makes. */
static const uint8_t hello[] = { 0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x03, 0xcb, 0x48, 0xcd,
                                 0xc9, 0xc9, 0x07, 0x00, 0x86, 0xa6, 0x10, 0x36, 0x05, 0x00, 0x00, 0x00 };

static void whole_stream_is_unpacked(void **state)
{
    struct buf out = BUF_INIT(100);
    struct err e = ERR_INIT;

    (void)state;
    assert_true(rpc_gzip_unpack(slice_of(hello, sizeof(hello)), &out, &e));
    assert_true(slice_equal_str(buf_slice(&out), "hello"));
    buf_done(&out);
}

static void limit_equal_to_the_message_is_enough(void **state)
{
    struct buf out = BUF_INIT(5);
    struct err e = ERR_INIT;

    (void)state;
    assert_true(rpc_gzip_unpack(slice_of(hello, sizeof(hello)), &out, &e));
    assert_int_equal(out.len, 5);
    buf_done(&out);
}

static void H2_8_one_byte_above_the_limit_is_refused(void **state)
{
    struct buf out = BUF_INIT(4);
    struct err e = ERR_INIT;

    (void)state;
    assert_false(rpc_gzip_unpack(slice_of(hello, sizeof(hello)), &out, &e));
    assert_int_equal(e.kind, ERR_KIND_LIMIT);
    buf_done(&out);
}

static void every_cut_and_every_flipped_byte_is_refused_or_right(void **state)
{
    struct err e = ERR_INIT;

    (void)state;
    for (size_t len = 0; len < sizeof(hello); len++) {
        struct buf out = BUF_INIT(100);

        assert_false(rpc_gzip_unpack(slice_of(hello, len), &out, &e));
        assert_int_equal(e.kind, ERR_KIND_INVALID);
        buf_done(&out);
    }
    for (size_t i = 10; i < sizeof(hello); i++) {
        uint8_t copy[sizeof(hello)];
        struct buf out = BUF_INIT(100);

        memcpy(copy, hello, sizeof(copy));
        copy[i] ^= 0x55;
        assert_false(rpc_gzip_unpack(slice_of(copy, sizeof(copy)), &out, &e));
        buf_done(&out);
    }
}

static void bytes_behind_the_stream_are_refused(void **state)
{
    uint8_t longer[sizeof(hello) + 1] = { 0 };
    struct buf out = BUF_INIT(100);
    struct err e = ERR_INIT;

    (void)state;
    memcpy(longer, hello, sizeof(hello));
    assert_false(rpc_gzip_unpack(slice_of(longer, sizeof(longer)), &out, &e));
    assert_int_equal(e.kind, ERR_KIND_INVALID);
    buf_done(&out);
}

static void zlib_without_gzip_is_refused(void **state)
{
    uint8_t packed[100];
    uLongf len = sizeof(packed);
    struct buf out = BUF_INIT(100);
    struct err e = ERR_INIT;

    (void)state;
    assert_int_equal(compress(packed, &len, (const Bytef *)"hello", 5), Z_OK);
    assert_false(rpc_gzip_unpack(slice_of(packed, len), &out, &e));
    buf_done(&out);
}

/* 256 MiB of zeros in 260 KiB: stopped at the limit, with no more memory than that. */
static void H2_8_bomb_stops_at_the_limit(void **state)
{
    static uint8_t zeros[1 << 20];
    static uint8_t packed[1 << 20];
    struct buf out = BUF_INIT(4u << 20);
    struct err e = ERR_INIT;
    z_stream z = { 0 };

    (void)state;
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, MAX_WBITS + 16, 9, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_out = packed;
    z.avail_out = sizeof(packed);
    for (int i = 0; i < 256; i++) {
        z.next_in = zeros;
        z.avail_in = sizeof(zeros);
        assert_int_equal(deflate(&z, i == 255 ? Z_FINISH : Z_NO_FLUSH), i == 255 ? Z_STREAM_END : Z_OK);
    }
    assert_false(rpc_gzip_unpack(slice_of(packed, sizeof(packed) - z.avail_out), &out, &e));
    assert_int_equal(e.kind, ERR_KIND_LIMIT);
    assert_true(out.cap <= 4u << 20);
    deflateEnd(&z);
    buf_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_stream_is_unpacked),
        cmocka_unit_test(limit_equal_to_the_message_is_enough),
        cmocka_unit_test(H2_8_one_byte_above_the_limit_is_refused),
        cmocka_unit_test(every_cut_and_every_flipped_byte_is_refused_or_right),
        cmocka_unit_test(bytes_behind_the_stream_are_refused),
        cmocka_unit_test(zlib_without_gzip_is_refused),
        cmocka_unit_test(H2_8_bomb_stops_at_the_limit),
    };

    return cmocka_run_group_tests_name("rpc/gzip", tests, NULL, NULL);
}
