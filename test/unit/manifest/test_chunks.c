#include "unit/base/unit.h"

#include "manifest/chunks.h"

/* A step is one piece and what must come of it; '=' in text stands for nothing. */
struct piece {
    const char *id;
    const char *data;
    bool is_last;
    uint64_t at_ms;
    enum chunks_step want;
    const char *whole; /* of CHUNKS_WHOLE */
};

static struct chunks_case {
    const char *name;
    size_t bytes_max;
    struct piece pieces[12];
} cases[] = {
    { "one_last_piece_with_data_is_whole", 0, { { "a", "xyz", true, 0, CHUNKS_WHOLE, "xyz" } } },
    { "empty_last_piece_ends_request",
      0,
      { { "a", "xy", false, 0, CHUNKS_MORE, NULL }, { "a", "", true, 1, CHUNKS_WHOLE, "xy" } } },
    { "last_piece_alone_and_empty_is_whole_and_empty", 0, { { "a", "", true, 0, CHUNKS_WHOLE, "" } } },
    { "pieces_of_two_ids_do_not_mix",
      0,
      { { "a", "1", false, 0, CHUNKS_MORE, NULL },
        { "b", "2", false, 0, CHUNKS_MORE, NULL },
        { "a", "3", true, 0, CHUNKS_WHOLE, "13" },
        { "b", "4", true, 0, CHUNKS_WHOLE, "24" } } },
    { "empty_id_is_an_id_like_others",
      0,
      { { "", "1", false, 0, CHUNKS_MORE, NULL }, { "", "2", true, 0, CHUNKS_WHOLE, "12" } } },
    { "id_is_free_again_after_whole",
      0,
      { { "a", "1", true, 0, CHUNKS_WHOLE, "1" }, { "a", "2", true, 0, CHUNKS_WHOLE, "2" } } },
    { "just_before_idle_limit_is_kept",
      0,
      { { "a", "1", false, 5, CHUNKS_MORE, NULL },
        { "a", "2", true, 5 + CHUNKS_IDLE_MS - 1, CHUNKS_WHOLE, "12" } } },
    { "idle_too_long_starts_anew",
      0,
      { { "a", "1", false, 5, CHUNKS_MORE, NULL },
        { "a", "2", true, 5 + CHUNKS_IDLE_MS, CHUNKS_WHOLE, "2" } } },
    { "each_piece_restarts_the_idle_time",
      0,
      { { "a", "1", false, 0, CHUNKS_MORE, NULL },
        { "a", "2", false, 20000, CHUNKS_MORE, NULL },
        { "a", "3", true, 40000, CHUNKS_WHOLE, "123" } } },
    { "exactly_the_limit_is_whole",
      4,
      { { "a", "12", false, 0, CHUNKS_MORE, NULL }, { "a", "34", true, 0, CHUNKS_WHOLE, "1234" } } },
    { "one_byte_over_is_refused_once_and_the_rest_dropped",
      4,
      { { "a", "12", false, 0, CHUNKS_MORE, NULL },
        { "a", "345", false, 0, CHUNKS_REFUSED, NULL },
        { "a", "6", false, 0, CHUNKS_DROPPED, NULL },
        { "a", "", true, 0, CHUNKS_DROPPED, NULL },
        { "a", "7", true, 0, CHUNKS_WHOLE, "7" } } },
    { "over_in_the_last_piece_is_refused_and_forgotten",
      4,
      { { "a", "12345", true, 0, CHUNKS_REFUSED, NULL }, { "a", "1", true, 0, CHUNKS_WHOLE, "1" } } },
    { "limit_holds_over_all_ids",
      4,
      { { "a", "123", false, 0, CHUNKS_MORE, NULL },
        { "b", "45", false, 0, CHUNKS_REFUSED, NULL },
        { "a", "4", true, 0, CHUNKS_WHOLE, "1234" },
        { "c", "5678", true, 0, CHUNKS_WHOLE, "5678" } } },
    { "ninth_id_is_dropped_and_answered_at_its_end",
      0,
      { { "1", "x", false, 0, CHUNKS_MORE, NULL },
        { "2", "x", false, 0, CHUNKS_MORE, NULL },
        { "3", "x", false, 0, CHUNKS_MORE, NULL },
        { "4", "x", false, 0, CHUNKS_MORE, NULL },
        { "5", "x", false, 0, CHUNKS_MORE, NULL },
        { "6", "x", false, 0, CHUNKS_MORE, NULL },
        { "7", "x", false, 0, CHUNKS_MORE, NULL },
        { "8", "x", false, 0, CHUNKS_MORE, NULL },
        { "9", "x", false, 0, CHUNKS_DROPPED, NULL },
        { "9", "", true, 0, CHUNKS_REFUSED, NULL },
        { "8", "", true, 0, CHUNKS_WHOLE, "x" } } },
};

