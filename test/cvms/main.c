/*
 * cvms-test: reads its settings, makes the computation, serves it.
 */
#include <signal.h>
#include <unistd.h>

#include "base/log.h"
#include "base/stage.h"
#include "cvms/server.h"
#include "manifest/manifest.h"

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

static int say_faults(struct cvms_faults *f)
{
    fflush(stdout);
    dprintf(STDERR_FILENO, "%.*sUsage : cvms-test [flags]; cvms-test --help explains them\n",
            (int)f->text.len, (const char *)buf_slice(&f->text).at);
    return EXIT_USAGE;
}

static int say_error(const struct err *e)
{
    log_error("%s", err_text(e));
    return EXIT_FAILED;
}

/* The manifest alone on stdout, so that it can be piped; the rest is for eyes. */
static int print_manifest(const struct cvms_order *order)
{
    CLEANUP(buf_done) struct buf json = BUF_INIT(4 * MF_REQUEST_MAX);
    CLEANUP(buf_done) struct buf text = BUF_INIT(4 * MF_REQUEST_MAX);
    struct err e = ERR_INIT;

    if (!mf_json(order->req, &json, &e) || !buf_append_str(&json, "\n", &e) ||
        !cvms_order_describe(order, &text, &e) || !stage_write_all(STDOUT_FILENO, buf_slice(&json), &e) ||
        !stage_write_all(STDERR_FILENO, buf_slice(&text), &e))
        return say_error(&e);
    return EXIT_OK;
}

/* A manifest that agents must refuse may be meant so; it must not surprise. */
static void warn_if_refused(const struct cvms_order *order)
{
    struct err e = ERR_INIT;
    struct mf *m = mf_from_request(order->req, &e);

    if (!m)
        log_warn("agents will refuse this manifest: %s", err_text(&e));
    mf_free(m);
}

static enum cvms_form form_of(const struct cvms_options *o)
{
    if (!o->output)
        return isatty(STDOUT_FILENO) ? CVMS_FORM_TEXT : CVMS_FORM_JSONL;
    return strcmp(o->output, "jsonl") == 0 ? CVMS_FORM_JSONL : CVMS_FORM_TEXT;
}

static int run(struct cvms_options *o)
{
    struct cvms_faults f = CVMS_FAULTS_INIT;
    struct cvms_order order = CVMS_ORDER_INIT;
    enum cvms_form form = form_of(o);
    struct err e = ERR_INIT;
    int status;

    log_open("cvms-test", o->log_level);
    log_set_output(o->print_manifest ? STDERR_FILENO : STDOUT_FILENO,
                   form == CVMS_FORM_JSONL && !o->print_manifest ? LOG_FORM_JSON : LOG_FORM_AUTO);
    cvms_options_check(o, &f);
    if (!cvms_order_make(o, &order, &f, &e)) {
        status = say_error(&e);
    } else if (f.count > 0) {
        status = say_faults(&f);
    } else {
        warn_if_refused(&order);
        status = o->print_manifest ? print_manifest(&order) : cvms_serve(o, &order, form);
    }
    cvms_order_done(&order);
    cvms_faults_done(&f);
    return status;
}

int main(int argc, char **argv)
{
    struct cvms_options o = { 0 };
    struct config_values values = { 0 };
    struct err e = ERR_INIT;
    int status = EXIT_OK;

    signal(SIGPIPE, SIG_IGN);
    switch (config_read(cvms_options_spec(), argc, argv, environ, &o, &values, &e)) {
    case CONFIG_SHOWN: break;
    case CONFIG_BAD:
        dprintf(STDERR_FILENO,
                "Error parsing flags: %s\nUsage : cvms-test [flags]; cvms-test --help explains them\n",
                err_text(&e));
        status = EXIT_USAGE;
        break;
    case CONFIG_RUN:
        cvms_options_drop_empty(&o);
        status = run(&o);
        break;
    }
    config_values_done(&values);
    return status;
}
