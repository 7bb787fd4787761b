/*
 * How the programs of a guest reach the management server (CVMS), to which
 * journals are delivered: the AGENT_CVM_* variables.
 */
#ifndef JOURNAL_CVMS_SETTINGS_H
#define JOURNAL_CVMS_SETTINGS_H

#include "rpc/peer.h"

#define CVMS_SETTINGS_PEER "AGENT_CVM_GRPC" /* prefix of the rows of peer */

struct cvms_settings {
    const char *id; /* of this CVM, for the server; "": none is sent */
    struct rpc_peer peer;
    uint64_t reconnect_delay_ms;
};

extern const struct config_rows cvms_settings_rows;

#endif
