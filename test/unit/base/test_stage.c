#include "scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/stage.h"

static int enter(void **state)
{
    (void)state;
    umask(022);
    scratch_enter();
    return 0;
}

/* ---- names: AG-7 ---- */

static struct name_case {
    const char *name;
    struct slice in;
    const char *want; /* part of the error; NULL: fine */
} name_cases[] = {
    { "name_plain_AG_7", SLICE_LIT("data.csv"), NULL },
    { "name_utf8_AG_7", SLICE_LIT("h\xc3\xa9.csv"), NULL },
    { "name_with_space_AG_7", SLICE_LIT(" a b "), NULL },
    { "name_hidden_AG_7", SLICE_LIT(".bashrc"), NULL },
    { "name_of_three_dots_AG_7", SLICE_LIT("..."), NULL },
    { "name_that_begins_with_dots_AG_7", SLICE_LIT("..data"), NULL },
    { "name_with_dots_within_AG_7", SLICE_LIT("a..b"), NULL },
    { "name_with_backslash_AG_7", SLICE_LIT("a\\b"), NULL },
    { "name_near_the_reserved_one_AG_7", SLICE_LIT(".cocos-staged"), NULL },
    { "name_empty_AG_7", SLICE_LIT(""), "the name is empty" },
    { "name_dot_AG_7", SLICE_LIT("."), "names a directory" },
    { "name_dotdot_AG_7", SLICE_LIT(".."), "names a directory" },
    { "name_with_slash_AG_7", SLICE_LIT("a/b"), "has a '/'" },
    { "name_absolute_AG_7", SLICE_LIT("/etc/passwd"), "has a '/'" },
    { "name_upwards_AG_7", SLICE_LIT("../x"), "has a '/'" },
    { "name_slash_at_end_AG_7", SLICE_LIT("a/"), "has a '/'" },
    { "name_with_nul_AG_7", SLICE_LIT("a\0b"), "control bytes" },
    { "name_with_newline_AG_7", SLICE_LIT("a\nb"), "control bytes" },
    { "name_with_escape_AG_7", SLICE_LIT("\x1b[2J"), "control bytes" },
    { "name_with_del_AG_7", SLICE_LIT("a\x7f"), "control bytes" },
    { "name_with_c1_AG_7", SLICE_LIT("a\xc2\x9b"), "control bytes" },
    { "name_not_utf8_AG_7", SLICE_LIT("a\xff"), "not UTF-8" },
    { "name_reserved_AG_7", SLICE_LIT(".cocos-staged.x"), "reserved" },
};

static void check_name(void **state)
{
    const struct name_case *c = *state;
    struct err e = ERR_INIT;

    assert_int_equal(stage_name_check(c->in, &e), c->want == NULL);
    assert_int_equal(e.kind, c->want ? ERR_KIND_INVALID : ERR_KIND_NONE);
    if (c->want && !strstr(err_text(&e), c->want))
        fail_msg("%s", err_text(&e));
    assert_null(strchr(err_text(&e), '\x1b'));
}

static void name_of_255_bytes_fits_and_256_does_not_AG_7(void **state)
{
    char name[256];
    struct err e = ERR_INIT;

    (void)state;
    memset(name, 'x', sizeof(name));
    assert_true(stage_name_check(slice_of(name, 255), &e));
    assert_false(stage_name_check(slice_of(name, 256), &e));
    assert_non_null(strstr(err_text(&e), "longer than 255 bytes"));
}

/* ---- directories ---- */

