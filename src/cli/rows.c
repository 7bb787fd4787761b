/* The options that several commands have. */
#include "cli/cli.h"

#define COMMON(field) offsetof(struct cli_common, field)
#define AGENT(field) offsetof(struct cli_agent_opts, field)
#define MANAGER(field) offsetof(struct cli_manager_opts, field)

#define LOG_LEVEL_ROW(at)                                                              \
    {                                                                                  \
        .env = "AGENT_LOG_LEVEL", .type = CONFIG_LEVEL, .def = "info", .arg = "level", \
        .help = "debug, info, warn or error; the log goes to stderr", .offset = (at)   \
    }

static const struct config_opt common[] = {
    { .flag = "verbose",
      .short_flag = 'v',
      .type = CONFIG_BOOL,
      .help = "show errors as they came, not in their short form",
      .offset = COMMON(verbose) },
    { .flag = "json",
      .type = CONFIG_BOOL,
      .help = "print one JSON object on stdout at the end, also when it fails",
      .offset = COMMON(json) },
};

static const struct config_opt agent[] = {
    { .flag = "bound",
      .type = CONFIG_STR,
      .def = "auto",
      .arg = "when",
      .help = "bind the signature to computation and content: required, auto, off",
      .offset = AGENT(bound) },
    { .flag = "computation-id",
      .type = CONFIG_STR,
      .arg = "id",
      .help = "computation this is for; an agent with another one is refused",
      .offset = AGENT(computation_id) },
    RPC_PEER_ROWS("AGENT_GRPC", "the agent", "give up when nothing has moved for so long", AGENT(peer)),
    { .env = "AGENT_GRPC_ATTESTED_TLS",
      .type = CONFIG_BOOL,
      .def = "false",
      .help = "demand attested TLS (not built yet: true is refused)",
      .offset = AGENT(attested_tls) },
    LOG_LEVEL_ROW(AGENT(log_level)),
};

static const struct config_opt manager[] = {
    RPC_PEER_ROWS("MANAGER_GRPC", "the manager", "give up when the manager has not answered for so long",
                  MANAGER(peer)),
    LOG_LEVEL_ROW(MANAGER(log_level)),
};

const struct config_rows cli_common_rows = { common, ARRAY_LEN(common) };
const struct config_rows cli_agent_rows = { agent, ARRAY_LEN(agent) };
const struct config_rows cli_manager_rows = { manager, ARRAY_LEN(manager) };
