#include "cli/download.h"

#include <inttypes.h>

#include "base/text.h"
#include "cli/bar.h"
#include "proto/agent.pb-c.h"
#include "proto/pb.h"

struct download {
    struct cli_session *session;
    struct stage_file *into;
    struct rpc_call *call; /* NULL once closed */
    struct rpc_status status;
    struct cli_bar bar;
    bool announced;
    uint64_t total;
    uint64_t came; /* bytes */
    uint64_t moved_ms;
    Agent__ResultResponse *message; /* being written */
    uv_work_t work;
    bool writing;
    bool done;
    struct err write_error;
    struct err error;
};

static void give_up(struct download *d)
{
    if (d->call)
        rpc_call_cancel(d->call);
}

static void settle(struct download *d)
{
    d->done = !d->call && !d->writing;
}

static void on_initial(struct rpc_call *c, const struct rpc_md *md, void *ctx)
{
    struct download *d = ctx;
    struct slice text;

    (void)c;
    if (!rpc_md_get(md, "file-size", 0, &text))
        return; /* a status without content needs none */
    if (!text_parse_u64(text, 0, INT64_MAX, &d->total, &d->error)) {
        err_wrap(&d->error, "file-size announced by the agent");
        give_up(d);
        return;
    }
    d->announced = true;
    cli_bar_begin(&d->bar, "Downloading result", d->total, d->session->out->bars, d->session->out->colour,
                  cli_session_now_ms(d->session));
}

static void write_in_pool(uv_work_t *work)
{
    struct download *d = work->data;

    if (!stage_file_write(d->into, pb_slice(d->message->file), &d->write_error))
        err_wrap(&d->write_error, "write the result");
}

static void after_write(uv_work_t *work, int status)
{
    struct download *d = work->data;

    (void)status; /* never cancelled */
    d->writing = false;
    pb_free(&d->message->base);
    d->message = NULL;
    d->moved_ms = cli_session_now_ms(d->session);
    if (d->write_error.kind != ERR_KIND_NONE) {
        if (d->error.kind == ERR_KIND_NONE)
            d->error = d->write_error;
        give_up(d);
    } else if (d->call) {
        rpc_call_want(d->call);
    }
    settle(d);
}

static bool take_message(struct download *d, struct slice body)
{
    struct err *e = &d->error;

    d->message = (Agent__ResultResponse *)pb_decode(&agent__result_response__descriptor, body, NULL, e);
    if (!d->message)
        return false;
    if (!d->announced)
        return err_fail(e, ERR_KIND_INVALID, "the agent sent bytes without announcing a file-size");
    if (!cli_bar_move(&d->bar, d->came + d->message->file.len, cli_session_now_ms(d->session), e))
        return false;
    d->came += d->message->file.len;
    if (uv_queue_work(&d->session->loop, &d->work, write_in_pool, after_write) != 0)
        return err_fail(e, ERR_KIND_INTERNAL, "no thread can be had to write the file");
    d->writing = true;
    return true;
}

static void on_message(struct rpc_call *c, struct buf *body, void *ctx)
{
    struct download *d = ctx;

    (void)c;
    if (d->error.kind == ERR_KIND_NONE && !take_message(d, buf_slice(body))) {
        if (d->message)
            pb_free(&d->message->base);
        d->message = NULL;
        give_up(d);
    }
}

static void on_closed(struct rpc_call *c, const struct rpc_status *status, const struct rpc_md *trailers,
                      void *ctx)
{
    struct download *d = ctx;

    (void)c;
    (void)trailers;
    d->call = NULL;
    d->status = *status;
    settle(d);
}

static void on_tick(void *ctx)
{
    struct download *d = ctx;
    uint64_t now = cli_session_now_ms(d->session);
    uint64_t limit = d->session->peer->timeout_ms;
    struct err e = ERR_INIT;
    char waited[32];

    if (!cli_bar_move(&d->bar, d->came, now, &e) && d->error.kind == ERR_KIND_NONE)
        d->error = e;
    if (!d->call || d->writing || !limit || now - d->moved_ms <= limit || d->error.kind != ERR_KIND_NONE)
        return;
    text_format_duration_ms(limit, waited);
    err_fail(&d->error, ERR_KIND_TIMEOUT, "nothing has come for %s (AGENT_GRPC_TIMEOUT)", waited);
    give_up(d);
}

static void on_stop(void *ctx)
{
    give_up(ctx);
}

static const struct rpc_call_events events = {
    .initial = on_initial,
    .message = on_message,
    .closed = on_closed,
};

static bool judge(struct download *d, struct rpc_status *ret_status, struct err *e)
{
    if (d->error.kind != ERR_KIND_NONE) {
        *e = d->error;
        return false;
    }
    *ret_status = d->status;
    if (d->status.code != RPC_OK)
        return true;
    if (!d->announced)
        return err_fail(e, ERR_KIND_INVALID, "the agent announced no file-size");
    if (d->came != d->total)
        return err_fail(e, ERR_KIND_INVALID, "the result is cut off: %" PRIu64 " of %" PRIu64 " bytes came",
                        d->came, d->total);
    if (d->total == 0)
        return err_fail(e, ERR_KIND_MISSING, "the agent sent an empty result, not even an empty archive");
    return true;
}

bool cli_download_result(struct cli_session *s, const struct rpc_md *md, struct stage_file *into,
                         struct rpc_status *ret_status, struct err *e)
{
    struct download d = {
        .session = s,
        .into = into,
        .write_error = ERR_INIT,
        .error = ERR_INIT,
        .moved_ms = cli_session_now_ms(s),
    };
    struct cli_work work = { .tick = on_tick, .stop = on_stop, .ctx = &d };
    CLEANUP(buf_done) struct buf request = BUF_INIT(16);
    bool succeeded;

    d.work.data = &d;
    if (!rpc_client_call(s->client, "/agent.AgentService/Result", md, 0, &events, &d, &d.call, e))
        return false;
    if (!rpc_call_send(d.call, &request, &d.error))
        give_up(&d);
    else
        rpc_call_send_end(d.call);
    if (d.call)
        rpc_call_want(d.call);
    cli_session_wait(s, &d.done, &work);
    succeeded = judge(&d, ret_status, e);
    cli_bar_end(&d.bar);
    return succeeded;
}
