#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "rpc/frame.h"

static struct frame_case {
    const char *name;
    struct slice in;
    enum rpc_frame_step want;
    size_t want_left; /* bytes not consumed */
    bool compressed;
    uint32_t len;
    enum err_kind kind;
} heads[] = {
    { "empty_is_partial", SLICE_LIT(""), RPC_FRAME_PARTIAL, 0, false, 0, ERR_KIND_NONE },
    { "flag_alone_is_partial", SLICE_LIT("\0"), RPC_FRAME_PARTIAL, 1, false, 0, ERR_KIND_NONE },
    { "cut_prefix_is_partial", SLICE_LIT("\0\0\0\0"), RPC_FRAME_PARTIAL, 4, false, 0, ERR_KIND_NONE },
    { "length_0_is_ready", SLICE_LIT("\0\0\0\0\0"), RPC_FRAME_READY, 0, false, 0, ERR_KIND_NONE },
    { "prefix_then_body_is_ready", SLICE_LIT("\0\0\0\0\1x"), RPC_FRAME_READY, 1, false, 1, ERR_KIND_NONE },
    { "compressed_is_ready", SLICE_LIT("\1\0\0\0\2"), RPC_FRAME_READY, 0, true, 2, ERR_KIND_NONE },
    { "length_at_max_is_ready", SLICE_LIT("\0\0\0\1\0"), RPC_FRAME_READY, 0, false, 256, ERR_KIND_NONE },
    { "H2_7_length_one_over_max_is_broken", SLICE_LIT("\0\0\0\1\1"), RPC_FRAME_BROKEN, 5, false, 0,
      ERR_KIND_LIMIT },
    { "H2_7_length_of_4_gib_is_broken", SLICE_LIT("\0\xff\xff\xff\xff"), RPC_FRAME_BROKEN, 5, false, 0,
      ERR_KIND_LIMIT },
    { "unknown_flag_is_broken", SLICE_LIT("\2\0\0\0\0"), RPC_FRAME_BROKEN, 5, false, 0, ERR_KIND_INVALID },
};

static void check_head(void **state)
{
    const struct frame_case *f = *state;
    struct cursor in = cursor_of(f->in);
    struct rpc_frame_head head = { false, 0 };
    struct err e = ERR_INIT;

    assert_int_equal(rpc_frame_head_read(&in, 256, &head, &e), f->want);
    assert_int_equal(in.left.len, f->want_left);
    assert_int_equal(head.compressed, f->compressed);
    assert_int_equal(head.len, f->len);
    assert_int_equal(e.kind, f->kind);
    if (f->want == RPC_FRAME_READY) {
        uint8_t back[RPC_FRAME_HEAD_LEN];

        rpc_frame_head_write(head, back);
        assert_memory_equal(back, f->in.at, sizeof(back));
    }
}

/* Three messages, cut into pieces of every size. */
static void every_cut_gives_the_same_messages(void **state)
{
    static const char wire[] = "\0\0\0\0\5hello\0\0\0\0\0\1\0\0\0\3you";
    const size_t len = sizeof(wire) - 1;
    struct err e = ERR_INIT;

    (void)state;
    for (size_t step = 1; step <= len; step++) {
        struct rpc_assembly a = RPC_ASSEMBLY_INIT;
        int count = 0;

        for (size_t at = 0; at < len; at += step) {
            struct slice in = slice_first(slice_after(slice_of(wire, len), at), step);
            enum rpc_frame_step got;

            while ((got = rpc_assembly_feed(&a, &in, 100, &e)) == RPC_FRAME_READY) {
                static const char *const want[] = { "hello", "", "you" };

                assert_true(slice_equal_str(buf_slice(&a.body), count < 3 ? want[count] : "no fourth"));
                assert_int_equal(a.frame.compressed, count == 2);
                count++;
                rpc_assembly_reset(&a);
                if (in.len == 0)
                    break;
            }
            assert_true(got != RPC_FRAME_BROKEN);
            assert_int_equal(in.len, 0);
        }
        assert_int_equal(count, 3);
        assert_false(rpc_assembly_is_partial(&a));
        rpc_assembly_reset(&a);
    }
}

static void claimed_length_is_not_allocated_at_once(void **state) /* H2_7 */
{
    struct rpc_assembly a = RPC_ASSEMBLY_INIT;
    struct slice in = SLICE_LIT("\0\x40\0\0\0x"); /* a GiB is announced, a byte comes */
    struct err e = ERR_INIT;

    (void)state;
    assert_int_equal(rpc_assembly_feed(&a, &in, (size_t)1 << 31, &e), RPC_FRAME_PARTIAL);
    assert_true(rpc_assembly_is_partial(&a));
    assert_true(rpc_assembly_held(&a) <= RPC_FRAME_EAGER_LEN);
    rpc_assembly_reset(&a);
    assert_int_equal(rpc_assembly_held(&a), 0);
}

static void long_message_is_whole_and_no_larger_than_announced(void **state)
{
    enum { LEN = 5 << 20, PIECE = 70001 };
    static uint8_t wire[LEN + 5] = { 0, 0, 0x50, 0, 0 };
    struct rpc_assembly a = RPC_ASSEMBLY_INIT;
    struct err e = ERR_INIT;
    enum rpc_frame_step got = RPC_FRAME_PARTIAL;

    (void)state;
    for (size_t i = 5; i < sizeof(wire); i++)
        wire[i] = (uint8_t)(i % 251);
    for (size_t at = 0; at < sizeof(wire); at += PIECE) {
        struct slice in = slice_first(slice_after(slice_of(wire, sizeof(wire)), at), PIECE);

        assert_int_equal(got, RPC_FRAME_PARTIAL);
        got = rpc_assembly_feed(&a, &in, LEN, &e);
    }
    assert_int_equal(got, RPC_FRAME_READY);
    assert_int_equal(a.body.len, LEN);
    assert_int_equal(rpc_assembly_held(&a), LEN);
    assert_memory_equal(buf_slice(&a.body).at, wire + 5, LEN);
    rpc_assembly_reset(&a);
}

int main(void)
{
    struct CMUnitTest tests[ARRAY_LEN(heads) + 3] = {
        cmocka_unit_test(every_cut_gives_the_same_messages),
        cmocka_unit_test(claimed_length_is_not_allocated_at_once),
        cmocka_unit_test(long_message_is_whole_and_no_larger_than_announced),
    };

    for (size_t i = 0; i < ARRAY_LEN(heads); i++)
        tests[3 + i] = (struct CMUnitTest){ heads[i].name, check_head, NULL, NULL, &heads[i] };
    return cmocka_run_group_tests_name("rpc/frame", tests, NULL, NULL);
}
