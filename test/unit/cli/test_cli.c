#include "unit/base/scratch.h"

#include <fcntl.h>
#include <unistd.h>

#include "cli/cli.h"

#define WORDS_MAX 8

/* ---- words to exit status, and what stands on which output ---- */

static struct words_case {
    const char *name;
    const char *words[WORDS_MAX]; /* behind "cocos-cli" */
    const char *env[3];
    int want;
    const char *out; /* part of stdout; NULL: nothing may be there */
    const char *err; /* likewise of stderr                         */
} cases[] = {
    { "nothing_is_bad_usage", { NULL }, { NULL }, 2, NULL, "Commands:" },
    { "help_goes_to_stdout", { "--help" }, { NULL }, 0, "Commands:", NULL },
    { "help_of_a_command", { "help", "keys" }, { NULL }, 0, "--key-type", NULL },
    { "help_behind_the_command", { "keys", "-h" }, { NULL }, 0, "--key-type", NULL },
    { "help_of_nothing_known", { "help", "dance" }, { NULL }, 2, NULL, "unknown command 'dance'" },
    { "version_of_the_program", { "--version" }, { NULL }, 0, "cocos-cli " COCOS_VERSION, NULL },
    { "unknown_command", { "dance" }, { NULL }, 2, NULL, "unknown command 'dance'" },
    { "only_flags_is_bad_usage", { "-v" }, { NULL }, 2, NULL, "no command given" },
    { "unknown_flag_names_the_nearest", { "keys", "--typo-key" }, { NULL }, 2, NULL, "unknown flag" },
    { "key_type_of_another_kind", { "keys", "-k", "dsa" }, { NULL }, 2, NULL, "rsa, ecdsa or ed25519" },
    { "keys_takes_no_argument", { "keys", "x" }, { NULL }, 2, NULL, "one too many" },
    { "algo_wants_file_and_key", { "algo", "x" }, { NULL }, 2, NULL, "1 argument given" },
    { "data_wants_path_and_key", { "data" }, { NULL }, 2, NULL, "0 arguments given" },
    { "result_wants_a_key", { "result" }, { NULL }, 2, NULL, "0 arguments given" },
    { "result_name_may_be_no_path", { "result", "-f", "a/b", "k" }, { NULL }, 2, NULL, "--filename" },
    { "result_name_may_not_go_up", { "result", "-f", "..", "k" }, { NULL }, 2, NULL, "--filename" },
    { "bound_is_one_of_three", { "algo", "f", "k.pem", "--bound", "maybe" }, { NULL }, 2, NULL, "'maybe'" },
    { "timeout_is_a_duration",
      { "algo", "f", "k.pem" },
      { "AGENT_GRPC_TIMEOUT=soon" },
      2,
      NULL,
      "environment AGENT_GRPC_TIMEOUT" },
    { "attested_tls_is_a_bool",
      { "algo", "f", "k.pem" },
      { "AGENT_GRPC_ATTESTED_TLS=yes" },
      2,
      NULL,
      "environment AGENT_GRPC_ATTESTED_TLS" },
    { "attested_tls_is_refused",
      { "algo", "f", "k.pem" },
      { "AGENT_GRPC_ATTESTED_TLS=true" },
      1,
      NULL,
      "attested TLS is not built yet" },
    { "empty_variable_counts_as_unset",
      { "algo", "f", "k.pem", "--bound", "maybe" },
      { "AGENT_GRPC_CLIENT_CERT=", "AGENT_GRPC_TIMEOUT=" },
      2,
      NULL,
      "'maybe'" },
    { "certificate_without_key",
      { "algo", "f", "k.pem" },
      { "AGENT_GRPC_CLIENT_CERT=c" },
      2,
      NULL,
      "go together" },
    { "key_without_certificate",
      { "algo", "f", "k.pem" },
      { "AGENT_GRPC_CLIENT_KEY=c" },
      2,
      NULL,
      "go together" },
    { "checksum_flags_may_stand_anywhere", { "checksum", "f", "-b" }, { NULL }, 0, NULL, "Hash of file: " },
    { "verbose_before_the_command", { "-v", "checksum", "f" }, { NULL }, 0, NULL, "Hash of file: " },
    { "json_before_the_command",
      { "--json", "checksum", "f" },
      { NULL },
      0,
      "\"command\":\"checksum\"",
      "Hash of" },
    { "json_of_bad_usage", { "keys", "--json", "x" }, { NULL }, 2, "\"exit_status\":2", "one too many" },
    { "flag_may_be_an_argument_behind_two_dashes",
      { "checksum", "--", "--json" },
      { NULL },
      1,
      NULL,
      "open '--json'" },
    { "create_vm_wants_a_server", { "create-vm" }, { NULL }, 2, NULL, "server-url" },
    { "create_vm_takes_no_line_break",
      { "create-vm", "--server-url", "a\nb" },
      { NULL },
      2,
      NULL,
      "flag --server-url: byte 0x0a" },
    { "create_vm_ttl_is_a_duration",
      { "create-vm", "--server-url", "h:1", "--ttl", "-1s" },
      { NULL },
      2,
      NULL,
      "--ttl" },
    { "create_vm_key_and_certificate",
      { "create-vm", "--server-url", "h:1", "--client-crt", "f" },
      { NULL },
      2,
      NULL,
      "only the second" },
    { "create_vm_wants_pem",
      { "create-vm", "--server-url", "h:1", "--server-ca", "f" },
      { NULL },
      1,
      NULL,
      "Error loading certs: 'f' holds no PEM CERTIFICATE" },
    { "create_vm_takes_a_key_for_no_certificate",
      { "create-vm", "--server-url", "h:1", "--server-ca", "k.pem" },
      { NULL },
      1,
      NULL,
      "holds no PEM CERTIFICATE" },
    { "remove_vm_wants_an_id", { "remove-vm" }, { NULL }, 2, NULL, "0 arguments given" },
    { "vm_knows_two_words", { "vm", "dance" }, { NULL }, 2, NULL, "list or console is wanted" },
    { "vm_list_takes_no_id", { "vm", "list", "x" }, { NULL }, 2, NULL, "list takes no argument" },
    { "vm_console_wants_an_id", { "vm", "console" }, { NULL }, 2, NULL, "the id of a VM is wanted" },
    { "manager_key_without_certificate",
      { "vm", "list" },
      { "MANAGER_GRPC_CLIENT_KEY=c" },
      2,
      NULL,
      "MANAGER_GRPC_CLIENT_KEY go together" },
    { "completion_of_another_shell", { "completion", "zsh" }, { NULL }, 2, NULL, "only bash" },
    { "completion_goes_to_stdout", { "completion", "bash" }, { NULL }, 0, "complete -o", NULL },
};

