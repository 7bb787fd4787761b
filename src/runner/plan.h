/*
 * Kinds of algorithm, as data: which commands, one after another, make up a run.
 *
 * "bin" (also "binary") is an executable; "python" is a script that runs in
 * a virtual environment of its own, into which its requirements are installed
 * first. A plan is made of words alone; it starts nothing.
 */
#ifndef RUNNER_PLAN_H
#define RUNNER_PLAN_H

#include "base/err.h"
#include "base/slice.h"

struct run_request {
    const char *kind;         /* "bin", "binary", "python"; "" is "bin"                    */
    const char *work_dir;     /* absolute; where everything runs                           */
    const char *algorithm;    /* absolute, or beneath work_dir                             */
    const char *requirements; /* likewise; "" or NULL: none                                */
    const char *const *args;  /* of the algorithm                                          */
    size_t arg_count;
    const char *find_links; /* directory of wheels to install from; "" or NULL: none     */
    const char *index_url;  /* package index to install from; "" or NULL: none           */
};

struct run_step {
    const char *failed; /* what to say in front of why it failed                          */
    bool is_algorithm;  /* the last one                                                   */
    const char **argv;  /* ends with NULL; owned by the plan                              */
};

#define RUN_STEPS_MAX 3

/* Made beneath the work dir by a run, and removed after it and before the next. */
#define RUN_VENV_DIR "venv"

struct run_plan {
    char *work_dir;
    struct run_step steps[RUN_STEPS_MAX];
    size_t count;
    const char **env; /* all of the environment of every step; ends with NULL */
    void **owned;
    size_t owned_count;
};

/*
 * UNSUPPORTED: "unsupported algorithm type: wasm ...", naming what is supported.
 * INVALID: requirements without a place to install them from. MISSING and
 * others: the requirements cannot be read.
 */
bool run_plan_make(const struct run_request *r, struct run_plan *ret, struct err *e) MUST_CHECK;
void run_plan_done(struct run_plan *p);

/* True when the kind is known, whatever else a request may lack. */
bool run_kind_check(const char *kind, struct err *e) MUST_CHECK;

#endif
