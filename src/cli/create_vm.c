/*
 * cocos-cli create-vm and remove-vm: ask a manager for a confidential VM, and
 * give it back. No agent is asked for anything: there is none yet.
 */
#include "base/stage.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/session.h"
#include "proto/manager.pb-c.h"

#define PEM_MAX ((size_t)16 * 1024) /* of each file: the request has to stay below a session's limit */
#define REPLY_MAX ((size_t)64 * 1024)

/* ---------------------------------------------------------------- create-vm */

struct create_opts {
    struct cli_common common;
    struct cli_manager_opts manager;
    const char *server_url;
    const char *server_ca;
    const char *client_key;
    const char *client_crt;
    const char *ca_url;
    const char *agent_log_level;
    uint64_t ttl_ms;
    const char *aws_access_key_id;
    const char *aws_secret_access_key;
    const char *aws_endpoint_url;
    const char *aws_region;
    const char *aa_kbs_params;
};

/* clang-format off */
#define TEXT_FLAG(name, word, text, field) \
    { .flag = (name), .type = CONFIG_STR, .arg = (word), .help = (text), .offset = offsetof(struct create_opts, field) }
/* clang-format on */

static const struct config_opt create_opts[] = {
    { .flag = "server-url",
      .type = CONFIG_STR,
      .required = true,
      .arg = "host:port",
      .help = "the CVMS server that the agent in the VM shall connect to, as seen from there",
      .offset = offsetof(struct create_opts, server_url) },
    TEXT_FLAG("server-ca", "file", "PEM roots that vouch for that server", server_ca),
    TEXT_FLAG("client-key", "file", "PEM key the agent shows itself to it with", client_key),
    TEXT_FLAG("client-crt", "file", "PEM certificate of that key", client_crt),
    TEXT_FLAG("ca-url", "url", "where the agent gets its own certificates from", ca_url),
    TEXT_FLAG("log-level", "level", "of the agent: debug, info, warn or error", agent_log_level),
    { .flag = "ttl",
      .type = CONFIG_DURATION_MS,
      .def = "0",
      .arg = "duration",
      .help = "the VM ends by itself after so long, as 1h30m; 0: never",
      .offset = offsetof(struct create_opts, ttl_ms) },
    TEXT_FLAG("aws-access-key-id", "text", "for resources in S3", aws_access_key_id),
    TEXT_FLAG("aws-secret-access-key", "text", "for resources in S3", aws_secret_access_key),
    TEXT_FLAG("aws-endpoint-url", "url", "of another S3", aws_endpoint_url),
    TEXT_FLAG("aws-region", "name", "of S3", aws_region),
    TEXT_FLAG("aa-kbs-params", "text", "key broker, as cc_kbc::http://127.0.0.1:8080", aa_kbs_params),
};

static const struct config_spec create_spec = {
    .program = CLI_PROGRAM " create-vm",
    .usage = "[flags]",
    .summary = "Ask a manager for a confidential VM with an agent in it",
    .examples = "  export MANAGER_GRPC_URL=localhost:7001\n"
                "  cocos-cli create-vm --server-url 10.0.2.2:7001 --ttl 1h\n"
                "  cocos-cli create-vm --server-url cvms.example:7001 --server-ca ca.pem \\\n"
                "      --client-key client.key --client-crt client.pem\n"
                "  cocos-cli create-vm --json --server-url 10.0.2.2:7001 | jq -r .cvm_id\n",
    .opts = create_opts,
    .opt_count = ARRAY_LEN(create_opts),
    .parts = { { &cli_manager_rows, offsetof(struct create_opts, manager) },
               { &cli_common_rows, offsetof(struct create_opts, common) } },
};

