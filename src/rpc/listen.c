#include "rpc/listen.h"

#include <errno.h>
#include <netdb.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/stage.h"

#define BACKLOG 511

static int new_socket(int family)
{
    return socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

/* True when a file is there that is a socket and nobody answers on it. */
static bool is_stale(const struct rpc_sockaddr *a, const char *path)
{
    CLEANUP(fd_done) int fd = new_socket(AF_UNIX);
    struct stat st;

    if (fd < 0 || lstat(path, &st) != 0 || !S_ISSOCK(st.st_mode))
        return false;
    return connect(fd, (const struct sockaddr *)&a->at, a->len) != 0 && errno == ECONNREFUSED;
}

static bool bind_unix(int fd, const struct rpc_sockaddr *a, const char *path, mode_t mode)
{
    /* Linux makes the file with the mode of the socket itself: it is never open to others. */
    if (fchmod(fd, mode) != 0)
        return false;
    if (bind(fd, (const struct sockaddr *)&a->at, a->len) != 0) {
        if (errno != EADDRINUSE)
            return false;
        if (!is_stale(a, path)) {
            errno = EADDRINUSE;
            return false;
        }
        if (unlink(path) != 0 || bind(fd, (const struct sockaddr *)&a->at, a->len) != 0)
            return false;
    }
    /* What the umask took away is given back. */
    return chmod(path, mode) == 0;
}

static bool bind_tcp(int fd, const struct rpc_sockaddr *a)
{
    int on = 1;

    return setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
           bind(fd, (const struct sockaddr *)&a->at, a->len) == 0;
}

static bool open_at(const struct rpc_sockaddr *a, const struct rpc_address *name, mode_t mode,
                    struct rpc_listener *ret)
{
    bool is_unix = a->at.ss_family == AF_UNIX;
    struct rpc_sockaddr real = { .len = sizeof(real.at) };
    struct stat st;
    CLEANUP(fd_done) int fd = new_socket(a->at.ss_family);

    if (fd < 0 || !(is_unix ? bind_unix(fd, a, name->host, mode) : bind_tcp(fd, a)))
        return false;
    if (listen(fd, BACKLOG) != 0 || getsockname(fd, (struct sockaddr *)&real.at, &real.len) != 0)
        return false;
    if (is_unix) {
        if (stat(name->host, &st) != 0)
            return false;
        ret->dev = st.st_dev;
        ret->ino = st.st_ino;
        snprintf(ret->path, sizeof(ret->path), "%s", name->host);
    }
    rpc_sockaddr_text(&real, ret->text);
    ret->is_unix = is_unix;
    ret->fd = fd;
    fd = -1;
    return true;
}

/* ":port": both families where there are two, else the one there is. */
static bool open_any(struct rpc_address *a, mode_t mode, struct rpc_listener *ret)
{
    static const char *const hosts[] = { "::", "0.0.0.0" };

    for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
        struct rpc_sockaddr at;

        snprintf(a->host, sizeof(a->host), "%s", hosts[i]);
        if (!rpc_address_literal(a, &at))
            return false;
        if (open_at(&at, a, mode, ret))
            return true;
        if (errno != EAFNOSUPPORT && errno != EADDRNOTAVAIL)
            return false;
    }
    return false;
}

/* A name is looked up once, at start, when nothing else is going on. */
static bool open_name(const struct rpc_address *a, mode_t mode, struct rpc_listener *ret, struct err *e)
{
    struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
    struct addrinfo *found = NULL;
    char port[8];
    bool ok = false;

    snprintf(port, sizeof(port), "%u", a->port);

    int rc = getaddrinfo(a->host, port, &hints, &found);

    if (rc != 0)
        return err_fail(e, ERR_KIND_INVALID, "resolve '%s': %s", a->host, gai_strerror(rc));
    for (const struct addrinfo *at = found; at && !ok; at = at->ai_next) {
        struct rpc_sockaddr s = { .len = at->ai_addrlen };

        memcpy(&s.at, at->ai_addr, at->ai_addrlen);
        ok = open_at(&s, a, mode, ret);
    }
    if (!ok)
        err_fail_os(e, "%s", a->host);
    freeaddrinfo(found);
    return ok;
}

bool rpc_listen(const char *address, mode_t mode, struct rpc_listener *ret, struct err *e)
{
    struct rpc_listener l = RPC_LISTENER_INIT;
    struct rpc_address a;
    struct rpc_sockaddr at;

    if (!rpc_address_parse(address, &a, e))
        return err_wrap(e, "listen");
    if (a.host[0] == '\0') {
        if (!open_any(&a, mode, &l))
            return err_fail_os(e, "listen on %s", address);
    } else if (rpc_address_literal(&a, &at)) {
        if (!open_at(&at, &a, mode, &l))
            return err_fail_os(e, "listen on %s", address);
    } else if (!open_name(&a, mode, &l, e)) {
        return err_wrap(e, "listen on %s", address);
    }
    *ret = l;
    return true;
}

void rpc_listener_done(struct rpc_listener *l)
{
    struct stat st;

    if (l->fd < 0)
        return;
    if (l->is_unix && lstat(l->path, &st) == 0 && st.st_dev == l->dev && st.st_ino == l->ino)
        unlink(l->path); /* a file left behind is replaced at the next start */
    fd_done(&l->fd);
}
