#include "base/key_int.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "base/mem.h"

enum {
    RSA_BITS = 4096,
    RSA_BITS_MIN = 2048,
    RSA_BITS_MAX = 16384, /* above, checking a signature is a way to keep us busy */
    SIGNATURE_MAX = RSA_BITS_MAX / 8
};

bool key_fail_ssl(struct err *e, enum err_kind kind, const char *what)
{
    unsigned long code = ERR_get_error();
    const char *reason = code ? ERR_reason_error_string(code) : NULL;

    ERR_clear_error();
    return reason ? err_fail(e, kind, "%s: %s", what, reason) : err_fail(e, kind, "%s", what);
}

static void pkey_done(EVP_PKEY **p)
{
    EVP_PKEY_free(*p);
    *p = NULL;
}

static void md_ctx_done(EVP_MD_CTX **p)
{
    EVP_MD_CTX_free(*p);
    *p = NULL;
}

/* The curves that wire peers can check: those of NIST. */
static bool is_nist_curve(const EVP_PKEY *pkey)
{
    static const char *const names[] = { "prime256v1", "secp224r1", "secp384r1", "secp521r1",
                                         "P-256",      "P-224",     "P-384",     "P-521" };
    char name[64] = "";
    size_t len = 0;
    int spelled_out = 0;

    /* A curve given by its numbers is refused even when they are the right ones: peers do so. */
    if (EVP_PKEY_get_int_param(pkey, OSSL_PKEY_PARAM_EC_DECODED_FROM_EXPLICIT_PARAMS, &spelled_out) == 1 &&
        spelled_out)
        return false;
    if (EVP_PKEY_get_group_name(pkey, name, sizeof(name), &len) != 1)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

static bool type_of_pkey(const EVP_PKEY *pkey, enum key_type *ret, struct err *e)
{
    int bits = EVP_PKEY_get_bits(pkey);

    switch (EVP_PKEY_get_base_id(pkey)) {
    case EVP_PKEY_RSA:
        if (bits < RSA_BITS_MIN || bits > RSA_BITS_MAX)
            return err_fail(e, ERR_KIND_UNSUPPORTED, "an RSA key of %d bits, %d to %d are wanted", bits,
                            RSA_BITS_MIN, RSA_BITS_MAX);
        *ret = KEY_RSA;
        return true;
    case EVP_PKEY_EC:
        if (!is_nist_curve(pkey))
            break;
        *ret = KEY_ECDSA;
        return true;
    case EVP_PKEY_ED25519: *ret = KEY_ED25519; return true;
    default: break;
    }
    return err_fail(e, ERR_KIND_UNSUPPORTED, "unsupported public key type");
}

struct key *key_wrap(EVP_PKEY *take_pkey, struct err *e)
{
    CLEANUP(pkey_done) EVP_PKEY *pkey = take_pkey;
    enum key_type type = KEY_RSA;

    if (!pkey || !type_of_pkey(pkey, &type, e))
        return NULL;

    struct key *k = mem_new(sizeof(*k), e);

    if (!k)
        return NULL;
    k->pkey = pkey;
    k->type = type;
    pkey = NULL;
    return k;
}

struct key *key_public_from_der(struct slice der, struct err *e)
{
    const uint8_t *at = der.at;

    if (der.len == 0) {
        err_fail(e, ERR_KIND_INVALID, "public key: it is empty");
        return NULL;
    }
    if (der.len > 64 * 1024) {
        err_fail(e, ERR_KIND_INVALID, "public key: %zu bytes are too many", der.len);
        return NULL;
    }

    EVP_PKEY *pkey = d2i_PUBKEY(NULL, &at, (long)der.len);

    if (!pkey) {
        /* Well-formed, but of a kind that OpenSSL has no code for? */
        const uint8_t *again = der.at;
        X509_PUBKEY *info = d2i_X509_PUBKEY(NULL, &again, (long)der.len);
        bool known = info == NULL;

        X509_PUBKEY_free(info);
        if (known)
            key_fail_ssl(e, ERR_KIND_INVALID, "public key: not a DER SubjectPublicKeyInfo");
        else
            err_fail(e, ERR_KIND_UNSUPPORTED, "unsupported public key type");
        ERR_clear_error();
        return NULL;
    }
    if (at != der.at + der.len) {
        EVP_PKEY_free(pkey);
        err_fail(e, ERR_KIND_INVALID, "public key: %zu bytes follow it", der.len - (size_t)(at - der.at));
        return NULL;
    }
    return key_wrap(pkey, e);
}

bool key_public_der(const struct key *k, struct buf *out, struct err *e)
{
    int len = i2d_PUBKEY(k->pkey, NULL);
    uint8_t *at;

    if (len <= 0)
        return key_fail_ssl(e, ERR_KIND_INTERNAL, "encode a public key");
    if (!buf_reserve(out, (size_t)len, &at, e))
        return false;
    if (i2d_PUBKEY(k->pkey, &at) != len)
        return key_fail_ssl(e, ERR_KIND_INTERNAL, "encode a public key");
    buf_extend(out, (size_t)len);
    return true;
}

struct key *key_generate(enum key_type type, struct err *e)
{
    EVP_PKEY *pkey = NULL;

    switch (type) {
    case KEY_RSA: pkey = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)RSA_BITS); break;
    case KEY_ECDSA: pkey = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256"); break;
    case KEY_ED25519: pkey = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"); break;
    }
    if (!pkey)
        key_fail_ssl(e, ERR_KIND_INTERNAL, "generate a key");
    return key_wrap(pkey, e);
}

