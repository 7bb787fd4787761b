/*
 * cocos-manager: creates and removes confidential VMs on this host.
 */
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/stage.h"
#include "host/kvm_probe.h"
#include "manager/fleet.h"
#include "manager/host.h"
#include "manager/http.h"
#include "proto/pb.h"
#include "rpc/server.h"

#define DRAIN_MS 10000

struct program {
    struct mgr_settings settings;
    uv_loop_t loop;
    uv_signal_t term, interrupt;
    struct mgr_host_facts facts;
    struct mgr_vm_host host;
    char vms_dir[MGR_PATH_MAX];
    int state_fd;
    struct tls_server *tls;
    struct rpc_server *server;
    struct mgr_fleet *fleet;
    struct mgr_http *http;
    char instance_id[MGR_ID_LEN + 1];
    char kvm_reason[256];
    bool stopping;
    int exit_code;
};

static void close_signals(struct program *p)
{
    uv_close((uv_handle_t *)&p->term, NULL);
    uv_close((uv_handle_t *)&p->interrupt, NULL);
}

static void server_gone(void *ctx)
{
    close_signals(ctx);
}

static void fleet_gone(void *ctx)
{
    struct program *p = ctx;

    if (p->server)
        rpc_server_free(p->server, server_gone, p);
    else
        close_signals(p);
    p->server = NULL;
}

static void drained(void *ctx)
{
    struct program *p = ctx;

    if (p->fleet)
        mgr_fleet_abandon(p->fleet, fleet_gone, p);
    else
        fleet_gone(p);
}

static void on_signal(uv_signal_t *s, int number)
{
    struct program *p = s->data;

    if (p->stopping) {
        log_warn("a second signal: ending at once; running VMs run on");
        _exit(1);
    }
    p->stopping = true;
    mgr_http_free(p->http);
    p->http = NULL;
    log_info("ending on signal %d; running VMs run on", number);
    if (p->server)
        rpc_server_drain(p->server, DRAIN_MS, drained, p);
    else
        drained(p);
}

static bool serve(struct program *p, struct err *e)
{
    static const char *const names[] = { "manager" };
    const struct mgr_settings *s = &p->settings;
    CLEANUP(mem_done) char *listen = mem_format(e, "%s:%llu", s->grpc_host, (unsigned long long)s->grpc_port);
    struct rpc_server_config cfg = { .listen = listen };

    if (!listen)
        return false;
    if (s->grpc_cert[0]) {
        const char *ca = s->grpc_client_ca[0] ? s->grpc_client_ca : s->grpc_server_ca;
        const struct tls_server_config tls = { s->grpc_cert, s->grpc_key, ca[0] ? ca : NULL };

        if (!tls_server_new(&tls, &p->tls, e))
            return err_wrap(e, "TLS of the manager");
        cfg.tls = p->tls;
    }
    if (!rpc_server_new(&p->loop, &cfg, &p->server, e) ||
        !rpc_server_add(p->server, mgr_fleet_service(), p->fleet, e) ||
        !rpc_server_add(p->server, mgr_vms_service(), p->fleet, e) ||
        !rpc_server_add_health(p->server, names, ARRAY_LEN(names), e) ||
        !rpc_server_add_reflection(p->server, pb_descriptor_set(), e))
        return false;

    const struct mgr_http_view view = {
        .settings = s,
        .host = &p->host,
        .fleet = p->fleet,
        .instance_id = s->instance_id[0] ? s->instance_id : p->instance_id,
        .kvm_reason = p->kvm_reason,
    };

    if (!mgr_http_new(&p->loop, &view, &p->http, e))
        return false;

    const struct log_field fields[] = {
        LOG_STR("addr", rpc_server_address(p->server)),
        LOG_STR("http", mgr_http_address(p->http)),
        LOG_STR("security", !p->tls                        ? "without TLS"
                            : tls_server_is_mutual(p->tls) ? "with mTLS"
                                                           : "with TLS"),
        LOG_STR("accelerator", p->host.kvm ? "kvm" : "tcg"),
    };

    log_record(LOG_INFO, "ready", fields, ARRAY_LEN(fields));
    if (!p->tls)
        log_warn("gRPC has no TLS: whoever reaches %s makes VMs", rpc_server_address(p->server));
    return true;
}

static void kill_behind(const struct program *p, const char *prefix, const char *step)
{
    const char *at = p->settings.insecure_failpoint;

    if (strncmp(at, prefix, strlen(prefix)) == 0 && strcmp(at + strlen(prefix), step) == 0)
        raise(SIGKILL);
}

static bool step_done(const char *step, void *ctx)
{
    kill_behind(ctx, "", step);
    return true;
}

static void step_undone(const char *step, void *ctx)
{
    kill_behind(ctx, "undo-", step);
}

