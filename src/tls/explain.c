/*
 * Why a handshake failed, in words a person can act on.
 */
#include "tls/tls_int.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "base/buf.h"
#include "base/mem.h"

#define NAME_SIZE 128
#define NAMES_SHOWN 8

/* ------------------------------------------------------------ certificates */

static void name_text(const X509_NAME *name, char ret[NAME_SIZE])
{
    BIO *bio = BIO_new(BIO_s_mem());

    snprintf(ret, NAME_SIZE, "?");
    /* RFC 2253 form escapes control and non-ASCII bytes, so a name can't draw on a terminal. */
    if (bio && X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253) >= 0) {
        int n = BIO_read(bio, ret, NAME_SIZE - 1);

        ret[n > 0 ? n : 0] = 0;
    }
    BIO_free(bio);
}

static void time_text(const ASN1_TIME *at, char ret[32])
{
    struct tm tm;

    if (ASN1_TIME_to_tm(at, &tm) != 1 || strftime(ret, 32, "%Y-%m-%d %H:%M:%S UTC", &tm) == 0)
        snprintf(ret, 32, "an unreadable time");
}

static void add_name(struct buf *out, const GENERAL_NAME *n)
{
    char text[NAME_SIZE] = "";
    struct err ignored = ERR_INIT;
    const ASN1_STRING *s;

    if (n->type == GEN_DNS) {
        s = n->d.dNSName;

        int len = ASN1_STRING_length(s);

        for (int i = 0; i < len && i + 1 < NAME_SIZE; i++) {
            unsigned char c = ASN1_STRING_get0_data(s)[i];

            text[i] = c > ' ' && c < 0x7f ? (char)c : '?';
        }
    } else if (n->type == GEN_IPADD) {
        s = n->d.iPAddress;
        int family = ASN1_STRING_length(s) == 4 ? AF_INET : AF_INET6;

        if (family == AF_INET6 && ASN1_STRING_length(s) != 16)
            return;
        inet_ntop(family, ASN1_STRING_get0_data(s), text, sizeof(text));
    } else {
        return;
    }
    /* What does not fit is left out of a message. */
    if (!buf_format(out, &ignored, "%s'%s'", out->len ? ", " : "", text))
        return;
}

/* "'a.test', '127.0.0.1'", or "" when the certificate has no names. */
static void names_text(const X509 *cert, struct buf *out)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    int count = names ? sk_GENERAL_NAME_num(names) : 0;

    for (int i = 0; i < count && i < NAMES_SHOWN; i++)
        add_name(out, sk_GENERAL_NAME_value(names, i));
    GENERAL_NAMES_free(names);
}

static void wrong_host(const struct tls_conn *c, const X509 *cert, char *ret, size_t len)
{
    CLEANUP(buf_done) struct buf names = BUF_INIT(256);
    struct err ignored = ERR_INIT;
    char subject[NAME_SIZE];

    names_text(cert, &names);

    const char *text = buf_str(&names, &ignored);

    if (text && *text) {
        snprintf(ret, len, "hostname mismatch: '%s' is wanted, the certificate is for %s", c->host, text);
        return;
    }
    name_text(X509_get_subject_name(cert), subject);
    snprintf(ret, len,
             "hostname mismatch: '%s' is wanted, the certificate '%s' has no subject alternative names "
             "(its common name does not count)",
             c->host, subject);
}

static void describe(const struct tls_conn *c, X509_STORE_CTX *store, char *ret, size_t len)
{
    int code = X509_STORE_CTX_get_error(store);
    const X509 *cert = X509_STORE_CTX_get_current_cert(store);
    char subject[NAME_SIZE] = "?";
    char issuer[NAME_SIZE] = "?";
    char when[32] = "";

    if (cert) {
        name_text(X509_get_subject_name(cert), subject);
        name_text(X509_get_issuer_name(cert), issuer);
    }
    switch (code) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        if (cert)
            time_text(X509_get0_notAfter(cert), when);
        snprintf(ret, len, "certificate '%s' has expired: it was valid until %s", subject, when);
        return;
    case X509_V_ERR_CERT_NOT_YET_VALID:
        if (cert)
            time_text(X509_get0_notBefore(cert), when);
        snprintf(ret, len, "certificate '%s' is not yet valid: it begins at %s", subject, when);
        return;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        if (cert)
            wrong_host(c, cert, ret, len);
        return;
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
        snprintf(ret, len, "unknown CA: certificate '%s' is signed by itself and not trusted", subject);
        return;
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
        snprintf(ret, len, "unknown CA: '%s', which ends the chain, is not trusted", subject);
        return;
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
        snprintf(ret, len, "unknown CA: certificate '%s' is signed by '%s', which is not trusted (%s)",
                 subject, issuer, X509_verify_cert_error_string(code));
        return;
    default: snprintf(ret, len, "certificate '%s': %s", subject, X509_verify_cert_error_string(code));
    }
}

