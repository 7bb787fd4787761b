#include "unit/base/unit.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/stage.h"
#include "host/cgroup.h"
#include "manager/ports.h"
#include "manager/sweep.h"
#include "manager/vm_int.h"
#include "unit/base/patience.h"
#include "unit/base/scratch.h"
#include "unit/manager/fake_qemu.h"
#include "unit/manager/loop.h"

/* Ports that no other run of this test on this machine has as well. */
#define FIRST ((uint16_t)(25000 + getpid() % 50 * 100))
#define LAST ((uint16_t)(FIRST + 99))

struct fixture {
    uv_loop_t loop;
    struct clock clock;
    uint64_t now_ms;
    struct mgr_settings settings;
    struct config_values values;
    struct mgr_vm_host host;
    struct mgr_memory memory;
    char cgroup_base[HOST_CGROUP_MAX]; /* "" where none can be made */
    char dir[MGR_PATH_MAX];
    int records_fd;
    const char *fail_step; /* NULL none */
    char undone[512];      /* names of the steps that were undone, each with a blank */

    struct mgr_vm *vm;
    bool created, failed, ended;
    char why[1024];
    char cause[1024];
    struct mgr_record record; /* as written down */
};

/* Ours alone moves; whatever asks for the time of day fails the test (MG-10). */
static uint64_t fake_mono(void *ctx)
{
    return ((struct fixture *)ctx)->now_ms;
}

static int64_t no_wall(void *ctx)
{
    (void)ctx;
    fail_msg("the time of day was asked for");
    return 0;
}

static bool inject(const char *step, void *ctx)
{
    const struct fixture *f = ctx;

    return !f->fail_step || strcmp(step, f->fail_step) != 0;
}

static void undone(const char *step, void *ctx)
{
    struct fixture *f = ctx;
    size_t used = strlen(f->undone);

    snprintf(f->undone + used, sizeof(f->undone) - used, "%s ", step);
}

static void on_created(struct mgr_vm *vm, const struct err *why, void *ctx)
{
    struct fixture *f = ctx;

    assert_false(f->created);
    assert_ptr_equal(vm, f->vm);
    f->created = true;
    f->failed = why != NULL;
    snprintf(f->why, sizeof(f->why), "%s", why ? err_text(why) : "");
}

static void on_ended(struct mgr_vm *vm, const char *cause, void *ctx)
{
    struct fixture *f = ctx;

    assert_false(f->ended);
    assert_ptr_equal(vm, f->vm);
    f->ended = true;
    f->vm = NULL;
    snprintf(f->cause, sizeof(f->cause), "%s", cause);
}

static const struct mgr_vm_events events = { on_created, on_ended };

static void read_settings(struct fixture *f, const char *mode)
{
    char cmdline[128];
    char range[64];
    char *env[] = { "MANAGER_QEMU_BIN_PATH=/proc/self/exe",
                    "MANAGER_QEMU_MEMORY_SIZE=16M",
                    "MANAGER_QEMU_HOST_FWD_ADDR=127.0.0.1",
                    "MANAGER_QEMU_OVMF_VARS_FILE=vars.fd",
                    range,
                    cmdline,
                    NULL };
    char *args[] = { "cocos-manager", NULL };
    struct err e = ERR_INIT;

    snprintf(cmdline, sizeof(cmdline), "MANAGER_QEMU_KERNEL_CMDLINE=fake=%s", mode);
    snprintf(range, sizeof(range), "MANAGER_QEMU_HOST_FWD_RANGE=%d-%d", FIRST, LAST);
    if (mgr_settings_read(1, args, env, &f->settings, &f->values, &e) != CONFIG_RUN)
        fail_msg("%s", err_text(&e));
}

static void set_mode(struct fixture *f, const char *mode)
{
    config_values_done(&f->values);
    read_settings(f, mode);
}

