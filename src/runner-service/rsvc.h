/*
 * runner.ComputationRunner: runs one algorithm at a time.
 *
 * What a run writes goes into the journal: stdout as DEBUG logs, stderr as
 * ERROR logs with an event AlgorithmRun/Warning for each piece (rsvc_output.h).
 * A caller that goes away takes his run with him.
 */
#ifndef RUNNER_SERVICE_RSVC_H
#define RUNNER_SERVICE_RSVC_H

#include "journal/collector.h"
#include "journal/journal.h"
#include "rpc/server.h"

struct rsvc_config {
    const char *work_dir; /* borrowed, as all of these; absolute */
    const char *find_links;
    const char *index_url;
    uint64_t max_runtime_ms; /* 0: no limit                                  */
    int log_level;           /* output below it is not kept                  */
    struct journal *journal;
    struct collector *collector; /* who takes records from the journal */
};

struct rsvc;

bool rsvc_new(uv_loop_t *loop, const struct rsvc_config *cfg, struct rsvc **ret, struct err *e) MUST_CHECK;

/* The context of its methods is the rsvc. */
extern const struct rpc_service rsvc_runner;

/* Takes no run any more and kills the one under way; `stopped` comes when it has been answered. */
void rsvc_stop(struct rsvc *s, void (*stopped)(void *ctx), void *ctx);

/* After rsvc_stop, and when no call can come any more. The rest of it needs the loop. Accepts NULL. */
void rsvc_free(struct rsvc *s);

#endif
