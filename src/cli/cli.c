#include "cli/cli.h"

#include <signal.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"

const struct cli_command *const cli_commands[] = {
    &cli_keys_command,
    &cli_checksum_command,
    &cli_algo_command,
    &cli_data_command,
    &cli_result_command,
    &cli_create_vm_command,
    &cli_remove_vm_command,
    &cli_vm_command,
    &cli_doctor_command,
    &cli_completion_command,
    NULL,
};

const struct cli_command *cli_command_find(const char *name)
{
    for (size_t i = 0; cli_commands[i]; i++)
        if (strcmp(cli_commands[i]->name, name) == 0)
            return cli_commands[i];
    return NULL;
}

static void print_overview(FILE *to)
{
    fprintf(to,
            "Usage: %s <command> [flags] [arguments]\n\n"
            "Brings algorithms and data to an agent and fetches its results; asks a manager for "
            "VMs.\n\nCommands:\n",
            CLI_PROGRAM);
    for (size_t i = 0; cli_commands[i]; i++)
        fprintf(to, "  %-12s %s\n", cli_commands[i]->name, cli_commands[i]->spec->summary);
    fprintf(to,
            "\n'%s <command> --help' tells more about each.\n\n"
            "Examples:\n"
            "  %s keys\n"
            "  export AGENT_GRPC_URL=localhost:7002\n"
            "  %s algo ./linreg private.pem\n"
            "  %s data penguins.csv private.pem\n"
            "  %s result private.pem\n",
            CLI_PROGRAM, CLI_PROGRAM, CLI_PROGRAM, CLI_PROGRAM, CLI_PROGRAM);
}

/* Before the options can be read, --json is still what the caller may rely on. */
static bool asks_json(int argc, char *const *argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--") == 0)
            return false;
        if (strcmp(argv[i], "--json") == 0 || strcmp(argv[i], "-json") == 0 ||
            strcmp(argv[i], "--json=true") == 0)
            return true;
    }
    return false;
}

static int fail_usage(int argc, char *const *argv, char *const *env, const char *command, const char *why)
{
    struct err e = ERR_INIT;
    struct cli_out out;
    int status;

    if (!cli_out_init(&out, asks_json(argc, argv), false, env, &e))
        return CLI_USAGE;
    cli_out_str(&out, "error", why);
    cli_out_say(&out, CLI_RED, "%s", why);
    cli_out_hint(&out, command ? "'%s %s --help' shows what it takes" : "'%s --help' shows all commands",
                 CLI_PROGRAM, command);
    status = cli_out_end(&out, command ? command : "", CLI_USAGE);
    cli_out_done(&out);
    return status;
}

/* Outside of a session nothing is half done that a signal could spoil. */
static void on_signal(int signum)
{
    static const char text[] = "\nOperation aborted by user!\n";

    if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
        _exit(128 + signum);
    _exit(128 + signum);
}

static void watch_signals(void)
{
    struct sigaction action = { .sa_handler = on_signal };

    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    action.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &action, NULL);
}

static int run_command(const struct cli_command *command, int argc, char *const *argv, char *const *env)
{
    struct err e = ERR_INIT;
    struct config_values values;
    struct cli_out out;
    const struct cli_common *common;
    CLEANUP(mem_done) void *opts = mem_new(command->opts_size, &e);
    enum config_outcome outcome;
    int status = CLI_FAILED;

    if (!opts)
        return fail_usage(argc, argv, env, command->name, err_text(&e));
    memset(&values, 0, sizeof(values));
    outcome = config_read(command->spec, argc, argv, env, opts, &values, &e);
    if (outcome == CONFIG_SHOWN)
        status = CLI_DONE;
    else if (outcome == CONFIG_BAD)
        status = fail_usage(argc, argv, env, command->name, err_text(&e));
    if (outcome == CONFIG_RUN) {
        common = opts;
        if (cli_out_init(&out, common->json, common->verbose, env, &e)) {
            status = command->run(&out, opts, &values);
            status = cli_out_end(&out, command->name, status);
            cli_out_done(&out);
        } else {
            status = fail_usage(argc, argv, env, command->name, err_text(&e));
        }
    }
    config_values_done(&values);
    return status;
}

/* Index of the first argument that is no flag, or argc. Flags before the command take no value. */
static int command_at(int argc, char *const *argv)
{
    for (int i = 1; i < argc; i++)
        if (argv[i][0] != '-' || argv[i][1] == '\0')
            return i;
    return argc;
}

/* True when one of the words before the command is text. */
static bool has_flag(int count, char *const *argv, const char *one, const char *other)
{
    for (int i = 1; i < count; i++)
        if (strcmp(argv[i], one) == 0 || strcmp(argv[i], other) == 0)
            return true;
    return false;
}

int cli_main(int argc, char *const *argv, char *const *env)
{
    struct err e = ERR_INIT;
    int at = command_at(argc, argv);
    bool help = has_flag(at, argv, "--help", "-h") || has_flag(at, argv, "-help", "-?");
    const struct cli_command *command;
    char text[256];

    log_open(CLI_PROGRAM, LOG_WARN);
    log_set_output(STDERR_FILENO, LOG_FORM_AUTO);
    watch_signals();
    if (at < argc && strcmp(argv[at], "help") == 0) {
        help = true;
        at++;
    }
    if (at >= argc) {
        if (has_flag(argc, argv, "--version", "-version"))
            return printf("%s %s\n", CLI_PROGRAM, COCOS_VERSION) < 0;
        if (argc < 2 || help) {
            print_overview(help ? stdout : stderr);
            return help ? CLI_DONE : CLI_USAGE;
        }
        return fail_usage(argc, argv, env, NULL, "no command given");
    }
    command = cli_command_find(argv[at]);
    if (!command) {
        snprintf(text, sizeof(text), "unknown command '%.100s'", argv[at]);
        return fail_usage(argc, argv, env, NULL, text);
    }
    if (help)
        return config_help(command->spec, STDOUT_FILENO, &e) ? CLI_DONE : CLI_FAILED;

    /* The command's name goes; what stood before and behind it are its flags and arguments. */
    CLEANUP(mem_done) char **words = mem_new_array((size_t)argc + 1, sizeof(*words), &e);

    if (!words)
        return fail_usage(argc, argv, env, command->name, err_text(&e));
    for (int i = 0, n = 0; i < argc; i++)
        if (i != at)
            words[n++] = argv[i];
    return run_command(command, argc - 1, words, env);
}
