#include "manager/settings.h"

#include <arpa/inet.h>

#include "base/buf.h"
#include "base/faults.h"
#include "base/mem.h"
#include "base/text.h"
#include "host/gpu.h"

#define HOST_DATA_LEN 32

#define AT(field) offsetof(struct mgr_settings, field)
#define QAT(field) (offsetof(struct mgr_settings, qemu) + offsetof(struct mgr_qemu_settings, field))

#define STR(name, def, help, at)                                                 \
    {                                                                            \
        NULL, 0, "MANAGER_" name, CONFIG_STR, def, 0, 0, false, "text", help, at \
    }
#define NUM(name, def, lo, hi, help, at)                                             \
    {                                                                                \
        NULL, 0, "MANAGER_" name, CONFIG_U64, def, lo, hi, false, "number", help, at \
    }
#define TIME(name, def, help, at)                                                        \
    {                                                                                    \
        NULL, 0, "MANAGER_" name, CONFIG_DURATION_MS, def, 0, 0, false, "time", help, at \
    }
#define YES(name, def, help, at)                                                  \
    {                                                                             \
        NULL, 0, "MANAGER_" name, CONFIG_BOOL, def, 0, 0, false, "bool", help, at \
    }

static const struct config_opt opts[] = {
    { "log-level", 0, "MANAGER_LOG_LEVEL", CONFIG_LEVEL, "info", 0, 0, false, "level",
      "debug, info, warn or error", AT(log_level) },
    STR("INSTANCE_ID", "", "name of this manager in /health; made up when empty", AT(instance_id)),
    STR("ATTESTATION_POLICY_BINARY_PATH", "../../build", "kept for compatibility; not used",
        AT(policy_binary_path)),
    STR("PCR_VALUES", "", "kept for compatibility; not used", AT(pcr_values)),
    STR("EOS_VERSION", "", "what CVMInfo says of the guest's system", AT(eos_version)),
    STR("CORIM_SIGNING_KEY", "", "PEM file of the key that signs policies", AT(corim_signing_key)),
    STR("MAX_VMS", "10", "VMs at once, 0 or less for no limit", AT(max_vms_text)),
    STR("GRPC_HOST", "localhost", "where gRPC listens", AT(grpc_host)),
    NUM("GRPC_PORT", "7001", 0, 65535, "its port, 0 for a free one", AT(grpc_port)),
    STR("GRPC_SERVER_CERT", "", "certificate, PEM or path", AT(grpc_cert)),
    STR("GRPC_SERVER_KEY", "", "its key, PEM or path", AT(grpc_key)),
    STR("GRPC_SERVER_CA_CERTS", "", "set: clients must show a certificate", AT(grpc_server_ca)),
    STR("GRPC_CLIENT_CA_CERTS", "", "who signs the clients' certificates", AT(grpc_client_ca)),
    STR("HTTP_HOST", "localhost", "where health and metrics listen", AT(http_host)),
    NUM("HTTP_PORT", "7003", 0, 65535, "their port, 0 for a free one", AT(http_port)),
    STR("HTTP_SERVER_CERT", "", "certificate, PEM or path", AT(http_cert)),
    STR("HTTP_SERVER_KEY", "", "its key, PEM or path", AT(http_key)),
    STR("HTTP_SERVER_CA_CERTS", "", "refused: these pages ask no client for a certificate",
        AT(http_server_ca)),
    STR("HTTP_CLIENT_CA_CERTS", "", "likewise", AT(http_client_ca)),
    TIME("HTTP_SERVER_READ_HEADER_TIMEOUT", "5s", "a client may be silent before its request",
         AT(http_header_ms)),
    TIME("HTTP_SERVER_READ_TIMEOUT", "15s", "and within it", AT(http_read_ms)),
    TIME("HTTP_SERVER_WRITE_TIMEOUT", "15s", "and while it takes the answer", AT(http_write_ms)),
    TIME("HTTP_SERVER_IDLE_TIMEOUT", "60s", "and between two requests", AT(http_idle_ms)),
    NUM("HTTP_SERVER_MAX_HEADER_BYTES", "1048576", 4096, 16777216, "longest head of a request",
        AT(http_header_bytes)),
    STR("SWTPM", "auto", "software TPM for VMs: auto, true, false or the program's path", AT(swtpm)),
    YES("SWTPM_EK_CERT", "false", "give each a CA and a certificate of its own; costs a second per VM",
        AT(swtpm_ek_cert)),
    TIME("SWTPM_TIMEOUT", "30s", "how long it may take until it answers", AT(swtpm_timeout_ms)),
    { NULL, 0, "COCOS_RUN_DIR", CONFIG_STR, "/run/cocos", 0, 0, false, "dir", "sockets and VM directories",
      AT(run_dir) },
    { NULL, 0, "COCOS_STATE_DIR", CONFIG_STR, "/var/lib/cocos", 0, 0, false, "dir", "records of running VMs",
      AT(state_dir) },
    { NULL, 0, "COCOS_JAEGER_URL", CONFIG_STR, "http://localhost:4318", 0, 0, false, "url",
      "kept for compatibility; traces are not sent", AT(jaeger_url) },
    { NULL, 0, "COCOS_JAEGER_TRACE_RATIO", CONFIG_STR, "1.0", 0, 0, false, "number",
      "kept for compatibility; not used", AT(jaeger_ratio) },
    STR("INSECURE_HOST_ROOT", "", "for tests: a tree in place of this host's /proc, /sys and /dev",
        AT(insecure_host_root)),
    STR("INSECURE_FAILPOINT", "", "for tests: kill -9 oneself after this step, or undo-<step>",
        AT(insecure_failpoint)),
    STR("QEMU_BIN_PATH", "qemu-system-x86_64", "QEMU", QAT(bin_path)),
    YES("QEMU_USE_SUDO", "false", "start QEMU with sudo", QAT(use_sudo)),
    YES("QEMU_ENABLE_KVM", "true", "use KVM where a probe guest runs well under it", QAT(enable_kvm)),
    STR("QEMU_ENABLE_SEV_SNP", "", "true or false; empty: ask the host", QAT(enable_snp)),
    STR("QEMU_ENABLE_TDX", "", "true or false; empty: ask the host", QAT(enable_tdx)),
    STR("QEMU_BOOT", "measured", "measured (OVMF) or fast (qboot and an ELF kernel)", QAT(boot)),
    STR("QEMU_MACHINE", "q35", "machine type", QAT(machine)),
    STR("QEMU_CPU", "EPYC", "CPU model", QAT(cpu)),
    NUM("QEMU_SMP_COUNT", "4", 1, 4096, "CPUs", QAT(smp_count)),
    NUM("QEMU_SMP_MAXCPUS", "64", 1, 4096, "most CPUs", QAT(smp_maxcpus)),
    STR("QEMU_MEM_ID", "ram1", "id of the memory backend", QAT(mem_id)),
    STR("QEMU_MEMORY_SIZE", "2048M", "memory of a VM", QAT(memory_size)),
    NUM("QEMU_MEMORY_SLOTS", "5", 0, 256, "memory slots", QAT(memory_slots)),
    STR("QEMU_MAX_MEMORY", "30G", "most memory of a VM", QAT(max_memory)),
    STR("QEMU_OVMF_CODE_IF", "pflash", "interface of the firmware", QAT(ovmf_code_if)),
    STR("QEMU_OVMF_CODE_FORMAT", "raw", "its format", QAT(ovmf_code_format)),
    NUM("QEMU_OVMF_CODE_UNIT", "0", 0, 15, "its unit", QAT(ovmf_code_unit)),
    STR("QEMU_OVMF_CODE_FILE", "/usr/share/OVMF/OVMF_CODE.fd", "the firmware", QAT(ovmf_code_file)),
    STR("QEMU_OVMF_CODE_READONLY", "on", "on or off", QAT(ovmf_code_readonly)),
    STR("QEMU_OVMF_VERSION", "", "what CVMInfo says of the firmware", QAT(ovmf_version)),
    STR("QEMU_OVMF_VARS_IF", "pflash", "interface of its variables", QAT(ovmf_vars_if)),
    STR("QEMU_OVMF_VARS_FORMAT", "raw", "their format", QAT(ovmf_vars_format)),
    NUM("QEMU_OVMF_VARS_UNIT", "1", 0, 15, "their unit", QAT(ovmf_vars_unit)),
    STR("QEMU_OVMF_VARS_FILE", "/usr/share/OVMF/OVMF_VARS.fd", "copied for each VM", QAT(ovmf_vars_file)),
    STR("QEMU_NETDEV_ID", "vmnic", "id of the network", QAT(netdev_id)),
    NUM("QEMU_HOST_FWD_AGENT", "7020", 0, 65535, "kept for compatibility; the range decides",
        QAT(host_fwd_agent)),
    NUM("QEMU_GUEST_FWD_AGENT", "7002", 1, 65535, "the agent's port in the guest", QAT(guest_fwd_agent)),
    STR("QEMU_HOST_FWD_RANGE", "6100-6200", "ports on the host for agents", QAT(host_fwd_range)),
    STR("QEMU_HOST_FWD_ADDR", "", "address those ports are bound to, empty for all", QAT(host_fwd_addr)),
    STR("QEMU_VIRTIO_NET_PCI_DISABLE_LEGACY", "on", "on or off", QAT(net_disable_legacy)),
    STR("QEMU_VIRTIO_NET_PCI_IOMMU_PLATFORM", "true", "true or false", QAT(net_iommu_platform)),
    STR("QEMU_VIRTIO_NET_PCI_ADDR", "0x2", "PCI address of the card", QAT(net_addr)),
    STR("QEMU_VIRTIO_NET_PCI_ROMFILE", "", "its option ROM", QAT(net_romfile)),
    STR("QEMU_DISK_IMG_KERNEL_FILE", "img/bzImage", "kernel", QAT(kernel_file)),
    STR("QEMU_DISK_IMG_ROOTFS_FILE", "img/rootfs.cpio.gz", "initramfs", QAT(rootfs_file)),
    STR("QEMU_KERNEL_CMDLINE", "quiet console=null", "kernel command line", QAT(kernel_cmdline)),
    YES("QEMU_ENABLE_DISK", "false", "boot from a disk", QAT(enable_disk)),
    STR("QEMU_SRC_DISK_FILE", "img/enc_os.qcow2", "copied for each VM", QAT(src_disk_file)),
    STR("QEMU_DST_DISK_FILE", "", "kept for compatibility; each VM's directory holds its copy",
        QAT(dst_disk_file)),
    STR("QEMU_DISK_ID", "disk0", "id of the disk", QAT(disk_id)),
    STR("QEMU_DISK_FORMAT", "qcow2", "qcow2 or raw", QAT(disk_format)),
    STR("QEMU_DISK_SCSI_ID", "scsi0", "id of its controller", QAT(disk_scsi_id)),
    STR("QEMU_SEV_SNP_ID", "sev0", "id of the SNP object", QAT(sev_snp_id)),
    NUM("QEMU_SEV_SNP_CBIT_POS", "51", 0, 63, "C-bit (also MANAGER_QEMU_SEV_SNP_CBITPOS)",
        QAT(sev_snp_cbit_pos)),
    NUM("QEMU_SEV_SNP_REDUCED_PHYS_BITS", "1", 0, 63, "physical address bits lost",
        QAT(sev_snp_reduced_phys_bits)),
    YES("QEMU_ENABLE_HOST_DATA", "false", "give HOST_DATA to SNP", QAT(enable_host_data)),
    STR("QEMU_HOST_DATA", "", "32 bytes, base64; empty: the constant that our peers send", QAT(host_data)),
    STR("QEMU_TDX_ID", "tdx0", "id of the TDX object", QAT(tdx_id)),
    NUM("QEMU_QUOTE_GENERATION_PORT", "4050", 1, 4294967295, "vsock port of the quoting service",
        QAT(quote_generation_port)),
    STR("QEMU_OVMF_FILE", "/usr/share/ovmf/OVMF.fd", "firmware of TDX guests", QAT(ovmf_file)),
    STR("QEMU_IGVM_ID", "igvm0", "id of the IGVM object", QAT(igvm_id)),
    STR("QEMU_IGVM_FILE", "/root/coconut-qemu.igvm", "SVSM firmware of SNP guests", QAT(igvm_file)),
    STR("QEMU_ENABLE_GPU", "", "true or false; empty: when one is named, or found bound to vfio-pci",
        QAT(enable_gpu)),
    STR("QEMU_GPU_BDF", "", "PCI address of the GPU (also GPU_BDF); empty: the first NVIDIA one",
        QAT(gpu_bdf)),
    STR("QEMU_GPU_PCIE_ROOT_PORT", "pci.1", "its root port", QAT(gpu_pcie_root_port)),
    STR("QEMU_GPU_PCIE_BUS", "pcie.0", "that port's bus", QAT(gpu_pcie_bus)),
    NUM("QEMU_GPU_FW_CFG_MMIO_MB", "262144", 1, 16777216, "MMIO window", QAT(gpu_fw_cfg_mmio_mb)),
    YES("QEMU_NO_GRAPHIC", "true", "no display", QAT(no_graphic)),
    STR("QEMU_MONITOR", "pty", "where QEMU puts its own monitor", QAT(monitor)),
    STR("QEMU_CERTS_MOUNT", "", "share this directory instead of one made for the VM", QAT(certs_mount)),
    STR("QEMU_ENV_MOUNT", "", "likewise for the environment", QAT(env_mount)),
};

