#include "manager/host.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/faults.h"
#include "base/key.h"
#include "base/stage.h"
#include "host/program.h"

#define SIGNING_KEY_MAX ((size_t)64 * 1024)

#define TCG_CPU "qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt,+aes,+pclmulqdq,+rdrand"

/* value is NULL where what says it. */
static void note(struct faults *faults, const char *name, const char *value, const char *what)
{
    if (value)
        faults_add(faults, "%s: '%s': %s", name, value, what);
    else
        faults_add(faults, "%s: %s", name, what);
}

/* "" asks the host. Never less than what was asked for, and never less than the host has without being told to. */
static bool decide_tee(enum host_tee tee, const char *setting, const char *wish, const struct mgr_settings *s,
                       const struct host_qemu_facts *qemu, struct mgr_host_facts *h, struct faults *faults)
{
    struct host_tee_state state;
    size_t used = strlen(h->tee_why);

    if (strcmp(wish, "false") == 0) {
        snprintf(h->tee_why + used, sizeof(h->tee_why) - used, "%s%s is false", used ? "; " : "", setting);
        return false;
    }
    host_tee_look(tee, s->insecure_host_root, qemu, &state);
    if (state.host && state.qemu)
        return true;
    snprintf(h->tee_why + used, sizeof(h->tee_why) - used, "%s%s: %s", used ? "; " : "", host_tee_name(tee),
             state.why);
    if (!qemu) /* that it did not answer is a fault already */
        return false;
    if (strcmp(wish, "true") == 0)
        note(faults, setting, wish, state.why);
    else if (state.host)
        note(faults, setting, NULL, state.why);
    return false;
}

static void decide_gpu(const struct mgr_settings *s, struct mgr_host_facts *h, struct faults *faults)
{
    const struct mgr_qemu_settings *q = &s->qemu;
    struct host_gpu gpu;
    struct err e = ERR_INIT;

    if (strcmp(q->enable_gpu, "false") == 0)
        return;
    if (host_gpu_find(s->insecure_host_root, q->gpu_bdf, &gpu, &e))
        memcpy(h->gpu_bdf, gpu.bdf, sizeof(h->gpu_bdf));
    else if (q->gpu_bdf[0])
        note(faults, "MANAGER_QEMU_GPU_BDF", NULL, err_text(&e));
    else if (strcmp(q->enable_gpu, "true") == 0)
        note(faults, "MANAGER_QEMU_ENABLE_GPU", "true", err_text(&e));
}

static void need_file(struct faults *faults, const char *setting, const char *path)
{
    if (access(path, R_OK) != 0)
        note(faults, setting, path, "no such readable file");
}

static void look_for_files(const struct mgr_settings *s, const struct mgr_host_facts *h,
                           struct faults *faults)
{
    const struct mgr_qemu_settings *q = &s->qemu;
    char program[512];

    if (!h->snp && !h->tdx && strcmp(q->boot, "measured") == 0) {
        need_file(faults, "MANAGER_QEMU_OVMF_CODE_FILE", q->ovmf_code_file);
        need_file(faults, "MANAGER_QEMU_OVMF_VARS_FILE", q->ovmf_vars_file);
    }
    if (h->snp)
        need_file(faults, "MANAGER_QEMU_IGVM_FILE", q->igvm_file);
    if (h->tdx)
        need_file(faults, "MANAGER_QEMU_OVMF_FILE", q->ovmf_file);
    if (q->enable_disk && !host_find_program("qemu-img", program, sizeof(program)))
        note(faults, "MANAGER_QEMU_ENABLE_DISK", "true", "qemu-img is not there; install qemu-utils");
    if (q->enable_disk) {
        need_file(faults, "MANAGER_QEMU_SRC_DISK_FILE", q->src_disk_file);
        return;
    }
    need_file(faults, "MANAGER_QEMU_DISK_IMG_KERNEL_FILE", q->kernel_file);
    need_file(faults, "MANAGER_QEMU_DISK_IMG_ROOTFS_FILE", q->rootfs_file);
}

