#include "manager/qemu_args.h"

#include "base/buf.h"
#include "base/mem.h"

#define ARGS_MAX 128
#define ARG_LEN_MAX ((size_t)64 * 1024)

/* When a row belongs to the command line: all bits of `want` set, none of `unless`. */
enum when {
    WHEN_KVM = 1,
    WHEN_SNP = 2,
    WHEN_TDX = 4,
    WHEN_GPU = 8,
    WHEN_DISK = 16,
    WHEN_CERTS = 32,
    WHEN_ENV = 64,
    WHEN_TPM = 128,
    WHEN_FAST = 256,
    WHEN_MACHINE = 512,
    WHEN_CPU = 1024,
    WHEN_NO_GRAPHIC = 2048,
    WHEN_HOST_DATA = 4096,
    WHEN_SUDO = 8192,
};

/*
 * <name> stands for a value with its commas doubled, <=name> for the value as
 * it is: where the whole argument is the value, QEMU takes no options from it.
 */
struct row {
    unsigned want;
    unsigned unless;
    const char *flag;
    const char *value; /* NULL: the flag stands alone */
};

static const struct row program_rows[] = {
    { WHEN_SUDO, 0, "sudo", NULL },
};

static const struct row machine_rows[] = {
    { WHEN_KVM, 0, "-enable-kvm", NULL },
    { WHEN_MACHINE, 0, "-machine", "<machine>" },
    { WHEN_CPU, 0, "-cpu", "<=cpu>" },
    { 0, 0, "-smp", "<smp_count>,maxcpus=<smp_maxcpus>" },
    { 0, 0, "-m", "<memory>,slots=<memory_slots>,maxmem=<max_memory>" },
};

static const struct row firmware_rows[] = {
    { 0, WHEN_SNP | WHEN_TDX | WHEN_FAST, "-drive",
      "if=<code_if>,format=<code_format>,unit=<code_unit>,file=<code_file>,readonly=<code_readonly>" },
    { 0, WHEN_SNP | WHEN_TDX | WHEN_FAST, "-drive",
      "if=<vars_if>,format=<vars_format>,unit=<vars_unit>,file=<vars_file>" },
    { WHEN_FAST, WHEN_SNP | WHEN_TDX, "-bios", "qboot.rom" },
};

static const struct row network_rows[] = {
    { 0, 0, "-netdev", "user,id=<netdev_id>-<start_id>,hostfwd=tcp:<fwd_addr>:<agent_port>-:<guest_port>" },
    { 0, 0, "-device",
      "virtio-net-pci,disable-legacy=<net_legacy>,iommu_platform=<net_iommu>,netdev=<netdev_id>-<start_id>,"
      "addr=<net_addr>,romfile=<net_romfile>" },
};

static const struct row disk_rows[] = {
    { WHEN_DISK, 0, "-drive", "file=<disk>,if=none,id=<disk_id>,format=<disk_format>" },
    { WHEN_DISK, 0, "-device", "virtio-scsi-pci,id=<scsi_id>,disable-legacy=on,iommu_platform=true" },
    { WHEN_DISK, 0, "-device", "scsi-hd,drive=<disk_id>,bus=<scsi_id>.0" },
};

static const struct row gpu_rows[] = {
    { WHEN_GPU, 0, "-device", "pcie-root-port,id=<gpu_port>,bus=<gpu_bus>" },
    { WHEN_GPU, 0, "-device", "vfio-pci,host=<gpu_bdf>,bus=<gpu_port>" },
    { WHEN_GPU, 0, "-fw_cfg", "name=opt/ovmf/X-PciMmio64Mb,string=<gpu_mmio>" },
};

static const struct row snp_rows[] = {
    { WHEN_SNP, 0, "-machine",
      "confidential-guest-support=<snp_id>-<start_id>,memory-backend=<mem_id>,igvm-cfg=<igvm_id>" },
    { WHEN_SNP, 0, "-object", "memory-backend-memfd,id=<mem_id>,size=<memory>,share=true,prealloc=false" },
    { WHEN_SNP, WHEN_HOST_DATA, "-object",
      "sev-snp-guest,id=<snp_id>-<start_id>,cbitpos=<cbitpos>,reduced-phys-bits=<phys_bits>" },
    { WHEN_SNP | WHEN_HOST_DATA, 0, "-object",
      "sev-snp-guest,id=<snp_id>-<start_id>,cbitpos=<cbitpos>,reduced-phys-bits=<phys_bits>,host-data=<host_"
      "data>" },
    { WHEN_SNP, 0, "-object", "igvm-cfg,id=<igvm_id>,file=<igvm_file>" },
};