bool mgr_port_range(const char *text, uint16_t *ret_first, uint16_t *ret_last, struct err *e)
{
    struct slice all = slice_of_str(text);
    size_t dash = slice_find(all, '-');
    uint64_t first;
    uint64_t last;

    if (dash == all.len || !text_parse_u64(slice_first(all, dash), 1, 65535, &first, e) ||
        !text_parse_u64(slice_after(all, dash + 1), 1, 65535, &last, e))
        return err_fail(e, ERR_KIND_INVALID, "'%s': two ports are wanted, as 6100-6200", text);
    if (first > last)
        return err_fail(e, ERR_KIND_INVALID, "'%s': the range runs backwards", text);
    *ret_first = (uint16_t)first;
    *ret_last = (uint16_t)last;
    return true;
}

bool mgr_memory_bytes(const char *text, uint64_t *ret, struct err *e)
{
    static const char units[] = "KMGT";
    struct slice digits = slice_of_str(text);
    unsigned shift = 20; /* QEMU's -m counts MiB when no unit is given */
    uint64_t count;
    const char *unit = digits.len ? strchr(units, digits.at[digits.len - 1]) : NULL;

    if (unit && *unit) {
        shift = 10 * (unsigned)(unit - units + 1);
        digits = slice_first(digits, digits.len - 1);
    }
    if (!text_parse_u64(digits, 1, UINT64_MAX >> shift, &count, e))
        return err_fail(e, ERR_KIND_INVALID, "'%s': a size is wanted, as 2048M or 30G", text);
    *ret = count << shift;
    return true;
}

