#include "base/file.h"
#include "base/hash.h"

#include <openssl/evp.h>
#include <unistd.h>

#include "base/mem.h"

struct hash {
    EVP_MD_CTX *ctx;
    enum hash_alg alg;
};

#define HASH_READ_LEN ((size_t)256 * 1024)

static const EVP_MD *md_of(enum hash_alg alg)
{
    switch (alg) {
    case HASH_SHA256: return EVP_sha256();
    case HASH_SHA384: return EVP_sha384();
    case HASH_SHA512: return EVP_sha512();
    case HASH_SHA3_256: return EVP_sha3_256();
    case HASH_SHA3_384: return EVP_sha3_384();
    case HASH_SHA3_512: return EVP_sha3_512();
    }
    return NULL;
}

size_t hash_len(enum hash_alg alg)
{
    return (size_t)EVP_MD_get_size(md_of(alg));
}

struct hash *hash_new(enum hash_alg alg, struct err *e)
{
    struct hash *h = mem_new(sizeof(*h), e);

    if (!h)
        return NULL;
    h->alg = alg;
    h->ctx = EVP_MD_CTX_new();
    if (!h->ctx || EVP_DigestInit_ex(h->ctx, md_of(alg), NULL) != 1) {
        err_fail(e, ERR_KIND_INTERNAL, "start a digest");
        hash_free(h);
        return NULL;
    }
    return h;
}

bool hash_add(struct hash *h, struct slice bytes, struct err *e)
{
    if (EVP_DigestUpdate(h->ctx, bytes.at, bytes.len) != 1)
        return err_fail(e, ERR_KIND_INTERNAL, "digest %zu bytes", bytes.len);
    return true;
}

bool hash_finish(struct hash *h, uint8_t *ret, struct err *e)
{
    if (EVP_DigestFinal_ex(h->ctx, ret, NULL) != 1)
        return err_fail(e, ERR_KIND_INTERNAL, "finish a digest");
    return true;
}

void hash_free(struct hash *h)
{
    if (!h)
        return;
    EVP_MD_CTX_free(h->ctx);
    mem_free(h);
}

void hash_done(struct hash **h)
{
    hash_free(*h);
    *h = NULL;
}

bool hash_bytes(enum hash_alg alg, struct slice bytes, uint8_t *ret, struct err *e)
{
    CLEANUP(hash_done) struct hash *h = hash_new(alg, e);

    return h && hash_add(h, bytes, e) && hash_finish(h, ret, e);
}

bool hash_fd(enum hash_alg alg, int fd, uint8_t *ret, uint64_t *ret_len, struct err *e)
{
    CLEANUP(hash_done) struct hash *h = hash_new(alg, e);
    CLEANUP(mem_done) uint8_t *block = h ? mem_new(HASH_READ_LEN, e) : NULL;
    uint64_t total = 0;

    if (!block)
        return false;
    for (;;) {
        size_t len;

        if (!file_read(fd, block, HASH_READ_LEN, &len, e))
            return false;
        if (len == 0)
            break;
        if (!hash_add(h, slice_of(block, len), e))
            return false;
        total += len;
    }
    if (!hash_finish(h, ret, e))
        return false;
    if (ret_len)
        *ret_len = total;
    return true;
}
