#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "tls/tls.h"

#define DAY 86400L
#define TEXT_SIZE 4096

/* ------------------------------------------------- certificates of the tests */

struct pair {
    char cert[TEXT_SIZE];
    char key[TEXT_SIZE];
    X509 *x;
    EVP_PKEY *pkey;
};

enum {
    CA,
    OTHER_CA,
    GOOD,
    EXPIRED,
    NOT_YET,
    WRONG_NAME,
    NO_NAMES,
    SELF_SIGNED,
    FROM_OTHER_CA,
    CLIENT,
    CLIENT_EXPIRED,
    CLIENT_OTHER_CA,
    PAIRS
};

static struct pair pairs[PAIRS];

static void pem_of(BIO *bio, char ret[TEXT_SIZE])
{
    int n = BIO_read(bio, ret, TEXT_SIZE - 1);

    assert_true(n > 0);
    ret[n] = 0;
    BIO_free(bio);
}

static void add_extension(X509 *x, int nid, const char *value)
{
    X509V3_CTX ctx;

    X509V3_set_ctx(&ctx, x, x, NULL, NULL, 0);
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);

    assert_non_null(ext);
    assert_int_equal(X509_add_ext(x, ext, -1), 1);
    X509_EXTENSION_free(ext);
}

/* issuer NULL: signs itself. Times are seconds from now. */
static void make_pair(int which, const char *cn, const struct pair *issuer, bool is_ca, const char *names,
                      long begin, long end)
{
    struct pair *p = &pairs[which];

    p->pkey = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
    p->x = X509_new();
    assert_true(p->pkey && p->x);
    assert_int_equal(X509_set_version(p->x, X509_VERSION_3), 1);
    ASN1_INTEGER_set(X509_get_serialNumber(p->x), which + 1);
    X509_gmtime_adj(X509_getm_notBefore(p->x), begin);
    X509_gmtime_adj(X509_getm_notAfter(p->x), end);
    X509_set_pubkey(p->x, p->pkey);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(p->x), "CN", MBSTRING_ASC, (const unsigned char *)cn, -1,
                               -1, 0);
    X509_set_issuer_name(p->x, X509_get_subject_name(issuer ? issuer->x : p->x));
    if (is_ca)
        add_extension(p->x, NID_basic_constraints, "critical,CA:TRUE");
    if (names)
        add_extension(p->x, NID_subject_alt_name, names);
    assert_true(X509_sign(p->x, issuer ? issuer->pkey : p->pkey, EVP_sha256()) > 0);

    BIO *cert = BIO_new(BIO_s_mem());
    BIO *key = BIO_new(BIO_s_mem());

    assert_int_equal(PEM_write_bio_X509(cert, p->x), 1);
    assert_int_equal(PEM_write_bio_PrivateKey(key, p->pkey, NULL, NULL, 0, NULL, NULL), 1);
    pem_of(cert, p->cert);
    pem_of(key, p->key);
}

static int make_pairs(void **state)
{
    (void)state;
    const char *names = "DNS:agent.test,DNS:*.wild.test,IP:127.0.0.1,IP:::1";

    make_pair(CA, "Test CA", NULL, true, NULL, -DAY, DAY);
    make_pair(OTHER_CA, "Other CA", NULL, true, NULL, -DAY, DAY);
    make_pair(GOOD, "good", &pairs[CA], false, names, -DAY, DAY);
    make_pair(EXPIRED, "expired", &pairs[CA], false, names, -2 * DAY, -DAY);
    make_pair(NOT_YET, "not yet", &pairs[CA], false, names, DAY, 2 * DAY);
    make_pair(WRONG_NAME, "wrong", &pairs[CA], false, "DNS:other.test,IP:10.0.0.1", -DAY, DAY);
    make_pair(NO_NAMES, "agent.test", &pairs[CA], false, NULL, -DAY, DAY);
    make_pair(SELF_SIGNED, "self", NULL, false, names, -DAY, DAY);
    make_pair(FROM_OTHER_CA, "foreign", &pairs[OTHER_CA], false, names, -DAY, DAY);
    make_pair(CLIENT, "client", &pairs[CA], false, NULL, -DAY, DAY);
    make_pair(CLIENT_EXPIRED, "old client", &pairs[CA], false, NULL, -2 * DAY, -DAY);
    make_pair(CLIENT_OTHER_CA, "foreign client", &pairs[OTHER_CA], false, NULL, -DAY, DAY);
    return 0;
}

