/*
 * rpc-echo-server: a server for the interop tests of the rpc room.
 */
#include "base/daemon.h"
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
    struct daemon daemon;
};

static void take_down(void *ctx)
{
    struct program *p = ctx;
    struct rpc_server *server = p->server;

    p->server = NULL;
    if (server)
        rpc_server_free(server, NULL, NULL);
}

static void stop(void *ctx)
{
    struct program *p = ctx;

    rpc_server_drain(p->server, p->set.grace_ms, take_down, p);
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

static bool start(void *ctx, struct err *e)
{
    struct program *p = ctx;
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

    p->echo.loop = &p->daemon.loop;
    if (!rpc_server_new(&p->daemon.loop, &cfg, &p->server, e) || !add_services(p, e))
        return false;

    const struct log_field ready[] = { LOG_STR("addr", rpc_server_address(p->server)) };

    log_record(LOG_INFO, "ready", ready, ARRAY_LEN(ready));
    return true;
}

int main(int argc, char **argv)
{
    static const struct daemon_turns turns = { start, stop, take_down };
    static struct program p = { .descriptors = BUF_INIT(DESCRIPTORS_MAX) };
    struct config_values values = { 0 };
    int code;

    if (daemon_config(&spec, argc, argv, &p.set, &values, &code)) {
        code = daemon_serve(&p.daemon, &turns, &p);
        tls_server_free(p.tls);
        buf_done(&p.descriptors);
    }
    config_values_done(&values);
    return code;
}
