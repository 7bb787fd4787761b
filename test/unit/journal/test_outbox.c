#undef _FORTIFY_SOURCE /* whose headers bring a pread of their own, where this file has to */

#include "outbox_unit.h"

#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"

/* ----------------------------------------------------------------------- order */

static void lanes_are_read_in_the_order_of_appending(void **state)
{
    struct fixture *f = *state;

    fixture_open(f);
    put(f->o, OUTBOX_LOG, LOG_DEBUG, "a");
    put(f->o, OUTBOX_EVENT, 0, "b");
    put(f->o, OUTBOX_LOG, LOG_ERROR, "c");
    put(f->o, OUTBOX_REPLY, 0, "");
    put(f->o, OUTBOX_LOG, LOG_DEBUG, "e");
    fixture_reopen(f);
    put(f->o, OUTBOX_LOG, LOG_INFO, "f");
    for (int again = 0; again < 2; again++) {
        expect(f->o, "a");
        expect(f->o, "b");
        expect(f->o, "c");
        expect(f->o, "");
        expect(f->o, "e");
        expect(f->o, "f");
        expect_end(f->o);
        outbox_rewind(f->o);
    }
    assert_false(outbox_is_empty(f->o));
}

static void acknowledged_records_do_not_come_back(void **state)
{
    struct fixture *f = *state;
    char text[4096];

    fixture_open(f);
    put(f->o, OUTBOX_EVENT, 0, "1");
    put(f->o, OUTBOX_LOG, LOG_DEBUG, "2");
    put(f->o, OUTBOX_EVENT, 0, "3");
    assert_int_equal(take(f->o, text), 1);
    assert_int_equal(take(f->o, text), 2);
    ack(f->o, 2);
    outbox_rewind(f->o);
    expect(f->o, "3");
    fixture_reopen(f);
    assert_int_equal(take(f->o, text), 3);
    assert_string_equal(text, "3");
    ack(f->o, 3);
    assert_true(outbox_is_empty(f->o));
    fixture_reopen(f);
    assert_true(outbox_is_empty(f->o));
    expect_end(f->o);
    /* Numbers go on rising when nothing but the acknowledgement is left. */
    assert_int_equal(put(f->o, OUTBOX_EVENT, 0, "4"), 4);
    expect(f->o, "4");
}

static void record_longer_than_a_segment_is_kept(void **state)
{
    struct fixture *f = *state;
    CLEANUP(buf_done) struct buf big = BUF_INIT(OUTBOX_RECORD_MAX + 1);
    CLEANUP(buf_done) struct buf back = BUF_INIT(OUTBOX_RECORD_MAX);
    struct outbox_record r;
    struct err e = ERR_INIT;
    uint8_t *at;

    assert_true(buf_reserve(&big, OUTBOX_RECORD_MAX, &at, &e));
    memset(at, 'x', OUTBOX_RECORD_MAX);
    buf_extend(&big, OUTBOX_RECORD_MAX);
    fixture_open(f);
    put(f->o, OUTBOX_EVENT, 0, "before");
    assert_true(outbox_append(f->o, OUTBOX_EVENT, 0, buf_slice(&big), NULL, &e));
    put(f->o, OUTBOX_EVENT, 0, "behind");
    fixture_reopen(f);
    expect(f->o, "before");
    assert_int_equal(outbox_next(f->o, &r, &back, &e), OUTBOX_READY);
    assert_true(slice_equal(buf_slice(&back), buf_slice(&big)));
    expect(f->o, "behind");
    assert_true(buf_append_u8(&big, 'x', &e));
    assert_false(outbox_append(f->o, OUTBOX_EVENT, 0, buf_slice(&big), NULL, &e));
    assert_int_equal(e.kind, ERR_KIND_LIMIT);
}