static int free_pairs(void **state)
{
    (void)state;
    for (size_t i = 0; i < PAIRS; i++) {
        X509_free(pairs[i].x);
        EVP_PKEY_free(pairs[i].pkey);
    }
    return 0;
}

/* ------------------------------------------------------------------ two ends */

struct ends {
    struct tls_server *ts;
    struct tls_client *tc;
    struct tls_conn *server;
    struct tls_conn *client;
    enum tls_step server_step;
    enum tls_step client_step;
    struct err server_err;
    struct err client_err;
};

static void ends_done(struct ends *n)
{
    tls_conn_free(n->server);
    tls_conn_free(n->client);
    tls_server_free(n->ts);
    tls_client_free(n->tc);
}

/* client_pair -1: the client has no certificate; mutual: the server demands one. */
static void ends_init(struct ends *n, int server_pair, int client_pair, bool mutual, const char *host)
{
    struct err e = ERR_INIT;
    const struct tls_server_config sc = {
        .cert = pairs[server_pair].cert,
        .key = pairs[server_pair].key,
        .client_ca = mutual ? pairs[CA].cert : NULL,
    };
    const struct tls_client_config cc = {
        .ca = pairs[CA].cert,
        .cert = client_pair < 0 ? NULL : pairs[client_pair].cert,
        .key = client_pair < 0 ? NULL : pairs[client_pair].key,
    };

    *n = (struct ends){ .server_step = TLS_HANDSHAKING,
                        .client_step = TLS_HANDSHAKING,
                        .server_err = ERR_INIT,
                        .client_err = ERR_INIT };
    if (!tls_server_new(&sc, &n->ts, &e) || !tls_client_new(&cc, &n->tc, &e) ||
        !tls_conn_accept(n->ts, &n->server, &e) || !tls_conn_connect(n->tc, host, &n->client, &e))
        fail_msg("%s", err_text(&e));
}

/* Moves at most `step` bytes at a time from one end to the other; true when any moved. */
static bool carry(struct tls_conn *from, struct tls_conn *to, size_t step, enum tls_step *to_step,
                  struct err *to_err)
{
    uint8_t part[16384];
    size_t n = tls_conn_out(from, part, step < sizeof(part) ? step : sizeof(part));

    if (n && *to_step != TLS_BROKEN)
        *to_step = tls_conn_feed(to, slice_of(part, n), to_err);
    return n > 0;
}

static void ends_carry(struct ends *n, size_t step)
{
    bool moved = true;

    while (moved) {
        moved = carry(n->client, n->server, step, &n->server_step, &n->server_err);
        moved |= carry(n->server, n->client, step, &n->client_step, &n->client_err);
    }
}

/* Lets an end see what came behind the handshake: an alert, or nothing. */
static enum tls_step look(struct tls_conn *c, enum tls_step step, struct err *e)
{
    uint8_t at[16];
    size_t n;

    if (step != TLS_OPEN)
        return step;
    step = tls_conn_read(c, at, sizeof(at), &n, e);
    assert_int_equal(n, 0);
    return step;
}

/* ------------------------------------------------------------- handshake table */