/* Runs the program with its output in files. */
static int run(const struct words_case *c)
{
    char *argv[WORDS_MAX + 2] = { (char *)"cocos-cli" };
    int argc = 1;
    int kept[2] = { dup(1), dup(2) };
    int status;

    for (size_t i = 0; i < WORDS_MAX && c->words[i]; i++)
        argv[argc++] = (char *)c->words[i];
    fflush(stdout);
    for (int fd = 1; fd <= 2; fd++) {
        int to = open(fd == 1 ? "out" : "err", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        assert_true(to >= 0 && dup2(to, fd) == fd);
        close(to);
    }
    status = cli_main(argc, argv, (char *const *)c->env);
    fflush(stdout);
    fflush(stderr);
    for (int fd = 1; fd <= 2; fd++) {
        assert_int_equal(dup2(kept[fd - 1], fd), fd);
        close(kept[fd - 1]);
    }
    return status;
}

static void check_output(const char *path, const char *want)
{
    CLEANUP(buf_done) struct buf seen = BUF_INIT(1024 * 1024);
    struct err e = ERR_INIT;
    const char *text;

    scratch_read(path, &seen);
    text = buf_str(&seen, &e);
    assert_non_null(text);
    if (want ? !strstr(text, want) : text[0] != '\0')
        fail_msg("%s holds '%s', wanted '%s'", path, text, want ? want : "");
}

static void check_words(void **state)
{
    static const char *const make_key[] = { "openssl", "genpkey", "-algorithm", "ED25519",
                                            "-out",    "k.pem",   NULL };
    const struct words_case *c = *state;

    scratch_enter();
    scratch_write("f", slice_of_str("x"), 0600);
    assert_int_equal(scratch_run(make_key), 0);
    assert_int_equal(run(c), c->want);
    check_output("out", c->out);
    check_output("err", c->err);
    assert_int_equal(scratch_count("."), 4); /* f, k.pem, out, err: nothing has been made */
    scratch_leave();
}

/* ---- a call's status as people read it ---- */

static struct status_case {
    const char *name;
    struct rpc_status status;
    bool verbose;
    const char *want;
    const char *peer;
} status_cases[] = {
    { "permission_denied_short",
      { RPC_PERMISSION_DENIED, "no" },
      false,
      "digital signature verification failed, check the provided public key",
      "agent" },
    { "unavailable_short",
      { RPC_UNAVAILABLE, "no" },
      false,
      "agent is unavailable on the current address",
      "agent" },
    { "unknown_as_go_prints_it",
      { RPC_UNKNOWN, "no" },
      false,
      "rpc error: code = Unknown desc = no",
      "agent" },
    { "permission_denied_raw",
      { RPC_PERMISSION_DENIED, "no" },
      true,
      "rpc error: code = PermissionDenied desc = no",
      "agent" },
    { "unavailable_manager",
      { RPC_UNAVAILABLE, "no" },
      false,
      "manager is unavailable on the current address",
      "manager" },
    { "denied_by_a_manager_has_no_short_form",
      { RPC_PERMISSION_DENIED, "no" },
      false,
      "rpc error: code = PermissionDenied desc = no",
      "manager" },
    { "unavailable_raw",
      { RPC_UNAVAILABLE, "no" },
      true,
      "rpc error: code = Unavailable desc = no",
      "agent" },
};

static void check_status(void **state)
{
    const struct status_case *c = *state;
    struct cli_out out = { .verbose = c->verbose, .peer = c->peer };
    CLEANUP(buf_done) struct buf text = BUF_INIT(4096);
    struct err e = ERR_INIT;

    assert_true(cli_out_status(&out, &c->status, &text, &e));
    assert_string_equal(buf_str(&text, &e), c->want);
}

/* ---- tables ---- */

static void every_command_can_be_found_and_helps(void **state)
{
    struct config_opt opts[CONFIG_OPTS_MAX];
    size_t count;

    (void)state;
    for (size_t i = 0; cli_commands[i]; i++) {
        assert_ptr_equal(cli_command_find(cli_commands[i]->name), cli_commands[i]);
        assert_non_null(cli_commands[i]->spec->summary);
        assert_non_null(cli_commands[i]->spec->examples);
        count = config_rows_all(cli_commands[i]->spec, opts);
        assert_in_range(count, 2, ARRAY_LEN(opts)); /* the common ones at least */
        for (size_t j = 0; j < count; j++)
            assert_in_range(opts[j].offset, 0, cli_commands[i]->opts_size - 1);
    }
    assert_null(cli_command_find(""));
}

int main(void)
{
    struct CMUnitTest tests[ARRAY_LEN(cases) + ARRAY_LEN(status_cases) + 1];
    size_t count = 0;

    UNIT_ROWS(tests, count, cases, check_words);
    UNIT_ROWS(tests, count, status_cases, check_status);
    tests[count++] = (struct CMUnitTest)cmocka_unit_test(every_command_can_be_found_and_helps);
    return _cmocka_run_group_tests("cli/cli", tests, count, NULL, NULL);
}
