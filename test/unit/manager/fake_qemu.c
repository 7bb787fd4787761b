#include "unit/manager/fake_qemu.h"

#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* The value that begins behind `prefix` in one of the arguments, up to a comma. */
static bool find_value(int argc, char **argv, const char *prefix, char *ret, size_t size)
{
    for (int i = 1; i < argc; i++) {
        const char *at = strstr(argv[i], prefix);

        if (!at)
            continue;
        at += strlen(prefix);
        snprintf(ret, size, "%.*s", (int)strcspn(at, ","), at);
        return true;
    }
    return false;
}

static int listen_at(const char *path)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
    if (bind(fd, (const struct sockaddr *)&at, sizeof(at)) != 0 || listen(fd, 4) != 0)
        _exit(4);
    return fd;
}

/* The forwarded port: what the manager reserved has to be free for us. */
static void listen_at_port(int argc, char **argv)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
    char text[16];
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    if (!find_value(argc, argv, "hostfwd=tcp:127.0.0.1:", text, sizeof(text)))
        _exit(5);
    at.sin_port = htons((uint16_t)strtoul(text, NULL, 10));
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, (const struct sockaddr *)&at, sizeof(at)) != 0 || listen(fd, 4) != 0) {
        fprintf(stderr, "Could not set up host forwarding rule\n");
        _exit(1);
    }
}

static void say(int fd, const char *text)
{
    if (write(fd, text, strlen(text)) < 0)
        _exit(0);
}

/* 64 MiB of lines, as fast as they are read, and a last one; by a process of its own, so that QMP goes on. */
static void flood(int console)
{
    static char block[65536];

    if (fork() != 0)
        return;
    for (size_t i = 0; i < sizeof(block); i++)
        block[i] = i % 64 == 63 ? '\n' : 'x';
    for (int i = 0; i < 1024; i++)
        for (size_t at = 0; at < sizeof(block);) {
            ssize_t n = write(console, block + at, sizeof(block) - at);

            if (n <= 0)
                _exit(0);
            at += (size_t)n;
        }
    say(console, "the flood is over\n");
    _exit(0);
}

struct fake {
    const char *mode;
    int qmp, console;   /* listening */
    int client, reader; /* connected, -1 none */
};

static void obey(struct fake *f, const char *line)
{
    if (strstr(line, "\"cont\"") && strcmp(f->mode, "refuses-cont") == 0) {
        say(f->client, "{\"error\":{\"class\":\"GenericError\",\"desc\":\"not today\"}}\r\n");
        return;
    }
    say(f->client, "{\"return\": {}}\r\n");
    if (strstr(line, "\"cont\"")) {
        if (f->reader < 0) /* it has connected before it said this */
            f->reader = accept(f->console, NULL, NULL);
        say(f->reader, "guest boots\n");
        if (strcmp(f->mode, "floods") == 0)
            flood(f->reader);
        if (strcmp(f->mode, "panics") == 0) {
            say(f->client, "{\"event\":\"GUEST_PANICKED\",\"data\":{\"action\":\"poweroff\"}}\r\n");
            _exit(0);
        }
    }
    if (strstr(line, "\"system_powerdown\"") && strcmp(f->mode, "ignores-powerdown") != 0) {
        say(f->client,
            "{\"event\":\"SHUTDOWN\",\"data\":{\"guest\":true,\"reason\":\"guest-shutdown\"}}\r\n");
        _exit(0);
    }
}

static void serve(struct fake *f)
{
    char line[4096];

    for (;;) {
        struct pollfd p[3] = { { f->qmp, POLLIN, 0 }, { f->console, POLLIN, 0 }, { f->client, POLLIN, 0 } };

        poll(p, 3, -1);
        if (p[0].revents) {
            f->client = accept(f->qmp, NULL, NULL);
            say(f->client, "{\"QMP\":{\"version\":{},\"capabilities\":[]}}\r\n");
        }
        if (p[1].revents)
            f->reader = accept(f->console, NULL, NULL);
        if (f->client >= 0 && p[2].revents && p[2].fd == f->client) {
            ssize_t n = read(f->client, line, sizeof(line) - 1);

            if (n <= 0) {
                close(f->client);
                f->client = -1;
                continue;
            }
            line[n] = '\0';
            for (char *at = line; *at; at += strcspn(at, "\n") + 1)
                if (strchr(at, '\n'))
                    obey(f, at);
                else
                    break;
        }
    }
}

