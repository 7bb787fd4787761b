#include "tls/tls_int.h"

#include <arpa/inet.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <pthread.h>

#include "base/mem.h"

/* ------------------------------------------------------------------- index */

static pthread_once_t index_once = PTHREAD_ONCE_INIT;
static int index_value = -1;

static void index_make(void)
{
    index_value = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
}

int tls_conn_index(void)
{
    pthread_once(&index_once, index_make);
    return index_value;
}

int tls_certificate_asked(SSL *ssl, void *arg)
{
    struct tls_conn *c = SSL_get_ex_data(ssl, tls_conn_index());

    (void)arg;
    if (c)
        c->certificate_asked = true;
    return 1;
}

/* ------------------------------------------------------------ birth, death */

static bool conn_new(SSL_CTX *ctx, bool server, bool mutual, struct tls_conn **ret, struct err *e)
{
    struct tls_conn *c = mem_new(sizeof(*c), e);

    if (!c)
        return false;
    c->server = server;
    c->mutual = mutual;
    c->step = TLS_HANDSHAKING;
    c->ssl = SSL_new(ctx);
    c->in = BIO_new(BIO_s_mem());
    c->out = BIO_new(BIO_s_mem());
    if (!c->ssl || !c->in || !c->out || !SSL_set_ex_data(c->ssl, tls_conn_index(), c)) {
        ERR_clear_error();
        BIO_free(c->in);
        BIO_free(c->out);
        SSL_free(c->ssl);
        mem_free(c);
        return err_fail(e, ERR_KIND_LIMIT, "no memory for a TLS connection");
    }
    /* An empty BIO means "not yet" and never "the end". */
    BIO_set_mem_eof_return(c->in, -1);
    BIO_set_mem_eof_return(c->out, -1);
    SSL_set_bio(c->ssl, c->in, c->out);
    *ret = c;
    return true;
}

void tls_conn_free(struct tls_conn *c)
{
    if (!c)
        return;
    SSL_free(c->ssl);
    mem_free(c);
}

bool tls_conn_accept(struct tls_server *t, struct tls_conn **ret, struct err *e)
{
    if (!conn_new(t->ctx, true, t->mutual, ret, e))
        return false;
    SSL_set_accept_state((*ret)->ssl);
    return true;
}

/* host without the brackets and zone of an address, or the root's dot of a name. */
static bool plain_host(const char *host, char ret[256], bool *ret_is_address, struct err *e)
{
    struct slice s = slice_of_str(host);
    uint8_t address[16];

    if (s.len >= 2 && s.at[0] == '[' && s.at[s.len - 1] == ']')
        s = slice_of(s.at + 1, s.len - 2);
    if (slice_find(s, ':') < s.len)
        s = slice_first(s, slice_find(s, '%'));
    else if (s.len > 1 && s.at[s.len - 1] == '.')
        s.len--;
    if (s.len == 0 || s.len > 253)
        return err_fail(e, ERR_KIND_INVALID, "TLS: '%s' is no host name to verify a certificate against",
                        host);
    memcpy(ret, s.at, s.len);
    ret[s.len] = 0;
    *ret_is_address = inet_pton(AF_INET, ret, address) == 1 || inet_pton(AF_INET6, ret, address) == 1;
    return true;
}

