/*
 * One Algo or Data call, from its first message to what is committed: upload.c
 * takes in what comes, upload_whole.c judges what has come and puts it in place.
 */
#ifndef AGENT_UPLOAD_INT_H
#define AGENT_UPLOAD_INT_H

#include "agent/comp_int.h"
#include "agent/stall.h"
#include "base/stage.h"

#define UPLOAD_NAME_MAX 255

#define UPLOAD_BATCH_COUNT 16 /* messages that wait for the pool: then no more is asked for */

struct upload_piece {
    struct buf body;
    struct slice data, aux; /* in body: field 1, and requirements */
};

struct upload_batch {
    struct upload_piece pieces[UPLOAD_BATCH_COUNT];
    size_t count;
    size_t bytes;
};

/*
 * One Algo or Data call. What has come is hashed and written in the pool, both
 * at once, while more arrives; the two batches take turns, so memory is bounded.
 */
struct upload {
    struct comp *c;
    struct upload *next;
    struct rpc_call *call; /* NULL once it has closed */
    enum fsm_rpc kind;
    struct auth_grant grant;
    struct auth_proof proof; /* borrows from the call's metadata */
    struct admit_seat seat;
    struct stall stall;
    bool decompress;
    uint64_t started_ms;
    struct stage_file file;
    struct stage_file extra; /* requirements */
    struct hash *hash;
    uint64_t written_back; /* bytes whose way to the disk has begun     */
    uint64_t write_begun;  /* of those, where the latest stretch begins */
    char filename[UPLOAD_NAME_MAX + 1];
    uint64_t requirements; /* bytes */
    bool named;            /* the filename of a bound signature is settled */

    struct upload_batch in_pool;
    struct upload_batch coming;
    bool half_closed;
    bool thirsty; /* would ask for more, were there room */
    bool working;
    bool committing; /* and what is committed */
    size_t dataset;
    struct job job;
    struct job hashing;                     /* beside it: neither waits for the other */
    unsigned halves;                        /* of the two that are not done           */
    struct err half_failure;                /* the first one's                        */
    char outcome[RPC_STATUS_TEXT_MAX + 64]; /* why it failed, for the log */
    bool answered;
};

/* Ends the call with that status, once; the pool may still be busy with its last messages. */
void upload_fail(struct upload *u, enum rpc_code code, const char *text);
void upload_fail_err(struct upload *u, enum rpc_code code, const struct err *e);

/* Only when neither call nor pool has it any more. */
void upload_free(struct upload *u);

/*
 * Everything has come and been hashed. Compares it with the manifest, commits
 * it in the pool and answers; frees *u when the call has closed meanwhile.
 */
void upload_whole(struct upload *u);

#endif
