/* The steps that make a VM, and their undos. */

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/stage.h"
#include "manager/environment.h"
#include "manager/sweep.h"
#include "manager/vm_int.h"
#include "proto/pb.h"

#define ARGUMENTS_MAX ((size_t)128 * 1024)
#define PRESS_AGAIN_MS 1000

/* The longest name of a socket in the directory, with its slash; sun_path holds 108 bytes. */
#define SOCKET_NAME_MAX 12

/* ----------------------------------------------------------------- directory */

static enum step_result make_directory(struct mgr_vm *vm, struct err *e)
{
    CLEANUP(fd_done) int fd = -1;
    char path[MGR_PATH_MAX];
    int n = snprintf(vm->record.dir, sizeof(vm->record.dir), "%s/%s", vm->host->vms_dir, vm->record.id);

    if (n < 0 || (size_t)n + SOCKET_NAME_MAX >= sizeof(((struct sockaddr_un *)NULL)->sun_path)) {
        err_fail(e, ERR_KIND_INVALID, "'%s' is too long for sockets: a shorter COCOS_RUN_DIR is wanted",
                 vm->host->vms_dir);
        vm->record.dir[0] = '\0';
        return STEP_FAILED;
    }
    if (!stage_dir_open(vm->record.dir, 0700, &fd, e))
        return STEP_FAILED;
    mgr_vm_path(vm, "qemu.log", path);
    vm->log_fd = open(path, O_CREAT | O_WRONLY | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
    if (vm->log_fd < 0) {
        err_fail_os(e, "open %s", path);
        return STEP_FAILED;
    }
    return STEP_DONE;
}

static enum step_result remove_directory(struct mgr_vm *vm)
{
    const char *slash = strrchr(vm->record.dir, '/');
    char parent[MGR_PATH_MAX];
    unsigned killed;
    struct err e = ERR_INIT;

    fd_done(&vm->log_fd);
    if (!slash)
        return STEP_DONE; /* it was never made */
    /* That of an adopted VM may lie elsewhere, and hold a process that could not be watched: hence the sweep. */
    snprintf(parent, sizeof(parent), "%.*s", (int)(slash - vm->record.dir), vm->record.dir);
    if (!mgr_sweep_vm(parent, vm->record.id, &killed, &e))
        log_error("VM %s: %s", vm->record.id, err_text(&e));
    return STEP_DONE;
}

/* -------------------------------------------------------------------- shares */

static enum step_result write_shares(struct mgr_vm *vm, struct err *e)
{
    CLEANUP(fd_done) int env_fd = -1;
    CLEANUP(fd_done) int certs_fd = -1;
    char env[MGR_PATH_MAX];
    char certs[MGR_PATH_MAX];
    bool ok;

    mgr_vm_path(vm, "env", env);
    mgr_vm_path(vm, "certs", certs);
    ok = stage_dir_open(env, 0700, &env_fd, e) && stage_dir_open(certs, 0700, &certs_fd, e) &&
         mgr_write_shares(vm->request, vm->record.id, env_fd, certs_fd, e);
    return ok ? STEP_DONE : STEP_FAILED;
}

/* ---------------------------------------------------------------------- port */

static enum step_result take_port(struct mgr_vm *vm, struct err *e)
{
    const struct mgr_qemu_settings *q = &vm->host->settings->qemu;
    uint16_t first;
    uint16_t last;

