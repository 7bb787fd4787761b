#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/hash.h"
#include "base/text.h"
#include "manager/qemu_args.h"

#define U "6f1c0f0e-0000-4000-8000-000000000001"

static const struct mgr_launch plain = {
    .start_id = U,
    .extra_cmdline = "",
    .ovmf_vars = "/run/v/OVMF_VARS-" U ".fd",
    .disk = "/run/v/disk.qcow2",
    .certs_dir = "/run/v/certs",
    .env_dir = "/run/v/env",
    .qmp_socket = "/run/v/qmp",
    .console_socket = "/run/v/console",
    .tpm_socket = "",
    .cpu = "",
    .gpu_bdf = "",
    .agent_port = 6100,
};

/* The wire sheet's rows (section 10.4), written out, with what we add behind them. */
#define HEAD "qemu-system-x86_64\n"
#define MACHINE "-machine\nq35\n-cpu\nEPYC\n-smp\n4,maxcpus=64\n-m\n2048M,slots=5,maxmem=30G\n"
#define PFLASH                                                                            \
    "-drive\nif=pflash,format=raw,unit=0,file=/usr/share/OVMF/OVMF_CODE.fd,readonly=on\n" \
    "-drive\nif=pflash,format=raw,unit=1,file=/run/v/OVMF_VARS-" U ".fd\n"
#define NET                                                  \
    "-netdev\nuser,id=vmnic-" U ",hostfwd=tcp::6100-:7002\n" \
    "-device\nvirtio-net-pci,disable-legacy=on,iommu_platform=true,netdev=vmnic-" U ",addr=0x2,romfile=\n"
#define DISK                                                                    \
    "-drive\nfile=/run/v/disk.qcow2,if=none,id=disk0,format=qcow2\n"            \
    "-device\nvirtio-scsi-pci,id=scsi0,disable-legacy=on,iommu_platform=true\n" \
    "-device\nscsi-hd,drive=disk0,bus=scsi0.0\n"
#define GPU                                                                                        \
    "-device\npcie-root-port,id=pci.1,bus=pcie.0\n-device\nvfio-pci,host=0000:41:00.0,bus=pci.1\n" \
    "-fw_cfg\nname=opt/ovmf/X-PciMmio64Mb,string=262144\n"
#define SNP(host_data)                                                                     \
    "-machine\nconfidential-guest-support=sev0-" U ",memory-backend=ram1,igvm-cfg=igvm0\n" \
    "-object\nmemory-backend-memfd,id=ram1,size=2048M,share=true,prealloc=false\n"         \
    "-object\nsev-snp-guest,id=sev0-" U ",cbitpos=51,reduced-phys-bits=1" host_data "\n"   \
    "-object\nigvm-cfg,id=igvm0,file=/root/coconut-qemu.igvm\n"
#define TDX                                                                                    \
    "-object\n{\"qom-type\":\"tdx-guest\",\"id\":\"tdx0-" U                                    \
    "\",\"quote-generation-socket\":{\"type\": \"vsock\", \"cid\":\"2\",\"port\":\"4050\"}}\n" \
    "-machine\nconfidential-guest-support=tdx0-" U ",memory-backend=ram1,hpet=off\n"           \
    "-object\nmemory-backend-memfd,id=ram1,size=2048M,share=true,prealloc=false\n"             \
    "-bios\n/usr/share/ovmf/OVMF.fd\n-nodefaults\n"
#define KERNEL "-kernel\nimg/bzImage\n-append\nquiet console=null\n-initrd\nimg/rootfs.cpio.gz\n"
#define CONSOLE "-nographic\n-monitor\npty\n"
#define SHARES                                                           \
    "-fsdev\nlocal,id=cert_fs,path=/run/v/certs,security_model=mapped\n" \
    "-device\nvirtio-9p-pci,fsdev=cert_fs,mount_tag=certs_share\n"       \
    "-fsdev\nlocal,id=env_fs,path=/run/v/env,security_model=mapped\n"    \
    "-device\nvirtio-9p-pci,fsdev=env_fs,mount_tag=env_share\n"
#define OURS                                                                    \
    "-no-reboot\n-no-user-config\n-S\n-chardev\nsocket,id=console,path=/run/v/" \
    "console,server=on,wait=off\n-serial\nchardev:console\n-qmp\nunix:/run/v/qmp,server=on,wait=off\n"
