#include "base/dirs.h"

#include "base/mem.h"
#include "base/stage.h"

static const struct config_opt opts[] = {
    { .env = "COCOS_RUN_DIR",
      .type = CONFIG_STR,
      .def = "/run/cocos",
      .arg = "dir",
      .help = "sockets, and the agent's address",
      .offset = offsetof(struct dirs, run) },
    { .env = "COCOS_STATE_DIR",
      .type = CONFIG_STR,
      .def = "/var/lib/cocos",
      .arg = "dir",
      .help = "what must survive a crash",
      .offset = offsetof(struct dirs, state) },
    { .env = "COCOS_WORK_DIR",
      .type = CONFIG_STR,
      .def = "/cocos",
      .arg = "dir",
      .help = "algorithm, datasets and results, for agent and runner",
      .offset = offsetof(struct dirs, work) },
};

const struct config_rows dirs_rows = { opts, ARRAY_LEN(opts) };

static bool is_given(const char *path)
{
    return path && *path;
}

char *dirs_socket(const struct dirs *d, const char *given, const char *name, struct err *e)
{
    return is_given(given) ? mem_dup_str(given, e) : mem_format(e, "%s/%s", d->run, name);
}

char *dirs_listen(const struct dirs *d, const char *given, const char *name, struct err *e)
{
    CLEANUP(fd_done) int run_fd = -1;

    if (!is_given(given) && !stage_dir_open(d->run, 0755, &run_fd, e)) {
        err_wrap(e, "COCOS_RUN_DIR");
        return NULL;
    }

    CLEANUP(mem_done) char *path = dirs_socket(d, given, name, e);

    return path ? mem_format(e, "unix:%s", path) : NULL;
}

bool dirs_socket_mode(const char *env, const char *text, mode_t *ret, bool *ret_same_user, struct err *e)
{
    unsigned mode = 0;

    for (const char *c = text; *c; c++) {
        if (*c < '0' || *c > '7' || mode > 0777)
            return err_fail(e, ERR_KIND_INVALID, "environment %s: '%s': octal digits are wanted, like 0600",
                            env, text);
        mode = mode * 8 + (unsigned)(*c - '0');
    }
    if (mode > 0777 || (mode & 0600) != 0600)
        return err_fail(e, ERR_KIND_INVALID, "environment %s: '%s': 0600 to 0777 are wanted", env, text);
    *ret = (mode_t)mode;
    *ret_same_user = (mode & 0077) == 0;
    return true;
}
