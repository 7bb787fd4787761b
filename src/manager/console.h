/*
 * The serial console of a VM: read as it comes, the last part kept.
 *
 * A guest may write as much as it likes: what is older than the ring is
 * forgotten, and nothing on the host grows. Case MG-9.
 */
#ifndef MANAGER_CONSOLE_H
#define MANAGER_CONSOLE_H

#include <uv.h>

#include "base/buf.h"

#define MGR_CONSOLE_RING ((size_t)64 * 1024)

/* The ring alone, pure. */
struct mgr_ring {
    uint8_t bytes[MGR_CONSOLE_RING];
    uint64_t written; /* ever */
};
void mgr_ring_add(struct mgr_ring *r, struct slice bytes);

/* Appends what is kept, oldest first: at most max bytes, from the start of a line when something was cut. */
bool mgr_ring_tail(const struct mgr_ring *r, size_t max, struct buf *out, struct err *e) MUST_CHECK;

/*
 * What tells most about the end of a guest, at most max bytes of this tail: the
 * last lines, or what begins with its kernel's panic, for the registers that a
 * panic ends with explain nothing.
 */
struct slice mgr_console_words(struct slice tail, size_t max);

struct mgr_console;

/* Connects to QEMU's socket at path now; connected comes once, with why NULL on success. */
bool mgr_console_open(uv_loop_t *loop, const char *path, void (*connected)(const struct err *why, void *ctx),
                      void *ctx, struct mgr_console **ret, struct err *e) MUST_CHECK;
const struct mgr_ring *mgr_console_ring(const struct mgr_console *c);

/* Accepts NULL. No callback comes any more. */
void mgr_console_free(struct mgr_console *c);

#endif
