/*
 * What is written down of a running VM, so that a manager that was restarted
 * finds it again: one JSON file a VM, beneath the state directory.
 *
 * A record is trusted only when it is whole, of our version and of this boot
 * of the host. Cases MG-6, MG-14.
 */
#ifndef MANAGER_RECORD_H
#define MANAGER_RECORD_H

#include "base/buf.h"
#include "manager/process.h"

#define MGR_RECORD_VERSION 1
#define MGR_ID_LEN 36 /* a uuid as text */
#define MGR_PATH_MAX 256

struct mgr_record {
    char id[MGR_ID_LEN + 1];
    char start_id[MGR_ID_LEN + 1];
    char dir[MGR_PATH_MAX];  /* the VM's private directory                  */
    char disk[MGR_PATH_MAX]; /* its disk copy, "" none                      */
    uint16_t agent_port;
    struct mgr_process_id qemu;
    struct mgr_process_id swtpm; /* pid 0: none                           */
    uint64_t ttl_until_mono_ms;  /* on this boot's monotonic clock, 0 none */
    uint64_t created_mono_ms;
};

/* Writes or replaces <id>.json beneath dir_fd, mode 0600, atomically. */
bool mgr_record_write(int dir_fd, const struct mgr_record *r, struct err *e) MUST_CHECK;
bool mgr_record_remove(int dir_fd, const char *id, struct err *e) MUST_CHECK;

/*
 * Decodes a record. INVALID says why it is not trusted: not JSON, a member
 * missing or of the wrong type, another version, another boot, an id that is
 * not the file's name.
 */
bool mgr_record_read(struct slice text, const char *want_id, const char *boot_id, struct mgr_record *ret,
                     struct err *e) MUST_CHECK;

/*
 * Calls each() for every trusted record beneath dir_fd; refused() for every
 * other file that ends in .json, which is removed.
 */
bool mgr_record_all(int dir_fd, void (*each)(const struct mgr_record *r, void *ctx),
                    void (*refused)(const char *name, const struct err *why, void *ctx), void *ctx,
                    struct err *e) MUST_CHECK;

#endif
