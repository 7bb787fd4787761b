/*
 * Who calls: the metadata by which an agent knows a provider or a consumer.
 */
#ifndef CLI_AUTH_H
#define CLI_AUTH_H

#include "base/hash.h"
#include "base/key.h"
#include "cli/session.h"

/* NULL when it can't be used; then the reason has been said ("Error reading private key file: ..."). */
struct key *cli_auth_read_key(struct cli_out *out, const char *path) MUST_CHECK;

/*
 * Adds user-id, the bound signature when the session knows the computation,
 * and the plain one unless the agent is known to take the other. hash may be NULL for a consumer; filename is that of
 * a dataset as uploaded, else empty. The bound signature holds for an hour.
 */
bool cli_auth_add(const struct cli_session *s, const struct key *key, const char *role,
                  const uint8_t hash[HASH_SHA3_256_LEN], struct slice filename, struct rpc_md *md,
                  struct err *e) MUST_CHECK;

#endif
