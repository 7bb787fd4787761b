/*
 * The manifest into the guest's TPM, before anybody is served.
 *
 * Two registers get the same digests: 15, which only a new start of the
 * machine clears and which nothing else in our guests extends, and 16, where
 * the Go agents put them. 16 can be cleared by whoever is in the guest: no
 * verdict may rest on it (TP-7). docs/PROTOCOL-EXTENSIONS.md has the bytes.
 */
#ifndef AGENT_MEASURE_H
#define AGENT_MEASURE_H

#include <uv.h>

#include "agent/config.h"
#include "base/buf.h"
#include "evidence/measure.h"

#define MEASURE_PCR 15         /* to rely on        */
#define MEASURE_PCR_COMPAT 16  /* for the Go peers  */
#define MEASURE_KERNEL_MS 5000 /* beyond the time that is given: a driver that does not come back */

/*
 * Where the TPM is by AGENT_TPM: "" when there is none to be used. "auto"
 * looks for the devices of the kernel now.
 */
const char *measure_tpm(const struct agent_config *cfg);

struct measure;

/*
 * Begins; text (the manifest's JSON J) is emptied. done comes once, on a later
 * turn: m is NULL when why tells what went wrong. *slot is set until the TPM
 * has come back, which may be after done; while it is set nothing new begins
 * (TIMEOUT).
 */
typedef void (*measure_done_fn)(const struct ev_measured *m, const struct err *why, void *ctx);
bool measure_start(uv_loop_t *loop, const char *where, uint64_t timeout_ms, struct buf *take_text,
                   measure_done_fn done, void *ctx, struct measure **slot, struct err *e) MUST_CHECK;

/* The owner of the slot goes, and done was called. Accepts NULL. */
void measure_leave(struct measure *m);

/* "manifest measured: ..." for people and the CVMS; the whole of it fits a piece of log. */
#define MEASURE_SAID_MAX 480
void measure_say(const struct ev_measured *m, char ret[MEASURE_SAID_MAX]);

#endif
