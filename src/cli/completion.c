/*
 * cocos-cli completion: what a shell offers behind <Tab>. Made from the same
 * tables that read the flags, so it can't fall behind them.
 */
#include "cli/cli.h"

#include <unistd.h>

#include "base/stage.h"

#define SCRIPT_MAX ((size_t)64 * 1024)

struct completion_opts {
    struct cli_common common;
};

static const struct config_spec spec = {
    .program = CLI_PROGRAM " completion",
    .usage = "bash",
    .summary = "Print a completion script for bash",
    .examples = "  source <(cocos-cli completion bash)\n"
                "  cocos-cli completion bash > /etc/bash_completion.d/cocos-cli\n",
    .parts = { { &cli_common_rows, offsetof(struct completion_opts, common) } },
    .args_min = 1,
    .args_max = 1,
};

static bool append_flags(const struct config_spec *s, struct buf *out, struct err *e)
{
    struct config_opt opts_of_it[CONFIG_OPTS_MAX];
    size_t count = config_rows_all(s, opts_of_it);

    for (size_t i = 0; i < count; i++) {
        const struct config_opt *o = &opts_of_it[i];

        if (o->flag && !buf_format(out, e, "--%s ", o->flag))
            return false;
        if (o->short_flag && !buf_format(out, e, "-%c ", o->short_flag))
            return false;
    }
    return buf_append_str(out, "--help", e);
}

/* The words a flag takes, where they are few. */
static bool append_values(struct buf *out, struct err *e)
{
    return buf_append_str(out,
                          "    case $previous in\n"
                          "    -k|--key-type) words='rsa ecdsa ed25519' ;;\n"
                          "    -a|--algorithm) words='bin python wasm docker' ;;\n"
                          "    --log-level) words='debug info warn error' ;;\n"
                          "    --bound) words='auto required off' ;;\n"
                          "    *) words= ;;\n"
                          "    esac\n"
                          "    if [ -n \"$words\" ]; then\n"
                          "        COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n"
                          "        return\n"
                          "    fi\n",
                          e);
}

static bool append_script(struct buf *out, struct err *e)
{
    if (!buf_append_str(out,
                        "# bash completion for cocos-cli\n"
                        "_cocos_cli() {\n"
                        "    local current=${COMP_WORDS[COMP_CWORD]} "
                        "previous=${COMP_WORDS[COMP_CWORD-1]} command= words= word\n"
                        "    for word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n"
                        "        case $word in -*) ;; *) command=$word; break ;; esac\n"
                        "    done\n",
                        e) ||
        !append_values(out, e) || !buf_append_str(out, "    case $command in\n", e))
        return false;
    for (size_t i = 0; cli_commands[i]; i++)
        if (!buf_format(out, e, "    %s) words='", cli_commands[i]->name) ||
            !append_flags(cli_commands[i]->spec, out, e) || !buf_append_str(out, "' ;;\n", e))
            return false;
    if (!buf_append_str(out, "    *) words='", e))
        return false;
    for (size_t i = 0; cli_commands[i]; i++)
        if (!buf_format(out, e, "%s ", cli_commands[i]->name))
            return false;
    return buf_append_str(out,
                          "help --help --version' ;;\n"
                          "    esac\n"
                          "    if [[ $current == -* || -z $command ]]; then\n"
                          "        COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n"
                          "    elif [ \"$command\" = completion ]; then\n"
                          "        COMPREPLY=($(compgen -W bash -- \"$current\"))\n"
                          "    elif [ \"$command\" = vm ]; then\n"
                          "        COMPREPLY=($(compgen -W 'list console' -- \"$current\"))\n"
                          "    elif [ \"$command\" = create-vm ] && [[ $previous != --*-c[ar]* "
                          "&& $previous != --client-key ]]; then\n"
                          "        COMPREPLY=()\n"
                          "    elif [ \"$command\" = help ]; then\n"
                          "        COMPREPLY=($(compgen -W \"${words% help --help --version}\" -- "
                          "\"$current\"))\n"
                          "    else\n"
                          "        COMPREPLY=($(compgen -f -- \"$current\"))\n"
                          "    fi\n"
                          "}\n"
                          "complete -o filenames -F _cocos_cli cocos-cli\n",
                          e);
}

static int run(struct cli_out *out, const void *opts_read, const struct config_values *values)
{
    struct err e = ERR_INIT;
    CLEANUP(buf_done) struct buf script = BUF_INIT(SCRIPT_MAX);

    (void)opts_read;
    if (strcmp(values->args[0], "bash") != 0) {
        err_fail(&e, ERR_KIND_INVALID, "'%s': only bash is known", values->args[0]);
        cli_out_fail(out, "completion", err_text(&e));
        return CLI_USAGE;
    }
    if (!append_script(&script, &e))
        return cli_out_fail(out, "completion", err_text(&e));
    if (out->json) /* the script is then a member: stdout holds one object and nothing else */
        cli_out_str(out, "script", buf_str(&script, &e));
    else if (!stage_write_all(STDOUT_FILENO, buf_slice(&script), &e))
        return cli_out_fail(out, "stdout", err_text(&e));
    return CLI_DONE;
}

const struct cli_command cli_completion_command = {
    .name = "completion",
    .spec = &spec,
    .opts_size = sizeof(struct completion_opts),
    .run = run,
};
