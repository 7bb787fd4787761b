/*
 * The state behind server.h: streams, the CVMs they belong to, and what is due.
 */
#ifndef CVMS_SERVER_INT_H
#define CVMS_SERVER_INT_H

#include "base/daemon.h"
#include "cvms/expect.h"
#include "cvms/seen.h"
#include "cvms/server.h"
#include "cvms/wire.h"
#include "rpc/server.h"

#define CVMS_JOB_ID_MAX 256     /* bytes                                       */
#define CVMS_CVMS_MAX 4096      /* CVMs remembered                             */
#define CVMS_POLL_MS 250        /* of the state, for -expect-state             */
#define CVMS_LAST_WORDS_MS 2000 /* for what is under way when hope is gone     */
#define CVMS_DRAIN_MS 2000
#define CVMS_NEVER UINT64_MAX

/* A CVM by its job-id. All that send none are one. */
struct cvms_cvm {
    struct cvms_cvm *next;
    char *job_id;
    size_t streams; /* open now */
    bool stopped;   /* has been sent its StopComputation */
    bool disconnected;
};

struct cvms_stream {
    struct cvms_stream *next, *before;
    struct cvms_server *server;
    struct rpc_call *call;
    struct cvms_cvm *cvm;
    char *peer;
    bool forwarder;
    size_t parts_sent; /* of the request */

    /* loop times in ms, CVMS_NEVER: not due */
    uint64_t stop_at, state_at, disconnect_at;
    char state[32]; /* last one shown */
};

struct cvms_server {
    struct daemon daemon;
    const struct cvms_options *o;
    const struct cvms_order *order;
    enum cvms_form form;
    struct cvms_wire wire;
    struct cvms_expect expect;
    struct cvms_seen seen;
    struct buf line; /* kept between messages */

    struct tls_server *tls;
    struct rpc_server *rpc;
    struct cvms_stream *streams;
    struct cvms_cvm *cvms;
    size_t cvm_count;

    uv_timer_t due;    /* the earliest time of any stream    */
    uv_timer_t within; /* for -within, then for last words   */
    bool met;

    uint64_t messages, repeats, faulty;
};

/* The service's table, for rpc_server_add with the server as context. */
extern const struct rpc_service cvms_service;

/* One message of an agent (whose bytes it may mend): shown, counted, told to the expectations. */
void cvms_server_take(struct cvms_stream *st, struct buf *message);

/* Looks at the expectations and ends the run when they say so. */
void cvms_server_judge(struct cvms_server *s);

#endif
