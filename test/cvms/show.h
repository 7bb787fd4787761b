/*
 * A message of an agent as one line, for people or for programs. Whatever the
 * agent puts into it, the line is one line of clean text (case RL-6).
 */
#ifndef CVMS_SHOW_H
#define CVMS_SHOW_H

#include "base/buf.h"
#include "proto/cvms.pb-c.h"

enum cvms_form { CVMS_FORM_TEXT, CVMS_FORM_JSONL };

/* Enough for any message that rpc lets through, all of it escaped. */
#define CVMS_LINE_MAX ((size_t)40 * 1024 * 1024)

struct cvms_sender {
    const char *peer;   /* "127.0.0.1:40123"                    */
    const char *job_id; /* of the CVM, "" when it did not say   */
    bool forwarder;     /* the stream of a log forwarder        */
};

/*
 * Appends the line with its newline. INVALID, with nothing appended, for a
 * message without an arm we know.
 *
 * text   "18:40:00.123 cvm-1 event Running/Completed computation 1 by agent"
 * jsonl  {"time":..,"peer":..,"job_id":..,"stream":"agent"|"log-forwarder","kind":..} and
 *        event        computation_id event_type status originator timestamp [details, base64]
 *        log          computation_id level message timestamp
 *        run_res      computation_id error
 *        state        id state
 *        stop_res     computation_id message
 *        attestation  source ("vtpm", "azure") cert_serial_number sha3_256 file (base64)
 *        "timestamp" is null when the agent sent none.
 */
bool cvms_show(enum cvms_form form, int64_t now_ns, const struct cvms_sender *from,
               const Cvms__ClientStreamMessage *m, struct buf *out, struct err *e) MUST_CHECK;

#endif
