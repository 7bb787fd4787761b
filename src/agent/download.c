#include "agent/download.h"

#include <unistd.h>

#include "agent/comp_int.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"

#define PIECE ((size_t)1024 * 1024)
#define HEAD_MAX 16 /* two tags and lengths */
#define TAG_FIRST 0x0a
#define TAG_SECOND 0x12

struct download {
    uv_loop_t *loop;
    struct rpc_call *call; /* NULL once it has closed */
    struct download_source src;
    uint64_t at;
    bool sent_any;
    bool working;
    struct buf body;
    struct job job;
    struct rpc_status status;
    download_ended_fn ended;
    void *ctx;
};

static void download_free(struct download *d)
{
    buf_done(&d->src.bytes);
    buf_done(&d->src.first_extra);
    buf_done(&d->body);
    d->ended(&d->status, d->ctx);
    mem_free(d);
}

/* ------------------------------------------------------------------ one message */

static bool varint_put(struct buf *out, uint64_t n, struct err *e)
{
    for (; n >= 0x80; n >>= 7)
        if (!buf_append_u8(out, (uint8_t)(n | 0x80), e))
            return false;
    return buf_append_u8(out, (uint8_t)n, e);
}

static bool read_file(struct download *d, uint8_t *at, size_t len, struct err *e)
{
    size_t got;

    if (!file_pread(d->src.fd, d->at, at, len, &got, e))
        return err_wrap(e, "the result");
    d->at += got;
    return got == len || err_fail(e, ERR_KIND_INTERNAL, "read the result: it ends early");
}

static bool fill(void *ctx, struct err *e)
{
    struct download *d = ctx;
    uint64_t left = d->src.len - d->at;
    size_t len = left < PIECE ? (size_t)left : PIECE;
    struct slice extra = d->sent_any ? SLICE_EMPTY : buf_slice(&d->src.first_extra);
    uint8_t *at;

    if (!buf_append_u8(&d->body, TAG_FIRST, e) || !varint_put(&d->body, len, e) ||
        !buf_reserve(&d->body, len, &at, e))
        return false;
    if (d->src.fd >= 0) {
        if (!read_file(d, at, len, e))
            return false;
    } else {
        if (len > 0)
            memcpy(at, buf_slice(&d->src.bytes).at + d->at, len);
        d->at += len;
    }
    buf_extend(&d->body, len);
    if (extra.len == 0)
        return true;
    return buf_append_u8(&d->body, TAG_SECOND, e) && varint_put(&d->body, extra.len, e) &&
           buf_append(&d->body, extra, e);
}

static void go_on(struct download *d);

static void filled(void *ctx, bool ok, struct err *e)
{
    struct download *d = ctx;

    d->working = false;
    d->sent_any = true;
    if (!d->call) {
        download_free(d);
        return;
    }
    if (!ok || !rpc_call_send(d->call, &d->body, e)) {
        rpc_call_finish(d->call, RPC_UNKNOWN, err_text(e), NULL);
        return;
    }
    go_on(d);
}

static void go_on(struct download *d)
{
    if (d->working || !rpc_call_can_send(d->call))
        return;
    if (d->at == d->src.len && (d->sent_any || d->src.first_extra.len == 0)) {
        rpc_call_finish(d->call, RPC_OK, "", NULL);
        return;
    }
    d->working = true;
    d->body.max = PIECE + HEAD_MAX + d->src.first_extra.len;
    job_start(d->loop, &d->job, fill, filled, d);
}

static void on_writable(struct rpc_call *call, void *ctx)
{
    (void)call;
    go_on(ctx);
}

static void on_closed(struct rpc_call *call, const struct rpc_status *status, const struct rpc_md *trailers,
                      void *ctx)
{
    struct download *d = ctx;

    (void)call;
    (void)trailers;
    d->status = *status;
    d->call = NULL;
    if (!d->working)
        download_free(d);
}

bool download_start(uv_loop_t *loop, struct rpc_call *call, struct download_source *take,
                    download_ended_fn ended, void *ctx, struct err *e)
{
    static const struct rpc_call_events events = { .writable = on_writable, .closed = on_closed };
    struct rpc_md md = RPC_MD_INIT;
    struct download *d = mem_new(sizeof(*d), e);
    char size[24];
    bool ok;

    if (!d)
        return false;
    *d = (struct download){ .loop = loop, .call = call, .src = *take, .ended = ended, .ctx = ctx };
    if (d->src.fd < 0)
        d->src.len = d->src.bytes.len;
    *take = (struct download_source){ .fd = -1 };
    snprintf(size, sizeof(size), "%llu", (unsigned long long)d->src.len);
    ok = rpc_md_add_str(&md, "file-size", size, e) && rpc_call_send_initial(call, &md, e);
    rpc_md_done(&md);
    if (!ok) {
        buf_done(&d->src.bytes);
        buf_done(&d->src.first_extra);
        mem_free(d);
        return false;
    }
    rpc_call_on(call, &events, d);
    go_on(d);
    return true;
}

/* ------------------------------------------------------------------ Result */

struct result_call {
    struct comp *c;
    struct admit_seat seat;
    uint64_t started_ms;
};

static void result_ended(const struct rpc_status *status, void *ctx)
{
    struct result_call *r = ctx;
    struct comp *c = r->c;

    comp_log_method(c, "Result", r->started_ms, status->code == RPC_OK ? "" : status->message);
    if (status->code == RPC_OK && c->ending == END_NONE && c->state == FSM_CONSUMING_RESULTS)
        comp_event(c, FSM_RESULTS_CONSUMED);
    admit_leave(&c->downloads_admitted, &r->seat);
    mem_free(r);
    comp_task_end(c);
}

static void result_early_end(struct rpc_call *call, const struct rpc_status *status,
                             const struct rpc_md *trailers, void *ctx)
{
    (void)call;
    (void)trailers;
    result_ended(status, ctx);
}

/* The request has no fields; its coming whole is what matters. */
static void result_asked(struct rpc_call *call, struct buf *body, void *ctx)
{
    struct result_call *r = ctx;
    struct download_source src = { .fd = r->c->result.fd, .len = r->c->result.len };
    struct err e = ERR_INIT;

    (void)body;
    if (!download_start(r->c->d.loop, call, &src, result_ended, r, &e))
        rpc_call_finish(call, RPC_UNKNOWN, err_text(&e), NULL);
}

void download_open_result(struct rpc_call *call, void *service)
{
    static const struct rpc_call_events events = { .message = result_asked, .closed = result_early_end };
    struct comp *c = service;
    struct err e = ERR_INIT;
    struct result_call *r = mem_new(sizeof(*r), &e);

    if (!r || c->granted_call != call) {
        mem_free(r);
        rpc_call_finish(call, RPC_INTERNAL, "the call was not authenticated", NULL);
        return;
    }
    c->granted_call = NULL;
    *r = (struct result_call){ .c = c, .started_ms = comp_now_ms(c) };
    admit_take(&c->downloads_admitted, &r->seat, &c->granted);
    comp_task_begin(c);
    rpc_call_on(call, &events, r);
    rpc_call_want(call);
}
