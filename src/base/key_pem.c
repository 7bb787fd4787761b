/* Keys as PEM files. */
#include "base/key_int.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "base/text.h"

#define PEM_MAX ((size_t)1024 * 1024)

static void bio_done(BIO **p)
{
    BIO_free(*p);
    *p = NULL;
}

/* One block of a PEM file, decoded. */
struct pem_block {
    char *label;
    char *header; /* "Proc-Type: 4,ENCRYPTED" of old encrypted keys */
    uint8_t *at;
    long len;
};

static void pem_block_done(struct pem_block *b)
{
    OPENSSL_free(b->label);
    OPENSSL_free(b->header);
    if (b->at)
        OPENSSL_clear_free(b->at, (size_t)b->len);
    *b = (struct pem_block){ 0 };
}

static bool label_is(const struct pem_block *b, const char *label)
{
    return b->label && strcmp(b->label, label) == 0;
}

/* Files that OpenSSL writes beside a key and that say nothing of it. */
static bool is_beside(const struct pem_block *b)
{
    return label_is(b, "EC PARAMETERS");
}

/* The first block that counts. INVALID when there is none. */
static bool pem_read(struct slice pem, struct pem_block *ret, struct err *e)
{
    if (pem.len == 0)
        return err_fail(e, ERR_KIND_INVALID, "key: the file is empty, PEM is wanted");
    if (pem.len > PEM_MAX)
        return err_fail(e, ERR_KIND_LIMIT, "key: %zu bytes, at most %zu are read", pem.len, PEM_MAX);

    CLEANUP(bio_done) BIO *bio = BIO_new_mem_buf(pem.at, (int)pem.len);

    if (!bio)
        return key_fail_ssl(e, ERR_KIND_LIMIT, "read PEM");
    ERR_clear_error();
    for (;;) {
        CLEANUP(pem_block_done) struct pem_block b = { 0 };

        if (PEM_read_bio(bio, &b.label, &b.header, &b.at, &b.len) != 1) {
            b = (struct pem_block){ 0 };
            ERR_clear_error();
            return err_fail(e, ERR_KIND_INVALID,
                            "key: no whole PEM block found (-----BEGIN ...-----, base64, -----END ...-----)");
        }
        if (is_beside(&b))
            continue;
        *ret = b;
        b = (struct pem_block){ 0 };
        return true;
    }
}

static EVP_PKEY *private_by_type(int type, const struct pem_block *b)
{
    const uint8_t *at = b->at;
    EVP_PKEY *pkey = d2i_PrivateKey(type, NULL, &at, b->len);

    if (pkey && at != b->at + b->len) {
        EVP_PKEY_free(pkey);
        return NULL;
    }
    return pkey;
}

/* PKCS#8; *ret_outer tells whether its outer form was right, whatever the key within is. */
static EVP_PKEY *private_pkcs8(const struct pem_block *b, bool *ret_outer)
{
    const uint8_t *at = b->at;
    PKCS8_PRIV_KEY_INFO *info = d2i_PKCS8_PRIV_KEY_INFO(NULL, &at, b->len);
    EVP_PKEY *pkey = NULL;

    *ret_outer = info && at == b->at + b->len;
    if (*ret_outer)
        pkey = EVP_PKCS82PKEY(info);
    PKCS8_PRIV_KEY_INFO_free(info);
    return pkey;
}

struct key *key_private_from_pem(struct slice pem, struct err *e)
{
    CLEANUP(pem_block_done) struct pem_block b = { 0 };
    EVP_PKEY *pkey = NULL;
    bool known_form = false;
    char shown[TEXT_SHORT_SIZE];

