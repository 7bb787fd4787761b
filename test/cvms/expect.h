/*
 * What a user expects of a run, and how far it has come. Knows no clock and
 * no network: what arrives is told to it.
 */
#ifndef CVMS_EXPECT_H
#define CVMS_EXPECT_H

#include <regex.h>

#include "base/buf.h"
#include "cvms/options.h"

#define CVMS_EXPECT_LOG_MAX ((size_t)64 * 1024) /* bytes of a log line that are searched */
#define CVMS_EXPECT_TAIL 20                     /* events kept for the report            */

struct cvms_expect {
    const struct config_list *events; /* "type" or "type/status", in order */
    const struct config_list *states; /* in order                          */
    size_t events_met;
    size_t states_met;
    size_t log_count;
    size_t logs_met;
    regex_t *logs;
    bool *log_met;
    const struct config_list *log_texts;
    bool once;

    /* what came */
    bool complete; /* a computation ended well  */
    bool ended;    /* one ended in another way  */
    uint64_t event_count, line_count;
    char state[32];
    char tail[CVMS_EXPECT_TAIL][64]; /* ring of the latest events */
    char refusal[512];               /* RunResponse.error         */
};

/* The options are borrowed until cvms_expect_done, and have passed cvms_options_check. */
bool cvms_expect_init(struct cvms_expect *x, const struct cvms_options *o, struct err *e) MUST_CHECK;
void cvms_expect_done(struct cvms_expect *x);

void cvms_expect_see_event(struct cvms_expect *x, const char *type, const char *status);
void cvms_expect_see_log(struct cvms_expect *x, const char *message);
void cvms_expect_see_state(struct cvms_expect *x, const char *state);
void cvms_expect_see_run_res(struct cvms_expect *x, const char *error);

/* True when a state is still awaited, so that agents must be asked. */
bool cvms_expect_wants_state(const struct cvms_expect *x);

enum cvms_verdict {
    CVMS_OPEN,     /* nothing was expected, and nothing need end    */
    CVMS_WAITING,  /* not all has come                              */
    CVMS_HOPELESS, /* not all has come, and the computation is over */
    CVMS_MET,      /* all has come                                  */
};
enum cvms_verdict cvms_expect_verdict(const struct cvms_expect *x);

/* Appends lines for people: what is missing, what was met, what was seen. */
bool cvms_expect_report(const struct cvms_expect *x, struct buf *out, struct err *e) MUST_CHECK;

#endif
