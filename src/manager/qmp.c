#include "manager/qmp.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"

#define RETRY_MS 20

struct pending {
    qmp_done_fn done;
    void *ctx;
};

struct qmp {
    uv_loop_t *loop;
    uv_pipe_t pipe;
    uv_timer_t timer;
    uv_connect_t connect;
    unsigned handles; /* open; the last one frees */
    bool pipe_open;
    char *path;
    uint64_t until_ms;
    const struct qmp_events *events;
    void *ctx;
    struct buf in;
    uint8_t block[16384];
    struct pending pending[QMP_COMMANDS_MAX];
    size_t pending_count;
    bool greeted;
    bool ending; /* whoever waits is being told: nothing is sent or given up any more */
    bool closing;
};

struct qmp_line qmp_line_read(struct slice line, struct err *e)
{
    struct qmp_line l = { QMP_BROKEN, json_read(line, e), NULL, NULL, NULL };
    json_t *error;

    if (!l.root)
        return l;
    error = json_object_get(l.root, "error");
    l.event = json_string_value(json_object_get(l.root, "event"));
    if (json_object_get(l.root, "QMP")) {
        l.kind = QMP_GREETING;
    } else if (l.event) {
        l.kind = QMP_EVENT;
        l.data = json_object_get(l.root, "data");
    } else if (error) {
        l.error = json_string_value(json_object_get(error, "desc"));
        l.kind = QMP_ERROR;
        if (!l.error)
            l.error = "an error without description";
    } else if (json_object_get(l.root, "return")) {
        l.kind = QMP_RETURN;
        l.data = json_object_get(l.root, "return");
    } else {
        err_fail(e, ERR_KIND_INVALID, "QMP: neither event nor answer");
    }
    return l;
}

void qmp_line_done(struct qmp_line *l)
{
    json_decref(l->root);
    l->root = NULL;
}

static void handle_closed(uv_handle_t *h)
{
    struct qmp *q = h->data;

    if (--q->handles > 0)
        return;
    buf_done(&q->in);
    mem_free(q->path);
    mem_free(q);
}

void qmp_free(struct qmp *q)
{
    if (!q || q->closing)
        return;
    q->closing = true;
    uv_close((uv_handle_t *)&q->timer, handle_closed);
    if (q->pipe_open)
        uv_close((uv_handle_t *)&q->pipe, handle_closed);
}

/* Tells everyone who waits, then the user; q is gone when this returns. */
static void give_up(struct qmp *q, const struct err *why)
{
    if (q->closing || q->ending)
        return;
    q->ending = true;
    for (size_t i = 0; i < q->pending_count && !q->closing; i++)
        if (q->pending[i].done)
            q->pending[i].done(NULL, err_text(why), q->pending[i].ctx);
    q->pending_count = 0;
    if (q->closing)
        return; /* one of them has freed us */
    if (q->events->closed)
        q->events->closed(q, why, q->ctx);
    qmp_free(q);
}

static void give_up_with(struct qmp *q, enum err_kind kind, const char *text)
{
    struct err why = ERR_INIT;

    err_fail(&why, kind, "QMP at %s: %s", q->path, text);
    give_up(q, &why);
}

struct write {
    uv_write_t req;
    struct buf bytes;
};

static void written(uv_write_t *req, int status)
{
    struct write *w = req->data;

    (void)status; /* a broken pipe is seen by the reader */
    buf_done(&w->bytes);
    mem_free(w);
}

bool qmp_command(struct qmp *q, const char *name, qmp_done_fn done, void *ctx, struct err *e)
{
    struct write *w;

    if (q->closing || q->ending || !q->pipe_open)
        return err_fail(e, ERR_KIND_UNAVAILABLE, "QMP at %s: not connected", q->path);
    if (q->pending_count == QMP_COMMANDS_MAX)
        return err_fail(e, ERR_KIND_LIMIT, "QMP at %s: %d commands wait for an answer", q->path,
                        QMP_COMMANDS_MAX);
    w = mem_new(sizeof(*w), e);
    if (!w)
        return false;
    w->bytes = (struct buf)BUF_INIT(256);
    w->req.data = w;
    if (!buf_format(&w->bytes, e, "{\"execute\":\"%s\"}\n", name)) {
        mem_free(w);
        return false;
    }

    struct slice text = buf_slice(&w->bytes);
    uv_buf_t out = uv_buf_init((char *)text.at, (unsigned)text.len);
    int rc = uv_write(&w->req, (uv_stream_t *)&q->pipe, &out, 1, written);

    if (rc != 0) {
        buf_done(&w->bytes);
        mem_free(w);
        return err_fail(e, ERR_KIND_UNAVAILABLE, "QMP at %s: %s: %s", q->path, name, uv_strerror(rc));
    }
    q->pending[q->pending_count++] = (struct pending){ done, ctx };
    return true;
}

