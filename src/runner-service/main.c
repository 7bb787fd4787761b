/*
 * cocos-runner: the one program that executes foreign code. Serves
 * runner.ComputationRunner on a unix socket.
 */
#include <unistd.h>

#include "base/daemon.h"
#include "base/dirs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/strays.h"
#include "rsvc.h"
#include "runner/run.h"

#define DRAIN_GRACE_MS 2000

/* How long the last logs may take to reach the log forwarder when the program ends. */
#define DELIVER_GRACE_MS 1000
#define DELIVER_STEP_MS 5

struct settings {
    int log_level;
    struct dirs dirs;
    const char *socket, *socket_mode, *log_socket;
    const char *find_links, *index_url;
    uint64_t max_runtime_ms;
    uint64_t outbox_bytes;
};

#define FIELD(name) offsetof(struct settings, name)

static const struct config_opt opts[] = {
    { .env = "RUNNER_LOG_LEVEL",
      .type = CONFIG_LEVEL,
      .def = "debug",
      .arg = "level",
      .help = "debug, info, warn or error; an algorithm's stdout is debug, its stderr error",
      .offset = FIELD(log_level) },
    { .env = "RUNNER_SOCKET",
      .type = CONFIG_STR,
      .arg = "path",
      .help = "where to listen; $COCOS_RUN_DIR/runner.sock when unset",
      .offset = FIELD(socket) },
    { .env = "RUNNER_SOCKET_MODE",
      .type = CONFIG_STR,
      .def = "0600",
      .arg = "octal",
      .help = "mode of the socket: whoever can write to it can run programs as this user",
      .offset = FIELD(socket_mode) },
    { .env = "RUNNER_MAX_RUNTIME",
      .type = CONFIG_DURATION_MS,
      .def = "0",
      .arg = "duration",
      .help = "a run that takes longer is killed; 0: no limit",
      .offset = FIELD(max_runtime_ms) },
    { .env = "RUNNER_PIP_FIND_LINKS",
      .type = CONFIG_STR,
      .def = "",
      .arg = "dir",
      .help = "directory of wheels from which requirements of Python algorithms are installed",
      .offset = FIELD(find_links) },
    { .env = "RUNNER_PIP_INDEX_URL",
      .type = CONFIG_STR,
      .def = "",
      .arg = "url",
      .help = "package index from which they are installed; without either, none are",
      .offset = FIELD(index_url) },
    { .env = "RUNNER_OUTBOX_BYTES",
      .type = CONFIG_U64,
      .def = "67108864",
      .min = 65536,
      .max = UINT64_MAX / 2,
      .arg = "bytes",
      .help = "most that is kept on disk for the log forwarder",
      .offset = FIELD(outbox_bytes) },
    { .env = "LOG_FORWARDER_SOCKET",
      .type = CONFIG_STR,
      .arg = "path",
      .help = "the log forwarder's socket; $COCOS_RUN_DIR/log.sock when unset",
      .offset = FIELD(log_socket) },
};

static const struct config_spec spec = {
    .program = "cocos-runner",
    .summary = "Runs algorithms for the agent (runner.ComputationRunner on a unix socket), one at a\n"
               "time: executables (bin) and Python scripts (python).",
    .examples = "  COCOS_RUN_DIR=/tmp/c/run COCOS_STATE_DIR=/tmp/c/state COCOS_WORK_DIR=/tmp/c/work \\\n"
                "  cocos-runner\n",
    .opts = opts,
    .opt_count = ARRAY_LEN(opts),
    .parts = { { &dirs_rows, FIELD(dirs) } },
};

struct program {
    struct settings set;
    struct daemon daemon;
    char *work_dir, *state_dir, *log_socket, *listen;
    struct journal *journal;
    struct collector *collector;
    struct rsvc *service;
    struct rpc_server *server;
    uv_timer_t deliver;
    uint64_t deliver_steps;
};

/* -------------------------------------------------------------------- stopping */

static void on_collector_freed(void *ctx)
{
    struct program *p = ctx;

    journal_close(p->journal, NULL, NULL);
    p->journal = NULL;
}

static void on_server_freed(void *ctx)
{
    struct program *p = ctx;

    rsvc_free(p->service);
    p->service = NULL;
    collector_free(p->collector, on_collector_freed, p);
    p->collector = NULL;
}

