/* What the files of the harness share. */
#ifndef E2E_INT_H
#define E2E_INT_H

#include <protobuf-c/protobuf-c.h>

#include "base/buf.h"
#include "e2e/lib/e2e.h"
#include "rpc/client.h"

struct e2e_story {
    char name[64];
    char build[E2E_PATH];       /* where the host's binaries are     */
    char guest_build[E2E_PATH]; /* where the guest's are             */
    char out[E2E_PATH];         /* the bundle                        */
    char dir[E2E_PATH];         /* private and short: sockets in it  */
    unsigned scale;             /* percent                           */
    uint64_t began_ms;
    struct e2e_process *processes[16];
    size_t process_count;
    struct e2e_vm vms[8]; /* all that were made */
    size_t vm_count;
    char manager[64]; /* its gRPC address   */
    bool failed;
    bool ending;
};
extern struct e2e_story e2e;

/* False when it was never started, or has ended: then how is told. */
bool e2e_runs(struct e2e_process *p);

/* One call to the manager, waited for; the caller frees the reply. */
struct e2e_call {
    struct rpc_status status;
    struct buf reply;
    bool done;
};
void e2e_call_manager(const char *method, const ProtobufCMessage *request, unsigned within_ms,
                      struct e2e_call *c);

/* Removes the VMs that are left, also after a failure. */
void e2e_manager_stop(void);

#endif