    if (!mgr_port_range(q->host_fwd_range, &first, &last, e) ||
        !mgr_port_take(q->host_fwd_addr, first, last, &vm->port, e))
        return STEP_FAILED;
    vm->record.agent_port = vm->port.number;
    return STEP_DONE;
}

static enum step_result release_port(struct mgr_vm *vm)
{
    mgr_port_release(&vm->port);
    return STEP_DONE;
}

/* ------------------------------------------------------------------ firmware */

static bool copy_file(const char *from, const char *to, struct err *e)
{
    CLEANUP(fd_done) int in = open(from, O_RDONLY | O_CLOEXEC);
    CLEANUP(fd_done) int out = -1;
    CLEANUP(mem_done) uint8_t *block = mem_new(65536, e);

    if (!block)
        return false;
    if (in < 0)
        return err_fail_os(e, "open %s", from);
    out = open(to, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    if (out < 0)
        return err_fail_os(e, "make %s", to);
    for (;;) {
        size_t len;

        if (!file_read(in, block, 65536, &len, e))
            return err_wrap(e, "copy %s", from);
        if (len == 0)
            return true;
        if (!stage_write_all(out, slice_of(block, len), e))
            return err_wrap(e, "copy %s", from);
    }
}

static enum step_result copy_firmware(struct mgr_vm *vm, struct err *e)
{
    const struct mgr_vm_host *h = vm->host;

    mgr_vm_path(vm, "OVMF_VARS.fd", vm->vars);
    if (h->snp || h->tdx || strcmp(h->settings->qemu.boot, "measured") != 0)
        return STEP_DONE;
    return copy_file(h->settings->qemu.ovmf_vars_file, vm->vars, e) ? STEP_DONE : STEP_FAILED;
}

/* ---------------------------------------------------------------------- QEMU */

/* As our peers' manager does at this level. There is no secret in it: case MG-11. */
static void log_arguments(const struct mgr_vm *vm)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(ARGUMENTS_MAX);
    struct err e = ERR_INIT;

    for (size_t i = 0; i < vm->argv.count; i++)
        if (!buf_format(&text, &e, "%s%s", i ? " " : "", vm->argv.at[i]))
            return;
    log_info("VM %s: %s", vm->record.id, buf_str(&text, &e));
}

static enum step_result start_qemu(struct mgr_vm *vm, struct err *e)
{
    const struct mgr_vm_host *h = vm->host;
    const struct mgr_qemu_settings *q = &h->settings->qemu;
    char env[MGR_PATH_MAX];
    char certs[MGR_PATH_MAX];
    char qmp[MGR_PATH_MAX];
    char console[MGR_PATH_MAX];
    char tpm[MGR_PATH_MAX] = "";
    CLEANUP(mem_done)
    char *words = mem_format(e, "%s%s", vm->request->aa_kbs_params[0] ? "agent.aa_kbc_params=" : "",
                             vm->request->aa_kbs_params);
    struct mgr_launch l = {
        .start_id = vm->record.start_id,
        .extra_cmdline = words,
        .ovmf_vars = vm->vars,
        .disk = vm->record.disk,
        .certs_dir = q->certs_mount[0] ? q->certs_mount : certs,
        .env_dir = q->env_mount[0] ? q->env_mount : env,
        .qmp_socket = qmp,
        .console_socket = console,
        .tpm_socket = tpm,
        .cpu = h->cpu,
        .agent_port = vm->record.agent_port,
        .kvm = h->kvm,
        .snp = h->snp,
        .tdx = h->tdx,
        .gpu_bdf = h->gpu_bdf,
    };

    if (!words)
        return STEP_FAILED;
    mgr_vm_path(vm, "env", env);
    mgr_vm_path(vm, "certs", certs);
    mgr_vm_path(vm, "qmp", qmp);
    mgr_vm_path(vm, "console", console);
    if (h->swtpm[0])
        mgr_vm_path(vm, "tpm.sock", tpm);
    if (!mgr_qemu_argv(h->settings, &l, &vm->argv, e) ||
        !mgr_process_spawn(h->loop, vm->argv.at, vm->log_fd, vm->cgroup_fd, mgr_vm_qemu_ended, vm, &vm->qemu,
                           e))
        return STEP_FAILED;
    vm->record.qemu = mgr_process_id(vm->qemu);
    vm->claim.pid = vm->record.qemu.pid;
    log_info("VM %s: qemu runs as process %d", vm->record.id, (int)vm->record.qemu.pid);
    log_arguments(vm);
    return STEP_DONE;
}

static void kill_now(uv_timer_t *timer)
{
    struct mgr_vm *vm = timer->data;

    if (vm->qemu)
        mgr_process_signal(vm->qemu, SIGKILL);
}

static void terminate_now(uv_timer_t *timer)
{
    struct mgr_vm *vm = timer->data;

    if (!vm->qemu)
        return;
    log_warn("VM %s: the guest did not end by itself", vm->record.id);
    mgr_process_signal(vm->qemu, SIGTERM);
    mgr_vm_timer(vm, MGR_VM_TERM_MS, kill_now);
}

/*
 * A guest whose driver of the power button is not loaded yet misses the press,
 * and nobody keeps it: so it is pressed again until the guest has ended.
 */
static void press_button(uv_timer_t *timer)
{
    struct mgr_vm *vm = timer->data;
    struct err e = ERR_INIT;

    if (!vm->qemu)
        return;
    if (clock_mono_ms(vm->host->clock) >= vm->stop_by_ms || !vm->qmp ||
        !qmp_command(vm->qmp, "system_powerdown", NULL, NULL, &e)) {
        terminate_now(timer);
        return;
    }
    mgr_vm_timer(vm, PRESS_AGAIN_MS, press_button);
}

/* The guest is asked, then QEMU is, then neither. */
static enum step_result stop_qemu(struct mgr_vm *vm)
{
    if (!vm->qemu)
        return STEP_DONE;
    vm->awaits = VM_AWAITS_QEMU;
    if (vm->graceful && vm->qmp) {
        vm->stop_by_ms = clock_mono_ms(vm->host->clock) + MGR_VM_POWERDOWN_MS;
        mgr_vm_timer(vm, 1, press_button);
    } else {
        mgr_process_signal(vm->qemu, SIGKILL);
    }
    return STEP_WAIT;
}

/* ------------------------------------------------------------ QMP and console */

static void on_console(const struct err *why, void *ctx)
{
    struct mgr_vm *vm = ctx;

    if (why && !vm->adopted)
        mgr_vm_fail(vm, why);
    else if (why)
        log_warn("VM %s: %s", vm->record.id, err_text(why)); /* the VM runs all the same */
    else if (!vm->adopted)
        mgr_vm_step_done(vm);
}

static void on_qmp_ready(struct qmp *q, void *ctx)
{
    struct mgr_vm *vm = ctx;
    char path[MGR_PATH_MAX];
    struct err e = ERR_INIT;

    (void)q;
    mgr_vm_path(vm, "console", path);
    if (!mgr_console_open(vm->host->loop, path, on_console, vm, &vm->console, &e))
        mgr_vm_fail(vm, &e);
}

static void on_qmp_event(struct qmp *q, const char *name, const json_t *data, void *ctx)
{
    struct mgr_vm *vm = ctx;
    const char *reason = json_string_value(json_object_get(data, "reason"));

    (void)q;
    log_debug("VM %s: QEMU says %s", vm->record.id, name);
    if (strcmp(name, "SHUTDOWN") == 0)
        snprintf(vm->guest_said, sizeof(vm->guest_said), "%s", reason ? reason : "shutdown");
    else if (strcmp(name, "GUEST_PANICKED") == 0)
        snprintf(vm->guest_said, sizeof(vm->guest_said), "the guest panicked");
}

static void on_qmp_closed(struct qmp *q, const struct err *why, void *ctx)
{
    struct mgr_vm *vm = ctx;

    (void)q;
    vm->qmp = NULL;
    if (vm->state == MGR_VM_PROVISION)
        mgr_vm_fail(vm, why);
    else
        log_debug("VM %s: %s", vm->record.id, err_text(why)); /* how QEMU fares, its process tells */
}

static const struct qmp_events qmp_handlers = { on_qmp_ready, on_qmp_event, on_qmp_closed };

bool mgr_vm_attach(struct mgr_vm *vm, struct err *e)
{
    char path[MGR_PATH_MAX];

    mgr_vm_path(vm, "qmp", path);
    return qmp_connect(vm->host->loop, path, MGR_VM_READY_MS, &qmp_handlers, vm, &vm->qmp, e);
}

static enum step_result attach(struct mgr_vm *vm, struct err *e)
{
    return mgr_vm_attach(vm, e) ? STEP_WAIT : STEP_FAILED;
}

/* -------------------------------------------------------------------- record */

static enum step_result write_record(struct mgr_vm *vm, struct err *e)
{
    if (vm->ttl_ms)
        vm->record.ttl_until_mono_ms = clock_mono_ms(vm->host->clock) + vm->ttl_ms;
    return mgr_record_write(vm->host->records_fd, &vm->record, e) ? STEP_DONE : STEP_FAILED;
}

static enum step_result remove_record(struct mgr_vm *vm)
{
    struct err e = ERR_INIT;

