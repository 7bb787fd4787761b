/*
 * cocos-manager: creates and removes confidential VMs on this host.
 */
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/daemon.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/stage.h"
#include "host/cgroup.h"
#include "host/kvm_probe.h"
#include "host/program.h"
#include "manager/fleet.h"
#include "manager/host.h"
#include "manager/http.h"
#include "proto/pb.h"
#include "rpc/server.h"

#define DRAIN_MS 10000

struct program {
    struct mgr_settings settings;
    struct daemon daemon;
    struct mgr_host_facts facts;
    struct mgr_vm_host host;
    struct mgr_memory memory;
    char cgroup_base[HOST_CGROUP_MAX];
    char vms_dir[MGR_PATH_MAX];
    char qemu[PATH_MAX]; /* the program, absolute */
    int state_fd;
    int vms_fd;
    struct tls_server *tls;
    struct rpc_server *server;
    struct mgr_fleet *fleet;
    struct mgr_http *http;
    char instance_id[MGR_ID_LEN + 1];
    char kvm_reason[256];
};

static void fleet_gone(void *ctx)
{
    struct program *p = ctx;
    struct rpc_server *server = p->server;

    p->server = NULL;
    if (server)
        rpc_server_free(server, NULL, NULL);
}

static void take_down(void *ctx)
{
    struct program *p = ctx;

    mgr_http_free(p->http);
    p->http = NULL;
    if (p->fleet)
        mgr_fleet_abandon(p->fleet, fleet_gone, p);
    else
        fleet_gone(p);
}

