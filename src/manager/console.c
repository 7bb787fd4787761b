#include "manager/console.h"

#include "base/mem.h"

struct mgr_console {
    uv_pipe_t pipe;
    uv_connect_t connect;
    void (*connected)(const struct err *why, void *ctx);
    void *ctx;
    struct mgr_ring ring;
    uint8_t block[16384];
};

void mgr_ring_add(struct mgr_ring *r, struct slice bytes)
{
    if (bytes.len > MGR_CONSOLE_RING) {
        r->written += bytes.len - MGR_CONSOLE_RING;
        bytes = slice_after(bytes, bytes.len - MGR_CONSOLE_RING);
    }

    size_t at = (size_t)(r->written % MGR_CONSOLE_RING);
    size_t first = bytes.len < MGR_CONSOLE_RING - at ? bytes.len : MGR_CONSOLE_RING - at;

    if (first)
        memcpy(r->bytes + at, bytes.at, first);
    if (bytes.len > first)
        memcpy(r->bytes, bytes.at + first, bytes.len - first);
    r->written += bytes.len;
}

bool mgr_ring_tail(const struct mgr_ring *r, size_t max, struct buf *out, struct err *e)
{
    size_t kept = r->written < MGR_CONSOLE_RING ? (size_t)r->written : MGR_CONSOLE_RING;
    size_t len = kept < max ? kept : max;
    bool cut = len < r->written;

    for (size_t i = 0; i < len; i++) {
        uint8_t c = r->bytes[(r->written - len + i) % MGR_CONSOLE_RING];

        if (!cut && !buf_append_u8(out, c, e))
            return false;
        if (cut && c == '\n')
            cut = false;
    }
    return true;
}

struct slice mgr_console_words(struct slice tail, size_t max)
{
    static const char panic[] = "Kernel panic";
    const uint8_t *found = tail.len ? memmem(tail.at, tail.len, panic, sizeof(panic) - 1) : NULL;

    if (found)
        return slice_first(slice_after(tail, (size_t)(found - tail.at)), max);
    if (tail.len <= max)
        return tail;
    tail = slice_after(tail, tail.len - max);
    return slice_after(tail, slice_find(tail, '\n') + 1);
}

static void closed(uv_handle_t *h)
{
    mem_free(h->data);
}

void mgr_console_free(struct mgr_console *c)
{
    if (!c || uv_is_closing((uv_handle_t *)&c->pipe))
        return;
    c->connected = NULL;
    uv_close((uv_handle_t *)&c->pipe, closed);
}

static void give_block(uv_handle_t *h, size_t suggested, uv_buf_t *ret)
{
    struct mgr_console *c = h->data;

    (void)suggested;
    *ret = uv_buf_init((char *)c->block, sizeof(c->block));
}

static void on_bytes(uv_stream_t *stream, ssize_t len, const uv_buf_t *block)
{
    struct mgr_console *c = stream->data;

    if (len > 0)
        mgr_ring_add(&c->ring, slice_of(block->base, (size_t)len));
    else if (len < 0)
        uv_read_stop(stream); /* QEMU ended; its process says so */
}

static void on_connect(uv_connect_t *req, int status)
{
    struct mgr_console *c = req->data;
    struct err why = ERR_INIT;

    if (!c->connected)
        return;
    if (status == 0)
        status = uv_read_start((uv_stream_t *)&c->pipe, give_block, on_bytes);
    if (status != 0)
        err_fail(&why, ERR_KIND_UNAVAILABLE, "the VM's console: %s", uv_strerror(status));
    c->connected(status != 0 ? &why : NULL, c->ctx);
}

bool mgr_console_open(uv_loop_t *loop, const char *path, void (*connected)(const struct err *why, void *ctx),
                      void *ctx, struct mgr_console **ret, struct err *e)
{
    struct mgr_console *c = mem_new(sizeof(*c), e);

    if (!c)
        return false;
    c->connected = connected;
    c->ctx = ctx;
    uv_pipe_init(loop, &c->pipe, 0);
    c->pipe.data = c;
    c->connect.data = c;
    uv_pipe_connect(&c->connect, &c->pipe, path, on_connect);
    *ret = c;
    return true;
}

const struct mgr_ring *mgr_console_ring(const struct mgr_console *c)
{
    return &c->ring;
}
