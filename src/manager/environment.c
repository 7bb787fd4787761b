#include "manager/environment.h"

#include "base/faults.h"
#include "base/log.h"
#include "base/stage.h"
#include "base/text.h"
#include "manager/qemu_args.h"
#include "proto/pb.h"
#include "rpc/address.h"

/* Every text of a request that becomes a line, in the order of the file. */
struct line {
    const char *key;
    const char *field; /* of the request, for errors */
    size_t offset;
    bool always; /* written even when empty */
};

#define AT(member) offsetof(Manager__CreateReq, member)

static const struct line lines[] = {
    { "AGENT_LOG_LEVEL", "agent_log_level", AT(agent_log_level), true },
    { "AGENT_CVM_GRPC_URL", "agent_cvm_server_url", AT(agent_cvm_server_url), true },
    { "AGENT_CVM_ID", NULL, 0, true },
    { "AGENT_CERTS_TOKEN", "agent_certs_token", AT(agent_certs_token), true },
    { "AGENT_CVM_CA_URL", "agent_cvm_ca_url", AT(agent_cvm_ca_url), true },
    { "AGENT_CVM_GRPC_CLIENT_CERT", "agent_cvm_client_cert", AT(agent_cvm_client_cert), false },
    { "AGENT_CVM_GRPC_CLIENT_KEY", "agent_cvm_client_key", AT(agent_cvm_client_key), false },
    { "AGENT_CVM_GRPC_SERVER_CA_CERTS", "agent_cvm_server_ca_cert", AT(agent_cvm_server_ca_cert), false },
    { "AWS_ACCESS_KEY_ID", "aws_access_key_id", AT(aws_access_key_id), false },
    { "AWS_SECRET_ACCESS_KEY", "aws_secret_access_key", AT(aws_secret_access_key), false },
    { "AWS_ENDPOINT_URL", "aws_endpoint_url", AT(aws_endpoint_url), false },
    { "AWS_REGION", "aws_region", AT(aws_region), false },
};

/* PEM fields are files; the line names where the guest finds them. */
static const struct pem {
    const char *field;
    size_t offset;
    const char *file;
    const char *guest_path;
} pems[] = {
    { "agent_cvm_client_cert", AT(agent_cvm_client_cert), "cert.pem", "/etc/certs/cert.pem" },
    { "agent_cvm_client_key", AT(agent_cvm_client_key), "key.pem", "/etc/certs/key.pem" },
    { "agent_cvm_server_ca_cert", AT(agent_cvm_server_ca_cert), "ca.pem", "/etc/certs/ca.pem" },
};

static struct slice pem_of(const Manager__CreateReq *req, const struct pem *p)
{
    const ProtobufCBinaryData *d = (const ProtobufCBinaryData *)(const void *)((const char *)req + p->offset);

    return pb_slice(*d);
}

static const struct pem *pem_of_line(const struct line *l)
{
    for (size_t i = 0; i < ARRAY_LEN(pems); i++)
        if (l->field && strcmp(l->field, pems[i].field) == 0)
            return &pems[i];
    return NULL;
}

/* The value of a line: text of the request, or the guest's path of a PEM field ("" when it is empty). */
static const char *value_of(const Manager__CreateReq *req, const struct line *l, const char *cvm_id)
{
    const struct pem *p = pem_of_line(l);

    if (!l->field)
        return cvm_id;
    if (p)
        return pem_of(req, p).len ? p->guest_path : "";
    return *(char *const *)(const void *)((const char *)req + l->offset);
}

static bool check_value(const char *field, const char *value, struct faults *faults)
{
    for (size_t i = 0; value[i]; i++)
        if ((unsigned char)value[i] < 0x20 || value[i] == 0x7f) {
            faults_add(faults, "%s: byte 0x%02x at %zu: one line of text is wanted", field,
                       (unsigned char)value[i], i);
            return false;
        }
    return true;
}

