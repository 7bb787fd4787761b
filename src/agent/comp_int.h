/*
 * A computation as its parts see it: upload, download, run, service.
 */
#ifndef AGENT_COMP_INT_H
#define AGENT_COMP_INT_H

#include <stdatomic.h>

#include "agent/admit.h"
#include "agent/auth.h"
#include "agent/comp.h"
#include "agent/job.h"
#include "agent/measure.h"
#include "agent/running.h"
#include "agent/work.h"
#include "rpc/client.h"
#include "rpc/server.h"

struct upload;

enum slot { SLOT_PENDING, SLOT_COMMITTING, SLOT_RECEIVED };

enum ending { END_NONE, END_STOP, END_SHUTDOWN };

struct comp {
    struct comp_deps d;
    struct work work;
    struct rpc_client *runner;
    struct rpc_client *attester; /* the attestation service */
    enum fsm_state state;

    /* of the present computation */
    uint64_t number; /* rises with each, so that late callbacks know theirs */
    struct mf *mf;
    struct auth *auth;
    uint8_t request_hash[HASH_SHA256_LEN];
    struct ev_measured measured; /* count 0: it was not                         */
    bool *pending;               /* per dataset: not received and not being committed    */
    size_t missing;              /* datasets not received                                */
    enum slot algo;
    char *algo_type; /* as uploaded                                          */
    char **algo_args;
    size_t algo_arg_count;
    bool has_requirements;
    struct rpc_status failure; /* in FSM_FAILED: why; what Result answers              */
    struct work_result result;

    /* being ordered */
    comp_ordered_fn ordered; /* NULL: nothing is */
    void *ordered_ctx;
    uint64_t ordered_ms;
    struct comp_answer answer;
    struct measure *measure; /* in the TPM's hands */

    /* users */
    struct rpc_server *server; /* NULL: not listening   */
    struct tls_server *tls;
    void (*unlistened)(void *ctx);
    void *unlistened_ctx;
    struct upload *uploads;
    struct admit uploads_admitted, downloads_admitted;
    uv_timer_t stall_timer; /* while there are uploads */
    size_t attest_count;
    struct rpc_call *granted_call; /* between a method's allow and its open */
    struct auth_grant granted;

    /* running */
    bool run_called;             /* the runner has been asked and has not answered */
    char unended[MF_ID_MAX + 1]; /* whose algorithm may still run: the runner did not confirm its end */
    bool asking_again;
    atomic_bool cancel; /* the zip in the pool should end                 */
    struct job run_job;

    /* ending */
    enum ending ending;
    size_t tasks; /* what still uses files of the computation */
    bool stopping_run;
    bool cleaned;
    struct job clean_job;
    uv_timer_t stop_timer;
    comp_stopped_fn stopped;
    void *stopped_ctx;
    char stop_message[ERR_TEXT_SIZE];
    void (*shut)(void *ctx);
    void *shut_ctx;

    bool starting;
    void (*ready)(void *ctx);
    void *ready_ctx;
    void (*freed)(void *ctx);
    void *freed_ctx;
    size_t open_parts; /* while being freed */
};

static inline uint64_t comp_now_ms(const struct comp *c)
{
    return clock_mono_ms(c->d.clock);
}

/* The event happens: the table's actions follow. */
void comp_event(struct comp *c, enum fsm_event event);

/* The computation can't go on: FSM_RUN_FAILED with what Result answers from now on. */
void comp_fail(struct comp *c, enum rpc_code code, const char *text);

/* An agent_event of the present computation. */
void comp_tell(struct comp *c, const char *type, const char *status);

/* Something begins and ends using the computation's files; ending it may let a stop go on. */
void comp_task_begin(struct comp *c);
void comp_task_end(struct comp *c);

/* comp_run.c */
void comp_run_begin(struct comp *c);
void comp_run_stop(struct comp *c);
bool comp_runner_stop(struct comp *c, const char *id, rpc_unary_done_fn done, struct err *e) MUST_CHECK;
/* What the answer to it means for computations to come. */
void comp_runner_stopped(struct comp *c, const char *id, const struct rpc_status *status);
/* False, and the runner is asked again, while an algorithm may run that would see another one's data. */
bool comp_run_check_ended(struct comp *c, struct err *e) MUST_CHECK;

/* service.c */
bool comp_listen(struct comp *c, struct err *e) MUST_CHECK;
/* Removes agent.addr: nobody can be called there any more. */
void comp_forget_address(const struct comp *c);
/* Ends the calls of users: a little later with UNAVAILABLE what does not end by itself. A task. */
void comp_drain(struct comp *c);
/* Once drained: lets go of the listener. */
void comp_unlisten(struct comp *c, void (*done)(void *ctx), void *ctx);

/* allow.c: who may call, what may come in, decided before the first message. */
bool upload_allow(struct rpc_call *call, struct comp *c, enum fsm_rpc kind, struct rpc_status *ret);

/* upload.c */
void upload_open_algo(struct rpc_call *call, void *service);
void upload_open_data(struct rpc_call *call, void *service);
void upload_abort_all(struct comp *c, const char *why);

/* download.c */
void download_open_result(struct rpc_call *call, void *service);

/* attest.c */
void attest_open_attestation(struct rpc_call *call, void *service);
void attest_open_ima(struct rpc_call *call, void *service);
void attest_azure(struct rpc_call *call, struct slice request, void *service);

#endif