static void delivered_bytes_do_not_stay_on_disk(void **state)
{
    struct fixture *f = *state;
    CLEANUP(buf_done) struct buf file = BUF_INIT(4096);
    char text[4096];

    fixture_open(f);
    put(f->o, OUTBOX_LOG, LOG_DEBUG, "secret of the algorithm");
    take(f->o, text);
    ack(f->o, 1);
    read_file(f->dir, "d-0000000000000001", &file);
    assert_true(slice_equal_str(buf_slice(&file), "COCOSJ1\n"));
}

static void second_process_is_refused(void **state)
{
    struct fixture *f = *state;
    struct outbox *second = NULL;
    struct err e = ERR_INIT;

    fixture_open(f);
    assert_false(outbox_open(&f->loop, &f->cfg, &second, &e));
    assert_int_equal(e.kind, ERR_KIND_UNAVAILABLE);
    assert_non_null(strstr(err_text(&e), "in use by another process"));
}

/* ------------------------------------------------------------------------ torn */

#define TORN_FILE "e-0000000000000001"

/* Five records of different lengths; ends[i] is where record i ends in the file. */
static void make_torn_file(struct fixture *f, struct buf *whole, size_t ends[5])
{
    static const char *const texts[5] = { "one", "", "three-three", "4", "five, the last" };
    size_t end = 8;

    fixture_open(f);
    for (size_t i = 0; i < 5; i++) {
        put(f->o, OUTBOX_EVENT, 0, texts[i]);
        end += 20 + strlen(texts[i]);
        ends[i] = end;
    }
    close_and_wait(&f->loop, f->o);
    f->o = NULL;
    read_file(f->dir, TORN_FILE, whole);
    assert_int_equal(whole->len, end);
}

/* What is left is `want` records; and the outbox goes on as if nothing else had ever been. */
static void expect_first(struct fixture *f, size_t want)
{
    char text[4096];
    uint64_t seq;

    for (size_t i = 0; i < want; i++)
        assert_int_equal(take(f->o, text), i + 1);
    expect_end(f->o);
    seq = put(f->o, OUTBOX_EVENT, 0, "new");
    assert_true(seq > want);
    fixture_reopen(f);
    for (size_t i = 0; i < want; i++)
        assert_int_equal(take(f->o, text), i + 1);
    expect(f->o, "new");
    expect_end(f->o);
    close_and_wait(&f->loop, f->o);
    f->o = NULL;
}

/* How many reads of files succeed before one fails; below 0: all do. */
static int reads_left = -1;

/* In place of libc's. */
ssize_t pread(int fd, void *buf, size_t nbytes, off_t offset)
{
    if (reads_left == 0) {
        errno = EIO;
        return -1;
    }
    if (reads_left > 0)
        reads_left--;
    return syscall(SYS_pread64, fd, buf, nbytes, offset);
}

static void file_that_cannot_be_read_is_not_cut(void **state)
{
    struct fixture *f = *state;
    CLEANUP(buf_done) struct buf whole = BUF_INIT(4096);
    size_t ends[5];
    int count = 0;
    struct err e = ERR_INIT;

    make_torn_file(f, &whole, ends);
    for (;; count++) {
        reads_left = count;
        if (outbox_open(&f->loop, &f->cfg, &f->o, &e))
            break;
        reads_left = -1;
        assert_non_null(strstr(err_text(&e), strerror(EIO)));
        err_clear(&e);
        uv_run(&f->loop, UV_RUN_NOWAIT);
    }
    reads_left = -1;
    assert_in_range(count, 5, 20); /* each read that opening takes has failed once */
    expect_first(f, 5);
}

static void ag_17_file_cut_at_any_byte_keeps_all_whole_records(void **state)
{
    struct fixture *f = *state;
    CLEANUP(buf_done) struct buf whole = BUF_INIT(4096);
    size_t ends[5];

    make_torn_file(f, &whole, ends);
    for (size_t len = 0; len <= whole.len; len++) {
        size_t want = 0;

        while (want < 5 && ends[want] <= len)
            want++;
        clear_dir(f);
        write_file(f->dir, TORN_FILE, slice_first(buf_slice(&whole), len));
        fixture_open(f);
        expect_first(f, want);
    }
}