#define TPM                                                                                          \
    "-chardev\nsocket,id=tpm_socket,path=/run/v/tpm\n-tpmdev\nemulator,id=tpm0,chardev=tpm_socket\n" \
    "-device\ntpm-crb,tpmdev=tpm0\n"

enum { CHANGES = 4 };

static const struct golden {
    const char *name;
    char *env[CHANGES + 1];
    bool kvm, snp, tdx, gpu, tpm;
    const char *cpu;
    const char *extra;
    const char *want;
} goldens[] = {
    { "plain",
      { NULL },
      false,
      false,
      false,
      false,
      false,
      "",
      "",
      HEAD MACHINE PFLASH NET KERNEL CONSOLE SHARES OURS },
    { "kvm",
      { NULL },
      true,
      false,
      false,
      false,
      false,
      "",
      "",
      HEAD "-enable-kvm\n" MACHINE PFLASH NET KERNEL CONSOLE SHARES OURS },
    { "disk_has_no_kernel",
      { "MANAGER_QEMU_ENABLE_DISK=true" },
      false,
      false,
      false,
      false,
      false,
      "",
      "",
      HEAD MACHINE PFLASH NET DISK CONSOLE SHARES OURS },
    { "snp_igvm",
      { NULL },
      true,
      true,
      false,
      false,
      false,
      "",
      "",
      HEAD "-enable-kvm\n" MACHINE NET SNP("") KERNEL CONSOLE SHARES OURS },
    { "snp_host_data",
      { "MANAGER_QEMU_ENABLE_HOST_DATA=true",
        "MANAGER_QEMU_HOST_DATA=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=" },
      true,
      true,
      false,
      false,
      false,
      "",
      "",
      HEAD "-enable-kvm\n" MACHINE NET SNP(",host-data=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
          KERNEL CONSOLE SHARES OURS },
    { "snp_host_data_of_our_peers",
      { "MANAGER_QEMU_ENABLE_HOST_DATA=true" },
      true,
      true,
      false,
      false,
      false,
      "",
      "",
      HEAD "-enable-kvm\n" MACHINE NET SNP(",host-data=tDLZRaBAhyc/SMyeaTKZo/1iuGddXiA77uGgPH3q+Mg=")
          KERNEL CONSOLE SHARES OURS },
    { "host_data_is_kept_when_it_is_not_enabled",
      { "MANAGER_QEMU_HOST_DATA=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=" },
      true,
      true,
      false,
      false,
      false,
      "",
      "",
      HEAD "-enable-kvm\n" MACHINE NET SNP("") KERNEL CONSOLE SHARES OURS },
    { "snp_with_a_disk_and_a_gpu",
      { "MANAGER_QEMU_ENABLE_DISK=true", "MANAGER_QEMU_BOOT=fast" },
      true,
      true,
      false,
      true,
      false,
      "",
      "",
      HEAD "-enable-kvm\n" MACHINE NET DISK GPU SNP("") CONSOLE SHARES "-nodefaults\n" OURS },
    { "tdx_of_other_settings",
      { "MANAGER_QEMU_QUOTE_GENERATION_PORT=4051", "MANAGER_QEMU_MEM_ID=ram7", "MANAGER_QEMU_TDX_ID=t",
        "MANAGER_QEMU_OVMF_FILE=/f,d" },
      true,
      false,
      true,
      false,
      false,
      "",
      "",
      HEAD "-enable-kvm\n" MACHINE NET "-object\n{\"qom-type\":\"tdx-guest\",\"id\":\"t-" U
           "\",\"quote-generation-socket\":{\"type\": \"vsock\", \"cid\":\"2\",\"port\":\"4051\"}}\n"
           "-machine\nconfidential-guest-support=t-" U ",memory-backend=ram7,hpet=off\n"
           "-object\nmemory-backend-memfd,id=ram7,size=2048M,share=true,prealloc=false\n"
           "-bios\n/f,d\n-nodefaults\n" KERNEL CONSOLE SHARES OURS },
    { "snp_of_other_settings",
      { "MANAGER_QEMU_SEV_SNP_CBITPOS=47", "MANAGER_QEMU_SEV_SNP_REDUCED_PHYS_BITS=5",
        "MANAGER_QEMU_IGVM_ID=i", "MANAGER_QEMU_IGVM_FILE=/i,gvm" },
      true,
      true,
      false,
      false,
      false,
      "",
      "",
      HEAD "-enable-kvm\n" MACHINE NET "-machine\nconfidential-guest-support=sev0-" U
           ",memory-backend=ram1,igvm-cfg=i\n"
           "-object\nmemory-backend-memfd,id=ram1,size=2048M,share=true,prealloc=false\n"
           "-object\nsev-snp-guest,id=sev0-" U ",cbitpos=47,reduced-phys-bits=5\n"
           "-object\nigvm-cfg,id=i,file=/i,,gvm\n" KERNEL CONSOLE SHARES OURS },
    { "gpu_of_other_settings",
      { "MANAGER_QEMU_GPU_PCIE_ROOT_PORT=p", "MANAGER_QEMU_GPU_PCIE_BUS=b",
        "MANAGER_QEMU_GPU_FW_CFG_MMIO_MB=1" },
      false,
      false,
      false,
      true,
      false,
      "",
      "",
      HEAD MACHINE PFLASH NET
      "-device\npcie-root-port,id=p,bus=b\n-device\nvfio-pci,host=0000:41:00.0,bus=p\n"
      "-fw_cfg\nname=opt/ovmf/X-PciMmio64Mb,string=1\n" KERNEL CONSOLE SHARES OURS },
    { "tdx",
      { NULL },
      true,
      false,
      true,
      false,
      false,
      "",
      "",
      HEAD "-enable-kvm\n" MACHINE NET TDX KERNEL CONSOLE SHARES OURS },
    { "gpu",
      { "MANAGER_QEMU_GPU_BDF=0000:41:00.0" },
      false,
      false,
      false,
      true,
      false,
      "",
      "",
      HEAD MACHINE PFLASH NET GPU KERNEL CONSOLE SHARES OURS },
    { "fast_with_tpm",
      { "MANAGER_QEMU_BOOT=fast" },
      false,
      false,
      false,
      false,
      true,
      "qemu64,+rdrand",
      "",
      HEAD "-machine\nq35\n-cpu\nqemu64,+rdrand\n-smp\n4,maxcpus=64\n-m\n2048M,slots=5,maxmem=30G\n"
           "-bios\nqboot.rom\n" NET KERNEL CONSOLE SHARES "-nodefaults\n" OURS TPM },
    { "cmdline_words_are_added",
      { NULL },
      false,
      false,
      false,
      false,
      false,
      "",
      "agent.aa_kbc_params=cc_kbc::http://kbs:8080",
      HEAD MACHINE PFLASH NET
      "-kernel\nimg/bzImage\n-append\nquiet console=null agent.aa_kbc_params=cc_kbc::http://kbs:8080\n"
      "-initrd\nimg/rootfs.cpio.gz\n" CONSOLE SHARES OURS },
    { "sudo_comes_first",
      { "MANAGER_QEMU_USE_SUDO=true" },
      false,
      false,
      false,
      false,
      false,
      "",
      "",
      "sudo\n" HEAD MACHINE PFLASH NET KERNEL CONSOLE SHARES OURS },
    { "comma_and_id_in_a_path_are_doubled_MG_1",
      { "MANAGER_QEMU_OVMF_CODE_FILE=/a,id=x,\"b\".fd", "MANAGER_QEMU_DISK_IMG_KERNEL_FILE=/k,1" },
      false,
      false,
      false,
      false,
      false,
      "",
      "",
      HEAD MACHINE
      "-drive\nif=pflash,format=raw,unit=0,file=/a,,id=x,,\"b\".fd,readonly=on\n"
      "-drive\nif=pflash,format=raw,unit=1,file=/run/v/OVMF_VARS-" U ".fd\n" NET
      "-kernel\n/k,1\n-append\nquiet console=null\n-initrd\nimg/rootfs.cpio.gz\n" CONSOLE SHARES OURS },
};

static void check_golden(void **state)
{
    const struct golden *g = *state;
    struct err e = ERR_INIT;
    struct mgr_settings s = { 0 };
    struct config_values values;
    struct mgr_launch l = plain;
    struct mgr_argv argv;
    char *args[] = { "cocos-manager", NULL };
    CLEANUP(buf_done) struct buf joined = BUF_INIT(1 << 16);

    assert_int_equal(mgr_settings_read(1, args, g->env, &s, &values, &e), CONFIG_RUN);
    l.kvm = g->kvm;
    l.snp = g->snp;
    l.tdx = g->tdx;
    l.gpu_bdf = g->gpu ? "0000:41:00.0" : "";
    l.cpu = g->cpu;
    l.extra_cmdline = g->extra;
    l.tpm_socket = g->tpm ? "/run/v/tpm" : "";
    if (!mgr_qemu_argv(&s, &l, &argv, &e))
        fail_msg("%s", err_text(&e));
    assert_null(argv.at[argv.count]);
    for (size_t i = 0; i < argv.count; i++)
        assert_true(buf_format(&joined, &e, "%s\n", argv.at[i]));
    assert_string_equal(buf_str(&joined, &e), g->want);
    mgr_argv_done(&argv);
    config_values_done(&values);
}

static const struct refusal {
    const char *name;
    char *env[CHANGES + 1];
    const char *want; /* start of the error */
} refusals[] = {
    { "newline_in_a_path_MG_1",
      { "MANAGER_QEMU_OVMF_CODE_FILE=/a\nb" },
      "MANAGER_QEMU_OVMF_CODE_FILE: byte 0x0a has no place in a QEMU option" },
    { "newline_in_the_command_line_MG_2",
      { "MANAGER_QEMU_KERNEL_CMDLINE=quiet\ninit=/x" },
      "MANAGER_QEMU_KERNEL_CMDLINE: byte 0x0a has no place in a QEMU option" },
    { "quote_in_an_id_MG_1",
      { "MANAGER_QEMU_TDX_ID=a\"b" },
      "MANAGER_QEMU_TDX_ID: 'a\"b': letters, digits," },
    { "comma_in_an_id_MG_1",
      { "MANAGER_QEMU_NETDEV_ID=a,b" },
      "MANAGER_QEMU_NETDEV_ID: 'a,b': letters, digits," },
};

static void check_refusal(void **state)
{
    const struct refusal *r = *state;
    struct err e = ERR_INIT;
    struct mgr_settings s = { 0 };
    struct config_values values;
    struct mgr_argv argv = { NULL, 0 };
    char *args[] = { "cocos-manager", NULL };

    assert_int_equal(mgr_settings_read(1, args, r->env, &s, &values, &e), CONFIG_RUN);
    assert_false(mgr_qemu_argv(&s, &plain, &argv, &e));
    assert_int_equal(e.kind, ERR_KIND_INVALID);
    assert_true(slice_starts(slice_of_str(err_text(&e)), r->want));
    assert_null(argv.at);
    config_values_done(&values);
}

/*
 * Every text that reaches QEMU, from settings and from the VM: one that would
 * begin an option of its own begins none, and one with a line's end is refused.
 */
static const char *const texts[] = {
    "MANAGER_QEMU_MACHINE",
    "MANAGER_QEMU_OVMF_CODE_IF",
    "MANAGER_QEMU_OVMF_CODE_FORMAT",
    "MANAGER_QEMU_OVMF_CODE_FILE",
    "MANAGER_QEMU_OVMF_VARS_IF",
    "MANAGER_QEMU_OVMF_VARS_FORMAT",
    "MANAGER_QEMU_NETDEV_ID",
    "MANAGER_QEMU_VIRTIO_NET_PCI_DISABLE_LEGACY",
    "MANAGER_QEMU_VIRTIO_NET_PCI_IOMMU_PLATFORM",
    "MANAGER_QEMU_VIRTIO_NET_PCI_ADDR",
    "MANAGER_QEMU_VIRTIO_NET_PCI_ROMFILE",
    "MANAGER_QEMU_DISK_IMG_KERNEL_FILE",
    "MANAGER_QEMU_DISK_IMG_ROOTFS_FILE",
    "MANAGER_QEMU_KERNEL_CMDLINE",
    "MANAGER_QEMU_DISK_ID",
    "MANAGER_QEMU_DISK_SCSI_ID",
    "MANAGER_QEMU_SEV_SNP_ID",
    "MANAGER_QEMU_TDX_ID",
    "MANAGER_QEMU_OVMF_FILE",
    "MANAGER_QEMU_IGVM_ID",
    "MANAGER_QEMU_IGVM_FILE",
    "MANAGER_QEMU_GPU_PCIE_ROOT_PORT",
    "MANAGER_QEMU_GPU_PCIE_BUS",
    "MANAGER_QEMU_MEM_ID",
    "MANAGER_QEMU_MONITOR",
    "MANAGER_QEMU_CPU",
};

/* Whole arguments, which QEMU does not take for options, and the one that is made to hold several. */
static bool is_whole(const char *flag)
{
    static const char *const flags[] = { "-kernel", "-initrd", "-append", "-bios", "-monitor", "-cpu" };

    for (size_t i = 0; i < ARRAY_LEN(flags); i++)
        if (strcmp(flag, flags[i]) == 0)
            return true;
    return false;
}

/* Options of all arguments: single commas, as QEMU reads them. */
static size_t count_options(const struct mgr_argv *a)
{
    size_t n = 0;

    for (size_t i = 1; i < a->count; i++)
        for (const char *c = is_whole(a->at[i - 1]) ? "" : a->at[i]; *c; c++) {
            if (c[0] == ',' && c[1] == ',')
                c++;
            else
                n += *c == ',';
        }
    return n;
}

/* The command line of a VM in this mode with one setting changed; false when it is refused. */
static bool make(char *setting, unsigned mode, size_t *ret_options, size_t *ret_count, struct err *e)
{
    char *env[] = { "MANAGER_QEMU_ENABLE_DISK=false", setting, NULL };
    char *with_disk[] = { "MANAGER_QEMU_ENABLE_DISK=true", setting, NULL };
    char *args[] = { "cocos-manager", NULL };
    struct mgr_settings s = { 0 };
    struct config_values values;
    struct mgr_launch l = plain;
    struct mgr_argv argv;
    bool ok;

    assert_int_equal(mgr_settings_read(1, args, mode == 3 ? with_disk : env, &s, &values, e), CONFIG_RUN);
    l.gpu_bdf = "0000:41:00.0";
    l.snp = mode == 1;
    l.tdx = mode == 2;
    ok = mgr_qemu_argv(&s, &l, &argv, e);
    if (ok) {
        *ret_options = count_options(&argv);
        *ret_count = argv.count;
        mgr_argv_done(&argv);
    }
    config_values_done(&values);
    return ok;
}

static void MG_1_MG_2_no_value_begins_an_option(void **state)
{
    (void)state;
    for (unsigned mode = 0; mode < 4; mode++) {
        size_t want_options;
        size_t want_count;
        struct err e = ERR_INIT;

        assert_true(make("A=b", mode, &want_options, &want_count, &e));
        for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
            char setting[128];
            size_t options = want_options;
            size_t count = want_count;

            err_clear(&e);
            snprintf(setting, sizeof(setting), "%s=x,id=y,file=/z \"q\" -S", texts[i]);
            if (!make(setting, mode, &options, &count, &e))
                assert_int_equal(e.kind, ERR_KIND_INVALID);
            if (options != want_options || count != want_count)
                fail_msg("%s (mode %u): %zu options in %zu arguments, %zu in %zu are wanted", texts[i], mode,
                         options, count, want_options, want_count);
        }
    }
}

