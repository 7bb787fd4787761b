/*
 * What cocos-cli doctor looks at. Looks, and changes nothing but a private
 * temporary directory that the probe guests need.
 */
#ifndef CLI_DOCTOR_H
#define CLI_DOCTOR_H

#include "cli/cli.h"

enum doctor_level { DOCTOR_OK, DOCTOR_WARN, DOCTOR_FAIL };

/* The manager's own variables: what it would see is what is looked at. */
struct doctor_opts {
    struct cli_common common;
    const char *qemu, *boot, *kernel, *initrd, *ovmf_code, *ovmf_vars, *swtpm;
    const char *memory, *port_range, *port_address;
    const char *grpc_host, *http_host, *run_dir, *state_dir;
    const char *enable_snp, *enable_tdx, *enable_gpu, *gpu_bdf, *host_root;
    const char *igvm_file, *tdx_file; /* firmware of confidential VMs */
    const char *require;              /* "", "snp" or "tdx": what VMs have to be */
    bool enable_kvm, swtpm_ek_cert;
    uint64_t grpc_port, http_port;
};

#define DOCTOR_ROWS_MAX 32

struct doctor_row {
    const char *what; /* "QEMU" */
    enum doctor_level level;
    char found[1024];
    char fix[768]; /* a command, or ""; never "" unless ok */
};

struct doctor {
    const struct doctor_opts *opts;
    struct doctor_row rows[DOCTOR_ROWS_MAX];
    size_t count;
    char qemu[512]; /* the program, "" when there is none */
};

/* Adds a row; there is always room for those of the checks below. */
struct doctor_row *doctor_add(struct doctor *d, const char *what, enum doctor_level level, const char *fmt,
                              ...) PRINTF(4, 5);
void doctor_fix(struct doctor_row *row, const char *fmt, ...) PRINTF(2, 3);

/* doctor_programs.c: what is tried by running it. The first one finds d->qemu. */
void doctor_qemu(struct doctor *d);
void doctor_devices(struct doctor *d); /* 9p, TPM, network */
void doctor_tees(struct doctor *d);
void doctor_gpu(struct doctor *d);
void doctor_qboot(struct doctor *d); /* firmware of the fast boot */
void doctor_accelerators(struct doctor *d);
void doctor_swtpm(struct doctor *d);

/* doctor_files.c: what is looked at. */
void doctor_firmware(struct doctor *d);
void doctor_guest(struct doctor *d);
void doctor_disk(struct doctor *d);
void doctor_memory(struct doctor *d);
void doctor_ports(struct doctor *d);

#endif
