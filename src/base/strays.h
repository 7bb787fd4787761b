/*
 * Processes that a program answers for and has lost sight of.
 *
 * A program that runs foreign code adopts what becomes an orphan below it
 * (PR_SET_CHILD_SUBREAPER): a process may leave its group and its session,
 * and fork twice, but it can't leave its line. So what is left of a run can
 * be found by asking for our children, killed, and reaped, until the kernel
 * says that there are none. Who is killed hands his children to us, so only
 * direct ones are ever signalled: their pids can't be given away before we
 * reap them. Case AG-8.
 *
 * What it does not hold: a process that may send signals to this program can
 * end this program first. That takes another user, or a namespace.
 */
#ifndef BASE_STRAYS_H
#define BASE_STRAYS_H

#include <sys/types.h>

#include "base/err.h"

/* From now on this process is the parent of its orphaned descendants. The first process of a system is anyway. */
bool strays_adopt(struct err *e) MUST_CHECK;

/*
 * Kills and reaps all descendants of this process but the children in spare
 * and what is below them; what forks meanwhile is met in the next round.
 * Meanwhile nobody else in this process may wait for any other child, or fork
 * one. Blocks: for a thread of the pool. TIMEOUT when some are left after
 * timeout_ms, naming one.
 */
bool strays_end(const pid_t *spare, size_t spare_count, uint64_t timeout_ms, struct err *e) MUST_CHECK;

#endif
