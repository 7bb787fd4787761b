/* Case AG-15: what gives way when the outbox, or the disk, is full. */
#include "outbox_unit.h"

#include <errno.h>
#include <unistd.h>

#include "base/log.h"

static bool note(uint64_t dropped, struct buf *payload, void *ctx)
{
    struct err e = ERR_INIT;

    *(uint64_t *)ctx += dropped;
    return buf_format(payload, &e, "dropped %llu", (unsigned long long)dropped);
}

/* Reads and acknowledges everything; counts by first letter. */
static void drain(struct outbox *o, size_t counts[256], bool in_steps)
{
    char text[4096];
    uint64_t seq, before = 0;

    while ((seq = take(o, text))) {
        assert_true(seq > before);
        before = seq;
        counts[(uint8_t)text[0]]++;
        if (in_steps)
            ack(o, seq);
    }
    ack(o, before);
}

static void ag_15_oldest_debug_goes_first_then_logs_and_events_stay(void **state)
{
    struct fixture *f = *state;
    size_t counts[256] = { 0 };
    uint64_t told = 0;
    struct outbox_stats st;
    char text[128];

    f->cfg.bytes_max = 256 * 1024;
    f->cfg.note = note;
    f->cfg.note_ctx = &told;
    fixture_open(f);
    for (int i = 0; i < 600; i++)
        put(f->o, OUTBOX_LOG, LOG_INFO, "info: a line of log that someone would like to see");
    for (int i = 0; i < 300; i++)
        put(f->o, OUTBOX_EVENT, 0, "event: something that must be told");
    outbox_stats(f->o, &st);
    assert_int_equal(st.dropped, 0);
    for (int i = 0; i < 6000; i++) {
        snprintf(text, sizeof(text), "%c: %05d a line of debugging that nobody may ever read",
                 i < 3000 ? 'o' : 'n', i);
        put(f->o, OUTBOX_LOG, LOG_DEBUG, text);
    }
    outbox_stats(f->o, &st);
    assert_true(st.bytes <= f->cfg.bytes_max);
    assert_true(st.dropped > 0);

    uint64_t dropped = st.dropped;

    /* It is known after a restart, too. */
    fixture_reopen(f);
    outbox_stats(f->o, &st);
    assert_int_equal(st.dropped, dropped);
    assert_true(st.bytes <= f->cfg.bytes_max);
    drain(f->o, counts, true);
    assert_int_equal(counts['e'], 300);
    assert_int_equal(counts['i'], 600);
    assert_int_equal(counts['o'], 0);
    assert_true(counts['n'] > 1000);
    assert_int_equal(counts['o'] + counts['n'] + told, 6000);
    assert_int_equal(told, dropped);
    assert_int_equal(counts['d'], 1); /* one record tells it */
    outbox_stats(f->o, &st);
    assert_int_equal(st.dropped, 0);
}

static void ag_15_events_push_out_logs_until_only_events_are_left(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    size_t counts[256] = { 0 };
    size_t events = 0;
    uint64_t told = 0;

    f->cfg.bytes_max = 64 * 1024;
    f->cfg.note = note;
    f->cfg.note_ctx = &told;
    fixture_open(f);
    for (int i = 0; i < 500; i++)
        put(f->o, OUTBOX_LOG, i % 2 ? LOG_DEBUG : LOG_ERROR, "some log");
    while (outbox_append(f->o, OUTBOX_EVENT, 0, slice_of_str("event"), NULL, &e))
        events++;
    assert_int_equal(e.kind, ERR_KIND_LIMIT);
    assert_true(events > 2000);
    /* A log has no right to an event's place, and is no error. */
    assert_int_equal(put(f->o, OUTBOX_LOG, LOG_ERROR, "late"), 0);
    drain(f->o, counts, true);
    assert_int_equal(counts['e'], events);
    assert_int_equal(counts['s'] + counts['l'], 0);
    assert_int_equal(told, 501);
}

/* A disk with so many bytes left. */
static int64_t disk_left = -1;
static int disk_errno;

static ssize_t small_pwrite(int fd, const void *at, size_t len, off_t offset)
{
    bool to_acked = len == 32 && (offset == 0 || offset == 32); /* has its room already */

    if (disk_left < 0 || to_acked)
        return pwrite(fd, at, len, offset);
    if (disk_left == 0) {
        errno = disk_errno;
        return -1;
    }
    if ((uint64_t)disk_left < len)
        len = (size_t)disk_left;
    disk_left -= (int64_t)len;
    return pwrite(fd, at, len, offset);
}

static const struct outbox_io small_disk = { .pwrite = small_pwrite };

static void ag_15_disk_full_at_any_byte_of_a_record_leaves_those_before(void **state)
{
    struct fixture *f = *state;

    f->cfg.io = &small_disk;
    for (int64_t left = 0; left < 60; left++) {
        struct err e = ERR_INIT;

        disk_left = -1;
        clear_dir(f);
        fixture_open(f);
        put(f->o, OUTBOX_EVENT, 0, "before");
        disk_errno = left % 3 == 0 ? ENOSPC : left % 3 == 1 ? EDQUOT : EFBIG;
        disk_left = left;

        bool ok = outbox_append(f->o, OUTBOX_EVENT, 0, slice_of_str("this one may not fit"), NULL, &e);

        assert_int_equal(ok, left >= 40);
        if (!ok)
            assert_int_equal(e.kind, ERR_KIND_LIMIT);
        disk_left = -1;
        put(f->o, OUTBOX_EVENT, 0, "behind");
        fixture_reopen(f);
        expect(f->o, "before");
        if (ok)
            expect(f->o, "this one may not fit");
        expect(f->o, "behind");
        expect_end(f->o);
        close_and_wait(&f->loop, f->o);
        f->o = NULL;
    }
}

static void ag_15_full_disk_drops_debug_keeps_events_and_tells_later(void **state)
{
    struct fixture *f = *state;
    size_t counts[256] = { 0 };
    uint64_t told = 0;
    struct outbox_stats st;

    disk_left = -1;
    disk_errno = ENOSPC;
    f->cfg.io = &small_disk;
    f->cfg.note = note;
    f->cfg.note_ctx = &told;
    f->cfg.bytes_max = 1024 * 1024;
    fixture_open(f);
    for (int i = 0; i < 3000; i++) /* several files of 16 KiB */
        put(f->o, OUTBOX_LOG, LOG_DEBUG, "debugging");
    disk_left = 0;
    put(f->o, OUTBOX_LOG, LOG_INFO, "info"); /* drops all debugging in vain, then itself */
    outbox_stats(f->o, &st);
    assert_int_equal(st.dropped, 3001);
    assert_int_equal(told, 0);
    disk_left = -1;
    put(f->o, OUTBOX_EVENT, 0, "event");
    drain(f->o, counts, true);
    drain(f->o, counts, true);
    assert_int_equal(counts['e'], 1);
    assert_int_equal(told, 3001);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(ag_15_oldest_debug_goes_first_then_logs_and_events_stay),
        TEST(ag_15_events_push_out_logs_until_only_events_are_left),
        TEST(ag_15_disk_full_at_any_byte_of_a_record_leaves_those_before),
        TEST(ag_15_full_disk_drops_debug_keeps_events_and_tells_later),
    };

    return cmocka_run_group_tests_name("outbox_room", tests, NULL, NULL);
}
