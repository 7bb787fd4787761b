#include "manager/vm.h"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/stage.h"
#include "base/text.h"
#include "manager/vm_int.h"
#include "proto/pb.h"

#define CONSOLE_SEARCHED ((size_t)16 * 1024)
#define CONSOLE_SHOWN ((size_t)400)

bool mgr_uuid(char *ret, struct err *e)
{
    uint8_t b[16];

    if (getrandom(b, sizeof(b), 0) != (ssize_t)sizeof(b))
        return err_fail_os(e, "make an id");
    b[6] = (uint8_t)((b[6] & 0x0f) | 0x40); /* RFC 9562: version 4 */
    b[8] = (uint8_t)((b[8] & 0x3f) | 0x80); /* and variant         */
    snprintf(ret, MGR_ID_LEN + 1, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
             b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14],
             b[15]);
    return true;
}

const char *mgr_vm_id(const struct mgr_vm *vm)
{
    return vm->record.id;
}

uint16_t mgr_vm_port(const struct mgr_vm *vm)
{
    return vm->record.agent_port;
}

enum mgr_vm_state mgr_vm_state(const struct mgr_vm *vm)
{
    return vm->state;
}

const char *mgr_vm_state_name(enum mgr_vm_state state)
{
    switch (state) {
    case MGR_VM_PROVISION: return "VmProvision";
    case MGR_VM_RUNNING: return "VmRunning";
    case MGR_VM_STOPPING: return "StopComputationRun";
    }
    return "";
}

uint64_t mgr_vm_age_ms(const struct mgr_vm *vm)
{
    return clock_mono_ms(vm->host->clock) - vm->record.created_mono_ms;
}

size_t mgr_vm_failed_step(const struct mgr_vm *vm)
{
    return vm->failed;
}

bool mgr_vm_console(const struct mgr_vm *vm, size_t max, struct buf *out, struct err *e)
{
    return !vm->console || mgr_ring_tail(mgr_console_ring(vm->console), max, out, e);
}

const struct mgr_argv *mgr_vm_argv(const struct mgr_vm *vm)
{
    return &vm->argv;
}

void mgr_vm_path(const struct mgr_vm *vm, const char *name, char *ret)
{
    /* The directory's length was checked when it was made: see step "directory". */
    snprintf(ret, MGR_PATH_MAX, "%.*s/%s", MGR_PATH_MAX - 32, vm->record.dir, name);
}

void mgr_vm_timer(struct mgr_vm *vm, uint64_t ms, uv_timer_cb then)
{
    uv_timer_stop(&vm->timer);
    if (ms)
        uv_timer_start(&vm->timer, then, ms, 0);
}

static void free_vm(uv_handle_t *h)
{
    struct mgr_vm *vm = h->data;

    if (--vm->open_timers > 0)
        return;
    mgr_port_release(&vm->port);
    mgr_argv_done(&vm->argv);
    if (vm->request)
        pb_free(&vm->request->base);
    fd_done(&vm->log_fd);
    fd_done(&vm->cgroup_fd);
    buf_done(&vm->disk.said);
    mem_free(vm);
}

/* Lets go of everything that only this process has. */
static void let_go(struct mgr_vm *vm)
{
    qmp_free(vm->qmp);
    mgr_console_free(vm->console);
    mgr_process_free(vm->qemu);
    mgr_process_free(vm->swtpm);
    child_free(vm->disk.child);
    mgr_vm_tpm_let_go(vm);
    vm->qmp = NULL;
    vm->console = NULL;
    vm->qemu = NULL;
    vm->swtpm = NULL;
    vm->disk.child = NULL;
    mgr_memory_release(vm->host->memory, &vm->claim);
    uv_close((uv_handle_t *)&vm->timer, free_vm);
    uv_close((uv_handle_t *)&vm->grace, free_vm);
}

void mgr_vm_abandon(struct mgr_vm *vm)
{
    let_go(vm);
}

/* ------------------------------------------------------------------- the TTL */

static void ttl_over(uv_timer_t *timer)
{
    mgr_vm_remove(timer->data, "its time to live is over");
}

static void start_ttl(struct mgr_vm *vm)
{
    uint64_t now = clock_mono_ms(vm->host->clock);

    if (vm->record.ttl_until_mono_ms == 0)
        return;
    mgr_vm_timer(vm, vm->record.ttl_until_mono_ms > now ? vm->record.ttl_until_mono_ms - now : 1, ttl_over);
}