/* The object is JSON: its parts are an id of letters and digits, a uuid and a number. */
static const struct row tdx_rows[] = {
    { WHEN_TDX, 0, "-object",
      "{\"qom-type\":\"tdx-guest\",\"id\":\"<tdx_id>-<start_id>\",\"quote-generation-socket\":{\"type\": "
      "\"vsock\", "
      "\"cid\":\"2\",\"port\":\"<quote_port>\"}}" },
    { WHEN_TDX, 0, "-machine",
      "confidential-guest-support=<tdx_id>-<start_id>,memory-backend=<mem_id>,hpet=off" },
    { WHEN_TDX, 0, "-object", "memory-backend-memfd,id=<mem_id>,size=<memory>,share=true,prealloc=false" },
    { WHEN_TDX, 0, "-bios", "<=ovmf_file>" },
    { WHEN_TDX, 0, "-nodefaults", NULL },
};

static const struct row kernel_rows[] = {
    { 0, WHEN_DISK, "-kernel", "<=kernel>" },
    { 0, WHEN_DISK, "-append", "<=cmdline>" },
    { 0, WHEN_DISK, "-initrd", "<=initrd>" },
};

static const struct row console_rows[] = {
    { WHEN_NO_GRAPHIC, 0, "-nographic", NULL },
    { 0, 0, "-monitor", "<=monitor>" },
};

static const struct row share_rows[] = {
    { WHEN_CERTS, 0, "-fsdev", "local,id=cert_fs,path=<certs_dir>,security_model=mapped" },
    { WHEN_CERTS, 0, "-device", "virtio-9p-pci,fsdev=cert_fs,mount_tag=certs_share" },
    { WHEN_ENV, 0, "-fsdev", "local,id=env_fs,path=<env_dir>,security_model=mapped" },
    { WHEN_ENV, 0, "-device", "virtio-9p-pci,fsdev=env_fs,mount_tag=env_share" },
};

/* Not upstream's: what the manager needs to know how the VM fares, and the software TPM. */
static const struct row added_rows[] = {
    { WHEN_FAST, WHEN_TDX, "-nodefaults", NULL },
    { 0, 0, "-no-reboot", NULL },
    { 0, 0, "-no-user-config", NULL },
    { 0, 0, "-S", NULL }, /* runs when its console is being read */
    { 0, 0, "-chardev", "socket,id=console,path=<console>,server=on,wait=off" },
    { 0, 0, "-serial", "chardev:console" },
    { 0, 0, "-qmp", "unix:<qmp>,server=on,wait=off" },
    { WHEN_TPM, 0, "-chardev", "socket,id=tpm_socket,path=<tpm>" },
    { WHEN_TPM, 0, "-tpmdev", "emulator,id=tpm0,chardev=tpm_socket" },
    { WHEN_TPM, 0, "-device", "tpm-crb,tpmdev=tpm0" },
};

#define GROUP(rows)           \
    {                         \
        rows, ARRAY_LEN(rows) \
    }
static const struct {
    const struct row *rows;
    size_t count;
} groups[] = {
    GROUP(machine_rows), GROUP(firmware_rows), GROUP(network_rows), GROUP(disk_rows),
    GROUP(gpu_rows),     GROUP(snp_rows),      GROUP(tdx_rows),     GROUP(kernel_rows),
    GROUP(console_rows), GROUP(share_rows),    GROUP(added_rows),
};

/* What a <name> stands for. */
struct value {
    const char *name;
    const char *text; /* or NULL: number */
    uint64_t number;
    const char *setting; /* for errors      */
};

#define VALUES_MAX 64

struct line {
    struct mgr_argv argv;
    struct value values[VALUES_MAX];
    size_t value_count;
    unsigned when;
};

static void put_text(struct line *l, const char *name, const char *text, const char *setting)
{
    l->values[l->value_count++] = (struct value){ name, text, 0, setting };
}

static void put_number(struct line *l, const char *name, uint64_t number)
{
    l->values[l->value_count++] = (struct value){ name, NULL, number, name };
}