static struct shake_case {
    const char *name;
    int server_pair;
    int client_pair;
    bool mutual;
    const char *host;
    const char *client_says; /* NULL: the client is open and has nothing to say */
    enum err_kind client_kind;
    const char *server_says;
    enum err_kind server_kind;
} shakes[] = {
    { "good_name_opens", GOOD, -1, false, "agent.test", NULL, 0, NULL, 0 },
    { "good_name_with_root_dot_opens", GOOD, -1, false, "agent.test.", NULL, 0, NULL, 0 },
    { "wildcard_name_opens", GOOD, -1, false, "a.wild.test", NULL, 0, NULL, 0 },
    { "ipv4_address_opens", GOOD, -1, false, "127.0.0.1", NULL, 0, NULL, 0 },
    { "ipv6_address_opens", GOOD, -1, false, "::1", NULL, 0, NULL, 0 },
    { "ipv6_address_in_brackets_opens", GOOD, -1, false, "[::1]", NULL, 0, NULL, 0 },
    { "mutual_opens", GOOD, CLIENT, true, "agent.test", NULL, 0, NULL, 0 },
    { "certificate_nobody_asked_for_opens", GOOD, CLIENT, false, "agent.test", NULL, 0, NULL, 0 },
    { "expired_is_refused", EXPIRED, -1, false, "agent.test",
      "certificate 'CN=expired' has expired: it was valid until 20", ERR_KIND_UNVERIFIED,
      "certificate has expired", ERR_KIND_DENIED },
    { "not_yet_valid_is_refused", NOT_YET, -1, false, "agent.test",
      "certificate 'CN=not yet' is not yet valid: it begins at 20", ERR_KIND_UNVERIFIED,
      "does not accept our certificate", ERR_KIND_DENIED },
    { "wrong_name_is_refused", WRONG_NAME, -1, false, "agent.test",
      "hostname mismatch: 'agent.test' is wanted, the certificate is for 'other.test', '10.0.0.1'",
      ERR_KIND_UNVERIFIED, "does not accept our certificate", ERR_KIND_DENIED },
    { "wrong_address_is_refused", WRONG_NAME, -1, false, "127.0.0.1",
      "hostname mismatch: '127.0.0.1' is wanted, the certificate is for 'other.test', '10.0.0.1'",
      ERR_KIND_UNVERIFIED, "does not accept our certificate", ERR_KIND_DENIED },
    { "wildcard_takes_one_label_only", GOOD, -1, false, "a.b.wild.test",
      "hostname mismatch: 'a.b.wild.test' is wanted", ERR_KIND_UNVERIFIED, "does not accept our certificate",
      ERR_KIND_DENIED },
    { "common_name_does_not_count", NO_NAMES, -1, false, "agent.test",
      "the certificate 'CN=agent.test' has no subject alternative names", ERR_KIND_UNVERIFIED,
      "does not accept our certificate", ERR_KIND_DENIED },
    { "self_signed_is_refused", SELF_SIGNED, -1, false, "agent.test",
      "unknown CA: certificate 'CN=self' is signed by itself", ERR_KIND_UNVERIFIED, "does not know the CA",
      ERR_KIND_DENIED },
    { "other_ca_is_refused", FROM_OTHER_CA, -1, false, "agent.test",
      "unknown CA: certificate 'CN=foreign' is signed by 'CN=Other CA', which is not trusted",
      ERR_KIND_UNVERIFIED, "does not know the CA", ERR_KIND_DENIED },
    { "missing_client_certificate_is_refused", GOOD, -1, true, "agent.test",
      "the peer demands a client certificate, and none was given", ERR_KIND_DENIED,
      "sent no client certificate", ERR_KIND_UNVERIFIED },
    { "expired_client_certificate_is_refused", GOOD, CLIENT_EXPIRED, true, "agent.test",
      "our certificate has expired", ERR_KIND_DENIED, "certificate 'CN=old client' has expired",
      ERR_KIND_UNVERIFIED },
    { "client_certificate_of_other_ca_is_refused", GOOD, CLIENT_OTHER_CA, true, "agent.test",
      "does not know the CA that signed our certificate", ERR_KIND_DENIED,
      "unknown CA: certificate 'CN=foreign client'", ERR_KIND_UNVERIFIED },
};

static void check_says(const char *who, enum tls_step step, struct err *e, const char *want,
                       enum err_kind kind)
{
    if (!want) {
        if (step != TLS_OPEN)
            fail_msg("%s: not open: %s", who, err_text(e));
        return;
    }
    assert_int_equal(step, TLS_BROKEN);
    if (!strstr(err_text(e), want))
        fail_msg("%s: '%s' does not say '%s'", who, err_text(e), want);
    assert_int_equal(e->kind, kind);
}

