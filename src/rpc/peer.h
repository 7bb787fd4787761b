/*
 * The settings that lead to one server: where it listens, how long to wait for
 * it, and what to show and to trust. The same five rows for every peer.
 */
#ifndef RPC_PEER_H
#define RPC_PEER_H

#include "base/config.h"
#include "tls/tls.h"

struct rpc_peer {
    const char *url;
    uint64_t timeout_ms;         /* its meaning is the program's                     */
    const char *cert, *key, *ca; /* PEM or path; NULL or "": none                    */
};

/*
 * Rows of a table: prefix is that of the variables, as "AGENT_GRPC", who for
 * the help, as "the agent"; at is the offset of a struct rpc_peer.
 */
/* clang-format off: it takes rows for statements. */
#define RPC_PEER_ROWS(prefix, who, timeout_help, at)                                    \
    { .env = prefix "_URL",                                                             \
      .type = CONFIG_STR,                                                               \
      .def = "localhost:7001",                                                          \
      .arg = "address",                                                                 \
      .help = "where " who " listens: host:port or unix:/path",                         \
      .offset = (at) + offsetof(struct rpc_peer, url) },                                \
        { .env = prefix "_TIMEOUT",                                                     \
          .type = CONFIG_DURATION_MS,                                                   \
          .def = "60s",                                                                 \
          .arg = "duration",                                                            \
          .help = timeout_help,                                                         \
          .offset = (at) + offsetof(struct rpc_peer, timeout_ms) },                     \
        { .env = prefix "_CLIENT_CERT",                                                 \
          .type = CONFIG_STR,                                                           \
          .arg = "file",                                                                \
          .help = "PEM certificate to show " who " (mTLS)",                             \
          .offset = (at) + offsetof(struct rpc_peer, cert) },                           \
        { .env = prefix "_CLIENT_KEY",                                                  \
          .type = CONFIG_STR,                                                           \
          .arg = "file",                                                                \
          .help = "PEM key of that certificate",                                        \
          .offset = (at) + offsetof(struct rpc_peer, key) },                            \
    {                                                                                   \
        .env = prefix "_SERVER_CA_CERTS", .type = CONFIG_STR, .arg = "file",            \
        .help = "PEM roots that vouch for " who "; this or a certificate turns TLS on", \
        .offset = (at) + offsetof(struct rpc_peer, ca)                                  \
    }
/* clang-format on */

/* INVALID when a certificate has no key or a key no certificate; names both variables. */
bool rpc_peer_check(const struct rpc_peer *p, const char *prefix, struct err *e) MUST_CHECK;

/*
 * *ret_tls is NULL when the settings ask for no TLS. INVALID as above, or
 * what tls_client_new says. The caller frees it with tls_client_free.
 */
bool rpc_peer_tls(const struct rpc_peer *p, const char *prefix, struct tls_client **ret_tls,
                  struct err *e) MUST_CHECK;

#endif
