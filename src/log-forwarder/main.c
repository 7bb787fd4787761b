/*
 * cocos-log-forwarder: collects the logs and events of a guest's services on a
 * unix socket and forwards them to the CVMS.
 */
#include <unistd.h>

#include "base/daemon.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/stage.h"
#include "journal/journal.h"
#include "lf_forward.h"
#include "lf_service.h"

/* So many of the latest events are known again when they are delivered twice. */
#define DEDUP 1024

#define DRAIN_GRACE_MS 2000

/* 0777 at our peers. Whoever runs in the guest may tell something, so all may connect, for which
 * writing is enough; nothing can be read here. */
#define SOCKET_MODE 0666

struct settings {
    int log_level;
    const char *run_dir, *state_dir, *work_dir;
    const char *socket;
    const char *cvm_id, *url, *cert, *key, *ca;
    uint64_t timeout_ms, delay_ms;
    uint64_t outbox_bytes;
};

#define FIELD(name) offsetof(struct settings, name)

static const struct config_opt opts[] = {
    { .env = "LOG_FORWARDER_LOG_LEVEL",
      .type = CONFIG_LEVEL,
      .def = "debug",
      .arg = "level",
      .help = "debug, info, warn or error",
      .offset = FIELD(log_level) },
    { .env = "LOG_FORWARDER_SOCKET",
      .type = CONFIG_STR,
      .arg = "path",
      .help = "where to listen; $COCOS_RUN_DIR/log.sock when unset",
      .offset = FIELD(socket) },
    { .env = "AGENT_CVM_ID",
      .type = CONFIG_STR,
      .def = "",
      .arg = "id",
      .help = "name of this CVM, sent to the CVMS",
      .offset = FIELD(cvm_id) },
    { .env = "AGENT_CVM_GRPC_URL",
      .type = CONFIG_STR,
      .def = "localhost:7001",
      .arg = "host:port",
      .help = "address of the CVMS",
      .offset = FIELD(url) },
    { .env = "AGENT_CVM_GRPC_CLIENT_CERT",
      .type = CONFIG_STR,
      .def = "",
      .arg = "file",
      .help = "client certificate (PEM) for mutual TLS",
      .offset = FIELD(cert) },
    { .env = "AGENT_CVM_GRPC_CLIENT_KEY",
      .type = CONFIG_STR,
      .def = "",
      .arg = "file",
      .help = "its private key (PEM)",
      .offset = FIELD(key) },
    { .env = "AGENT_CVM_GRPC_SERVER_CA_CERTS",
      .type = CONFIG_STR,
      .def = "",
      .arg = "file",
      .help = "certificates (PEM) the CVMS is verified against; turns TLS on",
      .offset = FIELD(ca) },
    { .env = "AGENT_CVM_GRPC_TIMEOUT",
      .type = CONFIG_DURATION_MS,
      .def = "60s",
      .arg = "duration",
      .help = "longest time to connect to the CVMS",
      .offset = FIELD(timeout_ms) },
    { .env = "AGENT_CVM_RECONNECT_DELAY",
      .type = CONFIG_DURATION_MS,
      .def = "5s",
      .arg = "duration",
      .help = "wait before connecting again; up to six times as long while nothing works",
      .offset = FIELD(delay_ms) },
    { .env = "LOG_FORWARDER_OUTBOX_BYTES",
      .type = CONFIG_U64,
      .def = "67108864",
      .min = 65536,
      .max = UINT64_MAX / 2,
      .arg = "bytes",
      .help = "most that is kept on disk for the CVMS",
      .offset = FIELD(outbox_bytes) },
    { .env = "COCOS_RUN_DIR",
      .type = CONFIG_STR,
      .def = "/run/cocos",
      .arg = "dir",
      .help = "sockets",
      .offset = FIELD(run_dir) },
    { .env = "COCOS_STATE_DIR",
      .type = CONFIG_STR,
      .def = "/var/lib/cocos",
      .arg = "dir",
      .help = "what outlives the process",
      .offset = FIELD(state_dir) },
    { .env = "COCOS_WORK_DIR",
      .type = CONFIG_STR,
      .def = "/cocos",
      .arg = "dir",
      .help = "not used by this program",
      .offset = FIELD(work_dir) },
};

static const struct config_spec spec = {
    .program = "cocos-log-forwarder",
    .usage = "",
    .summary = "Collects the logs and events of a guest's services (log.LogCollector on a unix socket)\n"
               "and forwards them to the CVMS. What the CVMS does not have yet is kept on disk.",
    .examples = "  COCOS_RUN_DIR=/tmp/c/run COCOS_STATE_DIR=/tmp/c/state \\\n"
                "  AGENT_CVM_GRPC_URL=127.0.0.1:7001 cocos-log-forwarder\n",
    .opts = opts,
    .opt_count = ARRAY_LEN(opts),
};

