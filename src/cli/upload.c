#include "cli/upload.h"

#include <inttypes.h>

#include "base/text.h"
#include "cli/bar.h"
#include "cli/pipe.h"
#include "proto/agent.pb-c.h"
#include "proto/pb.h"

#define MESSAGE_MAX ((size_t)8 * 1024 * 1024)
#define FLUSH_BYTES_PER_MS (16u * 1024u) /* 16 MiB a second: slower than any disk that is still of use */

bool cli_upload_message(enum cli_upload_field field, const char *filename, struct slice payload,
                        struct buf *out, struct err *e)
{
    Agent__AlgoRequest algo = AGENT__ALGO_REQUEST__INIT;
    Agent__DataRequest data = AGENT__DATA_REQUEST__INIT;

    switch (field) {
    case CLI_UPLOAD_REQUIREMENTS: algo.requirements = pb_bytes(payload); break;
    case CLI_UPLOAD_ALGORITHM: algo.algorithm = pb_bytes(payload); break;
    case CLI_UPLOAD_DATASET:
        data.dataset = pb_bytes(payload);
        data.filename = (char *)filename; /* protobuf-c has no const; it is only read */
        return pb_encode(&data.base, out, e);
    }
    return pb_encode(&algo.base, out, e);
}

/* ------------------------------------------------------ reading, in the pool */

struct reader {
    const struct cli_upload *upload;
    const struct cli_upload_part *part; /* being read                        */
    struct cli_pipe *pipe;
    struct buf rest; /* pieces that make no chunk yet     */
    struct err error;
    bool failed;
};

static bool put_chunk(struct reader *r, struct slice payload, struct err *e)
{
    CLEANUP(buf_done) struct buf message = BUF_INIT(MESSAGE_MAX);

    return cli_upload_message(r->part->field, r->part->source->name, payload, &message, e) &&
           cli_pipe_put(r->pipe, &message, payload.len, e);
}

static bool take_piece(struct slice bytes, void *ctx, struct err *e)
{
    struct reader *r = ctx;

    while (bytes.len > 0) {
        size_t n;

        /* A file comes in whole chunks, which need no copy; a zip comes in crumbs. */
        if (r->rest.len == 0 && bytes.len >= CLI_UPLOAD_CHUNK) {
            if (!put_chunk(r, slice_first(bytes, CLI_UPLOAD_CHUNK), e))
                return false;
            bytes = slice_after(bytes, CLI_UPLOAD_CHUNK);
            continue;
        }
        n = CLI_UPLOAD_CHUNK - r->rest.len < bytes.len ? CLI_UPLOAD_CHUNK - r->rest.len : bytes.len;
        if (!buf_append(&r->rest, slice_first(bytes, n), e))
            return false;
        bytes = slice_after(bytes, n);
        if (r->rest.len == CLI_UPLOAD_CHUNK) {
            if (!put_chunk(r, buf_slice(&r->rest), e))
                return false;
            buf_truncate(&r->rest, 0);
        }
    }
    return true;
}

static bool read_parts(struct reader *r, struct err *e)
{
    for (size_t i = 0; i < r->upload->part_count; i++) {
        r->part = &r->upload->parts[i];
        buf_truncate(&r->rest, 0);
        if (!cli_source_read(r->part->source, take_piece, r, e) ||
            (r->rest.len > 0 && !put_chunk(r, buf_slice(&r->rest), e)))
            return false;
    }
    return true;
}

/* ----------------------------------------------------- sending, on the loop */

struct transfer {
    struct cli_session *session;
    struct cli_bar bar;
    uv_work_t work;
    struct reader reader;
    struct cli_pipe pipe;
    struct rpc_call *call; /* NULL once closed                      */
    struct rpc_status status;
    uint64_t total;
    uint64_t sent;  /* payload handed to the call            */
    uint64_t moved; /* of it gone to the transport, as last seen */
    uint64_t moved_ms;
    size_t answers;
    bool read;  /* the reader has ended                 */
    bool ended; /* all has been sent, and said so       */
    bool done;
    struct err error; /* of this side                         */
};

static void read_in_pool(uv_work_t *work)
{
    struct transfer *t = work->data;

    t->reader.failed = !read_parts(&t->reader, &t->reader.error);
}

/* The first fault is the one that counts: what follows is its echo. */
static void give_up(struct transfer *t)
{
    cli_pipe_stop(&t->pipe);
    if (t->call)
        rpc_call_cancel(t->call);
}