/* ------------------------------------------------------------ forward and back */

static void unwind(struct mgr_vm *vm)
{
    for (;;) {
        const struct vm_step *s = &mgr_vm_steps[vm->step];

        if (s->undo && s->undo(vm) == STEP_WAIT)
            return;
        if (vm->host->undone)
            vm->host->undone(s->name, vm->host->inject_ctx);
        if (vm->step == 0)
            break;
        vm->step--;
    }
    if (!vm->told) {
        vm->told = true;
        vm->events->created(vm, &vm->why, vm->ctx);
    }
    vm->events->ended(vm, vm->cause, vm->ctx);
    let_go(vm);
}

static void forward(struct mgr_vm *vm)
{
    while (vm->step < mgr_vm_step_count && !vm->unwinding) {
        const struct vm_step *s = &mgr_vm_steps[vm->step];
        struct err e = ERR_INIT;
        enum step_result r = s->begin(vm, &e);

        if (r == STEP_WAIT)
            return;
        if (r == STEP_FAILED) {
            mgr_vm_fail(vm, &e);
            return;
        }
        mgr_vm_step_done(vm);
        return;
    }
    if (vm->unwinding)
        return;
    vm->step = mgr_vm_step_count - 1; /* where undoing begins */
    vm->state = MGR_VM_RUNNING;
    start_ttl(vm);
    vm->told = true;
    vm->events->created(vm, NULL, vm->ctx);
}

void mgr_vm_step_done(struct mgr_vm *vm)
{
    const char *name = mgr_vm_steps[vm->step].name;
    struct err e = ERR_INIT;

    if (vm->unwinding)
        return; /* the timer is the undo's now */
    mgr_vm_timer(vm, 0, NULL);
    if (vm->host->inject && !vm->host->inject(name, vm->host->inject_ctx)) {
        err_fail(&e, ERR_KIND_INTERNAL, "step %s was made to fail", name);
        mgr_vm_fail(vm, &e);
        return;
    }
    log_debug("VM %s: %s done", vm->record.id, name);
    vm->step++;
    forward(vm);
}

void mgr_vm_undone(struct mgr_vm *vm, enum vm_awaits what)
{
    if (vm->awaits != what)
        return;
    vm->awaits = VM_AWAITS_NOTHING;
    mgr_vm_timer(vm, 0, NULL);
    unwind(vm); /* the undo sees that what it waited for has ended */
}

/* The last words of the console behind a cause, so that a person sees what the guest saw (MG-7). */
static void add_console(struct mgr_vm *vm)
{
    CLEANUP(buf_done) struct buf tail = BUF_INIT(CONSOLE_SEARCHED);
    CLEANUP(buf_done) struct buf safe = BUF_INIT(8192);
    struct err e = ERR_INIT;
    size_t used = strlen(vm->cause);

    if (!mgr_vm_console(vm, CONSOLE_SEARCHED, &tail, &e) || tail.len == 0 ||
        !text_safe(mgr_console_words(buf_slice(&tail), CONSOLE_SHOWN), &safe, &e))
        return;
    snprintf(vm->cause + used, sizeof(vm->cause) - used, "; its console ends: %.*s", (int)safe.len,
             (const char *)buf_slice(&safe).at);
}

void mgr_vm_fail(struct mgr_vm *vm, const struct err *why)
{
    if (vm->unwinding)
        return;
    vm->unwinding = true;
    vm->state = MGR_VM_STOPPING;
    mgr_vm_timer(vm, 0, NULL);
    if (vm->step >= mgr_vm_step_count)
        vm->step = mgr_vm_step_count - 1;
    vm->failed = vm->step;
    snprintf(vm->cause, sizeof(vm->cause), "%s", err_text(why));
    add_console(vm);
    err_fail(&vm->why, why->kind, "%s", vm->cause);
    unwind(vm);
}

void mgr_vm_remove(struct mgr_vm *vm, const char *cause)
{
    struct err why = ERR_INIT;

    if (vm->unwinding)
        return;
    err_fail(&why, ERR_KIND_CANCELLED, "%s", cause);
    vm->graceful = vm->state == MGR_VM_RUNNING;
    vm->unwinding = true;
    vm->state = MGR_VM_STOPPING;
    mgr_vm_timer(vm, 0, NULL);
    if (vm->step >= mgr_vm_step_count)
        vm->step = mgr_vm_step_count - 1;
    vm->failed = vm->step;
    snprintf(vm->cause, sizeof(vm->cause), "%s", cause);
    vm->why = why;
    unwind(vm);
}