static void check_shake(void **state)
{
    const struct shake_case *c = *state;
    static const size_t steps[] = { 1, 7, 16384 };

    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        CLEANUP(ends_done) struct ends n;

        ends_init(&n, c->server_pair, c->client_pair, c->mutual, c->host);
        ends_carry(&n, steps[i]);
        n.client_step = look(n.client, n.client_step, &n.client_err);
        n.server_step = look(n.server, n.server_step, &n.server_err);
        check_says("client", n.client_step, &n.client_err, c->client_says, c->client_kind);
        check_says("server", n.server_step, &n.server_err, c->server_says, c->server_kind);
    }
}

/* ---------------------------------------------------------------- open connection */

static void data_passes_both_ways_at_any_cut(void **state)
{
    (void)state;
    static const size_t steps[] = { 1, 100, 16384 };
    static uint8_t text[40000];
    static uint8_t got[sizeof(text)];

    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (uint8_t)(i * 7);
    for (size_t s = 0; s < ARRAY_LEN(steps); s++) {
        CLEANUP(ends_done) struct ends n;
        struct err e = ERR_INIT;

        ends_init(&n, GOOD, CLIENT, true, "agent.test");
        ends_carry(&n, steps[s]);
        for (int way = 0; way < 2; way++) {
            struct tls_conn *from = way ? n.server : n.client;
            struct tls_conn *to = way ? n.client : n.server;
            size_t have = 0;
            size_t len = 1;

            assert_true(tls_conn_write(from, slice_of(text, sizeof(text)), &e));
            assert_true(tls_conn_out_len(from) > sizeof(text));
            ends_carry(&n, steps[s]);
            while (len) {
                assert_int_equal(tls_conn_read(to, got + have,
                                               sizeof(got) - have < 999 ? sizeof(got) - have : 999, &len, &e),
                                 TLS_OPEN);
                have += len;
            }
            assert_int_equal(have, sizeof(text));
            assert_memory_equal(got, text, sizeof(text));
        }
    }
}

static void close_is_seen_by_the_peer(void **state)
{
    (void)state;
    CLEANUP(ends_done) struct ends n;
    struct err e = ERR_INIT;
    uint8_t at[8];
    size_t len;

    ends_init(&n, GOOD, -1, false, "agent.test");
    ends_carry(&n, 16384);
    tls_conn_close(n.client);
    ends_carry(&n, 16384);
    assert_int_equal(tls_conn_read(n.server, at, sizeof(at), &len, &e), TLS_CLOSED);
    assert_int_equal(len, 0);
    assert_int_equal(tls_conn_read(n.server, at, sizeof(at), &len, &e), TLS_CLOSED);
}

static void changed_record_breaks_the_connection_for_good(void **state)
{
    (void)state;
    CLEANUP(ends_done) struct ends n;
    struct err e = ERR_INIT;
    uint8_t wire[512];
    uint8_t at[64];
    size_t len;

    ends_init(&n, GOOD, -1, false, "agent.test");
    ends_carry(&n, 16384);
    assert_true(tls_conn_write(n.client, slice_of("hello", 5), &e));
    size_t count = tls_conn_out(n.client, wire, sizeof(wire));

    wire[count - 1] ^= 1;
    assert_int_equal(tls_conn_feed(n.server, slice_of(wire, count), &e), TLS_OPEN);
    assert_int_equal(tls_conn_read(n.server, at, sizeof(at), &len, &e), TLS_BROKEN);
    assert_int_equal(len, 0);
    assert_true(err_text(&e)[0]);
    assert_true(tls_conn_out_len(n.server) > 0); /* the alert */
    assert_int_equal(tls_conn_read(n.server, at, sizeof(at), &len, &e), TLS_BROKEN);
    assert_int_equal(tls_conn_feed(n.server, slice_of(wire, count), &e), TLS_BROKEN);
    assert_false(tls_conn_write(n.server, slice_of("x", 1), &e));
}

static void write_before_open_fails(void **state)
{
    (void)state;
    CLEANUP(ends_done) struct ends n;
    struct err e = ERR_INIT;

    ends_init(&n, GOOD, -1, false, "agent.test");
    assert_false(tls_conn_write(n.client, slice_of("x", 1), &e));
    assert_int_equal(e.kind, ERR_KIND_INVALID);
}

