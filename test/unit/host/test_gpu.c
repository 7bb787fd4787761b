#include "unit/base/scratch.h"

#include "host/gpu.h"

/* PCI devices, as shell makes them: address, vendor, class, driver ("" none). */
#define MAKE                                                                                \
    "dev() { d=sys/bus/pci/devices/$1; mkdir -p $d; echo $2 >$d/vendor; echo $3 >$d/class;" \
    " if [ $4 ]; then ln -s ../../../../bus/pci/drivers/$4 $d/driver; fi;"                  \
    " ln -s ../../../kernel/iommu_groups/17 $d/iommu_group; };"
#define NIC "dev 0000:01:00.0 0x8086 0x020000 vfio-pci;"
#define VGA "dev 0000:41:00.0 0x10de 0x030000 vfio-pci;"
#define H100 "dev 0000:c1:00.0 0x10de 0x030200 vfio-pci;"
#define TAKEN "dev 0000:21:00.0 0x10de 0x030200 nvidia;"
#define FREE "dev 0000:22:00.0 0x10de 0x030200 '';"
#define AUDIO "dev 0000:40:00.1 0x10de 0x040300 vfio-pci;"

static struct gpu_case {
    const char *name;
    const char *host;
    const char *want;  /* address asked for */
    const char *found; /* NULL: *text is why */
    enum err_kind kind;
    const char *text;
} cases[] = {
    { "first_by_address_that_is_bound_to_vfio", MAKE H100 TAKEN VGA AUDIO NIC, "", "0000:41:00.0",
      ERR_KIND_NONE, "" },
    { "three_d_controller_is_one", MAKE H100, "", "0000:c1:00.0", ERR_KIND_NONE, "" },
    { "none_of_nvidia", MAKE NIC, "", NULL, ERR_KIND_MISSING,
      "no NVIDIA GPU of this host is bound to vfio-pci" },
    { "audio_function_is_no_gpu", MAKE AUDIO, "", NULL, ERR_KIND_MISSING,
      "no NVIDIA GPU of this host is bound to vfio-pci" },
    { "those_of_another_driver_are_named", MAKE TAKEN FREE, "", NULL, ERR_KIND_MISSING,
      "no NVIDIA GPU of this host is bound to vfio-pci: 0000:21:00.0 is bound to nvidia, 0000:22:00.0 is "
      "bound to "
      "no driver" },
    { "no_pci_at_all", ":", "", NULL, ERR_KIND_MISSING, "no NVIDIA GPU of this host is bound to vfio-pci" },
    { "named", MAKE VGA H100, "0000:c1:00.0", "0000:c1:00.0", ERR_KIND_NONE, "" },
    { "named_without_domain_in_capitals", MAKE VGA H100, "C1:00.0", "0000:c1:00.0", ERR_KIND_NONE, "" },
    { "named_may_be_of_any_maker", MAKE NIC, "01:00.0", "0000:01:00.0", ERR_KIND_NONE, "" },
    { "named_and_not_there", MAKE VGA, "0000:42:00.0", NULL, ERR_KIND_MISSING,
      "'0000:42:00.0': no such PCI device on this host" },
    { "named_and_taken", MAKE TAKEN, "0000:21:00.0", NULL, ERR_KIND_MISSING,
      "'0000:21:00.0' is bound to nvidia, not to vfio-pci: no VM can have it" },
    { "named_and_free", MAKE FREE, "0000:22:00.0", NULL, ERR_KIND_MISSING,
      "'0000:22:00.0' is bound to no driver, not to vfio-pci: no VM can have it" },
    { "path_instead_of_an_address_MG_1", MAKE VGA, "../../../..", NULL, ERR_KIND_INVALID,
      "'../../../..': a PCI address is wanted, as 0000:41:00.0" },
    { "option_behind_an_address_MG_1", MAKE VGA, "41:00.0,id=x", NULL, ERR_KIND_INVALID,
      "'41:00.0,id=x': a PCI address is wanted, as 0000:41:00.0" },
    { "function_8", MAKE VGA, "41:00.8", NULL, ERR_KIND_INVALID,
      "'41:00.8': a PCI address is wanted, as 0000:41:00.0" },
};

static void check(void **state)
{
    const struct gpu_case *c = *state;
    struct err e = ERR_INIT;
    struct host_gpu got = { .bdf = "" };
    bool found;

    scratch_enter();
    assert_int_equal(scratch_sh(c->host), 0);
    found = host_gpu_find(".", c->want, &got, &e);
    scratch_leave();
    assert_string_equal(err_text(&e), c->text);
    assert_int_equal(e.kind, c->kind);
    assert_int_equal(found, c->found != NULL);
    assert_string_equal(got.bdf, c->found ? c->found : "");
    if (found) {
        assert_string_equal(got.driver, "vfio-pci");
        assert_string_equal(got.group, "17");
    }
}

int main(void)
{
    struct CMUnitTest tests[ARRAY_LEN(cases)];

    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        tests[i] = (struct CMUnitTest){ cases[i].name, check, NULL, NULL, &cases[i] };
    return cmocka_run_group_tests_name("host/gpu", tests, NULL, NULL);
}