static int set_up(void **state)
{
    static struct fixture f;
    uv_pipe_t first;
    int vms_fd;
    struct err e = ERR_INIT;
    char cwd[MGR_PATH_MAX - 16];

    f = (struct fixture){ .now_ms = 1000000 };
    scratch_enter();
    scratch_write("vars.fd", slice_of_str("variables"), 0600);
    if (!getcwd(cwd, sizeof(cwd)))
        return 1;
    snprintf(f.dir, sizeof(f.dir), "%s/vms", cwd);
    assert_true(stage_dir_open(f.dir, 0700, &vms_fd, &e));
    close(vms_fd);
    assert_true(stage_dir_open("records", 0700, &f.records_fd, &e));
    read_settings(&f, "");
    uv_loop_init(&f.loop);
    /* libuv opens a spare descriptor with the first stream; that is no leak. */
    uv_pipe_init(&f.loop, &first, 0);
    uv_close((uv_handle_t *)&first, NULL);
    uv_run(&f.loop, UV_RUN_DEFAULT);
    if (!host_cgroup_own(f.cgroup_base, &e))
        f.cgroup_base[0] = '\0';
    err_clear(&e);
    f.memory.root = "";
    f.clock = (struct clock){ fake_mono, no_wall, &f };
    f.host = (struct mgr_vm_host){
        .loop = &f.loop,
        .clock = &f.clock,
        .settings = &f.settings,
        .memory = &f.memory,
        .cgroup_base = f.cgroup_base,
        .vms_dir = f.dir,
        .records_fd = f.records_fd,
        .cpu = "",
        .gpu_bdf = "",
        .swtpm = "/proc/self/exe",
        .inject = inject,
        .undone = undone,
        .inject_ctx = &f,
    };
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    loop_end(&f->loop);
    config_values_done(&f->values);
    close(f->records_fd);
    scratch_leave();
    return 0;
}

/* Descriptors that are open in this process. */
static size_t open_fds(void)
{
    return scratch_count("/proc/self/fd");
}

/* The cgroup of the VM that is recorded; false when there are none here. */
static bool cgroup_of(const struct fixture *f, char *ret, size_t len)
{
    snprintf(ret, len, "%s/" MGR_CGROUP_PREFIX "%s", f->cgroup_base, f->record.id);
    return f->cgroup_base[0] != '\0';
}

/* Nothing of any VM is left: no process, file, port, memory, cgroup or record. */
static void assert_clean(struct fixture *f)
{
    struct mgr_port p = MGR_PORT_INIT;
    char path[HOST_CGROUP_MAX + 64];
    struct err e = ERR_INIT;

    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(scratch_count("vms"), 0);
    assert_int_equal(scratch_count("records"), 0);
    assert_null(f->memory.first);
    if (cgroup_of(f, path, sizeof(path)))
        assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no child, not even a zombie */
    assert_true(mgr_port_take("127.0.0.1", FIRST, FIRST, &p, &e));
    mgr_port_release(&p);
}

static void create(struct fixture *f, uint64_t ttl_ms)
{
    Manager__CreateReq request = MANAGER__CREATE_REQ__INIT;
    struct err e = ERR_INIT;

    request.agent_cvm_server_url = "10.0.2.2:7001";
    if (!mgr_vm_create(&f->host, &request, ttl_ms, &events, f, &f->vm, &e))
        fail_msg("%s", err_text(&e));
    assert_false(f->created || f->ended);
}

static void keep_record(const struct mgr_record *r, void *ctx)
{
    ((struct fixture *)ctx)->record = *r;
}

static void no_refusal(const char *name, const struct err *why, void *ctx)
{
    (void)ctx;
    fail_msg("%s: %s", name, err_text(why));
}

static void create_running(struct fixture *f, uint64_t ttl_ms)
{
    struct err e = ERR_INIT;

    create(f, ttl_ms);
    loop_until(&f->loop, &f->created);
    if (f->failed)
        fail_msg("%s", f->why);
    assert_int_equal(mgr_vm_state(f->vm), MGR_VM_RUNNING);
    assert_true(mgr_record_all(f->records_fd, keep_record, no_refusal, f, &e));
    assert_string_equal(f->record.id, mgr_vm_id(f->vm));
    assert_int_equal(f->record.agent_port, mgr_vm_port(f->vm));
}

