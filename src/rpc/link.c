#include "rpc/link.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"

#define PULL_LEN ((size_t)256 * 1024)
#define OUT_MAX (PULL_LEN + (size_t)1024 * 1024) /* TLS adds a little to what was pulled */
#define TURNS_MAX 8                              /* reads or writes before others get their turn */
#define LINGER_MS 500
#define HANDLES 3

struct rpc_link {
    struct rpc_link_config cfg;
    char *name;
    struct rpc_conn *conn;
    struct tls_conn *tls;
    bool tls_open;
    int fd;
    uv_poll_t poll;
    uv_timer_t timer;
    uv_idle_t idle;
    struct buf plain; /* pulled, to be encrypted */
    struct buf out;   /* for the socket          */
    uint64_t armed_ms;
    int poll_events;
    int open_handles;
    bool polled; /* the poll handle is initialised */
    bool blocked;
    bool running;
    bool ending;    /* the last words are being written */
    bool lingering; /* and have been */
    bool closing;
    struct err why;
};

static void run(struct rpc_link *l);

static void on_idle(uv_idle_t *h)
{
    uv_idle_stop(h);
    run(h->data);
}

static void on_wake(void *ctx)
{
    struct rpc_link *l = ctx;

    /* Run looks again by itself; when closed only dispatching is left, which needs a turn too. */
    if (!l->running && !uv_is_closing((uv_handle_t *)&l->idle))
        uv_idle_start(&l->idle, on_idle);
}

/* --------------------------------------------------------------------- closing */

static void release(struct rpc_link *l)
{
    tls_conn_free(l->tls);
    l->tls = NULL;
    buf_done(&l->plain);
    buf_done(&l->out);
}

static void on_handle_closed(uv_handle_t *h)
{
    struct rpc_link *l = h->data;

    if (--l->open_handles > 0)
        return;
    l->cfg.gone(l, l->cfg.ctx);
    rpc_conn_free(l->conn);
    release(l);
    mem_free(l->name);
    mem_free(l);
}

/* The socket goes at once; the rest when the last call has been told. */
static void close_socket(struct rpc_link *l)
{
    if (l->polled && !uv_is_closing((uv_handle_t *)&l->poll)) {
        uv_poll_stop(&l->poll);
        uv_close((uv_handle_t *)&l->poll, on_handle_closed);
    }
    if (l->fd >= 0)
        close(l->fd);
    l->fd = -1;
    release(l);
}

static void close_rest(struct rpc_link *l)
{
    if (rpc_conn_call_count(l->conn) > 0 || uv_is_closing((uv_handle_t *)&l->idle))
        return;
    uv_close((uv_handle_t *)&l->idle, on_handle_closed);
    uv_close((uv_handle_t *)&l->timer, on_handle_closed);
}

static void fail(struct rpc_link *l, const struct err *why)
{
    if (l->closing)
        return;
    l->closing = true;
    l->why = *why;
    uv_timer_stop(&l->timer);
    rpc_conn_fail(l->conn, why);
    close_socket(l);
    if (l->cfg.closed)
        l->cfg.closed(l, &l->why, l->cfg.ctx);
    on_wake(l);
}

void rpc_link_fail(struct rpc_link *l, const struct err *why)
{
    fail(l, why);
}

void rpc_link_close(struct rpc_link *l)
{
    struct err why = ERR_INIT;

    err_fail(&why, ERR_KIND_UNAVAILABLE, "the connection was closed on this side");
    if (l->fd < 0)
        fail(l, &why);
    else
        on_wake(l);
}

/* --------------------------------------------------------------------- writing */

/* Moves what TLS wants on the wire to the output. */
static bool take_tls_out(struct rpc_link *l, struct err *e)
{
    size_t len;

    while ((len = tls_conn_out_len(l->tls)) > 0) {
        uint8_t *at;

        if (!buf_reserve(&l->out, len, &at, e))
            return false;
        buf_extend(&l->out, tls_conn_out(l->tls, at, len));
    }
    return true;
}

/* Fills the empty output. */
static bool refill(struct rpc_link *l, struct err *e)
{
    if (!l->tls) {
        rpc_conn_pull(l->conn, &l->out, PULL_LEN);
        return true;
    }
    if (l->tls_open) {
        rpc_conn_pull(l->conn, &l->plain, PULL_LEN);
        if (l->plain.len > 0 && !tls_conn_write(l->tls, buf_slice(&l->plain), e))
            return false;
        buf_truncate(&l->plain, 0);
        buf_consume(&l->plain, l->plain.len);
    }
    return take_tls_out(l, e);
}

