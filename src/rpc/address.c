#include "rpc/address.h"

#include <arpa/inet.h>
#include <uv.h>

#include "base/text.h"

static bool parse_path(struct slice path, struct rpc_address *ret, struct err *e)
{
    size_t max = sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1;

    if (slice_starts(path, "//"))
        path = slice_after(path, 2);
    if (path.len == 0 || path.len > max)
        return err_fail(e, ERR_KIND_INVALID, "a socket path has 1 to %zu bytes, this one %zu", max, path.len);
    ret->is_unix = true;
    memcpy(ret->host, path.at, path.len);
    return true;
}

static bool parse_host(struct slice text, struct rpc_address *ret, struct err *e)
{
    size_t colon = text.len;
    uint64_t port;

    while (colon > 0 && text.at[colon - 1] != ':')
        colon--;
    if (colon == 0)
        return err_fail(e, ERR_KIND_INVALID, "no port; write host:port");

    struct slice host = slice_first(text, colon - 1);

    if (!text_parse_u64(slice_after(text, colon), 0, UINT16_MAX, &port, e))
        return err_wrap(e, "port");
    if (host.len >= 2 && host.at[0] == '[' && host.at[host.len - 1] == ']')
        host = slice_first(slice_after(host, 1), host.len - 2);
    else if (slice_find(host, ':') < host.len)
        return err_fail(e, ERR_KIND_INVALID, "an IPv6 address needs brackets: [::1]:port");
    if (host.len >= RPC_ADDRESS_HOST_MAX)
        return err_fail(e, ERR_KIND_INVALID, "a host name of %zu bytes, at most %d are allowed", host.len,
                        RPC_ADDRESS_HOST_MAX - 1);
    if (host.len)
        memcpy(ret->host, host.at, host.len);
    ret->port = (uint16_t)port;
    return true;
}

bool rpc_address_parse(const char *text, struct rpc_address *ret, struct err *e)
{
    struct slice s = slice_of_str(text);
    struct rpc_address a = { 0 };
    bool ok;

    if (slice_starts(s, "dns:///"))
        s = slice_after(s, strlen("dns:///"));
    if (slice_starts(s, "unix:"))
        ok = parse_path(slice_after(s, strlen("unix:")), &a, e);
    else if (slice_starts(s, "/"))
        ok = parse_path(s, &a, e);
    else
        ok = parse_host(s, &a, e);
    if (!ok)
        return err_wrap(e, "address '%s'", text);
    *ret = a;
    return true;
}

bool rpc_address_literal(const struct rpc_address *a, struct rpc_sockaddr *ret)
{
    struct rpc_sockaddr s = { .len = 0 };

    if (a->is_unix) {
        struct sockaddr_un *un = (struct sockaddr_un *)&s.at;

        un->sun_family = AF_UNIX;
        memcpy(un->sun_path, a->host, strlen(a->host) + 1);
        s.len = sizeof(*un);
    } else if (uv_ip4_addr(a->host, a->port, (struct sockaddr_in *)&s.at) == 0) {
        s.len = sizeof(struct sockaddr_in);
    } else if (uv_ip6_addr(a->host, a->port, (struct sockaddr_in6 *)&s.at) == 0) {
        s.len = sizeof(struct sockaddr_in6);
    } else {
        return false;
    }
    *ret = s;
    return true;
}

void rpc_sockaddr_host(const struct rpc_sockaddr *a, char ret[RPC_ADDRESS_TEXT_MAX])
{
    char host[INET6_ADDRSTRLEN] = "?";

    if (a->at.ss_family == AF_INET6) {
        uv_ip6_name((const struct sockaddr_in6 *)&a->at, host, sizeof(host));
        snprintf(ret, RPC_ADDRESS_TEXT_MAX, "[%s]", host);
    } else if (a->at.ss_family == AF_INET) {
        uv_ip4_name((const struct sockaddr_in *)&a->at, host, sizeof(host));
        snprintf(ret, RPC_ADDRESS_TEXT_MAX, "%s", host);
    } else {
        snprintf(ret, RPC_ADDRESS_TEXT_MAX, "unix:%s",
                 a->len > sizeof(sa_family_t) ? ((const struct sockaddr_un *)&a->at)->sun_path : "");
    }
}

void rpc_sockaddr_text(const struct rpc_sockaddr *a, char ret[RPC_ADDRESS_TEXT_MAX])
{
    size_t len;

    rpc_sockaddr_host(a, ret);
    len = strlen(ret);
    /* The port lies at the same place for both families. */
    if (a->at.ss_family == AF_INET || a->at.ss_family == AF_INET6)
        snprintf(ret + len, RPC_ADDRESS_TEXT_MAX - len, ":%u",
                 ntohs(((const struct sockaddr_in *)&a->at)->sin_port));
}
