/*
 * cocos-cli vm: what VMs a manager has, and what their consoles say. Both are
 * additions to the protocol; a manager without them is told apart.
 */
#include "base/text.h"
#include "cli/cli.h"
#include "cli/session.h"
#include "proto/extensions.pb-c.h"

#define REPLY_MAX ((size_t)4 * 1024 * 1024)
#define SAFE_MAX ((size_t)64 * 1024 * 1024)

struct vm_opts {
    struct cli_common common;
    struct cli_manager_opts manager;
    uint64_t bytes;
};

static const struct config_opt opts[] = {
    { .flag = "bytes",
      .short_flag = 'b',
      .type = CONFIG_U64,
      .def = "0",
      .max = UINT32_MAX,
      .arg = "count",
      .help = "console: at most so many from the end; 0: all that the manager keeps",
      .offset = offsetof(struct vm_opts, bytes) },
};

static const struct config_spec spec = {
    .program = CLI_PROGRAM " vm",
    .usage = "[flags] list | console <cvm_id>",
    .summary = "List a manager's VMs, or show the console of one",
    .examples = "  cocos-cli vm list\n"
                "  cocos-cli vm list --json | jq -r '.vms[].id'\n"
                "  cocos-cli vm console 6f1c54b2-3a0e-4a4e-9a0c-0a1b2c3d4e5f\n",
    .opts = opts,
    .opt_count = ARRAY_LEN(opts),
    .parts = { { &cli_manager_rows, offsetof(struct vm_opts, manager) },
               { &cli_common_rows, offsetof(struct vm_opts, common) } },
    .args_min = 1,
    .args_max = 2,
};

/* A call to the extension; says it when the manager does not have it. */
static bool ask(struct cli_session *s, const char *method, const ProtobufCMessage *request, const char *what,
                struct buf *reply, int *ret_status)
{
    enum rpc_code code;

    if (cli_session_call(s, method, request, what, reply, &code, ret_status))
        return true;
    if (code == RPC_UNIMPLEMENTED)
        cli_out_hint(s->out,
                     "The manager at '%s' does not offer this: it is an addition to the protocol that other "
                     "implementations of the manager lack. create-vm and remove-vm work with them.",
                     s->peer->url);
    return false;
}

/* --------------------------------------------------------------------- list */

static bool add_row(const CocosC__V1__VirtualMachine *vm, struct buf *table, struct err *e)
{
    CLEANUP(buf_done) struct buf row = BUF_INIT(SAFE_MAX);
    char age[32];

    text_format_duration_ms(vm->age_ms - vm->age_ms % 1000, age);
    return buf_format(&row, e, "%-36s  %-18s  %5u  %-10s  %s", vm->id, vm->state, vm->agent_port, age,
                      vm->accelerator) &&
           text_safe(buf_slice(&row), table, e) && buf_append_str(table, "\n", e);
}

/* protobuf strings are UTF-8: pb_decode has seen to it. */
static json_t *row_json(const CocosC__V1__VirtualMachine *vm)
{
    return json_pack("{s:s, s:s, s:I, s:I, s:s}", "id", vm->id, "state", vm->state, "agent_port",
                     (json_int_t)vm->agent_port, "age_ms",
                     (json_int_t)(vm->age_ms > INT64_MAX ? INT64_MAX : vm->age_ms), "accelerator",
                     vm->accelerator);
}

static int show_list(struct cli_out *out, const CocosC__V1__ListResponse *res)
{
    struct err e = ERR_INIT;
    CLEANUP(buf_done) struct buf table = BUF_INIT(SAFE_MAX);
    json_t *rows = out->json ? json_array() : NULL;
    bool fine = buf_format(&table, &e, "%-36s  %-18s  %5s  %-10s  %s\n", "ID", "STATE", "PORT", "AGE",
                           "ACCELERATOR");

    for (size_t i = 0; fine && i < res->n_vms; i++) {
        fine = add_row(res->vms[i], &table, &e);
        if (rows && json_array_append_new(rows, row_json(res->vms[i])) != 0)
            fine = err_fail(&e, ERR_KIND_LIMIT, "out of memory");
    }
    if (out->json)
        cli_out_json(out, "vms", rows);
    if (!fine)
        return cli_out_fail(out, "Error listing virtual machines", err_text(&e));
    if (res->n_vms == 0)
        cli_out_say(out, CLI_PLAIN, "The manager has no virtual machines.");
    else if (!cli_out_print(out, buf_slice(&table)))
        return CLI_FAILED;
    return CLI_DONE;
}

