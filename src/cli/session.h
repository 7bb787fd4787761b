/*
 * One conversation with an agent or a manager: the loop, the signals, the
 * connection.
 *
 * A command does one thing after the other, so waiting is a function that runs
 * the loop until a flag is set. SIGINT and SIGTERM end what is being waited
 * for; a second one ends the program at once.
 */
#ifndef CLI_SESSION_H
#define CLI_SESSION_H

#include <uv.h>

#include "cli/cli.h"
#include "proto/pb.h"
#include "rpc/client.h"

/* What is going on while the loop runs. Members may be NULL. */
struct cli_work {
    void (*tick)(void *ctx); /* ten times a second                             */
    void (*stop)(void *ctx); /* a signal came: end soon and set the done flag  */
    void *ctx;
};

struct cli_session {
    struct cli_out *out;
    const struct rpc_peer *peer;
    uv_loop_t loop;
    bool loop_open;
    uv_signal_t signals[2];
    uv_timer_t timer;
    const struct cli_work *work; /* of the wait going on                    */
    int signum;                  /* that came first; 0: none              */
    struct tls_client *tls;
    struct rpc_client *client;
    char *computation_id; /* to bind to; NULL: not known   */
    bool bound_only;      /* the agent takes bound signatures: none is sent that could be replayed */
};

/*
 * Connects, says so, and asks the agent for its computation unless --bound=off.
 * On failure the reason has been said; *ret_status is the exit status. *s may
 * be handed to cli_session_done in either case.
 */
bool cli_session_open(struct cli_session *s, struct cli_out *out, const struct cli_agent_opts *opts,
                      int *ret_status) MUST_CHECK;

/* Likewise with a manager, which is asked nothing but whether it is there. Needs no agent. */
bool cli_session_open_manager(struct cli_session *s, struct cli_out *out, const struct cli_manager_opts *opts,
                              int *ret_status) MUST_CHECK;

/*
 * One unary call, waited for. True when there is an answer, in *ret_reply
 * (which is empty before). Else what went wrong has been said, beginning with
 * `what`, and *ret_status is the exit status; *ret_code is the answer's code,
 * or RPC_OK when no call was made.
 */
bool cli_session_call(struct cli_session *s, const char *method, const ProtobufCMessage *request,
                      const char *what, struct buf *ret_reply, enum rpc_code *ret_code,
                      int *ret_status) MUST_CHECK;

/* Runs the loop until *done; work may be NULL when only *done tells. */
void cli_session_wait(struct cli_session *s, const bool *done, const struct cli_work *work);

/* Milliseconds that never jump, as of this turn of the loop. */
uint64_t cli_session_now_ms(const struct cli_session *s);

/* Says "Operation aborted by user!" and returns 128 + signal. Only when s->signum is set. */
int cli_session_aborted(struct cli_session *s);

/* "what: <status in its short form> ❌ " and a hint where one helps. Returns CLI_FAILED, or the status of an abort. */
int cli_session_fail(struct cli_session *s, const char *what, const struct rpc_status *status);

void cli_session_done(struct cli_session *s);

#endif
