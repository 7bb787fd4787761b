/*
 * The working directory, which the agent fills and the runner uses: algo,
 * requirements.txt, datasets/, results/, venv/ (wire sheet, section 5.3).
 *
 * All of this blocks; it belongs in the pool once users are served.
 */
#ifndef AGENT_WORK_H
#define AGENT_WORK_H

#include <stdatomic.h>

#include "base/buf.h"

#define WORK_ALGO "algo"
#define WORK_REQUIREMENTS "requirements.txt"
#define WORK_DATASETS "datasets"
#define WORK_RESULTS "results"

struct work {
    const char *path; /* borrowed */
    int fd;
};
#define WORK_INIT \
    {             \
        NULL, -1  \
    }

/* Made (0755) when missing. */
bool work_open(const char *path, struct work *ret, struct err *e) MUST_CHECK;
void work_done(struct work *w);

/* Removes inputs, results, what was made of them, and everything staged. Cases AG-16, AG-17. */
bool work_clean(const struct work *w, struct err *e) MUST_CHECK;

/* datasets/ for staging, made when missing. The caller closes *ret_fd. */
bool work_open_datasets(const struct work *w, int *ret_fd, struct err *e) MUST_CHECK;

/* A fresh and empty results/; MISSING when there is no algorithm. */
bool work_prepare_run(const struct work *w, struct err *e) MUST_CHECK;

/*
 * The archive of results/ into a file without a name, so that no crash leaves
 * it behind. *cancel is looked at all the time; true ends with CANCELLED.
 */
struct work_result {
    int fd; /* -1: none */
    uint64_t len;
};
bool work_take_results(const struct work *w, const atomic_bool *cancel, struct work_result *ret,
                       struct err *e) MUST_CHECK;

#endif
