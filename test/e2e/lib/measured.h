/*
 * What a measured boot left behind, seen from the host: PCRs and event log
 * from the guest's console, PCRs as the manager predicts them, and PCRs as
 * tpm2_eventlog computes them from the log.
 */
#ifndef E2E_MEASURED_H
#define E2E_MEASURED_H

#include "base/buf.h"
#include "e2e/lib/e2e.h"

#define MEASURED_PCRS 11 /* 0 to 10 */

/* Lower-case hex of SHA-256; "" for a PCR that is not told. */
struct measured_pcrs {
    char hex[MEASURED_PCRS][65];
};

struct measured_boot {
    struct measured_pcrs pcrs;
    struct buf log; /* the event log, binary */
};
#define MEASURED_BOOT_INIT            \
    {                                 \
        { { "" } }, BUF_INIT(1 << 20) \
    }

/* Waits until the console of the VM has all of it. */
void measured_read(const struct e2e_vm *vm, struct measured_boot *ret);

/* PCRs that the events of the log make, by tpm2_eventlog. name is of files in the bundle. */
void measured_replay(const struct measured_boot *boot, const char *name, struct measured_pcrs *ret);

/* PCRs of the manager's AttestationPolicy for the VM. */
void measured_predicted(const struct e2e_vm *vm, struct measured_pcrs *ret);

/* Fails the story unless PCR `number` of both is the same digest. what names the comparison. */
void measured_equal(int number, const struct measured_pcrs *a, const struct measured_pcrs *b,
                    const char *what);

#endif
