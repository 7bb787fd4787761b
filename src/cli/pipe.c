#include "cli/pipe.h"

#define MESSAGE_MAX ((size_t)8 * 1024 * 1024)

static void on_async(uv_async_t *handle)
{
    struct cli_pipe *p = handle->data;

    p->on_ready(p->ctx);
}

bool cli_pipe_init(struct cli_pipe *p, uv_loop_t *loop, void (*on_ready)(void *ctx), void *ctx, struct err *e)
{
    memset(p, 0, sizeof(*p));
    p->on_ready = on_ready;
    p->ctx = ctx;
    p->ready.data = p;
    for (size_t i = 0; i < CLI_PIPE_SLOTS; i++)
        p->slots[i].message.max = MESSAGE_MAX;
    if (uv_mutex_init(&p->lock) != 0)
        return err_fail(e, ERR_KIND_INTERNAL, "no lock can be made");
    if (uv_cond_init(&p->room) != 0) {
        uv_mutex_destroy(&p->lock);
        return err_fail(e, ERR_KIND_INTERNAL, "no condition can be made");
    }
    if (uv_async_init(loop, &p->ready, on_async) != 0) {
        uv_cond_destroy(&p->room);
        uv_mutex_destroy(&p->lock);
        return err_fail(e, ERR_KIND_INTERNAL, "the event loop can't be woken by others");
    }
    return true;
}

bool cli_pipe_put(struct cli_pipe *p, struct buf *take_message, size_t payload, struct err *e)
{
    bool stopped;

    uv_mutex_lock(&p->lock);
    while (p->count == CLI_PIPE_SLOTS && !p->stopped)
        uv_cond_wait(&p->room, &p->lock);
    stopped = p->stopped;
    if (!stopped) {
        struct cli_chunk *slot = &p->slots[(p->first + p->count) % CLI_PIPE_SLOTS];

        buf_move(&slot->message, take_message);
        slot->payload = payload;
        p->count++;
    }
    uv_mutex_unlock(&p->lock);
    if (stopped) {
        buf_done(take_message);
        return err_fail(e, ERR_KIND_CANCELLED, "stopped");
    }
    uv_async_send(&p->ready);
    return true;
}

bool cli_pipe_take(struct cli_pipe *p, struct cli_chunk *ret)
{
    bool found = false;

    uv_mutex_lock(&p->lock);
    if (p->count > 0) {
        ret->message = (struct buf)BUF_INIT(MESSAGE_MAX);
        buf_move(&ret->message, &p->slots[p->first].message);
        ret->payload = p->slots[p->first].payload;
        p->first = (p->first + 1) % CLI_PIPE_SLOTS;
        p->count--;
        found = true;
        uv_cond_signal(&p->room);
    }
    uv_mutex_unlock(&p->lock);
    return found;
}

void cli_pipe_stop(struct cli_pipe *p)
{
    uv_mutex_lock(&p->lock);
    p->stopped = true;
    uv_cond_broadcast(&p->room);
    uv_mutex_unlock(&p->lock);
}

static void on_closed(uv_handle_t *handle)
{
    struct cli_pipe *p = handle->data;
    bool *closed = p->ctx;

    for (size_t i = 0; i < CLI_PIPE_SLOTS; i++)
        buf_done(&p->slots[i].message);
    uv_cond_destroy(&p->room);
    uv_mutex_destroy(&p->lock);
    *closed = true;
}

void cli_pipe_done(struct cli_pipe *p, bool *closed)
{
    p->ctx = closed;
    uv_close((uv_handle_t *)&p->ready, on_closed);
}