static bool flush(struct rpc_link *l, struct err *e)
{
    for (int turn = 0; turn < TURNS_MAX; turn++) {
        if (l->out.len == 0 && !refill(l, e))
            return err_wrap(e, "%s", l->name);
        if (l->out.len == 0) {
            l->blocked = false;
            return true;
        }

        struct slice s = buf_slice(&l->out);
        ssize_t n = send(l->fd, s.at, s.len, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            break;
        if (n < 0)
            return err_fail_os(e, "write to %s", l->name);
        buf_consume(&l->out, (size_t)n);
    }
    l->blocked = true; /* the loop says when to go on */
    return true;
}

/* --------------------------------------------------------------------- reading */

static bool feed_tls(struct rpc_link *l, struct slice wire, struct err *e)
{
    uint8_t plain[16 * 1024];
    enum tls_step step = tls_conn_feed(l->tls, wire, e);

    while (step == TLS_OPEN) {
        size_t len = 0;

        l->tls_open = true;
        step = tls_conn_read(l->tls, plain, sizeof(plain), &len, e);
        if (len > 0)
            rpc_conn_feed(l->conn, slice_of(plain, len));
        else
            break;
    }
    if (step == TLS_CLOSED)
        return err_fail(e, ERR_KIND_UNAVAILABLE, "the peer has closed the connection");
    return step != TLS_BROKEN;
}

/* False when the transport has ended, and *e says why. */
static bool read_some(struct rpc_link *l, struct err *e)
{
    for (int turn = 0; turn < TURNS_MAX; turn++) {
        ssize_t n = recv(l->fd, l->cfg.scratch, RPC_LINK_SCRATCH, 0);
        struct slice got = slice_of(l->cfg.scratch, n > 0 ? (size_t)n : 0);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return true;
        if (n < 0)
            return err_fail_os(e, "read from %s", l->name);
        if (n == 0) {
            const char *hint = l->tls ? tls_conn_hint(l->tls) : NULL;

            return err_fail(e, ERR_KIND_UNAVAILABLE, "%s has closed the connection%s%s", l->name,
                            hint ? ": " : "", hint ? hint : "");
        }
        if (l->lingering)
            continue;
        if (!l->tls)
            rpc_conn_feed(l->conn, got);
        else if (!feed_tls(l, got, e))
            return err_wrap(e, "%s", l->name);
        if (got.len < RPC_LINK_SCRATCH)
            return true;
    }
    return true;
}

/* ------------------------------------------------------------------- the turns */

static void poll_for(struct rpc_link *l, int events);

static void on_poll(uv_poll_t *h, int status, int events)
{
    struct rpc_link *l = h->data;
    struct err e = ERR_INIT;

    /* After an error the read tells which. */
    if ((status < 0 || (events & (UV_READABLE | UV_DISCONNECT))) && !read_some(l, &e)) {
        /* An alert of ours may tell the peer what was wrong. */
        struct err ignored = ERR_INIT;

        if (l->tls && take_tls_out(l, &ignored))
            (void)!send(l->fd, buf_slice(&l->out).at, l->out.len, MSG_NOSIGNAL);
        fail(l, &e);
    }
    run(l);
}

static void poll_for(struct rpc_link *l, int events)
{
    if (l->closing || !l->polled || events == l->poll_events)
        return;
    l->poll_events = events;
    uv_poll_start(&l->poll, events, on_poll);
}

static void on_timer(uv_timer_t *h)
{
    struct rpc_link *l = h->data;
    struct err e = ERR_INIT;

    l->armed_ms = UINT64_MAX;
    if (l->ending) {
        err_fail(&e, ERR_KIND_UNAVAILABLE, "the connection was closed on this side");
        fail(l, &e);
    }
    if (!l->closing)
        rpc_conn_tick(l->conn);
    run(l);
}

static uint64_t now_ms(const struct rpc_link *l)
{
    return clock_mono_ms(l->cfg.conn.clock);
}

static void arm(struct rpc_link *l, uint64_t at)
{
    uint64_t now = now_ms(l);

    if (l->closing || at == UINT64_MAX || at >= l->armed_ms)
        return;
    l->armed_ms = at;
    uv_timer_start(&l->timer, on_timer, at > now ? at - now : 1, 0);
}

/* From here on the peer has a short time to take what is left for it. */
static void begin_ending(struct rpc_link *l)
{
    if (l->ending)
        return;
    l->ending = true;
    l->armed_ms = UINT64_MAX;
    arm(l, now_ms(l) + LINGER_MS);
}

static void say_goodbye(struct rpc_link *l)
{
    struct err e = ERR_INIT;

    if (!l->tls || l->fd < 0)
        return;
    tls_conn_close(l->tls);
    /* Should it not fit into the socket, the peer sees an end without it, and nothing is lost. */
    if (take_tls_out(l, &e) && l->out.len > 0)
        (void)!send(l->fd, buf_slice(&l->out).at, l->out.len, MSG_NOSIGNAL);
}

/* All is said. A server waits a little for the peer to close first, so that its last words arrive. */
static void finish(struct rpc_link *l)
{
    const struct err *fault = rpc_conn_fault(l->conn);
    struct err why = ERR_INIT;

    if (l->lingering || l->closing)
        return;
    say_goodbye(l);
    if (l->cfg.conn.role == RPC_ROLE_SERVER && l->fd >= 0 && shutdown(l->fd, SHUT_WR) == 0) {
        l->lingering = true;
        begin_ending(l);
        return;
    }
    if (fault) {
        why = *fault;
        err_wrap(&why, "%s", l->name);
    } else {
        err_fail(&why, ERR_KIND_UNAVAILABLE, "%s: the connection has ended", l->name);
    }
    fail(l, &why);
}

static void turn(struct rpc_link *l)
{
    struct err e = ERR_INIT;

    do {
        while (rpc_conn_dispatch(l->conn))
            ;
        if (l->closing || l->fd < 0 || l->lingering)
            break;
        if (!flush(l, &e))
            fail(l, &e);
    } while (rpc_conn_dispatch(l->conn));
}

static void run(struct rpc_link *l)
{
    if (l->running)
        return;
    l->running = true;
    turn(l);
    /* Without a socket there is nobody to say goodbye to. */
    if (!l->closing && l->out.len == 0 && rpc_conn_is_over(l->conn))
        finish(l);
    else if (!l->closing && l->fd < 0 && rpc_conn_fault(l->conn))
        fail(l, rpc_conn_fault(l->conn));
    while (rpc_conn_dispatch(l->conn))
        ;
    l->running = false;
    if (l->closing) {
        close_rest(l);
        return;
    }
    poll_for(l, UV_READABLE | (l->blocked && !l->lingering ? UV_WRITABLE : 0));
    if (rpc_conn_is_ending(l->conn))
        begin_ending(l);
    else
        arm(l, rpc_conn_deadline(l->conn));
}

/* ----------------------------------------------------------------------- birth */

static void on_open(struct rpc_conn *n, struct rpc_call *c, void *ctx)
{
    struct rpc_link *l = ctx;

    l->cfg.open(n, c, l->cfg.ctx);
}

bool rpc_link_new(const struct rpc_link_config *cfg, struct rpc_link **ret, struct err *e)
{
    struct rpc_link *l = mem_new(sizeof(*l), e);
    struct rpc_conn_events events = { .open = on_open, .wake = on_wake };

    if (!l)
        return false;
    l->cfg = *cfg;
    l->fd = -1;
    l->armed_ms = UINT64_MAX;
    l->plain = (struct buf)BUF_INIT(OUT_MAX);
    l->out = (struct buf)BUF_INIT(OUT_MAX);
    l->name = mem_dup_str(cfg->name, e);
    /* The loop owes us nothing yet: on failure plain memory is all there is. */
    if (!l->name || !rpc_conn_new(&cfg->conn, &events, l, &l->conn, e)) {
        mem_free(l->name);
        mem_free(l);
        return false;
    }
    uv_timer_init(cfg->loop, &l->timer);
    uv_idle_init(cfg->loop, &l->idle);
    l->timer.data = l->idle.data = l->poll.data = l;
    l->open_handles = HANDLES - 1;
    arm(l, rpc_conn_deadline(l->conn));
    *ret = l;
    return true;
}

bool rpc_link_attach(struct rpc_link *l, int take_fd, struct tls_conn *take_tls, struct err *e)
{
    int rc = l->closing ? UV_ECANCELED : uv_poll_init(l->cfg.loop, &l->poll, take_fd);

    if (rc != 0) {
        close(take_fd);
        tls_conn_free(take_tls);
        return err_fail(e, ERR_KIND_INTERNAL, "watch the socket of %s: %s", l->name, uv_strerror(rc));
    }
    l->open_handles++;
    l->polled = true;
    l->fd = take_fd;
    l->tls = take_tls;
    poll_for(l, UV_READABLE);
    on_wake(l); /* the preface waits to be written */
    return true;
}

struct rpc_conn *rpc_link_conn(struct rpc_link *l)
{
    return l->conn;
}
