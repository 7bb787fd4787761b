/*
 * The commands of cocos-cli and what they share.
 *
 * A command is a table of options and a function. main picks it by name,
 * reads its options, calls it, and prints the JSON record at the end.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <stddef.h>

#include "base/config.h"
#include "cli/out.h"
#include "rpc/peer.h"

#define CLI_PROGRAM "cocos-cli"

enum { CLI_DONE = 0, CLI_FAILED = 1, CLI_USAGE = 2 }; /* exit statuses; 128 + n: ended by signal n */

/* First member of every command's options. */
struct cli_common {
    bool verbose;
    bool json;
};

/* How to reach the agent, and how to sign for it. */
struct cli_agent_opts {
    struct rpc_peer peer;
    int log_level; /* of this program */
    bool attested_tls;
    const char *computation_id; /* NULL: whatever the agent says */
    const char *bound;          /* "auto", "required", "off"     */
};

/* How to reach the manager. */
struct cli_manager_opts {
    struct rpc_peer peer;
    int log_level; /* of this program */
};

/* Rows of these structs, for the tables of the commands that have them. */
extern const struct config_rows cli_common_rows;
extern const struct config_rows cli_agent_rows;
extern const struct config_rows cli_manager_rows;

struct cli_command {
    const char *name;
    const struct config_spec *spec;
    size_t opts_size; /* of the struct the options go to */

    /* Returns the exit status. What failed has been said with cli_out_fail. */
    int (*run)(struct cli_out *out, const void *opts, const struct config_values *values);
};

extern const struct cli_command cli_algo_command;
extern const struct cli_command cli_checksum_command;
extern const struct cli_command cli_completion_command;
extern const struct cli_command cli_create_vm_command;
extern const struct cli_command cli_data_command;
extern const struct cli_command cli_doctor_command;
extern const struct cli_command cli_keys_command;
extern const struct cli_command cli_remove_vm_command;
extern const struct cli_command cli_result_command;
extern const struct cli_command cli_vm_command;

/* All of them, in the order of the help; ends with NULL. */
extern const struct cli_command *const cli_commands[];

/* NULL when there is no such command. */
const struct cli_command *cli_command_find(const char *name);

/*
 * The whole program: argv as main got it, env an environ-style array. Returns
 * the exit status.
 */
int cli_main(int argc, char *const *argv, char *const *env);

#endif
