#include "base/daemon.h"

#include <signal.h>
#include <unistd.h>

#include "base/log.h"

bool daemon_has_settings(const char *program, enum config_outcome outcome, const struct err *e, int *ret_code)
{
    *ret_code = outcome == CONFIG_BAD ? 2 : 0;
    if (outcome == CONFIG_BAD)
        fprintf(stderr, "%s: %s\n", program, err_text(e));
    return outcome == CONFIG_RUN;
}

bool daemon_config(const struct config_spec *spec, int argc, char **argv, void *ret_settings,
                   struct config_values *ret_values, int *ret_code)
{
    struct err e = ERR_INIT;

    log_open(spec->program, LOG_INFO);
    return daemon_has_settings(
        spec->program, config_read(spec, argc, argv, environ, ret_settings, ret_values, &e), &e, ret_code);
}

void daemon_is_stopping(struct daemon *d)
{
    d->stopping = true;
    /* Still watched, so that a second signal is seen, but no reason to stay. */
    uv_unref((uv_handle_t *)&d->term);
    uv_unref((uv_handle_t *)&d->interrupt);
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct daemon *d = handle->data;

    if (d->stopping)
        _exit(1); /* whoever asks twice does not want to wait */
    log_info("ending on %s", number == SIGTERM ? "SIGTERM" : "SIGINT");
    daemon_is_stopping(d);
    d->turns->stop(d->ctx);
}

void daemon_fail(struct daemon *d, const struct err *e)
{
    log_error("start: %s", err_text(e));
    d->code = e->kind == ERR_KIND_INVALID ? 2 : 1;
    daemon_is_stopping(d);
    d->turns->take_down(d->ctx);
}

static bool watch_signals(struct daemon *d)
{
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    uv_signal_init(&d->loop, &d->term);
    uv_signal_init(&d->loop, &d->interrupt);
    d->term.data = d->interrupt.data = d;
    return uv_signal_start(&d->term, on_signal, SIGTERM) == 0 &&
           uv_signal_start(&d->interrupt, on_signal, SIGINT) == 0;
}

int daemon_serve(struct daemon *d, const struct daemon_turns *turns, void *ctx)
{
    struct err e = ERR_INIT;

    *d = (struct daemon){ .turns = turns, .ctx = ctx };
    if (uv_loop_init(&d->loop) != 0) {
        log_error("start: make the event loop");
        return 1;
    }
    if (!watch_signals(d))
        err_fail(&e, ERR_KIND_INTERNAL, "watch for signals");
    if (e.kind != ERR_KIND_NONE || !turns->start(ctx, &e))
        daemon_fail(d, &e);
    uv_run(&d->loop, UV_RUN_DEFAULT);
    uv_close((uv_handle_t *)&d->term, NULL);
    uv_close((uv_handle_t *)&d->interrupt, NULL);
    uv_run(&d->loop, UV_RUN_DEFAULT);
    uv_loop_close(&d->loop);
    return d->code;
}
