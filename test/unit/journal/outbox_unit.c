#include "outbox_unit.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/stage.h"

void fixture_open(struct fixture *f)
{
    f->cfg.dir = f->dir;
    f->o = open_or_fail(&f->loop, &f->cfg);
}

void fixture_reopen(struct fixture *f)
{
    close_and_wait(&f->loop, f->o);
    fixture_open(f);
}

int fixture_setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    temp_dir_make(f->dir);
    assert_int_equal(uv_loop_init(&f->loop), 0);
    *state = f;
    return 0;
}

int fixture_teardown(void **state)
{
    struct fixture *f = *state;

    if (f->o)
        close_and_wait(&f->loop, f->o);
    loop_done(&f->loop);
    temp_dir_remove(f->dir);
    free(f);
    return 0;
}

uint64_t put(struct outbox *o, enum outbox_class cls, int level, const char *text)
{
    uint64_t seq = 0;
    struct err e = ERR_INIT;

    if (!outbox_append(o, cls, level, slice_of_str(text), &seq, &e))
        fail_msg("%s", err_text(&e));
    return seq;
}

uint64_t take(struct outbox *o, char text[4096])
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

void expect(struct outbox *o, const char *want)
{
    char text[4096];

    if (!take(o, text))
        fail_msg("'%s' is missing", want);
    assert_string_equal(text, want);
}

void expect_end(struct outbox *o)
{
    char text[4096];

    if (take(o, text))
        fail_msg("'%s' was not expected", text);
}

void ack(struct outbox *o, uint64_t seq)
{
    struct err e = ERR_INIT;

    assert_true(outbox_ack(o, seq, &e));
}

void read_file(const char *dir, const char *name, struct buf *ret)
{
    char path[512];
    struct err e = ERR_INIT;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    buf_truncate(ret, 0);
    if (!stage_read_file(path, ret, &e))
        fail_msg("%s", err_text(&e));
}

void write_file(const char *dir, const char *name, struct slice bytes)
{
    char path[512];
    CLEANUP(fd_done) int fd = -1;
    struct err e = ERR_INIT;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_true(stage_write_all(fd, bytes, &e));
}

void clear_dir(struct fixture *f)
{
    temp_dir_remove(f->dir);
    assert_int_equal(mkdir(f->dir, 0700), 0);
}