/* Refused in one of the modes, the one it belongs to. */
static void MG_1_MG_2_no_value_has_a_line_end(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        char setting[128];
        unsigned refused = 0;

        snprintf(setting, sizeof(setting), "%s=x\ny", texts[i]);
        for (unsigned mode = 0; mode < 4; mode++) {
            struct err e = ERR_INIT;
            size_t ignored;

            if (make(setting, mode, &ignored, &ignored, &e))
                continue;
            refused++;
            assert_true(slice_starts(slice_of_str(err_text(&e)), texts[i]));
        }
        if (!refused)
            fail_msg("%s: a line's end is taken", texts[i]);
    }
}

/* What is found at the start, before any VM. */
static void faults_are_found_before_there_is_a_VM(void **state)
{
    static const char *const late[] = { "MANAGER_QEMU_IGVM_ID=a,b", "MANAGER_QEMU_OVMF_FILE=/a\nb",
                                        "MANAGER_QEMU_MONITOR=p\nty", "MANAGER_QEMU_DISK_ID=a b",
                                        "MANAGER_QEMU_CERTS_MOUNT=/a\nb" };
    char *args[] = { "cocos-manager", NULL };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(late); i++) {
        char *env[] = { (char *)late[i], NULL };
        struct mgr_settings s = { 0 };
        struct config_values values;
        struct err e = ERR_INIT;

        assert_int_equal(mgr_settings_read(1, args, env, &s, &values, &e), CONFIG_RUN);
        assert_false(mgr_qemu_args_check(&s, &e));
        assert_int_equal(e.kind, ERR_KIND_INVALID);
        config_values_done(&values);
    }
}

