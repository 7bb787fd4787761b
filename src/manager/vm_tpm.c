/*
 * The step "tpm": a VM's own swtpm, with its state in the VM's directory.
 *
 * It counts as started when it answers on its control socket: one that opened
 * it and is silent would stop QEMU before QMP could tell. Cases MG-8, TP-9.
 */
#include <errno.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "base/stage.h"
#include "manager/vm_int.h"

#define PROBE_MS 10

/* Control channel of swtpm: CMD_GET_CAPABILITY, which changes nothing, and the length of its answer. */
static const uint8_t ask_capability[] = { 0, 0, 0, 1 };
#define CAPABILITY_LEN 8

static enum step_result start_swtpm(struct mgr_vm *vm, struct err *e);

/* ------------------------------------------------------------------ its certificate */

static bool write_config(int dir_fd, const char *name, struct err *e, const char *fmt, ...) PRINTF(4, 5);

static bool write_config(int dir_fd, const char *name, struct err *e, const char *fmt, ...)
{
    CLEANUP(stage_file_done) struct stage_file f = STAGE_FILE_INIT;
    char text[4 * MGR_PATH_MAX + 256];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    return stage_file_begin(dir_fd, &f, e) && stage_file_write(&f, slice_of_str(text), e) &&
           stage_file_place(&f, name, 0600, false, e);
}

/* Only the VM's own directory is named, never the machine's CA in /var/lib/swtpm-localca. */
static bool write_ca(const struct mgr_vm *vm, const char *ca, struct err *e)
{
    CLEANUP(fd_done) int fd = -1;

    return stage_dir_open(ca, 0700, &fd, e) &&
           write_config(fd, "setup.conf", e,
                        "create_certs_tool = swtpm_localca\n"
                        "create_certs_tool_config = %s/localca.conf\n"
                        "create_certs_tool_options = %s/options\n",
                        ca, ca) &&
           write_config(fd, "localca.conf", e,
                        "statedir = %s\n"
                        "signingkey = %s/signkey.pem\n"
                        "issuercert = %s/issuercert.pem\n"
                        "certserial = %s/certserial\n",
                        ca, ca, ca, ca) &&
           write_config(fd, "options", e,
                        "--platform-manufacturer cocos-c\n"
                        "--platform-model %s\n"
                        "--platform-version 1\n",
                        vm->record.id);
}

static void keep_said(struct child *c, enum child_stream stream, struct slice bytes, void *ctx)
{
    struct mgr_vm *vm = ctx;
    struct err full = ERR_INIT;

    (void)c;
    (void)stream;
    /* Its last lines say what went wrong. */
    if (vm->tpm.said.len + bytes.len > vm->tpm.said.max)
        buf_consume(&vm->tpm.said, vm->tpm.said.len);
    if (!buf_append(&vm->tpm.said, bytes, &full))
        err_clear(&full);
}

static void setup_ended(struct child *c, const struct child_exit *how, void *ctx)
{
    struct mgr_vm *vm = ctx;
    struct slice said = buf_slice(&vm->tpm.said);
    struct err e = ERR_INIT;

    child_free(c);
    vm->tpm.setup = NULL;
    if (how->timed_out)
        err_fail(&e, ERR_KIND_TIMEOUT, "swtpm_setup has not ended within MANAGER_SWTPM_TIMEOUT");
    else if (how->by_signal || how->number != 0)
        err_fail(&e, ERR_KIND_UNAVAILABLE, "swtpm_setup ended with %s %d: %.*s",
                 how->by_signal ? "signal" : "status", how->number, (int)said.len, (const char *)said.at);
    else if (start_swtpm(vm, &e) == STEP_WAIT)
        return;
    err_wrap(&e, "software TPM");
    mgr_vm_fail(vm, &e);
}

static enum step_result run_setup(struct mgr_vm *vm, const char *state, struct err *e)
{
    char ca[MGR_PATH_MAX];
    char config[MGR_PATH_MAX + 16];
    char temporary[MGR_PATH_MAX + 16];
    const char *const argv[] = {
        "swtpm_setup",   "--tpm2",      "--tpmstate",       state, "--config", config, "--pcr-banks",
        "sha256,sha384", "--overwrite", "--create-ek-cert", NULL
    };
    /* What it leaves when it is killed goes with the directory. */
    const char *const env[] = { "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                                "LANG=C.UTF-8", "HOME=/", temporary, NULL };
    const struct child_spec spec = {
        .argv = argv,
        .env = env,
        .deadline_ms = vm->host->settings->swtpm_timeout_ms,
        .on_output = keep_said,
        .on_exit = setup_ended,
        .ctx = vm,
    };

    mgr_vm_path(vm, "ca", ca);
    snprintf(config, sizeof(config), "%s/setup.conf", ca);
    snprintf(temporary, sizeof(temporary), "TMPDIR=%s", ca);
    if (write_ca(vm, ca, e) && child_spawn(vm->host->loop, &spec, &vm->tpm.setup, e))
        return STEP_WAIT;
    err_wrap(e, "software TPM");
    return STEP_FAILED;
}

/* ------------------------------------------------------------------ its socket */

static int connect_socket(const char *path)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    snprintf(at.sun_path, sizeof(at.sun_path), "%.107s", path); /* fits: see step "directory" */
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&at, sizeof(at)) == 0 &&
        send(fd, ask_capability, sizeof(ask_capability), MSG_NOSIGNAL) == (ssize_t)sizeof(ask_capability))
        return fd;
    fd_done(&fd);
    return -1;
}

