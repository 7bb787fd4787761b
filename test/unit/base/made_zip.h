/*
 * Archives made by hand, byte by byte, so that a test can have them wrong
 * wherever it likes.
 */
#ifndef UNIT_BASE_MADE_ZIP_H
#define UNIT_BASE_MADE_ZIP_H

#include "unit.h"

#include "base/buf.h"

/* An entry; what is not said follows from what is. */
struct made_piece {
    const char *name;
    const char *data;
    uint32_t attributes;    /* external, of the central header                    */
    uint16_t made_by;       /* 0: Unix                                            */
    uint16_t flags;         /* both headers                                       */
    uint16_t method;        /* 8: deflate                                         */
    const char *local_name; /* when it differs                                    */
    uint16_t local_flags_xor;
    uint16_t local_method_xor;
    int32_t local_len_add;
    uint32_t crc_xor; /* both headers                                       */
    uint32_t local_crc_xor;
    int32_t len_add; /* unpacked size, both headers                        */
    int32_t offset_add;
    uint32_t descriptor_len; /* with flag 8: 12, 16, 20, 24                        */
    uint32_t descriptor_xor; /* of its crc                                         */
    const char *extra;       /* in hex, both headers                               */
    const char *gap;         /* bytes behind it                                    */
    const char *packed_tail; /* behind the deflate stream, and counted */
};

/* The archive so far. */
struct made {
    struct buf bytes;
    struct buf central;
    unsigned count;
};
#define MADE_INIT                               \
    {                                           \
        BUF_INIT(1 << 28), BUF_INIT(1 << 28), 0 \
    }

/* Numbers of the end record that a case changes. */
struct made_end {
    int count_add, len_add, offset_add, disk;
};

/* One entry with these bytes. A name "=123" stands for one of 123 bytes. */
void made_add(struct made *m, const struct made_piece *p, const void *data, size_t len);

/* The central directory and the end record; m->bytes is whole then. */
void made_finish(struct made *m, const struct made_end *x);

/* All of it: at most count entries, the first without a name ends them. */
void made_all(struct made *m, const struct made_piece *pieces, size_t count, const struct made_end *x);

/* Bytes of the test's own, in front of the archive or behind it. */
void made_bytes(struct buf *b, const void *at, size_t len);

void made_done(struct made *m);

#endif