    if (!pem_read(pem, &b, e))
        return NULL;
    if (label_is(&b, "ENCRYPTED PRIVATE KEY") || strstr(b.header, "ENCRYPTED")) {
        err_fail(e, ERR_KIND_UNSUPPORTED,
                 "private key: it is encrypted; decrypt it first (openssl pkey -in key.pem -out plain.pem)");
        return NULL;
    }
    if (label_is(&b, "PRIVATE KEY")) {
        pkey = private_pkcs8(&b, &known_form);
        if (!known_form) /* older tools put PKCS#1 under this label */
            pkey = private_by_type(EVP_PKEY_RSA, &b);
    } else if (label_is(&b, "RSA PRIVATE KEY")) {
        pkey = private_by_type(EVP_PKEY_RSA, &b);
    } else if (label_is(&b, "EC PRIVATE KEY")) {
        pkey = private_by_type(EVP_PKEY_EC, &b);
    } else {
        text_short(slice_of_str(b.label), shown);
        err_fail(e, ERR_KIND_INVALID, "private key: the file holds '%s', a private key is wanted", shown);
        return NULL;
    }
    ERR_clear_error();
    if (!pkey) {
        err_fail(e, known_form ? ERR_KIND_UNSUPPORTED : ERR_KIND_INVALID, "private key: %s under '%s'",
                 known_form ? "a kind that is not supported" : "broken bytes", b.label);
        return NULL;
    }
    return key_wrap(pkey, e);
}

/* A public key whose encoding we know to be whole, appended to out. */
static bool append_public(EVP_PKEY *take_pkey, struct buf *out, struct err *e)
{
    CLEANUP(key_done) struct key *k = key_wrap(take_pkey, e);

    return k && key_public_der(k, out, e);
}

static bool append_certificate_key(const struct pem_block *b, struct buf *out, struct err *e)
{
    const uint8_t *at = b->at;
    X509 *cert = d2i_X509(NULL, &at, b->len);
    bool whole = cert && at == b->at + b->len;
    EVP_PKEY *pkey = whole ? X509_get_pubkey(cert) : NULL;

    X509_free(cert);
    ERR_clear_error();
    if (!whole)
        return err_fail(e, ERR_KIND_INVALID, "public key: broken bytes under 'CERTIFICATE'");
    if (!pkey)
        return err_fail(e, ERR_KIND_UNSUPPORTED, "unsupported public key type");
    return append_public(pkey, out, e);
}

bool key_public_pem_to_der(struct slice pem, struct buf *out, struct err *e)
{
    CLEANUP(pem_block_done) struct pem_block b = { 0 };
    char shown[TEXT_SHORT_SIZE];

    if (!pem_read(pem, &b, e))
        return false;
    if (label_is(&b, "CERTIFICATE"))
        return append_certificate_key(&b, out, e);
    if (label_is(&b, "PUBLIC KEY")) {
        struct slice der = slice_of(b.at, (size_t)b.len);
        CLEANUP(key_done) struct key *k = key_public_from_der(der, e);

        /* The very bytes of the file: they go into manifests, and peers compare them. */
        return k && buf_append(out, der, e);
    }
    text_short(slice_of_str(b.label), shown);
    return err_fail(e, ERR_KIND_INVALID, "public key: the file holds '%s', 'PUBLIC KEY' is wanted", shown);
}

/* What was written to bio, appended. */
static bool append_bio(BIO *bio, struct buf *out, struct err *e)
{
    char *at = NULL;
    long len = BIO_get_mem_data(bio, &at);

    return buf_append(out, slice_of(at, (size_t)len), e);
}

bool key_private_pem(const struct key *k, struct secret *out, struct err *e)
{
    CLEANUP(bio_done) BIO *bio = BIO_new(BIO_s_secmem());

    ERR_clear_error();
    if (!bio || PEM_write_bio_PKCS8PrivateKey(bio, k->pkey, NULL, NULL, 0, NULL, NULL) != 1)
        return key_fail_ssl(e, ERR_KIND_INTERNAL, "write a private key");
    return append_bio(bio, &out->bytes, e);
}

bool key_public_pem(const struct key *k, struct buf *out, struct err *e)
{
    CLEANUP(bio_done) BIO *bio = BIO_new(BIO_s_mem());

    ERR_clear_error();
    if (!bio || PEM_write_bio_PUBKEY(bio, k->pkey) != 1)
        return key_fail_ssl(e, ERR_KIND_INTERNAL, "write a public key");
    return append_bio(bio, out, e);
}
