/*
 * cocos-cli algo: brings an algorithm, with its requirements, to the agent.
 */
#include "cli/auth.h"
#include "cli/cli.h"
#include "cli/upload.h"
#include "manifest/sign.h"

struct algo_opts {
    struct cli_common common;
    struct cli_agent_opts agent;
    const char *type;
    struct config_list args;
    const char *python_runtime;
    const char *requirements;
    const char *hash;
};

static const struct config_opt opts[] = {
    { .flag = "algorithm",
      .short_flag = 'a',
      .type = CONFIG_STR,
      .def = "bin",
      .arg = "type",
      .help = "kind of algorithm: bin, python, wasm, docker",
      .offset = offsetof(struct algo_opts, type) },
    { .flag = "args",
      .type = CONFIG_LIST,
      .arg = "argument",
      .help = "argument for the algorithm",
      .offset = offsetof(struct algo_opts, args) },
    { .flag = "requirements",
      .short_flag = 'r',
      .type = CONFIG_STR,
      .arg = "file",
      .help = "requirements.txt of a python algorithm",
      .offset = offsetof(struct algo_opts, requirements) },
    { .flag = "python-runtime",
      .type = CONFIG_STR,
      .def = "python3",
      .arg = "name",
      .help = "python interpreter to ask for",
      .offset = offsetof(struct algo_opts, python_runtime) },
    { .flag = "hash",
      .type = CONFIG_STR,
      .arg = "hex",
      .help = "SHA3-256 of the algorithm, if known: saves reading it twice",
      .offset = offsetof(struct algo_opts, hash) },
};

static const struct config_spec spec = {
    .program = CLI_PROGRAM " algo",
    .usage = "[flags] <algorithm file> <private key>",
    .summary = "Upload an algorithm",
    .examples = "  cocos-cli algo ./linreg private.pem --args flipper_length_mm --args body_mass_g\n"
                "  cocos-cli algo linreg.py private.pem -a python -r requirements.txt\n",
    .opts = opts,
    .opt_count = ARRAY_LEN(opts),
    .parts = { { &cli_agent_rows, offsetof(struct algo_opts, agent) },
               { &cli_common_rows, offsetof(struct algo_opts, common) } },
    .args_min = 2,
    .args_max = 2,
};

static const char upload_failed[] = "Failed to upload algorithm due to error";

/* What is needed from this machine before anybody is called. */
struct algo_inputs {
    struct cli_source algorithm;
    struct cli_source requirements;
    struct key *key;
};

static bool read_one(struct cli_out *out, const char *path, const char *what, struct cli_source *ret)
{
    struct err e = ERR_INIT;

    if (cli_source_open(path, ret, &e) && ret->is_dir)
        err_fail(&e, ERR_KIND_INVALID, "'%s' is a directory, a file is wanted", path);
    else if (e.kind == ERR_KIND_NONE && ret->len == 0)
        err_fail(&e, ERR_KIND_INVALID, "'%s' is empty", path);
    if (e.kind != ERR_KIND_NONE)
        cli_out_fail(out, what, err_text(&e));
    return e.kind == ERR_KIND_NONE;
}

static bool read_inputs(struct cli_out *out, const struct algo_opts *o, const struct config_values *values,
                        struct algo_inputs *ret)
{
    if (!read_one(out, values->args[0], "Error reading algorithm file", &ret->algorithm) ||
        /* the missing letter is what other tools look for */
        (o->requirements &&
         !read_one(out, o->requirements, "Error reading requirments file", &ret->requirements)))
        return false;
    ret->key = cli_auth_read_key(out, values->args[1]);
    return ret->key != NULL;
}

static void inputs_done(struct algo_inputs *i)
{
    cli_source_done(&i->algorithm);
    cli_source_done(&i->requirements);
    key_done(&i->key);
}

static bool make_metadata(struct cli_session *s, const struct algo_opts *o, struct algo_inputs *in,
                          struct rpc_md *md, struct err *e)
{
    uint8_t hash[HASH_SHA3_256_LEN] = { 0 };

    if (s->computation_id && !cli_upload_hash(s, &in->algorithm, o->hash, hash, e))
        return false;
    if (!rpc_md_add_str(md, "algo_type", o->type, e))
        return err_wrap(e, "flag --algorithm");
    if (!rpc_md_add_str(md, "python_runtime", o->python_runtime, e))
        return err_wrap(e, "flag --python-runtime");
    for (size_t i = 0; i < o->args.count; i++)
        if (!rpc_md_add_str(md, "algo_args", o->args.at[i], e))
            return err_wrap(e, "flag --args: argument %zu", i + 1);
    return cli_auth_add(s, in->key, SIGN_ROLE_ALGORITHM, hash, SLICE_EMPTY, md, e);
}

static int upload(struct cli_session *s, const struct algo_opts *o, struct algo_inputs *in)
{
    struct err e = ERR_INIT;
    struct rpc_status status;
    CLEANUP(rpc_md_done) struct rpc_md md = RPC_MD_INIT;
    const struct cli_upload_part parts[] = { { &in->requirements, CLI_UPLOAD_REQUIREMENTS },
                                             { &in->algorithm, CLI_UPLOAD_ALGORITHM } };
    struct cli_upload u = {
        .method = "/agent.AgentService/Algo",
        .what = "Uploading algorithm",
        .md = &md,
        .parts = o->requirements ? parts : parts + 1,
        .part_count = o->requirements ? 2 : 1,
    };
    bool ran;

    cli_out_say(s->out, CLI_PLAIN, "Uploading algorithm file: %s", in->algorithm.path);
    ran = make_metadata(s, o, in, &md, &e) && cli_upload_run(s, &u, &status, &e);
    if (s->signum != 0)
        return cli_session_aborted(s);
    if (!ran)
        return cli_out_fail(s->out, upload_failed, err_text(&e));
    if (status.code != RPC_OK)
        return cli_session_fail(s, upload_failed, &status);
    cli_out_str(s->out, "file", in->algorithm.path);
    cli_out_u64(s->out, "bytes", in->algorithm.len);
    cli_out_bool(s->out, "bound", s->computation_id != NULL);
    cli_out_say(s->out, CLI_GREEN, "Successfully uploaded algorithm! ✔ ");
    return CLI_DONE;
}

static int run(struct cli_out *out, const void *opts_read, const struct config_values *values)
{
    const struct algo_opts *o = opts_read;
    struct algo_inputs in = { CLI_SOURCE_INIT, CLI_SOURCE_INIT, NULL };
    struct cli_session s;
    int status = CLI_FAILED;

    if (read_inputs(out, o, values, &in)) {
        if (cli_session_open(&s, out, &o->agent, &status))
            status = upload(&s, o, &in);
        cli_session_done(&s);
    }
    inputs_done(&in);
    return status;
}

const struct cli_command cli_algo_command = {
    .name = "algo",
    .spec = &spec,
    .opts_size = sizeof(struct algo_opts),
    .run = run,
};
