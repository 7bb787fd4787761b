/* What the doctor tries by running it: QEMU, the accelerators, swtpm. */
#include "cli/doctor.h"

#include <signal.h>
#include <unistd.h>
#include <uv.h>

#include "base/child.h"
#include "base/stage.h"
#include "host/gpu.h"
#include "host/kvm_probe.h"
#include "host/program.h"
#include "host/tee.h"

#define ANSWER_MAX ((size_t)256 * 1024)
#define PATIENCE_MS 10000
#define QEMU_MAJOR_MIN 7 /* the oldest that VMs of ours were run with */

struct asked {
    struct buf answer; /* what it said on stdout, or until that was too long */
    bool exited, fine;
};

static void on_output(struct child *c, enum child_stream stream, struct slice bytes, void *ctx)
{
    struct asked *a = ctx;
    struct err full = ERR_INIT;

    (void)c;
    if (stream == CHILD_STDOUT && !buf_append(&a->answer, bytes, &full))
        a->answer.max = a->answer.len;
}

static void on_exit_of(struct child *c, const struct child_exit *how, void *ctx)
{
    struct asked *a = ctx;

    (void)c;
    a->exited = true;
    a->fine = !how->by_signal && how->number == 0;
}

static void close_handle(uv_handle_t *handle, void *ctx)
{
    (void)ctx;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

static void close_loop(uv_loop_t *loop)
{
    uv_walk(loop, close_handle, NULL);
    uv_run(loop, UV_RUN_DEFAULT);
    uv_loop_close(loop);
}

/* Runs a program with up to two words and keeps its stdout. False with the reason in *e when it can't be run. */
static bool ask(const char *program, const char *one, const char *two, struct buf *ret, struct err *e)
{
    const char *const argv[] = { program, one, two, NULL };
    struct asked a = { .answer = BUF_INIT(ret->max) };
    const struct child_spec spec = {
        .argv = argv,
        .chunk_max = 4096,
        .deadline_ms = PATIENCE_MS,
        .deadline_grace_ms = 100,
        .on_output = on_output,
        .on_exit = on_exit_of,
        .ctx = &a,
    };
    struct child *child = NULL;
    uv_loop_t loop;

    if (uv_loop_init(&loop) != 0)
        return err_fail(e, ERR_KIND_INTERNAL, "event loop");
    if (child_spawn(&loop, &spec, &child, e)) {
        while (!a.exited)
            uv_run(&loop, UV_RUN_ONCE);
        child_free(child);
    }
    close_loop(&loop);
    buf_move(ret, &a.answer);
    buf_done(&a.answer);
    return a.exited ? a.fine || err_fail(e, ERR_KIND_INTERNAL, "'%s %s' fails", program, one) : false;
}

static struct slice first_line(const struct buf *text)
{
    return slice_first(buf_slice(text), slice_find(buf_slice(text), '\n'));
}

static bool has_word(const struct buf *text, const char *word)
{
    struct slice s = buf_slice(text);

    return s.len && memmem(s.at, s.len, word, strlen(word)) != NULL;
}

/* --------------------------------------------------------------------- QEMU */

void doctor_qemu(struct doctor *d)
{
    static const char marker[] = "version ";
    struct err e = ERR_INIT;
    CLEANUP(buf_done) struct buf answer = BUF_INIT(ANSWER_MAX);
    struct slice line;
    const char *at;

    if (!host_find_program(d->opts->qemu, d->qemu, sizeof(d->qemu))) {
        d->qemu[0] = '\0';
        doctor_fix(doctor_add(d, "QEMU", DOCTOR_FAIL, "'%s' is not there", d->opts->qemu),
                   "sudo apt-get install qemu-system-x86");
        return;
    }
    if (!ask(d->qemu, "--version", NULL, &answer, &e)) {
        doctor_fix(doctor_add(d, "QEMU", DOCTOR_FAIL, "%s: %s", d->qemu, err_text(&e)),
                   "sudo apt-get install --reinstall qemu-system-x86");
        d->qemu[0] = '\0';
        return;
    }
    line = first_line(&answer);
    at = line.len ? memmem(line.at, line.len, marker, strlen(marker)) : NULL;

    /* One digit can't be 10 or more: those begin with 1 and another digit. */
    const char *digits = at ? at + strlen(marker) : NULL;
    bool old = digits && digits[0] >= '0' && digits[0] < '0' + QEMU_MAJOR_MIN && digits[1] == '.';

    if (!at)
        doctor_fix(doctor_add(d, "QEMU", DOCTOR_FAIL, "%s does not say that it is QEMU", d->qemu),
                   "export MANAGER_QEMU_BIN_PATH=/usr/bin/qemu-system-x86_64");
    else if (old)
        doctor_fix(doctor_add(d, "QEMU", DOCTOR_WARN, "%s: %.*s; older than %d", d->qemu, (int)line.len,
                              (const char *)line.at, QEMU_MAJOR_MIN),
                   "sudo apt-get update && sudo apt-get install qemu-system-x86");
    else
        doctor_add(d, "QEMU", DOCTOR_OK, "%s: %.*s", d->qemu, (int)line.len, (const char *)line.at);
}

void doctor_devices(struct doctor *d)
{
    static const struct {
        const char *what, *device;
    } needed[] = {
        { "9p", "\"virtio-9p-pci\"" },
        { "network device", "\"virtio-net-pci\"" },
        { "TPM device", "\"tpm-crb\"" },
    };
    struct err e = ERR_INIT;
    CLEANUP(buf_done) struct buf devices = BUF_INIT(ANSWER_MAX);

    if (!d->qemu[0])
        return; /* said already */
    if (!ask(d->qemu, "-device", "help", &devices, &e)) {
        doctor_fix(doctor_add(d, "QEMU devices", DOCTOR_FAIL, "%s", err_text(&e)),
                   "sudo apt-get install --reinstall qemu-system-x86");
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(needed); i++) {
        bool there = has_word(&devices, needed[i].device);
        struct doctor_row *row = doctor_add(d, needed[i].what, there ? DOCTOR_OK : DOCTOR_FAIL, "QEMU %s %s",
                                            there ? "has" : "lacks", needed[i].device);

        if (!there)
            doctor_fix(row, "sudo apt-get install qemu-system-x86 && "
                            "export MANAGER_QEMU_BIN_PATH=/usr/bin/qemu-system-x86_64");
    }
}

/* ------------------------------------------------------------ TEEs and GPUs */

struct facts {
    struct host_qemu_facts of;
    char why[256];
    bool told, done;
};

static void on_facts(const struct host_qemu_facts *of, const struct err *why, void *ctx)
{
    struct facts *f = ctx;

    f->done = true;
    f->told = of != NULL;
    if (of)
        f->of = *of;
    else
        snprintf(f->why, sizeof(f->why), "%.*s", (int)sizeof(f->why) - 1, err_text(why));
}

static bool make_directory(struct doctor *d, char *path, size_t len, int *ret_fd);
static void remove_directory(struct doctor *d, char *path);

/* What QEMU says of itself; false with the reason in ret->why. */
static bool ask_qemu(struct doctor *d, struct facts *ret)
{
    char path[512];
    CLEANUP(fd_done) int dir_fd = -1;
    struct err e = ERR_INIT;
    uv_loop_t loop;

    if (!make_directory(d, path, sizeof(path), &dir_fd))
        return false;
    if (uv_loop_init(&loop) == 0) {
        if (host_qemu_ask(&loop, d->qemu, false, dir_fd, on_facts, ret, &e))
            while (!ret->done)
                uv_run(&loop, UV_RUN_ONCE);
        else
            on_facts(NULL, &e, ret);
        close_loop(&loop);
    }
    remove_directory(d, path);
    return ret->told;
}

static void look_at_tee_firmware(struct doctor *d, enum host_tee tee)
{
    bool snp = tee == HOST_TEE_SNP;
    const char *path = snp ? d->opts->igvm_file : d->opts->tdx_file;
    const char *what = snp ? "SNP firmware" : "TDX firmware";

    if (access(path, R_OK) == 0)
        doctor_add(d, what, DOCTOR_OK, "%s", path);
    else
        doctor_fix(doctor_add(d, what, DOCTOR_FAIL, "'%s' is not there, or can't be read", path),
                   snp ? "export MANAGER_QEMU_IGVM_FILE=<an IGVM file of COCONUT-SVSM>"
                       : "sudo apt-get install ovmf  # or export MANAGER_QEMU_OVMF_FILE=<OVMF with TDX>");
}

/* A host without TEEs lacks nothing that VMs under software emulation need, unless one was asked for. */
static void look_at_tee(struct doctor *d, enum host_tee tee, const char *word,
                        const struct host_qemu_facts *qemu)
{
    const char *wish = tee == HOST_TEE_SNP ? d->opts->enable_snp : d->opts->enable_tdx;
    bool required = strcmp(d->opts->require, word) == 0 || strcmp(wish, "true") == 0;
    struct host_tee_state state;

    if (!required && strcmp(wish, "false") == 0) {
        doctor_add(d, host_tee_name(tee), DOCTOR_OK, "not asked for: MANAGER_QEMU_ENABLE_%s is false",
                   tee == HOST_TEE_SNP ? "SEV_SNP" : "TDX");
        return;
    }
    host_tee_look(tee, d->opts->host_root, qemu, &state);
    if (required || (state.host && state.qemu))
        look_at_tee_firmware(d, tee);
    if (state.host && state.qemu) {
        doctor_add(d, host_tee_name(tee), DOCTOR_OK, "this host and QEMU %s have it", qemu->version);
        return;
    }

    enum doctor_level level = required ? DOCTOR_FAIL : state.host ? DOCTOR_WARN : DOCTOR_OK;
    struct doctor_row *row = doctor_add(d, host_tee_name(tee), level, "%s%s",
                                        level == DOCTOR_OK ? "VMs run without it: " : "", state.why);

    if (level == DOCTOR_OK)
        return;
    if (state.host)
        doctor_fix(row, "export MANAGER_QEMU_BIN_PATH=<a QEMU that lists %s in '-object help'>%s%s%s",
                   tee == HOST_TEE_SNP ? "sev-snp-guest and igvm-cfg" : "tdx-guest",
                   required ? "" : "  # or VMs without it: export MANAGER_QEMU_ENABLE_",
                   required              ? ""
                   : tee == HOST_TEE_SNP ? "SEV_SNP"
                                         : "TDX",
                   required ? "" : "=false");
    else
        doctor_fix(row, "a host with %s: what the lines above name has to be there", host_tee_name(tee));
}

void doctor_tees(struct doctor *d)
{
    struct facts f = { .why = "" };

    if (!d->qemu[0])
        return; /* said already */
    if (!ask_qemu(d, &f)) {
        doctor_fix(doctor_add(d, "QEMU by QMP", DOCTOR_FAIL, "%s", f.why),
                   "sudo apt-get install --reinstall qemu-system-x86 qemu-system-data");
        return;
    }
    look_at_tee(d, HOST_TEE_SNP, "snp", &f.of);
    look_at_tee(d, HOST_TEE_TDX, "tdx", &f.of);
}

void doctor_gpu(struct doctor *d)
{
    bool wanted = d->opts->gpu_bdf[0] || strcmp(d->opts->enable_gpu, "true") == 0;
    struct host_gpu gpu;
    struct err e = ERR_INIT;

    if (strcmp(d->opts->enable_gpu, "false") == 0)
        doctor_add(d, "GPU", DOCTOR_OK, "not asked for: MANAGER_QEMU_ENABLE_GPU is false");
    else if (host_gpu_find(d->opts->host_root, d->opts->gpu_bdf, &gpu, &e))
        doctor_add(d, "GPU", DOCTOR_OK, "%s is there for VMs (IOMMU group %s)", gpu.bdf,
                   gpu.group[0] ? gpu.group : "none");
    else if (!wanted)
        doctor_add(d, "GPU", DOCTOR_OK, "VMs get none: %s", err_text(&e));
    else
        doctor_fix(doctor_add(d, "GPU", DOCTOR_FAIL, "%s", err_text(&e)),
                   "sudo driverctl set-override %s vfio-pci",
                   d->opts->gpu_bdf[0] ? d->opts->gpu_bdf : "<address>");
}

/* The firmware of the fast boot is wherever this QEMU keeps its own files. */
void doctor_qboot(struct doctor *d)
{
    struct err e = ERR_INIT;
    CLEANUP(buf_done) struct buf dirs = BUF_INIT(ANSWER_MAX);
    struct slice left;
    char path[512];

    if (!d->qemu[0] || strcmp(d->opts->boot, "fast") != 0)
        return;
    left = ask(d->qemu, "-L", "help", &dirs, &e) ? buf_slice(&dirs) : SLICE_EMPTY;
    while (left.len) {
        size_t n = slice_find(left, '\n');

        snprintf(path, sizeof(path), "%.*s/qboot.rom", (int)n, (const char *)left.at);
        if (access(path, R_OK) == 0) {
            doctor_add(d, "qboot", DOCTOR_OK, "%s", path);
            return;
        }
        left = slice_after(left, n + 1);
    }
    doctor_fix(doctor_add(d, "qboot", DOCTOR_FAIL, "QEMU has no qboot.rom, the firmware of the fast boot"),
               "sudo apt-get install qemu-system-data");
}

/* ------------------------------------------------------------- accelerators */

struct probed {
    struct host_kvm_verdict verdict;
    bool done;
};

static void on_probed(const struct host_kvm_verdict *v, void *ctx)
{
    struct probed *p = ctx;

    p->verdict = *v;
    p->done = true;
}

static struct host_kvm_verdict probe(const struct doctor *d, bool kvm, int dir_fd)
{
    struct err e = ERR_INIT;
    struct probed p = { .done = false };
    uv_loop_t loop;

    if (uv_loop_init(&loop) != 0)
        return (struct host_kvm_verdict){ .reason = "event loop" };
    if (kvm ? host_kvm_probe(&loop, d->qemu, d->opts->host_root, dir_fd, on_probed, &p, &e)
            : host_tcg_probe(&loop, d->qemu, dir_fd, on_probed, &p, &e)) {
        while (!p.done)
            uv_run(&loop, UV_RUN_ONCE);
    } else {
        snprintf(p.verdict.reason, sizeof(p.verdict.reason), "%s", err_text(&e));
    }
    close_loop(&loop);
    return p.verdict;
}

/* Confidential VMs can't do without. */
static void say_no_kvm(struct doctor *d)
{
    if (d->opts->require[0])
        doctor_fix(
            doctor_add(d, "KVM", DOCTOR_FAIL, "MANAGER_QEMU_ENABLE_KVM is false: confidential VMs need KVM"),
            "unset MANAGER_QEMU_ENABLE_KVM");
    else
        doctor_add(d, "KVM", DOCTOR_OK, "not asked for: MANAGER_QEMU_ENABLE_KVM is false");
}

static void say_kvm(struct doctor *d, const struct host_kvm_verdict *v)
{
    struct doctor_row *row;

    if (v->works) {
        doctor_add(d, "KVM", DOCTOR_OK, "a probe guest did its work in %llu ms",
                   (unsigned long long)v->took_ms);
        return;
    }
    if (d->opts->require[0])
        row = doctor_add(d, "KVM", DOCTOR_FAIL, "%s: confidential VMs need KVM", v->reason);
    else
        row = doctor_add(d, "KVM", DOCTOR_WARN,
                         "%s; VMs run under software emulation, about ten times slower", v->reason);
    if (access("/dev/kvm", F_OK) != 0)
        doctor_fix(row, "sudo modprobe kvm_intel || sudo modprobe kvm_amd  # after enabling VT-x or "
                        "AMD-V in the firmware");
    else if (access("/dev/kvm", R_OK | W_OK) != 0)
        doctor_fix(row, "sudo usermod -aG kvm $USER  # then log in again");
    else
        doctor_fix(row, "export MANAGER_QEMU_ENABLE_KVM=false  # or enable nested virtualization on the "
                        "host of this host");
}

/* Signals that end a program wait while there is a directory to remove: some seconds at most. */
static void hold_signals(bool hold)
{
    static const int numbers[] = { SIGINT, SIGTERM, SIGHUP };
    sigset_t set;

    sigemptyset(&set);
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        sigaddset(&set, numbers[i]);
    sigprocmask(hold ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL);
}

/* The probes need a directory for their firmware. False with a row that says why not. */
static bool make_directory(struct doctor *d, char *path, size_t len, int *ret_fd)
{
    const char *above = getenv("TMPDIR");
    struct err e = ERR_INIT;
    int n = snprintf(path, len, "%s/cocos-doctor.XXXXXX", above && above[0] ? above : "/tmp");

    hold_signals(true);
    if (n > 0 && (size_t)n < len && mkdtemp(path) && stage_dir_open(path, 0700, ret_fd, &e))
        return true;
    hold_signals(false);
    *strrchr(path, '/') = '\0';
    doctor_fix(doctor_add(d, "accelerators", DOCTOR_FAIL, "no directory can be made in '%s'", path),
               "export TMPDIR=<a directory that is writable>");
    return false;
}

static void remove_directory(struct doctor *d, char *path)
{
    CLEANUP(fd_done) int above_fd = -1;
    struct err e = ERR_INIT;
    char *slash = strrchr(path, '/');

    *slash = '\0';
    if (!stage_dir_open(path[0] ? path : "/", 0700, &above_fd, &e) ||
        !stage_remove_tree(above_fd, slash + 1, &e))
        doctor_fix(doctor_add(d, "temporary files", DOCTOR_WARN, "%s", err_text(&e)), "rm -r '%s/%s'", path,
                   slash + 1);
    hold_signals(false);
}

void doctor_accelerators(struct doctor *d)
{
    char path[512];
    CLEANUP(fd_done) int dir_fd = -1;
    struct host_kvm_verdict kvm = { .works = false };
    struct host_kvm_verdict tcg;

    if (!d->qemu[0] || !make_directory(d, path, sizeof(path), &dir_fd))
        return;
    if (d->opts->enable_kvm) {
        kvm = probe(d, true, dir_fd);
        say_kvm(d, &kvm);
    } else {
        say_no_kvm(d);
    }
    tcg = probe(d, false, dir_fd);
    if (tcg.works)
        doctor_add(d, "TCG", DOCTOR_OK, "a probe guest did its work in %llu ms",
                   (unsigned long long)tcg.took_ms);
    else /* who has KVM can do without */
        doctor_fix(doctor_add(d, "TCG", kvm.works ? DOCTOR_WARN : DOCTOR_FAIL, "%s", tcg.reason),
                   "sudo apt-get install --reinstall qemu-system-x86 qemu-system-data");
    remove_directory(d, path);
}

/* -------------------------------------------------------------------- swtpm */

void doctor_swtpm(struct doctor *d)
{
    const char *wish = d->opts->swtpm;
    const char *name = strcmp(wish, "auto") == 0 || strcmp(wish, "true") == 0 ? "swtpm" : wish;
    struct err e = ERR_INIT;
    CLEANUP(buf_done) struct buf answer = BUF_INIT(ANSWER_MAX);
    char path[512];
    struct slice line;

    if (strcmp(wish, "false") == 0) {
        doctor_fix(doctor_add(d, "swtpm", DOCTOR_WARN,
                              "MANAGER_SWTPM is false: VMs have no TPM, so they can't attest"),
                   "unset MANAGER_SWTPM");
    } else if (!host_find_program(name, path, sizeof(path))) {
        doctor_fix(doctor_add(d, "swtpm", DOCTOR_FAIL, "'%s' is not there", name),
                   "sudo apt-get install swtpm");
    } else if (!ask(path, "--version", NULL, &answer, &e)) {
        doctor_fix(doctor_add(d, "swtpm", DOCTOR_FAIL, "%s: %s", path, err_text(&e)),
                   "sudo apt-get install --reinstall swtpm");
    } else {
        line = first_line(&answer);
        doctor_add(d, "swtpm", DOCTOR_OK, "%s: %.*s", path, (int)slice_find(line, ','),
                   (const char *)line.at);
        if (d->opts->swtpm_ek_cert && !host_find_program("swtpm_setup", path, sizeof(path)))
            doctor_fix(doctor_add(d, "swtpm_setup", DOCTOR_FAIL,
                                  "MANAGER_SWTPM_EK_CERT is true, and swtpm_setup is not there"),
                       "sudo apt-get install swtpm-tools");
    }
}