static void ag_17_any_changed_byte_keeps_the_records_before_it(void **state)
{
    struct fixture *f = *state;
    CLEANUP(buf_done) struct buf whole = BUF_INIT(4096);
    CLEANUP(buf_done) struct buf changed = BUF_INIT(4096);
    struct err e = ERR_INIT;
    size_t ends[5];

    make_torn_file(f, &whole, ends);
    for (size_t at = 0; at < whole.len; at++) {
        size_t want = 0;

        while (at >= 8 && want < 5 && ends[want] <= at)
            want++;
        clear_dir(f);
        buf_truncate(&changed, 0);
        assert_true(buf_append(&changed, buf_slice(&whole), &e));
        changed.base[changed.start + at] ^= 0x10;
        write_file(f->dir, TORN_FILE, buf_slice(&changed));
        fixture_open(f);
        expect_first(f, want);
    }
}

static void damage_while_running_loses_only_the_rest_of_its_file(void **state)
{
    struct fixture *f = *state;
    CLEANUP(buf_done) struct buf payload = BUF_INIT(OUTBOX_RECORD_MAX);
    CLEANUP(buf_done) struct buf file = BUF_INIT(4096);
    struct outbox_record r;
    struct err e = ERR_INIT;

    fixture_open(f);
    put(f->o, OUTBOX_EVENT, 0, "first");
    put(f->o, OUTBOX_EVENT, 0, "second");
    put(f->o, OUTBOX_LOG, LOG_INFO, "third");
    read_file(f->dir, TORN_FILE, &file);
    file.base[file.start + file.len - 1] ^= 1;
    write_file(f->dir, TORN_FILE, buf_slice(&file));
    expect(f->o, "first");
    assert_int_equal(outbox_next(f->o, &r, &payload, &e), OUTBOX_BROKEN);
    assert_non_null(strstr(err_text(&e), TORN_FILE));
    expect(f->o, "third");
    expect_end(f->o);
    ack(f->o, 3);
    assert_true(outbox_is_empty(f->o));
}

static void damaged_acknowledgement_falls_back_to_the_one_before(void **state)
{
    struct fixture *f = *state;
    CLEANUP(buf_done) struct buf file = BUF_INIT(4096);
    char text[4096];

    fixture_open(f);
    for (int i = 0; i < 3; i++)
        put(f->o, OUTBOX_EVENT, 0, "x");
    for (uint64_t i = 1; i <= 2; i++) {
        take(f->o, text);
        ack(f->o, i);
    }
    close_and_wait(&f->loop, f->o);
    read_file(f->dir, "acked", &file);
    assert_int_equal(file.len, 64);
    file.base[file.start + 31] ^= 1; /* the second write went to the first slot */
    write_file(f->dir, "acked", buf_slice(&file));
    fixture_open(f);
    assert_int_equal(take(f->o, text), 2);
    close_and_wait(&f->loop, f->o);

    write_file(f->dir, "acked", SLICE_EMPTY);
    fixture_open(f);
    assert_int_equal(take(f->o, text), 1);
}

/* --------------------------------------------------------------------- kill -9 */

/* Appends and acknowledges until it is killed, telling each step on a pipe when it is done. */
static void victim(const char *dir, int out)
{
    struct outbox_config cfg = { .dir = dir, .bytes_max = 64 * 4096 };
    uv_loop_t loop;
    struct outbox *o = NULL;
    struct err e = ERR_INIT;
    char text[4096];

    if (uv_loop_init(&loop) != 0 || !outbox_open(&loop, &cfg, &o, &e))
        _exit(1);
    for (;;) {
        uint64_t said[2] = { 0, 0 };

        for (int i = 0; i < 7; i++) {
            snprintf(text, sizeof(text), "%0*d", 11 * i + 1, i);
            if (!outbox_append(o, i % 2 ? OUTBOX_EVENT : OUTBOX_LOG, LOG_INFO, slice_of_str(text), &said[0],
                               &e))
                _exit(2);
            if (write(out, said, sizeof(said)) != sizeof(said))
                _exit(3);
        }
        for (int i = 0; i < 6; i++)
            said[1] = take(o, text);
        if (!outbox_ack(o, said[1], &e) || write(out, said, sizeof(said)) != sizeof(said))
            _exit(4);
        uv_run(&loop, UV_RUN_NOWAIT);
    }
}

