#include "evidence/tpm_link.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cursor.h"
#include "base/stage.h"
#include "base/text.h"

#define HEADER_LEN 10 /* tag, length of the whole, code */

/* ------------------------------------------------------------------ waiting */

/* Until fd is ready for what; TIMEOUT at the deadline. */
static bool wait_for(int fd, short what, uint64_t until_ms, struct err *e)
{
    for (;;) {
        uint64_t now = clock_mono_ms(clock_system());
        uint64_t left = until_ms > now ? until_ms - now : 0;
        struct pollfd p = { fd, what, 0 };
        int n = poll(&p, 1, left > INT_MAX ? INT_MAX : (int)left);

        if (n > 0)
            return true;
        if (n < 0 && errno != EINTR)
            return err_fail_os(e, "wait for it");
        if (n == 0 && left == 0)
            return err_fail(e, ERR_KIND_TIMEOUT, "no answer in time");
    }
}

static bool send_all(struct tpm_link *l, struct slice command)
{
    while (command.len > 0) {
        /* write and not send: it may be a device */
        ssize_t n = write(l->fd, command.at, command.len);

        if (n > 0)
            command = slice_after(command, (size_t)n);
        else if (n < 0 && errno == EAGAIN) {
            if (!wait_for(l->fd, POLLOUT, l->until_ms, &l->why))
                return false;
        } else if (n == 0 || errno != EINTR)
            return err_fail_os(&l->why, "send a command");
    }
    return true;
}

/* True when all of one answer is there; INVALID when it can't become one. */
static bool whole(const struct tpm_link *l, bool *ret, struct err *e)
{
    struct cursor at = cursor_of(slice_of(l->answer, l->len));
    uint16_t tag;
    uint32_t len;

    *ret = false;
    if (!cursor_be16(&at, &tag) || !cursor_be32(&at, &len))
        return true;
    if (len < HEADER_LEN || len > TPM_ANSWER_MAX || l->len > len)
        return err_fail(e, ERR_KIND_INVALID, "an answer of %zu bytes that says it has %u", l->len,
                        (unsigned)len);
    *ret = l->len == len;
    return true;
}

static bool receive_all(struct tpm_link *l)
{
    bool done = false;

    while (!done) {
        ssize_t n;

        if (!wait_for(l->fd, POLLIN, l->until_ms, &l->why))
            return false;
        n = l->read(l->fd, l->answer + l->len, sizeof(l->answer) - l->len);
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (n < 0 && errno == ETIME)
            return err_fail_os(&l->why, "its driver gave up waiting");
        if (n < 0)
            return err_fail_os(&l->why, "read an answer");
        if (n == 0)
            return err_fail(&l->why, ERR_KIND_UNAVAILABLE, "it ended while it was being asked");
        l->len += (size_t)n;
        if (!whole(l, &done, &l->why))
            return false;
    }
    return true;
}

/* ------------------------------------------------------------------ the interface */

static struct tpm_link *link_of(TSS2_TCTI_CONTEXT *tcti)
{
    return (struct tpm_link *)(void *)tcti;
}

static TSS2_RC transmit(TSS2_TCTI_CONTEXT *tcti, size_t len, const uint8_t *command)
{
    struct tpm_link *l = link_of(tcti);

    if (l->asked)
        return TSS2_TCTI_RC_BAD_SEQUENCE;
    l->len = 0;
    err_clear(&l->why);
    if (!send_all(l, slice_of(command, len)))
        return TSS2_TCTI_RC_IO_ERROR;
    l->asked = true;
    return TSS2_RC_SUCCESS;
}

/* Without room for it tells the length, as the interface has it. Our deadline is shorter than any it names. */
static TSS2_RC receive(TSS2_TCTI_CONTEXT *tcti, size_t *len, uint8_t *ret, int32_t timeout_ms)
{
    struct tpm_link *l = link_of(tcti);
    bool there;

    (void)timeout_ms;
    if (!l->asked)
        return TSS2_TCTI_RC_BAD_SEQUENCE;
    if (!whole(l, &there, &l->why) || (!there && !receive_all(l))) {
        l->asked = false;
        return l->why.kind == ERR_KIND_INVALID ? TSS2_TCTI_RC_MALFORMED_RESPONSE : TSS2_TCTI_RC_IO_ERROR;
    }
    if (ret && *len < l->len)
        return TSS2_TCTI_RC_INSUFFICIENT_BUFFER;
    *len = l->len;
    if (!ret)
        return TSS2_RC_SUCCESS;
    memcpy(ret, l->answer, l->len);
    l->asked = false;
    return TSS2_RC_SUCCESS;
}

