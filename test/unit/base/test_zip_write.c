#include "scratch.h"

#include <fcntl.h>
#include <locale.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/stage.h"
#include "base/text.h"
#include "base/zip.h"

static int enter(void **state)
{
    (void)state;
    umask(022);
    scratch_enter();
    assert_int_equal(mkdir("tree", 0755), 0);
    return 0;
}

static bool to_buf(struct slice bytes, void *ctx, struct err *e)
{
    return buf_append(ctx, bytes, e);
}

static bool archive(struct buf *out, struct zip_stats *stats, struct err *e)
{
    CLEANUP(fd_done) int fd = open("tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    assert_true(fd >= 0);
    return zip_write_dir(fd, to_buf, out, stats, e);
}

static uint64_t measured(void)
{
    CLEANUP(fd_done) int fd = open("tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct err e = ERR_INIT;
    uint64_t len = 0;

    if (!zip_measure_dir(fd, &len, &e))
        fail_msg("%s", err_text(&e));
    return len;
}

/* The archive's SHA3-256 in hex. Its length has to be the measured one. */
static void archive_hash(char ret[HASH_SHA3_256_LEN * 2 + 1])
{
    CLEANUP(buf_done) struct buf out = BUF_INIT(1 << 26);
    uint8_t digest[HASH_SHA3_256_LEN];
    struct zip_stats stats = { 0 };
    struct err e = ERR_INIT;

    if (!archive(&out, &stats, &e))
        fail_msg("%s", err_text(&e));
    assert_int_equal(stats.bytes, out.len);
    assert_int_equal(measured(), out.len);
    assert_true(hash_bytes(HASH_SHA3_256, buf_slice(&out), digest, &e));
    hex_encode(slice_of(digest, sizeof(digest)), ret);
}

static const char vector_hash[] = "eff18ed8957a21d4423787bf0e1e5bfd8ba512c975bc0485b371164836a4b32a";
static const char vector_hex[] =
    "504b0304140008000000000021ec00000000000000000000000005000900612e74787455540500010000000068656c6c6f"
    "504b070886a610360500000005000000"
    "504b0304140008000000000021ec000000000000000000000000090009007375622f622e637376555405000100000000"
    "782c790a312c320a504b070823df72000800000008000000"
    "504b01021403140008000000000021ec86a610360500000005000000050009000000000000000000a48100000000612e747874"
    "555405000100000000"
    "504b01021403140008000000000021ec23df72000800000008000000090009000000000000000000ed81410000007375622f622e"
    "637376"
    "555405000100000000"
    "504b050600000000020002007c000000890000000000";

static void make_vector_tree(void)
{
    assert_int_equal(mkdir("tree/sub", 0700), 0);
    scratch_write("tree/sub/b.csv", (struct slice)SLICE_LIT("x,y\n1,2\n"), 0755);
    scratch_write("tree/a.txt", (struct slice)SLICE_LIT("hello"), 0644);
}

/* ---- AR-18 ---- */

static void published_vector_is_met_AR_18(void **state)
{
    CLEANUP(buf_done) struct buf out = BUF_INIT(4096);
    CLEANUP(buf_done) struct buf want = BUF_INIT(4096);
    struct zip_stats stats;
    struct err e = ERR_INIT;
    char hash[65];

    (void)state;
    make_vector_tree();
    assert_true(archive(&out, &stats, &e));
    assert_true(hex_decode(slice_of_str(vector_hex), &want, &e));
    assert_int_equal(out.len, 283);
    assert_true(slice_equal(buf_slice(&out), buf_slice(&want)));
    assert_int_equal(stats.entries, 2);
    archive_hash(hash);
    assert_string_equal(hash, vector_hash);
}

static void surroundings_don_t_matter_AR_18(void **state)
{
    static const char *const zones[] = { "UTC", "Africa/Nairobi", "America/New_York" };
    char hash[65];

    (void)state;
    make_vector_tree();
    for (size_t i = 0; i < ARRAY_LEN(zones); i++) {
        assert_int_equal(setenv("TZ", zones[i], 1), 0);
        tzset();
        umask(i ? 0077 : 0);
        (void)setlocale(LC_ALL, i ? "C.UTF-8" : "C");
        archive_hash(hash);
        assert_string_equal(hash, vector_hash);
    }
    unsetenv("TZ");
    tzset();
}

static void times_and_empty_directories_don_t_matter_AR_18(void **state)
{
    char hash[65];

    (void)state;
    make_vector_tree();
    assert_int_equal(mkdir("tree/empty", 0755), 0);
    assert_int_equal(mkdir("tree/empty/too", 0755), 0);
    assert_int_equal(scratch_sh("touch -d 2001-01-01 tree/a.txt"), 0);
    archive_hash(hash);
    assert_string_equal(hash, vector_hash);
}

static void order_of_making_doesn_t_matter_AR_18(void **state)
{
    char name[64];
    char first[65];
    char second[65];

    (void)state;
    for (int i = 0; i < 200; i++) {
        snprintf(name, sizeof(name), "tree/%d", i * 7919 % 200);
        scratch_write(name, slice_of_str(name), 0644);
    }
    archive_hash(first);
    assert_int_equal(scratch_sh("rm -r tree && mkdir tree"), 0);
    for (int i = 199; i >= 0; i--) {
        snprintf(name, sizeof(name), "tree/%d", i);
        scratch_write(name, slice_of_str(name), 0644);
    }
    archive_hash(second);
    assert_string_equal(first, second);
}

static void order_is_of_whole_paths_by_bytes_AR_18(void **state)
{
    static const char *const order[] = { "B", "a", "a-b", "a.b", "ab/x", "b/a", "b/a.c", "b0", "\xc3\xa9" };
    CLEANUP(buf_done) struct buf out = BUF_INIT(1 << 16);
    struct err e = ERR_INIT;
    size_t at = 0;

    (void)state;
    assert_int_equal(scratch_sh("mkdir tree/ab tree/b"), 0);
    for (size_t i = 0; i < ARRAY_LEN(order); i++) {
        char path[64];

        snprintf(path, sizeof(path), "tree/%s", order[i]);
        scratch_write(path, SLICE_EMPTY, 0644);
    }
    assert_true(archive(&out, NULL, &e));
    for (size_t i = 0; i < ARRAY_LEN(order); i++) {
        size_t len = strlen(order[i]);

        assert_memory_equal(buf_slice(&out).at + at + 30, order[i], len);
        at += 30 + len + 9 + 16;
    }
}

static void empty_directory_is_22_bytes(void **state)
{
    static const struct slice want = SLICE_LIT("PK\5\6\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    CLEANUP(buf_done) struct buf out = BUF_INIT(4096);
    struct zip_stats stats;
    struct err e = ERR_INIT;

    (void)state;
    assert_true(archive(&out, &stats, &e));
    assert_true(slice_equal(buf_slice(&out), want));
    assert_int_equal(stats.entries, 0);
    assert_int_equal(measured(), 22);
}

/* ---- names and modes ---- */

static struct name_case {
    const char *name;
    const char *file;
    uint16_t want_flags;
} name_cases[] = {
    { "plain_name_has_no_utf8_bit", "a b}.txt", 0x0008 },
    { "utf8_name_has_the_bit", "\xc3\xa9", 0x0808 },
    { "tilde_has_the_bit", "a~", 0x0808 },
    { "backslash_has_the_bit", "a\\b", 0x0808 },
    { "control_byte_has_the_bit", "a\nb", 0x0808 },
    { "del_has_the_bit", "a\x7f", 0x0808 },
    { "invalid_utf8_has_no_bit", "a\xff~", 0x0008 },
    { "replacement_character_has_the_bit", "\xef\xbf\xbd", 0x0808 },
    { "odd_but_legal_AR_17", "..data", 0x0008 },
};

static void check_name(void **state)
{
    const struct name_case *c = *state;
    CLEANUP(buf_done) struct buf out = BUF_INIT(4096);
    struct err e = ERR_INIT;
    char path[64];
    void *unused = NULL;

    enter(&unused);
    snprintf(path, sizeof(path), "tree/%s", c->file);
    scratch_write(path, SLICE_EMPTY, 0644);
    assert_true(archive(&out, NULL, &e));

    const uint8_t *at = buf_slice(&out).at;

    assert_int_equal(at[6] | at[7] << 8, c->want_flags);
    assert_memory_equal(at + 30, c->file, strlen(c->file));
    at += 30 + strlen(c->file) + 9 + 16;
    assert_int_equal(at[8] | at[9] << 8, c->want_flags);
    scratch_teardown(&unused);
}

static struct mode_case {
    const char *name;
    unsigned mode;
    uint32_t want;
} mode_cases[] = {
    { "mode_0644", 0644, 0x81a40000 },    { "mode_0755", 0755, 0x81ed0000 },
    { "mode_0444", 0444, 0x81240001 },    { "mode_setuid", 04755, 0x89ed0000 },
    { "mode_setgid", 02755, 0x85ed0000 }, { "mode_sticky", 01644, 0x83a40000 },
    { "mode_0600", 0600, 0x81800000 },
};

static void check_mode(void **state)
{
    const struct mode_case *c = *state;
    CLEANUP(buf_done) struct buf out = BUF_INIT(4096);
    struct err e = ERR_INIT;
    void *unused = NULL;

    enter(&unused);
    scratch_write("tree/f", SLICE_EMPTY, c->mode);
    assert_true(archive(&out, NULL, &e));

    const uint8_t *at = buf_slice(&out).at + 30 + 1 + 9 + 16 + 38;

    assert_int_equal((uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24,
                     c->want);
    scratch_teardown(&unused);
}

/* ---- links and other things ---- */

static void links_beneath_are_followed(void **state)
{
    char hash[65];

    (void)state;
    make_vector_tree();
    assert_int_equal(scratch_sh("mv tree/a.txt tree/real && ln -s real tree/a.txt"), 0);
    assert_int_equal(scratch_sh("mv tree/real tree/sub/a && ln -sf sub/a tree/a.txt"), 0);

    CLEANUP(buf_done) struct buf out = BUF_INIT(4096);
    struct err e = ERR_INIT;
    struct zip_stats stats;

    assert_true(archive(&out, &stats, &e));
    assert_int_equal(stats.entries, 3);
    assert_int_equal(measured(), out.len);
    assert_memory_equal(buf_slice(&out).at + 30, "a.txtUT\5\0\1\0\0\0\0hello", 19);
    assert_int_equal(scratch_sh("rm tree/a.txt && mv tree/sub/a tree/a.txt"), 0);
    archive_hash(hash);
    assert_string_equal(hash, vector_hash);
}

static struct refuse_case {
    const char *name;
    const char *make;
    enum err_kind want;
    const char *want_text;
} refuse_cases[] = {
    { "link_outside_is_denied_AR_3", "ln -s ../secret tree/x", ERR_KIND_DENIED,
      "archive a directory: 'x': a link that leads outside the directory" },
    { "absolute_link_is_denied_AR_3", "ln -s /etc/passwd tree/x", ERR_KIND_DENIED,
      "'x': a link that leads outside" },
    { "link_through_a_link_outside_is_denied_AR_3", "ln -s .. tree/up; ln -s up/secret tree/x",
      ERR_KIND_DENIED, "a link that leads outside" },
    { "link_to_nothing", "ln -s nothing tree/x", ERR_KIND_MISSING, "'x': a link to nothing" },
    { "link_to_itself", "ln -s x tree/x", ERR_KIND_INTERNAL, "'x': open: Too many levels" },
    { "link_to_a_directory", "mkdir tree/d; ln -s d tree/x", ERR_KIND_INVALID,
      "'x': it is a link to a directory" },
    { "named_pipe_AR_6", "mkdir tree/d; mkfifo tree/d/p", ERR_KIND_INVALID, "'d/p': it is a named pipe" },
    { "too_deep_AR_11", "mkdir -p tree/$(seq -s/ 1 70)", ERR_KIND_LIMIT, "directories deeper than 64" },
};

static void check_refuse(void **state)
{
    const struct refuse_case *c = *state;
    CLEANUP(buf_done) struct buf out = BUF_INIT(1 << 16);
    CLEANUP(fd_done) int fd = -1;
    struct err e = ERR_INIT;
    uint64_t len = 77;
    void *unused = NULL;

    enter(&unused);
    scratch_write("secret", (struct slice)SLICE_LIT("canary"), 0644);
    assert_int_equal(scratch_sh(c->make), 0);
    assert_false(archive(&out, NULL, &e));
    assert_int_equal(e.kind, c->want);
    if (!strstr(err_text(&e), c->want_text))
        fail_msg("%s", err_text(&e));
    fd = open("tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_false(zip_measure_dir(fd, &len, &e));
    assert_int_equal(e.kind, c->want);
    assert_int_equal(len, 77);
    scratch_teardown(&unused);
}

static void socket_is_refused_AR_6(void **state)
{
    CLEANUP(buf_done) struct buf out = BUF_INIT(4096);
    CLEANUP(fd_done) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct sockaddr_un addr = { AF_UNIX, "tree/s" };
    struct err e = ERR_INIT;

    (void)state;
    assert_int_equal(bind(fd, (const struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_false(archive(&out, NULL, &e));
    assert_int_not_equal(e.kind, ERR_KIND_NONE);
}

static bool fail_at_third(struct slice bytes, void *ctx, struct err *e)
{
    int *calls = ctx;

    (void)bytes;
    return ++*calls < 3 || err_fail(e, ERR_KIND_UNAVAILABLE, "peer went away");
}

static void sink_can_stop(void **state)
{
    CLEANUP(fd_done) int fd = -1;
    struct err e = ERR_INIT;
    int calls = 0;

    (void)state;
    make_vector_tree();
    fd = open("tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_false(zip_write_dir(fd, fail_at_third, &calls, NULL, &e));
    assert_int_equal(calls, 3);
    assert_int_equal(e.kind, ERR_KIND_UNAVAILABLE);
    assert_string_equal(err_text(&e), "archive a directory: 'a.txt': peer went away");
}

#define IN_TREE(test) cmocka_unit_test_setup_teardown(test, enter, scratch_teardown)

int main(void)
{
    static const struct CMUnitTest single[] = {
        IN_TREE(published_vector_is_met_AR_18),
        IN_TREE(surroundings_don_t_matter_AR_18),
        IN_TREE(times_and_empty_directories_don_t_matter_AR_18),
        IN_TREE(order_of_making_doesn_t_matter_AR_18),
        IN_TREE(order_is_of_whole_paths_by_bytes_AR_18),
        IN_TREE(empty_directory_is_22_bytes),
        IN_TREE(links_beneath_are_followed),
        IN_TREE(socket_is_refused_AR_6),
        IN_TREE(sink_can_stop),
    };
    static struct CMUnitTest tests[64];
    size_t count = 0;

    UNIT_ROWS(tests, count, name_cases, check_name);
    UNIT_ROWS(tests, count, mode_cases, check_mode);
    UNIT_ROWS(tests, count, refuse_cases, check_refuse);
    for (size_t i = 0; i < ARRAY_LEN(single); i++)
        tests[count++] = single[i];
    return _cmocka_run_group_tests("zip_write", tests, count, NULL, NULL);
}
