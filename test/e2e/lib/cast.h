/*
 * The usual cast: a CVMS, a manager, one VM, and users who upload and fetch.
 */
#ifndef E2E_CAST_H
#define E2E_CAST_H

#include "e2e/lib/e2e.h"

struct cast {
    struct e2e_process cvms;
    struct e2e_process manager;
    struct e2e_vm vm;
    char cvms_port[8];
    char algorithm[E2E_PATH];  /* file of the algorithm */
    char kind[16];             /* bin, python           */
    const char *dataset;       /* file of the dataset   */
    const char *manager_extra; /* "K=v" for the manager, or NULL */
    const char *ttl;           /* of the VM, "" for none         */
};
#define CAST_INIT                                            \
    {                                                        \
        .dataset = "examples/linreg/penguins.csv", .ttl = "" \
    }

/* Starts cvms-test for one owner of everything, the manager and a VM, until the agent waits for the algorithm. */
void cast_one_provider(struct cast *c, const char *flavour, const char *algorithm, const char *kind);

/* The parts of it. algorithm is beneath the build directory, or a file with a slash in front. */
void cast_algorithm(struct cast *c, const char *algorithm, const char *kind);
void cast_cvms(struct cast *c);
/* The CVMS is killed, and another one is there at its port, with two more flags or NULL. */
void cast_cvms_again(struct cast *c, const char *flag, const char *value);
void cast_vm(struct cast *c, const char *flavour);
void cast_wait_for_agent(struct cast *c);

/*
 * The agent measured the manifest: the value it read back from its TPM is the
 * one that follows from the manifest that cvms-test prints for the same flags.
 */
void cast_measured(struct cast *c);

/* Wants the event to have happened once; the same one delivered again counts once. */
void cast_once(struct cast *c, const char *type, const char *status);

/* Uploads that must succeed; who names the key. */
void cast_upload_algorithm(struct cast *c, const char *who);
void cast_upload_data(struct cast *c, const char *who);

/* Fetches the result and wants this regular expression in it. */
void cast_result(struct cast *c, const char *who, const char *regex);

/* Compiles an algorithm from C source text; returns its file. */
const char *cast_compile(const char *name, const char *source);

#endif
