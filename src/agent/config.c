#include "agent/config.h"

#include "agent/proxy.h"
#include "base/log.h"
#include "base/faults.h"
#include "rpc/dial.h"

#define AT(field) offsetof(struct agent_config, field)
#define PORT_DEFAULT "7002"

/* Read by parts that come later; named here so that a value is checked and shown in --help. */
#define LATER(n, name, text, what)                                                         \
    {                                                                                      \
        .env = (name), .type = CONFIG_STR, .def = (text), .arg = "value",                  \
        .help = "for " what ", which this agent does not do yet", .offset = AT(ignored[n]) \
    }

static const struct config_opt opts[] = {
    { .env = "AGENT_LOG_LEVEL",
      .type = CONFIG_LEVEL,
      .def = "debug",
      .arg = "level",
      .help = "debug, info, warn or error",
      .offset = AT(log_level) },
    { .env = "AGENT_VMPL",
      .type = CONFIG_U64,
      .def = "2",
      .min = 0,
      .max = 3,
      .arg = "n",
      .help = "VM privilege level for attestation, which this agent does not do yet",
      .offset = AT(vmpl) },
    { .env = "AGENT_GRPC_HOST",
      .type = CONFIG_STR,
      .def = "0.0.0.0",
      .arg = "host",
      .help = "where users call; a path or unix:path for a socket",
      .offset = AT(grpc_host) },
    { .env = "AGENT_GRPC_PORT",
      .type = CONFIG_U64,
      .min = 0,
      .max = 65535,
      .arg = "port",
      .help = "instead of the manifest's port; 0: a free one",
      .offset = AT(grpc_port) },
    { .env = "AGENT_GRPC_REFLECTION",
      .type = CONFIG_BOOL,
      .def = "false",
      .arg = "bool",
      .help = "serve gRPC reflection to users",
      .offset = AT(grpc_reflection) },
    { .env = "AGENT_REQUIRE_BOUND_SIGNATURES",
      .type = CONFIG_BOOL,
      .def = "false",
      .arg = "bool",
      .help = "refuse user signatures that can be replayed",
      .offset = AT(require_bound_signatures) },
    { .env = "AGENT_UPLOAD_IDLE_TIMEOUT",
      .type = CONFIG_DURATION_MS,
      .def = "30s",
      .arg = "duration",
      .help = "an upload of which no byte comes for so long is ended; 0: never",
      .offset = AT(upload_idle_ms) },
    { .env = "ATTESTATION_SERVICE_SOCKET",
      .type = CONFIG_STR,
      .arg = "path",
      .help = "the attestation service's socket; $COCOS_RUN_DIR/attestation.sock when unset",
      .offset = AT(attestation_socket) },
    { .env = "LOG_FORWARDER_SOCKET",
      .type = CONFIG_STR,
      .arg = "path",
      .help = "the log forwarder's socket; $COCOS_RUN_DIR/log.sock when unset",
      .offset = AT(log_socket) },
    { .env = "RUNNER_SOCKET",
      .type = CONFIG_STR,
      .arg = "path",
      .help = "the runner's socket; $COCOS_RUN_DIR/runner.sock when unset",
      .offset = AT(runner_socket) },
    { .env = "AGENT_IMA_FILE",
      .type = CONFIG_STR,
      .arg = "file",
      .def = "/sys/kernel/security/integrity/ima/ascii_runtime_measurements",
      .help = "the kernel's measurements",
      .offset = AT(ima_file) },
    { .env = "AGENT_PCR10_FILE",
      .type = CONFIG_STR,
      .arg = "file",
      .def = "/sys/class/tpm/tpm0/pcr-sha1/10",
      .help = "the TPM's register 10 in hex",
      .offset = AT(pcr10_file) },
    { .env = "AGENT_TPM",
      .type = CONFIG_STR,
      .def = "none",
      .arg = "where",
      .help = "measures manifests: none, auto, a device, or swtpm's socket or host:port",
      .offset = AT(tpm) },
    { .env = "AGENT_TPM_TIMEOUT",
      .type = CONFIG_DURATION_MS,
      .def = "30s",
      .arg = "duration",
      .help = "how long measuring may take",
      .offset = AT(tpm_timeout_ms) },
    { .env = "AGENT_REQUIRE_TPM",
      .type = CONFIG_BOOL,
      .def = "false",
      .arg = "bool",
      .help = "refuse computations when their manifest can't be measured",
      .offset = AT(require_tpm) },
    { .env = "HTTPS_PROXY",
      .type = CONFIG_STR,
      .def = "",
      .arg = "url",
      .help = "proxy for the connection to the CVMS",
      .offset = AT(https_proxy) },
    { .env = "NO_PROXY",
      .type = CONFIG_STR,
      .def = "",
      .arg = "list",
      .help = "hosts that are reached without it",
      .offset = AT(no_proxy) },
    LATER(0, "HTTP_PROXY", "", "remote resources"),
    LATER(1, "AGENT_MAA_URL", "https://sharedeus2.eus2.attest.azure.net", "Azure attestation"),
    LATER(2, "AGENT_OS_BUILD", "UVC", "Azure attestation"),
    LATER(3, "AGENT_OS_DISTRO", "UVC", "Azure attestation"),
    LATER(4, "AGENT_OS_TYPE", "UVC", "Azure attestation"),
    LATER(5, "AZURE_TDX_IMDS_URL", "http://169.254.169.254/acc/tdquote", "Azure attestation"),
    LATER(6, "AZURE_HCL_REFRESH_WAIT", "3s", "Azure attestation"),
    LATER(7, "AWS_REGION", "", "S3"),
    LATER(8, "AWS_ACCESS_KEY_ID", "", "S3"),
    LATER(9, "AWS_SECRET_ACCESS_KEY", "", "S3"),
    LATER(10, "AWS_ENDPOINT_URL", "", "S3"),
    { .flag = "config-file",
      .type = CONFIG_STR,
      .arg = "file",
      .help = "accepted because unit files pass it; not read",
      .offset = AT(config_file) },
};

