#include "tls/tls_int.h"

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/mem.h"
#include "base/stage.h"

#define PEM_MAX ((size_t)1024 * 1024)
#define PEM_USUAL ((size_t)64 * 1024)
#define PATH_LEN_MAX 1000 /* of AgentConfig: longer text, or text with a newline, is PEM itself */

#define TLS12_SUITES "ECDHE+AESGCM:ECDHE+CHACHA20"

static const unsigned char alpn_h2[] = { 2, 'h', '2' };

/* ------------------------------------------------------------- PEM or path */

/* A PEM argument after it was read, with the words that name it in errors. */
struct pem {
    struct buf text;
    BIO *bio;
    const char *what; /* "certificate", ...                       */
    const char *path; /* as given; NULL when the text was given   */
};

static bool pem_is_path(const char *arg)
{
    return strlen(arg) < PATH_LEN_MAX && !strchr(arg, '\n');
}

static void pem_done(struct pem *p)
{
    BIO_free(p->bio);
    p->bio = NULL;
    buf_wipe(&p->text);
}

/* "<what> '/path'" or "<what> given as text" for messages. */
static const char *pem_name(const struct pem *p, char ret[512])
{
    if (p->path)
        snprintf(ret, 512, "%s '%s'", p->what, p->path);
    else
        snprintf(ret, 512, "%s given as text", p->what);
    return ret;
}

static bool pem_open(struct pem *p, const char *what, const char *arg, struct err *e)
{
    char name[512];

    *p = (struct pem){ BUF_INIT(PEM_MAX), NULL, what, pem_is_path(arg) ? arg : NULL };
    if (p->path) {
        CLEANUP(fd_done) int fd = open(p->path, O_RDONLY | O_CLOEXEC);
        uint8_t *at;

        if (fd < 0)
            return err_fail_os(e, "%s", pem_name(p, name));
        /* Room for all from the start: a block that grows leaves a copy of a key behind. */
        if (!buf_reserve(&p->text, PEM_USUAL, &at, e) || !stage_read_fd(fd, &p->text, e))
            return err_wrap(e, "%s", pem_name(p, name));
    } else if (!buf_append_str(&p->text, arg, e)) {
        return err_wrap(e, "%s", pem_name(p, name));
    }

    struct slice text = buf_slice(&p->text);

    p->bio = BIO_new_mem_buf(text.len ? (const void *)text.at : "", (int)text.len);
    if (!p->bio)
        return err_fail(e, ERR_KIND_LIMIT, "%s: no memory", pem_name(p, name));
    return true;
}

void tls_openssl_reason(char *ret, size_t len)
{
    unsigned long code = ERR_peek_last_error();
    const char *reason = code ? ERR_reason_error_string(code) : NULL;

    if (code && ERR_SYSTEM_ERROR(code))
        snprintf(ret, len, "%s", strerror(ERR_GET_REASON(code)));
    else
        snprintf(ret, len, "%s", reason ? reason : "unknown reason");
    ERR_clear_error();
}

static bool fail_openssl(struct err *e, enum err_kind kind, const char *what)
{
    char reason[256];

    tls_openssl_reason(reason, sizeof(reason));
    return err_fail(e, kind, "%s: %s", what, reason);
}

/* The reader met the end of the text, and not something broken. */
static bool pem_at_end(void)
{
    unsigned long code = ERR_peek_last_error();
    bool end = ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE;

    if (end)
        ERR_clear_error();
    return end;
}

static int no_password(char *at, int len, int writing, void *ctx)
{
    (void)at, (void)len, (void)writing;
    *(bool *)ctx = true;
    return -1;
}

/* The next certificate: true with NULL at the end of the text. */
static bool pem_next_cert(struct pem *p, X509 **ret, struct err *e)
{
    char name[512];
    bool encrypted = false;

    ERR_clear_error();
    *ret = PEM_read_bio_X509(p->bio, NULL, no_password, &encrypted);
    if (!*ret && !pem_at_end())
        return fail_openssl(e, ERR_KIND_INVALID, pem_name(p, name));
    return true;
}

/* --------------------------------------------------- what both sides share */

