/*
 * cocos-init: PID 1 of the guest.
 *
 * Brings the machine up, starts the services one after another, each when the
 * one before it serves, starts them again when they end, and ends the machine
 * when the host presses the power button. What it does is on the console, one
 * line a step with the milliseconds since the kernel started.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/stage.h"
#include "base/strays.h"
#include "hal/boot.h"
#include "hal/measurement.h"
#include "hal/power.h"
#include "hal/service.h"

#define PROBE_MS 10         /* between looks at a socket that is not there yet */
#define STOP_GRACE_MS 5000  /* for services when the machine ends              */
#define GIVE_WAY_FAILURES 3 /* a service that ended so often no longer holds up the next */
#define ORPHANS_MS 2000     /* for what a service left running to end          */
#define REST_NICE 10        /* a tenth of what a service gets, also beside an algorithm that never rests */
#define SERVICE_COUNT 4

struct init {
    const struct clock *clock;
    int console;
    int signals;
    struct hal_env env;
    struct hal_buttons buttons;
    struct hal_service services[SERVICE_COUNT];
    bool event_log;      /* the command line asks for it */
    pid_t rest;          /* the child of rest_begin, 0: none */
    const char *end_why; /* NULL: run on */
    enum hal_end end_how;
};

static const struct hal_service service_table[SERVICE_COUNT] = {
    { .name = "attestation-service",
      .path = "/usr/bin/cocos-attestation-service",
      .socket = "/run/cocos/attestation.sock" },
    { .name = "log-forwarder", .path = "/usr/bin/cocos-log-forwarder", .socket = "/run/cocos/log.sock" },
    { .name = "runner", .path = "/usr/bin/cocos-runner", .socket = "/run/cocos/runner.sock" },
    { .name = "agent", .path = "/usr/bin/cocos-agent", .socket = NULL },
};

static void phase(const struct init *in, const char *name)
{
    const struct log_field fields[] = { LOG_STR("phase", name), LOG_U64("up_ms", clock_mono_ms(in->clock)) };

    log_record(LOG_INFO, "boot", fields, ARRAY_LEN(fields));
}

static bool read_cmdline(struct buf *out, struct err *e)
{
    return stage_read_file("/proc/cmdline", out, e);
}

static bool read_environment(struct init *in, struct err *e)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(HAL_ENV_BYTES_MAX);
    static const char path[] = "/etc/cocos/environment";
    static const struct {
        const char *key;
        const char *value;
    } defaults[] = {
        { "PATH", "/usr/bin:/bin" },
        { "HOME", "/cocos" },
        { "LANG", "C.UTF-8" },
        { "AGENT_TPM", "auto" }, /* elsewhere an agent leaves a TPM alone: it may be the host's */
    };

    for (size_t i = 0; i < ARRAY_LEN(defaults); i++)
        if (!hal_env_set(&in->env, slice_of_str(defaults[i].key), slice_of_str(defaults[i].value), e))
            return false;
    if (access(path, F_OK) != 0) {
        log_warn("no %s: the services start with their defaults", path);
        return true;
    }
    return (stage_read_file(path, &text, e) && hal_env_read(buf_slice(&text), &in->env, e)) ||
           err_wrap(e, "%s", path);
}

static bool mount_shares(struct err *e)
{
    static const struct {
        const char *tag;
        const char *path;
    } shares[] = { { "env_share", "/etc/cocos" }, { "certs_share", "/etc/certs" } };

    for (size_t i = 0; i < ARRAY_LEN(shares); i++) {
        bool there;

        if (!hal_mount_share(shares[i].tag, shares[i].path, true, &there, e))
            return false;
        if (!there)
            log_warn("this machine has no share %s", shares[i].tag);
    }
    return true;
}

static bool boot(struct init *in, struct err *e)
{
    CLEANUP(buf_done) struct buf cmdline = BUF_INIT(4096);
    struct hal_address address;
    enum hal_found found;

    phase(in, "init");
    if (!read_cmdline(&cmdline, e) || !hal_load_modules("first", NULL, e))
        return false;
    phase(in, "modules");
    found = hal_event_log_wanted(buf_slice(&cmdline), e);
    if (found == HAL_BAD)
        return false;
    in->event_log = found == HAL_FOUND;
    found = hal_cmdline_address(buf_slice(&cmdline), &address, e);
    if (found == HAL_BAD || !mount_shares(e) || !read_environment(in, e))
        return false;
    phase(in, "shares");
    if (!hal_network_up(found == HAL_FOUND ? &address : NULL, e))
        return err_wrap(e, "network");
    phase(in, "network");
    return true;
}

/* PCRs are told to whoever reads the console; the agent proves them, this only shows them. */
static bool report_pcrs(struct err *e)
{
    static const char *const names[HAL_PCR_COUNT] = {
        "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10"
    };
    struct log_field fields[1 + HAL_PCR_COUNT] = { LOG_STR("bank", "sha256") };
    struct hal_pcrs pcrs;
    bool there;

    if (!hal_pcrs_read(HAL_PCR_DIR, &pcrs, &there, e))
        return false;
    if (!there)
        return true;
    for (size_t i = 0; i < HAL_PCR_COUNT; i++)
        fields[1 + i] = (struct log_field)LOG_STR(names[i], pcrs.hex[i]);
    log_record(LOG_INFO, "PCRs", fields, ARRAY_LEN(fields));
    return true;
}