static void plaintext_at_either_end_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *wire;
        bool to_server;
        const char *says;
    } rows[] = {
        { "GET / HTTP/1.1\r\nHost: a\r\n\r\n", true, "plaintext" },
        { "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", true, "plaintext" },
        { "HTTP/1.1 400 Bad Request\r\n\r\n", false, "plaintext" },
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(ends_done) struct ends n;
        struct err e = ERR_INIT;

        ends_init(&n, GOOD, -1, false, "agent.test");
        assert_int_equal(
            tls_conn_feed(rows[i].to_server ? n.server : n.client, slice_of_str(rows[i].wire), &e),
            TLS_BROKEN);
        if (!strstr(err_text(&e), rows[i].says))
            fail_msg("row %zu: '%s'", i, err_text(&e));
    }
}

static void hint_names_the_certificate_that_was_not_given(void **state)
{
    (void)state;
    CLEANUP(ends_done) struct ends n;

    ends_init(&n, GOOD, -1, true, "agent.test");
    assert_null(tls_conn_hint(n.client));
    ends_carry(&n, 16384);
    assert_non_null(strstr(tls_conn_hint(n.client), "demands a client certificate"));
    assert_null(tls_conn_hint(n.server));
}

static void mutual_tls_is_told_apart(void **state)
{
    (void)state;
    CLEANUP(ends_done) struct ends one;
    CLEANUP(ends_done) struct ends two;

    ends_init(&one, GOOD, -1, false, "agent.test");
    ends_init(&two, GOOD, CLIENT, true, "agent.test");
    assert_null(tls_conn_hint(one.client));
    assert_true(tls_server_is_mutual(two.ts) && tls_client_is_mutual(two.tc));
    assert_false(tls_server_is_mutual(one.ts) || tls_client_is_mutual(one.tc));
}

/* ------------------------------------------------- peers that are not our own code */

struct raw {
    SSL_CTX *ctx;
    SSL *ssl;
    BIO *in;
    BIO *out;
};

static void raw_done(struct raw *r)
{
    SSL_free(r->ssl);
    SSL_CTX_free(r->ctx);
}

/* A plain OpenSSL client of any version with or without ALPN, against our server. */
static enum tls_step raw_shake(int version, const char *alpn, const char *suites, struct raw *r,
                               struct ends *n, struct err *e)
{
    enum tls_step step = TLS_HANDSHAKING;

    r->ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_security_level(r->ctx, 0);
    SSL_CTX_set_min_proto_version(r->ctx, version);
    SSL_CTX_set_max_proto_version(r->ctx, version);
    if (suites)
        assert_int_equal(SSL_CTX_set_cipher_list(r->ctx, suites), 1);
    r->ssl = SSL_new(r->ctx);
    r->in = BIO_new(BIO_s_mem());
    r->out = BIO_new(BIO_s_mem());
    BIO_set_mem_eof_return(r->in, -1);
    SSL_set_bio(r->ssl, r->in, r->out);
    SSL_set_connect_state(r->ssl);
    if (alpn)
        SSL_set_alpn_protos(r->ssl, (const unsigned char *)alpn, (unsigned)strlen(alpn));
    for (int round = 0; round < 6 && step == TLS_HANDSHAKING; round++) {
        uint8_t part[16384];
        int got;

        SSL_do_handshake(r->ssl);
        while (step == TLS_HANDSHAKING && (got = BIO_read(r->out, part, sizeof(part))) > 0)
            step = tls_conn_feed(n->server, slice_of(part, (size_t)got), e);

        size_t count = tls_conn_out(n->server, part, sizeof(part));

        BIO_write(r->in, part, (int)count);
    }
    return step;
}