static void look_for_tpm(const struct mgr_settings *s, struct mgr_host_facts *h, struct faults *faults)
{
    bool automatic = strcmp(s->swtpm, "auto") == 0;
    const char *name = automatic || strcmp(s->swtpm, "true") == 0 ? "swtpm" : s->swtpm;
    char program[512];

    h->swtpm[0] = '\0';
    if (strcmp(s->swtpm, "false") == 0 || (automatic && (h->snp || h->tdx)))
        return;
    if (!host_find_program(name, h->swtpm, sizeof(h->swtpm))) {
        h->swtpm[0] = '\0';
        note(faults, "MANAGER_SWTPM", s->swtpm,
             "swtpm is not there; install it, or say false to give VMs no TPM");
    }
    if (s->swtpm_ek_cert && !host_find_program("swtpm_setup", program, sizeof(program)))
        note(faults, "MANAGER_SWTPM_EK_CERT", "true", "swtpm_setup is not there; install swtpm-tools");
}

static void look_at_qemu(const struct mgr_settings *s, const struct host_qemu_facts *qemu,
                         const struct err *why, bool tpm, struct faults *faults)
{
    const char *bin = s->qemu.bin_path;
    char text[160];

    if (!qemu) {
        note(faults, "MANAGER_QEMU_BIN_PATH", why ? NULL : bin,
             why                ? err_text(why)
             : strchr(bin, '/') ? "no such executable file"
                                : "executable file not found in $PATH");
        return;
    }

    const struct {
        const char *name;
        bool there;
    } devices[] = { { "virtio-9p-pci", qemu->virtio_9p },
                    { "virtio-net-pci", qemu->virtio_net },
                    { "tpm-crb", qemu->tpm_crb || !tpm } };

    for (size_t i = 0; i < ARRAY_LEN(devices); i++) {
        snprintf(text, sizeof(text), "QEMU %s has no device %s", qemu->version, devices[i].name);
        if (!devices[i].there)
            note(faults, "MANAGER_QEMU_BIN_PATH", bin, text);
    }
    snprintf(text, sizeof(text), "QEMU %s has no such machine", qemu->version);
    if (s->qemu.machine[0] && !host_qemu_has_machine(qemu, s->qemu.machine))
        note(faults, "MANAGER_QEMU_MACHINE", s->qemu.machine, text);
}

static void look_at_signing_key(const struct mgr_settings *s, struct faults *faults)
{
    struct secret pem = SECRET_INIT(SIGNING_KEY_MAX);
    struct err e = ERR_INIT;
    CLEANUP(key_done) struct key *key = NULL;

    if (s->corim_signing_key[0] && stage_read_file(s->corim_signing_key, &pem.bytes, &e))
        key = key_private_from_pem(secret_slice(&pem), &e);
    secret_done(&pem);
    if (s->corim_signing_key[0] && !key) {
        err_wrap(&e, "failed to load signing key");
        note(faults, "MANAGER_CORIM_SIGNING_KEY", s->corim_signing_key, err_text(&e));
    }
}

bool mgr_host_look(const struct mgr_settings *s, const struct host_qemu_facts *qemu,
                   const struct err *qemu_why, struct mgr_host_facts *ret, struct err *e)
{
    struct faults faults = FAULTS_INIT;
    struct mgr_host_facts h = { .tee_why = "" };

    h.snp = decide_tee(HOST_TEE_SNP, "MANAGER_QEMU_ENABLE_SEV_SNP", s->qemu.enable_snp, s, qemu, &h, &faults);
    h.tdx = decide_tee(HOST_TEE_TDX, "MANAGER_QEMU_ENABLE_TDX", s->qemu.enable_tdx, s, qemu, &h, &faults);
    decide_gpu(s, &h, &faults);
    look_for_files(s, &h, &faults);
    look_for_tpm(s, &h, &faults);
    look_at_qemu(s, qemu, qemu_why, h.swtpm[0] != '\0', &faults);
    look_at_signing_key(s, &faults);
    if (!faults_none(&faults, e)) {
        e->kind = ERR_KIND_MISSING; /* of this host; the settings themselves are well-formed */
        return false;
    }
    *ret = h;
    return true;
}

const char *mgr_host_cpu(const struct mgr_settings *s, bool kvm)
{
    return !kvm && strcmp(s->qemu.cpu, "EPYC") == 0 ? TCG_CPU : "";
}
