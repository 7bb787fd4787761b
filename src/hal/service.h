/*
 * One service of the guest: started, watched, started again.
 *
 * The pure part (when to start again) takes time as an argument. The other
 * part forks, pumps the service's output to the console line by line with the
 * service's name before it, and reaps.
 */
#ifndef HAL_SERVICE_H
#define HAL_SERVICE_H

#include <sys/types.h>

#include "hal/cmdline.h"

#define HAL_BACKOFF_FIRST_MS 200
#define HAL_BACKOFF_MAX_MS 30000
#define HAL_STABLE_MS 60000      /* a run this long forgets earlier failures     */
#define HAL_READY_MS 60000       /* how long its socket may take                 */
#define HAL_LINE_MAX 1024        /* console line, bytes; longer ones are cut     */
#define HAL_LINES_PER_SECOND 200 /* beyond this the console drops and counts     */

enum hal_service_state {
    HAL_SERVICE_WAITING, /* its turn has not come            */
    HAL_SERVICE_STARTED, /* runs; its socket is not there yet */
    HAL_SERVICE_READY,
    HAL_SERVICE_BACKOFF, /* ended; starts again at retry_ms   */
    HAL_SERVICE_ABSENT,  /* not part of this image            */
};

struct hal_service {
    const char *name;
    const char *path;   /* of the program                                     */
    const char *socket; /* ready when it accepts; NULL: ready when started    */

    enum hal_service_state state;
    pid_t pid;  /* 0: not running            */
    int output; /* read end of its pipe, -1  */
    uint64_t started_ms;
    uint64_t retry_ms;
    unsigned failures; /* in a row                  */
    char line[HAL_LINE_MAX];
    size_t line_len;
    uint64_t second; /* the console budget's      */
    unsigned lines;
    unsigned dropped;
};

/* Milliseconds to wait after the nth failure in a row (1 is the first). Doubles, bounded. */
uint64_t hal_service_backoff_ms(unsigned failures);

/* The process ended at now_ms: sets BACKOFF, the count and the time to start again. */
void hal_service_ended(struct hal_service *s, uint64_t now_ms);

/* Starts the program with env. MISSING and state ABSENT when the image does not have it. */
bool hal_service_start(struct hal_service *s, const struct hal_env *env, uint64_t now_ms,
                       struct err *e) MUST_CHECK;

/* True when its socket accepts a connection now (or it has none and runs). */
bool hal_service_probe(const struct hal_service *s);

/* Reads what is there and writes whole lines to the console. False at end of output. */
bool hal_service_pump(struct hal_service *s, int console, uint64_t now_ms);

#endif
