/*
 * The manager's HTTP side: /health, /ready and /metrics. Wire sheet 10.1.
 */
#ifndef MANAGER_HTTP_H
#define MANAGER_HTTP_H

#include <uv.h>

#include "manager/fleet.h"
#include "manager/host.h"

struct mgr_http;

/* What the pages speak of; all borrowed while the server lives. */
struct mgr_http_view {
    const struct mgr_settings *settings;
    const struct mgr_vm_host *host;
    const struct mgr_fleet *fleet;
    const char *instance_id;
    const char *kvm_reason; /* why VMs run under emulation, "" under KVM */
};

/* Listens at the settings' address. UNAVAILABLE when it can't be bound. */
bool mgr_http_new(uv_loop_t *loop, const struct mgr_http_view *view, struct mgr_http **ret,
                  struct err *e) MUST_CHECK;
const char *mgr_http_address(const struct mgr_http *h); /* "127.0.0.1:7003" */

/* Accepts NULL; the loop lets go of it a moment later. */
void mgr_http_free(struct mgr_http *h);

/* The pages alone, for tests. *ret_code is the HTTP status. */
bool mgr_http_health(const struct mgr_http_view *v, struct buf *out, unsigned *ret_code,
                     struct err *e) MUST_CHECK;
bool mgr_http_ready(const struct mgr_http_view *v, struct buf *out, unsigned *ret_code,
                    struct err *e) MUST_CHECK;
bool mgr_http_metrics(const struct mgr_http_view *v, struct buf *out, unsigned *ret_code,
                      struct err *e) MUST_CHECK;

#endif
