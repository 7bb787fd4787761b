#include "manager/kernel_image.h"

#include <errno.h>
#include <unistd.h>

#include "base/cursor.h"
#include "base/mem.h"

/* ------------------------------------------------------------------------ PE */

enum {
    PE_AT = 0x3c, /* where the file says its PE header begins */
    SECTION_LEN = 40,
    OPTIONAL_HEADERS_LEN = 60, /* SizeOfHeaders in the optional header  */
    OPTIONAL_CHECKSUM = 64,
    DIRECTORY_LEN = 8,
    DIRECTORY_CERTIFICATE = 4,
    MAGIC_32 = 0x10b,
    MAGIC_64 = 0x20b,
};

struct section {
    uint32_t at;
    uint32_t len;
};

/* A cursor over head from an offset; false when that lies behind its end. */
static bool cursor_at(struct slice head, uint64_t offset, struct cursor *ret)
{
    if (offset > head.len)
        return false;
    *ret = cursor_of(slice_after(head, (size_t)offset));
    return true;
}

static bool le16_at(struct slice head, uint64_t offset, uint16_t *ret)
{
    struct cursor c;

    return cursor_at(head, offset, &c) && cursor_le16(&c, ret);
}

static bool le32_at(struct slice head, uint64_t offset, uint32_t *ret)
{
    struct cursor c;

    return cursor_at(head, offset, &c) && cursor_le32(&c, ret);
}

/* By their place in the file. */
static int compare_sections(const void *a, const void *b)
{
    const struct section *x = a;
    const struct section *y = b;

    return x->at < y->at ? -1 : x->at > y->at;
}

/* All bytes between the headers and the signatures must be the sections', each once, but for a tail. */
static bool check_sections(struct slice head, uint64_t table, unsigned count, const struct mgr_pe *pe,
                           struct err *e)
{
    struct section found[MGR_KERNEL_SECTIONS_MAX] = { { 0, 0 } };
    size_t used = 0;
    uint64_t end = pe->headers_len;

    for (unsigned i = 0; i < count; i++) {
        struct section s;

        if (!le32_at(head, table + i * SECTION_LEN + 16, &s.len) ||
            !le32_at(head, table + i * SECTION_LEN + 20, &s.at))
            return err_fail(e, ERR_KIND_INVALID, "section %u of %u lies behind the headers", i + 1, count);
        if (s.len)
            found[used++] = s;
    }
    qsort(found, used, sizeof(found[0]), compare_sections);
    for (size_t i = 0; i < used; i++) {
        if (found[i].at != end)
            return err_fail(e, found[i].at < end ? ERR_KIND_INVALID : ERR_KIND_UNSUPPORTED,
                            "a section at %u where %llu is the end of the one before", found[i].at,
                            (unsigned long long)end);
        end += found[i].len;
    }
    return end <= pe->hashed_len || err_fail(e, ERR_KIND_INVALID, "a section reaches into the signatures");
}

bool mgr_pe_read(struct slice head, uint64_t file_len, struct mgr_pe *ret, struct err *e)
{
    struct mgr_pe pe = { 0, 0, 0, file_len };
    struct cursor c;
    struct slice magic_pe;
    uint32_t at;
    uint16_t sections;
    uint16_t optional_len;
    uint16_t magic;
    uint32_t headers_len;
    uint32_t directories;
    uint32_t signatures_len;

    if (!le32_at(head, PE_AT, &at) || !cursor_at(head, at, &c) || !cursor_bytes(&c, 4, &magic_pe) ||
        !slice_equal(magic_pe, slice_of("PE\0\0", 4)))
        return err_fail(e, ERR_KIND_INVALID, "no PE header; a kernel with an EFI stub is wanted (vmlinuz)");

    uint64_t optional = (uint64_t)at + 24;

    if (!le16_at(head, (uint64_t)at + 6, &sections) || !le16_at(head, (uint64_t)at + 20, &optional_len) ||
        !le16_at(head, optional, &magic) || !le32_at(head, optional + OPTIONAL_HEADERS_LEN, &headers_len))
        return err_fail(e, ERR_KIND_INVALID, "the PE header is cut off");
    if (magic != MAGIC_32 && magic != MAGIC_64)
        return err_fail(e, ERR_KIND_INVALID, "0x%x begins no optional header of a PE file", magic);
    if (sections > MGR_KERNEL_SECTIONS_MAX)
        return err_fail(e, ERR_KIND_LIMIT, "%u sections, at most %d are taken", sections,
                        MGR_KERNEL_SECTIONS_MAX);

    uint64_t first_directory = optional + (magic == MAGIC_64 ? 112 : 96);

    if (!le32_at(head, first_directory - 4, &directories))
        return err_fail(e, ERR_KIND_INVALID, "the PE header is cut off");
    pe.checksum = (size_t)optional + OPTIONAL_CHECKSUM;
    if (directories > DIRECTORY_CERTIFICATE) {
        pe.certificate = (size_t)(first_directory + DIRECTORY_CERTIFICATE * DIRECTORY_LEN);
        if (!le32_at(head, pe.certificate + 4, &signatures_len))
            return err_fail(e, ERR_KIND_INVALID, "the PE header is cut off");
        if (signatures_len > file_len)
            return err_fail(e, ERR_KIND_INVALID, "signatures of %u bytes in a file of %llu", signatures_len,
                            (unsigned long long)file_len);
        pe.hashed_len = file_len - signatures_len;
    }
    pe.headers_len = headers_len;
    if (headers_len > head.len || headers_len > pe.hashed_len || headers_len < pe.checksum + 4 ||
        (pe.certificate && headers_len < pe.certificate + DIRECTORY_LEN))
        return err_fail(e, ERR_KIND_INVALID, "headers of %u bytes don't hold what they should", headers_len);
    if (!check_sections(head, optional + optional_len, sections, &pe, e))
        return false;
    *ret = pe;
    return true;
}