static void stop(void *ctx)
{
    struct program *p = ctx;

    log_info("running VMs run on");
    mgr_http_free(p->http);
    p->http = NULL;
    if (p->server)
        rpc_server_drain(p->server, DRAIN_MS, take_down, p);
    else
        take_down(p);
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
    if (!rpc_server_new(&p->daemon.loop, &cfg, &p->server, e) ||
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

    if (!mgr_http_new(&p->daemon.loop, &view, &p->http, e))
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
    for (size_t i = 0; mgr_vm_step_name(i); i++)
        if (strcmp(mgr_vm_step_name(i), step) == 0) {
            log_warn("MANAGER_INSECURE_FAILPOINT=%s: the manager will kill itself there; this is for tests",
                     at);
            p->host.inject = step_done;
            p->host.undone = step_undone;
            p->host.inject_ctx = p;
            return true;
        }
    return err_fail(e, ERR_KIND_INVALID, "MANAGER_INSECURE_FAILPOINT: '%s': no step has that name", step);
}

static const char *tee_of(const struct program *p)
{
    return p->host.snp ? host_tee_name(HOST_TEE_SNP) : p->host.tdx ? host_tee_name(HOST_TEE_TDX) : NULL;
}

/* The accelerator is known: now VMs can be made, and those of an earlier manager be taken over. */
static void probed(const struct host_kvm_verdict *v, void *ctx)
{
    struct program *p = ctx;
    struct err e = ERR_INIT;

    if (p->daemon.stopping)
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
    if (tee_of(p) && !v->works) {
        err_fail(&e, ERR_KIND_MISSING, "%s VMs need KVM: %s", tee_of(p), v->reason);
        daemon_fail(&p->daemon, &e);
        return;
    }
    if (!mgr_fleet_new(&p->host, &p->fleet, &e) || !serve(p, &e))
        daemon_fail(&p->daemon, &e);
}

/* A manager that shared a directory with another would take over, or sweep away, what the other makes just now. */
static bool take_dir(const char *path, const char *setting, int *ret_fd, struct err *e)
{
    if (!stage_dir_open(path, 0700, ret_fd, e))
        return false;
    if (flock(*ret_fd, LOCK_EX | LOCK_NB) == 0)
        return true;
    if (errno == EWOULDBLOCK)
        return err_fail(e, ERR_KIND_UNAVAILABLE,
                        "'%s': another manager uses it; give each a %s of its own, or end the other", path,
                        setting);
    return err_fail_os(e, "lock '%s'", path);
}

static bool prepare(struct program *p, struct err *e)
{
    CLEANUP(mem_done) char *records = mem_format(e, "%s/manager", p->settings.state_dir);
    struct err no_cgroup = ERR_INIT;
    int n = snprintf(p->vms_dir, sizeof(p->vms_dir), "%s/vms", p->settings.run_dir);

    if (!records || !mgr_qemu_args_check(&p->settings, e))
        return false;
    if (n < 0 || n > MGR_VMS_DIR_MAX)
        return err_fail(e, ERR_KIND_INVALID,
                        "COCOS_RUN_DIR '%s' is too long for the sockets of VMs: at most %zu bytes are wanted",
                        p->settings.run_dir, MGR_VMS_DIR_MAX - strlen("/vms"));
    if (strchr(p->settings.run_dir, ','))
        return err_fail(e, ERR_KIND_INVALID,
                        "COCOS_RUN_DIR '%s': a ',' ends an option of swtpm: none is wanted",
                        p->settings.run_dir);
    if (!take_dir(p->vms_dir, "COCOS_RUN_DIR", &p->vms_fd, e) ||
        !take_dir(records, "COCOS_STATE_DIR", &p->state_fd, e))
        return false;
    if (!mgr_uuid(p->instance_id, e) || !stage_sweep(p->state_fd, e))
        return false;
    if (!host_cgroup_own(p->cgroup_base, &no_cgroup)) {
        p->cgroup_base[0] = '\0';
        log_info("VMs get no cgroups of their own: %s", err_text(&no_cgroup));
    }
    p->memory.root = p->settings.insecure_host_root;
    p->host = (struct mgr_vm_host){
        .loop = &p->daemon.loop,
        .clock = clock_system(),
        .settings = &p->settings,
        .memory = &p->memory,
        .cgroup_base = p->cgroup_base,
        .vms_dir = p->vms_dir,
        .records_fd = p->state_fd,
        .cpu = "",
        .swtpm = p->facts.swtpm,
        .gpu_bdf = p->facts.gpu_bdf,
    };
    if (p->settings.insecure_host_root[0])
        log_warn("MANAGER_INSECURE_HOST_ROOT=%s stands for this host; this is for tests",
                 p->settings.insecure_host_root);
    return set_failpoint(p, e);
}

/* QEMU has told what it can do: now all that VMs need is looked at, and KVM is tried. */
static void asked(const struct host_qemu_facts *qemu, const struct err *why, void *ctx)
{
    struct program *p = ctx;
    struct err e = ERR_INIT;

    if (p->daemon.stopping)
        return;
    if (!mgr_host_look(&p->settings, qemu, why, &p->facts, &e)) {
        daemon_fail(&p->daemon, &e);
        return;
    }
    p->host.snp = p->facts.snp;
    p->host.tdx = p->facts.tdx;
    if (tee_of(p))
        log_info("VMs are %s ones (QEMU %s)", tee_of(p), qemu->version);
    else
        log_info("VMs have no encrypted memory (QEMU %s): %s", qemu->version, p->facts.tee_why);
    if (p->facts.gpu_bdf[0])
        log_info("VMs get the GPU %s", p->facts.gpu_bdf);
    if (!p->settings.qemu.enable_kvm)
        probed(&(struct host_kvm_verdict){ .reason = "MANAGER_QEMU_ENABLE_KVM is false" }, p);
    else if (!host_kvm_probe(&p->daemon.loop, p->qemu, p->settings.insecure_host_root, p->state_fd, probed, p,
                             &e))
        daemon_fail(&p->daemon, &e);
}

static bool start(void *ctx, struct err *e)
{
    struct program *p = ctx;
    struct err why = ERR_INIT;

    if (!prepare(p, e))
        return false;
    if (!host_program_path(p->settings.qemu.bin_path, p->qemu))
        return mgr_host_look(&p->settings, NULL, NULL, &p->facts, e);
    if (host_qemu_ask(&p->daemon.loop, p->qemu, p->settings.qemu.use_sudo, p->state_fd, asked, p, &why))
        return true;
    return mgr_host_look(&p->settings, NULL, &why, &p->facts, e);
}

int main(int argc, char **argv)
{
    static const struct daemon_turns turns = { start, stop, take_down };
    static struct program p = { .state_fd = -1, .vms_fd = -1 };
    struct config_values values = { 0 };
    struct err e = ERR_INIT;
    int code;

    log_open("cocos-manager", LOG_INFO);
    if (daemon_has_settings("cocos-manager", mgr_settings_read(argc, argv, environ, &p.settings, &values, &e),
                            &e, &code)) {
        log_set_level(p.settings.log_level);
        code = daemon_serve(&p.daemon, &turns, &p);
        mgr_fleet_free(p.fleet);
        tls_server_free(p.tls);
        fd_done(&p.state_fd);
        fd_done(&p.vms_fd);
    }
    config_values_done(&values);
    return code;
}