static struct raw_case {
    const char *name;
    int version;
    const char *alpn;
    const char *suites;
    enum tls_step want;
    const char *says;
} raws[] = {
    { "tls13_with_h2_opens", TLS1_3_VERSION, "\2h2", NULL, TLS_OPEN, NULL },
    { "tls12_with_h2_opens", TLS1_2_VERSION, "\2h2", NULL, TLS_OPEN, NULL },
    { "h2_after_other_protocols_opens", TLS1_3_VERSION, "\x08http/1.1\2h2", NULL, TLS_OPEN, NULL },
    { "http11_only_is_refused", TLS1_3_VERSION, "\x08http/1.1", NULL, TLS_BROKEN, "does not offer HTTP/2" },
    { "no_alpn_is_refused", TLS1_3_VERSION, NULL, NULL, TLS_BROKEN, "does not offer HTTP/2" },
    { "no_alpn_on_tls12_is_refused", TLS1_2_VERSION, NULL, NULL, TLS_BROKEN, "does not offer HTTP/2" },
    { "tls11_is_refused", TLS1_1_VERSION, "\2h2", NULL, TLS_BROKEN, "no TLS version in common" },
    { "tls12_with_cbc_only_is_refused", TLS1_2_VERSION, "\2h2", "ECDHE-ECDSA-AES128-SHA", TLS_BROKEN,
      "no cipher suite in common" },
};

static void check_raw(void **state)
{
    const struct raw_case *c = *state;
    CLEANUP(ends_done) struct ends n;
    CLEANUP(raw_done) struct raw r = { NULL, NULL, NULL, NULL };
    struct err e = ERR_INIT;

    ends_init(&n, GOOD, -1, false, "agent.test");
    enum tls_step step = raw_shake(c->version, c->alpn, c->suites, &r, &n, &e);

    assert_int_equal(step, c->want);
    if (c->says && !strstr(err_text(&e), c->says))
        fail_msg("'%s' does not say '%s'", err_text(&e), c->says);
}

static void no_session_ticket_is_sent(void **state)
{
    (void)state;
    CLEANUP(ends_done) struct ends n;
    CLEANUP(raw_done) struct raw r = { NULL, NULL, NULL, NULL };
    struct err e = ERR_INIT;
    uint8_t at[16];

    ends_init(&n, GOOD, -1, false, "agent.test");
    assert_int_equal(raw_shake(TLS1_3_VERSION, "\2h2", NULL, &r, &n, &e), TLS_OPEN);
    assert_true(SSL_read(r.ssl, at, sizeof(at)) < 0);
    assert_false(SSL_SESSION_is_resumable(SSL_get0_session(r.ssl)));
}

static void renegotiation_is_refused(void **state)
{
    (void)state;
    CLEANUP(ends_done) struct ends n;
    CLEANUP(raw_done) struct raw r = { NULL, NULL, NULL, NULL };
    struct err e = ERR_INIT;
    uint8_t part[4096];
    uint8_t at[16];
    size_t len;

    ends_init(&n, GOOD, -1, false, "agent.test");
    assert_int_equal(raw_shake(TLS1_2_VERSION, "\2h2", NULL, &r, &n, &e), TLS_OPEN);
    SSL_do_handshake(r.ssl); /* reads the server's Finished */
    assert_int_equal(SSL_renegotiate(r.ssl), 1);
    SSL_do_handshake(r.ssl);

    int got = BIO_read(r.out, part, sizeof(part));

    assert_true(got > 0);
    tls_conn_feed(n.server, slice_of(part, (size_t)got), &e);
    tls_conn_read(n.server, at, sizeof(at), &len, &e);

    size_t count = tls_conn_out(n.server, part, sizeof(part));

    BIO_write(r.in, part, (int)count);
    ERR_clear_error();
    assert_true(SSL_do_handshake(r.ssl) < 1);
    assert_int_equal(ERR_GET_REASON(ERR_peek_error()), SSL_R_NO_RENEGOTIATION);
    ERR_clear_error();
}

