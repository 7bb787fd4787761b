/* Opening beneath a directory, with openat2 and without. */
#include "scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/stage_int.h"

static int enter(void **state)
{
    (void)state;
    umask(022);
    scratch_enter();
    return 0;
}

static struct beneath_case {
    const char *name;
    const char *path;
    int flags;
    enum err_kind want;
} beneath_cases[] = {
    { "beneath_file", "in/file", O_RDONLY, ERR_KIND_NONE },
    { "beneath_directory", "in/dir", O_RDONLY | O_DIRECTORY, ERR_KIND_NONE },
    { "beneath_dotdot_that_stays_in", "in/dir/../file", O_RDONLY, ERR_KIND_NONE },
    { "beneath_new_file", "in/new", O_WRONLY | O_CREAT | O_EXCL, ERR_KIND_NONE },
    { "beneath_missing", "in/nothing", O_RDONLY, ERR_KIND_MISSING },
    { "beneath_dotdot_out", "../secret", O_RDONLY, ERR_KIND_DENIED },
    { "beneath_dotdot_out_deep", "in/dir/../../../secret", O_RDONLY, ERR_KIND_DENIED },
    { "beneath_absolute", "/etc/passwd", O_RDONLY, ERR_KIND_DENIED },
    { "beneath_link_to_file", "in/link", O_RDONLY, ERR_KIND_DENIED },
    { "beneath_link_on_the_way", "in/dirlink/file", O_RDONLY, ERR_KIND_DENIED },
    { "beneath_absolute_link", "in/abs", O_RDONLY, ERR_KIND_DENIED },
    { "beneath_new_file_through_a_link", "in/out/new", O_WRONLY | O_CREAT, ERR_KIND_DENIED },
    { "beneath_new_file_in_place_of_a_link", "in/dangling", O_WRONLY | O_CREAT, ERR_KIND_DENIED },
};

#define TREE                                                                                      \
    "mkdir -p root/in/dir; echo canary > secret; echo x > root/in/file; ln -s file root/in/link;" \
    "ln -s dir root/in/dirlink; echo x > root/in/dir/file; ln -s /etc/passwd root/in/abs;"        \
    "ln -s ../.. root/in/out; ln -s nowhere root/in/dangling"

