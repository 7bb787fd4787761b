#include "base/daemon.h"

#include <signal.h>
#include <unistd.h>

#include "base/log.h"

bool daemon_config(const struct config_spec *spec, int argc, char **argv, void *ret_settings,
                   struct config_values *ret_values, int *ret_code)
{
    struct err e = ERR_INIT;

    *ret_code = 0;
    log_open(spec->program, LOG_INFO);
    switch (config_read(spec, argc, argv, environ, ret_settings, ret_values, &e)) {
    case CONFIG_RUN: return true;
    case CONFIG_SHOWN: return false;
    case CONFIG_BAD: break;
    }
    fprintf(stderr, "%s: %s\n", spec->program, err_text(&e));
    *ret_code = 2;
    return false;
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
    d->stop(d->ctx);
}

bool daemon_open(struct daemon *d, void (*stop)(void *ctx), void *ctx, struct err *e)
{
    *d = (struct daemon){ .stop = stop, .ctx = ctx };
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    if (uv_loop_init(&d->loop) != 0)
        return err_fail(e, ERR_KIND_INTERNAL, "make the event loop");
    uv_signal_init(&d->loop, &d->term);
    uv_signal_init(&d->loop, &d->interrupt);
    d->term.data = d->interrupt.data = d;
    if (uv_signal_start(&d->term, on_signal, SIGTERM) != 0 ||
        uv_signal_start(&d->interrupt, on_signal, SIGINT) != 0)
        return err_fail(e, ERR_KIND_INTERNAL, "watch for signals");
    return true;
}

void daemon_run(struct daemon *d)
{
    uv_run(&d->loop, UV_RUN_DEFAULT);
    uv_close((uv_handle_t *)&d->term, NULL);
    uv_close((uv_handle_t *)&d->interrupt, NULL);
    uv_run(&d->loop, UV_RUN_DEFAULT);
    uv_loop_close(&d->loop);
}

int daemon_code_of(const struct err *e)
{
    return e->kind == ERR_KIND_INVALID ? 2 : 1;
}
