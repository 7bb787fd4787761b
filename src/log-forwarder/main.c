/*
 * cocos-log-forwarder: collects the logs and events of a guest's services on a
 * unix socket and forwards them to the CVMS.
 */
#include <unistd.h>

#include "base/daemon.h"
#include "base/dirs.h"
#include "base/log.h"
#include "base/mem.h"
#include "journal/cvms_settings.h"
#include "journal/journal.h"
#include "lf_forward.h"
#include "lf_service.h"

/* So many of the latest events are known again when they are delivered twice. */
#define DEDUP 1024

#define DRAIN_GRACE_MS 2000

struct settings {
    int log_level;
    const char *socket, *socket_mode;
    uint64_t outbox_bytes;
    struct cvms_settings cvms;
    struct dirs dirs;
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
    { .env = "LOG_FORWARDER_SOCKET_MODE",
      .type = CONFIG_STR,
      .def = "0600",
      .arg = "octal",
      .help =
          "mode of the socket: whoever can write to it can tell logs and events as if they were a service",
      .offset = FIELD(socket_mode) },
    { .env = "LOG_FORWARDER_OUTBOX_BYTES",
      .type = CONFIG_U64,
      .def = "67108864",
      .min = 65536,
      .max = UINT64_MAX / 2,
      .arg = "bytes",
      .help = "most that is kept on disk for the CVMS",
      .offset = FIELD(outbox_bytes) },
};

static const struct config_spec spec = {
    .program = "cocos-log-forwarder",
    .summary = "Collects the logs and events of a guest's services (log.LogCollector on a unix socket)\n"
               "and forwards them to the CVMS. What the CVMS does not have yet is kept on disk.",
    .examples = "  COCOS_RUN_DIR=/tmp/c/run COCOS_STATE_DIR=/tmp/c/state \\\n"
                "  AGENT_CVM_GRPC_URL=127.0.0.1:7001 cocos-log-forwarder\n",
    .opts = opts,
    .opt_count = ARRAY_LEN(opts),
    .parts = { { &cvms_settings_rows, FIELD(cvms) }, { &dirs_rows, FIELD(dirs) } },
};

struct program {
    struct settings set;
    struct daemon daemon;
    struct tls_client *tls;
    char *state_dir, *listen;
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

static bool open_journal(struct program *p, struct err *e)
{
    struct journal_config cfg = { .originator = "log-forwarder",
                                  .bytes_max = p->set.outbox_bytes,
                                  .dedup = DEDUP };

    p->state_dir = mem_format(e, "%s/log-forwarder", p->set.dirs.state);
    cfg.dir = p->state_dir;
    return p->state_dir && journal_open(&p->daemon.loop, &cfg, &p->journal, e);
}

static bool open_server(struct program *p, struct err *e)
{
    struct rpc_server_config cfg = { .listen = NULL };

    if (!dirs_socket_mode("LOG_FORWARDER_SOCKET_MODE", p->set.socket_mode, &cfg.socket_mode, &cfg.same_user,
                          e))
        return false;
    p->listen = dirs_listen(&p->set.dirs, p->set.socket, "log.sock", e);
    cfg.listen = p->listen;
    return p->listen && rpc_server_new(&p->daemon.loop, &cfg, &p->server, e) &&
           rpc_server_add(p->server, &lf_collector, journal_outbox(p->journal), e);
}

static bool open_forward(struct program *p, struct err *e)
{
    const struct cvms_settings *cvms = &p->set.cvms;
    struct lf_forward_config cfg = { .target = cvms->peer.url,
                                     .tls = p->tls,
                                     .cvm_id = cvms->id,
                                     .delay_ms = cvms->reconnect_delay_ms,
                                     .connect_timeout_ms = cvms->peer.timeout_ms };

    return lf_forward_new(&p->daemon.loop, journal_outbox(p->journal), &cfg, &p->forward, e);
}

static bool start(void *ctx, struct err *e)
{
    struct program *p = ctx;

    if (!rpc_peer_tls(&p->set.cvms.peer, CVMS_SETTINGS_PEER, &p->tls, e))
        return err_wrap(e, "TLS to the CVMS");
    if (!open_journal(p, e) || !open_server(p, e) || !open_forward(p, e))
        return false;

    const struct log_field fields[] = { LOG_STR("addr", rpc_server_address(p->server)),
                                        LOG_STR("cvms", p->set.cvms.peer.url) };

    log_record(LOG_INFO, "ready", fields, ARRAY_LEN(fields));
    return true;
}

static void done(struct program *p)
{
    tls_client_free(p->tls);
    mem_free(p->state_dir);
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
