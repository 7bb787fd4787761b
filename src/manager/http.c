#include "manager/http.h"

#include <arpa/inet.h>
#include <microhttpd.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/stage.h"

#define PAGE_MAX ((size_t)256 * 1024)
#define CONNECTIONS_MAX 64

/*
 * libmicrohttpd without threads of its own: its epoll descriptor is watched by
 * our loop, so pages are made on the thread that owns what they speak of.
 */
struct mgr_http {
    struct mgr_http_view view;
    struct MHD_Daemon *daemon;
    uv_poll_t poll;
    uv_timer_t timer;
    unsigned handles;
    char address[80];
    char *cert, *key; /* PEM, for TLS */
};

struct page {
    const char *path;
    const char *type;
    bool (*make)(const struct mgr_http_view *v, struct buf *out, unsigned *ret_code, struct err *e);
};

static const struct page pages[] = {
    { "/health", "application/health+json", mgr_http_health },
    { "/ready", "application/json", mgr_http_ready },
    { "/metrics", "text/plain; version=0.0.4", mgr_http_metrics },
};

static enum MHD_Result answer(struct MHD_Connection *c, unsigned code, const char *type, struct slice body)
{
    /* MHD copies the bytes, and writes nothing to them. */
    struct MHD_Response *r = MHD_create_response_from_buffer(body.len, (void *)(uintptr_t)body.at,
                                                             MHD_RESPMEM_MUST_COPY);
    enum MHD_Result rc = MHD_NO;

    if (!r)
        return MHD_NO;
    if (MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, type) == MHD_YES)
        rc = MHD_queue_response(c, code, r);
    MHD_destroy_response(r);
    return rc;
}

/* The silence that ends a connection; it knows whole seconds, and 0 for none. */
static void allow_silence(struct MHD_Connection *c, uint64_t ms)
{
    MHD_set_connection_option(c, MHD_CONNECTION_OPTION_TIMEOUT, (unsigned)((ms + 999) / 1000));
}

static void completed(void *ctx, struct MHD_Connection *c, void **state, enum MHD_RequestTerminationCode how)
{
    const struct mgr_http *h = ctx;

    (void)state;
    (void)how;
    allow_silence(c, h->view.settings->http_idle_ms);
}

static enum MHD_Result handle(void *ctx, struct MHD_Connection *c, const char *url, const char *method,
                              const char *version, const char *data, size_t *data_len, void **state)
{
    struct mgr_http *h = ctx;
    CLEANUP(buf_done) struct buf out = BUF_INIT(PAGE_MAX);
    struct err e = ERR_INIT;
    unsigned code;

    (void)version;
    (void)data;
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0) {
        *data_len = 0;
        return answer(c, 405, "text/plain", slice_of_str("GET is wanted\n"));
    }
    if (!*state) { /* the head is there; now the rest of the request */
        *state = h;
        allow_silence(c, h->view.settings->http_read_ms);
        return MHD_YES;
    }
    allow_silence(c, h->view.settings->http_write_ms);
    for (size_t i = 0; i < ARRAY_LEN(pages); i++) {
        if (strcmp(url, pages[i].path) != 0)
            continue;
        if (!pages[i].make(&h->view, &out, &code, &e))
            return answer(c, 500, "text/plain", slice_of_str(err_text(&e)));
        return answer(c, code, pages[i].type, buf_slice(&out));
    }
    return answer(c, 404, "text/plain", slice_of_str("/health, /ready and /metrics are here\n"));
}

static void turn(struct mgr_http *h);

static void on_timer(uv_timer_t *t)
{
    turn(t->data);
}

static void on_ready(uv_poll_t *p, int status, int events)
{
    (void)status;
    (void)events;
    turn(p->data);
}

/* Lets MHD work and asks it when it wants to again. */
static void turn(struct mgr_http *h)
{
    MHD_UNSIGNED_LONG_LONG wait_ms;

    MHD_run(h->daemon);
    if (MHD_get_timeout(h->daemon, &wait_ms) == MHD_YES)
        uv_timer_start(&h->timer, on_timer, wait_ms, 0);
    else
        uv_timer_stop(&h->timer);
}