static void put_settings(struct line *l, const struct mgr_qemu_settings *q)
{
    put_text(l, "machine", q->machine, "MANAGER_QEMU_MACHINE");
    put_number(l, "smp_count", q->smp_count);
    put_number(l, "smp_maxcpus", q->smp_maxcpus);
    put_text(l, "memory", q->memory_size, "MANAGER_QEMU_MEMORY_SIZE");
    put_number(l, "memory_slots", q->memory_slots);
    put_text(l, "max_memory", q->max_memory, "MANAGER_QEMU_MAX_MEMORY");
    put_text(l, "code_if", q->ovmf_code_if, "MANAGER_QEMU_OVMF_CODE_IF");
    put_text(l, "code_format", q->ovmf_code_format, "MANAGER_QEMU_OVMF_CODE_FORMAT");
    put_number(l, "code_unit", q->ovmf_code_unit);
    put_text(l, "code_file", q->ovmf_code_file, "MANAGER_QEMU_OVMF_CODE_FILE");
    put_text(l, "code_readonly", q->ovmf_code_readonly, "MANAGER_QEMU_OVMF_CODE_READONLY");
    put_text(l, "vars_if", q->ovmf_vars_if, "MANAGER_QEMU_OVMF_VARS_IF");
    put_text(l, "vars_format", q->ovmf_vars_format, "MANAGER_QEMU_OVMF_VARS_FORMAT");
    put_number(l, "vars_unit", q->ovmf_vars_unit);
    put_text(l, "netdev_id", q->netdev_id, "MANAGER_QEMU_NETDEV_ID");
    put_text(l, "fwd_addr", q->host_fwd_addr, "MANAGER_QEMU_HOST_FWD_ADDR");
    put_number(l, "guest_port", q->guest_fwd_agent);
    put_text(l, "net_legacy", q->net_disable_legacy, "MANAGER_QEMU_VIRTIO_NET_PCI_DISABLE_LEGACY");
    put_text(l, "net_iommu", q->net_iommu_platform, "MANAGER_QEMU_VIRTIO_NET_PCI_IOMMU_PLATFORM");
    put_text(l, "net_addr", q->net_addr, "MANAGER_QEMU_VIRTIO_NET_PCI_ADDR");
    put_text(l, "net_romfile", q->net_romfile, "MANAGER_QEMU_VIRTIO_NET_PCI_ROMFILE");
    put_text(l, "disk_id", q->disk_id, "MANAGER_QEMU_DISK_ID");
    put_text(l, "disk_format", q->disk_format, "MANAGER_QEMU_DISK_FORMAT");
    put_text(l, "scsi_id", q->disk_scsi_id, "MANAGER_QEMU_DISK_SCSI_ID");
    put_text(l, "gpu_port", q->gpu_pcie_root_port, "MANAGER_QEMU_GPU_PCIE_ROOT_PORT");
    put_text(l, "gpu_bus", q->gpu_pcie_bus, "MANAGER_QEMU_GPU_PCIE_BUS");
    put_number(l, "gpu_mmio", q->gpu_fw_cfg_mmio_mb);
    put_text(l, "snp_id", q->sev_snp_id, "MANAGER_QEMU_SEV_SNP_ID");
    put_number(l, "cbitpos", q->sev_snp_cbit_pos);
    put_number(l, "phys_bits", q->sev_snp_reduced_phys_bits);
    put_text(l, "host_data", q->host_data[0] ? q->host_data : MGR_HOST_DATA_DEFAULT,
             "MANAGER_QEMU_HOST_DATA");
    put_text(l, "mem_id", q->mem_id, "MANAGER_QEMU_MEM_ID");
    put_text(l, "igvm_id", q->igvm_id, "MANAGER_QEMU_IGVM_ID");
    put_text(l, "igvm_file", q->igvm_file, "MANAGER_QEMU_IGVM_FILE");
    put_text(l, "tdx_id", q->tdx_id, "MANAGER_QEMU_TDX_ID");
    put_number(l, "quote_port", q->quote_generation_port);
    put_text(l, "ovmf_file", q->ovmf_file, "MANAGER_QEMU_OVMF_FILE");
    put_text(l, "kernel", q->kernel_file, "MANAGER_QEMU_DISK_IMG_KERNEL_FILE");
    put_text(l, "initrd", q->rootfs_file, "MANAGER_QEMU_DISK_IMG_ROOTFS_FILE");
    put_text(l, "monitor", q->monitor, "MANAGER_QEMU_MONITOR");
}