/* Until the guest's only line has come. */
static void wait_console(struct fixture *f)
{
    CLEANUP(buf_done) struct buf tail = BUF_INIT(4096);
    struct err e = ERR_INIT;

    for (;;) {
        assert_true(mgr_vm_console(f->vm, 1000, &tail, &e));
        if (tail.len)
            break;
        uv_run(&f->loop, UV_RUN_ONCE);
    }
    assert_string_equal(buf_str(&tail, &e), "guest boots\n");
}

static void vm_runs_is_asked_to_end_and_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    size_t before = open_fds();

    create_running(f, 0);
    wait_console(f);
    assert_int_equal(
        scratch_sh("test $(stat -c %a vms/*) = 700 && test $(stat -c %a vms/*/env/environment) = 600 && "
                   "test -z \"$(find vms -type f -perm /077)\""),
        0); /* MG-11 */
    mgr_vm_remove(f->vm, "enough");
    mgr_vm_remove(f->vm, "twice"); /* changes nothing */
    loop_until(&f->loop, &f->ended);
    assert_string_equal(f->cause, "enough");
    assert_clean(f);
    assert_int_equal(open_fds(), before);
}

/* Names of processes in a cgroup, as numbers. */
static bool is_in(const char *cgroup, pid_t pid)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(65536);
    char path[HOST_CGROUP_MAX + 96];
    struct slice left;
    char want[16];

    snprintf(path, sizeof(path), "%s/cgroup.procs", cgroup);
    snprintf(want, sizeof(want), "%d", (int)pid);
    scratch_read(path, &text);
    for (left = buf_slice(&text); left.len; left = slice_after(left, slice_find(left, '\n') + 1))
        if (slice_equal_str(slice_first(left, slice_find(left, '\n')), want))
            return true;
    return false;
}

static void both_processes_are_in_the_cgroup_of_the_vm(void **state)
{
    struct fixture *f = *state;
    char path[HOST_CGROUP_MAX + 64];

    if (!cgroup_of(f, path, sizeof(path))) {
        print_message("skipped: needs a cgroup (version 2) that may be written to\n");
        skip();
    }
    create_running(f, 0);
    cgroup_of(f, path, sizeof(path));
    assert_true(is_in(path, f->record.qemu.pid));
    assert_true(is_in(path, f->record.swtpm.pid));
    mgr_vm_remove(f->vm, "enough");
    loop_until(&f->loop, &f->ended);
    assert_clean(f);
}

/* kill -9 of the manager between two steps: the next one finds all by the directory. */
static void sweep_kills_by_the_cgroup(void **state)
{
    struct fixture *f = *state;
    char path[HOST_CGROUP_MAX + 64];
    unsigned killed;
    int fd;
    int status;
    struct err e = ERR_INIT;
    pid_t pid;

    snprintf(f->record.id, sizeof(f->record.id), "%s", "00000000-0000-4000-8000-000000000001");
    if (!cgroup_of(f, path, sizeof(path))) {
        print_message("skipped: needs a cgroup (version 2) that may be written to\n");
        skip();
    }
    assert_int_equal(scratch_sh("mkdir vms/00000000-0000-4000-8000-000000000001"), 0);
    scratch_write("vms/00000000-0000-4000-8000-000000000001/cgroup", slice_of_str(path), 0600);
    assert_true(host_cgroup_make(path, &fd, &e));
    pid = fork(); /* nothing in its arguments tells whose it is */
    if (pid == 0) {
        pause();
        _exit(0);
    }
    assert_true(dprintf(fd, "%d", (int)pid) > 0);
    close(fd);
    if (!mgr_sweep_vm(f->dir, f->record.id, &killed, &e))
        fail_msg("%s", err_text(&e));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_clean(f);
}

/* A note is no licence to kill: only the cgroup that is named after the VM is touched. */
static void sweep_touches_no_other_cgroup(void **state)
{
    struct fixture *f = *state;
    static const char *const notes[] = { "/sys/fs/cgroup", "cocos-vm-00000000-0000-4000-8000-000000000001",
                                         "", "/sys/fs/cgroup/cocos-vm-00000000-0000-4000-8000-000000000002" };
    struct err e = ERR_INIT;

    for (size_t i = 0; i < ARRAY_LEN(notes); i++) {
        err_clear(&e);
        scratch_write("cgroup", slice_of_str(notes[i]), 0600);
        assert_false(mgr_sweep_cgroup(".", "00000000-0000-4000-8000-000000000001", &e));
        assert_int_equal(e.kind, ERR_KIND_INVALID);
    }
    assert_int_equal(scratch_sh("rm cgroup"), 0);
    assert_clean(f);
}