/* The fault of a setting that e tells, and clears it. */
static void note(struct faults *faults, const char *name, struct err *e)
{
    faults_add(faults, "%s: %s", name, err_text(e));
    err_clear(e);
}

static void check_word(struct faults *faults, const char *name, const char *value, const char *const *words)
{
    struct err e = ERR_INIT;
    CLEANUP(buf_done) struct buf list = BUF_INIT(256);

    for (size_t i = 0; words[i]; i++) {
        if (strcmp(value, words[i]) == 0)
            return;
        if (!buf_format(&list, &e, "%s'%s'", i ? ", " : "", words[i]))
            break;
    }
    faults_add(faults, "%s: '%s': one of %.*s is wanted", name, value, (int)list.len,
               (const char *)buf_slice(&list).at);
}

/* 0 or less means no limit. */
static bool parse_max_vms(const char *text, uint64_t *ret, struct err *e)
{
    bool negative = text[0] == '-';

    if (!text_parse_u64(slice_of_str(text + (negative ? 1 : 0)), 0, INT32_MAX, ret, e))
        return err_fail(e, ERR_KIND_INVALID, "'%s': a whole number is wanted, 0 or less for no limit", text);
    if (negative)
        *ret = 0;
    return true;
}

static bool check_host_data(const char *text, struct err *e)
{
    CLEANUP(buf_done) struct buf bytes = BUF_INIT(1024);

    return !text[0] || (base64_decode(slice_of_str(text), &bytes, e) && bytes.len == HOST_DATA_LEN) ||
           err_fail(e, ERR_KIND_INVALID, "'%.100s': %d bytes in base64 are wanted", text, HOST_DATA_LEN);
}

