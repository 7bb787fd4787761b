/*
 * log.LogCollector: takes logs and events of the guest's services into an outbox.
 *
 * An event is answered OK when it is on the disk, a log when it has been
 * written. An event that comes again because an answer got lost is kept once.
 * When the outbox is full, an event is answered UNAVAILABLE, to be tried
 * again; logs make room for events and for newer logs.
 */
#ifndef LOG_FORWARDER_LF_SERVICE_H
#define LOG_FORWARDER_LF_SERVICE_H

#include "journal/outbox.h"
#include "rpc/server.h"

/* The context of its methods is the outbox. */
extern const struct rpc_service lf_collector;

#endif
