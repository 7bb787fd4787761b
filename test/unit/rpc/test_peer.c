#include "../base/unit.h"

#include "rpc/peer.h"

/* What of certificate, key and roots is set, and whether TLS is wanted then. Files that are not there
 * tell that they were looked for. */
static struct peer_case {
    const char *name;
    struct rpc_peer peer;
    const char *want_text; /* of the error; NULL: no TLS, and no error */
} cases[] = {
    { "nothing_set_is_no_tls", { .url = "a:1" }, NULL },
    { "empty_is_not_set", { .cert = "", .key = "", .ca = "" }, NULL },
    { "certificate_without_key",
      { .cert = "/none/cert.pem", .key = "" },
      "X_GRPC_CLIENT_CERT and X_GRPC_CLIENT_KEY go together: only the first is set" },
    { "key_without_certificate",
      { .key = "/none/key.pem", .ca = "/none/ca.pem" },
      "X_GRPC_CLIENT_CERT and X_GRPC_CLIENT_KEY go together: only the second is set" },
    { "roots_alone_are_read", { .ca = "/none/ca.pem" }, "/none/ca.pem" },
    { "certificate_is_read", { .cert = "/none/cert.pem", .key = "/none/key.pem" }, "/none/cert.pem" },
};

static void check_peer(void **state)
{
    struct peer_case *c = *state;
    struct tls_client *tls = (struct tls_client *)&tls; /* must be cleared, or left alone */
    struct err e = ERR_INIT;
    bool ok = rpc_peer_tls(&c->peer, "X_GRPC", &tls, &e);

    if (!c->want_text) {
        assert_true(ok);
        assert_null(tls);
        return;
    }
    assert_false(ok);
    assert_non_null(strstr(err_text(&e), c->want_text));
}

int main(void)
{
    static struct CMUnitTest tests[ARRAY_LEN(cases)];
    size_t count = 0;

    UNIT_ROWS(tests, count, cases, check_peer);
    return _cmocka_run_group_tests("peer", tests, count, NULL, NULL);
}
