/*
 * What the files of a connection share. conn.c: life and time; conn_recv.c:
 * what nghttp2 tells; conn_send.c: what it is given; call.c: the calls' API.
 */
#ifndef RPC_CONN_INT_H
#define RPC_CONN_INT_H

#include <nghttp2/nghttp2.h>

#include "rpc/conn.h"
#include "rpc/frame.h"
#include "rpc/metadata.h"
#include "rpc/status.h"

#define RPC_STREAM_WINDOW (1024 * 1024)
#define RPC_CONN_WINDOW (16 * 1024 * 1024)
#define RPC_FRAME_RECV_MAX (256 * 1024) /* largest HTTP/2 frame accepted */
#define RPC_FRAME_SEND_MAX (256 * 1024) /* and sent, when the peer takes it */

struct rpc_barrier {
    struct rpc_barrier *next;
    uint64_t number; /* of the SETTINGS whose acknowledgement answers it */
    bool answered;
    bool ok;
    void (*acked)(bool ok, void *ctx);
    void *ctx;
};

struct rpc_conn {
    struct rpc_conn_config cfg;
    struct rpc_conn_events events;
    void *ctx;
    char *peer;
    char *authority;
    char *user_agent;
    nghttp2_session *h2;
    struct rpc_call *calls; /* all that have not had `closed` */
    size_t call_count;
    struct rpc_call *ready; /* calls with something to tell, oldest first */
    struct rpc_call *ready_tail;
    struct rpc_barrier *barriers; /* oldest first */
    uint64_t settings_sent, settings_acked;
    struct buf *out; /* while pulling */
    size_t out_enough;
    struct rpc_budget budget;
    struct rpc_bucket idle_frames; /* frames that do no work */
    struct rpc_bucket resets;
    uint8_t frame_head[9];  /* of the frame that is coming in          */
    size_t frame_head_len;  /* bytes of it that are here               */
    size_t frame_left;      /* bytes until the next head               */
    int32_t head_stream_id; /* server: the newest stream with a HEADERS */
    struct err fault;
    char last_error[200]; /* what nghttp2 said last */
    bool abused;
    bool failed; /* the transport is gone */
    bool up;
    bool goaway_received;
    bool draining;       /* the first GOAWAY is out     */
    bool drain_is_final; /* the second one as well      */
    bool ended;          /* over when all is written    */
    bool ping_pending;   /* a keepalive probe waits     */
    uint64_t ping_sent_ms;
    uint64_t drain_ping_id;
    uint64_t drain_until_ms;
    uint64_t started_ms;
    uint64_t heard_ms; /* when bytes came last */
    uint64_t idle_since_ms;
    uint64_t next_call_ms; /* no call needs a tick before */
};

struct rpc_out {
    struct rpc_out *next;
    uint8_t head[RPC_FRAME_HEAD_LEN];
    size_t head_sent;
    struct buf body;
};

/* The pseudo headers a block had. */
enum {
    RPC_PSEUDO_METHOD = 1,
    RPC_PSEUDO_SCHEME = 2,
    RPC_PSEUDO_PATH = 4,
    RPC_PSEUDO_AUTHORITY = 8,
    RPC_PSEUDO_STATUS = 16
};

/* What the header blocks of a stream said. */
struct rpc_head {
    unsigned pseudo;   /* bits of the above */
    bool regular_seen; /* no pseudo header may follow */
    bool malformed;    /* against RFC 9113, 8.2 and 8.3 */
    char *path;
    unsigned http_status;
    bool is_post;
    bool is_grpc;
    bool has_status;
    bool status_broken;
    enum rpc_code status;
    char *message; /* grpc-message as it came */
    char *content_type;
    char *encoding;
    bool has_timeout;
    uint64_t timeout_ms;
    size_t bytes;
    bool too_large;
    bool fault; /* of a value: fault_text says which */
    char fault_text[200];
    struct rpc_md md;
};

