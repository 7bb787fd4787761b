#include "made_zip.h"
#include "scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/stage.h"
#include "base/zip.h"

/* Unpacks the bytes beneath "dest". */
static bool unpack(struct slice archive, const struct zip_limits *limits, struct zip_stats *stats,
                   struct err *e)
{
    CLEANUP(fd_done) int dest = open("dest", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CLEANUP(fd_done) int fd = -1;

    scratch_write("archive.zip", archive, 0600);
    fd = open("archive.zip", O_RDONLY | O_CLOEXEC);
    assert_true(dest >= 0 && fd >= 0);
    return zip_unpack(fd, dest, limits, stats, e);
}

static int enter(void **state)
{
    (void)state;
    umask(077);
    scratch_enter();
    assert_int_equal(mkdir("dest", 0755), 0);
    assert_int_equal(mkdir("outside", 0755), 0);
    return 0;
}

static void assert_file(const char *path, const char *want, unsigned mode)
{
    CLEANUP(buf_done) struct buf seen = BUF_INIT(1 << 20);
    struct stat st;

    scratch_read(path, &seen);
    assert_true(slice_equal(buf_slice(&seen), slice_of_str(want)));
    assert_int_equal(lstat(path, &st), 0);
    assert_int_equal(st.st_mode, S_IFREG | mode);
}

/* ---- what is refused as a whole ---- */

#define UNIX(mode) ((uint32_t)(mode) << 16)
#define GOOD                                                            \
    {                                                                   \
        .name = "good.txt", .data = "good", .attributes = UNIX(0100644) \
    }

static struct refuse_case {
    const char *name;
    struct made_piece pieces[3];
    enum err_kind want;
    const char *want_text;
    struct made_end end;
} refuse_cases[] = {
    { "dotdot_within_AR_1", { GOOD, { .name = "a/../../x" } }, ERR_KIND_INVALID, "leads upwards", { 0 } },
    { "dotdot_first_AR_1", { GOOD, { .name = "../x" } }, ERR_KIND_INVALID, "leads upwards", { 0 } },
    { "dotdot_behind_dot_AR_1", { GOOD, { .name = "./../x" } }, ERR_KIND_INVALID, "leads upwards", { 0 } },
    { "dotdot_last_AR_1", { GOOD, { .name = "a/.." } }, ERR_KIND_INVALID, "leads upwards", { 0 } },
    { "dotdot_directory_AR_1", { GOOD, { .name = "../" } }, ERR_KIND_INVALID, "leads upwards", { 0 } },
    { "dot_alone", { GOOD, { .name = "." } }, ERR_KIND_INVALID, "names a directory", { 0 } },
    { "dot_within", { GOOD, { .name = "a/./b" } }, ERR_KIND_INVALID, "names a directory", { 0 } },
    { "absolute_AR_2", { GOOD, { .name = "/etc/x" } }, ERR_KIND_INVALID, "is absolute", { 0 } },
    { "two_slashes_AR_2", { GOOD, { .name = "//x" } }, ERR_KIND_INVALID, "is absolute", { 0 } },
    { "drive_AR_2", { GOOD, { .name = "C:x" } }, ERR_KIND_INVALID, "is absolute", { 0 } },
    { "backslash_AR_2", { GOOD, { .name = "a\\b" } }, ERR_KIND_INVALID, "backslash", { 0 } },
    { "empty_part", { GOOD, { .name = "a//b" } }, ERR_KIND_INVALID, "is empty", { 0 } },
    { "empty_last_part", { GOOD, { .name = "a//" } }, ERR_KIND_INVALID, "empty part", { 0 } },
    { "empty_name", { GOOD, { .name = "" } }, ERR_KIND_INVALID, "without a name", { 0 } },
    { "symlink_AR_3",
      { { .name = "d", .data = "../outside", .attributes = UNIX(0120777) }, { .name = "d/f", .data = "x" } },
      ERR_KIND_INVALID,
      "'d': it is a symbolic link",
      { 0 } },
    { "symlink_said_by_another_system_AR_3",
      { { .name = "d", .data = "/", .attributes = UNIX(0120777), .made_by = 0x0a14 } },
      ERR_KIND_INVALID,
      "symbolic link",
      { 0 } },
    { "character_device_AR_6",
      { GOOD, { .name = "x", .attributes = UNIX(0020644) } },
      ERR_KIND_INVALID,
      "character device",
      { 0 } },
    { "block_device_AR_6",
      { GOOD, { .name = "x", .attributes = UNIX(0060644) } },
      ERR_KIND_INVALID,
      "block device",
      { 0 } },
    { "named_pipe_AR_6",
      { GOOD, { .name = "x", .attributes = UNIX(0010644) } },
      ERR_KIND_INVALID,
      "named pipe",
      { 0 } },
    { "socket_AR_6",
      { GOOD, { .name = "x", .attributes = UNIX(0140644) } },
      ERR_KIND_INVALID,
      "socket",
      { 0 } },
    { "unknown_type_AR_6",
      { GOOD, { .name = "x", .attributes = UNIX(0150644) } },
      ERR_KIND_INVALID,
      "unknown type",
      { 0 } },
    { "directory_without_slash",
      { { .name = "x", .attributes = UNIX(0040755) } },
      ERR_KIND_INVALID,
      "differ",
      { 0 } },
    { "file_with_slash",
      { { .name = "x/", .attributes = UNIX(0100755) } },
      ERR_KIND_INVALID,
      "differ",
      { 0 } },
    { "directory_with_bytes",
      { { .name = "x/", .data = "y" } },
      ERR_KIND_INVALID,
      "directory with bytes",
      { 0 } },
    { "local_name_differs_AR_9",
      { GOOD, { .name = "x", .local_name = "y" } },
      ERR_KIND_INVALID,
      "contradicts",
      { 0 } },
    { "local_flags_differ_AR_9",
      { GOOD, { .name = "x", .local_flags_xor = 0x0800 } },
      ERR_KIND_INVALID,
      "contradicts",
      { 0 } },
    { "local_method_differs_AR_9",
      { GOOD, { .name = "x", .local_method_xor = 8 } },
      ERR_KIND_INVALID,
      "contradicts",
      { 0 } },
    { "local_length_differs_AR_9",
      { GOOD, { .name = "x", .local_len_add = 1 } },
      ERR_KIND_INVALID,
      "contradicts",
      { 0 } },
    { "local_checksum_differs_AR_9",
      { GOOD, { .name = "x", .local_crc_xor = 1 } },
      ERR_KIND_INVALID,
      "contradicts",
      { 0 } },
    { "same_bytes_twice_AR_9",
      { GOOD, { .name = "good.txt2", .data = "good", .offset_add = -42 } },
      ERR_KIND_INVALID,
      "overlaps",
      { 0 } },
    { "header_within_another_AR_9",
      { GOOD, { .name = "x", .offset_add = -4 } },
      ERR_KIND_INVALID,
      "overlaps",
      { 0 } },
    { "offset_into_nowhere_AR_9",
      { GOOD, { .name = "x", .offset_add = 10 } },
      ERR_KIND_INVALID,
      "bytes between",
      { 0 } },
    { "offset_outside_AR_9",
      { GOOD, { .name = "x", .offset_add = 1000000 } },
      ERR_KIND_INVALID,
      "outside the archive",
      { 0 } },
    { "bytes_between_AR_9",
      { { .name = "x", .gap = "hidden" }, GOOD },
      ERR_KIND_INVALID,
      "bytes between",
      { 0 } },
    { "bytes_before_the_directory_AR_9",
      { GOOD, { .name = "x", .gap = "hidden" } },
      ERR_KIND_INVALID,
      "bytes between",
      { 0 } },
    { "prepended_bytes_AR_9",
      { GOOD },
      ERR_KIND_INVALID,
      "not where the end record says",
      { .offset_add = -1 } },
    { "count_too_small",
      { GOOD, { .name = "x" } },
      ERR_KIND_INVALID,
      "more entries than",
      { .count_add = -1 } },
    { "count_too_large", { GOOD }, ERR_KIND_INVALID, "too short", { .count_add = 1 } },
    { "directory_too_long", { GOOD }, ERR_KIND_INVALID, "not where", { .len_add = 1 } },
    { "several_disks", { GOOD }, ERR_KIND_UNSUPPORTED, "several parts", { .disk = 1 } },
    { "encrypted", { GOOD, { .name = "x", .flags = 1 } }, ERR_KIND_UNSUPPORTED, "encrypted", { 0 } },
    { "patched", { GOOD, { .name = "x", .flags = 0x20 } }, ERR_KIND_UNSUPPORTED, "not supported", { 0 } },
    { "masked_headers",
      { GOOD, { .name = "x", .flags = 0x2000 } },
      ERR_KIND_UNSUPPORTED,
      "not supported",
      { 0 } },
    { "other_method", { GOOD, { .name = "x", .method = 12 } }, ERR_KIND_UNSUPPORTED, "not supported", { 0 } },
    { "stored_with_two_sizes",
      { GOOD, { .name = "x", .data = "abc", .len_add = 1 } },
      ERR_KIND_INVALID,
      "two different sizes",
      { 0 } },
    { "bytes_behind_the_deflate_stream_AR_9",
      { GOOD, { .name = "x", .data = "abc", .method = 8, .packed_tail = "hidden" } },
      ERR_KIND_INVALID,
      "bytes follow its packed bytes",
      { 0 } },
    { "checksum_wrong",
      { GOOD, { .name = "x", .data = "abc", .crc_xor = 1 } },
      ERR_KIND_UNVERIFIED,
      "checksum",
      { 0 } },
    { "unpacks_to_more",
      { GOOD, { .name = "x", .data = "abc", .method = 8, .len_add = -1 } },
      ERR_KIND_INVALID,
      "to more than",
      { 0 } },
    { "unpacks_to_less",
      { GOOD, { .name = "x", .data = "abc", .method = 8, .len_add = 1 } },
      ERR_KIND_INVALID,
      "to less than",
      { 0 } },
    { "descriptor_wrong",
      { GOOD, { .name = "x", .data = "a", .flags = 8, .descriptor_len = 16, .descriptor_xor = 1 } },
      ERR_KIND_INVALID,
      "what follows its bytes",
      { 0 } },
    { "newline_in_name_AR_12", { GOOD, { .name = "a\nb" } }, ERR_KIND_INVALID, "control bytes", { 0 } },
    { "invalid_utf8_AR_12", { GOOD, { .name = "a\xff" } }, ERR_KIND_INVALID, "not UTF-8", { 0 } },
    { "path_of_4097_bytes_AR_12", { GOOD, { .name = "=4097" } }, ERR_KIND_INVALID, "too long", { 0 } },
    { "part_of_256_bytes_AR_12", { GOOD, { .name = "=256" } }, ERR_KIND_INVALID, "longer than 255", { 0 } },
    { "our_own_temporary_name",
      { GOOD, { .name = ".cocos-staged.x/y" } },
      ERR_KIND_INVALID,
      "reserved",
      { 0 } },
    { "same_name_twice_AR_13", { GOOD, GOOD }, ERR_KIND_INVALID, "occurs twice", { 0 } },
    { "same_name_behind_dot_AR_13",
      { GOOD, { .name = "./good.txt" } },
      ERR_KIND_INVALID,
      "occurs twice",
      { 0 } },
    { "file_and_directory_AR_13",
      { { .name = "a" }, { .name = "a/" } },
      ERR_KIND_INVALID,
      "occurs twice",
      { 0 } },
    { "file_then_directory_of_it_AR_13",
      { { .name = "a" }, { .name = "a/b" } },
      ERR_KIND_INVALID,
      "both a file and a directory",
      { 0 } },
    { "directory_then_file_of_it_AR_13",
      { { .name = "a/b" }, { .name = "a" } },
      ERR_KIND_INVALID,
      "both a file and a directory",
      { 0 } },
    { "second_name_in_extra",
      { GOOD, { .name = "x", .extra = "75700600010000000079" } },
      ERR_KIND_INVALID,
      "second name",
      { 0 } },
    { "broken_extra",
      { GOOD, { .name = "x", .extra = "0200ff00" } },
      ERR_KIND_INVALID,
      "extra fields are broken",
      { 0 } },
    { "zip64_length_contradicts_AR_10",
      { GOOD,
        { .name = "x",
          .data = "a",
          .extra = "01000800"
                   "0200000000000000" } },
      ERR_KIND_INVALID,
      "zip64",
      { 0 } },
    { "zip64_too_long_AR_10",
      { GOOD,
        { .name = "x",
          .data = "a",
          .extra = "01000900"
                   "010000000000000000" } },
      ERR_KIND_INVALID,
      "zip64",
      { 0 } },
    { "zip64_twice_AR_10",
      { GOOD,
        { .name = "x",
          .data = "a",
          .extra = "01000000"
                   "01000000" } },
      ERR_KIND_INVALID,
      "zip64",
      { 0 } },
    { "zip64_contradicts_AR_10",
      { GOOD,
        { .name = "x",
          .data = "a",
          .extra = "010010000200000000000000"
                   "0100000000000000" } },
      ERR_KIND_INVALID,
      "zip64",
      { 0 } },
};

static void check_refuse(void **state)
{
    struct refuse_case *c = *state;
    CLEANUP(made_done) struct made m = MADE_INIT;
    struct zip_stats stats = { 77, 77 };
    struct err e = ERR_INIT;
    void *unused = NULL;

    enter(&unused);
    scratch_write("dest/mine", (struct slice)SLICE_LIT("untouched"), 0644);
    made_all(&m, c->pieces, ARRAY_LEN(c->pieces), &c->end);
    assert_false(unpack(buf_slice(&m.bytes), NULL, &stats, &e));
    if (e.kind != c->want || !strstr(err_text(&e), c->want_text))
        fail_msg("%s: %s", err_kind_name(e.kind), err_text(&e));
    assert_int_equal(stats.bytes, 77);
    /* The target tree is as it was, and nothing is staged. */
    assert_int_equal(scratch_count("dest"), 1);
    assert_file("dest/mine", "untouched", 0644);
    assert_int_equal(scratch_count("outside"), 0);
    assert_int_equal(scratch_count("."), 3);
    scratch_teardown(&unused);
}

/* ---- what is unpacked ---- */

static struct accept_case {
    const char *name;
    struct made_piece pieces[3];
    const char *want_path;
    const char *want_data;
    unsigned want_mode;
} accept_cases[] = {
    { "stored", { { .name = "a", .data = "text", .attributes = UNIX(0100644) } }, "dest/a", "text", 0644 },
    { "deflated",
      { { .name = "a", .data = "texttexttexttexttexttext", .method = 8 } },
      "dest/a",
      "texttexttexttexttexttext",
      0644 },
    { "deflated_empty", { { .name = "a", .data = "", .method = 8 } }, "dest/a", "", 0644 },
    { "in_directories_without_entries", { { .name = "a/b/c", .data = "x" } }, "dest/a/b/c", "x", 0644 },
    { "directory_entry_behind_its_file",
      { { .name = "a/b", .data = "x" }, { .name = "a/" } },
      "dest/a/b",
      "x",
      0644 },
    { "directory_entry_twice",
      { { .name = "a/" }, { .name = "a/" }, { .name = "a/b", .data = "x" } },
      "dest/a/b",
      "x",
      0644 },
    { "dot_slash_names", { { .name = "./" }, { .name = "./a", .data = "x" } }, "dest/a", "x", 0644 },
    { "executable_is_0755_AR_7",
      { { .name = "a", .data = "x", .attributes = UNIX(0100700) } },
      "dest/a",
      "x",
      0755 },
    { "setuid_is_stripped_AR_7",
      { { .name = "a", .data = "x", .attributes = UNIX(0107777) } },
      "dest/a",
      "x",
      0755 },
    { "sticky_is_stripped_AR_7",
      { { .name = "a", .data = "x", .attributes = UNIX(0101666) } },
      "dest/a",
      "x",
      0644 },
    { "unreadable_becomes_0644_AR_7",
      { { .name = "a", .data = "x", .attributes = UNIX(0100000) } },
      "dest/a",
      "x",
      0644 },
    { "dos_attributes_mean_nothing",
      { { .name = "a", .data = "x", .attributes = UNIX(0100777) | 0x21, .made_by = 20 } },
      "dest/a",
      "x",
      0644 },
    { "descriptor_of_16",
      { { .name = "a", .data = "x", .flags = 8, .descriptor_len = 16 } },
      "dest/a",
      "x",
      0644 },
    { "descriptor_of_12",
      { { .name = "a", .data = "x", .flags = 8, .descriptor_len = 12 } },
      "dest/a",
      "x",
      0644 },
    { "descriptor_of_20",
      { { .name = "a", .data = "x", .flags = 8, .descriptor_len = 20 } },
      "dest/a",
      "x",
      0644 },
    { "descriptor_of_24",
      { { .name = "a", .data = "x", .flags = 8, .descriptor_len = 24 }, { .name = "b" } },
      "dest/a",
      "x",
      0644 },
    { "deflate_level_bits",
      { { .name = "a", .data = "xx", .method = 8, .flags = 2 } },
      "dest/a",
      "xx",
      0644 },
    { "utf8_name", { { .name = "\xc3\xa9", .data = "x", .flags = 0x800 } }, "dest/\xc3\xa9", "x", 0644 },
    { "odd_but_legal_dots_AR_17",
      { { .name = "..data/.../a..b", .data = "x" } },
      "dest/..data/.../a..b",
      "x",
      0644 },
    { "names_that_differ_by_case_AR_13",
      { { .name = "A", .data = "upper" }, { .name = "a", .data = "lower" } },
      "dest/A",
      "upper",
      0644 },
    { "unknown_extra_is_skipped",
      { { .name = "a", .data = "x", .extra = "5554050001000000000a000000" } },
      "dest/a",
      "x",
      0644 },
    { "part_of_255_bytes_AR_12", { { .name = "=255" }, { .name = "a", .data = "x" } }, "dest/a", "x", 0644 },
    { "zip64_that_agrees",
      { { .name = "a",
          .data = "x",
          .extra = "01001000"
                   "0100000000000000"
                   "0100000000000000" } },
      "dest/a",
      "x",
      0644 },
    { "same_name_in_extra",
      { { .name = "a", .data = "x", .extra = "75700600010000000061" } },
      "dest/a",
      "x",
      0644 },
};

static void check_accept(void **state)
{
    struct accept_case *c = *state;
    CLEANUP(made_done) struct made m = MADE_INIT;
    const struct made_end none = { 0 };
    struct zip_stats stats;
    struct err e = ERR_INIT;
    void *unused = NULL;

    enter(&unused);
    made_all(&m, c->pieces, ARRAY_LEN(c->pieces), &none);
    if (!unpack(buf_slice(&m.bytes), NULL, &stats, &e))
        fail_msg("%s", err_text(&e));
    assert_int_equal(stats.entries, m.count);
    assert_int_equal(stats.bytes, m.bytes.len);
    assert_file(c->want_path, c->want_data, c->want_mode);
    scratch_teardown(&unused);
}

/* ---- limits ---- */

static struct limit_case {
    const char *name;
    const char *file; /* of zeros, deflated */
    size_t len;
    struct zip_limits limits;
    enum err_kind want;
    const char *want_text;
} limit_cases[] = {
    { "bytes_at_the_limit_AR_8", "a", 1000, { .bytes = 1001 }, ERR_KIND_NONE, NULL },
    { "bytes_above_the_limit_AR_8", "a", 1001, { .bytes = 1001 }, ERR_KIND_LIMIT, "archive.limit.bytes" },
    { "ratio_at_the_limit_AR_8", "a", 4 << 20, { .ratio = 1100 }, ERR_KIND_NONE, NULL },
    { "ratio_above_the_limit_AR_8", "a", 4 << 20, { .ratio = 500 }, ERR_KIND_LIMIT, "archive.limit.ratio" },
    { "default_ratio_stops_a_bomb_AR_8", "a", 32 << 20, { 0 }, ERR_KIND_LIMIT, "archive.limit.ratio" },
    { "short_files_have_no_ratio", "a", 1 << 20, { .ratio = 2 }, ERR_KIND_NONE, NULL },
    { "entries_at_the_limit_AR_11", "a", 1, { .entries = 2 }, ERR_KIND_NONE, NULL },
    { "entries_above_the_limit_AR_11", "a", 1, { .entries = 1 }, ERR_KIND_LIMIT, "archive.limit.entries" },
    { "depth_at_the_limit_AR_11", "1/2/3/f", 1, { .depth = 3 }, ERR_KIND_NONE, NULL },
    { "depth_above_the_limit_AR_11", "1/2/3/4/f", 1, { .depth = 3 }, ERR_KIND_LIMIT, "too deep" },
    { "depth_of_a_directory_AR_11", "1/2/3/4/", 0, { .depth = 3 }, ERR_KIND_LIMIT, "too deep" },
};

static void check_limit(void **state)
{
    struct limit_case *c = *state;
    CLEANUP(made_done) struct made m = MADE_INIT;
    const struct made_end none = { 0 };
    const struct made_piece one = { .name = "other", .data = "x" };
    const struct made_piece big = { .name = c->file, .method = c->len ? 8 : 0 };
    struct err e = ERR_INIT;
    CLEANUP(mem_done) uint8_t *zeros = mem_new(c->len, &e);
    void *unused = NULL;

    enter(&unused);
    made_add(&m, &one, "x", 1);
    made_add(&m, &big, zeros, c->len);
    made_finish(&m, &none);
    if (unpack(buf_slice(&m.bytes), &c->limits, NULL, &e) != (c->want == ERR_KIND_NONE))
        fail_msg("%s", err_text(&e));
    assert_int_equal(e.kind, c->want);
    if (c->want_text && !strstr(err_text(&e), c->want_text))
        fail_msg("%s", err_text(&e));
    assert_int_equal(scratch_count("dest"), c->want == ERR_KIND_NONE ? 2 : 0);
    scratch_teardown(&unused);
}

static void claimed_terabyte_is_refused_AR_16(void **state)
{
    /* A zip64 size of 1 TiB with 100 packed bytes. */
    CLEANUP(made_done) struct made m = MADE_INIT;
    const struct made_end none = { 0 };
    const struct made_piece p = { .name = "x",
                                  .method = 8,
                                  .data = "",
                                  .extra = "01000800"
                                           "0000000000010000" };
    struct err e = ERR_INIT;

    (void)state;
    made_add(&m, &p, "", 0);
    /* The 32-bit size at its maximum makes the extra field count. */
    memset(m.central.base + m.central.start + 24, 0xff, 4);
    memset(m.bytes.base + m.bytes.start + 22, 0xff, 4);
    made_finish(&m, &none);
    assert_false(unpack(buf_slice(&m.bytes), NULL, NULL, &e));
    assert_int_equal(e.kind, ERR_KIND_LIMIT);
}

/* ---- cut, damaged, in the way ---- */

static void archive_cut_anywhere_is_refused_AR_15(void **state)
{
    static const struct made_piece pieces[] = {
        { .name = "a/b", .data = "some text", .method = 8 },
        { .name = "c", .data = "more", .flags = 8, .descriptor_len = 16 },
    };
    CLEANUP(made_done) struct made m = MADE_INIT;
    const struct made_end none = { 0 };

    (void)state;
    made_all(&m, pieces, 2, &none);
    for (size_t len = 0; len < m.bytes.len; len++) {
        struct err e = ERR_INIT;

        assert_false(unpack(slice_first(buf_slice(&m.bytes), len), NULL, NULL, &e));
        assert_int_equal(e.kind, ERR_KIND_INVALID);
        assert_int_equal(scratch_count("dest"), 0);
    }
}

static void trailing_bytes_are_refused(void **state)
{
    CLEANUP(made_done) struct made m = MADE_INIT;
    const struct made_piece p = GOOD;
    const struct made_end none = { 0 };
    struct err e = ERR_INIT;

    (void)state;
    made_all(&m, &p, 1, &none);
    made_bytes(&m.bytes, "x", 1);
    assert_false(unpack(buf_slice(&m.bytes), NULL, NULL, &e));
    assert_int_equal(e.kind, ERR_KIND_INVALID);
}

static void prepended_bytes_are_refused_with_offsets_mended_AR_9(void **state)
{
    CLEANUP(made_done) struct made m = MADE_INIT;
    const struct made_piece p = GOOD;
    const struct made_end none = { 0 };
    struct err e = ERR_INIT;

    (void)state;
    made_bytes(&m.bytes, "MZ a program", 12);
    made_all(&m, &p, 1, &none);
    assert_false(unpack(buf_slice(&m.bytes), NULL, NULL, &e));
    assert_int_equal(e.kind, ERR_KIND_INVALID);
    assert_string_equal(err_text(&e), "unpack a zip archive: bytes stand before the archive");
}

static void comment_is_fine(void **state)
{
    CLEANUP(made_done) struct made m = MADE_INIT;
    const struct made_piece p = GOOD;
    const struct made_end none = { 0 };
    struct err e = ERR_INIT;

    (void)state;
    made_all(&m, &p, 1, &none);
    m.bytes.base[m.bytes.start + m.bytes.len - 2] = 7;
    made_bytes(&m.bytes, "comment", 7);
    assert_true(unpack(buf_slice(&m.bytes), NULL, NULL, &e));
    assert_file("dest/good.txt", "good", 0644);
}

/* No flipped byte may crash, hang, or leave anything but a whole tree. */
static void each_damaged_byte_is_whole_or_nothing(void **state)
{
    static const struct made_piece pieces[] = {
        { .name = "a/b", .data = "some text", .method = 8, .attributes = UNIX(0100644) },
        { .name = "c", .data = "more", .flags = 8, .descriptor_len = 24, .attributes = UNIX(0100644) },
    };
    CLEANUP(made_done) struct made m = MADE_INIT;
    const struct made_end none = { 0 };
    size_t accepted = 0;

    (void)state;
    made_all(&m, pieces, 2, &none);
    for (size_t at = 0; at < m.bytes.len; at++) {
        for (unsigned flip = 1; flip <= 0x80; flip *= 16) {
            struct err e = ERR_INIT;
            bool ok;

            m.bytes.base[m.bytes.start + at] ^= (uint8_t)flip;
            ok = unpack(buf_slice(&m.bytes), NULL, NULL, &e);
            m.bytes.base[m.bytes.start + at] ^= (uint8_t)flip;
            assert_int_equal(scratch_count("dest"), ok ? 2 : 0);
            assert_int_equal(ok, e.kind == ERR_KIND_NONE);
            accepted += ok;
            if (ok)
                assert_int_equal(scratch_sh("rm -r dest && mkdir dest"), 0);
        }
    }
    /* Times, versions, modes and the like may change; content and layout may not. */
    assert_in_range(accepted, 1, m.bytes.len / 2);
}

static void existing_name_refuses_all(void **state)
{
    CLEANUP(made_done) struct made m = MADE_INIT;
    const struct made_end none = { 0 };
    struct err e = ERR_INIT;

    (void)state;
    /* So many that some are moved before, and have to go back, in whatever order. */
    for (int c = 'a'; c <= 'z'; c++) {
        const char name[] = { (char)c, '\0' };
        const struct made_piece p = { .name = name };

        made_add(&m, &p, name, 1);
    }
    made_finish(&m, &none);
    scratch_write("dest/m", (struct slice)SLICE_LIT("mine"), 0600);
    assert_false(unpack(buf_slice(&m.bytes), NULL, NULL, &e));
    assert_int_equal(e.kind, ERR_KIND_INVALID);
    assert_non_null(strstr(err_text(&e), "'m' is there already"));
    assert_int_equal(scratch_count("dest"), 1);
    assert_file("dest/m", "mine", 0600);
}

static void not_a_file_is_refused(void **state)
{
    CLEANUP(fd_done) int dest = open("dest", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CLEANUP(fd_done) int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    struct err e = ERR_INIT;

    (void)state;
    assert_false(zip_unpack(fd, dest, NULL, NULL, &e));
    assert_int_equal(e.kind, ERR_KIND_INVALID);
}

static void empty_archive_is_nothing(void **state)
{
    struct err e = ERR_INIT;
    struct zip_stats stats;

    (void)state;
    assert_true(
        unpack((struct slice)SLICE_LIT("PK\5\6\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), NULL, &stats, &e));
    assert_int_equal(stats.entries, 0);
    assert_int_equal(scratch_count("dest"), 0);
}

static bool to_buf(struct slice more, void *ctx, struct err *e)
{
    return buf_append(ctx, more, e);
}

static void what_is_written_can_be_unpacked(void **state)
{
    CLEANUP(buf_done) struct buf first = BUF_INIT(1 << 26);
    CLEANUP(buf_done) struct buf second = BUF_INIT(1 << 26);
    CLEANUP(fd_done) int tree = -1;
    CLEANUP(fd_done) int dest = -1;
    struct err e = ERR_INIT;

    (void)state;
    assert_int_equal(scratch_sh("mkdir -p tree/a/b tree/c; head -c 300000 /dev/urandom > tree/a/b/random; "
                                "seq 1 100000 > tree/c/seq;"
                                "echo x > 'tree/sp ace'; : > tree/empty; chmod 644 $(find tree -type f | tr "
                                "' ' '?'); chmod 755 tree/c/seq"),
                     0);
    tree = open("tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    dest = open("dest", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(zip_write_dir(tree, to_buf, &first, NULL, &e));
    if (!unpack(buf_slice(&first), NULL, NULL, &e))
        fail_msg("%s", err_text(&e));
    assert_int_equal(scratch_sh("diff -r tree dest"), 0);
    assert_true(zip_write_dir(dest, to_buf, &second, NULL, &e));
    assert_true(slice_equal(buf_slice(&first), buf_slice(&second)));
}

#define IN_SCRATCH(test) cmocka_unit_test_setup_teardown(test, enter, scratch_teardown)

int main(void)
{
    static const struct CMUnitTest single[] = {
        IN_SCRATCH(claimed_terabyte_is_refused_AR_16),
        IN_SCRATCH(archive_cut_anywhere_is_refused_AR_15),
        IN_SCRATCH(trailing_bytes_are_refused),
        IN_SCRATCH(prepended_bytes_are_refused_with_offsets_mended_AR_9),
        IN_SCRATCH(comment_is_fine),
        IN_SCRATCH(each_damaged_byte_is_whole_or_nothing),
        IN_SCRATCH(existing_name_refuses_all),
        IN_SCRATCH(not_a_file_is_refused),
        IN_SCRATCH(empty_archive_is_nothing),
        IN_SCRATCH(what_is_written_can_be_unpacked),
    };
    static struct CMUnitTest tests[160];
    size_t count = 0;

    UNIT_ROWS(tests, count, refuse_cases, check_refuse);
    UNIT_ROWS(tests, count, accept_cases, check_accept);
    UNIT_ROWS(tests, count, limit_cases, check_limit);
    for (size_t i = 0; i < ARRAY_LEN(single); i++)
        tests[count++] = single[i];
    return _cmocka_run_group_tests("zip_unpack", tests, count, NULL, NULL);
}