enum key_type key_type_of(const struct key *k)
{
    return k->type;
}

/* Ed25519 hashes on its own; the others get SHA-256. OpenSSL pads RSA as PKCS#1 v1.5 by default. */
static const EVP_MD *digest_of(const struct key *k)
{
    return k->type == KEY_ED25519 ? NULL : EVP_sha256();
}

bool key_sign(const struct key *k, struct slice text, struct buf *out, struct err *e)
{
    CLEANUP(md_ctx_done) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    size_t len = 0;
    uint8_t *at;

    ERR_clear_error();
    if (!ctx || EVP_DigestSignInit(ctx, NULL, digest_of(k), NULL, k->pkey) != 1 ||
        EVP_DigestSign(ctx, NULL, &len, text.at, text.len) != 1)
        return key_fail_ssl(e, ERR_KIND_INTERNAL, "sign: a private key is wanted");
    if (!buf_reserve(out, len, &at, e))
        return false;
    if (EVP_DigestSign(ctx, at, &len, text.at, text.len) != 1)
        return key_fail_ssl(e, ERR_KIND_INTERNAL, "sign");
    buf_extend(out, len);
    return true;
}

bool key_verify(const struct key *k, struct slice text, struct slice signature, struct err *e)
{
    CLEANUP(md_ctx_done) EVP_MD_CTX *ctx = EVP_MD_CTX_new();

    ERR_clear_error();
    if (!ctx || EVP_DigestVerifyInit(ctx, NULL, digest_of(k), NULL, k->pkey) != 1)
        return key_fail_ssl(e, ERR_KIND_INTERNAL, "check a signature");
    if (signature.len == 0 || signature.len > SIGNATURE_MAX)
        return err_fail(e, ERR_KIND_UNVERIFIED, "a signature of %zu bytes does not hold", signature.len);

    int rc = EVP_DigestVerify(ctx, signature.at, signature.len, text.at, text.len);

    ERR_clear_error();
    /* Anything but 1 is a signature that doesn't hold, a broken encoding included. */
    return rc == 1 || err_fail(e, ERR_KIND_UNVERIFIED, "the signature does not hold");
}

void key_free(struct key *k)
{
    if (!k)
        return;
    EVP_PKEY_free(k->pkey);
    mem_free(k);
}

void key_done(struct key **k)
{
    key_free(*k);
    *k = NULL;
}