struct program {
    struct settings set;
    struct daemon daemon;
    struct tls_client *tls;
    char *state_dir, *socket, *listen;
    struct journal *journal;
    struct lf_forward *forward;
    struct rpc_server *server;
};

/* -------------------------------------------------------------------- stopping */

static void on_server_freed(void *ctx)
{
    struct program *p = ctx;

    p->server = NULL;
    journal_close(p->journal, NULL, NULL);
    p->journal = NULL;
}

static void on_forward_freed(void *ctx)
{
    struct program *p = ctx;

    if (p->server)
        rpc_server_free(p->server, on_server_freed, p);
    else
        on_server_freed(p);
}

static void take_down(void *ctx)
{
    struct program *p = ctx;
    struct lf_forward *forward = p->forward;

    p->forward = NULL;
    lf_forward_free(forward, on_forward_freed, p);
}

static void on_drained(void *ctx)
{
    struct program *p = ctx;

    lf_forward_finish(p->forward, DRAIN_GRACE_MS, take_down, p);
}

static void stop(void *ctx)
{
    struct program *p = ctx;

    rpc_server_drain(p->server, DRAIN_GRACE_MS, on_drained, p);
}

/* -------------------------------------------------------------------- starting */

static bool make_tls(struct program *p, struct err *e)
{
    const struct settings *s = &p->set;
    struct tls_client_config cfg = { .ca = *s->ca ? s->ca : NULL,
                                     .cert = *s->cert ? s->cert : NULL,
                                     .key = *s->key ? s->key : NULL };

    if (!cfg.ca && !cfg.cert && !cfg.key)
        return true;
    if (!cfg.cert != !cfg.key)
        return err_fail(e, ERR_KIND_INVALID,
                        "AGENT_CVM_GRPC_CLIENT_CERT and AGENT_CVM_GRPC_CLIENT_KEY: set both or none");
    return tls_client_new(&cfg, &p->tls, e) || err_wrap(e, "TLS to the CVMS");
}

static bool open_journal(struct program *p, struct err *e)
{
    struct journal_config cfg = { .originator = "log-forwarder",
                                  .bytes_max = p->set.outbox_bytes,
                                  .dedup = DEDUP };

    p->state_dir = mem_format(e, "%s/log-forwarder", p->set.state_dir);
    cfg.dir = p->state_dir;
    return p->state_dir && journal_open(&p->daemon.loop, &cfg, &p->journal, e);
}

static bool open_server(struct program *p, struct err *e)
{
    CLEANUP(fd_done) int run_fd = -1;
    struct rpc_server_config cfg = { .socket_mode = SOCKET_MODE };

    if (p->set.socket && *p->set.socket) {
        p->socket = mem_dup_str(p->set.socket, e);
    } else {
        if (!stage_dir_open(p->set.run_dir, 0755, &run_fd, e))
            return err_wrap(e, "COCOS_RUN_DIR");
        p->socket = mem_format(e, "%s/log.sock", p->set.run_dir);
    }
    if (p->socket)
        p->listen = mem_format(e, "unix:%s", p->socket);
    cfg.listen = p->listen;
    return p->listen && rpc_server_new(&p->daemon.loop, &cfg, &p->server, e) &&
           rpc_server_add(p->server, &lf_collector, journal_outbox(p->journal), e);
}

static bool open_forward(struct program *p, struct err *e)
{
    struct lf_forward_config cfg = { .target = p->set.url,
                                     .tls = p->tls,
                                     .cvm_id = p->set.cvm_id,
                                     .delay_ms = p->set.delay_ms,
                                     .connect_timeout_ms = p->set.timeout_ms };

    return lf_forward_new(&p->daemon.loop, journal_outbox(p->journal), &cfg, &p->forward, e);
}

static bool start(void *ctx, struct err *e)
{
    struct program *p = ctx;

    if (!make_tls(p, e) || !open_journal(p, e) || !open_server(p, e) || !open_forward(p, e))
        return false;

    const struct log_field fields[] = { LOG_STR("addr", rpc_server_address(p->server)),
                                        LOG_STR("cvms", p->set.url) };

    log_record(LOG_INFO, "ready", fields, ARRAY_LEN(fields));
    return true;
}

static void done(struct program *p)
{
    tls_client_free(p->tls);
    mem_free(p->state_dir);
    mem_free(p->socket);
    mem_free(p->listen);
}

int main(int argc, char **argv)
{
    static const struct daemon_turns turns = { start, stop, take_down };
    struct program p = { .server = NULL };
    struct config_values values = { .owned = NULL };
    int code;

    if (daemon_config(&spec, argc, argv, &p.set, &values, &code)) {
        log_set_level(p.set.log_level);
        code = daemon_serve(&p.daemon, &turns, &p);
        done(&p);
    }
    config_values_done(&values);
    return code;
}
