/*
 * cocos-cli data: brings a dataset to the agent. A directory travels as its zip.
 */
#include "base/stage.h"
#include "cli/auth.h"
#include "cli/cli.h"
#include "cli/upload.h"
#include "manifest/sign.h"

struct data_opts {
    struct cli_common common;
    struct cli_agent_opts agent;
    bool decompress;
    const char *hash;
};

static const struct config_opt opts[] = {
    { .flag = "decompress",
      .short_flag = 'd',
      .type = CONFIG_BOOL,
      .help = "have the agent unpack the zip: for archives and directories",
      .offset = offsetof(struct data_opts, decompress) },
    { .flag = "hash",
      .type = CONFIG_STR,
      .arg = "hex",
      .help = "SHA3-256 of the dataset, if known: saves reading it twice",
      .offset = offsetof(struct data_opts, hash) },
};

static const struct config_spec spec = {
    .program = CLI_PROGRAM " data",
    .usage = "[flags] <dataset path> <private key>",
    .summary = "Upload a dataset: a file, or a directory as its zip",
    .examples = "  cocos-cli data penguins.csv private.pem\n"
                "  cocos-cli data -d ./images private.pem\n",
    .opts = opts,
    .opt_count = ARRAY_LEN(opts),
    .parts = { { &cli_agent_rows, offsetof(struct data_opts, agent) },
               { &cli_common_rows, offsetof(struct data_opts, common) } },
    .args_min = 2,
    .args_max = 2,
};

static const char upload_failed[] = "Failed to upload dataset due to error";

static bool make_metadata(struct cli_session *s, const struct data_opts *o, struct cli_source *source,
                          const struct key *key, struct rpc_md *md, struct err *e)
{
    uint8_t hash[HASH_SHA3_256_LEN] = { 0 };

    return (!s->computation_id || cli_upload_hash(s, source, o->hash, hash, e)) &&
           rpc_md_add_str(md, "decompress", o->decompress ? "true" : "false", e) &&
           cli_auth_add(s, key, SIGN_ROLE_DATA, hash, slice_of_str(source->name), md, e);
}

static int upload(struct cli_session *s, const struct data_opts *o, struct cli_source *source,
                  const struct key *key)
{
    struct err e = ERR_INIT;
    struct rpc_status status;
    CLEANUP(rpc_md_done) struct rpc_md md = RPC_MD_INIT;
    struct cli_upload_part part = { source, CLI_UPLOAD_DATASET };
    struct cli_upload u = {
        .method = "/agent.AgentService/Data",
        .what = "Uploading data",
        .md = &md,
        .parts = &part,
        .part_count = 1,
    };
    bool ran;

    cli_out_say(s->out, CLI_PLAIN, "Uploading dataset: %s", source->path);
    if (source->is_dir)
        cli_out_say(s->out, CLI_PLAIN, "Detected directory, zipping dataset...");
    ran = make_metadata(s, o, source, key, &md, &e) && cli_upload_run(s, &u, &status, &e);
    if (s->signum != 0)
        return cli_session_aborted(s);
    if (!ran)
        return cli_out_fail(s->out, upload_failed, err_text(&e));
    if (status.code != RPC_OK)
        return cli_session_fail(s, upload_failed, &status);
    cli_out_str(s->out, "path", source->path);
    cli_out_str(s->out, "filename", source->name);
    cli_out_u64(s->out, "bytes", source->len);
    cli_out_bool(s->out, "bound", s->computation_id != NULL);
    cli_out_say(s->out, CLI_GREEN, "Successfully uploaded dataset! ✔ ");
    return CLI_DONE;
}

static bool read_source(struct cli_out *out, const char *path, struct cli_source *ret)
{
    struct err e = ERR_INIT;

    if (!cli_source_open(path, ret, &e) || !stage_name_check(slice_of_str(ret->name), &e) ||
        (ret->len == 0 && !err_fail(&e, ERR_KIND_INVALID, "'%s' is empty", path))) {
        cli_out_fail(out, "Error reading dataset", err_text(&e));
        return false;
    }
    return true;
}

static int run(struct cli_out *out, const void *opts_read, const struct config_values *values)
{
    const struct data_opts *o = opts_read;
    CLEANUP(cli_source_done) struct cli_source source = CLI_SOURCE_INIT;
    CLEANUP(key_done) struct key *key = NULL;
    struct cli_session s;
    int status = CLI_FAILED;

    if (!read_source(out, values->args[0], &source))
        return CLI_FAILED;
    key = cli_auth_read_key(out, values->args[1]);
    if (!key)
        return CLI_FAILED;
    if (cli_session_open(&s, out, &o->agent, &status))
        status = upload(&s, o, &source, key);
    cli_session_done(&s);
    return status;
}

const struct cli_command cli_data_command = {
    .name = "data",
    .spec = &spec,
    .opts_size = sizeof(struct data_opts),
    .run = run,
};
