/*
 * Ports on the host for agents, without check-then-use races.
 *
 * A port is reserved by a socket that is bound, gets SO_REUSEADDR then, and
 * never listens: the kernel lets QEMU, which sets the same option, bind and
 * listen on it, and nobody who merely looks for a free port gets it.
 */
#ifndef MANAGER_PORTS_H
#define MANAGER_PORTS_H

#include "base/err.h"

struct mgr_port {
    int fd; /* -1: none */
    uint16_t number;
};
#define MGR_PORT_INIT \
    {                 \
        -1, 0         \
    }

/*
 * The lowest port in [first, last] that can be bound at addr ("" for all
 * addresses). UNAVAILABLE when there is none, with the text the peers use.
 */
bool mgr_port_take(const char *addr, uint16_t first, uint16_t last, struct mgr_port *ret,
                   struct err *e) MUST_CHECK;

/* Accepts an empty one. */
void mgr_port_release(struct mgr_port *p);

#endif
