/*
 * Whether KVM on this host is worth using.
 *
 * That /dev/kvm opens proves nothing: where virtualization is nested badly, a
 * guest runs, thousands of times too slowly. So a guest that does real work
 * is tried: a firmware image that enters long mode, counts ten million
 * iterations and leaves through the debug exit device. It takes a fraction
 * of a second where KVM works. The answer is kept for this boot of the host
 * and this QEMU.
 */
#ifndef HOST_KVM_PROBE_H
#define HOST_KVM_PROBE_H

#include <uv.h>

#include "base/err.h"

#define HOST_KVM_PROBE_MS 3000
#define HOST_TCG_PROBE_MS 60000 /* shows that it works, not that it is quick: the machine may be busy */

struct host_kvm_verdict {
    bool works;
    bool from_cache;
    uint64_t took_ms;
    char reason[256]; /* why not, for people; "" when it works */
};

typedef void (*host_kvm_done_fn)(const struct host_kvm_verdict *v, void *ctx);

/*
 * Asks once; done comes later on the loop. root is put before /dev/kvm, "" but
 * in tests. state_dir_fd is where the answer is kept (borrowed until done).
 * Fails only when nothing could be started for a reason of ours; a QEMU that
 * does not run is a verdict.
 */
bool host_kvm_probe(uv_loop_t *loop, const char *qemu, const char *root, int state_dir_fd,
                    host_kvm_done_fn done, void *ctx, struct err *e) MUST_CHECK;

/* The same guest under software emulation, which shows that the probe itself is sound. For tests and doctor. */
bool host_tcg_probe(uv_loop_t *loop, const char *qemu, int state_dir_fd, host_kvm_done_fn done, void *ctx,
                    struct err *e) MUST_CHECK;

#endif