static void ag_17_kill_9_loses_nothing_and_repeats_nothing_acknowledged(void **state)
{
    struct fixture *f = *state;
    uint64_t appended = 0, acked = 0, said[2], seq, before;
    char text[4096];

    for (int round = 0; round < 12; round++) {
        int pipe_fd[2];

        assert_int_equal(pipe2(pipe_fd, O_CLOEXEC), 0);

        pid_t pid = fork();

        assert_true(pid >= 0);
        if (pid == 0)
            victim(f->dir, pipe_fd[1]);
        close(pipe_fd[1]);
        for (int i = 0; i < 50 + 37 * round; i++) {
            assert_int_equal(read(pipe_fd[0], said, sizeof(said)), sizeof(said));
            appended = said[0];
            acked = said[1] ? said[1] : acked;
        }
        kill(pid, SIGKILL);
        while (read(pipe_fd[0], said, sizeof(said)) == sizeof(said)) {
            appended = said[0];
            acked = said[1] ? said[1] : acked;
        }
        close(pipe_fd[0]);
        assert_int_equal(waitpid(pid, NULL, 0), pid);

        fixture_open(f);
        before = 0;
        while ((seq = take(f->o, text))) {
            /* One more may have been acknowledged, or appended, than was told. */
            assert_true(seq > acked);
            if (before)
                assert_int_equal(seq, before + 1);
            else
                assert_true(seq <= acked + 7);
            before = seq;
        }
        assert_true(before >= appended && before <= appended + 1);
        close_and_wait(&f->loop, f->o);
        f->o = NULL;
    }
}

/* ----------------------------------------------------------------------- flush */

struct flushed {
    bool done, ok;
};

static void on_flushed(bool ok, void *ctx)
{
    *(struct flushed *)ctx = (struct flushed){ true, ok };
}

static int fdatasync_fails(int fd)
{
    (void)fd;
    errno = EIO;
    return -1;
}

static void flush_tells_when_events_are_on_disk(void **state)
{
    struct fixture *f = *state;
    struct flushed many[20] = { { false, false } };
    struct err e = ERR_INIT;

    fixture_open(f);
    for (size_t i = 0; i < ARRAY_LEN(many); i++) {
        put(f->o, OUTBOX_EVENT, 0, "event");
        assert_true(outbox_flush(f->o, on_flushed, &many[i], &e));
    }
    for (size_t i = 0; i < ARRAY_LEN(many); i++) {
        run_until(&f->loop, &many[i].done);
        assert_true(many[i].ok);
    }
}

static void flush_that_fails_is_told(void **state)
{
    static const struct outbox_io io = { .fdatasync = fdatasync_fails };
    struct fixture *f = *state;
    struct flushed one = { false, false };
    struct err e = ERR_INIT;

    f->cfg.io = &io;
    fixture_open(f);
    put(f->o, OUTBOX_EVENT, 0, "event");
    assert_true(outbox_flush(f->o, on_flushed, &one, &e));
    run_until(&f->loop, &one.done);
    assert_false(one.ok);
}

static void closing_tells_those_who_wait(void **state)
{
    struct fixture *f = *state;
    struct flushed one = { false, true };
    struct err e = ERR_INIT;

    fixture_open(f);
    put(f->o, OUTBOX_EVENT, 0, "event");
    assert_true(outbox_flush(f->o, on_flushed, &one, &e));
    close_and_wait(&f->loop, f->o);
    f->o = NULL;
    assert_true(one.done);
    assert_false(one.ok);
}

static void set_true(void *ctx)
{
    *(bool *)ctx = true;
}

