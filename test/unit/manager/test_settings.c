#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "manager/qemu_args.h"

static const struct fault_case {
    const char *name;
    char *env[5];
    const char *want; /* NULL: accepted */
} cases[] = {
    { "defaults_are_valid", { NULL }, NULL },
    { "not_a_number",
      { "MANAGER_MAX_VMS=ten" },
      "MANAGER_MAX_VMS: 'ten': a whole number is wanted, 0 or less for no limit" },
    { "port_that_is_not_a_number",
      { "MANAGER_GRPC_PORT=http" },
      "environment MANAGER_GRPC_PORT: 'http': a whole number from 0 to 65535 is wanted" },
    { "host_data_of_31_bytes",
      { "MANAGER_QEMU_HOST_DATA=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==" },
      "MANAGER_QEMU_HOST_DATA: 'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==': 32 bytes in base64 are "
      "wanted" },
    { "host_data_that_is_not_base64",
      { "MANAGER_QEMU_HOST_DATA=a,id=b" },
      "MANAGER_QEMU_HOST_DATA: 'a,id=b': 32 bytes in base64 are wanted" },
    { "host_data_of_32_bytes", { "MANAGER_QEMU_HOST_DATA=" MGR_HOST_DATA_DEFAULT }, NULL },
    { "two_tees_at_once",
      { "MANAGER_QEMU_ENABLE_SEV_SNP=true", "MANAGER_QEMU_ENABLE_TDX=true" },
      "MANAGER_QEMU_ENABLE_SEV_SNP: true, and so is MANAGER_QEMU_ENABLE_TDX: a VM has one of them" },
    { "tee_that_is_neither_true_nor_false",
      { "MANAGER_QEMU_ENABLE_TDX=yes" },
      "MANAGER_QEMU_ENABLE_TDX: 'yes': one of '', 'true', 'false' is wanted" },
    { "gpu_that_is_no_address",
      { "MANAGER_QEMU_GPU_BDF=gpu0" },
      "MANAGER_QEMU_GPU_BDF: 'gpu0': a PCI address is wanted, as 0000:41:00.0" },
    { "http_with_client_certificates",
      { "MANAGER_HTTP_CLIENT_CA_CERTS=/ca" },
      "MANAGER_HTTP_*_CA_CERTS: no client is asked for a certificate there; unset it" },
    { "http_timeout_without_unit",
      { "MANAGER_HTTP_SERVER_IDLE_TIMEOUT=60" },
      "environment MANAGER_HTTP_SERVER_IDLE_TIMEOUT: '60': a duration such as 100ms, 1.5s or 1h30m is "
      "wanted" },
    { "range_backwards",
      { "MANAGER_QEMU_HOST_FWD_RANGE=6200-6100" },
      "MANAGER_QEMU_HOST_FWD_RANGE: '6200-6100': the range runs backwards" },
    { "range_of_one_number",
      { "MANAGER_QEMU_HOST_FWD_RANGE=6200" },
      "MANAGER_QEMU_HOST_FWD_RANGE: '6200': two ports are wanted, as 6100-6200" },
    { "range_of_one_port", { "MANAGER_QEMU_HOST_FWD_RANGE=6200-6200" }, NULL },
    { "memory_without_digits",
      { "MANAGER_QEMU_MEMORY_SIZE=G" },
      "MANAGER_QEMU_MEMORY_SIZE: 'G': a size is wanted, as 2048M or 30G" },
    { "memory_above_the_most",
      { "MANAGER_QEMU_MEMORY_SIZE=31G" },
      "MANAGER_QEMU_MEMORY_SIZE: '31G' is above MANAGER_QEMU_MAX_MEMORY '30G'" },
    { "cpus_above_the_most",
      { "MANAGER_QEMU_SMP_COUNT=65" },
      "MANAGER_QEMU_SMP_COUNT: 65 is above MANAGER_QEMU_SMP_MAXCPUS 64" },
    { "certificate_without_key",
      { "MANAGER_GRPC_SERVER_CERT=/c" },
      "MANAGER_GRPC_SERVER_CERT, _KEY: certificate and key are wanted together" },
    { "ca_without_certificate",
      { "MANAGER_GRPC_CLIENT_CA_CERTS=/c" },
      "MANAGER_GRPC_*_CA_CERTS: set without MANAGER_GRPC_SERVER_CERT: clients would not be checked" },
    { "several_faults_at_once",
      { "MANAGER_QEMU_HOST_FWD_RANGE=2-1", "MANAGER_QEMU_BOOT=slow" },
      "MANAGER_QEMU_HOST_FWD_RANGE: '2-1': the range runs backwards; "
      "MANAGER_QEMU_BOOT: 'slow': one of 'measured', 'fast' is wanted" },
    { "faults_of_form_and_of_meaning_at_once",
      { "MANAGER_QEMU_SMP_COUNT=many", "MANAGER_QEMU_HOST_FWD_RANGE=2-1", "MANAGER_MAX_VMS=ten" },
      "environment MANAGER_QEMU_SMP_COUNT: 'many': a whole number from 1 to 4096 is wanted; "
      "MANAGER_MAX_VMS: 'ten': a whole number is wanted, 0 or less for no limit; "
      "MANAGER_QEMU_HOST_FWD_RANGE: '2-1': the range runs backwards" },
};

