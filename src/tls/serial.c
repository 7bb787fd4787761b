#include "tls/tls.h"

#include <limits.h>
#include <openssl/bn.h>
#include <openssl/pem.h>

bool tls_pem_serial(struct slice pem, char ret[TLS_SERIAL_MAX], struct err *e)
{
    BIO *bio = pem.len <= INT_MAX ? BIO_new_mem_buf(pem.at, (int)pem.len) : NULL;
    X509 *cert = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
    BIGNUM *number = cert ? ASN1_INTEGER_to_BN(X509_get0_serialNumber(cert), NULL) : NULL;
    char *text = number ? BN_bn2dec(number) : NULL;
    bool ok = text && strlen(text) < TLS_SERIAL_MAX;

    if (ok)
        snprintf(ret, TLS_SERIAL_MAX, "%s", text);
    OPENSSL_free(text);
    BN_free(number);
    X509_free(cert);
    BIO_free(bio);
    return ok || err_fail(e, ERR_KIND_INVALID, "failed to decode certificate PEM");
}