static bool ctx_common(SSL_CTX *ctx, struct err *e)
{
    if (!SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) || !SSL_CTX_set_cipher_list(ctx, TLS12_SUITES))
        return fail_openssl(e, ERR_KIND_INTERNAL, "TLS set-up");
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE);
    /* An idle connection gives its record buffers back. */
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    return true;
}

/* Leaf and chain of one text, leaf first. */
static bool use_chain(SSL_CTX *ctx, struct pem *p, struct err *e)
{
    char name[512];
    X509 *cert;

    if (!pem_next_cert(p, &cert, e))
        return false;
    if (!cert)
        return err_fail(e, ERR_KIND_INVALID, "%s: no PEM certificate in it", pem_name(p, name));

    bool ok = SSL_CTX_use_certificate(ctx, cert) == 1;

    X509_free(cert);
    if (!ok)
        return fail_openssl(e, ERR_KIND_INVALID, pem_name(p, name));
    for (;;) {
        if (!pem_next_cert(p, &cert, e))
            return false;
        if (!cert)
            return true;
        if (!SSL_CTX_add0_chain_cert(ctx, cert)) {
            X509_free(cert);
            return fail_openssl(e, ERR_KIND_INVALID, pem_name(p, name));
        }
    }
}

static bool use_key(SSL_CTX *ctx, struct pem *p, struct err *e)
{
    char name[512];
    bool encrypted = false;

    ERR_clear_error();

    EVP_PKEY *key = PEM_read_bio_PrivateKey(p->bio, NULL, no_password, &encrypted);

    if (!key && encrypted) {
        ERR_clear_error();
        return err_fail(e, ERR_KIND_UNSUPPORTED, "%s: encrypted with a password; decrypt it first",
                        pem_name(p, name));
    }
    if (!key) {
        ERR_clear_error();
        return err_fail(e, ERR_KIND_INVALID, "%s: no readable PEM private key in it", pem_name(p, name));
    }

    /* Compared here, because the context's own check drops a certificate that does not fit. */
    bool fits = X509_check_private_key(SSL_CTX_get0_certificate(ctx), key) == 1;
    bool used = fits && SSL_CTX_use_PrivateKey(ctx, key) == 1;

    EVP_PKEY_free(key);
    if (used)
        return true;
    if (fits)
        return fail_openssl(e, ERR_KIND_INVALID, pem_name(p, name));
    ERR_clear_error();
    return err_fail(e, ERR_KIND_INVALID, "%s does not fit the certificate", pem_name(p, name));
}

static bool use_identity(SSL_CTX *ctx, const char *cert, const char *key, struct err *e)
{
    CLEANUP(pem_done) struct pem chain = { .bio = NULL };
    CLEANUP(pem_done) struct pem secret = { .bio = NULL };

    return pem_open(&chain, "certificate", cert, e) && use_chain(ctx, &chain, e) &&
           pem_open(&secret, "private key", key, e) && use_key(ctx, &secret, e);
}

/* Every certificate of the text is trusted; a server also names them when it asks. */
static bool use_roots(SSL_CTX *ctx, const char *arg, bool name_to_peer, struct err *e)
{
    CLEANUP(pem_done) struct pem p = { .bio = NULL };
    char name[512];
    size_t count = 0;
    X509 *cert;

    if (!pem_open(&p, "CA certificates", arg, e))
        return false;
    for (;;) {
        if (!pem_next_cert(&p, &cert, e))
            return false;
        if (!cert)
            break;

        bool ok = X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), cert) == 1 &&
                  (!name_to_peer || SSL_CTX_add_client_CA(ctx, cert) == 1);

        X509_free(cert);
        if (!ok)
            return fail_openssl(e, ERR_KIND_INVALID, pem_name(&p, name));
        count++;
    }
    if (count == 0)
        return err_fail(e, ERR_KIND_INVALID, "%s: no PEM certificate in it", pem_name(&p, name));
    return true;
}

static SSL_CTX *ctx_new(const SSL_METHOD *method, struct err *e)
{
    ERR_clear_error();

    SSL_CTX *ctx = SSL_CTX_new(method);

    if (!ctx)
        fail_openssl(e, ERR_KIND_INTERNAL, "TLS set-up");
    return ctx;
}

