#include "manager/ports.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

static bool try_port(struct in_addr addr, uint16_t number, int *ret_fd)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(number), .sin_addr = addr };
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return false;
    /* The option comes after the bind: two managers that had it set before would share a port. */
    if (bind(fd, (const struct sockaddr *)&at, sizeof(at)) == 0 &&
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0) {
        *ret_fd = fd;
        return true;
    }
    close(fd);
    return false;
}

bool mgr_port_take(const char *addr, uint16_t first, uint16_t last, struct mgr_port *ret, struct err *e)
{
    struct in_addr at = { htonl(INADDR_ANY) };

    if (addr[0] && inet_pton(AF_INET, addr, &at) != 1)
        return err_fail(e, ERR_KIND_INVALID, "'%s': an IPv4 address is wanted to forward ports from", addr);
    for (unsigned number = first; number <= last; number++)
        if (try_port(at, (uint16_t)number, &ret->fd)) {
            ret->number = (uint16_t)number;
            return true;
        }
    return err_fail(e, ERR_KIND_UNAVAILABLE,
                    "failed to allocate free port on host : failed to find free port in range %u-%u", first,
                    last);
}

void mgr_port_release(struct mgr_port *p)
{
    if (p->fd >= 0)
        close(p->fd);
    *p = (struct mgr_port)MGR_PORT_INIT;
}
