/*
 * The agent's settings, all from the environment (wire sheet, section 5.1).
 */
#ifndef AGENT_CONFIG_H
#define AGENT_CONFIG_H

#include "base/dirs.h"
#include "journal/cvms_settings.h"

struct agent_config {
    struct dirs dirs;
    struct cvms_settings cvms;
    int log_level;
    uint64_t vmpl;
    const char *grpc_host;
    uint64_t grpc_port; /* when grpc_port_given: instead of the manifest's */
    bool grpc_port_given;
    bool grpc_reflection;
    bool require_bound_signatures;
    uint64_t upload_idle_ms; /* 0: for ever */
    const char *attestation_socket;
    const char *log_socket;
    const char *runner_socket;
    const char *ima_file;
    const char *pcr10_file;
    const char *tpm; /* "none", "auto" or where it is */
    uint64_t tpm_timeout_ms;
    bool require_tpm;
    const char *https_proxy;
    const char *no_proxy;
    const char *ignored[16]; /* settings of parts that this program does not have yet */
    const char *config_file;
};

/*
 * CONFIG_BAD: *e lists every fault. Paths that are derived from others (sockets
 * below the run directory) are filled in and owned by *values.
 */
enum config_outcome agent_config_read(int argc, char *const *argv, char *const *env, struct agent_config *ret,
                                      struct config_values *values, struct err *e) MUST_CHECK;

/*
 * Where the AgentService listens for a manifest with that port: "0.0.0.0:7002",
 * "[::1]:7002", "unix:/path". ret holds AGENT_LISTEN_MAX bytes.
 */
#define AGENT_LISTEN_MAX 300
bool agent_config_listen(const struct agent_config *cfg, const char *manifest_port, char *ret,
                         struct err *e) MUST_CHECK;

#endif