/* True when all of the answer has come. A connection that ended is begun anew. */
static bool answered(struct mgr_vm *vm, const char *path)
{
    uint8_t bytes[CAPABILITY_LEN];
    ssize_t n;

    if (vm->tpm.fd < 0) {
        vm->tpm.fd = connect_socket(path);
        vm->tpm.got = 0;
    }
    if (vm->tpm.fd < 0)
        return false;
    vm->tpm.opened = true;
    n = recv(vm->tpm.fd, bytes, CAPABILITY_LEN - vm->tpm.got, 0);
    if (n > 0)
        vm->tpm.got += (size_t)n;
    else if (n == 0 || (errno != EAGAIN && errno != EINTR))
        fd_done(&vm->tpm.fd);
    return vm->tpm.got == CAPABILITY_LEN;
}

/* swtpm serves one connection after another on this socket: ours is over before QEMU's begins. */
static void probe(uv_timer_t *timer)
{
    struct mgr_vm *vm = timer->data;
    uint64_t limit_ms = vm->host->settings->swtpm_timeout_ms;
    char path[MGR_PATH_MAX];
    struct err e = ERR_INIT;

    mgr_vm_path(vm, "tpm.sock", path);
    if (answered(vm, path)) {
        fd_done(&vm->tpm.fd);
        mgr_vm_step_done(vm);
        return;
    }
    if (uv_now(vm->host->loop) - vm->tpm.since_ms < limit_ms) {
        mgr_vm_timer(vm, PROBE_MS, probe);
        return;
    }
    err_fail(&e, ERR_KIND_TIMEOUT, "the software TPM (swtpm) %s %s within %llu ms (MANAGER_SWTPM_TIMEOUT)",
             vm->tpm.opened ? "does not answer at" : "has not opened its socket", path,
             (unsigned long long)limit_ms);
    mgr_vm_fail(vm, &e);
}

/* ------------------------------------------------------------------ the step */

static enum step_result start_swtpm(struct mgr_vm *vm, struct err *e)
{
    char state[MGR_PATH_MAX];
    char socket_path[MGR_PATH_MAX];
    char state_arg[MGR_PATH_MAX + 8];
    char ctrl_arg[MGR_PATH_MAX + 32];
    char *argv[] = { (char *)(uintptr_t)vm->host->swtpm,
                     "socket",
                     "--tpm2",
                     "--tpmstate",
                     state_arg,
                     "--ctrl",
                     ctrl_arg,
                     NULL };

    mgr_vm_path(vm, "tpm", state);
    mgr_vm_path(vm, "tpm.sock", socket_path);
    snprintf(state_arg, sizeof(state_arg), "dir=%s", state);
    snprintf(ctrl_arg, sizeof(ctrl_arg), "type=unixio,path=%s", socket_path);
    if (!mgr_process_spawn(vm->host->loop, argv, vm->log_fd, vm->cgroup_fd, mgr_vm_swtpm_ended, vm,
                           &vm->swtpm, e)) {
        err_wrap(e, "software TPM");
        return STEP_FAILED;
    }
    vm->record.swtpm = mgr_process_id(vm->swtpm);
    log_info("VM %s: swtpm runs as process %d", vm->record.id, (int)vm->record.swtpm.pid);
    uv_update_time(vm->host->loop);
    vm->tpm.since_ms = uv_now(vm->host->loop);
    mgr_vm_timer(vm, 1, probe);
    return STEP_WAIT;
}

enum step_result mgr_vm_tpm_start(struct mgr_vm *vm, struct err *e)
{
    CLEANUP(fd_done) int fd = -1;
    char state[MGR_PATH_MAX];

    if (!vm->host->swtpm[0])
        return STEP_DONE;
    mgr_vm_path(vm, "tpm", state);
    if (!stage_dir_open(state, 0700, &fd, e)) {
        err_wrap(e, "software TPM");
        return STEP_FAILED;
    }
    return vm->host->settings->swtpm_ek_cert ? run_setup(vm, state, e) : start_swtpm(vm, e);
}

void mgr_vm_tpm_let_go(struct mgr_vm *vm)
{
    child_free(vm->tpm.setup);
    vm->tpm.setup = NULL;
    fd_done(&vm->tpm.fd);
    buf_done(&vm->tpm.said);
}

enum step_result mgr_vm_tpm_stop(struct mgr_vm *vm)
{
    mgr_vm_tpm_let_go(vm);
    if (!vm->swtpm)
        return STEP_DONE;
    vm->awaits = VM_AWAITS_TPM;
    mgr_process_signal(vm->swtpm, SIGKILL);
    return STEP_WAIT;
}
