#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/stage.h"
#include "cvms_unit.h"

static char *folder;

void unit_read(const char *const *args, const char *const *env, struct cvms_options *o,
               struct config_values *values)
{
    static const char *const no_env[] = { NULL };
    const char *argv[UNIT_ARGS_MAX + 2] = { "cvms-test" };
    struct err e = ERR_INIT;
    int argc = 1;

    *o = (struct cvms_options){ 0 };
    *values = (struct config_values){ 0 };
    for (; args[argc - 1]; argc++) {
        assert_true(argc <= UNIT_ARGS_MAX);
        argv[argc] = args[argc - 1];
    }
    if (config_read(cvms_options_spec(), argc, (char *const *)(uintptr_t)argv,
                    (char *const *)(uintptr_t)(env ? env : no_env), o, values, &e) != CONFIG_RUN)
        fail_msg("%s", err_text(&e));
    cvms_options_drop_empty(o);
}

void unit_write(const char *path, const char *text)
{
    CLEANUP(fd_done) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    struct err e = ERR_INIT;

    assert_true(fd >= 0);
    assert_true(stage_write_all(fd, slice_of_str(text), &e));
    assert_int_equal(fchmod(fd, 0644), 0); /* the mode is part of a zip, and umask is not ours */
}

#define PUBLIC_KEY(base64) "-----BEGIN PUBLIC KEY-----\n" base64 "\n-----END PUBLIC KEY-----\n"

#define KEY_BASE64 "MCowBQYDK2VwAyEA3ngI06aCj9wiN+QO4d/VSksRV8Ggp89Vmmr7yENrzGM="
#define ZEROS "\"0000000000000000000000000000000000000000000000000000000000000000\""

int unit_dir_setup(void **state)
{
    const char *tmp = getenv("TMPDIR");
    struct err e = ERR_INIT;

    (void)state;
    log_set_level(LOG_ERROR);
    folder = mem_format(&e, "%s/cvms-unit-XXXXXX", tmp ? tmp : "/tmp");
    if (!folder || !mkdtemp(folder) || chdir(folder) != 0)
        return -1;
    unit_write("pub.pem", PUBLIC_KEY(KEY_BASE64));
    unit_write("b.pem", PUBLIC_KEY("MCowBQYDK2VwAyEAQGLnsPt6/1R4tnTPrYmFOA9HwRW0hMe4kquiK3iitws="));
    unit_write("c.pem", PUBLIC_KEY("MCowBQYDK2VwAyEAVHFtqr5Z99AmVH8M34/GzoiW7Fcqv9lguiqcuaT7pKA="));
    unit_write("bad.pem", "this is no key\n");
    unit_write("algo", "algo\n");
    unit_write("one.csv", "1\n");
    unit_write("two.csv", "2\n");
    if (mkdir("dir", 0755) != 0 || mkdir("dir/sub", 0755) != 0 || mkfifo("fifo", 0600) != 0)
        return -1;
    unit_write("m.json", "{\"id\": \"m\", \"datasets\": [{\"hash\": " ZEROS ", \"filename\": \"d.csv\"}],\n"
                         " \"algorithm\": {\"hash\": " ZEROS "},\n"
                         " \"result_consumers\": [{\"user_key\": \"" KEY_BASE64 "\"}]}\n");
    unit_write("dir/a.txt", "hello");
    unit_write("dir/sub/b.csv", "x,y\n1,2\n");
    return chmod("dir/sub/b.csv", 0755);
}

int unit_dir_teardown(void **state)
{
    CLEANUP(fd_done) int parent = open("..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct err e = ERR_INIT;
    bool gone;

    (void)state;
    gone = stage_remove_tree(parent, strrchr(folder, '/') + 1, &e);
    mem_free(folder);
    folder = NULL;
    return gone ? 0 : -1;
}
