#include "unit/base/unit.h"

#include "base/buf.h"
#include "manager/kernel_image.h"
#include "unit/base/scratch.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/stage.h"

/* A bzImage of the smallest kind: headers, two sections, a tail without a section, signatures. */
enum {
    PE = 0x80,
    OPTIONAL = PE + 24,
    CHECKSUM = OPTIONAL + 64,
    DIRECTORY = OPTIONAL + 112,
    CERTIFICATE = DIRECTORY + 4 * 8,
    TABLE = OPTIONAL + 160,
    HEADERS_LEN = 0x400,
    SECTIONS_END = 0x580,
    SIGNED_LEN = 0x590,
    FILE_LEN = 0x5b0,
};

static uint8_t kernel[FILE_LEN];

static void put16(size_t at, unsigned v)
{
    kernel[at] = (uint8_t)v;
    kernel[at + 1] = (uint8_t)(v >> 8);
}

static void put32(size_t at, uint32_t v)
{
    put16(at, v & 0xffff);
    put16(at + 2, v >> 16);
}

static void put_section(unsigned number, uint32_t at, uint32_t len)
{
    put32(TABLE + number * 40 + 16, len);
    put32(TABLE + number * 40 + 20, at);
}

static int make_kernel(void **state)
{
    (void)state;
    for (size_t i = 0; i < FILE_LEN; i++)
        kernel[i] = (uint8_t)(i * 7);
    memset(kernel, 0, HEADERS_LEN);
    memcpy(kernel, "MZ", 2);
    put32(0x3c, PE);
    memcpy(kernel + PE, "PE\0\0", 4);
    put16(PE + 6, 3);    /* sections                */
    put16(PE + 20, 160); /* of the optional header  */
    put16(OPTIONAL, 0x20b);
    put32(OPTIONAL + 60, HEADERS_LEN);
    put32(CHECKSUM, 0x11223344);
    put32(DIRECTORY - 4, 6);
    put32(CERTIFICATE, SIGNED_LEN);
    put32(CERTIFICATE + 4, FILE_LEN - SIGNED_LEN);
    put_section(0, 0x500, SECTIONS_END - 0x500); /* their order in the file is another one */
    put_section(1, HEADERS_LEN, 0x500 - HEADERS_LEN);
    put_section(2, 0, 0); /* no bytes in the file */
    put16(0x1fe, 0xaa55);
    memcpy(kernel + 0x202, "HdrS", 4);
    put16(0x206, 0x20f);
    kernel[0x211] = 1;
    put32(0x22c, 0x7fffffff);
    put16(0x236, 0x7d);
    return 0;
}

/* The hash by its definition, over bytes put together here. */
static void hash_by_hand(uint8_t *ret)
{
    CLEANUP(buf_done) struct buf all = BUF_INIT(FILE_LEN);
    struct err e = ERR_INIT;

    assert_true(buf_append(&all, slice_of(kernel, CHECKSUM), &e));
    assert_true(buf_append(&all, slice_of(kernel + CHECKSUM + 4, CERTIFICATE - CHECKSUM - 4), &e));
    assert_true(buf_append(&all, slice_of(kernel + CERTIFICATE + 8, SIGNED_LEN - CERTIFICATE - 8), &e));
    assert_true(hash_bytes(HASH_SHA256, buf_slice(&all), ret, &e));
}

