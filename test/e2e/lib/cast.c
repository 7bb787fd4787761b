#include "e2e/lib/cast.h"

#include <regex.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/stage.h"
#include "e2e/lib/e2e_int.h"

void cast_algorithm(struct cast *c, const char *algorithm, const char *kind)
{
    if (algorithm[0] == '/' || strcmp(kind, "bin") != 0)
        snprintf(c->algorithm, sizeof(c->algorithm), "%s", algorithm);
    else
        snprintf(c->algorithm, sizeof(c->algorithm), "%.150s/%s", e2e.guest_build, algorithm);
    snprintf(c->kind, sizeof(c->kind), "%s", kind);
}

void cast_cvms(struct cast *c)
{
    e2e_key("owner");
    e2e_start(&c->cvms, "cvms-test", "HOST=127.0.0.1", "PORT=0", "-public-key-path",
              e2e_file("owner.pub.pem"), "-attested-tls-bool", "false", "-algo-path", c->algorithm,
              "-algo-type", c->kind, "-data-paths", c->dataset, "-output", "jsonl", NULL);
    e2e_line(&c->cvms, 10000, "\"msg\":\"ready\",\"addr\":\"127\\.0\\.0\\.1:([0-9]+)\"", c->cvms_port,
             sizeof(c->cvms_port));
}

void cast_cvms_again(struct cast *c, const char *flag, const char *value)
{
    char port[32];

    e2e_signal(&c->cvms, SIGKILL);
    e2e_wait(&c->cvms, 5000);
    e2e_mark("CVMS killed");
    snprintf(port, sizeof(port), "PORT=%s", c->cvms_port);
    e2e_start(&c->cvms, "cvms-test", "HOST=127.0.0.1", port, "-public-key-path", e2e_file("owner.pub.pem"),
              "-attested-tls-bool", "false", "-algo-path", c->algorithm, "-algo-type", c->kind, "-data-paths",
              c->dataset, "-output", "jsonl", flag, value, NULL);
}

void cast_once(struct cast *c, const char *type, const char *status)
{
    char regex[256];
    unsigned count;

    snprintf(regex, sizeof(regex), "\"event_type\":\"%s\",\"status\":\"%s\".*\"timestamp\":\"([^\"]*)\"",
             type, status);
    count = e2e_count(&c->cvms, regex);
    if (count != 1)
        e2e_fail("the event %s/%s was told %u times, not once", type, status, count);
}

void cast_vm(struct cast *c, const char *flavour)
{
    e2e_manager(&c->manager, flavour, c->manager_extra);
    e2e_create(&c->vm, c->cvms_port, c->ttl);
}

void cast_wait_for_agent(struct cast *c)
{
    char fault[512] = "";

    /* One line and not two: the agent's answer and its events come by different streams, in either order. */
    e2e_line(&c->cvms, 30000,
             "\"event_type\":\"ReceivingAlgorithm\"|\"kind\":\"run_res\".*\"error\":\"([^\"]+)\"", fault,
             sizeof(fault));
    if (fault[0])
        e2e_fail("the agent refuses the computation: %s", fault);
    e2e_mark("agent connected");
}

void cast_one_provider(struct cast *c, const char *flavour, const char *algorithm, const char *kind)
{
    cast_algorithm(c, algorithm, kind);
    cast_cvms(c);
    cast_vm(c, flavour);
    cast_wait_for_agent(c);
}

static void key_file(const char *who, char *ret, size_t len)
{
    snprintf(ret, len, "%s/%s.pem", e2e.dir, who);
}

void cast_upload_algorithm(struct cast *c, const char *who)
{
    char key[E2E_PATH + 64];

    key_file(who, key, sizeof(key));
    if (e2e_cli(c->vm.port, "algo", "-a", c->kind, c->algorithm, key, NULL) != 0)
        e2e_fail("the algorithm could not be uploaded; see cli.log");
    e2e_mark("algorithm uploaded");
}

void cast_upload_data(struct cast *c, const char *who)
{
    char key[E2E_PATH + 64];

    key_file(who, key, sizeof(key));
    if (e2e_cli(c->vm.port, "data", c->dataset, key, NULL) != 0)
        e2e_fail("the dataset could not be uploaded; see cli.log");
    e2e_mark("data uploaded");
}

/* The archive stores its files, so what they say can be searched for in it. */
static bool archive_has(const char *path, const char *regex)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(16 << 20);
    struct err e = ERR_INIT;
    regex_t re;
    bool found;

    if (!stage_read_file(path, &text, &e))
        e2e_fail("%s", err_text(&e));
    for (size_t i = 0; i < text.len; i++)
        if (text.base[text.start + i] == 0)
            text.base[text.start + i] = ' '; /* regexec stops at a NUL */
    if (regcomp(&re, regex, REG_EXTENDED | REG_NEWLINE) != 0)
        e2e_fail("'%s' is not a regular expression", regex);
    found = regexec(&re, buf_str(&text, &e), 0, NULL, 0) == 0;
    regfree(&re);
    return found;
}

void cast_result(struct cast *c, const char *who, const char *regex)
{
    char key[E2E_PATH + 64];

    key_file(who, key, sizeof(key));
    if (e2e_cli(c->vm.port, "result", "-o", e2e.dir, "-f", "results.zip", key, NULL) != 0)
        e2e_fail("the result could not be fetched; see cli.log");
    e2e_mark("result fetched");
    if (!archive_has(e2e_file("results.zip"), regex))
        e2e_fail("the result does not hold /%s/", regex);
}

const char *cast_compile(const char *name, const char *source)
{
    char file[64];
    const char *binary = e2e_file(name);
    const char *code;
    pid_t pid;
    int status = 0;

    snprintf(file, sizeof(file), "%.50s.c", name);
    code = e2e_write(file, source, 0644);
    pid = fork();
    if (pid == 0) {
        execlp("gcc", "gcc", "-O1", "-o", binary, code, (char *)NULL);
        _exit(127);
    }
    if (pid < 0 || waitpid(pid, &status, 0) < 0 || status != 0)
        e2e_fail("%s could not be compiled", code);
    return binary;
}
