#include "journal/cvms_settings.h"

static const struct config_opt opts[] = {
    { .env = "AGENT_CVM_ID",
      .type = CONFIG_STR,
      .def = "",
      .arg = "id",
      .help = "name of this CVM, sent to the CVMS",
      .offset = offsetof(struct cvms_settings, id) },
    RPC_PEER_ROWS(CVMS_SETTINGS_PEER, "the CVMS", "how long connecting to the CVMS may take",
                  offsetof(struct cvms_settings, peer)),
    { .env = "AGENT_CVM_RECONNECT_DELAY",
      .type = CONFIG_DURATION_MS,
      .def = "5s",
      .arg = "duration",
      .help = "about how long to wait before connecting again",
      .offset = offsetof(struct cvms_settings, reconnect_delay_ms) },
};

const struct config_rows cvms_settings_rows = { opts, ARRAY_LEN(opts) };