static int list(struct cli_session *s)
{
    struct err e = ERR_INIT;
    CLEANUP(buf_done) struct buf reply = BUF_INIT(REPLY_MAX);
    CLEANUP(pb_done) CocosC__V1__ListResponse *res = NULL;
    CocosC__V1__ListRequest req = COCOS_C__V1__LIST_REQUEST__INIT;
    int status;

    if (!ask(s, "/cocos_c.v1.VirtualMachines/List", &req.base, "Error listing virtual machines", &reply,
             &status))
        return status;
    res = (CocosC__V1__ListResponse *)pb_decode(&cocos_c__v1__list_response__descriptor, buf_slice(&reply),
                                                NULL, &e);
    return res ? show_list(s->out, res)
               : cli_out_fail(s->out, "Error listing virtual machines", err_text(&e));
}

/* ------------------------------------------------------------------ console */

/* Line by line, since line ends are the only control bytes that are meant. */
static bool make_safe(struct slice tail, struct buf *ret, struct err *e)
{
    while (tail.len) {
        size_t n = slice_find(tail, '\n');
        struct slice line = slice_first(tail, n);

        while (line.len && line.at[line.len - 1] == '\r')
            line.len--;
        if (!text_safe(line, ret, e) || !buf_append_str(ret, "\n", e))
            return false;
        tail = slice_after(tail, n + 1);
    }
    return true;
}

static int console(struct cli_session *s, const struct vm_opts *o, const char *id)
{
    static const char what[] = "Error reading the console";
    struct err e = ERR_INIT;
    CLEANUP(buf_done) struct buf reply = BUF_INIT(REPLY_MAX);
    CLEANUP(buf_done) struct buf safe = BUF_INIT(SAFE_MAX);
    CLEANUP(pb_done) CocosC__V1__ConsoleResponse *res = NULL;
    CocosC__V1__ConsoleRequest req = COCOS_C__V1__CONSOLE_REQUEST__INIT;
    const char *text;
    int status;

    req.id = (char *)id;
    req.bytes = (uint32_t)o->bytes;
    if (!ask(s, "/cocos_c.v1.VirtualMachines/Console", &req.base, what, &reply, &status))
        return status;
    res = (CocosC__V1__ConsoleResponse *)pb_decode(&cocos_c__v1__console_response__descriptor,
                                                   buf_slice(&reply), NULL, &e);
    if (!res || !make_safe(pb_slice(res->tail), &safe, &e) || !(text = buf_str(&safe, &e)))
        return cli_out_fail(s->out, what, err_text(&e));
    cli_out_str(s->out, "id", id);
    cli_out_str(s->out, "console", text);
    return cli_out_print(s->out, buf_slice(&safe)) ? CLI_DONE : CLI_FAILED;
}

static bool check_words(const struct config_values *v, struct err *e)
{
    bool console_wanted = strcmp(v->args[0], "console") == 0;

    if (!console_wanted && strcmp(v->args[0], "list") != 0)
        return err_fail(e, ERR_KIND_INVALID, "'%s': list or console is wanted", v->args[0]);
    if (console_wanted != (v->arg_count == 2))
        return err_fail(e, ERR_KIND_INVALID, "%s",
                        console_wanted ? "console: the id of a VM is wanted; 'cocos-cli vm list' shows them"
                                       : "list takes no argument");
    return true;
}

static int run(struct cli_out *out, const void *opts_read, const struct config_values *values)
{
    const struct vm_opts *o = opts_read;
    struct err e = ERR_INIT;
    struct cli_session s;
    int status = CLI_FAILED;

    if (!check_words(values, &e)) {
        cli_out_fail(out, "vm", err_text(&e));
        return CLI_USAGE;
    }
    if (cli_session_open_manager(&s, out, &o->manager, &status))
        status = values->arg_count == 2 ? console(&s, o, values->args[1]) : list(&s);
    cli_session_done(&s);
    return status;
}

const struct cli_command cli_vm_command = {
    .name = "vm",
    .spec = &spec,
    .opts_size = sizeof(struct vm_opts),
    .run = run,
};
