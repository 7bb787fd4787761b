#include "manager/host.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/stage.h"
#include "host/program.h"

#define TCG_CPU "qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt,+aes,+pclmulqdq,+rdrand"

static void note(struct buf *faults, const char *name, const char *value, const char *what)
{
    struct err full = ERR_INIT;

    if (!buf_format(faults, &full, "%s%s: '%s': %s", faults->len ? "; " : "", name, value, what))
        faults->max = faults->len;
}

static bool file_has(const char *path, const char *word)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(8 << 20);
    struct err e = ERR_INIT;

    if (!stage_read_file(path, &text, &e))
        return false;
    return text.len && memmem(buf_slice(&text).at, text.len, word, strlen(word)) != NULL;
}

/* "" asks the host: the CPU's flag and the kernel module's parameter must both say yes. */
static bool decide_tee(const char *setting, const char *wish, const char *cpu_flag, const char *parameter,
                       struct buf *faults)
{
    bool there = file_has("/proc/cpuinfo", cpu_flag) && file_has(parameter, "Y");

    if (strcmp(wish, "false") == 0)
        return false;
    if (strcmp(wish, "true") == 0 && !there)
        note(faults, setting, wish, "this host does not have it (CPU flag and kernel module say no)");
    return there;
}

static void need_file(struct buf *faults, const char *setting, const char *path)
{
    if (access(path, R_OK) != 0)
        note(faults, setting, path, "no such readable file");
}

static void look_for_files(const struct mgr_settings *s, const struct mgr_host_facts *h, struct buf *faults)
{
    const struct mgr_qemu_settings *q = &s->qemu;
    char program[512];

    if (!host_find_program(q->bin_path, program, sizeof(program)))
        note(faults, "MANAGER_QEMU_BIN_PATH", q->bin_path, "executable file not found in $PATH");
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

static void look_for_tpm(const struct mgr_settings *s, struct mgr_host_facts *h, struct buf *faults)
{
    bool automatic = strcmp(s->swtpm, "auto") == 0;
    const char *name = automatic || strcmp(s->swtpm, "true") == 0 ? "swtpm" : s->swtpm;

    h->swtpm[0] = '\0';
    if (strcmp(s->swtpm, "false") == 0 || (automatic && (h->snp || h->tdx)))
        return;
    if (!host_find_program(name, h->swtpm, sizeof(h->swtpm))) {
        h->swtpm[0] = '\0';
        note(faults, "MANAGER_SWTPM", s->swtpm,
             "swtpm is not there; install it, or say false to give VMs no TPM");
    }
}

bool mgr_host_look(const struct mgr_settings *s, struct mgr_host_facts *ret, struct err *e)
{
    CLEANUP(buf_done) struct buf faults = BUF_INIT(ERR_TEXT_SIZE - 64);
    struct mgr_host_facts h = { .gpu = s->qemu.gpu_bdf[0] != '\0' };

    h.snp = decide_tee("MANAGER_QEMU_ENABLE_SEV_SNP", s->qemu.enable_snp, "sev_snp",
                       "/sys/module/kvm_amd/parameters/sev_snp", &faults);
    h.tdx = decide_tee("MANAGER_QEMU_ENABLE_TDX", s->qemu.enable_tdx, "tdx_host_platform",
                       "/sys/module/kvm_intel/parameters/tdx", &faults);
    look_for_files(s, &h, &faults);
    look_for_tpm(s, &h, &faults);
    if (faults.len)
        return err_fail(e, ERR_KIND_MISSING, "%.*s", (int)faults.len, (const char *)buf_slice(&faults).at);
    *ret = h;
    return true;
}

const char *mgr_host_cpu(const struct mgr_settings *s, bool kvm)
{
    return !kvm && strcmp(s->qemu.cpu, "EPYC") == 0 ? TCG_CPU : "";
}
