/*
 * cocos-cli doctor: whether this host can run VMs, and what mends it if not.
 */
#include "cli/doctor.h"

#include <assert.h>
#include <stdarg.h>

#include "base/text.h"

#define OUT_MAX ((size_t)256 * 1024)

#define TEXT(variable, value, text, field)                                                    \
    {                                                                                         \
        .env = (variable), .type = CONFIG_STR, .def = (value), .arg = "text", .help = (text), \
        .offset = offsetof(struct doctor_opts, field)                                         \
    }
#define PORT(variable, value, text, field)                                                                  \
    {                                                                                                       \
        .env = (variable), .type = CONFIG_U64, .def = (value), .max = 65535, .arg = "port", .help = (text), \
        .offset = offsetof(struct doctor_opts, field)                                                       \
    }

/* Names and defaults are the manager's. */
static const struct config_opt opts[] = {
    TEXT("MANAGER_QEMU_BIN_PATH", "qemu-system-x86_64", "QEMU", qemu),
    { .env = "MANAGER_QEMU_ENABLE_KVM",
      .type = CONFIG_BOOL,
      .def = "true",
      .help = "false: do not ask for KVM",
      .offset = offsetof(struct doctor_opts, enable_kvm) },
    TEXT("MANAGER_QEMU_BOOT", "measured", "measured (OVMF) or fast (qboot and an ELF kernel)", boot),
    TEXT("MANAGER_QEMU_DISK_IMG_KERNEL_FILE", "img/bzImage", "the guest's kernel", kernel),
    TEXT("MANAGER_QEMU_DISK_IMG_ROOTFS_FILE", "img/rootfs.cpio.gz", "the guest's initramfs", initrd),
    TEXT("MANAGER_QEMU_OVMF_CODE_FILE", "/usr/share/OVMF/OVMF_CODE.fd", "firmware", ovmf_code),
    TEXT("MANAGER_QEMU_OVMF_VARS_FILE", "/usr/share/OVMF/OVMF_VARS.fd", "its variables", ovmf_vars),
    TEXT("MANAGER_QEMU_MEMORY_SIZE", "2048M", "memory of a VM", memory),
    TEXT("MANAGER_QEMU_HOST_FWD_RANGE", "6100-6200", "ports for agents", port_range),
    TEXT("MANAGER_QEMU_HOST_FWD_ADDR", "", "address of those ports, empty for all", port_address),
    TEXT("MANAGER_SWTPM", "auto", "software TPM: auto, true, false or its path", swtpm),
    { .env = "MANAGER_SWTPM_EK_CERT",
      .type = CONFIG_BOOL,
      .def = "false",
      .help = "whether each gets a certificate",
      .offset = offsetof(struct doctor_opts, swtpm_ek_cert) },
    TEXT("MANAGER_GRPC_HOST", "localhost", "where the manager listens", grpc_host),
    PORT("MANAGER_GRPC_PORT", "7001", "its port", grpc_port),
    TEXT("MANAGER_HTTP_HOST", "localhost", "where its health and metrics are", http_host),
    PORT("MANAGER_HTTP_PORT", "7003", "their port", http_port),
    TEXT("MANAGER_QEMU_ENABLE_SEV_SNP", "", "true, false, or empty: when the host has it", enable_snp),
    TEXT("MANAGER_QEMU_ENABLE_TDX", "", "likewise", enable_tdx),
    TEXT("MANAGER_QEMU_IGVM_FILE", "/root/coconut-qemu.igvm", "SVSM firmware of SNP guests", igvm_file),
    TEXT("MANAGER_QEMU_OVMF_FILE", "/usr/share/ovmf/OVMF.fd", "firmware of TDX guests", tdx_file),
    TEXT("MANAGER_QEMU_ENABLE_GPU", "", "true, false, or empty: when there is one", enable_gpu),
    TEXT("MANAGER_QEMU_GPU_BDF", "", "PCI address of a GPU for VMs", gpu_bdf),
    TEXT("MANAGER_INSECURE_HOST_ROOT", "", "for tests: a tree in place of /proc, /sys and /dev", host_root),
    { .flag = "require",
      .type = CONFIG_STR,
      .def = "",
      .arg = "snp|tdx",
      .help = "fail unless VMs can be confidential ones of that kind",
      .offset = offsetof(struct doctor_opts, require) },
    TEXT("COCOS_RUN_DIR", "/run/cocos", "sockets and VM directories", run_dir),
    TEXT("COCOS_STATE_DIR", "/var/lib/cocos", "records of running VMs", state_dir),
};

static const struct config_spec spec = {
    .program = CLI_PROGRAM " doctor",
    .usage = "[flags]",
    .summary = "Look whether this host can run VMs, and say what mends it",
    .examples = "  cocos-cli doctor\n"
                "  cocos-cli doctor --require snp\n"
                "  cocos-cli doctor --json | jq '.checks[] | select(.level != \"ok\")'\n",
    .opts = opts,
    .opt_count = ARRAY_LEN(opts),
    .parts = { { &cli_common_rows, offsetof(struct doctor_opts, common) } },
};

static const char *const level_names[] = {
    [DOCTOR_OK] = "ok", [DOCTOR_WARN] = "warn", [DOCTOR_FAIL] = "fail"
};