static void finalize(TSS2_TCTI_CONTEXT *tcti)
{
    (void)tcti; /* its owner closes the descriptor */
}

static TSS2_RC cancel(TSS2_TCTI_CONTEXT *tcti)
{
    (void)tcti;
    return TSS2_TCTI_RC_NOT_IMPLEMENTED;
}

static TSS2_RC poll_handles(TSS2_TCTI_CONTEXT *tcti, TSS2_TCTI_POLL_HANDLE *handles, size_t *count)
{
    (void)tcti;
    (void)handles;
    (void)count;
    return TSS2_TCTI_RC_NOT_IMPLEMENTED;
}

static TSS2_RC set_locality(TSS2_TCTI_CONTEXT *tcti, uint8_t locality)
{
    (void)tcti;
    (void)locality;
    return TSS2_TCTI_RC_NOT_IMPLEMENTED;
}

void tpm_link_init(struct tpm_link *l, int fd, uint64_t until_ms)
{
    *l = (struct tpm_link){ .fd = fd, .until_ms = until_ms, .why = ERR_INIT, .read = read };
    l->tcti = (TSS2_TCTI_CONTEXT_COMMON_V1){
        .magic = 0x636f636f732d7470, /* any but 0 */
        .version = 1,
        .transmit = transmit,
        .receive = receive,
        .finalize = finalize,
        .cancel = cancel,
        .getPollHandles = poll_handles,
        .setLocality = set_locality,
    };
}

/* ------------------------------------------------------------------ connecting */

static bool connect_to(int family, const void *at, socklen_t len, uint64_t until_ms, int *ret_fd,
                       struct err *e)
{
    CLEANUP(fd_done) int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int code = 0;
    socklen_t code_len = sizeof(code);

    if (fd < 0)
        return err_fail_os(e, "socket");
    if (connect(fd, at, len) != 0) {
        /* A unix socket whose queue is full answers EAGAIN and does not connect later. */
        if (errno != EINPROGRESS)
            return err_fail_os(e, "connect");
        if (!wait_for(fd, POLLOUT, until_ms, e))
            return false;
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &code_len) != 0 || code != 0) {
            errno = code;
            return err_fail_os(e, "connect");
        }
    }
    *ret_fd = fd;
    fd = -1;
    return true;
}

static bool connect_port(const char *where, uint64_t until_ms, int *ret_fd, struct err *e)
{
    struct sockaddr_in in = { .sin_family = AF_INET };
    const char *colon = strrchr(where, ':');
    char host[INET_ADDRSTRLEN];
    struct err bad = ERR_INIT;
    uint64_t port;

    if (!colon || (size_t)(colon - where) >= sizeof(host) ||
        !text_parse_u64(slice_of_str(colon + 1), 1, 65535, &port, &bad))
        return err_fail(e, ERR_KIND_INVALID, "neither a path nor an address like 127.0.0.1:2321");
    memcpy(host, where, (size_t)(colon - where));
    host[colon - where] = '\0';
    in.sin_port = htons((uint16_t)port);
    if (inet_pton(AF_INET, host, &in.sin_addr) != 1)
        return err_fail(e, ERR_KIND_INVALID, "neither a path nor an address like 127.0.0.1:2321");
    return connect_to(AF_INET, &in, sizeof(in), until_ms, ret_fd, e);
}

bool tpm_link_connect(const char *where, uint64_t until_ms, int *ret_fd, struct err *e)
{
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    struct stat st;

    if (where[0] != '/')
        return connect_port(where, until_ms, ret_fd, e);
    if (stat(where, &st) != 0)
        return err_fail_os(e, "look for it");
    if (S_ISSOCK(st.st_mode)) {
        if (strlen(where) >= sizeof(un.sun_path))
            return err_fail(e, ERR_KIND_INVALID, "too long for the path of a socket");
        memcpy(un.sun_path, where, strlen(where) + 1);
        return connect_to(AF_UNIX, &un, sizeof(un), until_ms, ret_fd, e);
    }
    if (!S_ISCHR(st.st_mode))
        return err_fail(e, ERR_KIND_INVALID, "neither a device nor a socket");
    *ret_fd = open(where, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    return *ret_fd >= 0 || err_fail_os(e, "open it");
}
