/*
 * Makes the calls and prints what came.
 */
#ifndef ECHO_DRIVE_H
#define ECHO_DRIVE_H

#include "base/config.h"

struct settings {
    const char *target, *method, *data, *text, *proxy, *ca, *cert, *key, *server_name;
    bool use_tls;
    uint64_t size, count, interval_ms, sleep_ms, code, messages, timeout_ms, cancel_ms, cancel_messages;
    uint64_t repeat, parallel, pause_ms, message_max, connect_ms, keepalive_ms, keepalive_timeout_ms;
    struct config_list md;
};

/* Exit code. */
int drive(const struct settings *set);

#endif