static void pump(void *ctx)
{
    struct transfer *t = ctx;
    struct cli_chunk chunk;

    while (t->call && !t->ended && rpc_call_can_send(t->call) && cli_pipe_take(&t->pipe, &chunk)) {
        t->sent += chunk.payload;
        if (!rpc_call_send(t->call, &chunk.message, &t->error)) {
            give_up(t);
            return;
        }
    }
    if (t->call && t->read && !t->reader.failed && !t->ended && t->sent == t->total) {
        t->ended = true;
        rpc_call_send_end(t->call);
    }
}

static void settle(struct transfer *t)
{
    t->done = t->read && !t->call;
}

static void after_read(uv_work_t *work, int status)
{
    struct transfer *t = work->data;

    (void)status; /* never cancelled */
    t->read = true;
    if (t->reader.failed) {
        if (t->error.kind == ERR_KIND_NONE && t->reader.error.kind != ERR_KIND_CANCELLED)
            t->error = t->reader.error;
        give_up(t);
    }
    pump(t);
    settle(t);
}

static void on_message(struct rpc_call *c, struct buf *body, void *ctx)
{
    struct transfer *t = ctx;

    (void)body;
    t->answers++;
    rpc_call_want(c);
}

static void on_writable(struct rpc_call *c, void *ctx)
{
    (void)c;
    pump(ctx);
}

static void on_closed(struct rpc_call *c, const struct rpc_status *status, const struct rpc_md *trailers,
                      void *ctx)
{
    struct transfer *t = ctx;

    (void)c;
    (void)trailers;
    t->call = NULL;
    t->status = *status;
    cli_pipe_stop(&t->pipe); /* what is not sent by now nobody wants */
    settle(t);
}

/* How long nothing may move. Once all is sent, a slow disk over there may have much to flush. */
static uint64_t patience_ms(const struct transfer *t)
{
    return t->session->peer->timeout_ms + (t->ended ? t->total / FLUSH_BYTES_PER_MS : 0);
}

static void on_tick(void *ctx)
{
    struct transfer *t = ctx;
    uint64_t now = cli_session_now_ms(t->session);
    uint64_t limit = t->session->peer->timeout_ms ? patience_ms(t) : 0;
    uint64_t queued = t->call ? rpc_call_queued(t->call) : 0;
    uint64_t moved = queued < t->sent ? t->sent - queued : 0;
    char waited[32];

    if (moved != t->moved) {
        t->moved = moved;
        t->moved_ms = now;
    }
    if (!cli_bar_move(&t->bar, moved, now, &t->error)) {
        give_up(t);
    } else if (t->call && limit && now - t->moved_ms > limit && t->error.kind == ERR_KIND_NONE) {
        text_format_duration_ms(limit, waited);
        err_fail(&t->error, ERR_KIND_TIMEOUT,
                 t->ended ? "all is sent, but the agent has not answered for %s (AGENT_GRPC_TIMEOUT)"
                          : "nothing has moved for %s (AGENT_GRPC_TIMEOUT)",
                 waited);
        give_up(t);
    }
}

static void on_stop(void *ctx)
{
    give_up(ctx);
}

static const struct rpc_call_events events = {
    .message = on_message,
    .writable = on_writable,
    .closed = on_closed,
};

/* True with the call's status, unless this side has something to say against it. */
static bool judge(struct transfer *t, struct rpc_status *ret_status, struct err *e)
{
    if (t->error.kind != ERR_KIND_NONE) {
        *e = t->error;
        return false;
    }
    if (t->status.code == RPC_OK && !t->ended)
        return err_fail(e, ERR_KIND_INVALID,
                        "the agent ended the upload after %" PRIu64 " of %" PRIu64 " bytes", t->sent,
                        t->total);
    if (t->status.code == RPC_OK && t->answers != 1)
        return err_fail(e, ERR_KIND_INVALID, "the agent answered with %zu messages where one is due",
                        t->answers);
    *ret_status = t->status;
    return true;
}

bool cli_upload_run(struct cli_session *s, const struct cli_upload *u, struct rpc_status *ret_status,
                    struct err *e)
{
    struct transfer t = {
        .session = s,
        .reader = { .upload = u, .rest = BUF_INIT(CLI_UPLOAD_CHUNK), .error = ERR_INIT },
        .error = ERR_INIT,
    };
    struct cli_work work = { .tick = on_tick, .stop = on_stop, .ctx = &t };
    bool closed = false;
    bool succeeded;