static void put_launch(struct line *l, const struct mgr_settings *s, const struct mgr_launch *v,
                       const char *cmdline)
{
    put_text(l, "start_id", v->start_id, "id of the start");
    put_text(l, "cpu", v->cpu[0] ? v->cpu : s->qemu.cpu, "MANAGER_QEMU_CPU");
    put_text(l, "vars_file", v->ovmf_vars, "copy of the firmware's variables");
    put_number(l, "agent_port", v->agent_port);
    put_text(l, "gpu_bdf", v->gpu_bdf, "MANAGER_QEMU_GPU_BDF");
    put_text(l, "disk", v->disk, "copy of the disk");
    put_text(l, "certs_dir", v->certs_dir, "directory of certificates");
    put_text(l, "env_dir", v->env_dir, "directory of the environment");
    put_text(l, "qmp", v->qmp_socket, "QMP socket");
    put_text(l, "console", v->console_socket, "console socket");
    put_text(l, "tpm", v->tpm_socket, "TPM socket");
    put_text(l, "cmdline", cmdline, "MANAGER_QEMU_KERNEL_CMDLINE");
}

static unsigned when_of(const struct mgr_settings *s, const struct mgr_launch *l)
{
    const struct mgr_qemu_settings *q = &s->qemu;

    return (l->kvm ? WHEN_KVM : 0u) | (l->snp ? WHEN_SNP : 0u) | (l->tdx ? WHEN_TDX : 0u) |
           (l->gpu_bdf[0] ? WHEN_GPU : 0u) | (q->enable_disk ? WHEN_DISK : 0u) |
           (l->certs_dir[0] ? WHEN_CERTS : 0u) | (l->env_dir[0] ? WHEN_ENV : 0u) |
           (l->tpm_socket[0] ? WHEN_TPM : 0u) | (strcmp(q->boot, "fast") == 0 ? WHEN_FAST : 0u) |
           (q->machine[0] ? WHEN_MACHINE : 0u) | (q->cpu[0] || l->cpu[0] ? WHEN_CPU : 0u) |
           (q->no_graphic ? WHEN_NO_GRAPHIC : 0u) | (q->enable_host_data ? WHEN_HOST_DATA : 0u) |
           (q->use_sudo ? WHEN_SUDO : 0u);
}

static bool add(struct line *l, struct slice text, struct err *e)
{
    if (l->argv.count == ARGS_MAX)
        return err_fail(e, ERR_KIND_LIMIT, "more than %d arguments", ARGS_MAX);

    char *copy = mem_dup_slice(text, e);

    if (!copy)
        return false;
    l->argv.at[l->argv.count++] = copy;
    return true;
}

static bool put_value(const struct value *v, bool whole, struct buf *out, struct err *e)
{
    if (!v->text)
        return buf_format(out, e, "%llu", (unsigned long long)v->number);
    for (const char *c = v->text; *c; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            return err_fail(e, ERR_KIND_INVALID, "%s: byte 0x%02x has no place in a QEMU option", v->setting,
                            (unsigned char)*c);
        if (!buf_append_u8(out, (uint8_t)*c, e) || (*c == ',' && !whole && !buf_append_u8(out, ',', e)))
            return false;
    }
    return true;
}

static const struct value *find(const struct line *l, struct slice name)
{
    for (size_t i = 0; i < l->value_count; i++)
        if (slice_equal_str(name, l->values[i].name))
            return &l->values[i];
    return NULL;
}

/* Fills a row's template. */
static bool fill(struct line *l, const char *form, struct err *e)
{
    CLEANUP(buf_done) struct buf out = BUF_INIT(ARG_LEN_MAX);
    struct slice left = slice_of_str(form);

    while (left.len) {
        size_t plain = slice_find(left, '<');

        if (!buf_append(&out, slice_first(left, plain), e))
            return false;
        left = slice_after(left, plain + 1);
        if (!left.len)
            break;

        bool whole = left.at[0] == '=';
        size_t close = slice_find(left, '>');
        const struct value *v = find(l, slice_after(slice_first(left, close), whole ? 1 : 0));

        if (!v)
            return err_fail(e, ERR_KIND_INTERNAL, "no value for a part of '%s'", form);
        if (!put_value(v, whole, &out, e))
            return false;
        left = slice_after(left, close + 1);
    }
    return add(l, buf_slice(&out), e);
}

static bool add_rows(struct line *l, const struct row *rows, size_t count, struct err *e)
{
    for (size_t i = 0; i < count; i++) {
        if ((l->when & rows[i].want) != rows[i].want || (l->when & rows[i].unless) != 0)
            continue;
        if (!add(l, slice_of_str(rows[i].flag), e) || (rows[i].value && !fill(l, rows[i].value, e)))
            return false;
    }
    return true;
}