    if (!mgr_record_remove(vm->host->records_fd, vm->record.id, &e))
        log_error("%s", err_text(&e));
    return STEP_DONE;
}

/* ----------------------------------------------------------------------- run */

static void on_cont(const json_t *result, const char *why, void *ctx)
{
    struct mgr_vm *vm = ctx;
    struct err e = ERR_INIT;

    (void)result;
    if (vm->unwinding)
        return;
    if (!why) {
        mgr_vm_step_done(vm);
        return;
    }
    err_fail(&e, ERR_KIND_UNAVAILABLE, "QEMU does not run the VM: %s", why);
    mgr_vm_fail(vm, &e);
}

static enum step_result run(struct mgr_vm *vm, struct err *e)
{
    if (!vm->qmp) {
        err_fail(e, ERR_KIND_UNAVAILABLE, "QMP was lost");
        return STEP_FAILED;
    }
    return qmp_command(vm->qmp, "cont", on_cont, vm, e) ? STEP_WAIT : STEP_FAILED;
}

/*
 * The record comes last and goes first: a VM without one is nobody's, and the
 * next manager ends what it finds of it by its directory (sweep.h).
 */
const struct vm_step mgr_vm_steps[] = {
    { "admission", mgr_vm_admit, mgr_vm_dismiss },
    { "space", mgr_vm_check_space, NULL },
    { "directory", make_directory, remove_directory },
    { "shares", write_shares, NULL },
    { "port", take_port, release_port },
    { "firmware", copy_firmware, NULL },
    { "disk", mgr_vm_disk_copy, mgr_vm_disk_stop },
    { "cgroup", mgr_vm_cgroup_make, mgr_vm_cgroup_remove },
    { "tpm", mgr_vm_tpm_start, mgr_vm_tpm_stop },
    { "qemu", start_qemu, stop_qemu },
    { "attach", attach, NULL },
    { "run", run, NULL },
    { "record", write_record, remove_record }, /* one a line: the order is the point */
};
const size_t mgr_vm_step_count = ARRAY_LEN(mgr_vm_steps);
_Static_assert(ARRAY_LEN(mgr_vm_steps) <= MGR_STEPS_MAX, "MGR_STEPS_MAX is too small");

const char *mgr_vm_step_name(size_t place)
{
    return place < ARRAY_LEN(mgr_vm_steps) ? mgr_vm_steps[place].name : NULL;
}
