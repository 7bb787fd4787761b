/*
 * An upload: sources read in the pool, sent as messages of 1 MiB, in constant
 * memory and as fast as the slower of disk and agent.
 */
#ifndef CLI_UPLOAD_H
#define CLI_UPLOAD_H

#include "cli/session.h"
#include "cli/source.h"

#define CLI_UPLOAD_CHUNK ((size_t)1024 * 1024)

enum cli_upload_field { CLI_UPLOAD_REQUIREMENTS, CLI_UPLOAD_ALGORITHM, CLI_UPLOAD_DATASET };

struct cli_upload_part {
    struct cli_source *source;
    enum cli_upload_field field;
};

struct cli_upload {
    const char *method; /* "/agent.AgentService/Data"     */
    const char *what;   /* on the bar: "Uploading data"   */
    const struct rpc_md *md;
    const struct cli_upload_part *parts; /* sent one after another          */
    size_t part_count;
};

/*
 * Runs the whole call. True with its status in *ret_status, which is not OK
 * when the agent refused; an agent that ends the call early stops the upload
 * at once. False with *e when it failed on this side: a file that can't be read
 * or changes, or nothing moving for AGENT_GRPC_TIMEOUT. After a signal the
 * outcome does not matter: look at s->signum first.
 */
bool cli_upload_run(struct cli_session *s, const struct cli_upload *u, struct rpc_status *ret_status,
                    struct err *e) MUST_CHECK;

/*
 * The SHA3-256 that a bound signature names: hex when it is given (64 digits),
 * else computed over the source, with a bar. False when that failed, with *e.
 */
bool cli_upload_hash(struct cli_session *s, struct cli_source *source, const char *hex,
                     uint8_t ret[HASH_SHA3_256_LEN], struct err *e) MUST_CHECK;

/* Appends the message of one chunk. filename is only for a dataset. */
bool cli_upload_message(enum cli_upload_field field, const char *filename, struct slice payload,
                        struct buf *out, struct err *e) MUST_CHECK;

#endif