struct doctor_row *doctor_add(struct doctor *d, const char *what, enum doctor_level level, const char *fmt,
                              ...)
{
    struct doctor_row *row = &d->rows[d->count];
    va_list args;

    assert(d->count < DOCTOR_ROWS_MAX);
    d->count++;
    *row = (struct doctor_row){ .what = what, .level = level };
    va_start(args, fmt);
    vsnprintf(row->found, sizeof(row->found), fmt, args);
    va_end(args);
    return row;
}

void doctor_fix(struct doctor_row *row, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vsnprintf(row->fix, sizeof(row->fix), fmt, args);
    va_end(args);
}

static bool add_line(struct buf *text, const struct cli_out *out, const struct doctor_row *r, struct err *e)
{
    static const char *const colours[] = {
        [DOCTOR_OK] = "\x1b[32m", [DOCTOR_WARN] = "\x1b[33m", [DOCTOR_FAIL] = "\x1b[31m"
    };

    return buf_format(text, e, "%s%-4s%s  %-18s  ", out->colour ? colours[r->level] : "",
                      level_names[r->level], out->colour ? "\x1b[0m" : "", r->what) &&
           text_safe(slice_of_str(r->found), text, e) && buf_append_str(text, "\n", e) &&
           (!r->fix[0] || (buf_append_str(text, "      fix: ", e) &&
                           text_safe(slice_of_str(r->fix), text, e) && buf_append_str(text, "\n", e)));
}

static bool add_json(json_t *rows, const struct doctor_row *r, struct err *e)
{
    struct err cut = ERR_INIT;
    CLEANUP(buf_done) struct buf found = BUF_INIT(8 * sizeof(r->found));
    CLEANUP(buf_done) struct buf fix = BUF_INIT(8 * sizeof(r->fix));

    /* Paths need not be UTF-8, JSON has to be. */
    if (!text_safe(slice_of_str(r->found), &found, &cut) || !text_safe(slice_of_str(r->fix), &fix, &cut))
        return err_fail(e, ERR_KIND_LIMIT, "%s", err_text(&cut));

    const char *found_text = buf_str(&found, e);
    const char *fix_text = buf_str(&fix, e);

    return (found_text && fix_text &&
            json_array_append_new(rows, json_pack("{s:s, s:s, s:s, s:s}", "check", r->what, "level",
                                                  level_names[r->level], "found", found_text, "fix",
                                                  fix_text)) == 0) ||
           err_fail(e, ERR_KIND_LIMIT, "out of memory");
}

static int report(struct cli_out *out, const struct doctor *d)
{
    struct err e = ERR_INIT;
    CLEANUP(buf_done) struct buf text = BUF_INIT(OUT_MAX);
    json_t *rows = json_array();
    size_t counts[3] = { 0 };
    bool fine = true;

    for (size_t i = 0; fine && i < d->count; i++) {
        counts[d->rows[i].level]++;
        fine = add_line(&text, out, &d->rows[i], &e) && add_json(rows, &d->rows[i], &e);
    }
    if (out->json)
        cli_out_json(out, "checks", rows);
    else
        json_decref(rows);
    if (!fine)
        return cli_out_fail(out, "doctor", err_text(&e));
    if (!cli_out_print(out, buf_slice(&text)))
        return CLI_FAILED;
    if (counts[DOCTOR_FAIL] > 0) {
        cli_out_bool(out, "can_run_vms", false);
        err_fail(&e, ERR_KIND_MISSING, "%zu of %zu checks failed", counts[DOCTOR_FAIL], d->count);
        return cli_out_fail(out, "This host can't run VMs yet", err_text(&e));
    }
    cli_out_bool(out, "can_run_vms", true);
    cli_out_say(out, CLI_GREEN, "This host can run VMs%s.",
                counts[DOCTOR_WARN] ? ", with what the warnings say" : "");
    return CLI_DONE;
}

static int bad_kind(struct cli_out *out, const char *seen)
{
    struct err e = ERR_INIT;

    err_fail(&e, ERR_KIND_INVALID, "'%s': snp or tdx is wanted", seen);
    cli_out_fail(out, "flag -require", err_text(&e));
    return CLI_USAGE;
}

static int run(struct cli_out *out, const void *opts_read, const struct config_values *values)
{
    struct doctor d = { .opts = opts_read };

    (void)values;
    if (d.opts->require[0] && strcmp(d.opts->require, "snp") != 0 && strcmp(d.opts->require, "tdx") != 0)
        return bad_kind(out, d.opts->require);
    doctor_qemu(&d);
    doctor_devices(&d);
    doctor_tees(&d);
    doctor_gpu(&d);
    doctor_accelerators(&d);
    doctor_firmware(&d);
    doctor_qboot(&d);
    doctor_swtpm(&d);
    doctor_guest(&d);
    doctor_disk(&d);
    doctor_memory(&d);
    doctor_ports(&d);
    return report(out, &d);
}

const struct cli_command cli_doctor_command = {
    .name = "doctor",
    .spec = &spec,
    .opts_size = sizeof(struct doctor_opts),
    .run = run,
};