static void check_case(void **state)
{
    const struct fault_case *c = *state;
    struct err e = ERR_INIT;
    struct mgr_settings s = { 0 };
    struct config_values values;
    char *args[] = { "cocos-manager", NULL };
    enum config_outcome got = mgr_settings_read(1, args, c->env, &s, &values, &e);

    assert_string_equal(err_text(&e), c->want ? c->want : "");
    assert_int_equal(got, c->want ? CONFIG_BAD : CONFIG_RUN);
    if (got == CONFIG_RUN)
        config_values_done(&values);
}

static void memory_sizes(void **state)
{
    static const struct {
        const char *text;
        uint64_t want; /* 0: refused */
    } rows[] = { { "512", 512ull << 20 },
                 { "1K", 1024 },
                 { "2048M", 2048ull << 20 },
                 { "30G", 30ull << 30 },
                 { "1T", 1ull << 40 },
                 { "", 0 },
                 { "M", 0 },
                 { "-1M", 0 },
                 { "1P", 0 },
                 { "0M", 0 },
                 { "99999999999999T", 0 },
                 { "1.5G", 0 } };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err e = ERR_INIT;
        uint64_t got = 0;

        assert_int_equal(mgr_memory_bytes(rows[i].text, &got, &e), rows[i].want != 0);
        assert_int_equal(got, rows[i].want);
    }
}

static void zero_or_less_is_no_limit_of_VMs(void **state)
{
    static const struct {
        char *env;
        uint64_t want;
    } rows[] = {
        { "MANAGER_MAX_VMS=0", 0 }, { "MANAGER_MAX_VMS=-1", 0 }, { "MANAGER_MAX_VMS=3", 3 }, { "A=b", 10 }
    };
    char *args[] = { "cocos-manager", NULL };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char *env[] = { rows[i].env, NULL };
        struct mgr_settings s = { 0 };
        struct config_values values;
        struct err e = ERR_INIT;

        assert_int_equal(mgr_settings_read(1, args, env, &s, &values, &e), CONFIG_RUN);
        assert_int_equal(s.max_vms, rows[i].want);
        config_values_done(&values);
    }
}

/* The names our peers' documents give these settings. */
static void aliases_count_where_the_proper_name_is_not_set(void **state)
{
    char *alone[] = { "MANAGER_QEMU_SEV_SNP_CBITPOS=47", "GPU_BDF=0000:41:00.0", NULL };
    char *both[] = { "MANAGER_QEMU_SEV_SNP_CBITPOS=47", "MANAGER_QEMU_SEV_SNP_CBIT_POS=50",
                     "GPU_BDF=0000:41:00.0", "MANAGER_QEMU_GPU_BDF=0000:42:00.0", NULL };
    char *bad[] = { "MANAGER_QEMU_SEV_SNP_CBITPOS=99", NULL };
    char *args[] = { "cocos-manager", NULL };
    struct mgr_settings s = { 0 };
    struct config_values values;
    struct err e = ERR_INIT;

    (void)state;
    assert_int_equal(mgr_settings_read(1, args, alone, &s, &values, &e), CONFIG_RUN);
    assert_int_equal(s.qemu.sev_snp_cbit_pos, 47);
    assert_string_equal(s.qemu.gpu_bdf, "0000:41:00.0");
    config_values_done(&values);
    assert_int_equal(mgr_settings_read(1, args, both, &s, &values, &e), CONFIG_RUN);
    assert_int_equal(s.qemu.sev_snp_cbit_pos, 50);
    assert_string_equal(s.qemu.gpu_bdf, "0000:42:00.0");
    config_values_done(&values);
    assert_int_equal(mgr_settings_read(1, args, bad, &s, &values, &e), CONFIG_BAD);
}

int main(void)
{
    struct CMUnitTest tests[ARRAY_LEN(cases) + 3];

    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        tests[i] = (struct CMUnitTest){ cases[i].name, check_case, NULL, NULL, (void *)&cases[i] };
    tests[ARRAY_LEN(cases)] = (struct CMUnitTest)cmocka_unit_test(memory_sizes);
    tests[ARRAY_LEN(cases) + 1] = (struct CMUnitTest)cmocka_unit_test(
        aliases_count_where_the_proper_name_is_not_set);
    tests[ARRAY_LEN(cases) + 2] = (struct CMUnitTest)cmocka_unit_test(zero_or_less_is_no_limit_of_VMs);
    return cmocka_run_group_tests_name("manager/settings", tests, NULL, NULL);
}