static void MG_4_failure_behind_each_step_leaves_nothing(void **state)
{
    struct fixture *f = *state;

    for (size_t i = 0; mgr_vm_step_name(i); i++) {
        char want[128];
        char order[512] = "";
        size_t used = 0;
        size_t before = open_fds();

        f->fail_step = mgr_vm_step_name(i);
        f->created = f->ended = false;
        f->undone[0] = '\0';
        create(f, 0);
        loop_until(&f->loop, &f->ended);
        assert_true(f->created && f->failed);
        snprintf(want, sizeof(want), "step %s was made to fail", mgr_vm_step_name(i));
        assert_memory_equal(f->why, want, strlen(want));
        assert_memory_equal(f->cause, want, strlen(want));
        for (size_t k = i + 1; k-- > 0;) /* from that step back to the first one */
            used += (size_t)snprintf(order + used, sizeof(order) - used, "%s ", mgr_vm_step_name(k));
        assert_string_equal(f->undone, order);
        assert_clean(f);
        assert_int_equal(open_fds(), before);
    }
}

/* Faults that QEMU itself brings. */
static const struct fault {
    const char *name;
    const char *mode;
    const char *want;
} faults[] = {
    { "MG_7_qemu_that_ends_at_once_is_quoted", "broken", "QEMU ended with status 3: qemu: no such machine" },
    { "MG_4_cont_refused", "refuses-cont", "QEMU does not run the VM: not today" },
    { "MG_7_guest_that_panics_is_told_with_its_console", "panics", "the VM ended: the guest panicked" },
};

static void check_fault(void **state)
{
    const struct fault *c = *state;
    void *fixture = NULL;
    struct fixture *f;

    assert_int_equal(set_up(&fixture), 0);
    f = fixture;
    set_mode(f, c->mode);
    create(f, 0);
    loop_until(&f->loop, &f->ended);
    assert_memory_equal(f->cause, c->want, strlen(c->want));
    assert_clean(f);
    tear_down(&fixture);
}

static void MG_7_killed_qemu_is_told_with_the_last_lines(void **state)
{
    struct fixture *f = *state;

    create_running(f, 0);
    wait_console(f);
    kill(f->record.qemu.pid, SIGKILL);
    loop_until(&f->loop, &f->ended);
    assert_string_equal(f->cause, "QEMU was killed by signal 9; its console ends: guest boots\\x0a");
    assert_clean(f);
}

static void MG_8_killed_tpm_stops_the_vm_with_that_cause(void **state)
{
    struct fixture *f = *state;
    static const char want[] = "the software TPM (swtpm) was killed by signal 9";

    create_running(f, 0);
    kill(f->record.swtpm.pid, SIGKILL);
    loop_until(&f->loop, &f->ended);
    assert_memory_equal(f->cause, want, sizeof(want) - 1);
    assert_clean(f);
}

/* The end of the TPM is not the end of QEMU, which is being waited for. */
static void MG_8_tpm_killed_while_the_guest_ends_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    siginfo_t info = { 0 };

    set_mode(f, "ignores-powerdown");
    create_running(f, 0);
    mgr_vm_remove(f->vm, "enough");
    kill(f->record.swtpm.pid, SIGKILL);
    assert_int_equal(waitid(P_PID, (id_t)f->record.swtpm.pid, &info, WEXITED | WNOWAIT), 0);
    uv_run(&f->loop, UV_RUN_ONCE);
    uv_run(&f->loop, UV_RUN_NOWAIT);
    assert_false(f->ended);
    assert_int_equal(waitpid(f->record.qemu.pid, NULL, WNOHANG), 0); /* runs on */
    kill(f->record.qemu.pid, SIGKILL);
    loop_until(&f->loop, &f->ended);
    assert_string_equal(f->cause, "enough");
    assert_clean(f);
}

