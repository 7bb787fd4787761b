/*
 * What the files of this room share: the contexts behind the two config
 * structs, and the words for what OpenSSL found wrong.
 */
#ifndef TLS_TLS_INT_H
#define TLS_TLS_INT_H

#include <openssl/ssl.h>

#include "tls/tls.h"

struct tls_server {
    SSL_CTX *ctx;
    bool mutual;
};

struct tls_client {
    SSL_CTX *ctx;
    bool mutual;
};

#define TLS_VERIFY_TEXT_SIZE 512

struct tls_conn {
    SSL *ssl;
    BIO *in;  /* wire bytes to be read, owned by ssl    */
    BIO *out; /* wire bytes to be sent, owned by ssl    */
    bool server;
    bool mutual;
    bool certificate_asked; /* client: the server wants one           */
    bool certificate_given; /* client: and one was configured         */
    enum tls_step step;
    char host[256];                         /* client: what the certificate must name */
    char verify_text[TLS_VERIFY_TEXT_SIZE]; /* "" or why the peer's chain was refused */
};

/* Where a tls_conn hangs on its SSL. */
int tls_conn_index(void);

/* The verify callback of every context: notes the reason in the tls_conn. */
int tls_verify_note(int ok, X509_STORE_CTX *store);

/* Asked by a server for a certificate: notes that on the tls_conn. */
int tls_certificate_asked(SSL *ssl, void *arg);

/*
 * The newest entry of OpenSSL's error queue, which is emptied; "unknown
 * reason" when there is none. ret holds len bytes.
 */
void tls_openssl_reason(char *ret, size_t len);

/* Sets *e from a failed handshake or read: what was verified, what the peer said, or what OpenSSL says. */
bool tls_conn_explain(struct tls_conn *c, struct err *e);

#endif