    for (size_t i = 0; i < u->part_count; i++)
        t.total += u->parts[i].source->len;
    if (!cli_pipe_init(&t.pipe, &s->loop, pump, &t, e))
        return false;
    t.reader.pipe = &t.pipe;
    t.work.data = &t;
    t.moved_ms = cli_session_now_ms(s);
    if (!rpc_client_call(s->client, u->method, u->md, 0, &events, &t, &t.call, e)) {
        cli_pipe_done(&t.pipe, &closed);
        cli_session_wait(s, &closed, NULL);
        return false;
    }
    rpc_call_want(t.call);
    cli_bar_begin(&t.bar, u->what, t.total, s->out->bars, s->out->colour, t.moved_ms);
    if (uv_queue_work(&s->loop, &t.work, read_in_pool, after_read) != 0) {
        err_fail(&t.error, ERR_KIND_INTERNAL, "no thread can be had to read the file");
        t.read = true;
        give_up(&t);
    }
    cli_session_wait(s, &t.done, &work);
    succeeded = judge(&t, ret_status, e);
    if (succeeded && ret_status->code == RPC_OK)
        t.bar.view.done = t.total;
    cli_bar_end(&t.bar);
    cli_pipe_done(&t.pipe, &closed);
    cli_session_wait(s, &closed, NULL);
    buf_done(&t.reader.rest);
    return succeeded;
}

/* ------------------------------------------------------------- hash beforehand */

struct hashing {
    struct cli_session *session;
    struct cli_source *source;
    struct cli_bar bar;
    uv_work_t work;
    struct cli_gauge gauge;
    uint8_t hash[HASH_SHA3_256_LEN];
    bool done;
    bool failed;
    struct err error;
};

static void hash_in_pool(uv_work_t *work)
{
    struct hashing *h = work->data;

    h->failed = !cli_source_hash(h->source, &h->gauge, h->hash, &h->error);
}

static void after_hash(uv_work_t *work, int status)
{
    struct hashing *h = work->data;

    (void)status;
    h->done = true;
}

static void on_hash_tick(void *ctx)
{
    struct hashing *h = ctx;
    struct err e = ERR_INIT;

    /* The source itself refuses to be longer than its bar. */
    if (!cli_bar_move(&h->bar, atomic_load(&h->gauge.done), cli_session_now_ms(h->session), &e))
        cli_bar_end(&h->bar);
}

static void on_hash_stop(void *ctx)
{
    struct hashing *h = ctx;

    atomic_store(&h->gauge.stop, true);
}

static bool read_hex(const char *hex, uint8_t ret[HASH_SHA3_256_LEN], struct err *e)
{
    CLEANUP(buf_done) struct buf bytes = BUF_INIT(1024);

    if (!hex_decode(slice_of_str(hex), &bytes, e) || bytes.len != HASH_SHA3_256_LEN)
        return err_fail(e, ERR_KIND_INVALID, "flag --hash: '%.80s': 64 hex digits are wanted", hex);
    memcpy(ret, buf_slice(&bytes).at, HASH_SHA3_256_LEN);
    return true;
}

static void put_hash(struct cli_out *out, const uint8_t hash[HASH_SHA3_256_LEN])
{
    char hex[2 * HASH_SHA3_256_LEN + 1];

    hex_encode(slice_of(hash, HASH_SHA3_256_LEN), hex);
    cli_out_str(out, "sha3_256", hex);
}

bool cli_upload_hash(struct cli_session *s, struct cli_source *source, const char *hex,
                     uint8_t ret[HASH_SHA3_256_LEN], struct err *e)
{
    struct hashing h = { .session = s, .source = source, .error = ERR_INIT };
    struct cli_work work = { .tick = on_hash_tick, .stop = on_hash_stop, .ctx = &h };

    if (hex) {
        if (!read_hex(hex, ret, e))
            return false;
        put_hash(s->out, ret);
        return true;
    }
    cli_out_say(s->out, CLI_PLAIN, "Hashing %s for a signature bound to this computation", source->path);
    h.work.data = &h;
    cli_bar_begin(&h.bar, "Hashing", source->len, s->out->bars, s->out->colour, cli_session_now_ms(s));
    if (uv_queue_work(&s->loop, &h.work, hash_in_pool, after_hash) != 0)
        return err_fail(e, ERR_KIND_INTERNAL, "no thread can be had to read the file");
    cli_session_wait(s, &h.done, &work);
    if (h.failed)
        *e = h.error;
    else
        h.bar.view.done = source->len;
    cli_bar_end(&h.bar);
    if (h.failed)
        return false;
    memcpy(ret, h.hash, sizeof(h.hash));
    put_hash(s->out, ret);
    return true;
}
