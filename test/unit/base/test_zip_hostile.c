/* Archives and neighbours that mean harm: cases AR-5 and AR-11 of zip_unpack. */
#include "scratch.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/stage.h"
#include "base/zip.h"

static int enter(void **state)
{
    (void)state;
    umask(022);
    scratch_enter();
    return 0;
}

/* ---- AR-11: more than anybody needs ---- */

/* The parts of an archive that has nothing but a directory. */
static void put_entry(struct buf *b, const char *name, size_t name_len)
{
    static const uint8_t zeros[46];
    size_t at = b->len;
    struct err e = ERR_INIT;

    assert_true(buf_append(b, (struct slice)SLICE_LIT("PK\1\2"), &e));
    assert_true(buf_append(b, slice_of(zeros, 24), &e));
    assert_true(buf_append_le16(b, (uint16_t)name_len, &e));
    assert_true(buf_append(b, slice_of(zeros, 46 - (b->len - at)), &e));
    assert_true(buf_append(b, slice_of(name, name_len), &e));
}

static void put_end(struct buf *b, uint64_t count, uint64_t len, uint64_t offset, bool zip64)
{
    uint64_t record_at = offset + len;
    struct err e = ERR_INIT;

    if (zip64)
        assert_true(buf_append(b, (struct slice)SLICE_LIT("PK\6\6"), &e) && buf_append_le64(b, 44, &e) &&
                    buf_append_le16(b, 45, &e) && buf_append_le16(b, 45, &e) && buf_append_le32(b, 0, &e) &&
                    buf_append_le32(b, 0, &e) && buf_append_le64(b, count, &e) &&
                    buf_append_le64(b, count, &e) && buf_append_le64(b, len, &e) &&
                    buf_append_le64(b, offset, &e) && buf_append(b, (struct slice)SLICE_LIT("PK\6\7"), &e) &&
                    buf_append_le32(b, 0, &e) && buf_append_le64(b, record_at, &e) &&
                    buf_append_le32(b, 1, &e));
    assert_true(buf_append(b, (struct slice)SLICE_LIT("PK\5\6"), &e) && buf_append_le32(b, 0, &e) &&
                buf_append_le16(b, zip64 ? 0xffff : (uint16_t)count, &e) &&
                buf_append_le16(b, zip64 ? 0xffff : (uint16_t)count, &e) &&
                buf_append_le32(b, zip64 ? 0xffffffff : (uint32_t)len, &e) &&
                buf_append_le32(b, zip64 ? 0xffffffff : (uint32_t)offset, &e) && buf_append_le16(b, 0, &e));
}

/* The most memory this process has had, in KiB. */
static long peak_kib(void)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(65536);
    struct err e = ERR_INIT;
    const char *at;

    scratch_read("/proc/self/status", &text);
    at = strstr(buf_str(&text, &e), "VmHWM:");
    assert_non_null(at);
    return strtol(at + strlen("VmHWM:"), NULL, 10);
}

static struct many_case {
    const char *name;
    uint64_t entries; /* that are really there; their names have six bytes */
    uint64_t told;    /* that the end record speaks of                     */
    uint64_t room;    /* bytes of the directory; 0: those of the entries   */
    bool zip64;
    enum err_kind want;
    const char *text;
} many_cases[] = {
    { "AR-11_ten_million_entries", 0, 10000000, 10000000ULL * 52, true, ERR_KIND_LIMIT,
      "archive.limit.entries: 10000000 entries, at most 100000 are unpacked" },
    { "AR-11_one_entry_too_many", 100001, 100001, 0, true, ERR_KIND_LIMIT, "archive.limit.entries: 100001" },
    { "AR-11_ten_million_entries_told_as_two", 0, 2, 10000000ULL * 52, true, ERR_KIND_LIMIT,
      "archive.limit.entries: a directory of 520000000 bytes" },
    { "AR-11_two_thousand_entries_told_as_two", 2000, 2, 0, false, ERR_KIND_INVALID,
      "more entries than its end record says" },
    { "AR-11_entries_beyond_all_numbers", 0, UINT64_MAX, UINT64_MAX / 2, true, ERR_KIND_INVALID, "" },
    { "AR-11_many_entries_in_no_room", 1, 100000, 0, true, ERR_KIND_INVALID, "too short for its 100000" },
};