/* What a TPM does until it answers, and what the VM's end says of it. */
static const struct tpm_fault {
    const char *name;
    const char *mode;
    uint64_t limit_ms;
    const char *want;      /* the start of the cause */
    const char *want_also; /* what it names as well  */
} tpm_faults[] = {
    { "TP_9_swtpm_that_ends_at_once_is_quoted", "broken", 60000,
      "the software TPM (swtpm) ended with status 5: swtpm: no such state", "/tpm.sock)" },
    { "TP_9_swtpm_that_never_opens_its_socket", "mute", 100,
      "the software TPM (swtpm) has not opened its socket ", "/tpm.sock within " },
    { "TP_9_swtpm_that_opens_its_socket_and_is_silent", "silent", 300,
      "the software TPM (swtpm) does not answer at ", "/tpm.sock within " },
    { "TP_9_swtpm_that_gives_half_an_answer", "half", 300, "the software TPM (swtpm) does not answer at ",
      "/tpm.sock within " },
};

/* This program as a swtpm of that mode. */
static void set_tpm_mode(struct fixture *f, const char *mode, uint64_t limit_ms)
{
    char self[MGR_PATH_MAX];
    char script[MGR_PATH_MAX + 64];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

    assert_true(n > 0);
    self[n] = '\0';
    snprintf(script, sizeof(script), "#!/bin/sh\nexec '%s' \"$@\" swtpm=%s\n", self, mode);
    scratch_write("swtpm", slice_of_str(script), 0700);
    f->host.swtpm = "./swtpm";
    f->settings.swtpm_timeout_ms = limit_ms;
}

static void check_tpm_fault(void **state)
{
    const struct tpm_fault *c = *state;
    void *fixture = NULL;
    struct fixture *f;

    assert_int_equal(set_up(&fixture), 0);
    f = fixture;
    /* Those that open their socket are to have done so by then on any machine. */
    set_tpm_mode(f, c->mode, patience_ms(c->limit_ms));
    create(f, 0);
    loop_until(&f->loop, &f->ended);
    if (strncmp(f->why, c->want, strlen(c->want)) != 0 || !strstr(f->why, c->want_also))
        fail_msg("'%s' does not begin with '%s' and hold '%s'", f->why, c->want, c->want_also);
    assert_clean(f);
    tear_down(&fixture);
}

/* Dead and not reaped: whoever watches it has yet to be told. */
static void kill_unseen(pid_t pid, int number)
{
    siginfo_t info = { 0 };

    kill(pid, number);
    assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
}

/* Between the two steps: QEMU has not been started. */
static bool kill_tpm_behind_its_step(const char *step, void *ctx)
{
    struct fixture *f = ctx;

    if (strcmp(step, "tpm") == 0)
        kill_unseen(f->vm->record.swtpm.pid, SIGKILL);
    return true;
}

static void TP_9_swtpm_killed_before_qemu_connects(void **state)
{
    struct fixture *f = *state;
    static const char want[] = "the software TPM (swtpm) was killed by signal 9";

    f->host.inject = kill_tpm_behind_its_step;
    create(f, 0);
    loop_until(&f->loop, &f->ended);
    assert_memory_equal(f->cause, want, sizeof(want) - 1);
    assert_non_null(strstr(f->cause, "/tpm.sock)"));
    assert_clean(f);
}

/* Both are dead before either end is told: the TPM's is the cause. */
static void MG_8_tpm_that_took_qemu_with_it_is_the_cause(void **state)
{
    struct fixture *f = *state;
    static const char want[] = "the software TPM (swtpm) was killed by signal 9";

    create_running(f, 0);
    kill_unseen(f->record.swtpm.pid, SIGKILL);
    kill_unseen(f->record.qemu.pid, SIGKILL);
    loop_until(&f->loop, &f->ended);
    assert_memory_equal(f->cause, want, sizeof(want) - 1);
    assert_clean(f);
}

/* A QEMU that ends tells its TPM to end, and may be seen to have ended second. */
static void MG_8_tpm_that_ends_in_order_leaves_the_cause_to_qemu(void **state)
{
    struct fixture *f = *state;
    static const char want[] = "QEMU was killed by signal 9";

    create_running(f, 0);
    kill_unseen(f->record.swtpm.pid, SIGTERM);
    for (int i = 0; i < 3; i++)
        uv_run(&f->loop, UV_RUN_NOWAIT);
    assert_false(f->ended);
    kill(f->record.qemu.pid, SIGKILL);
    loop_until(&f->loop, &f->ended);
    assert_memory_equal(f->cause, want, sizeof(want) - 1);
    assert_clean(f);
}

