/*
 * Answers of a TPM, as a broken or hostile one may give them: each a length of
 * two bytes, and so many bytes that are read at once. Whatever they are, each question ends at once with a value or an error,
 * and a measurement that succeeds has a bank to rely on.
 */
#include <assert.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cursor.h"
#include "evidence/measure.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t text[] = "{}";
    struct ev_measured m;
    struct ev_tpm *t;
    struct err e = ERR_INIT;
    int pair[2];

    struct cursor at = cursor_of(slice_of(data, size));
    struct slice answer;
    uint16_t len;

    setenv("TSS2_LOG", "all+none", 1);
    assert(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
    /* What its queue has no room for is left out: nobody reads yet. */
    while (cursor_be16(&at, &len) && cursor_bytes(&at, len, &answer))
        if (len > 0 && send(pair[0], answer.at, answer.len, MSG_DONTWAIT) < 0)
            break;
    shutdown(pair[0], SHUT_WR);
    assert(ev_tpm_open_fd(pair[1], "fuzz", 5000, &t, &e));
    if (ev_measure(t, 15, slice_of(text, sizeof(text) - 1), &m, &e))
        assert(m.count > 0 && m.count <= EV_BANKS_MAX);
    else
        assert(e.kind != ERR_KIND_NONE && e.kind != ERR_KIND_TIMEOUT);
    ev_tpm_close(t);
    close(pair[0]);
    return 0;
}
