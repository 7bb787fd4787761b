#include "unit/base/unit.h"

#include "base/log.h"
#include "journal/record.h"
#include "proto/cvms.pb-c.h"
#include "proto/log.pb-c.h"
#include "proto/pb.h"

/* ---------------------------------------------------------------------- pieces */

#define REPLACEMENT "\xef\xbf\xbd"

static struct valid_case {
    const char *name;
    struct slice in;
    const char *want;
} valid_cases[] = {
    { "ascii_stays", SLICE_LIT("abc\n\t"), "abc\n\t" },
    { "two_three_four_byte_characters_stay", SLICE_LIT("\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"),
      "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80" },
    { "nul_is_replaced", SLICE_LIT("a\0b"), "a" REPLACEMENT "b" },
    { "lone_continuation_is_replaced", SLICE_LIT("\x80z"), REPLACEMENT "z" },
    { "cut_character_is_replaced", SLICE_LIT("z\xe2\x82"), "z" REPLACEMENT REPLACEMENT },
    { "overlong_is_replaced", SLICE_LIT("\xc0\xaf"), REPLACEMENT REPLACEMENT },
    { "surrogate_is_replaced", SLICE_LIT("\xed\xa0\x80"), REPLACEMENT REPLACEMENT REPLACEMENT },
    { "above_unicode_is_replaced", SLICE_LIT("\xf4\x90\x80\x80"),
      REPLACEMENT REPLACEMENT REPLACEMENT REPLACEMENT },
    { "ff_is_replaced", SLICE_LIT("\xff"), REPLACEMENT },
};

static void check_valid(void **state)
{
    const struct valid_case *c = *state;
    CLEANUP(buf_done) struct buf piece = BUF_INIT(RECORD_PIECE_MAX + 1);
    struct slice text = c->in;
    struct err e = ERR_INIT;

    assert_true(record_piece(&text, &piece, &e));
    assert_true(slice_equal_str(buf_slice(&piece), c->want));
    assert_false(record_piece(&text, &piece, &e));
    assert_int_equal(e.kind, ERR_KIND_NONE);
}

static struct cut_case {
    const char *name;
    size_t before; /* bytes of 'x' in front    */
    const char *then;
    size_t want_first; /* bytes of the first piece */
    size_t want_count; /* pieces                   */
} cut_cases[] = {
    { "nothing_is_no_piece", 0, "", 0, 0 },
    { "500_bytes_are_one_piece", 500, "", 500, 1 },
    { "501_bytes_are_two_pieces", 501, "", 500, 2 },
    { "1500_bytes_are_three_pieces", 1500, "", 500, 3 },
    { "two_byte_character_is_not_cut", 499, "\xc3\xa4", 499, 2 },
    { "two_byte_character_fits_exactly", 498, "\xc3\xa4", 500, 1 },
    { "four_byte_character_is_not_cut", 497, "\xf0\x9f\x98\x80", 497, 2 },
    { "replacement_is_not_cut", 498, "\xff", 498, 2 },
};

static void check_cut(void **state)
{
    const struct cut_case *c = *state;
    CLEANUP(buf_done) struct buf piece = BUF_INIT(RECORD_PIECE_MAX + 1);
    CLEANUP(buf_done) struct buf whole = BUF_INIT(4096);
    size_t count = 0, total = 0;
    struct err e = ERR_INIT;

    for (size_t i = 0; i < c->before; i++)
        assert_true(buf_append_u8(&whole, 'x', &e));
    assert_true(buf_append_str(&whole, c->then, &e));

    struct slice text = buf_slice(&whole);

    while (record_piece(&text, &piece, &e)) {
        if (count++ == 0)
            assert_int_equal(piece.len, c->want_first);
        assert_true(slice_is_utf8(buf_slice(&piece)));
        assert_true(piece.len <= RECORD_PIECE_MAX);
        total += piece.len;
    }
    assert_int_equal(count, c->want_count);
    assert_true(total >= whole.len);
}

/* ----------------------------------------------------------------------- stamps */

static int64_t fake_now;

static int64_t fake_wall_ns(void *ctx)
{
    (void)ctx;
    return fake_now;
}

static void stamps_rise_although_the_clock_stands_or_jumps_back(void **state)
{
    const struct clock clock = { NULL, fake_wall_ns, NULL };
    struct record_clock c = { &clock, 0 };

    (void)state;
    fake_now = 1000;
    assert_int_equal(record_stamp(&c), 1000);
    assert_int_equal(record_stamp(&c), 1001);
    fake_now = 10;
    assert_int_equal(record_stamp(&c), 1002);
    fake_now = 5000;
    assert_int_equal(record_stamp(&c), 5000);
}

/* --------------------------------------------------------------------- messages */

static void log_is_an_agent_log(void **state)
{
    CLEANUP(buf_done) struct buf payload = BUF_INIT(4096);
    CLEANUP(pb_done) Cvms__ClientStreamMessage *m = NULL;
    struct err e = ERR_INIT;
    struct record_log r = { .level = LOG_ERROR + 2,
                            .computation_id = "c-1",
                            .message = SLICE_LIT("hello"),
                            .time_ns = 1700000000123456789 };

    (void)state;
    assert_true(record_log_encode(&r, &payload, &e));
    m = (Cvms__ClientStreamMessage *)pb_decode(&cvms__client_stream_message__descriptor, buf_slice(&payload),
                                               NULL, &e);
    assert_non_null(m);
    assert_int_equal(m->message_case, CVMS__CLIENT_STREAM_MESSAGE__MESSAGE_AGENT_LOG);
    assert_string_equal(m->agent_log->message, "hello");
    assert_string_equal(m->agent_log->computation_id, "c-1");
    assert_string_equal(m->agent_log->level, "ERROR");
    assert_int_equal(m->agent_log->timestamp->seconds, 1700000000);
    assert_int_equal(m->agent_log->timestamp->nanos, 123456789);
}

