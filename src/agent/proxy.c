#include "agent/proxy.h"

#include <arpa/inet.h>
#include <strings.h>

#include "base/err.h"
#include "base/text.h"

#define HOST_MAX 256

struct address {
    int family; /* 0: none */
    uint8_t bytes[16];
};

static bool text_of(struct slice s, char ret[HOST_MAX])
{
    if (s.len >= HOST_MAX)
        return false;
    if (s.len > 0)
        memcpy(ret, s.at, s.len);
    ret[s.len] = '\0';
    return true;
}

static struct address address_of(struct slice host)
{
    struct address a = { 0 };
    char text[HOST_MAX];

    if (!text_of(host, text))
        return a;
    if (inet_pton(AF_INET, text, a.bytes) == 1)
        a.family = AF_INET;
    else if (inet_pton(AF_INET6, text, a.bytes) == 1)
        a.family = AF_INET6;
    return a;
}

/* "host:port" or "[host]:port" or either without its port. */
static void split(struct slice target, struct slice *ret_host, struct slice *ret_port)
{
    size_t colon = target.len;

    if (slice_starts(target, "[")) {
        size_t end = slice_find(target, ']');

        *ret_host = slice_first(slice_after(target, 1), end > 0 ? end - 1 : 0);
        *ret_port = slice_after(target, end + 2);
        return;
    }
    for (size_t i = 0; i < target.len; i++)
        if (target.at[i] == ':') {
            if (colon < target.len) { /* two colons: an IPv6 address without port */
                *ret_host = target;
                *ret_port = SLICE_EMPTY;
                return;
            }
            colon = i;
        }
    *ret_host = slice_first(target, colon);
    *ret_port = slice_after(target, colon + 1);
}

static bool is_loopback(struct slice host)
{
    static const uint8_t six[16] = { [15] = 1 };
    struct address a = address_of(host);
    char text[HOST_MAX];

    if (a.family == AF_INET)
        return a.bytes[0] == 127;
    if (a.family == AF_INET6)
        return memcmp(a.bytes, six, sizeof(six)) == 0;
    return text_of(host, text) && strcasecmp(text, "localhost") == 0;
}

static bool in_network(struct address a, struct slice network)
{
    size_t slash = slice_find(network, '/');
    struct address base = address_of(slice_first(network, slash));
    uint64_t bits, most = base.family == AF_INET ? 32 : 128;
    struct err e = ERR_INIT;

    if (base.family == 0 || a.family != base.family ||
        !text_parse_u64(slice_after(network, slash + 1), 0, most, &bits, &e))
        return false;
    for (uint64_t i = 0; i < bits; i++) {
        uint8_t mask = (uint8_t)(0x80 >> (i % 8));

        if ((a.bytes[i / 8] & mask) != (base.bytes[i / 8] & mask))
            return false;
    }
    return true;
}

/* Equal without case, or the end of host from a dot on. */
static bool name_covers(struct slice name, struct slice host)
{
    bool only_below = slice_starts(name, ".");
    char a[HOST_MAX], b[HOST_MAX];
    size_t from;

    name = slice_after(name, only_below);
    if (name.len == 0 || host.len < name.len || !text_of(name, a))
        return false;
    from = host.len - name.len;
    if (!text_of(slice_after(host, from), b) || strcasecmp(a, b) != 0)
        return false;
    return from == 0 ? !only_below : host.at[from - 1] == '.';
}

static struct slice trim(struct slice s)
{
    while (s.len > 0 && (s.at[0] == ' ' || s.at[0] == '\t'))
        s = slice_after(s, 1);
    while (s.len > 0 && (s.at[s.len - 1] == ' ' || s.at[s.len - 1] == '\t'))
        s.len--;
    return s;
}

static bool entry_covers(struct slice entry, struct slice host, struct slice port)
{
    struct address a = address_of(host);
    struct slice entry_host, entry_port;

    if (slice_equal_str(entry, "*"))
        return true;
    if (slice_find(entry, '/') < entry.len)
        return in_network(a, entry);
    split(entry, &entry_host, &entry_port);
    if (entry_port.len > 0 && !slice_equal(entry_port, port))
        return false;
    if (a.family != 0) {
        struct address b = address_of(entry_host);

        return b.family == a.family && memcmp(a.bytes, b.bytes, sizeof(a.bytes)) == 0;
    }
    if (slice_starts(entry_host, "*."))
        entry_host = slice_after(entry_host, 1);
    return name_covers(entry_host, host);
}

bool proxy_wanted(const char *https_proxy, const char *no_proxy, const char *target)
{
    struct slice left = slice_of_str(no_proxy), host, port;
    struct slice at = slice_of_str(target);

    if (!*https_proxy || slice_starts(at, "/") || slice_starts(at, "unix:"))
        return false;
    if (slice_starts(at, "dns:///"))
        at = slice_after(at, strlen("dns:///"));
    split(at, &host, &port);
    if (is_loopback(host))
        return false;
    while (left.len > 0) {
        size_t comma = slice_find(left, ',');
        struct slice entry = trim(slice_first(left, comma));

        if (entry.len > 0 && entry_covers(entry, host, port))
            return false;
        left = slice_after(left, comma + 1);
    }
    return true;
}
