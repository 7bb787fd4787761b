/*
 * A download: announced by its size in the initial metadata, written as it
 * comes into a staged file. The file is whole when this succeeds.
 */
#ifndef CLI_DOWNLOAD_H
#define CLI_DOWNLOAD_H

#include "base/stage.h"
#include "cli/session.h"

/*
 * Calls /agent.AgentService/Result. *into has been begun by the caller, who
 * commits it. True with the status in *ret_status; when that is OK, *into
 * holds exactly the announced bytes. False with *e when it failed on this
 * side or the agent broke its word: no or a wrong size, too many bytes, too
 * few, none. After a signal look at s->signum first.
 */
bool cli_download_result(struct cli_session *s, const struct rpc_md *md, struct stage_file *into,
                         struct rpc_status *ret_status, struct err *e) MUST_CHECK;

#endif
