/*
 * cocos-cli keys: a key pair in private.pem and public.pem.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/key.h"
#include "base/stage.h"
#include "cli/cli.h"

#define PEM_MAX ((size_t)64 * 1024)

static const char private_name[] = "private.pem";
static const char public_name[] = "public.pem";

struct keys_opts {
    struct cli_common common;
    const char *type;
    bool force;
};

static const struct config_opt opts[] = {
    { .flag = "key-type",
      .short_flag = 'k',
      .type = CONFIG_STR,
      .def = "rsa",
      .arg = "type",
      .help = "rsa (4096 bits), ecdsa (P-256) or ed25519",
      .offset = offsetof(struct keys_opts, type) },
    { .flag = "force",
      .type = CONFIG_BOOL,
      .help = "replace a key pair that is already there",
      .offset = offsetof(struct keys_opts, force) },
};

static const struct config_spec spec = {
    .program = CLI_PROGRAM " keys",
    .usage = "[flags]",
    .summary = "Make a key pair: private.pem and public.pem in the current directory",
    .examples = "  cocos-cli keys\n"
                "  cocos-cli keys -k ed25519\n",
    .opts = opts,
    .opt_count = ARRAY_LEN(opts),
    .parts = { { &cli_common_rows, offsetof(struct keys_opts, common) } },
};

static bool type_of(const char *name, enum key_type *ret)
{
    static const struct {
        const char *name;
        enum key_type type;
    } types[] = { { "rsa", KEY_RSA }, { "ecdsa", KEY_ECDSA }, { "ed25519", KEY_ED25519 } };

    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        if (strcmp(types[i].name, name) == 0) {
            *ret = types[i].type;
            return true;
        }
    }
    return false;
}

static bool refuse_existing(int dir, const char *name, struct err *e)
{
    struct stat st;

    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return true;
    return err_fail(e, ERR_KIND_INVALID, "'%s' is already there; --force replaces it", name);
}

/* Both files are on disk under temporary names before either gets its own. */
static bool write_pair(int dir, struct slice private_pem, struct slice public_pem, bool force, struct err *e)
{
    CLEANUP(stage_file_done) struct stage_file private_file = STAGE_FILE_INIT;
    CLEANUP(stage_file_done) struct stage_file public_file = STAGE_FILE_INIT;

    if (!stage_file_begin(dir, &private_file, e) || !stage_file_write(&private_file, private_pem, e) ||
        !stage_file_begin(dir, &public_file, e) || !stage_file_write(&public_file, public_pem, e))
        return false;
    if (!stage_file_commit(&public_file, public_name, 0644, force, e))
        return err_wrap(e, "'%s'", public_name);
    if (stage_file_commit(&private_file, private_name, 0600, force, e))
        return true;
    if (!force) /* it is ours, and useless alone */
        unlinkat(dir, public_name, 0);
    return err_wrap(e, "'%s'", private_name);
}

static bool make_pair(enum key_type type, bool force, struct err *e)
{
    CLEANUP(fd_done) int dir = -1;
    CLEANUP(key_done) struct key *key = NULL;
    CLEANUP(secret_done) struct secret private_pem = SECRET_INIT(PEM_MAX);
    CLEANUP(buf_done) struct buf public_pem = BUF_INIT(PEM_MAX);
    sigset_t all;
    sigset_t before;
    bool written;

    if (!stage_dir_open(".", 0755, &dir, e))
        return false;
    if (!force && (!refuse_existing(dir, private_name, e) || !refuse_existing(dir, public_name, e)))
        return false;
    key = key_generate(type, e);
    if (!key || !key_private_pem(key, &private_pem, e) || !key_public_pem(key, &public_pem, e))
        return false;

    /* A signal between the two renames would leave keys that don't belong together. */
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &before);
    written = write_pair(dir, secret_slice(&private_pem), buf_slice(&public_pem), force, e);
    sigprocmask(SIG_SETMASK, &before, NULL);
    return written;
}

static int run(struct cli_out *out, const void *opts_read, const struct config_values *values)
{
    const struct keys_opts *o = opts_read;
    struct err e = ERR_INIT;
    enum key_type type = KEY_RSA;

    (void)values;
    if (!type_of(o->type, &type)) {
        err_fail(&e, ERR_KIND_INVALID, "'%s': rsa, ecdsa or ed25519 is wanted", o->type);
        cli_out_fail(out, "flag --key-type", err_text(&e));
        return CLI_USAGE;
    }
    if (!make_pair(type, o->force, &e))
        return cli_out_fail(out, "Error generating keys", err_text(&e));
    cli_out_str(out, "key_type", o->type);
    cli_out_str(out, "private_key", private_name);
    cli_out_str(out, "public_key", public_name);
    cli_out_say(out, CLI_GREEN, "Successfully generated public/private key pair of type: %s", o->type);
    return CLI_DONE;
}

const struct cli_command cli_keys_command = {
    .name = "keys",
    .spec = &spec,
    .opts_size = sizeof(struct keys_opts),
    .run = run,
};
