#include "cli/auth.h"

#include <inttypes.h>

#include "base/clock.h"
#include "base/stage.h"
#include "base/text.h"
#include "manifest/sign.h"

#define KEY_FILE_MAX ((size_t)64 * 1024)
#define SIGNATURE_MAX ((size_t)4096)
#define LIFETIME_S 3600
#define NS_PER_S INT64_C(1000000000)

struct key *cli_auth_read_key(struct cli_out *out, const char *path)
{
    struct err e = ERR_INIT;
    CLEANUP(secret_done) struct secret pem = SECRET_INIT(KEY_FILE_MAX);
    struct key *key;

    if (!stage_read_file(path, &pem.bytes, &e)) {
        cli_out_fail(out, "Error reading private key file", err_text(&e));
        return NULL;
    }
    key = key_private_from_pem(secret_slice(&pem), &e);
    if (!key) {
        err_wrap(&e, "error decoding key: '%s'", path);
        cli_out_fail(out, "Error decoding private key", err_text(&e));
    }
    return key;
}

static bool add_signature(struct rpc_md *md, const char *md_key, const struct key *key, struct slice text,
                          struct err *e)
{
    CLEANUP(buf_done) struct buf signature = BUF_INIT(SIGNATURE_MAX);
    CLEANUP(buf_done) struct buf base64 = BUF_INIT(2 * SIGNATURE_MAX);

    return key_sign(key, text, &signature, e) && base64_encode(buf_slice(&signature), &base64, e) &&
           rpc_md_add(md, md_key, buf_slice(&base64), e);
}

static bool add_bound(const struct cli_session *s, const struct key *key, const char *role,
                      const uint8_t *hash, struct slice filename, struct rpc_md *md, struct err *e)
{
    int64_t expiry_s = clock_wall_ns(clock_system()) / NS_PER_S + LIFETIME_S;
    struct sign_bound bound = { .computation_id = s->computation_id,
                                .role = role,
                                .hash = hash,
                                .filename = filename,
                                .expiry_s = expiry_s };
    char hex[2 * HASH_SHA3_256_LEN + 1];
    char expiry[32];
    CLEANUP(buf_done) struct buf text = BUF_INIT(8192);

    snprintf(expiry, sizeof(expiry), "%" PRId64, expiry_s);
    if (hash) {
        hex_encode(slice_of(hash, HASH_SHA3_256_LEN), hex);
        if (!rpc_md_add_str(md, SIGN_MD_HASH, hex, e))
            return false;
    }
    return sign_bound_text(&bound, &text, e) && add_signature(md, SIGN_MD_BOUND, key, buf_slice(&text), e) &&
           rpc_md_add_str(md, SIGN_MD_EXPIRY, expiry, e);
}

bool cli_auth_add(const struct cli_session *s, const struct key *key, const char *role,
                  const uint8_t hash[HASH_SHA3_256_LEN], struct slice filename, struct rpc_md *md,
                  struct err *e)
{
    bool plain = !s->computation_id || !s->bound_only;

    return rpc_md_add_str(md, SIGN_MD_USER, role, e) &&
           (!plain || add_signature(md, SIGN_MD_PLAIN, key, slice_of_str(role), e)) &&
           (!s->computation_id || add_bound(s, key, role, hash, filename, md, e));
}