/* -------------------------------------------------------- what the processes do */

static void say_how(const struct mgr_process_exit *how, char *ret, size_t len)
{
    if (!how->known)
        snprintf(ret, len, "ended");
    else if (how->by_signal)
        snprintf(ret, len, "was killed by signal %d", how->number);
    else
        snprintf(ret, len, "ended with status %d", how->number);
}

/* Where the monitor is, which QEMU says at each start, explains no end of it. */
static struct slice skip_greeting(struct slice said)
{
    while (slice_starts(said, "char device redirected"))
        said = slice_after(said, slice_find(said, '\n') + 1);
    return said;
}

/* What QEMU itself had to say, from its log. */
static void last_words(const struct mgr_vm *vm, char *ret, size_t len)
{
    char path[MGR_PATH_MAX];
    CLEANUP(buf_done) struct buf text = BUF_INIT(64 * 1024);
    CLEANUP(buf_done) struct buf safe = BUF_INIT(256 * 1024);
    struct err e = ERR_INIT;

    ret[0] = '\0';
    mgr_vm_path(vm, "qemu.log", path);
    if (!stage_read_file(path, &text, &e))
        return;

    struct slice said = slice_first(skip_greeting(buf_slice(&text)), 400);

    while (said.len && said.at[said.len - 1] == '\n')
        said.len--;
    if (said.len && text_safe(said, &safe, &e))
        snprintf(ret, len, ": %.*s", (int)safe.len, (const char *)buf_slice(&safe).at);
}

/* QEMU tells its TPM to end when it ends itself: then swtpm's status is 0, and what ended QEMU says more. */
static bool ended_in_order(const struct mgr_process_exit *how)
{
    return !how->known || (!how->by_signal && how->number == 0);
}

void mgr_vm_qemu_ended(const struct mgr_process_exit *how, void *ctx)
{
    struct mgr_vm *vm = ctx;
    struct mgr_process_exit tpm;
    struct err why = ERR_INIT;
    char text[64];
    char words[500];

    vm->qemu = NULL;
    if (vm->unwinding) {
        mgr_vm_undone(vm, VM_AWAITS_QEMU);
        return;
    }
    if (vm->swtpm && mgr_process_has_ended(vm->swtpm, &tpm) && !ended_in_order(&tpm))
        return; /* its own end is told next, and is the cause */
    say_how(how, text, sizeof(text));
    last_words(vm, words, sizeof(words));
    if (vm->guest_said[0])
        err_fail(&why, ERR_KIND_UNAVAILABLE, "the VM ended: %s", vm->guest_said);
    else
        err_fail(&why, ERR_KIND_UNAVAILABLE, "QEMU %s%s", text, words);
    mgr_vm_fail(vm, &why);
}

static void tpm_is_gone(struct mgr_vm *vm, const char *how)
{
    char path[MGR_PATH_MAX];
    char words[500];
    struct err why = ERR_INIT;

    mgr_vm_path(vm, "tpm.sock", path);
    words[0] = '\0';
    if (vm->record.qemu.pid == 0) /* later the words are QEMU's */
        last_words(vm, words, sizeof(words));
    err_fail(&why, ERR_KIND_UNAVAILABLE, "the software TPM (swtpm) %s%s (its socket: %s)", how, words, path);
    mgr_vm_fail(vm, &why);
}

static void qemu_has_not_ended(uv_timer_t *timer)
{
    struct mgr_vm *vm = timer->data;

    if (!vm->unwinding)
        tpm_is_gone(vm, "ended though QEMU runs on");
}

void mgr_vm_swtpm_ended(const struct mgr_process_exit *how, void *ctx)
{
    struct mgr_vm *vm = ctx;
    char text[64];

    vm->swtpm = NULL;
    if (vm->unwinding) {
        mgr_vm_undone(vm, VM_AWAITS_TPM);
        return;
    }
    if (vm->qemu && ended_in_order(how)) {
        uv_timer_start(&vm->grace, qemu_has_not_ended, MGR_VM_GRACE_MS, 0);
        return;
    }
    say_how(how, text, sizeof(text));
    tpm_is_gone(vm, text);
}

/* ---------------------------------------------------------------- new and adopted */

static struct mgr_vm *new_vm(const struct mgr_vm_host *host, const struct mgr_vm_events *events, void *ctx,
                             struct err *e)
{
    struct mgr_vm *vm = mem_new(sizeof(*vm), e);