static void check_beneath(void **state)
{
    const struct beneath_case *c = *state;
    CLEANUP(fd_done) int dir = -1;
    CLEANUP(fd_done) int fd = -1;
    struct err e = ERR_INIT;
    void *unused = NULL;

    enter(&unused);
    assert_int_equal(scratch_sh(TREE), 0);
    dir = open("root", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(stage_open_beneath(dir, c->path, c->flags, 0600, &fd, &e), c->want == ERR_KIND_NONE);
    if (e.kind != c->want)
        fail_msg("%s", err_text(&e));
    assert_int_equal(fd >= 0, c->want == ERR_KIND_NONE);
    if (fd >= 0)
        assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    assert_false(scratch_has("new"));
    assert_false(scratch_has("root/in/nowhere"));
    scratch_teardown(&unused);
}

/* ---- the same where the kernel has no openat2 ---- */

static int inode_or_errno(int fd, uint64_t *ret_ino)
{
    int code = fd < 0 ? errno : 0;
    struct stat st = { 0 };

    if (fd >= 0) {
        assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
        assert_int_equal(fstat(fd, &st), 0);
        close(fd);
    }
    *ret_ino = st.st_ino;
    return code;
}

/* Each path in each way of opening, with the kernel's own walk and with ours. */
static void walk_by_names_finds_what_the_kernel_finds(void **state)
{
    static const char *const paths[] = {
        "in/file",
        "in/dir",
        "in/dir/",
        "in/dir//",
        "in/dir/.",
        "./in/./dir/file",
        "in/dir/../file",
        "in/dir/..",
        "in/../in/file",
        ".",
        "..",
        "./",
        "../",
        "../secret",
        "in/dir/../../../secret",
        "/etc/passwd",
        "",
        "/",
        "in/file/",
        "in/file/x",
        "in/file/..",
        "in/nothing",
        "in/nothing/x",
        "in/link",
        "in/link/",
        "in/dirlink",
        "in/dirlink/",
        "in/dirlink/file",
        "in/dirlink/../file",
        "in/abs",
        "in/out",
        "in/out/secret",
        "in/out/root/in/file",
        "in/dangling",
        "in/dangling/x",
        "in/loop",
        "in/loop/x",
        "in/up",
        "in/up/in/file",
        "in/deep/link",
        "in/chain",
        "in/chain/file",
        "in/long",
        "in//dir///file",
    };
    static const int flags[] = { O_RDONLY,
                                 O_RDONLY | O_DIRECTORY,
                                 O_PATH,
                                 O_PATH | O_NOFOLLOW,
                                 O_RDONLY | O_NOFOLLOW,
                                 O_RDONLY | O_DIRECTORY | O_NOFOLLOW,
                                 O_WRONLY };
    CLEANUP(fd_done) int dir = -1;

    (void)state;
    assert_int_equal(scratch_sh(TREE "; ln -s loop root/in/loop; ln -s .. root/in/up; mkdir root/in/deep;"
                                     "ln -s ../dir/file root/in/deep/link; ln -s dirlink root/in/chain;"
                                     "ln -s ./dir/../dir/./file root/in/long"),
                     0);
    dir = open("root", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (size_t i = 0; i < ARRAY_LEN(paths) * ARRAY_LEN(flags) * 2; i++) {
        const char *path = paths[i / 2 / ARRAY_LEN(flags)];
        int how = flags[i / 2 % ARRAY_LEN(flags)];
        bool follow = i % 2;
        uint64_t kernel_ino, walk_ino;
        int kernel = inode_or_errno(stage_openat(dir, path, how, 0, follow), &kernel_ino);
        int walk = inode_or_errno(stage_walk(dir, path, how, 0, follow), &walk_ino);

        if (kernel != walk || kernel_ino != walk_ino)
            fail_msg("'%s' flags %o follow %d: kernel %s, walk %s", path, (unsigned)how, follow,
                     strerror(kernel), strerror(walk));
    }
}

static void walk_by_names_makes_files_where_the_kernel_does(void **state)
{
    static const struct {
        const char *path;
        int flags;
        int want;
    } rows[] = {
        { "in/new", O_WRONLY | O_CREAT | O_EXCL, 0 }, { "in/new", O_WRONLY | O_CREAT | O_EXCL, EEXIST },
        { "in/dir/../new2", O_WRONLY | O_CREAT, 0 },  { "in/link", O_WRONLY | O_CREAT | O_EXCL, EEXIST },
        { "in/dangling", O_WRONLY | O_CREAT, ELOOP }, { "in/out/new", O_WRONLY | O_CREAT, ELOOP },
        { "in/new3/", O_WRONLY | O_CREAT, EISDIR },
    };
    CLEANUP(fd_done) int dir = -1;
    struct stat st;

    (void)state;
    assert_int_equal(scratch_sh(TREE), 0);
    dir = open("root", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        uint64_t ino;

        assert_int_equal(inode_or_errno(stage_walk(dir, rows[i].path, rows[i].flags, 0600, false), &ino),
                         rows[i].want);
    }
    assert_int_equal(stat("root/in/new2", &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_false(scratch_has("new"));
    assert_false(scratch_has("root/in/nowhere"));
}

static void path_too_long_for_the_walk_is_refused(void **state)
{
    char path[PATH_MAX + 2], deep[2 * 300 + 1];

    (void)state;
    memset(path, 'a', sizeof(path));
    path[sizeof(path) - 1] = '\0';
    assert_int_equal(stage_walk(scratch_fd(), path, O_RDONLY, 0, false), -1);
    assert_int_equal(errno, ENAMETOOLONG);
    path[NAME_MAX + 1] = '\0';
    assert_int_equal(stage_walk(scratch_fd(), path, O_RDONLY, 0, false), -1);
    assert_int_equal(errno, ENAMETOOLONG);
    for (size_t i = 0; i < sizeof(deep) - 1; i++)
        deep[i] = i % 2 ? '/' : 'd';
    deep[sizeof(deep) - 1] = '\0';
    assert_int_equal(scratch_sh("p=d; i=0; while [ $i -lt 300 ]; do p=$p/d; i=$((i+1)); done; mkdir -p $p"),
                     0);
    assert_int_equal(stage_walk(scratch_fd(), deep, O_RDONLY, 0, false), -1);
    assert_int_equal(errno, ENAMETOOLONG);
}

/* A filter as container runtimes have it that are older than the call. */
static bool forbid_openat2(int code)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat2, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)code),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { ARRAY_LEN(filter), filter };

    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0;
}

/* In a child, since a filter can't be taken off again. The table's rows, then a whole staged file. */
static int table_without_openat2(int code)
{
    struct err e = ERR_INIT;
    int dir = open("root", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct stage_file f = STAGE_FILE_INIT;

    if (!forbid_openat2(code))
        return 77;
    for (size_t i = 0; i < ARRAY_LEN(beneath_cases); i++) {
        struct err why = ERR_INIT;
        int fd = -1;

        if (stage_open_beneath(dir, beneath_cases[i].path, beneath_cases[i].flags, 0600, &fd, &why) !=
                (beneath_cases[i].want == ERR_KIND_NONE) ||
            why.kind != beneath_cases[i].want)
            return (int)i + 1;
        fd_done(&fd);
    }
    return stage_file_begin(dir, &f, &e) && stage_file_write(&f, slice_of_str("text"), &e) &&
                   stage_file_commit(&f, "whole", 0600, false, &e)
               ? 0
               : 100;
}

static void staging_works_without_openat2(void **state)
{
    static const int codes[] = { ENOSYS, EPERM };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
        int status;

        assert_int_equal(scratch_sh("rm -rf root secret;" TREE), 0);

        pid_t pid = fork();

        assert_true(pid >= 0);
        if (pid == 0)
            _exit(table_without_openat2(codes[i]));
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
            skip(); /* no seccomp here */
        assert_int_equal(status, 0);
        assert_true(scratch_has("root/whole"));
        assert_false(scratch_has("new"));
    }
}

#define IN_SCRATCH(test) cmocka_unit_test_setup_teardown(test, enter, scratch_teardown)

int main(void)
{
    struct CMUnitTest tests[ARRAY_LEN(beneath_cases) + 4];
    size_t count = 0;

    UNIT_ROWS(tests, count, beneath_cases, check_beneath);
    tests[count++] = (struct CMUnitTest)IN_SCRATCH(walk_by_names_finds_what_the_kernel_finds);
    tests[count++] = (struct CMUnitTest)IN_SCRATCH(walk_by_names_makes_files_where_the_kernel_does);
    tests[count++] = (struct CMUnitTest)IN_SCRATCH(path_too_long_for_the_walk_is_refused);
    tests[count++] = (struct CMUnitTest)IN_SCRATCH(staging_works_without_openat2);
    return _cmocka_run_group_tests("base/stage_walk", tests, count, NULL, NULL);
}