/* -------------------------------------------------------------- setup header */

/* Documentation/x86/boot.rst, "The Real-Mode Kernel Header". */
enum {
    BOOT_FLAG = 0x1fe, /* 0xaa55                       */
    HEADER = 0x202,    /* "HdrS"                       */
    VERSION = 0x206,
    TYPE_OF_LOADER = 0x210,
    LOADFLAGS = 0x211,
    RAMDISK_IMAGE = 0x218,
    RAMDISK_SIZE = 0x21c,
    HEAP_END_PTR = 0x224,
    CMD_LINE_PTR = 0x228,
    INITRD_ADDR_MAX = 0x22c,
    XLOADFLAGS = 0x236,
    HEADER_END = 0x268,

    PROTOCOL_2_12 = 0x20c,
    LOADED_HIGH = 0x01,
    CAN_USE_HEAP = 0x80,
    XLF_ABOVE_4G = 0x02,
};

/* What QEMU's x86_load_linux puts there for a kernel that is loaded high. */
#define QEMU_LOADER 0xb0
#define QEMU_REAL_ADDR 0x10000u
#define QEMU_CMDLINE_ADDR 0x20000u
#define QEMU_ACPI_DATA_LEN 0x28000u /* kept free for ACPI tables at the end of low memory */
#define QEMU_Q35_LOW_MAX 0xb0000000u
#define QEMU_Q35_LOW_SPLIT 0x80000000u /* where low memory ends when there is more than fits */

static void put_le16(uint8_t *at, uint32_t v)
{
    at[0] = (uint8_t)v;
    at[1] = (uint8_t)(v >> 8);
}

static void put_le32(uint8_t *at, uint32_t v)
{
    put_le16(at, v & 0xffff);
    put_le16(at + 2, v >> 16);
}

/* The low memory of a machine of this type: the part below the PCI hole. */
static bool low_memory(const struct mgr_kernel_load *l, uint32_t *ret, struct err *e)
{
    struct slice type = slice_of_str(l->machine);

    if (slice_find(type, ',') < type.len && strstr(l->machine, "max-ram-below-4g"))
        return err_fail(e, ERR_KIND_UNSUPPORTED, "machine '%s': low memory of another size than usual",
                        l->machine);
    type = slice_first(type, slice_find(type, ','));
    if (!slice_equal_str(type, "q35") && !slice_starts(type, "pc-q35-"))
        return err_fail(e, ERR_KIND_UNSUPPORTED,
                        "machine '%s': where it puts the initramfs is known of q35 alone", l->machine);
    *ret = l->memory_len >= QEMU_Q35_LOW_MAX ? QEMU_Q35_LOW_SPLIT : (uint32_t)l->memory_len;
    return true;
}

static bool initrd_address(struct slice head, const struct mgr_kernel_load *l, uint32_t *ret, struct err *e)
{
    uint16_t xloadflags = 0;
    uint32_t max = 0;
    uint32_t low = 0;

    if (!low_memory(l, &low, e))
        return false;
    if (!le16_at(head, XLOADFLAGS, &xloadflags) || !le32_at(head, INITRD_ADDR_MAX, &max))
        return err_fail(e, ERR_KIND_INVALID, "the setup header is cut off");
    if (xloadflags & XLF_ABOVE_4G)
        max = UINT32_MAX;
    if (low <= QEMU_ACPI_DATA_LEN)
        return err_fail(e, ERR_KIND_INVALID, "%u bytes of memory", low);
    if (max >= low - QEMU_ACPI_DATA_LEN)
        max = low - QEMU_ACPI_DATA_LEN - 1;
    if (l->initrd_len >= max)
        return err_fail(e, ERR_KIND_INVALID, "an initramfs of %llu bytes does not fit below %u",
                        (unsigned long long)l->initrd_len, max);
    *ret = (max - (uint32_t)l->initrd_len) & ~4095u;
    return true;
}