static void answered(struct qmp *q, const struct qmp_line *l)
{
    struct pending first;

    if (q->pending_count == 0) {
        give_up_with(q, ERR_KIND_INVALID, "an answer to no command");
        return;
    }
    first = q->pending[0];
    q->pending_count--;
    memmove(q->pending, q->pending + 1, q->pending_count * sizeof(q->pending[0]));
    if (first.done)
        first.done(l->data, l->error, first.ctx);
}

static void capabilities_answered(const json_t *result, const char *why, void *ctx)
{
    struct qmp *q = ctx;

    (void)result;
    if (q->closing)
        return;
    if (why) {
        give_up_with(q, ERR_KIND_UNSUPPORTED, why);
        return;
    }
    if (q->events->ready)
        q->events->ready(q, q->ctx);
}

static void take_line(struct qmp *q, struct slice line)
{
    struct err e = ERR_INIT;
    struct qmp_line l = qmp_line_read(line, &e);

    switch (l.kind) {
    case QMP_BROKEN: give_up_with(q, ERR_KIND_INVALID, err_text(&e)); break;
    case QMP_GREETING:
        if (q->greeted)
            give_up_with(q, ERR_KIND_INVALID, "a second greeting");
        else if (!qmp_command(q, "qmp_capabilities", capabilities_answered, q, &e))
            give_up(q, &e);
        q->greeted = true;
        break;
    case QMP_EVENT:
        if (q->events->event)
            q->events->event(q, l.event, l.data, q->ctx);
        break;
    case QMP_RETURN:
    case QMP_ERROR: answered(q, &l); break;
    }
    qmp_line_done(&l);
}

static void give_block(uv_handle_t *h, size_t suggested, uv_buf_t *ret)
{
    struct qmp *q = h->data;

    (void)suggested;
    *ret = uv_buf_init((char *)q->block, sizeof(q->block));
}

static void on_bytes(uv_stream_t *stream, ssize_t len, const uv_buf_t *block)
{
    struct qmp *q = stream->data;
    struct err e = ERR_INIT;

    if (len == 0)
        return;
    if (len < 0) {
        give_up_with(q, ERR_KIND_UNAVAILABLE,
                     len == UV_EOF ? "QEMU closed the connection" : uv_strerror((int)len));
        return;
    }
    if (!buf_append(&q->in, slice_of(block->base, (size_t)len), &e)) {
        give_up(q, &e);
        return;
    }
    while (!q->closing) {
        struct slice all = buf_slice(&q->in);
        size_t end = slice_find(all, '\n');

        if (end == all.len)
            return;
        if (end > 0 && !(end == 1 && all.at[0] == '\r'))
            take_line(q, slice_first(all, end));
        buf_consume(&q->in, end + 1);
    }
}

static void try_connect(uv_timer_t *timer);

static void pipe_closed_for_retry(uv_handle_t *h)
{
    struct qmp *q = h->data;

    q->pipe_open = false;
    if (q->closing) {
        handle_closed(h);
        return;
    }
    q->handles--;
    uv_timer_start(&q->timer, try_connect, RETRY_MS, 0);
}

static void connected(uv_connect_t *req, int status)
{
    struct qmp *q = req->data;

    if (q->closing)
        return;
    if (status == 0) {
        uv_read_start((uv_stream_t *)&q->pipe, give_block, on_bytes);
        return;
    }
    if (clock_mono_ms(clock_system()) >= q->until_ms) {
        give_up_with(q, ERR_KIND_TIMEOUT, uv_strerror(status));
        return;
    }
    /* A pipe that failed to connect can't be used again. pipe_open stays set until it is closed. */
    q->pipe_open = false;
    uv_close((uv_handle_t *)&q->pipe, pipe_closed_for_retry);
}

static void try_connect(uv_timer_t *timer)
{
    struct qmp *q = timer->data;

    uv_pipe_init(q->loop, &q->pipe, 0);
    q->pipe.data = q;
    q->pipe_open = true;
    q->handles++;
    q->connect.data = q;
    uv_pipe_connect(&q->connect, &q->pipe, q->path, connected);
}

bool qmp_connect(uv_loop_t *loop, const char *path, uint64_t deadline_ms, const struct qmp_events *events,
                 void *ctx, struct qmp **ret, struct err *e)
{
    struct qmp *q = mem_new(sizeof(*q), e);

    if (!q)
        return false;
    q->path = mem_dup_str(path, e);
    if (!q->path) {
        mem_free(q);
        return false;
    }
    q->loop = loop;
    q->in = (struct buf)BUF_INIT(QMP_LINE_MAX);
    q->events = events;
    q->ctx = ctx;
    q->until_ms = clock_mono_ms(clock_system()) + deadline_ms;
    uv_timer_init(loop, &q->timer);
    q->timer.data = q;
    q->handles = 1;
    uv_timer_start(&q->timer, try_connect, 0, 0);
    *ret = q;
    return true;
}