/* What the agent would refuse at each of its starts, in a VM that runs on without it. None is a default of its. */
static void check_agent(const Manager__CreateReq *req, bool url_is_line, struct faults *faults)
{
    struct err e = ERR_INIT;
    struct rpc_address address;
    int level;

    if (url_is_line && req->agent_cvm_server_url[0] &&
        !rpc_address_parse(req->agent_cvm_server_url, &address, &e)) {
        faults_add(faults, "agent_cvm_server_url: %s", err_text(&e));
        err_clear(&e);
    }
    if (req->agent_log_level[0] && !log_level_parse(slice_of_str(req->agent_log_level), &level, &e))
        faults_add(faults, "agent_log_level: %s", err_text(&e));
}

static void check_ttl(const char *text, uint64_t *ret_ms, struct faults *faults)
{
    struct err e = ERR_INIT;

    *ret_ms = 0;
    if (text[0] && !text_parse_duration_ms(slice_of_str(text), ret_ms, &e))
        faults_add(faults, "ttl: %s", err_text(&e));
}

static void check_pems(const Manager__CreateReq *req, struct faults *faults)
{
    for (size_t i = 0; i < ARRAY_LEN(pems); i++)
        if (pem_of(req, &pems[i]).len > MGR_PEM_MAX)
            faults_add(faults, "%s: %zu bytes, at most %zu are taken", pems[i].field,
                       pem_of(req, &pems[i]).len, MGR_PEM_MAX);
    if (!req->agent_cvm_client_cert.len != !req->agent_cvm_client_key.len)
        faults_add(faults, "agent_cvm_client_cert and agent_cvm_client_key are wanted together");
}

bool mgr_request_check(const Manager__CreateReq *req, uint64_t *ret_ttl_ms, struct err *e)
{
    struct faults faults = FAULTS_INIT;
    struct err word = ERR_INIT;
    bool url_is_line = true;

    for (size_t i = 0; i < ARRAY_LEN(lines); i++)
        if (lines[i].field && !pem_of_line(&lines[i]) &&
            !check_value(lines[i].field, value_of(req, &lines[i], ""), &faults) &&
            lines[i].offset == AT(agent_cvm_server_url))
            url_is_line = false;
    check_agent(req, url_is_line, &faults);
    if (!mgr_cmdline_value_check("aa_kbs_params", slice_of_str(req->aa_kbs_params), &word))
        faults_add(&faults, "%s", err_text(&word));
    check_ttl(req->ttl, ret_ttl_ms, &faults);
    check_pems(req, &faults);
    return faults_none(&faults, e);
}

bool mgr_environment(const Manager__CreateReq *req, const char *cvm_id, struct buf *out, struct err *e)
{
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        const char *value = value_of(req, &lines[i], cvm_id);

        if ((lines[i].always || value[0]) && !buf_format(out, e, "%s=%s\n", lines[i].key, value))
            return err_wrap(e, "environment of the VM");
    }
    return true;
}

static bool write_file(int dir_fd, const char *name, struct slice bytes, struct err *e)
{
    struct stage_file f = STAGE_FILE_INIT;
    bool ok = stage_file_begin(dir_fd, &f, e) && stage_file_write(&f, bytes, e) &&
              stage_file_commit(&f, name, 0600, true, e);

    stage_file_done(&f);
    return ok || err_wrap(e, "write %s", name);
}

bool mgr_write_shares(const Manager__CreateReq *req, const char *cvm_id, int env_dir_fd, int certs_dir_fd,
                      struct err *e)
{
    struct secret text = SECRET_INIT(MGR_ENVIRONMENT_MAX);
    bool ok = mgr_environment(req, cvm_id, &text.bytes, e) &&
              write_file(env_dir_fd, "environment", secret_slice(&text), e);

    for (size_t i = 0; ok && i < ARRAY_LEN(pems); i++)
        ok = write_file(certs_dir_fd, pems[i].file, pem_of(req, &pems[i]), e);
    secret_done(&text);
    return ok;
}
