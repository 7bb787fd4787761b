/*
 * The zip format's numbers (APPNOTE 6.3.10), shared by writer and reader.
 */
#ifndef BASE_ZIP_INT_H
#define BASE_ZIP_INT_H

#include "base/cursor.h"
#include "base/zip.h"

#define ZIP_LOCAL_SIG 0x04034b50u
#define ZIP_DESCRIPTOR_SIG 0x08074b50u
#define ZIP_CENTRAL_SIG 0x02014b50u
#define ZIP_END_SIG 0x06054b50u
#define ZIP_END64_SIG 0x06064b50u
#define ZIP_LOCATOR64_SIG 0x07064b50u

/* Bytes of each record without its name, extra and comment. */
#define ZIP_LOCAL_LEN 30
#define ZIP_CENTRAL_LEN 46
#define ZIP_END_LEN 22
#define ZIP_END64_LEN 56
#define ZIP_LOCATOR64_LEN 20

#define ZIP_MAX16 0xffffu
#define ZIP_MAX32 0xffffffffu

#define ZIP_FLAG_DESCRIPTOR 0x0008u
#define ZIP_FLAG_UTF8 0x0800u

#define ZIP_EXTRA_ZIP64 0x0001u
#define ZIP_EXTRA_UNICODE_PATH 0x7075u

#define ZIP_PATH_MAX 4096
#define ZIP_DEPTH_MAX 64
#define ZIP_ENTRIES_MAX 100000

#define ZIP_BLOCK_LEN ((size_t)64 * 1024)

/*
 * An entry as the reader sees it.
 *
 * Our own reading of the structure with zlib for the bytes, and not a library
 * for all of it: libraries forgive what other readers understand in another
 * way (two directories, names that differ, bytes between entries), and what
 * one program checks another would then unpack differently.
 */
struct zip_entry {
    struct slice name; /* as in the archive, borrowed from the central directory */
    struct slice path; /* the same without "./" and the '/' of a directory       */
    uint64_t packed_len;
    uint64_t len;
    uint64_t offset;  /* of the local header                 */
    uint64_t data_at; /* of its bytes; known once checked    */
    uint32_t crc;
    uint16_t flags;
    uint16_t method;
    bool is_dir;
    bool is_executable;
    bool has_zip64;
};

struct zip_directory {
    struct zip_entry *at;
    size_t count;
    uint64_t len;    /* of the archive                            */
    uint64_t offset; /* where the central directory begins        */
    uint64_t unpacked;
    struct buf bytes; /* the central directory, which names borrow */
};

/*
 * Reads and checks all there is to know before the first byte is unpacked:
 * limits, names, types, and that local headers, data and descriptors lie one
 * after another without overlap or gap and say the same as the directory.
 * The entries come in the order of their bytes in the archive.
 */
bool zip_directory_read(int fd, const struct zip_limits *limits, struct zip_directory *ret,
                        struct err *e) MUST_CHECK;
void zip_directory_done(struct zip_directory *d);

/* len bytes at offset, or INVALID when the archive ends before. */
bool zip_pread(int fd, uint64_t offset, uint8_t *ret, size_t len, struct err *e) MUST_CHECK;

/* A name from an archive as a path to make; *ret_path lies within name. */
bool zip_name_check(struct slice name, uint64_t depth_max, struct slice *ret_path, bool *ret_is_dir,
                    struct err *e) MUST_CHECK;

#endif