static void MG_8_tpm_that_ends_though_qemu_runs_on_stops_the_vm(void **state)
{
    struct fixture *f = *state;
    static const char want[] = "the software TPM (swtpm) ended though QEMU runs on";

    create_running(f, 0);
    kill(f->record.swtpm.pid, SIGTERM);
    loop_until(&f->loop, &f->ended);
    assert_memory_equal(f->cause, want, sizeof(want) - 1);
    assert_clean(f);
}

static void remove_while_it_is_being_made_leaves_nothing(void **state)
{
    struct fixture *f = *state;

    create(f, 0);
    mgr_vm_remove(f->vm, "not wanted any more");
    assert_true(f->ended && f->failed);
    assert_string_equal(f->why, "not wanted any more");
    assert_clean(f);
}

static void MG_10_ttl_ends_it_by_the_monotonic_clock(void **state)
{
    struct fixture *f = *state;

    create_running(f, 1500); /* which no machine needs to come here from the start */
    assert_int_equal(f->record.ttl_until_mono_ms, f->now_ms + 1500);
    loop_until(&f->loop, &f->ended);
    assert_string_equal(f->cause, "its time to live is over");
    assert_clean(f);
}

/* The manager goes away: what it holds is freed, and the VM runs on. */
static void abandon(struct fixture *f)
{
    mgr_vm_abandon(f->vm);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    f->vm = NULL;
    f->created = f->ended = false;
    assert_int_equal(waitpid(f->record.qemu.pid, NULL, WNOHANG), 0);
    assert_int_equal(waitpid(f->record.swtpm.pid, NULL, WNOHANG), 0);
}

static void adopt(struct fixture *f)
{
    struct err e = ERR_INIT;

    if (!mgr_vm_adopt(&f->host, &f->record, &events, f, &f->vm, &e))
        fail_msg("%s", err_text(&e));
    assert_false(f->created || f->ended);
}