static void event_has_no_details_when_there_are_none(void **state)
{
    CLEANUP(buf_done) struct buf payload = BUF_INIT(4096);
    CLEANUP(pb_done) Cvms__ClientStreamMessage *m = NULL;
    struct err e = ERR_INIT;
    struct record_event r = {
        .type = "Running", .status = "Starting", .originator = "agent", .computation_id = "1", .time_ns = 5
    };

    (void)state;
    assert_true(record_event_encode(&r, &payload, &e));
    m = (Cvms__ClientStreamMessage *)pb_decode(&cvms__client_stream_message__descriptor, buf_slice(&payload),
                                               NULL, &e);
    assert_non_null(m);
    assert_int_equal(m->message_case, CVMS__CLIENT_STREAM_MESSAGE__MESSAGE_AGENT_EVENT);
    assert_string_equal(m->agent_event->event_type, "Running");
    assert_string_equal(m->agent_event->status, "Starting");
    assert_string_equal(m->agent_event->originator, "agent");
    assert_int_equal(m->agent_event->details.len, 0);
    assert_int_equal(m->agent_event->timestamp->nanos, 5);
}

/* An AgentLog and a LogEntry differ by their frame alone, and so do the events. */
static void unwrapped_record_is_a_collector_entry_and_wraps_back(void **state)
{
    CLEANUP(buf_done) struct buf payload = BUF_INIT(4096);
    CLEANUP(buf_done) struct buf again = BUF_INIT(4096);
    CLEANUP(pb_done) Log__LogEntry *l = NULL;
    CLEANUP(pb_done) Log__EventEntry *ev = NULL;
    struct slice inner;
    struct err e = ERR_INIT;
    char text[300];
    struct record_log log = { .level = LOG_DEBUG, .computation_id = "id", .time_ns = 77 };
    struct record_event event = { .type = "T",
                                  .status = "S",
                                  .originator = "O",
                                  .computation_id = "C",
                                  .details = SLICE_LIT("\0\1"),
                                  .time_ns = 88 };

    (void)state;
    memset(text, 'y', sizeof(text)); /* a length of two bytes */
    log.message = slice_of(text, sizeof(text));
    assert_true(record_log_encode(&log, &payload, &e));
    assert_int_equal(record_unwrap(buf_slice(&payload), &inner), RECORD_LOG);
    l = (Log__LogEntry *)pb_decode(&log__log_entry__descriptor, inner, NULL, &e);
    assert_non_null(l);
    assert_int_equal(strlen(l->message), sizeof(text));
    assert_string_equal(l->computation_id, "id");
    assert_string_equal(l->level, "DEBUG");
    assert_int_equal(l->timestamp->nanos, 77);
    assert_true(record_wrap(RECORD_LOG, inner, &again, &e));
    assert_true(slice_equal(buf_slice(&again), buf_slice(&payload)));

    buf_truncate(&payload, 0);
    buf_truncate(&again, 0);
    assert_true(record_event_encode(&event, &payload, &e));
    assert_int_equal(record_unwrap(buf_slice(&payload), &inner), RECORD_EVENT);
    ev = (Log__EventEntry *)pb_decode(&log__event_entry__descriptor, inner, NULL, &e);
    assert_non_null(ev);
    assert_string_equal(ev->event_type, "T");
    assert_string_equal(ev->status, "S");
    assert_string_equal(ev->originator, "O");
    assert_string_equal(ev->computation_id, "C");
    assert_true(slice_equal(pb_slice(ev->details), slice_of("\0\1", 2)));
    assert_true(record_wrap(RECORD_EVENT, inner, &again, &e));
    assert_true(slice_equal(buf_slice(&again), buf_slice(&payload)));
}

static struct other_case {
    const char *name;
    struct slice in;
} other_cases[] = {
    { "empty_is_other", SLICE_LIT("") },
    { "run_response_is_other", SLICE_LIT("\x1a\x03\x0a\x01x") },
    { "cut_length_is_other", SLICE_LIT("\x0a\x80") },
    { "cut_body_is_other", SLICE_LIT("\x0a\x05xyz") },
    { "trailing_bytes_are_other", SLICE_LIT("\x0a\x01x\x12") },
    { "huge_length_is_other", SLICE_LIT("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01") },
};

static void check_other(void **state)
{
    const struct other_case *c = *state;
    struct slice inner = SLICE_EMPTY;

    assert_int_equal(record_unwrap(c->in, &inner), RECORD_OTHER);
    assert_int_equal(inner.len, 0);
}

int main(void)
{
    static struct CMUnitTest
        tests[ARRAY_LEN(valid_cases) + ARRAY_LEN(cut_cases) + ARRAY_LEN(other_cases) + 4];
    size_t count = 0;

    UNIT_ROWS(tests, count, valid_cases, check_valid);
    UNIT_ROWS(tests, count, cut_cases, check_cut);
    UNIT_ROWS(tests, count, other_cases, check_other);
    tests[count++] = (struct CMUnitTest)cmocka_unit_test(stamps_rise_although_the_clock_stands_or_jumps_back);
    tests[count++] = (struct CMUnitTest)cmocka_unit_test(log_is_an_agent_log);
    tests[count++] = (struct CMUnitTest)cmocka_unit_test(event_has_no_details_when_there_are_none);
    tests[count++] = (struct CMUnitTest)cmocka_unit_test(
        unwrapped_record_is_a_collector_entry_and_wraps_back);
    return cmocka_run_group_tests_name("record", tests, NULL, NULL);
}