    if (!vm)
        return NULL;
    vm->host = host;
    vm->events = events;
    vm->ctx = ctx;
    vm->port = (struct mgr_port)MGR_PORT_INIT;
    vm->log_fd = -1;
    vm->cgroup_fd = -1;
    vm->disk.said = (struct buf)BUF_INIT(MGR_DISK_SAID_MAX);
    vm->tpm.said = (struct buf)BUF_INIT(MGR_TPM_SAID_MAX);
    vm->tpm.fd = -1;
    vm->record.created_mono_ms = clock_mono_ms(host->clock);
    uv_timer_init(host->loop, &vm->timer);
    vm->timer.data = vm;
    uv_timer_init(host->loop, &vm->grace);
    vm->grace.data = vm;
    vm->open_timers = 2;
    return vm;
}

/* A copy of a message that lives longer than the call. */
static Manager__CreateReq *copy_request(const Manager__CreateReq *request, struct err *e)
{
    struct secret wire = SECRET_INIT((size_t)8 * 1024 * 1024);
    ProtobufCMessage *copy = NULL;

    if (pb_encode(&request->base, &wire.bytes, e))
        copy = pb_decode(&manager__create_req__descriptor, secret_slice(&wire), NULL, e);
    secret_done(&wire);
    return (Manager__CreateReq *)copy;
}

static void begin(uv_timer_t *timer)
{
    forward(timer->data);
}

bool mgr_vm_create(const struct mgr_vm_host *host, const Manager__CreateReq *request, uint64_t ttl_ms,
                   const struct mgr_vm_events *events, void *ctx, struct mgr_vm **ret, struct err *e)
{
    struct mgr_vm *vm = new_vm(host, events, ctx, e);

    if (!vm)
        return false;
    vm->ttl_ms = ttl_ms;
    vm->request = copy_request(request, e);
    if (!vm->request || !mgr_uuid(vm->record.id, e) || !mgr_uuid(vm->record.start_id, e)) {
        let_go(vm);
        return false;
    }
    mgr_vm_timer(vm, 1, begin); /* callbacks never come from within this call */
    *ret = vm;
    return true;
}

static void not_adopted(uv_timer_t *timer)
{
    struct mgr_vm *vm = timer->data;
    struct err why = vm->why;

    mgr_vm_fail(vm, &why);
}

/* A VM whose TPM ended while no manager ran is ended for that, as it would have been by one that ran. */
static bool no_tpm(struct mgr_vm *vm, const struct err *why)
{
    return err_fail(&vm->why, ERR_KIND_UNAVAILABLE, "the software TPM (swtpm) has ended: %s", err_text(why));
}

bool mgr_vm_adopt(const struct mgr_vm_host *host, const struct mgr_record *record,
                  const struct mgr_vm_events *events, void *ctx, struct mgr_vm **ret, struct err *e)
{
    struct mgr_vm *vm = new_vm(host, events, ctx, e);
    struct err tpm_why = ERR_INIT;
    struct err ignored = ERR_INIT;
    uint64_t bytes;

    if (!vm)
        return false;
    *ret = vm;
    vm->record = *record;
    if (mgr_memory_bytes(host->settings->qemu.memory_size, &bytes,
                         &ignored)) /* it was checked at the start */
        mgr_memory_hold(host->memory, &vm->claim, bytes, record->qemu.pid);
    vm->adopted = true;
    vm->told = true;
    vm->state = MGR_VM_RUNNING;
    vm->step = mgr_vm_step_count - 1;
    /* Its TPM is found first: should QEMU be gone, it has to be ended as well. */
    bool has_tpm = record->swtpm.pid == 0 || mgr_process_adopt(host->loop, &record->swtpm, mgr_vm_swtpm_ended,
                                                               vm, &vm->swtpm, &tpm_why);

    if (mgr_process_adopt(host->loop, &record->qemu, mgr_vm_qemu_ended, vm, &vm->qemu, &vm->why) &&
        (has_tpm || no_tpm(vm, &tpm_why)) && mgr_vm_attach(vm, &vm->why)) {
        start_ttl(vm);
        return true;
    }
    err_wrap(&vm->why, "it could not be taken over from an earlier manager");
    vm->state = MGR_VM_STOPPING;
    mgr_vm_timer(vm, 1, not_adopted); /* callbacks never come from within this call */
    return true;
}