/* The kernel would cut it off, and what was measured would not be what was asked for. */
static void command_line_that_linux_would_cut_off_is_refused(void **state)
{
    char setting[64 + MGR_CMDLINE_MAX];
    char *env[] = { setting, NULL };
    char *args[] = { "cocos-manager", NULL };

    (void)state;
    for (int longer = 0; longer < 2; longer++) {
        int name_len = snprintf(setting, sizeof(setting), "MANAGER_QEMU_KERNEL_CMDLINE=");
        struct mgr_settings s = { 0 };
        struct config_values values;
        struct mgr_argv argv;
        struct mgr_launch l = plain;
        struct err e = ERR_INIT;

        memset(setting + name_len, 'x', (size_t)MGR_CMDLINE_MAX + (size_t)longer);
        setting[name_len + MGR_CMDLINE_MAX + longer] = '\0';
        assert_int_equal(mgr_settings_read(1, args, env, &s, &values, &e), CONFIG_RUN);
        assert_int_equal(mgr_qemu_args_check(&s, &e), !longer);
        err_clear(&e);
        l.extra_cmdline = "y";
        assert_false(mgr_qemu_argv(&s, &l, &argv, &e));
        assert_non_null(strstr(err_text(&e), " and aa_kbs_params: "));
        config_values_done(&values);
    }
}

