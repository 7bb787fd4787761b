#include "rpc/dial.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/stage.h"

#define ADDRESSES_MAX 16
#define PROXY_REPLY_MAX 8192

struct rpc_dial {
    uv_loop_t *loop;
    struct rpc_address target;
    struct rpc_address proxy;
    bool has_proxy;
    bool asking_proxy; /* connected to it; its answer is due */
    bool over;         /* done has come, or will not */
    rpc_dial_done_fn done;
    void *ctx;
    struct rpc_sockaddr addresses[ADDRESSES_MAX];
    size_t count;
    size_t next;
    uint64_t attempt_ms; /* for one address while others are left */
    uint64_t timeout_ms;
    uint64_t started_ms;
    uv_timer_t timer;
    uv_getaddrinfo_t lookup;
    bool looking_up;
    bool timer_closed;
    uv_poll_t *poll; /* of the present attempt */
    int fd;
    struct buf reasons;
};

static void attempt(struct rpc_dial *d);

static void free_poll(uv_handle_t *h)
{
    mem_free(h);
}

static void drop_poll(struct rpc_dial *d)
{
    if (!d->poll)
        return;
    uv_poll_stop(d->poll);
    uv_close((uv_handle_t *)d->poll, free_poll);
    d->poll = NULL;
}

static void free_if_idle(struct rpc_dial *d)
{
    if (d->looking_up || !d->timer_closed)
        return;
    buf_done(&d->reasons);
    mem_free(d);
}

static void on_timer_closed(uv_handle_t *h)
{
    struct rpc_dial *d = h->data;

    d->timer_closed = true;
    free_if_idle(d);
}

static void shut(struct rpc_dial *d)
{
    d->over = true;
    drop_poll(d);
    fd_done(&d->fd);
    if (d->looking_up)
        uv_cancel((uv_req_t *)&d->lookup);
    uv_close((uv_handle_t *)&d->timer, on_timer_closed);
}

void rpc_dial_cancel(struct rpc_dial *d)
{
    if (!d->over)
        shut(d);
}

static void finish(struct rpc_dial *d, int fd, const struct err *why)
{
    rpc_dial_done_fn done = d->done;
    void *ctx = d->ctx;

    if (d->over)
        return;
    if (fd >= 0)
        d->fd = -1; /* moves to the callee */
    shut(d);
    done(fd, why, ctx);
}

static void fail_all(struct rpc_dial *d)
{
    struct err ignored = ERR_INIT;
    struct err why = ERR_INIT;
    const char *text = buf_str(&d->reasons, &ignored);

    err_fail(&why, ERR_KIND_UNAVAILABLE, "%s", text ? text : "connect: failed");
    finish(d, -1, &why);
}

/* Notes why this address failed and goes on with the next. */
static void attempt_failed(struct rpc_dial *d, const struct err *why)
{
    struct err ignored = ERR_INIT;

    drop_poll(d);
    fd_done(&d->fd);
    d->asking_proxy = false;
    /* Reasons beyond what fits are not missed. */
    if ((d->reasons.len == 0 || buf_append_str(&d->reasons, "; ", &ignored)) &&
        !buf_append_str(&d->reasons, err_text(why), &ignored))
        err_clear(&ignored);
    attempt(d);
}

static void describe(const struct rpc_dial *d, char ret[RPC_ADDRESS_TEXT_MAX])
{
    rpc_sockaddr_text(&d->addresses[d->next - 1], ret);
}

static void failed_os(struct rpc_dial *d, int code, const char *what)
{
    struct err why = ERR_INIT;
    char name[RPC_ADDRESS_TEXT_MAX];

    describe(d, name);
    errno = code;
    err_fail_os(&why, "%s %s", what, name);
    attempt_failed(d, &why);
}

/* ----------------------------------------------------------------------- proxy */

static bool ask_proxy(struct rpc_dial *d)
{
    const struct rpc_address *t = &d->target;
    bool v6 = strchr(t->host, ':') != NULL;
    char text[2 * RPC_ADDRESS_HOST_MAX + 128];
    int len = snprintf(text, sizeof(text), "CONNECT %s%s%s:%u HTTP/1.1\r\nHost: %s%s%s:%u\r\n\r\n",
                       v6 ? "[" : "", t->host, v6 ? "]" : "", t->port, v6 ? "[" : "", t->host, v6 ? "]" : "",
                       t->port);

    d->asking_proxy = true;
    /* A fresh socket has room for it. */
    return send(d->fd, text, (size_t)len, MSG_NOSIGNAL) == len;
}