/* An id stands in JSON and before ".0": letters, digits, '.', '_' and '-' only. */
static bool check_id(const char *setting, const char *id, struct err *e)
{
    size_t len = strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");

    if (!id[0] || id[len])
        return err_fail(e, ERR_KIND_INVALID, "%s: '%s': letters, digits, '.', '_' and '-' are wanted",
                        setting, id);
    return true;
}

static bool check_ids(const struct mgr_qemu_settings *q, const struct mgr_launch *l, struct err *e)
{
    return check_id("MANAGER_QEMU_NETDEV_ID", q->netdev_id, e) &&
           check_id("MANAGER_QEMU_DISK_ID", q->disk_id, e) &&
           check_id("MANAGER_QEMU_DISK_SCSI_ID", q->disk_scsi_id, e) &&
           check_id("MANAGER_QEMU_SEV_SNP_ID", q->sev_snp_id, e) &&
           check_id("MANAGER_QEMU_TDX_ID", q->tdx_id, e) && check_id("MANAGER_QEMU_IGVM_ID", q->igvm_id, e) &&
           check_id("MANAGER_QEMU_MEM_ID", q->mem_id, e) && check_id("id of the start", l->start_id, e);
}

bool mgr_qemu_argv(const struct mgr_settings *s, const struct mgr_launch *l, struct mgr_argv *ret,
                   struct err *e)
{
    CLEANUP(mem_done)
    char *cmdline = mem_format(e, "%s%s%s", s->qemu.kernel_cmdline, l->extra_cmdline[0] ? " " : "",
                               l->extra_cmdline);
    CLEANUP(mem_done) struct line *line = mem_new(sizeof(*line), e);
    bool ok;

    if (!cmdline || !line || !check_ids(&s->qemu, l, e))
        return false;
    if (strlen(cmdline) > MGR_CMDLINE_MAX)
        return err_fail(e, ERR_KIND_INVALID, "MANAGER_QEMU_KERNEL_CMDLINE%s: %zu bytes, at most %d are taken",
                        l->extra_cmdline[0] ? " and aa_kbs_params" : "", strlen(cmdline), MGR_CMDLINE_MAX);
    line->argv.at = mem_new_array(ARGS_MAX + 1, sizeof(*line->argv.at), e);
    if (!line->argv.at)
        return false;
    line->when = when_of(s, l);
    put_settings(line, &s->qemu);
    put_launch(line, s, l, cmdline);
    ok = add_rows(line, program_rows, ARRAY_LEN(program_rows), e) &&
         add(line, slice_of_str(s->qemu.bin_path), e);
    for (size_t i = 0; ok && i < ARRAY_LEN(groups); i++)
        ok = add_rows(line, groups[i].rows, groups[i].count, e);
    if (!ok) {
        mgr_argv_done(&line->argv);
        return false;
    }
    *ret = line->argv;
    return true;
}

void mgr_argv_done(struct mgr_argv *a)
{
    for (size_t i = 0; i < a->count; i++)
        mem_free(a->at[i]);
    mem_free(a->at);
    *a = (struct mgr_argv){ NULL, 0 };
}

bool mgr_qemu_args_check(const struct mgr_settings *s, struct err *e)
{
    struct mgr_launch l = {
        .start_id = "0",
        .extra_cmdline = "",
        .ovmf_vars = "",
        .disk = "",
        .certs_dir = s->qemu.certs_mount,
        .env_dir = s->qemu.env_mount,
        .qmp_socket = "",
        .console_socket = "",
        .tpm_socket = "",
        .cpu = "",
        .gpu_bdf = s->qemu.gpu_bdf,
    };

    for (unsigned mode = 0; mode < 3; mode++) { /* plain, SNP, TDX */
        struct mgr_argv argv;

        l.snp = mode == 1;
        l.tdx = mode == 2;
        if (!mgr_qemu_argv(s, &l, &argv, e))
            return false;
        mgr_argv_done(&argv);
    }
    return true;
}

bool mgr_cmdline_value_check(const char *name, struct slice value, struct err *e)
{
    if (value.len > MGR_CMDLINE_MAX)
        return err_fail(e, ERR_KIND_INVALID, "%s: %zu bytes, at most %d are taken on the kernel command line",
                        name, value.len, MGR_CMDLINE_MAX);
    for (size_t i = 0; i < value.len; i++) {
        uint8_t c = value.at[i];

        if (c <= 0x20 || c >= 0x7f || c == '"' || c == '\'' || c == '=')
            return err_fail(
                e, ERR_KIND_INVALID,
                "%s: byte 0x%02x at %zu: a word without spaces, quotes and '=' is wanted on the kernel "
                "command line",
                name, c, i);
    }
    return true;
}
