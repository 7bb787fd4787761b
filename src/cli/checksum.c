/*
 * cocos-cli checksum: the SHA3-256 by which a manifest names a file, a
 * directory, or a manifest itself.
 */
#include "base/stage.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/source.h"
#include "manifest/manifest.h"
#include "proto/pb.h"

struct checksum_opts {
    struct cli_common common;
    bool manifest;
    bool base64;
};

static const struct config_opt opts[] = {
    { .flag = "manifest",
      .short_flag = 'm',
      .type = CONFIG_BOOL,
      .help = "the file is a computation manifest in JSON: hash the form that agents measure",
      .offset = offsetof(struct checksum_opts, manifest) },
    { .flag = "base64",
      .short_flag = 'b',
      .type = CONFIG_BOOL,
      .help = "print base64 instead of hex",
      .offset = offsetof(struct checksum_opts, base64) },
};

static const struct config_spec spec = {
    .program = CLI_PROGRAM " checksum",
    .usage = "[flags] <path>",
    .summary = "SHA3-256 of a file, of a directory as it is uploaded, or of a manifest",
    .examples = "  cocos-cli checksum penguins.csv\n"
                "  cocos-cli checksum ./dataset-directory\n"
                "  cocos-cli checksum --manifest manifest.json\n"
                "  cocos-cli checksum --json penguins.csv | jq -r .sha3_256\n",
    .opts = opts,
    .opt_count = ARRAY_LEN(opts),
    .parts = { { &cli_common_rows, offsetof(struct checksum_opts, common) } },
    .args_min = 1,
    .args_max = 1,
};

static bool hash_path(const char *path, uint8_t ret[HASH_SHA3_256_LEN], struct err *e)
{
    CLEANUP(cli_source_done) struct cli_source source = CLI_SOURCE_INIT;

    return cli_source_open(path, &source, e) && cli_source_hash(&source, NULL, ret, e);
}

static bool hash_manifest(const char *path, uint8_t ret[HASH_SHA3_256_LEN], struct err *e)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(MF_REQUEST_MAX);
    CLEANUP(buf_done) struct buf json = BUF_INIT(2 * MF_REQUEST_MAX);
    CLEANUP(pb_done) Cvms__ComputationRunReq *request = NULL;

    if (!stage_read_file(path, &text, e))
        return false;
    request = mf_request_from_json(buf_slice(&text), e);
    if (!request)
        return err_wrap(e, "'%s'", path);
    return mf_json(request, &json, e) && hash_bytes(HASH_SHA3_256, buf_slice(&json), ret, e);
}

static int run(struct cli_out *out, const void *opts_read, const struct config_values *values)
{
    const struct checksum_opts *o = opts_read;
    struct err e = ERR_INIT;
    uint8_t hash[HASH_SHA3_256_LEN];
    char hex[2 * HASH_SHA3_256_LEN + 1];
    CLEANUP(buf_done) struct buf base64 = BUF_INIT(64);
    const char *base64_text;

    if (!(o->manifest ? hash_manifest : hash_path)(values->args[0], hash, &e) ||
        !base64_encode(slice_of(hash, sizeof(hash)), &base64, &e) || !(base64_text = buf_str(&base64, &e)))
        return cli_out_fail(out, "Error computing hash", err_text(&e));
    hex_encode(slice_of(hash, sizeof(hash)), hex);
    cli_out_str(out, "path", values->args[0]);
    cli_out_str(out, "sha3_256", hex);
    cli_out_str(out, "base64", base64_text);
    cli_out_say(out, CLI_PLAIN, "Hash of %s: %s", o->manifest ? "manifest file" : "file",
                o->base64 ? base64_text : hex);
    return CLI_DONE;
}

const struct cli_command cli_checksum_command = {
    .name = "checksum",
    .spec = &spec,
    .opts_size = sizeof(struct checksum_opts),
    .run = run,
};