/* What can be seen to be wrong before anybody is asked. */
static bool check_texts(const struct create_opts *o, struct err *e)
{
    static const char *const levels[] = { "debug", "info", "warn", "error" };
    const struct config_opt *last = &create_opts[ARRAY_LEN(create_opts) - 1];
    bool known = !o->agent_log_level;

    for (const struct config_opt *opt = create_opts; opt <= last; opt++) {
        const char *text;

        if (opt->type != CONFIG_STR || !opt->flag)
            continue;
        memcpy(&text, (const char *)o + opt->offset, sizeof(text));
        for (const char *c = text; c && *c; c++)
            if ((unsigned char)*c < 0x20 || *c == 0x7f)
                return err_fail(e, ERR_KIND_INVALID, "flag --%s: byte 0x%02x has no place in it", opt->flag,
                                (unsigned char)*c);
    }
    for (size_t i = 0; i < ARRAY_LEN(levels) && !known; i++)
        known = strcasecmp(o->agent_log_level, levels[i]) == 0;
    if (!known)
        return err_fail(e, ERR_KIND_INVALID, "flag --log-level: '%s': debug, info, warn or error is wanted",
                        o->agent_log_level);
    if (!o->client_key != !o->client_crt)
        return err_fail(e, ERR_KIND_INVALID, "--client-key and --client-crt go together: only %s is given",
                        o->client_key ? "the first" : "the second");
    return true;
}

/* Reads a PEM file whose begin line must hold word; no path gives no bytes. */
static bool read_pem(const char *path, const char *word, struct secret *out, struct err *e)
{
    if (!path || !path[0])
        return true;
    if (!stage_read_file(path, &out->bytes, e))
        return false;

    struct slice s = secret_slice(out);
    const char *at = s.len ? memmem(s.at, s.len, "-----BEGIN ", 11) : NULL;
    size_t left = at ? s.len - (size_t)(at - (const char *)s.at) : 0;
    const char *end = at ? memchr(at, '\n', left) : NULL;

    if (!end || !memmem(at, (size_t)(end - at), word, strlen(word)))
        return err_fail(e, ERR_KIND_INVALID, "'%s' holds no PEM %s", path, word);
    return true;
}

/* Messages hold char *, which nobody writes to. */
static char *text_or_empty(const char *text)
{
    return (char *)(text ? text : "");
}

static int say_created(struct cli_out *out, const struct buf *reply)
{
    struct err e = ERR_INIT;
    CLEANUP(pb_done)
    Manager__CreateRes *res = (Manager__CreateRes *)pb_decode(&manager__create_res__descriptor,
                                                              buf_slice(reply), NULL, &e);

    if (!res)
        return cli_out_fail(out, "Error creating virtual machine", err_text(&e));
    cli_out_str(out, "cvm_id", res->cvm_id);
    cli_out_str(out, "forwarded_port", res->forwarded_port);
    cli_out_say(out, CLI_GREEN, "✅ Virtual machine created successfully with id %s and port %s", res->cvm_id,
                res->forwarded_port);
    return CLI_DONE;
}

static int create(struct cli_session *s, const Manager__CreateReq *req)
{
    CLEANUP(buf_done) struct buf reply = BUF_INIT(REPLY_MAX);
    enum rpc_code code;
    int status;

    cli_out_say(s->out, CLI_PLAIN, "🔗 Creating a new virtual machine");
    if (!cli_session_call(s, "/manager.ManagerService/CreateVm", &req->base, "Error creating virtual machine",
                          &reply, &code, &status))
        return status;
    return say_created(s->out, &reply);
}

