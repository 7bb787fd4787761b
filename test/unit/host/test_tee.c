#include "unit/base/scratch.h"

#include "host/tee.h"

/* A host's files, as shell makes them beneath the current directory, and what is said of them. */
#define CPU(flags)                                                                    \
    "mkdir -p proc && printf 'model name\\t: AMD EPYC 9654\\nflags\\t\\t: fpu " flags \
    " sme\\n' >proc/cpuinfo;"
#define MODULE(name, parameter, value) \
    "mkdir -p sys/module/" name "/parameters && echo " value " >sys/module/" name "/parameters/" parameter ";"
#define SEV "mkdir -p dev && echo >dev/sev;"

#define NO_FLAG                                                                           \
    "/proc/cpuinfo: 'AMD EPYC 9654' has no flag sev_snp: an EPYC 7003 or later with SNP " \
    "enabled in the firmware, and Linux 6.11 or later is needed"
#define NO_MODULE \
    "/sys/module/kvm_amd/parameters/sev_snp: is not there: kvm_amd with sev=1 sev_snp=1 is needed"
#define NO_DEVICE "/dev/sev is not there: the secure processor's driver (ccp) is needed"

static const struct host_qemu_facts can_all = {
    .version = "10.2.0", .sev_snp_guest = true, .tdx_guest = true, .igvm_cfg = true, .sev = true
};
static const struct host_qemu_facts old = { .version = "7.2.22", .sev_why = "SEV is not enabled in KVM" };
static const struct host_qemu_facts no_igvm = { .version = "9.2.0", .sev_snp_guest = true, .sev = true };

static struct tee_case {
    const char *name;
    const char *host;
    enum host_tee tee;
    const struct host_qemu_facts *qemu;
    bool want_host, want_qemu;
    const char *want; /* why */
} cases[] = {
    { "snp_host_and_qemu_have_it", CPU("sev_snp") MODULE("kvm_amd", "sev_snp", "Y") SEV, HOST_TEE_SNP,
      &can_all, true, true, "" },
    { "snp_host_has_it_and_qemu_was_not_asked", CPU("sev_snp") MODULE("kvm_amd", "sev_snp", "Y") SEV,
      HOST_TEE_SNP, NULL, true, false, "" },
    { "snp_parameter_as_a_number", CPU("sev_snp") MODULE("kvm_amd", "sev_snp", "1") SEV, HOST_TEE_SNP,
      &can_all, true, true, "" },
    { "snp_nothing_is_there", CPU("sev sev_es sev_snpx"), HOST_TEE_SNP, NULL, false, false,
      NO_FLAG "; " NO_MODULE "; " NO_DEVICE },
    { "snp_module_says_no", CPU("sev_snp") MODULE("kvm_amd", "sev_snp", "N") SEV, HOST_TEE_SNP, &can_all,
      false, false,
      "/sys/module/kvm_amd/parameters/sev_snp is 'N', not Y: kvm_amd with sev=1 sev_snp=1 is needed" },
    { "snp_without_the_device", CPU("sev_snp") MODULE("kvm_amd", "sev_snp", "Y"), HOST_TEE_SNP, &can_all,
      false, false, NO_DEVICE },
    { "snp_old_qemu", CPU("sev_snp") MODULE("kvm_amd", "sev_snp", "Y") SEV, HOST_TEE_SNP, &old, true, false,
      "QEMU 7.2.22 has no object sev-snp-guest: 9.1 or later is needed (MANAGER_QEMU_BIN_PATH); "
      "QEMU 7.2.22 has no object igvm-cfg: one built with IGVM is needed (MANAGER_QEMU_BIN_PATH); "
      "query-sev-capabilities: QEMU says 'SEV is not enabled in KVM': KVM and /dev/sev that it may open are "
      "needed" },
    { "snp_qemu_without_igvm", CPU("sev_snp") MODULE("kvm_amd", "sev_snp", "Y") SEV, HOST_TEE_SNP, &no_igvm,
      true, false,
      "QEMU 9.2.0 has no object igvm-cfg: one built with IGVM is needed (MANAGER_QEMU_BIN_PATH)" },
    { "capable_qemu_does_not_make_a_host", CPU("sev_snp") SEV, HOST_TEE_SNP, &can_all, false, false,
      NO_MODULE },
    { "tdx_host_and_qemu_have_it", CPU("tdx_host_platform") MODULE("kvm_intel", "tdx", "Y"), HOST_TEE_TDX,
      &can_all, true, true, "" },
    { "tdx_old_qemu", CPU("tdx_host_platform") MODULE("kvm_intel", "tdx", "Y"), HOST_TEE_TDX, &old, true,
      false, "QEMU 7.2.22 has no object tdx-guest: 10.1 or later is needed (MANAGER_QEMU_BIN_PATH)" },
    { "tdx_guest_flag_is_no_host", CPU("tdx_guest") MODULE("kvm_intel", "tdx", "Y"), HOST_TEE_TDX, &can_all,
      false, false,
      "/proc/cpuinfo: 'AMD EPYC 9654' has no flag tdx_host_platform: a 5th generation Xeon or later with TDX "
      "enabled in the firmware, and Linux 6.16 or later is needed" },
    { "no_cpuinfo_at_all", MODULE("kvm_intel", "tdx", "Y"), HOST_TEE_TDX, &can_all, false, false,
      "open './proc/cpuinfo': No such file or directory" },
};

static void check(void **state)
{
    const struct tee_case *c = *state;
    struct host_tee_state got;

    scratch_enter();
    assert_int_equal(scratch_sh(c->host), 0);
    host_tee_look(c->tee, ".", c->qemu, &got);
    scratch_leave();
    assert_string_equal(got.why, c->want);
    assert_int_equal(got.host, c->want_host);
    assert_int_equal(got.qemu, c->want_qemu);
}

int main(void)
{
    struct CMUnitTest tests[ARRAY_LEN(cases)];

    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        tests[i] = (struct CMUnitTest){ cases[i].name, check, NULL, NULL, &cases[i] };
    return cmocka_run_group_tests_name("host/tee", tests, NULL, NULL);
}