static bool bind_socket(const struct mgr_settings *s, int *ret_fd, struct err *e)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE };
    struct addrinfo *found = NULL;
    char port[8];
    int on = 1;
    int rc;

    snprintf(port, sizeof(port), "%u", (unsigned)s->http_port);
    rc = getaddrinfo(s->http_host[0] ? s->http_host : NULL, port, &hints, &found);
    if (rc != 0)
        return err_fail(e, ERR_KIND_INVALID, "MANAGER_HTTP_HOST '%s': %s", s->http_host, gai_strerror(rc));
    *ret_fd = -1;
    err_fail(e, ERR_KIND_UNAVAILABLE, "no address");
    for (const struct addrinfo *a = found; a && *ret_fd < 0; a = a->ai_next) {
        int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
            bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, CONNECTIONS_MAX) == 0) {
            *ret_fd = fd;
            continue;
        }
        err_fail_os(e, "listen at %s:%s (MANAGER_HTTP_HOST, MANAGER_HTTP_PORT)", s->http_host, port);
        fd_done(&fd);
    }
    freeaddrinfo(found);
    if (*ret_fd >= 0)
        err_clear(e);
    return *ret_fd >= 0;
}

static void name_address(struct mgr_http *h, int fd)
{
    struct sockaddr_storage at = { 0 };
    socklen_t len = sizeof(at);
    char host[64] = "";
    char port[8] = "";

    if (getsockname(fd, (struct sockaddr *)&at, &len) == 0)
        getnameinfo((struct sockaddr *)&at, len, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV);
    snprintf(h->address, sizeof(h->address), at.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}

/* PEM as such, or the file it is in: see tls.h for the rule. */
static char *pem_text(const char *value, struct err *e)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(1 << 20);

    if (strlen(value) >= 1000 || strchr(value, '\n'))
        return mem_dup_str(value, e);
    return stage_read_file(value, &text, e) ? mem_dup_slice(buf_slice(&text), e) : NULL;
}

static void handle_closed(uv_handle_t *handle)
{
    struct mgr_http *h = handle->data;

    if (--h->handles > 0)
        return;
    MHD_stop_daemon(h->daemon);
    if (h->key)
        mem_wipe(h->key, strlen(h->key));
    mem_free(h->key);
    mem_free(h->cert);
    mem_free(h);
}

void mgr_http_free(struct mgr_http *h)
{
    if (!h)
        return;
    uv_close((uv_handle_t *)&h->poll, handle_closed);
    uv_close((uv_handle_t *)&h->timer, handle_closed);
}

static bool start_daemon(struct mgr_http *h, int fd, struct err *e)
{
    const struct mgr_settings *s = h->view.settings;
    unsigned flags = MHD_USE_EPOLL;
    struct MHD_OptionItem options[] = {
        { MHD_OPTION_LISTEN_SOCKET, fd, NULL },
        { MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX, NULL },
        { MHD_OPTION_CONNECTION_TIMEOUT, (intptr_t)((s->http_header_ms + 999) / 1000), NULL },
        { MHD_OPTION_CONNECTION_MEMORY_LIMIT, (intptr_t)s->http_header_bytes, NULL },
        { MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)completed, h },
        { MHD_OPTION_END, 0, NULL }, /* room for the two of TLS */
        { MHD_OPTION_END, 0, NULL },
        { MHD_OPTION_END, 0, NULL },
    };

    if (s->http_cert[0]) {
        h->cert = pem_text(s->http_cert, e);
        h->key = h->cert ? pem_text(s->http_key, e) : NULL;
        if (!h->key)
            return err_wrap(e, "TLS of MANAGER_HTTP");
        flags |= MHD_USE_TLS;
        options[5] = (struct MHD_OptionItem){ MHD_OPTION_HTTPS_MEM_CERT, 0, h->cert };
        options[6] = (struct MHD_OptionItem){ MHD_OPTION_HTTPS_MEM_KEY, 0, h->key };
    }
    h->daemon = MHD_start_daemon(flags, 0, NULL, NULL, handle, h, MHD_OPTION_ARRAY, options, MHD_OPTION_END);
    return h->daemon || err_fail(e, ERR_KIND_INVALID,
                                 "HTTP server: certificate and key are not usable together, or "
                                 "the system has no descriptors left");
}

bool mgr_http_new(uv_loop_t *loop, const struct mgr_http_view *view, struct mgr_http **ret, struct err *e)
{
    struct mgr_http *h = mem_new(sizeof(*h), e);
    const union MHD_DaemonInfo *info;
    int fd = -1;

    if (!h)
        return false;
    h->view = *view;
    if (!bind_socket(view->settings, &fd, e) || !start_daemon(h, fd, e)) {
        fd_done(&fd);
        mem_free(h->cert);
        mem_free(h->key);
        mem_free(h);
        return false;
    }
    name_address(h, fd); /* the daemon owns fd from here on */
    info = MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    uv_poll_init(loop, &h->poll, info->epoll_fd);
    uv_timer_init(loop, &h->timer);
    h->poll.data = h->timer.data = h;
    h->handles = 2;
    uv_poll_start(&h->poll, UV_READABLE, on_ready);
    *ret = h;
    return true;
}

const char *mgr_http_address(const struct mgr_http *h)
{
    return h->address;
}