static void proxy_refused(struct rpc_dial *d, const char *why)
{
    struct err e = ERR_INIT;
    char name[RPC_ADDRESS_TEXT_MAX];

    describe(d, name);
    err_fail(&e, ERR_KIND_UNAVAILABLE, "proxy %s: CONNECT %s:%u: %s", name, d->target.host, d->target.port,
             why);
    attempt_failed(d, &e);
}

/* The socket counts as readable when it holds more than n bytes. */
static void wait_beyond(int fd, ssize_t n)
{
    int low = (int)n + 1;

    (void)!setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &low, sizeof(low));
}

/* Reads the reply up to its empty line and no further: what follows is the target's. */
static void proxy_answers(struct rpc_dial *d)
{
    char text[PROXY_REPLY_MAX + 1];
    ssize_t n = recv(d->fd, text, PROXY_REPLY_MAX, MSG_PEEK);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0) {
        failed_os(d, errno, "read from proxy");
        return;
    }
    text[n] = '\0';

    const char *end = n > 0 ? strstr(text, "\r\n\r\n") : NULL;
    size_t line = strcspn(text, "\r\n");

    if (n == 0) {
        proxy_refused(d, "the proxy closed the connection");
    } else if (!end && n == PROXY_REPLY_MAX) {
        proxy_refused(d, "the reply is too long");
    } else if (end && (strncmp(text, "HTTP/1.", 7) != 0 || line < 12 || text[9] != '2')) {
        text[line < 200 ? line : 200] = '\0';
        proxy_refused(d, text);
    } else if (!end) {
        wait_beyond(d->fd, n); /* or the poll would spin on what was peeked */
    } else {
        size_t len = (size_t)(end - text) + 4;

        wait_beyond(d->fd, 0);
        if (recv(d->fd, text, len, 0) != (ssize_t)len)
            proxy_refused(d, "the reply could not be read");
        else
            finish(d, d->fd, NULL);
    }
}

/* -------------------------------------------------------------------- attempts */

static void on_poll(uv_poll_t *h, int status, int events)
{
    struct rpc_dial *d = h->data;
    int code = 0;
    socklen_t len = sizeof(code);

    (void)events;
    if (d->asking_proxy) {
        proxy_answers(d);
        return;
    }
    if (getsockopt(d->fd, SOL_SOCKET, SO_ERROR, &code, &len) != 0)
        code = errno;
    if (code == 0 && status < 0)
        code = -status;
    if (code != 0) {
        failed_os(d, code, "connect to");
    } else if (!d->has_proxy) {
        finish(d, d->fd, NULL);
    } else if (!ask_proxy(d)) {
        failed_os(d, errno, "write to proxy");
    } else {
        uv_poll_start(d->poll, UV_READABLE, on_poll);
    }
}