/* The switch that tests use to end the manager anywhere. */
static bool set_failpoint(struct program *p, struct err *e)
{
    const char *at = p->settings.insecure_failpoint;
    const char *step = strncmp(at, "undo-", 5) == 0 ? at + 5 : at;

    if (!at[0])
        return true;
    for (const char *const *name = mgr_vm_step_names(); *name; name++)
        if (strcmp(*name, step) == 0) {
            log_warn("MANAGER_INSECURE_FAILPOINT=%s: the manager will kill itself there; this is for tests",
                     at);
            p->host.inject = step_done;
            p->host.undone = step_undone;
            p->host.inject_ctx = p;
            return true;
        }
    return err_fail(e, ERR_KIND_INVALID, "MANAGER_INSECURE_FAILPOINT: '%s': no step has that name", step);
}

static void fail(struct program *p, const struct err *e)
{
    log_error("%s", err_text(e));
    p->exit_code = 1;
    p->stopping = true;
    mgr_http_free(p->http);
    p->http = NULL;
    drained(p);
}

/* The accelerator is known: now VMs can be made, and those of an earlier manager be taken over. */
static void probed(const struct host_kvm_verdict *v, void *ctx)
{
    struct program *p = ctx;
    struct err e = ERR_INIT;

    if (p->stopping)
        return;
    p->host.kvm = v->works;
    snprintf(p->kvm_reason, sizeof(p->kvm_reason), "%s", v->reason);
    if (v->works)
        log_info("KVM works (probe guest: %llu ms%s)", (unsigned long long)v->took_ms,
                 v->from_cache ? ", kept" : "");
    else
        log_warn("VMs run under software emulation (TCG), which is slow: %s%s", v->reason,
                 v->from_cache ? " (kept from an earlier probe)" : "");
    p->host.cpu = mgr_host_cpu(&p->settings, v->works);
    if (!mgr_fleet_new(&p->host, &p->fleet, &e) || !serve(p, &e))
        fail(p, &e);
}

static bool prepare(struct program *p, struct err *e)
{
    CLEANUP(fd_done) int vms_fd = -1;
    CLEANUP(mem_done) char *records = mem_format(e, "%s/manager", p->settings.state_dir);
    int n = snprintf(p->vms_dir, sizeof(p->vms_dir), "%s/vms", p->settings.run_dir);

    if (!records)
        return false;
    if (n < 0 || (size_t)n >= sizeof(p->vms_dir))
        return err_fail(e, ERR_KIND_INVALID, "COCOS_RUN_DIR '%s' is too long", p->settings.run_dir);
    if (!stage_dir_open(p->vms_dir, 0700, &vms_fd, e) || !stage_dir_open(records, 0700, &p->state_fd, e))
        return false;
    if (!mgr_uuid(p->instance_id, e) || !stage_sweep(p->state_fd, e) ||
        !mgr_host_look(&p->settings, &p->facts, e))
        return false;
    p->host = (struct mgr_vm_host){
        .loop = &p->loop,
        .clock = clock_system(),
        .settings = &p->settings,
        .vms_dir = p->vms_dir,
        .records_fd = p->state_fd,
        .cpu = "",
        .swtpm = p->facts.swtpm,
        .snp = p->facts.snp,
        .tdx = p->facts.tdx,
        .gpu = p->facts.gpu,
    };
    return set_failpoint(p, e);
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
    if (!prepare(p, &e)) {
        fail(p, &e);
    } else if (p->settings.qemu.enable_kvm) {
        if (!host_kvm_probe(&p->loop, p->settings.qemu.bin_path, p->state_fd, probed, p, &e))
            fail(p, &e);
    } else {
        probed(&(struct host_kvm_verdict){ .reason = "MANAGER_QEMU_ENABLE_KVM is false" }, p);
    }
    uv_run(&p->loop, UV_RUN_DEFAULT);
    uv_loop_close(&p->loop);
    mgr_fleet_free(p->fleet);
    tls_server_free(p->tls);
    fd_done(&p->state_fd);
    return p->exit_code;
}

int main(int argc, char **argv)
{
    static struct program p = { .state_fd = -1 };
    struct config_values values;
    struct err e = ERR_INIT;
    int code;

    log_open("cocos-manager", LOG_INFO);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a limit on files is an error of the write, as a full disk is */
    switch (mgr_settings_read(argc, argv, environ, &p.settings, &values, &e)) {
    case CONFIG_SHOWN: return 0;
    case CONFIG_BAD: fprintf(stderr, "cocos-manager: %s\n", err_text(&e)); return 2;
    case CONFIG_RUN: break;
    }
    log_set_level(p.settings.log_level);
    code = run(&p);
    config_values_done(&values);
    return code;
}