/* What belongs to a confidential VM or a device given to it. */
static void check_hardware(const struct mgr_qemu_settings *q, struct faults *faults)
{
    static const char *const tri[] = { "", "true", "false", NULL };
    struct err e = ERR_INIT;
    char bdf[HOST_BDF_LEN + 1];

    check_word(faults, "MANAGER_QEMU_ENABLE_SEV_SNP", q->enable_snp, tri);
    check_word(faults, "MANAGER_QEMU_ENABLE_TDX", q->enable_tdx, tri);
    check_word(faults, "MANAGER_QEMU_ENABLE_GPU", q->enable_gpu, tri);
    if (strcmp(q->enable_snp, "true") == 0 && strcmp(q->enable_tdx, "true") == 0)
        faults_add(
            faults,
            "MANAGER_QEMU_ENABLE_SEV_SNP: true, and so is MANAGER_QEMU_ENABLE_TDX: a VM has one of them");
    if (!check_host_data(q->host_data, &e))
        note(faults, "MANAGER_QEMU_HOST_DATA", &e);
    if (q->gpu_bdf[0] && !host_bdf_parse(q->gpu_bdf, bdf, &e))
        note(faults, "MANAGER_QEMU_GPU_BDF", &e);
}

static void check_sizes(const struct mgr_qemu_settings *q, struct faults *faults)
{
    struct err e = ERR_INIT;
    uint64_t size = 0;
    uint64_t max = UINT64_MAX;

    if (!mgr_memory_bytes(q->memory_size, &size, &e))
        note(faults, "MANAGER_QEMU_MEMORY_SIZE", &e);
    if (!mgr_memory_bytes(q->max_memory, &max, &e))
        note(faults, "MANAGER_QEMU_MAX_MEMORY", &e);
    if (size > max)
        faults_add(faults, "MANAGER_QEMU_MEMORY_SIZE: '%s' is above MANAGER_QEMU_MAX_MEMORY '%s'",
                   q->memory_size, q->max_memory);
    if (q->smp_count > q->smp_maxcpus)
        faults_add(faults, "MANAGER_QEMU_SMP_COUNT: %llu is above MANAGER_QEMU_SMP_MAXCPUS %llu",
                   (unsigned long long)q->smp_count, (unsigned long long)q->smp_maxcpus);
}