static bool begin_connect(struct rpc_dial *d, const struct rpc_sockaddr *a)
{
    int on = 1;

    d->fd = socket(a->at.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (d->fd < 0)
        return false;
    if (a->at.ss_family != AF_UNIX) /* only slower without */
        (void)!setsockopt(d->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return connect(d->fd, (const struct sockaddr *)&a->at, a->len) == 0 || errno == EINPROGRESS;
}

static void on_timer(uv_timer_t *h)
{
    struct rpc_dial *d = h->data;

    if (d->looking_up || d->next == 0) { /* only the lookup has been going on */
        struct err why = ERR_INIT;

        err_fail(&why, ERR_KIND_UNAVAILABLE, "resolve '%s': no answer for %llu ms",
                 d->has_proxy ? d->proxy.host : d->target.host, (unsigned long long)d->timeout_ms);
        finish(d, -1, &why);
        return;
    }
    failed_os(d, ETIMEDOUT, d->asking_proxy ? "wait for proxy" : "connect to");
}

static void arm(struct rpc_dial *d)
{
    uint64_t used = uv_now(d->loop) - d->started_ms;
    uint64_t left = used < d->timeout_ms ? d->timeout_ms - used : 1;

    if (d->next < d->count && left > d->attempt_ms)
        left = d->attempt_ms;
    uv_timer_start(&d->timer, on_timer, left, 0);
}

static void attempt(struct rpc_dial *d)
{
    struct err e = ERR_INIT;

    if (d->next == d->count || uv_now(d->loop) - d->started_ms >= d->timeout_ms) {
        fail_all(d);
        return;
    }
    d->next++;
    if (!begin_connect(d, &d->addresses[d->next - 1])) {
        failed_os(d, errno, "connect to");
        return;
    }
    d->poll = mem_new(sizeof(*d->poll), &e);
    if (!d->poll) {
        finish(d, -1, &e);
        return;
    }
    if (uv_poll_init(d->loop, d->poll, d->fd) != 0) {
        mem_free(d->poll);
        d->poll = NULL;
        failed_os(d, EMFILE, "watch the socket to");
        return;
    }
    d->poll->data = d;
    uv_poll_start(d->poll, UV_WRITABLE, on_poll);
    arm(d);
}

/* ---------------------------------------------------------------------- lookup */

static void on_lookup(uv_getaddrinfo_t *req, int status, struct addrinfo *found)
{
    struct rpc_dial *d = req->data;
    const char *host = d->has_proxy ? d->proxy.host : d->target.host;
    struct err why = ERR_INIT;

    d->looking_up = false;
    if (d->over) {
        uv_freeaddrinfo(found);
        free_if_idle(d);
        return;
    }
    for (const struct addrinfo *a = found; a && d->count < ADDRESSES_MAX; a = a->ai_next) {
        if (a->ai_addrlen > sizeof(d->addresses[0].at))
            continue;
        memcpy(&d->addresses[d->count].at, a->ai_addr, a->ai_addrlen);
        d->addresses[d->count++].len = a->ai_addrlen;
    }
    uv_freeaddrinfo(found);
    if (status != 0 || d->count == 0) {
        err_fail(&why, ERR_KIND_UNAVAILABLE, "resolve '%s': %s", host,
                 status ? uv_strerror(status) : "no addresses");
        finish(d, -1, &why);
        return;
    }
    attempt(d);
}

/* A literal address is tried in a turn of its own, so that done never comes too early. */
static void on_start(uv_timer_t *h)
{
    attempt(h->data);
}

static bool look_up(struct rpc_dial *d, const struct rpc_address *a, struct err *e)
{
    struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
    char port[8];

    if (rpc_address_literal(a, &d->addresses[0])) {
        d->count = 1;
        uv_timer_start(&d->timer, on_start, 0, 0);
        return true;
    }
    snprintf(port, sizeof(port), "%u", a->port);

    int rc = uv_getaddrinfo(d->loop, &d->lookup, on_lookup, a->host, port, &hints);

    if (rc != 0)
        return err_fail(e, ERR_KIND_UNAVAILABLE, "resolve '%s': %s", a->host, uv_strerror(rc));
    d->looking_up = true;
    uv_timer_start(&d->timer, on_timer, d->timeout_ms, 0);
    return true;
}

bool rpc_dial_start(uv_loop_t *loop, const struct rpc_address *target, const struct rpc_address *proxy,
                    uint64_t timeout_ms, rpc_dial_done_fn done, void *ctx, struct rpc_dial **ret,
                    struct err *e)
{
    struct rpc_dial *d = mem_new(sizeof(*d), e);

    if (!d)
        return false;
    d->loop = loop;
    d->target = *target;
    d->has_proxy = proxy && !target->is_unix;
    if (d->has_proxy)
        d->proxy = *proxy;
    d->done = done;
    d->ctx = ctx;
    d->fd = -1;
    d->timeout_ms = timeout_ms;
    d->attempt_ms = timeout_ms / 4;
    d->started_ms = uv_now(loop);
    d->reasons = (struct buf)BUF_INIT(800);
    uv_timer_init(loop, &d->timer);
    d->timer.data = d->lookup.data = d;
    if (!look_up(d, d->has_proxy ? &d->proxy : &d->target, e)) {
        shut(d);
        return false;
    }
    *ret = d;
    return true;
}

bool rpc_proxy_parse(const char *url, struct rpc_address *ret, struct err *e)
{
    struct slice s = slice_of_str(url);

    if (slice_starts(s, "http://"))
        s = slice_after(s, strlen("http://"));
    else if (slice_starts(s, "https://"))
        return err_fail(e, ERR_KIND_UNSUPPORTED, "proxy '%s': only http:// proxies can be used", url);
    if (s.len && s.at[s.len - 1] == '/')
        s = slice_first(s, s.len - 1);
    if (slice_find(s, '@') < s.len)
        return err_fail(e, ERR_KIND_UNSUPPORTED, "a proxy with a user name can't be used");

    CLEANUP(mem_done) char *text = mem_dup_slice(s, e);

    return text && (rpc_address_parse(text, ret, e) || err_wrap(e, "proxy"));
}
