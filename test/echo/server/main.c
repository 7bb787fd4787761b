/*
 * rpc-echo-server: a server for the interop tests of the rpc room.
 */
#include <signal.h>
#include <unistd.h>

#include "base/config.h"
#include "base/log.h"
#include "base/stage.h"
#include "echo/server/echo.h"

struct settings {
    const char *listen;
    const char *cert, *key, *client_ca;
    const char *descriptors;
    uint64_t message_max, connections_max, per_peer_max, streams_max;
    uint64_t handshake_ms, idle_ms, keepalive_ms, keepalive_timeout_ms, grace_ms;
};

#define DESCRIPTORS_MAX ((size_t)1024 * 1024)

#define AT(field) offsetof(struct settings, field)

static const struct config_opt opts[] = {
    { "listen", 'l', NULL, CONFIG_STR, "127.0.0.1:0", 0, 0, true, "address", "where to listen", AT(listen) },
    { "cert", 0, NULL, CONFIG_STR, NULL, 0, 0, false, "pem", "certificate chain: serve TLS", AT(cert) },
    { "key", 0, NULL, CONFIG_STR, NULL, 0, 0, false, "pem", "its private key", AT(key) },
    { "client-ca", 0, NULL, CONFIG_STR, NULL, 0, 0, false, "pem", "demand client certificates of it",
      AT(client_ca) },
    { "descriptors", 0, NULL, CONFIG_STR, NULL, 0, 0, false, "file",
      "serve reflection of this FileDescriptorSet", AT(descriptors) },
    { "message-max", 0, NULL, CONFIG_U64, "0", 0, UINT32_MAX, false, "bytes", "largest message",
      AT(message_max) },
    { "connections", 0, NULL, CONFIG_U64, "0", 0, 1000000, false, "n", "most connections",
      AT(connections_max) },
    { "per-peer", 0, NULL, CONFIG_U64, "0", 0, 1000000, false, "n", "most of one address", AT(per_peer_max) },
    { "streams", 0, NULL, CONFIG_U64, "0", 0, 1000000, false, "n", "most calls of a connection",
      AT(streams_max) },
    { "handshake", 0, NULL, CONFIG_DURATION_MS, "0s", 0, 0, false, "time", "until HTTP/2 begins",
      AT(handshake_ms) },
    { "idle", 0, NULL, CONFIG_DURATION_MS, "0s", 0, 0, false, "time", "without a call", AT(idle_ms) },
    { "keepalive", 0, NULL, CONFIG_DURATION_MS, "0s", 0, 0, false, "time", "silence before a PING",
      AT(keepalive_ms) },
    { "keepalive-timeout", 0, NULL, CONFIG_DURATION_MS, "0s", 0, 0, false, "time", "for its answer",
      AT(keepalive_timeout_ms) },
    { "grace", 0, NULL, CONFIG_DURATION_MS, "5s", 0, 0, false, "time", "for calls after SIGTERM",
      AT(grace_ms) },
};

static const struct config_spec spec = {
    .program = "rpc-echo-server",
    .usage = "[flags]",
    .summary = "Serves test.Echo, health, and reflection when asked to, for tests.",
    .opts = opts,
    .opt_count = ARRAY_LEN(opts),
};

struct program {
    struct settings set;
    struct echo echo;
    struct buf descriptors;
    struct tls_server *tls;
    struct rpc_server *server;
    bool draining;
    uv_loop_t loop;
    uv_signal_t term, interrupt;
    uint64_t grace_ms;
};

static void on_drained(void *ctx)
{
    struct program *p = ctx;

    rpc_server_free(p->server, NULL, NULL);
    p->server = NULL;
    uv_close((uv_handle_t *)&p->term, NULL);
    uv_close((uv_handle_t *)&p->interrupt, NULL);
}

static void on_signal(uv_signal_t *h, int signum)
{
    struct program *p = h->data;
    struct rpc_server *s = p->server;

    (void)signum;
    if (!s || p->draining)
        _exit(1);
    p->draining = true;
    rpc_server_drain(s, p->set.grace_ms, on_drained, p);
}

static bool add_services(struct program *p, struct err *e)
{
    static const char *const names[] = { "test.Echo" };

    if (!echo_add(p->server, &p->echo, e) || !rpc_server_add_health(p->server, names, ARRAY_LEN(names), e))
        return false;
    if (!p->set.descriptors)
        return true;
    return stage_read_file(p->set.descriptors, &p->descriptors, e) &&
           rpc_server_add_reflection(p->server, buf_slice(&p->descriptors), e);
}

static bool start(struct program *p, struct err *e)
{
    const struct settings *set = &p->set;
    const struct tls_server_config tls = { set->cert, set->key, set->client_ca };

    if (set->cert && !tls_server_new(&tls, &p->tls, e))
        return false;

    const struct rpc_server_config cfg = {
        .listen = set->listen,
        .tls = p->tls,
        .message_max = (size_t)set->message_max,
        .connections_max = (size_t)set->connections_max,
        .connections_per_peer_max = (size_t)set->per_peer_max,
        .streams_max = (uint32_t)set->streams_max,
        .handshake_timeout_ms = set->handshake_ms,
        .idle_timeout_ms = set->idle_ms,
        .keepalive_ms = set->keepalive_ms,
        .keepalive_timeout_ms = set->keepalive_timeout_ms,
    };

    p->echo.loop = &p->loop;
    return rpc_server_new(&p->loop, &cfg, &p->server, e) && add_services(p, e);
}

static int run(struct program *p)
{
    struct err e = ERR_INIT;

    uv_loop_init(&p->loop);
    uv_signal_init(&p->loop, &p->term);
    uv_signal_init(&p->loop, &p->interrupt);
    p->term.data = p->interrupt.data = p;
    uv_signal_start(&p->term, on_signal, SIGTERM);
    uv_signal_start(&p->interrupt, on_signal, SIGINT);
    signal(SIGPIPE, SIG_IGN);
    if (!start(p, &e)) {
        log_error("%s", err_text(&e));
        return 1;
    }

    const struct log_field ready[] = { LOG_STR("addr", rpc_server_address(p->server)) };

    log_record(LOG_INFO, "ready", ready, ARRAY_LEN(ready));
    uv_run(&p->loop, UV_RUN_DEFAULT);
    uv_loop_close(&p->loop);
    tls_server_free(p->tls);
    buf_done(&p->descriptors);
    return 0;
}

int main(int argc, char **argv)
{
    static struct program p = { .descriptors = BUF_INIT(DESCRIPTORS_MAX) };
    struct config_values values = { 0 };
    struct err e = ERR_INIT;
    int rc = 0;

    log_open("rpc-echo-server", LOG_INFO);
    switch (config_read(&spec, argc, argv, environ, &p.set, &values, &e)) {
    case CONFIG_RUN: rc = run(&p); break;
    case CONFIG_SHOWN: break;
    case CONFIG_BAD:
        fprintf(stderr, "rpc-echo-server: %s\n", err_text(&e));
        rc = 2;
        break;
    }
    config_values_done(&values);
    return rc;
}
