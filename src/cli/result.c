/*
 * cocos-cli result: fetches what the algorithm left, as a zip.
 */
#include <fcntl.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/auth.h"
#include "cli/cli.h"
#include "cli/download.h"
#include "manifest/sign.h"

struct result_opts {
    struct cli_common common;
    struct cli_agent_opts agent;
    const char *output_dir;
    const char *filename;
};

static const struct config_opt opts[] = {
    { .flag = "output-dir",
      .short_flag = 'o',
      .type = CONFIG_STR,
      .arg = "directory",
      .help = "where the file goes (default: the current directory)",
      .offset = offsetof(struct result_opts, output_dir) },
    { .flag = "filename",
      .short_flag = 'f',
      .type = CONFIG_STR,
      .def = "results.zip",
      .arg = "name",
      .help = "name of the file",
      .offset = offsetof(struct result_opts, filename) },
};

static const struct config_spec spec = {
    .program = CLI_PROGRAM " result",
    .usage = "[flags] <private key>",
    .summary = "Fetch the result of the computation",
    .examples = "  cocos-cli result private.pem\n"
                "  cocos-cli result -o ./out -f model.zip private.pem\n",
    .opts = opts,
    .opt_count = ARRAY_LEN(opts),
    .parts = { { &cli_agent_rows, offsetof(struct result_opts, agent) },
               { &cli_common_rows, offsetof(struct result_opts, common) } },
    .args_min = 1,
    .args_max = 1,
};

static const char retrieve_failed[] = "Error retrieving computation result";

static void say_saved(struct cli_out *out, const char *dir, const char *name, uint64_t len)
{
    struct err e = ERR_INIT;
    char *whole = realpath(dir, NULL);
    CLEANUP(mem_done)
    char *path = mem_format(&e, "%s%s%s", whole ? whole : dir, whole && whole[1] == '\0' ? "" : "/", name);

    free(whole);
    cli_out_str(out, "path", path ? path : name);
    cli_out_u64(out, "bytes", len);
    cli_out_say(out, CLI_GREEN, "Computation result retrieved and saved successfully! ✔");
    cli_out_say(out, CLI_PLAIN, "📁 Location: %s", path ? path : name);
}

static int fetch(struct cli_session *s, const struct result_opts *o, int dir, const struct key *key)
{
    struct err e = ERR_INIT;
    struct rpc_status status;
    CLEANUP(rpc_md_done) struct rpc_md md = RPC_MD_INIT;
    CLEANUP(stage_file_done) struct stage_file file = STAGE_FILE_INIT;
    uint64_t len;
    bool ran;

    cli_out_say(s->out, CLI_CYAN, "⏳ Retrieving computation result file");
    ran = stage_file_begin(dir, &file, &e) &&
          cli_auth_add(s, key, SIGN_ROLE_CONSUMER, NULL, SLICE_EMPTY, &md, &e) &&
          cli_download_result(s, &md, &file, &status, &e);
    if (s->signum != 0)
        return cli_session_aborted(s);
    if (!ran)
        return cli_out_fail(s->out, retrieve_failed, err_text(&e));
    if (status.code != RPC_OK)
        return cli_session_fail(s, retrieve_failed, &status);
    len = file.len;
    if (!stage_file_commit(&file, o->filename, 0600, true, &e))
        return cli_out_fail(s->out, retrieve_failed, err_text(&e));
    cli_out_bool(s->out, "bound", s->computation_id != NULL);
    say_saved(s->out, o->output_dir ? o->output_dir : ".", o->filename, len);
    return CLI_DONE;
}

static int run(struct cli_out *out, const void *opts_read, const struct config_values *values)
{
    const struct result_opts *o = opts_read;
    const char *dir_path = o->output_dir ? o->output_dir : ".";
    struct err e = ERR_INIT;
    CLEANUP(fd_done) int dir = -1;
    CLEANUP(key_done) struct key *key = NULL;
    struct cli_session s;
    int status = CLI_FAILED;

    if (!stage_name_check(slice_of_str(o->filename), &e)) {
        cli_out_fail(out, "flag --filename", err_text(&e));
        return CLI_USAGE;
    }
    dir = open(dir_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0) {
        err_fail_os(&e, "directory '%s'", dir_path);
        return cli_out_fail(out, retrieve_failed, err_text(&e));
    }
    key = cli_auth_read_key(out, values->args[0]);
    if (!key)
        return CLI_FAILED;
    if (cli_session_open(&s, out, &o->agent, &status))
        status = fetch(&s, o, dir, key);
    cli_session_done(&s);
    return status;
}

const struct cli_command cli_result_command = {
    .name = "result",
    .spec = &spec,
    .opts_size = sizeof(struct result_opts),
    .run = run,
};