static void check_many(void **state)
{
    const struct many_case *c = *state;
    CLEANUP(buf_done) struct buf bytes = BUF_INIT((size_t)16 * 1024 * 1024);
    CLEANUP(buf_done) struct buf end = BUF_INIT(256);
    CLEANUP(fd_done) int fd = open("many.zip", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    struct err e = ERR_INIT;
    char name[8];
    long before;

    for (uint64_t i = 0; i < c->entries; i++) {
        snprintf(name, sizeof(name), "%06u", (unsigned)(i % 1000000));
        put_entry(&bytes, name, 6);
    }
    assert_true(fd >= 0);
    assert_true(stage_write_all(fd, buf_slice(&bytes), &e));
    /* Where nothing is written the disk has nothing: a hole of any size costs no room. */
    if (c->room && c->room < INT64_MAX / 2)
        assert_int_equal(lseek(fd, (off_t)c->room, SEEK_SET), (off_t)c->room);
    put_end(&end, c->told, c->room ? c->room : bytes.len, 0, c->zip64);
    assert_true(stage_write_all(fd, buf_slice(&end), &e));
    before = peak_kib();
    assert_int_equal(mkdir("dest", 0700), 0);
    {
        CLEANUP(fd_done) int dest = open("dest", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        assert_false(zip_unpack(fd, dest, NULL, NULL, &e));
    }
    assert_int_equal(e.kind, c->want);
    if (!strstr(err_text(&e), c->text))
        fail_msg("%s", err_text(&e));
    assert_int_equal(scratch_count("dest"), 0);
    assert_true(peak_kib() - before < 24 * 1024); /* not the half GiB that was spoken of */
}

static void check_many_in_scratch(void **state)
{
    void *unused = NULL;

    enter(&unused);
    check_many(state);
    scratch_teardown(&unused);
}

static void AR_11_depth_of_ten_thousand(void **state)
{
    static const size_t depths[] = { 65, 2000, 10000 };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(depths); i++) {
        CLEANUP(buf_done) struct buf bytes = BUF_INIT(65536);
        CLEANUP(fd_done) int fd = open("deep.zip", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        struct err e = ERR_INIT;
        char name[20001];

        for (size_t n = 0; n < 2 * depths[i]; n++)
            name[n] = n % 2 ? '/' : 'd';
        name[2 * depths[i]] = 'f';
        put_entry(&bytes, name, 2 * depths[i] + 1);
        put_end(&bytes, 1, bytes.len, 0, false);
        assert_true(stage_write_all(fd, buf_slice(&bytes), &e));
        assert_false(zip_unpack(fd, scratch_fd(), NULL, NULL, &e));
        assert_int_equal(e.kind, ERR_KIND_LIMIT);
        if (!strstr(err_text(&e), "archive.limit.depth"))
            fail_msg("%s", err_text(&e));
    }
    assert_int_equal(scratch_count("."), 1);
}

/* ---- AR-5: a neighbour who swaps directories for links meanwhile ---- */

#define SWAPS 10000

struct swaps {
    volatile unsigned done;
};

/* The staged directory has a name that is new each time; "" when there is none now. */
static void find_staged(char ret[128])
{
    DIR *dir = opendir("dest");
    const struct dirent *entry;

    ret[0] = '\0';
    while (dir && (entry = readdir(dir)))
        if (strncmp(entry->d_name, ".cocos-staged.", 14) == 0)
            snprintf(ret, 128, "dest/%.60s", entry->d_name);
    if (dir)
        closedir(dir);
}

/* In a child: puts a link in the place of what is being filled, and the directory back, again and again. */
static _Noreturn void swap_for_ever(struct swaps *s)
{
    static const char *const inner[] = { "", "/d", "/d/e" };

    for (unsigned n = 0;; n++) {
        char top[128], path[160], grave[64];

        find_staged(top);
        snprintf(path, sizeof(path), "%s%s", top, inner[n % ARRAY_LEN(inner)]);
        if (!top[0] || rename(path, "away") != 0)
            continue;
        if (symlink("/proc/self/cwd/outside", path) == 0) {
            __atomic_add_fetch(&s->done, 1, __ATOMIC_SEQ_CST);
            unlink(path);
        }
        snprintf(grave, sizeof(grave), "grave/%u", n);
        if (rename("away", path) != 0 && rename("away", grave) != 0) /* where it was is no more */
            _exit(1);
    }
}

static int write_sink_fd;

static bool write_sink(struct slice bytes, void *ctx, struct err *e)
{
    (void)ctx;
    return stage_write_all(write_sink_fd, bytes, e);
}

static void AR_5_directory_swapped_for_a_link_while_unpacking(void **state)
{
    struct swaps *s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CLEANUP(fd_done) int archive = open("a.zip", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    CLEANUP(fd_done) int dest = -1;
    unsigned whole = 0, broken = 0;
    struct err e = ERR_INIT;
    int status;

    (void)state;
    assert_true(s != MAP_FAILED);
    assert_int_equal(scratch_sh("mkdir -p dest grave src/d/e outside/e; echo canary > outside/canary;"
                                "echo canary > outside/e/canary; i=0; while [ $i -lt 40 ]; do"
                                " echo x > src/d/$i; echo x > src/d/e/$i; i=$((i+1)); done"),
                     0);
    {
        CLEANUP(fd_done) int src = open("src", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        write_sink_fd = archive;
        assert_true(zip_write_dir(src, write_sink, NULL, NULL, &e));
    }
    dest = open("dest", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0)
        swap_for_ever(s);
    while (__atomic_load_n(&s->done, __ATOMIC_SEQ_CST) < SWAPS && waitpid(pid, &status, WNOHANG) == 0) {
        struct err why = ERR_INIT;

        if (zip_unpack(archive, dest, NULL, NULL, &why))
            whole++;
        else
            broken++;
        err_clear(&why);
        (void)!stage_remove_tree(dest, "d", &why);
    }
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_true(__atomic_load_n(&s->done, __ATOMIC_SEQ_CST) >= SWAPS);
    print_message("%u archives were unpacked, %u refused\n", whole, broken);
    assert_true(broken > 0); /* the neighbour was in the way */
    assert_int_equal(scratch_count("outside"), 2);
    assert_int_equal(scratch_count("outside/e"), 1);
    assert_int_equal(scratch_sh("grep -q canary outside/canary && grep -q canary outside/e/canary"), 0);
    munmap(s, sizeof(*s));
}

/* ---- an archive that takes its time, and somebody who waits for its end ---- */

static void unpacking_that_is_stopped_leaves_nothing_AG_2(void **state)
{
    CLEANUP(fd_done) int archive = open("a.zip", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    CLEANUP(fd_done) int src = -1;
    CLEANUP(fd_done) int dest = -1;
    atomic_bool cancel = true;
    const struct zip_limits limits = { .cancel = &cancel };
    struct err e = ERR_INIT;

    (void)state;
    assert_int_equal(scratch_sh("mkdir dest src; echo x > src/file"), 0);
    src = open("src", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    dest = open("dest", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    write_sink_fd = archive;
    assert_true(zip_write_dir(src, write_sink, NULL, NULL, &e));
    assert_false(zip_unpack(archive, dest, &limits, NULL, &e));
    assert_int_equal(e.kind, ERR_KIND_CANCELLED);
    assert_int_equal(scratch_count("dest"), 0);
    atomic_store(&cancel, false);
    err_clear(&e);
    assert_true(zip_unpack(archive, dest, &limits, NULL, &e));
    assert_true(scratch_has("dest/file"));
}

int main(void)
{
    struct CMUnitTest tests[ARRAY_LEN(many_cases) + 3];
    size_t count = 0;

    UNIT_ROWS(tests, count, many_cases, check_many_in_scratch);
    tests[count++] = (struct CMUnitTest)cmocka_unit_test_setup_teardown(AR_11_depth_of_ten_thousand, enter,
                                                                        scratch_teardown);
    tests[count++] = (struct CMUnitTest)cmocka_unit_test_setup_teardown(
        AR_5_directory_swapped_for_a_link_while_unpacking, enter, scratch_teardown);
    tests[count++] = (struct CMUnitTest)cmocka_unit_test_setup_teardown(
        unpacking_that_is_stopped_leaves_nothing_AG_2, enter, scratch_teardown);
    return _cmocka_run_group_tests("base/zip_hostile", tests, count, NULL, NULL);
}
