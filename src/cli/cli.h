/*
 * The commands of cocos-cli and what they share.
 *
 * A command is a table of options and a function. main picks it by name,
 * reads its options, calls it, and prints the JSON record at the end.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <stddef.h>

#include "base/config.h"
#include "cli/out.h"

#define CLI_PROGRAM "cocos-cli"

enum { CLI_DONE = 0, CLI_FAILED = 1, CLI_USAGE = 2 }; /* exit statuses; 128 + n: ended by signal n */

/* First member of every command's options. */
struct cli_common {
    bool verbose;
    bool json;
};

/* How to reach an agent or a manager. */
struct cli_peer_opts {
    const char *url;
    uint64_t timeout_ms;
    const char *cert;
    const char *key;
    const char *ca;
    int log_level; /* of this program */
};

/* How to reach the agent, and how to sign for it. */
struct cli_agent_opts {
    struct cli_peer_opts peer;
    bool attested_tls;
    const char *computation_id; /* NULL: whatever the agent says */
    const char *bound;          /* "auto", "required", "off"     */
};

struct cli_command {
    const char *name;
    const struct config_spec *spec;
    size_t opts_size; /* of the struct the options go to */

    /* Returns the exit status. What failed has been said with cli_out_fail. */
    int (*run)(struct cli_out *out, const void *opts, const struct config_values *values);
};

extern const struct cli_command cli_algo_command;
extern const struct cli_command cli_checksum_command;
extern const struct cli_command cli_completion_command;
extern const struct cli_command cli_create_vm_command;
extern const struct cli_command cli_data_command;
extern const struct cli_command cli_doctor_command;
extern const struct cli_command cli_keys_command;
extern const struct cli_command cli_remove_vm_command;
extern const struct cli_command cli_result_command;
extern const struct cli_command cli_vm_command;

/* All of them, in the order of the help; ends with NULL. */
extern const struct cli_command *const cli_commands[];

/* NULL when there is no such command. */
const struct cli_command *cli_command_find(const char *name);

/*
 * The whole program: argv as main got it, env an environ-style array. Returns
 * the exit status.
 */
int cli_main(int argc, char *const *argv, char *const *env);

/* Rows of a table, which clang-format takes for statements. */
/* clang-format off */
#define CLI_COMMON_OPTS(holder)                                                           \
    { .flag = "verbose",                                                                  \
      .short_flag = 'v',                                                                  \
      .type = CONFIG_BOOL,                                                                \
      .help = "show errors as they came, not in their short form",                        \
      .offset = offsetof(holder, common.verbose) },                                       \
    { .flag = "json",                                                                     \
      .type = CONFIG_BOOL,                                                                \
      .help = "print one JSON object on stdout at the end, also when it fails",           \
      .offset = offsetof(holder, common.json) }

#define CLI_AGENT_OPTS(holder)                                                            \
    { .flag = "bound",                                                                    \
      .type = CONFIG_STR,                                                                 \
      .def = "auto",                                                                      \
      .arg = "when",                                                                      \
      .help = "bind the signature to computation and content: required, auto, off",       \
      .offset = offsetof(holder, agent.bound) },                                          \
    { .flag = "computation-id",                                                           \
      .type = CONFIG_STR,                                                                 \
      .arg = "id",                                                                        \
      .help = "computation this is for; an agent with another one is refused",            \
      .offset = offsetof(holder, agent.computation_id) },                                 \
    { .env = "AGENT_GRPC_URL",                                                            \
      .type = CONFIG_STR,                                                                 \
      .def = "localhost:7001",                                                            \
      .arg = "address",                                                                   \
      .help = "where the agent listens: host:port or unix:/path",                         \
      .offset = offsetof(holder, agent.peer.url) },                                       \
    { .env = "AGENT_GRPC_TIMEOUT",                                                        \
      .type = CONFIG_DURATION_MS,                                                         \
      .def = "60s",                                                                       \
      .arg = "duration",                                                                  \
      .help = "give up when nothing has moved for so long",                               \
      .offset = offsetof(holder, agent.peer.timeout_ms) },                                \
    { .env = "AGENT_GRPC_CLIENT_CERT",                                                    \
      .type = CONFIG_STR,                                                                 \
      .arg = "file",                                                                      \
      .help = "PEM certificate to show the agent (mTLS)",                                 \
      .offset = offsetof(holder, agent.peer.cert) },                                      \
    { .env = "AGENT_GRPC_CLIENT_KEY",                                                     \
      .type = CONFIG_STR,                                                                 \
      .arg = "file",                                                                      \
      .help = "PEM key of that certificate",                                              \
      .offset = offsetof(holder, agent.peer.key) },                                       \
    { .env = "AGENT_GRPC_SERVER_CA_CERTS",                                                \
      .type = CONFIG_STR,                                                                 \
      .arg = "file",                                                                      \
      .help = "PEM roots that vouch for the agent; this or a certificate turns TLS on",   \
      .offset = offsetof(holder, agent.peer.ca) },                                        \
    { .env = "AGENT_GRPC_ATTESTED_TLS",                                                   \
      .type = CONFIG_BOOL,                                                                \
      .def = "false",                                                                     \
      .help = "demand attested TLS (not built yet: true is refused)",                     \
      .offset = offsetof(holder, agent.attested_tls) },                                   \
    { .env = "AGENT_LOG_LEVEL",                                                           \
      .type = CONFIG_LEVEL,                                                               \
      .def = "info",                                                                      \
      .arg = "level",                                                                     \
      .help = "debug, info, warn or error; the log goes to stderr",                       \
      .offset = offsetof(holder, agent.peer.log_level) }

#define CLI_MANAGER_OPTS(holder)                                                          \
    { .env = "MANAGER_GRPC_URL",                                                          \
      .type = CONFIG_STR,                                                                 \
      .def = "localhost:7001",                                                            \
      .arg = "address",                                                                   \
      .help = "where the manager listens: host:port or unix:/path",                       \
      .offset = offsetof(holder, manager.url) },                                          \
    { .env = "MANAGER_GRPC_TIMEOUT",                                                      \
      .type = CONFIG_DURATION_MS,                                                         \
      .def = "60s",                                                                       \
      .arg = "duration",                                                                  \
      .help = "give up when the manager has not answered for so long",                    \
      .offset = offsetof(holder, manager.timeout_ms) },                                   \
    { .env = "MANAGER_GRPC_CLIENT_CERT",                                                  \
      .type = CONFIG_STR,                                                                 \
      .arg = "file",                                                                      \
      .help = "PEM certificate to show the manager (mTLS)",                               \
      .offset = offsetof(holder, manager.cert) },                                         \
    { .env = "MANAGER_GRPC_CLIENT_KEY",                                                   \
      .type = CONFIG_STR,                                                                 \
      .arg = "file",                                                                      \
      .help = "PEM key of that certificate",                                              \
      .offset = offsetof(holder, manager.key) },                                          \
    { .env = "MANAGER_GRPC_SERVER_CA_CERTS",                                              \
      .type = CONFIG_STR,                                                                 \
      .arg = "file",                                                                      \
      .help = "PEM roots that vouch for the manager; this or a certificate turns TLS on", \
      .offset = offsetof(holder, manager.ca) },                                           \
    { .env = "AGENT_LOG_LEVEL",                                                           \
      .type = CONFIG_LEVEL,                                                               \
      .def = "info",                                                                      \
      .arg = "level",                                                                     \
      .help = "debug, info, warn or error; the log goes to stderr",                       \
      .offset = offsetof(holder, manager.log_level) }
/* clang-format on */

#endif
