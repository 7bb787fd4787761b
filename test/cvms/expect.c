#include "base/mem.h"
#include "base/text.h"
#include "cvms/expect.h"

bool cvms_expect_init(struct cvms_expect *x, const struct cvms_options *o, struct err *e)
{
    *x = (struct cvms_expect){
        .events = &o->expect_event, .states = &o->expect_state, .log_texts = &o->expect_log, .once = o->once
    };
    if (o->expect_log.count == 0)
        return true;
    x->logs = mem_new_array(o->expect_log.count, sizeof(*x->logs), e);
    x->log_met = mem_new_array(o->expect_log.count, sizeof(*x->log_met), e);
    if (!x->logs || !x->log_met)
        return false;
    for (; x->log_count < o->expect_log.count; x->log_count++) {
        const char *text = o->expect_log.at[x->log_count];

        if (regcomp(&x->logs[x->log_count], text, REG_EXTENDED | REG_NOSUB) != 0)
            return err_fail(e, ERR_KIND_INVALID, "-expect-log '%s': not a regular expression", text);
    }
    return true;
}

void cvms_expect_done(struct cvms_expect *x)
{
    for (size_t i = 0; i < x->log_count; i++)
        regfree(&x->logs[i]);
    mem_free(x->logs);
    mem_free(x->log_met);
    *x = (struct cvms_expect){ 0 };
}

/* "type" wants any status, "type/status" that one. */
static bool event_fits(const char *want, const char *type, const char *status)
{
    size_t len = strlen(type);

    if (strncmp(want, type, len) != 0)
        return false;
    return want[len] == '\0' || (want[len] == '/' && strcmp(want + len + 1, status) == 0);
}

void cvms_expect_see_event(struct cvms_expect *x, const char *type, const char *status)
{
    snprintf(x->tail[x->event_count++ % CVMS_EXPECT_TAIL], sizeof(x->tail[0]), "%s/%s", type, status);
    if (x->events_met < x->events->count && event_fits(x->events->at[x->events_met], type, status))
        x->events_met++;
    if (strcmp(type, "Complete") == 0)
        x->complete = true;
    if (strcmp(type, "Failed") == 0 || strcmp(type, "Stopped") == 0)
        x->ended = true;
    if (strcmp(type, "ReceivingAlgorithm") == 0)
        x->ended = false; /* another computation has begun */
}

void cvms_expect_see_log(struct cvms_expect *x, const char *message)
{
    CLEANUP(mem_done) char *cut = NULL;
    struct err e = ERR_INIT;

    x->line_count++;
    if (x->logs_met == x->log_count)
        return;
    if (strnlen(message, CVMS_EXPECT_LOG_MAX + 1) > CVMS_EXPECT_LOG_MAX) {
        cut = mem_dup_slice(slice_of(message, CVMS_EXPECT_LOG_MAX), &e);
        if (!cut)
            return;
        message = cut;
    }
    for (size_t i = 0; i < x->log_count; i++) {
        if (!x->log_met[i] && regexec(&x->logs[i], message, 0, NULL, 0) == 0) {
            x->log_met[i] = true;
            x->logs_met++;
        }
    }
}

void cvms_expect_see_state(struct cvms_expect *x, const char *state)
{
    snprintf(x->state, sizeof(x->state), "%s", state);
    if (x->states_met < x->states->count && strcmp(x->states->at[x->states_met], state) == 0)
        x->states_met++;
    if (strcmp(state, "Complete") == 0)
        x->complete = true;
}

void cvms_expect_see_run_res(struct cvms_expect *x, const char *error)
{
    if (error[0] == '\0')
        return;
    snprintf(x->refusal, sizeof(x->refusal), "%s", error);
    x->ended = true;
}

bool cvms_expect_wants_state(const struct cvms_expect *x)
{
    return x->states_met < x->states->count;
}

/*
 * After a failure the only events that can still come are those of the
 * failure; whoever awaits another one would wait in vain.
 */
static bool next_event_is_lost(const struct cvms_expect *x)
{
    const char *next;

    if (!x->ended || x->events_met == x->events->count)
        return false;
    next = x->events->at[x->events_met];
    return !event_fits(next, "Failed", "Failed") && !event_fits(next, "Stopped", "Stopped");
}

enum cvms_verdict cvms_expect_verdict(const struct cvms_expect *x)
{
    if (x->events->count + x->states->count + x->log_count == 0) {
        if (!x->once)
            return CVMS_OPEN;
        return x->complete ? CVMS_MET : x->ended ? CVMS_HOPELESS : CVMS_WAITING;
    }
    if (x->events_met == x->events->count && x->states_met == x->states->count && x->logs_met == x->log_count)
        return CVMS_MET;
    return next_event_is_lost(x) ? CVMS_HOPELESS : CVMS_WAITING;
}

/* ------------------------------------------------------------------- report */

static bool list_lines(struct buf *out, const char *what, const struct config_list *list, size_t met,
                       struct err *e)
{
    for (size_t i = 0; i < list->count; i++) {
        if (!buf_format(out, e, "  %s  %s '%s'\n", i < met ? "met    " : "missing", what, list->at[i]))
            return false;
    }
    return true;
}

static bool tail_lines(const struct cvms_expect *x, struct buf *out, struct err *e)
{
    uint64_t first = x->event_count > CVMS_EXPECT_TAIL ? x->event_count - CVMS_EXPECT_TAIL : 0;

    if (!buf_format(out, e, "  seen     %llu events, %llu log lines%s\n", (unsigned long long)x->event_count,
                    (unsigned long long)x->line_count, first > 0 ? "; the latest events:" : ""))
        return false;
    for (uint64_t i = first; i < x->event_count; i++) {
        if (!buf_append_str(out, "  seen     event ", e) ||
            !text_safe(slice_of_str(x->tail[i % CVMS_EXPECT_TAIL]), out, e) || !buf_append_str(out, "\n", e))
            return false;
    }
    return true;
}

static bool said(struct buf *out, const char *what, const char *text, struct err *e)
{
    return text[0] == '\0' || (buf_format(out, e, "  seen     %s ", what) &&
                               text_safe(slice_of_str(text), out, e) && buf_append_str(out, "\n", e));
}

bool cvms_expect_report(const struct cvms_expect *x, struct buf *out, struct err *e)
{
    if (x->events->count + x->states->count + x->log_count == 0 &&
        !buf_format(out, e, "  %s  a computation that ends in Complete\n",
                    x->complete ? "met    " : "missing"))
        return false;
    if (!list_lines(out, "event", x->events, x->events_met, e) ||
        !list_lines(out, "state", x->states, x->states_met, e))
        return false;
    for (size_t i = 0; i < x->log_count; i++) {
        if (!buf_format(out, e, "  %s  log '%s'\n", x->log_met[i] ? "met    " : "missing",
                        x->log_texts->at[i]))
            return false;
    }
    return tail_lines(x, out, e) && said(out, "state", x->state, e) &&
           said(out, "the manifest refused:", x->refusal, e);
}