static void check_case(void **state)
{
    const struct chunks_case *t = *state;
    struct chunks c;

    chunks_init(&c, t->bytes_max);
    for (size_t i = 0; i < ARRAY_LEN(t->pieces) && t->pieces[i].id; i++) {
        const struct piece *p = &t->pieces[i];
        CLEANUP(buf_done) struct buf whole = BUF_INIT(MF_REQUEST_MAX);
        struct err e = ERR_INIT;
        enum chunks_step got = chunks_add(&c, slice_of_str(p->id), slice_of_str(p->data), p->is_last,
                                          p->at_ms, &whole, &e);

        assert_int_equal(got, p->want);
        assert_int_equal(e.kind, got == CHUNKS_REFUSED ? ERR_KIND_LIMIT : ERR_KIND_NONE);
        assert_true(slice_equal_str(buf_slice(&whole), p->whole ? p->whole : ""));
    }
    chunks_done(&c);
    assert_int_equal(c.bytes, 0);
}

static void id_of_257_bytes_is_dropped_and_answered_at_its_end(void **state)
{
    CLEANUP(buf_done) struct buf whole = BUF_INIT(MF_REQUEST_MAX);
    char id[MF_ID_MAX + 1];
    struct err e = ERR_INIT;
    struct chunks c;

    (void)state;
    memset(id, 'i', sizeof(id));
    chunks_init(&c, 0);
    assert_int_equal(chunks_add(&c, slice_of(id, sizeof(id)), slice_of_str("x"), false, 0, &whole, &e),
                     CHUNKS_DROPPED);
    assert_int_equal(chunks_add(&c, slice_of(id, sizeof(id)), slice_of_str("x"), true, 0, &whole, &e),
                     CHUNKS_REFUSED);
    assert_int_equal(chunks_add(&c, slice_of(id, sizeof(id) - 1), slice_of_str("x"), true, 0, &whole, &e),
                     CHUNKS_WHOLE);
    chunks_done(&c);
}

static void wait_tells_when_the_earliest_expires(void **state)
{
    CLEANUP(buf_done) struct buf whole = BUF_INIT(MF_REQUEST_MAX);
    struct err e = ERR_INIT;
    struct chunks c;

    (void)state;
    chunks_init(&c, 0);
    assert_true(chunks_wait_ms(&c, 7) == UINT64_MAX);
    assert_int_equal(chunks_add(&c, slice_of_str("a"), slice_of_str("x"), false, 10, &whole, &e),
                     CHUNKS_MORE);
    assert_int_equal(chunks_add(&c, slice_of_str("b"), slice_of_str("y"), false, 30, &whole, &e),
                     CHUNKS_MORE);
    assert_int_equal(chunks_wait_ms(&c, 40), CHUNKS_IDLE_MS - 30);
    assert_int_equal(chunks_expire(&c, 10 + CHUNKS_IDLE_MS), 1);
    assert_int_equal(c.bytes, 1);
    assert_int_equal(chunks_wait_ms(&c, 20 + CHUNKS_IDLE_MS), 10);
    assert_int_equal(chunks_wait_ms(&c, 99 + CHUNKS_IDLE_MS), 0);
    assert_int_equal(chunks_expire(&c, 99 + CHUNKS_IDLE_MS), 1);
    assert_int_equal(c.bytes, 0);
    chunks_done(&c);
}

int main(void)
{
    struct CMUnitTest tests[ARRAY_LEN(cases) + 2];
    size_t count = 0;

    UNIT_ROWS(tests, count, cases, check_case);
    tests[count++] = (struct CMUnitTest)cmocka_unit_test(id_of_257_bytes_is_dropped_and_answered_at_its_end);
    tests[count++] = (struct CMUnitTest)cmocka_unit_test(wait_tells_when_the_earliest_expires);
    return _cmocka_run_group_tests("manifest/chunks", tests, count, NULL, NULL);
}
