/*
 * rpc-echo-client: calls one method of test.Echo on any server and says what
 * came as one JSON object on stdout. Exit 0 when every call ended OK, 1 when
 * not, 2 for bad usage.
 */
#include <unistd.h>

#include "base/config.h"
#include "base/log.h"
#include "echo/client/drive.h"

#define AT(field) offsetof(struct settings, field)

static const struct config_opt opts[] = {
    { "target", 't', NULL, CONFIG_STR, NULL, 0, 0, true, "address", "the server", AT(target) },
    { "method", 'm', NULL, CONFIG_STR, "Unary", 0, 0, true, "name", "a method of test.Echo, or /a.full/Path",
      AT(method) },
    { "data", 'd', NULL, CONFIG_STR, NULL, 0, 0, false, "text", "payload (default: a pattern of -size bytes)",
      AT(data) },
    { "size", 's', NULL, CONFIG_U64, "0", 0, 1u << 30, false, "bytes", "of each payload or reply", AT(size) },
    { "count", 'n', NULL, CONFIG_U64, "1", 0, UINT32_MAX, false, "n", "messages of a stream", AT(count) },
    { "interval", 0, NULL, CONFIG_DURATION_MS, "0s", 0, 0, false, "time", "ServerStream: between messages",
      AT(interval_ms) },
    { "sleep", 0, NULL, CONFIG_DURATION_MS, "0s", 0, 0, false, "time", "Sleep: how long", AT(sleep_ms) },
    { "code", 0, NULL, CONFIG_U64, "0", 0, UINT32_MAX, false, "n", "Fail: status code", AT(code) },
    { "text", 0, NULL, CONFIG_STR, "", 0, 0, false, "text", "Fail: status text", AT(text) },
    { "messages", 0, NULL, CONFIG_U64, "0", 0, 1000, false, "n", "Fail: payloads before it", AT(messages) },
    { "md", 0, NULL, CONFIG_LIST, NULL, 0, 0, false, "key=value", "metadata; the value of a -bin key is hex",
      AT(md) },
    { "timeout", 0, NULL, CONFIG_DURATION_MS, "0s", 0, 0, false, "time", "deadline of each call",
      AT(timeout_ms) },
    { "cancel-after", 0, NULL, CONFIG_DURATION_MS, "0s", 0, 0, false, "time",
      "cancel when so much time has passed", AT(cancel_ms) },
    { "cancel-after-messages", 0, NULL, CONFIG_U64, "0", 0, UINT32_MAX, false, "n",
      "cancel at the nth message", AT(cancel_messages) },
    { "repeat", 'r', NULL, CONFIG_U64, "1", 1, 10000000, false, "n", "calls in all", AT(repeat) },
    { "parallel", 'p', NULL, CONFIG_U64, "1", 1, 10000, false, "n", "of them at a time", AT(parallel) },
    { "pause", 0, NULL, CONFIG_DURATION_MS, "0s", 0, 0, false, "time", "between calls", AT(pause_ms) },
    { "message-max", 0, NULL, CONFIG_U64, "0", 0, UINT32_MAX, false, "bytes", "largest message received",
      AT(message_max) },
    { "connect-timeout", 0, NULL, CONFIG_DURATION_MS, "0s", 0, 0, false, "time", "to connect",
      AT(connect_ms) },
    { "keepalive", 0, NULL, CONFIG_DURATION_MS, "0s", 0, 0, false, "time", "silence before a PING",
      AT(keepalive_ms) },
    { "keepalive-timeout", 0, NULL, CONFIG_DURATION_MS, "0s", 0, 0, false, "time", "for its answer",
      AT(keepalive_timeout_ms) },
    { "proxy", 0, NULL, CONFIG_STR, NULL, 0, 0, false, "url", "HTTP proxy", AT(proxy) },
    { "tls", 0, NULL, CONFIG_BOOL, NULL, 0, 0, false, NULL, "TLS with the system's roots", AT(use_tls) },
    { "ca", 0, NULL, CONFIG_STR, NULL, 0, 0, false, "pem", "TLS, roots to trust", AT(ca) },
    { "cert", 0, NULL, CONFIG_STR, NULL, 0, 0, false, "pem", "client certificate", AT(cert) },
    { "key", 0, NULL, CONFIG_STR, NULL, 0, 0, false, "pem", "its private key", AT(key) },
    { "server-name", 0, NULL, CONFIG_STR, NULL, 0, 0, false, "name", "to verify", AT(server_name) },
};

static const struct config_spec spec = {
    .program = "rpc-echo-client",
    .usage = "-target address [flags]",
    .summary = "Calls one method of test.Echo and prints what came as JSON.",
    .opts = opts,
    .opt_count = ARRAY_LEN(opts),
};

int main(int argc, char **argv)
{
    struct settings set = { 0 };
    struct config_values values = { 0 };
    struct err e = ERR_INIT;
    int rc = 0;

    log_open("rpc-echo-client", LOG_INFO);
    switch (config_read(&spec, argc, argv, environ, &set, &values, &e)) {
    case CONFIG_RUN: rc = drive(&set); break;
    case CONFIG_SHOWN: break;
    case CONFIG_BAD:
        fprintf(stderr, "rpc-echo-client: %s\n", err_text(&e));
        rc = 2;
        break;
    }
    config_values_done(&values);
    return rc;
}