/* Questions without a machine (host/qemu.h): tee=snp and tee=tdx among the arguments are a QEMU that can do so. */
static int be_asked(int argc, char **argv)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    char tee[16] = "";
    char line[1024];
    ssize_t n;

    find_value(argc, argv, "tee=", tee, sizeof(tee));
    if (!find_value(argc, argv, "unix:", at.sun_path, sizeof(at.sun_path)) ||
        connect(fd, (const struct sockaddr *)&at, sizeof(at)) != 0)
        return 8;
    say(fd, "{\"QMP\":{\"version\":{\"qemu\":{\"major\":10,\"minor\":2,\"micro\":0}}}}\r\n");
    while ((n = read(fd, line, sizeof(line) - 1)) > 0) {
        line[n] = '\0';
        if (strstr(line, "\"quit\""))
            return 0;
        if (strstr(line, "\"device\"") && strcmp(tee, "bare") != 0)
            say(fd, "{\"return\":[{\"name\":\"virtio-9p-pci\"},{\"name\":\"virtio-net-pci\"},{\"name\":\"tpm-"
                    "crb\"}]}\r\n");
        else if (strstr(line, "\"query-machines\""))
            say(fd, "{\"return\":[{\"name\":\"pc-q35-10.2\",\"alias\":\"q35\"}]}\r\n");
        else if (strstr(line, "\"qom-list-types\""))
            say(fd, strcmp(tee, "snp") == 0
                        ? "{\"return\":[{\"name\":\"sev-snp-guest\"},{\"name\":\"igvm-cfg\"}]}\r\n"
                    : strcmp(tee, "tdx") == 0 ? "{\"return\":[{\"name\":\"tdx-guest\"}]}\r\n"
                                              : "{\"return\":[]}\r\n");
        else if (strstr(line, "\"query-sev-capabilities\"") && strcmp(tee, "snp") != 0)
            say(fd, "{\"error\":{\"class\":\"GenericError\",\"desc\":\"SEV is not enabled in KVM\"}}\r\n");
        else
            say(fd, "{\"return\":{\"cbitpos\":51,\"reduced-phys-bits\":1}}\r\n");
    }
    return 9;
}

static void end_in_order(int number)
{
    (void)number;
    _exit(0);
}

/* Answers each question on its control socket, one connection after another, as swtpm does. */
static int be_swtpm(int argc, char **argv)
{
    static const char capability[8] = { 0, 0, 0, 0, 0, 0, 0xf, 0xf };
    char path[256];
    char mode[64] = "";
    char question[64];
    int listener;

    if (!find_value(argc, argv, "type=unixio,path=", path, sizeof(path)))
        return 6;
    find_value(argc, argv, "swtpm=", mode, sizeof(mode));
    if (strcmp(mode, "broken") == 0) {
        fprintf(stderr, "swtpm: no such state\n");
        return 5;
    }
    while (strcmp(mode, "mute") == 0)
        pause();
    signal(SIGTERM, end_in_order); /* as when QEMU tells it to end */
    listener = listen_at(path);
    while (strcmp(mode, "silent") == 0)
        pause();
    for (;;) {
        int fd = accept(listener, NULL, NULL);

        while (fd >= 0 && read(fd, question, sizeof(question)) > 0)
            if (write(fd, capability, strcmp(mode, "half") == 0 ? 4 : 8) < 0)
                break;
        if (fd >= 0)
            close(fd);
    }
}

/* A unit test that was ended leaves nothing; a real manager's VMs outlive it. */
static void die_with_test(void)
{
    char path[64];
    char mine[256];
    char parents[256];
    ssize_t n = readlink("/proc/self/exe", mine, sizeof(mine));

    snprintf(path, sizeof(path), "/proc/%d/exe", (int)getppid());
    if (n > 0 && readlink(path, parents, sizeof(parents)) == n && memcmp(mine, parents, (size_t)n) == 0)
        prctl(PR_SET_PDEATHSIG, SIGKILL);
}

bool fake_run(int argc, char **argv, int *ret_code)
{
    struct fake f = { "", -1, -1, -1, -1 };
    char mode[64] = "";
    char path[256];

    if (argc > 1)
        die_with_test();
    if (argc > 1 && strcmp(argv[1], "socket") == 0) {
        *ret_code = be_swtpm(argc, argv);
        return true;
    }
    if (argc > 2 && strncmp(argv[2], "none,", 5) == 0) {
        *ret_code = be_asked(argc, argv);
        return true;
    }
    if (argc > 2 && strncmp(argv[2], "pc,accel=", 9) == 0) {
        *ret_code = 65; /* the probe guest has done its work */
        return true;
    }
    if (!find_value(argc, argv, "unix:", path, sizeof(path)))
        return false;
    find_value(argc, argv, "fake=", mode, sizeof(mode));
    f.mode = mode;
    if (strcmp(mode, "broken") == 0) {
        fprintf(stderr, "qemu: no such machine\n");
        *ret_code = 3;
        return true;
    }
    while (strcmp(mode, "mute") == 0)
        pause();
    listen_at_port(argc, argv);
    f.qmp = listen_at(path);
    if (!find_value(argc, argv, "id=console,path=", path, sizeof(path)))
        _exit(7);
    f.console = listen_at(path);
    serve(&f); /* until it is killed */
    return true;
}
