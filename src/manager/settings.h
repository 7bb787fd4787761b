/*
 * What the manager is told by flags and MANAGER_* variables.
 *
 * Names and defaults are those of the wire sheet, section 10.2; what we add is
 * marked "additive" in the table. Everything is checked at the start, all
 * faults at once, before anything is listened on or started.
 */
#ifndef MANAGER_SETTINGS_H
#define MANAGER_SETTINGS_H

#include "base/config.h"

struct mgr_qemu_settings {
    const char *memory_size;
    uint64_t memory_slots;
    const char *max_memory;
    const char *ovmf_code_if, *ovmf_code_format, *ovmf_code_file, *ovmf_version;
    uint64_t ovmf_code_unit;
    const char *ovmf_code_readonly;
    const char *ovmf_vars_if, *ovmf_vars_format, *ovmf_vars_file;
    uint64_t ovmf_vars_unit;
    const char *netdev_id;
    uint64_t host_fwd_agent, guest_fwd_agent;
    const char *host_fwd_range;
    const char *net_disable_legacy, *net_iommu_platform, *net_addr, *net_romfile;
    const char *kernel_file, *rootfs_file;
    bool enable_disk;
    const char *src_disk_file, *dst_disk_file, *disk_id, *disk_format, *disk_scsi_id;
    const char *sev_snp_id;
    uint64_t sev_snp_cbit_pos, sev_snp_reduced_phys_bits;
    bool enable_host_data;
    const char *host_data;
    const char *tdx_id;
    uint64_t quote_generation_port;
    const char *ovmf_file;
    const char *igvm_id, *igvm_file;
    const char *enable_gpu; /* additive: "" (a GPU that is named or found), true or false */
    const char *gpu_bdf, *gpu_pcie_root_port, *gpu_pcie_bus;
    uint64_t gpu_fw_cfg_mmio_mb;
    const char *bin_path;
    bool use_sudo, enable_kvm;
    const char *enable_snp, *enable_tdx; /* "" (probe), true or false */
    const char *machine, *cpu;
    uint64_t smp_count, smp_maxcpus;
    const char *mem_id;
    bool no_graphic;
    const char *monitor, *kernel_cmdline, *certs_mount, *env_mount;
    const char *boot;          /* additive: measured (OVMF) or fast (qboot, an ELF kernel) */
    const char *host_fwd_addr; /* additive: address the agent's port is bound to, "" all */
};

struct mgr_settings {
    int log_level;
    const char *instance_id, *eos_version, *pcr_values, *policy_binary_path, *corim_signing_key;
    const char *max_vms_text;
    uint64_t max_vms; /* 0: no limit */
    const char *grpc_host, *grpc_cert, *grpc_key, *grpc_server_ca, *grpc_client_ca;
    uint64_t grpc_port;
    const char *http_host, *http_cert, *http_key;
    uint64_t http_port;
    uint64_t http_read_ms, http_write_ms, http_header_ms, http_idle_ms, http_header_bytes;
    const char *http_server_ca, *http_client_ca;
    const char *run_dir, *state_dir;
    const char *swtpm;  /* additive: "auto" (without hardware), "true", "false", or the program's path */
    bool swtpm_ek_cert; /* additive: each gets a CA and a certificate of its own */
    uint64_t swtpm_timeout_ms; /* additive */
    const char *jaeger_url, *jaeger_ratio;
    const char *insecure_host_root; /* "", or a tree that stands for the host's /proc, /sys and /dev */
    const char *insecure_failpoint; /* "" or the step (undo-<step>) behind which the manager kills itself */
    struct mgr_qemu_settings qemu;
};

/* The first and last port of "A-B", both included. INVALID: not two ports, or backwards. */
bool mgr_port_range(const char *text, uint16_t *ret_first, uint16_t *ret_last, struct err *e) MUST_CHECK;

/* Bytes of a QEMU size ("2048M", "30G", "512"; K, M, G, T). INVALID otherwise. */
bool mgr_memory_bytes(const char *text, uint64_t *ret, struct err *e) MUST_CHECK;

/* As config_read; the strings of *ret live as long as *ret_values. */
enum config_outcome mgr_settings_read(int argc, char *const *argv, char *const *env, struct mgr_settings *ret,
                                      struct config_values *ret_values, struct err *e) MUST_CHECK;

#endif
