#include "rpc/peer.h"

static const char *or_null(const char *text)
{
    return text && *text ? text : NULL;
}

bool rpc_peer_check(const struct rpc_peer *p, const char *prefix, struct err *e)
{
    bool cert = or_null(p->cert) != NULL;

    return cert == (or_null(p->key) != NULL) ||
           err_fail(e, ERR_KIND_INVALID, "%s_CLIENT_CERT and %s_CLIENT_KEY go together: only the %s is set",
                    prefix, prefix, cert ? "first" : "second");
}

bool rpc_peer_tls(const struct rpc_peer *p, const char *prefix, struct tls_client **ret_tls, struct err *e)
{
    const struct tls_client_config cfg = { or_null(p->ca), or_null(p->cert), or_null(p->key) };

    if (!rpc_peer_check(p, prefix, e))
        return false;
    if (cfg.ca || cfg.cert)
        return tls_client_new(&cfg, ret_tls, e);
    *ret_tls = NULL;
    return true;
}