static int run_create(struct cli_out *out, const void *opts_read, const struct config_values *values)
{
    const struct create_opts *o = opts_read;
    struct err e = ERR_INIT;
    CLEANUP(secret_done) struct secret ca = SECRET_INIT(PEM_MAX);
    CLEANUP(secret_done) struct secret key = SECRET_INIT(PEM_MAX);
    CLEANUP(secret_done) struct secret cert = SECRET_INIT(PEM_MAX);
    Manager__CreateReq req = MANAGER__CREATE_REQ__INIT;
    struct cli_session s;
    char ttl[32];
    int status = CLI_FAILED;

    (void)values;
    if (!check_texts(o, &e)) {
        cli_out_fail(out, "Error creating virtual machine", err_text(&e));
        return CLI_USAGE;
    }
    if (!read_pem(o->server_ca, "CERTIFICATE", &ca, &e) ||
        !read_pem(o->client_crt, "CERTIFICATE", &cert, &e) ||
        !read_pem(o->client_key, "PRIVATE KEY", &key, &e))
        return cli_out_fail(out, "Error loading certs", err_text(&e));
    req.agent_cvm_server_url = text_or_empty(o->server_url);
    req.agent_cvm_server_ca_cert = pb_bytes(secret_slice(&ca));
    req.agent_cvm_client_key = pb_bytes(secret_slice(&key));
    req.agent_cvm_client_cert = pb_bytes(secret_slice(&cert));
    req.agent_cvm_ca_url = text_or_empty(o->ca_url);
    req.agent_log_level = text_or_empty(o->agent_log_level);
    req.aws_access_key_id = text_or_empty(o->aws_access_key_id);
    req.aws_secret_access_key = text_or_empty(o->aws_secret_access_key);
    req.aws_endpoint_url = text_or_empty(o->aws_endpoint_url);
    req.aws_region = text_or_empty(o->aws_region);
    req.aa_kbs_params = text_or_empty(o->aa_kbs_params);
    if (o->ttl_ms > 0) {
        text_format_duration_ms(o->ttl_ms, ttl);
        req.ttl = ttl;
    }
    if (cli_session_open_manager(&s, out, &o->manager, &status))
        status = create(&s, &req);
    cli_session_done(&s);
    return status;
}

const struct cli_command cli_create_vm_command = {
    .name = "create-vm",
    .spec = &create_spec,
    .opts_size = sizeof(struct create_opts),
    .run = run_create,
};

/* ---------------------------------------------------------------- remove-vm */

struct remove_opts {
    struct cli_common common;
    struct cli_manager_opts manager;
};

static const struct config_spec remove_spec = {
    .program = CLI_PROGRAM " remove-vm",
    .usage = "[flags] <cvm_id>",
    .summary = "End a VM and remove what it left on the host",
    .examples = "  cocos-cli remove-vm 6f1c54b2-3a0e-4a4e-9a0c-0a1b2c3d4e5f\n",
    .parts = { { &cli_manager_rows, offsetof(struct remove_opts, manager) },
               { &cli_common_rows, offsetof(struct remove_opts, common) } },
    .args_min = 1,
    .args_max = 1,
};

static int run_remove(struct cli_out *out, const void *opts_read, const struct config_values *values)
{
    const struct remove_opts *o = opts_read;
    CLEANUP(buf_done) struct buf reply = BUF_INIT(REPLY_MAX);
    Manager__RemoveReq req = MANAGER__REMOVE_REQ__INIT;
    struct cli_session s;
    enum rpc_code code;
    int status = CLI_FAILED;

    req.cvm_id = text_or_empty(values->args[0]);
    cli_out_str(out, "cvm_id", req.cvm_id);
    if (cli_session_open_manager(&s, out, &o->manager, &status)) {
        cli_out_say(out, CLI_PLAIN, "🔗 Removing virtual machine");
        if (cli_session_call(&s, "/manager.ManagerService/RemoveVm", &req.base,
                             "Error removing virtual machine", &reply, &code, &status)) {
            cli_out_say(out, CLI_GREEN, "✅ Virtual machine removed successfully");
            status = CLI_DONE;
        }
    }
    cli_session_done(&s);
    return status;
}

const struct cli_command cli_remove_vm_command = {
    .name = "remove-vm",
    .spec = &remove_spec,
    .opts_size = sizeof(struct remove_opts),
    .run = run_remove,
};
