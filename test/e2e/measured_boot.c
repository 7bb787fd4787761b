/*
 * A computation in VMs that boot through OVMF: their PCRs are those of the
 * event log, the same in each boot, and where our files decide them, as the
 * manager predicts.
 */

#include "e2e/lib/cast.h"
#include "e2e/lib/measured.h"

#define PCR_KERNEL 4
#define PCR_UNUSED 8
#define PCR_CMDLINE_INITRD 9

/* Firmware and kernel take a multiple of the fast boot's time. */
static void wait_for_agent(struct cast *c, const char *mark)
{
    e2e_line(&c->cvms, 120000, "\"event_type\":\"ReceivingAlgorithm\"", NULL, 0);
    e2e_mark(mark);
}

/* The event log explains the PCRs, and the manager knew those two. */
static void check_one(const struct e2e_vm *vm, const struct measured_boot *boot, const char *name)
{
    static const struct measured_pcrs zero = {
        .hex[PCR_UNUSED] = "0000000000000000000000000000000000000000000000000000000000000000"
    };
    struct measured_pcrs replayed = { { "" } };
    struct measured_pcrs predicted = { { "" } };

    measured_replay(boot, name, &replayed);
    for (int i = 0; i <= PCR_CMDLINE_INITRD; i++)
        measured_equal(i, &boot->pcrs, i == PCR_UNUSED ? &zero : &replayed,
                       "read by the guest, and replayed");
    measured_predicted(vm, &predicted);
    measured_equal(PCR_KERNEL, &boot->pcrs, &predicted, "read by the guest, and predicted");
    measured_equal(PCR_CMDLINE_INITRD, &boot->pcrs, &predicted, "read by the guest, and predicted");
}

static void check_same(const struct measured_boot *a, const struct measured_boot *b)
{
    for (int i = 0; i < MEASURED_PCRS; i++)
        measured_equal(i, &a->pcrs, &b->pcrs, "of two boots with the same settings");
    if (!slice_equal(buf_slice(&a->log), buf_slice(&b->log)))
        e2e_fail("two boots with the same settings have different event logs");
}

/* Another word on the command line, and nothing else: PCR 9, and what sums it up. */
static void check_other(const struct measured_boot *a, const struct measured_boot *other)
{
    for (int i = 0; i < PCR_CMDLINE_INITRD; i++)
        measured_equal(i, &a->pcrs, &other->pcrs, "of two boots whose command lines differ");
    if (strcmp(a->pcrs.hex[PCR_CMDLINE_INITRD], other->pcrs.hex[PCR_CMDLINE_INITRD]) == 0)
        e2e_fail("another command line leaves PCR 9 as it was");
}

int main(void)
{
    struct cast c = CAST_INIT;
    struct measured_boot first = MEASURED_BOOT_INIT;
    struct measured_boot second = MEASURED_BOOT_INIT;
    struct measured_boot other = MEASURED_BOOT_INIT;
    struct e2e_vm twin = { "", "" };

    e2e_begin("measured-boot");
    cast_algorithm(&c, "examples/linreg/linreg", "bin");
    cast_cvms(&c);
    cast_vm(&c, "measured");
    e2e_create(&twin, c.cvms_port, "");
    wait_for_agent(&c, "agent connected");
    wait_for_agent(&c, "second agent connected");
    measured_read(&c.vm, &first);
    measured_read(&twin, &second);
    check_one(&c.vm, &first, "first");
    check_same(&first, &second);
    e2e_mark("PCRs of two boots are as predicted");
    e2e_remove(&twin);
    e2e_create_with(&twin, c.cvms_port, "", "cc_kbc::http://127.0.0.1:8080");
    cast_upload_algorithm(&c, "owner");
    cast_upload_data(&c, "owner");
    e2e_line(&c.cvms, 60000, "\"event_type\":\"ConsumingResults\"", NULL, 0);
    cast_result(&c, "owner", "\"slope\": 49\\.68");
    e2e_remove(&c.vm);
    measured_read(&twin, &other);
    check_one(&twin, &other, "other");
    check_other(&first, &other);
    e2e_remove(&twin);
    buf_done(&first.log);
    buf_done(&second.log);
    buf_done(&other.log);
    return e2e_end();
}