static void host_data_of_our_peers_is_the_hash_of_their_word(void **state)
{
    uint8_t digest[HASH_SHA3_256_LEN];
    CLEANUP(buf_done) struct buf text = BUF_INIT(64);
    struct err e = ERR_INIT;

    (void)state;
    assert_true(hash_bytes(HASH_SHA3_256,
                           slice_of_str("TO"
                                        "DO"),
                           digest, &e));
    assert_true(base64_encode(slice_of(digest, sizeof(digest)), &text, &e));
    assert_string_equal(buf_str(&text, &e), MGR_HOST_DATA_DEFAULT);
}

static const struct word {
    const char *name;
    struct slice value;
    bool want;
} words[] = {
    { "word_plain", SLICE_LIT("cc_kbc::http://kbs:8080"), true },
    { "word_empty", SLICE_LIT(""), true },
    { "word_space_MG_2", SLICE_LIT("a b"), false },
    { "word_newline_MG_2", SLICE_LIT("a\nb"), false },
    { "word_equals_MG_2", SLICE_LIT("a=b"), false },
    { "word_quote_MG_2", SLICE_LIT("a\"b"), false },
    { "word_tab_MG_2", SLICE_LIT("a\tb"), false },
    { "word_nul_MG_2", SLICE_LIT("a\0b"), false },
    { "word_utf8_MG_2", SLICE_LIT("\xc3\xa9"), false },
};

