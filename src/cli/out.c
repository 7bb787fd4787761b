#include "cli/out.h"

#include <stdarg.h>
#include <unistd.h>

#include "base/stage.h"
#include "base/text.h"

#define LINE_MAX_LEN 8192

static const char *const codes[] = {
    [CLI_PLAIN] = "",          [CLI_RED] = "\x1b[31m",  [CLI_GREEN] = "\x1b[32m",
    [CLI_YELLOW] = "\x1b[33m", [CLI_BLUE] = "\x1b[34m", [CLI_CYAN] = "\x1b[36m",
};

static bool is_set(char *const *env, const char *name)
{
    size_t len = strlen(name);

    for (; env && *env; env++)
        if (strncmp(*env, name, len) == 0 && (*env)[len] == '=' && (*env)[len + 1] != '\0')
            return true;
    return false;
}

bool cli_out_init(struct cli_out *o, bool json, bool verbose, char *const *env, struct err *e)
{
    *o = (struct cli_out){
        .json = json,
        .verbose = verbose,
        .colour = isatty(STDOUT_FILENO) && isatty(STDERR_FILENO) && !is_set(env, "NO_COLOR"),
        .bars = !json && isatty(STDOUT_FILENO),
        .peer = "agent",
    };
    if (json && !(o->record = json_object()))
        return err_fail(e, ERR_KIND_LIMIT, "out of memory");
    return true;
}

void cli_out_done(struct cli_out *o)
{
    json_decref(o->record);
    o->record = NULL;
}

/* Says one line; a stderr that can't be written to can't be told either. */
static void put_line(struct cli_out *o, enum cli_colour colour, struct slice text)
{
    struct err e = ERR_INIT;
    CLEANUP(buf_done) struct buf line = BUF_INIT(4 * LINE_MAX_LEN + 64);
    bool coloured = o->colour && colour != CLI_PLAIN;

    if ((coloured && !buf_append_str(&line, codes[colour], &e)) || !text_safe(text, &line, &e) ||
        (coloured && !buf_append_str(&line, "\x1b[0m", &e)) || !buf_append_str(&line, "\n", &e) ||
        !stage_write_all(STDERR_FILENO, buf_slice(&line), &e))
        return;
}

static PRINTF(3, 0) void put_formatted(struct cli_out *o, enum cli_colour colour, const char *fmt,
                                       va_list args)
{
    char text[LINE_MAX_LEN];

    vsnprintf(text, sizeof(text), fmt, args);
    put_line(o, colour, slice_of_str(text));
}

void cli_out_say(struct cli_out *o, enum cli_colour colour, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    put_formatted(o, colour, fmt, args);
    va_end(args);
}

void cli_out_hint(struct cli_out *o, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    put_formatted(o, CLI_PLAIN, fmt, args);
    va_end(args);
}

int cli_out_fail(struct cli_out *o, const char *what, const char *why)
{
    char text[LINE_MAX_LEN];

    snprintf(text, sizeof(text), "%s%s%s", what, why ? ": " : "", why ? why : "");
    cli_out_str(o, "error", text);
    cli_out_say(o, CLI_RED, "%s ❌ ", text);
    return 1;
}

bool cli_out_status(const struct cli_out *o, const struct rpc_status *status, struct buf *out, struct err *e)
{
    bool agent = strcmp(o->peer, "agent") == 0;

    if (!o->verbose && agent && status->code == RPC_PERMISSION_DENIED)
        return buf_append_str(out, "digital signature verification failed, check the provided public key", e);
    if (!o->verbose && status->code == RPC_UNAVAILABLE)
        return buf_format(out, e, "%s is unavailable on the current address", o->peer);
    return buf_format(out, e, "rpc error: code = %s desc = %s", rpc_code_name(status->code), status->message);
}

/* A record short of one member is still a record: exit status and error text tell what counts. */
static void put_member(struct cli_out *o, const char *key, json_t *value)
{
    if (!o->record)
        json_decref(value);
    else if (json_object_set_new(o->record, key, value) != 0)
        cli_out_say(o, CLI_PLAIN, "--json: member '%s' left out: out of memory", key);
}

void cli_out_str(struct cli_out *o, const char *key, const char *value)
{
    struct err e = ERR_INIT;
    CLEANUP(buf_done) struct buf safe = BUF_INIT(64 * 1024);
    const char *text = value;

    if (!o->record)
        return;
    /* jansson takes UTF-8 only; what is not gets the visible form of terminals. */
    if (!slice_is_utf8(slice_of_str(value)))
        text = text_safe(slice_of_str(value), &safe, &e) ? buf_str(&safe, &e) : NULL;
    put_member(o, key, json_string(text ? text : "(not printable)"));
}

void cli_out_u64(struct cli_out *o, const char *key, uint64_t value)
{
    if (o->record)
        put_member(o, key, json_integer(value > INT64_MAX ? INT64_MAX : (json_int_t)value));
}

void cli_out_bool(struct cli_out *o, const char *key, bool value)
{
    if (o->record)
        put_member(o, key, json_boolean(value));
}

void cli_out_json(struct cli_out *o, const char *key, json_t *take_value)
{
    put_member(o, key, take_value);
}

bool cli_out_print(struct cli_out *o, struct slice text)
{
    struct err e = ERR_INIT;

    if (o->json || stage_write_all(STDOUT_FILENO, text, &e))
        return true;
    cli_out_fail(o, "stdout", err_text(&e));
    return false;
}

static int take_text(const char *text, size_t len, void *ctx)
{
    struct err e = ERR_INIT;
    struct buf *out = ctx;

    return buf_append(out, slice_of(text, len), &e) ? 0 : -1;
}

int cli_out_end(struct cli_out *o, const char *command, int exit_status)
{
    struct err e = ERR_INIT;
    CLEANUP(buf_done) struct buf text = BUF_INIT(1024 * 1024);

    if (!o->json)
        return exit_status;
    cli_out_str(o, "command", command);
    cli_out_bool(o, "ok", exit_status == 0);
    cli_out_u64(o, "exit_status", (uint64_t)exit_status);
    if (json_dump_callback(o->record, take_text, &text, JSON_COMPACT) != 0)
        err_fail(&e, ERR_KIND_LIMIT, "out of memory");
    else if (buf_append_str(&text, "\n", &e) && stage_write_all(STDOUT_FILENO, buf_slice(&text), &e))
        return exit_status;
    cli_out_say(o, CLI_RED, "stdout: %s", err_text(&e));
    return exit_status ? exit_status : 1;
}