int tls_verify_note(int ok, X509_STORE_CTX *store)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct tls_conn *c = ssl ? SSL_get_ex_data(ssl, tls_conn_index()) : NULL;

    if (!ok && c && !c->verify_text[0]) {
        describe(c, store, c->verify_text, sizeof(c->verify_text));
        if (!c->verify_text[0])
            snprintf(c->verify_text, sizeof(c->verify_text), "%s",
                     X509_verify_cert_error_string(X509_STORE_CTX_get_error(store)));
    }
    return ok;
}

/* ------------------------------------------------------------------ alerts */

static const struct {
    int reason;
    enum err_kind kind;
    const char *text;
} reasons[] = {
    { SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED, ERR_KIND_DENIED,
      "the peer says that our certificate has expired" },
    { SSL_R_SSLV3_ALERT_BAD_CERTIFICATE, ERR_KIND_DENIED, "the peer does not accept our certificate" },
    { SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN, ERR_KIND_DENIED, "the peer does not accept our certificate" },
    { SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE, ERR_KIND_DENIED,
      "the peer does not accept our certificate: not of a kind or purpose it supports" },
    { SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED, ERR_KIND_DENIED,
      "the peer says that our certificate is revoked" },
    { SSL_R_TLSV1_ALERT_UNKNOWN_CA, ERR_KIND_DENIED,
      "the peer does not know the CA that signed our certificate" },
    { SSL_R_TLSV1_ALERT_ACCESS_DENIED, ERR_KIND_DENIED, "the peer denies access" },
    { SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED, ERR_KIND_DENIED,
      "the peer demands a client certificate, and none was given" },
    { SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL, ERR_KIND_INVALID,
      "the peer does not speak HTTP/2 (ALPN h2)" },
    { SSL_R_NO_APPLICATION_PROTOCOL, ERR_KIND_INVALID, "the peer does not offer HTTP/2 (ALPN h2)" },
    { SSL_R_TLSV1_ALERT_PROTOCOL_VERSION, ERR_KIND_INVALID,
      "no TLS version in common with the peer (1.2 and 1.3 here)" },
    { SSL_R_UNSUPPORTED_PROTOCOL, ERR_KIND_INVALID,
      "no TLS version in common with the peer (1.2 and 1.3 here)" },
    { SSL_R_NO_SHARED_CIPHER, ERR_KIND_INVALID, "no cipher suite in common with the peer" },
    { SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE, ERR_KIND_UNVERIFIED,
      "the peer sent no client certificate, and one is required" },
    { SSL_R_WRONG_VERSION_NUMBER, ERR_KIND_INVALID, "the peer does not speak TLS here (a plaintext port?)" },
    { SSL_R_HTTP_REQUEST, ERR_KIND_INVALID, "the peer speaks plaintext HTTP to a TLS port" },
    { SSL_R_PACKET_LENGTH_TOO_LONG, ERR_KIND_INVALID,
      "the peer does not speak TLS here (a plaintext port?)" },
};

static bool is_alert(int reason)
{
    return reason >= SSL_AD_REASON_OFFSET && reason < SSL_AD_REASON_OFFSET + 256;
}

bool tls_conn_explain(struct tls_conn *c, struct err *e)
{
    unsigned long code = ERR_peek_error();
    int reason = ERR_GET_LIB(code) == ERR_LIB_SSL ? ERR_GET_REASON(code) : 0;
    char text[256];

    tls_openssl_reason(text, sizeof(text));
    if (c->verify_text[0])
        return err_fail(e, ERR_KIND_UNVERIFIED, "%s", c->verify_text);
    /* TLS 1.2 servers have no alert of their own for this. */
    if (is_alert(reason) && c->certificate_asked && !c->certificate_given)
        return err_fail(e, ERR_KIND_DENIED, "the peer demands a client certificate, and none was given");
    for (size_t i = 0; i < ARRAY_LEN(reasons); i++)
        if (reasons[i].reason == reason)
            return err_fail(e, reasons[i].kind, "%s", reasons[i].text);
    return err_fail(e, ERR_KIND_INVALID,
                    is_alert(reason) ? "the peer ends the TLS connection: %s" : "TLS: %s", text);
}
