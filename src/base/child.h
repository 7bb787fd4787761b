/*
 * Child processes on a libuv loop.
 *
 * A child has its own session and process group, /dev/null as stdin, and
 * gives its stdout and stderr in chunks that can be held back. It ends as a
 * whole: when it has exited, what is left of its group is killed.
 *
 * Our own fork and exec instead of uv_spawn, which gives no place to ask for
 * PR_SET_PDEATHSIG: when this process dies, kill -9 included, the child must
 * not run on. (The signal goes to the child itself; it is sent when the
 * thread that spawned ends, so spawn from the thread that lives longest.)
 * Nothing but stdin, stdout and stderr is inherited, whether or not a
 * library forgot O_CLOEXEC. A process that leaves both group and session
 * escapes; strays.h ends it.
 */
#ifndef BASE_CHILD_H
#define BASE_CHILD_H

#include <sys/types.h>
#include <uv.h>

#include "base/err.h"
#include "base/slice.h"

struct child;

enum child_stream { CHILD_STDOUT, CHILD_STDERR };

struct child_exit {
    bool by_signal; /* then number is a signal, else an exit code           */
    int number;
    bool core_dumped;
    bool stopped;    /* child_stop was called before it ended                */
    bool timed_out;  /* its deadline passed before it ended                  */
    bool cut_output; /* a process that escaped still held the pipes: closed  */
};

struct child_spec {
    const char *const *argv;    /* argv[0] is absolute, or a name looked up on PATH; NULL ends it */
    const char *const *env;     /* the whole environment, "K=v"; NULL is an empty one            */
    const char *cwd;            /* NULL: ours                                                    */
    bool no_new_privs;          /* a setuid program gives it no rights, ours to kill it stay     */
    size_t chunk_max;           /* bytes per on_output; 0: 1024                     */
    uint64_t deadline_ms;       /* from the spawn; 0: none                          */
    uint64_t deadline_grace_ms; /* between SIGTERM and SIGKILL at the deadline      */
    uint64_t drain_ms;          /* how long pipes may stay open after exit; 0: 1000 */

    /* Bytes as they come, in order per stream; borrowed for the call. NULL: thrown away. */
    void (*on_output)(struct child *c, enum child_stream stream, struct slice bytes, void *ctx);

    /*
     * Once, after the last output: the child has exited, its group is gone
     * and the pipes are at their end (or were closed, see drain_ms).
     */
    void (*on_exit)(struct child *c, const struct child_exit *how, void *ctx);
    void *ctx;
};

/*
 * Starts a child. All of spec is copied or used during the call, which waits
 * for exec. MISSING when there is no such program, or when a script's
 * interpreter is missing (the text says which); DENIED when it may not be
 * executed; INVALID for an argv[0] that is neither absolute nor a plain name;
 * LIMIT when the system has no process or descriptor left. After a failure no
 * callback comes. The caller frees *ret with child_free.
 */
bool child_spawn(uv_loop_t *loop, const struct child_spec *spec, struct child **ret,
                 struct err *e) MUST_CHECK;

/*
 * SIGTERM to the group now and SIGKILL after grace_ms; SIGKILL at once when
 * that is 0. May be repeated: a shorter grace counts. on_exit tells the end.
 */
void child_stop(struct child *c, uint64_t grace_ms);

/*
 * Holds a stream back, or lets it flow again: the child blocks when its pipe
 * is full. Output held back is never lost: on_exit waits for it.
 */
void child_pause(struct child *c, enum child_stream stream, bool paused);

pid_t child_pid(const struct child *c);

/*
 * Kills what still runs, and forgets the child: no callback comes any more.
 * The loop has to run on for the rest of the cleanup. May be called in any
 * callback. Accepts NULL.
 */
void child_free(struct child *c);

#endif