/* ---------------------------------------------------------------- configuration */

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static struct config_case {
    const char *name;
    const char *cert; /* NULL: GOOD's text */
    const char *key;
    const char *ca;
    const char *says;
    enum err_kind kind;
} configs[] = {
    { "missing_certificate_path_is_named", "/nonexistent/c.pem", NULL, NULL,
      "TLS server: certificate '/nonexistent/c.pem': No such file or directory", ERR_KIND_MISSING },
    { "missing_key_path_is_named", NULL, "/nonexistent/k.pem", NULL,
      "TLS server: private key '/nonexistent/k.pem': No such file or directory", ERR_KIND_MISSING },
    { "missing_ca_path_is_named", NULL, NULL, "/nonexistent/ca.pem",
      "TLS server: CA certificates '/nonexistent/ca.pem': No such file or directory", ERR_KIND_MISSING },
    { "directory_is_named", "/", NULL, NULL, "TLS server: certificate '/': read: Is a directory",
      ERR_KIND_INTERNAL },
    { "text_without_pem_is_named", "hello\nworld\n", NULL, NULL,
      "TLS server: certificate given as text: no PEM certificate in it", ERR_KIND_INVALID },
    { "file_without_pem_is_named", "/dev/null", NULL, NULL,
      "TLS server: certificate '/dev/null': no PEM certificate in it", ERR_KIND_INVALID },
    { "broken_pem_is_named", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", NULL, NULL,
      "TLS server: certificate given as text: ", ERR_KIND_INVALID },
    { "cut_pem_is_named", "-----BEGIN CERTIFICATE-----\nAAAA\n", NULL, NULL,
      "TLS server: certificate given as text: ", ERR_KIND_INVALID },
    { "certificate_for_key_is_named", NULL, "@cert", NULL,
      "TLS server: private key given as text: no readable PEM private key in it", ERR_KIND_INVALID },
    { "foreign_key_does_not_fit", NULL, "@other", NULL,
      "TLS server: private key given as text does not fit the certificate", ERR_KIND_INVALID },
    { "encrypted_key_is_named", NULL, "@encrypted", NULL, "encrypted with a password", ERR_KIND_UNSUPPORTED },
    { "ca_without_certificate_is_named", NULL, NULL, "nothing\nhere\n",
      "TLS server: CA certificates given as text: no PEM certificate in it", ERR_KIND_INVALID },
};

static char encrypted_key[TEXT_SIZE];

static void check_config(void **state)
{
    const struct config_case *c = *state;
    struct tls_server *t = NULL;
    struct err e = ERR_INIT;
    struct tls_server_config cfg = {
        .cert = c->cert ? c->cert : pairs[GOOD].cert,
        .key = c->key ? c->key : pairs[GOOD].key,
        .client_ca = c->ca,
    };

    if (c->key && strcmp(c->key, "@cert") == 0)
        cfg.key = pairs[GOOD].cert;
    if (c->key && strcmp(c->key, "@other") == 0)
        cfg.key = pairs[CLIENT].key;
    if (c->key && strcmp(c->key, "@encrypted") == 0) {
        BIO *bio = BIO_new(BIO_s_mem());

        PEM_write_bio_PKCS8PrivateKey(bio, pairs[GOOD].pkey, EVP_aes_128_cbc(), "secret", 6, NULL, NULL);
        pem_of(bio, encrypted_key);
        cfg.key = encrypted_key;
    }
    assert_false(tls_server_new(&cfg, &t, &e));
    if (strncmp(err_text(&e), c->says, strlen(c->says)) != 0 && !strstr(err_text(&e), c->says))
        fail_msg("'%s' does not say '%s'", err_text(&e), c->says);
    assert_int_equal(e.kind, c->kind);
}

static void paths_work_as_well_as_text(void **state)
{
    (void)state;
    char dir[] = "/tmp/cocos-test-tls.XXXXXX";
    char cert[64];
    char key[64];
    char bundle[2 * TEXT_SIZE];
    struct tls_server *t = NULL;
    struct err e = ERR_INIT;

    assert_non_null(mkdtemp(dir));
    snprintf(cert, sizeof(cert), "%s/cert.pem", dir);
    snprintf(key, sizeof(key), "%s/key.pem", dir);
    snprintf(bundle, sizeof(bundle), "%s%s", pairs[GOOD].cert, pairs[CA].cert);
    write_file(cert, bundle); /* leaf, then its CA */
    write_file(key, pairs[GOOD].key);
    bool ok = tls_server_new(&(struct tls_server_config){ .cert = cert, .key = key, .client_ca = cert }, &t,
                             &e);

    unlink(cert);
    unlink(key);
    rmdir(dir);
    if (!ok)
        fail_msg("%s", err_text(&e));
    tls_server_free(t);
}

