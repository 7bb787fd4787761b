/*
 * Whether a connection goes through an HTTP proxy: Go's rules for HTTPS_PROXY
 * and NO_PROXY, since the same unit files start us.
 *
 * NO_PROXY is a list, separated by commas: "*" (everything), a host name
 * (itself and what ends in ".name"), ".name" (only what ends so), an address,
 * an address with a prefix length, each with an optional ":port". Loopback is
 * never proxied.
 */
#ifndef AGENT_PROXY_H
#define AGENT_PROXY_H

#include "base/slice.h"

/* target is "host:port" or "[::1]:port"; a path of a unix socket has no proxy. */
bool proxy_wanted(const char *https_proxy, const char *no_proxy, const char *target);

#endif
