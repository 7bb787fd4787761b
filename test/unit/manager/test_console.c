#include "unit/base/unit.h"

#include "manager/console.h"

/* What was written in pieces, and how much of its end is asked for. */
static const struct tail_case {
    const char *name;
    const char *pieces[4];
    size_t max;
    const char *want;
} cases[] = {
    { "nothing_written", { NULL }, 100, "" },
    { "all_that_was_written", { "one\n", "two" }, 100, "one\ntwo" },
    { "exactly_as_much_as_there_is", { "one\ntwo" }, 7, "one\ntwo" },
    { "one_byte_less_begins_at_the_next_line", { "one\ntwo" }, 6, "two" },
    { "a_cut_line_alone_is_left_out", { "one line without an end" }, 5, "" },
    { "nothing_asked_for", { "one\n" }, 0, "" },
};

static void check_tail(void **state)
{
    const struct tail_case *c = *state;
    static struct mgr_ring ring;
    struct err e = ERR_INIT;
    CLEANUP(buf_done) struct buf out = BUF_INIT(MGR_CONSOLE_RING);

    memset(&ring, 0, sizeof(ring));
    for (size_t i = 0; c->pieces[i]; i++)
        mgr_ring_add(&ring, slice_of_str(c->pieces[i]));
    assert_true(mgr_ring_tail(&ring, c->max, &out, &e));
    assert_string_equal(buf_str(&out, &e), c->want);
}

/* A guest that floods its console: the ring keeps the end of it, byte for byte, however it is cut. */
static void MG_9_flood_keeps_the_last_bytes_only(void **state)
{
    static const size_t sizes[] = { 1, 7, 4096, 16384, MGR_CONSOLE_RING, MGR_CONSOLE_RING + 13 };
    static struct mgr_ring ring;
    static char block[MGR_CONSOLE_RING + 64];

    (void)state;
    for (size_t s = 0; s < ARRAY_LEN(sizes); s++) {
        CLEANUP(buf_done) struct buf out = BUF_INIT(MGR_CONSOLE_RING);
        struct err e = ERR_INIT;
        uint64_t at = 0;

        memset(&ring, 0, sizeof(ring));
        while (at < 3 * MGR_CONSOLE_RING + 100) {
            for (size_t i = 0; i < sizes[s]; i++, at++)
                block[i] = at % 50 == 49 ? '\n' : (char)('a' + at % 26);
            mgr_ring_add(&ring, slice_of(block, sizes[s]));
        }
        assert_int_equal(ring.written, at);
        assert_true(mgr_ring_tail(&ring, SIZE_MAX, &out, &e));
        assert_in_range(out.len, MGR_CONSOLE_RING - 50, MGR_CONSOLE_RING);
        for (size_t i = 0; i < out.len; i++) {
            uint64_t pos = at - out.len + i;

            assert_int_equal(buf_slice(&out).at[i], pos % 50 == 49 ? '\n' : 'a' + pos % 26);
        }
    }
}

static void MG_9_tail_longer_than_its_buffer_is_an_error(void **state)
{
    static struct mgr_ring ring;
    struct err e = ERR_INIT;
    CLEANUP(buf_done) struct buf out = BUF_INIT(3);

    (void)state;
    mgr_ring_add(&ring, slice_of_str("four"));
    assert_false(mgr_ring_tail(&ring, 10, &out, &e));
    assert_int_equal(e.kind, ERR_KIND_LIMIT);
}

/* What a person is shown of a guest that has ended. */
static const struct words_case {
    const char *name;
    const char *tail;
    size_t max;
    const char *want;
} words[] = {
    { "MG_7_words_of_an_empty_console", "", 10, "" },
    { "MG_7_words_are_the_last_whole_lines", "one\ntwo\nthree\n", 9, "three\n" },
    { "MG_7_words_are_all_when_they_fit", "one\ntwo\n", 8, "one\ntwo\n" },
    { "MG_7_words_begin_with_the_panic", "boots\nKernel panic - not syncing: x\nRAX: 0\nRBX: 0\n", 36,
      "Kernel panic - not syncing: x\nRAX: 0" },
};

static void check_words(void **state)
{
    const struct words_case *c = *state;
    struct slice got = mgr_console_words(slice_of_str(c->tail), c->max);

    assert_true(slice_equal_str(got, c->want));
}

int main(void)
{
    struct CMUnitTest tests[ARRAY_LEN(cases) + ARRAY_LEN(words) + 2] = {
        cmocka_unit_test(MG_9_flood_keeps_the_last_bytes_only),
        cmocka_unit_test(MG_9_tail_longer_than_its_buffer_is_an_error),
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        tests[2 + i] = (struct CMUnitTest){ cases[i].name, check_tail, NULL, NULL,
                                            (void *)(uintptr_t)&cases[i] };
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        tests[2 + ARRAY_LEN(cases) + i] = (struct CMUnitTest){ words[i].name, check_words, NULL, NULL,
                                                               (void *)(uintptr_t)&words[i] };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
