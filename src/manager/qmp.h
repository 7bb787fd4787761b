/*
 * QEMU's machine protocol: how a VM fares and what it is told.
 *
 * One connection to one QEMU. Commands are answered in order; events come
 * between answers. A line above QMP_LINE_MAX or one that is not QMP ends the
 * connection: the other side is a process that a guest may have taken over.
 */
#ifndef MANAGER_QMP_H
#define MANAGER_QMP_H

#include <jansson.h>
#include <uv.h>

#include "base/err.h"
#include "base/slice.h"

#define QMP_LINE_MAX ((size_t)256 * 1024)
#define QMP_COMMANDS_MAX 32

/* What one line says. Pure, for tests. */
enum qmp_kind { QMP_BROKEN, QMP_GREETING, QMP_RETURN, QMP_ERROR, QMP_EVENT };

struct qmp_line {
    enum qmp_kind kind;
    json_t *root;      /* owned                                         */
    const char *event; /* of an event: "SHUTDOWN"                       */
    json_t *data;      /* of an event or return, borrowed; may be NULL  */
    const char *error; /* of an error: its description                  */
};
struct qmp_line qmp_line_read(struct slice line, struct err *e);
void qmp_line_done(struct qmp_line *l);

struct qmp;

struct qmp_events {
    /* Greeting exchanged: commands may be sent. */
    void (*ready)(struct qmp *q, void *ctx);
    /* name is borrowed for the call; data may be NULL. */
    void (*event)(struct qmp *q, const char *name, const json_t *data, void *ctx);
    /* Once: the connection is over, with the reason. Not after qmp_free. */
    void (*closed)(struct qmp *q, const struct err *why, void *ctx);
};

/*
 * Connects to the unix socket at path, trying again every 20 ms until
 * deadline_ms have passed (QEMU makes it some time after it was started).
 */
bool qmp_connect(uv_loop_t *loop, const char *path, uint64_t deadline_ms, const struct qmp_events *events,
                 void *ctx, struct qmp **ret, struct err *e) MUST_CHECK;

/* Sends a command without arguments. done (may be NULL) gets its answer: why is NULL on success. */
typedef void (*qmp_done_fn)(const json_t *result, const char *why, void *ctx);
bool qmp_command(struct qmp *q, const char *name, qmp_done_fn done, void *ctx, struct err *e) MUST_CHECK;

/* Forgets the connection; no callback comes any more. Accepts NULL. */
void qmp_free(struct qmp *q);

#endif