static void directories_are_made_with_parents(void **state)
{
    CLEANUP(fd_done) int fd = -1;
    CLEANUP(fd_done) int again = -1;
    CLEANUP(fd_done) int slashed = -1;
    struct err e = ERR_INIT;
    struct stat st;

    (void)state;
    assert_true(stage_dir_open("a/b/c", 0700, &fd, &e));
    assert_int_equal(stat("a/b", &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    assert_true(stage_dir_open("a/b/c", 0755, &again, &e));
    assert_true(stage_dir_open("a//b/d/", 0755, &slashed, &e));
    assert_true(scratch_has("a/b/d"));
    fd_done(&fd);
    assert_true(stage_dir_open("/", 0755, &fd, &e));
}

static void directory_that_can_t_be_made_says_why(void **state)
{
    struct err e = ERR_INIT;
    int fd = -1;

    (void)state;
    scratch_write("file", SLICE_EMPTY, 0600);
    assert_false(stage_dir_open("file/sub", 0700, &fd, &e));
    assert_string_equal(err_text(&e), "make directory 'file/sub': Not a directory");
    assert_false(stage_dir_open("file", 0700, &fd, &e));
    assert_string_equal(err_text(&e), "open directory 'file': Not a directory");
    assert_false(stage_dir_open("", 0700, &fd, &e));
    assert_int_equal(e.kind, ERR_KIND_INVALID);
    assert_int_equal(fd, -1);
}

/* ---- staging ---- */

static bool stage_text(const char *name, const char *text, bool replace, struct err *e)
{
    struct stage_file f = STAGE_FILE_INIT;

    if (!stage_file_begin(scratch_fd(), &f, e))
        return false;
    if (!stage_file_write(&f, slice_of_str(text), e)) {
        stage_file_done(&f);
        return false;
    }
    return stage_file_commit(&f, name, 0640, replace, e);
}

static void assert_text(const char *path, const char *want)
{
    CLEANUP(buf_done) struct buf seen = BUF_INIT(4096);
    struct err e = ERR_INIT;

    scratch_read(path, &seen);
    assert_string_equal(buf_str(&seen, &e), want);
}

static void placed_file_replaces_only_when_asked(void **state)
{
    struct stage_file f = STAGE_FILE_INIT;
    struct err e = ERR_INIT;
    struct stat st;

    (void)state;
    scratch_write("name", (struct slice)SLICE_LIT("old"), 0600);
    assert_true(stage_file_begin(scratch_fd(), &f, &e));
    assert_true(stage_file_write(&f, (struct slice)SLICE_LIT("new"), &e));
    assert_false(stage_file_place(&f, "name", 0700, false, &e));
    assert_text("name", "old");
    err_clear(&e);
    assert_true(stage_file_begin(scratch_fd(), &f, &e));
    assert_true(stage_file_write(&f, (struct slice)SLICE_LIT("new"), &e));
    assert_true(stage_file_place(&f, "name", 0700, true, &e));
    assert_text("name", "new");
    assert_int_equal(stat("name", &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(f.fd, -1);
}

static void file_appears_only_when_committed(void **state)
{
    struct stage_file f = STAGE_FILE_INIT;
    struct err e = ERR_INIT;
    struct stat st;

    (void)state;
    assert_true(stage_file_begin(scratch_fd(), &f, &e));
    assert_memory_equal(f.temp, ".cocos-staged.", 14);
    assert_int_equal(strlen(f.temp), 14 + 32);
    assert_int_equal(fstat(f.fd, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(fcntl(f.fd, F_GETFD), FD_CLOEXEC);
    assert_true(stage_file_write(&f, (struct slice)SLICE_LIT("part one, "), &e));
    assert_true(stage_file_write(&f, (struct slice)SLICE_LIT("part two"), &e));
    assert_int_equal(f.len, 18);
    assert_false(scratch_has("name"));
    assert_true(stage_file_commit(&f, "name", 0640, false, &e));
    assert_text("name", "part one, part two");
    assert_int_equal(stat("name", &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
    assert_int_equal(scratch_count("."), 1);
    assert_int_equal(f.fd, -1);
    assert_int_equal(f.dir_fd, -1);
    stage_file_done(&f);
    assert_true(scratch_has("name"));
}

static void uncommitted_file_goes(void **state)
{
    struct stage_file f = STAGE_FILE_INIT;
    struct err e = ERR_INIT;

    (void)state;
    stage_file_done(&f); /* an empty one is fine */
    assert_true(stage_file_begin(scratch_fd(), &f, &e));
    assert_int_equal(scratch_count("."), 1);
    stage_file_done(&f);
    stage_file_done(&f);
    assert_int_equal(scratch_count("."), 0);
}

static void existing_file_is_replaced_only_when_asked(void **state)
{
    struct err e = ERR_INIT;

    (void)state;
    assert_true(stage_text("name", "one", false, &e));
    assert_false(stage_text("name", "two", false, &e));
    assert_int_equal(e.kind, ERR_KIND_INVALID);
    assert_string_equal(err_text(&e), "name 'name': there is something of that name already");
    assert_text("name", "one");
    assert_int_equal(scratch_count("."), 1);
    assert_true(stage_text("name", "three", true, &e));
    assert_text("name", "three");
    /* A link is replaced, not followed. */
    assert_int_equal(symlink("name", "link"), 0);
    assert_true(stage_text("link", "four", true, &e));
    assert_text("name", "three");
    assert_text("link", "four");
    assert_int_equal(scratch_count("."), 2);
}

static void bad_name_removes_the_file(void **state)
{
    static const char *const names[] = { "../x", "", "..", "a/b", ".cocos-staged.x" };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct err e = ERR_INIT;

        assert_false(stage_text(names[i], "x", true, &e));
        assert_int_equal(e.kind, ERR_KIND_INVALID);
        assert_int_equal(scratch_count("."), 0);
    }
}

static void directory_in_the_way_removes_the_file(void **state)
{
    struct err e = ERR_INIT;

    (void)state;
    assert_int_equal(mkdir("name", 0755), 0);
    assert_false(stage_text("name", "x", true, &e));
    assert_false(stage_text("name", "x", false, &e));
    assert_int_equal(scratch_count("."), 1);
}

static void sweep_removes_what_was_left_only(void **state)
{
    struct stage_file f = STAGE_FILE_INIT;
    struct err e = ERR_INIT;

    (void)state;
    assert_true(stage_file_begin(scratch_fd(), &f, &e));
    fd_done(&f.fd);
    fd_done(&f.dir_fd); /* as kill -9 leaves it */
    assert_int_equal(
        scratch_sh(
            "mkdir -p .cocos-staged.tree/a/b; echo > .cocos-staged.tree/a/f; echo keep > keep;"
            "echo > .cocos-stage; ln -s keep .cocos-staged.link; mkdir sub; echo > sub/.cocos-staged.x"),
        0);
    assert_true(stage_sweep(scratch_fd(), &e));
    assert_int_equal(scratch_count("."), 3);
    assert_text("keep", "keep\n");
    assert_true(scratch_has("sub/.cocos-staged.x")); /* not ours to enter */
}

/* ---- a full disk ---- */

static void full_disk_is_told_and_leaves_nothing(void **state)
{
    CLEANUP(fd_done) int dir = -1;
    CLEANUP(mem_done) uint8_t *block = NULL;
    struct stage_file f = STAGE_FILE_INIT;
    struct err e = ERR_INIT;
    bool ok;

    (void)state;
    assert_int_equal(mkdir("tiny", 0700), 0);
    if (mount("unit", "tiny", "tmpfs", 0, "size=64k") != 0) {
        print_message("a tmpfs can't be mounted: %s\n", strerror(errno));
        skip();
    }
    dir = open("tiny", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    block = mem_new(1 << 20, &e);
    ok = stage_file_begin(dir, &f, &e) && stage_file_write(&f, slice_of(block, 1 << 20), &e);
    stage_file_done(&f);

    size_t left = scratch_count("tiny");

    fd_done(&dir);
    assert_int_equal(umount("tiny"), 0);
    assert_false(ok);
    assert_int_equal(e.kind, ERR_KIND_LIMIT);
    assert_int_equal(e.os_errno, ENOSPC);
    assert_int_equal(left, 0);
}

static void file_size_limit_is_told_and_leaves_nothing(void **state)
{
    struct rlimit before;
    struct rlimit tiny;
    struct stage_file f = STAGE_FILE_INIT;
    struct err e = ERR_INIT;
    static uint8_t block[65536];
    bool ok;

    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    tiny = before;
    tiny.rlim_cur = 10000;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tiny), 0);
    ok = stage_file_begin(scratch_fd(), &f, &e) && stage_file_write(&f, slice_of(block, sizeof(block)), &e);
    stage_file_done(&f);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_false(ok);
    assert_int_equal(e.os_errno, EFBIG);
    assert_non_null(strstr(err_text(&e), "stage a file, after 0 bytes: write: File too large"));
    assert_int_equal(scratch_count("."), 0);
}

/* ---- removing trees ---- */

static struct tree_case {
    const char *name;
    const char *make; /* makes "tree", and what has to stay in "keep" */
} tree_cases[] = {
    { "tree_missing", "true" },
    { "tree_is_a_file", "echo > tree" },
    { "tree_is_a_link", "ln -s keep tree" },
    { "tree_is_a_dangling_link", "ln -s nothing tree" },
    { "tree_empty", "mkdir tree" },
    { "tree_with_files", "mkdir -p tree/a/b tree/c; echo > tree/a/x; echo > tree/a/b/y; mkfifo tree/p" },
    { "tree_with_links_outside",
      "mkdir tree; ln -s ../keep tree/l; ln -s / tree/root; ln -s ../keep/f tree/f" },
    { "tree_of_many",
      "mkdir tree; cd tree; for i in $(seq 60); do mkdir d$i; echo > d$i/f; echo > f$i; done" },
    { "tree_without_rights",
      "mkdir -p tree/a/b/c; echo > tree/a/b/f; chmod 000 tree/a/b/c tree/a/b tree/a tree" },
    { "tree_with_odd_names", "mkdir -p tree; cd tree; mkdir -- -rf '...' ' ' \"$(printf 'a\\nb')\" "
                             "\"$(printf '\\377')\"; echo > ./-rf/x" },
};

static void check_tree(void **state)
{
    const struct tree_case *c = *state;
    struct err e = ERR_INIT;
    bool ok;
    void *unused = NULL;

    enter(&unused);
    assert_int_equal(scratch_sh("mkdir keep; echo kept > keep/f"), 0);
    assert_int_equal(scratch_sh(c->make), 0);
    /* Root needs no rights, so this is done as somebody else. */
    if (geteuid() == 0)
        assert_int_equal(scratch_sh("chown -hR 65534 ."), 0);
    assert_true(geteuid() != 0 || seteuid(65534) == 0);
    ok = stage_remove_tree(scratch_fd(), "tree", &e);
    assert_true(getuid() != 0 || seteuid(0) == 0);
    if (!ok)
        fail_msg("%s", err_text(&e));
    assert_false(scratch_has("tree"));
    assert_int_equal(scratch_count("."), 1);
    assert_text("keep/f", "kept\n");
    scratch_teardown(&unused);
}

static void very_deep_tree_is_removed_in_few_descriptors_AG_9(void **state)
{
    struct rlimit before;
    struct rlimit few;
    struct err e = ERR_INIT;
    int at = fcntl(scratch_fd(), F_DUPFD_CLOEXEC, 0);
    bool ok;

    (void)state;
    /* Deeper than any path can name, and than descriptors would last. */
    for (int depth = 0; depth < 600; depth++) {
        int next;

        assert_int_equal(mkdirat(at, depth ? "a-deep-one" : "tree", 0700), 0);
        next = openat(at, depth ? "a-deep-one" : "tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(next >= 0);
        fd_done(&at);
        at = next;
    }
    fd_done(&at);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    few = before;
    few.rlim_cur = 32;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    ok = stage_remove_tree(scratch_fd(), "tree", &e);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    if (!ok)
        fail_msg("%s", err_text(&e));
    assert_int_equal(scratch_count("."), 0);
}

/* ---- reading and writing ---- */

static void file_is_read_up_to_its_limit(void **state)
{
    static char text[100000];
    struct err e = ERR_INIT;

    (void)state;
    memset(text, 'x', sizeof(text));
    scratch_write("f", slice_of(text, sizeof(text)), 0600);
    for (size_t less = 0; less < 2; less++) {
        CLEANUP(buf_done) struct buf out = BUF_INIT(sizeof(text) - less);

        err_clear(&e);
        assert_int_equal(stage_read_file("f", &out, &e), less == 0);
        assert_int_equal(e.kind, less == 0 ? ERR_KIND_NONE : ERR_KIND_LIMIT);
        if (less == 0)
            assert_true(slice_equal(buf_slice(&out), slice_of(text, sizeof(text))));
        else
            assert_string_equal(err_text(&e), "'f': read: more than 99999 bytes");
    }
}

static void missing_file_and_directory_say_so(void **state)
{
    CLEANUP(buf_done) struct buf out = BUF_INIT(100);
    struct err e = ERR_INIT;

    (void)state;
    assert_false(stage_read_file("nothing", &out, &e));
    assert_int_equal(e.kind, ERR_KIND_MISSING);
    assert_string_equal(err_text(&e), "open 'nothing': No such file or directory");
    assert_false(stage_read_file(".", &out, &e));
    assert_string_equal(err_text(&e), "'.': read: Is a directory");
    assert_true(stage_read_file("/dev/null", &out, &e));
    assert_int_equal(out.len, 0);
}

static void endless_file_meets_the_limit(void **state)
{
    CLEANUP(buf_done) struct buf out = BUF_INIT(100000);
    struct err e = ERR_INIT;

    (void)state;
    assert_false(stage_read_file("/dev/zero", &out, &e));
    assert_int_equal(e.kind, ERR_KIND_LIMIT);
}

static void write_all_waits_for_a_slow_nonblocking_reader(void **state)
{
    static uint8_t block[300000];
    struct err e = ERR_INIT;
    int fds[2];
    int status = 0;
    pid_t reader;

    (void)state;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    assert_int_equal(fcntl(fds[1], F_SETFL, O_NONBLOCK), 0);
    reader = fork();
    if (reader == 0) {
        size_t total = 0;
        ssize_t n;
        char some[1000];

        close(fds[1]);
        while ((n = read(fds[0], some, sizeof(some))) > 0)
            total += (size_t)n;
        _exit(total == sizeof(block) ? 0 : 1);
    }
    close(fds[0]);
    assert_true(stage_write_all(fds[1], slice_of(block, sizeof(block)), &e));
    close(fds[1]);
    assert_int_equal(waitpid(reader, &status, 0), reader);
    assert_int_equal(status, 0);
}

static void write_all_tells_of_a_gone_reader(void **state)
{
    struct err e = ERR_INIT;
    int fds[2];

    (void)state;
    signal(SIGPIPE, SIG_IGN);
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    close(fds[0]);
    assert_false(stage_write_all(fds[1], (struct slice)SLICE_LIT("x"), &e));
    assert_int_equal(e.kind, ERR_KIND_UNAVAILABLE);
    assert_true(stage_write_all(fds[1], SLICE_EMPTY, &e));
    close(fds[1]);
}

#define IN_SCRATCH(test) cmocka_unit_test_setup_teardown(test, enter, scratch_teardown)

int main(void)
{
    static const struct CMUnitTest single[] = {
        cmocka_unit_test(name_of_255_bytes_fits_and_256_does_not_AG_7),
        IN_SCRATCH(directories_are_made_with_parents),
        IN_SCRATCH(directory_that_can_t_be_made_says_why),
        IN_SCRATCH(file_appears_only_when_committed),
        IN_SCRATCH(placed_file_replaces_only_when_asked),
        IN_SCRATCH(uncommitted_file_goes),
        IN_SCRATCH(existing_file_is_replaced_only_when_asked),
        IN_SCRATCH(bad_name_removes_the_file),
        IN_SCRATCH(directory_in_the_way_removes_the_file),
        IN_SCRATCH(sweep_removes_what_was_left_only),
        IN_SCRATCH(full_disk_is_told_and_leaves_nothing),
        IN_SCRATCH(file_size_limit_is_told_and_leaves_nothing),
        IN_SCRATCH(very_deep_tree_is_removed_in_few_descriptors_AG_9),
        IN_SCRATCH(file_is_read_up_to_its_limit),
        IN_SCRATCH(missing_file_and_directory_say_so),
        IN_SCRATCH(endless_file_meets_the_limit),
        cmocka_unit_test(write_all_waits_for_a_slow_nonblocking_reader),
        cmocka_unit_test(write_all_tells_of_a_gone_reader),
    };
    static struct CMUnitTest tests[96];
    size_t count = 0;

    UNIT_ROWS(tests, count, name_cases, check_name);
    UNIT_ROWS(tests, count, tree_cases, check_tree);
    for (size_t i = 0; i < ARRAY_LEN(single); i++)
        tests[count++] = single[i];
    return _cmocka_run_group_tests("stage", tests, count, NULL, NULL);
}