/* What the certificate must name, and the name that is sent. */
static bool expect_host(struct tls_conn *c, bool is_address)
{
    X509_VERIFY_PARAM *want = SSL_get0_param(c->ssl);

    X509_VERIFY_PARAM_set_hostflags(want, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS |
                                              X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    if (is_address)
        return X509_VERIFY_PARAM_set1_ip_asc(want, c->host) == 1;
    return X509_VERIFY_PARAM_set1_host(want, c->host, 0) == 1 &&
           SSL_set_tlsext_host_name(c->ssl, c->host) == 1;
}

bool tls_conn_connect(struct tls_client *t, const char *host, struct tls_conn **ret, struct err *e)
{
    struct tls_conn *c = NULL;
    char name[256];
    bool is_address = false;

    if (!plain_host(host, name, &is_address, e) || !conn_new(t->ctx, false, t->mutual, &c, e))
        return false;
    memcpy(c->host, name, sizeof(name));
    c->certificate_given = t->mutual;
    SSL_set_connect_state(c->ssl);
    ERR_clear_error();
    /* The first step writes the ClientHello. */
    if (!expect_host(c, is_address) ||
        SSL_get_error(c->ssl, SSL_do_handshake(c->ssl)) != SSL_ERROR_WANT_READ) {
        char reason[256];

        tls_openssl_reason(reason, sizeof(reason));
        tls_conn_free(c);
        return err_fail(e, ERR_KIND_INTERNAL, "TLS to '%s': %s", host, reason);
    }
    *ret = c;
    return true;
}

/* ------------------------------------------------------------------- steps */

static enum tls_step broken(struct tls_conn *c, struct err *e)
{
    c->step = TLS_BROKEN;
    tls_conn_explain(c, e);
    return TLS_BROKEN;
}

static enum tls_step broken_before(struct err *e)
{
    err_fail(e, ERR_KIND_INVALID, "the TLS connection is broken already");
    return TLS_BROKEN;
}

/* Both sides have the right to expect HTTP/2 behind the handshake, so one that chose nothing ends. */
static bool speaks_h2(struct tls_conn *c, struct err *e)
{
    const unsigned char *chosen;
    unsigned int len;

    SSL_get0_alpn_selected(c->ssl, &chosen, &len);
    if (len == 2 && chosen[0] == 'h' && chosen[1] == '2')
        return true;
    SSL_shutdown(c->ssl);
    ERR_clear_error();
    c->step = TLS_BROKEN;
    return err_fail(e, ERR_KIND_INVALID,
                    c->server ? "the peer does not offer HTTP/2 (ALPN h2)"
                              : "the peer does not choose HTTP/2 (ALPN h2)");
}

static enum tls_step handshake(struct tls_conn *c, struct err *e)
{
    ERR_clear_error();

    int n = SSL_do_handshake(c->ssl);

    if (n == 1) {
        if (!speaks_h2(c, e))
            return TLS_BROKEN;
        c->step = TLS_OPEN;
        return TLS_OPEN;
    }
    if (SSL_get_error(c->ssl, n) == SSL_ERROR_WANT_READ)
        return TLS_HANDSHAKING;
    broken(c, e);
    err_wrap(e, "TLS handshake");
    return TLS_BROKEN;
}

enum tls_step tls_conn_feed(struct tls_conn *c, struct slice wire, struct err *e)
{
    if (c->step == TLS_BROKEN)
        return broken_before(e);
    while (wire.len) {
        int part = wire.len > INT_MAX ? INT_MAX : (int)wire.len;

        if (BIO_write(c->in, wire.at, part) != part) {
            ERR_clear_error();
            c->step = TLS_BROKEN;
            err_fail(e, ERR_KIND_LIMIT, "TLS: no memory for %d bytes", part);
            return TLS_BROKEN;
        }
        wire = slice_after(wire, (size_t)part);
    }
    return c->step == TLS_HANDSHAKING ? handshake(c, e) : c->step;
}

enum tls_step tls_conn_read(struct tls_conn *c, uint8_t *at, size_t len, size_t *ret_len, struct err *e)
{
    *ret_len = 0;
    if (c->step == TLS_BROKEN)
        return broken_before(e);
    if (c->step != TLS_OPEN || len == 0)
        return c->step;
    ERR_clear_error();

    int n = SSL_read_ex(c->ssl, at, len, ret_len);

    if (n == 1)
        return TLS_OPEN;
    *ret_len = 0;
    switch (SSL_get_error(c->ssl, n)) {
    case SSL_ERROR_WANT_READ: return TLS_OPEN;
    case SSL_ERROR_ZERO_RETURN: c->step = TLS_CLOSED; return TLS_CLOSED;
    default: return broken(c, e);
    }
}

bool tls_conn_write(struct tls_conn *c, struct slice plain, struct err *e)
{
    size_t written;

    if (c->step != TLS_OPEN)
        return err_fail(e, ERR_KIND_INVALID, "write to a TLS connection that is not open");
    if (plain.len == 0)
        return true;
    ERR_clear_error();
    /* Into a memory BIO all is written at once, or memory is short. */
    if (SSL_write_ex(c->ssl, plain.at, plain.len, &written) == 1 && written == plain.len)
        return true;
    c->step = TLS_BROKEN;
    tls_conn_explain(c, e);
    return err_wrap(e, "write to a TLS connection");
}

void tls_conn_close(struct tls_conn *c)
{
    if (c->step != TLS_OPEN && c->step != TLS_CLOSED)
        return;
    SSL_shutdown(c->ssl);
    ERR_clear_error();
}

size_t tls_conn_out(struct tls_conn *c, uint8_t *at, size_t len)
{
    int n = BIO_read(c->out, at, len > INT_MAX ? INT_MAX : (int)len);

    return n > 0 ? (size_t)n : 0;
}

size_t tls_conn_out_len(const struct tls_conn *c)
{
    return BIO_ctrl_pending(c->out);
}

const char *tls_conn_hint(const struct tls_conn *c)
{
    if (c->certificate_asked && !c->certificate_given)
        return "it demands a client certificate, and none was given";
    return NULL;
}