bool mgr_kernel_patch(uint8_t *head, size_t head_len, const struct mgr_kernel_load *l, struct err *e)
{
    struct slice at = slice_of(head, head_len);
    uint16_t flag = 0;
    uint16_t version = 0;
    uint32_t initrd = 0;

    if (head_len < HEADER_END || !le16_at(at, BOOT_FLAG, &flag) || flag != 0xaa55 ||
        memcmp(head + HEADER, "HdrS", 4) != 0 || !le16_at(at, VERSION, &version))
        return err_fail(e, ERR_KIND_INVALID,
                        "no setup header of a Linux kernel; a bzImage is wanted (vmlinuz)");
    if (version < PROTOCOL_2_12 || !(head[LOADFLAGS] & LOADED_HIGH))
        return err_fail(e, ERR_KIND_UNSUPPORTED, "boot protocol %u.%u; 2.12 or later is wanted", version >> 8,
                        version & 0xff);
    if (!initrd_address(at, l, &initrd, e))
        return false;
    head[TYPE_OF_LOADER] = QEMU_LOADER;
    head[LOADFLAGS] |= CAN_USE_HEAP;
    put_le16(head + HEAP_END_PTR, QEMU_CMDLINE_ADDR - QEMU_REAL_ADDR - 0x200);
    put_le32(head + CMD_LINE_PTR, QEMU_CMDLINE_ADDR);
    put_le32(head + RAMDISK_IMAGE, initrd);
    put_le32(head + RAMDISK_SIZE, (uint32_t)l->initrd_len);
    return true;
}

/* ---------------------------------------------------------------------- hash */

static bool read_head(int fd, uint8_t *head, size_t *ret_len, struct err *e)
{
    size_t len = 0;

    while (len < MGR_KERNEL_HEAD_MAX) {
        ssize_t n = pread(fd, head + len, MGR_KERNEL_HEAD_MAX - len, (off_t)len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_fail_os(e, "read");
        if (n == 0)
            break;
        len += (size_t)n;
    }
    *ret_len = len;
    return true;
}

static bool hash_headers(struct hash *h, struct slice head, const struct mgr_pe *pe, struct err *e)
{
    size_t hole = pe->certificate ? pe->certificate : pe->headers_len;
    size_t behind = pe->certificate ? hole + DIRECTORY_LEN : hole;

    return hash_add(h, slice_first(head, pe->checksum), e) &&
           hash_add(h, slice_after(slice_first(head, hole), pe->checksum + 4), e) &&
           hash_add(h, slice_after(slice_first(head, pe->headers_len), behind), e);
}

/* The bytes of the file from `at` up to `end`; block is of MGR_KERNEL_HEAD_MAX bytes. */
static bool hash_file(struct hash *h, int fd, uint64_t at, uint64_t end, uint8_t *block, struct err *e)
{
    while (at < end) {
        size_t want = end - at < MGR_KERNEL_HEAD_MAX ? (size_t)(end - at) : MGR_KERNEL_HEAD_MAX;
        ssize_t n = pread(fd, block, want, (off_t)at);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_fail_os(e, "read");
        if (n == 0)
            return err_fail(e, ERR_KIND_INVALID, "the file got shorter while it was read");
        if (!hash_add(h, slice_of(block, (size_t)n), e))
            return false;
        at += (uint64_t)n;
    }
    return true;
}

bool mgr_kernel_hash(int fd, const struct mgr_kernel_load *l, uint8_t ret[HASH_SHA256_LEN], struct err *e)
{
    CLEANUP(mem_done) uint8_t *head = mem_new(MGR_KERNEL_HEAD_MAX, e);
    CLEANUP(hash_done) struct hash *h = hash_new(HASH_SHA256, e);
    off_t file_len = lseek(fd, 0, SEEK_END);
    struct mgr_pe pe;
    size_t len = 0;

    if (file_len < 0)
        return err_fail_os(e, "find its length");
    if (!head || !h || !read_head(fd, head, &len, e) ||
        !mgr_pe_read(slice_of(head, len), (uint64_t)file_len, &pe, e) ||
        (l && !mgr_kernel_patch(head, len, l, e)) || !hash_headers(h, slice_of(head, len), &pe, e))
        return false;
    return hash_file(h, fd, pe.headers_len, pe.hashed_len, head, e) && hash_finish(h, ret, e);
}