/* ------------------------------------------------------------------ server */

static int choose_h2(SSL *ssl, const unsigned char **ret, unsigned char *ret_len,
                     const unsigned char *offered, unsigned int offered_len, void *arg)
{
    struct cursor in = cursor_of(slice_of(offered, offered_len));
    struct slice name;
    uint8_t len;

    (void)ssl, (void)arg;
    while (cursor_u8(&in, &len) && cursor_bytes(&in, len, &name))
        if (slice_equal_str(name, "h2")) {
            *ret = name.at;
            *ret_len = 2;
            return SSL_TLSEXT_ERR_OK;
        }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

bool tls_server_new(const struct tls_server_config *cfg, struct tls_server **ret, struct err *e)
{
    if (!cfg->cert || !cfg->key)
        return err_fail(e, ERR_KIND_INVALID, "a TLS server needs a certificate and its private key");

    struct tls_server *t = mem_new(sizeof(*t), e);

    if (!t)
        return false;
    t->mutual = cfg->client_ca != NULL;
    t->ctx = ctx_new(TLS_server_method(), e);
    if (!t->ctx || !ctx_common(t->ctx, e) || !use_identity(t->ctx, cfg->cert, cfg->key, e) ||
        (t->mutual && !use_roots(t->ctx, cfg->client_ca, true, e))) {
        tls_server_free(t);
        return err_wrap(e, "TLS server");
    }
    SSL_CTX_set_num_tickets(t->ctx, 0);
    SSL_CTX_set_alpn_select_cb(t->ctx, choose_h2, NULL);
    if (t->mutual)
        SSL_CTX_set_verify(t->ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, tls_verify_note);
    *ret = t;
    return true;
}

void tls_server_free(struct tls_server *t)
{
    if (!t)
        return;
    SSL_CTX_free(t->ctx);
    mem_free(t);
}

bool tls_server_is_mutual(const struct tls_server *t)
{
    return t->mutual;
}

/* ------------------------------------------------------------------ client */

static bool use_system_roots(SSL_CTX *ctx, struct err *e)
{
    if (!SSL_CTX_set_default_verify_paths(ctx))
        return fail_openssl(e, ERR_KIND_INTERNAL, "the system's CA certificates");
    return true;
}

bool tls_client_new(const struct tls_client_config *cfg, struct tls_client **ret, struct err *e)
{
    if (!cfg->cert != !cfg->key)
        return err_fail(e, ERR_KIND_INVALID,
                        "a TLS client's certificate and private key come together: %s is missing",
                        cfg->cert ? "the key" : "the certificate");

    struct tls_client *t = mem_new(sizeof(*t), e);

    if (!t)
        return false;
    t->mutual = cfg->cert != NULL;
    t->ctx = ctx_new(TLS_client_method(), e);
    if (!t->ctx || !ctx_common(t->ctx, e) ||
        !(cfg->ca ? use_roots(t->ctx, cfg->ca, false, e) : use_system_roots(t->ctx, e)) ||
        (t->mutual && !use_identity(t->ctx, cfg->cert, cfg->key, e))) {
        tls_client_free(t);
        return err_wrap(e, "TLS client");
    }
    /* This call, unlike all others of its kind, answers 0 for success. */
    if (SSL_CTX_set_alpn_protos(t->ctx, alpn_h2, sizeof(alpn_h2)) != 0) {
        tls_client_free(t);
        return fail_openssl(e, ERR_KIND_LIMIT, "TLS client");
    }
    SSL_CTX_set_verify(t->ctx, SSL_VERIFY_PEER, tls_verify_note);
    SSL_CTX_set_cert_cb(t->ctx, tls_certificate_asked, NULL);
    *ret = t;
    return true;
}

void tls_client_free(struct tls_client *t)
{
    if (!t)
        return;
    SSL_CTX_free(t->ctx);
    mem_free(t);
}

bool tls_client_is_mutual(const struct tls_client *t)
{
    return t->mutual;
}