struct rpc_call {
    struct rpc_conn *conn;
    struct rpc_call *prev, *next;
    struct rpc_call *ready_next;
    int32_t stream_id;
    const struct rpc_call_events *events;
    void *ctx;
    char *method;
    void *service;        /* server: of the method       */
    struct buf request;   /* server: of a unary method   */
    struct rpc_head head; /* of the block being read, then of the first one */
    struct rpc_md md;     /* request or initial metadata */
    struct rpc_md trailers;
    uint64_t deadline_ms; /* on the clock; UINT64_MAX: none */
    uint64_t opened_ms;

    /* Receiving. */
    size_t max_recv;
    struct rpc_assembly assembly;
    struct buf backlog; /* came before it was asked for */
    size_t held;        /* charged to the connection    */
    size_t unconsumed;  /* bytes the window still counts */
    uint64_t received;  /* messages delivered        */
    uint64_t bytes_received;
    bool single; /* exactly one message must come */
    bool gzip;
    bool wanted;
    bool delivering;
    bool remote_ended;
    bool half_closed_told;

    /* Sending. */
    struct rpc_out *queue, *queue_tail;
    size_t queued;
    uint64_t progress_ms; /* when queued last changed */
    bool initial_seen;    /* client: the reply has begun */
    bool headers_sent;    /* given to nghttp2 */
    bool blocked;         /* the user met a full queue */
    bool tell_writable;
    bool end_queued; /* client: no more messages; server: status set */

    bool in_ready;
    bool opened; /* the user knows it */
    bool has_final;
    bool ended; /* `closed` is due */
    struct rpc_status final;
};

uint64_t rpc_conn_now(const struct rpc_conn *n);
void rpc_conn_wake(struct rpc_conn *n);
void rpc_conn_schedule(struct rpc_call *c); /* onto the ready list */
void rpc_conn_need_tick(struct rpc_conn *n, uint64_t at_ms);

/* Gives the connection up: GOAWAY with the HTTP/2 code, all calls end. */
void rpc_conn_give_up(struct rpc_conn *n, uint32_t h2_code, bool abuse, const char *fmt, ...) PRINTF(4, 5);

struct rpc_call *rpc_call_new(struct rpc_conn *n, struct err *e) MUST_CHECK;
void rpc_call_free(struct rpc_call *c);

/* The call is over for its user: final is set (unless it was), all memory of it goes. */
void rpc_call_end(struct rpc_call *c);
void rpc_call_end_with(struct rpc_call *c, enum rpc_code code, const char *fmt, ...) PRINTF(3, 4);

/* Resets the stream and ends the call. */
void rpc_call_abort(struct rpc_call *c, uint32_t h2_code);

/* Server: ends the call with this status; what is queued goes out first unless `now`. */
void rpc_call_conclude(struct rpc_call *c, const struct rpc_md *trailers, bool now);

/* Bytes of the stream, borrowed: whole messages that were asked for are delivered. */
void rpc_call_take(struct rpc_call *c, struct slice in);

/* Looks whether the end of what the peer sends has been reached, and tells. */
void rpc_call_settle(struct rpc_call *c);

/* Client: the deadline or the user ends it. Server: likewise. */
void rpc_call_expire(struct rpc_call *c);

void rpc_head_done(struct rpc_head *h);

/*
 * Charges the peer for each frame that begins in the bytes. Counted here and
 * not by nghttp2's callbacks, which are silent about frames it ignores:
 * unknown types, and those for closed streams. False when it gave up.
 */
bool rpc_charge_frames(struct rpc_conn *n, struct slice bytes) MUST_CHECK;

/* conn_send.c */
bool rpc_send_headers(struct rpc_call *c, const struct rpc_md *md, struct err *e) MUST_CHECK;
void rpc_send_trailers(struct rpc_call *c, const struct rpc_md *trailers);
void rpc_send_refusal(struct rpc_call *c, unsigned http_status, const char *accept_encoding);
bool rpc_send_request(struct rpc_call *c, const struct rpc_md *md, uint64_t timeout_ms,
                      struct err *e) MUST_CHECK;
void rpc_send_callbacks(nghttp2_session_callbacks *cb);
void rpc_recv_callbacks(nghttp2_session_callbacks *cb);
void rpc_queue_drop(struct rpc_call *c);

#endif
