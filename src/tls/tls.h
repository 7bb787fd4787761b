/*
 * TLS contexts: what a server shows and demands, what a client trusts.
 *
 * TLS 1.3, and 1.2 with AEAD suites; ALPN "h2" is offered and demanded. A
 * PEM argument is either PEM text itself or a path (section 6 of the
 * protocol's AgentConfig: shorter than 1000 bytes and without a newline is a
 * path).
 */
#ifndef TLS_TLS_H
#define TLS_TLS_H

#include "base/err.h"
#include "base/slice.h"

struct tls_server;
struct tls_client;

struct tls_server_config {
    const char *cert;      /* PEM or path: chain, leaf first; required             */
    const char *key;       /* PEM or path; required, must fit the leaf             */
    const char *client_ca; /* PEM or path; set: a client certificate is required   */
};
bool tls_server_new(const struct tls_server_config *cfg, struct tls_server **ret, struct err *e) MUST_CHECK;
void tls_server_free(struct tls_server *t);
bool tls_server_is_mutual(const struct tls_server *t);

struct tls_client_config {
    const char *ca;   /* PEM or path; NULL: the system's roots                          */
    const char *cert; /* PEM or path, NULL: none; cert and key only together            */
    const char *key;
};
bool tls_client_new(const struct tls_client_config *cfg, struct tls_client **ret, struct err *e) MUST_CHECK;
void tls_client_free(struct tls_client *t);
bool tls_client_is_mutual(const struct tls_client *t);

/*
 * One TLS connection without I/O. Bytes of the wire go in by tls_conn_feed,
 * bytes for the wire are taken from tls_conn_out. Certificate faults name the
 * reason ("certificate has expired", "hostname mismatch: ...").
 */
struct tls_conn;
enum tls_step { TLS_BROKEN, TLS_HANDSHAKING, TLS_OPEN, TLS_CLOSED };

bool tls_conn_accept(struct tls_server *t, struct tls_conn **ret, struct err *e) MUST_CHECK;
/* host: name or address to verify against and (for a name) to send as SNI. */
bool tls_conn_connect(struct tls_client *t, const char *host, struct tls_conn **ret,
                      struct err *e) MUST_CHECK;
void tls_conn_free(struct tls_conn *c);

/* Wire bytes in. All are taken. TLS_BROKEN sets *e; an alert may be waiting in tls_conn_out. */
enum tls_step tls_conn_feed(struct tls_conn *c, struct slice wire, struct err *e);

/* Up to len bytes of decrypted data into at; *ret_len 0 when there is none now. */
enum tls_step tls_conn_read(struct tls_conn *c, uint8_t *at, size_t len, size_t *ret_len, struct err *e);

/* Plain bytes to be encrypted; only when TLS_OPEN. */
bool tls_conn_write(struct tls_conn *c, struct slice plain, struct err *e) MUST_CHECK;

/* Begins the closing handshake (close_notify). */
void tls_conn_close(struct tls_conn *c);

/* Wire bytes waiting to be sent: copies up to len out and returns how many. */
size_t tls_conn_out(struct tls_conn *c, uint8_t *at, size_t len);
size_t tls_conn_out_len(const struct tls_conn *c);

/* What may be why the peer closed the connection without a word, for messages to people; NULL: nothing. */
const char *tls_conn_hint(const struct tls_conn *c);

/* The serial number of the first certificate in PEM text, in decimal. INVALID when there is none. */
#define TLS_SERIAL_MAX 64
bool tls_pem_serial(struct slice pem, char ret[TLS_SERIAL_MAX], struct err *e) MUST_CHECK;

#endif
