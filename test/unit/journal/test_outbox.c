#include "journal_unit.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/stage.h"

/* A test's directory, loop and the outbox in it. */
struct fixture {
    char dir[256];
    uv_loop_t loop;
    struct outbox_config cfg;
    struct outbox *o;
};

static void fixture_open(struct fixture *f)
{
    f->cfg.dir = f->dir;
    f->o = open_or_fail(&f->loop, &f->cfg);
}

static void fixture_reopen(struct fixture *f)
{
    close_and_wait(&f->loop, f->o);
    fixture_open(f);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    temp_dir_make(f->dir);
    assert_int_equal(uv_loop_init(&f->loop), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    if (f->o)
        close_and_wait(&f->loop, f->o);
    loop_done(&f->loop);
    temp_dir_remove(f->dir);
    free(f);
    return 0;
}

static uint64_t put(struct outbox *o, enum outbox_class cls, int level, const char *text)
{
    uint64_t seq = 0;
    struct err e = ERR_INIT;

    if (!outbox_append(o, cls, level, slice_of_str(text), &seq, &e))
        fail_msg("%s", err_text(&e));
    return seq;
}

/* Reads the next record into text; its sequence number, or 0 when there is none. */
static uint64_t take(struct outbox *o, char text[4096])
{
    CLEANUP(buf_done) struct buf payload = BUF_INIT(OUTBOX_RECORD_MAX);
    struct outbox_record r;
    struct err e = ERR_INIT;

    switch (outbox_next(o, &r, &payload, &e)) {
    case OUTBOX_NONE: return 0;
    case OUTBOX_BROKEN: fail_msg("%s", err_text(&e)); break;
    case OUTBOX_READY: break;
    }
    assert_true(payload.len < 4096);
    if (payload.len)
        memcpy(text, buf_slice(&payload).at, payload.len);
    text[payload.len] = '\0';
    return r.seq;
}

static void expect(struct outbox *o, const char *want)
{
    char text[4096];

    if (!take(o, text))
        fail_msg("'%s' is missing", want);
    assert_string_equal(text, want);
}

static void expect_end(struct outbox *o)
{
    char text[4096];

    if (take(o, text))
        fail_msg("'%s' was not expected", text);
}

static void ack(struct outbox *o, uint64_t seq)
{
    struct err e = ERR_INIT;

    assert_true(outbox_ack(o, seq, &e));
}

static void read_file(const char *dir, const char *name, struct buf *ret)
{
    char path[512];
    struct err e = ERR_INIT;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    buf_truncate(ret, 0);
    if (!stage_read_file(path, ret, &e))
        fail_msg("%s", err_text(&e));
}

static void write_file(const char *dir, const char *name, struct slice bytes)
{
    char path[512];
    CLEANUP(fd_done) int fd = -1;
    struct err e = ERR_INIT;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_true(stage_write_all(fd, bytes, &e));
}

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
    assert_int_equal(e.kind, ERR_KIND_INVALID);
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

static void clear_dir(struct fixture *f)
{
    temp_dir_remove(f->dir);
    assert_int_equal(mkdir(f->dir, 0700), 0);
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

/* ------------------------------------------------------------------------ room */

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

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(lanes_are_read_in_the_order_of_appending),
        TEST(acknowledged_records_do_not_come_back),
        TEST(record_longer_than_a_segment_is_kept),
        TEST(delivered_bytes_do_not_stay_on_disk),
        TEST(second_process_is_refused),
        TEST(ag_17_file_cut_at_any_byte_keeps_all_whole_records),
        TEST(ag_17_any_changed_byte_keeps_the_records_before_it),
        TEST(damage_while_running_loses_only_the_rest_of_its_file),
        TEST(damaged_acknowledgement_falls_back_to_the_one_before),
        TEST(ag_17_kill_9_loses_nothing_and_repeats_nothing_acknowledged),
        TEST(ag_15_oldest_debug_goes_first_then_logs_and_events_stay),
        TEST(ag_15_events_push_out_logs_until_only_events_are_left),
        TEST(ag_15_disk_full_at_any_byte_of_a_record_leaves_those_before),
        TEST(ag_15_full_disk_drops_debug_keeps_events_and_tells_later),
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
