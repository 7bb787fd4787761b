/*
 * The files a guest finds in its two shares: `environment`, and the three
 * certificates. Wire sheet, section 10.3.
 */
#ifndef MANAGER_ENVIRONMENT_H
#define MANAGER_ENVIRONMENT_H

#include "base/buf.h"
#include "proto/manager.pb-c.h"

#define MGR_ENVIRONMENT_MAX ((size_t)64 * 1024)
#define MGR_PEM_MAX ((size_t)1024 * 1024)

/*
 * Checks every field of a request at once, before anything is made: control
 * bytes in values that become lines, an address or a log level that the agent
 * would not take, words of the kernel command line, the TTL, the size of PEM
 * fields, a client certificate without its key.
 * *ret_ttl_ms is 0 when none was asked for. INVALID lists all faults.
 * Cases MG-2, D-37.
 */
bool mgr_request_check(const Manager__CreateReq *req, uint64_t *ret_ttl_ms, struct err *e) MUST_CHECK;

/* Appends the lines KEY=VALUE of the environment file. The request has been checked. */
bool mgr_environment(const Manager__CreateReq *req, const char *cvm_id, struct buf *out,
                     struct err *e) MUST_CHECK;

/*
 * Writes `environment` beneath env_dir_fd and cert.pem, key.pem, ca.pem
 * beneath certs_dir_fd, all 0600, also when empty.
 */
bool mgr_write_shares(const Manager__CreateReq *req, const char *cvm_id, int env_dir_fd, int certs_dir_fd,
                      struct err *e) MUST_CHECK;

#endif
