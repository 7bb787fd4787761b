/*
 * A program's settings as one table.
 *
 * Order of precedence: flag, environment, default. An environment variable
 * that is empty counts as unset (Go's loader does so). Flags are accepted
 * with one or two dashes, as "-flag value" or "-flag=value"; a boolean flag
 * may stand without a value, and takes a next word only when that is true or
 * false spelled out. Flags and arguments may be mixed; "--" ends the flags. The
 * environment gives a list one element. An unknown flag is an error
 * that names the nearest known one. --help and --version are always there.
 */
#ifndef BASE_CONFIG_H
#define BASE_CONFIG_H

#include "base/err.h"
#include "base/faults.h"
#include "base/slice.h"

enum config_type {
    CONFIG_STR,         /* const char *                        */
    CONFIG_BOOL,        /* bool, Go ParseBool                  */
    CONFIG_U64,         /* uint64_t within [min, max]          */
    CONFIG_DURATION_MS, /* uint64_t, Go duration, in ms        */
    CONFIG_LEVEL,       /* int, log level                      */
    CONFIG_LIST,        /* struct config_list; flag repeatable */
};

struct config_list {
    const char **at;
    size_t count;
};

struct config_opt {
    const char *flag; /* without dashes, or NULL: environment only   */
    char short_flag;  /* 0: none                                     */
    const char *env;  /* or NULL: flag only                          */
    enum config_type type;
    const char *def;   /* text of the default; NULL: unset (NULL, 0, false) */
    uint64_t min, max; /* CONFIG_U64                                  */
    bool required;     /* must be set and not empty                   */
    const char *arg;   /* word for the value in --help: "file"        */
    const char *help;  /* one line                                    */
    size_t offset;     /* of the field in the program's struct        */
};

/* A table that several programs share. Its offsets are those of a struct of its own. */
struct config_rows {
    const struct config_opt *opts;
    size_t opt_count;
};

/* Where a program has that struct in its own. */
struct config_part {
    const struct config_rows *rows;
    size_t offset;
};

#define CONFIG_OPTS_MAX 128 /* of a program, with all parts */
#define CONFIG_PARTS_MAX 4

struct config_spec {
    const char *program;  /* "cocos-agent"                           */
    const char *usage;    /* "[flags] <file> <private key>"          */
    const char *summary;  /* a sentence or two                       */
    const char *examples; /* whole lines, or NULL                    */
    const struct config_opt *opts;
    size_t opt_count;
    struct config_part parts[CONFIG_PARTS_MAX]; /* behind opts; the first without rows ends them */
    size_t args_min, args_max;                  /* positional arguments                          */
    /*
     * Adds what is wrong with settings besides the form of each, or NULL. Called
     * also when some have no right form, and then with the defaults of these.
     */
    void (*check)(const void *settings, struct faults *faults);
};

/* What config_read allocated; strings in the struct live as long as this. */
struct config_values {
    void **owned;
    size_t owned_count;
    const char **args; /* positional arguments */
    size_t arg_count;
    const char *origin[CONFIG_OPTS_MAX]; /* per option: "flag", "environment", "default", or NULL */
};

enum config_outcome {
    CONFIG_RUN,   /* settings are in *ret                                  */
    CONFIG_SHOWN, /* --help or --version was printed on stdout: exit 0     */
    CONFIG_BAD,   /* *e lists every fault, *ret is not to be used: exit 2  */
};

/*
 * argv[0] is skipped. env is an environ-style array. Error texts name source,
 * key, what was seen and what is wanted:
 *   "environment AGENT_VMPL: '7': a whole number from 0 to 3 is wanted".
 */
enum config_outcome config_read(const struct config_spec *spec, int argc, char *const *argv, char *const *env,
                                void *ret, struct config_values *ret_values, struct err *e) MUST_CHECK;

/* Whether the option at that offset of the program's struct has a value, be it the default. */
bool config_given(const struct config_spec *spec, const struct config_values *v, size_t offset);

/* All rows, those of parts last, with offsets of the program's struct. Returns how many. */
size_t config_rows_all(const struct config_spec *spec, struct config_opt ret[CONFIG_OPTS_MAX]);

/* Keeps a block of memory alive as long as the values; frees it at once when that fails. */
bool config_values_own(struct config_values *v, void *take_at, struct err *e) MUST_CHECK;

void config_values_done(struct config_values *v);

/* The whole --help text, for completion scripts and for docs. */
bool config_help(const struct config_spec *spec, int fd, struct err *e) MUST_CHECK;

#endif