static void take_down(void *ctx)
{
    struct program *p = ctx;
    struct rpc_server *server = p->server;

    p->server = NULL;
    if (server)
        rpc_server_free(server, on_server_freed, p);
    else
        on_server_freed(p);
}

static void on_deliver(uv_timer_t *timer)
{
    struct program *p = timer->data;

    if (!outbox_is_empty(journal_outbox(p->journal)) && collector_state(p->collector) == COLLECTOR_UP &&
        p->deliver_steps++ < DELIVER_GRACE_MS / DELIVER_STEP_MS)
        return;
    uv_close((uv_handle_t *)timer, NULL);
    take_down(p);
}

static void on_drained(void *ctx)
{
    struct program *p = ctx;

    uv_timer_init(&p->daemon.loop, &p->deliver);
    p->deliver.data = p;
    uv_timer_start(&p->deliver, on_deliver, 0, DELIVER_STEP_MS);
}

static void on_stopped(void *ctx)
{
    struct program *p = ctx;

    rpc_server_drain(p->server, DRAIN_GRACE_MS, on_drained, p);
}

static void stop(void *ctx)
{
    struct program *p = ctx;

    rsvc_stop(p->service, on_stopped, p);
}

/* -------------------------------------------------------------------- starting */

/* What an interrupted run left is gone before the first one begins. */
static bool prepare_work_dir(struct program *p, struct err *e)
{
    char *real = NULL;

    if (!run_sweep(p->set.dirs.work, e))
        return err_wrap(e, "COCOS_WORK_DIR");
    real = realpath(p->set.dirs.work, NULL);
    if (!real)
        return err_fail_os(e, "COCOS_WORK_DIR '%s'", p->set.dirs.work);
    p->work_dir = mem_dup_str(real, e);
    free(real);
    return p->work_dir != NULL;
}

static bool open_journal(struct program *p, struct err *e)
{
    struct journal_config jc = { .originator = "computation-runner", .bytes_max = p->set.outbox_bytes };
    struct collector_config cc = { .timeout_ms = 0 };

    p->state_dir = mem_format(e, "%s/runner", p->set.dirs.state);
    p->log_socket = dirs_socket(&p->set.dirs, p->set.log_socket, "log.sock", e);
    if (!p->state_dir || !p->log_socket)
        return false;
    jc.dir = p->state_dir;
    cc.socket = p->log_socket;
    if (!journal_open(&p->daemon.loop, &jc, &p->journal, e) ||
        !collector_new(&p->daemon.loop, journal_outbox(p->journal), &cc, &p->collector, e))
        return false;
    journal_take_log(p->journal);
    collector_start(p->collector);
    return true;
}

static bool open_server(struct program *p, struct err *e)
{
    struct rpc_server_config sc = { .listen = NULL };
    struct rsvc_config rc = { .work_dir = p->work_dir,
                              .find_links = p->set.find_links,
                              .index_url = p->set.index_url,
                              .max_runtime_ms = p->set.max_runtime_ms,
                              .log_level = p->set.log_level,
                              .journal = p->journal,
                              .collector = p->collector };

    if (!dirs_socket_mode("RUNNER_SOCKET_MODE", p->set.socket_mode, &sc.socket_mode, &sc.same_user, e))
        return false;
    p->listen = dirs_listen(&p->set.dirs, p->set.socket, "runner.sock", e);
    sc.listen = p->listen;
    return p->listen && rsvc_new(&p->daemon.loop, &rc, &p->service, e) &&
           rpc_server_new(&p->daemon.loop, &sc, &p->server, e) &&
           rpc_server_add(p->server, &rsvc_runner, p->service, e);
}

static bool start(void *ctx, struct err *e)
{
    struct program *p = ctx;

    if (!strays_adopt(e) || !prepare_work_dir(p, e) || !open_journal(p, e) || !open_server(p, e))
        return false;

    const struct log_field fields[] = { LOG_STR("addr", rpc_server_address(p->server)) };

    log_record(LOG_INFO, "ready", fields, ARRAY_LEN(fields));
    return true;
}

static void done(struct program *p)
{
    mem_free(p->work_dir);
    mem_free(p->state_dir);
    mem_free(p->log_socket);
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