/* One write, which the kernel keeps together, so that no line of a service stands in between. */
static bool report_event_log(int console, struct err *e)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(2 * HAL_EVENT_LOG_MAX);

    return hal_event_log_text(HAL_EVENT_LOG, &text, e) && stage_write_all(console, buf_slice(&text), e);
}

/* What fails is told, and the others are done all the same. */
static bool rest(const struct init *in)
{
    struct err e = ERR_INIT;
    bool ok = true;

    if (setpriority(PRIO_PROCESS, 0, REST_NICE) != 0)
        log_warn("the rest of the boot competes with the services: %s", strerror(errno));
    if (!hal_load_modules("rest", NULL, &e)) {
        log_error("%s", err_text(&e));
        ok = false;
    }
    if (!report_pcrs(&e)) {
        log_error("PCRs: %s", err_text(&e));
        ok = false;
    }
    if (in->event_log && !report_event_log(in->console, &e)) {
        log_error("event log of the firmware (a measured boot has one): %s", err_text(&e));
        ok = false;
    }
    return ok;
}

/*
 * What no service waits for: first the power button, as the host may press it
 * at any time; then disks, overlays and measurements. A child does those at
 * a low priority, so that the agent, which starts at the same time, is
 * not held up by them.
 */
static void rest_begin(struct init *in)
{
    struct err e = ERR_INIT;

    if (!hal_load_modules("power", NULL, &e))
        log_error("%s", err_text(&e));
    hal_buttons_open(&in->buttons);
    in->rest = fork();
    if (in->rest == 0)
        _exit(rest(in) ? 0 : 1);
    if (in->rest < 0) {
        log_error("start a process for the rest of the boot: %s", strerror(errno));
        in->rest = 0;
    }
}

/* Whether the service behind s may start now. */
static bool gives_way(const struct hal_service *s)
{
    return s->state == HAL_SERVICE_READY || s->state == HAL_SERVICE_ABSENT ||
           s->failures >= GIVE_WAY_FAILURES;
}

static void start(struct init *in, struct hal_service *s)
{
    struct err e = ERR_INIT;

    if (hal_service_start(s, &in->env, clock_mono_ms(in->clock), &e))
        return;
    if (s->state == HAL_SERVICE_ABSENT) {
        log_debug("%s is not part of this image", s->name);
        return;
    }
    log_error("%s", err_text(&e));
    hal_service_ended(s, clock_mono_ms(in->clock));
}

static void check_ready(struct init *in, struct hal_service *s)
{
    if (hal_service_probe(s)) {
        s->state = HAL_SERVICE_READY;
        phase(in, s->name);
    } else if (clock_mono_ms(in->clock) - s->started_ms > HAL_READY_MS) {
        log_error("%s: nothing listens at %s after %d s; it is started again", s->name, s->socket,
                  HAL_READY_MS / 1000);
        kill(-s->pid, SIGKILL);
        s->started_ms = clock_mono_ms(in->clock);
    }
}

/* Moves every service on as far as it goes now. Returns milliseconds until the next look, -1 for none. */
static int advance(struct init *in)
{
    uint64_t now = clock_mono_ms(in->clock);
    uint64_t next = UINT64_MAX;

    for (size_t i = 0; i < SERVICE_COUNT; i++) {
        struct hal_service *s = &in->services[i];
        bool turn = i == 0 || gives_way(&in->services[i - 1]);

        if ((s->state == HAL_SERVICE_WAITING && turn) ||
            (s->state == HAL_SERVICE_BACKOFF && s->retry_ms <= now))
            start(in, s);
        if (s->state == HAL_SERVICE_STARTED)
            check_ready(in, s);
        if (s->state == HAL_SERVICE_STARTED && now + PROBE_MS < next)
            next = now + PROBE_MS;
        if (s->state == HAL_SERVICE_BACKOFF && s->retry_ms < next)
            next = s->retry_ms;
    }
    if (next == UINT64_MAX)
        return -1;
    return next > now ? (int)(next - now) : 0;
}

static void say_ended(const struct hal_service *s, int status)
{
    uint64_t wait = hal_service_backoff_ms(s->failures);

    if (WIFSIGNALED(status))
        log_error("%s was ended by signal %d; it starts again in %llu ms", s->name, WTERMSIG(status),
                  (unsigned long long)wait);
    else
        log_error("%s ended with status %d; it starts again in %llu ms", s->name, WEXITSTATUS(status),
                  (unsigned long long)wait);
}

/*
 * Whatever is left of a service that ended: in other groups and sessions too,
 * and an algorithm whose runner was killed. Case AG-8.
 */
