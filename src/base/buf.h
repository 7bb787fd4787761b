/*
 * Owned bytes that grow up to a limit fixed at birth.
 *
 * Bytes are added at the end and may be dropped from the front, so a buf is
 * also a bounded queue of bytes. Freed with buf_done; a done buf is empty and
 * may be used again with the same limit.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "base/err.h"
#include "base/slice.h"

struct buf {
    uint8_t *base; /* start of the block, owned   */
    size_t start;  /* first live byte in base     */
    size_t len;    /* live bytes                  */
    size_t cap;    /* size of the block in bytes  */
    size_t max;    /* most live bytes ever        */
    bool wipes;    /* a secret: blocks are overwritten before they are freed */
};

/* A struct initialiser: struct buf b = BUF_INIT(4096); */
#define BUF_INIT(max_len)               \
    {                                   \
        NULL, 0, 0, 0, (max_len), false \
    }

/* All of these fail with LIMIT and leave the buf as it was. */
bool buf_append(struct buf *b, struct slice bytes, struct err *e) MUST_CHECK;
bool buf_append_str(struct buf *b, const char *text, struct err *e) MUST_CHECK;
bool buf_append_u8(struct buf *b, uint8_t byte, struct err *e) MUST_CHECK;
bool buf_append_be16(struct buf *b, uint16_t v, struct err *e) MUST_CHECK;
bool buf_append_be32(struct buf *b, uint32_t v, struct err *e) MUST_CHECK;
bool buf_append_le16(struct buf *b, uint16_t v, struct err *e) MUST_CHECK;
bool buf_append_le32(struct buf *b, uint32_t v, struct err *e) MUST_CHECK;
bool buf_append_le64(struct buf *b, uint64_t v, struct err *e) MUST_CHECK;
bool buf_format(struct buf *b, struct err *e, const char *fmt, ...) PRINTF(3, 4) MUST_CHECK;

/*
 * Room for len more bytes at the end: *ret_at points to it until the next
 * call on b. The bytes count only after buf_extend(b, n <= len).
 */
bool buf_reserve(struct buf *b, size_t len, uint8_t **ret_at, struct err *e) MUST_CHECK;
void buf_extend(struct buf *b, size_t len);

/* Drops n bytes from the front (n is cut to the length). */
void buf_consume(struct buf *b, size_t n);

/* Cuts to the first n bytes (n is cut to the length). */
void buf_truncate(struct buf *b, size_t n);

/* The live bytes, valid until the next call on b. */
struct slice buf_slice(const struct buf *b);

/* The live bytes as a C string: adds a NUL behind them, not counted. NULL on no memory. */
const char *buf_str(struct buf *b, struct err *e) MUST_CHECK;

/* What `from` holds moves into `to` (which is emptied first); `from` is left empty. Limits stay. */
void buf_move(struct buf *to, struct buf *from);

/* Frees the block. buf_wipe overwrites it first. Both accept an empty buf. */
void buf_done(struct buf *b);
void buf_wipe(struct buf *b);

/*
 * A buf that is wiped when done. No log or error function takes one.
 */
struct secret {
    struct buf bytes;
};
#define SECRET_INIT(max_len)               \
    {                                      \
        {                                  \
            NULL, 0, 0, 0, (max_len), true \
        }                                  \
    }
struct slice secret_slice(const struct secret *s);
void secret_done(struct secret *s);

#endif
