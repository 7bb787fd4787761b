/*
 * The QEMU command line as data: one row an argument, in the order of the wire
 * sheet, section 10.4, with our additions after it.
 *
 * A value that ends up inside an option has its commas doubled, so it can't
 * begin another option; one with a control byte is refused. Cases MG-1, MG-2.
 */
#ifndef MANAGER_QEMU_ARGS_H
#define MANAGER_QEMU_ARGS_H

#include "manager/settings.h"

/* What differs between the VMs of one manager. Strings are borrowed. */
struct mgr_launch {
    const char *start_id;       /* a uuid of this start: suffix of ids and file names */
    const char *extra_cmdline;  /* words added to the kernel command line, "" none    */
    const char *ovmf_vars;      /* this VM's copy                                     */
    const char *disk;           /* this VM's copy, when booting from disk             */
    const char *certs_dir;      /* shared as certs_share, "" none                     */
    const char *env_dir;        /* shared as env_share, "" none                       */
    const char *qmp_socket;     /* path                                               */
    const char *console_socket; /* path, the serial console                       */
    const char *tpm_socket;     /* swtpm's, "" no TPM                                 */
    const char *cpu;            /* instead of the settings', "" theirs                */
    uint16_t agent_port;        /* on the host                                        */
    const char *gpu_bdf;        /* a GPU of the host, "" none                         */
    bool kvm;
    bool snp;
    bool tdx;
};

/* NULL-terminated, argv[0] is the program (or sudo). Freed with mgr_argv_done. */
struct mgr_argv {
    char **at;
    size_t count;
};

/* Host data of SNP VMs when MANAGER_QEMU_HOST_DATA is empty: what our peers send, the SHA3-256 of a fixed word. */
#define MGR_HOST_DATA_DEFAULT "tDLZRaBAhyc/SMyeaTKZo/1iuGddXiA77uGgPH3q+Mg="

/* Linux on x86 takes 2047 bytes and drops the rest without a word; QEMU adds " initrd=initrd" for OVMF. */
#define MGR_CMDLINE_MAX 2033

/*
 * INVALID names the setting and the byte that has no place in it; nothing is
 * returned then.
 */
bool mgr_qemu_argv(const struct mgr_settings *s, const struct mgr_launch *l, struct mgr_argv *ret,
                   struct err *e) MUST_CHECK;
void mgr_argv_done(struct mgr_argv *a);

/* The same fault as for a VM of any mode, found before there is one. */
bool mgr_qemu_args_check(const struct mgr_settings *s, struct err *e) MUST_CHECK;

/*
 * One "word" for the kernel command line: INVALID when value has a space,
 * a control byte, a quote or '=', or is too long. name is for the error.
 */
bool mgr_cmdline_value_check(const char *name, struct slice value, struct err *e) MUST_CHECK;

#endif
