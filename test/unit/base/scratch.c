#include "scratch.h"

#include <dirent.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/stage.h"

static char path[64];
static int dir_fd = -1;

void scratch_enter(void)
{
    const char *parent = getenv("TMPDIR");

    snprintf(path, sizeof(path), "%s/unit-base-XXXXXX", parent && strlen(parent) < 40 ? parent : "/tmp");
    assert_non_null(mkdtemp(path));
    assert_int_equal(chdir(path), 0);
    dir_fd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(dir_fd >= 0);
}

void scratch_leave(void)
{
    struct err e = ERR_INIT;

    fd_done(&dir_fd);
    assert_int_equal(chdir("/tmp"), 0);
    assert_true(stage_remove_tree(AT_FDCWD, path, &e));
}

int scratch_setup(void **state)
{
    (void)state;
    scratch_enter();
    return 0;
}

int scratch_teardown(void **state)
{
    (void)state;
    scratch_leave();
    return 0;
}

int scratch_fd(void)
{
    return dir_fd;
}

int scratch_run(const char *const *argv)
{
    posix_spawn_file_actions_t actions;
    char *words[32] = { NULL };
    int status = 0;
    pid_t pid;

    for (size_t i = 0; argv[i]; i++) {
        assert_in_range(i, 0, ARRAY_LEN(words) - 2);
        words[i] = strdup(argv[i]);
    }
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
    assert_int_equal(posix_spawnp(&pid, words[0], &actions, NULL, words, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    for (size_t i = 0; words[i]; i++)
        free(words[i]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int scratch_sh(const char *line)
{
    return scratch_run((const char *const[]){ "sh", "-c", line, NULL });
}

void scratch_read(const char *name, struct buf *out)
{
    struct err e = ERR_INIT;

    if (!stage_read_file(name, out, &e))
        fail_msg("%s", err_text(&e));
}

void scratch_write(const char *name, struct slice bytes, unsigned mode)
{
    CLEANUP(fd_done) int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    struct err e = ERR_INIT;

    assert_true(fd >= 0);
    assert_true(stage_write_all(fd, bytes, &e));
    assert_int_equal(fchmod(fd, mode), 0);
}

bool scratch_has(const char *name)
{
    struct stat st;

    return lstat(name, &st) == 0;
}

size_t scratch_count(const char *name)
{
    DIR *dir = opendir(name);
    size_t count = 0;

    assert_non_null(dir);
    while (readdir(dir))
        count++;
    closedir(dir);
    return count - 2;
}