static void client_certificate_and_key_come_together(void **state)
{
    (void)state;
    struct tls_client *t = NULL;
    struct err e = ERR_INIT;

    assert_false(tls_client_new(&(struct tls_client_config){ .cert = pairs[CLIENT].cert }, &t, &e));
    assert_int_equal(e.kind, ERR_KIND_INVALID);
    assert_non_null(strstr(err_text(&e), "the key is missing"));
    assert_false(tls_client_new(&(struct tls_client_config){ .key = pairs[CLIENT].key }, &t, &e));
    assert_non_null(strstr(err_text(&e), "the certificate is missing"));
}

static void system_roots_do_not_know_the_test_ca(void **state)
{
    (void)state;
    CLEANUP(ends_done) struct ends n;
    struct err e = ERR_INIT;

    ends_init(&n, GOOD, -1, false, "agent.test");
    tls_conn_free(n.client);
    tls_client_free(n.tc);
    n.client = NULL;
    n.tc = NULL;
    assert_true(tls_client_new(&(struct tls_client_config){ .ca = NULL }, &n.tc, &e));
    assert_true(tls_conn_connect(n.tc, "agent.test", &n.client, &e));
    ends_carry(&n, 16384);
    assert_int_equal(n.client_step, TLS_BROKEN);
    assert_non_null(strstr(err_text(&n.client_err), "unknown CA"));
}

static void host_must_be_there(void **state)
{
    (void)state;
    CLEANUP(ends_done) struct ends n;
    struct tls_conn *c = NULL;
    struct err e = ERR_INIT;
    char long_host[300];

    ends_init(&n, GOOD, -1, false, "agent.test");
    memset(long_host, 'a', sizeof(long_host) - 1);
    long_host[sizeof(long_host) - 1] = 0;
    assert_false(tls_conn_connect(n.tc, "", &c, &e));
    assert_int_equal(e.kind, ERR_KIND_INVALID);
    assert_false(tls_conn_connect(n.tc, long_host, &c, &e));
}

static void free_accepts_nothing(void **state)
{
    (void)state;
    tls_server_free(NULL);
    tls_client_free(NULL);
    tls_conn_free(NULL);
}

int main(void)
{
    static const struct CMUnitTest fixed[] = {
        cmocka_unit_test(data_passes_both_ways_at_any_cut),
        cmocka_unit_test(close_is_seen_by_the_peer),
        cmocka_unit_test(changed_record_breaks_the_connection_for_good),
        cmocka_unit_test(write_before_open_fails),
        cmocka_unit_test(plaintext_at_either_end_is_named),
        cmocka_unit_test(hint_names_the_certificate_that_was_not_given),
        cmocka_unit_test(mutual_tls_is_told_apart),
        cmocka_unit_test(no_session_ticket_is_sent),
        cmocka_unit_test(renegotiation_is_refused),
        cmocka_unit_test(paths_work_as_well_as_text),
        cmocka_unit_test(client_certificate_and_key_come_together),
        cmocka_unit_test(system_roots_do_not_know_the_test_ca),
        cmocka_unit_test(host_must_be_there),
        cmocka_unit_test(free_accepts_nothing),
    };
    enum { SHAKES = ARRAY_LEN(shakes), RAWS = ARRAY_LEN(raws), CONFIGS = ARRAY_LEN(configs) };
    struct CMUnitTest tests[SHAKES + RAWS + CONFIGS];
    size_t count = 0;

    for (size_t i = 0; i < SHAKES; i++)
        tests[count++] = (struct CMUnitTest){ shakes[i].name, check_shake, NULL, NULL, &shakes[i] };
    for (size_t i = 0; i < RAWS; i++)
        tests[count++] = (struct CMUnitTest){ raws[i].name, check_raw, NULL, NULL, &raws[i] };
    for (size_t i = 0; i < CONFIGS; i++)
        tests[count++] = (struct CMUnitTest){ configs[i].name, check_config, NULL, NULL, &configs[i] };
    make_pairs(NULL);

    int failed = cmocka_run_group_tests_name("tls rows", tests, NULL, NULL);

    failed += cmocka_run_group_tests_name("tls", fixed, NULL, NULL);
    free_pairs(NULL);
    return failed;
}