static void ready_comes_after_an_append(void **state)
{
    struct fixture *f = *state;
    bool ready = false;

    fixture_open(f);
    outbox_on_ready(f->o, set_true, &ready);
    uv_run(&f->loop, UV_RUN_NOWAIT);
    assert_false(ready);
    put(f->o, OUTBOX_LOG, LOG_DEBUG, "x");
    assert_false(ready); /* never from within the append */
    run_until(&f->loop, &ready);
}

/* ----------------------------------------------------------------------- dedup */

static void ag_13_event_delivered_twice_is_kept_once_even_across_restarts(void **state)
{
    struct fixture *f = *state;
    struct outbox_stats st;
    char text[4096];

    f->cfg.dedup = 64;
    fixture_open(f);
    assert_int_equal(put(f->o, OUTBOX_EVENT, 0, "Running/Starting at 1"), 1);
    assert_int_equal(put(f->o, OUTBOX_EVENT, 0, "Running/Starting at 1"), 0);
    assert_int_equal(put(f->o, OUTBOX_EVENT, 0, "Running/Starting at 2"), 2);
    fixture_reopen(f);
    assert_int_equal(put(f->o, OUTBOX_EVENT, 0, "Running/Starting at 2"), 0);
    take(f->o, text);
    take(f->o, text);
    ack(f->o, 2);
    fixture_reopen(f);
    /* Delivered and forgotten; its digest is not. */
    assert_int_equal(put(f->o, OUTBOX_EVENT, 0, "Running/Starting at 1"), 0);
    outbox_stats(f->o, &st);
    assert_int_equal(st.duplicates, 1);
    expect_end(f->o);
}

static void equal_logs_are_kept_but_a_repeat_after_a_restart_is_dropped_once(void **state)
{
    struct fixture *f = *state;

    f->cfg.dedup = 64;
    fixture_open(f);
    assert_int_equal(put(f->o, OUTBOX_LOG, LOG_INFO, "piece"), 1);
    assert_int_equal(put(f->o, OUTBOX_LOG, LOG_INFO, "piece"), 2);
    fixture_reopen(f);
    assert_int_equal(put(f->o, OUTBOX_LOG, LOG_INFO, "piece"), 0);
    assert_int_not_equal(put(f->o, OUTBOX_LOG, LOG_INFO, "other"), 0);
}

static void dedup_remembers_only_the_latest(void **state)
{
    struct fixture *f = *state;
    char text[32];

    f->cfg.dedup = 8;
    fixture_open(f);
    for (int i = 0; i < 9; i++) {
        snprintf(text, sizeof(text), "event %d", i);
        put(f->o, OUTBOX_EVENT, 0, text);
    }
    assert_int_not_equal(put(f->o, OUTBOX_EVENT, 0, "event 0"), 0);
    assert_int_equal(put(f->o, OUTBOX_EVENT, 0, "event 8"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(lanes_are_read_in_the_order_of_appending),
        TEST(acknowledged_records_do_not_come_back),
        TEST(record_longer_than_a_segment_is_kept),
        TEST(delivered_bytes_do_not_stay_on_disk),
        TEST(second_process_is_refused),
        TEST(ag_17_file_cut_at_any_byte_keeps_all_whole_records),
        TEST(file_that_cannot_be_read_is_not_cut),
        TEST(ag_17_any_changed_byte_keeps_the_records_before_it),
        TEST(damage_while_running_loses_only_the_rest_of_its_file),
        TEST(damaged_acknowledgement_falls_back_to_the_one_before),
        TEST(ag_17_kill_9_loses_nothing_and_repeats_nothing_acknowledged),
        TEST(flush_tells_when_events_are_on_disk),
        TEST(flush_that_fails_is_told),
        TEST(closing_tells_those_who_wait),
        TEST(ready_comes_after_an_append),
        TEST(ag_13_event_delivered_twice_is_kept_once_even_across_restarts),
        TEST(equal_logs_are_kept_but_a_repeat_after_a_restart_is_dropped_once),
        TEST(dedup_remembers_only_the_latest),
    };

    return cmocka_run_group_tests_name("outbox", tests, NULL, NULL);
}