/* Nobody but this process reaps what it started and adopted again. */
static void reap(pid_t pid)
{
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void MG_6_adopted_vm_keeps_its_id_and_can_be_removed(void **state)
{
    struct fixture *f = *state;

    create_running(f, 0);
    abandon(f);
    adopt(f);
    assert_string_equal(mgr_vm_id(f->vm), f->record.id);
    assert_int_equal(mgr_vm_state(f->vm), MGR_VM_RUNNING);
    assert_int_equal(mgr_vm_port(f->vm), f->record.agent_port);
    mgr_vm_remove(f->vm, "enough");
    loop_until(&f->loop, &f->ended);
    reap(f->record.qemu.pid);
    reap(f->record.swtpm.pid);
    assert_clean(f);
}

static void MG_6_vm_whose_qemu_is_gone_is_reaped_with_a_reason(void **state)
{
    struct fixture *f = *state;
    char want[128];

    create_running(f, 0);
    abandon(f);
    kill(f->record.qemu.pid, SIGKILL);
    reap(f->record.qemu.pid);
    adopt(f);
    assert_int_equal(mgr_vm_state(f->vm), MGR_VM_STOPPING);
    loop_until(&f->loop, &f->ended);
    snprintf(want, sizeof(want), "it could not be taken over from an earlier manager: process %d is gone",
             (int)f->record.qemu.pid);
    assert_string_equal(f->cause, want);
    reap(f->record.swtpm.pid);
    assert_clean(f);
}

static void MG_8_vm_whose_tpm_ended_while_no_manager_ran_is_stopped(void **state)
{
    struct fixture *f = *state;
    char want[160];

    create_running(f, 0);
    abandon(f);
    kill(f->record.swtpm.pid, SIGKILL);
    reap(f->record.swtpm.pid);
    adopt(f);
    assert_int_equal(mgr_vm_state(f->vm), MGR_VM_STOPPING);
    loop_until(&f->loop, &f->ended);
    snprintf(want, sizeof(want),
             "it could not be taken over from an earlier manager: the software TPM (swtpm) has ended: "
             "process %d is gone",
             (int)f->record.swtpm.pid);
    assert_string_equal(f->cause, want);
    reap(f->record.qemu.pid);
    assert_clean(f);
}

static void MG_5_recycled_pid_is_not_signalled_and_the_vm_is_found_by_its_directory(void **state)
{
    struct fixture *f = *state;
    pid_t qemu;
    pid_t other;

    create_running(f, 0);
    abandon(f);
    qemu = f->record.qemu.pid;
    other = fork();
    if (other == 0) {
        pause();
        _exit(0);
    }
    f->record.qemu.pid = other; /* the start time is QEMU's still */
    f->record.qemu.start_ticks = 1;
    adopt(f);
    loop_until(&f->loop, &f->ended);
    assert_int_equal(waitpid(other, NULL, WNOHANG), 0);
    kill(other, SIGKILL);
    reap(other);
    reap(qemu);
    reap(f->record.swtpm.pid);
    assert_clean(f);
}

static void MG_10_ttl_goes_on_behind_a_restart(void **state)
{
    struct fixture *f = *state;

    create_running(f, 3600000);
    abandon(f);
    f->now_ms += 3600001;
    adopt(f);
    loop_until(&f->loop, &f->ended);
    assert_string_equal(f->cause, "its time to live is over");
    reap(f->record.qemu.pid);
    reap(f->record.swtpm.pid);
    assert_clean(f);
}

#define VM_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(int argc, char **argv)
{
    int code = 0;
    struct CMUnitTest tests[19 + ARRAY_LEN(faults) + ARRAY_LEN(tpm_faults)] = {
        VM_TEST(both_processes_are_in_the_cgroup_of_the_vm),
        VM_TEST(sweep_kills_by_the_cgroup),
        VM_TEST(sweep_touches_no_other_cgroup),
        VM_TEST(vm_runs_is_asked_to_end_and_leaves_nothing),
        VM_TEST(MG_4_failure_behind_each_step_leaves_nothing),
        VM_TEST(MG_7_killed_qemu_is_told_with_the_last_lines),
        VM_TEST(MG_8_killed_tpm_stops_the_vm_with_that_cause),
        VM_TEST(MG_8_tpm_killed_while_the_guest_ends_leaves_nothing),
        VM_TEST(TP_9_swtpm_killed_before_qemu_connects),
        VM_TEST(MG_8_tpm_that_took_qemu_with_it_is_the_cause),
        VM_TEST(MG_8_tpm_that_ends_in_order_leaves_the_cause_to_qemu),
        VM_TEST(MG_8_tpm_that_ends_though_qemu_runs_on_stops_the_vm),
        VM_TEST(MG_8_vm_whose_tpm_ended_while_no_manager_ran_is_stopped),
        VM_TEST(remove_while_it_is_being_made_leaves_nothing),
        VM_TEST(MG_10_ttl_ends_it_by_the_monotonic_clock),
        VM_TEST(MG_6_adopted_vm_keeps_its_id_and_can_be_removed),
        VM_TEST(MG_6_vm_whose_qemu_is_gone_is_reaped_with_a_reason),
        VM_TEST(MG_5_recycled_pid_is_not_signalled_and_the_vm_is_found_by_its_directory),
        VM_TEST(MG_10_ttl_goes_on_behind_a_restart),
    };
    size_t count = 19;

    if (fake_run(argc, argv, &code))
        return code;
    signal(SIGPIPE, SIG_IGN); /* as the program does */
    log_set_level(LOG_ERROR);
    for (size_t i = 0; i < ARRAY_LEN(faults); i++)
        tests[count++] = (struct CMUnitTest){ faults[i].name, check_fault, NULL, NULL,
                                              (void *)(uintptr_t)&faults[i] };
    for (size_t i = 0; i < ARRAY_LEN(tpm_faults); i++)
        tests[count++] = (struct CMUnitTest){ tpm_faults[i].name, check_tpm_fault, NULL, NULL,
                                              (void *)(uintptr_t)&tpm_faults[i] };
    return _cmocka_run_group_tests("vm", tests, count, NULL, NULL);
}