static void check_tls(const struct mgr_settings *s, struct faults *faults)
{
    if (!s->grpc_cert[0] != !s->grpc_key[0])
        faults_add(faults, "MANAGER_GRPC_SERVER_CERT, _KEY: certificate and key are wanted together");
    if (!s->grpc_cert[0] && (s->grpc_server_ca[0] || s->grpc_client_ca[0]))
        faults_add(
            faults,
            "MANAGER_GRPC_*_CA_CERTS: set without MANAGER_GRPC_SERVER_CERT: clients would not be checked");
    if (!s->http_cert[0] != !s->http_key[0])
        faults_add(faults, "MANAGER_HTTP_SERVER_CERT, _KEY: certificate and key are wanted together");
    if (s->http_server_ca[0] || s->http_client_ca[0])
        faults_add(faults, "MANAGER_HTTP_*_CA_CERTS: no client is asked for a certificate there; unset it");
}

static void check(const void *settings, struct faults *faults)
{
    const struct mgr_settings *s = settings;
    static const char *const on_off[] = { "on", "off", NULL };
    static const char *const boots[] = { "measured", "fast", NULL };
    static const char *const formats[] = { "qcow2", "raw", NULL };
    const struct mgr_qemu_settings *q = &s->qemu;
    struct err e = ERR_INIT;
    uint64_t max_vms;
    uint16_t first;
    uint16_t last;
    struct in_addr addr;

    if (!parse_max_vms(s->max_vms_text, &max_vms, &e))
        note(faults, "MANAGER_MAX_VMS", &e);
    if (q->host_fwd_addr[0] && inet_pton(AF_INET, q->host_fwd_addr, &addr) != 1)
        faults_add(faults, "MANAGER_QEMU_HOST_FWD_ADDR: '%s': an IPv4 address is wanted", q->host_fwd_addr);
    if (!mgr_port_range(q->host_fwd_range, &first, &last, &e))
        note(faults, "MANAGER_QEMU_HOST_FWD_RANGE", &e);
    check_sizes(q, faults);
    check_tls(s, faults);
    check_hardware(q, faults);
    check_word(faults, "MANAGER_QEMU_BOOT", q->boot, boots);
    check_word(faults, "MANAGER_QEMU_OVMF_CODE_READONLY", q->ovmf_code_readonly, on_off);
    check_word(faults, "MANAGER_QEMU_DISK_FORMAT", q->disk_format, formats);
}