static const struct config_spec spec = {
    .program = "cocos-agent",
    .summary = "Receives a computation from a CVMS, takes algorithm and datasets from their\n"
               "providers, has them run, and hands the result to its consumers.\n"
               "All settings are environment variables.",
    .examples = "  AGENT_CVM_GRPC_URL=10.0.2.2:7001 cocos-agent\n"
                "  COCOS_RUN_DIR=/tmp/run COCOS_STATE_DIR=/tmp/state COCOS_WORK_DIR=/tmp/work \\\n"
                "    AGENT_GRPC_HOST=127.0.0.1 AGENT_GRPC_PORT=0 cocos-agent\n",
    .opts = opts,
    .opt_count = ARRAY_LEN(opts),
    .parts = { { &cvms_settings_rows, AT(cvms) }, { &dirs_rows, AT(dirs) } },
};

/* Makes *path that of a socket in the run directory, where none is given. */
static bool socket_default(const char **path, const struct agent_config *cfg, const char *name,
                           struct config_values *values, struct err *e)
{
    char *made = dirs_socket(&cfg->dirs, *path, name, e);

    if (!made || !config_values_own(values, made, e))
        return false;
    *path = made;
    return true;
}

static void check_addresses(const struct agent_config *cfg, struct faults *f)
{
    struct rpc_address unused;
    struct err e = ERR_INIT;

    if (!rpc_address_parse(cfg->cvms.peer.url, &unused, &e))
        faults_add(f, "environment AGENT_CVM_GRPC_URL: %s", err_text(&e));
    err_clear(&e);
    if (proxy_wanted(cfg->https_proxy, cfg->no_proxy, cfg->cvms.peer.url) &&
        !rpc_proxy_parse(cfg->https_proxy, &unused, &e))
        faults_add(f, "environment HTTPS_PROXY: %s", err_text(&e));
}

static bool check_together(const struct agent_config *cfg, struct err *e)
{
    struct faults f = FAULTS_INIT;
    struct err peer = ERR_INIT;

    check_addresses(cfg, &f);
    if (!rpc_peer_check(&cfg->cvms.peer, CVMS_SETTINGS_PEER, &peer))
        faults_add(&f, "environment %s", err_text(&peer));
    if (cfg->require_tpm && strcmp(cfg->tpm, "none") == 0)
        faults_add(
            &f,
            "environment AGENT_REQUIRE_TPM: '1', and AGENT_TPM is 'none': auto is wanted, or where it is");
    if (cfg->cvms.reconnect_delay_ms == 0)
        faults_add(&f, "environment AGENT_CVM_RECONNECT_DELAY: '0': more than 0 is wanted");
    return faults_none(&f, e);
}

enum config_outcome agent_config_read(int argc, char *const *argv, char *const *env, struct agent_config *ret,
                                      struct config_values *values, struct err *e)
{
    enum config_outcome outcome = config_read(&spec, argc, argv, env, ret, values, e);

    if (outcome != CONFIG_RUN)
        return outcome;
    ret->grpc_port_given = config_given(&spec, values, AT(grpc_port));
    if (!check_together(ret, e) ||
        !socket_default(&ret->attestation_socket, ret, "attestation.sock", values, e) ||
        !socket_default(&ret->log_socket, ret, "log.sock", values, e) ||
        !socket_default(&ret->runner_socket, ret, "runner.sock", values, e)) {
        config_values_done(values);
        return CONFIG_BAD;
    }
    return CONFIG_RUN;
}

bool agent_config_listen(const struct agent_config *cfg, const char *manifest_port, char *ret, struct err *e)
{
    struct slice host = slice_of_str(cfg->grpc_host);
    char port[24];
    int n;

    if (cfg->grpc_port_given)
        snprintf(port, sizeof(port), "%llu", (unsigned long long)cfg->grpc_port);
    else
        snprintf(port, sizeof(port), "%s", *manifest_port ? manifest_port : PORT_DEFAULT);
    if (slice_starts(host, "unix:"))
        n = snprintf(ret, AGENT_LISTEN_MAX, "%s", cfg->grpc_host);
    else if (slice_starts(host, "/") || slice_starts(host, "."))
        n = snprintf(ret, AGENT_LISTEN_MAX, "unix:%s", cfg->grpc_host);
    else if (slice_find(host, ':') < host.len && !slice_starts(host, "["))
        n = snprintf(ret, AGENT_LISTEN_MAX, "[%s]:%s", cfg->grpc_host, port);
    else
        n = snprintf(ret, AGENT_LISTEN_MAX, "%s:%s", cfg->grpc_host, port);
    if (n < 0 || n >= AGENT_LISTEN_MAX)
        return err_fail(e, ERR_KIND_INVALID, "AGENT_GRPC_HOST is too long: %zu bytes", host.len);
    return true;
}