static void hash_file(const struct mgr_kernel_load *l, uint8_t *ret)
{
    struct err e = ERR_INIT;

    scratch_enter();
    scratch_write("kernel", slice_of(kernel, FILE_LEN), 0600);

    int fd = open("kernel", O_RDONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    if (!mgr_kernel_hash(fd, l, ret, &e))
        fail_msg("%s", err_text(&e));
    close(fd);
    scratch_leave();
}

static void file_hash_leaves_out_checksum_and_signatures(void **state)
{
    uint8_t want[HASH_SHA256_LEN];
    uint8_t got[HASH_SHA256_LEN];

    (void)state;
    hash_by_hand(want);
    put32(CHECKSUM, 0);
    put32(CERTIFICATE, 0xffff);
    kernel[FILE_LEN - 1] ^= 1;
    hash_file(NULL, got);
    assert_memory_equal(got, want, sizeof(want));
    kernel[SIGNED_LEN - 1] ^= 1;
    hash_file(NULL, got);
    assert_memory_not_equal(got, want, sizeof(want));
}

static void loaded_hash_is_that_of_the_patched_header(void **state)
{
    const struct mgr_kernel_load l = { 512u << 20, 14369280, "q35" };
    uint8_t want[HASH_SHA256_LEN];
    uint8_t got[HASH_SHA256_LEN];

    (void)state;
    hash_file(&l, got);
    kernel[0x210] = 0xb0;
    kernel[0x211] = 0x81;
    put32(0x218, 0x1f223000);
    put32(0x21c, 14369280);
    put16(0x224, 0xfe00);
    put32(0x228, 0x20000);
    hash_by_hand(want);
    assert_memory_equal(got, want, sizeof(want));
}

static struct address_row {
    const char *name;
    struct mgr_kernel_load load;
    enum err_kind fault;
    uint32_t want;
} addresses[] = {
    { "initrd_ends_below_the_acpi_tables", { 512u << 20, 4096, "q35" }, ERR_KIND_NONE, 0x1ffd6000 },
    { "initrd_is_put_on_a_page", { 2048ull << 20, 4097, "q35" }, ERR_KIND_NONE, 0x7ffd6000 },
    { "initrd_in_the_most_memory_that_is_low", { 2815ull << 20, 1, "q35" }, ERR_KIND_NONE, 0x7ffff000 },
    { "initrd_with_memory_above_4g", { 2816ull << 20, 1, "q35" }, ERR_KIND_NONE, 0x7ffd7000 },
    { "initrd_on_a_version_of_q35",
      { 30720ull << 20, 100, "pc-q35-7.2,usb=off" },
      ERR_KIND_NONE,
      0x7ffd7000 },
    { "initrd_of_most_bytes", { 512u << 20, 0x1ffd7ffe, "q35" }, ERR_KIND_NONE, 0 },
    { "initrd_of_all_memory", { 512u << 20, 0x1ffd7fff, "q35" }, ERR_KIND_INVALID, 0 },
    { "initrd_above_32_bits", { 512u << 20, 1ull << 40, "q35" }, ERR_KIND_INVALID, 0 },
    { "memory_for_the_tables_alone", { 0x28000, 1, "q35" }, ERR_KIND_INVALID, 0 },
    { "machine_of_another_layout", { 512u << 20, 4096, "pc" }, ERR_KIND_UNSUPPORTED, 0 },
    { "machine_whose_name_goes_on", { 512u << 20, 4096, "q35x" }, ERR_KIND_UNSUPPORTED, 0 },
    { "machine_with_a_limit_of_its_own",
      { 512u << 20, 4096, "q35,max-ram-below-4g=1G" },
      ERR_KIND_UNSUPPORTED,
      0 },
};

static void check_address(void **state)
{
    const struct address_row *row = *state;
    struct err e = ERR_INIT;
    uint32_t got;

    make_kernel(NULL);
    assert_int_equal(mgr_kernel_patch(kernel, FILE_LEN, &row->load, &e), row->fault == ERR_KIND_NONE);
    assert_int_equal(e.kind, row->fault);
    memcpy(&got, kernel + 0x218, sizeof(got));
    assert_int_equal(got, row->want);
}

/* One field of the good kernel made another; 16 bits unless it is one of 32. */
static struct fault_row {
    const char *name;
    size_t at;
    unsigned bits;
    uint32_t value;
    enum err_kind fault;
} faults[] = {
    { "pe_header_behind_the_end", 0x3c, 32, 0xffffffff, ERR_KIND_INVALID },
    { "pe_header_without_its_letters", PE, 16, 0, ERR_KIND_INVALID },
    { "optional_header_of_another_kind", OPTIONAL, 16, 0x107, ERR_KIND_INVALID },
    { "sections_97", PE + 6, 16, 97, ERR_KIND_LIMIT },
    { "section_table_behind_the_end", PE + 20, 16, 0xffff, ERR_KIND_INVALID },
    { "headers_longer_than_the_file", OPTIONAL + 60, 32, 0xffffffff, ERR_KIND_INVALID },
    { "headers_that_end_at_the_checksum", OPTIONAL + 60, 32, CHECKSUM + 3, ERR_KIND_INVALID },
    { "headers_that_end_in_a_hole", OPTIONAL + 60, 32, CERTIFICATE + 7, ERR_KIND_INVALID },
    { "signatures_longer_than_the_file", CERTIFICATE + 4, 32, FILE_LEN + 1, ERR_KIND_INVALID },
    { "signatures_over_a_section", CERTIFICATE + 4, 32, FILE_LEN - SECTIONS_END + 1, ERR_KIND_INVALID },
    { "section_over_the_headers", TABLE + 40 + 20, 32, HEADERS_LEN - 1, ERR_KIND_INVALID },
    { "section_over_another", TABLE + 20, 32, 0x4ff, ERR_KIND_INVALID },
    { "section_behind_a_gap", TABLE + 20, 32, 0x501, ERR_KIND_UNSUPPORTED },
    { "section_longer_than_the_file", TABLE + 16, 32, 0xffffffff, ERR_KIND_INVALID },
};

static void check_fault(void **state)
{
    const struct fault_row *row = *state;
    struct err e = ERR_INIT;
    struct mgr_pe pe;

    make_kernel(NULL);
    assert_true(mgr_pe_read(slice_of(kernel, FILE_LEN), FILE_LEN, &pe, &e));
    if (row->bits == 32)
        put32(row->at, row->value);
    else
        put16(row->at, row->value);
    assert_false(mgr_pe_read(slice_of(kernel, FILE_LEN), FILE_LEN, &pe, &e));
    assert_int_equal(e.kind, row->fault);
}

static void layout_is_read_with_and_without_signatures(void **state)
{
    struct err e = ERR_INIT;
    struct mgr_pe pe;

    (void)state;
    assert_true(mgr_pe_read(slice_of(kernel, FILE_LEN), FILE_LEN, &pe, &e));
    assert_int_equal(pe.checksum, CHECKSUM);
    assert_int_equal(pe.certificate, CERTIFICATE);
    assert_int_equal(pe.headers_len, HEADERS_LEN);
    assert_int_equal(pe.hashed_len, SIGNED_LEN);
    put32(DIRECTORY - 4, 4);
    assert_true(mgr_pe_read(slice_of(kernel, FILE_LEN), FILE_LEN, &pe, &e));
    assert_int_equal(pe.certificate, 0);
    assert_int_equal(pe.hashed_len, FILE_LEN);
}

static void head_that_is_cut_anywhere_is_refused(void **state)
{
    struct err e = ERR_INIT;
    struct mgr_pe pe;

    (void)state;
    for (size_t len = 0; len < HEADERS_LEN; len++) {
        assert_false(mgr_pe_read(slice_of(kernel, len), FILE_LEN, &pe, &e));
        assert_int_equal(e.kind, ERR_KIND_INVALID);
    }
    assert_true(mgr_pe_read(slice_of(kernel, HEADERS_LEN), FILE_LEN, &pe, &e));
}

static struct setup_row {
    const char *name;
    size_t at;
    uint8_t value;
    size_t len;
    enum err_kind fault;
} setups[] = {
    { "setup_header_cut_off", 0, 'M', 0x267, ERR_KIND_INVALID },
    { "setup_header_without_boot_flag", 0x1ff, 0, FILE_LEN, ERR_KIND_INVALID },
    { "setup_header_without_its_letters", 0x205, 's', FILE_LEN, ERR_KIND_INVALID },
    { "boot_protocol_2_11", 0x206, 0x0b, FILE_LEN, ERR_KIND_UNSUPPORTED },
    { "kernel_loaded_low", 0x211, 0, FILE_LEN, ERR_KIND_UNSUPPORTED },
};

static void check_setup(void **state)
{
    const struct setup_row *row = *state;
    const struct mgr_kernel_load l = { 512u << 20, 4096, "q35" };
    uint8_t before[FILE_LEN];
    struct err e = ERR_INIT;

    make_kernel(NULL);
    kernel[row->at] = row->value;
    memcpy(before, kernel, FILE_LEN);
    assert_false(mgr_kernel_patch(kernel, row->len, &l, &e));
    assert_int_equal(e.kind, row->fault);
    assert_memory_equal(kernel, before, FILE_LEN);
}

int main(void)
{
    static const struct CMUnitTest fixed[] = {
        cmocka_unit_test_setup(file_hash_leaves_out_checksum_and_signatures, make_kernel),
        cmocka_unit_test_setup(loaded_hash_is_that_of_the_patched_header, make_kernel),
        cmocka_unit_test_setup(layout_is_read_with_and_without_signatures, make_kernel),
        cmocka_unit_test_setup(head_that_is_cut_anywhere_is_refused, make_kernel),
    };
    struct CMUnitTest tests[ARRAY_LEN(fixed) + ARRAY_LEN(addresses) + ARRAY_LEN(faults) + ARRAY_LEN(setups)];
    size_t n = ARRAY_LEN(fixed);

    memcpy(tests, fixed, sizeof(fixed));
    UNIT_ROWS(tests, n, addresses, check_address);
    UNIT_ROWS(tests, n, faults, check_fault);
    UNIT_ROWS(tests, n, setups, check_setup);
    return cmocka_run_group_tests_name("manager/kernel_image", tests, NULL, NULL);
}