static const struct config_spec spec = {
    .program = "cocos-manager",
    .usage = "[flags]",
    .summary = "Creates and removes confidential VMs on this host, by gRPC.",
    .examples = "  MANAGER_QEMU_DISK_IMG_KERNEL_FILE=build/guest/vmlinuz \\\n"
                "  MANAGER_QEMU_DISK_IMG_ROOTFS_FILE=build/guest/initrd-minimal.cpio cocos-manager\n",
    .opts = opts,
    .opt_count = ARRAY_LEN(opts),
    .check = check,
};

/* Other names a setting goes by at our peers; the first one wins when both are set. */
static const struct alias {
    const char *name;
    const char *alias;
} aliases[] = {
    { "MANAGER_QEMU_SEV_SNP_CBIT_POS=", "MANAGER_QEMU_SEV_SNP_CBITPOS=" },
    { "MANAGER_QEMU_GPU_BDF=", "GPU_BDF=" },
};

static bool is_set(char *const *env, const char *name)
{
    for (; env && *env; env++)
        if (strncmp(*env, name, strlen(name)) == 0 && (*env)[strlen(name)])
            return true;
    return false;
}

/* Environment entries for the aliases that count, by their proper names. ret has room for all and a NULL. */
static bool rename_aliases(char *const *env, char *ret[ARRAY_LEN(aliases) + 1], struct err *e)
{
    size_t count = 0;

    for (char *const *at = env; at && *at; at++)
        for (size_t i = 0; i < ARRAY_LEN(aliases); i++) {
            size_t len = strlen(aliases[i].alias);

            if (strncmp(*at, aliases[i].alias, len) != 0 || is_set(env, aliases[i].name))
                continue;
            if (count == ARRAY_LEN(aliases))
                return err_fail(e, ERR_KIND_INVALID, "%s is in the environment twice", aliases[i].alias);
            ret[count] = mem_format(e, "%s%s", aliases[i].name, *at + len);
            if (!ret[count++])
                return false;
        }
    return true;
}

/* env with the aliases added, which the caller frees, as the array. */
static char **with_aliases(char *const *env, char **added, struct err *e)
{
    size_t count = 0;
    size_t more = 0;
    char **all;

    if (!rename_aliases(env, added, e))
        return NULL;
    while (env && env[count])
        count++;
    all = mem_new_array(count + ARRAY_LEN(aliases) + 1, sizeof(char *), e);
    if (!all)
        return NULL;
    if (count)
        memcpy(all, env, count * sizeof(char *));
    for (; added[more]; more++)
        all[count + more] = added[more];
    return all;
}

enum config_outcome mgr_settings_read(int argc, char *const *argv, char *const *env, struct mgr_settings *ret,
                                      struct config_values *ret_values, struct err *e)
{
    char *added[ARRAY_LEN(aliases) + 1] = { NULL };
    CLEANUP(mem_done) char **all = with_aliases(env, added, e);
    enum config_outcome outcome = all ? config_read(&spec, argc, argv, all, ret, ret_values, e) : CONFIG_BAD;

    for (size_t i = 0; i < ARRAY_LEN(added); i++)
        mem_free(added[i]);
    if (outcome != CONFIG_RUN || parse_max_vms(ret->max_vms_text, &ret->max_vms, e))
        return outcome;
    config_values_done(ret_values);
    return CONFIG_BAD;
}