static void end_orphans(const struct init *in)
{
    pid_t alive[SERVICE_COUNT + 1];
    struct err e = ERR_INIT;
    size_t count = 0;

    for (size_t i = 0; i < SERVICE_COUNT; i++)
        if (in->services[i].pid)
            alive[count++] = in->services[i].pid;
    if (in->rest)
        alive[count++] = in->rest;
    if (!strays_end(alive, count, ORPHANS_MS, &e))
        log_error("end what a service left running: %s", err_text(&e));
}

/* PID 1 inherits orphans: all are reaped, ours are remembered. */
static void reap(struct init *in)
{
    bool ended = false;
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == in->rest) {
            in->rest = 0;
            phase(in, "complete");
        }
        for (size_t i = 0; i < SERVICE_COUNT; i++)
            if (in->services[i].pid == pid) {
                kill(-pid, SIGKILL); /* what it left in its process group */
                hal_service_ended(&in->services[i], clock_mono_ms(in->clock));
                if (!in->end_why)
                    say_ended(&in->services[i], status);
                ended = true;
            }
    }
    if (ended)
        end_orphans(in);
}

static void take_signals(struct init *in)
{
    struct signalfd_siginfo info;

    while (read(in->signals, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if (info.ssi_signo == SIGCHLD) {
            reap(in);
        } else if (info.ssi_signo == SIGINT) {
            in->end_why = "reboot was asked for";
            in->end_how = HAL_END_REBOOT;
        } else {
            in->end_why = "power off was asked for by signal";
            in->end_how = HAL_END_POWEROFF;
        }
    }
}

static void wait_once(struct init *in, int timeout_ms)
{
    struct pollfd fds[1 + SERVICE_COUNT + HAL_BUTTONS_MAX];
    nfds_t count = 0;

    fds[count++] = (struct pollfd){ in->signals, POLLIN, 0 };
    for (size_t i = 0; i < SERVICE_COUNT; i++)
        fds[count++] = (struct pollfd){ in->services[i].output, POLLIN, 0 }; /* poll skips -1 */
    for (size_t i = 0; i < in->buttons.count; i++)
        fds[count++] = (struct pollfd){ in->buttons.fds[i], POLLIN, 0 };
    if (poll(fds, count, timeout_ms) <= 0)
        return;
    for (size_t i = 0; i < SERVICE_COUNT; i++)
        if (fds[1 + i].revents)
            hal_service_pump(&in->services[i], in->console, clock_mono_ms(in->clock));
    for (size_t i = 0; i < in->buttons.count; i++)
        if (fds[1 + SERVICE_COUNT + i].revents && hal_button_pressed(in->buttons.fds[i]))
            in->end_why = "the power button was pressed";
    if (fds[0].revents)
        take_signals(in);
}

static bool any_running(const struct init *in)
{
    for (size_t i = 0; i < SERVICE_COUNT; i++)
        if (in->services[i].pid)
            return true;
    return false;
}

/* SIGTERM in reverse order of start, so that the last words of the agent still find the forwarder. */
static void stop_services(struct init *in)
{
    uint64_t until = clock_mono_ms(in->clock) + STOP_GRACE_MS;

    for (size_t i = SERVICE_COUNT; i-- > 0;) {
        struct hal_service *s = &in->services[i];

        if (s->pid)
            kill(s->pid, SIGTERM);
        while (s->pid && clock_mono_ms(in->clock) < until)
            wait_once(in, (int)(until - clock_mono_ms(in->clock)) + 1);
    }
    if (any_running(in))
        log_warn("some services did not end within %d s", STOP_GRACE_MS / 1000);
}

static bool take_signal_fd(struct init *in, struct err *e)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGUSR2); /* busybox poweroff sends this */
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0)
        return err_fail_os(e, "block signals");
    in->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return in->signals >= 0 || err_fail_os(e, "signalfd");
}

int main(void)
{
    struct init in = { .clock = clock_system(), .console = -1, .signals = -1 };
    struct err e = ERR_INIT;

    if (getpid() != 1) {
        fprintf(stderr, "cocos-init: runs only as process 1 of a guest\n");
        return 2;
    }
    memcpy(in.services, service_table, sizeof(service_table));
    for (size_t i = 0; i < SERVICE_COUNT; i++)
        in.services[i].output = -1;
    log_open("cocos-init", LOG_INFO);

    bool mounted = hal_mount_all(&e);

    in.console = open("/dev/console", O_RDWR | O_CLOEXEC | O_NOCTTY);
    if (in.console >= 0)
        log_set_output(in.console, LOG_FORM_TEXT);
    umask(022);
    signal(SIGPIPE, SIG_IGN);
    if (!mounted || !take_signal_fd(&in, &e) || !boot(&in, &e)) {
        log_error("%s", err_text(&e));
        hal_end(HAL_END_POWEROFF, in.console, err_text(&e));
    }

    bool rest_done = false;

    while (!in.end_why) {
        int timeout_ms = advance(&in);

        if (!rest_done && in.services[SERVICE_COUNT - 1].state != HAL_SERVICE_WAITING) {
            rest_begin(&in);
            rest_done = true;
        }
        wait_once(&in, timeout_ms);
    }
    log_info("ending: %s", in.end_why);
    stop_services(&in);
    hal_end(in.end_how, in.console, in.end_why);
}