static void check_word(void **state)
{
    const struct word *w = *state;
    struct err e = ERR_INIT;

    assert_int_equal(mgr_cmdline_value_check("aa_kbs_params", w->value, &e), w->want);
}

int main(void)
{
    struct CMUnitTest tests[ARRAY_LEN(goldens) + ARRAY_LEN(refusals) + ARRAY_LEN(words) + 5];
    size_t n = 0;

    for (size_t i = 0; i < ARRAY_LEN(goldens); i++)
        tests[n++] = (struct CMUnitTest){ goldens[i].name, check_golden, NULL, NULL, (void *)&goldens[i] };
    for (size_t i = 0; i < ARRAY_LEN(refusals); i++)
        tests[n++] = (struct CMUnitTest){ refusals[i].name, check_refusal, NULL, NULL, (void *)&refusals[i] };
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        tests[n++] = (struct CMUnitTest){ words[i].name, check_word, NULL, NULL, (void *)&words[i] };
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(MG_1_MG_2_no_value_begins_an_option);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(MG_1_MG_2_no_value_has_a_line_end);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(faults_are_found_before_there_is_a_VM);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(command_line_that_linux_would_cut_off_is_refused);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(host_data_of_our_peers_is_the_hash_of_their_word);
    return cmocka_run_group_tests_name("manager/qemu_args", tests, NULL, NULL);
}
