#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cvms/mend.h"

static struct mend_case {
    const char *name;
    struct slice in, want;
    bool mended;
} cases[] = {
    { "empty_message_stays", SLICE_LIT(""), SLICE_LIT(""), false },
    { "line_without_zero_stays",
      SLICE_LIT("\x0a\x05\x0a\x03"
                "abc"),
      SLICE_LIT("\x0a\x05\x0a\x03"
                "abc"),
      false },
    { "zero_bytes_of_the_text_are_mended",
      SLICE_LIT("\x0a\x05\x0a\x03"
                "a\0\0"),
      SLICE_LIT("\x0a\x05\x0a\x03"
                "a\x1a\x1a"),
      true },
    { "zero_of_a_timestamp_stays",
      SLICE_LIT("\x0a\x09\x22\x02\x10\0\x0a\x03"
                "a\0b"),
      SLICE_LIT("\x0a\x09\x22\x02\x10\0\x0a\x03"
                "a\x1a"
                "b"),
      true },
    { "zero_of_the_level_stays", SLICE_LIT("\x0a\x03\x1a\x01\0"), SLICE_LIT("\x0a\x03\x1a\x01\0"), false },
    { "empty_text_stays", SLICE_LIT("\x0a\x02\x0a\0"), SLICE_LIT("\x0a\x02\x0a\0"), false },
    { "event_stays", SLICE_LIT("\x12\x03\x0a\x01\0"), SLICE_LIT("\x12\x03\x0a\x01\0"), false },
    { "fields_of_every_kind_are_passed_over",
      SLICE_LIT("\x28\x07\x31"
                "12345678"
                "\x3d"
                "1234"
                "\x0a\x03\x0a\x01\0"),
      SLICE_LIT("\x28\x07\x31"
                "12345678"
                "\x3d"
                "1234"
                "\x0a\x03\x0a\x01\x1a"),
      true },
    { "cut_tag_stays", SLICE_LIT("\x0a"), SLICE_LIT("\x0a"), false },
    { "cut_payload_stays",
      SLICE_LIT("\x0a\x05\x0a\x03"
                "a\0"),
      SLICE_LIT("\x0a\x05\x0a\x03"
                "a\0"),
      false },
    { "cut_text_stays",
      SLICE_LIT("\x0a\x04\x0a\x03"
                "a\0"),
      SLICE_LIT("\x0a\x04\x0a\x03"
                "a\0"),
      false },
    { "group_stays", SLICE_LIT("\x0b\x0a\x03\x0a\x01\0"), SLICE_LIT("\x0b\x0a\x03\x0a\x01\0"), false },
    { "length_of_64_bits_stays", SLICE_LIT("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\0"),
      SLICE_LIT("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\0"), false },
};

static void check_case(void **state)
{
    const struct mend_case *c = *state;
    CLEANUP(buf_done) struct buf b = BUF_INIT(1024);
    struct err e = ERR_INIT;

    assert_true(buf_append_str(&b, "dropped", &e) && buf_append(&b, c->in, &e));
    buf_consume(&b, 7);
    assert_int_equal(cvms_mend_log(&b), c->mended);
    assert_true(slice_equal(buf_slice(&b), c->want));
}

int main(void)
{
    struct CMUnitTest tests[ARRAY_LEN(cases)];

    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        tests[i] = (struct CMUnitTest){ cases[i].name, check_case, NULL, NULL, &cases[i] };
    return cmocka_run_group_tests_name("mend", tests, NULL, NULL);
}
